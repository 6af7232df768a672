"""What Monetary says of a customer, as a change of the replica and as the answer of a look-up. Pure.

=====================  =============================================  ===============================================
ours                   Monetary's                                     source
=====================  =============================================  ===============================================
contact_id             CustomerID                                     readme; given by the vendor (inferred)
member_number          ExternalID                                     readme: the caller's own member id
mobile_phone           Phone, ten digits as dialled at home           readme; the example till waits for ten
email                  Email                                          readme
first_name, last_name  FirstName, LastName                            readme
street, city, state    Address, City, State                           readme
zip_code, birth_date   Zipcode, Birthday                              readme
accepts_sms, ..._email AcceptsSMS, AcceptsEmail                       readme
points                 Points                                         example till: in what a search finds
=====================  =============================================  ===============================================

Names fit in any case (inferred). An ExternalID that no till could say as a member number is not taken for one: that
customer is known by the CustomerID.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from agent.connectors.values import kept_text
from agent.domain.contact import ChangeKind, ContactChange
from agent.domain.identifiers import IdentifierType, Normaliser
from agent.errors import IdentifierInvalidError

LARGEST_ID = 2**63 - 1
_PERSONAL = {
    IdentifierType.MEMBER_NUMBER: "externalid",
    IdentifierType.MOBILE_PHONE: "phone",
    IdentifierType.EMAIL: "email",
}
_PLACES: Mapping[str, str] = {
    "first_name": "firstname",
    "last_name": "lastname",
    "email": "email",
    "mobile_phone": "phone",
    "street": "address",
    "city": "city",
    "state": "state",
    "zip_code": "zipcode",
    "birth_date": "birthday",
    "accepts_sms": "acceptssms",
    "accepts_email": "acceptsemail",
    "points": "points",
}


def lowered(row: Any) -> dict[str, Any]:
    """A row by its names in lower case; empty for what is no object."""
    return {str(name).lower(): value for name, value in row.items()} if isinstance(row, Mapping) else {}


def customer_id_of(row: Mapping[str, Any]) -> int | None:
    """The CustomerID of a row, whose names are in lower case; None where it is no whole number of 63 bits."""
    value = row.get("customerid")
    if isinstance(value, str):
        return customer_id_in(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 < value <= LARGEST_ID else None


def customer_id_in(text: str) -> int | None:
    """The CustomerID that a text spells; None where it spells none."""
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(LARGEST_ID))):
        return None
    return int(text) if 0 < int(text) <= LARGEST_ID else None


def change_of(
    row: Mapping[str, Any], normaliser: Normaliser, fields: Sequence[str], *, today: date
) -> ContactChange | None:
    """The whole customer as a change; None where the row says of nobody who it is.

    An identifier that cannot be of its type counts as absent.

    Args:
        row: by names in lower case.
        normaliser: how this store reads identifiers.
        fields: what the replica keeps beside them, by our names.
        today: the store's date.
    """
    customer = customer_id_of(row)
    identifiers: dict[IdentifierType, str | None] = {
        kind: _identifier(kind, row.get(place), normaliser, today) for kind, place in _PERSONAL.items()
    }
    if customer is not None:
        identifiers[IdentifierType.CONTACT_ID] = str(customer)
    elif identifiers[IdentifierType.MEMBER_NUMBER] is None:
        return None
    return ContactChange(ChangeKind.UPSERT, identifiers, kept_of(row, fields), full_row=True)


def kept_of(row: Mapping[str, Any], fields: Sequence[str]) -> dict[str, str | None]:
    """The wanted fields, by our names; None for what is not there."""
    return {name: kept_text(row.get(_PLACES.get(name, name))) for name in fields}


def _identifier(kind: IdentifierType, told: object, normaliser: Normaliser, today: date) -> str | None:
    text = str(told) if isinstance(told, int) and not isinstance(told, bool) and abs(told) <= LARGEST_ID else told
    if not isinstance(text, str) or not text.strip():
        return None
    try:
        value = normaliser.normalise(kind, text, today=today).value
    except IdentifierInvalidError:
        return None
    return value if kind is not IdentifierType.MEMBER_NUMBER or value == text.strip() else None
