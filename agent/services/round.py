"""One leased batch on its way to a vendor and back into the outbox.

Sales of one person never overtake each other: they travel on one strand, and a strand stops at the first sale that
does not go through. What is leased is always given back: untried, or with a verdict. A verdict that cannot be written
down (the disk is full) is kept in the :class:`Books` until it can be, and nothing more is sent meanwhile.
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
from agent.ports import Clock, Outgoing, Settled

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

    async def retag(self, entry: int, key: IntegrationKey, now: datetime) -> None:
        """Writes a settled tag, and that the delivery goes out now."""

    async def sending(self, entry: int) -> None:
        """Writes that an open delivery goes out now, under the tag it has."""

    async def make_due(self) -> None:
        """Forgets every back-off."""

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

    async def settle(self, settled: Settled) -> None:
        """Writes a verdict down, or keeps it until it can be."""
        try:
            await self._queue.settle([settled], self._clock.now())
        except StorageError as error:
            self._verdicts.append(settled)
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
    """One batch, over a few connections.

    Args:
        batch: what is leased, in order.
        connections: deliveries under way at once, at most.
        books: where verdicts go.
        go_on: whether the next delivery may go.
        pace: waits for the vendor's allowance.
        send: sends one; calls what it is given when the sale may have arrived from then on. Raises StorageError.
        judge: says what is to be written down.
    """

    def __init__(
        self,
        batch: Sequence[Outgoing],
        *,
        connections: int,
        books: Books,
        go_on: Callable[[], bool],
        pace: Callable[[], Awaitable[None]],
        send: Callable[[Outgoing, Callable[[], None]], Awaitable[Verdict]],
        judge: Callable[[Outgoing, Verdict], Settled],
    ) -> None:
        strands: dict[bytes, list[Outgoing]] = defaultdict(list)
        for outgoing in batch:
            strands[outgoing.person or outgoing.entry.to_bytes(8, "big")].append(outgoing)
        self._waiting = list(reversed(strands.values()))
        self._connections = min(connections, len(strands))
        self._books, self._go_on, self._pace, self._send, self._judge = books, go_on, pace, send, judge
        self._untried = {outgoing.entry for outgoing in batch}
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
        while self._waiting:
            strand = self._waiting.pop()
            try:
                for outgoing in strand:
                    if not self._may_go_on():
                        return
                    await self._pace()
                    if not self._may_go_on() or not await self._attempt(outgoing):
                        break
            except StorageError as error:  # the other connections finish what is on its way
                self._failure = error

    def _may_go_on(self) -> bool:
        return self._failure is None and self._books.balanced and self._go_on()

    async def _attempt(self, outgoing: Outgoing) -> bool:
        """One delivery; whether the next of its strand may follow."""
        on_its_way = False

        def going() -> None:
            nonlocal on_its_way
            on_its_way = True

        try:
            verdict = await self._send(outgoing, going)
        except asyncio.CancelledError:
            if on_its_way:
                self._settle(Settled(outgoing.entry, _INTERRUPTED))
            raise
        settling = self._settle(self._judge(outgoing, verdict))
        if verdict.kind in DELIVERED:
            return True
        await settling  # what follows for this person waits for its turn
        return False

    def _settle(self, settled: Settled) -> asyncio.Task[None]:
        self._untried.discard(settled.entry)
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
