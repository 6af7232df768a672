"""What every room needs: the time, an entry in the audit trail, a secret, a vendor's allowance."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date, datetime
from typing import Protocol

from agent.domain.audit import Head


class Clock(Protocol):
    """Reads the clocks; the only way to learn the time."""

    def now(self) -> datetime:
        """The wall clock, aware, UTC."""

    def monotonic(self) -> float:
        """Seconds that only ever grow, for intervals."""

    def today(self) -> date:
        """The date in the store's time zone."""


class Record(Protocol):
    """Puts an entry into the audit trail."""

    async def __call__(self, event: str, /, **facts: int | str) -> Head:
        """The entry, on disk. Raises StorageError."""


class Secret(Protocol):
    """A secret by reference, read again at most once a minute or when a vendor refuses it."""

    def value(self) -> str:
        """The secret, white space around it dropped. Raises ConfigurationError when it cannot be read."""

    def refused(self) -> None:
        """The vendor refused it: it is read again before the next use."""


Pace = Callable[[], Awaitable[None]]
"""Takes one call out of this agent's share of a vendor's allowance; who can wait is made to."""
