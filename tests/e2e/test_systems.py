"""Every system that sales go to, beside the loyalty system and as it, through the same bad days: none lost, none twice.

Voyado, which cannot be forwarded to, has the same stories in `test_outages.py`.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from e2e.further import LINE, System, deliveries, numbers
from e2e.shop import COMMAND, Till, Vendor, eventually

from agent.clock import SystemClock
from agent.connectors.antavo.simulator import Fault as AntavoFault
from agent.connectors.monetary.simulator import Fault as MonetaryFault
from agent.connectors.mparticle.simulator import Fault as MparticleFault
from agent.connectors.registry import ROOMS
from agent.connectors.simulation.line import LineFault
from agent.connectors.voucherify.simulator import Fault as VoucherifyFault
from agent.workbench.further import RECIPES

POISONED = "s-37"
POISONS: Mapping[str, Any] = {
    "mparticle": MparticleFault(kind="poison", transaction_id=POISONED),
    "antavo": AntavoFault(kind="poison", transaction_id=POISONED),
    "voucherify": VoucherifyFault(kind="poison", source_id=POISONED),
    "monetary": MonetaryFault(kind="poison", sku=POISONED),
}
"""What has each of them refuse that one sale for ever; each article of it is called as it is."""
PEOPLE = 20
TODAY = datetime.now(UTC).isoformat(timespec="seconds")


def _number(place: int) -> str:
    return str(10_000_000 + place)


@dataclass(frozen=True, slots=True)
class Owner:
    """How a system owns the contacts.

    Attributes:
        key: what names a member at the till.
        joins: makes a member of a name.
        loaded: how many contacts the till has before anybody was seen.
        loyalty: what `[loyalty]` says beside the vendor.
        table: what its own says beside the recipe's; None takes it out.
    """

    key: str
    joins: Callable[[Any, str], Any]
    loaded: int = PEOPLE
    loyalty: Mapping[str, Any] = field(default_factory=dict)
    table: Mapping[str, Any] = field(default_factory=dict)


OWNERS = {
    "antavo": Owner(
        "contact_id",
        lambda sim, name: sim.add_member(name, email=f"m{name}@example.com"),
        loyalty={"primary_key": "contact_id"},
        table={"read_base_url": "{base_url}"},
    ),
    "voucherify": Owner("member_number", lambda sim, name: sim.enrol(source_id=name), table={"identities": None}),
    "monetary": Owner(
        "member_number",
        lambda sim, name: sim.add_customer(ExternalID=name),
        loaded=0,
        table={"unknown_customer": None},
    ),
}
CASTS = [*((name, "forward") for name in RECIPES), *((name, "loyalty") for name in OWNERS)]

each_system = pytest.mark.parametrize("system", CASTS, indirect=True, ids=[f"{name}-{role}" for name, role in CASTS])


def test_each_system_is_tried():
    """Whoever can own the contacts, or get sales beside who does, goes through these days."""
    assert OWNERS.keys() | {"voyado"} == {name for name, room in ROOMS.items() if room.owner is not None}
    assert RECIPES.keys() == POISONS.keys() == {name for name, room in ROOMS.items() if not room.settings.not_forward}


class Further(System):
    """One system of the demonstration, beside the loyalty system or as it."""

    def __init__(self, name: str, role: str, home: Path) -> None:
        self.name, self.role, self.recipe = name, role, RECIPES[name]
        self.owner = OWNERS[name] if role == "loyalty" else None
        sim = self.recipe.make(SystemClock())
        if self.owner is not None:
            sim.forget()  # whom the demonstration made members: here it is said who is one
        super().__init__(sim, home, self.recipe.secrets, path=self.recipe.path, **self.recipe.table)

    def knows(self, numbers: list[str]) -> None:
        """These members are members there too, where members are not made by their sales."""
        if self.owner is not None:
            for number in numbers:
                self.owner.joins(self.sim, number)
        elif hasattr(self.sim, "add_member"):
            for number in numbers:
                self.sim.add_member(number)

    def tables(self) -> dict[str, Any]:
        """What a till's configuration says of it, and of who owns the contacts."""
        if self.owner is None:
            return {f"forward.{self.name}": self.table}
        own = {key: value.format(**self.table) if isinstance(value, str) else value
               for key, value in self.owner.table.items()}  # fmt: skip
        table = {key: value for key, value in {**self.table, **own}.items() if value is not None}
        return {"voyado": None, "loyalty": {"vendor": self.name, **self.owner.loyalty}, self.name: table}

    def fails(self, kind: str, **how: Any) -> LineFault:
        """Calls that bring sales meet this fault from now on."""
        return self.sim.add(LineFault(kind=kind, path=self.recipe.calls, method="POST", **how))

    def recovers(self) -> None:
        self.sim.faults.clear()


