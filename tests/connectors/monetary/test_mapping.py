"""Sales as receipts: amounts, discounts and taxes to the cent, and what makes two receipts alike."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.connectors.monetary.mapping import (
    InexactError,
    WithoutTaxError,
    amount_of,
    labels_of,
    likeness_of,
    mark_of,
    offers_in,
    render_json,
    render_receipt,
    without_offers,
)
from agent.connectors.monetary.simulator.receipts import read_receipt
from agent.connectors.monetary.simulator.values import parsed
from tests.connectors.mparticle.sales import make_sale


def line(gross, quantity="1", **changes):
    return {"kind": "purchase", "sku": "SK-77", "quantity": quantity, "gross_paid": gross, **changes}


def rendered(*lines, tax="included", mark=False, **changes):
    return render_receipt(make_sale(lines=lines, **changes), tax=tax, mark=mark)


def cut(amount, **said):
    return {"amount": amount, **said}


@pytest.mark.parametrize(
    ("sold", "sku"),
    [
        pytest.param(line("250.00", "2"), ("125.00", 2), id="divides"),
        pytest.param(line("10.00", "3"), ("10.00", 1), id="does not divide"),
        pytest.param(line("23.45", "0.532"), ("23.45", 1), id="weighed"),
        pytest.param(line("5.00", "0.5"), ("5.00", 1), id="half of one"),
        pytest.param(line("0.00", "4"), ("0.00", 4), id="free"),
        pytest.param(line("0.10", "10"), ("0.01", 10), id="cents"),
        pytest.param(line("999999999999.99"), ("999999999999.99", 1), id="large"),
        pytest.param(line("90.00", "2", discounts=[cut("10.00")]), ("50.00", 2), id="before its discount"),
        pytest.param(line("90.01", "2", discounts=[cut("10.00")]), ("100.01", 1), id="does not divide, discounted"),
    ],
)
def test_a_line(sold, sku):
    """The price of one and how many, exactly; else one piece at the line's price."""
    [row] = rendered(sold)["Skus"]
    assert (row["Amount"], row["Quantity"]) == (Decimal(sku[0]), sku[1])


