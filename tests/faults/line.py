"""The line between agent and vendor, spoiled as a test wants it: a relay on loopback that knows HTTP's messages.

Each call is a fresh one to the vendor; what happens to question and answer on their way is a fault's to decide.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Self

HERE = "127.0.0.1"
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


class Exchange:
    """One question on its way, of which the head has been read.

    Attributes:
        head: as it came.
        path: of the question, without its query.
        writer: towards the agent.
    """

    def __init__(self, line: Line, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._line, self._reader = line, reader
        self.head, self.writer = head, writer
        self.path = head.split(b" ", 2)[1].partition(b"?")[0].decode()
        self._body: bytes | None = None

    async def body(self) -> bytes:
        """The rest of the question."""
        if self._body is None:
            length = _LENGTH.search(self.head)
            self._body = await self._reader.readexactly(int(length[1]) if length else 0)
        return self._body

    async def ask(self) -> bytes:
        """The vendor's whole answer."""
        question = self.head + await self.body()
        reader, writer = await asyncio.open_connection(HERE, self._line.vendor_port)
        try:
            writer.write(question)
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            return head + await reader.readexactly(int(length[1]) if length else 0)
        finally:
            writer.close()

    async def send(self, data: bytes) -> None:
        """Towards the agent."""
        self.writer.write(data)
        await self.writer.drain()

    async def begins_another(self) -> None:
        """Waits until the agent sends another question over the same connection, and leaves it unread."""
        self._reader._buffer[:0] = await self._reader.readexactly(1)

    def reset(self) -> None:
        """The connection is gone, as when a router forgets it: the agent gets a reset."""
        reset(self.writer)


