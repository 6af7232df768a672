"""Erasing and exporting one person through the door, and what an administrator does on record."""

import json
from datetime import UTC, datetime

import pytest

from agent.api.schemas_privacy import ErasureAnswer, ExportAnswer
from agent.domain.audit import Head
from agent.domain.contact import Member
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.identifiers import IdentifierType
from agent.domain.transaction import IntegrationKey
from agent.errors import AmbiguousPersonError, IdentifierInvalidError, StorageError, StorageFullError
from agent.ports import ErasedBefore, ErasureRequest, Identity, Person, Settled
from agent.services.privacy import Erasure, Export

NOW = datetime(2026, 11, 20, 9, 5, 12, tzinfo=UTC)
PHONE = "+46701740605"
WHO = {"identifier": {"type": "mobile_phone", "value": PHONE}}
COUNTS = {
    "contacts": 1,
    "sales_waiting": 2,
    "sales_finished": 0,
    "activities": 0,
    "redemptions": 0,
    "enrolments": 0,
    "notes": 0,
    "kept_files": 0,
    "file_rows": 0,
}
KEY = IntegrationKey(kind="primary", type=IdentifierType.MEMBER_NUMBER, value="10000421")
ALMA = Person(
    Member("c0ffee", KEY, {"name": "Alma"}),
    Identity("c0ffee", b"mark"),
    {IdentifierType.MEMBER_NUMBER: b"1", IdentifierType.MOBILE_PHONE: b"2"},
)  # fmt: skip


async def test_an_erasure_is_answered_with_counts_and_a_receipt(house):
    """200 with how many of each kind, and a receipt that says what was removed where, and of nobody whom."""
    asked = (ErasureRequest("mparticle", "erasure-9f86d081"),)
    house.officer.answer = Erasure("9f86d081", NOW, COUNTS, Head(7, "a" * 64), asked)
    answer = await house.admin.post("/v1/privacy/erase", json=WHO)
    ErasureAnswer.model_validate_json(answer.content, strict=True)

    assert answer.status_code == 200
    assert answer.json() == {
        "counts": COUNTS,
        "receipt": {
            "id": "9f86d081",
            "erased_at": "2026-11-20T09:05:12Z",
            "removed": [
                {"where": "replica.db", "what": "contact", "count": 1},
                {"where": "outbox.db", "what": "personal part of a waiting sale", "count": 2},
            ],
            "requests": [{"vendor": "mparticle", "id": "erasure-9f86d081"}],
            "audit": {"seq": 7, "hash": "a" * 64},
        },
    }
    ((what, statement, by),) = house.officer.asked
    assert (what, statement.value, by) == ("erase", PHONE, "admin")
    assert PHONE not in answer.text


async def test_an_export_is_everything(house):
    """200 with the contact, what it is known by, each sale as a document, and what the audit trail says."""
    sale = {
        "transaction_id": "s-1",
        "deliveries": [{"state": "queued", "delivered_at": NOW}],
        "statement": {"total": "1"},
    }
    entry = {"seq": 3, "event": "queue.retried", "transaction_id": "s-1"}
    before = (ErasedBefore("9f86", NOW),)
    house.officer.answer = Export(
        NOW, (ALMA,), ({"as_of": "then"},), ({"kind": "voucher"},), ({"state": "queued"},), (sale,),
        ({"activity_id": "a-1"},), 4, (entry,), before,
    )  # fmt: skip
    answer = await house.admin.post("/v1/privacy/export", json=WHO)
    ExportAnswer.model_validate_json(answer.content)
    body = answer.json()

    assert answer.headers["cache-control"] == "no-store"
    assert body["counts"] == {"contacts": 1, "sales": 1, "activities": 1, "withheld": 4, "audit": 1}
    assert body["contacts"] == [
        {
            "ref": "c0ffee",
            "integration_key": {"kind": "primary", "type": "member_number", "value": "10000421"},
            "known_by": ["member_number", "mobile_phone"],
            "fields": {"name": "Alma"},
        }
    ]
    assert body["enrolments"] == [{"state": "queued"}]
    assert body["sales"] == [{**sale, "deliveries": [{"state": "queued", "delivered_at": "2026-11-20T09:05:12Z"}]}]
    assert body["activities"] == [{"activity_id": "a-1"}]
    assert body["audit"] == [entry]
    assert body["erased_before"] == [{"receipt": "9f86", "erased_at": "2026-11-20T09:05:12Z"}]


@pytest.mark.parametrize("call", ["erase", "export"])
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (AmbiguousPersonError(), 409, "privacy.ambiguous"),
        (IdentifierInvalidError("is not a phone number"), 422, "identifier.invalid"),
        (StorageError(), 503, "storage.unavailable"),
        (StorageFullError(), 507, "storage.full"),
        (ValueError(PHONE), 500, "agent.error"),
    ],
    ids=["ambiguous", "invalid", "unavailable", "full", "a bug"],
)
async def test_what_cannot_be_done_is_a_problem(house, call, error, status, code):
    """Each refusal has its status and code, and none repeats who was asked about."""
    house.officer.answer = error
    answer = await house.admin.post(f"/v1/privacy/{call}", json=WHO)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert PHONE not in answer.text


@pytest.mark.parametrize("call", ["erase", "export"])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"identifier": {"type": "shoe_size", "value": PHONE}}, 422),
        ({"identifier": {"type": "any", "value": ""}}, 422),
        ({**WHO, "reason": PHONE}, 422),
    ],
    ids=["empty", "no such type", "no value", "more"],
)
async def test_a_body_that_does_not_fit_asks_nobody(house, call, body, status):
    """What does not fit is refused before anybody is looked for."""
    answer = await house.admin.post(f"/v1/privacy/{call}", json=body)
    assert answer.status_code == status
    assert house.officer.asked == []
    assert PHONE not in answer.text


@pytest.mark.parametrize("call", ["erase", "export"])
async def test_it_takes_an_administrator(house, call):
    """A till's token may neither erase nor export."""
    answer = await house.http.post(f"/v1/privacy/{call}", json=WHO)
    assert (answer.status_code, house.officer.asked) == (403, [])


async def test_what_an_administrator_does_with_a_sale_is_recorded(house, sale):
    """A retry and a discard stand in the audit trail with the token's name, without the reason's words."""
    await house.http.post("/v1/transactions", json=sale(identifier=WHO["identifier"]))
    (outgoing,) = await house.outbox.lease("voyado", 1, NOW)
    await house.outbox.settle([Settled(outgoing.entry, Verdict(VerdictKind.PARK, "vendor.rejected", 422))], NOW)
    entry = outgoing.entry
    await house.admin.post(f"/v1/queue/{entry}/retry")
    (outgoing,) = await house.outbox.lease("voyado", 1, NOW)
    await house.outbox.settle([Settled(outgoing.entry, Verdict(VerdictKind.PARK, "vendor.rejected", 422))], NOW)
    await house.admin.post(f"/v1/queue/{entry}/discard", json={"reason": "Alma called"})
    await house.admin.post("/v1/queue/999/retry")

    facts = {"by": "admin", "entry": entry, "transaction_id": outgoing.transaction.transaction_id}
    assert house.officer.recorded == [("queue.retried", facts), ("queue.discarded", facts)]
    assert "Alma" not in json.dumps(house.officer.recorded)