def test_a_receipt():
    """All of a sale that there is a place for, and not its id, time, shop, till, tenders or people."""
    sold = [
        line("40.00", "2", name="Wool socks", discounts=[cut("5.00", description="Autumn"), cut("5.00", type="staff")]),
        {
            "kind": "purchase",
            "article_number": "A-1",
            "quantity": "1",
            "gross_paid": "0.00",
            "discounts": [cut("3.50")],
        },
    ]
    assert rendered(*sold, total="40.00") == {
        "Skus": [
            {"SKU": "SK-77", "Description": "Wool socks", "Amount": Decimal("25.00"), "Quantity": 2},
            {"SKU": "A-1", "Description": "A-1", "Amount": Decimal("3.50"), "Quantity": 1},
        ],
        "Discounts": [
            {"Description": "Autumn", "Amount": Decimal("-5.00")},
            {"Description": "staff", "Amount": Decimal("-5.00")},
            {"Description": "Discount", "Amount": Decimal("-3.50")},
        ],
        "SubTotal": Decimal("40.00"),
        "Taxes": Decimal("0.00"),
        "Total": Decimal("40.00"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sold", "told"),
    [
        pytest.param(line("250.00", "2", tax_amount="50.00"), ("100.00", 2, [], "200.00", "50.00"), id="an amount"),
        pytest.param(line("112.00", tax_percent="12"), ("100.00", 1, [], "100.00", "12.00"), id="a rate"),
        pytest.param(
            line("100.00", tax_amount="20.00", discounts=[cut("25.00")]),
            ("100.00", 1, ["-20.00"], "80.00", "20.00"), id="a discount, in its line's proportion",
        ),
        pytest.param(
            line("0.00", tax_amount="0.00", discounts=[cut("10.00")]), ("10.00", 1, ["-10.00"], "0.00", "0.00"),
            id="all of it a discount",
        ),
        pytest.param(line("50.00", tax_amount="50.00"), ("0.00", 1, [], "0.00", "50.00"), id="nothing but tax"),
    ],
)  # fmt: skip
def test_tax_beside_the_amounts(sold, told):
    """Net amounts, the tax as money, and a total that is what was paid."""
    receipt = rendered(sold, tax="added")
    [row] = receipt["Skus"]
    amounts = [str(discount["Amount"]) for discount in receipt["Discounts"]]
    got = (str(row["Amount"]), row["Quantity"], amounts, str(receipt["SubTotal"]), str(receipt["Taxes"]))
    assert got == told
    assert receipt["Total"] == Decimal(sold["gross_paid"])


def test_a_line_that_does_not_say_its_tax():
    """Nobody's tax is guessed."""
    with pytest.raises(WithoutTaxError):
        rendered(line("250.00"), tax="added")


@pytest.mark.parametrize("sold", [line("1.005"), line("1.00", discounts=[cut("0.125")])], ids=["a line", "a discount"])
def test_a_currency_of_three_decimals(sold):
    """An amount that has no two-decimal form is refused, never rounded."""
    with pytest.raises(InexactError):
        rendered(sold, currency="KWD")


cents = st.integers(0, 10**9).map(lambda number: Decimal(number).scaleb(-2))


@given(
    st.lists(
        st.tuples(cents, st.integers(1, 50) | st.decimals("0.001", "9", places=3), st.lists(cents, max_size=3), cents),
        min_size=1, max_size=6,
    ),
    st.sampled_from(["included", "added"]),
)  # fmt: skip
def test_the_sums_hold(lines, tax):
    """Whatever was sold: what the lines and discounts come to is what was paid, to the cent, and JSON keeps it."""
    sold = [
        line(str(gross), str(quantity), tax_amount=str(min(share, gross)),
             discounts=[cut(str(amount)) for amount in cuts])
        for gross, quantity, cuts, share in lines
    ]  # fmt: skip
    receipt = rendered(*sold, tax=tax)
    assert receipt["Total"] == sum(gross for gross, *_ in lines)
    taken = read_receipt(parsed(render_json(receipt)))  # it refuses wrong sums and a third decimal
    assert likeness_of(taken) == likeness_of(receipt)


def test_a_mark():
    """The sale's id, as a line that costs nothing."""
    marked = rendered(line("250.00"), mark=True)
    assert marked["Skus"][-1] == {
        "SKU": "AGENT-RECEIPT", "Description": "1042-03-20260214-000187", "Amount": Decimal("0.00"), "Quantity": 1,
    }  # fmt: skip
    assert (mark_of(marked), mark_of(rendered(line("250.00")))) == ("1042-03-20260214-000187", None)
    assert marked["Total"] == Decimal(250)


OURS = rendered(line("40.00", "2", discounts=[cut("5.00")]), line("10.00", sku="HAT"))
SHOWN = json.loads(render_json({**OURS, "ReceiptID": "0f6c2c526b0e4a0c9c1e0f6c2c526b0e"}))


@pytest.mark.parametrize(
    ("change", "alike"),
    [
        pytest.param({}, True, id="the same"),
        pytest.param({"Taxes": 0.075, "Tip": 0, "CustomerID": 7, "When": "now"}, True, id="taxes are not compared"),
        pytest.param({"Skus": SHOWN["Skus"][::-1]}, True, id="another order"),
        pytest.param({"SubTotal": "50.00", "Total": "50"}, True, id="numbers as text"),
        pytest.param({"Skus": [{name.upper(): value for name, value in row.items()} for row in SHOWN["Skus"]]}, True,
                     id="names in another case"),
        pytest.param({"Skus": SHOWN["Skus"][:1]}, False, id="a line less"),
        pytest.param({"Skus": [*SHOWN["Skus"], SHOWN["Skus"][0]]}, False, id="a line twice"),
        pytest.param({"Discounts": []}, False, id="no discount"),
        pytest.param({"Discounts": None}, False, id="discounts that are nothing"),
        pytest.param({"Total": 50.01}, False, id="a cent more"),
        pytest.param({"SubTotal": 50.01}, False, id="a cent more before taxes"),
    ],
)  # fmt: skip
def test_likeness(change, alike):
    """Goods, discounts and sums, however they are spelled."""
    assert (likeness_of({**SHOWN, **change}) == likeness_of(OURS)) is alike


@pytest.mark.parametrize(
    "receipt",
    [
        None, [], "receipt", 7, {}, {**SHOWN, "Skus": None}, {**SHOWN, "Skus": {}}, {**SHOWN, "Skus": "SK-77"},
        {**SHOWN, "Skus": [None]}, {**SHOWN, "Skus": [{"SKU": 7, "Amount": 1}]}, {**SHOWN, "Skus": [{"SKU": "a"}]},
        {**SHOWN, "Discounts": [{}]}, {**SHOWN, "Discounts": [7]}, {**SHOWN, "Total": None},
        {**SHOWN, "Total": float("nan")}, {**SHOWN, "SubTotal": float("inf")}, {**SHOWN, "Total": True},
        {**SHOWN, "Total": 10**30}, {**SHOWN, "Total": "1e999999999"}, {**SHOWN, "Total": []},
    ],
)  # fmt: skip
def test_what_is_no_receipt(receipt):
    """It is like no other, and nothing breaks over it."""
    assert likeness_of(receipt) is None
    assert mark_of(receipt) is None


@pytest.mark.parametrize(
    ("value", "amount"),
    [(7, "7"), (7.5, "7.5"), (0.1 + 0.2, "0.3"), ("7.50", "7.5"), (-7, "-7"), (10**400, None), ("NaN", None),
     ("sNaN", None), ("", None), ("7,5", None), (False, None), ({}, None)],
)  # fmt: skip
def test_an_amount(value, amount):
    """A number or a text of one, to two decimals."""
    assert amount_of(value) == (None if amount is None else Decimal(amount))


# --- offers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cuts", "offers", "expected"),
    [
        ([cut("10.00", type="7")], ["7"], {("7", None): "7"}),
        ([cut("10.00", type="7"), cut("5.00", type="325")], ["7"], {("7", None): "7"}),
        ([cut("10.00", description="Welcome")], ["7"], {(None, "Welcome"): "7"}),
        ([cut("10.00", type="7"), cut("5.00", type="325")], ["7", "8"], {("7", None): "7", ("325", None): "8"}),
        ([cut("10.00", type="325"), cut("5.00", type="326")], ["7"], {}),
        ([cut("10.00", type="325")], ["7", "8"], {}),
        ([cut("0.00", type="7")], ["7"], {}),
        ([], ["7"], {}),
        ([cut("10.00", type="7")], [], {}),
    ],
    ids=[
        "named",
        "beside another",
        "the only one",
        "what is left",
        "several",
        "two offers",
        "nothing off",
        "none",
        "no offer",
    ],
)
def test_whose_a_discount_is(cuts, offers, expected):
    """As the till says, or the one that is left; else nobody's is guessed."""
    assert labels_of(make_sale(lines=[line("90.00", discounts=cuts)]), offers) == expected


