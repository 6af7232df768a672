"""Whole numbers as Voucherify's objects hold them: points, pieces, the smallest unit of a currency. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from agent.errors import VendorOwnError

_WHOLE = re.compile(r"-?[0-9]{1,15}")
_LARGEST = 10**15


def whole(of: Mapping[str, Any], name: str) -> int | None:
    """A whole number, which can come as text; None where none is told.

    Raises:
        VendorOwnError: something else stands there: taken for nothing, it would be lost.
    """
    value = of.get(name)
    if value is None:
        return None
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST:
        return value
    raise VendorOwnError(f"answers with {name} that is no whole number")
