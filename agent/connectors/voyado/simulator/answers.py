"""How Engage answers, and how it refuses: its functions as endpoints."""

import json
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from agent.connectors.simulation.answers import Endpoint, Handler, answer, locked
from agent.connectors.voyado.simulator.refusal import Refusal

if TYPE_CHECKING:
    from agent.connectors.voyado.simulator.tenant import VoyadoSimulator


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

    def respond(request: Request, body: bytes) -> Response:
        try:
            return handler(request, body)
        except Refusal as refusal:
            return refuse(simulator, refusal)

    return locked(simulator.lock, respond)
