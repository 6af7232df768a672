"""How the simulated workspace processes events, with the vendor's numbers for what it refuses.

Rules: a point for each whole unit of an item's subtotal, whether it comes with its checkout or behind it; a transaction
id counts once; only accepted transactions are refunded, up to their total; while checkouts have to be accepted, points
wait. What a checkout would earn is told without taking it, a campaign's bonus beside it. Refusing more points than
somebody has (120241), sums that do not add up, and products that were not bought or are back already (0) is this
simulator's choice.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from agent.connectors.antavo.simulator.coupons import Coupons
from agent.connectors.antavo.simulator.history import History
from agent.connectors.antavo.simulator.members import Member, Members
from agent.connectors.antavo.simulator.refusal import Refused, not_found
from agent.connectors.antavo.simulator.rewards import Rewards

_ZERO = Decimal(0)
_TELL_THEMSELVES = ("profile", "opt_out", "checkout_item")
_ROUNDING, _PRICE_ROUNDING = Decimal("0.005"), Decimal("0.00005")


@dataclass
class Transaction:
    """A checkout as it is on the books."""

    id: str
    customer: str
    total: Decimal
    items: list[dict[str, Any]]
    status: str
    at: int
    earned: int
    burned: int
    refunded: Decimal = _ZERO
    back: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    events: list[dict[str, Any]] = field(default_factory=list)

    def bought(self, product_id: Any) -> Decimal:
        """How much of a product."""
        return sum((_amount(item, "quantity") for item in self.items if item.get("product_id") == product_id), _ZERO)

    def shown(self) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "id": self.id, "status": self.status, "created_at": self.at, "total": float(self.total),
            "items": self.items, "earned": self.earned, "burned": self.burned, "refunded": float(self.refunded),
        }  # fmt: skip


class Books:
    """What the workspace knows, and what events do to it.

    Attributes:
        members: everybody.
        history: what happened, refused events left out.
        transactions: by id.
        coupons: everybody's.
        rewards: what can be had for points.
        applied: every event that counted, in order.
        bonus: points that a campaign gives for each checkout; None where the workspace does not tell beforehand.
        anonymous: an event for an unknown customer makes one.
        accepts: checkouts wait until they are accepted.
        guests: checkouts of nobody are taken, and make nobody a member ("Guest events").
        backdates: `effective_timestamp` counts.
    """

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self.history = History()
        self.members = Members(now, self.history)
        self.transactions: dict[str, Transaction] = {}
        self.coupons = Coupons(now)
        self.rewards = Rewards(now, self.history, self.coupons)
        self.applied: list[dict[str, Any]] = []
        self.bonus: int | None = 0
        self.anonymous = self.accepts = self.backdates = self.guests = False

    def process(self, event: Any) -> tuple[Member | None, list[dict[str, Any]]]:
        """Applies one event; whose it is, and what changed their points. Raises Refused."""
        if not isinstance(event, dict) or not isinstance(event.get("data"), dict):
            raise Refused(400, 0, "Property data cannot be empty")
        customer, action, data = event.get("customer"), event.get("action"), event["data"]
        if self.guests and event.get("guest") == "true":
            if customer is not None or action != "checkout":
                raise Refused(400, 0, "A guest event cannot have a customer")
            self._checkout(Member(""), data)
            self.applied.append(event)
            return None, []
        if not isinstance(customer, str) or not customer:
            raise Refused(400, 0, "Property customer cannot be empty")
        if action == "opt_in":
            made: list[dict[str, Any]] = []
            member = self._opt_in(customer, data)
        else:
            apply = self._actions().get(str(action))
            if apply is None:
                raise Refused(400, 0, "Invalid action")
            member = self._member(self._named(customer, event))
            made = apply(member, data)
            if action not in _TELL_THEMSELVES:
                self.history.tell(str(action), member.id, self._now())
        for one in made:
            self.history.tell(one["action"], member.id, self._now(), one["points"])
        self.applied.append(event)
        return member, made

    def foretold(self, event: Any) -> dict[str, Any]:
        """What a checkout would earn; nothing is changed. Raises Refused."""
        if self.bonus is None:
            raise not_found("Not found")
        data = event.get("data") if isinstance(event, dict) else None
        if not isinstance(data, dict) or event.get("action") != "checkout":
            raise Refused(400, 0, "Property action cannot be empty")
        if not data.get("transaction_id"):
            raise Refused(400, 0, "Property transaction_id cannot be empty")
        self._member(str(event.get("customer")), makes=False)
        total, items = _amount(data, "total"), data.get("items") or []
        _check_sums(total, items)
        base = sum(int(_amount(item, "subtotal")) for item in items)
        campaign = {"id": "c-1", "name": "Bonus", "issued_points": self.bonus, "customer_points": self.bonus}
        campaigns = [{"automation": "a-1", "points": self.bonus, "campaign": campaign}] if self.bonus else []
        return {"campaigns": campaigns, "purchase": {"base": base, "bonus": self.bonus, "points": base + self.bonus}}

    def _actions(self) -> dict[str, Callable[[Member, dict[str, Any]], list[dict[str, Any]]]]:
        return {
            "checkout": self._checkout, "checkout_item": self._checkout_item,
            "checkout_accept": self._accept, "checkout_reject": self._reject,
            "coupon_redeem": self._coupon_redeem, "coupon_unredeem": self._coupon_unredeem,
            "refund": self._refund, "refund_item": self._refund_item,
            "profile": self._profile, "opt_out": self._opt_out,
        }  # fmt: skip

    def _named(self, customer: str, event: dict[str, Any]) -> str:
        """The id of a customer who may be named by the field of an external id."""
        external = event.get("external_id")
        known = any(member.external(external) for member in self.members.by_id.values()) if external else False
        return f"{external}:{customer}" if known else customer

    def _member(self, customer: str, *, makes: bool = True) -> Member:
        try:
            member = self.members.get(customer)
        except Refused:
            if not (self.anonymous and makes):
                raise
            return self.members.add(customer)
        if member.fields.get("status", "active") != "active":
            raise Refused(400, 160216, "Customer is not active")
        return member

    def _opt_in(self, customer: str, data: dict[str, Any]) -> Member:
        known = self.members.by_id.get(customer)
        if known is not None and known.fields.get("status") != "opted_out":
            raise Refused(400, 112101, "Customer already opted in")
        return self.members.write(customer, {}, data)

    def _profile(self, member: Member, data: dict[str, Any]) -> list[dict[str, Any]]:
        self.members.write(member.id, member.fields, data)
        return []

    def _opt_out(self, member: Member, _data: dict[str, Any]) -> list[dict[str, Any]]:
        self.members.opt_out(member.id)
        return []

    def _coupon_redeem(self, member: Member, data: dict[str, Any]) -> list[dict[str, Any]]:
        self.coupons.redeem(member.id, data.get("code"))
        return []

    def _coupon_unredeem(self, member: Member, data: dict[str, Any]) -> list[dict[str, Any]]:
        self.coupons.unredeem(member.id, data.get("code"))
        return []

    def _checkout(self, member: Member, data: dict[str, Any]) -> list[dict[str, Any]]:
        transaction_id, items = data.get("transaction_id"), data.get("items") or []
        if not isinstance(transaction_id, str) or not transaction_id:
            raise Refused(400, 0, "Property transaction_id cannot be empty")
        if transaction_id in self.transactions:
            raise Refused(400, 5003, "Transaction already exists", "RuntimeException")
        total, burned = _amount(data, "total"), int(data.get("points_burned") or 0)
        if burned > member.spendable:
            raise Refused(400, 120241, "You do not have enough points", "RuntimeException")
        _check_sums(total, items)
        points = [int(_amount(item, "subtotal")) for item in items]
        earned = sum(points)
        stamped = data.get("effective_timestamp") if self.backdates else None
        self.transactions[transaction_id] = Transaction(
            transaction_id, member.id, total, items, "pending" if self.accepts else "accepted",
            int(stamped or self._now()), earned, burned,
        )  # fmt: skip
        member.spent += burned
        if self.accepts:
            member.pending += earned
            return []
        member.score += earned
        return [{"action": "checkout_item", "points": one} for one in points]

    def _checkout_item(self, member: Member, data: dict[str, Any]) -> list[dict[str, Any]]:
        """One product of a checkout that came without any."""
        transaction, total = self._owned(member, data), _ZERO
        if transaction.bought(data.get("product_id")) or not data.get("product_id"):
            raise Refused(400, 0, "The transaction has this product already")
        items = [*transaction.items, data]
        for item in items:
            total += _amount(item, "subtotal")
            _check_sums(_amount(item, "subtotal"), [item])
        if total > transaction.total + _ROUNDING:
            raise Refused(400, 0, "Property total is not the sum of the subtotals")
        transaction.items = items
        points = int(_amount(data, "subtotal"))
        transaction.earned += points
        if transaction.status == "pending":
            member.pending += points
            return []
        member.score += points
        return [{"action": "checkout_item", "points": points}]

    def _accept(self, member: Member, data: dict[str, Any]) -> list[dict[str, Any]]:
        transaction = self._pending(member, data)
        transaction.status = "accepted"
        member.pending -= transaction.earned
        member.score += transaction.earned
        return [{"action": "checkout_accept", "points": transaction.earned}]

    def _reject(self, member: Member, data: dict[str, Any]) -> list[dict[str, Any]]:
        transaction = self._pending(member, data)
        transaction.status = "rejected"
        member.pending -= transaction.earned
        member.spent -= transaction.burned
        return []

    def _refund(self, member: Member, data: dict[str, Any]) -> list[dict[str, Any]]:
        transaction = self._accepted(member, data)
        left = transaction.earned - int(transaction.refunded)
        transaction.status, transaction.refunded = "refunded", transaction.total
        member.score -= left
        member.spent -= transaction.burned
        return [{"action": "refund", "points": -left}]

    def _refund_item(self, member: Member, data: dict[str, Any]) -> list[dict[str, Any]]:
        transaction = self._accepted(member, data)
        amount = _amount(data, "subtotal")
        if amount <= 0:
            raise Refused(400, 112202, "Refund amount must be positive")
        if transaction.refunded + amount > transaction.total:
            raise Refused(400, 112203, "Refund amount is above the total of the transaction")
        product_id, quantity = str(data.get("product_id")), _amount(data, "quantity")
        if quantity <= 0 or transaction.back[product_id] + quantity > transaction.bought(product_id):
            raise Refused(400, 0, "The transaction has no such product to refund")
        transaction.back[product_id] += quantity
        transaction.refunded += amount
        member.score -= int(amount)
        return [{"action": "refund_item", "points": -int(amount)}]

    def _owned(self, member: Member, data: dict[str, Any]) -> Transaction:
        transaction = self.transactions.get(str(data.get("transaction_id")))
        if transaction is None:
            raise not_found("Transaction not found")
        if transaction.customer != member.id:
            raise Refused(400, 103902, "Customer does not own this transaction")
        return transaction

    def _accepted(self, member: Member, data: dict[str, Any]) -> Transaction:
        transaction = self._owned(member, data)
        if transaction.status != "accepted":
            raise Refused(400, 112201, "Only accepted transactions can be refunded")
        return transaction

    def _pending(self, member: Member, data: dict[str, Any]) -> Transaction:
        transaction = self._owned(member, data)
        if transaction.status != "pending":
            raise Refused(400, 112201, "Only pending transactions can be accepted or rejected")
        return transaction


def _check_sums(total: Decimal, items: list[dict[str, Any]]) -> None:
    subtotals = _ZERO
    for item in items:
        subtotal, quantity = _amount(item, "subtotal"), _amount(item, "quantity")
        made = _amount(item, "price") * quantity - _amount({"discount": 0, **item}, "discount")
        if abs(made - subtotal) > _ROUNDING + _PRICE_ROUNDING * quantity:
            raise Refused(400, 0, "Property subtotal is not price by quantity less discount")
        subtotals += subtotal
    if items and abs(subtotals - total) > _ROUNDING:
        raise Refused(400, 0, "Property total is not the sum of the subtotals")


def _amount(data: Any, name: str) -> Decimal:
    try:
        amount = Decimal(str(data[name]))
    except (KeyError, TypeError, InvalidOperation):
        raise Refused(400, 0, f"Property {name} cannot be empty") from None
    if not amount.is_finite():
        raise Refused(400, 0, f"Property {name} cannot be empty")
    return amount