@pytest.fixture(name="system")
def _system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Further]:
    system = Further(*request.param, tmp_path)
    yield system
    system.close()


@pytest.fixture(name="people")
def _people(vendor: Vendor, system: Further) -> list[dict[str, str]]:
    """Members whom every system knows."""
    if system.owner is None:
        people = numbers(vendor, PEOPLE)
    else:
        people = [{"type": system.owner.key, "value": _number(place)} for place in range(PEOPLE)]
    system.knows([person["value"] for person in people])
    if system.name == "antavo" and system.owner is not None:
        system.sim.books.history.told.clear()  # they joined long ago
    return people


@pytest.fixture(name="shop")
def _shop(open_till: Callable[..., Till], system: Further, people: list[dict[str, str]]) -> Till:
    """A till whose sales go there, its replica loaded."""
    till = open_till(**system.tables()).start()
    eventually(lambda: till.loaded(system.owner.loaded if system.owner else None))
    return till


def sell(till: Till, name: str, person: dict[str, str]) -> int:
    line = {**LINE, "sku": name} if name == POISONED else LINE
    answer = till.sell(name, identifier=person, occurred_at=TODAY, lines=[line])
    assert answer.status_code in (200, 202), answer.text
    return answer.status_code


def delivery(till: Till, system: Further, name: str) -> dict[str, Any]:
    return deliveries(till, name)[system.name]


def has_all(vendor: Vendor, system: Further, names: list[str]) -> bool:
    """Whether Voyado has every sale, where it owns the contacts beside this system."""
    return system.owner is not None or vendor.held() == once(names)


def once(names: list[str]) -> dict[str, int]:
    return dict.fromkeys(names, 1)


@pytest.mark.slow
@each_system
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


@pytest.mark.slow
@each_system
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


@pytest.mark.slow
@each_system
def test_a_long_outage(shop: Till, vendor: Vendor, system: Further, people: list[dict[str, str]]):
    """Refused, then 503, then 429, then silence: nothing is parked or lost, and the other lane never waits."""
    system.cut()
    names = [f"s-{number:03}" for number in range(100)]
    for number, name in enumerate(names):
        sell(shop, name, people[number % 20])
    eventually(lambda: has_all(vendor, system, names))
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
    eventually(shop.drained)

    assert system.sim.held() == once(names)
    assert has_all(vendor, system, names)


@pytest.mark.slow
@each_system
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
    eventually(lambda: has_all(vendor, system, names))
    assert "vendor.credentials_refused" in shop.conditions()
    assert shop.status()["queue"]["held"] == len(names)

    system.recovers()
    shop.order("flush")
    eventually(shop.drained)

    assert system.sim.held() == once(names)
    assert shop.status()["state"] == "online"


@pytest.mark.slow
@each_system
def test_a_poisoned_sale(shop: Till, vendor: Vendor, system: Further, people: list[dict[str, str]]):
    """One of eighty is refused for ever: the others arrive, it is parked and goes once that is gone."""
    system.cut()
    names = [f"s-{number:02}" for number in range(80)]
    for number, name in enumerate(names):
        sell(shop, name, people[number % PEOPLE])
    system.sim.add(POISONS[system.name])
    system.mend()
    shop.order("flush")
    eventually(shop.drained)
    assert system.sim.held() == once([name for name in names if name != POISONED])
    [parked] = shop.queue("parked")
    assert (parked["transaction_id"], parked["vendor"], parked["last_error"]["code"]) == (
        POISONED, system.name, "vendor.rejected",
    )  # fmt: skip
    assert shop.status()["queue"]["parked"] == 1
    assert has_all(vendor, system, names)

    system.recovers()
    assert shop.http.post(f"/v1/queue/{parked['entry']}/retry").status_code == 202
    eventually(lambda: delivery(shop, system, POISONED)["state"] == "delivered")
    assert system.sim.held() == once(names)
    assert shop.conditions() == set()