@pytest.mark.parametrize(("tax", "amount"), [("included", "-15.00"), ("added", "-12.00")])
def test_an_offer_over_several_lines(tax, amount):
    """Its discounts are one, under its id as Monetary has it, and without the id they stay one: alike either way."""
    cuts = [[cut("10.00", type="7", description="Welcome"), cut("1.00")], [cut("5.00", type="7")]]
    sold = make_sale(lines=[line("90.00", discounts=one, tax_percent="25") for one in cuts])
    labels = labels_of(sold, ["7"])
    receipt = render_receipt(sold, tax=tax, mark=False, offers=labels)
    assert receipt["Discounts"][0] == {"OfferID": 7, "Description": "Welcome", "Amount": Decimal(amount)}
    assert (len(receipt["Discounts"]), offers_in(receipt)) == (2, {"7"})
    bare = without_offers(receipt, ["7"])
    assert (offers_in(bare), likeness_of(bare)) == (frozenset(), likeness_of(receipt))
    assert without_offers(receipt, ["8"]) == receipt
    assert read_receipt(parsed(render_json(receipt)))["Discounts"][0]["OfferID"] == 7


@pytest.mark.parametrize(
    ("offer", "told"),
    [("7", 7), ("007", "007"), ("A-7", "A-7"), ("9" * 18, int("9" * 18)), ("9" * 40, "9" * 40), ("\u0667", "\u0667")],
    ids=["a number", "zeros", "a text", "long", "too long", "another script"],
)
def test_the_id_of_an_offer(offer, told):
    """A number only where it is spelled as one: it is to come back as it was shown."""
    sold = make_sale(lines=[line("90.00", discounts=[cut("10.00", type=offer)])])
    [row] = render_receipt(sold, tax="included", mark=False, offers=labels_of(sold, [offer]))["Discounts"]
    assert row["OfferID"] == told
    assert offers_in({"Discounts": [row]}) == {offer}
