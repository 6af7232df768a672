"""Sales as mParticle's batches: which events a sale makes, and what stands in them. Pure.

One sale is one batch, so that repeating or regrouping it never changes the ids by which mParticle knows it.

===========================  ===================================================  ==================================
ours                         mParticle's                                          source
===========================  ===================================================  ==================================
transaction_id               source_request_id: a UUID made of it                 JSON reference: deduplicates inbound
                                                                                  requests per API key, 30 to 60 days
transaction_id               product_action.transaction_id, unchanged             JSON reference
original_transaction_id      custom_attributes.original_transaction_id            our choice
occurred_at                  timestamp_unixtime_ms                                JSON reference: else the server's time
corrected_at                 custom_attributes.corrected_at, where the till's     our choice: the event's own time is
                             clock was wrong                                      the till's
purchase lines, a claim      commerce_event, action purchase                      JSON reference; Redcat: `purchase`
return lines, a void         commerce_event, action refund, amounts positive      the sign is unknown; Redcat names
                                                                                  refunds and clears `purchase` too
both kinds (an exchange)     one event of each, with the sums of its own lines    our choice: an event has one action
Σ gross_paid, Σ tax_amount   total_amount, tax_amount, in major units             JSON reference
lines[]                      products[]: id, name, category (PLU class), price,   JSON reference
                             quantity, total_product_amount
lines of excluded classes    left out; the totals stay                            Redcat: excluded PLU classes
vouchers_used, offers_used   custom_event coupon_redemption, one for each         Redcat: `coupon_redemption`
payments[].type              custom_attributes.payment_type                       Redcat: always `POS Charge`, unless
                                                                                  points, member cash or a gift card
store_id                     affiliation, custom_attributes.store_id              our choice
cashier_id, references       not sent                                             our choice: people, and not needed
===========================  ===================================================  ==================================

Redcat publishes names and triggers, nothing of the attributes: these, here, are our own. All are strings, because the
older of mParticle's two published shapes takes nothing else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from agent.connectors.mparticle.person import render_bridge, render_person
from agent.connectors.mparticle.settings import MparticleSettings
from agent.connectors.mparticle.values import milliseconds, render_json, stable_id
from agent.domain import money
from agent.domain.identifiers import IdentifierType
from agent.domain.transaction import Line, Payment, Transaction, TransactionType
from agent.ports import Outgoing

OUTPUTS_TAKE = timedelta(hours=24)
"""What is older reaches profiles and audiences, but no output that keeps the default of its maximum data age."""
HISTORICAL_AFTER = timedelta(days=30)
"""What is older goes to the historical endpoint, which forwards nothing."""
_CENT = Decimal("0.01")
_POS_CHARGE = "POS Charge"
_PAYMENT_TYPES = {
    "loyalty_points": "Loyalty Redemption",
    "loyalty_reward": "Loyalty Redemption",
    "member_cash": "Hybrid Cash Card Redemption",
    "gift_card": "e-Gift Card Redemption",
}
_STATUSES = {
    TransactionType.PURCHASE: "sale",
    TransactionType.RETURN: "sale",
    TransactionType.VOID: "cleared",
    TransactionType.POINTS_CLAIM: "claim",
}


@dataclass(frozen=True, slots=True)
class Batch:
    """A sale, ready to be sent.

    Attributes:
        body: the batch as JSON.
        events: how many are in it; none when the profile sends nothing for this sale.
        historical: it is too old for the endpoints that forward.
    """

    body: bytes = field(repr=False)
    events: int
    historical: bool


def wants_guest(sale: Transaction, settings: MparticleSettings) -> bool:
    """Whether anything is sent for a sale that names nobody."""
    return _sends_purchase(sale, settings, member=False) or bool(_coupons(sale))


def render_batch(outgoing: Outgoing, settings: MparticleSettings, *, primary: IdentifierType, now: datetime) -> Batch:
    """The batch of a sale.

    A void gives back what the sale it clears took; where that is not known, the void's own lines are taken: turned
    round when they restate a sale (their total is positive), as they are when they already say what was given back.

    Args:
        outgoing: the sale with its tag; a void without lines needs its original.
        settings: the table.
        primary: the type of the primary integration key.
        now: decides how old the sale is.
    """
    sale = outgoing.transaction
    told = outgoing.original if sale.type is TransactionType.VOID and outgoing.original is not None else sale
    reverse = sale.type is TransactionType.VOID and (told is not sale or sale.total > 0)
    member = outgoing.key is not None
    writer = _Events(outgoing, told, settings, late=now - sale.occurred_at > OUTPUTS_TAKE)
    events: list[dict[str, Any]] = []
    if _sends_purchase(told, settings, member=member):
        events += writer.purchases(reverse=reverse)
    events += writer.coupons()
    body = {
        "environment": settings.environment,
        "source_request_id": stable_id(sale.transaction_id),
        **render_person(outgoing, settings, primary=primary),
        "events": events,
    }
    return Batch(render_json(body), len(events), now - sale.occurred_at > HISTORICAL_AFTER)


def payment_type(payments: Sequence[Payment], vouchers: frozenset[str], order: Sequence[str]) -> str:
    """The one payment type that Redcat shows: the first of the order that occurs, `POS Charge` where nothing else is.

    Args:
        payments: the tenders.
        vouchers: numbers of the loyalty system's own vouchers; a voucher that is none of them is an ordinary tender.
        order: the types, the one to be shown first in front.
    """
    kinds = (
        "loyalty_reward" if payment.type == "voucher" and payment.reference in vouchers else payment.type
        for payment in payments
    )
    occurring = {_PAYMENT_TYPES.get(kind, _POS_CHARGE) for kind in kinds}
    return next((kind for kind in order if kind in occurring), _POS_CHARGE)


def _sends_purchase(sale: Transaction, settings: MparticleSettings, *, member: bool) -> bool:
    return member or settings.guest_pos_sales or sale.channel != "pos"


def _coupons(sale: Transaction) -> tuple[dict[str, str], ...]:
    """What was redeemed, as attributes; giving back redeems nothing."""
    if sale.type is not TransactionType.PURCHASE:
        return ()
    vouchers = ({"coupon_code": used.number} for used in sale.vouchers_used)
    offers = (
        {"coupon_code": used.offer_id, **({"promotion_id": used.promotion_id} if used.promotion_id else {})}
        for used in sale.offers_used
    )
    return (*vouchers, *offers)


class _Events:
    """The events of one sale.

    Args:
        outgoing: the sale.
        told: whose lines and tenders are told; for a void the sale it clears.
        settings: the table.
        late: it is older than what outputs take.
    """

    def __init__(self, outgoing: Outgoing, told: Transaction, settings: MparticleSettings, *, late: bool) -> None:
        self._sale, self._told, self._settings = outgoing.transaction, told, settings
        self._minor = money.minor_unit(told.currency) or _CENT
        self._common = self._attributes(outgoing, late=late)

    def purchases(self, *, reverse: bool) -> Iterator[dict[str, Any]]:
        """The commerce events: one for what was bought and one for what was given back, where there is any."""
        empty = "return" if self._told.type is TransactionType.RETURN else "purchase"
        kinds: set[str] = {line.kind for line in self._told.lines} or {empty}
        for kind in sorted(kinds):
            refund = (kind == "return") != reverse
            lines = [line for line in self._told.lines if line.kind == kind]
            yield self._purchase(lines, refund=refund)

    def coupons(self) -> Iterator[dict[str, Any]]:
        """An event for each coupon that was redeemed."""
        for place, coupon in enumerate(_coupons(self._sale), 1):
            named = {"transaction_id": self._sale.transaction_id, **coupon, **self._total(self._told.total)}
            data = {
                "event_name": "coupon_redemption",
                "custom_event_type": "transaction",
                **self._envelope("coupon_redemption", str(place)),
                "custom_attributes": {**self._common, **named},
            }
            yield {"event_type": "custom_event", "data": data}

    def _purchase(self, lines: Sequence[Line], *, refund: bool) -> dict[str, Any]:
        action = "refund" if refund else "purchase"
        excluded = self._settings.exclude_plu_classes
        total = sum((line.gross_paid for line in lines), money.ZERO)
        tax = sum((line.tax_amount or money.ZERO for line in lines), money.ZERO)
        data = {
            **({"event_name": "purchase"} if self._settings.profile == "redcat" else {}),
            **self._envelope("purchase", action),
            "currency_code": self._told.currency,
            "product_action": {
                "action": action,
                "transaction_id": self._sale.transaction_id,
                "affiliation": self._sale.store_id or self._told.store_id or "",
                "total_amount": self._amount(total),
                "tax_amount": self._amount(tax),
                "products": [self._product(line) for line in lines if line.plu_class not in excluded],
            },
            "custom_attributes": {
                **self._common, "sale_status": self._status(refund=refund), **self._payment(), **self._total(total),
            },
        }  # fmt: skip
        return {"event_type": "commerce_event", "data": data}

    def _envelope(self, *parts: str) -> dict[str, Any]:
        return {
            "source_message_id": stable_id(self._sale.transaction_id, *parts),
            "timestamp_unixtime_ms": milliseconds(self._sale.occurred_at),
        }

    def _status(self, *, refund: bool) -> str:
        status = _STATUSES[self._sale.type]
        return "refund" if refund and status == "sale" else status

    def _attributes(self, outgoing: Outgoing, *, late: bool) -> dict[str, str]:
        sale, told = self._sale, self._told
        corrected = outgoing.corrected_at
        stated = {
            "store_id": sale.store_id or told.store_id,
            "till_id": sale.till_id or told.till_id,
            "receipt_no": sale.receipt_number or sale.transaction_id,
            "channel": "claim" if sale.type is TransactionType.POINTS_CLAIM else told.channel,
            "member": "true" if outgoing.key is not None else "false",
            "original_transaction_id": sale.original_transaction_id,
            "corrected_at": corrected.astimezone(UTC).isoformat(timespec="seconds") if corrected else None,
            "late": "true" if late else None,
        }
        known = {name: value for name, value in stated.items() if value is not None}
        return {**known, **(render_bridge(outgoing) if self._settings.voucherify_bridge else {})}

    def _payment(self) -> dict[str, str]:
        told, settings = self._told, self._settings
        if settings.profile == "plain":
            return {"payment_types": ",".join(sorted({payment.type for payment in told.payments}))}
        vouchers = frozenset(voucher.number for voucher in told.vouchers_used)
        return {"payment_type": payment_type(told.payments, vouchers, settings.payment_type_order)}

    def _total(self, total: Decimal) -> dict[str, str]:
        """The amount as a plain number in a string: what Voucherify reads as one; a sign of a currency it would not."""
        return {"total_amount": str(self._amount(total))} if self._settings.voucherify_bridge else {}

    def _product(self, line: Line) -> dict[str, Any]:
        quantity = abs(line.quantity)
        price = line.unit_price
        if price is None and quantity:
            price = line.gross_paid / quantity
        product = {
            "id": line.product_id,
            "name": line.name or line.article_number or line.product_id,
            "category": line.plu_class,
            "price": None if price is None else self._amount(price),
            "quantity": quantity,
            "total_product_amount": self._amount(line.gross_paid),
        }
        return {name: value for name, value in product.items() if value is not None}

    def _amount(self, amount: Decimal) -> Decimal:
        return amount.quantize(self._minor)
