"""What Antavo says of a customer, as a change of the replica and as what a till may be shown. Pure.

The Loyalty API and the Read API show the same customer in two forms; both are read here.

=====================  =====================================================  =======================================
ours                   Antavo's                                               source
=====================  =====================================================  =======================================
contact_id             id; at the Read API _id                                Customers API, Read API
member_number          membership_id, a list of texts: the first that could   Customers API; the order is theirs
                       be said at a till
card_number            membership_id: the last that could be on a card        wallet passes show the number
external_id            external_ids, under `external_id_field`                Read API; that the Loyalty API has the
                                                                              same place, or its own, is inferred
mobile_phone, email    the same                                               Customers API
nickname               nickname; at the Read API handler                      Customers API, Read API
points                 spendable; else score less spent, expired, reserved    Customers API; the sum agrees with the
                                                                              retail page's example
member_level           name of the first of tiers: a list, or a map by id     Customers API, Read API
any other              the same name, else properties, under that name        Customers API: the workspace's own
=====================  =====================================================  =======================================

Whoever is `opted_out`, or `merged` into another, is no member any more. An id that no till could say and no signed path
can carry names nobody here.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from agent.connectors.antavo.signing import is_signable
from agent.connectors.values import kept_text
from agent.domain.contact import ChangeKind, ContactChange
from agent.domain.identifiers import IdentifierType, Normaliser
from agent.errors import IdentifierInvalidError

GONE = frozenset({"opted_out", "merged"})
_EARLIEST_AT, _LATEST_AT = datetime(1990, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.:/@+-]{0,63}")  # as the domain reads a contact id
_NUMBER = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.:/-]{0,63}")  # as it reads a member number, and spelt exactly so:
_CARD = re.compile(r"[0-9A-Za-z]{4,64}")  # Antavo's search is exact
_MOST_CHARS = 254
_SPENT = ("spent", "expired", "reserved")
_MOST_POINTS = Decimal(10) ** 15


def customer_id(customer: Mapping[str, Any]) -> str | None:
    """The customer's id; None where there is none, or one that nothing here can carry."""
    named = stated_id(customer)
    return named if is_usable(named) else None


def stated_id(customer: Mapping[str, Any]) -> str:
    """The id that stands there, whatever it is; empty where none does."""
    return text_of(customer.get("id")) or text_of(customer.get("_id"))


def is_usable(customer: str) -> bool:
    """Whether an id can be said at a till and asked for."""
    return bool(_ID.fullmatch(customer)) and is_signable(customer)


def is_gone(customer: Mapping[str, Any]) -> bool:
    """Whether they are no member any more."""
    return text_of(customer.get("status")) in GONE


def created_at(customer: Mapping[str, Any]) -> datetime | None:
    """When they became a customer; None where it is not said, or cannot be."""
    return instant_of(customer.get("created_at"))


def instant_of(told: Any) -> datetime | None:
    """An instant as text, in UTC where it says no offset, or as seconds since 1970; None where it is no such thing."""
    number = told if isinstance(told, int | float) and not isinstance(told, bool) else None
    try:
        at = datetime.fromisoformat(told) if number is None else datetime.fromtimestamp(number, UTC)
        at = at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
    return at if _EARLIEST_AT < at < _LATEST_AT else None


