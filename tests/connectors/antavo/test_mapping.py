"""Which events a sale makes, and what stands in them."""

import json
from datetime import datetime
from decimal import Decimal

import pytest

from agent.connectors.antavo.mapping import (
    Customer,
    new_customer_id,
    render_json,
    render_opt_in,
    render_sale,
    render_void,
    spell_phone,
)
from agent.connectors.antavo.settings import AntavoSettings
from agent.domain.identifiers import IdentifierType
from agent.domain.transaction import NewContact
from agent.ports import Spent
from tests.connectors.antavo.conftest import MEMBER, make_settings
from tests.connectors.mparticle.sales import make_key, make_outgoing, make_sale

PHONE = (IdentifierType.MOBILE_PHONE, "+46701740606")
ALMA = Customer(MEMBER)
SOCKS = {"kind": "purchase", "sku": "SK-77", "name": "Wool socks", "quantity": "2", "unit_price": "125.00",
         "gross_paid": "250.00"}  # fmt: skip
BACK = {"kind": "return", "sku": "SK-77", "quantity": "-1", "gross_paid": "125.00"}
CHECKOUT = {
    "customer": MEMBER,
    "action": "checkout",
    "data": {
        "transaction_id": "1042-03-20260214-000187",
        "total": 250,
        "currency": "SEK",
        "channel": "pos",
        "items": [
            {"product_id": "SK-77", "product_name": "Wool socks", "price": 125, "quantity": 2, "discount": 0,
             "subtotal": 250},
        ],
    },
}  # fmt: skip
REFUND = {
    "customer": MEMBER,
    "action": "refund_item",
    "data": {"transaction_id": "1042-03-1", "product_id": "SK-77", "quantity": 1, "subtotal": 125},
}


def bodies(sale, customer=ALMA, *, corrected_at=None, **table):
    outgoing = make_outgoing(sale, corrected_at=corrected_at)
    return json.loads(render_json([event.body for event in render_sale(outgoing, customer, make_settings(**table))]))


def item(*lines):
    [body] = bodies(make_sale(lines=lines))
    [one] = body["data"]["items"]
    return one


@pytest.mark.parametrize(
    ("sale", "expected"),
    [
        pytest.param(make_sale(), [CHECKOUT], id="a purchase"),
        pytest.param(make_sale(type="points_claim", original_transaction_id="1042-03-1"), [CHECKOUT], id="a claim"),
        pytest.param(make_sale(type="return", original_transaction_id="1042-03-1", lines=[BACK]), [REFUND],
                     id="a return"),
        pytest.param(make_sale(original_transaction_id="1042-03-1", lines=[BACK, SOCKS]), [CHECKOUT, REFUND],
                     id="an exchange: what was bought first"),
        pytest.param(
            make_sale(type="return", original_transaction_id="1042-03-1", lines=[BACK, {**BACK, "quantity": "-2"}]),
            [{**REFUND, "data": {**REFUND["data"], "quantity": 3, "subtotal": 250}}], id="one product twice",
        ),
    ],
)  # fmt: skip
def test_the_events_of_a_sale(sale, expected):
    """Everything that stands in them, and nothing else: no cashier, no receipt, no tender."""
    assert bodies(sale) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param([{**SOCKS, "gross_paid": "220.00", "discounts": [{"amount": "20.00"}, {"amount": "10.00"}]}],
                     {"price": 125, "quantity": 2, "discount": 30, "subtotal": 220}, id="discounts"),
        pytest.param([{**SOCKS, "unit_price": None}],
                     {"price": 125, "quantity": 2, "discount": 0, "subtotal": 250}, id="no price"),
        pytest.param([SOCKS, SOCKS], {"price": 125, "quantity": 4, "discount": 0, "subtotal": 500}, id="merged"),
        pytest.param([SOCKS, {**SOCKS, "quantity": "1", "unit_price": "100.00", "gross_paid": "100.00"}],
                     {"price": 116.6667, "quantity": 3, "discount": 0, "subtotal": 350}, id="merged, two prices"),
        pytest.param([{**SOCKS, "quantity": "0.350", "unit_price": "100", "gross_paid": "35.00"}],
                     {"price": 100, "quantity": 0.35, "discount": 0, "subtotal": 35}, id="by weight"),
    ],
)  # fmt: skip
def test_items(lines, expected):
    """The subtotal is price by quantity less discount, and a product of a sale stands there once."""
    assert item(*lines) == {"product_id": "SK-77", "product_name": "Wool socks", **expected}


def test_a_name_that_is_missing():
    """The article number stands for it."""
    line = {"kind": "purchase", "article_number": "SK-1", "quantity": "1", "gross_paid": "1"}
    assert (item(line)["product_id"], item(line)["product_name"]) == ("SK-1", "SK-1")


