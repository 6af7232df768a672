"""The only room that reads clocks. Everything else is handed an instant or this port."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's clocks.

    Args:
        zone: the store's time zone, for `today`.
    """

    zone: tzinfo = UTC

    def now(self) -> datetime:
        """The wall clock, aware, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that only ever grow, whatever happens to the wall clock; time asleep counts where that is known."""
        if sys.platform != "linux":
            return time.monotonic()
        return time.clock_gettime(time.CLOCK_BOOTTIME)  # the other one stops there while the machine sleeps

    def today(self) -> date:
        """The date in the store's time zone."""
        return datetime.now(self.zone).date()
