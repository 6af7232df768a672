"""HTTP on one connection, with limits: uvicorn's httptools protocol bounds neither the head nor the time it takes.

A head must be there within 5 s and the whole request within 10 s, however slowly bytes dribble in; a head is at most
16 KiB; a body that nobody reads is not listened to for long. When too many are connected, the one that has said nothing
for longest goes, so that idle connections never keep a cashier out.

A request that arrives in one piece, as a till's do, costs two comparisons here and no timer.
"""

import asyncio
from enum import Enum
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from agent.api import problems
from agent.api.problems import DoorError, Kind
from agent.api.visits import SAFETY

HEAD_S: Final = 5.0
REQUEST_S: Final = 10.0
MAX_HEAD_BYTES: Final = 16 * 1024
MAX_HEADERS: Final = 64
MAX_UNREAD_BYTES: Final = 1024 * 1024
MAX_CONNECTIONS: Final = 400


class _Reading(Enum):
    NOTHING = 0
    HEAD = 1
    BODY = 2


class DoorProtocol(HttpToolsProtocol):
    """One connection to the till's door."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._reading = _Reading.NOTHING
        self._deadline: asyncio.TimerHandle | None = None
        self._begun = self._quiet_since = self.loop.time()
        self._head_bytes = self._unread_bytes = 0
        self._head_too_large = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn types it
        """Somebody connected."""
        if len(self.connections) >= MAX_CONNECTIONS:
            _make_room(self.connections)
        super().connection_made(transport)
        self._expect_within(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._expect_nothing()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        before = self._reading
        if before is _Reading.NOTHING:
            self._begun = self.loop.time()
            self._head_bytes = 0
        if before is not _Reading.BODY:
            self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            self._expect_nothing()
        elif self._reading is _Reading.HEAD and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(problems.HEAD_TOO_LARGE)
        else:
            self._set_deadline(before)

    def _set_deadline(self, before: _Reading) -> None:
        if self._reading is _Reading.BODY:
            if before is not _Reading.BODY or self._deadline is None:
                self._expect_within(self._begun + REQUEST_S - self.loop.time())
        elif self._reading is _Reading.NOTHING and self.cycle is not None and not self.cycle.response_complete:
            self._expect_nothing()  # it is our turn
        elif self._deadline is None:
            self._expect_within(HEAD_S)  # blank lines too, which are no request, have ended the keep-alive timer

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._reading = _Reading.HEAD

    def on_headers_complete(self) -> None:
        """A head is complete."""
        if self._head_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
                self._head_too_large = True
                raise ValueError("head too large")
        if not self.url.startswith(b"/"):
            raise ValueError("the target is not a path of this agent")
        super().on_headers_complete()
        self._reading = _Reading.BODY

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        if self.cycle.response_complete:
            self._unread_bytes += len(body)
            if self._unread_bytes > MAX_UNREAD_BYTES:
                self.transport.close()
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        self._reading = _Reading.NOTHING
        self._unread_bytes = 0
        self._expect_nothing()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is complete."""
        self._quiet_since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's text; ours is in the door's form
        """What came is no HTTP."""
        self._refuse(problems.HEAD_TOO_LARGE if self._head_too_large else problems.HTTP_INVALID)

    def patience(self) -> tuple[int, float] | None:
        """How soon this connection may be hung up on when there are too many, the lowest first; None: never.

        Who never asked anything goes first, then whose body dribbles in, then who is idle between requests.
        """
        if self.cycle is None or self.transport.is_closing():
            return 0, self._quiet_since
        if self._reading is _Reading.BODY:
            return 1, self._begun
        if self.cycle.response_complete:
            return 2, self._quiet_since
        return None

    def _expect_within(self, seconds: float) -> None:
        self._expect_nothing()
        self._deadline = self.loop.call_later(max(0.0, seconds), self._too_slow)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._reading is _Reading.NOTHING:
            self.transport.close()
        else:
            self._refuse(problems.TIMED_OUT)

    def _refuse(self, kind: Kind) -> None:
        """Answers without the application, and hangs up."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        answered = (
            cycle.response_started
            if self._reading is _Reading.BODY
            else cycle is not None and not cycle.response_complete
        )
        if not answered:
            body = problems.render(DoorError(kind), "-")
            lines = [
                b"content-type: " + problems.PROBLEM_MEDIA_TYPE,
                b"content-length: %d" % len(body),
                b"connection: close",
            ]
            lines += [name + b": " + value for name, value in (*self.server_state.default_headers, *SAFETY)]
            self.transport.write(STATUS_LINE[kind.status] + b"\r\n".join(lines) + b"\r\n\r\n" + body)
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()


def _make_room(connections: set[Any]) -> None:
    """Hangs up on whoever is waited for least."""
    ranked = [(rank, one) for one in connections if (rank := one.patience()) is not None]
    if ranked:
        _, victim = min(ranked, key=lambda item: item[0])
        connections.discard(victim)
        victim.transport.abort()
