"""What comes back is taken off the order of its sale: exactly, once, and never more than it has."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.connectors.voucherify.mapping import render_item
from agent.connectors.voucherify.returns import (
    RETURNS,
    ExceedsError,
    claimant,
    is_taken_off,
    render_claimed,
    render_taken_off,
)
from agent.connectors.voucherify.simulator.checks import check_order
from agent.domain.transaction import Line
from agent.errors import VendorOwnError
from tests.connectors.mparticle.sales import make_sale


def item(goods: str, quantity: int, price: int, **more):
    return {
        "object": "order_item", "source_id": goods, "related_object": "product", "quantity": quantity, "price": price,
        "amount": quantity * price, "subtotal_amount": quantity * price, **more,
    }  # fmt: skip


def of(*items, **more):
    return {"object": "order", "id": "ord_00000001", "status": "PAID", "items": list(items), "metadata": {}, **more}


def back(*rows, name="r-1"):
    lines = [
        {"kind": "return", "sku": goods, "quantity": f"-{quantity}", "gross_paid": paid}
        for goods, quantity, paid in rows
    ]
    return make_sale(transaction_id=name, type="return", original_transaction_id="s-1", lines=lines)


def update(order, sale):
    return check_order(json.loads(render_taken_off(order, sale)), None)


@pytest.mark.parametrize(
    ("rows", "amount", "left"),
    [
        pytest.param([("A", "1", "125.00")], 22500, [("A", 1, 12500), ("B", 1, 10000)], id="one of two"),
        pytest.param([("A", "2", "250.00")], 10000, [("B", 1, 10000)], id="all of one kind"),
        pytest.param([("B", "0.5", "40.00")], 31000, [("A", 2, 12500), ("B", 1, 6000)], id="half of a weighed one"),
        pytest.param([("A", "1", "100.00")], 25000, [("A", 1, 15000), ("B", 1, 10000)], id="at another price"),
        pytest.param([("A", "2", "200.00")], 15000, [("A", 1, 5000), ("B", 1, 10000)], id="all pieces, not all money"),
        pytest.param([("A", "5", "250.00")], 10000, [("B", 1, 10000)], id="all money in more pieces"),
        pytest.param([("A", "1", "125.00"), ("A", "1", "125.00")], 10000, [("B", 1, 10000)], id="piece by piece"),
    ],
)
def test_a_partial_return(rows, amount, left):
    """Items and amount are what is left; what Voucherify calculates itself is not sent back to it."""
    body = update(of(item("A", 2, 12500), item("B", 1, 10000)), back(*rows))

    assert body["amount"] == amount
    assert [(row["source_id"], row["quantity"], row["price"]) for row in body["items"]] == left
    assert body["metadata"] == {RETURNS: "r-1"}
    assert not [row for row in body["items"] if {"object", "subtotal_amount"} & row.keys()]


def test_free_goods():
    """More of them come back than there were: they are gone, and nothing is owed."""
    body = update(of(item("A", 1, 0), item("B", 1, 100)), back(("A", "2", "0")))

    assert [(row["source_id"], row["quantity"]) for row in body["items"]] == [("B", 1)]


def test_everything_comes_back():
    """The order is canceled; its items stay as they were sold."""
    body = update(of(item("A", 2, 12500), metadata={"store_id": "1042"}), back(("A", "2", "250.00")))

    assert body == {"status": "CANCELED", "metadata": {"store_id": "1042", RETURNS: "r-1"}}


def test_what_is_known_of_the_goods_stays():
    """Ids and names are sent back as they were; the catalogue is not written to."""
    product = {"id": "prod_1", "source_id": "A", "name": "Socks", "price": 100, "override": True}

    body = update(of(item("A", 2, 12500, product=product, metadata={"k": "v"})), back(("A", "1", "125.00")))

    assert body["items"][0]["product"] == {"id": "prod_1", "source_id": "A", "name": "Socks"}
    assert body["items"][0]["metadata"] == {"k": "v"}


def test_an_item_that_says_no_amount():
    """Price times quantity is its amount."""
    bare = {"source_id": "A", "quantity": 2, "price": 12500}

    assert update(of(bare), back(("A", "1", "125.00")))["amount"] == 12500


@pytest.mark.parametrize(
    ("order", "rows"),
    [
        pytest.param(of(item("A", 2, 12500)), [("A", "3", "375.00")], id="more than there is"),
        pytest.param(of(item("A", 2, 12500)), [("B", "1", "1.00")], id="other goods"),
        pytest.param(of(item("A", 2, 12500)), [("A", "2", "250.00"), ("A", "1", "125.00")], id="twice in one return"),
        pytest.param(of(item("A", 2, 12500), status="CANCELED"), [("A", "1", "125.00")], id="a canceled order"),
        pytest.param(of(), [("A", "1", "1.00")], id="an order of nothing"),
    ],
)
def test_more_than_the_order_has(order, rows):
    """It is refused before anything is written: a person has to look."""
    with pytest.raises(ExceedsError):
        render_taken_off(order, back(*rows))


STRANGE = [
    pytest.param({"object": "order", "items": "x"}, id="no list"),
    pytest.param(of(item("A", 1, 12500), "B"), id="no item"),
    pytest.param(of(item("A", 1, 12500), {"source_id": "B", "amount": 700}), id="no quantity"),
    pytest.param(of(item("A", 1, 12500), {**item("B", 1, 700), "quantity": "one"}), id="words for a number"),
    pytest.param(of(item("A", 1, 12500), {**item("B", 1, 700), "amount": 7.5}), id="a part of the smallest unit"),
    pytest.param(of(item("A", 1, 12500), {**item("B", 1, 700), "price": True}), id="a yes for a price"),
    pytest.param(of(item("A", 1, 12500), metadata="store 1042"), id="no metadata"),
    pytest.param(of(item("A", 1, 12500), metadata={RETURNS: {"r-1": True}}), id="another note of returns"),
]


@pytest.mark.parametrize("order", STRANGE)
def test_an_order_that_is_not_understood(order):
    """It is not written again: what nobody could read of it would be lost, another item too."""
    with pytest.raises(VendorOwnError):
        render_taken_off(order, back(("A", "1", "125.00")))


def test_numbers_as_text():
    """They are the numbers that they spell; an item that was told so is not taken for nothing."""
    rows = [{**item(goods, 2, 12500), "quantity": "2", "price": "12500", "amount": "25000"} for goods in "AB"]
    left = update(of(*rows), back(("A", "1", "125.00")))["items"]
    assert [(row["source_id"], row["quantity"], row["amount"]) for row in left] == [("A", 1, 12500), ("B", 2, 25000)]


def test_half_a_character():
    """What a project holds of somebody's words goes back as it came."""
    order = of(item("A", 2, 12500, product={"name": "Socks \ud83d"}), metadata={"note": "\ud83d"})
    body = update(order, back(("A", "1", "125.00")))
    assert (body["items"][0]["product"]["name"], body["metadata"]["note"]) == ("Socks \ud83d", "\ud83d")


