"""A sale as tills send them, to be varied."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

SALE: dict[str, Any] = {
    "transaction_id": "1042-03-20260214-000187",
    "type": "purchase",
    "receipt_number": "000187",
    "store_id": "1042",
    "till_id": "03",
    "cashier_id": "77",
    "occurred_at": "2026-02-14T16:41:09+01:00",
    "currency": "SEK",
    "total": "250.00",
    "identifier": {"type": "mobile_phone", "value": "070-174 06 05"},
    "lines": [
        {
            "kind": "purchase",
            "sku": "SK-77-RED-M",
            "article_number": "SK-77",
            "name": "Wool socks",
            "plu_class": "Socks",
            "quantity": "2",
            "unit_price": "140.00",
            "gross_paid": "250.00",
            "tax_amount": "50.00",
            "tax_percent": "25.00",
            "awards_points": True,
            "discounts": [{"type": "325", "description": "Member price", "amount": "30.00"}],
        }
    ],
    "payments": [
        {"type": "card", "amount": "200.00"},
        {"type": "voucher", "amount": "50.00", "reference": "0000000204417"},
    ],
    "vouchers_used": [{"number": "0000000204417"}],
    "offers_used": [{"offer_id": "8c0a2f8e-instance", "promotion_id": "5d1e-template"}],
    "new_contact": None,
}


@pytest.fixture(name="sale")
def _sale() -> Callable[..., dict[str, Any]]:
    """A sale's body; keywords replace members, by a path such as `lines__0__quantity`; `...` leaves one out."""

    def make(**changes: Any) -> dict[str, Any]:
        body = deepcopy(SALE)
        for path, value in changes.items():
            *way, last = (int(part) if part.isdecimal() else part for part in path.split("__"))
            at: Any = body
            for part in way:
                at = at[part]
            if value is ...:
                del at[last]
            else:
                at[last] = value
        return body

    return make
