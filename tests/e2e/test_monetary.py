"""A shop whose sales go to Monetary as well, which recognises none of them: each member's sale counts once there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from e2e.further import BACK, LINE, System, deliveries, numbers, objection, sell, simulated
from e2e.shop import Till, Vendor, eventually

from agent.connectors.monetary.simulator import Fault, MonetarySimulator

KEY = "test-shop-key"
MEMBERS = 10


@pytest.fixture(name="account")
def _account(tmp_path: Path) -> Iterator[System]:
    sim = MonetarySimulator({KEY: "location-1"}, now=lambda: datetime.now(UTC))
    account = System(sim, tmp_path, {"secret_key": KEY}, path="/v1", requests_per_minute=6_000)
    yield account
    account.close()


@pytest.fixture(name="people")
def _people(vendor: Vendor, account: System) -> list[dict[str, str]]:
    """Members whom both systems know by the same number; Monetary calls them 101 and so on."""
    people = numbers(vendor, MEMBERS)
    for person in people:
        account.sim.add_customer(ExternalID=person["value"])
    return people


@pytest.fixture(name="shop")
def _shop(open_till: Callable[..., Till], account: System) -> Till:
    """A till whose sales go to both, its replica loaded."""
    till = open_till(**{"forward.monetary": account.table}).start()
    eventually(till.loaded)
    return till


def delivery(till: Till, name: str) -> dict[str, Any]:
    return deliveries(till, name)["monetary"]


def receipts(account: System) -> Counter[int]:
    """How many receipts each customer has."""
    with account.sim.lock:
        return Counter(receipt["CustomerID"] for receipt in account.sim.receipts)


@pytest.mark.slow
def test_a_day_with_monetary(shop: Till, account: System, people: list[dict[str, str]]):
    """Answers are lost among like sales, the line is cut, the agent killed, one poisoned: none lost, none twice."""
    sim = account.sim
    lost = sim.add(Fault(kind="drop", path="/v1/Receipts", method="POST", after_processing=True, count=3, skip=9))
    for number in range(2 * MEMBERS):
        sell(shop, f"s-{number:03}", identifier=people[number % MEMBERS])
    eventually(lambda: lost.count == 0)
    eventually(shop.drained)

    account.cut()
    for number in range(2 * MEMBERS, 7 * MEMBERS):  # of another sum each: those of a kill can be told apart
        gross = f"{number}.00"
        sell(shop, f"s-{number:03}", identifier=people[number % MEMBERS], lines=[{**LINE, "gross_paid": gross}],
             total=gross, payments=[{"type": "card", "amount": gross}])  # fmt: skip
    sell(shop, "guest")
    sell(shop, "poison", identifier=people[0], lines=[{**LINE, "sku": "POISON"}])
    sell(shop, "back", type="return", original_transaction_id="s-001", identifier=people[1], lines=[BACK],
         total="-250.00", payments=[{"type": "card", "amount": "-250.00"}])  # fmt: skip

    sim.add(Fault(kind="poison", sku="POISON"))
    lost = sim.add(Fault(kind="drop", path="/v1/Receipts", method="POST", after_processing=True, count=5))
    account.mend()
    shop.order("flush")
    eventually(lambda: lost.count == 0)
    shop.kill()
    shop.start()
    shop.order("flush")
    eventually(shop.drained)

    parked = {row["transaction_id"]: row for row in shop.queue("parked")}
    assert {name: row["last_error"]["code"] for name, row in parked.items()} == {
        "poison": "vendor.rejected", "back": "sale.return_unsupported",
    }  # fmt: skip
    sim.faults.clear()
    assert shop.http.post(f"/v1/queue/{parked['poison']['entry']}/retry").status_code == 202
    eventually(lambda: delivery(shop, "poison")["state"] == "delivered")

    lost = sim.add(Fault(kind="drop", path="/v1/Receipts", method="POST", after_processing=True, count=1))
    sell(shop, "again", identifier=people[0])  # like s-000 and s-010, whose receipts only the outbox still knows
    eventually(lambda: lost.count == 0)
    shop.order("flush")
    eventually(shop.drained)

    assert shop.queue("in_doubt") == []
    assert receipts(account) == {101 + number: 7 + 2 * (number == 0) for number in range(MEMBERS)}
    sales = [delivery(shop, f"s-{number:03}") for number in range(7 * MEMBERS)]
    assert {row["state"] for row in sales} == {"delivered"}
    named = [row["vendor_reference"] for row in (*sales, delivery(shop, "poison"), delivery(shop, "again"))]
    assert sorted(named) == sorted(receipt["ReceiptID"] for receipt in sim.receipts)
    assert shop.transaction("guest")["deliveries"] == []
    assert KEY not in shop.log.read_text()


@pytest.mark.slow
def test_credentials_expire_and_a_stranger_is_left_to_a_person(
    shop: Till, vendor: Vendor, account: System, people: list[dict[str, str]]
):
    """A refused key holds that lane alone; who cannot be told from others is nobody; what is unclear is asked about."""
    sim = account.sim
    for _ in range(2):
        sim.add_customer(Email="twins@example.com")
    account.cut()
    for number in range(40):
        sell(shop, f"s-{number}", identifier=people[number % MEMBERS])
    sell(shop, "twins", identifier={"type": "email", "value": "twins@example.com"})
    sell(shop, "nobody", identifier={"type": "email", "value": "nobody@example.com"})
    sim.keys.clear()
    account.mend()
    shop.order("flush")
    eventually(lambda: delivery(shop, "s-7")["state"] == "held")
    eventually(lambda: vendor.held().keys() >= {f"s-{number}" for number in range(40)})

    sim.keys["test-another"] = "location-1"
    account.files["secret_key"].write_text("test-another\n")
    shop.order("flush")
    eventually(shop.drained)

    assert receipts(account) == {101 + number: 4 for number in range(MEMBERS)}
    told = {row["transaction_id"]: row["last_error"]["code"] for row in shop.queue("parked")
            if row["vendor"] == "monetary"}  # fmt: skip
    assert told == {"twins": "contact.unresolved", "nobody": "contact.unknown"}
    assert len(sim.customers) == MEMBERS + 2

    sim.add(Fault(kind="answer", path="/v1/Customers/*/Receipts", status=404))
    lost = sim.add(Fault(kind="drop", path="/v1/Receipts", method="POST", after_processing=True, count=1))
    sell(shop, "unclear", identifier=people[0])
    eventually(lambda: lost.count == 0)
    shop.order("flush")
    eventually(lambda: [row["transaction_id"] for row in shop.queue("in_doubt")] == ["unclear"])
    assert receipts(account)[101] == 5
    log = shop.log.read_text()
    assert not [value for value in ("twins@", "nobody@", KEY, "test-another") if value in log]


def test_simulate_monetary():
    """`simulate monetary` prints where it is found, refuses who has no key, and ends in order."""
    with simulated("monetary") as told:
        url = f"{told['base_url']}/Customers"
        strange = httpx.get(url, trust_env=False)
        known = httpx.get(url, headers={"Authorization": told["secret_key"]}, trust_env=False)
        state = httpx.get(told["control_url"], trust_env=False)

    assert told.keys() == {"base_url", "control_url", "secret_key"}
    assert (strange.status_code, known.json(), state.json()["customers"]) == (401, [], 0)


@pytest.mark.parametrize(
    ("loyalty", "table", "said"),
    [
        ("voyado", {"guest_sales": True, "on_doubt": "resend"}, "guest_sales is on"),
        ("voyado", {"base_url": "http://engage.monetary.co/v1"}, "is plain http"),
    ],
    ids=["guests twice", "plain http"],
)
def test_a_configuration_that_cannot_be(open_till, account: System, loyalty, table, said):
    """It is said at `config check`, with the key."""
    till = open_till(**{"forward.monetary": {**account.table, **table}, "loyalty": {"vendor": loyalty}})

    assert said in objection(till)
