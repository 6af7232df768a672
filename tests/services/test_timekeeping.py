"""The wall clock: when its ages are trusted, how a jump is followed, and what an earlier wrong clock dated."""

import asyncio
import contextlib
import random
from datetime import timedelta

import pytest

from agent.domain.health import Conditions
from agent.domain.link import Link
from agent.services import timekeeping
from agent.services.timekeeping import DOUBT_MAX_S, Timekeeper
from tests.fakes import NOW, FakeClock, until

YEARS = timedelta(days=3 * 365)


class Sales:
    """An outbox that remembers what it was asked."""

    def __init__(self):
        self.odd, self.calls = False, []

    async def shift(self, by):
        self.calls.append(("shift", by))

    async def clamp_due(self, latest):
        self.calls.append(("clamp_due", latest))

    def oddly_dated(self, now):
        return self.odd

    async def redate(self, now):
        self.calls.append(("redate", now))
        self.odd = False
        return 1


class WatchedClock(FakeClock):
    """Counts how often it is looked at."""

    looks = 0

    def monotonic(self):
        self.looks += 1
        return super().monotonic()


class Bench:
    def __init__(self):
        self.clock, self.sales, self.jumps = WatchedClock(), Sales(), 0
        self.link = Link(
            "voyado",
            "loyalty",
            requests_per_second=0,
            backoff_first_s=1,
            backoff_max_s=2,
            uniform=random.Random(1).uniform,
        )
        self.conditions = Conditions(on_edge=lambda *_: None)
        self.keeper = Timekeeper(
            clock=self.clock, link=self.link, sales=self.sales, conditions=self.conditions,
            longest_wait=timedelta(minutes=15), on_jump=self._jumped,
        )  # fmt: skip

    def _jumped(self):
        self.jumps += 1

    def hear(self, ahead=timedelta()):
        self.keeper.heard(self.clock.now() + ahead)

    def wrong(self):
        return any(condition.code == "clock.wrong" for condition in self.conditions.standing())


@pytest.fixture(name="bench")
def _bench(monkeypatch):
    monkeypatch.setattr(timekeeping, "CHECK_S", 0.001)
    return Bench()


@contextlib.asynccontextmanager
async def running(bench):
    """The keeper at work."""
    task = asyncio.create_task(bench.keeper.run())
    try:
        await until(lambda: bench.sales.calls)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("ahead", [YEARS, -YEARS, timedelta(days=2)], ids=["back", "ahead", "two days"])
def test_a_clock_that_is_days_off_gives_no_ages(bench, ahead):
    """Whichever way; once it is right it does."""
    bench.hear(ahead)
    assert (bench.keeper.trusted(), bench.wrong()) == (False, True)
    bench.hear()
    assert (bench.keeper.trusted(), bench.wrong()) == (True, False)


def test_a_clock_a_few_minutes_off_keeps_nobody_on_file(bench):
    """Many a till's is: it is told, and ages go on meaning something."""
    bench.hear(timedelta(minutes=-5))
    assert (bench.keeper.trusted(), bench.wrong()) == (True, True)


def test_an_unconfirmed_clock_is_doubted_while_dates_contradict_it(bench):
    """For a day at most: a till that is never online again has to erase, too."""
    assert bench.keeper.trusted()
    bench.sales.odd = True
    assert not bench.keeper.trusted()
    bench.clock.advance(DOUBT_MAX_S + 1)
    assert bench.keeper.trusted()


async def test_what_a_wrong_clock_dated_gets_a_date_once_the_clock_is_confirmed(bench):
    """Not before, and not by a clock that is wrong itself."""
    bench.sales.odd = True
    bench.hear(YEARS)
    async with running(bench):
        for _ in range(5):
            looks = bench.clock.looks
            await until(lambda looks=looks: bench.clock.looks > looks)
        assert bench.sales.odd
        bench.hear()
        await until(lambda: not bench.sales.odd)
    assert bench.sales.calls[-1] == ("redate", NOW)
    assert bench.keeper.trusted()


async def test_a_jump_takes_along_what_this_run_dated(bench):
    """Sales, waiting times, calendar, and what is known of the vendor's clock."""
    bench.hear(YEARS)
    async with running(bench):
        bench.clock.wall += YEARS
        await until(lambda: bench.jumps)
    assert bench.sales.calls[1:] == [("shift", YEARS), ("clamp_due", NOW + YEARS + timedelta(minutes=15))]
    assert bench.jumps == 1
    assert (bench.keeper.trusted(), bench.wrong()) == (True, False)


async def test_time_that_passes_is_no_jump(bench):
    """Both clocks go on together."""
    async with running(bench):
        for _ in range(5):
            bench.clock.advance(60)
            looks = bench.clock.looks
            await until(lambda looks=looks: bench.clock.looks > looks)
    assert (bench.jumps, [name for name, _ in bench.sales.calls]) == (0, ["clamp_due"])
