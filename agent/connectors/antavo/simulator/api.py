"""The calls of the Loyalty and the Read API, the door before them, and `/_sim` for whoever tests from outside."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from agent.connectors.antavo.simulator.door import check_signature
from agent.connectors.antavo.simulator.faults import Fault
from agent.connectors.antavo.simulator.imports import run_import
from agent.connectors.antavo.simulator.members import Member
from agent.connectors.antavo.simulator.reading import listed
from agent.connectors.antavo.simulator.refusal import Refused, not_found
from agent.connectors.simulation.answers import Handler, answer, routed
from agent.connectors.simulation.controls import controls
from agent.connectors.simulation.gate import Gate
from agent.connectors.simulation.line import Wording, processed

if TYPE_CHECKING:
    from agent.connectors.antavo.simulator.vendor import AntavoSimulator


def build_app(simulator: "AntavoSimulator") -> ASGIApp:
    """The workspace's ASGI application: the calls behind the gate, and the controls beside it."""
    calls, own = _Calls(simulator), _Controls(simulator)
    signed: list[tuple[str, str, Callable[[Request, bytes], Any]]] = [
        ("POST", "/events", calls.event),
        ("POST", "/events/bulk", calls.bulk),
        ("GET", "/customers", calls.search),
        ("GET", "/customers/-/count", calls.count),
        ("GET", "/customers/-/events", calls.history),
        ("GET", "/v1/customers", calls.everybody),
        ("GET", "/customers/{customer}", calls.customer),
        ("GET", "/customers/{customer}/transactions", calls.transactions_of),
        ("GET", "/customers/{customer}/coupons", calls.coupons_of),
        ("GET", "/customers/{customer}/events", calls.history_of),
        ("GET", "/customers/{customer}/activities/rewards", calls.rewards_of),
        ("GET", "/customers/{customer}/activities/rewards/{reward}", calls.reward_of),
        ("POST", "/customers/{customer}/activities/rewards/{reward}/claim", calls.claim),
        ("POST", "/customers/{customer}/activities/rewards/{reward}/revoke", calls.revoke),
        ("POST", "/extensions/automation/campaign-bonus", calls.campaign_bonus),
        ("GET", "/transactions/{transaction}", calls.transaction),
    ]
    submitted: list[tuple[str, str, Handler]] = [
        ("POST", "/v1/auth/token", _of_token(simulator)),
        ("POST", "/v1/async/events", _by_token(simulator, calls.submit)),
        ("GET", "/v1/async/events/{correlation_id}", _by_token(simulator, calls.outcome)),
    ]
    return Gate(
        routed(simulator.lock, [*submitted, *((verb, path, _let_in(simulator, call)) for verb, path, call in signed)]),
        controls(
            simulator,
            Fault,
            shows={"state": own.state, "events": own.events, "claims": own.claims},
            acts={
                "members": own.add_members,
                "leave": own.let_leave,
                "coupons": own.give_coupons,
                "rewards": own.add_rewards,
                "imports": own.run_import,
            },
            wrong=lambda text: _refuse(simulator, Refused(400, 0, text)),
        ),
        now=simulator.now,
        meet=simulator.meet,
        wording=_WORDING,
    )


def _let_in(simulator: "AntavoSimulator", call: Callable[[Request, bytes], Any]) -> Handler:
    """The call for who has signed; what is refused is told in the workspace's form."""

    def respond(request: Request, body: bytes) -> Response:
        raw, query = request.scope["raw_path"].decode(), request.scope["query_string"].decode()
        try:
            if not (simulator.unsigned and request.query_params.get("api_key") in simulator.keys):
                check_signature(
                    dict(request.headers), request.method, f"{raw}?{query}" if query else raw, body,
                    keys=simulator.keys, environment=simulator.environment, now=simulator.now(),
                )  # fmt: skip
            simulator.requests[f"{request.method} {request.url.path.split('/')[1]}"] += 1
            return _answer(call(request, body))
        except Refused as refused:
            is_event = request.url.path.startswith("/events") and refused.status == 400  # noqa: PLR2004 - of HTTP
            return _refuse(simulator, refused, 200 if is_event and simulator.errors_are_200 else None)

    return respond


