"""The sums of a sale: each rule of the contract, and where it is said to be broken."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain.arithmetic import faults, open_faults, sum_of_lines
from agent.domain.transaction import OpenTransaction, Transaction


def pointers(body: dict[str, Any]) -> list[str]:
    return [fault.pointer for fault in faults(Transaction.model_validate(body))]


def open_pointers(body: dict[str, Any]) -> list[str]:
    return [fault.pointer for fault in open_faults(OpenTransaction.model_validate(body))]


RETURN_LINE = {"kind": "return", "sku": "SK-9", "quantity": "-1", "gross_paid": "100.00", "unit_price": "100.00"}
PURE_RETURN = {
    "type": "return",
    "lines": [RETURN_LINE],
    "total": "-100.00",
    "payments": [{"type": "card", "amount": "-100.00"}],
}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="the contract's example"),
        pytest.param({"lines__0__unit_price": ...}, id="no unit price, nothing to compare"),
        pytest.param({"lines__0__unit_price": "140.005"}, id="one minor unit away"),
        pytest.param({"lines__0__unit_price": "139.995"}, id="one minor unit away, below"),
        pytest.param({"lines__0__unit_price": "140.0049"}, id="four decimals of a unit price"),
        pytest.param({"rounding": "0.40", "payments__0__amount": "200.40"}, id="rounded up for cash"),
        pytest.param({"rounding": "-0.40", "payments__0__amount": "199.60"}, id="rounded down for cash"),
        pytest.param({"payments": [{"type": "cash", "amount": "300"}, {"type": "cash", "amount": "-50"}]}, id="change"),
        pytest.param({"lines__0__sku": ...}, id="article number alone"),
        pytest.param({"lines__0__article_number": ...}, id="sku alone"),
        pytest.param(
            {"lines__0__quantity": "0.352", "lines__0__unit_price": "795.4545"}, id="weighed goods, three decimals"
        ),
        pytest.param(PURE_RETURN, id="a pure return"),
        pytest.param(PURE_RETURN | {"original_transaction_id": "1042-03-1"}, id="a return with its receipt"),
        pytest.param(PURE_RETURN | {"type": "void", "original_transaction_id": "1"}, id="a void with lines"),
        pytest.param(
            {"type": "void", "original_transaction_id": "1042-03-1", "lines": [], "payments": [], "total": "0"},
            id="a void without lines",
        ),
        pytest.param({"type": "points_claim"}, id="a claim without the earlier sale"),
        pytest.param({"type": "points_claim", "original_transaction_id": "1042-03-1"}, id="a claim"),
        pytest.param({"total": "250.0"}, id="a shorter spelling"),
        pytest.param({"identifier": None}, id="a guest"),
        pytest.param({"new_contact": {"mobile_phone": "0701740606"}}, id="somebody new"),
        pytest.param(
            {"lines__0__gross_paid": "0", "lines__0__tax_amount": "0", "lines__0__unit_price": "15", "total": "0",
             "payments": []},
            id="given away, to the last coin",
        ),
    ],
)  # fmt: skip
def test_sound_sales(sale, changes):
    """What adds up has no faults."""
    assert pointers(sale(**changes)) == []


def test_an_exchange(sale):
    """Lines of both kinds: what was bought less what was brought back."""
    body = sale(total="150.00", payments=[{"type": "card", "amount": "150.00"}], vouchers_used=[])
    body["lines"].append(RETURN_LINE)

    assert pointers(body) == []
    assert pointers({**body, "type": "return"}) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"currency": "XXX"}, ["/currency"], id="no currency"),
        pytest.param({"total": "250.01"}, ["/total", "/payments"], id="total is not the sum of its lines"),
        pytest.param({"total": "250.001"}, ["/total", "/total", "/payments"], id="total too fine"),
        pytest.param({"rounding": "0.001"}, ["/rounding", "/payments"], id="rounding too fine"),
        pytest.param({"rounding": "0.40"}, ["/payments"], id="rounding without its payment"),
        pytest.param({"payments": []}, ["/payments"], id="nothing paid"),
        pytest.param({"payments__1__amount": "49.99"}, ["/payments"], id="a coin short"),
        pytest.param({"payments__1__amount": "50.001"}, ["/payments/1/amount", "/payments"], id="payment too fine"),
        pytest.param({"lines": [], "payments": [], "total": "0"}, ["/lines"], id="no lines"),
        pytest.param({"lines__0__gross_paid": "249.00"}, ["/lines/0/gross_paid", "/total"], id="gross_paid is off"),
        pytest.param({"lines__0__unit_price": "140.0051"}, ["/lines/0/gross_paid"], id="more than one minor unit off"),
        pytest.param({"lines__0__unit_price": "140.00001"}, ["/lines/0/unit_price"], id="unit price too fine"),
        pytest.param(
            {"lines__0__unit_price": "-140"}, ["/lines/0/unit_price", "/lines/0/gross_paid"], id="unit price < 0"
        ),
        pytest.param(
            {"lines__0__discounts__0__amount": "30.001"}, ["/lines/0/discounts/0/amount"], id="discount too fine"
        ),
        pytest.param(
            {"lines__0__discounts__0__amount": "-30"},
            ["/lines/0/discounts/0/amount", "/lines/0/gross_paid"],
            id="discount < 0",
        ),
        pytest.param({"lines__0__tax_amount": "-1"}, ["/lines/0/tax_amount"], id="tax < 0"),
        pytest.param({"lines__0__tax_amount": "250.01"}, ["/lines/0/tax_amount"], id="more tax than was paid"),
        pytest.param({"lines__0__tax_amount": "50.005"}, ["/lines/0/tax_amount"], id="tax too fine"),
        pytest.param({"lines__0__tax_percent": "-25"}, ["/lines/0/tax_percent"], id="tax rate < 0"),
        pytest.param({"lines__0__quantity": "-2"}, ["/lines/0/quantity"], id="purchase with a negative quantity"),
        pytest.param({"lines__0__quantity": "0"}, ["/lines/0/quantity", "/lines/0/gross_paid"], id="nothing of it"),
        pytest.param({"lines__0__sku": ..., "lines__0__article_number": ...}, ["/lines/0/sku"], id="nameless goods"),
        pytest.param({"type": "return"}, ["/lines"], id="a return that returns nothing"),
        pytest.param(PURE_RETURN | {"type": "purchase"}, ["/lines"], id="a purchase that only returns"),
        pytest.param(PURE_RETURN | {"type": "points_claim"}, ["/lines"], id="a claim that only returns"),
        pytest.param(PURE_RETURN | {"total": "100.00"}, ["/total", "/payments"], id="a return with a positive total"),
        pytest.param(
            PURE_RETURN | {"payments": [{"type": "card", "amount": "100"}]}, ["/payments"], id="a return, paid again"
        ),
        pytest.param(
            PURE_RETURN | {"lines": [RETURN_LINE | {"quantity": "1"}]}, ["/lines/0/quantity"], id="return, quantity > 0"
        ),
        pytest.param(
            PURE_RETURN | {"lines": [RETURN_LINE | {"gross_paid": "-100.00"}]},
            ["/lines/0/gross_paid", "/lines/0/gross_paid", "/total"],
            id="return, gross_paid < 0",
        ),
        pytest.param({"type": "void"}, ["/original_transaction_id"], id="a void of nothing"),
        pytest.param(
            {"original_transaction_id": "1042-03-20260214-000187"}, ["/original_transaction_id"], id="names itself"
        ),
        pytest.param(
            {"integration_key": {"kind": "primary", "type": "member_number", "value": "10000421"}},
            ["/integration_key"],
            id="two names for its member",
        ),
        pytest.param({"new_contact": {"first_name": "Alma"}}, ["/new_contact"], id="somebody new without a key"),
        pytest.param(
            {"currency": "JPY", "total": "250.5", "payments__0__amount": "200.5", "lines__0__gross_paid": "250.5"},
            ["/total", "/payments/0/amount", "/lines/0/gross_paid"],
            id="a currency without decimals",
        ),
    ],
)
def test_unsound_sales(sale, changes, expected):
    """What does not add up is said with the place."""
    assert pointers(sale(**changes)) == expected


def test_three_decimals(sale):
    """A currency with three decimals may use them."""
    assert pointers(sale(currency="KWD", rounding="0.005", payments__0__amount="200.005")) == []


CENTS = st.integers(0, 10_000_00)


def money_of(cents: int) -> str:
    return str(Decimal(cents) / 100)


@st.composite
def sound_sales(draw: Callable[..., Any]) -> dict[str, Any]:
    """A sale whose sums are right by construction."""
    lines, total = [], 0
    for number in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["purchase", "return"])) if number else "purchase"
        quantity, price = draw(st.integers(1, 20)), draw(CENTS)
        cut = draw(st.integers(0, quantity * price))
        gross = quantity * price - cut
        tax = draw(st.integers(0, gross))
        lines.append(
            {
                "kind": kind,
                "sku": f"A-{number}",
                "quantity": str(quantity if kind == "purchase" else -quantity),
                "unit_price": money_of(price),
                "gross_paid": money_of(gross),
                "tax_amount": money_of(tax),
                "discounts": [{"amount": money_of(cut)}] if cut else [],
            }
        )
        total += gross if kind == "purchase" else -gross
    rounding = draw(st.integers(-50, 50))
    first = draw(st.integers(-(10**6), 10**6))
    return {
        "transaction_id": "1042-03-1",
        "type": "purchase",
        "occurred_at": "2026-02-14T16:41:09+01:00",
        "currency": "SEK",
        "total": money_of(total),
        "rounding": money_of(rounding),
        "lines": lines,
        "payments": [
            {"type": "card", "amount": money_of(first)},
            {"type": "cash", "amount": money_of(total + rounding - first)},
        ],
    }


@given(sound_sales())
def test_generated_sales_are_sound(body):
    """Right sums are never called wrong."""
    assert pointers(body) == []


@given(body=sound_sales(), cents=st.integers(-(10**6), 10**6).filter(lambda cents: abs(cents) > 1), data=st.data())
def test_one_wrong_amount_is_found(body, cents, data):
    """Whichever single amount is changed by more than the tolerance, a fault is found."""
    line = data.draw(st.sampled_from(body["lines"]))
    where, name = data.draw(
        st.sampled_from(
            [(body, "total"), (body, "rounding"), (body["payments"][0], "amount"), (line, "gross_paid")]
            + [(cut, "amount") for cut in line["discounts"]]
        )
    )
    where[name] = str(Decimal(where[name]) + Decimal(cents) / 100)

    assert pointers(body) != []


# --- not closed yet ---------------------------------------------------------------------------------------------

LEFT_OUT = dict.fromkeys(("transaction_id", "type", "occurred_at", "total", "payments"), ...)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="a closed one"),
        pytest.param(LEFT_OUT, id="as little as there may be"),
        pytest.param({"payments": []}, id="not paid yet"),
        pytest.param({"payments": [{"type": "card", "amount": "1"}]}, id="paid in part"),
        pytest.param({"lines": [RETURN_LINE], "total": "-100"}, id="a return line came first"),
        pytest.param({"type": "return"}, id="the return line comes later"),
        pytest.param({"type": "points_claim", "identifier": None}, id="a claim of somebody who is not named yet"),
    ],
)
def test_what_is_sound_of_an_open_sale(sale: Callable[..., dict[str, Any]], changes: dict[str, Any]) -> None:
    """More may come: nothing is expected of payments, kinds of lines and what names it."""
    assert open_pointers(sale(**changes)) == []


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        pytest.param({"currency": "SEX"}, "/currency", id="no currency"),
        pytest.param({"lines": []}, "/lines", id="no lines"),
        pytest.param({"total": "251.00"}, "/total", id="a total of something else"),
        pytest.param({"total": ..., "lines__0__gross_paid": "251.00"}, "/lines/0/gross_paid", id="a line's price"),
        pytest.param({"payments__0__amount": "0.001"}, "/payments/0/amount", id="a payment's decimals"),
        pytest.param({"type": "void", "original_transaction_id": "1"}, "/type", id="a void"),
        pytest.param(
            {"integration_key": {"kind": "primary", "type": "member_number", "value": "1"}},
            "/integration_key",
            id="two names",
        ),
    ],
)
def test_what_does_not_add_up_of_an_open_sale(
    sale: Callable[..., dict[str, Any]], changes: dict[str, Any], pointer: str
) -> None:
    """What is there is judged as on a closed one."""
    assert open_pointers(sale(**changes)) == [pointer]


def test_what_lines_come_to(sale: Callable[..., dict[str, Any]]) -> None:
    """Return lines take off."""
    body = sale(total=...)
    body["lines"].append(RETURN_LINE)
    assert sum_of_lines(OpenTransaction.model_validate(body)) == Decimal(150)
