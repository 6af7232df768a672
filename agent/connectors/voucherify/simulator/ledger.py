"""What happened on loyalty cards of version 1: points that orders earned, and changes by hand.

Sources: loyalties and vouchers pages, and the published OpenAPI description. Earning a point for each so many of the
smallest unit, on every card of the customer's campaign, and that a `source_id` of a change may come twice, are the
simulator's own choice: the latter is not documented, and is the harder case.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agent.connectors.voucherify.simulator.checks import NotTaken, words

MAX_LIMIT = 100
_CHANGE = words("points expiration_type expiration_date source_id reason")


class Ledger:
    """The transactions of all cards, in their order.

    Attributes:
        per_point: what an order of a customer who has a card pays for a point, in the smallest unit; 0 earns none.
        waits: answers that a change, or what an order earned, does not show in, as both are carried out later.
    """

    def __init__(self) -> None:
        self.per_point, self.waits = 0, 0
        self._rows: list[dict[str, Any]] = []
        self._hidden: dict[str, int] = {}

    def clear(self) -> None:
        """Forgets all of it."""
        self._rows.clear()
        self._hidden.clear()
        self.per_point, self.waits = 0, 0

    def accrue(self, cards: Iterable[dict[str, Any]], order: Mapping[str, Any], *, at: str) -> None:
        """An order became paid."""
        points = order.get("amount", 0) // self.per_point if self.per_point else 0
        for card in cards if points else ():
            card["loyalty_card"]["points"] = card["loyalty_card"].get("points", 0) + points
            told = {"id": order["id"], "source_id": order["source_id"]}
            self._write(card, "POINTS_ACCRUAL", points, at, source="Automation", order=told)

    def adjust(self, card: dict[str, Any], body: Any, *, at: str) -> dict[str, Any]:
        """Adds points to a card, or takes some off, as the call answers it. Raises NotTaken."""
        points = body.get("points") if isinstance(body, dict) and not body.keys() - _CHANGE else None
        if not isinstance(points, int) or isinstance(points, bool) or not points:
            raise NotTaken("invalid_payload", "points is a whole number that is not zero.")
        if card["loyalty_card"]["balance"] + points < 0:
            raise NotTaken("loyalty_card_points_exceeded", "The card has fewer points.")
        kind = "POINTS_ADDITION" if points > 0 else "POINTS_REMOVAL"
        said = {name: body.get(name) for name in ("source_id", "reason")}
        row = self._write(card, kind, points, at, source="API", **said)
        return {**row["details"]["balance"], "operation_type": "MANUAL"}

    def of(self, card: Mapping[str, Any], query: Mapping[str, str]) -> dict[str, Any]:
        """A page of what happened on a card, the latest first, as the call answers it. Raises NotTaken."""
        limit, after = query.get("limit", "10"), query.get("starting_after_id")
        if not limit.isdecimal() or not 1 <= int(limit) <= MAX_LIMIT or query.get("order") != "-created_at":
            raise NotTaken("invalid_query_params", f"limit is 1 to {MAX_LIMIT}, and the simulator has one order.")
        rows = [row for row in reversed(self._rows) if row["voucher_id"] == card["id"] and self._shows(row)]
        ids = [row["id"] for row in rows]
        rows = rows[ids.index(after) + 1 :] if after in ids else rows
        shown, more = rows[: int(limit)], len(rows) > int(limit)
        told = {"object": "list", "data_ref": "data", "data": shown, "has_more": more}
        return {**told, **({"more_starting_after": shown[-1]["id"]} if more else {})}

    def changes(self, source_id: str) -> list[int]:
        """The points of each change under a `source_id`."""
        return [row["details"]["balance"]["points"] for row in self._rows if row["source_id"] == source_id]

    def _shows(self, row: Mapping[str, Any]) -> bool:
        left = self._hidden.get(row["id"], 0)
        self._hidden[row["id"]] = left - 1
        return left <= 0

    def _write(self, card: dict[str, Any], kind: str, points: int, at: str, **said: Any) -> dict[str, Any]:
        held, order = card["loyalty_card"], said.pop("order", None)
        held["balance"] += points
        balance = {
            "type": "loyalty_card", "object": "balance", "points": points, "balance": held["balance"],
            "total": held.get("points", 0), "related_object": {"type": "voucher", "id": card["id"]},
        }  # fmt: skip
        row = {
            "id": f"vtx_{len(self._rows):08d}", "voucher_id": card["id"], "campaign_id": card["campaign_id"],
            "type": kind, "source_id": None, "reason": None, "created_at": at, **said,
            "details": {"balance": balance, **({"order": order} if order else {})},
        }  # fmt: skip
        self._rows.append(row)
        self._hidden[row["id"]] = self.waits
        return row
