"""What was leased together, on its way to a vendor and back into the outbox.

Sales of one person never overtake each other: they travel on one strand, a call takes the first of each of several
strands, and a strand stops at the first sale that does not go through. A call that the vendor refuses as a whole is
made again in halves, so that one record cannot hold up those that travelled with it. What is leased is always given
back: untried, or with a verdict. A verdict that cannot be written down (the disk is full) is kept in the :class:`Books`
until it can be, and nothing more is sent meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, Protocol

import structlog

from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.transaction import IntegrationKey
from agent.errors import StorageError
from agent.ports import Clock, Occurrence, Outgoing, Settled

log = structlog.get_logger(__name__)

DELIVERED: Final = (VerdictKind.DONE, VerdictKind.DUPLICATE)
_INTERRUPTED: Final = Verdict(
    VerdictKind.RETRY, "agent.stopped", title="The agent stopped while the sale was on its way."
)


class Queue(Protocol):
    """The outbox's door for deliveries."""

    async def lease(self, vendor: str, limit: int, now: datetime) -> list[Outgoing]:
        """Takes what is due."""

    async def settle(self, settled: Sequence[Settled], now: datetime) -> None:
        """Writes verdicts down."""

    async def release(self, entries: Sequence[int]) -> None:
        """Gives leases back untried."""

    async def recover(self, vendor: str) -> int:
        """Takes back every lease, while nothing is under way."""

    async def enrolling(self, entry: int, now: datetime) -> bool:
        """Writes that the vendor is asked to make the new contact of a sale; whether it was at an earlier attempt."""

    async def not_enrolled(self, entry: int) -> None:
        """Writes that the vendor had them before it was asked."""

    async def retag(self, entry: int, key: IntegrationKey, now: datetime, joined: Occurrence | None = None) -> None:
        """Writes a settled tag, and that the delivery goes out now; and that its new contact joined, if it did."""

    async def sending(self, entries: Sequence[int]) -> None:
        """Writes that open deliveries go out now, under the tags they have."""

    async def make_due(self, vendor: str, *, doubtful_at: datetime | None = None) -> None:
        """Forgets every back-off at one vendor; what may have arrived waits until ``doubtful_at`` at most."""

    def next_due_at(self, vendor: str, now: datetime) -> datetime | None:
        """When the next one that backs off is due."""


class Books:
    """What a lane owes to the outbox: verdicts that could not be written down, and leases to give back.

    Args:
        queue: the outbox.
        clock: for the instants of verdicts.
        vendor: the lane's, for the log.
    """

    def __init__(self, queue: Queue, clock: Clock, vendor: str) -> None:
        self._queue, self._clock, self._vendor = queue, clock, vendor
        self._verdicts: list[Settled] = []
        self._untried: set[int] = set()
        self._works = True

    @property
    def works(self) -> bool:
        """Nothing has failed since the outbox was last known to work."""
        return self._works

    @property
    def balanced(self) -> bool:
        """Nothing is owed."""
        return not self._verdicts and not self._untried

    async def settle(self, settled: Sequence[Settled]) -> None:
        """Writes verdicts down, or keeps them until they can be."""
        try:
            await self._queue.settle(settled, self._clock.now())
        except StorageError as error:
            self._verdicts += settled
            self.note(error)

    async def release(self, entries: set[int]) -> None:
        """Gives back what was not tried, together with everything else that is owed. Raises StorageError."""
        self._untried |= entries
        await self.pay()

    async def pay(self) -> None:
        """Writes down everything that is owed. Raises StorageError; then it is owed still."""
        if self._verdicts:
            await self._queue.settle(list(self._verdicts), self._clock.now())
            self._verdicts.clear()
        if self._untried:
            await self._queue.release(sorted(self._untried))
            self._untried.clear()

    def note(self, error: StorageError | None) -> None:
        """Logs when the outbox cannot be written any more, and when it can again."""
        if (error is None) == self._works:
            return
        self._works = error is None
        if error is not None:
            log.error("outbox.unavailable", vendor=self._vendor, code=error.code)
        else:
            log.info("outbox.available", vendor=self._vendor)


