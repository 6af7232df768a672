"""The line is back: everything that waited arrives, once and in order."""

from __future__ import annotations

import time
from typing import Final

from agent.connectors.voyado.simulator import Fault
from agent.domain.fallback import TAG_LEVEL
from agent.workbench.conformance.case import Group
from agent.workbench.conformance.door import TIMEOUT_S, Json
from agent.workbench.conformance.trial import Trial
from agent.workbench.conformance.verdict import answered, same, shown, true
from agent.workbench.stage import by_email, by_phone

GROUP: Final = Group("reconnect")
_SALES: Final = 6
_END: Final[tuple[str, Json]] = ("the end", {})


@GROUP.case("what waited, the oldest first, once each", level=TAG_LEVEL)
def everything_arrives(trial: Trial) -> None:
    """What was sold during an outage arrives, each sale once and in the order of the till."""
    person = trial.member()
    trial.offline()
    made = [trial.sold(by_phone(person)) for _ in range(_SALES)]
    trial.online()
    trial.has_once(person, *made)


@GROUP.case("it may have risen from\n  secondary to primary since the answer", level=TAG_LEVEL)
def tag_finds_its_member(trial: Trial) -> None:
    """A sale that was tagged with what the customer said is booked for the member that it means."""
    person = trial.tenant.join("Loa")
    trial.offline()
    made = trial.purchase(by_phone(person))
    same("the key's kind", answered(trial.sell(made), 202)["integration_key"]["kind"], "secondary")
    trial.online()
    trial.has_once(person, made)


@GROUP.case("`delivered` | accepted by the vendor; Voyado processes what it has accepted afterwards")
def lost_answer(trial: Trial) -> None:
    """A sale whose answer is lost on the way back from the loyalty system is booked once."""
    trial.online()
    person = trial.member()
    faults = trial.tenant.simulator.faults
    faults.add(Fault(kind="drop", path="/api/*/receipts", method="POST", count=1, after_processing=True))
    try:
        trial.has_once(person, trial.sold(by_email(person)))
    finally:
        faults.clear()


@GROUP.case("`GET /v1/events` sends `event: status` with the same body, at once and at every change")
def events(trial: Trial) -> None:
    """Who listens hears at once how the agent is, and of each change."""
    trial.online()
    with trial.door.events() as stream:
        name, body = next(stream, _END)
        same("the first event", name, "status")
        same("its state", body.get("state"), "online")
        for state, turn in (("offline", trial.offline), ("online", trial.online)):
            turn()
            deadline = time.monotonic() + min(trial.patience_s, TIMEOUT_S)
            while (name, body.get("state")) != ("status", state):
                true(f"an event that says {state}", holds=time.monotonic() < deadline, got=shown(body.get("state")))
                name, body = next(stream, _END)
                true(f"an event that says {state}", holds=(name, body) != _END, got="the stream ended")


@GROUP.case("once each")
def nothing_else(trial: Trial) -> None:
    """In the end the loyalty system has booked nothing twice, and nothing that was not sold."""
    trial.online()
    trial.until("a queue of nothing", lambda: trial.door.status()["queue"]["depth"], lambda depth: not depth, shown)
    trial.nothing_else()


@GROUP.case("`ok` is true when nothing is missing and nothing\nis there twice", admin=True)
def the_day_is_complete(trial: Trial) -> None:
    """The day's reconciliation knows each sale of the till's own list, and misses what was never sold."""
    made = [trial.sold(by_phone(trial.member())) for _ in range(2)]
    names, day = [sale["transaction_id"] for sale in made], made[-1]["occurred_at"][:10]
    never = trial.purchase({})["transaction_id"]
    reply = trial.door.order("/v1/reconcile", {"day": day, "sample": 0, "expected": [*names, never]})
    expected = answered(reply, 200)["expected"]
    same("how many were listed", expected["listed"], 3)
    true("the one that was never sold missing", holds=expected["missing"] == [never], got=shown(expected["missing"]))
    same("sales that are there twice", expected["twice"], [])
