"""Changes to the order of an earlier sale: what came back is taken off it, or a claim takes its place. Pure.

Voucherify's orders hold what was sold: amounts and quantities are positive, and there is no order of goods that come
back (orders page). What it has is the update of an order, and the status CANCELED. So the order is read, what came back
is taken off its items, and it is written again; when nothing is left it is canceled. The ids of the returns that are in
it stand in its metadata under `agent_returns`: a return that is sent twice is taken off once. The id of the claim that
canceled a guest's order stands there as `agent_claim`: one that was canceled by anything else is not to be claimed.

Whether points that the order earned are withdrawn by either is not documented.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from agent.connectors.voucherify.mapping import CANCELED, render_item, render_json
from agent.connectors.voucherify.values import whole
from agent.domain.transaction import Transaction
from agent.errors import VendorOwnError

RETURNS, CLAIM = "agent_returns", "agent_claim"
_ITEM_KEYS = ("sku_id", "product_id", "related_object", "source_id", "quantity", "price", "amount", "metadata")
_GOODS_KEYS = ("id", "source_id", "name", "sku")


class ExceedsError(ValueError):
    """More comes back than the order has."""


def is_taken_off(order: Mapping[str, Any], transaction_id: str) -> bool:
    """Whether a return is in an order already."""
    return transaction_id in _returns(order)


def has_returns(order: Mapping[str, Any]) -> bool:
    """Whether any return was taken off an order."""
    return bool(_returns(order))


def claimant(order: Mapping[str, Any]) -> str | None:
    """The id of the claim that canceled an order; None where none did."""
    told = _noted(order, CLAIM)
    return told[0] if told and order.get("status") == CANCELED else None


def render_claimed(order: Mapping[str, Any], transaction_id: str) -> bytes:
    """The update that cancels an order because a claim takes its place; its metadata is sent back whole."""
    return render_json({"status": CANCELED, "metadata": {**_object(order.get("metadata")), CLAIM: transaction_id}})


def render_taken_off(order: Mapping[str, Any], sale: Transaction) -> bytes:
    """The update of an order from which the return lines of a sale are taken off.

    Args:
        order: as Voucherify has it.
        sale: with at least one return line.

    Raises:
        ExceedsError: more comes back than the order has, or it is canceled.
        InexactError: an amount cannot be said.
        VendorOwnError: the order has a form in which something of it would be lost.
    """
    if order.get("status") == CANCELED:
        raise ExceedsError
    items = [_read(item) for item in _rows(order)]
    for line in sale.lines:
        if line.kind == "return":
            _take_off(items, render_item(line, sale.currency))
    metadata = {**_object(order.get("metadata")), RETURNS: ",".join((*_returns(order), sale.transaction_id))}
    left = [_sent(item) for item in items if item["quantity"]]
    if not left:
        return render_json({"status": CANCELED, "metadata": metadata})
    return render_json({"amount": sum(item["amount"] for item in left), "items": left, "metadata": metadata})


def _take_off(items: Iterable[dict[str, Any]], back: Mapping[str, Any]) -> None:
    """Takes goods off the items that are of them: at the price that was paid for them, else wherever there is money.

    The money has to be there; how many pieces it was for is the till's word. An item of nothing stays, of quantity 0.
    """
    pieces, money = back["quantity"], back["amount"]
    same = [item for item in items if item.get("source_id") == back["source_id"] and item["quantity"] > 0]
    if not same or sum(item["amount"] for item in same) < money:
        raise ExceedsError
    while left := [item for item in same if _has(item, pieces, money)]:
        found = min(left, key=partial(_unlikeness, pieces=pieces, money=money))
        price, amount, quantity = found["price"], found["amount"], found["quantity"]
        count = min(pieces, quantity)
        paid = min(count * price if price * pieces == money else money, amount)
        pieces, money = pieces - count, money - paid
        if amount - paid == (quantity - count) * price:
            found.update(quantity=quantity - count, amount=amount - paid)
        elif amount == paid:
            found.update(quantity=0, amount=0)
        else:  # not whole pieces at the price that was paid: what is left is one thing at what is left of it
            found.update(quantity=1, price=amount - paid, amount=amount - paid)


def _has(item: Mapping[str, Any], pieces: int, money: int) -> bool:
    """Whether there is something on an item of what is still to be taken off: money, or pieces that cost nothing."""
    return bool(item["quantity"] > 0 and (item["amount"] > 0 if money else pieces > 0 == item["amount"]))


def _unlikeness(item: Mapping[str, Any], pieces: int, money: int) -> tuple[bool, ...]:
    """The least of an item that was sold at this price, then of one that was sold for this, then of one that has it."""
    return (item["price"] * pieces != money, item["amount"] != money, item["amount"] < money)


def _sent(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item as it is written: what Voucherify calculates itself is left out."""
    kept = {name: item[name] for name in _ITEM_KEYS if item.get(name) is not None}
    for goods in ("product", "sku"):
        known = {name: value for name, value in _object(item.get(goods)).items() if name in _GOODS_KEYS and value}
        if known:
            kept[goods] = known
    return kept


def _returns(order: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(name for told in _noted(order, RETURNS) for name in told.split(","))


def _noted(order: Mapping[str, Any], name: str) -> list[str]:
    """What we wrote into an order's metadata, of which a project's schema may have made a list, or a number.

    Raises:
        VendorOwnError: something else stands there, and nobody knows what was noted.
    """
    metadata = order.get("metadata") or {}
    told = metadata.get(name) if isinstance(metadata, dict) else metadata
    listed = told if isinstance(told, list) else [told]
    if not isinstance(metadata, dict) or not all(isinstance(one, str | int | None) for one in listed):
        raise VendorOwnError("has something else than our metadata in an order")
    return [str(one) for one in listed if one not in (None, "")]


def _read(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item with its numbers; it is written again, or left out where nothing is left of it."""
    quantity, price, amount = whole(item, "quantity"), whole(item, "price") or 0, whole(item, "amount")
    if quantity is None:
        raise VendorOwnError("has an item of no quantity in an order")
    return {**item, "quantity": quantity, "price": price, "amount": quantity * price if amount is None else amount}


def _rows(order: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    items = order.get("items") or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise VendorOwnError("has something else than items in an order")
    return items


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
