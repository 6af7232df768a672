"""Sales as Monetary's receipts. Pure.

===========================  ===================================================  ==================================
ours                         Monetary's                                           source
===========================  ===================================================  ==================================
whose sale it is             CustomerID                                           readme; see `people.py`. A guest's
                                                                                  without it: unknown whether taken
lines[]                      Skus[]                                               readme
... sku, else article_number SKU                                                  readme
... name                     Description; the SKU where there is none             readme
... (gross_paid + its        Amount, the price of one, two decimals, and          readme: 10.50 x 2 = 21.00; two
discounts) / quantity        Quantity. What does not divide so, and what is       decimals: the example till. Whole
                             weighed, is one piece at the line's price            quantities alone: our caution
... discounts[]              Discounts[]: Description, Amount, negative           example till
... an offer's discounts     one of Discounts[], with its OfferID: it is used     example till
                             up by that. Where Monetary owns the contacts alone
Σ of both                    SubTotal                                             readme, example till: after discounts
tax_amount                   Taxes, with `tax = "added"`; else 0, amounts gross   readme: money, beside the SubTotal
SubTotal + Taxes             Total                                                readme
transaction_id               with `mark_receipts`, a line AGENT-RECEIPT that      ours: the readme's receipt has no
                             costs nothing, with the id as its Description        place for it
occurred_at                  not sent: the receipt counts when it arrives         no receipt has a time
store, till, currency,       not sent                                             no place for them; a key is one
receipt number                                                                    location's
payments, vouchers_used,     not sent                                             they are the loyalty system's, or
cashier_id                                                                        nobody's business there
===========================  ===================================================  ==================================

With `tax = "added"` an amount is its part without tax; a discount's part is in the proportion of its line.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any, Final

import simplejson

from agent.domain import money
from agent.domain.transaction import Line, Transaction

Label = tuple[str | None, str | None]
"""What a till calls a discount: its ``type`` and its ``description``."""
MARK: Final = "AGENT-RECEIPT"
"""The SKU of the line that names the sale; no shop has such an article."""
_CENT = Decimal("0.01")
_PERCENT = Decimal(100)
_MOST_DIGITS = 18


class InexactError(ValueError):
    """An amount has more than two decimals."""


class WithoutTaxError(ValueError):
    """A line does not say what tax is in it."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """What two receipts of the same goods share, however Monetary spells and orders it; neither taxes nor marks."""

    skus: tuple[tuple[str, Decimal, Decimal], ...]
    discounts: tuple[Decimal, ...]
    sub_total: Decimal
    total: Decimal


@dataclass(frozen=True, slots=True)
class _Part:
    """A line as it is told: what it came to before discounts, and each discount."""

    line: Line
    amount: Decimal
    discounts: tuple[tuple[Label, Decimal], ...] = field(default=())


def labels_of(sale: Transaction, offers: Collection[str]) -> dict[Label, str]:
    """Which discounts of a sale are which offer's; an offer is left out where nobody can tell.

    A discount whose ``type`` is the offer's id is the offer's. Of one offer alone in a sale with one kind of discount
    it is that.
    """
    labels = dict.fromkeys((cut.type, cut.description) for line in sale.lines for cut in line.discounts if cut.amount)
    found = {label: label[0] for label in labels if label[0] in offers and label[0] is not None}
    others, open_ = [label for label in labels if label not in found], set(offers).difference(found.values())
    if len(others) == len(open_) == 1:
        found[others[0]] = open_.pop()
    return found


def render_receipt(
    sale: Transaction, *, tax: str, mark: bool, offers: Mapping[Label, str] = MappingProxyType({})
) -> dict[str, Any]:
    """The receipt of a sale that brings nothing back, with exact decimals and without its customer.

    Args:
        sale: the sale.
        tax: `included` or `added`.
        mark: whether it names the sale.
        offers: whose discounts stand as one, under the offer's id.

    Raises:
        InexactError: an amount has more than two decimals.
        WithoutTaxError: tax is added, and a line does not say its own.
    """
    taxes = [_tax(line) if tax == "added" else money.ZERO for line in sale.lines]
    parts = [_part(line, taken) for line, taken in zip(sale.lines, taxes, strict=True)]
    cuts = [cut for part in parts for cut in part.discounts]
    sub_total = sum((part.amount for part in parts), money.ZERO) - sum((amount for _, amount in cuts), money.ZERO)
    told = sum(taxes, money.ZERO)
    named = [{"SKU": MARK, "Description": sale.transaction_id, "Amount": _exact(money.ZERO), "Quantity": 1}]
    return {
        "Skus": [*(_sku(part) for part in parts), *(named if mark else [])],
        "Discounts": _discounts(cuts, offers),
        "SubTotal": _exact(sub_total),
        "Taxes": _exact(told),
        "Total": _exact(sub_total + told),
    }


def without_offers(receipt: Mapping[str, Any], offers: Collection[str]) -> dict[str, Any]:
    """The same, with the discounts of some offers as the shop's own."""
    spelled = [_offer_id(offer) for offer in offers]
    rows = [
        {name: value for name, value in row.items() if name != "OfferID" or value not in spelled}
        for row in receipt["Discounts"]
    ]
    return {**receipt, "Discounts": rows}


