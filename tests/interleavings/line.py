"""The line between the agent and a simulated vendor: it goes and comes back, and is where the agent dies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from starlette.types import Receive, Scope, Send

from agent.connectors.simulation.line import ABORT
from agent.connectors.simulation.server import RunningSimulator, serve

WRITES = ("POST", "PATCH", "PUT", "DELETE")


class Line:
    """A vendor's simulator on a port of this event loop that stays the same while the line is cut and mended.

    Args:
        sim: the simulator.
        port: where.

    Attributes:
        killed: set once the agent was killed while it spoke; nothing that it still says is heard from then on.
        answered: how many requests were.
    """

    def __init__(self, sim: Any, port: int) -> None:
        self._sim, self.port = sim, port
        self.killed = asyncio.Event()
        self.answered = 0
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

    async def rests(self, quiet_s: float) -> None:
        """Until nothing was answered for so long."""
        before = -1
        while before != self.answered:
            before = self.answered
            await asyncio.sleep(quiet_s)

    def kills(self, kill: Callable[[], None] | None, *, calls: int = 0, after: bool = False) -> None:
        """The agent dies as it writes to the vendor after so many calls more, before it is heard or ``after``."""
        self._kill, self._calls_left, self._after = kill, calls, after

    def run_due(self) -> None:
        """What the vendor does by itself is a step of its own."""

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The vendor, as long as anybody is there to hear it."""
        if self.killed.is_set():
            _hang_up(scope)
            return
        dies = self._dies(scope["method"])
        if not dies or self._after:
            await self._sim.app(scope, receive, _to_nobody if dies else send)
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

    def _dies(self, method: str) -> bool:
        if self._kill is None or method not in WRITES:
            return False
        self._calls_left -= 1
        return self._calls_left < 0


async def _to_nobody(_message: Any) -> None:
    """Whoever asked is dead."""


def _hang_up(scope: Scope) -> None:
    scope["extensions"][ABORT]()
