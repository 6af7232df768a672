"""Once a minute it is noted how the agent is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from agent.domain.history import Sample, Span
from agent.errors import StorageError, StorageFullError
from agent.ports import QueueInfo, ReplicaInfo
from agent.services.history import MOST_UNWRITTEN, History
from agent.store.history import HistoryFile
from tests.fakes import NOW, FakeClock

DAY = timedelta(days=1)


@dataclass
class Machine:
    """What is noted of, and a disk that may fail."""

    file: HistoryFile
    clock: FakeClock = field(default_factory=FakeClock)
    queue: QueueInfo = field(default_factory=lambda: QueueInfo(0, 0, 0, 0, None, 0))
    answers: tuple[int, ...] = ()
    delivered: dict[str, tuple[int, ...]] = field(default_factory=dict)
    as_of: object = None
    room: bool = True
    failure: StorageError | None = None
    unreadable: bool = False

    def started(self) -> History:
        return History(
            clock=self.clock,
            record=self,
            queue=self.figures,
            replica=self.contacts,
            answers=lambda: self.answers,
            delivered=lambda: self.delivered,
            room=lambda: self.room,
        )

    def figures(self) -> QueueInfo:
        if self.unreadable:
            raise StorageError
        return self.queue

    def contacts(self) -> ReplicaInfo:
        if self.as_of is None:
            raise StorageError
        return ReplicaInfo(3, self.as_of, "keys")

    def add(self, samples):
        if self.failure is not None:
            raise self.failure
        self.file.add(samples)

    def between(self, start, until):
        if self.failure is not None:
            raise self.failure
        return self.file.between(start, until)


@pytest.fixture(name="machine")
def _machine(tmp_path):
    return Machine(HistoryFile(tmp_path))


async def seen(history, machine, hours=1):
    return await history.of(Span.of(hours, machine.clock.now()))


async def test_a_sample_says_how_it_was(machine):
    """Figures as they stand, ages from instants, and of counters what is new since the last look."""
    history = machine.started()
    machine.queue = QueueInfo(5, 2, 1, 3, NOW - timedelta(seconds=90), 0)
    machine.answers, machine.delivered = (4, 1), {"voyado": (2,)}
    machine.as_of = NOW - timedelta(seconds=30)
    await history.note()
    machine.clock.advance(300)
    machine.answers, machine.delivered = (4, 3), {"voyado": (2,), "antavo": (0, 1)}
    await history.note()

    first, second = await seen(history, machine)
    assert first == Sample(first.at, 5, 1, 3, 90, 30, (4, 1), {"voyado": (2,)})
    assert (second.answers, second.delivered) == ((0, 2), {"antavo": (0, 1)})


async def test_a_point_is_there_at_once_and_a_row_every_five_minutes(machine):
    """What is not on disk yet is shown all the same, together with what is."""
    history = machine.started()
    for minute in range(7):
        machine.queue = QueueInfo(minute, 0, 0, 0, None, 0)
        await history.note()
        machine.clock.advance(60)
    assert [sample.depth for sample in machine.file.between(NOW - DAY, NOW + DAY)] == [3]  # it is 41 minutes past
    assert [sample.depth for sample in await seen(history, machine)] == [3, 6]


async def test_it_goes_on_after_a_restart(machine):
    """A new start counts from nothing and finds what was written before; a kill costs the last minutes alone."""
    history = machine.started()
    machine.answers = (4,)
    await history.note()
    machine.clock.advance(300)
    machine.answers = (6,)
    await history.note()
    machine.clock.advance(600)
    machine.answers = (1,)
    again = machine.started()
    await again.note()
    found = await seen(again, machine)
    assert [sample.answers for sample in found] == [(4,), (1,)]
    assert found[1].at - found[0].at == timedelta(minutes=15)


@pytest.mark.parametrize("trouble", ["room", "failure"])
async def test_a_full_disk_costs_nothing(machine, trouble):
    """Without room nothing is written, and all of it is shown; it is told once, and written once there is room."""
    history = machine.started()
    machine.room, machine.failure = trouble != "room", StorageFullError() if trouble == "failure" else None
    with capture_logs() as logs:
        for _ in range(5):
            await history.note()
            machine.clock.advance(300)
        assert [line["event"] for line in logs] == ([] if trouble == "room" else ["history.unavailable"])
        assert machine.file.between(NOW - DAY, NOW + DAY) == []
        assert len(await seen(history, machine)) == 5
        machine.room, machine.failure = True, None
        await history.note()
    assert len(machine.file.between(NOW - DAY, NOW + DAY)) == 5
    assert len(await seen(history, machine)) == 6
    told = [line["event"] for line in logs]
    assert told == ([] if trouble == "room" else ["history.unavailable", "history.available"])


async def test_memory_is_bounded(machine):
    """A disk that stays full for longer than a day costs the oldest samples, not the machine's memory."""
    history = machine.started()
    machine.room = False
    for _ in range(MOST_UNWRITTEN + 10):
        await history.note()
        machine.clock.advance(60)
    assert len(history._unwritten) == MOST_UNWRITTEN


async def test_a_queue_that_cannot_be_read_is_no_empty_queue(machine):
    """Then nothing is noted; what was counted meanwhile stands in the next sample."""
    history = machine.started()
    machine.unreadable, machine.answers = True, (3,)
    await history.note()
    assert await seen(history, machine) == []
    machine.unreadable, machine.answers = False, (5,)
    await history.note()
    (sample,) = await seen(history, machine)
    assert sample.answers == (5,)


@pytest.mark.parametrize("days", [3650, -3650])
async def test_a_clock_that_jumps_loses_nothing(machine, days):
    """Years forward or back: what was noted before is there again once the clock is right."""
    history = machine.started()
    await history.note()
    machine.clock.wall += timedelta(days=days)
    await history.note()
    assert len(await seen(history, machine)) == 1
    machine.clock.wall -= timedelta(days=days)
    machine.clock.advance(300)
    await history.note()
    assert len(await seen(history, machine)) == 2


class EnoughError(Exception):
    """The test has seen what it wanted to see."""


async def test_one_sample_a_minute(machine, monkeypatch):
    """It is taken where a minute ends by the wall clock; wherever that jumps, nobody waits for more than a minute."""
    slept: list[float] = []
    jumps = [0.0, -86_400.0, 3 * 86_400.5, 0.0]

    async def sleep(seconds: float) -> None:
        if len(slept) == len(jumps):
            raise EnoughError
        machine.clock.wall += timedelta(seconds=seconds + jumps[len(slept)])
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(EnoughError):
        await machine.started().run()
    assert slept == pytest.approx([51.0, 60.0, 60.0, 58.5])  # NOW is 9 s past a minute
    assert len(machine.file.between(NOW - 9 * DAY, NOW + 9 * DAY)) == len(jumps) - 1  # all but the last minutes
