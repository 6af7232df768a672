"""What a sale becomes: its events, what stands in them, and what they say of the person."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from agent.connectors.mparticle.mapping import payment_type, render_batch, wants_guest
from agent.connectors.mparticle.simulator.checks import check_batch
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.transaction import Payment
from tests.connectors.mparticle.sales import NOW, make_key, make_outgoing, make_sale, make_settings

SCHEMA = Path(__file__).parents[4] / "shared" / "vendors" / "specs" / "mparticle-eventsapi.schema.json"
PHONE, EMAIL = "+46701740605", "alma.ekvall@example.com"
LINE = {"kind": "purchase", "sku": "A", "quantity": "1", "gross_paid": "100.00"}
BACK = {"kind": "return", "sku": "B", "quantity": "-1", "gross_paid": "40.00"}
CONTACT = {
    "first_name": "Alma",
    "last_name": "Ekvall",
    "email": EMAIL,
    "mobile_phone": PHONE,
    "personal_number": "198803142387",
    "street": "Skolgatan 3",
    "zip_code": "11122",
    "city": "Stockholm",
    "country_code": "SE",
    "language": "sv",
    "consents": [
        {"id": "newsletter", "value": True, "given_at": "2026-02-14T16:40:00+01:00", "place": "1042",
         "text_version": "v4"},
        {"id": "profiling", "value": False, "given_at": "2026-02-14T16:40:00+01:00", "place": "1042"},
    ],
    "attributes": {"vf_referral_code": "REF-1", "vf_referral_referrer_id": 77, "shoe_size": 43},
}  # fmt: skip


def rendered(outgoing=None, *, primary=IdentifierType.MEMBER_NUMBER, now=NOW, **table) -> dict[str, Any]:
    batch = render_batch(outgoing or make_outgoing(), make_settings(**table), primary=primary, now=now)
    body: dict[str, Any] = json.loads(batch.body, parse_float=Decimal)
    assert batch.events == len(body["events"])
    check_batch(json.loads(batch.body))
    return body


def commerce(body: dict[str, Any]) -> list[dict[str, Any]]:
    return [event["data"] for event in body["events"] if event["event_type"] == "commerce_event"]


def test_a_members_sale():
    """One batch, one commerce event, everything as the field table says."""
    body = rendered()

    [data] = commerce(body)
    assert len(body["events"]) == 1
    assert body["environment"] == "production"
    assert body["user_identities"] == {"customer_id": "10000421"}
    assert data == {
        "event_name": "purchase",
        "source_message_id": data["source_message_id"],
        "timestamp_unixtime_ms": 1771083669000,
        "currency_code": "SEK",
        "product_action": {
            "action": "purchase",
            "transaction_id": "1042-03-20260214-000187",
            "affiliation": "1042",
            "total_amount": Decimal("250.00"),
            "tax_amount": Decimal("50.00"),
            "products": [
                {
                    "id": "SK-77", "name": "Wool socks", "category": "Socks", "price": Decimal("125.00"), "quantity": 2,
                    "total_product_amount": Decimal("250.00"),
                }
            ],
        },
        "custom_attributes": {
            "store_id": "1042", "till_id": "03", "receipt_no": "000187", "channel": "pos", "member": "true",
            "sale_status": "sale", "payment_type": "POS Charge",
        },
    }  # fmt: skip


def test_amounts_are_exact():
    """An amount is written as it was rung up, not as the nearest binary fraction."""
    line = {**LINE, "gross_paid": "0.10", "quantity": "0.333"}
    body = render_batch(
        make_outgoing(make_sale(lines=[line], total="0.10", payments=[])),
        make_settings(),
        primary=IdentifierType.MEMBER_NUMBER,
        now=NOW,
    ).body

    assert b'"total_amount":0.10,' in body
    assert b'"price":0.30,"quantity":0.333,' in body


def test_ids_are_born_with_the_sale():
    """Whatever changes between two attempts, the ids by which mParticle recognises the sale do not."""
    first = rendered(make_outgoing(key=make_key(IdentifierType.MOBILE_PHONE, PHONE)))
    later = rendered(make_outgoing(attempts=7, maybe_received=True, entry=99), now=NOW + timedelta(days=3))
    other = rendered(make_outgoing(make_sale(transaction_id="1042-03-20260214-000188")))

    assert first["source_request_id"] == later["source_request_id"] != other["source_request_id"]
    ids = [commerce(body)[0]["source_message_id"] for body in (first, later, other)]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, [("purchase", "sale", "100.00")], id="a sale"),
        pytest.param({"type": "return", "lines": [BACK], "total": "-40.00"}, [("refund", "refund", "40.00")],
                     id="a return"),
        pytest.param({"lines": [LINE, BACK], "total": "60.00"},
                     [("purchase", "sale", "100.00"), ("refund", "refund", "40.00")], id="an exchange"),
        pytest.param({"type": "points_claim"}, [("purchase", "claim", "100.00")], id="a claim"),
        pytest.param({"type": "void", "original_transaction_id": "o-1"}, [("refund", "cleared", "100.00")],
                     id="a void that restates the sale"),
        pytest.param({"type": "void", "original_transaction_id": "o-1", "lines": [BACK], "total": "-40.00"},
                     [("refund", "cleared", "40.00")], id="a void that says what was given back"),
        pytest.param({"lines": [], "total": "0.00"}, [("purchase", "sale", "0.00")], id="a sale of nothing"),
        pytest.param({"type": "return", "lines": [], "total": "0.00"}, [("refund", "refund", "0.00")],
                     id="a return of nothing"),
    ],
)  # fmt: skip
def test_what_happened_at_the_till(changes, expected):
    """Refunds, clears and claims are purchases by name; action, status and positive amounts tell them apart."""
    data = commerce(
        rendered(make_outgoing(make_sale(**{"lines": [LINE], "total": "100.00", "payments": [], **changes})))
    )

    actions = [row["product_action"] for row in data]
    statuses = [row["custom_attributes"]["sale_status"] for row in data]
    assert [row["event_name"] for row in data] == ["purchase"] * len(data)
    assert [
        (action["action"], status, str(action["total_amount"]))
        for action, status in zip(actions, statuses, strict=True)
    ] == expected
    assert all(product["quantity"] > 0 for action in actions for product in action["products"])
    assert len({row["source_message_id"] for row in data}) == len(data)


def test_a_void_tells_the_sale_it_clears():
    """Without lines of its own it gives back what the original took, under its own id and time."""
    original = make_sale(lines=[LINE, BACK], total="60.00", channel="kiosk")
    void = make_sale(
        transaction_id="v-1", type="void", original_transaction_id="o-1", lines=[], payments=[], total="0",
        occurred_at="2026-02-14T16:45:00+01:00",
    )  # fmt: skip

    data = commerce(rendered(make_outgoing(void, original=original)))

    assert [(row["product_action"]["action"], str(row["product_action"]["total_amount"])) for row in data] == [
        ("refund", "100.00"),
        ("purchase", "40.00"),
    ]
    for row in data:
        assert row["product_action"]["transaction_id"] == "v-1"
        assert row["custom_attributes"]["original_transaction_id"] == "o-1"
        assert row["custom_attributes"]["sale_status"] == "cleared"
        assert row["custom_attributes"]["channel"] == "kiosk"
        assert row["timestamp_unixtime_ms"] == 1771083900000


def pay(*tenders: str, reference: str | None = None) -> list[Payment]:
    return [
        Payment.model_validate({"type": tender, "amount": "1", "reference": reference if tender == "voucher" else None})
        for tender in tenders
    ]


@pytest.mark.parametrize(
    ("payments", "expected"),
    [
        pytest.param(pay("card"), "POS Charge", id="a card"),
        pytest.param(pay("cash", "invoice", "other"), "POS Charge", id="tenders without a type of their own"),
        pytest.param(pay("voucher"), "POS Charge", id="a shopping centre's voucher"),
        pytest.param(pay("loyalty_points"), "Loyalty Redemption", id="points"),
        pytest.param(pay("loyalty_reward"), "Loyalty Redemption", id="a reward"),
        pytest.param(pay("voucher", reference="V-1"), "Loyalty Redemption", id="a voucher of the loyalty system"),
        pytest.param(pay("voucher", reference="V-2"), "POS Charge", id="a voucher that was not used here"),
        pytest.param(pay("member_cash"), "Hybrid Cash Card Redemption", id="member cash"),
        pytest.param(pay("gift_card"), "e-Gift Card Redemption", id="a gift card"),
        pytest.param(pay("card", "gift_card"), "e-Gift Card Redemption", id="split with a card"),
        pytest.param(pay("gift_card", "member_cash", "loyalty_points"), "Loyalty Redemption", id="split in three"),
        pytest.param([], "POS Charge", id="nothing paid"),
    ],
)
def test_payment_types(payments, expected):
    """One type, whatever the sale was paid with: the first of the order that occurs."""
    order = make_settings().payment_type_order

    assert payment_type(payments, frozenset({"V-1"}), order) == expected


def test_the_order_of_payment_types_decides():
    """A shop that turns the order round sees the other end of a split payment."""
    order = tuple(reversed(make_settings().payment_type_order))

    assert payment_type(pay("card", "gift_card"), frozenset(), order) == "POS Charge"
    assert payment_type(pay("gift_card", "loyalty_points"), frozenset(), order) == "e-Gift Card Redemption"


def test_excluded_plu_classes():
    """Their lines are left out and the totals stay; an event without products is one all the same."""
    lines = [{**LINE, "plu_class": "System Sale Type Headers"}, {**LINE, "sku": "C", "plu_class": "Food"}]
    sale = make_sale(lines=lines, total="200.00", payments=[])

    [some] = commerce(rendered(make_outgoing(sale)))
    [none] = commerce(rendered(make_outgoing(sale), exclude_plu_classes=["System Sale Type Headers", "Food"]))

    assert [product["id"] for product in some["product_action"]["products"]] == ["C"]
    assert none["product_action"]["products"] == []
    assert some["product_action"]["total_amount"] == none["product_action"]["total_amount"] == 200


@pytest.mark.parametrize(
    ("changes", "guest", "table", "expected"),
    [
        pytest.param({}, False, {}, ["purchase"], id="a member at a POS"),
        pytest.param({}, True, {}, [], id="a guest at a POS"),
        pytest.param({}, True, {"guest_pos_sales": True}, ["purchase"], id="a guest at a POS, asked for"),
        *(
            pytest.param({"channel": channel}, guest, {}, ["purchase"], id=f"{channel}, guest: {guest}")
            for channel in ("online", "app", "kiosk")
            for guest in (True, False)
        ),
        pytest.param({"vouchers_used": [{"number": "V-1"}]}, True, {}, ["coupon_redemption"], id="a guest's coupon"),
        pytest.param({"vouchers_used": [{"number": "V-1"}], "offers_used": [{"offer_id": "O-1"}]}, False,
                     {}, ["purchase", "coupon_redemption", "coupon_redemption"], id="a member's coupons"),
        pytest.param({"vouchers_used": [{"number": "V-1"}], "channel": "online"}, True, {},
                     ["purchase", "coupon_redemption"], id="a guest's coupon online"),
        pytest.param({"type": "return", "lines": [BACK], "total": "-40.00"}, True, {}, [], id="a guest's return"),
        pytest.param({"type": "return", "lines": [BACK], "total": "-40.00", "vouchers_used": [{"number": "V-1"}]},
                     False, {}, ["purchase"], id="a return redeems nothing"),
    ],
)  # fmt: skip
def test_which_events_a_sale_makes(changes, guest, table, expected):
    """Triggers as the Redcat integration states them; whether a guest's sale makes any is known beforehand."""
    sale = make_sale(**{"lines": [LINE], "total": "100.00", "payments": [], **changes})

    body = rendered(make_outgoing(sale, guest=guest), **table)

    assert [event["data"]["event_name"] for event in body["events"]] == expected
    if guest:
        assert wants_guest(sale, make_settings(**table)) is bool(expected)
        assert "user_identities" not in body
        assert {event["data"]["custom_attributes"]["member"] for event in body["events"]} <= {"false"}


