"""What is known about the line to one vendor, from the answers that came and did not come.

Fed by everything that calls the vendor (deliveries, look-ups, probes), read by everything that has to know whether
asking makes sense. It keeps two breakers: a cashier's look-up gives up within a budget of milliseconds, and a vendor
too slow for that may still take deliveries.
"""

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from agent.domain.pacing import Breaker, TokenBucket
from agent.errors import VendorUnreachableError

CLOCK_TOLERANCE = timedelta(minutes=2)
"""How far two clocks may be apart and still count as the same."""
OLDEST_SALE, FURTHEST_SALE = timedelta(days=730), timedelta(days=1)
"""Ages of unfinished sales beyond these are a wrong clock's, seen from a right one."""
_SAME_CLOCK = timedelta(days=1)


class Link:
    """The line to one vendor.

    Args:
        vendor: its name.
        role: ``loyalty`` for the system that owns the contacts, else ``forward``.
        requests_per_second: this agent's share of the key's allowance; 0 means no limit.
        backoff_first_s: first pause of the breakers, seconds.
        backoff_max_s: longest pause, seconds.
        uniform: the source of chance.
        on_change: called after every change of what the line can do.

    Attributes:
        refused: what answered last refused our credentials or our plan.
        held: deliveries wait because of that, until one is taken again; what a look-up may do says nothing of them.
        why: why it does not answer; empty while it does.
    """

    LOOKUP_PAUSE_S = 1.0
    LOOKUP_PAUSE_MAX_S = 30.0

    def __init__(
        self,
        vendor: str,
        role: str,
        *,
        requests_per_second: float,
        backoff_first_s: float,
        backoff_max_s: float,
        uniform: Callable[[float, float], float],
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.vendor, self.role = vendor, role
        self.bucket = TokenBucket(requests_per_second, max(1.0, requests_per_second))
        self.sending = Breaker(threshold=2, first_s=backoff_first_s, max_s=backoff_max_s, uniform=uniform)
        self.lookups = Breaker(
            threshold=3,
            first_s=min(self.LOOKUP_PAUSE_S, backoff_first_s),
            max_s=min(self.LOOKUP_PAUSE_MAX_S, backoff_max_s),
            uniform=uniform,
        )
        self.answers: bool | None = None
        self.refused = self.held = False
        self.why = ""
        self.since: datetime | None = None
        self.last_success_at: datetime | None = None
        self.reached_mono: float | None = None
        self.skew_s = 0.0
        self.on_change = on_change
        self._told = ""

    @property
    def state(self) -> str:
        """``online``, ``degraded`` (it answers, but refuses our credentials) or ``offline``."""
        if self.answers is False:
            return "offline"
        return "degraded" if self.refuses else "online"

    @property
    def refuses(self) -> bool:
        """It refuses our credentials or our plan, be it for deliveries alone."""
        return self.refused or self.held

    def worked(self, now: datetime, mono: float, *, lookup: bool = False) -> None:
        """The vendor answered sensibly and took our credentials."""
        (self.lookups if lookup else self.sending).succeeded(mono)
        self.last_success_at = now
        self._become(now, mono, answers=True, refused=False)

    def answered(self, now: datetime, mono: float, *, lookup: bool = False) -> None:
        """The vendor answered, whatever it said of the one record; its opinion of our credentials is unchanged."""
        (self.lookups if lookup else self.sending).succeeded(mono)
        self._become(now, mono, answers=True, refused=self.refused)

    def credentials_refused(self, now: datetime, mono: float, *, lookup: bool = False) -> None:
        """The vendor answered that our credentials or our plan do not do."""
        (self.lookups if lookup else self.sending).succeeded(mono)
        self._become(now, mono, answers=True, refused=True)

    def silent(
        self, now: datetime, mono: float, *, lookup: bool = False, after_s: float | None = None, why: str = ""
    ) -> None:
        """No answer came, or only 429, 5xx or nonsense.

        Args:
            now: the instant.
            mono: the same, monotonic.
            lookup: a look-up drew it.
            after_s: a pause that the vendor asked for; it is meant for every call, whichever drew it.
            why: what went wrong, for an operator; a look-up's counts only while nothing else is known, so that what
                is told does not change with every cashier's question.
        """
        if not lookup or self.answers is not False:
            self.why = why
        if lookup or after_s is not None:
            self.lookups.failed(mono, after_s=after_s)
        if after_s is not None or not lookup:
            self.sending.failed(mono, after_s=after_s)
        self._become(now, None, answers=False, refused=self.refused)

    @contextlib.contextmanager
    def between_pauses(self, now: Callable[[], datetime], monotonic: Callable[[], float]) -> Iterator[None]:
        """One question that is nobody's at the till: never in a pause that the vendor asked for.

        A pause that the question itself draws is every call's.

        Args:
            now: tells instants.
            monotonic: tells intervals.

        Raises:
            VendorUnreachableError: a pause lasts: what has to be asked can wait.
        """
        left_s = self.sending.pause_s(monotonic())
        if left_s > 0:
            raise VendorUnreachableError("asks to be called more slowly", retry_after_s=left_s)
        try:
            yield
        except VendorUnreachableError as error:
            if error.retry_after_s is not None:
                self.silent(now(), monotonic(), after_s=error.retry_after_s, why=str(error))
            raise

    def asked_to_wait(self, mono: float, after_s: float) -> None:
        """It answered well, and its allowance is nearly used up: deliveries wait, look-ups need not."""
        self.sending.rests(mono, after_s)

    def heard_time(self, skew_s: float) -> None:
        """The vendor's clock is so many seconds ahead of ours."""
        self.skew_s = skew_s

    def clock_moved(self, by: timedelta) -> None:
        """Our wall clock was put on by so much."""
        self.skew_s -= by.total_seconds()

    def corrected(
        self, occurred_at: datetime, accepted_at: datetime, clock_off: timedelta, now: datetime
    ) -> datetime | None:
        """When a sale took place by the vendor's clock; None where the time that it states can stand.

        Args:
            occurred_at: what the till states.
            accepted_at: when the agent took it, by the wall clock as it is now.
            clock_off: how far that clock has been put right since.
            now: by the wall clock; a sale that it makes impossibly old was dated by a wrong one between two runs.
        """
        skew = timedelta(seconds=self.skew_s)
        if not now - OLDEST_SALE <= accepted_at <= now + FURTHEST_SALE:
            clock_off, accepted_at = clock_off + (now - accepted_at), now
        if abs(clock_off + skew) <= CLOCK_TOLERANCE:
            return None
        taken_at = accepted_at + skew
        if abs(taken_at - occurred_at) <= CLOCK_TOLERANCE:  # the till's own clock was right
            return None
        same_clock = abs(accepted_at - clock_off - occurred_at) <= _SAME_CLOCK
        return occurred_at + clock_off + skew if same_clock else taken_at

    def too_slow(self, mono: float) -> None:
        """A look-up did not answer within the cashier's budget; the line itself may be fine."""
        self.lookups.failed(mono)

    def _become(self, now: datetime, mono: float | None, *, answers: bool, refused: bool) -> None:
        if mono is not None:
            self.reached_mono = mono
        before = self.answers, self.refused
        self.answers, self.refused = answers, refused
        if answers:
            self.why = ""
        shown, self._told = self._told, self.state
        if self.state != shown:
            self.since = now
        if self.state != shown or (answers, refused) != before:  # who takes our credentials is asked at once
            self.on_change()
