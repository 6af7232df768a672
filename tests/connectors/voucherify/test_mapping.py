"""What a sale becomes: an order or an event, its money, its lines and what it says of the customer."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.connectors.voucherify.mapping import (
    InexactError,
    minor_units,
    render_event,
    render_item,
    render_order,
    render_status,
)
from agent.connectors.voucherify.person import Naming
from agent.connectors.voucherify.returns import render_taken_off
from agent.connectors.voucherify.settings import VoucherifySettings
from agent.connectors.voucherify.simulator.checks import check_event, check_order
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.transaction import Line
from tests.connectors.mparticle.sales import make_key, make_outgoing, make_sale

SPECIFICATION = Path(__file__).parents[4] / "shared" / "vendors" / "specs" / "voucherify-v1.openapi.json"
PHONE, MAIL = "+46701740605", "alma.ekvall@example.com"
CONTACT = {
    "first_name": "Alma",
    "last_name": "Ekvall",
    "email": MAIL,
    "mobile_phone": PHONE,
    "personal_number": "198803142387",
    "street": "Skolgatan 3",
    "zip_code": "11122",
    "city": "Stockholm",
    "country_code": "SE",
    "attributes": {
        "vf_referral_code": "REF-1", "vf_referral_referrer_id": "cust_1", "vf_loyalty_code": "LC-7",
        "shoe_size": "43", "points": "500$", "unheard": "of",
    },
}  # fmt: skip


def rendered(render, outgoing=None, **table) -> tuple[dict[str, Any], tuple[str, ...]]:
    settings = VoucherifySettings.model_validate(table)
    found = render(outgoing or make_outgoing(), settings, Naming(IdentifierType.MEMBER_NUMBER))
    body: dict[str, Any] = json.loads(found.body)
    return body, found.omitted


def order(outgoing=None, **table) -> dict[str, Any]:
    body, _ = rendered(render_order, outgoing, **table)
    return check_order(body, None)


def event(outgoing=None, **table) -> dict[str, Any]:
    body, _ = rendered(render_event, outgoing, earn_with="event", **table)
    return check_event(body, None)


def test_a_members_sale():
    """One order under the sale's id, with the sale's own time, everything as the field table says."""
    assert order() == {
        "source_id": "1042-03-20260214-000187",
        "status": "PAID",
        "created_at": "2026-02-14T15:41:09.000Z",
        "amount": 25000,
        "items": [
            {
                "source_id": "SK-77", "related_object": "product", "product": {"name": "Wool socks"},
                "quantity": 2, "price": 12500, "amount": 25000,
            }
        ],
        "metadata": {
            "store_id": "1042", "till_id": "03", "receipt_number": "000187", "channel": "pos", "currency": "SEK",
        },
        "customer": {"source_id": "10000421"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("23.50", "SEK", 2350),
        ("0.01", "EUR", 1),
        ("23", "JPY", 23),
        ("23", "ISK", 23),
        ("1.5", "KWD", 1500),
        ("0.001", "BHD", 1),
        ("-2.50", "SEK", -250),
        ("0", "SEK", 0),
        ("999999999999999.99", "SEK", 99999999999999999),
    ],
)
def test_money(amount, currency, expected):
    """Whole numbers of the smallest unit, with as many decimals as the currency has, exactly."""
    assert minor_units(Decimal(amount), currency) == expected


@pytest.mark.parametrize(
    ("amount", "currency"), [("0.005", "SEK"), ("0.5", "JPY"), ("0.0001", "KWD"), ("1", "XXX"), ("1", "sek")]
)
def test_money_that_cannot_be_said(amount, currency):
    """A fraction of the smallest unit is refused and never rounded; so is what is no currency."""
    with pytest.raises(InexactError):
        minor_units(Decimal(amount), currency)


@pytest.mark.parametrize(
    ("quantity", "paid", "expected"),
    [
        pytest.param("2", "250.00", (2, 12500), id="even"),
        pytest.param("3", "10.00", (1, 1000), id="thirds"),
        pytest.param("0.333", "9.90", (1, 990), id="weighed"),
        pytest.param("3", "0", (3, 0), id="free"),
        pytest.param("1", "99.90", (1, 9990), id="one"),
        pytest.param("-2", "50.00", (2, 2500), id="coming back"),
    ],
)
def test_items(quantity, paid, expected):
    """Price times quantity is what was paid: whole pieces where it divides, one thing at the line's price elsewhere."""
    kind = "return" if quantity.startswith("-") else "purchase"
    item = render_item(Line.model_validate({"kind": kind, "sku": "A", "quantity": quantity, "gross_paid": paid}), "SEK")

    assert (item["quantity"], item["price"]) == expected
    assert item["amount"] == item["quantity"] * item["price"]


