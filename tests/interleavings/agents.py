"""The agent beside the till, as a POS sees it: in this process, where a thousand fit, or in one of its own.

Both run what the daemon runs, behind a real socket, over a real directory, by a clock that passes when the test says
so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol, TypeVar
from unittest import mock

import httpx
from authority import Authority
from interleavings.passing import PassingClock, PassingLoop

from agent import processes
from agent.connectors.registry import settings_models
from agent.daemon import running
from agent.jobs import Calendar
from agent.services import together
from agent.settings import Configuration, load
from agent.settings.values import toml
from agent.tokens import Tokens

T = TypeVar("T")
TESTS = Path(__file__).parents[1]


class Agent(Protocol):
    """One agent over the files of one directory.

    Attributes:
        http: its door, for an administrator.
        state: the directory.
    """

    http: httpx.AsyncClient
    state: Path

    async def start(self) -> None:
        """Runs it, until it takes sales."""

    async def stop(self) -> None:
        """Ends it in order."""

    def strike(self) -> None:
        """Kill -9, now: what is on disk at this moment is all that is left."""

    async def bury(self) -> None:
        """Whatever is left of a killed one goes."""

    def passed(self, seconds: float) -> None:
        """So much time has passed."""

    async def rests(self) -> None:
        """Until nothing can happen any more unless time passes: neither here nor at the vendor."""


class _Place:
    """Where an agent lives and is called."""

    def __init__(self, home: Path, tables: dict[str, dict[str, Any]], loop: PassingLoop) -> None:
        self.loop, self.home, self.state, self.config = loop, home, home / "state", home / "config.toml"
        tables = {
            **tables,
            "agent": {"store_id": "1042", "till_id": "03", "state_dir": str(self.state)},
            "api": {"listen": [f"unix:{home / 'door'}"], "hits": "off", "misses": "off"},
            "http": {**tables["http"], "ca_file": str(Authority(home).pem)},  # the system's take long to read
            "storage": {"encryption": "off"},  # what is not there can be searched for
        }
        lines = []
        for table, values in tables.items():
            lines += [f"[{table}]", *(f"{key} = {toml(value)}" for key, value in values.items()), ""]
        self.config.write_text("\n".join(lines))
        self.state.mkdir(mode=0o700)
        token = Tokens(self.state, PassingClock(loop)).add("pos-1", "admin")
        self.http = httpx.AsyncClient(
            base_url="http://localhost",
            transport=httpx.AsyncHTTPTransport(uds=str(home / "door")),
            headers={"Authorization": f"Bearer {token}"},
            timeout=None,
            trust_env=False,
        )

    def configuration(self) -> Configuration:
        return load(config=self.config, vendors=settings_models(), environ={})


class InProcess(_Place):
    """An agent in this process. Killed, it lives on unheard until it is buried, and what it wrote since is undone."""

    _run: AsyncExitStack | None = None

    async def start(self) -> None:
        self._run = AsyncExitStack()
        self._run.enter_context(self.loop.writes_in_turn())
        self._run.enter_context(mock.patch.object(processes, "run", _in_a_thread))
        self._run.enter_context(mock.patch.object(Calendar, "rearm"))  # its jobs go by the machine's time
        chance = random.Random(self.loop.passed_s)
        await self._run.enter_async_context(running(self.configuration(), clock=PassingClock(self.loop), chance=chance))

    async def stop(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            await run.aclose()

    def strike(self) -> None:
        left = self.home / "left"
        whole = False
        while not whole:  # a checkpoint between the copies of a file and of its log would be a state that never was
            shutil.rmtree(left, ignore_errors=True)
            with contextlib.suppress(shutil.Error, FileNotFoundError):  # a file was renamed after it was listed
                before = _logs(self.state)
                shutil.copytree(self.state, left, ignore=shutil.ignore_patterns("*-shm"))
                whole = _logs(self.state) == before

    async def bury(self) -> None:
        await self.stop()
        left = self.home / "left"
        shutil.rmtree(self.state)
        left.rename(self.state)

    def passed(self, seconds: float) -> None:
        """Its loop is the test's."""

    async def rests(self) -> None:
        await self.loop.rest()


async def _in_a_thread(work: Callable[..., T], *args: Any) -> T:
    """What the daemon leaves to a process of its own: a new start after each kill, a thousand times, takes too long."""
    running_on = asyncio.ensure_future(asyncio.to_thread(work, *args))
    try:
        return await asyncio.shield(running_on)
    except asyncio.CancelledError:
        await asyncio.wait([running_on])
        raise


def _logs(state: Path) -> list[bytes]:
    """What changes with each checkpoint: the heads of the logs."""
    return [path.read_bytes()[:32] for path in sorted(state.glob("*.db-wal"))]


class Gathering(InProcess):
    """One that has even a single record go by a call that could hold several: three people are never ten."""

    async def start(self) -> None:
        with mock.patch.object(together, "FEWEST", 1):
            await super().start()
        assert self._run is not None
        self._run.enter_context(mock.patch.object(together, "FEWEST", 1))


class OwnProcess(_Place):
    """An agent in a process of its own, which is really killed."""

    _process: asyncio.subprocess.Process | None = None
    _resting: asyncio.Task[None] | None = None
    _takes_sales = False

    async def start(self) -> None:
        with (self.home / "agent.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "interleavings.own_process", str(self.config), str(self.loop.passed_s)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"},
            )
        self._takes_sales = False
        while not self._takes_sales and self._process.returncode != -signal.SIGKILL:
            await self.rests()
            assert self._process.returncode in (None, -signal.SIGKILL), (self.home / "agent.log").read_text()

    async def stop(self) -> None:
        if self._process is not None:
            self._end(signal.SIGTERM)
            assert await self._process.wait() in (0, -signal.SIGKILL)
            await self._let_go()

    def strike(self) -> None:
        self._end(signal.SIGKILL)

    async def bury(self) -> None:
        if self._process is not None:
            assert await self._process.wait() == -signal.SIGKILL
            await self._let_go()

    def passed(self, seconds: float) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(f"{seconds}\n".encode())

    async def rests(self) -> None:
        if self._resting is None or self._resting.done():
            self._resting = asyncio.create_task(self._rest())
        await asyncio.shield(self._resting)

    async def _rest(self) -> None:
        """It heard nothing between two times at which it rested, nor did the vendor."""
        before, heard = -1, 0
        while heard != before and self._process is not None:
            await self.loop.rest()
            before, heard = heard, await self._heard(self._process)

    async def _heard(self, process: asyncio.subprocess.Process) -> int:
        """How often it has heard of anything, once it rests; a dead one will not hear of anything."""
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(ConnectionError):
            process.stdin.write(b"rest\n")
            if said := await process.stdout.readline():
                self._takes_sales, heard = json.loads(said)
                return int(heard)
        return 0

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            os.kill(self._process.pid, number)

    async def _let_go(self) -> None:
        assert self._process is not None
        if self._resting is not None:
            await self._resting
        self._process._transport.close()  # type: ignore[attr-defined]  # no other way closes the pipes of a dead one
        self._process = None
