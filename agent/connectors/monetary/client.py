"""The calls of Monetary Engage; no meaning.

Sources: the vendor's published readme (the bare key in `Authorization`, JSON both ways), its employee's example till
(the search) and its virtual terminal (which system a key belongs to). The paths of single customers and of their
receipts are inferred from the names of the operations. No page has a way to search but with the value in the URL.
"""

from collections.abc import Callable, Mapping
from typing import Final

from agent.errors import ConfigurationError, VendorRefusedError
from agent.ports import Secret
from agent.transport import Answer, Transport

PRODUCTION: Final = "https://engage.monetary.co/v1"
_BY_PREFIX: Final = {
    "test": "https://engage-test.monetary.co/v1",
    "cert": "https://engage-cert.monetary.co/v1",
}
_REFUSED = (401, 402, 403)
_MAX_RECEIPTS_BYTES = 16 << 20
"""All receipts of a customer come in one answer, as far as is known."""


def system_of(key: str) -> str:
    """The base URL of the system that a key belongs to: anything that is not a test or certification key is live."""
    return _BY_PREFIX.get(key[:4].lower(), PRODUCTION)


class MonetaryClient:
    """Calls one location's account.

    Every call raises VendorUnreachableError when no whole answer comes, and VendorRefusedError when there is no key to
    call with.

    Args:
        connect: makes the HTTP client for a base URL.
        base_url: where to call; empty where the key decides.
        key: the location's, resolved at the moment of each call.
        heard: called with each answer, for what its `Date` says of our clock.
    """

    def __init__(
        self, connect: Callable[[str], Transport], *, base_url: str, key: Secret, heard: Callable[[Answer], None]
    ) -> None:
        self._connect, self._base_url, self._key, self._heard = connect, base_url, key, heard
        self._transports: dict[str, Transport] = {}

    async def search(self, params: Mapping[str, str], *, timeout_s: float | None = None) -> Answer:
        """`GET /Customers`: those who fit."""
        return await self._call("GET", "/Customers", params=params, timeout_s=timeout_s)

    async def customer(self, customer_id: int, *, timeout_s: float | None = None) -> Answer:
        """`GET /Customers/{id}`."""
        return await self._call("GET", f"/Customers/{customer_id}", timeout_s=timeout_s)

    async def register(self, body: bytes) -> Answer:
        """`POST /Customers`: each call may make another customer."""
        return await self._call("POST", "/Customers", body=body)

    async def offers_of(self, customer_id: int, *, timeout_s: float | None = None) -> Answer:
        """`GET /Customers/{id}/Offers`: what a customer can use."""
        return await self._call("GET", f"/Customers/{customer_id}/Offers", timeout_s=timeout_s)

    async def receipts_of(self, customer_id: int, *, timeout_s: float | None = None) -> Answer:
        """`GET /Customers/{id}/Receipts`."""
        path = f"/Customers/{customer_id}/Receipts"
        return await self._call("GET", path, max_bytes=_MAX_RECEIPTS_BYTES, timeout_s=timeout_s)

    async def make_campaign(self, body: bytes, *, group: bool) -> Answer:
        """`POST /Campaigns/Group` or `/Campaigns/Location`: each call makes another campaign."""
        return await self._call("POST", f"/Campaigns/{'Group' if group else 'Location'}", body=body)

    async def send_offers(self, campaign_id: int, body: bytes) -> Answer:
        """`POST /Campaigns/{id}/Offers`: each call may make further offers."""
        return await self._call("POST", f"/Campaigns/{campaign_id}/Offers", body=body)

    async def post_receipt(self, body: bytes) -> Answer:
        """`POST /Receipts`: each call makes another receipt."""
        return await self._call("POST", "/Receipts", body=body)

    async def close(self) -> None:
        """Closes the connections."""
        for transport in self._transports.values():
            await transport.close()

    async def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_bytes: int | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        key = self._key_to_call_with()
        bounds = {} if max_bytes is None else {"max_bytes": max_bytes}
        answer = await self._transport(self._base_url or system_of(key)).request(
            method,
            path,
            headers={"Authorization": key, "Content-Type": "application/json"},
            params=params,
            content=body,
            timeout_s=timeout_s,
            **bounds,
        )
        if answer.status in _REFUSED:
            self._key.refused()
        self._heard(answer)
        return answer

    def _transport(self, base_url: str) -> Transport:
        if base_url not in self._transports:
            self._transports[base_url] = self._connect(base_url)
        return self._transports[base_url]

    def _key_to_call_with(self) -> str:
        try:
            key = self._key.value()
        except ConfigurationError as error:
            raise VendorRefusedError("The secret key cannot be read.") from error
        if not (key and key.isascii() and key.isprintable() and " " not in key):
            raise VendorRefusedError("The secret key is empty, or has characters it cannot have.")
        return key
