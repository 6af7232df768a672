"""The calls of the Loyalty API, the door and the faults before them, and `/_sim` for whoever tests from outside.

`/_sim` asks for no key; it is for loopback only.
"""

import asyncio
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

from agent.connectors.antavo.simulator.door import check_signature
from agent.connectors.antavo.simulator.faults import Fault
from agent.connectors.antavo.simulator.refusal import Refused, not_found
from agent.connectors.simulation.line import LineFault, suffer

if TYPE_CHECKING:
    from agent.connectors.antavo.simulator.vendor import AntavoSimulator

_OWN_ERROR: dict[str, Any] = {"error": {"type": "RuntimeException", "code": 0, "message": "An error has occurred"}}
Respond = Callable[[Request, bytes], Any]


def build_app(simulator: "AntavoSimulator") -> ASGIApp:
    """The workspace's ASGI application: the calls behind the gate, and the controls beside it."""
    calls, controls = _Calls(simulator), _Controls(simulator)
    routes: list[tuple[str, str, Respond]] = [
        ("POST", "/events", calls.event),
        ("POST", "/events/bulk", calls.bulk),
        ("GET", "/customers", calls.search),
        ("GET", "/customers/-/count", calls.count),
        ("GET", "/customers/{customer}", calls.customer),
        ("GET", "/customers/{customer}/transactions", calls.transactions_of),
        ("GET", "/transactions/{transaction}", calls.transaction),
        ("GET", "/_sim/state", controls.state),
        ("GET", "/_sim/events", controls.events),
        ("POST", "/_sim/members", controls.add_members),
        ("POST", "/_sim/faults", controls.set_faults),
        ("POST", "/_sim/keys", controls.set_keys),
        ("POST", "/_sim/reset", controls.reset),
    ]
    app = Starlette(
        routes=[Route(path, _endpoint(simulator, respond), methods=[verb]) for verb, path, respond in routes]
    )
    return _Gate(simulator, app)


def _endpoint(simulator: "AntavoSimulator", respond: Respond) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        body = await request.body()
        with simulator.lock:
            try:
                if not request.url.path.startswith("/_sim/"):
                    _let_in(simulator, request, body)
                return _json(respond(request, body))
            except Refused as refused:
                is_event = request.url.path.startswith("/events") and refused.status == 400  # noqa: PLR2004 - of HTTP
                status = 200 if is_event and simulator.errors_are_200 else refused.status
                return _json(refused.body(simulator.shape), status)

    return endpoint


def _let_in(simulator: "AntavoSimulator", request: Request, body: bytes) -> None:
    raw, query = request.scope["raw_path"].decode(), request.scope["query_string"].decode()
    check_signature(
        dict(request.headers), request.method, f"{raw}?{query}" if query else raw, body,
        keys=simulator.keys, environment=simulator.environment, now=simulator.now(),
    )  # fmt: skip
    simulator.requests[f"{request.method} {request.url.path.split('/')[1]}"] += 1


def _json(content: Any, status: int = 200) -> Response:
    # The retail page shows its answers typed so.
    return Response(json.dumps(content, ensure_ascii=False), status, media_type="text/javascript")


def _echoed(message: str) -> dict[str, Any]:
    """The form of an error, around a text."""
    return Refused(400, 0, message).body("standard")


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        raise Refused(400, 0, "The body is not JSON") from None


