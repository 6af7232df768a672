"""Sales as Voucherify's orders and events. Pure.

===========================  ===================================================  ==================================
ours                         Voucherify's                                         source
===========================  ===================================================  ==================================
transaction_id               order.source_id                                      orders page: upsert by source_id
occurred_at, corrected_at    order.created_at, UTC                                orders page: accepted on POST, so that
                             the corrected time where the till's clock was wrong  a late sale keeps its time
purchase, points_claim       order.status PAID                                    orders page: what earning rules await
a void                       the sale's order, status CANCELED                    orders page
a return                     not an order: see `returns`                          orders page: amounts are positive
Σ gross_paid                 order.amount                                         orders page: the sum of its items
lines[]                      order.items[], at most 500                           limits page
... sku and article_number   source_id of a `sku`, product.source_id              orders page; which is which: inferred
... one of them              source_id of a `product`                             the same
... gross_paid / quantity    price, exact; else quantity 1 at the line's price    orders page: both whole numbers
... name                     product.name or sku.sku                              orders page; stored for nobody: no
                                                                                  `override`
the customer                 order.customer, event.customer                       see `person`
facts of the sale            order.metadata, event.metadata                       as `order_metadata` has them
cashier_id, references       not sent                                             our choice: people, and not needed
===========================  ===================================================  ==================================

Money is whole numbers of the currency's smallest unit (orders page: 2350 is 23.50). An amount that is a fraction of it
is refused, never rounded. An order has no currency: it can go along among the facts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import simplejson

from agent.connectors.voucherify.metadata import Typed, fit, render_instant
from agent.connectors.voucherify.person import Naming, render_bridge, render_customer, stated_bridge
from agent.connectors.voucherify.settings import VoucherifySettings
from agent.domain import money
from agent.domain.transaction import Line, Transaction
from agent.ports import Outgoing

MAX_ITEMS = 500
CANCELED, PAID = "CANCELED", "PAID"


class InexactError(ValueError):
    """An amount is no whole number of the smallest unit of its currency."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A sale, ready to be sent.

    Attributes:
        body: the order or the event as JSON.
        items: how many lines are in it.
        amount: of the order, in the smallest unit; 0 of an event.
        customer: what it calls its customer, by `source_id` or `id`; empty for nobody.
        omitted: names of metadata that did not go along.
    """

    body: bytes = field(repr=False)
    items: int
    amount: int
    customer: Mapping[str, str] = field(repr=False)
    omitted: tuple[str, ...]

    @property
    def has_customer(self) -> bool:
        """Somebody is named in it."""
        return bool(self.customer)


def minor_units(amount: Decimal, currency: str) -> int:
    """An amount as a whole number: 23.50 SEK is 2350, 23 JPY is 23, 1.500 KWD is 1500.

    Raises:
        InexactError: it is a fraction of the smallest unit, or the currency is none of ISO 4217.
    """
    unit = money.minor_unit(currency)
    if unit is None or amount % unit:
        raise InexactError(f"is not a whole number of the smallest unit of {currency}")
    return int(amount / unit)


def render_json(value: Any) -> bytes:
    """JSON with exact numbers, and of what Voucherify holds itself each character as it came, half ones too."""
    return bytes(simplejson.dumps(value, use_decimal=True, separators=(",", ":")), "ascii")


def render_order(outgoing: Outgoing, settings: VoucherifySettings, naming: Naming) -> Rendered:
    """The order of what a sale sold.

    Args:
        outgoing: the sale with its tag; its return lines are left out.
        settings: the table.
        naming: what names its customer.

    Raises:
        InexactError: an amount cannot be said.
    """
    sale = outgoing.transaction
    items = [render_item(line, sale.currency) for line in sale.lines if line.kind == "purchase"]
    customer, omitted = render_customer(outgoing, settings, naming)
    facts = _facts(sale, settings, corrected=outgoing.corrected_at is not None)
    amount = sum(item["amount"] for item in items)
    order = {
        "source_id": sale.transaction_id,
        "status": PAID,
        "created_at": render_instant(outgoing.corrected_at or sale.occurred_at),
        "amount": amount,
        "items": items,
        "metadata": dict(facts.values),
        **({"customer": customer} if customer else {}),
    }
    left_out = (*omitted, *facts.omitted, *stated_bridge(outgoing))
    return Rendered(render_json(order), len(items), amount, _called(customer), left_out)


def render_event(outgoing: Outgoing, settings: VoucherifySettings, naming: Naming) -> Rendered:
    """The event of a sale, with the codes that Voucherify's programmes ask for.

    Args:
        outgoing: the sale with its tag; somebody is named.
        settings: the table.
        naming: what names its customer.

    Raises:
        InexactError: an amount cannot be said.
    """
    customer, omitted = render_customer(outgoing, settings, naming)
    bridge = render_bridge(outgoing, card_is_loyalty_code=settings.card_is_loyalty_code)
    facts = _facts(outgoing.transaction, settings, corrected=outgoing.corrected_at is not None)
    lost = () if "referral" in bridge else tuple(name for name in stated_bridge(outgoing) if "referral" in name)
    event = {
        "event": settings.event_name,
        "customer": customer,
        **bridge,
        "metadata": {**facts.values, "transaction_id": outgoing.transaction.transaction_id},
    }
    left_out = (*omitted, *facts.omitted, *lost)
    return Rendered(render_json(event), 0, 0, _called(customer), left_out)


def _called(customer: Mapping[str, Any]) -> dict[str, str]:
    return {name: customer[name] for name in ("source_id", "id") if name in customer}


def render_examined(sale: Transaction, settings: VoucherifySettings, whose: Mapping[str, str]) -> bytes:
    """The question what a sale would earn as an order.

    Args:
        sale: of purchase lines alone; payments may be missing.
        settings: the table.
        whose: what names the customer, as the examination wants it.

    Raises:
        InexactError: an amount cannot be said.
    """
    items = [render_item(line.model_copy(update={"name": None}), sale.currency) for line in sale.lines]
    facts = _facts(sale, settings, corrected=False)
    order = {"amount": sum(item["amount"] for item in items), "items": items, "metadata": dict(facts.values)}
    question = {
        "trigger": {"type": "SPECIFIC", "specific": {"event": "customer.order.paid"}},
        "customer_identification": whose,
        "customer_order_paid": {"order": order},
    }
    return render_json(question)


def render_status(status: str) -> bytes:
    """An update of an order that changes its status alone."""
    return render_json({"status": status})


def render_item(line: Line, currency: str) -> dict[str, Any]:
    """A line as an item whose price times quantity is its amount, exactly.

    Raises:
        InexactError: what was paid cannot be said.
    """
    paid, count = minor_units(line.gross_paid, currency), abs(line.quantity)
    whole = int(count) if count == int(count) and not paid % int(count) else 1
    return {**_goods(line), "quantity": whole, "price": paid // whole, "amount": paid}


def _goods(line: Line) -> dict[str, Any]:
    name = {"name": line.name} if line.name else {}
    if line.sku and line.article_number:
        sku = {"sku": {"sku": line.name}} if line.name else {}
        return {
            "source_id": line.sku,
            "related_object": "sku",
            "product": {"source_id": line.article_number, **name},
            **sku,
        }
    return {
        "source_id": line.product_id,
        "related_object": "product",
        **({"product": name} if name else {}),
    }


def _facts(sale: Transaction, settings: VoucherifySettings, *, corrected: bool) -> Typed:
    """The facts of a sale that the configuration asks for, typed as it says."""
    stated = _stated(sale, corrected=corrected)
    return fit({name: stated.get(name) for name in settings.order_metadata}, settings.order_metadata)


def _stated(sale: Transaction, *, corrected: bool) -> dict[str, Any]:
    return {
        "transaction_id": sale.transaction_id,
        "original_transaction_id": sale.original_transaction_id,
        "store_id": sale.store_id,
        "till_id": sale.till_id,
        "receipt_number": sale.receipt_number or sale.transaction_id,
        "channel": sale.channel,
        "currency": sale.currency,
        "type": sale.type.value,
        "total_amount": minor_units(sale.total, sale.currency),
        "tax_amount": _sum((line.tax_amount or money.ZERO for line in sale.lines), sale),
        "till_discount": _sum((cut.amount for line in sale.lines for cut in line.discounts), sale),
        "payment_types": _several(sorted({payment.type for payment in sale.payments})),
        "coupon_codes": _several([used.number for used in sale.vouchers_used]),
        "offer_ids": _several([used.offer_id for used in sale.offers_used]),
        "occurred_at": render_instant(sale.occurred_at),
        "stated_at": render_instant(sale.occurred_at) if corrected else None,
    }


def _sum(amounts: Any, sale: Transaction) -> int:
    return minor_units(sum(amounts, money.ZERO), sale.currency)


def _several(values: Sequence[str]) -> Sequence[str] | None:
    return values or None
