"""Work in a process of its own: for what takes long, keeps the interpreter busy, or brings libraries along.

Such a process goes behind every other one on the machine and ends with the one that started it, however that ends.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from agent import coredump

T = TypeVar("T")
Send = Callable[[Any], None]

NICE = 10


class ProcessDiedError(Exception):
    """The process ended without a word."""


async def run(work: Callable[..., T], *args: Any) -> T:
    """What ``work`` returns, or raises, there. Cancelling kills the process.

    Args:
        work: a function of a module; it, its arguments and its result are pickled.
        args: for it.

    Raises:
        ProcessDiedError: the process was killed, or could not even say what went wrong.
    """
    async with aclosing(told(_call, work, args)) as answers:
        async for result, error in answers:
            if error is not None:
                raise error
            outcome: T = result
            return outcome
    raise ProcessDiedError


async def told(work: Callable[..., None], *args: Any) -> AsyncGenerator[Any, None]:
    """Everything that ``work`` says, to its process's end: its files are closed then. Leaving early kills it.

    Args:
        work: a function of a module, called with ``args`` and with the function that sends what it says.
        args: for it.
    """
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_begin, args=(work, args, send), name=work.__name__)
    arrived = asyncio.Event()
    loop = asyncio.get_running_loop()
    process.start()
    send.close()
    loop.add_reader(receive.fileno(), arrived.set)
    try:
        while True:
            while not receive.poll():
                arrived.clear()
                await arrived.wait()
            try:
                said = receive.recv()
            except EOFError:
                return
            yield said
    finally:
        loop.remove_reader(receive.fileno())
        receive.close()
        process.kill()
        await asyncio.to_thread(process.join)
        process.close()


def stand_back() -> None:
    """Makes this process wait for every other one, end with the one that started it, and leave no core dump."""
    coredump.forbid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the agent's to act on
    os.nice(NICE)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            wait([parent.sentinel])
            os._exit(1)

        threading.Thread(target=follow, name="follow-parent", daemon=True).start()


def _begin(work: Callable[..., None], args: tuple[Any, ...], send: Connection) -> None:
    stand_back()
    work(*args, send.send)


def _call(work: Callable[..., Any], args: tuple[Any, ...], send: Send) -> None:
    try:
        send((work(*args), None))
    except Exception as error:  # noqa: BLE001 - raised where it was asked for
        send((None, error))