class _Calls:
    def __init__(self, simulator: "AntavoSimulator") -> None:
        self._simulator = simulator

    def event(self, _request: Request, body: bytes) -> Any:
        return self._simulator.take(_parsed(body))

    def bulk(self, request: Request, body: bytes) -> Any:
        """One by one, in their order; what is refused is told in its place."""
        parsed = _parsed(body)
        events = parsed.get("events") if isinstance(parsed, dict) else None
        if not isinstance(events, list) or not events:
            raise Refused(400, 0, "Property events cannot be empty")
        results: list[Any] = []
        for event in events[: len(events) // 2] if request.scope.get("half") else events:
            try:
                taken = self._simulator.take(event)
                results.append({"events": taken["events"]})
            except Refused as refused:
                results.append(refused.body("standard"))
        errors = sum("error" in result for result in results)
        return {"results": results, "total": len(results), "errors": errors}

    def search(self, request: Request, _body: bytes) -> Any:
        return {"data": self._simulator.books.members.search(dict(request.query_params)), "next": None}

    def count(self, _request: Request, _body: bytes) -> Any:
        return {"active": len(self._simulator.books.members.by_id)}

    def customer(self, request: Request, _body: bytes) -> Any:
        member = self._simulator.books.members.get(request.path_params["customer"])
        return {**member.fields, **member.shown()}

    def transactions_of(self, request: Request, _body: bytes) -> Any:
        member = self._simulator.books.members.get(request.path_params["customer"])
        own = [one for one in self._simulator.books.transactions.values() if one.customer == member.id]
        wanted = request.query_params.get("id")
        return {"data": [one.shown() for one in own if wanted in (None, one.id)], "next": None}

    def transaction(self, request: Request, _body: bytes) -> Any:
        found = self._simulator.books.transactions.get(request.path_params["transaction"])
        if found is None:
            raise not_found("Transaction not found")
        return found.shown()


class _Controls:
    def __init__(self, simulator: "AntavoSimulator") -> None:
        self._simulator = simulator

    def state(self, _request: Request, _body: bytes) -> Any:
        sim = self._simulator
        return {
            "members": len(sim.books.members.by_id), "transactions": len(sim.books.transactions),
            "events": {"received": len(sim.received), "applied": len(sim.books.applied)},
            "requests": dict(sim.requests),
        }  # fmt: skip

    def events(self, _request: Request, _body: bytes) -> Any:
        return self._simulator.books.applied

    def add_members(self, _request: Request, body: bytes) -> Any:
        wanted = _parsed(body)
        if not isinstance(wanted, dict) or not all(isinstance(fields, dict) for fields in wanted.values()):
            raise Refused(400, 0, "An object of ids and their members' fields is expected")
        for member_id, fields in wanted.items():
            self._simulator.books.members.add(member_id, **fields)
        return {"active": len(self._simulator.books.members.by_id)}

    def set_faults(self, _request: Request, body: bytes) -> Any:
        wanted = _parsed(body)
        try:
            faults = [Fault(**members) for members in wanted.get("add", [])]
        except (TypeError, ValueError, AttributeError) as error:
            raise Refused(400, 0, str(error)) from error
        if wanted.get("clear"):
            self._simulator.faults.clear()
        self._simulator.faults += faults
        return [asdict(fault) for fault in self._simulator.faults]

    def set_keys(self, _request: Request, body: bytes) -> Any:
        keys = _parsed(body)
        if not isinstance(keys, dict) or not all(isinstance(secret, str) for secret in keys.values()):
            raise Refused(400, 0, "An object of keys and their secrets is expected; others are revoked")
        self._simulator.keys.clear()
        self._simulator.keys.update(keys)
        return sorted(keys)

    def reset(self, _request: Request, _body: bytes) -> Any:
        self._simulator.forget()
        return {}


class _Gate:
    """ASGI middleware: faults of the line, then the calls; `/_sim` passes untouched."""

    def __init__(self, simulator: "AntavoSimulator", app: ASGIApp) -> None:
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
            await self._app(scope, receive, send_dated)
            return
        scope["half"] = fault.kind == "half"
        if fault.after_processing or scope["half"]:
            await self._app(scope, receive, _swallow)
        met = LineFault(kind="drop") if scope["half"] else fault
        await suffer(met, scope, receive, send_dated, own_error=_OWN_ERROR, echoed=_echoed)


async def _swallow(_message: Message) -> None:
    """Loses the answer of a request that was processed."""
