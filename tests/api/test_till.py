"""The calls of a till, against a running door."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from agent.api.schemas import ContactAnswer, IdentifyAnswer, TransactionAccepted, TransactionAnswer
from agent.domain.delivery import DONE, Verdict, VerdictKind
from agent.errors import StorageDamagedError, StorageError, StorageFullError
from agent.ports import Settled

NOW = datetime(2026, 11, 20, 9, 5, 12, tzinfo=UTC)
ALMA_PHONE, SHARED_PHONE, NOBODYS_PHONE, UNKNOWN_PHONE = "+46701740605", "+46701740606", "+46701740607", "+46701740608"
IDENTIFY, SALES = "/v1/contacts/identify", "/v1/transactions"
WIRE = {"content-type": "application/json"}


def who(value: str, kind: str = "mobile_phone") -> dict:
    return {"identifier": {"type": kind, "value": value}}


async def test_a_match_is_answered_as_published(house):
    """A match carries the primary key, what may be shown, what is allowed, and how it was served."""
    answer = await house.http.post(IDENTIFY, json=who("070-174 06 05"))

    assert answer.status_code == 200
    assert answer.json() == {
        "outcome": "matched",
        "integration_key": {"kind": "primary", "type": "member_number", "value": "10000421"},
        "contact": {"ref": "c_5f3a", "member_number": "10000421", "first_name": "Alma"},
        "allowed": {"earn": True, "spend": False, "see_details": True},
        "served": {"source": "replica", "as_of": "2026-11-20T09:00:00Z", "age_s": 312, "stale": False, "level": 3},
        "messages": [],
    }
    IdentifyAnswer.model_validate_json(answer.content, strict=True)


@pytest.mark.parametrize(
    ("phone", "outcome", "code"),
    [
        (NOBODYS_PHONE, "not_found", "loyalty.not_found"),
        (SHARED_PHONE, "ambiguous", "loyalty.ambiguous"),
        (UNKNOWN_PHONE, "unknown", "loyalty.unknown"),
    ],
    ids=["not-found", "ambiguous", "unknown"],
)
async def test_who_is_not_matched_gets_the_secondary_key(house, phone, outcome, code):
    """Without a match nobody is guessed: no contact, the normalised secondary key, and words for the cashier."""
    body = (await house.http.post(IDENTIFY, json=who(phone))).json()

    assert body["outcome"] == outcome
    assert body["contact"] is None
    assert body["integration_key"] == {"kind": "secondary", "type": "mobile_phone", "value": phone}
    assert body["allowed"] == {"earn": True, "spend": False, "see_details": False}
    assert body["messages"][0]["code"] == code
    assert {message["locale"] for message in body["messages"]} == {"sv-SE"}


async def test_offline_a_match_earns_and_does_not_spend(house):
    """While the loyalty system does not answer, a member from the replica may earn, and a message says so."""
    house.link.silent(NOW, house.clock.monotonic())
    body = (await house.http.post(IDENTIFY, json=who(ALMA_PHONE))).json()

    assert body["allowed"] == {"earn": True, "spend": False, "see_details": True}
    assert {message["code"] for message in body["messages"]} == {"loyalty.offline.replica"}


@pytest.mark.parametrize(
    ("accepted", "locale"),
    [("de-AT, en;q=0.5", "de-AT"), ("fr", "sv-SE"), (None, "sv-SE")],
    ids=["asked", "not-shipped", "none"],
)
async def test_messages_come_in_the_language_asked_for(house, accepted, locale):
    """Accept-Language wins where its language is shipped; else the configured locale."""
    headers = {"accept-language": accepted} if accepted else {}
    body = (await house.http.post(IDENTIFY, json=who(NOBODYS_PHONE), headers=headers)).json()
    assert {message["locale"] for message in body["messages"]} == {locale}


@pytest.mark.parametrize(
    ("body", "status", "code", "pointers"),
    [
        (who("07"), 422, "identifier.invalid", ["/identifier/value"]),
        (who(""), 422, "identifier.invalid", ["/identifier/value"]),
        (who("7" * 255), 422, "identifier.invalid", ["/identifier/value"]),
        (who("7" * 200_000, "any"), 422, "identifier.invalid", ["/identifier/value"]),
        (who("x", "shoe_size"), 422, "request.invalid", ["/identifier/type"]),
        ({}, 422, "request.invalid", ["/identifier"]),
        ({**who(ALMA_PHONE), "more": 1}, 422, "request.invalid", ["/more"]),
        ({"identifier": {"type": "any", "value": 701740605}}, 422, "request.invalid", ["/identifier/value"]),
    ],
    ids=["invalid-value", "empty", "too-long", "far-too-long", "unknown-type", "missing", "unknown-field", "a-number"],
)
async def test_identify_refuses_what_does_not_fit(house, body, status, code, pointers):
    """A value that cannot be of its type, and a body that does not fit, are 422 with pointers and without values."""
    answer = await house.http.post(IDENTIFY, json=body)
    problem = answer.json()

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["code"] == code
    assert [error["pointer"] for error in problem["errors"]] == pointers
    assert "701740605" not in answer.text


async def test_the_shape_of_a_problem(house):
    """A problem has exactly the published members, and its request id is the header's."""
    answer = await house.http.post(IDENTIFY, json={"identifier": {"type": "any"}})
    problem = answer.json()

    assert problem.pop("request_id") == answer.headers["x-request-id"]
    assert problem == {
        "type": "urn:loyalty-agent:problem:request.invalid",
        "title": "The request does not fit the contract.",
        "status": 422,
        "detail": "The request does not fit the contract.",
        "code": "request.invalid",
        "errors": [{"pointer": "/identifier/value", "message": "is needed"}],
    }
    refused = (await house.http.get("/v1/nothing")).json()
    assert set(refused) == {"type", "title", "status", "detail", "code", "request_id"}