def test_a_claim():
    """It cancels the order and says so beside what the order said before; nobody else has claimed it."""
    order = of(item("A", 1, 12500), metadata={"store_id": "1042"})

    body = json.loads(render_claimed(order, "c-1"))

    assert body == {"status": "CANCELED", "metadata": {"store_id": "1042", "agent_claim": "c-1"}}
    assert (claimant(order), claimant({**order, **body})) == (None, "c-1")


def test_once():
    """A return that is in the order is known by its id, and no other is taken for it."""
    order = of(metadata={RETURNS: "r-1,r-22"})

    assert [is_taken_off(order, name) for name in ("r-1", "r-2", "r-22")] == [True, False, True]
    assert is_taken_off({"metadata": {RETURNS: 7}}, "7")
    assert [is_taken_off({"metadata": {RETURNS: ["r-1,r-22"]}}, name) for name in ("r-1", "r-2")] == [True, False]
    assert not is_taken_off({"metadata": None}, "")


@pytest.mark.parametrize(
    ("items", "returns", "left"),
    [
        pytest.param([("A", 1, 12500)] * 2, [("A", "2", "250.00")], [], id="two lines at once"),
        pytest.param(
            [("A", 2, 12500)] * 2, [("A", "3", "375.00")], [("A", 1, 12500)], id="one line and half of another"
        ),
        pytest.param([("A", 1, 10000), ("A", 1, 5000)], [("A", "1", "50.00")], [("A", 1, 10000)], id="the cheaper one"),
        pytest.param(
            [("A", 1, 10000), ("A", 1, 5000)],
            [("A", "1", "50.00"), ("A", "1", "100.00")],
            [],
            id="the cheaper one first",
        ),
        pytest.param([("A", 1, 10000), ("A", 1, 5000)], [("A", "2", "150.00")], [], id="both at once"),
        pytest.param(
            [("A", 1, 5000), ("A", 1, 12500)],
            [("A", "1", "100.00")],
            [("A", 1, 5000), ("A", 1, 2500)],
            id="at another price, off one that has as much",
        ),
        pytest.param(
            [("A", 1, 12500), ("A", 1, 6000)], [("A", "2", "150.00")], [("A", 1, 3500)], id="at another price, off both"
        ),
        pytest.param(
            [("A", 1, 10000), ("A", 2, 5000)],
            [("A", "1", "50.00")],
            [("A", 1, 10000), ("A", 1, 5000)],
            id="one of the cheaper ones",
        ),
        pytest.param([("A", 1, 10000), ("A", 1, 0)], [("A", "1", "0")], [("A", 1, 10000)], id="the free one"),
        pytest.param([("A", 1, 10000), ("A", 1, 0)], [("A", "2", "100.00")], [], id="the free one with the other"),
        pytest.param([("A", 1, 0), ("A", 1, 0), ("B", 1, 100)], [("A", "2", "0")], [("B", 1, 100)], id="all free ones"),
        pytest.param(
            [("A", 1, 12500), ("B", 1, 10000)], [("A", "1", "125.00")], [("B", 1, 10000)], id="other goods stay"
        ),
    ],
)
def test_several_lines_of_the_same_goods(items, returns, left):
    """What comes back is taken off the line that was sold at its price, or off several."""
    order = of(*(item(*row) for row in items))
    for number, row in enumerate(returns):
        order = {**order, **update(order, back(row, name=f"r-{number}"))}

    held = [] if order["status"] == "CANCELED" else order["items"]
    assert [(row["source_id"], row["quantity"], row["price"]) for row in held] == left


