"""A shop whose sales are handed in to Antavo and processed later: each counts once, whatever is cut off or killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from e2e.further import BACK, System, deliveries, numbers, sell
from e2e.shop import Till, Vendor, eventually

from agent.connectors.antavo.simulator import AntavoSimulator, Fault

KEY, SECRET = "client-1", "sim-secret"


@pytest.fixture(name="workspace")
def _workspace(tmp_path: Path) -> Iterator[System]:
    sim = AntavoSimulator({KEY: SECRET}, now=lambda: datetime.now(UTC))
    credentials = {"api_key": KEY, "api_secret": SECRET}
    workspace = System(sim, tmp_path, credentials, environment="st2", auth_mode="oauth", requests_per_minute=20_000)
    yield workspace
    workspace.close()


@pytest.fixture(name="shop")
def _shop(open_till: Callable[..., Till], workspace: System) -> Till:
    till = open_till(**{"forward.antavo": workspace.table}).start()
    eventually(till.loaded)
    return till


@pytest.mark.slow
def test_a_day(shop: Till, vendor: Vendor, workspace: System):
    """What is queued there is not delivered; after a kill it is asked for, and not handed in again."""
    sim = workspace.sim
    people = numbers(vendor, 10)
    for person in people:
        sim.add_member(person["value"])
    sim.queue.delay = timedelta(hours=1)
    for number in range(30):
        sell(shop, f"s-{number:02}", identifier=people[number % 10])

    def delivery(name: str) -> dict[str, Any]:
        return deliveries(shop, name)["antavo"]

    eventually(lambda: len(sim.queue.events) == 10)  # the others are the same people's
    eventually(lambda: delivery("s-00")["vendor_reference"] in sim.queue.events)
    assert (delivery("s-00")["state"], delivery("s-00")["last_error"]["code"]) == ("queued", "vendor.queued")
    shop.kill()
    workspace.cut()
    shop.start()
    workspace.mend()
    lost = sim.add(Fault(kind="drop", path="/v1/async/events", method="POST", after_processing=True, count=3))
    sim.queue.delay = timedelta()
    with sim.lock:
        for queued in sim.queue.events.values():
            queued.due_at = datetime.now(UTC)
    shop.order("flush")
    eventually(lambda: lost.count == 0)
    shop.kill()
    shop.start()
    eventually(shop.drained)

    assert sim.held() == {f"s-{number:02}": 1 for number in range(30)}
    assert {delivery(f"s-{number:02}")["vendor_reference"] for number in range(30)} == set(sim.held())

    given_back = {"lines": [BACK], "total": "-250.00", "payments": [{"type": "card", "amount": "-250.00"}]}
    sell(shop, "r-1", type="return", original_transaction_id="s-00", identifier=people[0], **given_back)
    eventually(lambda: delivery("r-1")["state"] == "delivered")
    assert len(sim.applied("refund_item")) == 1
    assert SECRET not in shop.log.read_text()
    assert all(token not in shop.log.read_text() for token in sim.queue.tokens)