Fault = Callable[[Exchange], Awaitable[None]]
Meeting = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def reset(writer: asyncio.StreamWriter) -> None:
    """Cuts a connection with a reset, whatever lies in its buffers."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def passed(exchange: Exchange) -> None:
    """Nothing is wrong."""
    await exchange.send(await exchange.ask())


class Line:
    """A relay that runs in a thread of its own. A context manager.

    Args:
        vendor_port: where calls go.
        pem: a certificate and its key, to speak TLS with the agent.
        hosts: the addresses to listen on.
        port: the port to listen on; 0 takes a free one.
        move: moves the line's thread to another machine, before anything is opened.

    Attributes:
        fault: what becomes of questions whose path fits; replaced at will.
        connections: that the agent has opened.
        asked: questions by path.
    """

    def __init__(
        self,
        vendor_port: int,
        pem: Path | None = None,
        *,
        hosts: Sequence[str] = (HERE,),
        port: int = 0,
        move: Callable[[asyncio.AbstractEventLoop], None] = lambda _loop: None,
    ) -> None:
        self.vendor_port = vendor_port
        self._hosts, self._port, self._move = hosts, port, move
        self._servers: list[asyncio.Server] = []
        self.connections = 0
        self.asked: Counter[str] = Counter()
        self.fault: Fault = passed
        self._path = re.compile("")
        self._next: deque[Fault] = deque()
        self._meetings: deque[Meeting] = deque()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line", daemon=True)
        self._tls = _tls(pem) if pem else None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{HERE}:{self._port}"

    @property
    def port(self) -> int:
        return self._port

    def spoil(self, path: str, *faults: Fault, always: Fault = passed) -> None:
        """The next questions whose path holds ``path`` meet these faults, one each, and further ones ``always``."""
        self._path, self._next, self.fault = re.compile(path), deque(faults), always

    def meet(self, *meetings: Meeting) -> None:
        """The next connections meet these before anything is read from them, one each."""
        self._meetings = deque(meetings)

    def serve(self, handle: Meeting) -> int:
        """Another port beside the line, where each connection is handed to ``handle``."""

        async def listen() -> asyncio.Server:
            return await asyncio.start_server(self._met(handle), HERE, 0)

        self._servers.append(asyncio.run_coroutine_threadsafe(listen(), self._loop).result())
        return self._servers[-1].sockets[0].getsockname()[1]

    def hang_up(self) -> None:
        """Every connection of the agent's ends now, in order."""

        async def close() -> None:
            for writer in self._open:
                writer.close()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result()

    def present(self, pem: Path) -> None:
        """From now on the line shows another certificate."""
        self._loop.call_soon_threadsafe(self._tls.load_cert_chain, pem)

    @property
    def spent(self) -> bool:
        """Whether everything that was to happen once has happened."""
        return not self._next and not self._meetings

    def __enter__(self) -> Self:
        self._thread.start()
        self._move(self._loop)
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    async def _listen(self) -> None:
        for host in self._hosts:
            server = await asyncio.start_server(self._met(self._relay), host, self._port, ssl=self._tls)
            self._port = server.sockets[0].getsockname()[1]
            self._servers.append(server)

    def __exit__(self, *exc: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        # Python 3.11 leaks a connection that is being accepted when its server closes: first, none is accepted anew,
        # and what is on its way in begins, so that it can be cut off.
        for server in self._servers:
            for listener in server.sockets:
                self._loop.remove_reader(listener)
        await asyncio.sleep(0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for server in self._servers:
            server.close()
        for _ in range(3):  # a socket is closed the turn after its connection is lost
            await asyncio.sleep(0)

    def _met(self, handle: Meeting) -> Meeting:
        """The handler, with its connection closed at its end, whatever that is."""

        async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # Either side may be gone at any moment: that is what these tests are about.
            with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
                await handle(reader, writer)
            if not writer.is_closing():
                writer.transport.abort() if self._tls else writer.close()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await writer.wait_closed()

        return met

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            await self._exchanges(reader, writer)
        finally:
            self._open.discard(writer)

    async def _exchanges(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._meetings:
            await self._meetings.popleft()(reader, writer)
        while not writer.is_closing():
            exchange = Exchange(self, await reader.readuntil(b"\r\n\r\n"), reader, writer)
            self.asked[exchange.path] += 1
            fault = passed
            if self._path.search(exchange.path):
                fault = self._next.popleft() if self._next else self.fault
            await fault(exchange)


def _tls(pem: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


# --- faults ------------------------------------------------------------------------------------------------------


def cut(after_bytes: int, *, ends: str = "reset", framed: Callable[[bytes], bytes] = bytes) -> Fault:
    """The vendor does its work, and its answer is cut after so many bytes.

    Args:
        after_bytes: of the answer that still pass.
        ends: ``reset``, or ``close`` for an orderly end in the middle.
        framed: makes another answer of the vendor's before it is cut.
    """

    async def fault(exchange: Exchange) -> None:
        await exchange.send(framed(await exchange.ask())[:after_bytes])
        exchange.reset() if ends == "reset" else exchange.writer.close()

    return fault


async def silent(exchange: Exchange) -> None:
    """The vendor does its work, and nobody ever hears of it."""
    await exchange.ask()
    await asyncio.Event().wait()


async def swallowed(exchange: Exchange) -> None:
    """The question is read and goes nowhere; the line says nothing."""
    await exchange.body()
    await asyncio.Event().wait()


async def dripped(exchange: Exchange) -> None:
    """The answer comes at ten bytes a second."""
    for byte in await exchange.ask():
        await exchange.send(bytes([byte]))
        await asyncio.sleep(0.1)


async def doubled(exchange: Exchange) -> None:
    """The answer comes twice."""
    await exchange.send(2 * await exchange.ask())


def replaced(answer: bytes) -> Fault:
    """Somebody else answers, and the vendor hears nothing."""

    async def fault(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(answer)

    return fault


def swapped() -> Fault:
    """Of two questions under way at once each gets the other's answer."""
    first: list[tuple[Exchange, bytes, asyncio.Event]] = []

    async def fault(exchange: Exchange) -> None:
        answer = await exchange.ask()
        if not first:
            done = asyncio.Event()
            first.append((exchange, answer, done))
            await done.wait()
            return
        other, others_answer, done = first.pop()
        await exchange.send(others_answer)
        await other.send(answer)
        done.set()

    return fault
