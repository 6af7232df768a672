"""A shop whose sales go to Antavo as well: each member's sale counts once, whatever becomes of lines and answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from e2e.further import BACK, System, deliveries, now, numbers, objection, sell, simulated
from e2e.shop import Till, Vendor, eventually

from agent.connectors.antavo.simulator import AntavoSimulator, Fault

KEY, SECRET = "AN1EXAMPLEKEY", "sim-secret"


@pytest.fixture(name="workspace")
def _workspace(tmp_path: Path) -> Iterator[System]:
    sim = AntavoSimulator({KEY: SECRET}, now=lambda: datetime.now(UTC))
    credentials = {"api_key": KEY, "api_secret": SECRET}
    workspace = System(sim, tmp_path, credentials, environment="st2", requests_per_minute=20_000)
    yield workspace
    workspace.close()


@pytest.fixture(name="people")
def _people(vendor: Vendor, workspace: System) -> list[dict[str, str]]:
    """Members whom both systems know by the same number."""
    people = numbers(vendor, 20)
    for person in people:
        workspace.sim.add_member(person["value"])
    return people


@pytest.fixture(name="shop")
def _shop(open_till: Callable[..., Till], workspace: System) -> Till:
    """A till whose sales go to both, its replica loaded."""
    till = open_till(**{"forward.antavo": workspace.table}).start()
    eventually(till.loaded)
    return till


def delivery(till: Till, name: str) -> dict[str, Any]:
    return deliveries(till, name)["antavo"]


@pytest.mark.slow
def test_a_day_with_antavo(shop: Till, vendor: Vendor, workspace: System, people: list[dict[str, str]]):
    """The line is cut, answers are lost, the agent is killed, one sale is poisoned: none lost, none twice."""
    sim = workspace.sim
    for number in range(20):
        sell(shop, f"s-{number:03}", identifier=people[number])
    eventually(shop.drained)

    workspace.cut()
    for number in range(20, 220):
        sell(shop, f"s-{number:03}", identifier=people[number % 20])
    sell(shop, "guest")
    given_back = {"lines": [BACK], "total": "-250.00", "payments": [{"type": "card", "amount": "-250.00"}]}
    for number in range(5):
        sell(shop, f"r-{number}", type="return", original_transaction_id=f"s-{number:03}", identifier=people[number],
             **given_back)  # fmt: skip
    assert shop.void("v-1", "s-007", occurred_at=now()).status_code == 202

    half = sim.add(Fault(kind="half", path="/events/bulk", count=1))
    lost = sim.add(Fault(kind="drop", path="/events*", after_processing=True, count=3))
    sim.add(Fault(kind="poison", transaction_id="s-037"))
    workspace.mend()
    shop.order("flush")
    eventually(lambda: (lost.count, half.count) == (0, 0))
    shop.kill()
    shop.start()
    shop.order("flush")
    eventually(shop.drained)

    [parked] = shop.queue("parked")
    assert (parked["transaction_id"], parked["last_error"]["vendor_code"]) == ("s-037", "160216")
    sim.faults.clear()
    assert shop.http.post(f"/v1/queue/{parked['entry']}/retry").status_code == 202
    eventually(lambda: delivery(shop, "s-037")["state"] == "delivered")
    eventually(shop.drained)

    doubted = {row["transaction_id"] for row in shop.queue("in_doubt")}
    assert sim.held() == {f"s-{number:03}": 1 for number in range(220)}
    assert shop.transaction("guest")["deliveries"] == []
    assert delivery(shop, "s-007")["vendor_reference"] == "s-007"
    assert sim.transaction("s-007").status == "refunded"
    refunds = [event["data"]["transaction_id"] for event in sim.applied("refund_item")]
    assert sorted(refunds) == [f"s-{number:03}" for number in range(5)]
    assert doubted <= {f"r-{number}" for number in range(5)}  # those whose answer was lost: a person decides
    assert SECRET not in shop.log.read_text()


@pytest.mark.slow
def test_credentials_expire_and_a_member_is_searched_for(
    shop: Till, vendor: Vendor, workspace: System, people: list[dict[str, str]]
):
    """A refused secret holds that lane alone; a stranger is searched for; an id in use is told to a person."""
    sim = workspace.sim
    sim.add_member("c-stranger", email="stranger@example.com")
    sim.books.process(
        {"customer": people[0]["value"], "action": "checkout", "data": {"transaction_id": "taken", "total": 1}}
    )
    workspace.cut()
    for number in range(100):
        sell(shop, f"s-{number}", identifier=people[number % 20])
    sell(shop, "stranger", identifier={"type": "email", "value": "stranger@example.com"})
    sell(shop, "nobody", identifier={"type": "email", "value": "nobody@example.com"})
    sell(shop, "taken", identifier=people[1])
    sim.keys[KEY] = "another"
    workspace.mend()
    eventually(lambda: delivery(shop, "s-7")["state"] == "held")
    eventually(lambda: vendor.held().keys() >= {f"s-{number}" for number in range(100)})

    workspace.files["api_secret"].write_text("another\n")
    eventually(shop.drained)

    assert sim.held() == {f"s-{number}": 1 for number in range(100)} | {"taken": 1, "stranger": 1}
    assert sim.transaction("stranger").customer == "c-stranger"
    told = {row["transaction_id"]: row["last_error"]["code"] for row in shop.queue("parked")
            if row["vendor"] == "antavo"}  # fmt: skip
    assert told == {"nobody": "contact.unknown", "taken": "sale.collision"}
    assert list(sim.books.members.by_id) == [*(person["value"] for person in people), "c-stranger"]
    log = shop.log.read_text()
    assert not [value for value in ("stranger@", "nobody@", SECRET) if value in log]


def test_simulate_antavo():
    """`simulate antavo` prints where it is found, refuses what is not signed, and ends in order."""
    with simulated("antavo") as told:
        unsigned = httpx.get(f"{told['base_url']}/customers/-/count", trust_env=False)
        state = httpx.get(told["control_url"], trust_env=False)

    assert told.keys() == {"base_url", "control_url", "environment", "api_key", "api_secret"}
    assert (unsigned.status_code, state.json()["members"]) == (401, 0)


@pytest.mark.parametrize(
    ("loyalty", "table", "said"),
    [
        ("voyado", {"base_url": "https://api.st1.antavo.com"}, "is not the one of base_url, which is st1"),
        ("voyado", {"auth_mode": "oauth", "guest_sales": True}, "cannot be with oauth"),
        ("voyado", {"feed": "read_api"}, "is for the owner of the contacts, which is another system"),
    ],
    ids=["another environment", "another credential", "a feed"],
)
def test_a_configuration_that_cannot_be(open_till, workspace: System, loyalty, table, said):
    """It is said at `config check`, with the key."""
    till = open_till(**{"forward.antavo": {**workspace.table, **table}, "loyalty": {"vendor": loyalty}})

    assert said in objection(till)
