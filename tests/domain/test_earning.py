"""What a sale would earn by the shop's own rule."""

from decimal import Decimal
from typing import Any

import pytest

from agent.domain.earning import EarningRule, Rounding
from agent.domain.transaction import OpenTransaction


def line(paid: str, kind: str = "purchase", **changes: Any) -> dict[str, Any]:
    return {"kind": kind, "sku": "SK-1", "quantity": "1" if kind == "purchase" else "-1", "gross_paid": paid, **changes}


def basket(*lines: dict[str, Any], currency: str = "SEK") -> OpenTransaction:
    return OpenTransaction.model_validate({"currency": currency, "lines": lines})


@pytest.mark.parametrize(
    ("per_unit", "rounding", "lines", "points"),
    [
        pytest.param("1", "down", [line("250.00")], "250", id="one for each"),
        pytest.param("0.1", "down", [line("259.90")], "25", id="one for ten, down"),
        pytest.param("0.1", "nearest", [line("255.00")], "26", id="the nearest, halves up"),
        pytest.param("0.1", "nearest", [line("254.99")], "25", id="the nearest"),
        pytest.param("0.1", "up", [line("250.01")], "26", id="up"),
        pytest.param("0.1", "up", [line("250.00")], "25", id="whole already"),
        pytest.param("0.1", "down", [line("19.00"), line("19.00")], "3", id="of the whole sale, not line by line"),
        pytest.param("1", "down", [line("100"), line("50", awards_points=False)], "100", id="a line that awards none"),
        pytest.param("1", "down", [line("100"), line("30", "return")], "70", id="a return line"),
        pytest.param(
            "1", "down", [line("100"), line("30", "return", awards_points=False)], "100", id="it awarded none"
        ),
        pytest.param("0.1", "down", [line("259.90", "return")], "-25", id="a return loses what it earned, down"),
        pytest.param("0.1", "nearest", [line("255.00", "return")], "-26", id="a return, the nearest"),
        pytest.param("0.1", "up", [line("250.01", "return")], "-26", id="a return, up"),
        pytest.param("0.1", "down", [line("9.00", "return")], "0", id="a return of next to nothing"),
        pytest.param("10000", "down", [line("999999999999999")] * 1000, "9999999999999990000000", id="a great deal"),
    ],
)
def test_an_estimate(per_unit: str, rounding: str, lines: list[dict[str, Any]], points: str) -> None:
    """What is paid for lines that award points, times the rule, whole."""
    estimate = EarningRule(Decimal(per_unit), "SEK", Rounding(rounding)).estimate(basket(*lines))
    assert format(estimate, "f") == points


def test_another_currency() -> None:
    """The rule says nothing about it."""
    assert EarningRule(Decimal(1), "SEK").estimate(basket(line("10.00"), currency="NOK")) is None
