"""Every system that sales can be forwarded to, through the same bad days: none lost there, none twice."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from e2e.further import LINE, System, deliveries, numbers
from e2e.shop import COMMAND, Till, Vendor, eventually

from agent.clock import SystemClock
from agent.connectors.simulation.line import LineFault
from agent.workbench.further import RECIPES

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("system", RECIPES, indirect=True)]

TODAY = datetime.now(UTC).isoformat(timespec="seconds")


class Further(System):
    """One further system of the demonstration."""

    def __init__(self, name: str, home: Path) -> None:
        self.name, self.recipe = name, RECIPES[name]
        sim = self.recipe.make(SystemClock())
        super().__init__(sim, home, self.recipe.secrets, path=self.recipe.path, **self.recipe.table)

    def knows(self, numbers: list[str]) -> None:
        """These members are members there too, where members are not made by their sales."""
        if hasattr(self.sim, "add_member"):
            for number in numbers:
                self.sim.add_member(number)

    def fails(self, kind: str, **how: Any) -> LineFault:
        """Calls that bring sales meet this fault from now on."""
        return self.sim.add(LineFault(kind=kind, path=self.recipe.calls, method="POST", **how))

    def recovers(self) -> None:
        self.sim.faults.clear()


@pytest.fixture(name="system")
def _system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Further]:
    system = Further(request.param, tmp_path)
    yield system
    system.close()


@pytest.fixture(name="people")
def _people(vendor: Vendor, system: Further) -> list[dict[str, str]]:
    """Members whom both systems know."""
    people = numbers(vendor, 20)
    system.knows([person["value"] for person in people])
    return people


@pytest.fixture(name="shop")
def _shop(open_till: Callable[..., Till], system: Further) -> Till:
    """A till whose sales go to both, its replica loaded."""
    till = open_till(**{f"forward.{system.name}": system.table}).start()
    eventually(till.loaded)
    return till


def sell(till: Till, name: str, person: dict[str, str]) -> int:
    answer = till.sell(name, identifier=person, occurred_at=TODAY, lines=[LINE])
    assert answer.status_code in (200, 202), answer.text
    return answer.status_code


def delivery(till: Till, system: Further, name: str) -> dict[str, Any]:
    return deliveries(till, name)[system.name]


def once(names: list[str]) -> dict[str, int]:
    return dict.fromkeys(names, 1)


def test_the_answer_is_lost_and_the_agent_killed(shop: Till, system: Further, people: list[dict[str, str]]):
    """Three times the sale arrives, its answer gets lost and the agent is killed: it counts once."""
    system.fails("drop", after_processing=True)
    sell(shop, "s-1", people[0])
    for attempts in range(1, 4):
        eventually(lambda attempts=attempts: _tried(delivery(shop, system, "s-1"), attempts))
        shop.kill()
        shop.start()
    system.recovers()
    shop.order("flush")
    eventually(shop.drained)

    assert system.sim.held() == once(["s-1"])
    assert delivery(shop, system, "s-1")["state"] == "delivered"


def _tried(row: dict[str, Any], attempts: int) -> bool:
    return row["attempts"] >= attempts or row["state"] == "delivered"


def test_two_senders_and_a_kill_after_the_answer(shop: Till, system: Further, people: list[dict[str, str]]):
    """A second agent refuses to start; the first is killed right after an answer: each of 20 sales arrives once."""
    system.cut()
    names = [f"s-{number:02}" for number in range(20)]
    for name, person in zip(names, people, strict=True):
        sell(shop, name, person)
    second = subprocess.run(
        [COMMAND, "run", "--config", shop.config], capture_output=True, text=True, timeout=30, check=False
    )
    sell(shop, "s-20", people[0])
    shop.kill()
    shop.start()
    again = sell(shop, "s-20", people[0])
    system.mend()
    shop.order("flush")
    eventually(shop.drained)

    assert second.returncode == 75
    assert again == 200
    assert system.sim.held() == once([*names, "s-20"])


def test_a_long_outage(shop: Till, vendor: Vendor, system: Further, people: list[dict[str, str]]):
    """Refused, then 503, then 429, then silence: nothing is parked or lost, and the other lane never waits."""
    system.cut()
    names = [f"s-{number:03}" for number in range(100)]
    for number, name in enumerate(names):
        sell(shop, name, people[number % 20])
    eventually(lambda: len(vendor.held()) == len(names))
    for trouble in ({"kind": "answer", "status": 503}, {"kind": "answer", "status": 429}, {"kind": "hang"}):
        met = system.fails(**trouble, count=1_000)
        system.mend()
        shop.order("flush")
        eventually(lambda met=met: met.count < 1_000)
        time.sleep(0.5)  # for what may follow a first answer
        assert shop.status()["queue"]["parked"] == 0
        system.cut()
        system.recovers()
    system.mend()
    shop.order("flush")
    eventually(shop.drained, within_s=60)

    assert system.sim.held() == vendor.held() == once(names)


def test_credentials_expire(shop: Till, vendor: Vendor, system: Further, people: list[dict[str, str]]):
    """The line returns with 401: that lane alone is held, nothing dropped or parked; then all go out."""
    system.cut()
    names = [f"s-{number:02}" for number in range(60)]
    for number, name in enumerate(names):
        sell(shop, name, people[number % 20])
    system.sim.add(LineFault(kind="answer", status=401))
    system.mend()
    shop.order("flush")
    eventually(lambda: delivery(shop, system, "s-07")["state"] == "held")
    eventually(lambda: len(vendor.held()) == len(names))
    assert "vendor.credentials_refused" in shop.conditions()
    assert shop.status()["queue"]["held"] == len(names)

    system.recovers()
    shop.order("flush")
    eventually(shop.drained, within_s=60)

    assert system.sim.held() == once(names)
    assert shop.status()["state"] == "online"
