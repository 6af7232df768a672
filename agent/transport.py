"""Calls to vendors over HTTP: verified, bounded in size and time, never redirected, the line's failures told apart.

The one thing that matters to a delivery is whether the vendor can have received it. A refused connection or a name
that does not resolve proves it did not; a cut or a time-out after the request went out proves nothing.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from agent.errors import ConfigurationError, Fault, VendorUnreachableError

MAX_ANSWER_BYTES = 16 << 20  # 250,000 ids of Voyado's contacts/changes are 10 MB
MAX_RETRY_AFTER_S = 24 * 3600.0
_SPARE_CONNECTIONS = 8  # a cashier's look-up must not wait for a connection that deliveries hold
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    """`[http]`: how every vendor is called. Times in seconds."""

    connect_timeout_s: float
    read_timeout_s: float
    ca_file: str = ""
    proxy: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a vendor answered, read whole and bounded. The body never shows in a repr: it can hold people."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body as JSON. Raises VendorUnreachableError when it is something else: nonsense is no answer."""
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
    def retry_after_s(self) -> float | None:
        """The vendor's `Retry-After` in seconds, at most a day; None without one."""
        value = self.headers.get("retry-after", "")
        if value.isdecimal():
            return min(float(value), MAX_RETRY_AFTER_S)
        try:
            wait = parsedate_to_datetime(value) - parsedate_to_datetime(self.headers["date"])
        except (ValueError, KeyError, TypeError, OverflowError):
            return None
        return min(max(wait.total_seconds(), 0.0), MAX_RETRY_AFTER_S)


class Transport:
    """An HTTP client for one vendor.

    Args:
        base_url: where it is.
        policy: time-outs, CA and proxy.
        connections: calls under way at once, at most.
        user_agent: ``Product/version``.
    """

    def __init__(self, base_url: str, policy: HttpPolicy, *, connections: int, user_agent: str) -> None:
        context = _tls(policy.ca_file)
        self._deadline_s = policy.connect_timeout_s + 2 * policy.read_timeout_s
        self._client = httpx.AsyncClient(
            base_url=base_url,
            verify=context,
            proxy=_proxy(policy.proxy, context),
            trust_env=False,
            follow_redirects=False,
            # Nothing compressed is asked for or unpacked: the bound on an answer holds for what is kept in memory.
            headers={"User-Agent": user_agent, "Accept": "application/json", "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(
                policy.read_timeout_s, connect=policy.connect_timeout_s, pool=policy.connect_timeout_s
            ),
            limits=httpx.Limits(
                max_connections=connections + _SPARE_CONNECTIONS,
                max_keepalive_connections=connections + 2,
                keepalive_expiry=30,
            ),
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
    ) -> Answer:
        """One call, one answer, whatever its status.

        Args:
            method: of HTTP.
            path: below the base URL.
            headers: of this call; credentials are resolved here and now, never kept.
            params: of the query; values are percent-encoded.
            content: the body.
            timeout_s: for the whole call; None: connecting and twice the read time-out.

        Raises:
            VendorUnreachableError: no whole answer came; its ``maybe_received`` says whether the request may have
                arrived.
        """
        sent = False

        async def trace(event: str, info: Mapping[str, Any]) -> None:
            nonlocal sent
            # A proxy is asked to CONNECT first; the vendor sees nothing of that.
            if event.endswith(".send_request_headers.started") and info["request"].method != b"CONNECT":
                sent = True

        try:
            async with asyncio.timeout(self._deadline_s if timeout_s is None else timeout_s):
                request = self._client.build_request(
                    method, path, headers=headers, params=params, content=content, extensions={"trace": trace}
                )
                response = await self._client.send(request, stream=True)
                try:
                    return Answer(response.status_code, response.headers, await _bounded(response))
                finally:
                    await response.aclose()
        except (httpx.LocalProtocolError, UnicodeError):
            raise VendorUnreachableError("cannot be asked: the request is not HTTP") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:  # TimeoutError and ssl.SSLError are OSErrors
            text = "did not answer" if sent else "cannot be reached"
            raise VendorUnreachableError(f"{text} ({type(error).__name__})", maybe_received=sent) from None

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()


async def _bounded(response: httpx.Response) -> bytes:
    chunks, size = [], 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise VendorUnreachableError("answered with more than it was asked for", maybe_received=True)
        chunks.append(chunk)
    return b"".join(chunks)


def _tls(ca_file: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError:  # ssl.SSLError is one
        raise ConfigurationError([Fault("http.ca_file", "is not a readable file of PEM certificates")]) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _proxy(url: str, context: ssl.SSLContext) -> httpx.Proxy | None:
    if not url:
        return None
    return httpx.Proxy(url, ssl_context=context if url.startswith("https:") else None)
