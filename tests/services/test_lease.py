"""The data lease: opened, renewed, withheld, ended."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent.domain.health import Conditions
from agent.domain.lease import Contents, LeaseRecord
from agent.errors import StorageError
from agent.services.lease import PATIENCE_S, SAVE_S, Lease
from tests.fakes import NOW, FakeClock

DAY_S = 86_400.0
YEARS_S = 3 * 365 * DAY_S


class Replica:
    """What the lease does to it, in words, and what it saved."""

    def __init__(self, record=None, *, there=False):
        self.record, self.files, self.did, self.fault = record, there or record is not None, [], None
        self.saves = 0

    def there(self):
        return self.files

    def open(self):
        self.did.append("open")

    def withhold(self):
        self.did.append("withhold")

    def start_over(self):
        self.did.append("start over")
        if self.fault:
            raise self.fault

    def load(self):
        return self.record

    def save(self, record):
        if self.fault:
            raise self.fault
        self.record = record
        self.saves += 1


class Bench:
    def __init__(self, record=None, *, there=False, off_s=0.0):
        self.clock, self.conditions, self.changes, self.busy = FakeClock(), Conditions(), 0, False
        self.clock.wall += timedelta(seconds=off_s)
        self.replica = Replica(record, there=there)
        self.recorded, self.unrecorded = [], None
        self.lease = self.again()

    def again(self):
        """The lease as a new run of the program begins with it."""
        return Lease(
            clock=self.clock, term=timedelta(days=14), replica=self.replica, conditions=self.conditions,
            changed=self._changed, busy=lambda: self.busy, record=self._record,
        )  # fmt: skip

    def _changed(self):
        self.changes += 1

    async def _record(self, event, /, **facts):
        if self.unrecorded:
            raise self.unrecorded
        self.recorded.append((event, facts))

    @property
    def did(self):
        """What was done to the replica since the last look."""
        did, self.replica.did = self.replica.did, []
        return did

    @property
    def expired(self):
        return self.conditions.stands("replica.expired")

    async def pass_by(self, seconds):
        self.clock.advance(seconds)
        await self.lease.check()


def held(age_s=0.0, **kwargs):
    return LeaseRecord(age_s, NOW, contents=Contents.HELD, **kwargs)


async def test_a_first_start_has_nothing_to_end():
    """The empty replica is opened, the time is written down, and nothing is told."""
    bench = Bench()
    await bench.lease.start()
    assert (bench.did, bench.expired) == (["open"], False)
    assert bench.replica.record == LeaseRecord(0, NOW)


async def test_nothing_is_ever_loaded():
    """What a first load left half-done goes when its time is over, unless it is going on just now; nothing is told."""
    bench = Bench(there=False)
    await bench.lease.start()
    bench.busy = True
    await bench.pass_by(15 * DAY_S)
    assert bench.did == ["open"]
    bench.busy = False
    await bench.pass_by(1)
    await bench.pass_by(1)
    assert (bench.did, bench.expired) == (["start over"], False)


async def test_it_ends_on_its_own_while_the_agent_runs():
    """Withheld and erased within the second, told, and told again after a restart until it is loaded anew."""
    bench = Bench()
    await bench.lease.start()
    await bench.lease.renewed()
    await bench.pass_by(14 * DAY_S)
    assert (bench.did, bench.expired) == (["open"], False)
    await bench.pass_by(1)
    assert (bench.did, bench.expired) == (["withhold", "start over"], True)
    assert bench.replica.record.contents is Contents.ENDED
    assert bench.recorded == [("replica.expired", {})]
    await bench.pass_by(20 * DAY_S)
    assert bench.expired

    bench.conditions = Conditions()
    bench.lease = bench.again()
    await bench.lease.start()
    assert bench.expired
    await bench.lease.renewed()
    assert not bench.expired


async def test_a_sync_renews_it():
    """For as long as one succeeds in time it never ends."""
    bench = Bench()
    await bench.lease.start()
    for _ in range(10):
        await bench.lease.renewed()
        await bench.pass_by(13 * DAY_S)
    assert (bench.did, bench.expired) == (["open"], False)


@pytest.mark.parametrize("off_s", [20 * DAY_S, 200 * DAY_S])
async def test_it_ends_at_the_start_before_it_is_opened(off_s):
    """A till that was off over its end never shows anybody."""
    bench = Bench(held(), off_s=off_s)
    await bench.lease.start()
    assert (bench.did, bench.expired) == (["start over"], True)


async def test_a_record_that_is_lost_ends_it():
    """Nobody knows how old it is then."""
    bench = Bench(there=True)
    await bench.lease.start()
    assert (bench.did, bench.expired) == (["start over"], True)


@pytest.mark.parametrize("jump_s", [YEARS_S, -YEARS_S], ids=["ahead", "back"])
async def test_a_clock_that_jumps_while_the_agent_runs_changes_nothing(jump_s):
    """Neither is a good replica erased, nor does an old one live longer; the next run knows."""
    bench = Bench()
    await bench.lease.start()
    await bench.lease.renewed()
    await bench.pass_by(13 * DAY_S)
    bench.clock.wall += timedelta(seconds=jump_s)
    await bench.lease.check()
    assert not bench.expired
    await bench.lease.close()
    bench.clock.wall -= timedelta(seconds=jump_s)
    bench.lease = bench.again()
    await bench.lease.start()
    assert not bench.expired
    await bench.pass_by(DAY_S + 1)
    assert bench.expired


async def test_a_clock_put_back_before_every_start_saves_nothing():
    """What the agent ran counts, a little at a time, killed without a word each time."""
    bench = Bench(held())
    for _ in range(14 * 24):
        bench.clock.wall = NOW - timedelta(days=900)
        bench.lease = bench.again()
        await bench.lease.start()
        assert not bench.expired
        for _ in range(12):
            await bench.pass_by(SAVE_S)
    await bench.pass_by(SAVE_S)
    assert bench.expired


async def test_a_clock_that_claims_years_is_doubted_until_the_vendor_is_heard():
    """Closed at once; opened when the vendor says that it was two days."""
    bench = Bench(held(), off_s=YEARS_S)
    await bench.lease.start()
    assert (bench.did, bench.expired) == ([], True)
    await bench.pass_by(60)
    bench.lease.heard(NOW + timedelta(days=2))
    await bench.pass_by(1)
    assert (bench.did, bench.expired) == (["open"], False)


async def test_the_vendor_may_confirm_it():
    """Then it ends without waiting."""
    bench = Bench(held(), off_s=YEARS_S)
    await bench.lease.start()
    bench.lease.heard(bench.clock.now())
    await bench.pass_by(1)
    assert (bench.did, bench.expired) == (["start over"], True)


async def test_doubt_ends_after_an_hour():
    """Nobody vouched for it."""
    bench = Bench(held(), off_s=YEARS_S)
    await bench.lease.start()
    await bench.pass_by(PATIENCE_S - 1)
    assert bench.did == []
    await bench.pass_by(1)
    assert bench.did == ["start over"]


async def test_a_sync_may_save_what_is_doubted():
    """Everything the vendor says is in it then."""
    bench = Bench(held(), off_s=YEARS_S)
    await bench.lease.start()
    await bench.lease.renewed()
    assert (bench.did, bench.expired) == (["open"], False)


@pytest.mark.parametrize("succeeds", [True, False])
async def test_a_sync_under_way_at_the_end(succeeds):
    """Closed to look-ups at once; what becomes of it is the sync's to say."""
    bench = Bench(held())
    await bench.lease.start()
    bench.busy = True
    await bench.pass_by(14 * DAY_S + 1)
    await bench.pass_by(1)
    assert (bench.did, bench.expired) == (["open", "withhold"], True)
    if succeeds:
        await bench.lease.renewed()
    bench.busy = False
    await bench.pass_by(1)
    assert (bench.did, bench.expired) == ((["open"], False) if succeeds else (["start over"], True))


