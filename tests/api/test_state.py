"""How the agent is: status, events, probes, figures."""

import asyncio
import contextlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.api import events
from agent.api.schemas_state import StatusAnswer
from agent.errors import StorageError

NOW = datetime(2026, 11, 20, 9, 5, 12, tzinfo=UTC)
PHONE = "+46701740605"


async def take(house, sale, number=0):
    body = sale(transaction_id=f"s-{number}", identifier={"type": "mobile_phone", "value": PHONE})
    assert (await house.http.post("/v1/transactions", json=body)).status_code == 202


async def test_status_says_what_works(house, sale):
    """Status has the published shape, and its conditions say what to do in the language asked for."""
    await take(house, sale)
    house.link.silent(NOW, house.clock.monotonic())
    house.people.as_of = NOW - timedelta(hours=25)
    answer = await house.http.get("/v1/status", headers={"accept-language": "en"})
    body = answer.json()

    StatusAnswer.model_validate_json(answer.content, strict=True)
    assert (body["state"], body["level"], body["version"]) == ("offline", 3, "0.1.0")
    assert body["queue"] | {"bytes": 0, "outage_left_s": 0} == {
        "depth": 1, "held": 0, "parked": 0, "in_doubt": 0, "oldest_age_s": 0, "bytes": 0, "outage_left_s": 0,
        "erasures": 0,
    }  # fmt: skip
    assert body["replica"] == {
        "contacts": 3, "as_of": "2026-11-19T08:05:12Z", "age_s": 90_000, "stale": True, "contents": "contacts",
        "loading": None,
    }  # fmt: skip
    assert body["vendors"][0]["state"] == "offline"
    offline = next(condition for condition in body["conditions"] if condition["code"] == "vendor.offline")
    assert offline == {
        "code": "vendor.offline",
        "severity": "warning",
        "since": "2026-11-20T09:05:12Z",
        "title": "A loyalty system is not answering",
        "detail": house.rooms.messages.condition("vendor.offline", "en").detail + " (voyado)",
        "remedy": house.rooms.messages.condition("vendor.offline", "en").remedy,
    }
    assert {message["locale"] for message in body["messages"]} == {"en"}
    said = {(message["code"], message["audience"]) for message in body["messages"]}
    assert ("loyalty.offline.replica", "staff") in said
    assert ("loyalty.offline.replica", "customer") not in said  # nobody has been recognised


@pytest.mark.parametrize("path", ["/v1/status", "/page/status"])
async def test_the_page_says_what_status_says(house, path):
    """The staff page is fed what a till is told."""
    assert (await house.http.get(path)).json() == (await house.http.get("/v1/status")).json()


async def read_event(stream) -> tuple[str, dict]:
    block = {}
    async for line in stream:
        if not line:
            return block["event"], json.loads(block["data"])
        name, _, value = line.partition(": ")
        block[name] = value
    raise AssertionError("the stream ended")


@pytest.mark.parametrize("path", ["/v1/events", "/page/events"])
async def test_events_come_at_every_change_with_a_heartbeat_between(open_door, path):
    """A listener hears the status at once, at a change, and a heartbeat while nothing happens."""
    async with open_door(heartbeat_s=0.2) as house, asyncio.timeout(30), house.http.stream("GET", path) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        lines = answer.aiter_lines()
        kind, first = await read_event(lines)
        assert (kind, first["state"]) == ("status", "online")
        StatusAnswer.model_validate(first)
        assert (await read_event(lines))[0] == "heartbeat"
        house.link.silent(NOW, house.clock.monotonic())
        house.rooms.status.changed()
        while (event := await read_event(lines))[0] == "heartbeat":
            pass
        assert event[1]["state"] == "offline"


def test_the_heartbeat_is_as_published():
    """A heartbeat comes every 15 s."""
    assert events.HEARTBEAT_S == 15.0


async def test_listeners_are_bounded_and_places_come_free(house, monkeypatch):
    """Beyond the bound a listener is told to come back; strangers leave the tills their places; places come free."""
    monkeypatch.setattr(events, "MAX_LISTENERS", 2)
    open_ones = [await asyncio.open_connection("127.0.0.1", house.port) for _ in range(2)]
    for reader, writer in open_ones:
        writer.write(house.request("GET", "/page/events", authorization=None))
        await reader.readuntil(b"event: status")
    refused = await house.http.get("/page/events")
    assert refused.status_code == 503
    assert refused.json()["code"] == "agent.busy"
    assert refused.headers["retry-after"] == "15"
    async with house.http.stream("GET", "/v1/events") as till:
        assert till.status_code == 200
    open_ones[0][1].close()
    async with asyncio.timeout(30):
        while True:
            async with house.http.stream("GET", "/page/events") as again:
                if again.status_code == 200:
                    break
    open_ones[1][1].close()


