"""Whether Voucherify would take an order or an event: types, limits and the metadata of its schemas.

Sources: orders, events, limits and metadata pages; the published OpenAPI description.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


MAX_ITEMS = 500
_STATUSES = ("CREATED", "PAID", "CANCELED", "FULFILLED")
_ORDER_KEYS = words(
    "id source_id status amount initial_amount discount_amount items metadata created_at customer referrer referrer_id"
)
_WHOLE = ("amount", "initial_amount", "discount_amount", "quantity", "price", "initial_quantity", "discount_quantity")


class NotTaken(Exception):  # noqa: N818 - an answer of the vendor's, not an error of this program
    """What Voucherify refuses.

    Args:
        key: its name of the reason.
        details: its text.
        status: of HTTP.
    """

    def __init__(self, key: str, details: str, status: int = 400) -> None:
        super().__init__(details)
        self.key, self.status = key, status


def check_order(order: Any, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """The order.

    Raises:
        NotTaken: it has another shape than is published, or metadata that the schema does not allow.
    """
    if not isinstance(order, dict) or order.keys() - _ORDER_KEYS:
        raise NotTaken("invalid_payload", "An order has the published keys alone.")
    if order.get("status", "CREATED") not in _STATUSES:
        raise NotTaken("invalid_order", "status is one of four.")
    items = order.get("items", [])
    if not isinstance(items, list) or len(items) > MAX_ITEMS:
        raise NotTaken("invalid_order", f"items has at most {MAX_ITEMS} rows.")
    for row in (order, *items):
        if not isinstance(row, dict) or not all(is_whole(row.get(name, 0)) for name in _WHOLE):
            raise NotTaken("invalid_amount", "Amounts and quantities are whole numbers and not negative.")
    if any(row["amount"] != row["price"] * row["quantity"] for row in items if {"amount", "price"} <= row.keys()):
        raise NotTaken("invalid_amount", "The amount of an item is its price times its quantity.")
    if "created_at" in order:
        _instant(order["created_at"])
    check_customer(order.get("customer", {"source_id": "-"}))
    check_metadata(order.get("metadata", {}), schema)
    return order


def check_event(event: Any, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """The event. Raises NotTaken, as :func:`check_order` does."""
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        raise NotTaken("invalid_payload", "An event has a name.")
    check_customer(event.get("customer"))
    if "referral" in event and not event["referral"].get("code"):
        raise NotTaken("invalid_payload", "A referral has a code.")
    if "loyalty" in event and not isinstance(event["loyalty"].get("code"), str):
        raise NotTaken("invalid_payload", "A loyalty card has a code.")
    check_metadata(event.get("metadata", {}), schema)
    return event


def check_customer(customer: Any) -> None:
    """Lets through who can be told from others. Raises NotTaken."""
    if not isinstance(customer, dict) or not (customer.get("source_id") or customer.get("id")):
        raise NotTaken("missing_customer", "A customer has an id or a source_id.")


def check_metadata(metadata: Mapping[str, Any], schema: Mapping[str, Any] | None) -> None:
    """Lets through what a schema allows.

    Args:
        metadata: as it was sent.
        schema: in the form of `GET /v1/metadata-schemas`; None allows anything.

    Raises:
        NotTaken: a value is of another type; a name is not defined, and only defined ones are allowed.
    """
    if schema is None:
        return
    for name, value in metadata.items():
        rule = schema["properties"].get(name)
        if rule is None:
            if schema.get("allow_defined_only"):
                raise NotTaken("metadata_validation_failed", f"{name}: is not allowed")
            continue
        values = value if rule.get("array") and isinstance(value, list) else [value]
        if not all(_IS[rule["type"]](item) for item in values):
            raise NotTaken("metadata_validation_failed", f"{name}: must be a {rule['type']}")


def is_whole(value: Any) -> bool:
    """Whether it is a whole number and not negative, as amounts are."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _instant(text: Any) -> None:
    try:
        if datetime.fromisoformat(text).utcoffset() is not None:
            return
    except (TypeError, ValueError):
        pass
    raise NotTaken("invalid_payload", "created_at is an ISO 8601 instant.")


def _is_date(value: Any) -> bool:
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def _is_datetime(value: Any) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).utcoffset() is not None
    except ValueError:
        return False


_IS: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "date": _is_date,
    "datetime": _is_datetime,
    "image_url": lambda value: isinstance(value, str) and bool(re.search(r"\.(jpe?g|png)$", value)),
}
