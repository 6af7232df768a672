"""Bodies in: bytes to checked models, numbers exact, faults with pointers and without values."""

import json
import math
import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError

from agent.api.problems import MALFORMED, MAX_FAULTS, DoorError
from agent.errors import Fault, InputError

M = TypeVar("M", bound=BaseModel)

MAX_NUMBER_CHARS: Final = 64
MAX_PLACES: Final = 40
MAX_LISTED: Final = 10_000
"""More faults than this are not looked at one by one: that alone would keep everybody else waiting."""
_NAME: Final = re.compile(r"[A-Za-z_](?:[A-Za-z_]|[0-9]{1,2}(?![0-9])){0,40}")
"""Of a field; a longer number in it may be somebody's."""
_WORDS: Final = {
    "missing": "is needed",
    "extra_forbidden": "is not a field of this call",
    "timezone_aware": "has no offset; write it as in 2026-02-14T16:41:09+01:00",
    "model_type": "is not an object",
    "dict_type": "is not an object",
    "tuple_type": "is not a list",
}


def parse_json(body: bytes) -> Any:
    """The JSON value of a body; numbers with a point or an exponent are `Decimal`.

    Raises:
        DoorError: `request.malformed`: not JSON, not UTF-8, a key twice in one object, nested too deeply.
    """
    if not body:
        raise DoorError(MALFORMED, "The body is empty.")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise DoorError(MALFORMED, "The body is not UTF-8.") from None
    try:
        value = _DECODER.decode(text)
        if "\\u" in text:  # a half of a surrogate pair is no character, and no database keeps it
            json.dumps(value, ensure_ascii=False, default=str).encode("utf-8")
    except RecursionError:
        raise DoorError(MALFORMED, "The body is nested too deeply.") from None
    except _TwiceError:
        raise DoorError(MALFORMED, "A key stands twice in one object.") from None
    except UnicodeEncodeError:
        raise DoorError(MALFORMED, "The body holds half of a surrogate pair.") from None
    except ValueError:  # not JSON
        raise DoorError(MALFORMED) from None
    return value


def parse(model: type[M], body: bytes) -> M:
    """The checked model that a body spells.

    Raises:
        DoorError: `request.malformed`.
        InputError: it does not fit; with a fault for each place.
    """
    value = parse_json(body)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        if error.error_count() > MAX_LISTED:
            raise InputError([Fault("", f"does not fit in more than {MAX_LISTED} places")]) from None
        raise InputError(
            faults(error.errors(include_url=False, include_context=False, include_input=False), value)
        ) from None


def parse_query(model: type[M], sent: bytes) -> M:
    """The checked model that a query string spells; a parameter without a value is one that is not there.

    Raises:
        InputError: it does not fit; the pointers begin with ``/query``.
    """
    try:
        pairs = parse_qsl(sent.decode("ascii"), errors="strict", max_num_fields=MAX_FAULTS)
    except ValueError:  # UnicodeDecodeError is one
        raise InputError([Fault("/query", "is not a query string")]) from None
    values = dict(pairs)
    if len(values) != len(pairs):
        raise InputError([Fault("/query", "has a parameter twice")])
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise InputError(faults(found, values, "/query")) from None


def faults(errors: Sequence[Any], value: Any, root: str = "") -> list[Fault]:
    """What pydantic found, as pointers into the value and words that never repeat it.

    Args:
        errors: of a `ValidationError`.
        value: what was checked; steps of a location that are not in it (members of a union) are left out.
        root: the pointer of ``value`` itself.
    """
    found: dict[str, str] = {}
    for error in errors:
        pointer = root + _pointer(error["loc"], value, absent=error["type"] == "missing")
        found.setdefault(pointer, _WORDS.get(error["type"]) or _plain(error["msg"]))
        if len(found) == MAX_FAULTS:
            break
    return [Fault(pointer, message) for pointer, message in found.items()]


def _pointer(location: Sequence[Any], value: Any, *, absent: bool) -> str:
    steps = []
    for index, step in enumerate(location):
        if isinstance(value, dict) and isinstance(step, str):
            if step not in value and not (absent and index == len(location) - 1):
                continue
            value = value.get(step)
            steps.append(step if _NAME.fullmatch(step) else "*")
        elif isinstance(value, list) and isinstance(step, int):
            value = value[step] if step < len(value) else None
            steps.append(str(step))
    return "".join(f"/{step}" for step in steps)


def _plain(message: str) -> str:
    message = message.removeprefix("Value error, ").removeprefix("Input ")
    return message[:1].lower() + message[1:]


class _TwiceError(ValueError):
    """A key stands twice in one object."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _TwiceError
    return found


def _number(text: str) -> Decimal | float:
    """The exact number; what no field could hold becomes NaN, which no field takes, and gets its pointer that way.

    `1e-999999999` is a short text and a decimal of a gigabyte once it is written out.
    """
    if len(text) > MAX_NUMBER_CHARS:
        return math.nan
    try:
        number = Decimal(text)
    except InvalidOperation:
        return math.nan
    return number if _places(number) <= MAX_PLACES else math.nan


def _whole(text: str) -> int | float:
    """The same of a number without a point and an exponent."""
    return int(text) if len(text.removeprefix("-")) <= MAX_PLACES else math.nan


def _places(number: Decimal) -> float:
    """How many digits a number has once it is written out; the point is not counted."""
    exponent = number.as_tuple().exponent
    return max(number.adjusted() + 1, 1) + max(-exponent, 0) if isinstance(exponent, int) else math.inf


def _constant(_text: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


_DECODER: Final = json.JSONDecoder(
    parse_float=_number, parse_int=_whole, parse_constant=_constant, object_pairs_hook=_object
)
