"""How fast and whether a vendor is called."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain.pacing import Breaker, BreakerState, TokenBucket, backoff_s


def longest(_low: float, high: float) -> float:
    return high


def breaker(threshold: int = 3, uniform=longest) -> Breaker:
    return Breaker(threshold=threshold, first_s=10.0, max_s=900.0, uniform=uniform)


def opened(after_s: float | None = None) -> Breaker:
    made = breaker(threshold=1)
    made.failed(0.0, after_s=after_s)
    return made


class TestTokenBucket:
    def test_saves_up_to_its_burst(self):
        """A burst goes out at once; then calls come at the rate."""
        bucket = TokenBucket(rate=5.0, burst=5.0)

        assert [bucket.wait_s(100.0) for _ in range(5)] == [0.0] * 5
        assert bucket.wait_s(100.0) == pytest.approx(0.2)
        assert bucket.wait_s(100.2) == 0.0
        assert [bucket.wait_s(1000.0) for _ in range(6)] == [0.0] * 5 + [pytest.approx(0.2)]

    def test_refused_calls_cost_nothing(self):
        """Asking too early does not push the next call back."""
        bucket = TokenBucket(rate=1.0, burst=1.0)
        bucket.wait_s(0.0)

        assert [bucket.wait_s(0.5) for _ in range(3)] == [0.5] * 3
        assert bucket.wait_s(1.0) == 0.0

    def test_who_cannot_wait_runs_into_debt(self):
        """A cashier's call goes at once and those who can wait pay for it."""
        bucket = TokenBucket(rate=2.0, burst=2.0)
        for _ in range(4):
            bucket.spend(0.0)

        assert bucket.wait_s(0.0) == pytest.approx(1.5)

    def test_no_limit(self):
        """A rate of 0 means that nobody waits."""
        bucket = TokenBucket(rate=0.0, burst=1.0)
        bucket.spend(0.0)

        assert [bucket.wait_s(0.0) for _ in range(1000)] == [0.0] * 1000

    def test_a_clock_that_stands_still_gives_nothing(self):
        """Time that goes backwards adds no calls."""
        bucket = TokenBucket(rate=1.0, burst=1.0)
        bucket.wait_s(10.0)

        assert bucket.wait_s(9.0) == 1.0

    @given(
        rate=st.floats(0.1, 50),
        steps=st.lists(st.floats(0, 5), min_size=1, max_size=200),
    )
    def test_never_exceeds_its_share(self, rate, steps):
        """However calls come, no stretch of time holds more than its rate and one burst."""
        burst = max(1.0, rate)
        bucket = TokenBucket(rate=rate, burst=burst)
        now, taken = 0.0, 0
        for step in steps:
            now += step
            taken += bucket.wait_s(now) == 0.0
            assert taken <= now * rate + burst + 1e-6


class TestBackoff:
    @given(
        attempt=st.integers(0, 10**6),
        first=st.floats(0.001, 60),
        longest_s=st.floats(60, 3600),
        seed=st.integers(0, 99),
    )
    def test_lies_within_a_ceiling_that_doubles(self, attempt, first, longest_s, seed):
        """Full jitter: anywhere between 0 and a ceiling that doubles up to the longest pause."""
        pause = backoff_s(attempt, first, longest_s, random.Random(seed).uniform)

        assert 0.0 <= pause <= min(longest_s, first * 2.0 ** min(max(attempt - 1, 0), 40)) + 1e-9

    def test_ceilings(self):
        """10 s, 20 s, 40 s ... 15 min."""
        ceilings = [backoff_s(attempt, 10.0, 900.0, longest) for attempt in (1, 2, 3, 7, 8, 10**6)]

        assert ceilings == [10.0, 20.0, 40.0, 640.0, 900.0, 900.0]


