"""What a posted receipt has to look like."""

import math
from collections.abc import Iterator
from datetime import datetime
from typing import Any

MATCH_FIELDS = {
    "contactid": ("contactId",),
    "membernumber": ("memberNumber",),
    "socialsecuritynumber": ("socialSecurityNumber",),
    "mobilephone": ("mobilePhone",),
    "externalid": ("externalId",),
    "email": ("email",),
    "cardid": ("cardId",),
    "membernumberwithcardnumberasfallback": ("memberNumber", "cardId"),
}

_LINE_SIGNS = {"PURCHASE": 1, "RETURN": -1, "ADJUSTMENT": 1}
_CURRENCY_LETTERS = 3
_HALF_A_CENT = 0.005


def find_errors(receipt: dict[str, Any], *, check_totals: bool) -> Iterator[str]:
    """One text for each field of a receipt that Engage would not take.

    Args:
        receipt: The parsed body.
        check_totals: Whether the total has to agree with the signed sum of the lines.
    """
    yield from _contact_errors(receipt.get("contact"))
    yield from _head_errors(receipt)
    yield from _payment_errors(receipt.get("paymentMethods"))
    items = receipt.get("items")
    if not isinstance(items, list) or not items:
        yield "items: required list"
        return
    line_errors = [f"items[{place}].{text}" for place, item in enumerate(items) for text in _line_errors(item)]
    yield from line_errors
    if check_totals and not line_errors and _is_number(receipt.get("totalGrossPrice")):
        total = sum(_LINE_SIGNS[item["type"]] * item["grossPaidPrice"] for item in items)
        if abs(total - receipt["totalGrossPrice"]) >= _HALF_A_CENT:
            yield "totalGrossPrice: differs from the sum of the lines"


def _head_errors(receipt: dict[str, Any]) -> Iterator[str]:
    for name in ("uniqueReceiptId", "createdDate", "storeExternalId", "currency"):
        if not _is_text(receipt.get(name)):
            yield f"{name}: required text"
    if _is_text(receipt.get("createdDate")) and not _has_offset(receipt["createdDate"]):
        yield "createdDate: ISO 8601 local time with offset"
    if _is_text(receipt.get("currency")) and not _is_currency(receipt["currency"]):
        yield "currency: three capital letters"
    if not _is_number(receipt.get("totalGrossPrice")):
        yield "totalGrossPrice: required number"
    rate = receipt.get("exchangeRateToGroupCurrency")
    if rate is not None and not (_is_number(rate) and rate >= 0):
        yield "exchangeRateToGroupCurrency: number from 0"


def _payment_errors(payments: Any) -> Iterator[str]:
    if not isinstance(payments, list):
        yield "paymentMethods: required list"
        return
    for place, row in enumerate(payments):
        if not (isinstance(row, dict) and _is_text(row.get("type")) and _is_number(row.get("value"))):
            yield f"paymentMethods[{place}]: type and value"


def _contact_errors(contact: Any) -> Iterator[str]:
    if not isinstance(contact, dict):
        yield "contact: required"
        return
    if not _is_text(contact.get("matchKey")):
        yield "contact.matchKey: required text"
    if not _is_text(contact.get("matchKeyType")) or contact["matchKeyType"].lower() not in MATCH_FIELDS:
        yield "contact.matchKeyType: not one of the match key types"
    if contact.get("contactType") is not None and not _is_text(contact["contactType"]):
        yield "contact.contactType: text"


def _line_errors(item: Any) -> Iterator[str]:
    if not isinstance(item, dict):
        yield "type: required"
        return
    if not _is_text(item.get("type")) or item["type"] not in _LINE_SIGNS:
        yield "type: PURCHASE, RETURN or ADJUSTMENT"
    for name in ("sku", "articleNumber", "articleName"):
        if not _is_text(item.get(name)):
            yield f"{name}: required text"
    quantity = item.get("quantity")
    if not isinstance(quantity, int) or isinstance(quantity, bool):
        yield "quantity: required integer"
    elif item.get("type") == "RETURN" and quantity >= 0:
        yield "quantity: negative on a return"
    for name in ("grossPaidPrice", "taxAmount", "taxPercent"):
        if not _is_number(item.get(name)):
            yield f"{name}: required number"
        elif item.get("type") == "RETURN" and item[name] < 0:
            yield f"{name}: positive on a return"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _has_offset(value: str) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _is_currency(value: str) -> bool:
    return len(value) == _CURRENCY_LETTERS and value.isascii() and value.isalpha() and value.isupper()
