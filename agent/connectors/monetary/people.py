"""Who a sale's member is at Monetary: asked for at each delivery, and never guessed.

===========================  ===================================================  ==================================
ours                         Monetary's                                           source
===========================  ===================================================  ==================================
the primary integration key  ExternalID, asked for as `externalID`                readme: the caller's own member id
mobile_phone                 Phone, `phone`: ten digits as dialled at home, of    readme; the example till waits for ten
                             a number of the shop's country: others share them
email                        Email, `email`                                       readme
new_contact                  FirstName, LastName, Address, City, Zipcode,         readme; for a registration alone
                             Birthday
... preferences              AcceptsSMS, AcceptsEmail: true where the customer    readme. Never true of itself
                             said so, else false
===========================  ===================================================  ==================================

The answer to a search is a list, empty where nobody fits (inferred from the example till). Whether the vendor looks for
what is equal or for what begins so is unknown: whoever is listed counts only if they show the value itself, and exactly
one has to. Where somebody is listed and nobody shows it, the filter may not have been applied, and nobody is made.

Monetary has no key to know a registration by: everything that would be told is searched for first.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import phonenumbers

from agent.connectors.monetary.client import MonetaryClient
from agent.connectors.monetary.customers import LARGEST_ID, customer_id_in, customer_id_of, lowered
from agent.connectors.monetary.errors import UNREADABLE, json_of, rejection_of, trouble_of
from agent.connectors.monetary.mapping import render_json
from agent.domain import phones
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.transaction import IntegrationKey, NewContact
from agent.errors import IdentifierInvalidError

_PHONE_DIGITS = 10
ASKED = {"externalid": "externalID", "phone": "phone", "email": "email"}
_SPELLED = {"externalid": "ExternalID", "phone": "Phone", "email": "Email"}
UNKNOWN: Final = Verdict(VerdictKind.PARK, "contact.unknown", title="The vendor does not know this customer.")
_SEVERAL = Verdict(VerdictKind.PARK, "contact.unresolved", title="Several customers of the vendor fit.")
_UNFILTERED = Verdict(
    VerdictKind.PARK,
    "contact.unresolved",
    title="The vendor named customers who do not show what was searched for.",
)
_NO_QUESTION = Verdict(VerdictKind.PARK, "contact.unresolved", title="The vendor cannot be asked for this kind of key.")
_NOT_TEN_DIGITS = Verdict(
    VerdictKind.PARK, "contact.unresolved", title="The phone number is none of the shop's country with ten digits."
)


REGISTERED: Final = frozenset(
    {"mobile_phone", "email", "first_name", "last_name", "street", "city", "zip_code", "birth_date", "preferences"}
)
"""The fields of a contact that a customer is made of."""


class MonetaryPeople:
    """Finds customers, and makes them where that is wanted.

    Args:
        client: the location's account.
        primary: the type of the primary integration key.
        country: ISO 3166 two-letter code of the shop's.
        register: whether a stranger becomes a customer.
        owned: Monetary owns the contacts: a contact id is its CustomerID, a member number the ExternalID.
    """

    def __init__(
        self,
        client: MonetaryClient,
        *,
        primary: IdentifierType,
        country: str,
        register: bool,
        owned: bool = False,
    ) -> None:
        self._client, self._primary, self._country, self._register = client, primary, country, register
        self._number = IdentifierType.MEMBER_NUMBER if owned else primary
        self._owned = owned
        self._one_at_a_time = asyncio.Lock()

    async def resolve(self, key: IntegrationKey, contact: NewContact | None) -> int | Verdict:
        """The CustomerID, or what it means that nobody can be named.

        Args:
            key: what the sale is tagged with.
            contact: what a stranger gave to become somebody.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """
        if self._owned and key.type is IdentifierType.CONTACT_ID:
            return customer_id_in(key.value) or _NO_QUESTION
        named = self._named(key.identifier)
        if isinstance(named, Verdict):
            return named
        said_number = key.kind == "secondary" and key.type is self._primary  # it may be mistyped: nobody is made of it
        if said_number or not self._register:
            return await self._search(*named)
        async with self._one_at_a_time:  # two sales of one stranger would each find nobody
            return await self._found_or_made(named, contact)

    def _named(self, identifier: Identifier) -> tuple[str, str] | Verdict:
        """What to ask for, in Monetary's name and spelling."""
        if identifier.type is self._number:
            return "externalid", identifier.value
        if identifier.type is IdentifierType.EMAIL:
            return "email", identifier.value
        if identifier.type is not IdentifierType.MOBILE_PHONE:
            return _NO_QUESTION
        number = spell_phone(identifier.value, self._country)
        return ("phone", number) if number else _NOT_TEN_DIGITS

    async def _search(self, field: str, value: str, *, member: str | None = None) -> int | Verdict:
        """Who shows the value; with a member number nobody who shows another one, as a family can share a phone."""
        answer = await self._client.search({ASKED[field]: value})
        refused = trouble_of(answer, named=False) or rejection_of(answer)
        if refused is not None:
            return refused
        rows = json_of(answer)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            return replace(UNREADABLE, status=answer.status)
        wanted = form_of(field, value)
        own = [lowered(row) for row in rows]
        fitting = [row for row in own if form_of(field, row.get(field)) == wanted]
        if not fitting:
            return _UNFILTERED if rows else UNKNOWN
        if member is not None and any(
            form_of("externalid", row.get("externalid")) not in (None, "", member) for row in fitting
        ):
            return _SEVERAL
        ids = {customer_id_of(row) for row in fitting}
        if None in ids:
            return replace(UNREADABLE, status=answer.status)
        return _SEVERAL if len(ids) > 1 else next(found for found in ids if found is not None)

    async def _found_or_made(self, named: tuple[str, str], contact: NewContact | None) -> int | Verdict:
        told = _told(named, contact, self._country)
        member = told.get("externalid")
        found: set[int] = set()
        for field, value in told.items():
            customer = await self._search(field, value, member=member)
            if isinstance(customer, int):
                found.add(customer)
            elif customer is not UNKNOWN:
                return customer
            if field == named[0] and found:  # the key that the sale is tagged with decides
                break
        if found:
            return _SEVERAL if len(found) > 1 else found.pop()
        answer = await self._client.register(render_json(_registration(told, contact)))
        refused = trouble_of(answer, named=False) or rejection_of(answer)
        if refused is not None:
            return replace(refused, code="contact.refused") if refused.kind is VerdictKind.PARK else refused
        made = customer_id_of(lowered(json_of(answer)))
        return replace(UNREADABLE, status=answer.status) if made is None else made