def _of_token(simulator: "AntavoSimulator") -> Handler:
    """The token endpoint, whose errors have a form of their own."""

    def respond(request: Request, body: bytes) -> Response:
        simulator.requests["POST token"] += 1
        try:
            return _answer(simulator.queue.token(request.headers.get("authorization", ""), body))
        except Refused as refused:
            details = refused.body("bare")
            return _answer({"status": "error", "error": "invalid_client", "details": details}, refused.status)

    return respond


def _by_token(simulator: "AntavoSimulator", call: Callable[[Request, bytes], Any]) -> Handler:
    """The call for who has a token."""

    def respond(request: Request, body: bytes) -> Response:
        try:
            simulator.queue.let_in(request.headers.get("authorization", ""))
            simulator.requests[f"{request.method} async"] += 1
            return _answer({"status": "success", "metadata": {}, "payload": call(request, body)})
        except Refused as refused:
            return _answer(refused.body("status"), refused.status)

    return respond


def _answer(content: Any, status: int = 200) -> Response:
    # The retail page shows its answers typed so.
    return answer(content, status, media_type="text/javascript")


def _refuse(simulator: "AntavoSimulator", refused: Refused, status: int | None = None) -> Response:
    return _answer(refused.body(simulator.shape), status or refused.status)


def _echoed(message: str) -> dict[str, Any]:
    return Refused(400, 0, message).body("standard")


_WORDING = Wording({"error": {"type": "RuntimeException", "code": 0, "message": "An error has occurred"}}, _echoed)


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

    def submit(self, _request: Request, body: bytes) -> Any:
        return {"correlation_id": self._simulator.queue.put(_parsed(body)), "status": "queued"}

    def outcome(self, request: Request, _body: bytes) -> Any:
        return self._simulator.queue.outcome(request.path_params["correlation_id"])

    def bulk(self, request: Request, body: bytes) -> Any:
        """One by one, in their order; what is refused is told in its place."""
        parsed = _parsed(body)
        events = parsed.get("events") if isinstance(parsed, dict) else None
        if not isinstance(events, list) or not events:
            raise Refused(400, 0, "Property events cannot be empty")
        results: list[Any] = []
        for event in processed(events, request.scope):
            try:
                taken = self._simulator.take(event, in_bulk=True)
                results.append({"events": taken["events"]})
            except Refused as refused:
                results.append(refused.body("standard"))
        errors = sum("error" in result for result in results)
        return {"results": results, "total": len(results), "errors": errors}

    def search(self, request: Request, _body: bytes) -> Any:
        return {"data": self._simulator.books.members.search(dict(request.query_params)), "next": None}

    def count(self, _request: Request, _body: bytes) -> Any:
        return {"active": len(self._simulator.books.members.by_id)}

    def history(self, request: Request, _body: bytes) -> Any:
        return self._simulator.books.history.listed(request.query_params)

    def everybody(self, request: Request, _body: bytes) -> Any:
        return listed(self._simulator.books.members, request.query_params)

    def customer(self, request: Request, _body: bytes) -> Any:
        member = self._simulator.books.members.get(request.path_params["customer"])
        return {"updated_at": member.updated_at, **member.data(), **member.shown()}

    def transactions_of(self, request: Request, _body: bytes) -> Any:
        member = self._simulator.books.members.get(request.path_params["customer"])
        own = [one for one in self._simulator.books.transactions.values() if one.customer == member.id]
        wanted = request.query_params.get("id")
        return {"data": [one.shown() for one in own if wanted in (None, one.id)], "next": None}

    def coupons_of(self, request: Request, _body: bytes) -> Any:
        member = self._simulator.books.members.get(request.path_params["customer"])
        return self._simulator.books.coupons.listed(member.id, request.query_params)

    def history_of(self, request: Request, _body: bytes) -> Any:
        return self._simulator.books.history.of(self._member(request).id, request.query_params)

    def rewards_of(self, request: Request, _body: bytes) -> Any:
        return self._simulator.books.rewards.listed(self._member(request), request.query_params)

    def reward_of(self, request: Request, _body: bytes) -> Any:
        return self._simulator.books.rewards.one(self._member(request), request.path_params["reward"])

    def claim(self, request: Request, _body: bytes) -> Any:
        return self._simulator.books.rewards.claim(self._member(request), request.path_params["reward"])

    def revoke(self, request: Request, body: bytes) -> Any:
        form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        event = dict(parse_qsl(body.decode())).get("event") if form else None
        return self._simulator.books.rewards.revoke(self._member(request), request.path_params["reward"], event)

    def _member(self, request: Request) -> Member:
        return self._simulator.books.members.get(request.path_params["customer"])

    def campaign_bonus(self, _request: Request, body: bytes) -> Any:
        return {"data": self._simulator.books.foretold(_parsed(body))}

    def transaction(self, request: Request, _body: bytes) -> Any:
        found = self._simulator.books.transactions.get(request.path_params["transaction"])
        if found is None:
            raise not_found("Transaction not found")
        return found.shown()


