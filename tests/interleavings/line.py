"""The line between the agent and a simulated vendor: it takes its time, goes and comes back; on it the agent dies."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from starlette.types import Receive, Scope, Send

from agent.connectors.simulation.line import ABORT
from agent.connectors.simulation.server import RunningSimulator, serve

WRITES = ("POST", "PATCH", "PUT", "DELETE")
TAKES_S = (0.0, 0.0, 0.0, 0.0, 0.2, 0.7)
"""What a request may take there, and its answer back: the till and others go on meanwhile."""


class Line:
    """A vendor's simulator on a port of this event loop that stays the same while the line is cut and mended.

    Args:
        sim: the simulator.
        port: where.

    Attributes:
        killed: set once the agent was killed while it spoke; nothing that it still says is heard from then on.
        answered: how many requests were.
        under_way: how many, and answers, still are.
        chance: decides how long each takes.
    """

    def __init__(self, sim: Any, port: int) -> None:
        self._sim, self.port = sim, port
        self.killed = asyncio.Event()
        self.answered, self.under_way = 0, 0
        self.chance = random.Random(0)
        self._kill: Callable[[], None] | None = None
        self._calls_left, self._after = 0, False
        self._running: RunningSimulator | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def mend(self) -> None:
        if self._running is None:
            self._running = await serve(self, port=self.port)

    async def cut(self) -> None:
        """Connections are refused."""
        if self._running is not None:
            running, self._running = self._running, None
            await running.stop()

    def kills(self, kill: Callable[[], None] | None, *, calls: int = 0, after: bool = False) -> None:
        """The agent dies as it writes to the vendor after so many calls more, before it is heard or ``after``."""
        self._kill, self._calls_left, self._after = kill, calls, after

    def run_due(self) -> None:
        """What the vendor does by itself is a step of its own."""

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The vendor, as long as anybody is there to hear it."""
        await self._takes_its_time()
        if self.killed.is_set():
            _hang_up(scope)
            return

        async def back(message: Any) -> None:
            if message["type"] == "http.response.start":
                await self._takes_its_time()
            await send(message)

        dies = self._dies(scope["method"])
        if not dies or self._after:
            await self._sim.app(scope, receive, _to_nobody if dies else back)
        if dies and not self.killed.is_set():
            kill, self._kill = self._kill, None
            assert kill is not None
            kill()
            self.killed.set()
            _hang_up(scope)
            with suppress(asyncio.CancelledError):
                while (await receive())["type"] != "http.disconnect":
                    pass
            return
        self.answered += 1

    async def _takes_its_time(self) -> None:
        self.under_way += 1
        try:
            await asyncio.sleep(self.chance.choice(TAKES_S))
        finally:
            self.under_way -= 1

    def _dies(self, method: str) -> bool:
        if self._kill is None or method not in WRITES:
            return False
        self._calls_left -= 1
        return self._calls_left < 0


async def _to_nobody(_message: Any) -> None:
    """Whoever asked is dead."""


def _hang_up(scope: Scope) -> None:
    scope["extensions"][ABORT]()
