"""Calls to vendors over HTTP: verified, bounded in size and time, never redirected, the line's failures told apart.

The one thing that matters to a delivery is whether the vendor can have received it. A refused connection or a name
that does not resolve proves it did not; a cut or a time-out after the request went out proves nothing.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from agent.errors import VendorUnreachableError

MAX_ANSWER_BYTES = 8 << 20
MAX_RETRY_AFTER_S = 24 * 3600.0
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


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
            raise VendorUnreachableError(f"answered {self.status} with something that is not JSON", maybe_received=True) from None

    @property
    def is_markup(self) -> bool:
        """Whether it is a web page: a captive portal's, a proxy's, a maintenance page."""
        return self.body.lstrip()[:1] == b"<"

    @property
    def retry_after_s(self) -> float | None:
        """The vendor's `Retry-After` in seconds, at most a day; None without one."""
        value = self.headers.get("retry-after", "")
        if value.isdecimal():
            return min(float(value), MAX_RETRY_AFTER_S)
        try:
            at, date = parsedate_to_datetime(value), parsedate_to_datetime(self.headers["date"])
        except (ValueError, KeyError, TypeError):
            return None
        return min(max((at - date).total_seconds(), 0.0), MAX_RETRY_AFTER_S)


class Transport:
    """An HTTP client for one vendor.

    Args:
        base_url: where it is.
        policy: time-outs, CA and proxy.
        connections: calls under way at once, at most.
        user_agent: ``Product/version``.
    """

    def __init__(self, base_url: str, policy: HttpPolicy, *, connections: int, user_agent: str) -> None:
        context = ssl.create_default_context(cafile=policy.ca_file or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._deadline_s = policy.connect_timeout_s + 2 * policy.read_timeout_s
        self._client = httpx.AsyncClient(
            base_url=base_url,
            verify=context,
            proxy=policy.proxy or None,
            trust_env=False,
            follow_redirects=False,
            headers={"User-Agent": user_agent, "Accept": "application/json"},
            timeout=httpx.Timeout(
                policy.read_timeout_s, connect=policy.connect_timeout_s, pool=policy.connect_timeout_s
            ),
            # A cashier's look-up must not wait for a connection that deliveries hold.
            limits=httpx.Limits(max_connections=connections + 8, max_keepalive_connections=connections + 2, keepalive_expiry=30),
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
            VendorUnreachableError: no whole answer came; its ``maybe_received`` says whether the request may have arrived.
        """
        try:
            async with asyncio.timeout(timeout_s or self._deadline_s):
                request = self._client.build_request(method, path, headers=headers, params=params, content=content)
                response = await self._client.send(request, stream=True)
                try:
                    return Answer(response.status_code, response.headers, await _bounded(response))
                finally:
                    await response.aclose()
        except _NOT_SENT as error:
            raise VendorUnreachableError(f"cannot be reached ({type(error).__name__})") from None
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ssl.SSLError) as error:
            raise VendorUnreachableError(f"did not answer ({type(error).__name__})", maybe_received=True) from None

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()


async def _bounded(response: httpx.Response) -> bytes:
    chunks, size = [], 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise VendorUnreachableError("answered with more than it was asked for", maybe_received=True)
        chunks.append(chunk)
    return b"".join(chunks)
