"""Sales and contacts in Voyado's words."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agent.connectors.voyado.mapping import MATCH_KEY_TYPES, misnamed, render_contact, render_json, render_receipt
from agent.domain.arithmetic import faults
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.transaction import IntegrationKey, NewContact, Transaction
from agent.errors import Fault

STOCKHOLM = ZoneInfo("Europe/Stockholm")
MEMBER = IntegrationKey(kind="primary", type=IdentifierType.MEMBER_NUMBER, value="10000421")

SALE: dict[str, Any] = {
    "transaction_id": "1042-03-20260214-000187",
    "type": "purchase",
    "receipt_number": "000187",
    "store_id": "1042",
    "till_id": "03",
    "occurred_at": "2026-02-14T16:41:09+01:00",
    "currency": "SEK",
    "total": "250.00",
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
            "discounts": [{"type": "325", "description": "Member price", "amount": "30.00"}],
        }
    ],
    "payments": [
        {"type": "card", "amount": "200.00"},
        {"type": "voucher", "amount": "50.00", "reference": "0000000204417"},
    ],
    "vouchers_used": [{"number": "0000000204417"}],
}
RETURN: dict[str, Any] = {
    "transaction_id": "1042-03-20260216-000012",
    "type": "return",
    "receipt_number": "000012",
    "store_id": "1042",
    "occurred_at": "2026-02-16T11:02:33+01:00",
    "currency": "SEK",
    "total": "-125.00",
    "lines": [
        {
            "kind": "return",
            "sku": "SK-77-RED-M",
            "article_number": "SK-77",
            "name": "Wool socks",
            "quantity": "-1",
            "gross_paid": "125.00",
            "tax_amount": "25.00",
            "tax_percent": "25.00",
        }
    ],
    "payments": [{"type": "card", "amount": "-125.00"}],
}
VOID = {
    "transaction_id": "1042-03-20260214-000188",
    "type": "void",
    "store_id": "1042",
    "occurred_at": "2026-02-14T16:44:00+01:00",
    "currency": "SEK",
    "total": "0",
    "original_transaction_id": "1042-03-20260214-000187",
}


def sale(body: dict[str, Any], **changes: Any) -> Transaction:
    return Transaction.model_validate({**body, **changes})


def sound(body: dict[str, Any], **changes: Any) -> Transaction:
    transaction = sale(body, **changes)
    assert faults(transaction) == []
    return transaction


def text(
    transaction: Transaction, key: IntegrationKey = MEMBER, original: Transaction | None = None, zone=STOCKHOLM
) -> str:
    return render_receipt(transaction, key, original=original, contact_type="Member", zone=zone).decode()


def receipt(*arguments: Any, **options: Any) -> dict[str, Any]:
    return json.loads(text(*arguments, **options), parse_float=Decimal)


def test_a_purchase_to_the_byte():
    """The documented purchase, amounts with the currency's decimals."""
    assert text(sound(SALE)) == (
        '{"contact":{"matchKey":"10000421","matchKeyType":"memberNumber","contactType":"Member"},'
        '"uniqueReceiptId":"1042-03-20260214-000187","receiptNumber":"000187",'
        '"createdDate":"2026-02-14T16:41:09+01:00","storeExternalId":"1042","currency":"SEK","totalGrossPrice":250.00,'
        '"paymentMethods":[{"type":"card","value":200.00},{"type":"bonuscheck","value":50.00,'
        '"extraData":[{"name":"checkNumber","value":"0000000204417"}]}],'
        '"items":[{"type":"PURCHASE","sku":"SK-77-RED-M","articleNumber":"SK-77","articleName":"Wool socks",'
        '"articleGroup":"Socks","quantity":2,"grossPaidPrice":250.00,"taxAmount":50.00,"taxPercent":25,'
        '"awardsBonus":true,"discounts":[{"type":"325","description":"Member price","value":-30.00}]}],'
        '"usedBonusChecks":[{"checkNumber":"0000000204417"}],"usedPromotions":[]}'
    )


