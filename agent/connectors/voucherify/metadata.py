"""Metadata typed as the project's schema has it: a value of another type would have the whole call refused. Pure.

Voucherify's own connector from mParticle leaves out what its schema does not define, and rejects what does not parse
(`500A`, `500$` are no numbers). Calling Voucherify directly, a wrong type is 400 `metadata_validation_failed` for the
whole sale, so that the same is done here before it is sent; what was left out is told by its name.

===========  ===================================================  ===================================
type         accepted                                             source
===========  ===================================================  ===================================
string       anything                                             metadata page
number       a plain decimal, blanks around it dropped            mParticle page: 500, not 500A, 500$
boolean      true, false, in any case of letters                  metadata page; the words are ours
date         YYYY-MM-DD that the calendar has                     metadata page
datetime     ISO 8601 with a zone, turned to UTC                  metadata page; without one: ours
image_url    http or https, ending in jpg, jpeg or png            metadata page
TYPE[]       one value, or a JSON array of them                   metadata page; all or nothing: ours
===========  ===================================================  ===================================

`object` and `geopoint` are not here: no attribute of a till's is either.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FACTS = _words(
    "store_id till_id receipt_number channel currency type total_amount tax_amount till_discount payment_types "
    "coupon_codes offer_ids occurred_at stated_at original_transaction_id transaction_id"
)
"""What a sale can say of itself."""

_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{1,15})?([eE][+-]?[0-9]{1,2})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_IMAGE = re.compile(r"https?://[^\s/]+/\S*\.(jpg|jpeg|png)", re.IGNORECASE)
_SPEAKABLE = re.compile(r"[A-Za-z][A-Za-z_]{0,39}")
_MANY = "[]"


@dataclass(frozen=True, slots=True)
class Typed:
    """Metadata that fits a schema.

    Attributes:
        values: what goes along.
        omitted: names of what does not: the schema has no place for it, or it is of another type.
    """

    values: Mapping[str, Any] = field(repr=False)
    omitted: tuple[str, ...] = ()


def fit(stated: Mapping[str, Any], schema: Mapping[str, str]) -> Typed:
    """What of the stated values fits a schema.

    Args:
        stated: values by name; None is nothing stated.
        schema: types by name.
    """
    values, omitted = {}, []
    for name, value in stated.items():
        if value is None:
            continue
        parsed = parse(value, schema[name]) if name in schema else None
        if parsed is None:
            omitted.append(name if _SPEAKABLE.fullmatch(name) else "another")
        else:
            values[name] = parsed
    return Typed(values, tuple(dict.fromkeys(omitted)))


def parse(value: Any, kind: str) -> Any:
    """A value in the form of its type; None where it is not of that type.

    Args:
        value: a text, a number, a boolean, or a list of them.
        kind: one of :data:`TYPES`.
    """
    if not kind.endswith(_MANY):
        return _PARSERS[kind](_text(value))
    inner = _PARSERS[kind.removesuffix(_MANY)]
    parsed = [inner(_text(item)) for item in _items(value)]
    return None if None in parsed else parsed


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _items(value: Any) -> list[Any]:
    try:
        found = json.loads(value, parse_float=Decimal) if isinstance(value, str) and value.startswith("[") else value
    except (ValueError, RecursionError):
        found = value
    plain = isinstance(found, list) and all(isinstance(item, str | int | Decimal) for item in found)
    return found if isinstance(found, list) and plain else [value]


def _string(text: str) -> str:
    return text


def _number(text: str) -> int | Decimal | None:
    text = text.strip(" ")
    if not _NUMBER.fullmatch(text):
        return None
    return Decimal(text) if set(text) & set(".eE") else int(text)


def _boolean(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.lower())


def _date(text: str) -> str | None:
    try:
        return date.fromisoformat(text).isoformat() if _DATE.fullmatch(text) else None
    except ValueError:
        return None


def _datetime(text: str) -> str | None:
    try:
        at = datetime.fromisoformat(text)
        return render_instant(at) if at.utcoffset() is not None else None
    except (ValueError, OverflowError):
        return None


def render_instant(at: datetime) -> str:
    """An instant in UTC with milliseconds, as Voucherify writes them."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _image_url(text: str) -> str | None:
    return text if _IMAGE.fullmatch(text) else None


_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "string": _string,
    "number": _number,
    "boolean": _boolean,
    "date": _date,
    "datetime": _datetime,
    "image_url": _image_url,
}
TYPES = frozenset(_PARSERS) | {f"{kind}{_MANY}" for kind in _PARSERS}
"""The types that a value can be declared with."""
EVENT_TYPES = frozenset(_PARSERS) - {"image_url"}
"""Those that the schema of an event has; it has no lists either (metadata page)."""