def test_more_than_several_lines_have():
    """Together they have less than what comes back: a person has to look."""
    with pytest.raises(ExceedsError):
        render_taken_off(of(item("A", 1, 12500), item("A", 1, 12500)), back(("A", "2", "250.01")))


@given(st.data())
def test_pieces_that_come_back_one_by_one(data):
    """However a sale comes back, in pieces at the price that was paid, nothing is left and nothing is too much."""
    row = st.tuples(st.sampled_from("ABC"), st.integers(1, 4), st.sampled_from([1, 99, 100, 12500, 10**6]))
    rows = data.draw(st.lists(row, min_size=1, max_size=6))
    order = of(*(item(*row) for row in rows))
    pieces = data.draw(st.permutations([(name, price) for name, count, price in rows for _ in range(count)]))
    for number, (name, price) in enumerate(pieces):
        paid = str(Decimal(price) / 100)
        line = Line.model_validate({"kind": "return", "sku": name, "quantity": "-1", "gross_paid": paid})
        assert render_item(line, "SEK")["amount"] == price
        body = update(order, back((name, "1", paid), name=f"r-{number}"))
        before = sum(row["amount"] for row in order["items"])
        order = {**order, **body}
        if "items" in body:
            assert body["amount"] == before - price

    assert order["status"] == "CANCELED"
    assert len(order["metadata"][RETURNS].split(",")) == len(pieces)


@given(st.data())
def test_money_that_comes_back_in_any_parts(data):
    """In whatever parts the money of goods comes back, all of it can, no more than it can, and none is lost between."""
    rows = data.draw(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 300)), min_size=1, max_size=5))
    order = of(*(item("A", *row) for row in rows), item("B", 1, 7))
    left = sum(count * price for count, price in rows)
    for number in range(1, 6):
        if not left:
            break
        part = data.draw(st.integers(1, left)) if number < 5 else left
        count = str(data.draw(st.integers(1, 3)))
        with pytest.raises(ExceedsError):
            update(order, back(("A", "1", str(Decimal(left + 1) / 100)), name="r-more"))
        order = {**order, **update(order, back(("A", count, str(Decimal(part) / 100)), name=f"r-{number}"))}
        left -= part
        assert sum(row["amount"] for row in order["items"]) == left + 7

    assert not left
