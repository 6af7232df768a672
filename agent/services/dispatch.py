"""Taking sales to the vendors: one lane each, so that trouble in one never delays another.

A lane leases what is due, sends it over a few connections and writes the verdicts down. It retries by reason, not by
count: nobody answers, then the breaker pauses the lane and nothing is used up; credentials refused, then everything is
held and one record probes; one record refused, then it is parked and the rest goes on. Sales of one person never
overtake each other: they travel on one strand.

This room decides when a batch goes and what a verdict means for the next; :mod:`agent.services.round` takes one batch
there and back. The pauses are monotonic and kept here; what must survive a restart is in the outbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

import structlog

from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.link import Link
from agent.domain.pacing import BreakerState, backoff_s
from agent.domain.suspicion import Suspicion
from agent.errors import LoyaltyAgentError, StorageError, VendorUnreachableError
from agent.ports import Clock, Connector, Outgoing, Settled
from agent.services.round import DELIVERED, Books, Queue, Round

log = structlog.get_logger(__name__)

LEASE_SIZE = 200
LEASE_AHEAD_S = 4.0
"""At a known pace no more is leased than goes out in this time: what is leased when the power fails may have arrived,
and its tag cannot rise any more."""
IDLE_PING_S = 10.0
HOLD_PROBE_MAX_S = 60.0
ALONE_ATTEMPTS = 3
UNANSWERED_ATTEMPTS = 12
"""Failures after which a sale may be blamed. No answer says less about it than a server error: outages come in runs."""
_SLOWEST_RATE = 0.2
_RECOVERY = 1.02
_OUR_FAULT = "agent.error"
_BEYOND_PROBE_S = 1.0
_SHORTEST_PAUSE_S = 0.01


async def own_share(link: Link, clock: Clock) -> None:
    """Takes one call out of this agent's share of the vendor's allowance, waiting until it is there."""
    while wait := link.bucket.wait_s(clock.monotonic()):  # noqa: ASYNC110 - time alone ends it
        await asyncio.sleep(wait)


@dataclass(frozen=True, slots=True)
class DispatchPolicy:
    """`[queue]`, in seconds."""

    flush_every_s: float
    backoff_first_s: float
    backoff_max_s: float


class Lane:
    """Deliveries to one vendor.

    Args:
        clock: for instants and intervals.
        queue: the outbox.
        connector: the vendor's room.
        link: the line to it.
        settle_tag: the intelligent buffer.
        policy: pauses.
        uniform: the source of chance.
        told: called with vendor and verdict for each attempt, for metrics.
        changed: called when the lane's own state changed.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        queue: Queue,
        connector: Connector,
        link: Link,
        settle_tag: Callable[[Outgoing], Awaitable[Outgoing | Verdict]],
        policy: DispatchPolicy,
        uniform: Callable[[float, float], float],
        told: Callable[[str, Verdict], None],
        changed: Callable[[], None],
    ) -> None:
        self._clock, self._queue, self._connector, self._link = clock, queue, connector, link
        self._settle_tag, self._policy, self._uniform = settle_tag, policy, uniform
        self._told, self._changed = told, changed
        self._pace = partial(own_share, link, clock)
        self._full_rate = link.bucket.rate
        self._wake = asyncio.Event()
        self._paused = self._back = self._probe_waits = False
        self._halts = 0
        self._at_work = asyncio.Lock()
        self._held_tries = 0
        self._probe_at = 0.0
        self._suspicion = Suspicion()
        self._books = Books(queue, clock, link.vendor)

    @property
    def vendor(self) -> str:
        """The vendor's name."""
        return self._link.vendor

    @property
    def held(self) -> bool:
        """The vendor refuses our credentials: everything waits."""
        return self._held_tries > 0

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
        await self._queue.make_due()
        self._link.sending.hurry(self._clock.monotonic())
        self._probe_at = 0.0
        self.wake()

    def line_changed(self) -> None:
        """The line's state changed: when somebody else was answered, no pause is waited out any more.

        A held lane probes at once only if the vendor took the credentials.
        """
        if not self._link.answers:
            return
        self._link.sending.hurry(self._clock.monotonic())
        if not self._link.refused:
            self._probe_at = 0.0
        self._back = self._probe_waits
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
                await self._queue.make_due()
                self._back = self._probe_waits = False
            return await self._turn()

    # --- one batch ------------------------------------------------------------------------------------------

    async def _turn(self) -> bool:
        """One batch; whether another may follow at once."""
        mono = self._clock.monotonic()
        if self._paused or (self.held and mono < self._probe_at):
            return False
        if not self._link.sending.allows(mono):
            return False
        probing = self.held or self._link.sending.state is BreakerState.HALF_OPEN
        batch = await self._queue.lease(self.vendor, 1 if probing else self._lease_size(), self._clock.now())
        if batch:
            await self._round(batch, always=probing).run()
        elif not probing and self._quiet_s(mono) < IDLE_PING_S:
            return False
        if not batch or self._link.sending.state is BreakerState.HALF_OPEN:
            await self._ping()  # also when the probe turned out not to need the vendor
        return bool(batch or probing) and not self.held and self._link.sending.state is BreakerState.CLOSED

    def _round(self, batch: list[Outgoing], *, always: bool) -> Round:
        return Round(
            batch,
            connections=self._connector.connections,
            books=self._books,
            go_on=lambda: not self._halts and (always or self._may_go_on()),
            pace=self._pace,
            send=self._send,
            judge=self._judge,
        )

    def _lease_size(self) -> int:
        rate = self._link.bucket.rate
        ahead = LEASE_SIZE if rate <= 0 else math.ceil(rate * LEASE_AHEAD_S)
        return min(LEASE_SIZE, max(self._connector.connections, ahead))

    def _quiet_s(self, mono: float) -> float:
        return mono - self._link.reached_mono if self._link.reached_mono is not None else IDLE_PING_S

    def _may_go_on(self) -> bool:
        return not self._paused and not self.held and self._link.sending.state is not BreakerState.OPEN

    async def _send(self, outgoing: Outgoing, going: Callable[[], None]) -> Verdict:
        """Settles the tag, then sends; says ``going()`` in between, when the sale may have arrived from now on.

        Raises:
            StorageError: what must be on disk before it is sent could not be put there.
        """
        not_received = True
        try:
            settled = await self._settle_tag(outgoing)
            if isinstance(settled, Verdict):
                return settled
            if outgoing.open and not outgoing.maybe_received:
                if settled.key is not None and settled.key != outgoing.key:
                    await self._queue.retag(outgoing.entry, settled.key, self._clock.now())
                else:
                    await self._queue.sending(outgoing.entry)
            not_received = False
            going()
            sale = settled.transaction
            at = sale.occurred_at, settled.accepted_at, settled.clock_off, self._clock.now()
            corrected_at = self._link.corrected(*at)
            return await self._connector.sender.send(replace(settled, corrected_at=corrected_at))
        except StorageError:
            raise
        except Exception as error:  # a mistake of ours in one sale must not stop the others
            log.exception("delivery.failed", vendor=self.vendor, entry=outgoing.entry)
            title = f"The agent failed on this sale ({type(error).__name__})."
            return Verdict(VerdictKind.RETRY, _OUR_FAULT, title=title, alone=True, not_received=not_received)

    # --- what a verdict means for the lane ------------------------------------------------------------------

    def _judge(self, outgoing: Outgoing, verdict: Verdict) -> Settled:
        """Feeds the line and the lane with a verdict, and says when the record may be tried again."""
        now, mono = self._clock.now(), self._clock.monotonic()
        probe = self.held or self._link.sending.state is BreakerState.HALF_OPEN
        verdict = self._suspect(outgoing, verdict)
        self._told(self.vendor, verdict)
        if verdict.kind is VerdictKind.HOLD:
            self._hold(now, mono, verdict)
        elif not verdict.reached:
            self._link.silent(now, mono, after_s=verdict.after_s, why=verdict.title)
        elif verdict.kind is not VerdictKind.RETRY and (verdict.status is not None or verdict.kind in DELIVERED):
            self._release_hold()
            self._link.worked(now, mono)
        self._adapt(verdict)
        if verdict.kind in DELIVERED:
            self._suspicion.delivered()
        return Settled(outgoing.entry, verdict, self._retry_at(outgoing, verdict, probe=probe))

    def _retry_at(self, outgoing: Outgoing, verdict: Verdict, *, probe: bool) -> datetime | None:
        """When a record may be tried again; None for as soon as the lane goes.

        The next probe takes another record: this one may be the only one that fails, and would keep the lane shut.
        """
        if verdict.kind not in (VerdictKind.RETRY, VerdictKind.HOLD) or not (verdict.alone or probe):
            return None
        mono = self._clock.monotonic()
        self._probe_waits |= not verdict.alone
        probe_s = max(self._link.sending.wait_s(mono), self._probe_at - mono if self.held else 0.0)
        first_s, longest_s = self._policy.backoff_first_s, self._policy.backoff_max_s
        pause_s = backoff_s(outgoing.attempts + 1, first_s, longest_s, self._uniform) if verdict.alone else 0.0
        return self._clock.now() + timedelta(seconds=max(pause_s, probe_s + _BEYOND_PROBE_S))

    def _adapt(self, verdict: Verdict) -> None:
        """Halves the pace when the vendor asks for a pause, and lets it recover with each delivery."""
        bucket = self._link.bucket
        if verdict.kind is VerdictKind.RETRY and verdict.after_s is not None and self._full_rate:
            bucket.rate = max(_SLOWEST_RATE, bucket.rate / 2)
        elif verdict.kind in DELIVERED:
            bucket.rate = min(self._full_rate, bucket.rate * _RECOVERY)

    def _suspect(self, outgoing: Outgoing, verdict: Verdict) -> Verdict:
        """Parks a record that is itself the cause of its failures, and a batch of one that is too large."""
        if verdict.kind is VerdictKind.SPLIT:
            return replace(verdict, kind=VerdictKind.PARK)
        if verdict.kind is not VerdictKind.RETRY:
            self._suspicion.clear(outgoing.entry)
            return verdict
        if verdict.after_s is not None and not verdict.alone:  # it asks for patience, not for another record
            return verdict
        enough = ALONE_ATTEMPTS if verdict.alone else UNANSWERED_ATTEMPTS
        if not self._suspicion.blames(outgoing.entry, at_least=enough):
            return verdict
        code = verdict.code if verdict.status is None else "vendor.rejected"
        return replace(verdict, kind=VerdictKind.PARK, code=code, reached=True, after_s=None)

    def _hold(self, now: datetime, mono: float, verdict: Verdict) -> None:
        """Holds the lane, or goes on holding it after a probe; other answers of the same batch change nothing."""
        if not self.held:
            log.warning("lane.held", vendor=self.vendor, code=verdict.code, status=verdict.status)
        elif mono < self._probe_at:
            return
        self._held_tries += 1
        longest_s = min(self._policy.backoff_max_s, HOLD_PROBE_MAX_S)
        self._probe_at = mono + backoff_s(self._held_tries, self._policy.backoff_first_s, longest_s, self._uniform)
        self._link.credentials_refused(now, mono)
        self._changed()

    def _release_hold(self) -> None:
        if self.held:
            log.info("lane.released", vendor=self.vendor)
            self._held_tries = 0
            self._changed()

    async def _ping(self) -> None:
        now, mono = self._clock.now, self._clock.monotonic
        try:
            await self._pace()
            await self._connector.ping()
        except VendorUnreachableError as error:
            self._link.silent(now(), mono(), after_s=error.retry_after_s, why=str(error))
        except LoyaltyAgentError as error:  # refused, or the credentials cannot even be read
            self._hold(now(), mono(), Verdict(VerdictKind.HOLD, error.code))
        else:
            self._release_hold()
            self._link.worked(now(), mono())

    def _pause_s(self) -> float:
        """Seconds until the next look without a wake."""
        now, mono = self._clock.now(), self._clock.monotonic()
        pause = self._policy.flush_every_s
        if self._paused:
            return pause
        if self.held:
            pause = min(pause, self._probe_at - mono)
        elif (wait := self._link.sending.wait_s(mono)) > 0:
            pause = min(pause, wait)
        else:
            pause = min(pause, IDLE_PING_S - self._quiet_s(mono) if self._link.reached_mono is not None else pause)
            if due := self._next_due_at(now):
                pause = min(pause, (due - now).total_seconds())
        return max(_SHORTEST_PAUSE_S, pause)

    def _next_due_at(self, now: datetime) -> datetime | None:
        try:
            return self._queue.next_due_at(self.vendor, now)
        except StorageError as error:
            self._books.note(error)
            return None


class Dispatch:
    """All lanes."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._lanes = tuple(lanes)

    def held(self) -> frozenset[str]:
        """Vendors whose lane is held."""
        return frozenset(lane.vendor for lane in self._lanes if lane.held)

    def wake(self) -> None:
        """Something is queued."""
        for lane in self._lanes:
            lane.wake()

    def line_changed(self) -> None:
        """The line to a vendor is back."""
        for lane in self._lanes:
            lane.line_changed()

    def pause(self) -> None:
        """Sends nothing more until :meth:`resume`."""
        for lane in self._lanes:
            lane.pause()

    def resume(self) -> None:
        """Sends again."""
        for lane in self._lanes:
            lane.resume()

    @contextlib.asynccontextmanager
    async def halted(self) -> AsyncIterator[None]:
        """Nothing is leased or on its way to anybody while the block runs."""
        async with contextlib.AsyncExitStack() as stack:
            for lane in self._lanes:
                await stack.enter_async_context(lane.halted())
            yield

    async def flush(self) -> None:
        """Tries everything now."""
        for lane in self._lanes:
            await lane.flush()

    async def run(self) -> None:
        """Works for ever; ends by cancellation."""
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                group.create_task(lane.run())
