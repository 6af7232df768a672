"""JSON answers and the wrapper that turns a plain function into an endpoint."""

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from agent.connectors.voyado.simulator.refusal import Refusal

if TYPE_CHECKING:
    from agent.connectors.voyado.simulator.tenant import VoyadoSimulator

Handler = Callable[[Request, bytes], Response]
Endpoint = Callable[[Request], Awaitable[Response]]


def answer(content: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(json.dumps(content, ensure_ascii=False), status, media_type="application/json")


def refuse(simulator: "VoyadoSimulator", refusal: Refusal) -> Response:
    """The answer to a refused request."""
    return answer(refusal.body(simulator.state.request_id()), refusal.status)


def parse(body: bytes) -> Any:
    """The JSON of a request body.

    Raises:
        Refusal: 400 when there is none.
    """
    try:
        return json.loads(body)
    except ValueError:
        raise Refusal(400, "NoData") from None


def endpoint(simulator: "VoyadoSimulator", handler: Handler) -> Endpoint:
    """The function as an endpoint: body read, the tenant locked, refusals answered."""

    async def respond(request: Request) -> Response:
        body = await request.body()
        with simulator.lock:
            try:
                return handler(request, body)
            except Refusal as refusal:
                return refuse(simulator, refusal)

    return respond
