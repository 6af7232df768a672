"""The daemon in a process of its own: `python -m interleavings.own_process CONFIG SECONDS`.

Each line of its input lets so many seconds pass, or asks it to rest. Once it does it says whether it takes sales, and
how often it has heard of anything.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from interleavings.passing import PassingClock, PassingLoop

from agent import logs
from agent.connectors.registry import settings_models
from agent.daemon import running
from agent.settings import load


async def _until_told(config: Path, loop: PassingLoop) -> None:
    ends = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ends.set)
    told, takes_sales = b"", False
    resting: set[asyncio.Task[None]] = set()

    def hear() -> None:
        nonlocal told
        loop.heard -= 1  # what the test says is not of the shop
        read = os.read(sys.stdin.fileno(), 65_536)
        if not read:  # whoever started this is gone
            loop.remove_reader(sys.stdin.fileno())
            ends.set()
        *lines, told = (told + read).split(b"\n")
        for line in lines:
            if line == b"rest":
                resting.add(task := asyncio.create_task(rest()))
                task.add_done_callback(resting.discard)
            else:
                loop.let_pass(float(line))

    async def rest() -> None:
        await loop.rest()
        print(json.dumps([takes_sales, loop.heard]), flush=True)  # noqa: T201 - it is waited for

    configuration = load(config=config, vendors=settings_models(), environ={})
    loop.add_reader(sys.stdin.fileno(), hear)
    with loop.writes_in_turn():
        async with running(configuration, clock=PassingClock(loop)):
            takes_sales = True
            await ends.wait()


if __name__ == "__main__":
    logs.configure("info", "json")
    the_loop = PassingLoop()
    the_loop.let_pass(float(sys.argv[2]))
    asyncio.set_event_loop(the_loop)
    the_loop.run_until_complete(_until_told(Path(sys.argv[1]), the_loop))
    the_loop.close()
