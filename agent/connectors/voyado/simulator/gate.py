"""What every request passes first: the faults on the line, then Engage's own door.

The door is, in this order: the API key and the addresses it may come from, the content type, the pace.
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.connectors.simulation.line import suffer
from agent.connectors.voyado.simulator.answers import answer, refuse
from agent.connectors.voyado.simulator.faults import Fault
from agent.connectors.voyado.simulator.refusal import Refusal

if TYPE_CHECKING:
    from agent.connectors.voyado.simulator.tenant import VoyadoSimulator

DELAY = "voyado.simulator.delay_s"  # scope member: latency that the endpoint itself waits out
_CREATE_PATHS = ("/api/v2/contacts", "/api/v3/contacts")
_OWN_ERROR = {"message": "An error has occurred"}


class Gate:
    """ASGI middleware in front of the tenant's endpoints; `/_sim` passes it untouched.

    Args:
        simulator: The tenant.
        app: Its endpoints.
    """

    def __init__(self, simulator: "VoyadoSimulator", app: ASGIApp) -> None:
        self._simulator = simulator
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, keep it out, or let it meet a fault."""
        if scope["type"] != "http" or scope["path"].startswith("/_sim/"):
            await self._app(scope, receive, send)
            return

        date = self._date()

        async def send_dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [(b"date", date), *message["headers"]]
            await send(message)

        fault: Fault | None = None
        if self._simulator.faults.rules:
            with self._simulator.lock:
                delay_s, fault = self._simulator.faults.meet(scope["method"], scope["path"])
            if scope["method"] == "POST" and scope["path"] in _CREATE_PATHS:
                scope[DELAY] = delay_s
            elif delay_s:
                await asyncio.sleep(delay_s)
        if fault is None:
            await self._enter(scope, receive, send_dated)
            return
        if fault.after_processing:
            await self._enter(scope, receive, _swallow)
        await suffer(fault, scope, receive, send_dated, own_error=_OWN_ERROR, echoed=_echoed)

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
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

    def _date(self) -> bytes:
        at = self._simulator.clock.now() + timedelta(seconds=self._simulator.faults.clock_skew_s)
        return format_datetime(at, usegmt=True).encode()


async def _swallow(_message: Message) -> None:
    """Lose the answer of a request that was processed."""


def _echoed(asked: str) -> dict[str, str | list[str]]:
    """An error in Engage's form, whose texts repeat whatever was asked."""
    return {"errorCode": "ValidationError", "message": asked, "validationErrors": [asked], "messageDetails": asked}
