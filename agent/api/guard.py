"""The one layer in front of every call: who may come in, in the order that the contract fixes.

Host, Origin and Sec-Fetch, path, token, scope, content type, size, ration, body. Everything before the body is decided
from the head, so a refusal costs next to nothing. Forwarded headers are not looked at.
"""

import math
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any, Final

import structlog

from agent.api import bodies, problems
from agent.api.callers import Callers, Connection, Strangers
from agent.api.calls import Call, Methods, Table
from agent.api.peers import SocketUsers
from agent.api.problems import DoorError, Headers
from agent.api.ration import Ration, Rations
from agent.api.refusals import Refusals
from agent.api.rooms import Rooms
from agent.api.visits import SAFETY, GoneError, Receive, Reply, Stream, Visit, Voice
from agent.errors import Fault, InputError
from agent.tokens import Token

AsgiScope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Head = Mapping[bytes, bytes]

_log = structlog.get_logger(__name__)

MAX_BODY_BYTES: Final = 256 * 1024
VERSIONS: Final = ("1.1", "1.0")
WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_JSON: Final = re.compile(rb'application/json[ \t]*(;[ \t]*charset=("?)utf-8\2[ \t]*)?', re.IGNORECASE)
_LOOPBACK: Final = re.compile(rb"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?")
_HTTP_PORT: Final = 80


class Guard:
    """The ASGI application that the server runs.

    Args:
        rooms: what is behind the door.
        table: the calls.
    """

    def __init__(self, rooms: Rooms, table: Table) -> None:
        self._clock, self._metrics = rooms.clock, rooms.metrics
        self._table = table
        self._callers = Callers(rooms.tokens, SocketUsers(rooms.settings.api.socket_users, rooms.clock.now()))
        self._strangers = Strangers()
        self._rations = Rations(rooms.settings.api.hits, rooms.settings.api.misses)
        self._web_origin = rooms.settings.api.web_pos_origin.encode() or None
        self._refusals = Refusals(Voice(rooms.messages))
        self._run, self._numbers = secrets.token_hex(4), count(1)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            return
        began = self._clock.monotonic()
        head = _combined(scope["headers"])
        language = head.get(b"accept-language")
        visit = Visit(f"{self._run}-{next(self._numbers):x}", language.decode("latin-1") if language else None)
        request = _Request(scope, receive, head, visit, _Answer(send, visit.request_id), scope["state"]["connection"])
        try:
            await self._serve(request)
        except GoneError:
            return
        except Exception as error:  # noqa: BLE001 - whatever happens, the caller gets an answer without details
            if isinstance(error, InputError) and request.call is not None and request.call.ration == "refuse":
                visit.found = False
            await self._refuse(request, error)
        finally:
            self._account(request, began)

    async def _serve(self, request: "_Request") -> None:
        scope, head, visit, answer = request.scope, request.head, request.visit, request.answer
        if scope["http_version"] not in VERSIONS:
            raise DoorError(problems.HTTP_INVALID)
        _check_host(scope, head)
        answer.cors = self._check_origin(head)
        found = self._table.find(scope["path"])
        if found is None:
            raise DoorError(problems.ROUTE_UNKNOWN)
        methods, visit.params = found
        if scope["method"] == "OPTIONS" and answer.cors and b"access-control-request-method" in head:
            await answer.send(_preflight(methods))
            return
        call = request.call = _call_of(methods, scope["method"])
        if call.scope is None:
            await self._strangers.turn(request.connection)
        else:
            visit.token = self._callers.caller(head, request.connection)
            if not visit.token.may(call.scope):
                raise DoorError(problems.TOKEN_SCOPE)
        _check_content(scope["method"], head)
        if call.ration is not None and visit.token is not None:
            request.ration = self._reserve(call, visit, visit.token)
        if scope["method"] in WRITES:
            visit.body = await _read(request.receive)
        visit.query = _query(scope["query_string"], call)
        reply = await call.handler(visit)
        if isinstance(reply, Reply):
            await answer.send(reply)
        else:
            await answer.stream(reply, self._callers.while_valid(visit.token, request.receive))

    async def _refuse(self, request: "_Request", error: Exception) -> None:
        try:
            await self._strangers.turn(request.connection)
        except GoneError:
            return
        await request.answer.send(self._refusals.reply(error, request.visit))

    def _account(self, request: "_Request", began: float) -> None:
        """Charges the look-up ration, and counts."""
        call, answer, now = request.call, request.answer, self._clock.monotonic()
        if request.ration is not None:
            _settle(request.ration, request.visit.found, now)
        if not answer.status:  # nobody was there to hear it
            return
        if call is None:
            self._metrics.request("other", "other", answer.status, now - began)
        elif not call.stream:
            self._metrics.request(request.scope["method"], call.path, answer.status, now - began)

    def _check_origin(self, head: Head) -> Headers:
        """The CORS headers that the answer carries: none unless the configured web POS asks."""
        origin = head.get(b"origin")
        if origin is not None and origin == self._web_origin:
            return (
                (b"access-control-allow-origin", origin),
                (b"vary", b"Origin"),
                (b"access-control-expose-headers", b"X-Request-Id, Retry-After"),
            )
        if origin is not None and origin != b"http://" + head[b"host"]:
            raise DoorError(problems.ORIGIN_REFUSED)
        if head.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
            raise DoorError(problems.ORIGIN_REFUSED)
        return ()

    def _reserve(self, call: Call, visit: Visit, token: Token) -> Ration | None:
        ration, now = self._rations.of(token.name), self._clock.monotonic()
        wait_s = ration.reserve(now)
        if not wait_s:
            visit.may_look_up = True
            return ration
        self._metrics.rationed()
        if ration.to_be_told(now):
            _log.warning("ration.exhausted", name=token.name)
        if call.ration == "refuse":
            seconds = str(math.ceil(wait_s)).encode()
            raise DoorError(problems.RATION_EXHAUSTED, headers=((b"retry-after", seconds),))
        return None


