"""What an administrator is told of the last days."""

from datetime import UTC, datetime

import pytest

from agent.api.schemas_history import HistoryAnswer

NOW = datetime(2026, 11, 20, 9, 5, 12, tzinfo=UTC)
PHONE = "+46701740605"


async def take(house, sale, count):
    for number in range(count):
        body = sale(transaction_id=f"s-{number}", identifier={"type": "mobile_phone", "value": PHONE})
        assert (await house.http.post("/v1/transactions", json=body)).status_code == 202


async def test_the_last_hours_in_points(house, sale):
    """A point says what waited, how long tills and sales took and how old the members are; and nothing of a person."""
    await take(house, sale, 3)
    house.rooms.metrics.delivery("voyado", "done", 0.5)
    house.rooms.metrics.delivery("voyado", "duplicate", 700.0)
    house.rooms.metrics.delivery("voyado", "retry")
    await house.history.note()
    answer = await house.admin.get("/v1/history", params={"hours": 72})
    HistoryAnswer.model_validate_json(answer.content, strict=True)
    body = answer.json()

    assert (body["start"], body["until"], body["step_s"]) == ("2026-11-17T09:15:00Z", "2026-11-20T09:15:00Z", 900)
    (point,) = body["points"]
    times = point.pop("answers")
    assert times["sales"] == 3
    assert 0 < times["p50_ms"] <= times["p95_ms"] <= times["p99_ms"] < 10_000
    assert point == {
        "at": "2026-11-20T09:00:00Z", "depth": 3, "parked": 0, "in_doubt": 0, "oldest_age_s": 0, "replica_age_s": 312,
        "deliveries": [{"vendor": "voyado", "delivered": 2, "p50_s": 1.0, "p95_s": 840.0}],
    }  # fmt: skip
    assert PHONE not in answer.text


async def test_before_the_first_minute_there_is_nothing(house):
    """No point is made up; without a number of hours it is a day."""
    body = (await house.admin.get("/v1/history")).json()
    assert (body["points"], body["step_s"]) == ([], 300)


@pytest.mark.parametrize("query", ["hours=0", "hours=169", "hours=x", "hours=1.5", "hours=1&hours=2", "days=1"])
async def test_a_question_that_does_not_fit(house, query):
    """It is refused with the place and the rule."""
    answer = await house.admin.get(f"/v1/history?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith("/query")


async def test_history_is_for_administrators(house):
    """A cashier's token does not read it, and nobody does without one."""
    assert (await house.http.get("/v1/history")).status_code == 403
    assert (await house.http.get("/v1/history", headers={"authorization": ""})).status_code == 401


@pytest.mark.parametrize(
    "head",
    [
        {"origin": "http://evil.example.com"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=lambda head: next(iter(head.values())),
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/history"), ("GET", "/v1/queue"), ("POST", "/v1/pause"), ("POST", "/v1/queue/1/discard")],
)
async def test_a_foreign_page_with_a_valid_token_is_refused(house, method, path, head):
    """What the agent's own page may do with an administrator's token, no other page can."""
    answer = await house.admin.request(method, path, headers=head)
    assert (answer.status_code, answer.json()["code"]) == (403, "origin.refused")
    assert "access-control-allow-origin" not in answer.headers
    assert house.orders.orders == []


async def test_the_agents_own_page_may(house):
    """Its origin is the address that it was loaded from."""
    own = {"origin": f"http://{house.address}", "sec-fetch-site": "same-origin"}
    assert (await house.admin.get("/v1/history", headers=own)).status_code == 200
    assert (await house.admin.post("/v1/pause", headers=own)).status_code == 202