async def test_a_contact_by_its_handle(house):
    """A handle shows what the replica may show of the member, and how that was served."""
    answer = await house.http.get("/v1/contacts/c_5f3a")

    assert answer.status_code == 200
    ContactAnswer.model_validate_json(answer.content, strict=True)
    assert answer.json()["contact"] == {"ref": "c_5f3a", "member_number": "10000421", "first_name": "Alma"}
    assert answer.json()["served"]["source"] == "replica"


async def test_a_contact_with_an_age_of_its_own(house):
    """Where members are asked for one by one, each is as old as what was said of them."""
    alma = replace(house.people.member("c_5f3a"), as_of=NOW - timedelta(hours=2))
    house.people.member = lambda _ref: alma
    served = (await house.http.get("/v1/contacts/c_5f3a")).json()["served"]
    assert (served["age_s"], served["stale"]) == (7200, False)


async def test_a_stale_replica_says_so(house):
    """A handle answered from a replica older than replica.stale_after says stale, in the answer and in words."""
    house.people.as_of = NOW - timedelta(hours=25)
    body = (await house.http.get("/v1/contacts/c_5f3a")).json()
    assert body["served"]["stale"] is True
    assert [message["code"] for message in body["messages"]] == ["loyalty.stale"]


async def test_an_expired_replica_shows_nobody(house):
    """A replica that has ended shows nobody; an unknown handle is the same 404."""
    unknown = await house.http.get("/v1/contacts/c_none")
    house.people.as_of = None
    expired = await house.http.get("/v1/contacts/c_5f3a")
    assert (unknown.status_code, expired.status_code) == (404, 404)
    assert unknown.json()["code"] == expired.json()["code"] == "record.unknown"


async def test_a_sale_is_taken(house, sale):
    """A sale is 202 with its state, its key and how its member was found; it stands in the outbox then."""
    answer = await house.http.post(SALES, json=sale(**who("070-174 06 05")))

    assert answer.status_code == 202
    TransactionAccepted.model_validate_json(answer.content, strict=True)
    assert answer.json() == {
        "transaction_id": "1042-03-20260214-000187",
        "number": 1,
        "state": "queued",
        "duplicate": False,
        "accepted_at": "2026-11-20T09:05:12Z",
        "integration_key": {"kind": "primary", "type": "member_number", "value": "10000421"},
        "served": {"source": "replica", "as_of": "2026-11-20T09:00:00Z", "age_s": 312, "stale": False, "level": 3},
        "messages": [],
    }
    assert house.outbox.story("1042-03-20260214-000187").key_kind == "primary"


async def test_a_guest_has_no_delivery_at_a_vendor_without_guests(house, sale):
    """A guest's sale at a vendor that wants none is delivered at once: nothing is owed to anybody."""
    assert (await house.http.post(SALES, json=sale())).json()["state"] == "delivered"
    answer = await house.http.get(f"{SALES}/{sale()['transaction_id']}")
    TransactionAnswer.model_validate_json(answer.content, strict=True)
    assert answer.json()["integration_key"] is None
    assert answer.json()["deliveries"] == []
    assert answer.json()["state"] == "delivered"


