"""The tenant's own time: the caller's clock, moved forward on demand."""

from collections.abc import Callable
from datetime import datetime, timedelta


class TenantClock:
    """Tells the tenant's time and lets it be moved, so that a day of jobs fits in a test.

    Args:
        now: The clock underneath; aware instants.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._ahead = timedelta(0)

    def now(self) -> datetime:
        """The tenant's present instant, aware."""
        return self._now() + self._ahead

    def move_to(self, instant: datetime) -> None:
        """Make `instant` the present; the clock goes on from there."""
        self._ahead = instant - self._now()
