"""A sale: its shape, when two statements are the same, and what is left without its person."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.domain.transaction import Transaction, body_of, content_of, transaction_of, without_person

NEW_CONTACT = {
    "contact_type": "Member",
    "first_name": "Canaria",
    "last_name": "Fogelstrom",
    "email": "Canaria@Example.com",
    "mobile_phone": "070-174 06 41",
    "personal_number": "900101-0017",
    "birth_date": "1990-01-01",
    "street": "Kanariegatan 7",
    "zip_code": "123 45",
    "city": "Exempelstad",
    "country_code": "SE",
    "language": "sv",
    "preferences": {"accepts_email": True, "accepts_sms": False},
    "consents": [{"id": "memberTerms", "value": True, "text_version": "7", "given_at": "2026-02-14T16:40:00+01:00",
                  "place": "till 03"}],
    "attributes": {"favourite": "Sittich", "clubs": 3, "vip": False, "none": None},
}  # fmt: skip


def read(body: dict[str, Any] | str) -> Transaction:
    text = body if isinstance(body, str) else json.dumps(body)
    return Transaction.model_validate(json.loads(text, parse_float=Decimal))


def content(body: dict[str, Any] | str) -> bytes:
    transaction = read(body)
    normaliser, today = Normaliser("SE"), date(2026, 2, 14)
    given = transaction.identifier
    readings: tuple[Identifier, ...] = ()
    if given is not None and given.type == "any":
        readings = normaliser.readings(given.value, today=today)
    elif given is not None:
        readings = (normaliser.normalise(IdentifierType(given.type), given.value, today=today),)
    return content_of(transaction, body_of(transaction), readings)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"total": "250.0", "payments__0__amount": "200"}, id="250.0 and 250.00"),
        pytest.param({"total": 250, "lines__0__quantity": 2, "lines__0__tax_percent": 25}, id="integer or string"),
        pytest.param({"total": 250.00, "payments__1__amount": 50.0}, id="number or string"),
        pytest.param({"identifier__value": "+46 70 174 06 05"}, id="spelling of the identifier"),
        pytest.param({"occurred_at": "2026-02-14T15:41:09Z"}, id="offset of the same instant"),
        pytest.param({"occurred_at": "2026-02-14 15:41:09.000000+00:00"}, id="form of the same instant"),
        pytest.param({"channel": "pos", "rounding": "0.00"}, id="a default, stated"),
        pytest.param({"channel": None, "rounding": None, "new_contact": None}, id="a default, null"),
        pytest.param({"lines__0__awards_points": None}, id="a default of a line, null"),
        pytest.param({"new_contact": ...}, id="null or absent"),
        pytest.param({"lines__0__awards_points": ...}, id="a line's default, left out"),
    ],
)
def test_the_same_content(sale, changes):
    """A repeat counts as the same sale, however it is spelled."""
    assert content(sale(**changes)) == content(sale())


def test_key_order_and_blanks_do_not_count(sale):
    """Only what is said counts, not how the JSON is laid out; free attributes included."""
    body = sale(new_contact={"email": "bo@example.com", "attributes": {"a": 1, "b": 2}})
    other = sale(new_contact={"attributes": {"b": 2, "a": 1}, "email": "bo@example.com"})
    turned = dict(reversed(other.items())) | {"lines": [dict(reversed(line.items())) for line in other["lines"]]}

    assert content(json.dumps(turned, indent=3)) == content(body)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"total": "250.01"}, id="total"),
        pytest.param({"payments__0__type": "cash"}, id="payment type"),
        pytest.param({"payments__0__amount": "199"}, id="payment amount"),
        pytest.param({"lines__0__quantity": "3"}, id="quantity"),
        pytest.param({"lines__0__awards_points": False}, id="points"),
        pytest.param({"occurred_at": "2026-02-14T16:41:10+01:00"}, id="a second later"),
        pytest.param({"identifier__value": "070-174 06 06"}, id="somebody else"),
        pytest.param({"identifier": None}, id="nobody"),
        pytest.param({"identifier": {"type": "any", "value": "070-174 06 05"}}, id="asked differently"),
        pytest.param({"vouchers_used": []}, id="no voucher"),
        pytest.param({"cashier_id": "78"}, id="another cashier"),
        pytest.param({"new_contact": {"email": "bo@example.com"}}, id="somebody new"),
    ],
)
def test_other_content(sale, changes):
    """Another amount, person, time or tender is another sale."""
    assert content(sale(**changes)) != content(sale())


def test_the_order_of_lines_counts(sale):
    """Two lines in another order are other content."""
    first, second = {**sale()["lines"][0], "sku": "A"}, {**sale()["lines"][0], "sku": "B"}

    assert content(sale(lines=[first, second])) != content(sale(lines=[second, first]))


def test_an_integration_key_is_content(sale):
    """The key that the till states belongs to the content, its kind included."""
    key = {"kind": "primary", "type": "member_number", "value": "10000421"}
    contents = {
        content(sale(identifier=None, integration_key=key | changes))
        for changes in ({}, {"value": "10000422"}, {"kind": "secondary"}, {"type": "external_id"})
    }

    assert len(contents) == 4


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="a sale"),
        pytest.param({"new_contact": NEW_CONTACT}, id="with somebody new"),
        pytest.param({"type": "void", "lines": [], "rounding": "0.4"}, id="a void"),
    ],
)
def test_the_body_comes_back(sale, changes):
    """What goes into the outbox comes out equal, but for what the outbox keeps beside it."""
    transaction = read(sale(**changes))

    again = transaction_of(body_of(transaction), transaction.occurred_at.isoformat())

    assert again == transaction.model_copy(update={"identifier": None, "integration_key": None})
    assert body_of(again) == body_of(transaction)


def test_the_body_holds_no_identifier(sale):
    """Identifier, key and instant are kept beside the body, so that each can be erased by itself."""
    text = body_of(read(sale()))

    assert not {"identifier", "integration_key", "occurred_at"} & json.loads(text).keys()
    assert "174" not in text


def test_nothing_of_a_person_is_left(sale):
    """After the purge no value that points to customer or cashier is in the body; sums and goods are."""
    secrets = {
        "identifier": {"type": "email", "value": "canary-1@example.com"},
        "cashier_id": "canary-2",
        "payments__1__reference": "canary-3",
        "vouchers_used": [{"number": "canary-4"}],
        "offers_used": [{"offer_id": "canary-5", "promotion_id": "canary-6"}],
        "new_contact": NEW_CONTACT,
    }
    transaction = read(sale(**secrets))

    left = without_person(transaction)

    text = left.model_dump_json() + body_of(left) + repr(left)
    assert "canar" not in text.lower()
    assert not [
        value for value in ("0640", "0641", "Fogelstrom", "900101", "1990", "123 45", "Sittich") if value in text
    ]
    assert left.total == transaction.total
    assert left.lines == transaction.lines
    assert [payment.amount for payment in left.payments] == [200, 50]


def test_a_person_never_shows_in_a_repr(sale):
    """A sale can be printed by mistake without naming anybody."""
    key = {"kind": "secondary", "type": "email", "value": "canary@example.com"}

    text = repr(read(sale(new_contact=NEW_CONTACT))) + repr(read(sale(identifier=None, integration_key=key)))

    assert not [value for value in ("174 06", "Fogelstrom", "canary", "900101", "204417", "'77'", "8c0a2f8e")
                if value in text]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        pytest.param({"colour": "red"}, "colour", id="unknown field"),
        pytest.param({"lines__0__colour": "red"}, "lines.0.colour", id="unknown field of a line"),
        pytest.param({"transaction_id": "a b"}, "transaction_id", id="id with a blank"),
        pytest.param({"transaction_id": "a\n"}, "transaction_id", id="id with a line feed"),
        pytest.param({"transaction_id": "x" * 65}, "transaction_id", id="id too long"),
        pytest.param({"type": "gift"}, "type", id="unknown type"),
        pytest.param({"total": "a lot"}, "total", id="no amount"),
        pytest.param({"total": None}, "total", id="null amount"),
        pytest.param({"total": ...}, "total", id="no total"),
        pytest.param({"currency": "kr"}, "currency", id="no currency code"),
        pytest.param({"occurred_at": "2026-02-14T16:41:09"}, "occurred_at", id="time without an offset"),
        pytest.param({"occurred_at": "2026-02-14T16:41:09+01:00:30"}, "occurred_at", id="an offset with seconds"),
        pytest.param({"occurred_at": "2026-02-14"}, "occurred_at", id="a date"),
        pytest.param({"occurred_at": 1771083669}, "occurred_at", id="seconds since 1970"),
        pytest.param({"occurred_at": "1771083669"}, "occurred_at", id="seconds since 1970, as text"),
        pytest.param({"occurred_at": "2026-02-30T16:41:09+01:00"}, "occurred_at", id="no such day"),
        pytest.param({"occurred_at": "0001-01-01T00:00:00+14:00"}, "occurred_at", id="before all time"),
        pytest.param({"occurred_at": "9999-12-31T23:59:59-14:00"}, "occurred_at", id="after all time"),
        pytest.param({"lines__0__awards_points": "false"}, "lines.0.awards_points", id="a truth value as text"),
        pytest.param({"lines__0__name": "x" * 251}, "lines.0.name", id="a name too long"),
        pytest.param({"lines__0__name": "\ud800"}, "lines.0.name", id="half a character"),
        pytest.param({"payments__0__type": "shells"}, "payments.0.type", id="unknown tender"),
        pytest.param({"lines": [{}] * 1001}, "lines", id="too many lines"),
        pytest.param({"payments": [{}] * 1001}, "payments", id="too many payments"),
        pytest.param({"payments": [{"type": "card", "amount": "1"}] * 101}, "payments", id="one payment too many"),
        pytest.param({"new_contact": {"consents": [{"id": "a", "value": 1, "given_at": "2026-02-14T16:41:09Z",
                                                    "place": "x"}]}}, "new_contact.consents.0.value",
                     id="a consent that is not plainly one"),
        pytest.param({"new_contact": {"preferences": {"accepts_sms": "yes"}}}, "new_contact.preferences.accepts_sms",
                     id="a preference that is not plainly one"),
        pytest.param({"new_contact": {"birth_date": 0}}, "new_contact.birth_date", id="a birth date as a number"),
    ],
)  # fmt: skip
def test_what_does_not_fit(sale, changes, where):
    """What does not fit the contract is refused at its place, and the error does not repeat it."""
    with pytest.raises(ValidationError) as caught:
        Transaction.model_validate(sale(**changes))
    places = [".".join(str(part) for part in error["loc"]) for error in caught.value.errors(include_input=False)]
    assert where in places
    assert "174 06" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-02-14T16:41:09+01:00", "2026-02-14T15:41:09+00:00"),
        ("2026-02-14T16:41:09.5+01:00", "2026-02-14T15:41:09.500000+00:00"),
        ("2026-02-14t16:41:09z", "2026-02-14T16:41:09+00:00"),
        ("2026-02-14T16:41+0100", "2026-02-14T15:41:00+00:00"),
        ("2026-02-14T16:41:09-03:30", "2026-02-14T20:11:09+00:00"),
        ("2026-02-14 164109,5+01", "2026-02-14T15:41:09.500000+00:00"),
    ],
)
def test_instants(sale, text, utc):
    """Every usual form of ISO 8601 with an offset is read."""
    assert f"{utc}".encode() in content(sale(occurred_at=text))


NO_INSTANT = "is not an ISO 8601 time with an offset, such as 2026-02-14T16:41:09+01:00"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2026-02-14T16:41:09 +01:00", NO_INSTANT),
        ("2026-02-14T16:41:09 Z", NO_INSTANT),
        ("2026-02-14T16:41:09\n+01:00", NO_INSTANT),
        ("2026-02-14T16:41:09x+01:00", NO_INSTANT),
        ("2026-02-14T16:41:09.5 +01:00", NO_INSTANT),
        ("2026-02-14T16:41:09.+01:00", NO_INSTANT),
        ("2026-02-14T16:41:09+01:00 ", NO_INSTANT),
        ("2026-02-14T16:41:09+01:00:30", NO_INSTANT),
        ("2026-02-14T16:41:09", NO_INSTANT),
        ("2999-02-14T16:41:09", NO_INSTANT),
        ("2200-01-01T00:00:00Z", "has not come yet"),
        ("2999-11-20T10:04:00+01:00", "has not come yet"),
        ("1969-12-31T23:59:59Z", "lies before 1970"),
    ],
)
def test_what_is_no_instant(sale, text, message):
    """What is no time with an offset is told apart from a time that cannot be meant."""
    with pytest.raises(ValidationError) as caught:
        read(sale(occurred_at=text))
    assert [error["msg"] for error in caught.value.errors()] == [f"Value error, {message}"]


def test_new_contacts_name_themselves(sale):
    """Each identifier the customer gave is a statement like any other."""
    contact = read(sale(new_contact=NEW_CONTACT)).new_contact

    assert [(given.type, given.value) for given in contact.identifier_statements()] == [
        ("mobile_phone", "070-174 06 41"),
        ("email", "Canaria@Example.com"),
        ("personal_number", "900101-0017"),
    ]


def test_the_published_schema(sale):
    """The schema says that an amount is a string or a number and an instant a date-time."""
    schema = Transaction.model_json_schema()

    assert schema["properties"]["total"]["$ref"].endswith("/Amount")
    assert [way["type"] for way in schema["$defs"]["Amount"]["anyOf"]] == ["string", "number"]
    assert schema["properties"]["occurred_at"]["format"] == "date-time"
    assert Transaction.model_json_schema(mode="serialization")["properties"]["total"]


@pytest.mark.parametrize("kind", ["purchase", "return", "points_claim"])
def test_lines_and_payments_are_needed(kind):
    """Both are named at once, also beside other faults."""
    stated = {"transaction_id": "s-1", "type": kind, "occurred_at": "2026-02-14T16:41:09+01:00", "currency": "SEK"}
    with pytest.raises(ValidationError) as caught:
        read(stated)
    assert [(error["loc"], error["type"]) for error in caught.value.errors()] == [
        (("total",), "missing"), (("lines",), "missing"), (("payments",), "missing"),
    ]  # fmt: skip


@pytest.mark.parametrize(("field", "missing"), [("total", False), ("type", False), ("lines", True), ("payments", True)])
def test_null_is_no_value_where_one_is_needed(sale, field, missing):
    """What may be left out may be null; what is needed may be neither, and is pointed at."""
    with pytest.raises(ValidationError) as caught:
        read(sale(**{field: None}))
    (error,) = caught.value.errors(include_url=False)
    assert (error["loc"], error["type"] == "missing") == ((field,), missing)


def test_what_may_be_null_in_a_new_contact(sale):
    """A consent's list and the attributes are left out; an attribute's own null is a value."""
    contact = {**NEW_CONTACT, "consents": None, "attributes": None, "street": None}
    read_contact = read(sale(new_contact=contact)).new_contact
    assert (read_contact.consents, read_contact.attributes) == ((), {})
    assert read(sale(new_contact=NEW_CONTACT)).new_contact.attributes["none"] is None


def test_a_void_may_leave_them_out():
    """Left out or empty is the same statement; it comes back from the record as it went in."""
    stated = {
        "transaction_id": "v-1", "type": "void", "occurred_at": "2026-02-14T16:41:09+01:00", "currency": "SEK",
        "total": "0", "original_transaction_id": "s-1",
    }  # fmt: skip
    void = read(stated)
    assert (void.lines, void.payments) == ((), ())
    assert content(stated) == content({**stated, "lines": [], "payments": []})
    assert transaction_of(body_of(void), void.occurred_at.isoformat()) == void


def test_a_sale_that_nothing_was_paid_for_comes_back_as_it_went_in():
    """Empty payments are stated, not left out."""
    line = {"kind": "purchase", "sku": "SK-77", "quantity": "1", "gross_paid": "0"}
    stated = {
        "transaction_id": "s-1", "type": "purchase", "occurred_at": "2026-02-14T16:41:09+01:00", "currency": "SEK",
        "total": "0", "lines": [line], "payments": [],
    }  # fmt: skip
    gift = read(stated)
    assert transaction_of(body_of(gift), gift.occurred_at.isoformat()) == gift


TEXTS = [
    "receipt_number", "store_id", "till_id", "cashier_id",
    "lines__0__sku", "lines__0__article_number", "lines__0__name", "lines__0__plu_class",
    "lines__0__discounts__0__type", "lines__0__discounts__0__description",
    "payments__1__reference", "vouchers_used__0__number", "offers_used__0__offer_id", "offers_used__0__promotion_id",
    "new_contact__contact_type", "new_contact__first_name", "new_contact__last_name", "new_contact__email",
    "new_contact__mobile_phone", "new_contact__personal_number", "new_contact__street", "new_contact__zip_code",
    "new_contact__city", "new_contact__country_code", "new_contact__language", "new_contact__consents__0__id",
    "new_contact__consents__0__text_version", "new_contact__consents__0__place", "new_contact__attributes__favourite",
]  # fmt: skip


@pytest.mark.parametrize("place", TEXTS)
@pytest.mark.parametrize(
    "unspeakable",
    ["\0", "\t", "\n", "\x1b", "\x7f", "\x85", "\ud800", "\ufffe", "\uffff"],
    ids=lambda char: f"u{ord(char):04x}",
)
def test_what_no_receipt_can_say(sale, place, unspeakable):
    """No text holds a control character or what is no character: a vendor's XML has no place for them."""
    with pytest.raises(ValidationError) as refused:
        Transaction.model_validate(every_text(sale, **{place: f"7{unspeakable}7"}))
    steps = [int(step) if step.isdecimal() else step for step in place.split("__")]
    assert all([step for step in fault["loc"] if step in steps] == steps for fault in refused.value.errors())


