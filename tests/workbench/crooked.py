"""Doors that stand between a POS and an agent, as a POS vendor's gateway does, and do one thing wrong each."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from agent.connectors.simulation.line import ABORT

SALES = "/v1/transactions"
_LEFT_OUT = ("content-length", "transfer-encoding", "date", "server")
_METHODS = ["GET", "POST", "PATCH", "DELETE", "HEAD"]


@dataclass
class Call:
    """One call on its way, and what the agent answered once it was asked."""

    method: str
    path: str
    headers: dict
    body: bytes
    status: int = 0
    answer: bytes = b""

    @property
    def sale(self):
        """The sale that is being handed over; empty where it is none."""
        return self.json(self.body) if (self.method, self.path) == ("POST", SALES) else {}

    @property
    def told(self):
        return self.json(self.answer)

    @staticmethod
    def json(content):
        try:
            value = json.loads(content)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def say(self, body, status=None):
        """Another answer than the agent's."""
        self.answer = json.dumps(body).encode()
        self.status = status or self.status


Ask = Callable[[Call], Awaitable[None]]
Fault = Callable[[Call, Ask], Awaitable[None]]


async def honest(call, ask):
    """Hands everything on."""
    await ask(call)


async def drops_duplicate(call, ask):
    """Does not say that a sale is a repeat."""
    await ask(call)
    if call.sale:
        call.say({key: value for key, value in call.told.items() if key != "duplicate" or not value})


async def conflict_as_repeat(call, ask):
    """Takes another sale under the same id for a repeat."""
    await ask(call)
    if call.sale and call.status == 409:
        call.say({"transaction_id": call.sale["transaction_id"], "duplicate": True, "messages": []}, 200)


async def loses_returns(call, ask):
    """Has no place for a return without a receipt, and says that it is kept."""
    sale = call.sale
    if sale.get("type") == "return" and sale.get("lines") and "original_transaction_id" not in sale:
        key = {"kind": "primary", "type": "member_number", "value": "10000000"}
        call.say({"state": "queued", "duplicate": False, "integration_key": key, "messages": []}, 202)
    else:
        await ask(call)


class LosesTheFifth:
    """Keeps four sales of a customer, and forgets the fifth after it has answered."""

    def __init__(self):
        self.seen = defaultdict(dict)

    async def __call__(self, call, ask):
        sale = call.sale
        if not sale.get("identifier") or not sale.get("lines"):
            await ask(call)
            return
        seen = self.seen[str(sale["identifier"])]
        if seen.setdefault(sale["transaction_id"], len(seen) + 1) == 5:
            call.say({"transaction_id": sale["transaction_id"], "state": "queued", "messages": []}, 202)
        else:
            await ask(call)


async def doubles_exchanges(call, ask):
    """Sells an exchange twice, under an id of its own."""
    sale = call.sale
    if sale.get("type") == "purchase" and "original_transaction_id" in sale:
        twin = {**sale, "transaction_id": f"{sale['transaction_id']}-2"}
        await ask(Call(call.method, call.path, call.headers, json.dumps(twin).encode()))
    await ask(call)


async def eats_messages(call, ask):
    """Tells the screens nothing."""
    await ask(call)
    if call.told.get("messages"):
        call.say({**call.told, "messages": []})


async def repeats_the_phone(call, ask):
    """Says what was wrong in a body, with the body."""
    await ask(call)
    if call.status == 422:
        call.say({**call.told, "detail": f"This does not fit: {call.body.decode(errors='replace')}"})


async def forgets_pointers(call, ask):
    """Says that a body does not fit, and not where."""
    await ask(call)
    if call.status == 422:
        call.say({key: value for key, value in call.told.items() if key != "errors"})


async def own_error_page(call, ask):
    """Has an error of its own for what there is not, as a web server does."""
    await ask(call)
    if call.told.get("code") == "route.unknown":
        call.say({**call.told, "title": None})


async def hides_the_host(call, ask):
    """Hands everything on under the agent's own name, whoever was called."""
    call.headers["host"] = call.headers["x-agent"]
    await ask(call)


async def hides_the_page(call, ask):
    """Forgets which web page calls."""
    for name in ("origin", "sec-fetch-site"):
        call.headers.pop(name, None)
    await ask(call)


async def guesses(call, ask):
    """Takes the first of several who share a phone number."""
    await ask(call)
    if call.told.get("outcome") == "ambiguous":
        call.say({**call.told, "outcome": "matched"})


async def promises(call, ask):
    """Says that a sale is delivered as soon as it is taken."""
    await ask(call)
    if call.sale and call.told.get("state") == "queued":
        call.say({**call.told, "state": "delivered"})


