"""The calls of the API, the door before them, and `/_sim` for whoever tests from outside.

The door is the vendor's as far as it is known: 401 without the bare key. That a body of another type than JSON is
refused with 415 is the simulator's own choice. Paths fit in any case.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from agent.connectors.monetary.simulator.faults import Fault
from agent.connectors.monetary.simulator.offers import A_MONTH, OFFER_FIELDS
from agent.connectors.monetary.simulator.values import Refused, parsed, rows
from agent.connectors.simulation.answers import Handler, answer, routed
from agent.connectors.simulation.controls import controls
from agent.connectors.simulation.gate import Gate
from agent.connectors.simulation.line import Wording

if TYPE_CHECKING:
    from agent.connectors.monetary.simulator.vendor import MonetarySimulator

Respond = Callable[[Request, bytes], Any]


def build_app(simulator: "MonetarySimulator") -> ASGIApp:
    """The account's ASGI application: the calls behind the gate, and the controls beside it."""
    calls, own = _Calls(simulator), _Controls(simulator)
    taken: list[tuple[str, str, Respond]] = [
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
    ]
    return Gate(
        _AnyCase(routed(simulator.lock, [(verb, path, _let_in(simulator, call)) for verb, path, call in taken])),
        controls(
            simulator,
            Fault,
            shows={"state": own.state, "receipts": own.receipts},
            acts={
                "customers": own.add_customers,
                "offers": own.give_offer,
                "leave": own.leave,
                "merge": own.merge,
            },
            wrong=lambda text: _refuse(Refused(400, text)),
        ),
        now=simulator.now,
        meet=simulator.meet,
        wording=Wording(_form("An error has occurred."), _form),
    )


def _let_in(simulator: "MonetarySimulator", call: Respond) -> Handler:
    """The call for who has a key; what is refused is told in the account's form."""

    def respond(request: Request, body: bytes) -> Response:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.headers.get("authorization") not in simulator.keys:
            return _refuse(Refused(401, "Authorization has been denied for this request."))
        if body and media_type != "application/json":
            return _refuse(Refused(415, "The request entity's media type is not supported."))
        try:
            simulator.requests[f"{request.method} {request.url.path.split('/')[2]}"] += 1
            content = call(request, body)
        except Refused as refused:
            return _refuse(refused)
        return Response(status_code=204) if content is None else answer(content)

    return respond


def _refuse(refused: Refused) -> Response:
    return answer(_form(str(refused)), refused.status)


def _form(text: str) -> dict[str, str]:
    """The form of an error."""
    return {"Message": text}


class _Calls:
    def __init__(self, simulator: "MonetarySimulator") -> None:
        self._simulator = simulator

    def _location(self, request: Request) -> str:
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
        return self._simulator.take_receipt(parsed(body), self._location(request))

    def receipt(self, request: Request, _body: bytes) -> Any:
        return self._simulator.receipt(request.path_params["id"])

    def location_campaign(self, request: Request, body: bytes) -> Any:
        return self._simulator.offers.make_campaign(parsed(body), self._location(request), of_location=True)

    def group_campaign(self, request: Request, body: bytes) -> Any:
        return self._simulator.offers.make_campaign(parsed(body), self._location(request), of_location=False)

    def send_offers(self, request: Request, body: bytes) -> Any:
        sim, campaign_id = self._simulator, request.path_params["id"]
        sim.offers.send(campaign_id, parsed(body), registered=sim.customers, buyers=sim.buyers, now=sim.now())


def _queried(request: Request, name: str) -> str:
    return next((value for key, value in request.query_params.items() if key.lower() == name), "")


class _Controls:
    def __init__(self, simulator: "MonetarySimulator") -> None:
        self._simulator = simulator

    def state(self, _wanted: Any) -> Any:
        sim = self._simulator
        return {"customers": len(sim.customers), "receipts": len(sim.receipts), "requests": dict(sim.requests)}

    def receipts(self, _wanted: Any) -> Any:
        return self._simulator.receipts

    def add_customers(self, wanted: Any) -> Any:
        try:
            people = rows(wanted, "customers")
            return [self._simulator.register(fields)["CustomerID"] for fields in people]
        except Refused as refused:
            raise ValueError(str(refused)) from refused

    def give_offer(self, wanted: Any) -> Any:
        """An offer of any kind for a customer, good for a month."""
        fields = dict(wanted) if isinstance(wanted, dict) else {}
        customer = self._customer(fields.pop("CustomerID", None))
        if unknown := sorted(fields.keys() - OFFER_FIELDS):
            raise ValueError(f"no offer shows {unknown[0]}")
        return self._simulator.offers.give(customer, self._simulator.now() + A_MONTH, **fields)

    def leave(self, wanted: Any) -> Any:
        for customer_id in wanted if isinstance(wanted, list) else [wanted]:
            self._simulator.leave(self._customer(customer_id))
        return {"customers": len(self._simulator.customers)}

    def merge(self, wanted: Any) -> Any:
        stated = wanted if isinstance(wanted, dict) else {}
        former, into = self._customer(stated.get("from")), self._customer(stated.get("into"))
        if former == into:
            raise ValueError("nobody is merged into themselves")
        self._simulator.merge(former, into)
        return self._simulator.customers[into]

    def _customer(self, customer_id: Any) -> int:
        try:
            found: int = self._simulator.customer(customer_id)["CustomerID"]
        except Refused as refused:
            raise ValueError(str(refused)) from refused
        return found


class _AnyCase:
    """ASGI middleware: a path fits however it is spelled."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "path": scope["path"].lower()}, receive, send)
