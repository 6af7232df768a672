"""A shop with two systems: the loyalty system and a further one. What ails one never delays the other."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator

import pytest
from e2e.ledger import ROOM, Ledger
from e2e.shop import API_KEY, Till, eventually, members

pytestmark = pytest.mark.slow


@pytest.fixture(name="ledger")
def _ledger() -> Iterator[Ledger]:
    ledger = Ledger()
    yield ledger
    ledger.cut()


@pytest.fixture(name="till")
def _till(open_till: Callable[..., Till], ledger: Ledger) -> Till:
    """A till whose sales go to both, its replica loaded."""
    till = open_till(**{"forward.ledger": {"base_url": ledger.url, "api_key": "file:ledger.key"}})
    (till.home / "ledger.key").write_text(ledger.key)
    till.wrapper = (sys.executable, str(ROOM))
    till.start()
    eventually(till.loaded)
    return till


def sell(till, people, names):
    """One sale each, to these members in turn."""
    for number, name in enumerate(names):
        number_of = people[number % len(people)].value("memberNumber")
        answer = till.sell(name, identifier={"type": "member_number", "value": number_of})
        assert answer.status_code == 202, answer.text
        assert answer.json()["state"] in ("queued", "held")


def states(till, name):
    return {delivery["vendor"]: delivery["state"] for delivery in till.transaction(name)["deliveries"]}


def of(till, vendor):
    return next(row for row in till.status()["vendors"] if row["vendor"] == vendor)


def once(names):
    return dict.fromkeys(names, 1)


def test_an_outage_at_one_leaves_the_other_its_pace(till, vendor, ledger):
    """Each line is cut in turn: the other one's sales arrive; a kill in between loses and doubles nothing."""
    people = members(vendor, 6)
    first, second = [f"a-{n}" for n in range(30)], [f"b-{n}" for n in range(30)]

    ledger.cut()
    sell(till, people, first)
    eventually(lambda: all(vendor.posts().get(name) for name in first))
    eventually(lambda: of(till, "ledger")["state"] == "offline")
    assert of(till, "voyado")["state"] == "online"
    assert till.status()["state"] == "degraded"
    assert of(till, "ledger")["waiting"] == 30
    assert states(till, "a-0") == {"voyado": "delivered", "ledger": "queued"}
    assert till.transaction("a-0")["state"] == "queued"
    assert {entry["vendor"] for entry in till.http.get("/v1/queue").json()["entries"]} == {"ledger"}
    assert till.http.get("/v1/queue", params={"vendor": "voyado"}).json()["entries"] == []

    till.kill()
    till.start()
    ledger.mend()
    eventually(lambda: ledger.counts() == once(first))

    vendor.cut()
    sell(till, people, second)
    eventually(lambda: ledger.counts() == once(first + second))
    eventually(lambda: of(till, "voyado")["state"] == "offline")
    assert till.status()["state"] == "offline"
    assert states(till, "b-0") == {"voyado": "queued", "ledger": "delivered"}
    vendor.mend()
    eventually(till.drained)

    assert vendor.held() == once(first + second)
    assert ledger.counts() == once(first + second)
    assert all(till.delivered(name) for name in first + second)


def test_a_held_credential_holds_one_lane(till, vendor, ledger):
    """The further system takes our key no more: held there, delivered at the other; a new key sends everything once."""
    people, names = members(vendor, 5), [f"s-{n}" for n in range(25)]
    ledger.key = "another"
    sell(till, people, names)
    eventually(lambda: all(vendor.posts().get(name) for name in names))
    eventually(lambda: states(till, "s-0") == {"voyado": "delivered", "ledger": "held"})
    assert till.transaction("s-0")["state"] == "held"
    assert "vendor.credentials_refused" in till.conditions()
    assert (of(till, "voyado")["state"], of(till, "ledger")["state"]) == ("online", "degraded")
    assert till.status()["queue"]["held"] == 25

    done = till.command("secret", "set", "forward.ledger.api_key", input="another\n")
    assert done.returncode == 0, done.stderr
    eventually(till.drained)
    assert ledger.counts() == once(names)
    assert vendor.held() == once(names)
    assert set(vendor.posts().values()) == {1}


def test_the_loyalty_system_s_held_key_holds_nothing_else(till, vendor, ledger):
    """The other way round: its sales wait, the further system has them at once."""
    people, names = members(vendor, 4), [f"s-{n}" for n in range(12)]
    taken = vendor.sim.state.keys.pop(API_KEY)
    sell(till, people, names)
    eventually(lambda: ledger.counts() == once(names))
    eventually(lambda: states(till, "s-0") == {"voyado": "held", "ledger": "delivered"})
    vendor.sim.state.keys[API_KEY] = taken
    till.order("flush")
    eventually(till.drained)
    assert vendor.held() == once(names)


