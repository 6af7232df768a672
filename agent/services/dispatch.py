"""Taking sales to the vendors: one lane each, so that trouble in one never delays another.

A lane leases what is due, sends it over a few connections and writes the verdicts down. It retries by reason, not by
count: nobody answers, then the breaker pauses the lane and nothing is used up; credentials refused, then everything is
held and one record probes; one record refused, then it is parked and the rest goes on. Sales of one person never
overtake each other: they travel on one strand.

The pauses are monotonic and kept here; what must survive a restart is in the outbox.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.link import Link
from agent.domain.pacing import BreakerState, backoff_s
from agent.domain.transaction import IntegrationKey
from agent.errors import LoyaltyAgentError, StorageError, VendorRefusedError, VendorUnreachableError
from agent.ports import Clock, Connector, Outgoing, Settled

log = structlog.get_logger(__name__)

LEASE_SIZE = 200
IDLE_PING_S = 30.0
HOLD_PROBE_MAX_S = 60.0
ALONE_ATTEMPTS = 3
_SERVER_ERROR = 500
_SLOWEST_RATE = 0.2
_RECOVERY = 1.02


class Queue(Protocol):
    """The outbox's door for deliveries."""

    async def lease(self, vendor: str, limit: int, now: datetime) -> list[Outgoing]:
        """Takes what is due."""

    async def settle(self, settled: Sequence[Settled], now: datetime) -> None:
        """Writes verdicts down."""

    async def release(self, entries: Sequence[int]) -> None:
        """Gives leases back untried."""

    async def retag(self, entry: int, key: IntegrationKey) -> None:
        """Writes a settled tag."""

    async def make_due(self) -> None:
        """Forgets every back-off."""

    def next_due_at(self, vendor: str, now: datetime) -> datetime | None:
        """When the next one that backs off is due."""


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
        self._full_rate = link.bucket.rate
        self._wake = asyncio.Event()
        self._paused = False
        self._held_tries = 0
        self._probe_at = 0.0
        self._delivered = 0
        self._suspects: dict[int, tuple[int, int]] = {}

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

    async def flush(self) -> None:
        """Tries everything now, whatever its back-off; a vendor's `Retry-After` still wins."""
        await self._queue.make_due()
        self._link.sending.hurry(self._clock.monotonic())
        self._probe_at = 0.0
        self.wake()

    def line_changed(self) -> None:
        """Somebody else found that the vendor answers and takes our credentials: no pause is waited out."""
        self._link.sending.hurry(self._clock.monotonic())
        self._probe_at = 0.0
        self.wake()

    async def run(self) -> None:
        """Works for ever; ends by cancellation, its leases given back."""
        while True:
            self._wake.clear()
            try:
                while await self._turn():
                    pass
            except StorageError as error:
                log.error("outbox.unavailable", code=error.code)
            try:
                async with asyncio.timeout(self._pause_s()):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def pace(self) -> None:
        """Waits for this agent's share of the vendor's allowance."""
        while wait := self._link.bucket.wait_s(self._clock.monotonic()):
            await asyncio.sleep(wait)

    async def _turn(self) -> bool:
        """One batch; whether another may follow at once."""
        mono = self._clock.monotonic()
        if self._paused or (self.held and mono < self._probe_at):
            return False
        if not self._link.sending.allows(mono):
            return False
        probing = self.held or self._link.sending.state is BreakerState.HALF_OPEN
        batch = await self._queue.lease(self.vendor, 1 if probing else LEASE_SIZE, self._clock.now())
        if not batch:
            if probing or self._quiet_for(mono) >= IDLE_PING_S:
                await self._ping()
                return not self.held and probing and self._link.sending.state is BreakerState.CLOSED
            return False
        await self._send_all(batch, probing=probing)
        return not self.held and self._link.sending.state is BreakerState.CLOSED

    def _quiet_for(self, mono: float) -> float:
        return mono - self._link.reached_mono if self._link.reached_mono is not None else IDLE_PING_S

    async def _send_all(self, batch: list[Outgoing], *, probing: bool) -> None:
        strands: dict[bytes, list[Outgoing]] = defaultdict(list)
        for outgoing in batch:
            strands[outgoing.person or outgoing.entry.to_bytes(8, "big")].append(outgoing)
        waiting = list(reversed(strands.values()))
        untried: set[int] = {outgoing.entry for outgoing in batch}
        settling: set[asyncio.Task[None]] = set()

        async def work() -> None:
            while waiting and (probing or self._may_go_on()):
                for outgoing in waiting.pop():
                    if not (probing or self._may_go_on()):
                        return
                    await self.pace()
                    verdict = await self._send(outgoing)
                    settled = self._judge(outgoing, verdict)
                    untried.discard(outgoing.entry)
                    task = asyncio.create_task(self._queue.settle([settled], self._clock.now()))
                    settling.add(task)
                    if verdict.kind not in (VerdictKind.DONE, VerdictKind.DUPLICATE):
                        await task
                        break  # what follows for this person waits for its turn

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._connector.connections, len(strands))):
                    group.create_task(work())
        finally:
            if settling:
                await asyncio.wait(settling)
            if untried:
                await asyncio.shield(self._queue.release(sorted(untried)))
        for task in settling:
            task.result()

    def _may_go_on(self) -> bool:
        return not self._paused and not self.held and self._link.sending.state is not BreakerState.OPEN

    async def _send(self, outgoing: Outgoing) -> Verdict:
        settled = await self._settle_tag(outgoing)
        if isinstance(settled, Verdict):
            return settled
        if settled.key is not None and settled.key != outgoing.key:
            await self._queue.retag(outgoing.entry, settled.key)
        return await self._connector.sender.send(settled)

    def _judge(self, outgoing: Outgoing, verdict: Verdict) -> Settled:
        """Feeds the line and the lane with a verdict, and says when the record may be tried again."""
        now, mono = self._clock.now(), self._clock.monotonic()
        verdict = self._suspect(outgoing, verdict)
        self._told(self.vendor, verdict)
        retry_at = None
        match verdict.kind:
            case VerdictKind.DONE | VerdictKind.DUPLICATE:
                self._delivered += 1
                self._suspects.pop(outgoing.entry, None)
                self._link.bucket.rate = min(self._full_rate, self._link.bucket.rate * _RECOVERY)
                self._release_hold()
                self._link.worked(now, mono)
            case VerdictKind.HOLD:
                self._hold(now, mono, verdict)
            case VerdictKind.RETRY:
                if not verdict.reached:
                    self._link.silent(now, mono, after_s=verdict.after_s)
                if verdict.after_s is not None and self._full_rate:
                    self._link.bucket.rate = max(_SLOWEST_RATE, self._link.bucket.rate / 2)
                if verdict.alone:
                    pause = backoff_s(
                        outgoing.attempts + 1, self._policy.backoff_first_s, self._policy.backoff_max_s, self._uniform
                    )
                    retry_at = now + timedelta(seconds=pause)
            case _:
                if verdict.reached and verdict.status is not None:
                    self._release_hold()
                    self._link.worked(now, mono)
        return Settled(outgoing.entry, verdict, retry_at)

    def _suspect(self, outgoing: Outgoing, verdict: Verdict) -> Verdict:
        """Parks a record that alone draws 5xx while its neighbours pass.

        Only deliveries that passed since its last failure count: while all of them fail it is an outage, which uses
        up nothing.
        """
        if verdict.kind is not VerdictKind.RETRY or (verdict.status or 0) < _SERVER_ERROR:
            return verdict
        failures, delivered = self._suspects.get(outgoing.entry, (0, -1))
        if self._delivered > delivered:
            failures += 1
        self._suspects[outgoing.entry] = (failures, self._delivered)
        if failures <= ALONE_ATTEMPTS:
            return verdict
        self._suspects.pop(outgoing.entry)
        return replace(verdict, kind=VerdictKind.PARK, code="vendor.rejected", reached=True, after_s=None)

    def _hold(self, now: datetime, mono: float, verdict: Verdict) -> None:
        if not self.held:
            log.warning("lane.held", vendor=self.vendor, code=verdict.code, status=verdict.status)
        self._held_tries += 1
        pause = backoff_s(
            self._held_tries, self._policy.backoff_first_s, min(self._policy.backoff_max_s, HOLD_PROBE_MAX_S), self._uniform
        )
        self._probe_at = mono + pause
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
            await self.pace()
            await self._connector.ping()
        except VendorRefusedError as error:
            self._hold(now(), mono(), Verdict(VerdictKind.HOLD, error.code))
        except VendorUnreachableError as error:
            self._link.silent(now(), mono(), after_s=error.retry_after_s)
        except LoyaltyAgentError as error:
            self._hold(now(), mono(), Verdict(VerdictKind.HOLD, error.code))
        else:
            self._release_hold()
            self._link.worked(now(), mono())

    def _pause_s(self) -> float:
        """Seconds until the next look without a wake."""
        now, mono = self._clock.now(), self._clock.monotonic()
        pause = self._policy.flush_every_s
        if self.held:
            return max(0.01, min(pause, self._probe_at - mono))
        if (wait := self._link.sending.wait_s(mono)) > 0:
            return min(pause, wait)
        if due := self._queue.next_due_at(self.vendor, now):
            pause = min(pause, (due - now).total_seconds())
        return max(0.01, pause)


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

    async def flush(self) -> None:
        """Tries everything now."""
        for lane in self._lanes:
            await lane.flush()

    async def run(self) -> None:
        """Works for ever; ends by cancellation."""
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                group.create_task(lane.run())
