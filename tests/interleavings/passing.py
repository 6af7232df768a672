"""Time that passes when a test says so: an event loop whose timers come due at once, and the clocks that go with it."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta


class PassingLoop(asyncio.SelectorEventLoop):
    """An event loop ahead of the machine's time by what has been let pass.

    Attributes:
        passed_s: how far.
    """

    def __init__(self) -> None:
        self.passed_s = 0.0
        super().__init__()

    def time(self) -> float:
        """Seconds that only ever grow; every timer goes by them."""
        return super().time() + self.passed_s

    def let_pass(self, seconds: float) -> None:
        """So much later all of a sudden: what was due meanwhile is due now."""
        self.passed_s += seconds


class PassingClock:
    """The agent's clock and the vendor's, as far ahead as the loop's."""

    def __init__(self, loop: PassingLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._loop.passed_s)

    def monotonic(self) -> float:
        return self._loop.time()

    def today(self) -> date:
        return self.now().date()