def test_a_return():
    """The documented return: quantity, total and payment negative, line price and tax positive."""
    assert receipt(sound(RETURN)) == {
        "contact": {"matchKey": "10000421", "matchKeyType": "memberNumber", "contactType": "Member"},
        "uniqueReceiptId": "1042-03-20260216-000012",
        "receiptNumber": "000012",
        "createdDate": "2026-02-16T11:02:33+01:00",
        "storeExternalId": "1042",
        "currency": "SEK",
        "totalGrossPrice": -125,
        "paymentMethods": [{"type": "card", "value": -125}],
        "items": [
            {
                "type": "RETURN",
                "sku": "SK-77-RED-M",
                "articleNumber": "SK-77",
                "articleName": "Wool socks",
                "quantity": -1,
                "grossPaidPrice": 125,
                "taxAmount": 25,
                "taxPercent": 25,
                "awardsBonus": True,
            }
        ],
        "usedBonusChecks": [],
        "usedPromotions": [],
    }


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("contact_id", "0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10", {"matchKeyType": "contactId"}),
        ("member_number", "10000421", {"matchKeyType": "memberNumber", "contactType": "Member"}),
        ("external_id", "EDGE-000421", {"matchKeyType": "externalId", "contactType": "Member"}),
        ("mobile_phone", "+46701740605", {"matchKeyType": "mobilePhone", "contactType": "Member"}),
        ("email", "alma@example.com", {"matchKeyType": "email", "contactType": "Member"}),
        ("personal_number", "199001010017", {"matchKeyType": "socialSecurityNumber", "contactType": "Member"}),
        ("card_number", "9752000000001234", {"matchKeyType": "CardId", "contactType": "Member"}),
    ],
)
def test_the_tag(kind, value, expected):
    """Every type of key has Voyado's name for it; a contact id needs no contact type."""
    key = IntegrationKey(kind="secondary", type=IdentifierType(kind), value=value)

    assert receipt(sale(SALE), key)["contact"] == {"matchKey": value, **expected}


def test_no_type_is_forgotten():
    """Whatever can tag a sale has a name at Voyado."""
    assert set(MATCH_KEY_TYPES) == set(IdentifierType)


def test_an_exchange():
    """Lines of both kinds in one receipt, the total with its sign."""
    exchange = sound(
        SALE,
        lines=[*SALE["lines"], *RETURN["lines"]],
        total="125.00",
        payments=[{"type": "card", "amount": "125.00"}],
        vouchers_used=[],
    )

    told = receipt(exchange)

    assert [(item["type"], item["quantity"], item["grossPaidPrice"]) for item in told["items"]] == [
        ("PURCHASE", 2, 250),
        ("RETURN", -1, 125),
    ]
    assert told["totalGrossPrice"] == 125


def test_a_void_of_a_purchase():
    """Every line goes back, every payment with it; the vouchers and offers of the sale are not used again."""
    original = sound(SALE, offers_used=[{"offer_id": "i", "promotion_id": "t"}])

    told = receipt(sound(VOID), original=original)

    assert told["uniqueReceiptId"] == "1042-03-20260214-000188"
    assert told["receiptNumber"] == "1042-03-20260214-000188"
    assert told["createdDate"] == "2026-02-14T16:44:00+01:00"
    assert told["totalGrossPrice"] == -250
    assert [(row["type"], row["value"]) for row in told["paymentMethods"]] == [("card", -200), ("bonuscheck", -50)]
    [item] = told["items"]
    assert (item["type"], item["quantity"], item["grossPaidPrice"], item["taxAmount"]) == ("RETURN", -2, 250, 50)
    assert item["discounts"] == [{"type": "325", "description": "Member price", "value": -30}]
    assert (told["usedBonusChecks"], told["usedPromotions"]) == ([], [])


