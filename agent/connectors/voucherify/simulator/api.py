"""The calls of the API, the door and the faults before them, and `/_sim` for whoever tests from outside.

The door is the vendor's as far as it is documented: 401 without the two headers or with wrong ones, the three headers
of the allowance on every answer, 429 beyond it. `/_sim` asks for no key; it is for loopback only.
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

from agent.connectors.simulation.line import suffer
from agent.connectors.voucherify.simulator.checks import NotTaken, check_customer
from agent.connectors.voucherify.simulator.faults import Fault

if TYPE_CHECKING:
    from agent.connectors.voucherify.simulator.vendor import VoucherifySimulator

MAX_LIMIT = 100
Respond = Callable[[Request, bytes], Response]


def build_app(simulator: "VoucherifySimulator") -> ASGIApp:
    """The project's ASGI application: the calls behind the gate, and the controls beside it."""
    calls, controls = _Calls(simulator), _Controls(simulator)
    routes: list[tuple[str, str, Respond]] = [
        ("GET", "/v1/orders", calls.list_orders),
        ("POST", "/v1/orders", calls.post_order),
        ("GET", "/v1/orders/{source_id:path}", calls.get_order),
        ("PUT", "/v1/orders/{source_id:path}", calls.put_order),
        ("POST", "/v1/customers", calls.post_customer),
        ("GET", "/v1/customers/{source_id:path}", calls.get_customer),
        ("POST", "/v1/events", calls.post_event),
        ("GET", "/_sim/state", controls.state),
        ("GET", "/_sim/orders", controls.orders),
        ("GET", "/_sim/events", controls.events),
        ("POST", "/_sim/faults", controls.set_faults),
        ("POST", "/_sim/keys", controls.set_keys),
        ("POST", "/_sim/plan", controls.set_plan),
        ("POST", "/_sim/schemas", controls.set_schemas),
        ("POST", "/_sim/cards", controls.set_cards),
        ("POST", "/_sim/reset", controls.reset),
    ]
    app = Starlette(
        routes=[Route(path, _endpoint(simulator, respond), methods=[verb]) for verb, path, respond in routes]
    )
    return _Gate(simulator, app)


def _endpoint(simulator: "VoucherifySimulator", respond: Respond) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        body = await request.body()
        with simulator.lock:
            try:
                return respond(request, body)
            except NotTaken as refusal:
                return _error(refusal.status, refusal.key, str(refusal))

    return endpoint


def _json(content: Any, status: int = 200) -> Response:
    return Response(json.dumps(content, ensure_ascii=False), status, media_type="application/json")


def _error(status: int, key: str, details: str) -> Response:
    return _json(_form(status, key, details), status)


def _form(status: int, key: str, details: str) -> dict[str, Any]:
    """The form of an error."""
    message = {400: "Invalid payload", 401: "Unauthorized", 404: "Resource not found"}.get(status, "Internal error")
    return {"code": status, "key": key, "message": message, "details": details, "request_id": "v-0b4c590350857970df"}


def _echoed(text: str) -> dict[str, Any]:
    return {**_form(400, text, text), "message": text, "resource_id": text}


_OWN_ERROR = _form(500, "internal_error", "")


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        raise NotTaken("invalid_payload", "The body is not JSON.") from None


class _Calls:
    def __init__(self, simulator: "VoucherifySimulator") -> None:
        self._simulator = simulator

    def list_orders(self, request: Request, _body: bytes) -> Response:
        limit = request.query_params.get("limit", "10")
        if not limit.isdecimal() or not 1 <= int(limit) <= MAX_LIMIT:
            return _error(400, "invalid_query_params", "limit is 1 to 100")
        orders = list(self._simulator.orders.values())
        page = orders[: int(limit)]
        shown = {"object": "list", "data_ref": "orders", "orders": page, "total": len(orders)}
        return _json({**shown, "has_more": len(page) < len(orders)})

    def post_order(self, _request: Request, body: bytes) -> Response:
        return _json(self._simulator.write_order(_parsed(body)))

    def get_order(self, request: Request, _body: bytes) -> Response:
        return _json(self._simulator.order(request.path_params["source_id"]))

    def put_order(self, request: Request, body: bytes) -> Response:
        return _json(self._simulator.write_order(_parsed(body), source_id=request.path_params["source_id"]))

    def post_customer(self, _request: Request, body: bytes) -> Response:
        customer = _parsed(body)
        check_customer(customer)
        return _json(self._simulator.write_customer(customer))

    def get_customer(self, request: Request, _body: bytes) -> Response:
        return _json(self._simulator.customer(request.path_params["source_id"]))

    def post_event(self, _request: Request, body: bytes) -> Response:
        return _json(self._simulator.take_event(_parsed(body)))


