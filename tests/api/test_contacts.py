"""Contacts at the door: made, told, shown; what is wrong of them, field by field."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agent.api.schemas import ContactChanged, ContactTaken
from agent.domain.revision import ConsentThere, ContactThere
from agent.domain.transaction import NewContact
from agent.settings import Rate

ALMA_PHONE, NOBODYS_PHONE, UNKNOWN_PHONE, SHARED_PHONE = (f"+4670174060{digit}" for digit in (5, 7, 8, 6))
TERMS = {"id": "memberTerms", "value": True, "given_at": "2026-11-20T10:00:00+01:00", "place": "1042"}
NEW = {"first_name": "Dilba", "mobile_phone": NOBODYS_PHONE, "consents": [TERMS]}


@pytest.fixture
async def level_4(open_door):
    async with open_door(level=4) as house:
        yield house


async def test_the_vendor_has_it(level_4):
    """202 with the vendor's key and a handle under which the contact is known from now on."""
    answer = await level_4.http.post("/v1/contacts", json=NEW)
    taken = ContactTaken.model_validate_json(answer.content)
    assert (answer.status_code, taken.state, taken.messages) == (202, "delivered", ())
    assert answer.json()["integration_key"] == {"kind": "primary", "type": "member_number", "value": "20000001"}
    assert (taken.served.source, taken.served.level) == ("live", 4)
    shown = (await level_4.http.get(f"/v1/contacts/{taken.ref}")).json()
    assert shown["contact"] == {"ref": taken.ref, "member_number": "20000001"}


async def test_nobody_answers(level_4):
    """202 with this till's own number; it is known at once by what was given and shown as the configuration says."""
    answer = await level_4.http.post("/v1/contacts", json=NEW | {"mobile_phone": UNKNOWN_PHONE})
    body = answer.json()
    assert (answer.status_code, body["state"], body["integration_key"]["type"]) == (202, "queued", "external_id")
    assert [(said["code"], said["audience"]) for said in body["messages"]] == [
        ("loyalty.enrolled_offline", "staff"),
        ("loyalty.enrolled_offline", "customer"),
    ]
    asked = {"identifier": {"type": "mobile_phone", "value": UNKNOWN_PHONE}}
    found = (await level_4.http.post("/v1/contacts/identify", json=asked)).json()
    assert (found["outcome"], found["integration_key"]) == ("matched", body["integration_key"])
    shown = (await level_4.http.get(f"/v1/contacts/{body['ref']}")).json()
    number = body["integration_key"]["value"]
    assert shown["contact"] == {"ref": body["ref"], "first_name": "Dilba", "external_id": number}
    again = await level_4.http.post("/v1/contacts", json=NEW | {"mobile_phone": "070-174 06 08"})
    assert (again.status_code, again.json()["ref"]) == (202, body["ref"])


async def test_what_whoever_joins_gets(level_4):
    """The shop's welcome, until the loyalty system has them and says itself what they have."""
    waits = (await level_4.http.post("/v1/contacts", json=NEW | {"mobile_phone": UNKNOWN_PHONE})).json()
    made = (await level_4.http.post("/v1/contacts", json=NEW)).json()
    (welcome,) = (await level_4.http.get(f"/v1/contacts/{waits['ref']}/benefits")).json()["offers"]
    assert (welcome["id"], welcome["value"]["amount"], welcome["why"]) == ("welcome", "20.00", "welcome")
    assert (welcome["offline"], welcome["general"]) == ("allowed", False)
    assert (await level_4.http.get(f"/v1/contacts/{made['ref']}/benefits")).json()["offers"] == []


async def test_a_sale_takes_the_number(level_4, sale):
    """As the integration key, or by whatever else they are named: it waits under the number."""
    made = (await level_4.http.post("/v1/contacts", json=NEW | {"mobile_phone": UNKNOWN_PHONE})).json()
    by_phone = {"identifier": {"type": "mobile_phone", "value": UNKNOWN_PHONE}}
    for name, whom in (("s-1", {"integration_key": made["integration_key"]}), ("s-2", by_phone)):
        answer = await level_4.http.post("/v1/transactions", json=sale(transaction_id=name, **whom))
        assert (answer.status_code, answer.json()["integration_key"]) == (202, made["integration_key"]), answer.text
        assert [one.state.value for one in level_4.outbox.story(name).deliveries] == ["queued"]


async def test_who_is_a_member_already(level_4):
    """200 with their handle and key, and nobody is made."""
    answer = await level_4.http.post("/v1/contacts", json=NEW | {"mobile_phone": ALMA_PHONE})
    body = answer.json()
    assert (answer.status_code, body["state"], body["ref"]) == (200, "existing", "c_5f3a")
    assert (body["integration_key"]["value"], body["served"]["source"]) == ("10000421", "replica")