def test_coupons():
    """Each says what was redeemed in which sale, and has an id of its own."""
    sale = make_sale(vouchers_used=[{"number": "V-1"}], offers_used=[{"offer_id": "O-1", "promotion_id": "P-1"}])

    _, voucher, offer = (event["data"] for event in rendered(make_outgoing(sale))["events"])

    assert voucher["custom_event_type"] == "transaction"
    assert voucher["custom_attributes"]["coupon_code"] == "V-1"
    assert voucher["custom_attributes"]["transaction_id"] == sale.transaction_id
    assert (offer["custom_attributes"]["coupon_code"], offer["custom_attributes"]["promotion_id"]) == ("O-1", "P-1")
    assert voucher["source_message_id"] != offer["source_message_id"]


def test_a_claim_comes_by_its_own_channel():
    """A receipt that is claimed afterwards is told apart from a sale at the till."""
    [data] = commerce(rendered(make_outgoing(make_sale(type="points_claim", channel="app"))))

    assert data["custom_attributes"]["channel"] == "claim"


def test_plain():
    """Without the Redcat profile a sale has no event name and the till's own words for its tenders."""
    sale = make_sale(payments=[{"type": "voucher", "amount": "50"}, {"type": "card", "amount": "200"}])

    [data] = commerce(rendered(make_outgoing(sale), profile="plain"))

    assert "event_name" not in data
    assert data["custom_attributes"]["payment_types"] == "card,voucher"
    assert "payment_type" not in data["custom_attributes"]


