"""A shop whose sales go to Voucherify as well: each system has its own lane, and both hold each sale once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from e2e.further import System, deliveries, numbers, objection, simulated
from e2e.shop import Till, Vendor, eventually

from agent.connectors.voucherify.simulator import Fault, VoucherifySimulator

APP_ID, TOKEN = "app-1", "sim-token"
LINE = {"kind": "purchase", "sku": "SK-77", "quantity": "2", "gross_paid": "250.00"}
BACK = {"kind": "return", "sku": "SK-77", "quantity": "-1", "gross_paid": "125.00"}


@pytest.fixture(name="project")
def _project(tmp_path: Path) -> Iterator[System]:
    sim = VoucherifySimulator({APP_ID: TOKEN}, now=lambda: datetime.now(UTC))
    project = System(sim, tmp_path, {"app_id": APP_ID, "app_token": TOKEN}, requests_per_minute=60_000)
    yield project
    project.close()


@pytest.fixture(name="shop")
def _shop(open_till: Callable[..., Till], project: System) -> Till:
    """A till whose sales go to both, its replica loaded."""
    till = open_till(**{"forward.voucherify": {**project.table, "on_return": "order_update"}}).start()
    eventually(till.loaded)
    return till


def sell(till: Till, name: str, **changes: Any) -> None:
    answer = till.sell(name, **{"lines": [LINE], **changes})
    assert answer.status_code == 202, answer.text


def take_back(till: Till, name: str, of: str, person: dict[str, str]) -> None:
    payments = [{"type": "card", "amount": "-125.00"}]
    sell(
        till, name, type="return", original_transaction_id=of, identifier=person, lines=[BACK], total="-125.00",
        payments=payments,
    )  # fmt: skip


@pytest.mark.slow
def test_a_day_with_two_systems(shop: Till, vendor: Vendor, project: System):
    """Sales, returns, a void, a poisoned one; Voucherify is away and the agent is killed: none lost, none twice."""
    people = numbers(vendor, 10)
    for number in range(5):
        sell(shop, f"s-{number}", identifier=people[number])
    eventually(shop.drained)

    project.cut()
    late = (datetime.now(UTC) - timedelta(days=3)).isoformat(timespec="seconds")
    for number in range(5, 40):
        sell(shop, f"s-{number}", identifier=people[number % 10], occurred_at=late)
    sell(shop, "guest")
    take_back(shop, "r-part", "s-0", people[0])
    take_back(shop, "r-rest", "s-0", people[0])
    take_back(shop, "r-new", "s-7", people[7])
    eventually(lambda: deliveries(shop, "s-39")["voyado"]["state"] == "delivered")
    assert shop.void("v-1", "s-1").status_code == 202
    poison = project.sim.add(Fault(kind="poison", source_id="s-20"))

    shop.kill()
    shop.start()
    project.mend()
    shop.order("flush")
    eventually(shop.drained)
    [parked] = shop.queue("parked")
    project.sim.remove(poison)
    assert shop.http.post(f"/v1/queue/{parked['entry']}/retry").status_code == 202
    eventually(lambda: shop.delivered("s-20"))

    assert (parked["transaction_id"], parked["vendor"]) == ("s-20", "voucherify")
    back = {"r-part", "r-rest", "r-new"}
    assert project.sim.held() == dict.fromkeys({f"s-{number}" for number in range(40)} | back, 1)
    orders = project.sim.orders
    assert {name for name, order in orders.items() if order["status"] == "CANCELED"} == {"s-0", "s-1"}
    assert (orders["s-7"]["amount"], orders["s-39"]["amount"]) == (12500, 25000)
    assert datetime.fromisoformat(orders["s-39"]["created_at"]) == datetime.fromisoformat(late)
    assert len(project.sim.customers) == 10
    assert shop.transaction("guest")["deliveries"] == []
    assert deliveries(shop, "s-39")["voucherify"]["vendor_reference"] == orders["s-39"]["id"]
    everybody = {person["value"] for person in people}
    assert not [value for value in everybody if value in shop.log.read_text()]
    assert TOKEN not in shop.log.read_text()


@pytest.mark.slow
def test_answers_that_are_lost(shop: Till, vendor: Vendor, project: System):
    """A sale arrives there and its answer is lost, the agent is killed and asks: it is not sent as paid again."""
    [alma] = numbers(vendor, 1)
    fault = project.sim.add(Fault(kind="drop", method="POST", after_processing=True))
    sell(shop, "s-1", identifier=alma)
    eventually(lambda: project.sim.paid["s-1"] == 1)
    shop.kill()
    project.sim.remove(fault)
    shop.start()
    shop.order("flush")
    eventually(shop.drained)

    assert project.sim.paid == {"s-1": 1}
    assert project.sim.held() == vendor.held() == {"s-1": 1}
    assert deliveries(shop, "s-1")["voucherify"]["vendor_reference"] == project.sim.orders["s-1"]["id"]


@pytest.mark.slow
def test_credentials_and_the_plan(shop: Till, vendor: Vendor, project: System):
    """The token is refused, then the plan is used up: that lane alone is held, and all goes then."""
    people = numbers(vendor, 5)
    project.cut()
    for number in range(50):
        sell(shop, f"s-{number}", identifier=people[number % 5])
    project.sim.keys[APP_ID] = "another"
    project.mend()
    shop.order("flush")
    eventually(lambda: shop.status()["queue"]["held"] == 50)
    eventually(lambda: len(vendor.held()) == 50)

    project.sim.allowance.of_plan = 0
    project.files["app_token"].write_text("another\n")
    shop.order("flush")
    eventually(lambda: "vendor.plan_exhausted" in json.dumps(shop.queue("held")))
    project.sim.allowance.of_plan = None
    shop.order("flush")
    eventually(shop.drained)

    assert project.sim.held() == vendor.held() == {f"s-{number}": 1 for number in range(50)}
    assert shop.status()["queue"]["parked"] == 0


@pytest.mark.slow
def test_an_event_in_doubt(open_till: Callable[..., Till], vendor: Vendor, project: System):
    """An event whose answer is lost waits for a person, over a restart too; sent again by them it goes once."""
    till = open_till(**{"forward.voucherify": {**project.table, "earn_with": "event"}}).start()
    eventually(till.loaded)
    [alma] = numbers(vendor, 1)
    fault = project.sim.add(Fault(kind="drop", path="/v1/events"))
    sell(till, "s-1", identifier=alma)
    [doubtful] = eventually(lambda: till.queue("in_doubt"))
    till.kill()
    project.sim.remove(fault)
    till.start()
    till.order("flush")
    eventually(lambda: till.status()["queue"]["depth"] == 0)
    assert (deliveries(till, "s-1")["voucherify"]["state"], project.sim.events) == ("in_doubt", [])

    assert till.http.post(f"/v1/queue/{doubtful['entry']}/retry").status_code == 202
    till.order("flush")
    eventually(lambda: till.delivered("s-1"))

    assert (doubtful["vendor"], doubtful["last_error"]["code"]) == ("voucherify", "sale.maybe_received")
    assert [event["metadata"]["transaction_id"] for event in project.sim.events] == ["s-1"]


@pytest.mark.slow
def test_simulate_voucherify():
    """`simulate voucherify` prints where it is found, refuses who has no key, and ends in order."""
    with simulated("voucherify") as told:
        unknown = httpx.get(f"{told['base_url']}/v1/orders", trust_env=False)
        state = httpx.get(told["control_url"], trust_env=False)

    assert told.keys() == {"base_url", "control_url", "app_id", "app_token"}
    assert (unknown.status_code, state.json()["orders"]) == (401, 0)


@pytest.mark.slow
def test_points_that_are_taken_back(open_till: Callable[..., Till], vendor: Vendor, project: System):
    """A sale that came back takes its points along once, though answers are lost and the agent is killed."""
    [person] = numbers(vendor, 1)
    project.sim.enrol(source_id=person["value"])
    card = project.sim.give(person["value"], "LC-1", type="LOYALTY_CARD", loyalty_card={"points": 0, "balance": 0})
    project.sim.ledger.per_point = 100
    shop = open_till(**{"forward.voucherify": {**project.table, "on_return": "adjust_points"}}).start()
    eventually(shop.loaded)
    sell(shop, "s-1", identifier=person)
    eventually(shop.drained)
    assert card["loyalty_card"]["balance"] == 250

    lost = project.sim.add(Fault(kind="drop", path="*/balance", after_processing=True))
    take_back(shop, "r-1", "s-1", person)
    eventually(lambda: project.sim.ledger.changes("r-1"))
    shop.kill()
    project.sim.remove(lost)
    shop.start()
    eventually(shop.drained)
    assert deliveries(shop, "r-1")["voucherify"]["state"] == "delivered"
    assert (card["loyalty_card"]["balance"], project.sim.ledger.changes("r-1")) == (125, [-125])
    assert "LC-1" not in shop.log.read_text()


@pytest.mark.parametrize(
    ("loyalty", "table", "said"),
    [
        ("voyado", {"base_url": "https://api.voucherify.io/v1"}, "has a path"),
        ("voyado", {"on_return": "adjust_points", "loyalty_api": "v2"}, "a card of loyalty v1"),
        ("voyado", {"earn_with": "event", "guest_sales": True}, "needs orders"),
        ("voucherify", {}, "is loyalty.vendor, which gets every sale already"),
    ],
    ids=["the version", "points by hand", "guests without orders", "twice"],
)
def test_a_configuration_that_cannot_be(open_till, project: System, loyalty, table, said):
    """It is said at `config check`, with the key."""
    till = open_till(**{"forward.voucherify": {**project.table, **table}, "loyalty": {"vendor": loyalty}})

    assert said in objection(till)