async def test_a_sync_that_hangs_does_not_keep_it():
    """An hour is enough."""
    bench = Bench(held())
    await bench.lease.start()
    bench.busy = True
    await bench.pass_by(14 * DAY_S + 1)
    await bench.pass_by(PATIENCE_S)
    assert bench.did == ["open", "withhold", "start over"]


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), StorageError("the disk says no")])
async def test_a_disk_that_says_no_is_asked_again(fault):
    """It stays closed, and the next look erases it."""
    bench = Bench(held())
    await bench.lease.start()
    bench.replica.fault = fault if isinstance(fault, OSError) else None
    start_over = bench.replica.start_over

    def refuse():
        start_over()
        raise fault

    bench.replica.start_over = refuse
    await bench.pass_by(14 * DAY_S + 1)
    assert (bench.did, bench.expired) == (["open", "withhold", "start over"], True)
    bench.replica.start_over, bench.replica.fault = start_over, None
    await bench.pass_by(1)
    assert (bench.did, bench.expired) == (["start over"], True)
    assert bench.replica.record.contents is Contents.ENDED


async def test_how_often_it_is_written_down():
    """Every five minutes, at a renewal, at the end, and not every second."""
    bench = Bench(held())
    await bench.lease.start()
    saves = bench.replica.saves
    for _ in range(int(SAVE_S) - 1):
        await bench.pass_by(1)
    assert bench.replica.saves == saves
    await bench.pass_by(1)
    assert (bench.replica.saves, bench.replica.record.age_s) == (saves + 1, SAVE_S)
    await bench.lease.renewed()
    await bench.lease.close()
    assert (bench.replica.saves, bench.replica.record.age_s) == (saves + 3, 0)


async def test_an_end_that_cannot_be_recorded_is_an_end_all_the_same():
    """A full disk keeps nobody in the replica, and the lease goes on."""
    bench = Bench(held())
    await bench.lease.start()
    bench.unrecorded = StorageError()
    await bench.pass_by(15 * DAY_S)
    assert bench.did[-1] == "start over"
    await bench.pass_by(1)
    assert bench.expired
