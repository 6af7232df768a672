"""The calls of the API, the door and the faults before them, and `/_sim` for whoever tests from outside.

The door is the vendor's as far as it is known: 401 without the bare key; that a body of another type than JSON is
refused with 415 is the simulator's own choice. `/_sim` asks for no key; it is for loopback only.
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

from agent.connectors.monetary.simulator.faults import Fault
from agent.connectors.monetary.simulator.values import Account, Refused, parsed, told
from agent.connectors.simulation.line import suffer

if TYPE_CHECKING:
    from agent.connectors.monetary.simulator.vendor import MonetarySimulator

_CONTROLS = "/_sim/"
_OWN_ERROR = {"Message": "An error has occurred."}
Respond = Callable[[Request, bytes], Any]


def build_app(simulator: "MonetarySimulator") -> ASGIApp:
    """The account's ASGI application: the calls behind the gate, and the controls beside it."""
    calls, controls = _Calls(simulator), _Controls(simulator)
    routes: list[tuple[str, str, Respond]] = [
        ("GET", "/v1/customers", calls.search),
        ("POST", "/v1/customers", calls.register),
        ("GET", "/v1/customers/{id:int}", calls.customer),
        ("PUT", "/v1/customers/{id:int}", calls.update),
        ("GET", "/v1/customers/{id:int}/offers", calls.offers_of),
        ("GET", "/v1/customers/{id:int}/receipts", calls.receipts_of),
        ("GET", "/v1/customers/{id:int}/punchcards", calls.punch_cards),
        ("GET", "/v1/offers", calls.offer_by_code),
        ("GET", "/v1/offers/{id:int}", calls.offer),
        ("GET", "/v1/receipts", calls.receipts),
        ("POST", "/v1/receipts", calls.post_receipt),
        ("GET", "/v1/receipts/{id}", calls.receipt),
        ("POST", "/v1/campaigns/location", calls.location_campaign),
        ("POST", "/v1/campaigns/group", calls.group_campaign),
        ("POST", "/v1/campaigns/{id:int}/offers", calls.send_offers),
        ("GET", "/_sim/state", controls.state),
        ("GET", "/_sim/receipts", controls.receipts),
        ("POST", "/_sim/customers", controls.add_customers),
        ("POST", "/_sim/faults", controls.set_faults),
        ("POST", "/_sim/keys", controls.set_keys),
        ("POST", "/_sim/reset", controls.reset),
    ]
    app = Starlette(
        routes=[Route(path, _endpoint(simulator, respond), methods=[verb]) for verb, path, respond in routes]
    )
    return _Gate(simulator, app)


def _endpoint(simulator: "MonetarySimulator", respond: Respond) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        body = await request.body()
        with simulator.lock:
            try:
                if not request.url.path.startswith(_CONTROLS):
                    _let_in(simulator, request, body)
                content = respond(request, body)
            except Refused as refused:
                return _json({"Message": str(refused)}, refused.status)
        return Response(status_code=204) if content is None else _json(content)

    return endpoint


def _let_in(simulator: "MonetarySimulator", request: Request, body: bytes) -> None:
    if request.headers.get("authorization") not in simulator.keys:
        raise Refused(401, "Authorization has been denied for this request.")
    if body and request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "The request entity's media type is not supported.")
    simulator.requests[f"{request.method} {request.url.path.split('/')[2]}"] += 1


def _json(content: Any, status: int = 200) -> Response:
    return Response(told(content), status, media_type="application/json")