@pytest.mark.parametrize(
    ("rate", "burned"), [(0, None), (1, 50), (0.333, 17), (100, 5000)], ids=["other points", "1", "part", "100"]
)
def test_payments_in_points(rate, burned):
    """They are the vendor's points only where the shop says what one unit costs; whole points go."""
    payments = [{"type": "card", "amount": "200.00"}, {"type": "loyalty_points", "amount": "50.00"}]
    [body] = bodies(make_sale(payments=payments), points_per_unit=rate)
    assert (body["data"].get("points_burned"), body["data"]["total"]) == (burned, 250)


@pytest.mark.parametrize(
    ("table", "corrected", "stamped"),
    [
        ({}, None, None),
        ({"backdate": True}, None, 1771083669),
        ({"backdate": True}, datetime.fromisoformat("2026-02-14T15:00:00+00:00"), 1771081200),
    ],
    ids=["off", "on", "the till's clock was wrong"],
)
def test_the_sales_own_time(table, corrected, stamped):
    """It goes along only where the configuration says so."""
    [body] = bodies(make_sale(), corrected_at=corrected, **table)
    assert body["data"].get("effective_timestamp") == stamped


def test_an_external_id_goes_beside_the_customer():
    """Each event carries it."""
    told = bodies(make_sale(original_transaction_id="t", lines=[SOCKS, BACK]), Customer("77", "crm_id"))
    assert [(body["customer"], body["external_id"]) for body in told] == [("77", "crm_id")] * 2


@pytest.mark.parametrize(("pending", "action"), [(False, "refund"), (True, "checkout_reject")])
def test_a_void(pending, action):
    """What was accepted is refunded, what was not is rejected."""
    sale = make_sale(type="void", original_transaction_id="1042-03-1", lines=[], payments=[], total="0")
    event = render_void(sale, ALMA, pending=pending)
    assert event.body == {"customer": MEMBER, "action": action, "data": {"transaction_id": "1042-03-1"}}
    assert not event.once


def test_somebody_new():
    """What they gave, in the workspace's form, and nothing that they did not."""
    contact = NewContact(
        first_name="Alma", mobile_phone="+46701740605", birth_date="1988-03-14", personal_number="198803140000"
    )
    event = render_opt_in(contact, Customer("c-1"), make_settings(phone_format="national"))
    assert event.body == {
        "customer": "c-1",
        "action": "opt_in",
        "data": {"mobile_phone": "0701740605", "first_name": "Alma", "birth_date": "1988-03-14"},
    }


@pytest.mark.parametrize(
    ("number", "form", "spelled"),
    [
        ("+46701740605", "e164", "+46701740605"),
        ("+46701740605", "national", "0701740605"),
        ("nonsense", "national", "nonsense"),
    ],
)
def test_phones(number, form, spelled):
    """Their search is exact, so that the form is the workspace's."""
    assert spell_phone(number, make_settings(phone_format=form)) == spelled


BO = {"mobile_phone": "+46701740606", "email": "bo@example.com"}


@pytest.mark.parametrize(
    ("contact", "key", "same"),
    [
        pytest.param({}, PHONE, True, id="known by phone"),
        pytest.param(BO, (IdentifierType.EMAIL, "bo@example.com"), True, id="by another key, with the phone"),
        pytest.param({"mobile_phone": "+46701740607"}, (IdentifierType.EMAIL, "bo@example.com"), False, id="another"),
        pytest.param(BO, (IdentifierType.CARD_NUMBER, "+46701740606"), False, id="a number comes before the phone"),
    ],
)
def test_the_id_of_somebody_new(contact, key, same):
    """It is made of what tells them apart: the same person has the same from every till, and nobody else has it."""
    bo = new_customer_id(NewContact(**BO), make_key(*PHONE), make_settings())
    assert (new_customer_id(NewContact(**contact), make_key(*key), make_settings()) == bo) is same


def test_the_id_of_somebody_new_in_other_words():
    """Letters of an address make no difference; another workspace does."""
    key, other = make_key(IdentifierType.EMAIL, "bo@example.com"), make_key(IdentifierType.EMAIL, "Bo@Example.com")
    bo, nobody = NewContact(), {"base_url": "https://api.st3.antavo.com", "environment": "st3"}
    assert new_customer_id(bo, key, make_settings()) == new_customer_id(bo, other, make_settings())
    assert new_customer_id(bo, key, make_settings()) != new_customer_id(bo, key, AntavoSettings.model_validate(nobody))


def test_what_can_be_repeated():
    """A checkout counts once at the vendor, giving back does not."""
    outgoing = make_outgoing(make_sale(original_transaction_id="t", lines=[SOCKS, BACK]))
    assert [event.once for event in render_sale(outgoing, ALMA, make_settings())] == [True, False]


@pytest.mark.parametrize("rate", [0, 1])
def test_points_that_were_noted_for_the_sale(rate):
    """They are burned, whatever its payments say; what comes back spends none."""
    payments = [{"type": "card", "amount": "200.00"}, {"type": "loyalty_points", "amount": "50.00"}]
    settings, spent = make_settings(points_per_unit=rate), Spent(Decimal(40), None)
    [event] = render_sale(make_outgoing(make_sale(payments=payments), spent=spent), ALMA, settings)
    assert (event.body["data"]["points_burned"], event.body["data"]["total"]) == (40, 250)
