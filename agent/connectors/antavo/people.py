"""Who a sale's member is at Antavo: an id that is known already, or a question.

Where Antavo owns the contacts, a contact id is the customer's, a member number one of their `membership_id`, and an
external id what `external_id_field` says. Beside another owner the primary key is the customer's id there, unless
`external_id_field` says otherwise. That owner's own contact id is none, where it is not the primary key: such a sale
goes by the phone or address that was given with it. Whoever
is known by phone or address alone is searched for: exactly one hit counts, nobody is guessed, and no event goes out
for an id that nobody has: with anonymous registration switched on at the workspace it would make a ghost of a member.
Where an answer shows what was searched for, whoever is listed has to show it: a filter that a workspace does not know
lets anybody through.

Sources: the Customers API's pages. That the answer to a search can be one object, a list or `{"data": [...]}` is
inferred from pages that contradict each other. There is no way to search but with the value in the URL.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from agent.connectors.antavo.client import AntavoClient
from agent.connectors.antavo.customers import is_gone, text_of
from agent.connectors.antavo.errors import STRANGE, UNREADABLE, error_in, trouble_of, verdict_of_error
from agent.connectors.antavo.mapping import Customer, spell_phone
from agent.connectors.antavo.settings import AntavoSettings
from agent.connectors.antavo.signing import is_signable
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.transaction import IntegrationKey
from agent.errors import VendorUnreachableError
from agent.ports import Outgoing
from agent.transport import Answer

_OK, _NOT_FOUND = 200, 404
_UNKNOWN_CUSTOMER = 160212
MEMBERSHIP_ID = "membership_id"
_MOST = "10"
"""More than one is too many, but for those who left."""
_EXACT = frozenset({"email", MEMBERSHIP_ID})
FIELDS = {
    IdentifierType.MOBILE_PHONE: "mobile_phone",
    IdentifierType.EMAIL: "email",
    IdentifierType.MEMBER_NUMBER: MEMBERSHIP_ID,
    IdentifierType.CARD_NUMBER: MEMBERSHIP_ID,
}
_GUEST = Verdict(VerdictKind.PARK, "sale.without_member", title="The sale names nobody.", not_received=True)
_NOT_THEIRS = Verdict(
    VerdictKind.PARK,
    "contact.unresolved",
    title="The sale names its person by the loyalty system's own id, which the vendor does not know.",
    not_received=True,
)
UNKNOWN: Final = Verdict(
    VerdictKind.PARK, "contact.unknown", title="The vendor does not know this customer.", not_received=True
)
_SEVERAL = Verdict(
    VerdictKind.PARK, "contact.unresolved", title="Several customers of the vendor fit.", not_received=True
)
_UNFILTERED = Verdict(
    VerdictKind.PARK,
    "contact.unresolved",
    title="The vendor named customers who do not show what was searched for.",
    not_received=True,
)
_NO_QUESTION = Verdict(
    VerdictKind.PARK, "contact.unresolved", title="The vendor cannot be asked for this kind of key.", not_received=True
)
_UNSIGNABLE = Verdict(
    VerdictKind.PARK,
    "contact.unresolved",
    title="The key ends in a dot or holds a dot before a slash, which no call to the vendor can carry.",
    not_received=True,
)


class AntavoKeys:
    """Who sales' members are by what is known here, without a question.

    Args:
        settings: the workspace's table.
        primary: the type of the primary integration key.
        owns_contacts: Antavo owns the contacts.
    """

    def __init__(self, settings: AntavoSettings, *, primary: IdentifierType, owns_contacts: bool = False) -> None:
        self._settings, self._primary, self._owns = settings, primary, owns_contacts

    def key_of(self, outgoing: Outgoing) -> IntegrationKey | Verdict:
        """What a sale's person goes by here, or why there is nothing."""
        key = outgoing.key
        if key is None:
            return _GUEST
        if self._owns or key.type is not IdentifierType.CONTACT_ID or key.type is self._primary:
            return key
        given = {identifier.type: identifier.value for identifier in _given(outgoing)}
        for kind in (IdentifierType.MOBILE_PHONE, IdentifierType.EMAIL):
            if kind in given:
                return IntegrationKey(kind="secondary", type=kind, value=given[kind])
        return _NOT_THEIRS

    def known(self, key: IntegrationKey) -> Customer | Verdict | None:
        """The customer without asking; a verdict where there can be none; None where Antavo has to be asked."""
        if not is_signable(key.value):
            return _UNSIGNABLE
        if self._is_searched_for(key):
            return None if key.type in FIELDS else _NO_QUESTION
        field, mode = self._field_of(key), self._settings.external_id_mode
        if not field:
            return Customer(key.value)
        return Customer(key.value, field) if mode == "field_name" else None

    def _is_searched_for(self, key: IntegrationKey) -> bool:
        """Whether a key names nobody by itself, or by an external id's field."""
        if not self._owns:
            return key.kind == "secondary"
        by_field = key.type is IdentifierType.EXTERNAL_ID and self._settings.external_id_field
        return key.type is not IdentifierType.CONTACT_ID and not by_field

    def _field_of(self, key: IntegrationKey) -> str:
        """The field whose value a key is; empty where it is the customer's id."""
        is_id = self._owns and key.type is IdentifierType.CONTACT_ID
        return "" if is_id else self._settings.external_id_field