def test_a_void_of_an_exchange():
    """What was bought goes back and what was brought back is bought again."""
    original = sound(
        SALE,
        lines=[*SALE["lines"], *RETURN["lines"]],
        total="125.00",
        payments=[{"type": "cash", "amount": "200.00"}, {"type": "cash", "amount": "-75.00"}],
    )

    told = receipt(sound(VOID), original=original)

    assert [(item["type"], item["quantity"]) for item in told["items"]] == [("RETURN", -2), ("PURCHASE", 1)]
    assert told["totalGrossPrice"] == -125
    assert [row["value"] for row in told["paymentMethods"]] == [-200, 75]


@pytest.mark.parametrize("body", [SALE, RETURN], ids=["restated", "already turned round"])
def test_a_voids_own_lines_yield_to_the_sale_it_clears(body):
    """Where the sale is known, what goes back is what was sent."""
    lines = {key: body[key] for key in ("lines", "payments", "total")}

    assert receipt(sound(VOID, **lines), original=sale(SALE)) == receipt(sound(VOID), original=sale(SALE))


@pytest.mark.parametrize(
    ("body", "quantity", "total"),
    [pytest.param(SALE, -2, -250, id="restated"), pytest.param(RETURN, -1, -125, id="already turned round")],
)
def test_a_void_of_an_unknown_sale(body, quantity, total):
    """A void's own lines always give back, whichever way round they are stated."""
    void = sound(VOID, lines=body["lines"], payments=body["payments"], total=body["total"])

    told = receipt(void)

    assert [(item["type"], item["quantity"]) for item in told["items"]] == [("RETURN", quantity)]
    assert told["totalGrossPrice"] == total


def test_a_return_is_never_mixed_up_with_the_sale_it_names():
    """Only a void clears the earlier sale; a return says what it returns."""
    told = receipt(sound(RETURN, original_transaction_id="1042-03-20260214-000187"), original=sale(SALE))

    assert told["totalGrossPrice"] == -125


def test_weighed_goods():
    """Voyado's quantity is whole: the weight goes beside it."""
    line = {"kind": "purchase", "article_number": "CHEESE", "quantity": "0.352", "gross_paid": "70.40"}
    body = {**SALE, "lines": [line], "total": "70.40", "payments": [{"type": "card", "amount": "70.40"}]}

    bought = text(sound(body))
    assert '"quantity":1,"packQuantity":0.352,' in bought
    returned = receipt(sound(VOID), original=sale(body))["items"][0]
    assert (returned["quantity"], returned["packQuantity"]) == (-1, Decimal("0.352"))


def test_what_is_missing_is_filled():
    """A field that Voyado must have is filled from what is there: name and sku from the article number, tax 0."""
    line = {"kind": "purchase", "article_number": "SK-77", "quantity": "2.000", "gross_paid": "250"}

    assert receipt(sale(SALE, lines=[line], receipt_number=None))["items"] == [
        {
            "type": "PURCHASE",
            "sku": "SK-77",
            "articleNumber": "SK-77",
            "articleName": "SK-77",
            "quantity": 2,
            "grossPaidPrice": 250,
            "taxAmount": 0,
            "taxPercent": 0,
            "awardsBonus": True,
        }
    ]
    only_sku = {"kind": "purchase", "sku": "SK-77-RED-M", "quantity": "1", "gross_paid": "250", "awards_points": False}
    [item] = receipt(sale(SALE, lines=[only_sku]))["items"]
    assert (item["articleNumber"], item["articleName"], item["awardsBonus"]) == ("SK-77-RED-M", "SK-77-RED-M", False)
    assert receipt(sale(SALE, receipt_number=None))["receiptNumber"] == "1042-03-20260214-000187"