async def test_the_same_sale_again_is_a_duplicate(house, sale):
    """The same content, spelled otherwise, is 200 with the first answer's key; other content under the id is 409."""
    first = await house.http.post(SALES, json=sale(**who("070-174 06 05")))
    spelled = json.dumps(sale(**who("+46 70 174 06 05")), indent=2, sort_keys=True)
    spelled = spelled.replace('"total": "250.00"', '"total": 250.0').replace('"quantity": "2"', '"quantity": 2')
    again = await house.http.post(SALES, content=spelled, headers=WIRE)
    other = await house.http.post(SALES, json=sale(**who("070-174 06 05"), receipt_number="2"))

    assert (first.status_code, again.status_code, other.status_code) == (202, 200, 409)
    assert again.json()["duplicate"] is True
    assert again.json()["integration_key"] == first.json()["integration_key"]
    assert again.json()["accepted_at"] == first.json()["accepted_at"]
    assert other.json()["code"] == "transaction.conflict"


async def test_numbers_reach_the_outbox_digit_by_digit(house, sale):
    """A JSON number with twenty significant digits is kept exactly; a binary float would have rounded it."""
    quantity = "12345678901234.567891"
    raw = json.dumps(sale(**who(ALMA_PHONE))).replace('"quantity": "2"', f'"quantity": {quantity}')
    assert (await house.http.post(SALES, content=raw, headers=WIRE)).status_code == 202
    (outgoing,) = await house.outbox.lease("voyado", 1, NOW)
    assert str(outgoing.transaction.lines[0].quantity) == quantity
    assert Decimal(float(quantity)) != Decimal(quantity)


@pytest.mark.parametrize(
    ("changes", "pointers"),
    [
        ({"total": "251.00"}, {"/total", "/payments"}),
        ({"occurred_at": "2026-02-14T16:41:09"}, {"/occurred_at"}),
        ({"transaction_id": "a b"}, {"/transaction_id"}),
        ({"transaction_id": None, "colour": "red"}, {"/transaction_id", "/colour"}),
        ({"identifier": {"type": "email", "value": "alma"}}, {"/identifier/value"}),
        ({"lines": ..., "payments": ...}, {"/lines", "/payments"}),
        ({"lines": [], "payments": [], "total": "0"}, {"/lines"}),
        ({"total": 1e400}, None),
    ],
    ids=["sums", "no-offset", "id", "missing-and-unknown", "identifier", "left-out", "empty", "infinity"],
)
async def test_a_sale_that_does_not_fit_is_kept_nowhere(house, sale, changes, pointers):
    """What does not fit is refused with pointers, and nothing of it is kept."""
    stated = {name: value for name, value in sale(**changes).items() if value is not ...}
    answer = await house.http.post(SALES, content=json.dumps(stated), headers=WIRE)

    assert answer.status_code == (422 if pointers else 400)
    assert {error["pointer"] for error in answer.json().get("errors", [])} == (pointers or set())
    assert house.outbox.info().depth == 0
    assert (await house.http.get(f"{SALES}/{sale()['transaction_id']}")).status_code == 404


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StorageFullError(), 507, "storage.full"),
        (StorageError(), 503, "storage.unavailable"),
        (StorageDamagedError(), 503, "storage.damaged"),
        (RuntimeError("+46701740605"), 500, "agent.error"),
        (ZeroDivisionError(), 500, "agent.error"),
    ],
    ids=["full", "unavailable", "damaged", "unexpected", "bug"],
)
async def test_what_cannot_be_kept_is_said_so(house, sale, error, status, code):
    """A disk that says no is 507 or 503, anything unexpected 500 without details; the door goes on."""
    house.room["error"] = error
    answer = await house.http.post(SALES, json=sale())
    house.room["error"] = None

    assert answer.status_code == status
    assert answer.json()["code"] == code
    assert "+46701740605" not in answer.text
    assert (await house.http.post(SALES, json=sale())).status_code == 202


async def test_a_full_disk_has_words_for_the_cashier(house, sale):
    """507 carries the message that a cashier and a customer should hear."""
    house.room["error"] = StorageFullError()
    body = (await house.http.post(SALES, json=sale(), headers={"accept-language": "en"})).json()
    assert [(message["code"], message["audience"]) for message in body["messages"]] == [
        ("storage.full", "staff"),
        ("storage.full", "customer"),
    ]


async def test_how_a_sale_stands(house, sale):
    """A sale's state is that of its least finished delivery, with the vendor's error and without the key's value."""
    await house.http.post(SALES, json=sale(**who(ALMA_PHONE)))
    (outgoing,) = await house.outbox.lease("voyado", 1, NOW)
    verdict = Verdict(VerdictKind.PARK, code="vendor.rejected", status=422, title="No such article", vendor_code="E7")
    await house.outbox.settle([Settled(outgoing.entry, verdict)], NOW)
    answer = await house.http.get(f"{SALES}/{sale()['transaction_id']}")

    TransactionAnswer.model_validate_json(answer.content, strict=True)
    assert answer.json() == {
        "transaction_id": "1042-03-20260214-000187",
        "number": 1,
        "state": "parked",
        "accepted_at": "2026-11-20T09:05:12Z",
        "integration_key": {"kind": "primary", "type": "member_number"},
        "deliveries": [
            {
                "vendor": "voyado",
                "state": "parked",
                "attempts": 1,
                "next_attempt_at": None,
                "delivered_at": None,
                "vendor_reference": None,
                "last_error": {"code": "vendor.rejected", "status": 422, "title": "No such article"},
                "note": None,
            }
        ],
    }


