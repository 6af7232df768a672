"""Calls to vendors over HTTP: verified, bounded in size and time, never redirected, the line's failures told apart.

The one thing that matters to a delivery is whether the vendor can have received it. A refused connection or a name
that does not resolve proves it did not; a cut or a time-out after the request went out proves nothing.

httpcore is used as it is, without a client on top of it: no redirects, no cookies, no proxies of the environment, no
passwords from a netrc, nothing unpacked.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlencode

import httpcore

from agent.dialling import HEAD_BYTES, Dialler, MeteredStream, Proxy, why
from agent.errors import VendorUnreachableError
from agent.ports import Secret
from agent.tls import client_context

MAX_ANSWER_BYTES = 1 << 20
"""Largest answer that is read unless a call says otherwise; a contact with everything in it is a tenth of it."""
MAX_VALUES = 500_000
"""Most values in an answer: sixteen megabytes of empty lists would take half a gigabyte once they are read."""
MAX_RETRY_AFTER_S = 24 * 3600.0
_SPARE_CONNECTIONS = 8  # a cashier's look-up must not wait for a connection that deliveries hold
_LENGTH_DIGITS = 15
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FREE_PIECES, _PIECE_BYTES = 1_000, 128  # beyond the first thousand, pieces have to be that long on average
_FAILURES = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError)  # TimeoutError is one
_CUTS = (httpcore.NetworkError, httpcore.RemoteProtocolError)


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    """`[http]`: how every vendor is called. Times in seconds.

    Attributes:
        connect_timeout_s: to reach the vendor.
        read_timeout_s: for a sign of life while it answers.
        ca_file: whom to trust instead of the system's store.
        proxy: an http or https proxy's URL, without user and password.
        proxy_secret: its `user:password`.
    """

    connect_timeout_s: float
    read_timeout_s: float
    ca_file: str = ""
    proxy: str = ""
    proxy_secret: Secret | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a vendor answered, read whole and bounded. The body never shows in a repr: it can hold people.

    Attributes:
        status: of HTTP.
        headers: by lower-case name; what came several times is joined by commas.
        body: as it came.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body as JSON. Raises VendorUnreachableError when it is something else: nonsense is no answer."""
        if sum(map(self.body.count, (b",", b"[", b"{"))) > MAX_VALUES:
            raise VendorUnreachableError("answered with more than it was asked for", maybe_received=True)
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise VendorUnreachableError(
                f"answered {self.status} with something that is not JSON", maybe_received=True
            ) from None

    @property
    def is_markup(self) -> bool:
        """Whether it is a web page: a captive portal's, a proxy's, a maintenance page."""
        if "html" in self.headers.get("content-type", "").lower():
            return True
        return self.body[:256].removeprefix(_BYTE_ORDER_MARK).lstrip().startswith(b"<")

    @property
    def date(self) -> datetime | None:
        """The vendor's clock when it answered, by its `Date`; None without one that can be read."""
        return _instant(self.headers.get("date", ""))

    @property
    def retry_after_s(self) -> float | None:
        """The vendor's `Retry-After` in seconds, at most a day; None without one."""
        value = self.headers.get("retry-after", "")
        if value.isdecimal():
            return min(float(value), MAX_RETRY_AFTER_S)
        until, since = _instant(value), self.date
        if until is None or since is None:
            return None
        return min(max((until - since).total_seconds(), 0.0), MAX_RETRY_AFTER_S)


def _instant(text: str) -> datetime | None:
    """The instant that an HTTP date spells, in UTC where it says no offset."""
    try:
        instant = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # a year or an offset of twenty digits is the latter
        return None
    return instant.replace(tzinfo=instant.tzinfo or UTC)


