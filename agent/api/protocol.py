"""HTTP on one connection, with limits: uvicorn's httptools protocol bounds neither what comes nor the time it takes.

A head must be there within 5 s and the whole request within 10 s, however slowly bytes dribble in; an answer that
nobody takes is given up after 10 s. How many fields a head has, chunks a body, bytes a request and requests a queue is
limited while they come in, because the event loop reads what anybody on the machine sends. When too many are connected,
whoever is waited for least goes, so that neither idle connections nor a flood keep a cashier out.

A request that arrives in one piece, as a till's do, costs a few comparisons here and no timer.
"""

import asyncio
from operator import itemgetter
from typing import Any, Final

from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from agent.api import problems
from agent.api.peers import Peer, peer_of
from agent.api.problems import DoorError, Kind
from agent.api.visits import SAFETY, GoneError

HEAD_S: Final = 5.0
REQUEST_S: Final = 10.0
ANSWER_S: Final = 10.0
DRIBBLE_S: Final = 1.0
MAX_HEAD_BYTES: Final = 16 * 1024
MAX_FIELDS: Final = 64
MAX_CHUNKS: Final = 1024
MAX_BYTES: Final = 1024 * 1024
"""Of one request on the wire, framing and what nobody reads included."""
MAX_PIPELINED: Final = 16
MAX_CONNECTIONS: Final = 256
MADE_ROOM: Final = 16
_KNOWN, _SENDING = 4, 5
_NO_MORE: Final = [(b"", b"")] * MAX_FIELDS
_NOTHING, _HEAD, _BODY = range(3)
"""What is being read. Plain numbers: looking an enumeration's member up costs more than the comparison."""


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
        self.known = False
        """Somebody showed a valid token here, or is a Unix user who needs none."""
        self.peer: Peer | None = None
        """The Unix user at the other end; None on a port."""
        self.turn: asyncio.Future[None] | None = None
        """What a stranger's call waits for."""
        self.app_state = {"connection": self}
        self._running: Any = None
        self._reading = _NOTHING
        self._deadline: asyncio.TimerHandle | None = None
        self._giving_up: asyncio.TimerHandle | None = None
        self._begun = self._quiet_since = self.loop.time()
        self._head_bytes = self._bytes = self._chunks = 0
        self._fault = problems.HTTP_INVALID

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn types it
        """Somebody connected."""
        room = len(self.connections) < MAX_CONNECTIONS or _make_room(self.connections)
        super().connection_made(transport)
        if not room:
            self.drop()
        self.peer = peer_of(transport.get_extra_info("socket"))
        self._expect_within(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._expect_nothing()
        self._unset_keepalive_if_required()
        self._answer_nobody()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """More is to be sent than the other end takes."""
        super().pause_writing()
        self._giving_up = self.loop.call_later(ANSWER_S, self.drop)

    def resume_writing(self) -> None:
        """The other end took it, or is gone."""
        super().resume_writing()
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        before = self._reading
        if before == _BODY:
            self._bytes += len(data)
            if self._bytes > MAX_BYTES:
                self._refuse(problems.TOO_LARGE)
                return
        else:
            if before == _NOTHING:
                self._begun = self.loop.time()
                self._head_bytes = 0
            self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        self._feed(data)
        if self.transport.is_closing():
            self._expect_nothing()
        elif self._reading == _HEAD and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(problems.HEAD_TOO_LARGE)
        else:
            self._set_deadline(before)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._feed(self._without_upgrade() + data[upgrade.args[0] :])
        except HttpParserError:
            self._refuse(self._fault)

    def _without_upgrade(self) -> bytes:
        """The head once more, without its wish for another protocol, which a server may overlook (RFC 9110, 7.8).

        The parser takes what follows for that protocol, and would lose the sale in the body; Java's HTTP client asks
        for h2c with every call.
        """
        fields = b"".join(b"%s: %s\r\n" % field for field in self.headers if field[0] != b"upgrade")
        version = self.parser.get_http_version().encode()
        return b"%s %s HTTP/%s\r\n%s\r\n" % (self.parser.get_method(), self.url, version, fields)

    def _set_deadline(self, before: int) -> None:
        if self._reading == _BODY:
            if before != _BODY or self._deadline is None:
                self._expect_within(self._begun + REQUEST_S - self.loop.time())
        elif self._reading == _NOTHING and self.cycle is not None and not self.cycle.response_complete:
            self._expect_nothing()  # it is our turn
        elif self._deadline is None:
            self._expect_within(HEAD_S)  # blank lines too, which are no request, have ended the keep-alive timer

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._reading = _HEAD

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of a head; or of a trailer, for which :meth:`on_headers_complete` leaves no room."""
        headers = self.headers
        if len(headers) >= MAX_FIELDS:
            if self._reading == _HEAD:
                self._fault = problems.HEAD_TOO_LARGE
            raise ValueError("too many fields, or a trailer")
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        headers.append((name, value))

    def on_headers_complete(self) -> None:
        """A head is complete."""
        if self._head_bytes > MAX_HEAD_BYTES:  # of all that came; this head may be a part of it
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > MAX_HEAD_BYTES:
                self._fault = problems.HEAD_TOO_LARGE
                raise ValueError("head too large")
        if not self.url.startswith(b"/"):
            raise ValueError("the target is not a path of this agent")
        if len(self.pipeline) >= MAX_PIPELINED:
            raise ValueError("too many requests at once")
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise ValueError("no tunnels")
            return  # the parser stops here, and is fed the head once more
        super().on_headers_complete()
        self._reading = _BODY
        self.headers = _NO_MORE

    def on_chunk_header(self) -> None:
        """A part of a body that does not say its size beforehand."""
        self._chunks += 1
        if self._chunks > MAX_CHUNKS:
            self._fault = problems.TOO_LARGE
            raise ValueError("too many chunks")

    def on_message_complete(self) -> None:
        """A request is complete."""
        if self._reading == _HEAD:  # of which the head is to come once more
            return
        self._reading = _NOTHING
        self._bytes = self._chunks = 0
        self._expect_nothing()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is complete."""
        self._quiet_since = self.loop.time()
        super().on_response_complete()

    def patience(self) -> tuple[int, float] | None:
        """How soon this connection may be hung up on when there are too many, the lowest first; None: never.

        Who said nothing for a second goes first; then whose body dribbles in, or who does not take the answer; then
        strangers between two calls; then strangers who wait for an answer or have just come; then whom we know, between
        two calls; and last whose request is coming in.
        """
        waited_s = self.loop.time() - self._begun
        if self.transport.is_closing():
            return 0, self._begun
        if self._running is None:
            return (0 if waited_s > DRIBBLE_S else 3), self._begun
        if (self._reading == _BODY or self.flow.write_paused) and waited_s > DRIBBLE_S:
            return 1, self._begun
        if not self.known:
            return (2, self._quiet_since) if self.cycle.response_complete else (3, self._begun)
        if self.cycle.response_complete:
            return _KNOWN, self._quiet_since
        return (_SENDING, self._begun) if self._reading == _BODY else None

    def drop(self) -> None:
        """Hangs up at once, whatever is under way."""
        self._answer_nobody()
        self.transport.abort()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle  # the one that `cycle` is behind where requests are sent without waiting for answers
        super()._start_asgi_task(cycle, app)

    def _answer_nobody(self) -> None:
        """Whoever works on an answer is told that nobody hears it: writing to a closed connection is an error."""
        self.pipeline.clear()
        for cycle in (self._running, self.cycle):
            if cycle is not None:
                cycle.disconnected = True
                cycle.message_event.set()
                cycle.body = bytearray()
        if self.turn is not None and not self.turn.done():
            self.turn.set_exception(GoneError())

    def _expect_within(self, seconds: float) -> None:
        self._expect_nothing()
        self._deadline = self.loop.call_later(max(0.0, seconds), self._too_slow)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._reading == _NOTHING:
            self.transport.close()
        else:
            self._refuse(problems.TIMED_OUT)

    def _refuse(self, kind: Kind) -> None:
        """Answers without the application, and hangs up."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        answered = (
            cycle.response_started if self._reading == _BODY else cycle is not None and not cycle.response_complete
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
        self._answer_nobody()
        self.transport.close()


def _make_room(connections: set[Any]) -> bool:
    """Hangs up on those who are waited for least, if there are any; several strangers at once, for more will come."""
    ranked = sorted(((rank, one) for one in connections if (rank := one.patience()) is not None), key=itemgetter(0))
    sending = [item for item in ranked if item[0][0] == _SENDING]
    if len(sending) > MAX_CONNECTIONS // 2:  # no tills do that: whoever has that token keeps the others out
        ranked = sending
    for number, ((rank, _), victim) in enumerate(ranked[:MADE_ROOM]):
        if number == 0 or rank < _KNOWN or ranked is sending:
            connections.discard(victim)
            victim.drop()
    return bool(ranked)
