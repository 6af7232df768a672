"""How the simulated account reads what it is sent: names in any case, amounts as numbers, and what it refuses."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

_CUSTOMER = (
    "ExternalID", "Phone", "Email", "FirstName", "LastName", "Address", "City", "State", "Zipcode", "Birthday",
    "AcceptsSMS", "AcceptsEmail",
)  # fmt: skip
_MOST_DIGITS = 15


class Refused(Exception):  # noqa: N818 - an answer of the vendor's, not an error of this program
    """What the account refuses.

    Args:
        status: of HTTP.
        message: its text.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def parsed(body: bytes) -> Any:
    """The body as JSON with exact decimals. Raises Refused."""
    try:
        return json.loads(body, parse_float=Decimal)
    except ValueError:
        raise Refused(400, "The request is invalid: it is not JSON.") from None


def named(value: Any) -> dict[str, Any]:
    """An object by its names in lower case. Raises Refused."""
    if not isinstance(value, Mapping):
        raise Refused(400, "The request is invalid: an object is expected.")
    return {str(name).lower(): member for name, member in value.items()}


def customer_fields(body: Any) -> dict[str, Any]:
    """The fields of a customer that a body states, as they are shown. Raises Refused."""
    stated = named(body)
    fields = {name: stated[name.lower()] for name in _CUSTOMER if stated.get(name.lower()) is not None}
    for name, value in fields.items():
        if not isinstance(value, bool if name.startswith("Accepts") else str):
            raise Refused(400, f"The request is invalid: {name} is of another type.")
    return fields


def number(value: Any, name: str) -> Decimal:
    """An amount. Raises Refused: it is no JSON number, or larger than money is."""
    told = Decimal(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else None
    if told is None or told.adjusted() > _MOST_DIGITS:
        raise Refused(400, f"The request is invalid: {name} is a number.")
    return told


def rows(value: Any, name: str) -> list[dict[str, Any]]:
    """A list of objects, each by its names in lower case. Raises Refused."""
    if value is not None and not isinstance(value, list):
        raise Refused(400, f"The request is invalid: {name} is a list.")
    return [named(row) for row in value or ()]
