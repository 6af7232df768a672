"""The calls of the API, the door before them, and `/_sim` for whoever tests from outside.

The door is the vendor's as far as it is documented: 401 without the two headers or with wrong ones, the three headers
of the allowance on every answer, 429 beyond it.
"""

import json
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.connectors.simulation.answers import Call, Handler, answer, routed
from agent.connectors.simulation.controls import controls
from agent.connectors.simulation.gate import Gate
from agent.connectors.simulation.line import Wording
from agent.connectors.voucherify.simulator.checks import NotTaken, check_customer
from agent.connectors.voucherify.simulator.faults import Fault
from agent.connectors.voucherify.simulator.loyalty import Program

if TYPE_CHECKING:
    from agent.connectors.voucherify.simulator.vendor import VoucherifySimulator

MAX_LIMIT = 100


def build_app(simulator: "VoucherifySimulator") -> ASGIApp:
    """The project's ASGI application: the calls behind the gate, and the controls beside it."""
    calls, own = _Calls(simulator), _Controls(simulator)
    taken: list[Call] = [
        ("GET", "/v1/orders", calls.list_orders),
        ("POST", "/v1/orders", calls.post_order),
        ("GET", "/v1/orders/{source_id:path}", calls.get_order),
        ("PUT", "/v1/orders/{source_id:path}", calls.put_order),
        ("GET", "/v1/customers", calls.list_customers),
        ("POST", "/v1/customers", calls.post_customer),
        ("GET", "/v1/customers/{source_id:path}/redeemables", calls.get_redeemables),
        ("GET", "/v1/customers/{source_id:path}", calls.get_customer),
        ("DELETE", "/v1/customers/{source_id:path}", calls.delete_customer),
        ("POST", "/v1/events", calls.post_event),
        ("POST", "/v1/redemptions", calls.redeem),
        ("POST", "/v1/redemptions/{number}/rollback", calls.roll_back),
        ("GET", "/v1/vouchers/{code:path}/redemption", calls.list_redemptions),
        ("GET", "/v1/loyalties/members/{code:path}/transactions", calls.list_transactions),
        ("POST", "/v1/loyalties/members/{code:path}/balance", calls.adjust),
        ("GET", "/v2/loyalties/memberships/{source_id:path}", calls.get_memberships),
        ("POST", "/v2/loyalties/examine/earning-rules", calls.examine_earning),
    ]
    return Gate(
        _Door(simulator, routed(simulator.lock, [(verb, path, _refusing(call)) for verb, path, call in taken])),
        controls(
            simulator,
            Fault,
            shows={"state": own.state, "orders": own.orders, "events": own.events},
            acts={
                "plan": own.set_plan,
                "schemas": own.set_schemas,
                "cards": own.set_cards,
                "programs": own.set_programs,
                "vouchers": own.give_voucher,
                "earning": own.set_earning,
            },
            wrong=lambda text: _error(400, "invalid_payload", text),
        ),
        now=simulator.now,
        meet=simulator.meet,
        wording=Wording(_form(500, "internal_error", ""), _echoed),
    )


def _refusing(call: Handler) -> Handler:
    """The call; what it does not take is told in the documented form."""

    def respond(request: Request, body: bytes) -> Response:
        try:
            return call(request, body)
        except NotTaken as refusal:
            return _error(refusal.status, refusal.key, str(refusal))

    return respond


def _error(status: int, key: str, details: str) -> Response:
    return answer(_form(status, key, details), status)


def _form(status: int, key: str, details: str) -> dict[str, Any]:
    """The form of an error."""
    message = {400: "Invalid payload", 401: "Unauthorized", 404: "Resource not found"}.get(status, "Internal error")
    return {"code": status, "key": key, "message": message, "details": details, "request_id": "v-0b4c590350857970df"}


def _echoed(text: str) -> dict[str, Any]:
    return {**_form(400, text, text), "message": text, "resource_id": text}


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
        return answer({**shown, "has_more": len(page) < len(orders)})

    def post_order(self, _request: Request, body: bytes) -> Response:
        return answer(self._simulator.write_order(_parsed(body)))

    def get_order(self, request: Request, _body: bytes) -> Response:
        return answer(self._simulator.order(request.path_params["source_id"]))

    def put_order(self, request: Request, body: bytes) -> Response:
        return answer(self._simulator.write_order(_parsed(body), source_id=request.path_params["source_id"]))

    def post_customer(self, _request: Request, body: bytes) -> Response:
        customer = _parsed(body)
        check_customer(customer)
        return answer(self._simulator.write_customer(customer))

    def list_customers(self, request: Request, _body: bytes) -> Response:
        return answer(self._simulator.customers.listed(request.query_params))

    def delete_customer(self, request: Request, _body: bytes) -> Response:
        self._simulator.customers.remove(request.path_params["source_id"])
        return Response(status_code=204)

    def get_customer(self, request: Request, _body: bytes) -> Response:
        return answer(self._simulator.customer(request.path_params["source_id"]))

    def get_redeemables(self, request: Request, _body: bytes) -> Response:
        return answer(self._simulator.redeemables(request.path_params["source_id"], request.query_params))

    def redeem(self, _request: Request, body: bytes) -> Response:
        return answer(self._simulator.redeem(_parsed(body)))

    def roll_back(self, request: Request, _body: bytes) -> Response:
        sim = self._simulator
        return answer(sim.vouchers.roll_back(request.path_params["number"], now=sim.now()))

    def list_redemptions(self, request: Request, _body: bytes) -> Response:
        return answer(self._simulator.vouchers.of(request.path_params["code"]))

    def list_transactions(self, request: Request, _body: bytes) -> Response:
        return answer(self._simulator.transactions(request.path_params["code"], request.query_params))

    def adjust(self, request: Request, body: bytes) -> Response:
        return answer(self._simulator.adjust(request.path_params["code"], _parsed(body)))

    def get_memberships(self, request: Request, _body: bytes) -> Response:
        return answer(self._simulator.memberships(request.path_params["source_id"], request.query_params))

    def examine_earning(self, _request: Request, body: bytes) -> Response:
        return answer(self._simulator.examine(_parsed(body)))

    def post_event(self, _request: Request, body: bytes) -> Response:
        return answer(self._simulator.take_event(_parsed(body)))


