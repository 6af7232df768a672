"""What stands on a coupon or a reward, as a till shows it: when it ends, and what it is called. Pure."""

from datetime import UTC, date, datetime, time, timedelta

from agent.connectors.antavo.customers import instant_of
from agent.connectors.values import kept_text

_DATE_CHARS = len("2026-02-14")
_A_DAY = timedelta(days=1)
_MAX_NAME_CHARS = 200


def end_of(told: object) -> datetime | None:
    """The first instant after it; None where it has no end. Raises ValueError: nobody can tell."""
    if told is None:
        return None
    if isinstance(told, str) and len(told) == _DATE_CHARS:
        return datetime.combine(date.fromisoformat(told) + _A_DAY, time(), UTC)
    at = instant_of(told)
    if at is None:
        raise ValueError("is no instant")
    return at


def exact_instant_of(told: object) -> datetime | None:
    """An instant that is one wherever it is read: seconds, or a text with an offset; None for anything else."""
    if not isinstance(told, str):
        return instant_of(told)
    try:
        at = datetime.fromisoformat(told)
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


def words_of(told: object, *, most_chars: int = _MAX_NAME_CHARS) -> str:
    """Words without control characters, cut to a length; empty where there are none."""
    return "".join(char for char in (kept_text(told) or "")[:most_chars] if char.isprintable())