@pytest.mark.parametrize(
    ("payment", "vouchers", "expected"),
    [
        pytest.param({"type": "card"}, [], {"type": "card"}, id="card"),
        pytest.param({"type": "cash"}, [], {"type": "cash"}, id="cash"),
        pytest.param({"type": "invoice"}, [], {"type": "invoice"}, id="invoice"),
        pytest.param(
            {"type": "gift_card", "reference": "G1"}, [], {"type": "giftcard"}, id="a gift card's number stays here"
        ),
        pytest.param({"type": "member_cash"}, [], {"type": "membercash"}, id="member cash"),
        pytest.param({"type": "loyalty_points"}, [], {"type": "points"}, id="points"),
        pytest.param({"type": "other"}, [], {"type": "other"}, id="other"),
        pytest.param({"type": "voucher", "reference": "V1"}, [], {"type": "voucher"}, id="somebody else's voucher"),
        pytest.param({"type": "voucher"}, ["V1"], {"type": "voucher"}, id="a voucher without its number"),
        pytest.param(
            {"type": "voucher", "reference": "V1"},
            ["V1"],
            {"type": "bonuscheck", "extraData": [{"name": "checkNumber", "value": "V1"}]},
            id="a reward",
        ),
        pytest.param(
            {"type": "loyalty_reward", "reference": "V1"},
            [],
            {"type": "bonuscheck", "extraData": [{"name": "checkNumber", "value": "V1"}]},
            id="a stated reward",
        ),
        pytest.param({"type": "loyalty_reward"}, [], {"type": "bonuscheck"}, id="a reward without its number"),
    ],
)
def test_tenders(payment, vouchers, expected):
    """A voucher that is also used is a reward; the rest keep their own names."""
    told = receipt(
        sale(
            SALE,
            payments=[{**payment, "amount": "250.00"}],
            vouchers_used=[{"number": number} for number in vouchers],
        )
    )

    assert told["paymentMethods"] == [{**expected, "value": 250}]
    assert told["usedBonusChecks"] == [{"checkNumber": number} for number in vouchers]


def test_offers():
    """The person's instance is the coupon, the template the promotion."""
    offers = [{"offer_id": "instance", "promotion_id": "template"}, {"offer_id": "only-instance"}]

    assert receipt(sale(SALE, offers_used=offers))["usedPromotions"] == [
        {"promotionId": "template", "couponId": "instance"},
        {"couponId": "only-instance"},
    ]


@pytest.mark.parametrize(
    ("occurred_at", "expected"),
    [
        pytest.param("2026-02-14T15:41:09Z", "2026-02-14T16:41:09+01:00", id="winter"),
        pytest.param("2026-07-14T14:41:09.999Z", "2026-07-14T16:41:09+02:00", id="summer"),
        pytest.param("2026-03-29T00:59:59Z", "2026-03-29T01:59:59+01:00", id="the second before summer time"),
        pytest.param("2026-03-29T01:00:00Z", "2026-03-29T03:00:00+02:00", id="the first second of summer time"),
        pytest.param("2026-10-25T00:30:00Z", "2026-10-25T02:30:00+02:00", id="half past two, the first time"),
        pytest.param("2026-10-25T01:30:00Z", "2026-10-25T02:30:00+01:00", id="half past two, the second time"),
        pytest.param("2026-02-14T10:41:09-05:00", "2026-02-14T16:41:09+01:00", id="stated elsewhere"),
        pytest.param("2026-12-31T23:30:00Z", "2027-01-01T00:30:00+01:00", id="next year already"),
    ],
)
def test_the_stores_own_time(occurred_at, expected):
    """The time is the store's, with its offset on that day; never UTC."""
    assert receipt(sale(SALE, occurred_at=occurred_at))["createdDate"] == expected


def test_other_zones():
    """A zone of half hours, and UTC where a store is there."""
    told = [receipt(sale(SALE), zone=zone)["createdDate"] for zone in (timezone(timedelta(hours=5, minutes=30)), UTC)]

    assert told == ["2026-02-14T21:11:09+05:30", "2026-02-14T15:41:09+00:00"]