@pytest.mark.parametrize("said", ["Ål & Ö <x>", "\U0001f600", "a\u00a0b\u2028c", "\u200e77"])
def test_what_a_receipt_can_say(sale, said):
    """Whatever is a character is kept as it was said."""
    assert read(sale(cashier_id=said, lines__0__name=said)).lines[0].name == said


def test_no_text_of_a_sale_is_unbounded():
    """Every text that a till may send says what it can hold; identifiers are judged when they are normalised."""
    schema = Transaction.model_json_schema()
    judged = {"IdentifierStatement", "IntegrationKey"}
    models = {"Transaction": schema, **schema["$defs"]}
    assert [
        f"{name}.{field}"
        for name, model in models.items()
        if name not in judged
        for field, about in model.get("properties", {}).items()
        for leaf in leaves(about)
        if leaf.get("type") == "string" and not leaf.keys() & {"pattern", "enum", "const", "format"}
    ] == []


def leaves(about: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas that a field's schema is made of, rows and members included."""
    parts = [*about.get("anyOf", ()), *about.get("patternProperties", {}).values()]
    parts += [about[name] for name in ("items", "additionalProperties") if isinstance(about.get(name), dict)]
    return [about, *(leaf for part in parts for leaf in leaves(part))]


def every_text(sale: Any, **changes: Any) -> dict[str, Any]:
    """A sale in which somebody new gave everything."""
    return sale(new_contact=json.loads(json.dumps(NEW_CONTACT)), **changes)
