"""A server that answers with whatever bytes a test wants, or not at all: what no well-behaved server does."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from agent.transport import HttpPolicy

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Script = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
POLICY = HttpPolicy(connect_timeout_s=30.0, read_timeout_s=60.0)
"""Limits that no machine reaches by being slow."""


class WireServer:
    """Hands each request to a script; ``requests`` keeps head and body as they came.

    Attributes:
        script: what happens to the next request.
        connections: connections accepted so far.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0
        self.scheme = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while not writer.is_closing():
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = [line[15:] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
            request = head + await reader.readexactly(int(lengths[0]) if lengths else 0)
            self.requests.append(request)
            await self.script(request, writer)
            await writer.drain()


@asynccontextmanager
async def wire(
    script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[WireServer]:
    """A running server on loopback."""
    server = WireServer(script)
    async with listening(server.handle, tls=tls, host=host, port=port) as taken:
        server.port = taken
        server.scheme = "https" if tls else "http"
        yield server


@asynccontextmanager
async def listening(
    handle: Handler, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[int]:
    """A port on loopback where each connection is handed to ``handle``; everything is closed at the end."""
    tasks = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        # A client that goes away is what these tests are about; a cancelled handler is the end of the test.
        with suppress(asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            await handle(reader, writer)
        if not writer.is_closing():
            writer.transport.abort()  # saying goodbye in TLS would wait for an answer
        with suppress(asyncio.CancelledError, OSError):
            await writer.wait_closed()

    listener = await asyncio.start_server(accept, host, port, ssl=tls)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)


def answer(status: int = 200, body: bytes = b"", **headers: str) -> Script:
    """Answers every request alike; a header `retry_after` is sent as `retry-after`."""
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]

    async def script(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    return script


def in_turn(*scripts: Script) -> Script:
    """Each request gets the next script, the last one for ever."""
    left = list(scripts)

    async def script(request: bytes, writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(request, writer)

    return script


async def cut(_request: bytes, writer: asyncio.StreamWriter) -> None:
    """Closes without an answer."""
    writer.transport.abort()


async def cut_in_the_body(_request: bytes, writer: asyncio.StreamWriter) -> None:
    """Closes in the middle of an answer."""
    writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"id": "0f6c')
    await writer.drain()
    writer.transport.abort()


async def hang(_request: bytes, _writer: asyncio.StreamWriter) -> None:
    """Never answers."""
    await asyncio.Event().wait()


async def dribble(_request: bytes, writer: asyncio.StreamWriter) -> None:
    """Sends a byte now and then, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def flood(_request: bytes, writer: asyncio.StreamWriter) -> None:
    """Sends a body without end."""
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
        await writer.drain()


async def nonsense(_request: bytes, writer: asyncio.StreamWriter) -> None:
    """Speaks another protocol."""
    writer.write(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    await writer.drain()
    writer.close()