class _Calls:
    def __init__(self, simulator: "MonetarySimulator") -> None:
        self._simulator = simulator

    def _account(self, request: Request) -> Account:
        return self._simulator.keys[request.headers["authorization"]]

    def search(self, request: Request, _body: bytes) -> Any:
        return self._simulator.search(dict(request.query_params))

    def register(self, _request: Request, body: bytes) -> Any:
        return self._simulator.register(parsed(body))

    def customer(self, request: Request, _body: bytes) -> Any:
        return self._simulator.customer(request.path_params["id"])

    def update(self, request: Request, body: bytes) -> Any:
        return self._simulator.update(request.path_params["id"], parsed(body))

    def offers_of(self, request: Request, _body: bytes) -> Any:
        customer = self._simulator.customer(request.path_params["id"])
        return self._simulator.offers.of(customer["CustomerID"], self._simulator.now())

    def receipts_of(self, request: Request, _body: bytes) -> Any:
        return self._simulator.receipts_of(request.path_params["id"])

    def punch_cards(self, request: Request, _body: bytes) -> Any:
        self._simulator.customer(request.path_params["id"])
        return []

    def offer_by_code(self, request: Request, _body: bytes) -> Any:
        return self._simulator.offers.by_code(_queried(request, "code"))

    def offer(self, request: Request, _body: bytes) -> Any:
        return self._simulator.offers.get(request.path_params["id"])

    def receipts(self, request: Request, _body: bytes) -> Any:
        wanted = _queried(request, "customerid")
        return self._simulator.receipts_of(int(wanted)) if wanted.isdecimal() else []

    def post_receipt(self, request: Request, body: bytes) -> Any:
        return self._simulator.take_receipt(parsed(body), self._account(request))

    def receipt(self, request: Request, _body: bytes) -> Any:
        return self._simulator.receipt(request.path_params["id"])

    def location_campaign(self, request: Request, body: bytes) -> Any:
        return self._simulator.offers.make_campaign(parsed(body), self._account(request), of_location=True)

    def group_campaign(self, request: Request, body: bytes) -> Any:
        return self._simulator.offers.make_campaign(parsed(body), self._account(request), of_location=False)

    def send_offers(self, request: Request, body: bytes) -> Any:
        sim, account = self._simulator, self._account(request)
        sim.offers.send(
            request.path_params["id"], parsed(body), account,
            registered=sim.customers, buyers=sim.buyers(account.location), now=sim.now(),
        )  # fmt: skip


def _queried(request: Request, name: str) -> str:
    return next((value for key, value in request.query_params.items() if key.lower() == name), "")


class _Controls:
    def __init__(self, simulator: "MonetarySimulator") -> None:
        self._simulator = simulator

    def state(self, _request: Request, _body: bytes) -> Any:
        sim = self._simulator
        return {"customers": len(sim.customers), "receipts": len(sim.receipts), "requests": dict(sim.requests)}

    def receipts(self, _request: Request, _body: bytes) -> Any:
        return self._simulator.receipts

    def add_customers(self, _request: Request, body: bytes) -> Any:
        wanted = parsed(body)
        if not isinstance(wanted, list):
            raise Refused(400, "A list of customers' fields is expected.")
        return [self._simulator.register(fields)["CustomerID"] for fields in wanted]

    def set_faults(self, _request: Request, body: bytes) -> Any:
        try:
            wanted = json.loads(body)
            faults = [Fault(**members) for members in wanted.get("add", [])]
        except (TypeError, ValueError, AttributeError) as error:
            raise Refused(400, str(error)) from error
        if wanted.get("clear"):
            self._simulator.faults.clear()
        self._simulator.faults += faults
        return [asdict(fault) for fault in self._simulator.faults]

    def set_keys(self, _request: Request, body: bytes) -> Any:
        wanted = parsed(body)
        if not isinstance(wanted, list) or not all(isinstance(key, str) for key in wanted):
            raise Refused(400, "A list of keys is expected; others are revoked.")
        known = self._simulator.keys
        self._simulator.keys = {key: known.get(key, Account()) for key in wanted}
        return sorted(wanted)

    def reset(self, _request: Request, _body: bytes) -> Any:
        self._simulator.forget()
        return {}


class _Gate:
    """ASGI middleware: faults of the line, then the calls, whose paths fit in any case; `/_sim` passes untouched."""

    def __init__(self, simulator: "MonetarySimulator", app: ASGIApp) -> None:
        self._simulator, self._app = simulator, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_CONTROLS):
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
        routed = {**scope, "path": scope["path"].lower()}
        if fault is None:
            await self._app(routed, receive, send_dated)
            return
        if fault.after_processing:
            await self._app(routed, receive, _swallow)
        await suffer(fault, scope, receive, send_dated, own_error=_OWN_ERROR, echoed=lambda text: {"Message": text})


async def _swallow(_message: Message) -> None:
    """Loses the answer of a request that was processed."""
