"""How many calls a project has: so many a minute, and so many until its plan is used up.

Source: limits page: three headers on every answer; `Retry-After` and `X-Rate-Limit-Type` once a call is refused.
"""

import math
from dataclasses import dataclass, field
from datetime import datetime

_WINDOW_S = 60


@dataclass
class Allowance:
    """A project's allowance.

    Attributes:
        per_minute: calls in each minute of the clock.
        of_plan: calls that the plan still has; None for no end.
    """

    per_minute: int
    of_plan: int | None = None
    _window: int = field(default=0, repr=False)
    _used: int = field(default=0, repr=False)

    def take(self, now: datetime) -> tuple[dict[str, str], bool]:
        """The headers of the answer to one call, and whether it is let in."""
        second = now.timestamp()
        window = int(second // _WINDOW_S)
        if window != self._window:
            self._window, self._used = window, 0
        exhausted = self.of_plan is not None and self.of_plan <= 0
        fits = not exhausted and self._used < self.per_minute
        if fits:
            self._used += 1
            self.of_plan = None if self.of_plan is None else self.of_plan - 1
        left = self.per_minute - self._used
        until = (window + 1) * _WINDOW_S
        headers = {
            "X-Rate-Limit-Limit": str(self.per_minute),
            "X-Rate-Limit-Remaining": str(left),
            "X-Rate-Limit-Retry": str(math.floor(second) if left else until),
        }
        if not fits:
            headers["X-Rate-Limit-Type"] = "api_calls_cycle" if exhausted else "api_calls"
            headers["Retry-After"] = str(math.ceil(until - second))
        return headers, fits
