"""What a hostile vendor is made of: another host that counts, an SFTP server that lies, and an eye on the agent."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import asyncssh
import httpx

HERE = "127.0.0.1"
PASSWORD = "made-up-sftp-password"  # what no other host may see


class OtherHost:
    """A host that nobody has any business with. A context manager.

    Attributes:
        heard: everything that anybody sent.
        connections: so many came.
    """

    def __init__(self) -> None:
        self.heard = bytearray()
        self.connections = 0
        self._listener = socket.create_server((HERE, 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://{HERE}:{self.port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):  # closed: the test is over
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                with connection:
                    connection.settimeout(1.0)
                    with contextlib.suppress(OSError):
                        self.heard += connection.recv(65536)
                        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")


@dataclass
class Watch:
    """An eye on the agent and its loader processes while something hostile goes on.

    Attributes:
        agent_bytes: most memory that the agent ever had.
        loader_bytes: most memory that any one of its other processes ever had.
        slowest_s: longest that `GET /healthz` took.
        looks: how often was looked.
    """

    agent_bytes: int = 0
    loader_bytes: int = 0
    slowest_s: float = 0.0
    looks: int = 0

    def until(self, stop: threading.Event, till: Any, also: Callable[[], object]) -> None:
        """Looks again and again, and once more after ``stop``."""
        with httpx.Client(base_url=f"http://{HERE}:{till.port}", timeout=30, trust_env=False) as http:
            last = False
            while not last:
                last = stop.wait(0.01)
                self._look(http, till.process.pid)
                also()

    def _look(self, http: httpx.Client, agent: int) -> None:
        start = time.monotonic()
        assert http.get("/healthz").status_code == 200
        self.slowest_s = max(self.slowest_s, time.monotonic() - start)
        self.agent_bytes = max(self.agent_bytes, _peak_bytes(agent))
        self.loader_bytes = max((self.loader_bytes, *map(_peak_bytes, descendants(agent))))
        self.looks += 1


@contextlib.contextmanager
def watching(till: Any, *, also: Callable[[], object] = lambda: None) -> Iterator[Watch]:
    """Watches while the block runs, and calls ``also`` at each look; the agent runs until the block's end.

    A look that failed, such as at a door that did not answer, fails the block.
    """
    watch, stop = Watch(), threading.Event()
    with ThreadPoolExecutor(1, "watch") as threads:
        looking = threads.submit(watch.until, stop, till, also)
        try:
            yield watch
        finally:
            stop.set()
        looking.result()


def _peak_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def descendants(pid: int) -> Iterator[int]:
    """The processes that a process has started, and theirs."""
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                yield child
                yield from descendants(child)


class SftpServer:
    """An SFTP server in a thread of its own, whose files are whatever a test's class says. A context manager.

    Args:
        behaviour: the class that serves.
        port: 0 takes a free one.

    Attributes:
        offered: every password that came.
    """

    def __init__(self, behaviour: type[asyncssh.SFTPServer], port: int = 0) -> None:
        self._behaviour, self.port = behaviour, port
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.offered: list[str] = []
        self._connections: list[asyncssh.SSHServerConnection] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def known(self) -> str:
        """Its line of known_hosts."""
        return f"[{HERE}]:{self.port} {self.key.export_public_key().decode()}"

    def __enter__(self) -> Self:
        self._thread.start()
        offered, connections = self.offered, self._connections

        class Accounts(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                connections.append(conn)

            def password_auth_supported(self) -> bool:
                return True

            def validate_password(self, username: str, password: str) -> bool:
                offered.append(password)
                return (username, password) == ("store", PASSWORD)

        async def serve() -> asyncssh.SSHAcceptor:
            return await asyncssh.create_server(
                Accounts, HERE, self.port, server_host_keys=[self.key], sftp_factory=self._behaviour, allow_scp=False
            )

        self._server = self._run(serve)
        self.port = self._server.get_port()
        return self

    def __exit__(self, *exc: object) -> None:
        async def close() -> None:
            self._server.close()
            await self._server.wait_closed()
            for connection in self._connections:
                connection.abort()
                await connection.wait_closed()

        self._run(close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, make: Callable[[], Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(make(), self._loop).result()

    def settings(self, home: Path) -> dict[str, str]:
        """The `[voyado]` keys of a till that reads from it."""
        (home / "sftp.password").write_text(PASSWORD)
        (home / "known_hosts").write_text(self.known)
        return {
            "feed": f"sftp://store@{HERE}:{self.port}/export",
            "feed_secret": f"file:{home / 'sftp.password'}",
            "feed_known_hosts": str(home / "known_hosts"),
        }