def offers_in(receipt: Any) -> frozenset[str]:
    """The ids of the offers that a receipt used up."""
    told = (row.get("offerid") for row in _rows(_named(receipt).get("discounts")) or ())
    return frozenset(str(one) for one in told if isinstance(one, int | str) and not isinstance(one, bool))


def render_json(value: Any) -> bytes:
    """JSON with exact decimals."""
    return bytes(simplejson.dumps(value, use_decimal=True, ensure_ascii=False, separators=(",", ":")), "utf-8")


def likeness_of(receipt: Any) -> Likeness | None:
    """What tells a receipt from others of the same customer; None where it has no form that is understood.

    Args:
        receipt: one of ours, or one that Monetary shows: names in any case, numbers as such or as text.
    """
    named = _named(receipt)
    rows, cuts = _rows(named.get("skus")), _rows(named.get("discounts"))
    sub_total, total = amount_of(named.get("subtotal")), amount_of(named.get("total"))
    if named.get("skus") is None or rows is None or cuts is None or sub_total is None or total is None:
        return None
    skus, discounts = [], []
    for row in rows:
        sku, amount = row.get("sku"), amount_of(row.get("amount"))
        quantity = amount_of(1 if row.get("quantity") is None else row["quantity"])
        if not isinstance(sku, str) or amount is None or quantity is None:
            return None
        if sku != MARK:
            skus.append((sku, amount, quantity))
    for row in cuts:
        amount = amount_of(row.get("amount"))
        if amount is None:
            return None
        discounts.append(amount)
    return Likeness(tuple(sorted(skus)), tuple(sorted(discounts)), sub_total, total)


def mark_of(receipt: Any) -> str | None:
    """The sale that a receipt names; None where it names none."""
    for row in _rows(_named(receipt).get("skus")) or ():
        told = row.get("description", row.get("skudescription"))
        if row.get("sku") == MARK and isinstance(told, str):
            return told
    return None


def amount_of(value: Any) -> Decimal | None:
    """A number to two decimals, which can come as text; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    fits = number.is_finite() and number.adjusted() < _MOST_DIGITS
    return number.quantize(_CENT, ROUND_HALF_UP) if fits else None


def _named(value: Any) -> dict[str, Any]:
    return {str(name).lower(): member for name, member in value.items()} if isinstance(value, Mapping) else {}


def _rows(value: Any) -> list[dict[str, Any]] | None:
    """A list of objects; an absent one is empty; None where it is something else."""
    if value is None:
        return []
    if not isinstance(value, Sequence) or not all(isinstance(row, Mapping) for row in value):
        return None
    return [_named(row) for row in value]


def _discounts(cuts: Iterable[tuple[Label, Decimal]], offers: Mapping[Label, str]) -> list[dict[str, Any]]:
    """Each discount as it was; those of an offer together, as the offer is used once."""
    rows: list[dict[str, Any]] = []
    of_offer: dict[str, dict[str, Any]] = {}
    for label, amount in cuts:
        row = {"Description": label[1] or label[0] or "Discount", "Amount": _exact(-amount)}
        offer = offers.get(label)
        if offer is None:
            rows.append(row)
        elif offer in of_offer:
            of_offer[offer]["Amount"] += row["Amount"]
        else:
            of_offer[offer] = {"OfferID": _offer_id(offer), **row}
            rows.append(of_offer[offer])
    return rows


def _offer_id(offer: str) -> int | str:
    """As Monetary has it: a whole number, as all of its ids but a receipt's (inferred), else the text."""
    is_number = offer.isascii() and offer.isdecimal() and offer == str(int(offer[:_MOST_DIGITS]))
    return int(offer) if is_number else offer


def _sku(part: _Part) -> dict[str, Any]:
    line, quantity = part.line, part.line.quantity
    price = part.amount / quantity
    if quantity != quantity.to_integral_value() or price != price.quantize(_CENT):
        price, quantity = part.amount, Decimal(1)
    name = line.product_id
    return {"SKU": name, "Description": line.name or name, "Amount": _exact(price), "Quantity": int(quantity)}


def _part(line: Line, tax: Decimal) -> _Part:
    paid = line.gross_paid - tax
    cuts = tuple(_cuts(line, paid))
    return _Part(line, paid + sum((amount for _, amount in cuts), money.ZERO), cuts)


def _cuts(line: Line, paid: Decimal) -> Iterator[tuple[Label, Decimal]]:
    for cut in line.discounts:
        amount = cut.amount
        if paid != line.gross_paid:
            amount = (amount * paid / line.gross_paid).quantize(_CENT, ROUND_HALF_UP)
        if amount:
            yield (cut.type, cut.description), amount


def _tax(line: Line) -> Decimal:
    """What tax is in a line, as it says, or by its rate."""
    if line.tax_amount is not None:
        return line.tax_amount
    if line.tax_percent is None:
        raise WithoutTaxError
    share = line.tax_percent / (_PERCENT + line.tax_percent)
    return (line.gross_paid * share).quantize(_CENT, ROUND_HALF_UP)


def _exact(amount: Decimal) -> Decimal:
    exact = amount.quantize(_CENT)
    if exact != amount:
        raise InexactError
    return exact
