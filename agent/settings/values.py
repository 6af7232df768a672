"""Settings as TOML spells them: the reverse of what this package reads."""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from agent.settings.spellings import Rate, Size

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STEPS_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_BYTES = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}
_SECONDS = {"min": 60, "h": 3600}
_SIZE_MARK = Size.__metadata__[0]  # type: ignore[attr-defined] # what Annotated carries


def spelled(value: Any, field: FieldInfo | None = None) -> Any:  # noqa: PLR0911 - one for each kind of value
    """A setting's value as somebody would write it: plain JSON types, durations as ``15m``, sizes as ``1GiB``.

    Args:
        value: as the settings model holds it.
        field: its declaration; it tells sizes from other numbers.
    """
    match value:
        case timedelta():
            return duration(value)
        case Rate():
            return rate(value)
        case BaseModel():
            return {
                key: spelled(getattr(value, key)) for key in type(value).model_fields if key in value.model_fields_set
            }
        case Decimal() | date():
            return str(value)
        case tuple():
            return [spelled(item) for item in value]
        case int() if field is not None and _SIZE_MARK in field.metadata:
            return size(value)
        case _:
            return value


def toml(value: Any) -> str:
    """A spelled value in TOML. TOML's basic strings are JSON's."""
    if isinstance(value, list):
        return f"[{', '.join(toml(item) for item in value)}]"
    if isinstance(value, dict):
        rows = (f"{key if _BARE.fullmatch(key) else toml(key)} = {toml(item)}" for key, item in value.items())
        return f"{{ {', '.join(rows)} }}" if value else "{}"
    return json.dumps(value, ensure_ascii=False)


def duration(value: timedelta) -> str:
    """A duration in the largest unit that divides it."""
    milliseconds = value // timedelta(milliseconds=1)
    return _largest(milliseconds, _STEPS_MS)


def size(value: int) -> str:
    """A number of bytes in the largest unit that divides it."""
    return _largest(value, _BYTES)


def rate(value: Rate) -> str:
    """A ration a minute, or an hour where that makes it a whole number; ``off`` where there is none."""
    if value.per_second is None:
        return "off"
    per = next((unit for unit, seconds in _SECONDS.items() if (value.per_second * seconds).is_integer()), "h")
    return f"{round(value.per_second * _SECONDS[per])}/{per}"


def _largest(value: int, units: dict[str, int]) -> str:
    unit = next(unit for unit, step in units.items() if value % step == 0)
    return f"{value // units[unit]}{unit}"
