"""Who a sale's member is at Antavo: an id that is known already, or a question.

The primary key is the customer's id there, unless `external_id_field` says otherwise. The loyalty system's own contact
id is none, where it is not the primary key: such a sale goes by the phone or address that was given with it. Whoever
is known by phone or address alone is searched for: exactly one hit counts, nobody is guessed, and no event goes out
for an id that nobody has: with anonymous registration switched on at the workspace it would make a ghost of a member.
Where an answer shows what was searched for, whoever is listed has to show it: a filter that a workspace does not know
lets anybody through.

Sources: the Customers API's pages. That the answer to a search can be one object, a list or `{"data": [...]}` is
inferred from pages that contradict each other. There is no way to search but with the value in the URL.
"""

from dataclasses import replace
from typing import Any, Final

from agent.connectors.antavo.client import AntavoClient
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
_MEMBERSHIP_ID = "membership_id"
_EXACT = frozenset({"email", _MEMBERSHIP_ID})
_FIELDS = {
    IdentifierType.MOBILE_PHONE: "mobile_phone",
    IdentifierType.EMAIL: "email",
    IdentifierType.MEMBER_NUMBER: _MEMBERSHIP_ID,
    IdentifierType.CARD_NUMBER: _MEMBERSHIP_ID,
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


class AntavoPeople:
    """Finds members.

    Args:
        client: the workspace.
        settings: its table.
        primary: the type of the primary integration key.
    """

    def __init__(self, client: AntavoClient, settings: AntavoSettings, *, primary: IdentifierType) -> None:
        self._client, self._settings, self._primary = client, settings, primary

    def key_of(self, outgoing: Outgoing) -> IntegrationKey | Verdict:
        """What a sale's person goes by here, or why there is nothing."""
        key = outgoing.key
        if key is None:
            return _GUEST
        if key.type is not IdentifierType.CONTACT_ID or key.type is self._primary:
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
        if key.kind == "secondary":
            return None if key.type in _FIELDS else _NO_QUESTION
        field, mode = self._settings.external_id_field, self._settings.external_id_mode
        if not field:
            return Customer(key.value)
        return Customer(key.value, field) if mode == "field_name" else None

    def can_enrol(self, key: IntegrationKey) -> bool:
        """Whether somebody whom Antavo does not know by this key can become a member who is found by it."""
        return key.kind == "secondary" or self._settings.external_id_field == _MEMBERSHIP_ID

    async def ask(self, key: IntegrationKey) -> Customer | Verdict:
        """Who it is, or what it means that nobody can be named. Raises VendorUnreachableError, VendorRefusedError."""
        if key.kind == "secondary":
            return await self._search(_FIELDS[key.type], self._spelled(key))
        field = self._settings.external_id_field
        if field == _MEMBERSHIP_ID:
            return await self._search(field, key.value)
        found = _found(await self._client.customer(field, key.value))
        if isinstance(found, Customer) and self._settings.external_id_mode == "value":
            return Customer(found.id, key.value)
        return found

    def _spelled(self, key: IntegrationKey) -> str:
        return spell_phone(key.value, self._settings) if key.type is IdentifierType.MOBILE_PHONE else key.value

    async def _search(self, field: str, value: str) -> Customer | Verdict:
        exact = {"match": "exact"} if field in _EXACT else {}
        # The field is asked for as well, to see whether the filter was applied.
        answer = await self._client.search({**exact, field: value, "fields": field, "limit": "2"})
        return _found(answer, field, value)


def _given(outgoing: Outgoing) -> list[Identifier]:
    """What was said at the till, when it can be only one thing, and what a new contact gave."""
    contact = outgoing.transaction.new_contact
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
    if any(field in row for row in rows) and not all(_shows(row, field, value) for row in rows):
        return _UNFILTERED
    ids = {_text(row["id"]) for row in rows}
    if len(ids) > 1:
        return _SEVERAL
    return Customer(ids.pop()) if ids else UNKNOWN


def _rows(body: Any) -> list[dict[str, Any]] | None:
    """The customers that an answer lists, each with an id; None when it is no such answer."""
    if isinstance(body, dict):
        body = (body["data"] or []) if "data" in body else [body]
    fits = isinstance(body, list) and all(isinstance(row, dict) and _text(row.get("id")) for row in body)
    return body if fits else None


def _shows(row: dict[str, Any], field: str, value: str) -> bool:
    told = row.get(field)
    return any(_spelled(field, _text(one)) == _spelled(field, value) for one in _values(told))


def _spelled(field: str, text: str) -> str:
    return text.casefold() if field == "email" else text


def _text(value: Any) -> str:
    """A value as text: numbers can come as either; empty where it is neither."""
    number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if number or isinstance(value, str) else ""


def _values(told: Any) -> list[Any]:
    return told if isinstance(told, list) else [told]
