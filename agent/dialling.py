"""Connections to vendors: direct or through the proxy, and metered.

httpcore speaks HTTP over what is dialled here. Its own way through a proxy is not used: a handshake that fails behind
one takes a place in the pool for ever (httpcore 1.0: the tunnel's connection counts as active), and it keeps the
proxy's password. A tunnel that is part of dialling is closed like any connection, and reads the password when it needs
it.
"""

import asyncio
import errno
import socket
import ssl
from base64 import b64encode
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

import h11
import httpcore

from agent import tls
from agent.errors import ConfigurationError, VendorUnreachableError
from agent.names import Names
from agent.ports import Secret

HEAD_BYTES = 64 << 10
"""Most that may come before an answer's body, its informational answers included."""
READ_BYTES = 16 << 10
"""Most that is parsed at a stretch: whoever sends an answer in crumbs must not keep the event loop to himself."""
_NEXT_ADDRESS_S = 0.25
_PORTS = {"http": 80, "https": 443}
_OK, _REDIRECT, _LOGIN_WANTED = 200, 300, 407
_WORDS: tuple[tuple[type[BaseException], tuple[int, ...], str], ...] = (
    (socket.gaierror, (socket.EAI_AGAIN,), "no name server answers"),
    (socket.gaierror, (), "its name is not known to the name server"),
    (ConnectionRefusedError, (), "it refuses connections"),
    (OSError, (errno.ENETUNREACH, errno.EHOSTUNREACH), "there is no route to it"),
    (TimeoutError, (), "it does not answer in time"),
    (httpcore.TimeoutException, (), "it does not answer in time"),
    (h11.RemoteProtocolError, (), "it does not speak HTTP"),
)
"""Which errors, with which numbers if not with any, mean what."""
_NO_CONNECTION = (httpcore.NetworkError, httpcore.TimeoutException, OSError)  # TimeoutError is an OSError


