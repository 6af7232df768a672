"""Notes once a minute how the agent is, for plots of the last days.

Nothing here stands in a sale's way: the figures are counters that are kept anyway and point reads, and the file is
written in another thread, unsynced, and not at all while there is no room for a sale. What could not be written is
kept in memory for a day, and shown all the same.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from agent.domain.history import EVERY, Counts, Sample, Span, points, since
from agent.errors import StorageError
from agent.ports import Clock, QueueInfo, ReplicaInfo

log = structlog.get_logger(__name__)

MOST_UNWRITTEN: Final = timedelta(days=1) // EVERY


class Record(Protocol):
    """Where samples are kept (`agent.store.history.HistoryFile`). Blocks; raises StorageError."""

    def add(self, samples: Sequence[Sample]) -> None:
        """Puts samples behind those that are there."""

    def between(self, start: datetime, until: datetime) -> list[Sample]:
        """The samples of a time."""


class History:
    """How the agent was.

    Args:
        clock: for the samples' instants.
        record: on disk.
        queue: the outbox in figures. May raise StorageError.
        replica: the local contacts in figures. May raise StorageError.
        answers: how long tills waited for the answer to a sale, counted since the start.
        delivered: how long sales took to each vendor, counted since the start.
        room: whether there is room on the disk for a sale; without it nothing is written here.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        record: Record,
        queue: Callable[[], QueueInfo],
        replica: Callable[[], ReplicaInfo],
        answers: Callable[[], Counts],
        delivered: Callable[[], Mapping[str, Counts]],
        room: Callable[[], bool],
    ) -> None:
        self._clock, self._record, self._queue, self._replica = clock, record, queue, replica
        self._answers, self._delivered, self._room = answers, delivered, room
        self._answers_before: Counts = ()
        self._delivered_before: Mapping[str, Counts] = {}
        self._unwritten: deque[Sample] = deque(maxlen=MOST_UNWRITTEN)
        self._failing = False
        self._at_work = asyncio.Lock()

    async def run(self) -> None:
        """Takes a sample at the end of each minute; works for ever, ends by cancellation.

        The wall clock says where a minute ends, and no more: wherever it jumps, the next sample is a minute away.
        """
        every_s = EVERY.total_seconds()
        while True:
            await asyncio.sleep(every_s - self._clock.now().timestamp() % every_s)
            await self.note()

    async def note(self) -> None:
        """Takes a sample, and writes what is unwritten; why it could not be written is told once."""
        sample = self._sample()
        if sample is not None:
            self._unwritten.append(sample)
        if not self._room():
            return
        async with self._at_work:
            await self._write(tuple(self._unwritten))

    async def of(self, span: Span) -> list[Sample]:
        """One sample for each step of a time that has any; of what cannot be read what is in memory."""
        async with self._at_work:
            try:
                kept = await asyncio.to_thread(self._record.between, span.start, span.until)
            except StorageError as error:
                self._failed(error)
                kept = []
            return points([*kept, *self._unwritten], span)

    async def _write(self, waiting: Sequence[Sample]) -> None:
        try:
            await asyncio.to_thread(self._record.add, waiting)
        except StorageError as error:
            self._failed(error)
            return
        if self._failing:
            log.info("history.available", count=len(waiting))
        self._failing = False
        for _ in waiting:
            self._unwritten.popleft()

    def _failed(self, error: StorageError) -> None:
        if not self._failing:
            log.warning("history.unavailable", code=error.code, reason=str(error))
        self._failing = True

    def _sample(self) -> Sample | None:
        """How it is now; None when the queue cannot be read: what happened then counts for the next sample."""
        now = self._clock.now()
        try:
            queue = self._queue()
        except StorageError:
            return None
        answers, delivered = self._answers(), self._delivered()
        sample = Sample(
            now,
            queue.depth,
            queue.parked,
            queue.in_doubt,
            _age_s(queue.oldest_at, now),
            _age_s(self._replica_as_of(), now),
            since(answers, self._answers_before),
            {
                vendor: new
                for vendor, counts in delivered.items()
                if (new := since(counts, self._delivered_before.get(vendor, ())))
            },
        )
        self._answers_before, self._delivered_before = answers, delivered
        return sample

    def _replica_as_of(self) -> datetime | None:
        try:
            return self._replica().as_of
        except StorageError:
            return None


def _age_s(instant: datetime | None, now: datetime) -> int | None:
    return None if instant is None else max(0, int((now - instant).total_seconds()))
