"""What people buy in the demonstration: made-up goods in sales that add up."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from datetime import datetime, tzinfo
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

Json = dict[str, Any]

_CENT = Decimal("0.01")
_TAX_PERCENT = Decimal(25)
_GOODS = (
    ("SK-77-RED-M", "SK-77", "Wool socks", "Socks", "140.00"),
    ("MU-12-BLU", "MU-12", "Enamel mug", "Kitchen", "89.00"),
    ("TH-05", "TH-05", "Thermos, 1 litre", "Kitchen", "349.00"),
    ("CA-31-GRN-L", "CA-31", "Rain jacket", "Outdoor", "899.00"),
    ("BO-02", "BO-02", "Field guide to mushrooms", "Books", "229.00"),
    ("SO-19", "SO-19", "Tar soap", "Care", "45.00"),
)


class Baskets:
    """Makes sales of one till, each with an id of its own.

    Args:
        store_id: the store.
        till_id: the till.
        zone: the store's time zone.
        rng: what people take from the shelves.
    """

    def __init__(self, store_id: str, till_id: str, zone: tzinfo, rng: random.Random) -> None:
        self._store, self._till, self._zone, self._rng = store_id, till_id, zone, rng
        self._number = 0

    def purchase(self, at: datetime, who: Mapping[str, Any]) -> Json:
        """A purchase of one to three articles.

        Args:
            at: when.
            who: the fields that say whose it is: ``identifier``, ``integration_key``, ``new_contact`` or none.
        """
        goods = self._rng.sample(_GOODS, self._rng.randint(1, 3))
        return self._sale("purchase", at, [self._line(item, self._rng.randint(1, 2)) for item in goods], who)

    def taken_back(self, original: Json, at: datetime, who: Mapping[str, Any]) -> Json:
        """The whole of an earlier purchase comes back."""
        lines = [_returned(line) for line in original["lines"]]
        return self._sale("return", at, lines, {**who, "original_transaction_id": original["transaction_id"]})

    def exchanged(self, original: Json, at: datetime, who: Mapping[str, Any]) -> Json:
        """The first article of an earlier purchase comes back, and another goes out."""
        lines = [_returned(original["lines"][0]), self._line(_GOODS[3], 1)]
        return self._sale("purchase", at, lines, {**who, "original_transaction_id": original["transaction_id"]})

    def voided(self, original: Json, at: datetime) -> Json:
        """A sale is cleared, right after it was made."""
        sale = self._sale("void", at, [], {"original_transaction_id": original["transaction_id"]})
        return {**sale, "total": original["total"], "payments": []}

    def _sale(self, kind: str, at: datetime, lines: list[Json], who: Mapping[str, Any]) -> Json:
        self._number += 1
        total = sum((_signed(line) for line in lines), Decimal(0))
        local = at.astimezone(self._zone)
        return {
            "transaction_id": f"{self._store}-{self._till}-{local:%Y%m%d}-{self._number:06}",
            "type": kind,
            "receipt_number": f"{self._number:06}",
            "occurred_at": local.isoformat(timespec="seconds"),
            "currency": "SEK",
            "total": str(total),
            "lines": lines,
            "payments": [{"type": "card", "amount": str(total)}],
            **who,
        }

    def _line(self, item: Iterable[str], quantity: int) -> Json:
        sku, article, name, group, price = item
        full = Decimal(price) * quantity
        cut = (full / 10).quantize(_CENT, ROUND_HALF_UP) if self._rng.random() < 0.3 else Decimal(0)  # noqa: PLR2004 - taste
        paid = full - cut
        return {
            "kind": "purchase",
            "sku": sku,
            "article_number": article,
            "name": name,
            "plu_class": group,
            "quantity": str(quantity),
            "unit_price": price,
            "gross_paid": str(paid),
            "tax_amount": str((paid * _TAX_PERCENT / (100 + _TAX_PERCENT)).quantize(_CENT, ROUND_HALF_UP)),
            "tax_percent": str(_TAX_PERCENT),
            "discounts": [{"type": "member", "description": "Member price", "amount": str(cut)}] if cut else [],
        }


def _returned(line: Json) -> Json:
    return {**line, "kind": "return", "quantity": f"-{line['quantity']}"}


def _signed(line: Json) -> Decimal:
    paid = Decimal(line["gross_paid"])
    return -paid if line["kind"] == "return" else paid