class AntavoPeople(AntavoKeys):
    """Finds members.

    Args:
        client: the workspace.
        settings: its table.
        primary: the type of the primary integration key.
        owns_contacts: Antavo owns the contacts.
    """

    def __init__(
        self,
        client: AntavoClient,
        settings: AntavoSettings,
        *,
        primary: IdentifierType,
        owns_contacts: bool = False,
    ) -> None:
        super().__init__(settings, primary=primary, owns_contacts=owns_contacts)
        self._client = client

    def can_enrol(self, key: IntegrationKey) -> bool:
        """Whether somebody whom Antavo does not know by this key can become a member who is found by it."""
        return key.kind == "secondary" or self._settings.external_id_field == MEMBERSHIP_ID

    async def ask(self, key: IntegrationKey) -> Customer | Verdict:
        """Who it is, or what it means that nobody can be named. Raises VendorUnreachableError, VendorRefusedError."""
        if self._is_searched_for(key):
            return await self._search(FIELDS[key.type], spelled(key.identifier, self._settings))
        field = self._field_of(key)
        if field == MEMBERSHIP_ID:
            return await self._search(field, key.value)
        found = _found(await self._client.customer(field, key.value))
        if isinstance(found, Customer) and self._settings.external_id_mode == "value":
            return Customer(found.id, key.value)
        return found

    async def _search(self, field: str, value: str) -> Customer | Verdict:
        answer = await self._client.search(search_params(field, value))
        return _found(answer, field, value)


def search_params(field: str, value: str) -> dict[str, str]:
    """What is asked to find those who have a value.

    The field is asked for as well, to see that the filter counts, and the status, lest whoever left stands in the way.
    """
    exact = {"match": "exact"} if field in _EXACT else {}
    return {**exact, field: value, "fields": f"{field},status", "limit": _MOST}


def spelled(identifier: Identifier, settings: AntavoSettings) -> str:
    """An identifier's value as the workspace has it."""
    phone = identifier.type is IdentifierType.MOBILE_PHONE
    return spell_phone(identifier.value, settings) if phone else identifier.value


def shows(row: Mapping[str, Any], field: str, value: str) -> bool:
    """Whether a customer shows a value, alone or among others."""
    told = row.get(field)
    return any(_in_one_case(field, text_of(one)) == _in_one_case(field, value) for one in _values(told))


def _given(outgoing: Outgoing) -> list[Identifier]:
    """What was said at the till, when it can be only one thing, and what a new contact gave."""
    contact = outgoing.new_contact
    statements = contact.identifier_statements() if contact else ()
    own = [Identifier(IdentifierType(given.type), given.value) for given in statements]
    said = [reading for reading in outgoing.readings if reading not in own]
    return [*own, *(said if len(said) == 1 else ())]


def _found(answer: Answer, field: str = "", value: str = "") -> Customer | Verdict:
    """The one customer of an answer; each whom it lists shows that value, or none shows any."""
    verdict = trouble_of(answer)
    if verdict is not None:
        return verdict
    try:
        body = answer.json()
    except VendorUnreachableError:
        return UNREADABLE
    error = error_in(body)
    if error is not None:
        missing = error.code == _UNKNOWN_CUSTOMER
        return UNKNOWN if missing else verdict_of_error(error, answer.status, maybe_received=False)
    rows = _rows(body)
    if answer.status != _OK or rows is None:
        return replace(STRANGE, status=answer.status)
    return _named(rows, field, value)


def _named(rows: list[dict[str, Any]], field: str, value: str) -> Customer | Verdict:
    if any(field in row for row in rows) and not all(shows(row, field, value) for row in rows):
        return _UNFILTERED
    ids = {text_of(row["id"]) for row in rows if not is_gone(row)}
    if len(ids) > 1:
        return _SEVERAL
    return Customer(ids.pop()) if ids else UNKNOWN


def _rows(body: Any) -> list[dict[str, Any]] | None:
    """The customers that an answer lists, each with an id that can be sent; None when it is no such answer."""
    if isinstance(body, dict):
        body = (body["data"] or []) if "data" in body else [body]
    fits = isinstance(body, list) and all(
        isinstance(row, dict) and _is_sendable(text_of(row.get("id"))) for row in body
    )
    return body if fits else None


def _is_sendable(customer: str) -> bool:
    """Whether there is one: half a character of two halves goes into no JSON."""
    return customer != "" and customer.isprintable()


def _in_one_case(field: str, text: str) -> str:
    return text.casefold() if field == "email" else text


def _values(told: Any) -> list[Any]:
    return told if isinstance(told, list) else [told]
