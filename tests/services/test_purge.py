"""The purge: whom it asks, what it says, and when it must not."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from agent.domain.health import Conditions
from agent.domain.retention import RetentionPolicy
from agent.errors import StorageError
from agent.ports import ReplicaInfo
from agent.services.purge import Purge
from tests.fakes import NOW, FakeClock

POLICY = RetentionPolicy(
    timedelta(hours=24), timedelta(days=30), timedelta(days=400), timedelta(days=14), timedelta(days=8)
)


class Sales:
    def __init__(self):
        self.plans, self.fault, self.under_way = [], None, 0

    async def purge(self, plan, now):
        self.under_way += 1
        assert self.under_way == 1
        await asyncio.sleep(0)
        self.plans.append(plan)
        self.under_way -= 1
        if self.fault:
            raise self.fault
        return {"delivered": 2, "undelivered": 1, "forgotten": 0}


class Contacts:
    def __init__(self):
        self.as_of, self.before, self.erased = NOW, [], 0

    def info(self):
        return ReplicaInfo(7, self.as_of, "keys")

    async def purge(self, tombstones_before):
        self.before.append(tombstones_before)
        return {"tombstones": 3}

    async def erase_all(self):
        self.erased += 1


class Kept:
    def __init__(self):
        self.asked = []

    async def purge(self, taken_before, now):
        self.asked.append((taken_before, now))
        return 1


class Bench:
    def __init__(self):
        self.clock, self.sales, self.contacts, self.conditions = FakeClock(), Sales(), Contacts(), Conditions()
        self.kept = Kept()
        self.changes, self.skew_s = 0, 0.0
        self.purge = Purge(
            clock=self.clock, policy=POLICY, sales=self.sales, contacts=self.contacts, spool=lambda: 4,
            kept=self.kept, alone=asyncio.Lock(),
            conditions=self.conditions, changed=self._changed, skew_s=lambda: self.skew_s,
        )  # fmt: skip

    def _changed(self):
        self.changes += 1


@pytest.fixture
def bench():
    return Bench()


async def test_everything_is_asked_and_counted(bench):
    """Sales, tombstones and forgotten downloads, by the ages of the configuration."""
    counts = await bench.purge.run()
    assert counts == {
        "files": 4, "delivered": 2, "undelivered": 1, "forgotten": 0, "tombstones": 3, "kept_files": 1,
    }  # fmt: skip
    assert bench.kept.asked == [(NOW - POLICY.undelivered, NOW)]
    (plan,) = bench.sales.plans
    assert plan.delivered_before == NOW - timedelta(hours=24)
    assert plan.accepted_before == NOW - timedelta(days=30)
    assert bench.contacts.before == [NOW - timedelta(days=8)]
    assert bench.changes == 1


async def test_a_replica_that_nothing_renewed_is_erased(bench):
    """And a condition says so."""
    bench.clock.advance(14 * 86_400 + 1)
    await bench.purge.run()
    assert bench.contacts.erased == 1
    assert bench.conditions.stands("replica.expired")


async def test_a_replica_that_was_never_loaded_does_not_expire(bench):
    """There is nothing in it."""
    bench.contacts.as_of = None
    await bench.purge.run()
    assert (bench.contacts.erased, bench.conditions.standing()) == (0, ())


@pytest.mark.parametrize("years", [-3, 3], ids=["back", "ahead"])
async def test_nothing_expires_while_the_clock_is_days_off(bench, years):
    """Ages mean nothing then; downloads that were left behind have none and go."""
    bench.skew_s = years * 365 * 86_400.0
    assert await bench.purge.run() == {"files": 4}
    assert (bench.sales.plans, bench.contacts.erased, bench.contacts.before) == ([], 0, [])

    bench.skew_s = 0.0
    await bench.purge.run()
    assert len(bench.sales.plans) == 1


async def test_a_clock_a_few_minutes_off_keeps_nobody_on_file(bench):
    """Many a till's clock is."""
    bench.skew_s = -300.0
    await bench.purge.run()
    assert len(bench.sales.plans) == 1


async def test_one_room_s_trouble_does_not_keep_the_other_s_data(bench):
    """The contacts are erased all the same, and the error is not swallowed."""
    bench.sales.fault = StorageError("the write-ahead log is in use")
    with pytest.raises(StorageError, match="in use"):
        await bench.purge.run()
    assert bench.contacts.before


async def test_two_purges_take_turns(bench):
    """An order in the middle of the hourly one waits for it."""
    await asyncio.gather(bench.purge.run(), bench.purge.run())
    assert len(bench.sales.plans) == 2
