"""Receipts as the simulated account takes them. Pure.

Sources: the readme's sample, the example till for discounts and sums. That wrong sums are refused is the simulator's
own choice: it shows at once where a client's arithmetic is off.
"""

from decimal import Decimal
from typing import Any

from agent.connectors.monetary.simulator.values import Refused, named, number, rows

_CENT = Decimal("0.01")


def read_receipt(body: Any) -> dict[str, Any]:
    """A receipt as it is shown, without its id.

    Raises:
        Refused: it has another form, an amount has more than two decimals, or its sums are wrong.
    """
    stated = named(body)
    skus, discounts = rows(stated.get("skus"), "Skus"), rows(stated.get("discounts"), "Discounts")
    shown: dict[str, Any] = {
        "CustomerID": stated.get("customerid"),
        "Skus": [_sku(row) for row in skus],
        "Discounts": [_discount(row) for row in discounts],
        **{
            name: _cents(stated.get(name.lower(), 0), name)
            for name in ("SubTotal", "Taxes", "Tip", "Shipping", "Total")
        },
    }
    if not shown["Skus"]:
        raise Refused(400, "The request is invalid: a receipt has Skus.")
    due = sum(row["Amount"] * row["Quantity"] for row in shown["Skus"])
    due += sum(row["Amount"] for row in shown["Discounts"])
    if shown["SubTotal"] != due:
        raise Refused(400, "The request is invalid: SubTotal is the sum of Skus and Discounts.")
    if shown["Total"] != shown["SubTotal"] + shown["Taxes"] + shown["Tip"] + shown["Shipping"]:
        raise Refused(400, "The request is invalid: Total is SubTotal and Taxes.")
    shown_plainly: dict[str, Any] = _plain(shown)
    return shown_plainly


def marks_of(receipt: dict[str, Any], sku: str) -> list[str]:
    """The descriptions of a receipt's lines of one SKU."""
    return [row["Description"] for row in receipt["Skus"] if row["SKU"] == sku]


def _sku(row: dict[str, Any]) -> dict[str, Any]:
    name = row.get("sku")
    if not isinstance(name, str) or not name:
        raise Refused(400, "The request is invalid: a row has a SKU.")
    text = row.get("description", row.get("skudescription", name))
    quantity = number(1 if row.get("quantity") is None else row["quantity"], "Quantity")
    return {"SKU": name, "Description": text, "Amount": _cents(row.get("amount"), "Amount"), "Quantity": quantity}


def _discount(row: dict[str, Any]) -> dict[str, Any]:
    amount = _cents(row.get("amount"), "Amount")
    if amount >= 0:
        raise Refused(400, "The request is invalid: a discount is negative.")
    return {"OfferID": row.get("offerid"), "Description": row.get("description"), "Amount": amount}


def _cents(value: Any, name: str) -> Decimal:
    amount = number(value, name)
    if amount != amount.quantize(_CENT):
        raise Refused(400, f"The request is invalid: {name} has two decimals.")
    return amount


def _plain(value: Any) -> Any:
    """The same with amounts as JSON numbers."""
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_plain(member) for member in value]
    return float(value) if isinstance(value, Decimal) else value
