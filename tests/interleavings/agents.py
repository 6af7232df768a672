"""The agent beside the till, as a POS sees it: in this process, where a thousand fit, or in one of its own.

Both run what the daemon runs, behind a real socket, over a real directory, by a clock that passes when the test says
so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
        quiet_s: who says nothing to the vendor for so long has, most likely, nothing to say.
    """

    http: httpx.AsyncClient
    state: Path
    quiet_s: float

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

    quiet_s = 0.003
    _run: AsyncExitStack | None = None

    async def start(self) -> None:
        self._run = AsyncExitStack()
        threads = self._run.enter_context(ThreadPoolExecutor(8))  # its end waits for what is written in one
        self.loop.set_default_executor(threads)
        self._run.enter_context(mock.patch.object(processes, "run", _in_a_thread))
        await self._run.enter_async_context(running(self.configuration(), clock=PassingClock(self.loop)))

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

    quiet_s = 0.02
    _process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with (self.home / "agent.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "interleavings.own_process", str(self.config), str(self.loop.passed_s)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"},
            )
        assert self._process.stdout is not None
        ready = await self._process.stdout.readline()
        assert json.loads(ready or b"null") == "ready", (self.home / "agent.log").read_text()

    async def stop(self) -> None:
        if self._process is not None:
            self._end(signal.SIGTERM)
            assert await self._process.wait() in (0, -signal.SIGKILL)
            self._let_go()

    def strike(self) -> None:
        self._end(signal.SIGKILL)

    async def bury(self) -> None:
        if self._process is not None:
            assert await self._process.wait() == -signal.SIGKILL
            self._let_go()

    def passed(self, seconds: float) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(f"{seconds}\n".encode())

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            os.kill(self._process.pid, number)

    def _let_go(self) -> None:
        assert self._process is not None
        self._process._transport.close()  # type: ignore[attr-defined]  # no other way closes the pipes of a dead one
        self._process = None
