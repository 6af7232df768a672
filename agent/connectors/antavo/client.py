"""The calls of Antavo's Loyalty API and of its Read API, each signed for the moment it is made; no meaning.

Old sandboxes take the key alone, as `api_key` in the address, which nothing here shows to anybody.

Source: the reference pages of the Events, Customers, Transactions and Loyalty Read APIs; the signature is in
`signing.py`. That the Read API, which has a host of its own, takes signatures of the same scope is inferred. One counts
for five minutes, so that the time is corrected by what the vendor's own `Date` said last. Where a wrong time may be why
a signature was refused, the call is made a second time at once: what was refused was not taken.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from urllib.parse import quote, urlencode

from agent.connectors.antavo.signing import KEY, Credentials, sign
from agent.errors import ConfigurationError, VendorRefusedError
from agent.ports import Clock, Secret
from agent.transport import MAX_ANSWER_BYTES, Answer, Transport

_UNAUTHORISED, _FORBIDDEN = 401, 403
_SKEW = timedelta(seconds=30)
"""How far off the signing time must have been for another try: a tenth of what their verifier allows by default."""
YEARS = range(2020, 2100)
"""Those that a `Date` can name: one far outside of them would put every later signing time out of the calendar."""
_CONTENT_TYPE = 'application/json; charset="UTF-8"'
_FORM = "application/x-www-form-urlencoded"
_MAX_PAGE_BYTES = 16 << 20
"""Five hundred customers, each with as many attributes as a workspace likes; a hundred rewards with their words."""


class _Signed:
    """Calls one host of a workspace.

    Every call raises VendorUnreachableError when no whole answer comes, and VendorRefusedError when there are no
    credentials to sign with.

    Args:
        transport: the HTTP client.
        host: the address's host, as the `Host` header spells it.
        environment: what signatures are made for.
        api_key: the workspace's key, resolved at the moment of each call.
        api_secret: what belongs to it; None where the key stands in the address and nothing is signed.
        clock: the till's.
        heard: called with each answer, for what its `Date` says of our clock.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        host: str,
        environment: str,
        api_key: Secret,
        api_secret: Secret | None,
        clock: Clock,
        heard: Callable[[Answer], None],
    ) -> None:
        self._transport, self._host, self._environment = transport, host, environment
        self._api_key, self._api_secret = api_key, api_secret
        self._clock, self._heard = clock, heard
        self._ahead = timedelta()
        """How far the vendor's clock is ahead of ours."""

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close()

    async def _call(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        content_type: str = _CONTENT_TYPE,
        timeout_s: float | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Answer:
        signed_with = self._ahead
        answer = await self._send(method, target, body, timeout_s, max_bytes, content_type=content_type)
        if answer.status == _UNAUTHORISED and abs(self._ahead - signed_with) > _SKEW:
            answer = await self._send(method, target, body, timeout_s, max_bytes, content_type=content_type)
        if answer.status in (_UNAUTHORISED, _FORBIDDEN):
            self._api_key.refused()
            if self._api_secret is not None:
                self._api_secret.refused()
        return answer

    async def _send(
        self, method: str, target: str, body: bytes, timeout_s: float | None, max_bytes: int, *, content_type: str
    ) -> Answer:
        key, secret = self._credentials()
        headers = {}
        if secret is None:
            target = f"{target}{'&' if '?' in target else '?'}{_query({'api_key': key})}"
        else:
            credentials, at = Credentials(key, secret, self._environment), self._clock.now() + self._ahead
            headers = dict(sign(credentials, at, method, target, host=self._host, body=body))
        if body:
            headers["Content-Type"] = content_type
        answer = await self._transport.request(
            method, target, headers=headers, content=body or None, timeout_s=timeout_s, max_bytes=max_bytes
        )
        theirs = answer.date
        # The date of a captive portal says nothing.
        if theirs is not None and theirs.year in YEARS and not answer.is_markup:
            self._ahead = theirs - self._clock.now()
        self._heard(answer)
        return answer

    def _credentials(self) -> tuple[str, str | None]:
        """The key, and the secret where there is to be one."""
        try:
            key = self._api_key.value()
            secret = None if self._api_secret is None else self._api_secret.value()
        except ConfigurationError as error:
            raise VendorRefusedError("The API key or its secret cannot be read.") from error
        if secret == "" or not KEY.fullmatch(key):
            raise VendorRefusedError("The API key or its secret is empty, or the key has characters it cannot have.")
        return key, secret


class AntavoClient(_Signed):
    """The Loyalty API."""

    async def post_event(self, body: bytes, *, timeout_s: float | None = None) -> Answer:
        """`POST /events`: one event."""
        return await self._call("POST", "/events", body, timeout_s=timeout_s)

    async def post_bulk(self, body: bytes) -> Answer:
        """`POST /events/bulk`: several, processed in their order."""
        return await self._call("POST", "/events/bulk", body)

    async def search(self, params: Mapping[str, str], *, timeout_s: float | None = None) -> Answer:
        """`GET /customers`: the ids of those who fit."""
        return await self._call("GET", f"/customers?{_query(params)}", timeout_s=timeout_s)

    async def customer(self, field: str, value: str, *, timeout_s: float | None = None) -> Answer:
        """`GET /customers/{field}:{value}`: the one with this external id; `GET /customers/{id}` without a field."""
        named = f"{quote(field, safe='')}:" if field else ""
        return await self._call("GET", f"/customers/{named}{quote(value, safe='')}", timeout_s=timeout_s)

    async def coupons(self, customer: str, params: Mapping[str, str], *, timeout_s: float | None = None) -> Answer:
        """`GET /customers/{id}/coupons`: a page of those that are theirs."""
        target = f"/customers/{quote(customer, safe='')}/coupons?{_query(params)}"
        return await self._call("GET", target, timeout_s=timeout_s)

    async def rewards(self, customer: str, params: Mapping[str, str], *, timeout_s: float | None = None) -> Answer:
        """`GET /customers/{id}/activities/rewards`: a page of those that they may claim, or may not yet."""
        target = f"{_rewards(customer)}?{_query(params)}"
        return await self._call("GET", target, timeout_s=timeout_s, max_bytes=_MAX_PAGE_BYTES)

    async def reward(self, customer: str, reward_id: str, *, timeout_s: float | None = None) -> Answer:
        """`GET /customers/{id}/activities/rewards/{reward_id}`: one of them."""
        return await self._call("GET", f"{_rewards(customer)}/{quote(reward_id, safe='')}", timeout_s=timeout_s)

    async def claim(self, customer: str, reward_id: str, *, timeout_s: float | None = None) -> Answer:
        """`POST .../{reward_id}/claim`: once, at its price. Counts each time."""
        target = f"{_rewards(customer)}/{quote(reward_id, safe='')}/claim"
        return await self._call("POST", target, timeout_s=timeout_s)

    async def revoke(self, customer: str, reward_id: str, claim: str, *, timeout_s: float | None = None) -> Answer:
        """`POST .../{reward_id}/revoke`: one claim, by the id of its event."""
        target = f"{_rewards(customer)}/{quote(reward_id, safe='')}/revoke"
        body = _query({"event": claim}).encode()
        return await self._call("POST", target, body, content_type=_FORM, timeout_s=timeout_s)

    async def events_of(self, customer: str, params: Mapping[str, str], *, timeout_s: float | None = None) -> Answer:
        """`GET /customers/{id}/events`: a page of what happened to one customer."""
        target = f"/customers/{quote(customer, safe='')}/events?{_query(params)}"
        return await self._call("GET", target, timeout_s=timeout_s)

    async def campaign_bonus(self, body: bytes, *, timeout_s: float | None = None) -> Answer:
        """`POST /extensions/automation/campaign-bonus`: what a checkout would earn."""
        return await self._call("POST", "/extensions/automation/campaign-bonus", body, timeout_s=timeout_s)

    async def events(self, params: Mapping[str, str]) -> Answer:
        """`GET /customers/-/events`: a page of what happened in the workspace."""
        return await self._call("GET", f"/customers/-/events?{_query(params)}", max_bytes=_MAX_PAGE_BYTES)

    async def transaction(self, transaction_id: str) -> Answer:
        """`GET /transactions/{id}`."""
        return await self._call("GET", f"/transactions/{quote(transaction_id, safe='')}")

    async def transactions_of(self, customer: str, transaction_id: str, *, field: str = "") -> Answer:
        """`GET /customers/{id}/transactions?id=...`, or `{field}:{id}`: that one, if it is this customer's."""
        named, query = f"{field}:" if field else "", _query({"id": transaction_id})
        return await self._call("GET", f"/customers/{named}{quote(customer, safe='')}/transactions?{query}")

    async def count(self) -> Answer:
        """`GET /customers/-/count`: how many members there are."""
        return await self._call("GET", "/customers/-/count")


class AntavoReadClient(_Signed):
    """The Loyalty Read API, a host of its own."""

    async def customers(self, params: Mapping[str, str]) -> Answer:
        """`GET /v1/customers`: a page of whole customers."""
        return await self._call("GET", f"/v1/customers?{_query(params)}", max_bytes=_MAX_PAGE_BYTES)


def _query(params: Mapping[str, str]) -> str:
    return urlencode(params, quote_via=quote)


def _rewards(customer: str) -> str:
    return f"/customers/{quote(customer, safe='')}/activities/rewards"
