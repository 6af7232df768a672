"""The simulated workspace's coupons: whose they are, and what became of them.

What is refused, and with which number, is this simulator's choice but for 1601, the number of a coupon that is not
found: whose coupon it is not cannot be told from one that is not there. One that is used up is not used up again.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from agent.connectors.antavo.simulator.refusal import Refused

_NOT_FOUND = 1601
_FILTERS = ("code", "name", "status", "type", "value")


class Coupons:
    """All coupons, by code.

    Attributes:
        by_code: everybody's, as the API shows them, and the customer's id as `customer`.
        module: whether the workspace has coupons at all.
        unfiltered: a list takes no notice of what was asked for.

    Args:
        now: seconds since 1970.
    """

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self.by_code: dict[str, dict[str, Any]] = {}
        self.module, self.unfiltered = True, False

    def give(self, customer: str, code: str, **fields: Any) -> dict[str, Any]:
        """A customer gets a coupon: fifty kronor off, unless it is said otherwise."""
        self.by_code[code] = {
            "code": code, "status": "claimed", "type": "amount", "value": 50, "currency": "SEK", "name": "Bonus",
            "pool": "till", "created_at": self._now(), "claimed_at": self._now(), "redeemed_at": None,
            "expires_at": None, **fields, "customer": customer,
        }  # fmt: skip
        return self.by_code[code]

    def listed(self, customer: str, query: Mapping[str, str]) -> dict[str, Any]:
        """A page of a customer's. Raises Refused."""
        if not self.module:
            raise Refused(404, 0, "Not found", "NotFoundException")
        wanted = {} if self.unfiltered else {name: query[name] for name in _FILTERS if name in query}
        rows = [self._now_is(row) for row in self.by_code.values() if row["customer"] == customer]
        rows = [row for row in rows if all(str(row[name]) == value for name, value in wanted.items())]
        limit, offset = int(query.get("limit", 100)), int(query.get("offset", 0))
        taken = rows[offset : offset + limit]
        end = offset + len(taken)
        shown = [{name: value for name, value in row.items() if name != "customer"} for row in taken]
        link = f"/customers/-/coupons?offset={end}" if "limit" in query and end < len(rows) else None
        return {"data": shown, "next": link, "previous": None}

    def redeem(self, customer: str, code: Any) -> None:
        """Uses a customer's coupon up. Raises Refused."""
        row = self._theirs(customer, code)
        if row["status"] != "claimed":
            raise Refused(400, 0, f"Coupon is {row['status']}")
        row.update(status="redeemed", redeemed_at=self._now())

    def unredeem(self, customer: str, code: Any) -> None:
        """Makes a customer's coupon good again. Raises Refused."""
        row = self._theirs(customer, code)
        if row["status"] != "redeemed":
            raise Refused(400, 0, f"Coupon is {row['status']}")
        row.update(status="claimed", redeemed_at=None)

    def _theirs(self, customer: str, code: Any) -> dict[str, Any]:
        row = self.by_code.get(str(code))
        if not self.module or row is None or row["customer"] != customer:
            raise Refused(400, _NOT_FOUND, "Coupon not found")
        return self._now_is(row)

    def _now_is(self, row: dict[str, Any]) -> dict[str, Any]:
        """A coupon, which is over once its time has come."""
        over = row["expires_at"]
        seconds = datetime.fromisoformat(over).timestamp() if isinstance(over, str) else over
        if seconds is not None and seconds <= self._now() and row["status"] == "claimed":
            row["status"] = "expired"
        return row
