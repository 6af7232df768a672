"""Notes once a minute how the agent is, for plots of the last days.

Nothing here stands in a sale's way: the figures are counters that are kept anyway and point reads, and the file is
written every five minutes in another thread, unsynced, and not at all while there is no room for a sale. What is not
written is kept in memory for a day, and shown all the same; a kill costs the last minutes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from agent.domain.history import EVERY, Counts, Sample, Span, beginning, joined, points, since
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
        """Takes a sample, and writes those before it once it begins another five minutes."""
        sample = self._sample()
        if sample is None:
            return
        self._unwritten.append(sample)
        under_way = beginning(sample.at)
        over = [one for one in self._unwritten if beginning(one.at) != under_way]
        if not over or not self._room():
            return
        async with self._at_work:
            if await self._write(over):
                left = [one for one in self._unwritten if beginning(one.at) == under_way]
                self._unwritten = deque(left, maxlen=MOST_UNWRITTEN)

    async def of(self, span: Span) -> list[Sample]:
        """One sample for each step of a time that has any; of what cannot be read what is in memory."""
        async with self._at_work:
            unwritten = tuple(self._unwritten)
            try:
                return await asyncio.to_thread(self._points, span, unwritten)
            except StorageError as error:
                self._failed(error)
                return points(unwritten, span)

    def _points(self, span: Span, unwritten: Sequence[Sample]) -> list[Sample]:
        return points([*self._record.between(span.start, span.until), *unwritten], span)

    async def _write(self, over: Sequence[Sample]) -> bool:
        """Writes samples; whether they are written. That they cannot be is told once."""
        try:
            await asyncio.to_thread(lambda: self._record.add(joined(over)))
        except StorageError as error:
            self._failed(error)
            return False
        if self._failing:
            log.info("history.available", count=len(over))
        self._failing = False
        return True

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
