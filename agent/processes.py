"""Work in a process of its own: for what takes long, keeps the interpreter busy, or brings libraries along.

Such a process goes behind every other one on the machine and ends with the one that started it, however that ends.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
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
    # A thread listens: an event loop of Windows cannot wait for a pipe. What nobody takes stays in the pipe.
    listener = ThreadPoolExecutor(1, thread_name_prefix=f"listen-{work.__name__}")
    loop = asyncio.get_running_loop()
    process.start()
    send.close()
    try:
        while True:
            try:
                yield await loop.run_in_executor(listener, receive.recv)
            except EOFError:
                return
    finally:
        process.kill()
        await asyncio.to_thread(process.join)
        listener.shutdown()  # it has heard the end
        receive.close()
        process.close()


def stand_back() -> None:
    """Makes this process wait for every other one, end with the one that started it, and leave no core dump."""
    coredump.forbid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the agent's to act on
    if sys.platform == "win32":
        import win32api  # noqa: PLC0415 - of that system alone
        import win32process  # noqa: PLC0415

        win32process.SetPriorityClass(win32api.GetCurrentProcess(), win32process.BELOW_NORMAL_PRIORITY_CLASS)
    else:
        os.nice(NICE)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            wait([parent.sentinel])
            os._exit(1)

        threading.Thread(target=follow, name="follow-parent", daemon=True).start()


def bound_memory(size_bytes: int) -> None:
    """Lets this process have no more memory than that: it meets a MemoryError then."""
    if sys.platform == "win32":
        import win32api  # noqa: PLC0415 - of that system alone
        import win32job  # noqa: PLC0415

        job, what = win32job.CreateJobObject(None, ""), win32job.JobObjectExtendedLimitInformation
        limits = win32job.QueryInformationJobObject(job, what)
        limits["BasicLimitInformation"]["LimitFlags"] |= win32job.JOB_OBJECT_LIMIT_PROCESS_MEMORY
        limits["ProcessMemoryLimit"] = size_bytes
        win32job.SetInformationJobObject(job, what, limits)
        win32job.AssignProcessToJobObject(job, win32api.GetCurrentProcess())
    else:
        import resource  # noqa: PLC0415 - of POSIX alone

        resource.setrlimit(resource.RLIMIT_DATA, (size_bytes, size_bytes))


def _begin(work: Callable[..., None], args: tuple[Any, ...], send: Connection) -> None:
    stand_back()
    work(*args, send.send)


def _call(work: Callable[..., Any], args: tuple[Any, ...], send: Send) -> None:
    try:
        send((work(*args), None))
    except Exception as error:  # noqa: BLE001 - raised where it was asked for
        send((None, error))
