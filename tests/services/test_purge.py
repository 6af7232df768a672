"""The purge: whom it asks, what it says, and when it must not."""

from __future__ import annotations

import asyncio
import gc
import warnings
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.domain.audit import line_of
from agent.domain.retention import RetentionPolicy
from agent.errors import StorageError
from agent.services.purge import Purge
from tests.fakes import NOW, FakeClock, until

POLICY = RetentionPolicy(timedelta(hours=24), timedelta(days=30), timedelta(days=400), timedelta(days=8))


class Sales:
    def __init__(self):
        self.plans, self.fault, self.under_way, self.old = [], None, 0, False
        self.counts = {"delivered": 2, "undelivered": 1, "forgotten": 0}

    def due(self, plan):
        return self.old

    async def purge(self, plan, now):
        self.under_way += 1
        assert self.under_way == 1
        await asyncio.sleep(0)
        self.plans.append(plan)
        self.under_way -= 1
        if self.fault:
            raise self.fault
        return self.counts


class Contacts:
    def __init__(self):
        self.before, self.tombstones = [], 3

    async def purge(self, tombstones_before):
        self.before.append(tombstones_before)
        return {"tombstones": self.tombstones}


class Trail:
    def __init__(self):
        self.recorded, self.before, self.checks = [], [], 0

    async def record(self, event, /, **facts):
        assert line_of(1, NOW, event, facts, "")  # what the real one refuses
        self.recorded.append((event, facts))

    async def trim(self, before):
        self.before.append(before)

    async def check(self):
        self.checks += 1


class Kept:
    def __init__(self):
        self.asked, self.files = [], 1

    async def purge(self, taken_before, now):
        self.asked.append((taken_before, now))
        return self.files


class Redemptions:
    def __init__(self):
        self.asked, self.is_due = [], False

    def due(self, plan):
        return self.is_due

    async def purge(self, plan, now):
        self.asked.append((plan.delivered_before, now))
        return {"redemptions": 2} if self.is_due else {"redemptions": 0}


class Enrolments:
    def __init__(self):
        self.asked, self.is_due = [], False

    def due(self, plan):
        return self.is_due

    async def purge(self, plan):
        self.asked.append(plan.accepted_before)
        return {"enrolments": 5} if self.is_due else {"enrolments": 0}


class WaitingFiles:
    def __init__(self):
        self.asked, self.old = [], 0

    async def expire(self, before):
        self.asked.append(before)
        return self.old


class Bench:
    def __init__(self, policy=POLICY):
        self.clock, self.sales, self.contacts = FakeClock(), Sales(), Contacts()
        self.kept, self.trail, self.changes, self.trusted, self.files = Kept(), Trail(), 0, True, 4
        self.reading = False
        self.swept = 0
        self.redemptions, self.enrolments, self.waiting = Redemptions(), Enrolments(), WaitingFiles()
        self.purge = Purge(
            clock=self.clock,
            policy=policy,
            sales=self.sales,
            contacts=self.contacts,
            kept=self.kept,
            trail=self.trail,
            handed_over=(self.waiting,),
            spool=self._spool,
            memory=self._memory,
            redemptions=self.redemptions,
            enrolments=self.enrolments,
            reading=lambda: self.reading,
            alone=asyncio.Lock(),
            changed=self._changed,
            trusted=lambda: self.trusted,
        )

    def _memory(self):
        self.swept += 1

    def _spool(self):
        assert not self.reading
        return self.files

    def _changed(self):
        self.changes += 1


@pytest.fixture
def bench():
    return Bench()


async def test_everything_is_asked_and_counted(bench):
    """Sales, tombstones and forgotten downloads, by the ages of the configuration."""
    counts = await bench.purge.run()
    assert counts == {
        "files": 4, "delivered": 2, "undelivered": 1, "forgotten": 0, "redemptions": 0, "enrolments": 0,
        "tombstones": 3, "kept_files": 1,
    }  # fmt: skip
    assert bench.kept.asked == [(NOW - POLICY.undelivered, NOW)]
    (plan,) = bench.sales.plans
    assert plan.delivered_before == NOW - timedelta(hours=24)
    assert plan.accepted_before == NOW - timedelta(days=30)
    assert bench.contacts.before == [NOW - timedelta(days=8)]
    assert bench.changes == 1
    assert bench.trail.recorded == [("retention.purged", counts)]


async def test_files_that_a_vendor_never_fetched(bench):
    """They go when what they hold would be too old anywhere else, and it is counted."""
    bench.waiting.old = 2
    assert (await bench.purge.run())["files_unfetched"] == 2
    assert bench.waiting.asked == [NOW - POLICY.undelivered]
    assert bench.trail.recorded[0][1]["files_unfetched"] == 2


async def test_what_a_sync_is_reading_is_not_left_behind(bench):
    """While a feed is being read its downloads are let alone; the next run finds what is left of them."""
    bench.reading = True
    assert (await bench.purge.run())["files"] == 0
    bench.reading = False
    assert (await bench.purge.run())["files"] == 4


