"""Vouchers that were assigned to customers: discounts, gift cards, and the loyalty cards of version 1.

Sources: vouchers and customers pages, and the published OpenAPI description.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from agent.connectors.voucherify.simulator.checks import NotTaken, check_customer, words

MAX_LIMIT = 100
MAX_REDEEMABLES = 30
_BODY = words("redeemables customer session tracking_id metadata order options")


class Vouchers(dict[str, dict[str, Any]]):
    """Vouchers by `id`; each has one holder.

    Attributes:
        redemptions: what was redeemed, rolled back and refused, in that order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.redemptions: list[dict[str, Any]] = []

    def clear(self) -> None:
        """Forgets all of it."""
        super().clear()
        self.redemptions.clear()

    def give(self, holder: str, code: str, **voucher: Any) -> dict[str, Any]:
        """Assigns a new voucher to a customer; what is not said is a discount of 10.00, good for one redemption.

        Args:
            holder: the customer's `id`.
            code: its code.
            **voucher: its fields.

        Returns:
            It, as it is held.
        """
        number = f"v_{len(self):08d}"
        kind = voucher.get("type", "DISCOUNT_VOUCHER")
        given = {
            "id": number,
            "code": code,
            "object": "voucher",
            "type": kind,
            "campaign": None,
            "campaign_id": None,
            "discount": {"type": "AMOUNT", "amount_off": 1000} if kind == "DISCOUNT_VOUCHER" else None,
            "gift": None,
            "loyalty_card": None,
            "start_date": None,
            "expiration_date": None,
            "active": True,
            "additional_info": None,
            "holder_id": holder,
            "redemption": {"quantity": 1, "redeemed_quantity": 0, "object": "list"},
        }
        self[number] = {**given, **voucher}
        return self[number]

    def held_by(self, holder: str, query: Mapping[str, str], *, now: datetime) -> dict[str, Any]:
        """A page of what was assigned to a customer, as the call answers it. Raises NotTaken: the query is not one."""
        limit, after = query.get("limit", "10"), query.get("starting_after_id")
        if not limit.isdecimal() or not 1 <= int(limit) <= MAX_LIMIT:
            raise NotTaken("invalid_query_params", f"limit is 1 to {MAX_LIMIT}.")
        rows = [_row(voucher, now) for voucher in self.values() if voucher["holder_id"] == holder]
        if after is not None:
            rows = rows[[row["id"] for row in rows].index(after) + 1 :] if after in [row["id"] for row in rows] else []
        shown = rows[: int(limit)]
        more = len(shown) < len(rows)
        told = {"object": "list", "data_ref": "data", "data": shown, "total": len(rows), "has_more": more}
        return {**told, **({"more_starting_after": shown[-1]["id"]} if more else {})}

    def cards_of(self, holder: str | None) -> list[dict[str, Any]]:
        """The loyalty cards of a customer, by their `id`."""
        return [one for one in self.values() if one["holder_id"] == holder and one["type"] == "LOYALTY_CARD"]

    def coded(self, code: str) -> dict[str, Any]:
        """A voucher by its code. Raises NotTaken when there is none."""
        for voucher in self.values():
            if voucher["code"] == code:
                return voucher
        raise NotTaken("resource_not_found", "There is no voucher of this code.", 404)

    def card(self, code: str) -> dict[str, Any]:
        """A loyalty card by its code. Raises NotTaken when there is none."""
        found = self.coded(code)
        if found["type"] != "LOYALTY_CARD":
            raise NotTaken("not_found", "There is no loyalty card of this code.", 404)
        return found

    def redeem(self, body: Any, customer: str, *, now: datetime) -> dict[str, Any]:
        """Redeems a voucher, as the call answers it.

        Args:
            body: as it was sent.
            customer: whom it names, by their `id`.
            now: for what is over, and for the record.

        Raises:
            NotTaken: it is malformed; the voucher is used up, over or switched off. That is on record too.
        """
        code = _wanted(body)
        voucher = self.coded(code)
        refusals = {"DISABLED": "voucher_disabled", "EXPIRED": "voucher_expired", "USED": "quantity_exceeded"}
        status = _status(voucher, now)
        told = {"object": "redemption", "customer_id": customer, "date": now.isoformat(), "voucher": voucher["id"]}
        if status in refusals:
            self._note({"id": f"rf_{len(self.redemptions):08d}", "result": "FAILURE", **told})
            raise NotTaken(refusals[status], "The voucher cannot be redeemed.")
        voucher["redemption"]["redeemed_quantity"] += 1
        done = self._note({"id": f"r_{len(self.redemptions):08d}", "result": "SUCCESS", "status": "SUCCEEDED", **told})
        return {"redemptions": [done], "order": None}

    def of(self, code: str) -> dict[str, Any]:
        """The redemptions of a voucher, as the call answers them. Raises NotTaken."""
        voucher = self.coded(code)
        entries = [entry for entry in self.redemptions if entry["voucher"] == voucher["id"]]
        told = {"object": "list", "data_ref": "redemption_entries", "total": len(entries)}
        return {**voucher["redemption"], **told, "redemption_entries": entries}

    def roll_back(self, number: str, *, now: datetime) -> dict[str, Any]:
        """Undoes a redemption, as the call answers it. Raises NotTaken: there is none, or it is undone already."""
        found = next((one for one in self.redemptions if one["id"] == number), None)
        if found is None or found["object"] != "redemption" or found["result"] != "SUCCESS":
            raise NotTaken("not_found", "There is no such redemption.", 404)
        if found["status"] == "ROLLED_BACK":
            raise NotTaken("already_rolled_back", "The redemption is rolled back.")
        found["status"] = "ROLLED_BACK"
        self[found["voucher"]]["redemption"]["redeemed_quantity"] -= 1
        told = {"customer_id": found["customer_id"], "date": now.isoformat(), "voucher": found["voucher"]}
        undone = {"id": f"rr_{len(self.redemptions):08d}", "object": "redemption_rollback", "redemption": number}
        return self._note({**undone, "result": "SUCCESS", **told})

    def _note(self, entry: dict[str, Any]) -> dict[str, Any]:
        self.redemptions.append(entry)
        return entry