@pytest.mark.parametrize(
    ("body", "code", "pointers"),
    [
        ({}, "request.invalid", ["/mobile_phone"]),
        ({"first_name": "Dilba"}, "request.invalid", ["/mobile_phone"]),
        (NEW | {"nickname": "D"}, "request.invalid", ["/nickname"]),
        (NEW | {"email": "dilba"}, "request.invalid", ["/email"]),
        (NEW | {"mobile_phone": "12", "birth_date": "2050-01-01"}, "request.invalid", ["/mobile_phone", "/birth_date"]),
        (NEW | {"preferences": {"accepts_sms": "yes"}}, "request.invalid", ["/preferences/accepts_sms"]),
        (NEW | {"consents": [{"value": True}]}, "request.invalid",
         ["/consents/0/id", "/consents/0/given_at", "/consents/0/place"]),
        (NEW | {"consents": [TERMS | {"given_at": "2026-11-20T10:00"}]}, "request.invalid", ["/consents/0/given_at"]),
        (NEW | {"consents": [TERMS, TERMS]}, "request.invalid", ["/consents/1/id"]),
    ],
    ids=["nothing", "nobody", "unknown field", "no address", "two at once", "no yes or no", "a consent to what",
         "a time without offset", "twice"],
)  # fmt: skip
async def test_a_cashier_hears_what_is_wrong(level_4, body, code, pointers):
    """422: which field, and what is wrong with it, without repeating it; nothing is kept."""
    answer = await level_4.http.post("/v1/contacts", json=body)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, code)
    assert [fault["pointer"] for fault in problem["errors"]] == pointers
    assert "dilba" not in answer.text.lower()


@pytest.mark.parametrize(
    ("fields", "pointers"), [(("birth_date",), ["/birth_date"]), ((), [""])], ids=["a field", "nobody knows which"]
)
async def test_what_the_vendor_refuses(level_4, fields, pointers):
    """422 `contact.refused` with the fields that it names; a mended contact is taken."""
    level_4.vendor.refuses = fields
    answer = await level_4.http.post("/v1/contacts", json=NEW)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "contact.refused")
    assert [fault["pointer"] for fault in problem["errors"]] == pointers
    level_4.vendor.refuses = None
    assert (await level_4.http.post("/v1/contacts", json=NEW)).json()["state"] == "delivered"


async def test_nobody_is_guessed(level_4):
    """409 where several people share what was given."""
    answer = await level_4.http.post("/v1/contacts", json=NEW | {"mobile_phone": SHARED_PHONE})
    assert (answer.status_code, answer.json()["code"]) == (409, "contact.ambiguous")


async def test_below_level_4(house):
    """409 `contact.read_only`: this till makes no contacts."""
    answer = await house.http.post("/v1/contacts", json=NEW)
    assert (answer.status_code, answer.json()["code"]) == (409, "contact.read_only")


async def test_enrolling_costs_a_look_up(open_door):
    """It tells who is a member: beyond the ration it is 429, as `identify` is."""
    async with open_door(level=4, misses=Rate(0.1)) as house:
        answers = [await house.http.post("/v1/contacts", json=NEW) for _ in range(21)]
    assert [answer.status_code for answer in answers] == [202] * 20 + [429]
    assert answers[-1].json()["code"] == "ration.exhausted"


# --- changed ------------------------------------------------------------------------------------------------------


ALMA = "/v1/contacts/c_5f3a"


async def test_a_change_that_the_vendor_has(level_4):
    """202 with whose it is; what is given goes in one form, and what is null says nothing."""
    answer = await level_4.http.patch(ALMA, json={"mobile_phone": "070-174 06 07", "email": None})
    changed = ContactChanged.model_validate_json(answer.content)
    assert (answer.status_code, changed.ref, changed.state) == (202, "c_5f3a", "delivered")
    assert (answer.json()["integration_key"]["value"], changed.conflicts, changed.messages) == ("10000421", (), ())
    assert (changed.served.source, changed.served.level) == ("live", 4)
    assert level_4.vendor.updated == [NewContact(mobile_phone=NOBODYS_PHONE)]


async def test_a_change_while_nobody_answers(level_4):
    """202 `queued`: shown from now on, and the new number identifies them."""
    level_4.vendor.answers_changes = False
    answer = await level_4.http.patch(ALMA, json={"first_name": "Alva", "email": "alva@example.com"})
    assert (answer.status_code, answer.json()["state"], answer.json()["served"]["source"]) == (202, "queued", "replica")
    shown = (await level_4.http.get(ALMA)).json()
    assert shown["contact"]["first_name"] == "Alva"
    again = await level_4.http.patch(ALMA, json={"last_name": "Ek"})
    assert (again.status_code, again.json()["state"]) == (202, "queued")


