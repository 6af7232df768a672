"""Loyalty programmes of version 2: who belongs to which, what their cards hold, and what an order would earn.

Sources: loyalty v2, examine and memberships, and the published OpenAPI description, which allows no field beside its
own in a question. The rule is this simulator's: each programme gives a point for so much of an order's amount.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.connectors.voucherify.simulator.checks import MAX_ITEMS, NotTaken, check_metadata, is_whole, words

_ORDER = words("amount initial_amount discount_amount items metadata")
_ITEM = words(
    "id source_id product_id sku_id related_object amount discount_amount quantity price product sku metadata"
)
_GOODS = words("id source_id price")
_PAID = {"type": "SPECIFIC", "specific": {"event": "customer.order.paid"}}
_NAMED_BY = {"customer_id": "id", "customer_source_id": "source_id"}


@dataclass
class Program:
    """A programme.

    Attributes:
        id: `lprg_...`.
        name: for people.
        per: of an order's amount, in the smallest unit, earns a point.
        pending: points that each member cannot spend yet.
        cards: what each member's card holds, by the customer's `id`.
    """

    id: str
    name: str
    per: int = 1000
    pending: int = 0
    cards: dict[str, int] = field(default_factory=dict)


class Programs(dict[str, Program]):
    """The programmes by id."""

    def of(self, customer: Mapping[str, Any], name: str, query: Mapping[str, str]) -> dict[str, Any]:
        """A customer's memberships with their cards, as the call answers them.

        Args:
            customer: whose.
            name: what they were asked for by.
            query: says which of their names that is.

        Raises:
            NotTaken: it is the other one.
        """
        kind = _NAMED_BY.get(query.get("identification_type", "customer_id"))
        if kind is None:
            raise NotTaken("invalid_query_params", "identification_type is one of the published ones.")
        if customer[kind] != name:
            raise NotTaken("not_found", "There is no such customer.", 404)
        memberships = [
            {
                "member": _member(program, customer),
                "program": {"id": program.id, "name": program.name, "object": "program"},
                "cards": [{"member_role": "OWNER", "card": _card(program, customer["id"]), "object": "member_card"}],
                "object": "membership",
            }
            for program in self.values()
            if customer["id"] in program.cards
        ]
        return {"customer": _named(customer), "memberships": memberships, "object": "memberships_result"}

    def examine(self, body: Any, find: Any, schema: Mapping[str, Any] | None) -> dict[str, Any]:
        """What an order would earn, as the call answers it; nothing changes.

        Args:
            body: as it was sent.
            find: finds a customer by either name, and raises NotTaken.
            schema: of orders.

        Raises:
            NotTaken: it is not the question for a paid order, or names nobody.
        """
        whose = _checked(body, {"trigger", "customer_identification", "customer_order_paid"})["customer_identification"]
        if body["trigger"] != _PAID:
            raise NotTaken("invalid_payload", "This simulator examines one paid order.")
        order = _checked(_checked(body["customer_order_paid"], {"order"})["order"], _ORDER)
        items = order.get("items", [])
        if not isinstance(items, list) or len(items) > MAX_ITEMS:
            raise NotTaken("invalid_payload", f"items has at most {MAX_ITEMS} rows.")
        for item in items:
            for name in ("product", "sku"):
                _checked(_checked(item, _ITEM).get(name, {}), _GOODS)
        if not is_whole(order.get("amount")) or not all(is_whole(item.get("amount", 0)) for item in items):
            raise NotTaken("invalid_payload", "Amounts are whole numbers and not negative.")
        check_metadata(order.get("metadata", {}), schema)
        kind = _NAMED_BY.get(_checked(whose, {"type", *_NAMED_BY}).get("type", ""))
        customer = find(str(whose.get(str(whose.get("type")))))
        if kind is None or customer.get(kind) != whose[whose["type"]]:
            raise NotTaken("not_found", "There is no such customer.", 404)
        memberships = [
            {
                "member": _member(program, customer),
                "program": {"id": program.id, "name": program.name, "object": "program"},
                "cards": [{"points_estimation": order["amount"] // program.per, "object": "card_estimation"}],
                "benefits": [],
                "object": "member_earnings_opportunity",
            }
            for program in self.values()
            if customer["id"] in program.cards
        ]
        return {
            "event": "customer.order.paid",
            "customer": _named(customer),
            "earning_rules": [],
            "memberships": memberships,
            "object": "earnings_examine_result",
        }


def _member(program: Program, customer: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": f"lmbr_{program.id}", "customer_id": customer["id"], "status": "ACTIVE", "object": "member"}


def _card(program: Program, customer: str) -> dict[str, Any]:
    balance = {"points": program.cards[customer], "pending_points": program.pending}
    return {"id": f"lcrd_{program.id}", "card_type": "INDIVIDUAL", "balance": balance, "object": "card"}


def _named(customer: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": customer["id"], "source_id": customer["source_id"], "object": "customer"}


def _checked(value: Any, allowed: frozenset[str] | set[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() - allowed:
        raise NotTaken("invalid_payload", "There are the published keys alone.")
    return value