async def test_what_a_vendor_took_a_sale_without(house, sale):
    """It stands beside what is delivered, which is no error; a sale of which nothing was lost has none."""
    name = sale()["transaction_id"]
    await house.http.post(SALES, json=sale(**who(ALMA_PHONE)))
    told = {"code": "sale.time_lost", "title": "Counted when it arrived."}
    for verdict, note in (
        (Verdict(VerdictKind.DONE, **told), told),
        (Verdict(VerdictKind.DONE, title="Of nothing."), None),
    ):
        (outgoing,) = await house.outbox.lease("voyado", 1, NOW)
        await house.outbox.settle([Settled(outgoing.entry, verdict)], NOW)
        [delivery] = (await house.http.get(f"{SALES}/{name}")).json()["deliveries"]
        assert (delivery["state"], delivery["last_error"], delivery["note"]) == ("delivered", None, note)
        name = "s-2"
        await house.http.post(SALES, json=sale(transaction_id=name, **who(ALMA_PHONE)))


async def test_a_held_lane_shows_as_held(house, sale):
    """What waits for refused credentials is held, in the sale's state and the delivery's."""
    await house.http.post(SALES, json=sale(**who(ALMA_PHONE)))
    house.orders.lanes.add("voyado")
    body = (await house.http.get(f"{SALES}/{sale()['transaction_id']}")).json()
    assert body["state"] == body["deliveries"][0]["state"] == "held"


async def test_no_attempt_is_promised_before_the_vendor_is_asked_again(house, sale):
    """A sale waits for its own next attempt, and for a pause of the vendor's: the later one is told, to all who ask."""
    await house.http.post(SALES, json=sale(**who(ALMA_PHONE)))
    (outgoing,) = await house.outbox.lease("voyado", 1, NOW)

    async def told():
        name = sale()["transaction_id"]
        entry = (await house.admin.get("/v1/queue")).json()["entries"][0]
        story = (await house.admin.get(f"{SALES}/{name}/story")).json()["deliveries"][0]
        answers = {row["next_attempt_at"] for row in (entry, story)}
        (shown,) = answers | {(await house.http.get(f"{SALES}/{name}")).json()["deliveries"][0]["next_attempt_at"]}
        return shown

    assert await told() is None
    house.orders.resting["voyado"] = NOW + timedelta(minutes=2)
    assert await told() == "2026-11-20T09:07:12Z"
    retry = Verdict(VerdictKind.RETRY, code="vendor.error", status=500, reached=False)
    await house.outbox.settle([Settled(outgoing.entry, retry, NOW + timedelta(minutes=5))], NOW)
    assert await told() == "2026-11-20T09:10:12Z"
    house.orders.resting["voyado"] = NOW + timedelta(minutes=9)
    assert await told() == "2026-11-20T09:14:12Z"
    (outgoing,) = await house.outbox.lease("voyado", 1, NOW + timedelta(minutes=9))
    await house.outbox.settle([Settled(outgoing.entry, DONE)], NOW)
    house.orders.resting["antavo"] = NOW
    answer = await house.http.get(f"{SALES}/{sale()['transaction_id']}")
    assert answer.json()["deliveries"][0]["next_attempt_at"] is None


@pytest.mark.parametrize(
    "name", ["nothing", "%2B46701740605", "a%00b", "x" * 300], ids=["unknown", "phone", "nul", "long"]
)
async def test_an_unknown_sale(house, name):
    """A sale that is not here is 404, whatever stands in its place."""
    answer = await house.http.get(f"{SALES}/{name}")
    assert answer.status_code == 404
    assert answer.json()["code"] == "record.unknown"
    assert "46701740605" not in answer.text


async def test_a_text_that_no_receipt_can_say_is_pointed_at(house, sale):
    """A control character in a text is 422 with its place, whatever the place; nothing is kept."""
    body = sale(cashier_id="7\x007", new_contact={"email": "bo@example.com", "attributes": {"note": "a\nb"}})

    answer = await house.http.post(SALES, json=body)

    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"pointer": "/cashier_id", "message": "contains a control character, or what is no character at all"},
        {
            "pointer": "/new_contact/attributes/note",
            "message": "contains a control character, or what is no character at all",
        },
    ]
    assert (await house.http.get(f"{SALES}/{body['transaction_id']}")).status_code == 404