def _wanted(body: Any) -> str:
    """The code of the one voucher that a body redeems. Raises NotTaken."""
    wanted = body.get("redeemables") if isinstance(body, dict) and not body.keys() - _BODY else None
    if not isinstance(wanted, list) or not 1 <= len(wanted) <= MAX_REDEEMABLES:
        raise NotTaken("invalid_payload", "There are 1 to 30 redeemables.")
    check_customer(body.get("customer"))
    one = wanted[0]
    if len(wanted) > 1 or not isinstance(one, dict) or one.get("object") != "voucher" or not one.get("id"):
        raise NotTaken("invalid_redeemables", "This simulator redeems one voucher.")
    return str(one["id"])


def _row(voucher: dict[str, Any], now: datetime) -> dict[str, Any]:
    return {
        "id": f"rh_{voucher['id']}",
        "redeemable_id": voucher["id"],
        "redeemable_object": "voucher",
        "customer_id": voucher["holder_id"],
        "holder_role": "OWNER",
        "campaign_id": voucher["campaign_id"],
        "voucher_type": voucher["type"],
        "redeemable": {"type": "voucher", "voucher": voucher, "status": _status(voucher, now)},
    }


def _status(voucher: dict[str, Any], now: datetime) -> str:
    quantity, ends = voucher["redemption"]["quantity"], voucher["expiration_date"]
    if not voucher["active"]:
        return "DISABLED"
    if ends is not None and datetime.fromisoformat(ends) <= now:
        return "EXPIRED"
    return "USED" if quantity is not None and voucher["redemption"]["redeemed_quantity"] >= quantity else "ACTIVE"
