"""The forms in which mParticle takes instants, ids and JSON. Pure."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import simplejson

_NAMESPACE = uuid.UUID("5b0f6a1c-51d7-5c0b-9d5f-7a2c3a5be0d4")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def milliseconds(at: datetime) -> int:
    """Whole milliseconds since 1970, exactly."""
    return (at - _EPOCH) // timedelta(milliseconds=1)


def stable_id(*parts: str) -> str:
    """A UUID that the same parts always give: what makes a repetition recognisable as one."""
    return str(uuid.uuid5(_NAMESPACE, "\0".join(parts)))


def render_json(value: Any) -> bytes:
    """JSON with exact decimals: 250.00 stays 250.00."""
    return bytes(simplejson.dumps(value, use_decimal=True, ensure_ascii=False, separators=(",", ":")), "utf-8")
