"""What an administrator calls."""

import json
from datetime import UTC, datetime

import pytest

from agent.api.schemas import StoryAnswer
from agent.api.schemas_state import DamageList, QueueList
from agent.domain.delivery import Verdict, VerdictKind
from agent.kept import Report
from agent.ports import Settled

NOW = datetime(2026, 11, 20, 9, 5, 12, tzinfo=UTC)
PHONE = "+46701740605"


@pytest.fixture
async def queued(house, sale):
    """Five queued sales, the first of which the vendor has refused."""
    for number in range(5):
        body = sale(transaction_id=f"s-{number}", identifier={"type": "mobile_phone", "value": PHONE})
        await house.http.post("/v1/transactions", json=body)
    (first,) = await house.outbox.lease("voyado", 1, NOW)
    verdict = Verdict(VerdictKind.PARK, code="vendor.rejected", status=422, title="No such article", vendor_code="E7")
    await house.outbox.settle([Settled(first.entry, verdict)], NOW)
    return first.entry


async def test_the_queue_lists_what_is_not_finished(house, queued):
    """Entries come in order, with the vendor's own code, and nothing of the person."""
    answer = await house.admin.get("/v1/queue")
    QueueList.model_validate_json(answer.content, strict=True)
    body = answer.json()

    assert [entry["transaction_id"] for entry in body["entries"]] == [f"s-{number}" for number in range(5)]
    assert body["next"] is None
    assert body["entries"][0] == {
        "entry": queued,
        "transaction_id": "s-0",
        "activity_id": None,
        "vendor": "voyado",
        "state": "parked",
        "attempts": 1,
        "accepted_at": "2026-11-20T09:05:12Z",
        "next_attempt_at": None,
        "last_error": {"code": "vendor.rejected", "status": 422, "title": "No such article", "vendor_code": "E7"},
    }
    assert PHONE not in answer.text


async def test_the_queue_comes_in_pages(house, queued):
    """`next` leads from page to page and is null on the last, also when the last is full."""
    seen, after = [], 0
    while after is not None:
        body = (await house.admin.get("/v1/queue", params={"limit": 1, "after": after})).json()
        seen += [entry["transaction_id"] for entry in body["entries"]]
        after = body["next"]
    assert seen == [f"s-{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("params", "held", "count"),
    [
        ({"state": "parked"}, False, 1),
        ({"state": "queued"}, False, 4),
        ({"state": "held"}, True, 4),
        ({"state": "queued"}, True, 0),
        ({"vendor": "antavo"}, False, 0),
        ({"vendor": "voyado", "state": "in_doubt"}, False, 0),
    ],
    ids=["parked", "queued", "held", "none-queued-while-held", "another-vendor", "in-doubt"],
)
async def test_the_queue_is_filtered(house, queued, params, held, count):
    """State and vendor narrow the list; what a held lane has queued is held."""
    house.orders.lanes |= {"voyado"} if held else set()
    assert len((await house.admin.get("/v1/queue", params=params)).json()["entries"]) == count


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"state": "delivered"}, "/query/state"),
        ({"limit": "0"}, "/query/limit"),
        ({"limit": "1001"}, "/query/limit"),
        ({"after": "-1"}, "/query/after"),
        ({"after": str(2**64)}, "/query/after"),
        ({"vendor": "a b"}, "/query/vendor"),
        ({"phone": PHONE}, "/query/phone"),
        ({PHONE: "x"}, "/query/*"),
    ],
    ids=["state", "limit-low", "limit-high", "after", "after-huge", "vendor", "unknown", "personal-name"],
)
async def test_a_query_that_does_not_fit(house, params, pointer):
    """A query that does not fit is 422 with a pointer, and its values are not repeated."""
    answer = await house.admin.get("/v1/queue", params=params)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert PHONE not in answer.text


async def test_a_parked_delivery_is_retried(house, queued):
    """Retry puts it back in line and answers at once."""
    answer = await house.admin.post(f"/v1/queue/{queued}/retry")
    assert answer.status_code == 202
    assert answer.json() == {"ordered": "retry", "entry": queued}
    assert (await house.admin.get("/v1/queue", params={"state": "parked"})).json()["entries"] == []


async def test_a_parked_delivery_is_discarded(house, queued):
    """Discard wants a reason, and takes the delivery out of the queue; the sale stays and shows as parked."""
    bare = await house.admin.post(f"/v1/queue/{queued}/discard", json={})
    answer = await house.admin.post(f"/v1/queue/{queued}/discard", json={"reason": "booked by hand"})
    assert bare.status_code == 422
    assert answer.status_code == 202
    assert queued not in [entry["entry"] for entry in (await house.admin.get("/v1/queue")).json()["entries"]]
    assert (await house.http.get("/v1/transactions/s-0")).json()["state"] == "parked"


@pytest.mark.parametrize("call", ["retry", "discard"])
@pytest.mark.parametrize("entry", ["99", "0", "x", "-1", "1e3", "9" * 30, "%00"])
async def test_an_unknown_entry(house, call, entry):
    """An entry that is not there is 404, whatever stands in its place."""
    answer = await house.admin.post(f"/v1/queue/{entry}/{call}", json={"reason": "x"} if call == "discard" else {})
    assert answer.status_code == 404
    assert answer.json()["code"] == "record.unknown"


