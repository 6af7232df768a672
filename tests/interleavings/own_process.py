"""The daemon in a process of its own: `python -m interleavings.own_process CONFIG SECONDS`.

Each line of its input lets so many seconds pass.
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
    told = b""

    def hear() -> None:
        nonlocal told
        read = os.read(sys.stdin.fileno(), 65_536)
        if not read:  # whoever started this is gone
            loop.remove_reader(sys.stdin.fileno())
            ends.set()
        *lines, told = (told + read).split(b"\n")
        for line in lines:
            loop.let_pass(float(line))

    configuration = load(config=config, vendors=settings_models(), environ={})
    async with running(configuration, clock=PassingClock(loop)):
        loop.add_reader(sys.stdin.fileno(), hear)
        print(json.dumps("ready"), flush=True)  # noqa: T201 - it is waited for
        await ends.wait()


if __name__ == "__main__":
    logs.configure("info", "json")
    the_loop = PassingLoop()
    the_loop.let_pass(float(sys.argv[2]))
    asyncio.set_event_loop(the_loop)
    the_loop.run_until_complete(_until_told(Path(sys.argv[1]), the_loop))
    the_loop.close()