class _Controls:
    def __init__(self, simulator: "AntavoSimulator") -> None:
        self._simulator = simulator

    def state(self, _wanted: Any) -> Any:
        sim = self._simulator
        return {
            "members": len(sim.books.members.by_id), "transactions": len(sim.books.transactions),
            "events": {"received": len(sim.received), "applied": len(sim.books.applied)},
            "requests": dict(sim.requests),
        }  # fmt: skip

    def events(self, _wanted: Any) -> Any:
        return self._simulator.books.applied

    def claims(self, _wanted: Any) -> Any:
        rewards = self._simulator.books.rewards
        return {event: claim | {"revoked": event in rewards.revoked} for event, claim in rewards.claims.items()}

    def add_members(self, wanted: Any) -> Any:
        if not isinstance(wanted, dict) or not all(isinstance(fields, dict) for fields in wanted.values()):
            raise ValueError("An object of ids and their members' fields is expected")
        for member_id, fields in wanted.items():
            self._simulator.books.members.add(member_id, **fields)
        return {"active": len(self._simulator.books.members.by_id)}

    def give_coupons(self, wanted: Any) -> Any:
        books = self._simulator.books
        if not isinstance(wanted, dict) or not all(
            name in books.members.by_id and isinstance(fields, dict) for name, fields in wanted.items()
        ):
            raise ValueError("An object of members' ids and of each coupon's fields by its code is expected")
        for member_id, coupons in wanted.items():
            for code, fields in coupons.items():
                books.coupons.give(member_id, code, **(fields or {}))
        return sorted(books.coupons.by_code)

    def add_rewards(self, wanted: Any) -> Any:
        rewards = self._simulator.books.rewards
        if not isinstance(wanted, dict) or not all(isinstance(fields, dict) for fields in wanted.values()):
            raise ValueError("An object of rewards' ids and their fields is expected")
        for reward_id, fields in wanted.items():
            rewards.add(reward_id, **fields)
        return sorted(rewards.by_id)

    def run_import(self, wanted: Any) -> Any:
        folder = wanted.get("folder") if isinstance(wanted, dict) else None
        if not isinstance(folder, str) or not Path(folder).is_dir():
            raise ValueError('{"folder": "/path"} is expected, a folder of this machine')
        return asdict(run_import(Path(folder), self._simulator.take))

    def let_leave(self, wanted: Any) -> Any:
        members = self._simulator.books.members
        if not isinstance(wanted, list) or not all(isinstance(one, str) and one in members.by_id for one in wanted):
            raise ValueError("A list of members' ids is expected")
        for member_id in wanted:
            members.opt_out(member_id)
        return wanted