@given(
    st.lists(st.tuples(st.decimals("0.001", "9999", places=3), st.integers(0, 10**9)), min_size=1, max_size=20),
    st.sampled_from(["SEK", "JPY", "KWD"]),
)
def test_no_money_is_made_or_lost(lines, currency):
    """Whatever was sold, the order's amount is the sum of its items and the sum of what was paid."""
    unit = {"SEK": Decimal("0.01"), "JPY": Decimal(1), "KWD": Decimal("0.001")}[currency]
    rows = [
        {"kind": "purchase", "sku": f"A{place}", "quantity": str(count), "gross_paid": str(paid * unit)}
        for place, (count, paid) in enumerate(lines)
    ]
    total = sum(paid for _, paid in lines)

    body = order(make_outgoing(make_sale(lines=rows, currency=currency, total=str(total * unit), payments=[])))

    assert body["amount"] == sum(item["amount"] for item in body["items"]) == total


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param({"sku": "S-M", "article_number": "S", "name": "Socks"},
                     {"source_id": "S-M", "related_object": "sku", "product": {"source_id": "S", "name": "Socks"},
                      "sku": {"sku": "Socks"}}, id="a variant of an article"),
        pytest.param({"sku": "S-M", "article_number": "S"},
                     {"source_id": "S-M", "related_object": "sku", "product": {"source_id": "S"}}, id="without a name"),
        pytest.param({"sku": "S-M"}, {"source_id": "S-M", "related_object": "product"}, id="a sku alone"),
        pytest.param({"article_number": "S", "name": "Socks"},
                     {"source_id": "S", "related_object": "product", "product": {"name": "Socks"}}, id="an article"),
    ],
)  # fmt: skip
def test_goods(line, expected):
    """Goods are named by the till's own numbers; nothing of them is stored in the project's catalogue."""
    rendered_line = render_item(
        Line.model_validate({"kind": "purchase", "quantity": "1", "gross_paid": "1", **line}), "SEK"
    )

    assert {name: rendered_line[name] for name in rendered_line.keys() - {"quantity", "price", "amount"}} == expected


def test_a_sale_whose_clock_was_wrong():
    """Its order has the corrected time; what the till said can go along."""
    at = datetime(2026, 2, 14, 9, 0, tzinfo=UTC)

    body = order(make_outgoing(corrected_at=at), order_metadata={"stated_at": "datetime"})

    assert body["created_at"] == "2026-02-14T09:00:00.000Z"
    assert body["metadata"] == {"stated_at": "2026-02-14T15:41:09.000Z"}


def test_whatever_changes_between_attempts():
    """The order of a sale is the same at every attempt."""
    settings = VoucherifySettings()
    first = render_order(make_outgoing(), settings, Naming(IdentifierType.MEMBER_NUMBER))
    later = render_order(
        make_outgoing(attempts=7, maybe_received=True, entry=99), settings, Naming(IdentifierType.MEMBER_NUMBER)
    )

    assert first.body == later.body


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        pytest.param({}, {}, id="none"),
        pytest.param({"total_amount": "number", "tax_amount": "number", "till_discount": "number"},
                     {"total_amount": 25000, "tax_amount": 5000, "till_discount": 3000}, id="money, in minor units"),
        pytest.param({"total_amount": "string"}, {"total_amount": "25000"}, id="a number that is a text there"),
        pytest.param({"payment_types": "string[]"}, {"payment_types": ["card", "voucher"]}, id="several"),
        pytest.param({"payment_types": "string"}, {"payment_types": "card,voucher"}, id="several in one"),
        pytest.param({"coupon_codes": "string[]", "offer_ids": "string[]"}, {"coupon_codes": ["V-1"]}, id="coupons"),
        pytest.param({"type": "string", "occurred_at": "datetime", "original_transaction_id": "string"},
                     {"type": "purchase", "occurred_at": "2026-02-14T15:41:09.000Z"}, id="what it is"),
    ],
)  # fmt: skip
def test_facts_of_a_sale(facts, expected):
    """What goes along as metadata is what was asked for, typed as it was asked for."""
    sale = make_sale(
        lines=[
            {
                "kind": "purchase", "sku": "A", "quantity": "2", "unit_price": "140.00", "gross_paid": "250.00",
                "tax_amount": "50.00", "discounts": [{"amount": "30.00"}],
            }
        ],
        payments=[
            {"type": "voucher", "amount": "50.00", "reference": "V-1"}, {"type": "card", "amount": "200.00"}
        ],
        vouchers_used=[{"number": "V-1"}],
    )  # fmt: skip

    assert order(make_outgoing(sale), order_metadata=facts)["metadata"] == expected


