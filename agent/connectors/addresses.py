"""Base URLs in the vendors' tables, judged alike in every room."""

from typing import Final
from urllib.parse import SplitResult, urlsplit

_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


def base_url(value: str, *, example: str) -> SplitResult:
    """The parts of a vendor's base URL; what its path may be is the room's own to judge.

    Args:
        value: as configured.
        example: one that would do, for the error.

    Raises:
        ValueError: it is none, holds a user, a query or a fragment, or is plain http to another machine.
    """
    try:
        parts = urlsplit(value)
        is_address = bool(parts.hostname) and parts.port != 0  # an impossible port raises
    except ValueError:
        is_address = False
    plain = value.isascii() and value.isprintable() and not set(value) & set("@?# ")
    if not (is_address and plain and parts.scheme in ("http", "https")):
        raise ValueError(f"is not a base URL, such as {example}")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ValueError("is plain http, which is accepted for loopback only")
    return parts