async def test_what_the_vendor_keeps_is_told(level_4):
    """`conflicts` names it, and the rest is written."""
    consents = {"news": ConsentThere(value=False, given_at=datetime(2026, 11, 20, 9, 1, tzinfo=UTC))}
    level_4.vendor.there = ContactThere("0f6c2c52", consents=consents)
    answer = await level_4.http.patch(ALMA, json={"first_name": "Alva", "consents": [TERMS | {"id": "news"}]})
    assert (answer.json()["state"], answer.json()["conflicts"]) == ("delivered", ["consents/news"])
    assert level_4.vendor.updated == [NewContact(first_name="Alva")]
    assert level_4.officer.recorded == [("contact.conflict", {"kept": 1, "overwritten": 0})]


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, [""]),
        ({"first_name": None}, [""]),
        ({"preferences": {}}, [""]),
        ({"contact_type": "Employee"}, ["/contact_type"]),
        ({"nickname": "D"}, ["/nickname"]),
        ({"first_name": ""}, ["/first_name"]),
        ({"email": "canary"}, ["/email"]),
        ({"mobile_phone": "12", "birth_date": "2050-01-01"}, ["/mobile_phone", "/birth_date"]),
        ({"consents": [TERMS, TERMS]}, ["/consents/1/id"]),
        ({"preferences": {"accepts_sms": "yes"}}, ["/preferences/accepts_sms"]),
    ],
    ids=["nothing", "nothing but null", "nothing but a frame", "a type", "unknown field", "an empty text", "no address",
         "two at once", "twice", "no yes or no"],
)  # fmt: skip
async def test_a_cashier_hears_what_is_wrong_with_a_change(level_4, body, pointers):
    """422: which field, and what is wrong with it, without repeating it; nothing is kept, and nobody is asked."""
    answer = await level_4.http.patch(ALMA, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "request.invalid")
    assert [fault["pointer"] for fault in answer.json()["errors"]] == pointers
    assert "canary" not in answer.text
    assert level_4.vendor.updated == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"first_name": "A", "first_name": "B"}'])
async def test_a_change_that_is_no_object(level_4, body):
    """It is refused as any other body that cannot be read is."""
    answer = await level_4.http.patch(ALMA, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)


async def test_a_change_that_the_vendor_refuses(level_4):
    """422 `contact.refused` with the fields that it names; nothing of it is shown."""
    level_4.vendor.refuses = ("birth_date",)
    answer = await level_4.http.patch(ALMA, json={"first_name": "Alva", "birth_date": "1988-03-14"})
    assert (answer.status_code, answer.json()["code"]) == (422, "contact.refused")
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/birth_date"]
    assert (await level_4.http.get(ALMA)).json()["contact"]["first_name"] == "Alma"


@pytest.mark.parametrize("ref", ["c_nobody", "general", "n_5f3a", "v_5f3a", "a" * 300])
async def test_a_change_of_nobody(level_4, ref):
    """404, as `GET` says."""
    answer = await level_4.http.patch(f"/v1/contacts/{ref}", json={"first_name": "Alva"})
    assert (answer.status_code, answer.json()["code"]) == (404, "record.unknown")


async def test_a_number_that_is_somebody_elses(level_4):
    """409: neither would be found by it again."""
    answer = await level_4.http.patch(ALMA, json={"mobile_phone": SHARED_PHONE})
    assert (answer.status_code, answer.json()["code"]) == (409, "contact.ambiguous")


async def test_a_change_below_level_4(house):
    """409 `contact.read_only`, as with a new contact."""
    answer = await house.http.patch(ALMA, json={"first_name": "Alva"})
    assert (answer.status_code, answer.json()["code"]) == (409, "contact.read_only")


async def test_a_newcomer_is_changed_before_they_are_anywhere_else(level_4):
    """By the handle of `POST`, under the same number."""
    made = (await level_4.http.post("/v1/contacts", json=NEW | {"mobile_phone": UNKNOWN_PHONE})).json()
    answer = await level_4.http.patch(f"/v1/contacts/{made['ref']}", json={"first_name": "Delba"})
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert answer.json()["integration_key"] == made["integration_key"]
    shown = (await level_4.http.get(f"/v1/contacts/{made['ref']}")).json()
    assert shown["contact"]["first_name"] == "Delba"
    assert level_4.vendor.updated == []


async def test_changing_costs_a_look_up(open_door):
    """An unknown handle is a miss: beyond the ration it is 429."""
    async with open_door(level=4, misses=Rate(0.1)) as house:
        answers = [await house.http.patch("/v1/contacts/c_nobody", json={"first_name": "A"}) for _ in range(21)]
    assert [answer.status_code for answer in answers] == [404] * 20 + [429]