def test_a_poison_sale_stops_neither_its_lane_nor_the_other(till, vendor, ledger):
    """One sale is refused by name and one spoils every call it is in: both are parked, at that system alone."""
    people, names = members(vendor, 6), [f"s-{n:02d}" for n in range(40)]
    ledger.poison, ledger.indigestible = {"s-07"}, {"s-23"}
    ledger.cut()  # so that they travel together
    sell(till, people, names)
    ledger.mend()
    eventually(till.drained)

    assert ledger.counts() == once(name for name in names if name not in ("s-07", "s-23"))
    assert vendor.held() == once(names)
    parked = till.queue("parked")
    assert {(entry["vendor"], entry["transaction_id"]) for entry in parked} == {("ledger", "s-07"), ("ledger", "s-23")}
    assert states(till, "s-07") == {"voyado": "delivered", "ledger": "parked"}
    assert any(len(call) > 1 for call in ledger.calls)

    ledger.indigestible = set()
    entry = next(entry["entry"] for entry in parked if entry["transaction_id"] == "s-23")
    assert till.http.post(f"/v1/queue/{entry}/retry").status_code == 202
    eventually(lambda: ledger.counts()["s-23"] == 1)


def test_an_answer_that_is_lost_doubles_nothing(till, vendor, ledger):
    """Whole calls are taken and their answers lost, and the agent is killed: each sale stands once in both books."""
    people, names = members(vendor, 5), [f"s-{n}" for n in range(30)]
    ledger.forget = 3
    sell(till, people, names)
    eventually(lambda: ledger.forget < 3)
    till.kill()
    till.start()
    eventually(till.drained)
    assert ledger.counts() == once(names)
    assert vendor.held() == once(names)


def test_guests_go_where_guests_are_wanted(till, vendor, ledger):
    """A guest's sale goes to the further system alone; a void of a member's sale goes to both."""
    alma = members(vendor, 1)[0]
    assert till.sell("guest").json()["state"] == "queued"
    sell(till, [alma], ["sale"])
    eventually(till.drained)
    assert states(till, "guest") == {"ledger": "delivered"}
    assert ledger.keys() == {"guest": None, "sale": alma.value("memberNumber")}

    assert till.void("void", "sale").status_code == 202
    eventually(till.drained)
    assert states(till, "void") == {"voyado": "delivered", "ledger": "delivered"}
    assert ledger.keys()["void"] == alma.value("memberNumber")
    assert list(vendor.posts()) == ["sale", "void"]


def test_a_person_is_erased_for_every_lane(till, vendor, ledger):
    """With both lines down: what waits is owed to the further system as a guest's sale, to the other no more."""
    alma = members(vendor, 1)[0]
    ledger.cut()
    vendor.cut()
    sell(till, [alma], ["sale"])
    said = {"identifier": {"type": "member_number", "value": alma.value("memberNumber")}}
    assert till.http.post("/v1/privacy/erase", json=said).status_code == 200
    ledger.mend()
    vendor.mend()
    till.order("flush")
    eventually(till.drained)
    assert ledger.keys() == {"sale": None}
    assert vendor.posts() == {}


def test_each_system_has_its_own_day(till, vendor, ledger):
    """The day-end check counts by system; of one that cannot be asked it says so."""
    people = members(vendor, 3)
    sell(till, people, ["s-1", "s-2", "s-3"])
    till.sell("guest")
    eventually(till.drained)
    answer = till.command("reconcile", "--day", "2026-02-14", "--json")
    days = {row["vendor"]: row for row in json.loads(answer.stdout)["vendors"]}
    assert (days["voyado"]["delivered"], days["voyado"]["guests"]) == (3, 1)
    assert (days["ledger"]["delivered"], days["ledger"]["guests"]) == (4, 0)
    assert days["ledger"]["books"]["outcome"] == "cannot_be_asked"


def test_a_system_that_is_taken_out_is_not_forgotten(till, vendor, ledger):
    """What waits for it stays, is told as a condition, and goes when it is put back."""
    people = members(vendor, 2)
    ledger.cut()
    sell(till, people, ["s-1", "s-2"])
    eventually(lambda: of(till, "ledger")["waiting"] == 2 and of(till, "voyado")["waiting"] == 0)
    till.kill()
    whole = till.config.read_text()
    till.config.write_text(whole[: whole.index("[forward.ledger]")])
    till.start()
    said = next(row for row in till.status()["conditions"] if row["code"] == "vendor.offline")
    assert "ledger: is not in the configuration, 2 waiting" in said["detail"]
    sell(till, people, ["s-3"])
    eventually(lambda: states(till, "s-3") == {"voyado": "delivered"})
    assert vendor.posts()["s-3"] == 1
    till.kill()
    till.config.write_text(whole)
    ledger.mend()
    till.start()
    eventually(till.drained)
    assert ledger.counts() == once(["s-1", "s-2"])
