"""The calls of the Events API, the door and the faults before them, and `/_sim` for whoever tests from outside.

The door is the vendor's as far as it is documented: 401 without credentials, 403 with wrong ones, both without a body.
`/_sim` asks for no key; it is for loopback only.
"""

import asyncio
import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import asdict
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.connectors.mparticle.simulator.checks import NotTaken
from agent.connectors.mparticle.simulator.faults import Fault
from agent.connectors.simulation.line import LineFault, suffer

if TYPE_CHECKING:
    from agent.connectors.mparticle.simulator.vendor import MparticleSimulator

MAX_BATCHES = 100
MAX_REQUEST_BYTES = 256 * 1024
_POISONED = "A value of this batch is not valid."
_OWN_ERROR: dict[str, Any] = {}
Respond = Callable[[Request, bytes], Response]


def build_app(simulator: "MparticleSimulator") -> ASGIApp:
    """The input's ASGI application: the calls behind the gate, and the controls beside it."""
    calls, controls = _Calls(simulator), _Controls(simulator)
    routes: list[tuple[str, str, Respond]] = [
        ("POST", "/v2/events", calls.events),
        ("POST", "/v2/bulkevents", calls.bulk),
        ("POST", "/v2/bulkevents/historical", calls.bulk),
        ("GET", "/_sim/state", controls.state),
        ("GET", "/_sim/batches", controls.batches),
        ("POST", "/_sim/faults", controls.set_faults),
        ("POST", "/_sim/keys", controls.set_keys),
        ("POST", "/_sim/reset", controls.reset),
    ]
    app = Starlette(
        routes=[Route(path, _endpoint(simulator, respond), methods=[verb]) for verb, path, respond in routes]
    )
    return _Gate(simulator, app)


def _endpoint(simulator: "MparticleSimulator", respond: Respond) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        body = await request.body()
        with simulator.lock:
            return respond(request, body)

    return endpoint


def _json(content: Any, status: int = 200) -> Response:
    return Response(json.dumps(content, ensure_ascii=False), status, media_type="application/json")


def _bad(message: str) -> Response:
    return _json(_echoed(message), 400)


def _echoed(message: str) -> dict[str, Any]:
    """The form of an error, around a text."""
    return {"errors": [{"code": "BAD_REQUEST", "message": message}]}


class _Calls:
    def __init__(self, simulator: "MparticleSimulator") -> None:
        self._simulator = simulator

    def events(self, request: Request, body: bytes) -> Response:
        """One batch: refused aloud."""
        try:
            batch = json.loads(body)
            if isinstance(batch, dict):
                if self._simulator.fault_of(batch, "poison"):
                    return _bad(_POISONED)
                self._simulator.take(batch, key=_key(request.scope), call="events")
                return Response(status_code=202)
        except NotTaken as refusal:
            return _bad(str(refusal))
        except ValueError:
            pass
        return _bad("The request body is not one batch.")

    def bulk(self, request: Request, body: bytes) -> Response:
        """Several: what is malformed among them is dropped without a word, as is documented."""
        try:
            batches = json.loads(body)
        except ValueError:
            batches = None
        if not isinstance(batches, list):
            return _bad("The request body is not an array of batches.")
        if len(batches) > MAX_BATCHES or len(body) > MAX_REQUEST_BYTES:
            return _bad("The request is larger than is allowed.")
        if any(self._simulator.fault_of(batch, "poison") for batch in batches):
            return _bad(_POISONED)
        call, half = request.url.path.rpartition("/")[2], request.scope.get("half", False)
        for batch in batches[: len(batches) // 2] if half else batches:
            try:
                self._simulator.take(batch, key=_key(request.scope), call=call)
            except NotTaken:
                continue
        return Response(status_code=202)


class _Controls:
    def __init__(self, simulator: "MparticleSimulator") -> None:
        self._simulator = simulator

    def state(self, _request: Request, _body: bytes) -> Response:
        sim = self._simulator
        return _json({"batches": sim.counts(), "events": len(sim.events()), "requests": dict(sim.requests)})

    def batches(self, _request: Request, _body: bytes) -> Response:
        rows = self._simulator.received
        return _json(
            [{"call": row.call, "outcome": row.outcome, "forwarded": row.forwarded, "batch": row.batch} for row in rows]
        )

    def set_faults(self, _request: Request, body: bytes) -> Response:
        try:
            wanted = json.loads(body)
            faults = [Fault(**members) for members in wanted.get("add", [])]
        except (TypeError, ValueError, AttributeError) as error:
            return _bad(str(error))
        if wanted.get("clear"):
            self._simulator.faults.clear()
        self._simulator.faults += faults
        return _json([asdict(fault) for fault in self._simulator.faults])

    def set_keys(self, _request: Request, body: bytes) -> Response:
        try:
            keys = json.loads(body)
        except ValueError:
            keys = None
        if not isinstance(keys, dict) or not all(isinstance(secret, str) for secret in keys.values()):
            return _bad("An object of keys and their secrets is expected; those that are not in it are revoked.")
        self._simulator.keys.clear()
        self._simulator.keys.update(keys)
        return _json(sorted(keys))

    def reset(self, _request: Request, _body: bytes) -> Response:
        self._simulator.forget()
        return _json({})


class _Gate:
    """ASGI middleware: faults of the line, then the door; `/_sim` passes untouched."""

    def __init__(self, simulator: "MparticleSimulator", app: ASGIApp) -> None:
        self._simulator, self._app = simulator, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/_sim/"):
            await self._app(scope, receive, send)
            return
        date = format_datetime(self._simulator.now(), usegmt=True).encode()

        async def send_dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [(b"date", date), *message["headers"]]
            await send(message)

        with self._simulator.lock:
            delay_s, fault = self._simulator.meet(scope["method"], scope["path"])
        await asyncio.sleep(delay_s)
        if fault is None:
            await self._enter(scope, receive, send_dated)
            return
        scope["half"] = fault.kind == "half"
        if fault.after_processing or scope["half"]:
            await self._enter(scope, receive, _swallow)
        met = LineFault(kind="drop") if scope["half"] else fault
        await suffer(met, scope, receive, send_dated, own_error=_OWN_ERROR, echoed=_echoed)

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._refused(scope)
        if refused is None:
            self._simulator.requests[scope["path"].rpartition("/")[2]] += 1
        await (refused or self._app)(scope, receive, send)

    def _refused(self, scope: Scope) -> Response | None:
        header = dict(scope["headers"]).get(b"authorization", b"")
        if not header:
            return Response(status_code=401)
        key = _key(scope)
        secret = _credentials(header)[1]
        return None if self._simulator.keys.get(key) == secret else Response(status_code=403)


def _key(scope: Scope) -> str:
    return _credentials(dict(scope["headers"]).get(b"authorization", b""))[0]


def _credentials(header: bytes) -> tuple[str, str]:
    scheme, _, told = header.partition(b" ")
    try:
        key, _, secret = base64.b64decode(told, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return (key, secret) if scheme.lower() == b"basic" else ("", "")


async def _swallow(_message: Message) -> None:
    """Loses the answer of a request that was processed."""