def test_a_currency_without_decimals():
    """Yen are whole."""
    line = {"kind": "purchase", "sku": "A", "quantity": "1", "gross_paid": "2500", "tax_amount": "227"}
    body = {**SALE, "currency": "JPY", "total": "2500", "lines": [line], "vouchers_used": []}

    told = text(sound(body, payments=[{"type": "card", "amount": "2500"}]))

    assert '"totalGrossPrice":2500,' in told
    assert '"taxAmount":227,' in told


def test_decimals_are_exact():
    """Amounts that no binary float holds stand in the JSON as they were."""
    line = {"kind": "purchase", "sku": "A", "quantity": "1", "gross_paid": "90071992547409.93", "tax_percent": "12.345"}
    body = {**SALE, "total": "90071992547409.93", "lines": [line], "vouchers_used": []}

    told = text(sound(body, payments=[{"type": "card", "amount": "90071992547409.93"}]))

    assert told.count("90071992547409.93") == 3
    assert '"taxPercent":12.345,' in told


@pytest.mark.parametrize("original", [None, "itself"], ids=["as stated", "cleared"])
def test_nothing_is_minus_zero(original):
    """A sale of nothing has plain zeros, given back as well."""
    line = {"kind": "purchase", "sku": "A", "quantity": "1", "gross_paid": "0", "discounts": [{"amount": "0"}]}
    free = sale(SALE, total="0", lines=[line], payments=[{"type": "cash", "amount": "0"}], vouchers_used=[])

    told = text(sale(VOID), original=free) if original else text(free)

    assert "-0" not in told.replace("-000188", "").replace("-02-", "").replace("-03-", "").replace("-000187", "")


def test_text_is_utf_8():
    """Letters beyond ASCII go as they are."""
    told = text(sale(SALE, lines=[{**SALE["lines"][0], "name": "R\u00e4ksm\u00f6rg\u00e5s \u2764"}]))

    assert '"R\u00e4ksm\u00f6rg\u00e5s \u2764"' in told
    assert render_json("\u00e5") == b'"\xc3\xa5"'


# --- contacts ---------------------------------------------------------------------------------------------------

PHONE = Identifier(IdentifierType.MOBILE_PHONE, "+46701740605")


def contact(identifiers: tuple[Identifier, ...] = (PHONE,), **given: Any) -> dict[str, Any]:
    body = render_contact(NewContact.model_validate(given), identifiers, contact_type="Member", source="POS")
    return json.loads(body)


def test_nothing_is_switched_on_by_default():
    """A phone number alone makes a contact that has agreed to nothing."""
    assert contact() == {"contactType": "Member", "mobilePhone": "+46701740605"}
    assert contact(preferences={}) == contact()


def test_a_whole_contact():
    """Everything the customer gave, under Voyado's names."""
    assert contact(
        contact_type="Contact",
        first_name="Alma",
        last_name="Ekvall",
        email="Alma.Ekvall@example.com",
        mobile_phone="070-174 06 05",
        personal_number="900101-0017",
        birth_date="1990-01-01",
        street="Exempelgatan 7",
        zip_code="123 45",
        city="Exempelstad",
        country_code="SE",
        language="sv",
        preferences={"accepts_email": True, "accepts_sms": False},
        consents=[
            {
                "id": "memberTerms",
                "value": True,
                "text_version": "7",
                "given_at": "2026-02-14T16:40:00+01:00",
                "place": "03",
            },
            {"id": "profiling", "value": False, "given_at": "2026-02-14T16:40:00+01:00", "place": "03"},
        ],
        attributes={"shoeSize": 42, "club": "Bandy", "vip": False, "unset": None},
    ) == {
        "contactType": "Contact",
        "firstName": "Alma",
        "lastName": "Ekvall",
        "email": "Alma.Ekvall@example.com",
        "mobilePhone": "+46701740605",
        "socialSecurityNumber": "900101-0017",
        "birthDay": "1990-01-01",
        "street": "Exempelgatan 7",
        "zipCode": "123 45",
        "city": "Exempelstad",
        "countryCode": "SE",
        "language": "sv",
        "preferences": {"acceptsEmail": True, "acceptsSms": False},
        "consents": [
            {
                "id": "memberTerms",
                "value": True,
                "source": "POS",
                "date": "2026-02-14T16:40:00+01:00",
                "comment": "7, 03",
            },
            {"id": "profiling", "value": False, "source": "POS", "date": "2026-02-14T16:40:00+01:00", "comment": "03"},
        ],
        "shoeSize": 42,
        "club": "Bandy",
        "vip": False,
    }


