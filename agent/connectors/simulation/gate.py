"""What every request to a simulated vendor passes first: the faults on the line. `/_sim` passes it untouched."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from email.utils import format_datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.connectors.simulation.line import LineFault, Wording, suffer

CONTROLS = "/_sim/"
"""Below it are the controls: no key is asked for there, and no fault is met."""


class Gate:
    """ASGI middleware before a vendor: the faults on the line, and the vendor's time on every answer.

    Args:
        vendor: its calls, its own door before them.
        controls: what answers below `/_sim/`.
        now: the clock that the vendor tells of, aware instants.
        meet: the seconds a request waits, and the fault it then meets.
        wording: the vendor's.
    """

    def __init__(
        self,
        vendor: ASGIApp,
        controls: ASGIApp,
        *,
        now: Callable[[], datetime],
        meet: Callable[[Scope], tuple[float, LineFault | None]],
        wording: Wording,
    ) -> None:
        self._vendor, self._controls = vendor, controls
        self._now, self._meet, self._wording = now, meet, wording

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets one request in, or lets it meet a fault."""
        if scope["type"] != "http" or scope["path"].startswith(CONTROLS):
            await self._controls(scope, receive, send)
            return
        send_dated = _dated(send, self._now())
        delay_s, fault = self._meet(scope)
        if delay_s:
            await asyncio.sleep(delay_s)
        if fault is None:
            await self._vendor(scope, receive, send_dated)
        else:
            await suffer(fault, self._vendor, scope, receive, send_dated, wording=self._wording)


def _dated(send: Send, at: datetime) -> Send:
    date = format_datetime(at, usegmt=True).encode()

    async def send_dated(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [(b"date", date), *message["headers"]]
        await send(message)

    return send_dated
