"""The end of personal data: a plan from the domain, carried out by the store, proven by an empty byte search."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Protocol

import structlog

from agent.domain.audit import Head
from agent.domain.retention import RetentionPlan, RetentionPolicy, plan, sweep_every
from agent.errors import StorageError
from agent.ports import Clock, HandedOver

log = structlog.get_logger(__name__)


class Sales(Protocol):
    """The outbox's door for the purge."""

    def due(self, plan: RetentionPlan) -> bool:
        """Whether a purge would find anything; cheap enough for every second."""

    async def purge(self, plan: RetentionPlan, now: datetime) -> dict[str, int]:
        """Erases what the plan names; counts."""


class Contacts(Protocol):
    """The replica's door for the purge."""

    async def purge(self, tombstones_before: datetime) -> dict[str, int]:
        """Drops old tombstones and every trace of removed contacts; counts."""


class Redemptions(Protocol):
    """What was used up for sales, as its purge sees it."""

    def due(self, plan: RetentionPlan) -> bool:
        """Whether a purge would find anything."""

    async def purge(self, plan: RetentionPlan, now: datetime) -> dict[str, int]:
        """Erases what the plan names; how many."""


class Enrolments(Protocol):
    """Contacts made at this till, as their purge sees them."""

    def due(self, plan: RetentionPlan) -> bool:
        """Whether a purge would find anything."""

    async def purge(self, plan: RetentionPlan) -> dict[str, int]:
        """Erases what the plan names; how many."""


class KeptFiles(Protocol):
    """Damaged files that were kept, as the purge sees them."""

    async def purge(self, taken_before: datetime, now: datetime) -> int:
        """Erases those that hold personal data from before an instant; how many."""


class Trail(Protocol):
    """The audit trail's door for the purge."""

    async def record(self, event: str, /, **facts: int | str) -> Head:
        """Puts an entry into it."""

    async def trim(self, before: datetime) -> None:
        """Drops older entries."""

    async def check(self) -> object:
        """Looks whether the trail is whole."""


class Purge:
    """Erases what has to go.

    Args:
        clock: for ages.
        policy: `[retention]`.
        sales: the outbox.
        contacts: the replica.
        kept: damaged files that were kept.
        trail: the audit trail, which has its own end.
        redemptions: what was used up for sales.
        enrolments: contacts made at this till.
        handed_over: files that wait for a vendor to fetch them.
        spool: erases downloaded export files that were left behind; how many there were.
        memory: drops what is remembered of people and is too old.
        reading: whether a feed is being read: what lies in the spool then is not left behind.
        alone: held by whoever erases, or reads a whole file through.
        changed: called when something was erased.
        trusted: whether ages by the wall clock mean something.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        policy: RetentionPolicy,
        sales: Sales,
        contacts: Contacts,
        kept: KeptFiles,
        trail: Trail,
        redemptions: Redemptions,
        enrolments: Enrolments,
        handed_over: Sequence[HandedOver],
        spool: Callable[[], int],
        memory: Callable[[], None],
        reading: Callable[[], bool],
        alone: asyncio.Lock,
        changed: Callable[[], None],
        trusted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._clock, self._policy, self._sales, self._contacts = clock, policy, sales, contacts
        self._spool, self._reading, self._changed, self._trusted = spool, reading, changed, trusted
        self._kept, self._trail, self._alone, self._memory = kept, trail, alone, memory
        self._redemptions, self._enrolments, self._handed_over = redemptions, enrolments, handed_over

    async def run(self) -> dict[str, int]:
        """Carries the plan out; how many records of each kind were erased.

        While the clock is known to be days off ages mean nothing, and nothing expires; a clock that is a few minutes
        off, as many a till's, is good enough. One room's trouble does not keep
        another's data alive: the rest is erased all the same.

        Raises:
            StorageError: something could not be erased; it will be at the next run.
        """
        async with self._alone:
            self._memory()  # by monotonic age, whatever the clock says
            now = self._clock.now()
            counts = {"files": 0 if self._reading() else self._spool()}
            if not self._trusted():
                log.warning("purge.skipped", condition="clock.wrong")
                return counts
            what = plan(self._policy, now)
            failures = []
            for erase in (
                partial(self._sales.purge, what, now),
                partial(self._redemptions.purge, what, now),
                partial(self._enrolments.purge, what),
                partial(self._contacts.purge, what.tombstones_before),
                partial(self._kept_of, what, now),
                partial(self._unfetched_of, what),
                partial(self._trail_of, what, counts),
            ):
                try:
                    counts |= await erase()
                except StorageError as error:
                    failures.append(error)
            log.info("purged", counts=counts)
            self._changed()
            if failures:
                raise failures[0]
            return counts

    async def run_often(self) -> None:
        """Between the runs, sweeps sales as often as the shortest retention asks for; ends by cancellation.

        On monotonic time. A sweep that fails is told once and tried again.
        """
        every, failing = sweep_every(self._policy), False
        while True:
            try:
                await self.sweep()
            except StorageError as error:
                if not failing:
                    log.warning("sweep.failed", code=error.code)
                failing = True
            else:
                failing = False
            await asyncio.sleep(every.total_seconds())

    async def sweep(self) -> dict[str, int]:
        """Erases the sales that have to go, and only looks when there are none. Raises StorageError."""
        async with self._alone:
            now = self._clock.now()
            what = plan(self._policy, now)
            due = self._sales.due(what) or self._redemptions.due(what) or self._enrolments.due(what)
            if not self._trusted() or not due:
                return {}
            counts = await self._sales.purge(what, now) | await self._redemptions.purge(what, now)
            counts |= await self._enrolments.purge(what)
            await self._trail.record("retention.purged", **counts)
            log.info("swept", counts=counts)
            self._changed()
            return counts

    async def _kept_of(self, what: RetentionPlan, now: datetime) -> dict[str, int]:
        return {"kept_files": await self._kept.purge(what.accepted_before, now)}

    async def _unfetched_of(self, what: RetentionPlan) -> dict[str, int]:
        expired = sum([await files.expire(what.accepted_before) for files in self._handed_over])
        return {"files_unfetched": expired} if expired else {}

    async def _trail_of(self, what: RetentionPlan, counts: dict[str, int]) -> dict[str, int]:
        if any(counts.values()):
            await self._trail.record("retention.purged", **counts)
        await self._trail.trim(what.audit_before)
        await self._trail.check()
        return {}
