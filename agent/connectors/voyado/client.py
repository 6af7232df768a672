"""Voyado Engage's URLs, headers and versions; no meaning.

v3 takes `source` and `storeExternalId` in the query where v2 takes them as headers and v3 ignores those silently; v3
updates with PATCH. `Content-Type` is needed on every call, GET included, or Engage answers 500. Sources: Voyado's API
authentication, non-functional requirements and API changes v3 pages.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from agent.connectors.voyado.changes import TooManyChanges
from agent.connectors.voyado.errors import raise_unless_answered
from agent.errors import ConfigurationError, VendorRefusedError, VendorUnreachableError
from agent.ports import Secret
from agent.transport import Answer, Transport

_OK, _BAD_REQUEST, _UNAUTHORISED, _FORBIDDEN, _NOT_FOUND = 200, 400, 401, 403, 404
_V2 = 2
_CHANGES_BYTES = 16 << 20  # 250,000 ids are 10 MB
_BULK_BYTES = 4 << 20  # an error for each of 4,000 rows
_KEY = re.compile(r"[!-~]{1,1000}")


class VoyadoClient:
    """Calls one tenant.

    Every call raises VendorUnreachableError when no whole answer comes, and VendorRefusedError when there is no API
    key to call with.

    Args:
        transport: the HTTP client.
        api_key: the key, resolved at the moment of each call.
        version: of the API, 2 or 3.
        source: what new contacts are marked with.
        heard: called with each answer, for what its `Date` says of our clock.
    """

    def __init__(
        self, transport: Transport, api_key: Secret, *, version: int, source: str, heard: Callable[[Answer], None]
    ) -> None:
        self._transport, self._api_key, self._heard = transport, api_key, heard
        self._version, self._source = version, source

    async def post_receipt(self, body: bytes) -> Answer:
        """`POST /receipts`."""
        return await self._call("POST", "/receipts", content=body)

    async def find_contact_id(self, params: Mapping[str, str], *, timeout_s: float | None) -> Answer:
        """`GET /contacts/id`."""
        return await self._call("GET", "/contacts/id", params=params, timeout_s=timeout_s)

    async def get_contact(self, contact_id: str, *, timeout_s: float | None = None) -> Answer:
        """`GET /contacts/{contactId}`."""
        return await self._call("GET", f"/contacts/{contact_id}", timeout_s=timeout_s)

    async def purchases(self, contact_id: str, *, offset: int, count: int) -> Answer:
        """`GET /contacts/{contactId}/transactions`, of v2 whatever the version: v3 is not known to have it."""
        params = {"offset": str(offset), "count": str(count)}
        return await self._call("GET", f"/contacts/{contact_id}/transactions", params=params, version=2)

    async def point_accounts(self, contact_id: str, *, timeout_s: float) -> Answer:
        """`GET /point-accounts`."""
        return await self._call("GET", "/point-accounts", params={"contactId": contact_id}, timeout_s=timeout_s)

    async def available_vouchers(self, contact_id: str, *, timeout_s: float) -> Answer:
        """`GET /reward-vouchers/available`; v2 calls them bonus checks."""
        if self._version == _V2:
            return await self._call("GET", f"/contacts/{contact_id}/bonuschecks/available", timeout_s=timeout_s)
        path = "/reward-vouchers/available"
        return await self._call("GET", path, params={"contactId": contact_id}, timeout_s=timeout_s)

    async def promotions(self, contact_id: str, *, timeout_s: float) -> Answer:
        """`GET /contacts/{contactId}/promotions`, those that can be redeemed at a till."""
        params = {"redemptionChannelType": "POS"}
        return await self._call("GET", f"/contacts/{contact_id}/promotions", params=params, timeout_s=timeout_s)

    async def vouchers(self, contact_id: str, *, offset: int, timeout_s: float) -> Answer:
        """`GET /reward-vouchers`: those that were used and those that are over as well, a page."""
        page = {"offset": str(offset), "count": "100"}
        if self._version == _V2:
            return await self._call("GET", f"/contacts/{contact_id}/bonuschecks", params=page, timeout_s=timeout_s)
        return await self._call(
            "GET", "/reward-vouchers", params={"contactId": contact_id, **page}, timeout_s=timeout_s
        )

    async def redeem_voucher(self, contact_id: str, voucher_id: str, *, timeout_s: float) -> Answer:
        """`POST /reward-vouchers/{id}/redeem`; v2 names the contact too."""
        v2 = f"/contacts/{contact_id}/bonuschecks/{voucher_id}/redeem"
        path = v2 if self._version == _V2 else f"/reward-vouchers/{voucher_id}/redeem"
        return await self._call("POST", path, timeout_s=timeout_s)

    async def reactivate_voucher(self, voucher_id: str, *, timeout_s: float) -> Answer:
        """`POST /reward-vouchers/{id}/reactivate`."""
        v2 = f"/promotions/reward-vouchers/{voucher_id}/reactivate"
        path = v2 if self._version == _V2 else f"/reward-vouchers/{voucher_id}/reactivate"
        return await self._call("POST", path, timeout_s=timeout_s)

    async def redeem_promotion(self, contact_id: str, instance_id: str, *, timeout_s: float) -> Answer:
        """`POST /promotion-assignments/{id}/redeem`, through the till's channel; v2 names the contact too."""
        v2 = f"/contacts/{contact_id}/promotions/{instance_id}/redeem"
        path = v2 if self._version == _V2 else f"/promotion-assignments/{instance_id}/redeem"
        return await self._call("POST", path, content=b'{"redemptionChannel": "POS"}', timeout_s=timeout_s)

    async def create_contact(self, body: bytes, *, store_id: str) -> Answer:
        """`POST /contacts`."""
        marks = {"source": self._source, "storeExternalId": store_id, "createAsUnapproved": "false"}
        if self._version == _V2:
            return await self._call("POST", "/contacts", content=body, headers=marks)
        return await self._call("POST", "/contacts", content=body, params=marks)

    async def update_contact(self, contact_id: str, body: bytes) -> Answer:
        """`PATCH /contacts/{contactId}`; v2 takes the same as POST."""
        method = "POST" if self._version == _V2 else "PATCH"
        return await self._call(method, f"/contacts/{contact_id}", content=body)

    async def create_contacts(self, body: bytes, *, contact_type: str) -> Answer:
        """`POST /contacts/bulk`: an array of contacts, carried out later."""
        return await self._call("POST", "/contacts/bulk", content=body, params={"contactType": contact_type})

    async def update_contacts(self, body: bytes, *, contact_type: str) -> Answer:
        """`PATCH /contacts/bulk`: an array of changes, carried out later; the next export has them."""
        return await self._call("PATCH", "/contacts/bulk", content=body, params={"contactType": contact_type})

    async def bulk_status(self, batch_id: str) -> Answer:
        """`GET /contacts/bulk/status`."""
        params = {"batchId": batch_id}
        return await self._call("GET", "/contacts/bulk/status", params=params, max_bytes=_BULK_BYTES)

    async def changes(self, change_type: str, from_at: datetime, to_at: datetime) -> list[str]:
        """`GET /contacts/changes`: ids. Raises TooManyChanges above the documented 250,000."""
        form = "%Y-%m-%d %H:%M:%S"
        params = {
            "changeType": change_type,
            "fromDate": f"{from_at:{form}}.{from_at.microsecond // 1000:03d}",
            "toDate": f"{to_at:{form}}.{to_at.microsecond // 1000:03d}",
        }
        answer = await self._call("GET", "/contacts/changes", params=params, max_bytes=_CHANGES_BYTES)
        raise_unless_answered(answer)
        if answer.status == _BAD_REQUEST:
            raise TooManyChanges
        ids = answer.json() if answer.status == _OK else None
        if not isinstance(ids, list) or not all(isinstance(item, str) for item in ids):
            raise VendorUnreachableError(f"answered {answer.status} to contacts/changes")
        return ids

    async def contact(self, contact_id: str, *, timeout_s: float | None = None) -> Mapping[str, Any] | None:
        """A whole contact, or None when it is gone.

        Raises:
            VendorUnreachableError: no sensible answer came, or one about somebody else.
            VendorRefusedError: our credentials are refused.
        """
        answer = await self.get_contact(contact_id, timeout_s=timeout_s)
        raise_unless_answered(answer)
        if answer.status == _NOT_FOUND:
            return None
        body = answer.json() if answer.status == _OK else None
        if not isinstance(body, dict):
            raise VendorUnreachableError(f"answered {answer.status} without a contact")
        named = body.get("id")
        if not isinstance(named, str) or named.strip().lower() != contact_id.lower():
            raise VendorUnreachableError("answered with another contact than was asked for")
        return body

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close()

    async def _call(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        version: int | None = None,
        **rest: Any,
    ) -> Answer:
        answer = await self._transport.request(
            method,
            f"/api/v{version or self._version}{path}",
            headers={"apikey": self._key(), "Content-Type": "application/json", **(headers or {})},
            **rest,
        )
        if answer.status in (_UNAUTHORISED, _FORBIDDEN):
            self._api_key.refused()
        self._heard(answer)
        return answer

    def _key(self) -> str:
        try:
            key = self._api_key.value()
        except ConfigurationError as error:
            raise VendorRefusedError("The API key cannot be read.") from error
        if not _KEY.fullmatch(key):
            raise VendorRefusedError("The API key is empty or holds characters that no header can carry.")
        return key