class _Answer:
    """Sends an answer with what every answer carries, once."""

    __slots__ = ("_request_id", "_send", "cors", "status")

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self._request_id = send, request_id.encode()
        self.cors: Headers = ()
        self.status = 0

    async def send(self, reply: Reply) -> None:
        """Sends a whole answer; nothing if one has begun."""
        if self.status:
            return
        headers = list(reply.headers)
        if reply.body:
            headers += [(b"content-type", reply.media_type), (b"content-length", b"%d" % len(reply.body))]
        await self._begin(reply.status, headers)
        await self._send({"type": "http.response.body", "body": reply.body})

    async def stream(self, stream: Stream, receive: Receive) -> None:
        """Sends an answer part by part."""

        async def send(part: bytes) -> None:
            await self._send({"type": "http.response.body", "body": part, "more_body": True})

        await self._begin(200, [(b"content-type", stream.media_type)])
        await stream.run(receive, send)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        own = {name for name, _ in headers}
        headers += [(b"x-request-id", self._request_id), *self.cors]
        headers += [(name, value) for name, value in SAFETY if name not in own]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})


@dataclass(slots=True)
class _Request:
    """A request on its way through the guard; ``call`` is known from the path check on."""

    scope: AsgiScope
    receive: Receive
    head: Head
    visit: Visit
    answer: _Answer
    connection: Connection
    call: Call | None = None
    ration: Ration | None = None


def _combined(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers by name; one that stands twice is joined (RFC 9110, 5.3), and so fits nothing that stands once."""
    head: dict[bytes, bytes] = {}
    for name, value in headers:
        head[name] = head[name] + b", " + value if name in head else value
    return head


@cache
def _own_names(port: int) -> frozenset[bytes]:
    """What a caller of that port calls us."""
    hosts = (b"127.0.0.1", b"localhost", b"[::1]")
    names = {b"%s:%d" % (host, port) for host in hosts}
    return frozenset(names | set(hosts) if port == _HTTP_PORT else names)


def _check_host(scope: AsgiScope, head: Head) -> None:
    host = head.get(b"host", b"")
    port = scope["server"][1] if scope["server"] else None
    # A Unix socket has no port, and neither a browser nor a rebound name reaches it: any loopback name will do.
    if not (host in _own_names(port) if port is not None else _LOOPBACK.fullmatch(host)):
        raise DoorError(problems.HOST_UNKNOWN)


def _preflight(methods: Methods) -> Reply:
    return Reply(
        204,
        b"",
        headers=(
            (b"access-control-allow-methods", ", ".join(sorted(methods)).encode()),
            (b"access-control-allow-headers", b"authorization, content-type"),
            (b"access-control-allow-private-network", b"true"),
            (b"access-control-max-age", b"600"),
        ),
    )


def _call_of(methods: Methods, method: str) -> Call:
    call = methods.get("GET" if method == "HEAD" else method)
    if call is None or (method == "HEAD" and call.stream):
        allowed = {*methods, "HEAD"} if "GET" in methods and not methods["GET"].stream else {*methods}
        raise DoorError(problems.METHOD_NOT_ALLOWED, headers=((b"allow", ", ".join(sorted(allowed)).encode()),))
    return call


def _check_content(method: str, head: Head) -> None:
    if b"transfer-encoding" in head and head[b"transfer-encoding"].lower() != b"chunked":
        raise DoorError(problems.HTTP_INVALID)  # whatever else the body is wrapped in, nobody unwraps it here
    length = head.get(b"content-length", b"0")
    if method in WRITES:
        media_type = head.get(b"content-type")
        if media_type is None:
            if length != b"0" or b"transfer-encoding" in head:
                raise DoorError(problems.MEDIA_TYPE)
        elif not _JSON.fullmatch(media_type):
            raise DoorError(problems.MEDIA_TYPE)
        if head.get(b"content-encoding", b"identity") != b"identity":
            raise DoorError(problems.MEDIA_TYPE, "A body must not be compressed.")
    if not length.isdigit():
        raise DoorError(problems.HTTP_INVALID)
    if int(length) > MAX_BODY_BYTES:
        raise DoorError(problems.TOO_LARGE)


def _query(sent: bytes, call: Call) -> Any:
    if call.query is not None:
        return bodies.parse_query(call.query, sent)
    if sent and call.scope is not None:
        raise InputError([Fault("/query", "is not taken by this call")])
    return None


async def _read(receive: Receive) -> bytes:
    """The body, counted while it comes in: a chunked one says nothing of its size beforehand."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise GoneError
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise DoorError(problems.TOO_LARGE)
        if not message.get("more_body", False):
            return bytes(body)


def _settle(ration: Ration, found: bool | None, now: float) -> None:  # noqa: FBT001 - three answers: yes, no, not asked
    if found is None:
        ration.unused(now)
    elif found:
        ration.hit(now)
    else:
        ration.miss(now)
