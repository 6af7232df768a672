"""The sales of the demonstration are sound."""

import random
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from agent.domain.transaction import Transaction
from agent.workbench.basket import Baskets

AT = datetime(2026, 2, 14, 15, 41, tzinfo=UTC)


def total(lines):
    return sum((Decimal(line["gross_paid"]) * (-1 if line["kind"] == "return" else 1) for line in lines), Decimal(0))


def test_every_kind_of_sale_fits_the_contract_and_adds_up():
    """Purchases, returns and exchanges have the shape of the door, and their lines and payments make the total."""
    baskets = Baskets("1042", "03", ZoneInfo("Europe/Stockholm"), random.Random(1))
    names = set()
    for _ in range(50):
        bought = baskets.purchase(AT, {"identifier": {"type": "email", "value": "alma@example.com"}})
        sales = [bought, baskets.taken_back(bought, AT, {}), baskets.exchanged(bought, AT, {})]
        for sale in sales:
            Transaction.model_validate(sale)
            assert total(sale["lines"]) == Decimal(sale["total"]) == Decimal(sale["payments"][0]["amount"])
        names |= {sale["transaction_id"] for sale in sales}
        void = Transaction.model_validate(baskets.voided(bought, AT))
        assert void.original_transaction_id == bought["transaction_id"]

    assert len(names) == 150
    assert bought["occurred_at"] == "2026-02-14T16:41:00+01:00"
