"""Voucherify's URLs and credentials; no meaning.

Source: API overview and authentication pages: `X-App-Id`, `X-App-Token`, JSON, `/v1` and, of loyalty, `/v2`. An order
is addressed by its `source_id`, which is the sale's id. A customer is asked for by the integration key, or by a mail
address as a filter: there is no other way to ask; no such key stands in a path of a delivery.
"""

from collections.abc import Callable
from typing import Literal
from urllib.parse import quote

from agent.errors import ConfigurationError, VendorRefusedError
from agent.ports import Secret
from agent.transport import MAX_ANSWER_BYTES, Answer, Transport

API_VERSION = "v2018-08-01"
_REFUSED, _PAGE = (401, 403), 100
_MAX_PAGE_BYTES = 16 << 20
"""A hundred customers, each with as much metadata as a project likes."""


class VoucherifyClient:
    """Calls one project.

    Every call raises VendorUnreachableError when no whole answer comes, and VendorRefusedError when there are no
    credentials to call with.

    Args:
        transport: the HTTP client.
        app_id: the application id, resolved at the moment of each call.
        app_token: its secret.
        heard: called with each answer, for what its `Date` says of our clock.
    """

    def __init__(
        self, transport: Transport, app_id: Secret, app_token: Secret, *, heard: Callable[[Answer], None]
    ) -> None:
        self._transport, self._heard = transport, heard
        self._app_id, self._app_token = app_id, app_token

    async def post_order(self, body: bytes) -> Answer:
        """`POST /v1/orders`: makes an order, or updates the one that has its `source_id`."""
        return await self._call("POST", "/v1/orders", body)

    async def get_order(self, source_id: str) -> Answer:
        """`GET /v1/orders/{source_id}`."""
        return await self._call("GET", _order(source_id))

    async def put_order(self, source_id: str, body: bytes) -> Answer:
        """`PUT /v1/orders/{source_id}`: what the body leaves out stays as it is."""
        return await self._call("PUT", _order(source_id), body)

    async def post_event(self, body: bytes) -> Answer:
        """`POST /v1/events`: each call is another event."""
        return await self._call("POST", "/v1/events", body)

    async def post_customer(self, body: bytes) -> Answer:
        """`POST /v1/customers`: makes a customer, or updates the one who has that `source_id`."""
        return await self._call("POST", "/v1/customers", body)

    async def ask(self) -> Answer:
        """`GET /v1/orders?limit=1`: a question that needs no more rights than a delivery."""
        return await self._call("GET", "/v1/orders", params={"limit": "1"})

    async def list_customers(self, params: dict[str, str], *, timeout_s: float | None = None) -> Answer:
        """`GET /v1/customers`: a page of them."""
        return await self._call("GET", "/v1/customers", params=params, timeout_s=timeout_s, max_bytes=_MAX_PAGE_BYTES)

    async def get_customer(self, name: str, *, timeout_s: float | None = None) -> Answer:
        """`GET /v1/customers/{id or source_id}`."""
        return await self._call("GET", f"/v1/customers/{quote(name, safe='')}", timeout_s=timeout_s)

    async def redeemables(
        self, name: str, *, limit: int, after: str | None = None, timeout_s: float | None = None
    ) -> Answer:
        """`GET /v1/customers/{id or source_id}/redeemables`: a page of what was assigned to a customer."""
        path, params = f"/v1/customers/{quote(name, safe='')}/redeemables", {"limit": str(limit)}
        further = {"starting_after_id": after} if after is not None else {}
        return await self._call(
            "GET", path, params={**params, **further}, timeout_s=timeout_s, max_bytes=_MAX_PAGE_BYTES
        )

    async def redeem(self, body: bytes, *, timeout_s: float | None = None) -> Answer:
        """`POST /v1/redemptions`."""
        return await self._call("POST", "/v1/redemptions", body, timeout_s=timeout_s)

    async def redemptions_of(self, code: str, *, timeout_s: float | None = None) -> Answer:
        """`GET /v1/vouchers/{code}/redemption`: the redemptions of a voucher and their rollbacks."""
        return await self._call("GET", f"/v1/vouchers/{quote(code, safe='')}/redemption", timeout_s=timeout_s)

    async def roll_back(self, redemption_id: str, *, timeout_s: float | None = None) -> Answer:
        """`POST /v1/redemptions/{id}/rollback`."""
        path = f"/v1/redemptions/{quote(redemption_id, safe='')}/rollback"
        return await self._call("POST", path, b"{}", timeout_s=timeout_s)

    async def transactions(self, code: str, *, after: str | None = None, timeout_s: float | None = None) -> Answer:
        """`GET /v1/loyalties/members/{code}/transactions`: a page of what happened on a loyalty card, latest first."""
        path = f"/v1/loyalties/members/{quote(code, safe='')}/transactions"
        params = {"limit": str(_PAGE), "order": "-created_at"} | ({"starting_after_id": after} if after else {})
        return await self._call("GET", path, params=params, timeout_s=timeout_s, max_bytes=_MAX_PAGE_BYTES)

    async def adjust(self, code: str, body: bytes, *, timeout_s: float | None = None) -> Answer:
        """`POST /v1/loyalties/members/{code}/balance`: adds points to a loyalty card, or takes some off; each time."""
        path = f"/v1/loyalties/members/{quote(code, safe='')}/balance"
        return await self._call("POST", path, body, timeout_s=timeout_s)

    async def memberships(self, name: str, *, named_by: str, timeout_s: float | None = None) -> Answer:
        """`GET /v2/loyalties/memberships/{id or source_id}`: a customer's memberships with their cards."""
        path, params = f"/v2/loyalties/memberships/{quote(name, safe='')}", {"identification_type": named_by}
        return await self._call("GET", path, params=params, timeout_s=timeout_s)

    async def examine_earning(self, body: bytes, *, timeout_s: float | None = None) -> Answer:
        """`POST /v2/loyalties/examine/earning-rules`: what an order would earn; nothing is written."""
        return await self._call("POST", "/v2/loyalties/examine/earning-rules", body, timeout_s=timeout_s)

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close()

    async def _call(
        self,
        method: Literal["GET", "POST", "PUT"],
        path: str,
        body: bytes | None = None,
        *,
        params: dict[str, str] | None = None,
        timeout_s: float | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Answer:
        headers = {**self._credentials(), "X-Voucherify-API-Version": API_VERSION, "Content-Type": "application/json"}
        answer = await self._transport.request(
            method, path, headers=headers, params=params, content=body, timeout_s=timeout_s, max_bytes=max_bytes
        )
        if answer.status in _REFUSED:
            self._app_id.refused()
            self._app_token.refused()
        self._heard(answer)
        return answer

    def _credentials(self) -> dict[str, str]:
        try:
            app_id, token = self._app_id.value(), self._app_token.value()
        except ConfigurationError as error:
            raise VendorRefusedError("The application id or its token cannot be read.") from error
        if not all(value and value.isascii() and value.isprintable() and " " not in value for value in (app_id, token)):
            raise VendorRefusedError("The application id or its token is empty, or has characters it cannot have.")
        return {"X-App-Id": app_id, "X-App-Token": token}


def _order(source_id: str) -> str:
    return f"/v1/orders/{quote(source_id, safe='')}"
