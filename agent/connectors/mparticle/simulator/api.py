"""The calls of the Events API and of OpenDSR, the door before them, and `/_sim` for whoever tests from outside.

The door is the vendor's as far as it is documented: 401 without credentials, 403 with wrong ones, both without a body.
"""

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from agent.connectors.mparticle.simulator.checks import NotTaken
from agent.connectors.mparticle.simulator.faults import Fault
from agent.connectors.simulation.answers import Call, answer, routed
from agent.connectors.simulation.controls import controls
from agent.connectors.simulation.gate import Gate
from agent.connectors.simulation.line import Wording, processed

if TYPE_CHECKING:
    from agent.connectors.mparticle.simulator.vendor import MparticleSimulator

MAX_BATCHES = 100
MAX_REQUEST_BYTES = 256 * 1024
_POISONED = "A value of this batch is not valid."


def build_app(simulator: "MparticleSimulator") -> ASGIApp:
    """The input's ASGI application: the calls behind the gate, and the controls beside it."""
    calls, own = _Calls(simulator), _Controls(simulator)
    taken: list[Call] = [
        ("POST", "/v2/events", calls.events),
        ("POST", "/v2/bulkevents", calls.bulk),
        ("POST", "/v2/bulkevents/historical", calls.bulk),
    ]
    return Gate(
        _Door(simulator, routed(simulator.lock, [*taken, *simulator.data_subjects.calls()])),
        controls(
            simulator,
            Fault,
            shows={"state": own.state, "batches": own.batches, "requests": own.requests},
            acts={},
            wrong=_bad,
        ),
        now=simulator.now,
        meet=simulator.meet,
        wording=Wording({}, _echoed),
    )


def _bad(message: str) -> Response:
    return answer(_echoed(message), 400)


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
                if self._simulator.is_met(batch, "poison"):
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
        if any(self._simulator.is_met(batch, "poison") for batch in batches):
            return _bad(_POISONED)
        call = request.url.path.rpartition("/")[2]
        for batch in processed(batches, request.scope):
            try:
                self._simulator.take(batch, key=_key(request.scope), call=call)
            except NotTaken:
                continue
        return Response(status_code=202)


class _Controls:
    def __init__(self, simulator: "MparticleSimulator") -> None:
        self._simulator = simulator

    def state(self, _wanted: Any) -> Any:
        sim = self._simulator
        return {"batches": sim.counts(), "events": len(sim.events()), "requests": dict(sim.requests)}

    def requests(self, _wanted: Any) -> Any:
        sim = self._simulator
        return [{**one.body, "status": one.status(sim.now())} for one in sim.data_subjects.received.values()]

    def batches(self, _wanted: Any) -> Any:
        rows = self._simulator.received
        return [
            {"call": one.call, "outcome": one.outcome, "forwarded": one.forwarded, "batch": one.batch} for one in rows
        ]


class _Door:
    """ASGI middleware before the calls: the credentials."""

    def __init__(self, simulator: "MparticleSimulator", app: ASGIApp) -> None:
        self._simulator, self._app = simulator, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._simulator.lock:
            refused = self._refused(scope)
            if refused is None:
                self._simulator.requests[scope["path"].rstrip("/").rpartition("/")[2]] += 1
        await (refused or self._app)(scope, receive, send)

    def _refused(self, scope: Scope) -> Response | None:
        header = dict(scope["headers"]).get(b"authorization", b"")
        if not header:
            return Response(status_code=401)
        key = _key(scope)
        secret = _credentials(header)[1]
        of_workspace = scope["path"].startswith("/v3/")
        keys = self._simulator.workspace if of_workspace else self._simulator.keys
        if keys.get(key) == secret:
            return None
        return Response(status_code=401 if of_workspace else 403)


def _key(scope: Scope) -> str:
    return _credentials(dict(scope["headers"]).get(b"authorization", b""))[0]


def _credentials(header: bytes) -> tuple[str, str]:
    scheme, _, told = header.partition(b" ")
    try:
        key, _, secret = base64.b64decode(told, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return (key, secret) if scheme.lower() == b"basic" else ("", "")
