"""Activities of a shop whose order screen tells of deliveries, at a system that wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from e2e.further import System, now, numbers, sell
from e2e.shop import Till, Vendor, eventually

from agent.connectors.mparticle.simulator import Fault, MparticleSimulator

pytestmark = pytest.mark.slow

KEY, SECRET = "us1-key", "sim-secret"
WORKSPACE, WORKSPACE_SECRET = "us1-workspace", "workspace-secret"
TYPES = ("delivery_order_picked_up", "delivery_order_approaching", "delivery_order_delivered")


@pytest.fixture(name="feed")
def _feed(tmp_path: Path) -> Iterator[System]:
    sim = MparticleSimulator({KEY: SECRET}, now=lambda: datetime.now(UTC), workspace={WORKSPACE: WORKSPACE_SECRET})
    credentials = {
        "api_key": KEY, "api_secret": SECRET, "opendsr_key": WORKSPACE, "opendsr_secret": WORKSPACE_SECRET,
    }  # fmt: skip
    feed = System(sim, tmp_path, credentials, path="/v2", requests_per_second=50)
    feed.table["opendsr_url"] = f"{feed.server.url}/v3"
    yield feed
    feed.close()


@pytest.fixture(name="shop")
def _shop(open_till: Callable[..., Till], feed: System) -> Till:
    till = open_till(**{"forward.mparticle": feed.table}).start()
    eventually(till.loaded)
    return till


def tell(till: Till, name: str, **changes: Any) -> httpx.Response:
    """The order screen tells of an order on its way."""
    body = {"activity_id": name, "type": TYPES[0], "occurred_at": now(), "order_id": "4711", **changes}
    return till.http.post("/v1/activities", json=body)


def refused(till: Till, receipt: str) -> bool:
    """The request of an erasure waits for valid credentials."""
    told = [row["last_error"] for row in till.queue("queued") if row["activity_id"] == f"erasure-{receipt}"]
    return bool(told) and (told[0] or {}).get("code") == "erasure.credentials_refused"


def test_none_is_lost_and_none_counts_twice(shop: Till, vendor: Vendor, feed: System):
    """The platform is away, takes without answering, and the agent is killed in between: each counts once, in order."""
    people, at = numbers(vendor, 10), now()
    feed.cut()
    expected = {}
    for number in range(60):
        name = f"a-{number:02}"
        answer = tell(shop, name, type=TYPES[number % 3], identifier=people[number % 10], occurred_at=at)
        assert answer.status_code == 202, answer.text
        expected[name] = people[number % 10]["value"]
        if number == 30:
            shop.kill()
            shop.start()
    sell(shop, "sale", identifier=people[0])
    fault = feed.sim.add(Fault(kind="drop", after_processing=True))
    feed.mend()
    shop.order("flush")
    eventually(lambda: feed.sim.received)
    shop.kill()
    shop.start()
    feed.sim.remove(fault)
    again = tell(shop, "a-00", type=TYPES[0], identifier=people[0], occurred_at=at)
    other = tell(shop, "a-00", type=TYPES[1], identifier=people[0], occurred_at=at)
    shop.order("flush")
    eventually(shop.drained)

    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    assert (other.status_code, other.json()["code"]) == (409, "activity.conflict")
    assert feed.sim.held() == {**dict.fromkeys(expected, 1), "sale": 1}
    batches = [row.batch for row in feed.sim.received if row.outcome == "processed"]
    told = {
        batch["events"][0]["data"]["custom_attributes"].get("activity_id"): batch["user_identities"]["customer_id"]
        for batch in batches
    }
    assert {name: told[name] for name in expected} == expected
    order = [batch["events"][0]["data"]["custom_attributes"].get("activity_id", "") for batch in batches]
    for person in range(10):
        mine = [name for name in order if name and int(name[2:]) % 10 == person]
        assert mine == sorted(mine)
    assert vendor.held() == {"sale": 1}
    assert shop.transaction("sale")["number"] == 1


def test_a_parked_activity_is_seen_and_let_go(shop: Till, vendor: Vendor, feed: System):
    """The queue names it as what it is, on the command line too; retried, it goes once its cause is gone."""
    [alma] = numbers(vendor, 1)
    fault = feed.sim.add(Fault(kind="poison", transaction_id="bad"))
    assert tell(shop, "bad", identifier=alma).status_code == 202
    [entry] = eventually(lambda: shop.queue("parked"))
    listed, shown = shop.command("queue", "list"), shop.command("queue", "show", str(entry["entry"]))
    feed.sim.remove(fault)
    retried = shop.command("queue", "retry", str(entry["entry"]))
    eventually(lambda: feed.sim.held() == {"bad": 1})

    assert (entry["transaction_id"], entry["activity_id"]) == (None, "bad")
    assert "activity bad" in listed.stdout
    assert "activity bad" in shown.stdout, shown.stderr
    assert retried.returncode == 0


def test_a_stranger_s_activity_waits_for_whoever_knows(open_till, vendor: Vendor, feed: System):
    """Where no secondary key may be sent nobody can name them yet: it is parked, and goes once they are known."""
    till = open_till(**{"forward.mparticle": feed.table, "loyalty": {"secondary_keys": []}}).start()
    eventually(till.loaded)
    phone = "+46701740688"
    told = tell(till, "early", identifier={"type": "mobile_phone", "value": phone})
    [entry] = eventually(lambda: till.queue("parked"))
    number = vendor.enrol(firstName="Alma", mobilePhone=phone).value("memberNumber")
    vendor.sim.export_now()
    till.sync()
    assert till.http.post(f"/v1/queue/{entry['entry']}/retry").status_code == 202
    eventually(lambda: feed.sim.held() == {"early": 1})

    assert (told.status_code, told.json()["integration_key"]) == (202, None)
    assert entry["last_error"]["code"] == "contact.unresolved"
    assert feed.sim.received[0].batch["user_identities"] == {"customer_id": number}


def test_an_erased_person_s_activities_go_nowhere(shop: Till, vendor: Vendor, feed: System):
    """Somebody is erased while theirs wait: nobody hears of them any more, and no byte is left."""
    alma, other = numbers(vendor, 2)
    feed.cut()
    assert tell(shop, "hers", identifier=alma, attributes={"note": "canary-of-alma"}).status_code == 202
    assert tell(shop, "his", identifier=other).status_code == 202
    erased = shop.http.post("/v1/privacy/erase", json={"identifier": alma})
    feed.mend()
    shop.order("flush")
    eventually(shop.drained)

    assert erased.json()["counts"]["activities"] == 1
    assert feed.sim.held() == {"his": 1, f"deleted-{erased.json()['receipt']['id']}": 1}
    shop.stop()
    found = [path for path in shop.state.rglob("*") if path.is_file() and b"canary-of-alma" in path.read_bytes()]
    assert found == []
    assert "canary-of-alma" not in shop.log.read_text()


def test_a_further_system_is_asked_to_erase_whom_the_shop_erases(shop: Till, vendor: Vendor, feed: System):
    """It is away, the agent is killed, an answer is lost, its credentials are wrong: it is asked once in the end."""
    alma, bo = numbers(vendor, 2)
    assert tell(shop, "before", identifier=alma).status_code == 202
    eventually(lambda: feed.sim.held() == {"before": 1})
    feed.cut()
    erased = shop.http.post("/v1/privacy/erase", json={"identifier": alma}).json()
    receipt = erased["receipt"]["id"]
    assert tell(shop, "his", identifier=bo).status_code == 202
    waiting = shop.status()["queue"]["erasures"]
    shop.kill()
    shop.start()
    feed.sim.workspace = {WORKSPACE: "another"}
    feed.mend()
    shop.order("flush")
    eventually(lambda: feed.sim.held() == {"before": 1, "his": 1, f"deleted-{receipt}": 1})
    eventually(lambda: refused(shop, receipt))
    eventually(lambda: {row["vendor"]: row["state"] for row in shop.status()["vendors"]}["mparticle"] == "online")

    fault = feed.sim.add(Fault(kind="drop", after_processing=True, path="/v3/requests/"))
    feed.sim.workspace = {WORKSPACE: WORKSPACE_SECRET}
    shop.order("flush")
    eventually(feed.sim.erasures)
    feed.sim.remove(fault)
    shop.order("flush")
    eventually(shop.drained)

    assert erased["receipt"]["requests"] == [{"vendor": "mparticle", "id": f"erasure-{receipt}"}]
    assert (waiting, shop.status()["queue"]["erasures"]) == (1, 0)
    assert feed.sim.erasures() == [{"controller_customer_id": alma["value"]}]
    assert "not yet asked to be erased elsewhere" not in shop.command("status").stdout
    assert alma["value"] not in shop.log.read_text()