@pytest.mark.parametrize(
    ("age", "late", "historical"),
    [
        (timedelta(hours=24), False, False),
        (timedelta(hours=24, seconds=1), True, False),
        (timedelta(days=30), True, False),
        (timedelta(days=30, seconds=1), True, True),
        (timedelta(days=-2), False, False),
    ],
    ids=["a day", "more", "30 days", "more than that", "the till's clock is ahead"],
)
def test_ages(age, late, historical):
    """What outputs no longer take says so; what is older than 30 days has a call of its own; its time stays its own."""
    outgoing = make_outgoing()
    now = outgoing.transaction.occurred_at + age

    batch = render_batch(outgoing, make_settings(), primary=IdentifierType.MEMBER_NUMBER, now=now)

    [data] = commerce(json.loads(batch.body))
    assert data["custom_attributes"].get("late") == ("true" if late else None)
    assert batch.historical is historical
    assert data["timestamp_unixtime_ms"] == 1771083669000


def test_a_clock_that_was_wrong():
    """The till's time stays the event's, and the corrected one stands beside it."""
    at = datetime(2026, 2, 14, 12, 0, 0, 5000, tzinfo=UTC)

    [data] = commerce(rendered(make_outgoing(corrected_at=at)))

    assert data["custom_attributes"]["corrected_at"] == "2026-02-14T12:00:00+00:00"
    assert data["timestamp_unixtime_ms"] == 1771083669000