async def test_a_token_has_its_share_of_the_places(house):
    """Streams that one till opens and never closes leave the others theirs; without a token there is no share."""
    heard = []  # a stream ends with whoever reads it
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(60):

        async def listen(http, path: str) -> None:
            answer = await stack.enter_async_context(http.stream("GET", path))
            assert answer.status_code == 200
            heard.append(answer.aiter_lines())
            await anext(heard[-1])

        for _ in range(events.MAX_OF_ONE):
            await listen(house.http, "/v1/events")
        refused = await house.http.get("/v1/events")
        assert (refused.status_code, refused.json()["code"]) == (503, "agent.busy")
        assert refused.headers["retry-after"] == "15"
        await listen(house.admin, "/v1/events")
        for _ in range(events.MAX_OF_ONE + 1):
            await listen(house.http, "/page/events")
    assert events.MAX_OF_ONE * 4 <= events.MAX_LISTENERS


async def test_an_error_in_a_stream_is_logged_and_ends_it(house, monkeypatch, capsys):
    """A stream that fails ends, and the failure is in the log by its class alone."""

    async def broken(self, heartbeat_s):
        yield True
        raise ValueError(PHONE)

    monkeypatch.setattr(type(house.rooms.status), "changes", broken)
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(house.request("GET", "/v1/events"))
    await asyncio.wait_for(reader.read(), 30)
    writer.close()
    said = capsys.readouterr()
    assert "ValueError" in said.out + said.err
    assert PHONE not in said.out + said.err


async def test_probes(house):
    """Healthz is 200 while the process lives; readyz is 503 as a problem while no sale can be put on disk."""
    bare = {"authorization": ""}
    assert (await house.http.get("/healthz", headers=bare)).json() == {"alive": True}
    assert (await house.http.get("/readyz", headers=bare)).json() == {"ready": True}
    house.room["error"] = StorageError()
    refused = await house.http.get("/readyz", headers=bare)
    assert refused.status_code == 503
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "storage.unavailable"
    assert (await house.http.get("/healthz", headers=bare)).status_code == 200


async def test_readyz_does_not_depend_on_vendor_or_replica(house):
    """A till is ready for sales with the vendor down and no replica at all."""
    house.link.silent(NOW, house.clock.monotonic())
    house.people.as_of = None
    assert (await house.http.get("/readyz")).status_code == 200


async def test_metrics(house, sale):
    """Prometheus reads what happened and how the agent is, with labels of our own words only."""
    await take(house, sale)
    await house.http.post("/v1/contacts/identify", json={"identifier": {"type": "mobile_phone", "value": PHONE}})
    await house.http.get("/v1/nothing/" + PHONE)
    await house.http.get("/v1/contacts/c_5f3a")
    house.rooms.metrics.delivery("voyado", "done", -4.0)
    house.rooms.metrics.delivery("voyado", "retry")
    house.link.silent(NOW, house.clock.monotonic())
    answer = await house.http.get("/metrics", headers={"authorization": ""})
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    for name, labels, value in (
        ("loyalty_agent_build_info", {"version": "0.1.0"}, 1),
        ("loyalty_agent_state", {"state": "offline"}, 1),
        ("loyalty_agent_state", {"state": "online"}, 0),
        ("loyalty_agent_level", {}, 3),
        ("loyalty_agent_queue_deliveries", {"state": "queued"}, 1),
        ("loyalty_agent_replica_contacts", {}, 3),
        ("loyalty_agent_replica_age_seconds", {}, 312),
        ("loyalty_agent_condition", {"code": "vendor.offline"}, 1),
        ("loyalty_agent_condition", {"code": "feed.gap"}, 0),
        ("loyalty_agent_vendor_online", {"vendor": "voyado"}, 0),
        ("loyalty_agent_sales_accepted_total", {"duplicate": "no"}, 1),
        ("loyalty_agent_identifications_total", {"outcome": "matched", "source": "replica"}, 1),
        ("loyalty_agent_deliveries_total", {"vendor": "voyado", "verdict": "done"}, 1),
        ("loyalty_agent_delivery_seconds_count", {"vendor": "voyado"}, 1),
        ("loyalty_agent_http_requests_total", {"method": "other", "route": "other", "status": "404"}, 1),
        ("loyalty_agent_http_requests_total", {"method": "GET", "route": "/v1/contacts/{ref}", "status": "200"}, 1),
        ("loyalty_agent_http_request_duration_seconds_count", {"method": "POST", "route": "/v1/transactions"}, 1),
    ):
        assert samples[name, tuple(sorted(labels.items()))] == value, name
    assert PHONE not in answer.text
    assert "c_5f3a" not in answer.text
