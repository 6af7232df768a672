"""A till as POS software would write it: plain HTTP against the agent's door, nothing of the agent imported."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the door answered, and after how many milliseconds."""

    status: int
    body: Json
    elapsed_ms: float

    def texts(self, audience: str) -> list[str]:
        """The sentences for staff, or for customers."""
        return [message["text"] for message in self.body.get("messages", ()) if message["audience"] == audience]


class Till:
    """One till at the agent's door. Raises httpx.TransportError from every call while the agent is gone.

    Args:
        url: the door.
        token: of scope pos.
        admin: of scope admin, for orders.
    """

    def __init__(self, url: str, token: str, admin: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=15.0, trust_env=False)
        self._token, self._admin = token, admin

    def close(self) -> None:
        """Closes its connections."""
        self._client.close()

    def identify(self, kind: str, value: str, *, language: str = "sv-SE") -> Reply:
        """Who somebody is."""
        body = {"identifier": {"type": kind, "value": value}}
        return self._call("POST", "/v1/contacts/identify", body, headers={"Accept-Language": language})

    def enrol(self, contact: Mapping[str, Any], *, language: str = "sv-SE") -> Reply:
        """Somebody becomes a member."""
        return self._call("POST", "/v1/contacts", contact, headers={"Accept-Language": language})

    def benefits(self, ref: str) -> Reply:
        """What the member behind a handle can use."""
        return self._call("GET", f"/v1/contacts/{ref}/benefits")

    def redeem(self, ref: str, voucher: str, transaction_id: str, *, language: str = "sv-SE") -> Reply:
        """A voucher is used up for a sale."""
        body = {"ref": ref, "kind": "voucher", "id": voucher, "transaction_id": transaction_id}
        return self._call("POST", "/v1/benefits/redeem", body, headers={"Accept-Language": language})

    def post(self, sale: Mapping[str, Any], *, language: str = "sv-SE") -> Reply:
        """Hands a sale over."""
        return self._call("POST", "/v1/transactions", sale, headers={"Accept-Language": language})

    def sale(self, transaction_id: str) -> Json:
        """How a sale stands."""
        return self._call("GET", f"/v1/transactions/{transaction_id}").body

    def status(self) -> Json:
        """The state of the agent."""
        return self._call("GET", "/v1/status").body

    def order(self, name: str) -> Reply:
        """Gives the agent an order: sync, flush or purge."""
        return self._call("POST", f"/v1/{name}", token=self._admin)

    def give_up(self, state: str, *, reason: str) -> int:
        """Gives up every delivery in that state, as a person does who settled it by hand; returns how many."""
        stuck = self._call("GET", f"/v1/queue?state={state}", token=self._admin).body["entries"]
        for delivery in stuck:
            self._call("POST", f"/v1/queue/{delivery['entry']}/discard", {"reason": reason}, token=self._admin)
        return len(stuck)

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
    ) -> Reply:
        began = time.perf_counter()
        answer = self._client.request(
            method, path, json=body, headers={**(headers or {}), "Authorization": f"Bearer {token or self._token}"}
        )
        elapsed_ms = (time.perf_counter() - began) * 1000
        return Reply(answer.status_code, answer.json() if answer.content else {}, elapsed_ms)
