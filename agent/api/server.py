"""The listeners: loopback ports and Unix sockets, served by uvicorn's HTTP on the running loop.

uvicorn's own server installs signal handlers, exits the process when a port is taken and looks at the time ten times a
second; of it only the protocol, its configuration and its state are used here.
"""

import asyncio
import contextlib
import errno
import os
import socket
import stat
import sys
from collections.abc import Sequence
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Final, Protocol

from uvicorn.config import Config
from uvicorn.server import ServerState

from agent.api.protocol import DoorProtocol
from agent.errors import LoyaltyAgentError
from agent.locks import PORT_OPTION
from agent.ports import Clock

UNIX: Final = "unix:"
KEEP_ALIVE_S: Final = 120
BACKLOG: Final = 256
"""Short on purpose: a cashier who connects anew waits behind everybody in it, and a flood fills any."""
SEND_BUFFER_BYTES: Final = 64 * 1024
"""What the kernel keeps of answers that nobody takes; it doubles this for its own needs (socket(7))."""
SOCKET_MODE: Final = 0o660
OPEN_SOCKET_MODE: Final = 0o666
CANCEL_S: Final = 1.0


class ListenError(LoyaltyAgentError):
    """The agent cannot listen where the configuration says."""

    code = "api.listen"
    advice = "See which program holds that address, or change api.listen."


class Application(Protocol):
    """An ASGI application with a clock for its Date header and streams that can be ended."""

    clock: Clock

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers one request."""

    def stop(self) -> None:
        """Ends what does not end by itself."""


class Server:
    """Serves an application on every listener.

    Args:
        app: what is served.
        listen: `api.listen`; port 0 takes a free one.
        users: some Unix users need no token. Everybody may connect to a Unix socket then, as to a port: who calls
            decides. Else its file keeps out whoever is not in the agent's group.
        handed_over: sockets that a service manager holds for some of ``listen``; they outlive this server.
    """

    def __init__(
        self,
        app: Application,
        listen: Sequence[str],
        *,
        users: bool = False,
        handed_over: Sequence[socket.socket] = (),
    ) -> None:
        self._app, self._listen = app, tuple(listen)
        self._handed_over = {_address(bound): bound for bound in handed_over}
        self._socket_mode = OPEN_SOCKET_MODE if users else SOCKET_MODE
        self._config = Config(
            app,
            http=DoorProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        self._state = ServerState()
        self._servers: list[asyncio.Server] = []
        self._sockets: list[Path] = []
        self._dating: asyncio.Task[None] | None = None
        self.addresses: list[str] = []
        """Where it listens, with the ports taken: ``127.0.0.1:8787``, ``[::1]:8787``, ``unix:/path``."""

    async def start(self) -> None:
        """Listens everywhere, or nowhere. Raises ListenError."""
        if not self._config.loaded:
            self._config.load()
        if unknown := self._handed_over.keys() - set(self._listen):
            raise ListenError(f"A socket was handed over for {min(unknown)}, which api.listen does not name.")
        loop = asyncio.get_running_loop()
        addresses: list[str] = []
        self._dating = loop.create_task(self._keep_date())
        try:
            for place in self._listen:
                for bound, address in self._bind(place):
                    listen = loop.create_unix_server if place.startswith(UNIX) else loop.create_server
                    self._servers.append(await listen(self._connection, sock=bound, backlog=BACKLOG))
                    addresses.append(address)
        except OSError as error:  # bound, and still refused: another program listens there without sharing
            await self.stop(0.0)
            raise ListenError(f"The agent cannot listen on {place}.") from error
        except BaseException:
            await self.stop(0.0)
            raise
        self.addresses = addresses

    async def stop(self, grace_s: float) -> None:
        """Stops listening, lets what is under way finish for ``grace_s``, then cuts it off."""
        for server in self._servers:
            server.close()
        for path in self._sockets:
            path.unlink(missing_ok=True)
        self._app.stop()
        for connection in list(self._state.connections):
            connection.shutdown()
        await _finish(set(self._state.tasks), grace_s)
        for connection in list(self._state.connections):
            connection.transport.abort()
        for server in self._servers:
            await server.wait_closed()
        if self._dating is not None:
            self._dating.cancel()
            await asyncio.wait((self._dating,))
        self._servers, self._sockets, self._dating, self.addresses = [], [], None, []

    def _connection(self) -> DoorProtocol:
        return DoorProtocol(self._config, self._state, {}, asyncio.get_running_loop())

    async def _keep_date(self) -> None:
        while True:
            date = format_datetime(self._app.clock.now(), usegmt=True).encode()
            self._state.default_headers = [(b"date", date)]
            await asyncio.sleep(1.0)

    def _bind(self, place: str) -> list[tuple[socket.socket, str]]:
        if (held := self._handed_over.get(place)) is not None:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            return [(held, place)]
        try:
            if place.startswith(UNIX):
                return [(self._bind_unix(Path(place.removeprefix(UNIX))), place)]
            host, _, port = place.rpartition(":")
            if host != "localhost":
                return [_bind_port(host.strip("[]"), int(port))]
            bound = [_bind_port("127.0.0.1", int(port))]
            with contextlib.suppress(OSError):  # a machine without IPv6
                bound.append(_bind_port("::1", bound[0][0].getsockname()[1]))
        except OSError as error:
            reason = error.strerror or str(error)
            raise ListenError(f"The agent cannot listen on {place}: {reason}.") from error
        return bound

    def _bind_unix(self, path: Path) -> socket.socket:
        """A socket file. What a crash left behind is taken away; a live one is not."""
        if sys.platform == "win32":
            raise OSError(errno.EAFNOSUPPORT, "there are no Unix sockets on Windows")
        _check_directory(path.parent)
        if path.is_socket():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                if probe.connect_ex(str(path)) == 0:
                    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            path.unlink()
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(stat.S_IXUSR | stat.S_IXGRP | stat.S_IRWXO)  # never open to others, not for a moment
        try:
            bound.bind(str(path))
        except OSError:
            bound.close()
            raise
        finally:
            os.umask(before)
        path.chmod(self._socket_mode)
        self._sockets.append(path)
        return bound


def _address(bound: socket.socket) -> str:
    """Where a socket listens, as `api.listen` spells it."""
    name = bound.getsockname()
    if not isinstance(name, tuple):
        return f"{UNIX}{name}"
    host, port = name[:2]
    return f"[{host}]:{port}" if bound.family == socket.AF_INET6 else f"{host}:{port}"


def _check_directory(path: Path) -> None:
    """Raises OSError when others could put a socket of their own there, and be told tokens and phone numbers."""
    if sys.platform == "win32":
        return
    found = path.stat()
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & stat.S_IWOTH:
        raise OSError(errno.EPERM, f"{path} is somebody else's, or others may write to it")


async def _finish(tasks: set[asyncio.Task[None]], grace_s: float) -> None:
    """Waits for requests under way; cancels those that take longer."""
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=grace_s)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=CANCEL_S)


def _bind_port(host: str, port: int) -> tuple[socket.socket, str]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named: asyncio switches Nagle's delay off only where it is, and an answer is two writes.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, PORT_OPTION, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # every connection inherits it
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound, _address(bound)