class Round:
    """What is leased together, in calls over a few connections.

    Args:
        leased: in order.
        connections: calls under way at once, at most.
        batch_size: sales that a call takes, at most.
        books: where verdicts go.
        alone: whether a sale has to travel by itself, because it may be what made an earlier call fail.
        go_on: whether the next call may go.
        pace: waits for the vendor's allowance.
        send: sends some; tells what it is given which of them may have arrived from then on. Raises StorageError.
        judge: says what is to be written down of each.
    """

    def __init__(
        self,
        leased: Sequence[Outgoing],
        *,
        connections: int,
        batch_size: int,
        books: Books,
        alone: Callable[[Outgoing], bool],
        go_on: Callable[[], bool],
        pace: Callable[[], Awaitable[None]],
        send: Callable[[Sequence[Outgoing], Callable[[Sequence[Outgoing]], None]], Awaitable[Sequence[Verdict]]],
        judge: Callable[[Sequence[Outgoing], Sequence[Verdict]], Sequence[Settled]],
    ) -> None:
        strands: dict[bytes, list[Outgoing]] = defaultdict(list)
        for outgoing in reversed(leased):
            strands[_strand(outgoing)].append(outgoing)
        heads = {_strand(outgoing): None for outgoing in leased}
        self._waiting = [strands[strand] for strand in reversed(heads)]
        """Strands, the next one last, and in each the next sale last."""
        self._connections, self._batch_size = min(connections, len(strands)), batch_size
        self._books, self._alone, self._go_on, self._pace = books, alone, go_on, pace
        self._send, self._judge = send, judge
        self._untried = {outgoing.entry for outgoing in leased}
        self._settling: set[asyncio.Task[None]] = set()
        self._failure: StorageError | None = None

    async def run(self) -> None:
        """Sends what may go and gives every lease back, however it ends.

        Raises:
            StorageError: the outbox cannot be written.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._connections):
                    group.create_task(self._work())
        finally:
            await asyncio.shield(self._close())
        if self._failure is not None:
            raise self._failure

    async def _work(self) -> None:
        while self._waiting and self._may_go_on():
            strands = self._next_strands()
            try:
                through = await self._call([strand[-1] for strand in strands])
            except StorageError as error:  # the other connections finish what is on its way
                self._failure = error
                continue
            for strand in reversed(strands):
                if strand.pop().entry in through and strand:
                    self._waiting.append(strand)

    def _next_strands(self) -> list[list[Outgoing]]:
        strands = [self._waiting.pop()]
        if self._alone(strands[0][-1]):
            return strands
        while self._waiting and len(strands) < self._batch_size and not self._alone(self._waiting[-1][-1]):
            strands.append(self._waiting.pop())
        return strands

    def _may_go_on(self) -> bool:
        return self._failure is None and self._books.balanced and self._go_on()

    async def _call(self, batch: Sequence[Outgoing]) -> set[int]:
        """Sends some; those after which the next of their strand may follow."""
        if not self._may_go_on():
            return set()
        await self._pace()
        if not self._may_go_on():
            return set()
        verdicts = await self._attempt(batch)
        again = []
        if len(batch) > 1:
            pairs = list(zip(batch, verdicts, strict=True))
            again = [outgoing for outgoing, verdict in pairs if verdict.kind is VerdictKind.SPLIT]
            pairs = [(outgoing, verdict) for outgoing, verdict in pairs if verdict.kind is not VerdictKind.SPLIT]
            batch, verdicts = [outgoing for outgoing, _ in pairs], [verdict for _, verdict in pairs]
        through = await self._write_down(batch, verdicts)
        for half in (again[: len(again) // 2], again[len(again) // 2 :]):
            if half:
                through |= await self._call(half)
        return through

    async def _attempt(self, batch: Sequence[Outgoing]) -> Sequence[Verdict]:
        on_its_way: list[Outgoing] = []
        try:
            return await self._send(batch, on_its_way.extend)
        except asyncio.CancelledError:
            if on_its_way:
                self._settle([Settled(outgoing.entry, _INTERRUPTED) for outgoing in on_its_way])
            raise

    async def _write_down(self, batch: Sequence[Outgoing], verdicts: Sequence[Verdict]) -> set[int]:
        if not batch:
            return set()
        settling = self._settle(self._judge(batch, verdicts))
        through = {
            outgoing.entry for outgoing, verdict in zip(batch, verdicts, strict=True) if verdict.kind in DELIVERED
        }
        if len(through) < len(batch):
            await settling  # what follows for these people waits for its turn
        return through

    def _settle(self, settled: Sequence[Settled]) -> asyncio.Task[None]:
        self._untried.difference_update(item.entry for item in settled)
        task = asyncio.create_task(self._books.settle(settled))
        self._settling.add(task)
        return task

    async def _close(self) -> None:
        if self._settling:
            await asyncio.wait(self._settling)
        try:
            await self._books.release(self._untried)
        except StorageError as error:  # kept, not raised: an ending lane must go on ending
            self._failure = error


def _strand(outgoing: Outgoing) -> bytes:
    return outgoing.person or outgoing.entry.to_bytes(8, "big")