def test_a_fact_of_another_type_is_omitted():
    """It is told by its name, and the sale goes without it."""
    body, omitted = rendered(render_order, order_metadata={"channel": "number", "store_id": "number"})

    assert (body["metadata"], omitted) == ({"store_id": 1042}, ("channel",))


@pytest.mark.parametrize(
    ("key", "table", "expected"),
    [
        pytest.param(make_key(), {}, {"source_id": "10000421"}, id="the primary key"),
        pytest.param(make_key(IdentifierType.MOBILE_PHONE, PHONE), {}, None, id="a phone, which is no key there"),
        pytest.param(make_key(IdentifierType.EMAIL, MAIL), {"identities": ["card_number", "email"]},
                     {"source_id": MAIL}, id="the first identity that is there"),
        pytest.param(make_key(IdentifierType.CARD_NUMBER, "4711"), {"identities": ["card_number", "email"]},
                     {"source_id": "4711"}, id="in their order"),
        pytest.param(make_key(), {"identities": ["email"], "send_identities": ["mobile_phone", "email"]},
                     {"source_id": "10000421"}, id="the primary key goes first, and nothing else was said"),
        pytest.param(make_key(IdentifierType.PERSONAL_NUMBER, "198803142387"), {"identities": ["email"]}, None,
                     id="a personal number never"),
    ],
)  # fmt: skip
def test_who_it_is(key, table, expected):
    """The primary key is the customer; without it the first identity of those that are allowed; else nobody."""
    assert order(make_outgoing(key=key), **table).get("customer") == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        pytest.param(make_key(), {"source_id": "10000421"}, id="a member number"),
        pytest.param(make_key(IdentifierType.CONTACT_ID, "cust_1"), {"id": "cust_1"}, id="its own id"),
        pytest.param(make_key(IdentifierType.EMAIL, MAIL), None, id="a mail address"),
        pytest.param(make_key(IdentifierType.MOBILE_PHONE, PHONE), None, id="a phone"),
    ],
)
def test_who_it_is_where_voucherify_owns_the_contacts(key, expected):
    """Its own names alone, whatever else is said of the customer: anything else would make another."""
    number = Identifier(IdentifierType.MEMBER_NUMBER, "10000999")
    outgoing = make_outgoing(key=key, readings=(number,))
    settings = VoucherifySettings(identities=("email",))
    naming = Naming(IdentifierType.MEMBER_NUMBER, owns_contacts=True)
    for render in (render_order, render_event):
        found = render(outgoing, settings, naming)
        assert (json.loads(found.body).get("customer") or None, found.has_customer) == (expected, expected is not None)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        pytest.param({}, {"source_id": "10000421"}, id="nothing by default"),
        pytest.param({"send_identities": ["mobile_phone", "email"]},
                     {"source_id": "10000421", "phone": PHONE, "email": MAIL}, id="identities"),
        pytest.param({"send_attributes": ["name", "city", "country_code"]},
                     {"source_id": "10000421", "name": "Alma Ekvall",
                      "address": {"city": "Stockholm", "country": "SE"}}, id="attributes"),
        pytest.param({"customer_metadata": {"shoe_size": "number", "points": "number"}},
                     {"source_id": "10000421", "metadata": {"shoe_size": 43}}, id="metadata that its schema defines"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_new_contact(table, expected):
    """What was asked for, and nothing else of them."""
    body = order(make_outgoing(make_sale(new_contact=CONTACT)), **table)

    assert body["customer"] == expected
    assert "198803142387" not in json.dumps(body)


def test_what_of_a_contact_is_omitted():
    """What the schema does not define and what is of another type, by name; codes that an order has no place for."""
    outgoing = make_outgoing(make_sale(new_contact=CONTACT))

    _, of_order = rendered(render_order, outgoing, customer_metadata={"shoe_size": "number", "points": "number"})
    _, of_event = rendered(
        render_event, outgoing, earn_with="event", customer_metadata={"shoe_size": "number", "points": "number"}
    )
    _, of_nothing = rendered(render_event, outgoing, earn_with="event")

    codes = ("vf_loyalty_code", "vf_referral_code", "vf_referral_referrer_id")
    assert of_order == ("points", "unheard", *codes)
    assert of_event == ("points", "unheard")
    assert of_nothing == ()


def test_an_event():
    """The codes that programmes ask for stand where Voucherify reads them, and not in the metadata."""
    body = event(make_outgoing(make_sale(new_contact=CONTACT)), order_metadata={"total_amount": "number"})

    assert body == {
        "event": "pos_purchase",
        "customer": {"source_id": "10000421"},
        "loyalty": {"code": "LC-7"},
        "referral": {"code": "REF-1", "referrer_id": "cust_1"},
        "metadata": {"total_amount": 25000, "transaction_id": "1042-03-20260214-000187"},
    }


@pytest.mark.parametrize(
    ("attributes", "table", "expected", "omitted"),
    [
        pytest.param({}, {}, {}, (), id="a card that was shown is the owner's"),
        pytest.param({}, {"card_is_loyalty_code": True}, {"loyalty": {"code": "4711"}}, (), id="or the project's"),
        pytest.param({"vf_loyalty_code": "LC-1"}, {"card_is_loyalty_code": True}, {"loyalty": {"code": "LC-1"}}, (),
                     id="a code goes before a card"),
        pytest.param({"vf_referral_code": "R"}, {}, {"referral": {"code": "R"}}, (), id="a code without a referrer"),
        pytest.param({"vf_referral_referrer_id": "cust_1"}, {}, {}, ("vf_referral_referrer_id",),
                     id="a referrer without a code"),
        pytest.param({"vf_loyalty_code": "", "vf_referral_code": None}, {}, {}, (), id="empty"),
        pytest.param({"vf_loyalty_code": 77}, {}, {"loyalty": {"code": "77"}}, (), id="a number"),
    ],
)  # fmt: skip
def test_codes_for_programmes(attributes, table, expected, omitted):
    """A loyalty code, a referral and its referrer, as far as the till said them; a card only if it is the project's."""
    sale = make_sale(new_contact={"email": MAIL, "attributes": attributes})
    card = Identifier(IdentifierType.CARD_NUMBER, "4711")
    body, left_out = rendered(render_event, make_outgoing(sale, readings=(card,)), earn_with="event", **table)

    assert {name: body[name] for name in ("loyalty", "referral") if name in body} == expected
    assert left_out == omitted


def test_nobody_else_goes_along():
    """Cashier and references of tenders stay here."""
    sale = make_sale(payments=[{"type": "card", "amount": "250.00", "reference": "AUTH-99"}])

    body = json.dumps(order(make_outgoing(sale), order_metadata={"payment_types": "string"}))

    assert '"77"' not in body
    assert "AUTH-99" not in body


def schema_of(name: str) -> jsonschema_rs.Validator:
    """The published schema, its nullable keys understood; what it requires without defining it is not required."""
    document = json.loads(SPECIFICATION.read_text(encoding="utf-8"))

    def nullable(part: Any) -> Any:
        if isinstance(part, list):
            return [nullable(item) for item in part]
        if not isinstance(part, dict):
            return part
        read = {key: nullable(value) for key, value in part.items()}
        if read.pop("nullable", False) is True and isinstance(read.get("type"), str):
            read["type"] = [read["type"], "null"]
        if "required" in read and "properties" in read:
            read["required"] = [key for key in read["required"] if key in read["properties"]]
        return read

    return jsonschema_rs.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": nullable(document["components"])}
    )


