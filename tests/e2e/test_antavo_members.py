"""Members who join or change something at a till where Antavo owns the contacts: exactly once, whatever is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from e2e.further import System, phone
from e2e.shop import Till, eventually

from agent.connectors.antavo.simulator import AntavoSimulator, Fault

pytestmark = pytest.mark.slow

KEY, SECRET = "AN1EXAMPLEKEY", "sim-secret"
MEMBERS = 20
E164, MAIL = "+46701740698", "ylva.torpmark@example.com"
TERMS = {"id": "memberTerms", "value": True, "given_at": "2026-02-14T16:40:00+01:00", "place": "1042"}
PLACES = {"consents/memberTerms": "terms", "consents/memberTerms/given_at": "terms_at",
          "preferences/accepts_email": "email_ok", "preferences/accepts_sms": "sms_ok"}  # fmt: skip
YLVA = {
    "first_name": "Ylva", "last_name": "Torpmark", "mobile_phone": "070-174 06 98", "email": MAIL,
    "preferences": {"accepts_email": True}, "consents": [TERMS],
}  # fmt: skip
BUDGETS = {"live_lookup_budget": "20s"}
SHOWS = {"contents": "contacts", "fields": ["first_name"], "sync_every": "1h"}
both_keys = pytest.mark.parametrize("primary", ["contact_id", "member_number"])


@pytest.fixture(name="workspace")
def _workspace(tmp_path: Path) -> Iterator[System]:
    sim = AntavoSimulator({KEY: SECRET}, now=lambda: datetime.now(UTC))
    for number in range(MEMBERS):
        sim.add_member(f"m-{number}", email=f"m{number}@example.com", mobile_phone=phone(number), first_name="Alma",
                       membership_id=[str(10_000_000 + number)])  # fmt: skip
    sim.books.history.told.clear()
    workspace = System(sim, tmp_path, {"api_key": KEY, "api_secret": SECRET}, environment="st2",
                       requests_per_minute=20_000, contact_fields=PLACES)  # fmt: skip
    workspace.table["read_base_url"] = workspace.table["base_url"]
    yield workspace
    workspace.close()


@pytest.fixture(name="open_owned")
def _open_owned(open_till: Callable[..., Till], workspace: System) -> Callable[..., Till]:
    """Opens tills of the workspace that make members; `loyalty` and `table` differ from the usual."""

    def open_owned(loyalty: dict[str, Any] | None = None, **table: Any) -> Till:
        owner = {"vendor": "antavo", "primary_key": "contact_id", "fallback_level": 4}
        return open_till(
            voyado=None,
            loyalty={**owner, **(loyalty or {})},
            antavo={**workspace.table, **table},
            replica=SHOWS,
            enrol={"budget": "20s"},
            http={"connect_timeout": "20s", "read_timeout": "20s"},
        )

    return open_owned


def enrol(till: Till, **changes: Any) -> Any:
    return till.http.post("/v1/contacts", json={**YLVA, **changes})


def changed(till: Till, ref: str, **fields: Any) -> Any:
    return till.http.patch(f"/v1/contacts/{ref}", json=fields)


def new_members(workspace: System) -> dict[str, dict[str, Any]]:
    """Everybody there who was not from the beginning."""
    with workspace.sim.lock:
        members = workspace.sim.books.members.by_id.values()
        return {one.id: dict(one.fields) for one in members if not one.id.startswith("m-")}


def whose(workspace: System, *names: str) -> set[str]:
    return {workspace.sim.transaction(name).customer for name in names}


def nothing_told(till: Till, *words: str) -> None:
    told = till.log.read_text() + till.http.get("/metrics").text + till.http.get("/v1/status").text
    assert not [word for word in words if word in told]


@both_keys
def test_a_member_who_joins_without_the_line(open_owned: Callable[..., Till], workspace: System, primary: str):
    """Known at once and sold to, over a kill; there once, whatever answer was lost, and so are their sales."""
    sim = workspace.sim
    till = open_owned({"primary_key": primary}).start()
    eventually(lambda: till.loaded(MEMBERS))
    workspace.cut()
    joined = enrol(till)
    assert (joined.status_code, joined.json()["state"]) == (202, "queued"), joined.text
    own, ref = joined.json()["integration_key"], joined.json()["ref"]
    assert (own["type"], own["value"].startswith("1042-03-")) == ("external_id", True)
    assert till.sell("s-1", integration_key=own).json()["integration_key"] == own
    till.kill()
    till.start()
    assert till.identify("mobile_phone", "0701740698")["integration_key"] == own
    till.sell("s-2", identifier={"type": "email", "value": MAIL})
    assert (enrol(till).json()["ref"], new_members(workspace)) == (ref, {})

    lost = sim.add(Fault(kind="drop", path="/events*", after_processing=True))
    workspace.mend()
    eventually(lambda: new_members(workspace))
    till.kill()  # between the member who is there and the answer that nobody heard
    sim.remove(lost)
    till.start()
    eventually(lambda: till.delivered("s-1") and till.delivered("s-2"))

    [(there, fields)] = new_members(workspace).items()
    assert fields == {
        "membership_id": own["value"], "first_name": "Ylva", "last_name": "Torpmark", "mobile_phone": E164,
        "email": MAIL, "terms": True, "terms_at": TERMS["given_at"], "email_ok": True,
    }  # fmt: skip
    assert (sim.held(), whose(workspace, "s-1", "s-2")) == ({"s-1": 1, "s-2": 1}, {there})
    theirs = {"kind": "primary", "type": primary, "value": there if primary == "contact_id" else own["value"]}
    again = enrol(till).json()
    assert again["integration_key"] == theirs
    assert again["state"] in ("delivered", "existing"), "existing where the first sync was faster"
    assert till.sell("s-3", integration_key=own).json()["integration_key"] == theirs
    eventually(lambda: till.delivered("s-3"))

    till.sync()  # the echo
    assert till.loaded(MEMBERS + 1)
    found = till.identify("mobile_phone", E164)
    assert (found["outcome"], found["integration_key"], found["served"]["source"]) == ("matched", theirs, "replica")
    assert till.identify("member_number", own["value"])["integration_key"] == theirs
    assert enrol(till).json()["integration_key"] == theirs
    assert (len(new_members(workspace)), len(sim.applied("opt_in")), whose(workspace, "s-3")) == (1, 1, {there})
    assert not {"contacts.parked", "changes.parked"} & till.conditions()
    nothing_told(till, "Torpmark", "ylva.torpmark", "701740698", own["value"], there)


@both_keys
def test_a_member_who_joins_with_the_line(open_owned: Callable[..., Till], workspace: System, primary: str):
    """Their key at once, and their sale; what has no place is said and nothing kept; erased, nobody here knows them."""
    till = open_owned({"primary_key": primary, **BUDGETS}).start()
    eventually(lambda: till.loaded(MEMBERS))
    joined = enrol(till).json()
    [(there, fields)] = new_members(workspace).items()
    theirs = there if primary == "contact_id" else fields["membership_id"]
    assert (joined["state"], joined["integration_key"]["value"]) == ("delivered", theirs)
    till.sell("s-1", integration_key=joined["integration_key"])
    eventually(lambda: till.delivered("s-1"))
    assert whose(workspace, "s-1") == {there}

    other = {"mobile_phone": "070-174 06 97", "email": "x@example.com"}
    unplaced = enrol(till, **other, consents=[TERMS, {**TERMS, "id": "profiling"}], city="Lund")
    assert (unplaced.status_code, unplaced.json()["code"]) == (422, "request.invalid")
    assert [fault["pointer"] for fault in unplaced.json()["errors"]] == ["/city", "/consents/1"]
    workspace.sim.books.members.taken = frozenset({"membership_id", "first_name", "mobile_phone", "email"})
    refused = enrol(till, **other, preferences=None, consents=[])
    assert (refused.status_code, refused.json()["code"]) == (422, "contact.refused")
    assert [fault["pointer"] for fault in refused.json()["errors"]] == ["/last_name"]
    assert till.identify("email", "x@example.com")["outcome"] == "not_found"
    existing = enrol(till, mobile_phone=phone(3), email="other@example.com")
    assert (existing.status_code, existing.json()["state"]) == (200, "existing")

    erased = till.http.post("/v1/privacy/erase", json={"identifier": {"type": "mobile_phone", "value": E164}})
    assert erased.json()["counts"]["enrolments"] == 1
    assert till.http.get(f"/v1/contacts/{joined['ref']}").status_code == 404
    assert list(new_members(workspace)) == [there]


@both_keys
def test_a_member_who_changes_something(open_owned: Callable[..., Till], workspace: System, primary: str):
    """There with the answer; without the line on disk, over a kill, then there; our own word is no conflict."""
    sim = workspace.sim
    till = open_owned({"primary_key": primary, **BUDGETS}).start()
    eventually(lambda: till.loaded(MEMBERS))
    found = till.identify("mobile_phone", phone(3))
    ref = found["contact"]["ref"]
    answer = changed(till, ref, first_name="Alva", consents=[TERMS])
    assert (answer.status_code, answer.json()["state"], answer.json()["conflicts"]) == (202, "delivered", [])
    assert (sim.member("m-3").fields["first_name"], sim.member("m-3").fields["terms"]) == ("Alva", True)
    assert changed(till, ref, city="Lund").json()["errors"][0]["pointer"] == "/city"

    workspace.cut()
    queued = changed(till, ref, first_name="Alvina", mobile_phone="070-174 06 98", preferences={"accepts_sms": True})
    assert (queued.status_code, queued.json()["state"]) == (202, "queued")
    till.kill()
    till.start()
    sold = till.sell("s-1", identifier={"type": "mobile_phone", "value": E164})
    assert sold.json()["integration_key"] == found["integration_key"]
    workspace.mend()
    eventually(lambda: till.delivered("s-1") and sim.member("m-3").fields["first_name"] == "Alvina")
    fields = sim.member("m-3").fields
    assert (fields["mobile_phone"], fields["sms_ok"], fields["email"]) == (E164, True, "m3@example.com")
    till.sync()
    assert till.identify("mobile_phone", E164)["contact"]["first_name"] == "Alvina"
    assert till.identify("mobile_phone", phone(3))["outcome"] == "not_found"
    assert changed(till, ref, first_name="Alva", preferences={"accepts_sms": True}).json()["conflicts"] == []
    assert not till.logged("contact.conflict")
    assert (till.loaded(MEMBERS), whose(workspace, "s-1")) == (True, {"m-3"})
    nothing_told(till, "Alvina", "701740698", "m-3")


def test_what_was_withdrawn_there_stays_so(open_owned: Callable[..., Till], workspace: System):
    """A consent given before they withdrew it in the web shop is not given again, and the till is told."""
    till = open_owned(BUDGETS).start()
    eventually(lambda: till.loaded(MEMBERS))
    ref = till.identify("mobile_phone", phone(3))["contact"]["ref"]
    with workspace.sim.lock:
        member = workspace.sim.member("m-3")
        member.fields |= {"terms": False, "terms_at": "2026-02-15T12:00:00+01:00"}
    answer = changed(till, ref, last_name="Torp", consents=[TERMS]).json()
    assert (answer["state"], answer["conflicts"]) == ("delivered", ["consents/memberTerms"])
    assert (member.fields["terms"], workspace.sim.member("m-3").fields["last_name"]) == (False, "Torp")


def test_who_is_erased_meanwhile(open_owned: Callable[..., Till], workspace: System):
    """Before the line is back: nobody is made, no change goes, and their sale goes nowhere."""
    sim = workspace.sim
    till = open_owned().start()
    eventually(lambda: till.loaded(MEMBERS))
    ref = till.identify("mobile_phone", phone(3))["contact"]["ref"]
    workspace.cut()
    own = enrol(till).json()["integration_key"]
    till.sell("s-1", integration_key=own)
    assert changed(till, ref, first_name="Canaryla").json()["state"] == "queued"
    for value in (E164, phone(3)):
        erased = till.http.post("/v1/privacy/erase", json={"identifier": {"type": "mobile_phone", "value": value}})
        assert erased.json()["counts"]["enrolments"] == 1
    before = sum(sim.requests.values())
    workspace.mend()
    till.order("flush")
    eventually(lambda: till.drained() and sum(sim.requests.values()) > before)
    assert (new_members(workspace), sim.held(), sim.received) == ({}, {}, [])
    assert sim.member("m-3").fields["first_name"] == "Alma"


@pytest.mark.parametrize("unknown", ["create", "park"])
def test_who_is_known_by_a_sale_alone(open_owned: Callable[..., Till], workspace: System, unknown: str):
    """Whoever gave their data with it becomes a member, and whoever only said a phone if the shop wants that; once."""
    sim = workspace.sim
    till = open_owned({"unknown_at_delivery": unknown}).start()
    eventually(lambda: till.loaded(MEMBERS))
    workspace.cut()
    gave = {name: YLVA[name] for name in ("first_name", "mobile_phone", "email")}
    till.sell("gave", new_contact=gave)
    till.sell("unplaced", new_contact={**gave, "mobile_phone": "+46701740696", "email": None, "city": "Lund"})
    till.sell("said", identifier={"type": "mobile_phone", "value": "0701740697"})
    till.sell("said-too", identifier={"type": "mobile_phone", "value": "0701740697"})
    lost = sim.add(Fault(kind="drop", path="/events*", after_processing=True))
    workspace.mend()
    eventually(lambda: len(new_members(workspace)) == 1 + (unknown == "create"))
    sim.remove(lost)
    eventually(lambda: till.drained() or till.order("flush"))

    parked = {entry["transaction_id"]: entry["last_error"] for entry in till.queue("parked")}
    unplaced = parked.pop("unplaced")
    assert (unplaced["code"], unplaced["vendor_code"]) == ("contact.refused", "NoFieldForIt")
    names = {"gave", "said", "said-too"} if unknown == "create" else {"gave"}
    assert (sim.held(), set(parked)) == (dict.fromkeys(names, 1), {"gave", "said", "said-too"} - names)
    phones = {there: fields["mobile_phone"] for there, fields in new_members(workspace).items()}
    assert sorted(phones.values()) == sorted({E164, "+46701740697"} if unknown == "create" else {E164})
    assert phones[sim.transaction("gave").customer] == E164
    assert len(sim.applied("opt_in")) == len(phones)


def test_an_id_of_ours_that_is_another_s(open_owned: Callable[..., Till], workspace: System):
    """A collision is told and parked with its sales, and nobody's data is touched; mended there, it goes."""
    sim = workspace.sim
    till = open_owned().start()
    eventually(lambda: till.loaded(MEMBERS))
    workspace.cut()
    own = enrol(till).json()["integration_key"]
    till.sell("s-1", integration_key=own)
    taken = sim.add(Fault(kind="drop", path="/events*", after_processing=True))
    workspace.mend()
    [there] = eventually(lambda: new_members(workspace))
    workspace.cut()
    sim.remove(taken)
    stranger = {"first_name": "Bo", "mobile_phone": "+46701740696", "email": "bo@example.com"}
    sim.add_member(there, **stranger)
    workspace.mend()
    till.order("flush")
    eventually(lambda: "contacts.parked" in till.conditions())
    [told] = till.logged("contact.parked")
    assert (told["code"], told["status"]) == ("112101", 400)
    eventually(lambda: till.transaction("s-1")["state"] == "parked")
    assert (new_members(workspace), sim.held()) == ({there: stranger}, {})


