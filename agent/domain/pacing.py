"""How fast, how often and whether at all a vendor is called. All in monotonic seconds, handed in.

:class:`TokenBucket` keeps an agent's share of an API key's allowance, :class:`Breaker` stops calling who does not
answer and lets one probe through, :func:`backoff_s` spreads the next attempts (full jitter, after Brooker,
"Exponential Backoff And Jitter", AWS Architecture Blog 2015).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


@dataclass(slots=True)
class TokenBucket:
    """An allowance of ``rate`` calls a second that can be saved up to ``burst`` calls. A rate of 0 means no limit."""

    rate: float
    burst: float
    _tokens: float = 0.0
    _at: float | None = None

    def wait_s(self, now: float, cost: float = 1.0) -> float:
        """Takes ``cost`` calls if they are there and answers 0; else takes nothing and answers the seconds to wait."""
        if self.rate <= 0:
            return 0.0
        self._refill(now)
        if self._tokens >= cost:
            self._tokens -= cost
            return 0.0
        return (cost - self._tokens) / self.rate

    def spend(self, now: float, cost: float = 1.0) -> None:
        """Takes ``cost`` calls whether they are there or not; who can wait pays, with a debt of one burst at most."""
        if self.rate > 0:
            self._refill(now)
            self._tokens = max(-self.burst, self._tokens - cost)

    def _refill(self, now: float) -> None:
        if self._at is None:
            self._tokens, self._at = self.burst, now
        self._tokens = min(self.burst, self._tokens + max(0.0, now - self._at) * self.rate)
        self._at = now


def backoff_s(attempt: int, first_s: float, max_s: float, uniform: Callable[[float, float], float]) -> float:
    """Seconds before attempt ``attempt + 1``: anywhere between 0 and a ceiling that doubles up to ``max_s``.

    Args:
        attempt: failed attempts so far, from 1.
        first_s: the first ceiling.
        max_s: the highest ceiling.
        uniform: the source of chance, such as `random.Random.uniform`.
    """
    ceiling = min(max_s, first_s * 2.0 ** min(max(attempt - 1, 0), 32))
    return uniform(0.0, ceiling)


class BreakerState(StrEnum):
    """Closed lets calls through, open none, half-open the one probe that is out."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """A circuit breaker fed by its callers: ``threshold`` failures in a row open it, one probe at a time tests it.

    Args:
        threshold: failures in a row that open it.
        first_s: the first pause before a probe.
        max_s: the longest pause.
        uniform: the source of chance for the pauses.
    """

    def __init__(
        self, *, threshold: int, first_s: float, max_s: float, uniform: Callable[[float, float], float]
    ) -> None:
        self._threshold, self._first_s, self._max_s, self._uniform = threshold, first_s, max_s, uniform
        self._failures = 0
        self._pauses = 0
        self._probe_at: float | None = None
        self._probing_since: float | None = None
        self._not_before = float("-inf")

    @property
    def state(self) -> BreakerState:
        """The state as callers see it."""
        if self._probe_at is None:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self._probing_since is not None else BreakerState.OPEN

    def allows(self, now: float) -> bool:
        """Whether a call may go out now. A yes while open is the one probe; its outcome must be reported.

        A probe whose outcome never came (a cancelled call) is forgotten after the longest pause.
        """
        if self._probe_at is None:
            return True
        if self._probing_since is not None and now - self._probing_since < self._max_s:
            return False
        if now < self._probe_at:
            return False
        self._probing_since = now
        return True

    def wait_s(self, now: float) -> float:
        """Seconds until the next call may be tried; 0 when it may be now."""
        if self._probe_at is None:
            return 0.0
        if self._probing_since is not None:
            return max(0.0, self._probing_since + self._max_s - now)
        return max(0.0, self._probe_at - now)

    def succeeded(self, now: float | None = None) -> None:
        """An answer came: closed again.

        Args:
            now: with it, a pause that the vendor asked for is kept: the answer was to a call from before that.
        """
        self._failures = self._pauses = 0
        self._probing_since = None
        self._probe_at = self._not_before if now is not None and now < self._not_before else None

    def rests(self, now: float, after_s: float) -> None:
        """An answer came, and the vendor asks for a pause: it lasts as long as was asked, and is no failure."""
        self._not_before = max(self._not_before, now + after_s)
        self.succeeded(now)

    def failed(self, now: float, *, after_s: float | None = None) -> None:
        """No answer came; ``after_s`` is a pause that the vendor asked for."""
        self._failures += 1
        if after_s is not None:
            self._not_before = max(self._not_before, now + after_s)
        if self._probe_at is not None and self._probing_since is None:
            # A straggler of the same outage: the pause already runs, and only the vendor can ask for a longer one.
            self._probe_at = max(self._probe_at, self._not_before)
            return
        if self._probe_at is None and self._failures < self._threshold and after_s is None:
            return
        self._pauses += 1
        pause = backoff_s(self._pauses, self._first_s, self._max_s, self._uniform)
        self._probe_at = max(now + pause, self._not_before)
        self._probing_since = None

    def pause_s(self, now: float) -> float:
        """Seconds left of a pause that the vendor asked for."""
        return max(0.0, self._not_before - now)

    def hurry(self, now: float) -> None:
        """Somebody asked for an attempt now: an open breaker lets its probe go, but not before the vendor allows."""
        if self._probe_at is not None and self._probing_since is None:
            self._probe_at = min(self._probe_at, max(now, self._not_before))
