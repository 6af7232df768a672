"""A door under test, spoken to as any POS would: HTTP alone, nothing of the agent's own."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

import httpx

Json = dict[str, Any]
UNIX: Final = "unix:"
TIMEOUT_S: Final = 30.0
"""Longer than the door lets any call take."""
_RATIONED = 429


class RationedError(Exception):
    """The look-up ration is used up: from then on sales are tagged otherwise, and nothing can be said of them."""


def is_address(text: str) -> bool:
    """Whether that is where a door can be: an http or https URL without a user, a query or a fragment, or a socket."""
    if text.startswith(UNIX):
        return len(text) > len(UNIX)
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        return False
    return url.scheme in {"http", "https"} and bool(url.host) and not (url.userinfo or url.query or url.fragment)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a door answered.

    Attributes:
        status: of HTTP.
        body: the JSON object, empty where the answer is none.
        media_type: without parameters.
        text: the body as it came.
        elapsed_s: from the call to the whole answer.
    """

    status: int
    body: Json = field(repr=False)
    media_type: str
    text: str = field(repr=False)
    elapsed_s: float


class Door:
    """One door. A context manager. Each call raises httpx.TransportError when nobody answers.

    Args:
        address: an http or https URL, or ``unix:`` and the path of a socket.
        token: of scope pos.
        admin: of scope admin, where there is one.
    """

    def __init__(self, address: str, token: str, admin: str | None = None) -> None:
        self.address, self.admin = address, admin
        self._token = token
        transport, base = None, address
        if address.startswith(UNIX):
            transport, base = httpx.HTTPTransport(uds=address.removeprefix(UNIX)), "http://localhost"
        self._client = httpx.Client(base_url=base, transport=transport, timeout=TIMEOUT_S, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str, **headers: str) -> Reply:
        """What it answers to a question."""
        return self.call("GET", path, headers=headers)

    def post(self, path: str, body: Mapping[str, Any], **headers: str) -> Reply:
        """What it answers to a body."""
        return self.call("POST", path, content=json.dumps(body), headers=headers)

    def order(self, path: str, body: Mapping[str, Any] | None = None) -> Reply:
        """What it answers to an administrator, who has to have a token."""
        return self.call("POST", path, content=json.dumps(body or {}), token=self.admin)

    def identify(self, kind: str, value: str, **headers: str) -> Reply:
        """Who somebody is."""
        return self.post("/v1/contacts/identify", {"identifier": {"type": kind, "value": value}}, **headers)

    def sell(self, sale: Mapping[str, Any]) -> Reply:
        """Hands a sale over."""
        return self.post("/v1/transactions", sale)

    def sale(self, transaction_id: str) -> Reply:
        """How a sale stands."""
        return self.get(f"/v1/transactions/{transaction_id}")

    def status(self) -> Json:
        """The state of the agent."""
        return self.get("/v1/status").body

    def call(
        self,
        method: str,
        path: str,
        *,
        content: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
    ) -> Reply:
        """One call.

        Args:
            method: of HTTP.
            path: behind the address.
            content: the body, sent as JSON unless a header says otherwise.
            headers: go before the usual ones; underscores stand for dashes, and an empty one is left out.
            token: instead of the one of scope pos.

        Raises:
            RationedError: the look-up ration is used up.
        """
        usual = {"authorization": f"Bearer {token or self._token}"}
        if content is not None:
            usual["content-type"] = "application/json"
        given = {name.lower().replace("_", "-"): value for name, value in (headers or {}).items()}
        sent = {name: value for name, value in {**usual, **given}.items() if value}
        began = time.monotonic()
        answer = self._client.request(method, path, content=content, headers=sent)
        reply = _read(answer, time.monotonic() - began)
        if (reply.status, reply.body.get("code")) == (_RATIONED, "ration.exhausted"):
            raise RationedError
        return reply

    @contextmanager
    def events(self) -> Iterator[Iterator[tuple[str, Json]]]:
        """The stream of events, each with its name and body, for as long as it is read."""
        headers = {"authorization": f"Bearer {self._token}"}
        with self._client.stream("GET", "/v1/events", headers=headers) as answer:
            yield _events(answer.iter_lines())


def _events(lines: Iterator[str]) -> Iterator[tuple[str, Json]]:
    name, data = "", ""
    for line in lines:
        if line.startswith("event:"):
            name = line.removeprefix("event:").strip()
        elif line.startswith("data:"):
            data += line.removeprefix("data:").strip()
        elif not line and name:
            yield name, _object(data)
            name, data = "", ""


def _read(answer: httpx.Response, elapsed_s: float) -> Reply:
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    return Reply(answer.status_code, _object(answer.text), media_type, answer.text, elapsed_s)


def _object(text: str) -> Json:
    try:
        body = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}
