"""The end of personal data: a plan from the domain, carried out by the store, proven by an empty byte search."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import structlog

from agent.domain.health import Conditions
from agent.domain.retention import RetentionPlan, RetentionPolicy, plan
from agent.ports import Clock, ReplicaInfo

log = structlog.get_logger(__name__)


class Sales(Protocol):
    """The outbox's door for the purge."""

    async def purge(self, plan: RetentionPlan, now: datetime) -> dict[str, int]:
        """Erases what the plan names; counts."""


class Contacts(Protocol):
    """The replica's door for the purge."""

    def info(self) -> ReplicaInfo:
        """Size and freshness."""

    async def purge(self, tombstones_before: datetime) -> dict[str, int]:
        """Drops old tombstones and every trace of removed contacts; counts."""

    async def erase_all(self) -> None:
        """The whole replica goes."""


class Purge:
    """Erases what has to go.

    Args:
        clock: for ages.
        policy: `[retention]`.
        sales: the outbox.
        contacts: the replica.
        spool: erases downloaded export files that were left behind; how many there were.
        conditions: where an expired replica is told.
        changed: called when something was erased.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        policy: RetentionPolicy,
        sales: Sales,
        contacts: Contacts,
        spool: Callable[[], int],
        conditions: Conditions,
        changed: Callable[[], None],
    ) -> None:
        self._clock, self._policy, self._sales, self._contacts = clock, policy, sales, contacts
        self._spool, self._conditions, self._changed = spool, conditions, changed
        self._running = asyncio.Lock()

    async def run(self) -> dict[str, int]:
        """Carries the plan out; how many records of each kind were erased."""
        async with self._running:
            now = self._clock.now()
            what = plan(self._policy, now, replica_as_of=self._contacts.info().as_of)
            counts = await self._sales.purge(what, now)
            counts["files"] = self._spool()
            if what.replica:
                await self._contacts.erase_all()
                self._conditions.set("replica.expired", stands=True, now=now)
            else:
                counts |= await self._contacts.purge(what.tombstones_before)
            log.info("purged", counts=counts)
            self._changed()
            return counts
