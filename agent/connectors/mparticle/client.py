"""The Events API's URLs and credentials; no meaning.

Source: mParticle's HTTP page of the Events API: basic authentication with the key and secret of one input, JSON.
"""

import base64
from collections.abc import Callable

from agent.errors import ConfigurationError, VendorRefusedError
from agent.ports import Secret
from agent.transport import Answer, Transport

_REFUSED = (401, 403)
_CONTROL = frozenset(map(chr, (*range(0x20), 0x7F)))


class BasicCredentials:
    """A user and a password of the basic scheme, resolved at the moment of each call.

    Args:
        key: the user.
        secret: the password.
    """

    def __init__(self, key: Secret, secret: Secret) -> None:
        self._key, self._secret = key, secret

    def header(self) -> str:
        """What goes into `Authorization`. Raises VendorRefusedError when there is nothing to call with."""
        try:
            key, secret = self._key.value(), self._secret.value()
        except ConfigurationError as error:
            raise VendorRefusedError("The API key or its secret cannot be read.") from error
        if not key or not secret or ":" in key or _CONTROL & set(key + secret):
            raise VendorRefusedError("The API key or its secret is empty, or holds characters that it cannot have.")
        return "Basic " + base64.b64encode(f"{key}:{secret}".encode()).decode()

    def refused(self) -> None:
        """The vendor refused them: both are read again before the next call, for nobody says which is wrong."""
        self._key.refused()
        self._secret.refused()


class MparticleClient:
    """Calls one input.

    Every call raises VendorUnreachableError when no whole answer comes, and VendorRefusedError when there are no
    credentials to call with.

    Args:
        transport: the HTTP client.
        api_key: the user of the basic scheme, resolved at the moment of each call.
        api_secret: its password.
        heard: called with each answer, for what its `Date` says of our clock.
    """

    def __init__(
        self, transport: Transport, api_key: Secret, api_secret: Secret, *, heard: Callable[[Answer], None]
    ) -> None:
        self._transport, self._heard = transport, heard
        self._credentials = BasicCredentials(api_key, api_secret)

    async def post_events(self, body: bytes) -> Answer:
        """`POST /events`: one batch."""
        return await self._post("/events", body)

    async def post_bulk(self, body: bytes, *, historical: bool = False) -> Answer:
        """`POST /bulkevents`, or `/bulkevents/historical`: an array of batches."""
        return await self._post("/bulkevents/historical" if historical else "/bulkevents", body)

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close()

    async def _post(self, path: str, body: bytes) -> Answer:
        headers = {"Authorization": self._credentials.header(), "Content-Type": "application/json"}
        answer = await self._transport.request("POST", path, headers=headers, content=body)
        if answer.status in _REFUSED:
            self._credentials.refused()
        self._heard(answer)
        return answer
