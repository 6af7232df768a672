"""What every request passes first: the faults on the line, then Engage's own door.

The door is, in this order: the API key and the addresses it may come from, the content type, the pace.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from agent.connectors.simulation.answers import answer
from agent.connectors.simulation.gate import Gate
from agent.connectors.simulation.line import Wording
from agent.connectors.voyado.simulator.answers import refuse
from agent.connectors.voyado.simulator.faults import Fault
from agent.connectors.voyado.simulator.refusal import Refusal

if TYPE_CHECKING:
    from agent.connectors.voyado.simulator.tenant import VoyadoSimulator

DELAY = "voyado.simulator.delay_s"  # scope member: latency that the endpoint itself waits out
_CREATE_PATHS = ("/api/v2/contacts", "/api/v3/contacts")
_OWN_ERROR = {"message": "An error has occurred"}


def guard(simulator: "VoyadoSimulator", api: ASGIApp, controls: ASGIApp) -> Gate:
    """The tenant's endpoints behind gate and door, and its controls beside them."""

    def now() -> datetime:
        return simulator.clock.now() + timedelta(seconds=simulator.faults.clock_skew_s)

    def meet(scope: Scope) -> tuple[float, Fault | None]:
        with simulator.lock:
            delay_s, fault = simulator.faults.meet(scope["method"], scope["path"])
        if scope["method"] == "POST" and scope["path"] in _CREATE_PATHS:
            scope[DELAY], delay_s = delay_s, 0.0
        return delay_s, fault

    return Gate(_Door(simulator, api), controls, now=now, meet=meet, wording=Wording(_OWN_ERROR, _echoed))


class _Door:
    """ASGI middleware before the endpoints.

    Args:
        simulator: The tenant.
        app: Its endpoints.
    """

    def __init__(self, simulator: "VoyadoSimulator", app: ASGIApp) -> None:
        self._simulator = simulator
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._simulator.lock:
            refused = self._check(scope)
        await (refused or self._app)(scope, receive, send)

    def _check(self, scope: Scope) -> Response | None:
        state = self._simulator.state
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        key = state.keys.get(headers.get(state.settings.key_header.lower().encode(), b"").decode("latin-1"))
        if key is None:
            return refuse(self._simulator, Refusal(401, "Unauthorized"))
        client = scope.get("client")
        if key.addresses and (client is None or client[0] not in key.addresses):
            return refuse(self._simulator, Refusal(403, "Forbidden"))
        if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
            return answer(_OWN_ERROR, 500)
        if not key.admit(state.clock.now(), warn_rate=state.settings.warn_rate, hard_rate=state.settings.hard_rate):
            return refuse(self._simulator, Refusal(429, "TooManyRequests"))
        return None


def _echoed(asked: str) -> dict[str, Any]:
    """An error in Engage's form, whose texts repeat whatever was asked."""
    return {"errorCode": "ValidationError", "message": asked, "validationErrors": [asked], "messageDetails": asked}
