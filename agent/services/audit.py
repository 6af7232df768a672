"""The audit trail as the running agent keeps it: each entry anchored in the outbox, and the whole read by the hour.

A fault that is found is recorded in the trail itself, once: appending goes on, and nothing hides that it was broken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Protocol

import structlog

from agent.domain.audit import Facts, Head, Verification
from agent.ports import Clock

log = structlog.get_logger(__name__)


class Trail(Protocol):
    """The file; its calls block."""

    def append(self, event: str, now: datetime, facts: Facts) -> Head:
        """Records an event, on disk when this returns."""

    def entries(self) -> Iterator[dict[str, Any]]:
        """Every entry, in order."""

    def verify(self, anchor: Head | None = None) -> Verification:
        """Reads the whole trail."""

    def trim(self, before: datetime, now: datetime) -> Head | None:
        """Drops older entries."""


class Anchor(Protocol):
    """Where the trail's last entry is noted."""

    def load(self) -> Head | None:
        """The entry that was noted last."""

    async def save(self, head: Head) -> None:
        """Notes another."""


class Audit:
    """Records what was done.

    Args:
        clock: for the instants of entries.
        trail: the file.
        anchor: the note of its end.
        told: called with whether the trail is intact, after each look at the whole.
    """

    def __init__(self, *, clock: Clock, trail: Trail, anchor: Anchor, told: Callable[[bool], None]) -> None:
        self._clock, self._trail, self._anchor, self._told = clock, trail, anchor, told
        self._one_at_a_time = asyncio.Lock()

    async def record(self, event: str, /, **facts: int | str) -> Head:
        """Records an event; on disk and anchored when this returns. Raises StorageError."""
        async with self._one_at_a_time:
            return await self._record(event, facts)

    async def of_records(self, transaction_ids: set[str], activity_ids: set[str]) -> list[dict[str, Any]]:
        """The entries about these sales and activities, in order. Raises StorageError."""
        entries = await asyncio.to_thread(lambda: list(self._trail.entries()))
        return [
            entry
            for entry in entries
            if entry.get("transaction_id") in transaction_ids or entry.get("activity_id") in activity_ids
        ]

    async def check(self) -> Verification:
        """Reads the whole trail against its anchor, which then moves on to what commands have added.

        Raises:
            StorageError: it cannot be read, or the outbox cannot.
        """
        async with self._one_at_a_time:
            found = await asyncio.to_thread(self._trail.verify, self._anchor.load())
            if found.fault is not None and found.at_seq is not None:
                if not await asyncio.to_thread(self._knows, found):
                    log.error("audit.broken", reason=found.fault, entry=found.at_seq)
                    await self._record("audit.broken", {"fault": found.fault, "at_seq": found.at_seq})
            elif found.head is not None:
                log.info("audit.head", head=f"{found.head.seq}:{found.head.hash}")  # kept with the log, it is an anchor
                if found.head != self._anchor.load():
                    await self._anchor.save(found.head)
            self._told(found.intact)
            return found

    async def trim(self, before: datetime) -> None:
        """Drops entries from before an instant. Raises StorageError."""
        async with self._one_at_a_time:
            head = await asyncio.to_thread(self._trail.trim, before, self._clock.now())
            if head is not None:
                await self._anchor.save(head)

    async def _record(self, event: str, facts: Facts) -> Head:
        head = await asyncio.to_thread(self._trail.append, event, self._clock.now(), facts)
        await self._anchor.save(head)
        return head

    def _knows(self, found: Verification) -> bool:
        return any(
            (entry["event"], entry.get("fault"), entry.get("at_seq")) == ("audit.broken", found.fault, found.at_seq)
            for entry in self._trail.entries()
        )