def spell_phone(number: str, country: str) -> str:
    """A number in international form as Monetary writes it: ten digits; empty where it cannot be written so.

    Args:
        number: the number.
        country: the shop's; another country's number would be read as one of the shop's.
    """
    try:
        parsed = phonenumbers.parse(number)
        digits = _digits(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL))
        at_home = len(digits) == _PHONE_DIGITS and phones.to_e164(digits, country) == number
    except (phonenumbers.NumberParseException, IdentifierInvalidError):
        return ""
    return digits if at_home else ""


def _told(named: tuple[str, str], contact: NewContact | None, country: str) -> dict[str, str]:
    """Everything that names a stranger, the sale's own key first."""
    told = dict([named])
    if contact is not None and contact.mobile_phone and (number := spell_phone(contact.mobile_phone, country)):
        told.setdefault("phone", number)
    if contact is not None and contact.email:
        told.setdefault("email", contact.email)
    return told


def _registration(told: Mapping[str, str], contact: NewContact | None) -> dict[str, Any]:
    given = contact or NewContact()
    allowed = given.preferences
    described = {
        "FirstName": given.first_name,
        "LastName": given.last_name,
        "Address": given.street,
        "City": given.city,
        "Zipcode": given.zip_code,
        "Birthday": given.birth_date.isoformat() if given.birth_date else None,
    }
    return {
        **{_SPELLED[field]: value for field, value in told.items()},
        **{name: value for name, value in described.items() if value is not None},
        "AcceptsSMS": allowed is not None and allowed.accepts_sms is True,
        "AcceptsEmail": allowed is not None and allowed.accepts_email is True,
    }


def form_of(field: str, value: Any) -> str | None:
    """A value of a field in the one form in which it is compared; None for what is no text or number."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value) if isinstance(value, str) or abs(value) <= LARGEST_ID else ""
    if field == "phone":
        return _digits(text)
    return text.strip().casefold() if field == "email" else text.strip()


def _digits(text: str) -> str:
    return "".join(character for character in text if character.isascii() and character.isdecimal())