@pytest.mark.parametrize("order", ["sync", "flush", "purge", "pause", "resume"])
@pytest.mark.parametrize("how", [{}, {"json": {}}], ids=["bare", "empty-object"])
async def test_orders_answer_at_once(house, order, how):
    """An order is given once and answered with 202, with or without a body."""
    answer = await house.admin.post(f"/v1/{order}", **how)
    assert answer.status_code == 202
    assert answer.json()["ordered"] == order
    assert house.orders.orders == [order]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b'{"now": true}', 422), (b"[]", 422), (b"{", 400)],
    ids=["unknown-field", "a-list", "not-json"],
)
async def test_an_order_with_a_wrong_body_is_not_given(house, body, status):
    """An order takes no fields; one with a body that does not fit is not given."""
    for path in ("/v1/purge", "/v1/queue/1/retry"):
        answer = await house.admin.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == status
    assert house.orders.orders == []


async def test_a_sales_story(house, queued):
    """The story tells a sale's life attempt by attempt, without the person in it."""
    answer = await house.admin.get("/v1/transactions/s-0/story")
    StoryAnswer.model_validate_json(answer.content, strict=True)
    body = answer.json()

    assert body["answered_key"] == body["integration_key"] == {"kind": "primary", "type": "member_number"}
    assert body["attempts"] == [
        {"entry": queued, "at": "2026-11-20T09:05:12Z", "verdict": "park", "code": "vendor.rejected", "status": 422}
    ]
    assert body["deliveries"][0]["entry"] == queued
    assert body["occurred_at"] == "2026-02-14T16:41:09+01:00"
    assert PHONE not in answer.text
    assert "10000421" not in answer.text
    assert (await house.admin.get("/v1/transactions/none/story")).status_code == 404


async def test_a_story_tells_who_decided_and_what_came_of_it(house, queued, sale):
    """A retry and a discard stand in the story with their instants; given up is not parked any more there."""
    await house.admin.post(f"/v1/queue/{queued}/retry")
    (first,) = await house.outbox.lease("voyado", 1, NOW)
    await house.outbox.settle([Settled(first.entry, Verdict(VerdictKind.PARK, "vendor.rejected", 422))], NOW)
    await house.admin.post(f"/v1/queue/{queued}/discard", json={"reason": "booked by hand"})
    told = (await house.admin.get("/v1/transactions/s-0/story")).json()

    assert [(event["what"], event["vendor"]) for event in told["events"]] == [
        ("retried", "voyado"),
        ("discarded", "voyado"),
    ]
    assert told["deliveries"][0]["state"] == "discarded"
    assert "booked by hand" not in json.dumps(told)
    assert (await house.http.get("/v1/transactions/s-0")).json()["state"] == "parked"


async def test_a_story_names_what_came_later(house, queued, sale):
    """A void and a return of the sale are part of its story, and a voided delivery shows as cancelled there alone."""
    await house.http.post("/v1/transactions", json=sale(transaction_id="r-1", original_transaction_id="s-1"))
    nothing = {"lines": [], "payments": [], "total": "0.00"}
    void = sale(transaction_id="v-1", type="void", original_transaction_id="s-1", **nothing)
    assert (await house.http.post("/v1/transactions", json=void)).status_code == 202
    told = (await house.admin.get("/v1/transactions/s-1/story")).json()

    assert {(later["transaction_id"], later["type"]) for later in told["about_it"]} == {
        ("r-1", "purchase"),
        ("v-1", "void"),
    }
    assert [delivery["state"] for delivery in told["deliveries"]] == ["cancelled"]
    assert (await house.http.get("/v1/transactions/s-1")).json()["deliveries"] == []


async def test_damage_is_listed_until_it_is_seen(house):
    """What was set aside is told in counts and ids; acknowledging it says how much of it was new."""
    report = Report(
        "20261120T090512Z", "outbox.db", NOW, "2 pages cannot be read",
        rescued={"sales": 812, "deliveries": 811}, lost={"sales": 1}, lost_ids=("1042-03-000007",), oldest_at=NOW,
    )  # fmt: skip
    house.damage.reports = (report,)
    answer = await house.admin.get("/v1/damage")
    DamageList.model_validate_json(answer.content, strict=True)

    assert answer.json() == {
        "damages": [
            {
                "folder": "20261120T090512Z",
                "file": "outbox.db",
                "found_at": "2026-11-20T09:05:12Z",
                "reason": "2 pages cannot be read",
                "rescued": {"sales": 812, "deliveries": 811},
                "lost": {"sales": 1},
                "lost_ids": ["1042-03-000007"],
                "acknowledged_at": None,
            }
        ]
    }
    assert (await house.admin.post("/v1/damage/acknowledge")).json() == {"acknowledged": 1}
    assert (await house.admin.post("/v1/damage/acknowledge")).json() == {"acknowledged": 0}
    assert (await house.admin.get("/v1/damage")).json()["damages"][0]["acknowledged_at"] is not None


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/damage"), ("POST", "/v1/damage/acknowledge")])
async def test_damage_is_for_administrators(house, method, path):
    """A cashier's token neither reads nor acknowledges."""
    assert (await house.http.request(method, path)).status_code == 403
