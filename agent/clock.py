"""The only room that reads clocks. Everything else is handed an instant or this port."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo

# Linux stops its monotonic clock while the machine sleeps, and has another one that goes on.
_BOOT_TIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)


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
        return time.monotonic() if _BOOT_TIME is None else time.clock_gettime(_BOOT_TIME)

    def today(self) -> date:
        """The date in the store's time zone."""
        return datetime.now(self.zone).date()
