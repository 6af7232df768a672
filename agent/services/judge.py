"""What a vendor's verdicts mean for its lane: held or not, how fast, whom to suspect, and when to try again.

One call is one observation of the line, however many sales were in it. The pauses are monotonic and kept here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.link import Link
from agent.domain.pacing import BreakerState, backoff_s
from agent.domain.suspicion import Suspicion
from agent.ports import Clock, Outgoing, Settled
from agent.services.round import DELIVERED

log = structlog.get_logger(__name__)

HOLD_PROBE_MAX_S = 60.0
ALONE_ATTEMPTS = 3
UNANSWERED_ATTEMPTS = 12
"""Failures after which a sale may be blamed. No answer says less about it than a server error: outages come in runs."""
_SLOWEST_RATE = 0.2
_RECOVERY = 1.02
_BEYOND_PROBE_S = 1.0


@dataclass(frozen=True, slots=True)
class DispatchPolicy:
    """`[queue]`, in seconds."""

    flush_every_s: float
    backoff_first_s: float
    backoff_max_s: float


class Judge:
    """Judges what came of each call of one lane.

    Args:
        clock: for instants and intervals.
        link: the line, which is fed with what a call says of it.
        policy: pauses.
        uniform: the source of chance.
        told: called for each attempt with vendor, verdict and the time since the sale's acceptance, for metrics.
        changed: called when the lane is held, or released.

    Attributes:
        probe_waits: a record waits for its next attempt only because it was the one that probed.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        link: Link,
        policy: DispatchPolicy,
        uniform: Callable[[float, float], float],
        told: Callable[[str, Verdict, timedelta], None],
        changed: Callable[[], None],
    ) -> None:
        self._clock, self._link, self._policy, self._uniform = clock, link, policy, uniform
        self._told, self._changed = told, changed
        self._full_rate = link.bucket.rate
        self._suspicion = Suspicion()
        self._held_tries, self._probe_at = 0, 0.0
        self.probe_waits = False

    @property
    def held(self) -> bool:
        """The vendor refuses our credentials: everything waits."""
        return self._link.held

    @property
    def doubt_s(self) -> float:
        """What may have arrived without an answer is left alone for so long at least."""
        return self._policy.backoff_first_s

    def may_probe(self, mono: float) -> bool:
        """Whether a held lane may ask again; one that is not held always may."""
        return not self.held or mono >= self._probe_at

    def probe_in_s(self, mono: float) -> float:
        """Seconds until a held lane asks again."""
        return self._probe_at - mono

    def probe_now(self) -> None:
        """A held lane need not wait any longer before it asks again."""
        self._probe_at = 0.0

    def suspects(self, outgoing: Outgoing) -> bool:
        """Whether a sale has failed before, so that it must not drag others along."""
        return self._suspicion.knows(outgoing.entry)

    def of_call(self, batch: Sequence[Outgoing], verdicts: Sequence[Verdict]) -> list[Settled]:
        """What is to be written down of each sale that one call was about, and when it may be tried again."""
        probe = self.held or self._link.sending.state is BreakerState.HALF_OPEN
        verdicts = [self._suspect(outgoing, verdict) for outgoing, verdict in zip(batch, verdicts, strict=True)]
        now = self._clock.now()
        for outgoing, verdict in zip(batch, verdicts, strict=True):
            self._told(self._link.vendor, verdict, now - outgoing.accepted_at)
        self._learn(verdicts)
        self._adapt(verdicts)
        for verdict in verdicts:
            if verdict.kind in DELIVERED:
                self._suspicion.delivered()
        return [
            Settled(outgoing.entry, verdict, self._retry_at(outgoing, verdict, probe=probe))
            for outgoing, verdict in zip(batch, verdicts, strict=True)
        ]

    def hold(self, verdict: Verdict) -> None:
        """Holds the lane, or goes on holding it after a probe; another answer of the same round changes nothing."""
        now, mono = self._clock.now(), self._clock.monotonic()
        if not self.held:
            log.warning("lane.held", vendor=self._link.vendor, code=verdict.code, status=verdict.status)
        elif mono < self._probe_at:
            return
        self._link.held = True
        self._held_tries += 1
        longest_s = min(self._policy.backoff_max_s, HOLD_PROBE_MAX_S)
        self._probe_at = mono + backoff_s(self._held_tries, self._policy.backoff_first_s, longest_s, self._uniform)
        self._link.credentials_refused(now, mono)
        self._changed()

    def release(self) -> None:
        """The vendor takes our credentials."""
        if self.held:
            log.info("lane.released", vendor=self._link.vendor)
            self._link.held = False
            self._held_tries = 0
            self._changed()

    def _learn(self, verdicts: Sequence[Verdict]) -> None:
        """What a call says of the line: a pause that is asked for, and a refusal, are meant for every call."""
        now, mono = self._clock.now(), self._clock.monotonic()
        refused = [verdict for verdict in verdicts if verdict.kind is VerdictKind.HOLD]
        silent = [verdict for verdict in verdicts if not verdict.reached]
        pauses = [verdict for verdict in silent if verdict.after_s is not None]
        if refused:
            self.hold(refused[0])
            if asked := [verdict.after_s for verdict in refused if verdict.after_s is not None]:
                self._link.asked_to_wait(mono, max(asked))
        elif any(_speaks_well(verdict) for verdict in verdicts) and not pauses:
            self.release()
            self._link.worked(now, mono)
            spared = [verdict.after_s for verdict in verdicts if verdict.kind in DELIVERED and verdict.after_s]
            if spared:
                self._link.asked_to_wait(mono, max(spared))
        elif silent:
            worst = (pauses or silent)[0]
            self._link.silent(now, mono, after_s=worst.after_s, why=worst.title)

    def _adapt(self, verdicts: Sequence[Verdict]) -> None:
        """Halves the pace when the vendor asks for a pause, and lets it recover with each call that delivers."""
        bucket = self._link.bucket
        if any(verdict.kind is VerdictKind.RETRY and verdict.after_s is not None for verdict in verdicts):
            if self._full_rate:
                bucket.rate = max(_SLOWEST_RATE, bucket.rate / 2)
        elif any(verdict.kind in DELIVERED for verdict in verdicts):
            bucket.rate = min(self._full_rate, bucket.rate * _RECOVERY)

    def _retry_at(self, outgoing: Outgoing, verdict: Verdict, *, probe: bool) -> datetime | None:
        """When a record may be tried again; None for as soon as the lane goes.

        What got no answer may still be at work there: looked for, or sent, at once, it would be there twice in the end.
        The next probe takes another record: this one may be the only one that fails, and would keep the lane shut.
        """
        backs_off, doubtful = verdict.alone or verdict.awaits, not (verdict.reached or verdict.not_received)
        if verdict.kind not in (VerdictKind.RETRY, VerdictKind.HOLD) or not (backs_off or doubtful or probe):
            return None
        mono = self._clock.monotonic()
        self.probe_waits |= probe and not backs_off
        probe_s = max(self._link.sending.wait_s(mono), self._probe_at - mono if self.held else 0.0)
        first_s, longest_s = self._policy.backoff_first_s, self._policy.backoff_max_s
        pause_s = backoff_s(outgoing.attempts + 1, first_s, longest_s, self._uniform) if backs_off else 0.0
        least_s = self.doubt_s if doubtful else 0.0
        return self._clock.now() + timedelta(seconds=max(pause_s, least_s, probe_s + _BEYOND_PROBE_S))

    def _suspect(self, outgoing: Outgoing, verdict: Verdict) -> Verdict:
        """Parks a record that is itself the cause of its failures, and one that is too large by itself."""
        if verdict.kind is VerdictKind.SPLIT:
            verdict = replace(verdict, kind=VerdictKind.PARK)
        if verdict.kind is not VerdictKind.RETRY:
            self._suspicion.clear(outgoing.entry)
            return verdict
        if verdict.awaits:
            return verdict
        if verdict.after_s is not None and not verdict.alone:  # it asks for patience, not for another record
            return verdict
        enough = ALONE_ATTEMPTS if verdict.alone else UNANSWERED_ATTEMPTS
        if not self._suspicion.blames(outgoing.entry, at_least=enough):
            return verdict
        code = verdict.code if verdict.status is None else "vendor.rejected"
        return replace(verdict, kind=VerdictKind.PARK, code=code, reached=True, after_s=None)


def _speaks_well(verdict: Verdict) -> bool:
    """The vendor took our credentials and answered for this sale."""
    if not verdict.reached:
        return False
    return verdict.kind in DELIVERED or (verdict.kind is not VerdictKind.RETRY and verdict.status is not None)
