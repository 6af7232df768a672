"""A shop whose sales go to mParticle as well: each system has its own lane, and both hold each sale once."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from e2e.further import BACK, System, deliveries, now, numbers, objection, sell, simulated
from e2e.shop import Till, Vendor, eventually, members

from agent.connectors.mparticle.simulator import Fault, MparticleSimulator
from agent.connectors.voyado.simulator import Fault as VoyadoFault

pytestmark = pytest.mark.slow

KEY, SECRET = "us1-key", "sim-secret"
LATER = (sys.executable, str(Path(__file__).with_name("later.py")))


@pytest.fixture(name="feed")
def _feed(tmp_path: Path) -> Iterator[System]:
    sim = MparticleSimulator({KEY: SECRET}, now=lambda: datetime.now(UTC))
    feed = System(sim, tmp_path, {"api_key": KEY, "api_secret": SECRET}, path="/v2", requests_per_second=50)
    yield feed
    feed.close()


@pytest.fixture(name="shop")
def _shop(open_till: Callable[..., Till], feed: System) -> Till:
    """A till whose sales go to both, its replica loaded."""
    till = open_till(**{"forward.mparticle": feed.table}).start()
    eventually(till.loaded)
    return till


def test_a_day_with_two_systems(shop: Till, vendor: Vendor, feed: System):
    """Members, guests, returns, voids; mParticle is away, the agent is killed: none lost, none twice at either."""
    people = numbers(vendor, 20)
    for number in range(10):
        sell(shop, f"m-{number}", identifier=people[number])
    eventually(shop.drained)

    feed.cut()
    for number in range(10, 60):
        sell(shop, f"m-{number}", identifier=people[number % 20])
    for number in range(10):
        sell(shop, f"pos-guest-{number}")
        sell(shop, f"web-guest-{number}", channel="online")
    sell(shop, "pos-coupon", vouchers_used=[{"number": "V-1"}])
    for number in range(10):
        back = {"lines": [BACK], "total": "-250.00", "payments": [{"type": "card", "amount": "-250.00"}]}
        sell(shop, f"r-{number}", type="return", original_transaction_id=f"m-{number}", **back)
    eventually(lambda: deliveries(shop, "m-19")["voyado"]["state"] == "delivered")
    assert shop.void("v-sent", "m-19", occurred_at=now()).status_code == 202
    of_members = {f"m-{number}" for number in range(60)} | {f"r-{number}" for number in range(10)} | {"v-sent"}
    eventually(lambda: all(deliveries(shop, name)["voyado"]["state"] == "delivered" for name in of_members))
    waiting = deliveries(shop, "m-42")["mparticle"]["state"]

    shop.kill()
    shop.start()
    feed.mend()
    shop.order("flush")
    eventually(shop.drained)

    assert waiting == "queued"
    assert vendor.held() == dict.fromkeys(of_members, 1)
    guests = {f"web-guest-{number}" for number in range(10)} | {"pos-coupon"}
    held = feed.sim.held()
    assert set(held.values()) == {1}
    assert held.keys() >= (of_members | guests) - {"m-19", "v-sent"}
    assert ("m-19" in held) is ("v-sent" in held)  # cancelled together while neither had gone, or both were told
    assert not any(name.startswith("pos-guest") for name in held)
    assert shop.transaction("pos-guest-3")["deliveries"] == []
    refunds = [event["data"] for event in feed.sim.events() if "refund" in str(event["data"].get("product_action"))]
    assert {data["product_action"]["transaction_id"] for data in refunds} >= {f"r-{number}" for number in range(10)}
    assert shop.status()["queue"]["parked"] == 0


def test_the_loyalty_system_is_away(shop: Till, vendor: Vendor, feed: System):
    """While the system that owns the contacts is away, sales of members whom the replica knows go to the other."""
    people = numbers(vendor, 5)
    vendor.cut()
    for number in range(20):
        sell(shop, f"s-{number}", identifier=people[number % 5])

    eventually(lambda: len(feed.sim.held()) == 20)
    states = {deliveries(shop, f"s-{number}")["voyado"]["state"] for number in range(20)}
    vendor.mend()
    eventually(shop.drained)

    assert states == {"queued"}
    assert vendor.held() == feed.sim.held() == {f"s-{number}": 1 for number in range(20)}


def test_an_answer_that_is_lost(shop: Till, vendor: Vendor, feed: System):
    """A sale arrives there and the answer is lost, the agent is killed and tries again: it counts once."""
    [alma] = numbers(vendor, 1)
    fault = feed.sim.add(Fault(kind="drop", after_processing=True))
    sell(shop, "s-1", identifier=alma)
    for _ in range(3):
        before = len(feed.sim.received)
        eventually(lambda before=before: len(feed.sim.received) > before)
        shop.kill()
        shop.start()
    feed.sim.remove(fault)
    shop.order("flush")
    eventually(shop.drained)

    assert feed.sim.counts()["duplicate"] >= 2
    assert feed.sim.held() == vendor.held() == {"s-1": 1}
    assert len({row.batch["source_request_id"] for row in feed.sim.received}) == 1
    assert {row.batch["user_identities"]["customer_id"] for row in feed.sim.received} == {alma["value"]}


def test_a_poisoned_sale(shop: Till, vendor: Vendor, feed: System):
    """One sale of 500 is refused for ever: 499 arrive, one is parked, and goes out once the cause is gone."""
    people = numbers(vendor, 50)
    feed.cut()
    for number in range(500):
        sell(shop, f"s-{number}", identifier=people[number % 50])
    fault = feed.sim.add(Fault(kind="poison", transaction_id="s-37"))
    feed.mend()
    shop.order("flush")
    eventually(shop.drained)

    assert len(feed.sim.held()) == 499
    [entry] = shop.queue("parked")
    assert (entry["transaction_id"], entry["vendor"]) == ("s-37", "mparticle")
    assert (entry["last_error"]["status"], entry["last_error"]["vendor_code"]) == (400, "BAD_REQUEST")
    assert feed.sim.requests["bulkevents"] < 100

    feed.sim.remove(fault)
    assert shop.http.post(f"/v1/queue/{entry['entry']}/retry").status_code == 202
    eventually(lambda: shop.delivered("s-37"))

    assert vendor.held() == feed.sim.held() == {f"s-{number}": 1 for number in range(500)}


def test_a_long_outage(shop: Till, vendor: Vendor, feed: System):
    """Refused, then 503, then throttled, then silence: nothing is parked or lost, order is kept per member."""
    people = numbers(vendor, 20)
    feed.cut()
    for number in range(400):
        sell(shop, f"s-{number:03}", identifier=people[number % 20])
    eventually(lambda: len(vendor.held()) == 400)
    for trouble in (
        Fault(kind="answer", status=503),
        Fault(kind="answer", status=429, headers={"X-mp-rate-limit-exceeded": "org"}),
        Fault(kind="hang"),
    ):
        feed.sim.faults.clear()
        feed.sim.add(trouble)
        feed.mend()
        time.sleep(2)
        assert shop.status()["queue"]["parked"] == 0
        feed.cut()
    feed.sim.faults.clear()
    feed.mend()
    eventually(shop.drained)

    assert feed.sim.held() == vendor.held() == {f"s-{number:03}": 1 for number in range(400)}
    order = [
        event["data"]["product_action"]["transaction_id"]
        for event in feed.sim.events()
        if "product_action" in event["data"]
    ]
    for person in range(20):
        mine = [name for name in order if int(name[2:]) % 20 == person]
        assert mine == sorted(mine)


def test_credentials_expire(shop: Till, vendor: Vendor, feed: System):
    """The secret is refused: that lane alone is held, nothing dropped or parked; a new secret lets all go."""
    people = numbers(vendor, 10)
    feed.cut()
    for number in range(300):
        sell(shop, f"s-{number}", identifier=people[number % 10])
    feed.sim.keys[KEY] = "another"
    feed.mend()
    eventually(lambda: shop.status()["queue"]["held"] == 300)
    eventually(lambda: len(vendor.held()) == 300)
    state = deliveries(shop, "s-7")

    feed.files["api_secret"].write_text("another\n")
    eventually(shop.drained)

    assert (state["mparticle"]["state"], state["voyado"]["state"]) == ("held", "delivered")
    assert feed.sim.held() == {f"s-{number}": 1 for number in range(300)}
    assert shop.status()["state"] == "online"


def test_what_comes_late(shop: Till, vendor: Vendor, feed: System):
    """A sale of last month takes the other call, and the story of either late one says so."""
    [alma] = numbers(vendor, 1)
    for name, days in (("today", 0), ("late", 3), ("old", 40)):
        at = (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="seconds")
        sell(shop, name, identifier=alma, occurred_at=at)
    eventually(shop.drained)

    told = {}
    for name in ("today", "late", "old"):
        story = shop.http.get(f"/v1/transactions/{name}/story").json()
        [entry] = [row["entry"] for row in story["deliveries"] if row["vendor"] == "mparticle"]
        told[name] = [(row["verdict"], row["code"]) for row in story["attempts"] if row["entry"] == entry]
    assert told == {"today": [("done", "")], "late": [("done", "sale.late")], "old": [("done", "sale.historical")]}
    assert "mparticle took it (sale.late, 202)" in shop.command("explain", "late").stdout
    notes = {name: deliveries(shop, name)["mparticle"]["note"] for name in told}
    assert {name: note and note["code"] for name, note in notes.items()} == {
        "today": None, "late": "sale.late", "old": "sale.historical",
    }  # fmt: skip
    calls = {row.batch["events"][0]["data"]["product_action"]["transaction_id"]: row for row in feed.sim.received}
    assert {name: (row.call == "historical", row.forwarded) for name, row in calls.items()} == {
        "today": (False, True), "late": (False, False), "old": (True, False),
    }  # fmt: skip


def test_what_goes_out_of_a_person(open_till: Callable[..., Till], vendor: Vendor, feed: System):
    """A phone that was said at the till reaches mParticle neither by itself nor in any log, unless it is asked for."""
    person = members(vendor, 1)[0]
    phone = {"type": "mobile_phone", "value": person.value("mobilePhone")}
    for name, more in (("closed", {}), ("asked", {"send_identities": ["mobile_phone"]})):
        till = open_till(**{"forward.mparticle": {**feed.table, **more}}).start()
        eventually(till.loaded)
        sell(till, name, identifier=phone)
        eventually(till.drained)
        assert phone["value"] not in till.log.read_text()
        till.kill()

    closed, asked = (row.batch["user_identities"] for row in feed.sim.received)
    assert closed == {"customer_id": person.value("memberNumber")}
    assert asked == {**closed, "mobile_number": phone["value"]}


def test_an_erased_person_is_not_sent(shop: Till, vendor: Vendor, feed: System):
    """Somebody is erased while their sales wait for mParticle: it hears that the member is gone, and of no sale."""
    alma, other = numbers(vendor, 2)
    feed.cut()
    sell(shop, "s-1", identifier=alma)
    sell(shop, "s-2", identifier=alma, channel="online")
    sell(shop, "s-3", identifier=other)
    eventually(lambda: len(vendor.held()) == 3)
    erased = shop.http.post("/v1/privacy/erase", json={"identifier": alma})
    feed.mend()
    eventually(shop.drained)

    assert erased.status_code == 200
    assert feed.sim.held() == {"s-3": 1, f"deleted-{erased.json()['receipt']['id']}": 1}
    assert "does not go to mparticle" in shop.command("explain", "s-1").stdout
    assert shop.status()["queue"]["parked"] == 0


def test_simulate_mparticle():
    """`simulate mparticle` prints where it is found, refuses who has no key, and ends in order."""
    with simulated("mparticle") as told:
        unknown = httpx.post(f"{told['base_url']}/events", trust_env=False)
        state = httpx.get(told["control_url"], trust_env=False)

    assert told.keys() == {"base_url", "control_url", "api_key", "api_secret"}
    assert (unknown.status_code, state.json()["events"]) == (401, 0)


@pytest.mark.parametrize(
    ("loyalty", "table", "said"),
    [
        ("voyado", {"base_url": "https://s2s.eu1.mparticle.com"}, "does not end in /v2"),
        ("voyado", {"profile": "plain", "delete_event_name": "gone"}, 'belongs to profile = "redcat"'),
        ("mparticle", {}, "owns no contacts"),
    ],
    ids=["another version", "redcat's key in plain", "as the owner of the contacts"],
)
def test_a_configuration_that_cannot_be(open_till, feed: System, loyalty, table, said):
    """It is said at `config check`, with the key."""
    till = open_till(**{"forward.mparticle": {**feed.table, **table}, "loyalty": {"vendor": loyalty}})

    assert said in objection(till)


def test_the_loyalty_lanes_trouble_is_its_own(shop: Till, vendor: Vendor, feed: System):
    """A sale that the loyalty system parks is delivered to mParticle all the same."""
    [alma] = numbers(vendor, 1)
    vendor.sim.faults.add(VoyadoFault(kind="poison", receipt_id="s-1"))
    sell(shop, "s-1", identifier=alma)

    eventually(lambda: {vendor: row["state"] for vendor, row in deliveries(shop, "s-1").items()}
               == {"voyado": "parked", "mparticle": "delivered"})  # fmt: skip

    assert shop.transaction("s-1")["state"] == "parked"
    assert feed.sim.held() == {"s-1": 1}


def test_before_the_vendor_s_window_closes_somebody_is_told(shop: Till, feed: System, vendor: Vendor):
    """Two days without mParticle: its window is told while the sale waits, and of the sale that it was late."""
    feed.cut()
    sell(shop, "m-late", identifier=numbers(vendor, 1)[0])
    eventually(lambda: deliveries(shop, "m-late")["voyado"]["state"] == "delivered")
    assert "vendor.window_closing" not in shop.conditions()
    shop.kill()
    vendor.sim.faults.clock_skew_s = 2 * 86_400.0
    shop.start(wrapper=(*LATER, "2"))
    details = {row["code"]: row["detail"] for row in shop.status()["conditions"]}
    assert "mparticle: after 24 h" in details["vendor.window_closing"]

    feed.mend()
    shop.order("flush")
    eventually(shop.drained)
    assert "vendor.window_closing" not in shop.conditions()
    story = shop.command("explain", "m-late", "--json").stdout
    assert "sale.late" in story
