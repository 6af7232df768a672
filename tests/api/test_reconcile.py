"""The day-end check at the door."""

import json
from datetime import UTC, datetime

import pytest

from agent.api.routes_reconcile import ReconcileAnswer
from agent.domain.delivery import DONE, Verdict, VerdictKind
from agent.errors import StorageError
from agent.ports import Settled

NOW = datetime(2026, 11, 20, 9, 5, 12, tzinfo=UTC)
PHONE = "+46701740605"
DAY = "2026-02-14"


@pytest.fixture
async def day(house, sale):
    """A day of four sales: one delivered, one parked, one waiting, and a guest's."""
    who = {"identifier": {"type": "mobile_phone", "value": PHONE}}
    for name in ("s-1", "s-2", "s-3"):
        await house.http.post("/v1/transactions", json=sale(transaction_id=name, **who))
    await house.http.post("/v1/transactions", json=sale(transaction_id="s-4"))
    for verdict in (DONE, Verdict(VerdictKind.PARK, "vendor.rejected", 422)):
        (outgoing,) = await house.outbox.lease("voyado", 1, NOW)
        await house.outbox.settle([Settled(outgoing.entry, verdict)], NOW)


async def ask(house, **params):
    answer = await house.admin.get("/v1/reconcile", params={"day": DAY, **params})
    assert answer.status_code == 200, answer.text
    ReconcileAnswer.model_validate_json(answer.content, strict=True)
    return answer.json()


async def test_a_day_is_told(house, day):
    """Sold with sums, what became of it, the till's numbers, and who waits for a person; nobody is named."""
    told = await ask(house)
    (vendor,) = told.pop("vendors")
    books = vendor.pop("books")

    assert told == {
        "day": DAY,
        "timezone": "Europe/Stockholm",
        "ok": True,
        "sold": 4,
        "unreadable": 0,
        "totals": [{"type": "purchase", "currency": "SEK", "count": 4, "total": "1000.00"}],
        "missing": 0,
        "twice": 0,
        "tills": [{"store_id": "1042", "till_id": "03", "sold": 4, "first": 1, "last": 4}],
        "breaks": [],
        "breaks_elsewhere": 0,
        "expected": None,
        "stuck": [{"transaction_id": "s-2", "vendor": "voyado", "state": "parked", "code": "vendor.rejected"}],
    }
    assert vendor == {
        "vendor": "voyado", "delivered": 1, "queued": 1, "held": 0, "parked": 1, "in_doubt": 0, "discarded": 0,
        "cancelled": 0, "guests": 1,
    }  # fmt: skip
    assert (books["outcome"], books["asked"]) == ("cannot_be_asked", 0)
    assert PHONE not in json.dumps(told)
    assert "10000421" not in json.dumps([told, vendor, books])


async def test_without_a_day_it_is_yesterday(house):
    """The last business day that is over; an empty one is complete."""
    answer = (await house.admin.get("/v1/reconcile")).json()
    assert (answer["day"], answer["sold"], answer["ok"]) == ("2026-11-19", 0, True)


async def test_a_gap_is_told(house, day):
    """A record that is gone from the file leaves its number, between the sales on either side."""
    house.outbox._writer._connection.execute("DELETE FROM sales WHERE transaction_id = 's-3'")
    told = await ask(house)

    assert (told["ok"], told["missing"]) == (False, 1)
    assert told["breaks"] == [
        {
            "store_id": "1042", "till_id": "03", "kind": "missing", "first": 3, "last": 3, "after": "s-2",
            "before": "s-4", "reason": None, "at": None,
        }
    ]  # fmt: skip


async def test_the_tills_own_list(house, day):
    """What the till says it sold is compared by id: never seen, and not in the list."""
    asked = {"day": DAY, "expected": ["s-1", "s-2", "s-3", "never-seen"]}
    answer = await house.admin.post("/v1/reconcile", json=asked)
    told = answer.json()

    ReconcileAnswer.model_validate_json(answer.content, strict=True)
    assert (answer.status_code, told["ok"], told["missing"]) == (200, False, 1)
    assert told["expected"] == {
        "listed": 4, "missing": ["never-seen"], "other_day": [], "twice": [], "unlisted": ["s-4"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"day": "yesterday"}, "/query/day"),
        ({"day": "2026-02-30"}, "/query/day"),
        ({"sample": "101"}, "/query/sample"),
        ({"sample": "-1"}, "/query/sample"),
        ({"till": "03"}, "/query/till"),
    ],
)
async def test_a_question_that_does_not_fit(house, params, pointer):
    """What is no day, no sample or no field of the question is 422 with its place."""
    answer = await house.admin.get("/v1/reconcile", params=params)
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    "body",
    [
        {"day": DAY},
        {"day": DAY, "expected": ["has blanks in it"]},
        {"day": DAY, "expected": [PHONE]},
        {"day": DAY, "expected": "s-1"},
        {"day": DAY, "expected": [], "sample": 1000},
    ],
    ids=["no list", "no id", "a phone number", "no list either", "sample"],
)
async def test_a_list_that_does_not_fit(house, body):
    """A list holds transaction ids and nothing else; what is wrong is not repeated."""
    answer = await house.admin.post("/v1/reconcile", json=body)
    assert answer.status_code == 422
    assert PHONE not in answer.text


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_cashier_may_not_ask(house, method):
    """The check is an administrator's."""
    answer = await house.http.request(method, "/v1/reconcile", json={"expected": []} if method == "POST" else None)
    assert answer.status_code == 403


async def test_a_file_that_cannot_be_read(house, monkeypatch):
    """Then there is no proof, and the answer says so rather than an empty day."""

    def broken(*_values):
        raise StorageError

    monkeypatch.setattr(house.rooms.reconcile._daybook, "read", broken)
    answer = await house.admin.get("/v1/reconcile")
    assert (answer.status_code, answer.json()["code"]) == (503, "storage.unavailable")


async def test_a_sales_number_is_answered(house, sale):
    """The answer to a sale carries its number, a repeat the same one; the sale and its story show it, too."""
    first = (await house.http.post("/v1/transactions", json=sale(transaction_id="s-1"))).json()
    second = (await house.http.post("/v1/transactions", json=sale(transaction_id="s-2"))).json()
    again = (await house.http.post("/v1/transactions", json=sale(transaction_id="s-1"))).json()
    other = (await house.http.post("/v1/transactions", json=sale(transaction_id="s-3", till_id="04"))).json()

    assert [one["number"] for one in (first, second, again, other)] == [1, 2, 1, 1]
    assert (await house.http.get("/v1/transactions/s-2")).json()["number"] == 2
    story = (await house.admin.get("/v1/transactions/s-3/story")).json()
    assert (story["store_id"], story["till_id"], story["number"]) == ("1042", "04", 1)


@pytest.mark.parametrize("body", [{"day": 0, "expected": []}, {"expected": [], "sample": False}])
async def test_a_number_is_no_day_and_a_truth_no_number(house, body):
    """What only looks like a day or a count is refused with its place."""
    refused = await house.admin.post("/v1/reconcile", json=body)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"][1:] in body) == (422, True)