class _Controls:
    def __init__(self, simulator: "VoucherifySimulator") -> None:
        self._simulator = simulator

    def state(self, _request: Request, _body: bytes) -> Response:
        sim = self._simulator
        counts = {"orders": len(sim.orders), "customers": len(sim.customers), "events": len(sim.events)}
        twice = sorted(name for name, times in sim.earned.items() if times > 1)
        return _json({**counts, "earned": len(sim.earned), "earned_twice": twice, "requests": dict(sim.requests)})

    def orders(self, _request: Request, _body: bytes) -> Response:
        return _json(list(self._simulator.orders.values()))

    def events(self, _request: Request, _body: bytes) -> Response:
        return _json(self._simulator.events)

    def set_faults(self, _request: Request, body: bytes) -> Response:
        try:
            wanted = json.loads(body)
            faults = [Fault(**members) for members in wanted.get("add", [])]
        except (TypeError, ValueError, AttributeError) as error:
            return _error(400, "invalid_payload", str(error))
        if wanted.get("clear"):
            self._simulator.faults.clear()
        self._simulator.faults += faults
        return _json([asdict(fault) for fault in self._simulator.faults])

    def set_keys(self, _request: Request, body: bytes) -> Response:
        keys = _parsed(body)
        if not isinstance(keys, dict) or not all(isinstance(token, str) for token in keys.values()):
            return _error(400, "invalid_payload", "An object of ids and tokens; those that are not in it are revoked.")
        self._simulator.keys.clear()
        self._simulator.keys.update(keys)
        return _json(sorted(keys))

    def set_plan(self, _request: Request, body: bytes) -> Response:
        wanted = _parsed(body)
        try:
            self._simulator.allowance.per_minute = int(wanted.get("per_minute", self._simulator.allowance.per_minute))
            left = wanted.get("of_plan")
            self._simulator.allowance.of_plan = None if left is None else int(left)
        except (AttributeError, TypeError, ValueError):
            return _error(400, "invalid_payload", "per_minute and of_plan are whole numbers.")
        return _json({"per_minute": self._simulator.allowance.per_minute, "of_plan": self._simulator.allowance.of_plan})

    def set_schemas(self, _request: Request, body: bytes) -> Response:
        schemas = _parsed(body)
        if not isinstance(schemas, dict) or not all("properties" in schema for schema in schemas.values()):
            return _error(400, "invalid_payload", "Schemas by object, each with its properties.")
        self._simulator.schemas = schemas
        return _json(sorted(schemas))

    def set_cards(self, _request: Request, body: bytes) -> Response:
        codes = _parsed(body)
        if not isinstance(codes, list) or not all(isinstance(code, str) for code in codes):
            return _error(400, "invalid_payload", "The codes of the cards that exist.")
        self._simulator.cards = set(codes)
        return _json(sorted(codes))

    def reset(self, _request: Request, _body: bytes) -> Response:
        self._simulator.forget()
        return _json({})


class _Gate:
    """ASGI middleware: faults of the line, then the door and the allowance; `/_sim` passes untouched."""

    def __init__(self, simulator: "VoucherifySimulator", app: ASGIApp) -> None:
        self._simulator, self._app = simulator, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/_sim/"):
            await self._app(scope, receive, send)
            return
        sim = self._simulator
        with sim.lock:
            delay_s, fault = sim.meet(scope["method"], scope["path"])
        await asyncio.sleep(delay_s)
        if fault is None:
            await self._enter(scope, receive, send)
            return
        if fault.after_processing:
            await self._enter(scope, receive, _swallow)
        await suffer(fault, scope, receive, send, own_error=_OWN_ERROR, echoed=_echoed)

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        sim = self._simulator
        with sim.lock:
            now = sim.now()
            told, fits = sim.allowance.take(now)
            allowed = self._is_allowed(scope)
            if allowed and fits:
                sim.requests[f"{scope['method']} {scope['path'].split('/')[2]}"] += 1
        headers = {"Date": format_datetime(now, usegmt=True), **told}
        added = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

        async def send_told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*added, *message["headers"]]
            await send(message)

        if not allowed:
            await _error(401, "unauthorized", "")(scope, receive, send_told)
        elif not fits:
            busy = {"code": 429, "message": "Too many requests hit the API too quickly."}
            await _json(busy, 429)(scope, receive, send_told)
        else:
            await self._app(scope, receive, send_told)

    def _is_allowed(self, scope: Scope) -> bool:
        headers = dict(scope["headers"])
        token = self._simulator.keys.get(headers.get(b"x-app-id", b"").decode("latin-1"))
        return token is not None and headers.get(b"x-app-token", b"").decode("latin-1") == token


async def _swallow(_message: Message) -> None:
    """Loses the answer of a request that was processed."""