async def test_the_audit_trail_has_an_end_too(bench):
    """Each run drops entries older than `retention.audit`, and looks whether the trail is whole."""
    await bench.purge.run()
    assert bench.trail.before == [NOW - timedelta(days=400)]
    assert bench.trail.checks == 1


@pytest.mark.parametrize("trusted", [True, False])
async def test_what_is_remembered_of_people_is_swept(bench, trusted):
    """By an age of its own, whatever the wall clock says."""
    bench.trusted = trusted
    await bench.purge.run()
    assert bench.swept == 1


async def test_a_purge_of_nothing_is_not_recorded(bench):
    """The trail holds what was done, not that there was nothing to do."""
    bench.sales.counts = dict.fromkeys(bench.sales.counts, 0)
    bench.contacts.tombstones = bench.files = bench.kept.files = 0
    await bench.purge.run()
    assert bench.trail.recorded == []


async def test_nothing_expires_while_the_clock_is_not_trusted(bench):
    """Ages mean nothing then; downloads that were left behind have none and go."""
    bench.trusted = False
    assert await bench.purge.run() == {"files": 4}
    assert (bench.sales.plans, bench.contacts.before) == ([], [])

    bench.trusted = True
    await bench.purge.run()
    assert len(bench.sales.plans) == 1


async def test_one_room_s_trouble_does_not_keep_the_other_s_data(bench):
    """The contacts are erased all the same, and the error is not swallowed."""
    bench.sales.fault = StorageError("the write-ahead log is in use")
    with pytest.raises(StorageError, match="in use"):
        await bench.purge.run()
    assert bench.contacts.before
    counts = {"files": 4, "redemptions": 0, "enrolments": 0, "tombstones": 3, "kept_files": 1}
    assert bench.trail.recorded == [("retention.purged", counts)]


async def test_two_purges_take_turns(bench):
    """An order in the middle of the hourly one waits for it."""
    await asyncio.gather(bench.purge.run(), bench.purge.run())
    assert len(bench.sales.plans) == 2


async def test_a_purge_that_is_cut_off(bench):
    """The agent stops in the middle of one: nothing else had been begun, which would be told as never awaited."""
    begun = asyncio.Event()

    async def for_ever(_plan, _now):
        begun.set()
        await asyncio.Event().wait()

    bench.sales.purge = for_ever
    purging = asyncio.create_task(bench.purge.run())
    await begun.wait()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        purging.cancel()
        await asyncio.wait([purging])
        del purging
        gc.collect()
    assert [str(one.message) for one in told] == []


# --- between the runs -----------------------------------------------------------------------------------------


async def test_a_sweep_looks_before_it_works(bench):
    """Nothing is written while nothing is due; then sales go, and sales alone."""
    assert await bench.purge.sweep() == {}
    assert bench.sales.plans == []
    bench.sales.old = True
    bench.clock.advance(60 * 86_400)
    assert await bench.purge.sweep() == {
        "delivered": 2, "undelivered": 1, "forgotten": 0, "redemptions": 0, "enrolments": 0,
    }  # fmt: skip
    assert (len(bench.sales.plans), bench.contacts.before) == (1, [])
    assert bench.changes == 1


async def test_a_sweep_for_redemptions_alone(bench):
    """They have an age of their own, as sales have."""
    bench.redemptions.is_due = True
    assert (await bench.purge.sweep())["redemptions"] == 2
    assert bench.redemptions.asked == [(NOW - POLICY.delivered, NOW)]


async def test_a_sweep_for_contacts_made_here_alone(bench):
    """They too go by their own age, which is that of what was not delivered."""
    bench.enrolments.is_due = True
    assert (await bench.purge.sweep())["enrolments"] == 5
    assert bench.enrolments.asked == [NOW - POLICY.undelivered]


async def test_no_sweep_while_the_clock_is_not_trusted(bench):
    """Ages mean nothing then."""
    bench.sales.old, bench.trusted = True, False
    assert await bench.purge.sweep() == {}
    assert bench.sales.plans == []


async def test_a_sweep_waits_for_a_run(bench):
    """They never work on the same rows at once."""
    bench.sales.old = True
    await asyncio.gather(bench.purge.run(), bench.purge.sweep())
    assert len(bench.sales.plans) == 2


async def test_sweeps_go_on_after_one_that_failed():
    """The disk may be back at the next."""
    bench = Bench(replace(POLICY, delivered=timedelta(seconds=1)))
    bench.sales.old, bench.sales.fault = True, StorageError()
    sweeping = asyncio.create_task(bench.purge.run_often())
    await until(lambda: len(bench.sales.plans) == 2)
    assert bench.changes == 0
    bench.sales.fault = None
    await until(lambda: bench.changes > 0)
    sweeping.cancel()
    await asyncio.wait([sweeping])
    assert sweeping.cancelled()