async def swallows_voids(call, ask):
    """Does not know what a void is, and lets it pass."""
    if call.sale.get("type") == "void":
        call.say({"state": "queued", "duplicate": False, "messages": []}, 202)
    else:
        await ask(call)


async def no_events(call, ask):
    """Hands no stream on."""
    if call.path == "/v1/events":
        call.say({"code": "route.unknown"}, 404)
    else:
        await ask(call)


async def names_in_capitals(call, ask):
    """Answers in another shape: what was `integration_key` is `integrationKey`."""
    await ask(call)
    if call.sale and "integration_key" in call.told:
        call.say({key.replace("integration_key", "integrationKey"): value for key, value in call.told.items()})


class AnswersForItself:
    """Keeps no sale, and says of each that it is delivered."""

    def __init__(self):
        self.sold = set()

    async def __call__(self, call, ask):
        if call.path.rpartition("/")[2] in self.sold:
            call.say({"state": "delivered"}, 200)
        elif not call.sale:
            await ask(call)
        else:
            self.sold.add(call.sale["transaction_id"])
            asked = json.dumps({"identifier": call.sale["identifier"]}).encode()
            who = Call("POST", "/v1/contacts/identify", call.headers, asked)
            await ask(who)
            kept = {"duplicate": False, "state": "queued", "accepted_at": "2026-11-20T09:05:12Z"}
            call.say({**who.told, **kept, "transaction_id": call.sale["transaction_id"]}, 202)


async def hangs_up(call, ask):
    """Answers questions about people, and nothing else any more."""
    if call.path not in ("/v1/status", "/v1/contacts/identify"):
        raise ConnectionResetError
    await ask(call)


async def sends_elsewhere_too(call, ask):
    """Has a further system beside the loyalty system."""
    await ask(call)
    if call.path == "/v1/status":
        more = {"vendor": "mparticle", "role": "forward", "state": "online"}
        call.say({**call.told, "vendors": [*call.told["vendors"], more]})


@dataclass
class KnowsNobody:
    """Can ask nobody who anybody is."""

    asked: int = 0

    async def __call__(self, call, ask):
        if call.path == "/v1/contacts/identify":
            self.asked += 1
            call.say({"outcome": "unknown"}, 200)
        else:
            await ask(call)


@dataclass
class SaysOtherwise:
    """Says something else of how it is."""

    otherwise: dict

    async def __call__(self, call, ask):
        await ask(call)
        if call.path == "/v1/status":
            call.say({**call.told, **self.otherwise})


class Gateway:
    """A door before an agent. Served by whoever serves a simulator.

    Args:
        agent: the agent's own address.
        fault: what it does.
    """

    def __init__(self, agent: str, fault: Fault) -> None:
        self.agent, self.fault = agent, fault
        self.app = Starlette(routes=[Route("/{path:path}", self._serve, methods=_METHODS)])

    def run_due(self) -> None:
        """Nothing is."""

    async def _serve(self, request: Request) -> Response:
        own = self.agent.removeprefix("http://")
        headers = {**dict(request.headers), "x-agent": own}
        here = f"{request.url.hostname}:{request.url.port}"
        if headers.get("host") == request.scope["server"][0] + f":{request.scope['server'][1]}" or here == own:
            headers["host"] = own
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        call = Call(request.method, path, headers, await request.body())
        if path == "/v1/events" and self.fault is not no_events:
            return await self._stream(call)
        media = {"content-type": "application/json"}

        async def ask(one: Call) -> None:
            async with httpx.AsyncClient(base_url=self.agent, trust_env=False, timeout=30) as client:
                sent = {name: value for name, value in one.headers.items() if name not in ("content-length", "x-agent")}
                got = await client.request(one.method, one.path, content=one.body, headers=sent)
            one.status, one.answer = got.status_code, got.content
            if one is call:
                media.update({name: value for name, value in got.headers.items() if name not in _LEFT_OUT})

        try:
            await self.fault(call, ask)
        except ConnectionResetError:
            request.scope["extensions"][ABORT]()
        return Response(call.answer, call.status, media)

    async def _stream(self, call: Call) -> Response:
        client = httpx.AsyncClient(base_url=self.agent, trust_env=False, timeout=None)
        sent = {name: value for name, value in call.headers.items() if name not in ("content-length", "x-agent")}
        got = await client.send(client.build_request("GET", call.path, headers=sent), stream=True)
        closing = BackgroundTask(client.aclose)
        return StreamingResponse(
            got.aiter_raw(), got.status_code, {"content-type": got.headers["content-type"]}, background=closing
        )
