"""Activities at the door: taken, repeated, refused, and seen in the queue."""

import json

import pytest

from agent.api.schemas import ActivityAccepted
from agent.api.schemas_state import QueueList
from agent.domain.delivery import Verdict, VerdictKind
from agent.errors import StorageFullError
from agent.ports import Settled

PATH = "/v1/activities"
ALMA_PHONE, SHARED_PHONE, STRANGERS_PHONE = "+46701740605", "+46701740606", "+46701740609"


def picked_up(activity_id="picked-up-1", phone=ALMA_PHONE, **changes):
    return {
        "activity_id": activity_id,
        "type": "delivery_order_picked_up",
        "identifier": {"type": "mobile_phone", "value": phone},
        "occurred_at": "2026-11-20T10:05:00+01:00",
        "order_id": "4711",
        "attributes": {"provider": "Cykelbud", "bags": 2, "contactless": True, "note": None},
        **changes,
    }


async def test_it_is_taken_as_published(house):
    """202 with the key it is tagged with, how that was found, and nothing of the sale's number."""
    answer = await house.http.post(PATH, json=picked_up(phone="070-174 06 05"))

    assert answer.status_code == 202
    assert answer.json() == {
        "activity_id": "picked-up-1",
        "state": "queued",
        "duplicate": False,
        "accepted_at": "2026-11-20T09:05:12Z",
        "integration_key": {"kind": "primary", "type": "member_number", "value": "10000421"},
        "served": {"source": "replica", "as_of": "2026-11-20T09:00:00Z", "age_s": 312, "stale": False, "level": 3},
        "messages": [],
    }
    ActivityAccepted.model_validate_json(answer.content, strict=True)


async def test_a_repeat_and_another_content(house):
    """The same content is 200 with the first answer's key; other content is 409 under a code of its own."""
    await house.http.post(PATH, json=picked_up())
    again = await house.http.post(PATH, json=picked_up(phone="070 174 06 05", occurred_at="2026-11-20T09:05:00Z"))
    other = await house.http.post(PATH, json=picked_up(order_id="4712"))

    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    assert again.json()["integration_key"]["value"] == "10000421"
    assert (other.status_code, other.json()["code"]) == (409, "activity.conflict")
    assert "4712" not in other.text


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        (picked_up(type="purchase"), ["/type"]),
        (picked_up(activity_id="a/b"), ["/activity_id"]),
        (picked_up(occurred_at="2026-11-20T09:05:00"), ["/occurred_at"]),
        (picked_up(identifier=None), ["/identifier"]),
        (picked_up(phone="07"), ["/identifier/value"]),
        (picked_up(store_id="1042"), ["/store_id"]),
        (picked_up(attributes={"canary": ["canary"]}), ["/attributes/canary"]),
        ({}, ["/activity_id", "/type", "/occurred_at"]),
    ],
    ids=["a sale", "a slash", "no offset", "nobody", "no phone", "unknown field", "a list", "nothing"],
)
async def test_what_does_not_fit(house, body, pointers):
    """422 with a pointer to each place, and never a value."""
    answer = await house.http.post(PATH, json=body)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == pointers
    assert '"canary"' not in json.dumps([error["message"] for error in answer.json()["errors"]])


async def test_a_cashier_hears_that_several_share_the_number(house):
    """Nobody is guessed: the secondary key, and words for staff."""
    body = (await house.http.post(PATH, json=picked_up(phone=SHARED_PHONE))).json()
    assert body["integration_key"] == {"kind": "secondary", "type": "mobile_phone", "value": SHARED_PHONE}
    assert [message["code"] for message in body["messages"]] == ["loyalty.ambiguous"]


async def test_offline_nothing_changes(house):
    """The loyalty system does not get it: its being away is no news to whoever tells of a delivery."""
    house.link.silent(house.clock.now(), house.clock.monotonic())
    answer = await house.http.post(PATH, json=picked_up(phone=STRANGERS_PHONE))
    assert (answer.status_code, answer.json()["messages"]) == (202, [])


async def test_without_room(house):
    """507 before anything is kept."""
    house.room["error"] = StorageFullError()
    answer = await house.http.post(PATH, json=picked_up())
    assert (answer.status_code, answer.json()["code"]) == (507, "storage.full")


async def test_it_needs_a_token(house):
    """No token, no activity; what is not JSON is refused as everywhere."""
    nobody = await house.http.post(PATH, json=picked_up(), headers={"authorization": ""})
    text = await house.http.post(PATH, content=b"{}", headers={"content-type": "text/plain"})
    assert (nobody.status_code, text.status_code) == (401, 415)


async def test_the_queue_tells_it_from_a_sale(house):
    """An activity has an id of its own and no transaction's; a retry and a discard are recorded under it."""
    await house.http.post(PATH, json=picked_up())
    [outgoing] = await house.outbox.lease("mparticle", 9, house.clock.now())
    parked = Verdict(VerdictKind.PARK, "vendor.rejected", 400)
    await house.outbox.settle([Settled(outgoing.entry, parked)], house.clock.now())
    answer = await house.admin.get("/v1/queue", params={"state": "parked"})
    QueueList.model_validate_json(answer.content, strict=True)
    [entry] = answer.json()["entries"]
    retried = await house.admin.post(f"/v1/queue/{entry['entry']}/retry")
    discarded = await house.admin.post(f"/v1/queue/{entry['entry']}/discard", json={"reason": "told by phone"})

    assert (entry["transaction_id"], entry["activity_id"], entry["vendor"]) == (None, "picked-up-1", "mparticle")
    assert (retried.status_code, discarded.status_code) == (202, 202)
    facts = {"by": "admin", "entry": entry["entry"], "activity_id": "picked-up-1"}
    assert house.officer.recorded == [("queue.retried", facts), ("queue.discarded", facts)]


async def test_a_sale_is_not_found_by_its_id(house):
    """A transaction of that id is another matter: there is none."""
    await house.http.post(PATH, json=picked_up())
    assert (await house.http.get("/v1/transactions/picked-up-1")).status_code == 404


async def test_it_is_counted_as_what_it_is(house):
    """Prometheus hears of an activity, and of no sale."""
    for _ in range(2):
        await house.http.post(PATH, json=picked_up())
    text = (await house.http.get("/metrics")).text
    assert 'loyalty_agent_activities_accepted_total{duplicate="no"} 1.0' in text
    assert 'loyalty_agent_activities_accepted_total{duplicate="yes"} 1.0' in text
    assert "loyalty_agent_sales_accepted_total{" not in text