class _Controls:
    def __init__(self, simulator: "VoucherifySimulator") -> None:
        self._simulator = simulator

    def state(self, _wanted: Any) -> Any:
        sim = self._simulator
        counts = {"orders": len(sim.orders), "customers": len(sim.customers), "events": len(sim.events)}
        twice = sorted(name for name, times in sim.earned.items() if times > 1)
        return {**counts, "earned": len(sim.earned), "earned_twice": twice, "requests": dict(sim.requests)}

    def orders(self, _wanted: Any) -> Any:
        return list(self._simulator.orders.values())

    def events(self, _wanted: Any) -> Any:
        return self._simulator.events

    def set_plan(self, wanted: Any) -> Any:
        allowance = self._simulator.allowance
        try:
            per_minute, left = int(wanted.get("per_minute", allowance.per_minute)), wanted.get("of_plan")
            of_plan = None if left is None else int(left)
        except (AttributeError, TypeError, ValueError):
            raise ValueError("per_minute and of_plan are whole numbers.") from None
        allowance.per_minute, allowance.of_plan = per_minute, of_plan
        return {"per_minute": per_minute, "of_plan": of_plan}

    def set_schemas(self, wanted: Any) -> Any:
        if not isinstance(wanted, dict) or not all("properties" in schema for schema in wanted.values()):
            raise ValueError("Schemas by object, each with its properties.")
        self._simulator.schemas = wanted
        return sorted(wanted)

    def set_cards(self, wanted: Any) -> Any:
        if not isinstance(wanted, list) or not all(isinstance(code, str) for code in wanted):
            raise ValueError("The codes of the cards that exist.")
        self._simulator.cards = set(wanted)
        return sorted(wanted)

    def give_voucher(self, wanted: Any) -> Any:
        """A voucher for a `holder`, by either name, with its `code` and whatever else of it is not the usual."""
        try:
            return self._simulator.give(wanted.pop("holder"), wanted.pop("code"), **wanted)
        except (TypeError, AttributeError, KeyError, NotTaken) as error:
            raise ValueError("A voucher has the holder, who is a customer, and a code.") from error

    def set_earning(self, wanted: Any) -> Any:
        """What an order pays for a point of loyalty v1, in the smallest unit."""
        if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 0:
            raise ValueError("What a point costs is a whole number; 0 earns none.")
        self._simulator.ledger.per_point = wanted
        return {"per_point": wanted}

    def set_programs(self, wanted: Any) -> Any:
        """Programmes of loyalty v2, each with its members' points by either name of theirs."""
        if not isinstance(wanted, list) or not all(isinstance(row, dict) for row in wanted):
            raise ValueError("Programmes are a list of objects.")
        sim, made = self._simulator, []
        try:
            for row in wanted:
                members = {sim.customer(name)["id"]: points for name, points in row.get("members", {}).items()}
                made.append(Program(**{**{key: row[key] for key in row if key != "members"}, "cards": members}))
        except (TypeError, AttributeError, NotTaken) as error:
            raise ValueError(str(error)) from error
        sim.programs.update({program.id: program for program in made})
        return sorted(sim.programs)


class _Door:
    """ASGI middleware before the calls: the keys and the allowance."""

    def __init__(self, simulator: "VoucherifySimulator", app: ASGIApp) -> None:
        self._simulator, self._app = simulator, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sim = self._simulator
        with sim.lock:
            told, fits = sim.allowance.take(sim.now())
            allowed = self._is_allowed(scope)
            if allowed and fits:
                sim.requests[f"{scope['method']} {'/'.join(scope['path'].split('/')[2:3])}"] += 1
        added = [(name.lower().encode(), value.encode()) for name, value in told.items()]

        async def send_told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*added, *message["headers"]]
            await send(message)

        if not allowed:
            await _error(401, "unauthorized", "")(scope, receive, send_told)
        elif not fits:
            busy = {"code": 429, "message": "Too many requests hit the API too quickly."}
            await answer(busy, 429)(scope, receive, send_told)
        else:
            await self._app(scope, receive, send_told)

    def _is_allowed(self, scope: Scope) -> bool:
        headers = dict(scope["headers"])
        token = self._simulator.keys.get(headers.get(b"x-app-id", b"").decode("latin-1"))
        return token is not None and headers.get(b"x-app-token", b"").decode("latin-1") == token