def change_of(
    customer: Mapping[str, Any], normaliser: Normaliser, fields: Sequence[str], *, external_id_field: str, today: date
) -> ContactChange | None:
    """The whole customer as a change; None where they have no id, or one that nothing here can carry.

    An identifier that cannot be of its type counts as cleared: one customer's mistyped number must not hold up
    everybody else's changes.

    Args:
        customer: as either API shows them.
        normaliser: how this store reads identifiers.
        fields: what the replica keeps beside them, by our names.
        external_id_field: whose value is their external id; empty where there is none.
        today: the store's date.
    """
    named = customer_id(customer)
    if named is None:
        return None
    if is_gone(customer):
        return ContactChange(ChangeKind.DELETE, {IdentifierType.CONTACT_ID: named})
    identifiers: dict[IdentifierType, str | None] = {
        IdentifierType.CONTACT_ID: named,
        IdentifierType.MEMBER_NUMBER: member_number(customer),
        IdentifierType.CARD_NUMBER: _card_number(customer),
        IdentifierType.EXTERNAL_ID: external_id(customer, external_id_field),
    }
    for kind in (IdentifierType.MOBILE_PHONE, IdentifierType.EMAIL):
        told = text_of(customer.get(kind.value))
        try:
            identifiers[kind] = normaliser.normalise(kind, told, today=today).value if told else None
        except IdentifierInvalidError:
            identifiers[kind] = None
    return ContactChange(ChangeKind.UPSERT, identifiers, kept_of(customer, fields), full_row=True)


def member_number(customer: Mapping[str, Any]) -> str | None:
    """The first of their numbers that can be said as a member number."""
    return next((one for one in numbers_of(customer) if _NUMBER.fullmatch(one) and is_signable(one)), None)


def external_id(customer: Mapping[str, Any], field: str) -> str | None:
    """The value of an external id's field, if a till can say it and a signed path can carry it."""
    places = (customer.get("external_ids"), customer, customer.get("properties")) if field else ()
    values = (text_of(place.get(field)) for place in places if isinstance(place, Mapping))
    told = next((value for value in values if value), "")
    usable = told.isprintable() and len(told) <= _MOST_CHARS and is_signable(told)
    return told if told and usable else None


def kept_of(customer: Mapping[str, Any], fields: Sequence[str]) -> dict[str, str | None]:
    """The wanted fields, by our names; None for what is not there."""
    return {name: _kept(customer, name) for name in fields}


def text_of(value: Any) -> str:
    """A value as text: numbers can come as either; empty where it is neither."""
    number = isinstance(value, int) and not isinstance(value, bool)
    return str(value).strip() if number or isinstance(value, str) else ""


def numbers_of(customer: Mapping[str, Any]) -> list[str]:
    """All that stand in `membership_id`, which is a list, or one alone."""
    told = customer.get("membership_id")
    return [text_of(one) for one in (told if isinstance(told, list) else [told])]


def _card_number(customer: Mapping[str, Any]) -> str | None:
    return next((one for one in reversed(numbers_of(customer)) if _CARD.fullmatch(one)), None)


def _kept(customer: Mapping[str, Any], name: str) -> str | None:
    match name:
        case "points":
            points = points_of(customer)
            return None if points is None else format(points.normalize(), "f")
        case "member_level":
            return kept_text(_first_tier(customer.get("tiers")))
        case "nickname":
            return kept_text(customer.get("nickname", customer.get("handler")))
    own = customer.get("properties")
    return kept_text(customer[name] if name in customer else own.get(name) if isinstance(own, Mapping) else None)


def points_of(customer: Mapping[str, Any]) -> Decimal | None:
    """What they can spend; None where it is not said."""
    if (told := amount_of(customer.get("spendable"))) is not None:
        return told
    score, used = amount_of(customer.get("score")), [amount_of(customer.get(name, 0)) for name in _SPENT]
    if score is None or None in used:
        return None
    return score - sum(part for part in used if part is not None)


def amount_of(told: Any) -> Decimal | None:
    """A number, which can come as text; None for anything else, and for what is too large to be one here."""
    try:
        amount = Decimal(text_of(told) if not isinstance(told, float) else str(told))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and -_MOST_POINTS < amount < _MOST_POINTS else None


def _first_tier(tiers: Any) -> Any:
    rows = list(tiers.values()) if isinstance(tiers, Mapping) else tiers
    first = rows[0] if isinstance(rows, list) and rows else None
    return first.get("name") if isinstance(first, Mapping) else None
