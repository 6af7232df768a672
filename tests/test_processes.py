"""Work in a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import aclosing

import pytest

from agent import processes
from agent.errors import StorageFullError


def add(left, right):
    return left + right, os.getpid(), os.nice(0)


def fail():
    raise StorageFullError


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def count(number, send):
    for one in range(number):
        send(one)


def linger(path):
    path.write_text(str(os.getpid()))
    time.sleep(60)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_the_result_comes_back_from_another_process():
    """Arguments go there, the result comes back, and the other process stands behind this one."""
    result, pid, nice = await processes.run(add, 2, 3)

    assert result == 5
    assert pid != os.getpid()
    assert nice == min(os.nice(0) + processes.NICE, 19), "the last place that Linux has"


async def test_an_error_is_raised_here():
    """What is raised there is raised to who asked."""
    with pytest.raises(StorageFullError):
        await processes.run(fail)


async def test_a_killed_process_is_told():
    """A process that dies without a word does not keep anybody waiting."""
    with pytest.raises(processes.ProcessDiedError):
        await processes.run(die)


async def test_everything_it_says_arrives_in_order():
    """Whatever is said before the end is heard."""
    async with aclosing(processes.told(count, 500)) as said:
        assert [one async for one in said] == list(range(500))


async def test_cancelling_kills_it(tmp_path):
    """Nobody waits any more: the process is gone when the cancelled call ends."""
    told = tmp_path / "pid"
    running = asyncio.create_task(processes.run(linger, told))
    async with asyncio.timeout(60):
        while not (told.exists() and told.read_text()):  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)
    pid = int(told.read_text())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert not alive(pid)
