"""The made-up input behaves as mParticle's pages say the real one does."""

import base64
import json
from datetime import timedelta

import httpx
import pytest

from agent.connectors.mparticle.simulator import Fault

EVENT = {
    "event_type": "custom_event",
    "data": {
        "event_name": "coupon_redemption",
        "custom_event_type": "transaction",
        "timestamp_unixtime_ms": 1771083669000,
        "custom_attributes": {"transaction_id": "t-1"},
    },
}
BATCH = {"environment": "production", "source_request_id": "r-1", "events": [EVENT]}


def credentials(key: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{key}:{secret}".encode()).decode()}


@pytest.fixture
async def http(simulator):
    _, running = simulator
    async with httpx.AsyncClient(
        base_url=running.url, headers=credentials("us1-key", "sim-secret"), verify=False
    ) as it:
        yield it


async def test_the_door(simulator):
    """No credentials are 401, wrong ones 403, both without a word."""
    _, running = simulator
    async with httpx.AsyncClient(base_url=running.url, verify=False) as http:
        answers = [
            await http.post("/v2/events", json=BATCH),
            await http.post("/v2/events", json=BATCH, headers=credentials("us1-key", "wrong")),
            await http.post("/v2/events", json=BATCH, headers={"Authorization": "Basic %%%"}),
        ]

    assert [(answer.status_code, answer.content) for answer in answers] == [(401, b""), (403, b""), (403, b"")]


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("/v2/events", b"{", "The request body is not one batch."),
        ("/v2/events", b"[]", "The request body is not one batch."),
        ("/v2/bulkevents", b"{}", "The request body is not an array of batches."),
        ("/v2/bulkevents", json.dumps([BATCH] * 101).encode(), "The request is larger than is allowed."),
        (
            "/v2/events",
            json.dumps({**BATCH, "events": [{"data": {}}]}).encode(),
            'Required event field "event_type" is missing or empty.',
        ),
        ("/v2/events", json.dumps({**BATCH, "schema_version": 2}).encode(), "batch has no schema_version."),
        (
            "/v2/events",
            json.dumps({**BATCH, "user_identities": {"customerid": "1"}}).encode(),
            "user_identities has no customerid.",
        ),
    ],
    ids=["no JSON", "an array", "an object in bulk", "101 batches", "no event type", "an output's key",
         "an SDK's key"],
)  # fmt: skip
async def test_bad_requests(http, path, content, message):
    """400 in the documented form."""
    answer = await http.post(path, content=content)

    assert answer.status_code == 400
    assert answer.json() == {"errors": [{"code": "BAD_REQUEST", "message": message}]}


async def test_a_bulk_request_hides_what_it_drops(simulator, http):
    """202 even when a batch among them is malformed."""
    sim, _ = simulator

    answer = await http.post("/v2/bulkevents", json=[BATCH, {**BATCH, "environment": "test"}])

    assert answer.status_code == 202
    assert sim.counts() == {"processed": 1, "refused": 1}


async def test_deduplication(simulator, http, clock):
    """By id and key, for thirty days; a batch without an id is always new."""
    sim, _ = simulator
    sim.keys["us1-other"] = "other"

    for headers in ({}, {}, credentials("us1-other", "other")):
        await http.post("/v2/events", json=BATCH, headers=headers)
    clock.wall += timedelta(days=30)
    await http.post("/v2/events", json=BATCH)
    clock.wall += timedelta(seconds=1)
    await http.post("/v2/events", json=BATCH)
    await http.post("/v2/events", json={**BATCH, "source_request_id": None})

    assert [row.outcome for row in sim.received] == [
        "processed", "duplicate", "processed", "duplicate", "processed", "processed",
    ]  # fmt: skip


async def test_the_historical_call(simulator, http, clock):
    """It processes nothing younger than 72 hours and nothing without events, and says nothing of it."""
    sim, _ = simulator
    clock.wall += timedelta(hours=71)
    statuses = [(await http.post("/v2/bulkevents/historical", json=[BATCH])).status_code]
    clock.wall += timedelta(hours=2)
    for number, events in enumerate(([EVENT], [])):
        batch = {**BATCH, "source_request_id": f"r-{number + 2}", "events": events}
        statuses.append((await http.post("/v2/bulkevents/historical", json=[batch])).status_code)

    assert statuses == [202, 202, 202]
    assert [row.outcome for row in sim.received] == ["unprocessed", "processed", "unprocessed"]


async def test_from_outside(http):
    """Faults, keys and what it holds, for whoever tests against it in another language."""
    await http.post("/v2/events", json=BATCH)
    state = (await http.get("/_sim/state")).json()
    batches = (await http.get("/_sim/batches")).json()
    wrong = await http.post("/_sim/faults", json={"add": [{"kind": "nonsense"}]})
    await http.post("/_sim/faults", json={"add": [{"kind": "lose", "transaction_id": "t-1"}]})
    await http.post("/v2/events", json={**BATCH, "source_request_id": "r-2"})
    lost = (await http.get("/_sim/state")).json()
    await http.post("/_sim/keys", json={"us1-new": "new"})
    refused = await http.post("/v2/events", json=BATCH)
    no_keys = await http.post("/_sim/keys", json=[])
    await http.post("/_sim/reset")
    empty = (await http.get("/_sim/state")).json()

    assert state == {"batches": {"processed": 1}, "events": 1, "requests": {"events": 1}}
    assert [(row["outcome"], row["batch"]) for row in batches] == [("processed", BATCH)]
    assert lost["batches"] == {"processed": 1, "lost": 1}
    assert (wrong.status_code, refused.status_code, no_keys.status_code) == (400, 403, 400)
    assert empty == {"batches": {}, "events": 0, "requests": {}}


async def test_faults_name_what_they_are_about():
    """A batch's fault without a transaction would be met by nobody."""
    with pytest.raises(ValueError, match="transaction_id"):
        Fault(kind="poison")
    with pytest.raises(ValueError, match="transaction_id"):
        Fault(kind="drop", transaction_id="t-1")