class TestBreaker:
    def test_opens_at_its_threshold(self):
        """Failures in a row open it; an answer in between begins anew."""
        line = breaker(threshold=3)
        for outcome in "ffsff":
            line.failed(0.0) if outcome == "f" else line.succeeded()

        assert line.state is BreakerState.CLOSED
        assert line.allows(0.0)
        line.failed(0.0)
        assert line.state is BreakerState.OPEN
        assert not line.allows(0.0)

    def test_lets_one_probe_through(self):
        """After the pause one call goes out, and no other until its outcome is known."""
        line = opened()

        assert line.wait_s(0.0) == 10.0
        assert not line.allows(9.9)
        assert line.allows(10.0)
        assert line.state is BreakerState.HALF_OPEN
        assert [line.allows(10.0 + second) for second in range(60)] == [False] * 60

    def test_a_probe_that_succeeds_closes_it(self):
        """An answer ends the outage."""
        line = opened()
        line.allows(10.0)
        line.succeeded(10.5)

        assert line.state is BreakerState.CLOSED
        assert line.wait_s(10.5) == 0.0

    def test_a_probe_that_fails_doubles_the_pause(self):
        """Pauses grow up to the longest, and begin anew after an answer."""
        line, now, pauses = opened(), 0.0, []
        for _ in range(9):
            pauses.append(line.wait_s(now))
            now += pauses[-1]
            assert line.allows(now)
            line.failed(now)
        assert pauses == [10, 20, 40, 80, 160, 320, 640, 900, 900]

        line.succeeded(now)
        line.failed(now)
        assert line.wait_s(now) == 10.0

    def test_a_straggler_changes_nothing(self):
        """Calls that were out when it opened fail too, and the pause goes on as it was."""
        line = opened()
        for _ in range(20):
            line.failed(5.0)

        assert line.wait_s(5.0) == 5.0
        line.allows(10.0)
        line.failed(10.0)
        assert line.wait_s(10.0) == 20.0

    def test_a_forgotten_probe_is_given_up(self):
        """A probe whose outcome never comes blocks nobody for longer than the longest pause."""
        line = opened()
        line.allows(10.0)

        assert line.wait_s(10.0) == 900.0
        assert not line.allows(909.9)
        assert line.allows(910.0)

    def test_the_vendors_wish_opens_it_at_once(self):
        """A `Retry-After` is kept from the first failure on, and longer than our own pause."""
        line = breaker(threshold=3)
        line.failed(0.0, after_s=120.0)

        assert line.state is BreakerState.OPEN
        assert line.wait_s(0.0) == 120.0

    def test_our_own_pause_may_be_longer(self):
        """A `Retry-After` shortens nothing."""
        assert opened(after_s=1.0).wait_s(0.0) == 10.0

    def test_a_straggler_can_only_lengthen_the_vendors_wish(self):
        """Of several wishes the one that ends last holds."""
        line = opened(after_s=60.0)
        line.failed(1.0, after_s=5.0)
        assert line.wait_s(1.0) == 59.0

        line.failed(2.0, after_s=300.0)
        assert line.wait_s(2.0) == 300.0

    def test_many_wishes_at_once_are_one_outage(self):
        """Four connections that are told to wait do not multiply the pause."""
        line = breaker(threshold=3)
        for _ in range(4):
            line.failed(0.0, after_s=1.0)
        line.allows(10.0)
        line.failed(10.0)

        assert line.wait_s(10.0) == 20.0

    def test_a_late_answer_does_not_break_the_vendors_wish(self):
        """An answer to a call from before the wish does not let the next call go early."""
        line = opened(after_s=60.0)
        line.succeeded(1.0)

        assert not line.allows(59.9)
        assert line.allows(60.0)
        line.succeeded(60.1)
        assert line.state is BreakerState.CLOSED

    def test_a_wish_that_comes_with_an_answer_is_no_failure(self):
        """The pause lasts as long as was asked, however short and however often; a flush does not break it."""
        line = breaker(threshold=3)
        for number in range(20):
            line.rests(number * 100.0, 2.0)
            assert line.wait_s(number * 100.0) == 2.0
            line.hurry(number * 100.0)
            assert not line.allows(number * 100.0 + 1.9)
            assert line.allows(number * 100.0 + 2.0)
            line.succeeded(number * 100.0 + 2.1)
            assert line.state is BreakerState.CLOSED

    def test_a_shorter_wish_leaves_a_longer_one(self):
        """Of several wishes the one that ends last holds, whatever they came with."""
        line = opened(after_s=60.0)
        line.rests(1.0, 2.0)
        assert line.wait_s(1.0) == 59.0

    def test_hurry(self):
        """Somebody who asks for an attempt now gets the probe now."""
        line = opened()
        line.hurry(3.0)

        assert line.wait_s(3.0) == 0.0
        assert line.allows(3.0)

    def test_hurry_respects_the_vendors_wish(self):
        """`Retry-After` wins over a person's hurry."""
        line = opened(after_s=60.0)
        line.hurry(3.0)
        assert line.wait_s(3.0) == 57.0
        assert not line.allows(59.9)
        assert line.allows(60.0)

    def test_hurry_sends_no_second_probe(self):
        """While a probe is out, hurry has nothing to hasten; closed, nothing to open."""
        line = opened()
        line.allows(10.0)
        line.hurry(11.0)
        assert not line.allows(11.0)

        closed = breaker()
        closed.hurry(0.0)
        assert closed.state is BreakerState.CLOSED

    @given(st.lists(st.tuples(st.sampled_from("sfwah"), st.floats(0, 100)), max_size=60), st.integers(0, 99))
    def test_whatever_happens_it_never_calls_before_the_vendor_allows(self, events, seed):
        """No sequence of outcomes lets a call out before a wish has passed, or keeps it in for ever."""
        line = breaker(threshold=2, uniform=random.Random(seed).uniform)
        now, not_before = 0.0, -math.inf
        for event, step in events:
            now += step
            if event == "s":
                line.succeeded(now)
            elif event == "f":
                line.failed(now)
            elif event == "w":
                not_before = max(not_before, now + step)
                line.failed(now, after_s=step)
            elif event == "h":
                line.hurry(now)
            elif line.allows(now):
                assert now >= not_before
            assert 0.0 <= line.wait_s(now) <= 1000.0
        assert line.allows(now + line.wait_s(now) + 1e-6)