@pytest.mark.parametrize(
    ("name", "body"),
    [
        pytest.param("OrdersCreateRequestBody", order, id="a sale"),
        pytest.param(
            "OrdersCreateRequestBody",
            lambda: order(
                make_outgoing(make_sale(new_contact=CONTACT), corrected_at=datetime(2026, 2, 14, tzinfo=UTC)),
                send_identities=["email", "mobile_phone"], send_attributes=["name", "street", "zip_code", "city"],
                customer_metadata={"shoe_size": "number"}, order_metadata={"payment_types": "string[]"},
            ),
            id="everything that can go along",
        ),
        pytest.param("OrdersUpdateRequestBody", lambda: json.loads(render_status("CANCELED")), id="a void"),
        pytest.param(
            "OrdersUpdateRequestBody",
            lambda: json.loads(
                render_taken_off(
                    order(),
                    make_sale(
                        transaction_id="r-1", lines=[{"kind": "return", "sku": "SK-77", "quantity": "-1",
                                                      "gross_paid": "125.00"}],
                    ),
                )
            ),
            id="a return",
        ),
        pytest.param("EventsCreateRequestBody", lambda: event(make_outgoing(make_sale(new_contact=CONTACT))),
                     id="an event"),
    ],
)  # fmt: skip
def test_the_published_schema(name, body):
    """What is sent is what Voucherify's published description of its API takes, and of the keys it knows."""
    if not SPECIFICATION.exists():
        pytest.skip("the published specification is not beside this checkout")
    validator = schema_of(name)

    validator.validate(body())

    assert not validator.is_valid({**body(), "metadata": "no object"})
