"""What Voucherify says of a customer, as a change of the replica and as the answer of a look-up. Pure.

=====================  ==================================================  ==========================================
ours                   Voucherify's                                        source
=====================  ==================================================  ==========================================
contact_id             id, `cust_...`                                      customers page
member_number          source_id                                           customers page: unique, and never changed
mobile_phone           phone                                               customers page
email                  email                                               customers page
name, description      the same                                            customers page
birth_date             birthdate                                           customers page; `birthday` is deprecated
street, street2, ...   address.line_1, .line_2, .postal_code, .city,       customers page
                       .state, .country
points                 loyalty.points                                      customers page
any other              metadata, under the same name                       metadata page: the project's own
=====================  ==================================================  ==========================================

A `source_id` that no till could say as a member number, such as a mail address, is not taken for one: that customer is
known by the `id`. There are no card numbers, personal numbers or external ids in a customer.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from agent.connectors.values import kept_text
from agent.domain.contact import ChangeKind, ContactChange
from agent.domain.identifiers import IdentifierType, Normaliser
from agent.errors import IdentifierInvalidError, VendorUnreachableError

CREATED_AT, UPDATED_AT = "created_at", "updated_at"
_EARLIEST_AT, _LATEST_AT = datetime(1990, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)

_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.:-]{0,63}")
_SOURCE_ID = re.compile(
    r"[0-9A-Za-z][0-9A-Za-z_.:/-]{0,63}"
)  # as the domain reads a member number, and spelt exactly so
_PERSONAL = {IdentifierType.MOBILE_PHONE: "phone", IdentifierType.EMAIL: "email"}
_PLACES: Mapping[str, tuple[str, ...]] = {
    "name": ("name",),
    "description": ("description",),
    "email": ("email",),
    "mobile_phone": ("phone",),
    "birth_date": ("birthdate",),
    "street": ("address", "line_1"),
    "street2": ("address", "line_2"),
    "zip_code": ("address", "postal_code"),
    "city": ("address", "city"),
    "state": ("address", "state"),
    "country_code": ("address", "country"),
    "points": ("loyalty", "points"),
}


def customer_id(customer: Any) -> str:
    """The customer's own id. Raises VendorUnreachableError: it is no customer."""
    named = customer.get("id") if isinstance(customer, dict) else None
    if not isinstance(named, str) or not _ID.fullmatch(named):
        raise VendorUnreachableError("answers something that is no customer")
    return named


def member_number(customer: Mapping[str, Any]) -> str | None:
    """The `source_id`, if it can be said as a member number."""
    named = customer.get("source_id")
    return named if isinstance(named, str) and _SOURCE_ID.fullmatch(named) else None


def instant_of(customer: Mapping[str, Any], name: str) -> datetime | None:
    """When the customer was made or changed; None where it does not say so, or says what cannot be.

    Raises:
        VendorUnreachableError: it says something that is no instant.
    """
    text = customer.get(name)
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        at = None
    if at is None or at.tzinfo is None:
        raise VendorUnreachableError(f"lists a customer whose {name} is no instant")
    return at if _EARLIEST_AT < at < _LATEST_AT else None


def change_of(customer: Any, normaliser: Normaliser, fields: Sequence[str], *, today: date) -> ContactChange:
    """The whole customer as a change.

    An identifier that cannot be of its type counts as cleared: one customer's mistyped number must not hold up
    everybody else's changes.

    Args:
        customer: as Voucherify lists them.
        normaliser: how this store reads identifiers.
        fields: what the replica keeps beside them, by our names.
        today: the store's date.

    Raises:
        VendorUnreachableError: it is no customer.
    """
    identifiers: dict[IdentifierType, str | None] = {
        IdentifierType.CONTACT_ID: customer_id(customer),
        IdentifierType.MEMBER_NUMBER: member_number(customer),
    }
    for kind, theirs in _PERSONAL.items():
        told = customer.get(theirs)
        try:
            usable = isinstance(told, str) and told.strip()
            identifiers[kind] = normaliser.normalise(kind, told, today=today).value if usable else None
        except IdentifierInvalidError:
            identifiers[kind] = None
    return ContactChange(ChangeKind.UPSERT, identifiers, kept_of(customer, fields), full_row=True)


def kept_of(customer: Mapping[str, Any], fields: Sequence[str]) -> dict[str, str | None]:
    """The wanted fields, by our names; None for what is not there."""
    return {name: kept_text(_at(customer, _PLACES.get(name, ("metadata", name)))) for name in fields}


def _at(customer: Mapping[str, Any], place: Sequence[str]) -> Any:
    value: Any = customer
    for part in place:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