class MeteredStream(httpcore.AsyncNetworkStream):
    """A connection on which each question is answered within limits.

    Before the body no more than ``HEAD_BYTES`` are read; :meth:`allow` adds what the body may take. The limit counts
    what comes over the wire: heads without end, chunks of a byte and whatever else never gets as far as a body.
    """

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._left_bytes = HEAD_BYTES

    def allow(self, more_bytes: int) -> None:
        """Lets so many more bytes in until the next question."""
        self._left_bytes += more_bytes

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's form
        """What is there, at most ``READ_BYTES``. Raises VendorUnreachableError at the limit."""
        if self._left_bytes <= 0:
            raise VendorUnreachableError("answered with more than it was asked for")
        data = await self._stream.read(min(max_bytes, READ_BYTES), timeout)
        self._left_bytes -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's form
        """Sends a question, or a part of it."""
        self._left_bytes = HEAD_BYTES
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Closes it."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's form
    ) -> Self:
        """The same connection under TLS."""
        return type(self)(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """As httpcore has it."""
        return self._stream.get_extra_info(info)

    def said_more(self) -> bool:
        """Whether something has come that nobody has read yet."""
        tls = self.get_extra_info("ssl_object")
        if tls is None:
            return False  # httpcore looks at the socket itself before it uses a connection again
        try:
            return bool(tls.read(1))
        except ssl.SSLError:  # nothing whole to read
            return False


@dataclass(frozen=True, slots=True)
class Proxy:
    """`http.proxy`, and the reference to `user:password` where it wants one."""

    url: str
    context: ssl.SSLContext
    secret: Secret | None = field(default=None, repr=False)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or _PORTS[parts.scheme]

    def headers(self, target: str) -> list[tuple[str, str]]:
        """The head of a CONNECT. Raises VendorUnreachableError when the secret cannot be used."""
        found = [("Host", target)]
        if self.secret is not None:
            try:
                login = self.secret.value()
            except ConfigurationError:
                raise VendorUnreachableError("cannot be reached through the proxy: its secret cannot be read") from None
            found.append(("Proxy-Authorization", f"Basic {b64encode(login.encode()).decode()}"))
        return found


class Dialler(httpcore.AsyncNetworkBackend):
    """Opens connections.

    Args:
        proxy: what to go through, or None.
    """

    def __init__(self, proxy: Proxy | None = None) -> None:
        self._proxy = proxy
        self._names = Names()
        self._tcp = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's form
        local_address: str | None = None,  # noqa: ARG002 - httpcore's form
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002 - httpcore's form
    ) -> MeteredStream:
        """A connection to that host and port, by whichever way.

        Raises:
            httpcore.ConnectError, OSError, TimeoutError: there is none.
            VendorUnreachableError: the proxy refuses, or cannot be reached.
        """
        try:
            async with asyncio.timeout(timeout):
                if self._proxy is None:
                    return MeteredStream(await self._reach(host, port))
                return await self._tunnel(self._proxy, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        except (*_NO_CONNECTION, h11.ProtocolError) as error:
            if self._proxy is None:
                raise
            raise VendorUnreachableError(f"cannot be reached through the proxy: {why(error)}") from error

    async def _reach(self, host: str, port: int) -> httpcore.AsyncNetworkStream:
        """A connection to whichever address of a host answers first.

        The next one is tried as soon as one fails, or after a quarter of a second (RFC 8305, 5): an address that
        leads nowhere costs no more than that.
        """
        waiting = deque(await self._names.addresses(host))
        attempts: set[asyncio.Task[httpcore.AsyncNetworkStream]] = set()
        failures: list[Exception] = []
        try:
            while waiting or attempts:
                if waiting:
                    attempts.add(asyncio.create_task(self._tcp.connect_tcp(waiting.popleft(), port)))
                done, _ = await asyncio.wait(
                    attempts, timeout=_NEXT_ADDRESS_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                for attempt in done:
                    attempts.discard(attempt)
                    if (error := attempt.exception()) is None:
                        return attempt.result()
                    failures += [error] if isinstance(error, Exception) else []
        finally:
            await _give_up(attempts)
        failed = httpcore.ConnectError()
        failed.__context__ = ExceptionGroup("no address answers", failures)  # httpcore's pool would forget a cause
        raise failed

    async def _tunnel(self, proxy: Proxy, target: str) -> MeteredStream:
        host, port = proxy.address
        stream = MeteredStream(await self._reach(host, port))
        try:
            if proxy.url.startswith("https:"):
                stream = await stream.start_tls(proxy.context, host)
            await _ask_for_tunnel(stream, proxy, target)
        except BaseException:
            await stream.aclose()
            raise
        return stream


async def _give_up(attempts: Iterable[asyncio.Task[httpcore.AsyncNetworkStream]]) -> None:
    """Ends attempts that lost, or that nobody waits for; one that succeeded meanwhile is closed."""
    for attempt in attempts:
        attempt.cancel()
    for made in await asyncio.gather(*attempts, return_exceptions=True):
        if isinstance(made, httpcore.AsyncNetworkStream):
            await made.aclose()


async def _ask_for_tunnel(stream: MeteredStream, proxy: Proxy, target: str) -> None:
    """Sends a CONNECT and reads the answer. Raises VendorUnreachableError unless it is a plain yes."""
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
    question = (h11.Request(method="CONNECT", target=target, headers=proxy.headers(target)), h11.EndOfMessage())
    await stream.write(b"".join(http.send(part) or b"" for part in question))
    while not isinstance(event := http.next_event(), h11.Response):
        if event is h11.NEED_DATA:
            http.receive_data(await stream.read(READ_BYTES))
    if event.status_code == _LOGIN_WANTED and proxy.secret is not None:
        proxy.secret.refused()
    if event.status_code == _LOGIN_WANTED:
        raise VendorUnreachableError("cannot be reached through the proxy: it refuses our user and password (407)")
    if not _OK <= event.status_code < _REDIRECT:
        raise VendorUnreachableError(f"cannot be reached through the proxy: it refuses ({event.status_code})")
    if http.trailing_data[0]:  # before the tunnel's other end can have said anything
        raise VendorUnreachableError("cannot be reached through the proxy: it says more than it was asked")


def why(error: BaseException) -> str:
    """What went wrong with a connection, in words for an operator that repeat nothing of the other side's."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError):
            return tls.failure(cause)
        for kind, numbers, words in _WORDS:
            if isinstance(cause, kind) and (not numbers or getattr(cause, "errno", None) in numbers):
                return words
    return "it cut the connection"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what is behind it, the nearest first."""
    nearest: BaseException | None = error
    seen: set[int] = set()
    while nearest is not None and id(nearest) not in seen:
        seen.add(id(nearest))
        yield nearest
        if isinstance(nearest, BaseExceptionGroup):  # one for each address of a name
            for member in nearest.exceptions:
                yield from _causes(member)
        nearest = nearest.__cause__ or nearest.__context__
