"""A simulated vendor on a port: started, cut off and started again on the same port, in this event loop or in a thread.

uvicorn's protocol speaks HTTP; its `Server` is left out, because it takes over signals and closes in its own time,
while a line that is cut is cut at once.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from agent.connectors.simulation.line import ABORT
from agent.locks import PORT_OPTION

_BACKLOG = 512
_Result = TypeVar("_Result")


class Simulated(Protocol):
    """A simulated vendor, as far as its port needs it."""

    @property
    def app(self) -> ASGIApp:
        """What answers."""

    def run_due(self) -> None:
        """Does what is due by now: whatever the vendor does by itself."""


class _AbortableProtocol(HttpToolsProtocol):
    """HTTP whose requests carry a way to close their connection without an answer."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]  # its type knows no extension of ours
        scope["extensions"] = {ABORT: self.transport.abort}


def _being_accepted() -> list[asyncio.Task[Any]]:
    """Connections that have no protocol yet; asyncio tells of them in no other way."""
    return [task for task in asyncio.all_tasks() if "_accept_connection" in getattr(task.get_coro(), "__name__", "")]


class RunningSimulator:
    """A simulator that is listening. `serve` makes it."""

    def __init__(self, server: asyncio.Server, state: ServerState, ticker: asyncio.Task[None] | None) -> None:
        self._server = server
        self._state = state
        self._ticker = ticker
        self.host: str
        self.port: int
        self.host, self.port = server.sockets[0].getsockname()[:2]

    @property
    def url(self) -> str:
        """Base URL, without a slash at its end."""
        return f"http://{self.host}:{self.port}"

    async def stop(self) -> None:
        """Cut the line: the port refuses connections and every open one is closed, answered or not."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
        # Python 3.11 leaks a connection that is being accepted when its server closes: first, none is accepted anew.
        for listener in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listener)
        await asyncio.gather(*_being_accepted(), return_exceptions=True)
        self._server.close()
        while self._state.connections:
            for connection in list(self._state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # a socket is closed the turn after its connection is lost
        for task in list(self._state.tasks):
            task.cancel()
        await asyncio.gather(*self._state.tasks, return_exceptions=True)
        await self._server.wait_closed()


async def serve(
    simulator: Simulated,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    tick_s: float | None = None,
    tls: ssl.SSLContext | None = None,
) -> RunningSimulator:
    """Put a simulator on a port of this event loop.

    Args:
        simulator: The vendor; it outlives the server, so that stopping and serving again loses nothing.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        tick_s: How often jobs that are due are run in the background; None leaves that to the caller.
        tls: What it proves to be; None for plain text.

    Raises:
        OSError: The port is taken.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # Only `stop` cancels a request, and then nobody is left to hear of it.
        with suppress(asyncio.CancelledError):
            await simulator.app(scope, receive, send)

    config = Config(app, lifespan="off", log_config=None, access_log=False, ws="none")
    config.load()
    state = ServerState()
    # TCP is named because asyncio switches Nagle's delay off only where it sees it: 40 ms an answer otherwise.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, PORT_OPTION, 1)
        listener.bind((host, port))
        server = await asyncio.get_running_loop().create_server(
            lambda: _AbortableProtocol(config, state, {}),
            sock=listener,
            backlog=_BACKLOG,
            ssl=tls,
        )
    except BaseException:
        listener.close()
        raise
    ticker = None if tick_s is None else asyncio.create_task(_tick(simulator, tick_s))
    return RunningSimulator(server, state, ticker)


async def _tick(simulator: Simulated, tick_s: float) -> None:
    while True:
        await asyncio.sleep(tick_s)
        simulator.run_due()


class ThreadedSimulator:
    """A simulator served from a thread of its own, for code that has no event loop. A context manager.

    Args:
        simulator: The vendor.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one, and a restart takes the same again.
        tick_s: As for `serve`.
        tls: As for `serve`; another one counts from the next `start`.
    """

    def __init__(
        self,
        simulator: Simulated,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        tick_s: float | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.simulator = simulator
        self.host = host
        self.port = port
        self._tick_s, self.tls = tick_s, tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulator", daemon=True)
        self._running: RunningSimulator | None = None

    @property
    def url(self) -> str:
        """Base URL, without a slash at its end."""
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    def start(self) -> None:
        """Listen, on the same port as before when there was one."""
        if self._running is None:
            self._running = self._call(
                lambda: serve(self.simulator, self.host, self.port, tick_s=self._tick_s, tls=self.tls)
            )
            self.port = self._running.port

    def stop(self) -> None:
        """Cut the line; the vendor and the port number stay for `start`."""
        if self._running is not None:
            running, self._running = self._running, None
            self._call(running.stop)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, make: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
        return asyncio.run_coroutine_threadsafe(make(), self._loop).result()
