"""The calls of Antavo's Async Events API: an event is handed in, and what became of it is asked for; no meaning.

Source: the reference of the Async Events API. Its credentials are good for nothing else, and no others for it.
"""

from __future__ import annotations

from collections.abc import Callable

from agent.connectors.antavo.tokens import AccessToken
from agent.transport import Answer, Transport

NOBODY_S = "00000000-0000-0000-0000-000000000000"
"""A correlation id that no event has: asking for it shows that the workspace answers."""
_UNAUTHORISED, _REFUSED = 401, (401, 403)


class AntavoSubmissions:
    """One workspace.

    Every call raises VendorUnreachableError when no whole answer comes, and VendorRefusedError when there is no token
    to be had.

    Args:
        transport: the HTTP client.
        token: what lets in.
        heard: called with each answer, for what its `Date` says of our clock.
    """

    def __init__(self, transport: Transport, token: AccessToken, heard: Callable[[Answer], None]) -> None:
        self._transport, self._token, self._heard = transport, token, heard

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close()

    async def submit(self, event: bytes) -> Answer:
        """`POST /v1/async/events`: one event."""
        return await self._call("POST", "/v1/async/events", event)

    async def outcome(self, correlation_id: str) -> Answer:
        """`GET /v1/async/events/{correlation_id}`: what became of one."""
        return await self._call("GET", f"/v1/async/events/{correlation_id}")

    async def _call(self, method: str, target: str, body: bytes = b"") -> Answer:
        """An answer; a token that is refused is renewed once: what was refused was not taken."""
        token = await self._token.value()
        answer = await self._send(method, target, body, token)
        if answer.status == _UNAUTHORISED and not answer.is_markup:
            self._token.refused(token)
            token = await self._token.value()
            answer = await self._send(method, target, body, token)
        if answer.status in _REFUSED and not answer.is_markup:
            self._token.refused(token)
            self._token.credentials_refused()
        return answer

    async def _send(self, method: str, target: str, body: bytes, token: str) -> Answer:
        headers = {"Authorization": f"Bearer {token}"}
        if body:
            headers["Content-Type"] = "application/json"
        answer = await self._transport.request(method, target, headers=headers, content=body or None)
        self._heard(answer)
        return answer
