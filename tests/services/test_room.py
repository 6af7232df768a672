"""Room on the disk: the reserve is really kept, given back by the piece, and taken again."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from typing import NamedTuple

import pytest

from agent.errors import StorageDamagedError
from agent.ports import QueueInfo
from agent.services import room as module
from agent.services.room import FILE, MARGIN_BYTES, PIECES, Room
from tests.fakes import FakeClock, until

RESERVE = 8 << 20


class Disk(NamedTuple):
    free: int


class Bench:
    def __init__(self, tmp_path, monkeypatch, reserve=RESERVE):
        self.free, self.bytes, self.looks, self.changes = 1 << 30, 0, 0, 0
        self.fault = None
        self.file, self.clock = tmp_path / FILE, FakeClock()
        monkeypatch.setattr("shutil.disk_usage", self._usage)
        self.room = Room(
            tmp_path, reserve_bytes=reserve, max_bytes=1000, queue=self._queue, clock=self.clock, changed=self._changed
        )

    def _usage(self, _path):
        self.looks += 1
        if self.fault:
            raise self.fault
        return Disk(self.free)

    def _queue(self):
        if isinstance(self.bytes, Exception):
            raise self.bytes
        return QueueInfo(0, 0, 0, 0, None, self.bytes)

    def _changed(self):
        self.changes += 1

    def has_room(self):
        self.clock.advance(1)
        return self.room.has_room()

    @property
    def held(self):
        return self.file.stat().st_size if self.file.exists() else 0


@pytest.fixture
def bench(tmp_path, monkeypatch):
    return Bench(tmp_path, monkeypatch)


def test_the_reserve_takes_its_space_from_the_disk(bench):
    """Nobody else can use it: its blocks are allocated, not only its size set."""
    assert bench.room.take()

    assert bench.held == RESERVE
    assert bench.file.stat().st_blocks * 512 >= RESERVE
    assert bench.file.stat().st_mode & 0o777 == 0o600
    assert bench.has_room()


def test_without_its_reserve_no_sale_is_taken(bench):
    """The reserve comes first: what is free is for working off what is there."""
    assert not bench.has_room()
    bench.free = RESERVE + MARGIN_BYTES - 1
    assert not bench.room.take()
    assert bench.held == 0

    bench.free += 1
    assert bench.room.take()
    assert bench.has_room()


def test_a_disk_that_fills_up_refuses_sales_before_it_is_full(bench):
    """A margin is left, and with space again sales go on; whoever waits is told of both."""
    bench.room.take()
    assert bench.has_room()
    bench.free = MARGIN_BYTES - 1
    assert not bench.has_room()
    bench.free = MARGIN_BYTES
    assert bench.has_room()
    assert bench.changes == 2


def test_the_reserve_is_given_back_a_piece_at_a_time(bench):
    """Whoever filled the disk does not get all of it at once; when none is left, that is said."""
    bench.room.take()
    held = [bench.held]
    while bench.room.give():
        held.append(bench.held)

    assert held == [RESERVE * left // PIECES for left in range(PIECES, -1, -1)]
    assert not bench.room.give()
    assert not bench.has_room()


def test_what_was_given_is_taken_again_when_there_is_space(bench):
    """And sales go on only then."""
    bench.room.take()
    bench.room.give()
    bench.free = RESERVE // PIECES
    assert not bench.room.take()
    assert not bench.has_room()

    bench.free = RESERVE // PIECES + MARGIN_BYTES
    assert bench.room.take()
    assert bench.has_room()
    assert bench.held == RESERVE


def test_the_disk_is_looked_at_once_a_second(bench):
    """Not for every sale."""
    bench.room.take()
    bench.looks = 0
    for _ in range(50):
        bench.clock.advance(0.1)
        bench.room.has_room()
    assert 5 <= bench.looks <= 6


def test_a_full_queue_has_no_room(bench):
    """The queue's own limit counts like the disk's."""
    bench.room.take()
    bench.bytes = 1000
    assert not bench.has_room()
    bench.bytes = 999
    assert bench.has_room()


def test_a_queue_that_cannot_be_read_says_nothing_about_room(bench):
    """A damaged file is not told as a full disk."""
    bench.room.take()
    bench.bytes = StorageDamagedError()
    assert bench.has_room()


def test_a_disk_that_cannot_be_asked_has_no_room(bench):
    """It says no instead of failing."""
    bench.room.take()
    bench.fault = OSError(errno.EIO, "input/output error")
    assert not bench.has_room()
    assert not bench.room.take() or bench.held == RESERVE


def test_a_smaller_reserve_gives_the_rest_back(tmp_path, monkeypatch):
    """The configuration was changed."""
    Bench(tmp_path, monkeypatch).room.take()
    smaller = Bench(tmp_path, monkeypatch, reserve=RESERVE // 2)
    assert smaller.room.take()
    assert smaller.held == RESERVE // 2


def test_no_reserve_is_needed_where_none_is_wanted(tmp_path, monkeypatch):
    """`queue.reserve_bytes` may be nothing."""
    bench = Bench(tmp_path, monkeypatch, reserve=0)
    assert bench.room.take()
    assert bench.has_room()
    assert not bench.file.exists()


def test_space_that_runs_out_while_the_reserve_is_made_leaves_it_as_it_was(bench, monkeypatch):
    """No half of it stays behind."""
    monkeypatch.setattr(
        os, "posix_fallocate", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "no space left on device"))
    )
    assert not bench.room.take()
    assert bench.held == 0


def test_a_file_system_that_cannot_promise_space_gets_zeros(bench, monkeypatch):
    """The reserve is written out there."""
    monkeypatch.setattr(
        os, "posix_fallocate", lambda *_: (_ for _ in ()).throw(OSError(errno.EOPNOTSUPP, "not supported"))
    )
    assert bench.room.take()
    assert bench.file.read_bytes() == bytes(RESERVE)


async def test_the_watch_takes_the_reserve_back_by_itself(bench, monkeypatch):
    """Nobody has to ask."""
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.001)
    bench.free = 0
    task = asyncio.create_task(bench.room.watch())
    await until(lambda: bench.looks > 3)
    assert bench.held == 0
    bench.free = 1 << 30
    await until(lambda: bench.held == RESERVE)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
