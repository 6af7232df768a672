"""The data lease: a replica that is not renewed in time becomes unreadable by itself, and is deleted.

Every successful sync renews it. When `replica.expires_after` has passed without one, the key of the replica is
overwritten, its files are removed and an empty one takes their place; sales go on, tagged with what customers say.
That happens at the start before the replica is opened, and every second while the agent runs. How time is counted is
in :mod:`agent.domain.lease`.

Look-ups are closed the moment the time is over. The end itself waits, an hour at most, for what may still renew or
vouch for the replica: a sync under way, or the vendor's word on a clock that claims years.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from agent.domain.health import Conditions
from agent.domain.lease import Ageing, Contents, LeaseRecord, Standing
from agent.errors import StorageError
from agent.ports import Clock, Record

log = structlog.get_logger(__name__)

CHECK_S = 1.0
SAVE_S = 300.0
PATIENCE_S = 3600.0
EXPIRED = "replica.expired"


class Replica(Protocol):
    """The replica as its lease sees it. Closed until it is opened."""

    def there(self) -> bool:
        """Whether anything is kept that a lease would be about."""

    def open(self) -> None:
        """Look-ups may read it. Raises StorageError."""

    def withhold(self) -> None:
        """Closes it to look-ups; they find nobody. Idempotent."""

    def start_over(self) -> None:
        """Erases its key, then its files, and opens an empty one. Raises StorageError, OSError; can be repeated."""

    def load(self) -> LeaseRecord | None:
        """What was saved for this replica, if it can be read."""

    def save(self, record: LeaseRecord) -> None:
        """Puts the record on disk; in a thread. Raises OSError."""


class Lease:
    """Keeps the lease of the replica.

    Args:
        clock: for what passes.
        term: `replica.expires_after`.
        replica: what the lease is about.
        conditions: `replica.expired` is told here.
        changed: called when the replica opens or closes.
        busy: whether a sync, or somebody else, is writing to the replica.
        record: the audit trail, which says when a replica ended.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        term: timedelta,
        replica: Replica,
        conditions: Conditions,
        changed: Callable[[], None],
        busy: Callable[[], bool],
        record: Record,
    ) -> None:
        self._clock, self._term, self._replica = clock, term, replica
        self._conditions, self._changed, self._busy = conditions, changed, busy
        self._record = record
        self._contents = Contents.NONE
        self._closed_mono: float | None = clock.monotonic()
        self._saved_mono = float("-inf")
        self._said: set[str] = set()
        self._saving = asyncio.Lock()

    async def start(self) -> None:
        """Opens the replica, or ends it before anybody has read it. Raises StorageError."""
        now, mono = self._clock.now(), self._clock.monotonic()
        record = self._replica.load()
        lost = record is None and self._replica.there()
        if lost:  # nobody knows how old it is
            log.warning("lease.unreadable")
            record = LeaseRecord(self._term.total_seconds() + 1, now, contents=Contents.HELD)
        record = record or LeaseRecord(0.0, now)
        self._contents, self._ageing = record.contents, Ageing(record, now, mono)
        await self.check()

    async def run(self) -> None:
        """Looks every second, for ever."""
        while True:
            await self.check()
            await asyncio.sleep(CHECK_S)

    async def check(self) -> None:
        """Opens, closes or ends the replica as its age demands, and writes down from time to time how far it is."""
        mono = self._clock.monotonic()
        before = self._contents
        self._act(mono)
        if self._contents is not before or mono - self._saved_mono >= min(SAVE_S, self._term.total_seconds() / 20):
            await self._save()
        if before is Contents.HELD and self._contents is Contents.ENDED:
            await self._record_end()

    async def renewed(self) -> None:
        """A sync has succeeded: the replica is right as of now."""
        self._ageing.renew(self._clock.now(), self._clock.monotonic())
        self._contents = Contents.HELD
        self._act(self._clock.monotonic())
        await self._save()

    def heard(self, theirs: datetime) -> None:
        """The vendor said what time it is."""
        self._ageing.hear(theirs, self._clock.monotonic())

    async def close(self) -> None:
        """Writes down how far it is, at the end of a run."""
        await self._save()

    def _act(self, mono: float) -> None:
        standing = self._ageing.standing(mono, self._term)
        if standing is Standing.VALID:
            if self._closed_mono is not None:
                self._replica.open()
                self._closed_mono = None
        elif self._contents is not Contents.HELD:
            if not self._busy():  # what is left of a first load that was cut off
                self._end(mono)
        else:
            if self._closed_mono is None:
                self._replica.withhold()
                self._closed_mono = mono
            may_change = standing is Standing.DOUBTFUL or self._busy()
            if not may_change or mono - self._closed_mono >= PATIENCE_S:
                self._end(mono)
        gone = self._contents is Contents.ENDED or (self._contents is Contents.HELD and self._closed_mono is not None)
        if gone is not self._conditions.stands(EXPIRED):
            self._conditions.set(EXPIRED, stands=gone, now=self._clock.now())
            self._changed()

    def _end(self, mono: float) -> None:
        """Erases everything. When the disk says no it stays closed, and the next look tries again."""
        try:
            self._replica.start_over()
        except (StorageError, OSError) as error:
            self._say_once("replica.not_erased", error)
            return
        self._said.clear()
        self._closed_mono = None
        self._ageing.renew(self._clock.now(), mono)
        if self._contents is Contents.HELD:
            self._contents = Contents.ENDED
            log.warning("replica.expired")

    async def _record_end(self) -> None:
        try:
            await self._record("replica.expired")
        except StorageError as error:  # the end itself is what counts; the log and the condition say it as well
            self._say_once("audit.not_recorded", error)

    async def _save(self) -> None:
        async with self._saving:
            mono = self._clock.monotonic()
            record = self._ageing.record(self._contents, self._clock.now(), mono)
            try:
                await asyncio.to_thread(self._replica.save, record)
            except OSError as error:  # the disk is full, perhaps: the one before says enough, and is tried again
                self._say_once("lease.not_saved", error)
            else:
                self._said.discard("lease.not_saved")
            self._saved_mono = mono

    def _say_once(self, event: str, error: Exception) -> None:
        if event not in self._said:
            self._said.add(event)
            log.error(event, error=type(error).__name__)