def test_free_attributes_replace_nothing():
    """What has a field of its own is never taken from the free attributes."""
    told = contact(attributes={"contactType": "Admin", "mobilePhone": "+46701740699", "a": 1}, first_name="Alma")

    assert told == {"contactType": "Member", "mobilePhone": "+46701740605", "firstName": "Alma", "a": 1}


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("email", "email"),
        ("EMAIL", "email"),
        ("mobilePhone", "mobile_phone"),
        ("MobilePhone", "mobile_phone"),
        ("mobile_phone", "mobile_phone"),
        ("socialSecurityNumber", "personal_number"),
        ("personal_number", "personal_number"),
        ("firstname", "first_name"),
        ("lastName", "last_name"),
        ("birthDay", "birth_date"),
        ("birth_date", "birth_date"),
        ("street", "street"),
        ("zipCode", "zip_code"),
        ("city", "city"),
        ("countryCode", "country_code"),
        ("language", "language"),
        ("lang", "language"),
        ("contactType", "contact_type"),
        ("consents", "consents"),
        ("preferences", "preferences"),
        ("acceptsEmail", "preferences/accepts_email"),
        ("acceptsEmails", "preferences/accepts_email"),
        ("AcceptsSms", "preferences/accepts_sms"),
        ("acceptspostals", "preferences/accepts_postal"),
        *((name, None) for name in ("id", "contactId", "memberNumber", "MEMBER_NUMBER", "externalId", "approved")),
        *((name, None) for name in ("createdInStore", "rfm", "age", "discoveryKey", "secrecyMarked")),
        *((name, None) for name in ("nps.grade", "retail.keyvalue.recency")),
    ],
)
def test_what_is_no_free_attribute(name, ours):
    """What has a field of its own is said there, where it is checked; what is Voyado's own, nowhere."""
    given = NewContact(first_name="Alma", attributes={name: "1", "shoeSize": "39"})
    said = f"has a field of its own: {ours}" if ours else "is no free attribute at the loyalty system"
    assert misnamed(given) == [Fault(f"/attributes/{name}", said)]


def test_what_is_a_free_attribute():
    """Whatever the tenant has beside; standard ones that no field is for; and what has no value says nothing."""
    free = {"shoeSize": 39, "gender": "Female", "careOf": "Bo", "cardNumber": "7350010", "emailed": True, "email": None}
    assert misnamed(NewContact(first_name="Alma", attributes=free)) == []


def test_the_pointer_to_an_attribute():
    """As JSON pointers are written."""
    assert [fault.pointer for fault in misnamed(NewContact(attributes={"e/mail~": "1"}))] == ["/attributes/e~1mail~0"]


def test_a_sale_dated_by_a_wrong_clock_says_when_it_was():
    """The till's time stays; the corrected one goes beside it, in the store's local time."""
    corrected_at = datetime(2026, 2, 14, 15, 41, 9, 500_000, tzinfo=UTC)
    body = render_receipt(
        sound(SALE), MEMBER, original=None, contact_type="Member", zone=STOCKHOLM, corrected_at=corrected_at
    )

    assert json.loads(body)["extraData"] == [{"name": "correctedDate", "value": "2026-02-14T16:41:09+01:00"}]