@pytest.mark.parametrize(
    ("kind", "value", "primary", "expected"),
    [
        (IdentifierType.MEMBER_NUMBER, "10000421", IdentifierType.MEMBER_NUMBER, {"customer_id": "10000421"}),
        (IdentifierType.EXTERNAL_ID, "e-1", IdentifierType.EXTERNAL_ID, {"customer_id": "e-1"}),
        (IdentifierType.EXTERNAL_ID, "e-1", IdentifierType.MEMBER_NUMBER, {"other_id_2": "e-1"}),
        (IdentifierType.CONTACT_ID, "c-1", IdentifierType.MEMBER_NUMBER, {"other": "c-1"}),
        (IdentifierType.CARD_NUMBER, "4711", IdentifierType.MEMBER_NUMBER, {"other_id_3": "4711"}),
        (IdentifierType.MOBILE_PHONE, PHONE, IdentifierType.MEMBER_NUMBER, {"mobile_number": PHONE}),
        (IdentifierType.EMAIL, EMAIL, IdentifierType.MEMBER_NUMBER, {"email": EMAIL}),
        (IdentifierType.PERSONAL_NUMBER, "198803142387", IdentifierType.MEMBER_NUMBER, None),
    ],
    ids=lambda value: getattr(value, "value", None) and str(value),
)
def test_identities(kind, value, primary, expected):
    """The primary key alone is the customer id, others have a name of their own, a personal number goes nowhere."""
    body = rendered(make_outgoing(key=make_key(kind, value)), primary=primary)

    assert body.get("user_identities") == expected


def test_nothing_of_a_person_unless_asked():
    """By default the integration key is all that a batch says of anybody."""
    sale = make_sale(new_contact=CONTACT, payments=[{"type": "card", "amount": "250", "reference": "AUTH-12345"}])
    readings = (Identifier(IdentifierType.MOBILE_PHONE, PHONE), Identifier(IdentifierType.EMAIL, EMAIL))

    text = json.dumps(rendered(make_outgoing(sale, readings=readings)), default=str)

    for personal in ("Alma", "Ekvall", EMAIL, PHONE, "198803142387", "Skolgatan", "AUTH-12345", '"77"', "newsletter"):
        assert personal not in text
    assert "10000421" in text


def test_what_is_asked_for_of_a_person():
    """Identities, attributes and consents go along as far as the table names them."""
    body = rendered(
        make_outgoing(make_sale(new_contact=CONTACT)),
        send_identities=["email"],
        send_attributes=["first_name", "city", "language"],
        consent_purposes={"newsletter": "marketing_email"},
    )

    assert body["user_identities"] == {"customer_id": "10000421", "email": EMAIL}
    assert body["user_attributes"] == {"$firstname": "Alma", "$city": "Stockholm", "language": "sv"}
    assert body["consent_state"] == {
        "gdpr": {
            "marketing_email": {
                "consented": True, "timestamp_unixtime_ms": 1771083600000, "document": "v4", "location": "1042",
            }
        }
    }  # fmt: skip