def test_a_member_whom_no_search_finds_yet(open_owned: Callable[..., Till], workspace: System):
    """Their id is their key until the feed tells of their number: one person all the while, whatever is done."""
    sim = workspace.sim
    till = open_owned({"primary_key": "member_number", **BUDGETS}).start()
    eventually(lambda: till.loaded(MEMBERS))
    sim.books.members.unindexed = _NewMembers()
    joined = enrol(till).json()
    [(there, fields)] = new_members(workspace).items()
    assert (joined["integration_key"]["type"], joined["integration_key"]["value"]) == ("contact_id", there)
    till.sell("s-1", integration_key=joined["integration_key"])
    till.sync()
    number = {"kind": "primary", "type": "member_number", "value": fields["membership_id"]}
    found = till.identify("mobile_phone", E164)
    assert (found["outcome"], found["integration_key"]) == ("matched", number)
    again = changed(till, joined["ref"], first_name="Ylvali", mobile_phone="070-174 06 98")
    assert (again.status_code, again.json().get("state")) == (202, "delivered"), again.text
    assert sim.member(there).fields["first_name"] == "Ylvali"
    sim.books.members.unindexed = set()
    till.sell("s-2", identifier={"type": "mobile_phone", "value": E164})
    till.sell("s-3", integration_key=joined["integration_key"])
    eventually(till.drained)
    assert (whose(workspace, "s-1", "s-2", "s-3"), len(new_members(workspace))) == ({there}, 1)
    person = {"identifier": {"type": "mobile_phone", "value": E164}}
    assert till.http.post("/v1/privacy/export", json=person).status_code == 200
    counts = till.http.post("/v1/privacy/erase", json=person).json()["counts"]
    assert (counts["contacts"], counts["enrolments"]) == (1, 2)


class _NewMembers(set[str]):
    """Whoever was made since, whom no search finds yet."""

    def __contains__(self, member: object) -> bool:
        return not str(member).startswith("m-")
