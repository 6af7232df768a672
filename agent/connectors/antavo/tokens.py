"""Access tokens for Antavo's Async Events API, by the credentials of a client.

Source: the authentication page: `POST /v1/auth/token` with Basic authentication and a form, a token that counts for 300
to 3,600 seconds, 400 or 401 with numbers from 220010 on. That a refusal of any kind is for somebody to put right, and
not the line's, is inferred.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from agent.connectors.antavo.errors import raise_unless_answered
from agent.errors import ConfigurationError, VendorRefusedError, VendorUnreachableError
from agent.ports import Clock, Secret
from agent.transport import Answer, Transport

SCOPE = "loyalty.async_events"
_ASKED = urlencode({"grant_type": "client_credentials", "scope": SCOPE}).encode()
_REFUSED = range(400, 500)
_VALUE = re.compile(r"[!-~]{1,8192}")
_SHORTEST_S, _LONGEST_S = 300.0, 3_600.0
_EARLY, _EARLY_S = 0.1, 30.0
"""A token is renewed a tenth of its time before it ends, half a minute at most: a call with it takes time too."""


class AccessToken:
    """One client's token, renewed when it is about to end and after a refusal.

    Args:
        transport: the workspace's host.
        client_id: resolved at the moment of each renewal.
        client_secret: what belongs to it.
        clock: for how long a token has been there.
        heard: called with each answer, for what its `Date` says of our clock.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        client_id: Secret,
        client_secret: Secret,
        clock: Clock,
        heard: Callable[[Answer], None],
    ) -> None:
        self._transport, self._clock, self._heard = transport, clock, heard
        self._client_id, self._client_secret = client_id, client_secret
        self._value, self._until_mono = "", 0.0
        self._asking = asyncio.Lock()

    async def value(self) -> str:
        """A token that counts.

        Raises:
            VendorUnreachableError: there is none to be had now; what it is needed for was not sent.
            VendorRefusedError: our credentials are refused, or cannot be read.
        """
        async with self._asking:
            if not self._value or self._clock.monotonic() >= self._until_mono:
                self._value, self._until_mono = await self._renewed()
            return self._value

    def refused(self, value: str) -> None:
        """The vendor refused a token: it is not used again."""
        if value == self._value:
            self._value = ""

    def credentials_refused(self) -> None:
        """A token that has just been given was refused as well: the credentials are read again before the next."""
        self._client_id.refused()
        self._client_secret.refused()

    async def _renewed(self) -> tuple[str, float]:
        headers = {"Authorization": self._basic(), "Content-Type": "application/x-www-form-urlencoded"}
        asked_mono = self._clock.monotonic()
        try:
            answer = await self._transport.request("POST", "/v1/auth/token", headers=headers, content=_ASKED)
            self._heard(answer)
            value, counts_s = _read(answer)
        except VendorUnreachableError as error:
            error.maybe_received = False
            raise
        except VendorRefusedError:
            self.credentials_refused()
            raise
        return value, asked_mono + counts_s - min(_EARLY * counts_s, _EARLY_S)

    def _basic(self) -> str:
        try:
            pair = f"{self._client_id.value()}:{self._client_secret.value()}"
        except ConfigurationError as error:
            raise VendorRefusedError("The client's id or its secret cannot be read.") from error
        return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _read(answer: Answer) -> tuple[str, float]:
    """The token in an answer, and for how many seconds it counts. Raises VendorUnreachableError, VendorRefusedError."""
    raise_unless_answered(answer)
    if answer.status in _REFUSED:
        raise VendorRefusedError("The vendor refuses the client's credentials, or what they are asked for.")
    told: dict[str, Any] = answer.json()
    value = told.get("access_token")
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise VendorUnreachableError(f"answered {answer.status} without a token")
    return value, _counts_s(told.get("expires_in"))


def _counts_s(told: Any) -> float:
    """Within what is documented: the shortest where nothing sensible is said."""
    text = str(told)
    stated = float(text) if text.isascii() and text.isdecimal() and len(text) < len("1000000000") else _SHORTEST_S
    return min(stated, _LONGEST_S)