def test_the_newest_word_on_a_consent_stands():
    """Somebody who took a consent back within a sale has not given it."""
    given = {"id": "newsletter", "place": "1042"}
    consents = [
        {**given, "value": False, "given_at": "2026-02-14T16:41:00+01:00"},
        {**given, "value": True, "given_at": "2026-02-14T16:40:00+01:00"},
    ]

    body = rendered(
        make_outgoing(make_sale(new_contact={"email": EMAIL, "consents": consents})),
        consent_purposes={"newsletter": "marketing_email"},
    )

    assert body["consent_state"]["gdpr"]["marketing_email"]["consented"] is False


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ((Identifier(IdentifierType.MOBILE_PHONE, PHONE),), {"customer_id": "10000421", "mobile_number": PHONE}),
        (
            (Identifier(IdentifierType.MEMBER_NUMBER, "0701740605"), Identifier(IdentifierType.MOBILE_PHONE, PHONE)),
            {"customer_id": "10000421"},
        ),
        ((), {"customer_id": "10000421"}),
    ],
    ids=["one thing", "two things", "nothing"],
)
def test_what_was_said_at_the_till(readings, expected):
    """An identifier goes along only if it can be nothing else."""
    body = rendered(make_outgoing(readings=readings), send_identities=["mobile_phone", "email"])

    assert body["user_identities"] == expected


def test_a_guest_is_not_described():
    """What a customer gave goes with an identity or not at all: nobody else's profile must take it."""
    body = rendered(
        make_outgoing(make_sale(channel="online", new_contact={"first_name": "Alma"}), guest=True),
        send_attributes=["first_name"],
    )

    assert "user_attributes" not in body


@pytest.mark.parametrize("bridged", [True, False], ids=["on", "off"])
def test_the_bridge_to_voucherify(bridged):
    """Codes that a sale knows stand on each event, and amounts as numbers that Voucherify can read."""
    sale = make_sale(new_contact=CONTACT, vouchers_used=[{"number": "V-1"}])
    card = (Identifier(IdentifierType.CARD_NUMBER, "LC1"),)

    body = rendered(
        make_outgoing(sale, readings=(*card, Identifier(IdentifierType.EMAIL, EMAIL))), voucherify_bridge=bridged
    )

    for event in body["events"]:
        attributes = event["data"]["custom_attributes"]
        told = {name: value for name, value in attributes.items() if name.startswith("vf_") or name == "total_amount"}
        assert told == (
            {
                "vf_loyalty_code": "LC1", "vf_referral_code": "REF-1", "vf_referral_referrer_id": "77",
                "total_amount": "250.00",
            }
            if bridged
            else {}
        )  # fmt: skip


FULL = {
    "send_identities": ["mobile_phone", "email"],
    "send_attributes": ["first_name", "last_name", "street", "zip_code", "city", "country_code", "language"],
    "consent_purposes": {"newsletter": "marketing_email", "profiling": "profiling"},
    "voucherify_bridge": True,
    "guest_pos_sales": True,
}


@pytest.mark.parametrize("profile", ["redcat", "plain"])
@pytest.mark.parametrize(
    ("changes", "more"),
    [
        pytest.param({}, {}, id="a sale"),
        pytest.param({}, {"guest": True}, id="a guest"),
        pytest.param({"new_contact": CONTACT}, {}, id="a new contact"),
        pytest.param({"type": "return", "lines": [BACK], "total": "-40.00"}, {}, id="a return"),
        pytest.param({"lines": [LINE, BACK], "total": "60.00"}, {}, id="an exchange"),
        pytest.param({"type": "void", "lines": [], "payments": [], "total": "0", "original_transaction_id": "o-1"},
                     {"original": make_sale()}, id="a void"),
        pytest.param({"vouchers_used": [{"number": "V-1"}], "offers_used": [{"offer_id": "O-1"}]}, {}, id="coupons"),
        pytest.param({"lines": [{"kind": "purchase", "sku": "A", "quantity": "0.125", "gross_paid": "9.90"}]}, {},
                     id="weighed goods"),
    ],
)  # fmt: skip
def test_the_published_schema(profile, changes, more):
    """Every batch is what mParticle's own JSON Schema says one is."""
    if not SCHEMA.exists():
        pytest.skip("mParticle's JSON Schema is not part of this product, and is not here")
    validator = jsonschema_rs.Draft7Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))

    for table in ({}, FULL):
        outgoing = make_outgoing(make_sale(**changes), **more)
        batch = render_batch(
            outgoing, make_settings(profile=profile, **table), primary=IdentifierType.MEMBER_NUMBER, now=NOW
        )
        validator.validate(json.loads(batch.body))