class Transport:
    """An HTTP client for one vendor.

    Args:
        base_url: where it is. A plain http URL, which only loopback may have, is never called through the proxy.
        policy: time-outs, CA and proxy.
        connections: calls under way at once, at most.
        user_agent: ``Product/version``.

    Raises:
        ConfigurationError: the CA file cannot be used.
    """

    def __init__(self, base_url: str, policy: HttpPolicy, *, connections: int, user_agent: str) -> None:
        context = client_context(policy.ca_file)
        proxied = policy.proxy and base_url.startswith("https:")
        self._base_url, self._policy = base_url, policy
        self._deadline_s = policy.connect_timeout_s + 2 * policy.read_timeout_s
        # Nothing compressed is asked for: the bound on an answer holds for what is kept in memory.
        self._headers = {"User-Agent": user_agent, "Accept": "application/json", "Accept-Encoding": "identity"}
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=connections + _SPARE_CONNECTIONS,
            max_keepalive_connections=connections + 2,
            keepalive_expiry=30,
            network_backend=Dialler(Proxy(policy.proxy, context, policy.proxy_secret) if proxied else None),
        )

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        timeout_s: float | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Answer:
        """One call, one answer, whatever its status.

        A GET whose connection had been kept and turns out to be cut is asked a second time over a new one (RFC 9110,
        9.2.2): the vendor closed it while nobody looked, which says nothing of the line.

        Args:
            method: of HTTP.
            path: below the base URL.
            headers: of this call; credentials are resolved here and now, never kept.
            params: of the query; values are percent-encoded, blanks too: a plus is a plus to some who read it.
            content: the body.
            timeout_s: for the whole call; None: connecting and twice the read time-out.
            max_bytes: the largest body that is read.

        Raises:
            VendorUnreachableError: no whole answer came; its ``maybe_received`` says whether the request may have
                arrived.
        """
        target = f"{path}?{urlencode(params, quote_via=quote)}" if params else path
        call = _Call(
            self._policy,
            method,
            self._base_url + target,
            headers={**self._headers, **headers},
            content=content,
            max_bytes=max_bytes,
        )
        try:
            async with asyncio.timeout(self._deadline_s if timeout_s is None else timeout_s):
                try:
                    return await call.over(self._pool)
                except _CUTS:
                    if method != "GET" or call.dialled or not call.sent:
                        raise
                return await call.over(self._pool)
        except VendorUnreachableError as error:  # what was read is at fault, or the way there
            error.maybe_received = call.sent
            raise
        except (httpcore.LocalProtocolError, UnicodeError):
            raise VendorUnreachableError("cannot be asked: the request is not HTTP") from None
        except _FAILURES as error:
            text = "did not answer" if call.sent else "cannot be reached"
            raise VendorUnreachableError(f"{text}: {why(error)}", maybe_received=call.sent) from None

    async def close(self) -> None:
        """Closes the connections."""
        await self._pool.aclose()


class _Call:
    """One request on its way.

    Attributes:
        dialled: a connection was opened for it.
        sent: it may have arrived.
    """

    def __init__(
        self,
        policy: HttpPolicy,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None,
        max_bytes: int,
    ) -> None:
        self.dialled = self.sent = False
        self._request = (method, url)
        self._headers, self._content, self._max_bytes = headers, content, max_bytes
        timeouts = {
            "connect": policy.connect_timeout_s,
            "read": policy.read_timeout_s,
            "write": policy.read_timeout_s,
            "pool": policy.connect_timeout_s,
        }
        self._extensions = {"trace": self._trace, "timeout": timeouts}

    async def over(self, pool: httpcore.AsyncConnectionPool) -> Answer:
        """Its answer. Raises what httpcore raises, and VendorUnreachableError for an answer that is none."""
        headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in self._headers.items()]
        async with pool.stream(
            *self._request, headers=headers, content=self._content, extensions=self._extensions
        ) as response:
            told = _joined(response.headers)
            return Answer(response.status, told, await self._body(response, told))

    async def _trace(self, event: str, _info: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.started":
            self.dialled = True
        elif event == "http11.send_request_headers.started":
            self.sent = True

    async def _body(self, response: httpcore.Response, headers: Mapping[str, str]) -> bytes:
        stream = response.extensions["network_stream"]
        if not isinstance(stream, MeteredStream):  # httpcore's own, after a 101
            raise VendorUnreachableError("answered by changing to another protocol")
        if headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
            raise VendorUnreachableError("answered in a coding that was not asked for")
        stated = headers.get("content-length", "")
        if stated.isdecimal() and (len(stated) > _LENGTH_DIGITS or int(stated) > self._max_bytes):
            raise _too_much()
        stream.allow(2 * self._max_bytes + HEAD_BYTES)
        body, pieces = bytearray(), 0
        async for piece in response.aiter_stream():
            body += piece
            pieces += 1
            if len(body) > self._max_bytes or pieces > _FREE_PIECES + len(body) // _PIECE_BYTES:
                raise _too_much()
        if stream.said_more() or _is_followed(response):
            await stream.aclose()  # what follows would be taken for the answer to the next question
            raise VendorUnreachableError("answered more than once")
        return bytes(body)


def _too_much() -> VendorUnreachableError:
    return VendorUnreachableError("answered with more than it was asked for")


def _joined(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _is_followed(response: httpcore.Response) -> bool:
    """Whether bytes came behind the answer; httpcore keeps them, and has no public way to ask."""
    connection: Any = response.stream._stream._connection  # type: ignore[union-attr]  # noqa: SLF001 - see above
    return bool(connection._h11_state.trailing_data[0])  # noqa: SLF001 - see above
