"""Taking sales to one vendor, whatever becomes of the others.

A lane leases what is due, sends it over a few connections and writes the verdicts down. It retries by reason, not by
count: nobody answers, then the breaker pauses the lane and nothing is used up; credentials refused, then everything is
held and one record probes; one record refused, then it is parked and the rest goes on. Sales of one person never
overtake each other: they travel on one strand.

This room decides when sales go and what a verdict means for the next; :mod:`agent.services.round` takes what is leased
there and back. The pauses are monotonic and kept here; what must survive a restart is in the outbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import structlog

from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.link import Link
from agent.domain.pacing import BreakerState
from agent.errors import LoyaltyAgentError, StorageError, VendorUnreachableError
from agent.ports import Clock, Connector, Outgoing
from agent.services.judge import DispatchPolicy, Judge
from agent.services.news import NO_NEWS, News
from agent.services.round import Books, Queue, Round

log = structlog.get_logger(__name__)

LEASE_SIZE = 200
LEASE_AHEAD_S = 4.0
"""At a known pace no more is leased than goes out in this time: what is leased when the power fails may have arrived,
and its tag cannot rise any more."""
_OUR_FAULT = "agent.error"
_SHORTEST_PAUSE_S = 0.01


async def own_share(link: Link, clock: Clock) -> None:
    """Takes one call out of this agent's share of the vendor's allowance, waiting until it is there."""
    while wait := link.bucket.wait_s(clock.monotonic()):  # noqa: ASYNC110 - time alone ends it
        await asyncio.sleep(wait)


class Contacts(Protocol):
    """Contacts made or changed at this till, as the lane brings them to the system that owns the contacts."""

    async def deliver(self, go_on: Callable[[], bool]) -> int:
        """Brings there what waits; for how many the vendor answered. Raises as vendors do, and StorageError."""

    def line_changed(self) -> None:
        """The line is back."""

    def hurry(self) -> None:
        """Somebody asked for an attempt now: no back-off is waited out."""


class Lane:
    """Deliveries to one vendor.

    Args:
        clock: for instants and intervals.
        queue: the outbox.
        connector: the vendor's room.
        link: the line to it.
        settle_tag: the intelligent buffer: of the system that owns the contacts, or at any other, which gets a sale
            under the key that it has by then, of activities alone; None leaves every tag as it is.
        corrected: when a sale took place, where the clocks were wrong; as :meth:`agent.domain.link.Link.corrected`.
        policy: pauses.
        uniform: the source of chance.
        told: called for each attempt with vendor, verdict and the time since the sale's acceptance, for metrics.
        changed: called when the lane's own state changed.
        contacts: what goes before any sale, in this order; nothing at a system that owns no contacts.
        news: what further systems are told of the new contacts of sales.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        queue: Queue,
        connector: Connector,
        link: Link,
        settle_tag: Callable[[Outgoing], Awaitable[Outgoing | Verdict]] | None,
        corrected: Callable[[datetime, datetime, timedelta, datetime], datetime | None],
        policy: DispatchPolicy,
        uniform: Callable[[float, float], float],
        told: Callable[[str, Verdict, timedelta], None],
        changed: Callable[[], None],
        contacts: Sequence[Contacts] = (),
        news: News = NO_NEWS,
    ) -> None:
        self._clock, self._queue, self._connector, self._link = clock, queue, connector, link
        self._settle_tag, self._corrected, self._contacts = settle_tag, corrected, contacts
        self._policy, self._news = policy, news
        self._pace = partial(own_share, link, clock)
        self._judge = Judge(clock=clock, link=link, policy=policy, uniform=uniform, told=told, changed=changed)
        self._wake = asyncio.Event()
        self._paused = self._back = False
        self._halts = 0
        self._at_work = asyncio.Lock()
        self._books = Books(queue, clock, link.vendor)

    @property
    def vendor(self) -> str:
        """The vendor's name."""
        return self._link.vendor

    @property
    def held(self) -> bool:
        """The vendor refuses our credentials: everything waits."""
        return self._judge.held

    def rests_until(self) -> datetime | None:
        """Until when nobody is asked: a pause after failures, or one that the vendor asked for; None if there is none.

        While somebody is being asked there is none either: what follows depends on the answer.
        """
        mono = self._clock.monotonic()
        if self._paused or self._link.sending.state is BreakerState.HALF_OPEN:
            return None
        wait_s = max(self._link.sending.wait_s(mono), self._judge.probe_in_s(mono) if self.held else 0.0)
        return self._clock.now() + timedelta(seconds=wait_s) if wait_s > 0 else None

    def wake(self) -> None:
        """Something is queued, or something changed that may let it go."""
        self._wake.set()

    def pause(self) -> None:
        """Sends nothing more until :meth:`resume`."""
        self._paused = True

    def resume(self) -> None:
        """Sends again."""
        self._paused = False
        self.wake()

    @contextlib.asynccontextmanager
    async def halted(self) -> AsyncIterator[None]:
        """Nothing is leased or on its way while the block runs; what is on its way gets its answer first."""
        self._halts += 1
        try:
            async with self._at_work:
                yield
        finally:
            self._halts -= 1
            self.wake()

    async def flush(self) -> None:
        """Tries everything now, whatever its back-off; a vendor's `Retry-After` still wins."""
        await self._queue.make_due(self.vendor)
        self._link.sending.hurry(self._clock.monotonic())
        for contacts in self._contacts:
            contacts.hurry()
        self._judge.probe_now()
        self.wake()

    def line_changed(self) -> None:
        """The line's state changed: when somebody else was answered, no pause is waited out any more.

        A held lane probes at once only if the vendor took the credentials.
        """
        if not self._link.answers:
            return
        self._link.sending.hurry(self._clock.monotonic())
        for contacts in self._contacts:
            contacts.line_changed()
        if not self._link.refused:
            self._judge.probe_now()
        self._back = self._judge.probe_waits
        self.wake()

    async def run(self) -> None:
        """Works for ever; ends by cancellation, its leases given back."""
        while True:
            self._wake.clear()
            try:
                while await self._turn_alone():
                    pass
            except StorageError as error:
                self._books.note(error)
                if self._link.sending.state is BreakerState.HALF_OPEN:  # the probe did not take place
                    self._link.sending.failed(self._clock.monotonic())
            else:
                self._books.note(None)
            try:
                async with asyncio.timeout(self._pause_s()):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _turn_alone(self) -> bool:
        async with self._at_work:
            await self._books.pay()
            if not self._books.works:  # a lease that failed on a bad disk may stand all the same
                await self._queue.recover(self.vendor)
            if self._back:  # no record waits on because it was the probe that failed
                doubtful_at = self._clock.now() + timedelta(seconds=self._judge.doubt_s)
                await self._queue.make_due(self.vendor, doubtful_at=doubtful_at)
                self._back = self._judge.probe_waits = False
            return await self._turn()

    # --- one lease ------------------------------------------------------------------------------------------

    async def _turn(self) -> bool:
        """One lease; whether another may follow at once."""
        mono = self._clock.monotonic()
        if self._paused or not self._judge.may_probe(mono):
            return False
        if not self._link.sending.allows(mono):
            return False
        probing = self.held or self._link.sending.state is BreakerState.HALF_OPEN
        brought = 0 if probing else await self._contacts_first()
        if not probing and not self._may_go_on():
            return False
        leased = await self._queue.lease(self.vendor, 1 if probing else self._lease_size(), self._clock.now())
        if leased:
            await self._round(leased, always=probing).run()
        elif not probing and self._quiet_s(mono) < self._connector.idle_ping_s:
            return brought > 0 and self._may_go_on()  # more of them may wait, also where no sale does
        if not leased or self._link.sending.state is BreakerState.HALF_OPEN:
            await self._ping()  # also when the probe turned out not to need the vendor
        return bool(leased or probing or brought) and not self.held and self._link.sending.state is BreakerState.CLOSED

    async def _contacts_first(self) -> int:
        """Brings contacts to the vendor before the sales that may need them; for how many it answered."""
        now, mono = self._clock.now, self._clock.monotonic
        brought = 0
        try:
            for contacts in self._contacts:
                brought += await contacts.deliver(lambda: not self._halts and self._may_go_on())
        except VendorUnreachableError as error:
            self._link.silent(now(), mono(), after_s=error.retry_after_s, why=str(error))
        except StorageError:
            raise
        except LoyaltyAgentError as error:  # refused, or the credentials cannot even be read
            self._judge.hold(Verdict(VerdictKind.HOLD, error.code))
        else:
            if brought:
                self._link.worked(now(), mono())
        return brought

    def _round(self, leased: list[Outgoing], *, always: bool) -> Round:
        return Round(
            leased,
            connections=self._connector.connections,
            batch_size=self._connector.sender.batch_size,
            books=self._books,
            alone=self._judge.suspects,
            go_on=lambda: not self._halts and (always or self._may_go_on()),
            pace=self._pace,
            send=self._send,
            judge=self._judge.of_call,
        )

    def _lease_size(self) -> int:
        rate, of_a_call = self._link.bucket.rate, self._connector.sender.batch_size
        most = max(LEASE_SIZE, self._connector.connections * of_a_call)
        calls = most if rate <= 0 else math.ceil(rate * LEASE_AHEAD_S)
        return min(most, max(self._connector.connections, calls) * of_a_call)

    def _quiet_s(self, mono: float) -> float:
        reached = self._link.reached_mono
        return self._connector.idle_ping_s if reached is None else mono - reached

    def _may_go_on(self) -> bool:
        return not self._paused and not self.held and self._link.sending.state is not BreakerState.OPEN

    async def _send(self, batch: Sequence[Outgoing], going: Callable[[Sequence[Outgoing]], None]) -> Sequence[Verdict]:
        """Settles the tags, then sends; says who is ``going`` in between, when they may have arrived from then on.

        Raises:
            StorageError: what must be on disk before it is sent could not be put there.
        """
        verdicts: dict[int, Verdict] = {}
        ready: list[Outgoing] = []
        not_received = True
        try:
            for outgoing in batch:
                settled = await self._settled(outgoing)
                if not isinstance(settled, Verdict):
                    ready.append(settled)
                    continue
                verdicts[outgoing.entry] = settled
                if settled.kind is VerdictKind.HOLD or not settled.reached:  # nor would the vendor tell of the others
                    asked = {other.entry for other in ready} | set(verdicts)
                    verdicts |= {other.entry: settled for other in batch if other.entry not in asked}
                    break
            if ready:
                await self._mark(ready, batch)
                not_received = False
                going(ready)
                told = await self._connector.sender.send([self._dated(outgoing) for outgoing in ready])
                verdicts |= dict(zip((outgoing.entry for outgoing in ready), told, strict=True))
        except StorageError:
            raise
        except Exception as error:  # a mistake of ours in one sale must not stop the others
            log.exception("delivery.failed", vendor=self.vendor, entries=[outgoing.entry for outgoing in batch])
            title = f"The agent failed on this sale ({type(error).__name__})."
            failed = Verdict(VerdictKind.RETRY, _OUR_FAULT, title=title, alone=True, not_received=not_received)
            verdicts = {outgoing.entry: verdicts.get(outgoing.entry, failed) for outgoing in batch}
        return [verdicts[outgoing.entry] for outgoing in batch]

    async def _settled(self, outgoing: Outgoing) -> Outgoing | Verdict:
        return outgoing if self._settle_tag is None else await self._settle_tag(outgoing)

    async def _mark(self, ready: Sequence[Outgoing], leased: Sequence[Outgoing]) -> None:
        """Writes down of open sales that they go out now, each under the tag that it has now."""
        before = {outgoing.entry: outgoing.key for outgoing in leased}
        unchanged = []
        for outgoing in ready:
            if not outgoing.open or outgoing.maybe_received:
                continue
            if outgoing.key is not None and outgoing.key != before[outgoing.entry]:
                now = self._clock.now()
                joined = self._news.joined_with(outgoing, now)
                await self._queue.retag(outgoing.entry, outgoing.key, now, joined)
                if joined is not None:
                    self._news.told()
            else:
                unchanged.append(outgoing.entry)
        if unchanged:
            await self._queue.sending(unchanged)

    def _dated(self, outgoing: Outgoing) -> Outgoing:
        now = self._clock.now()
        corrected_at = self._corrected(outgoing.record.occurred_at, outgoing.accepted_at, outgoing.clock_off, now)
        vendor_now = self._corrected(now, now, timedelta(), now)
        return replace(outgoing, corrected_at=corrected_at, skew=vendor_now - now if vendor_now else timedelta())

    async def _ping(self) -> None:
        now, mono = self._clock.now, self._clock.monotonic
        try:
            await self._pace()
            await self._connector.ping()
        except VendorUnreachableError as error:
            self._link.silent(now(), mono(), after_s=error.retry_after_s, why=str(error))
        except LoyaltyAgentError as error:  # refused, or the credentials cannot even be read
            self._judge.hold(Verdict(VerdictKind.HOLD, error.code))
        else:
            self._judge.release()
            self._link.worked(now(), mono())

    def _pause_s(self) -> float:
        """Seconds until the next look without a wake."""
        now, mono = self._clock.now(), self._clock.monotonic()
        pause = self._policy.flush_every_s
        if self._paused:
            return pause
        wait = self._link.sending.wait_s(mono)
        if self.held:
            pause = min(pause, max(self._judge.probe_in_s(mono), wait))
        elif wait > 0:
            pause = min(pause, wait)
        else:
            if self._link.reached_mono is not None:
                pause = min(pause, self._connector.idle_ping_s - self._quiet_s(mono))
            if due := self._next_due_at(now):
                pause = min(pause, (due - now).total_seconds())
        return max(_SHORTEST_PAUSE_S, pause)

    def _next_due_at(self, now: datetime) -> datetime | None:
        try:
            return self._queue.next_due_at(self.vendor, now)
        except StorageError as error:
            self._books.note(error)
            return None
