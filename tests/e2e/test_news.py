"""Further systems hear of who joins and what changes at a till: once the loyalty system has it, once, and no sooner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from e2e.further import System, sell
from e2e.shop import Till, Vendor, eventually
from e2e.test_enrolling import E164, TERMS, YLVA, a_member, at_the_vendor, changed, enrol

from agent.connectors.antavo.simulator import AntavoSimulator
from agent.connectors.monetary.simulator import MonetarySimulator
from agent.connectors.mparticle.simulator import Fault, MparticleSimulator
from agent.connectors.voucherify.simulator import VoucherifySimulator
from agent.connectors.voyado.simulator import Fault as VoyadoFault

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("vendor", [20], indirect=True, ids=["few"])]

JOINED, CHANGED = "member_registration_completed", "member_update"
WRITES = {"fallback_level": 4}
LETS_GO = {
    "send_attributes": ["first_name"],
    "send_identities": ["email"],
    "consent_purposes": {"memberTerms": "terms"},
}


@pytest.fixture(name="feed")
def _feed(tmp_path: Path) -> Iterator[System]:
    sim = MparticleSimulator({"us1-key": "sim-secret"}, now=lambda: datetime.now(UTC))
    credentials = {"api_key": "us1-key", "api_secret": "sim-secret"}
    feed = System(sim, tmp_path, credentials, path="/v2", requests_per_second=50)
    yield feed
    feed.close()


@pytest.fixture(name="open_shop")
def _open_shop(open_till: Callable[..., Till], feed: System) -> Callable[..., Till]:
    def open_shop(**table: Any) -> Till:
        till = open_till(**{"forward.mparticle": {**feed.table, **table}, "loyalty": WRITES}).start()
        eventually(till.loaded)
        return till

    return open_shop


def members_events(feed: System) -> list[dict[str, Any]]:
    """The batches that were processed of who joined and what changed."""
    rows = [row for row in feed.sim.received if row.outcome == "processed"]
    return [row.batch for row in rows if row.batch["events"][0]["data"]["event_name"] in (JOINED, CHANGED)]


def names(batches: list[dict[str, Any]]) -> Counter[str]:
    return Counter(batch["events"][0]["data"]["event_name"] for batch in batches)


def test_through_an_outage_and_a_kill(open_shop, vendor: Vendor, feed: System):
    """Nobody hears of a member whom the loyalty system does not have; then it is told once, with what may go along."""
    till = open_shop(**LETS_GO)
    vendor.cut()
    made = enrol(till).json()
    assert till.sell("s-1", integration_key=made["integration_key"]).status_code == 202
    till.kill()
    till.start()
    assert members_events(feed) == []

    feed.cut()
    vendor.mend()
    eventually(lambda: len(at_the_vendor(vendor)) == 1 and till.status()["queue"]["depth"] == 2)
    till.kill()
    till.start()
    feed.mend()
    till.order("flush")
    eventually(till.drained)

    (contact,) = at_the_vendor(vendor)
    [told] = members_events(feed)
    assert told["user_identities"] == {"customer_id": contact.attributes["memberNumber"], "email": YLVA["email"]}
    assert told["user_attributes"] == {"$firstname": "Ylva"}
    assert told["consent_state"]["gdpr"]["terms"]["consented"] is True
    assert changed(till, made["ref"], first_name="Ylvali", last_name="Canarytorp").status_code == 202
    eventually(lambda: names(members_events(feed)) == {JOINED: 1, CHANGED: 1})
    assert members_events(feed)[-1]["user_attributes"] == {"$firstname": "Ylvali"}
    assert "Canarytorp" not in str(feed.sim.received)
    told_by_us = till.log.read_text() + till.http.get("/metrics").text + till.http.get("/v1/status").text
    for word in ("Ylva", "ylva.torpmark", "701740698", contact.attributes["memberNumber"]):
        assert word not in told_by_us


def test_answers_that_are_lost(open_shop, vendor: Vendor, feed: System):
    """The loyalty system made them and nobody heard, the agent is killed; mParticle hears it twice and counts once."""
    till = open_shop()
    lost = VoyadoFault(kind="drop", path="*/contacts", method="POST", after_processing=True)
    vendor.sim.faults.add(lost)
    deaf = feed.sim.add(Fault(kind="drop", after_processing=True))
    assert enrol(till).json()["state"] == "queued"
    eventually(lambda: len(at_the_vendor(vendor)) == 1)
    till.kill()
    vendor.sim.faults.remove(lost)
    till.start()
    eventually(lambda: len(feed.sim.received) >= 2)
    feed.sim.remove(deaf)
    till.order("flush")
    eventually(till.drained)

    assert names(members_events(feed)) == {JOINED: 1}
    assert feed.sim.counts()["duplicate"] >= 1
    assert len(at_the_vendor(vendor)) == 1


def test_the_new_contact_of_a_sale(open_shop, vendor: Vendor, feed: System):
    """Made at the loyalty system as the sale is delivered; one who was a member already has not joined."""
    till = open_shop()
    known = a_member(vendor, mobilePhone="+46701740697", email="known@example.com")
    sell(till, "s-1", new_contact={"first_name": "Ylva", "mobile_phone": E164, "consents": [TERMS]})
    sell(till, "s-2", new_contact={"mobile_phone": known.attributes["mobilePhone"]})
    eventually(lambda: till.delivered("s-1") and till.delivered("s-2"))
    eventually(till.drained)

    (contact,) = at_the_vendor(vendor)
    [told] = members_events(feed)
    assert told["user_identities"] == {"customer_id": contact.attributes["memberNumber"]}
    assert "was asked to make its new contact" in till.command("explain", "s-1").stdout


def test_who_is_erased_while_it_waits(open_shop, vendor: Vendor, feed: System):
    """Nobody is told any more that they joined, only that they are gone; nothing of theirs is left in the files."""
    till = open_shop(**LETS_GO)
    feed.cut()
    assert enrol(till, first_name="Canaryylva").status_code == 202
    eventually(lambda: till.status()["queue"]["depth"] == 1)
    by_phone = {"identifier": {"type": "mobile_phone", "value": E164}}
    exported = till.http.post("/v1/privacy/export", json=by_phone).json()
    assert [row["statement"]["new_contact"]["first_name"] for row in exported["activities"]] == ["Canaryylva"]
    counts = till.http.post("/v1/privacy/erase", json=by_phone).json()["counts"]
    assert (counts["activities"], counts["enrolments"]) == (1, 1)
    feed.mend()
    till.order("flush")
    eventually(till.drained)

    assert members_events(feed) == []
    assert [row.batch["events"][0]["data"]["event_name"] for row in feed.sim.received] == ["member_delete"]


# --- Voucherify ---------------------------------------------------------------------------------------------------


@pytest.fixture(name="project")
def _project(tmp_path: Path) -> Iterator[System]:
    sim = VoucherifySimulator({"app-1": "sim-token"}, now=lambda: datetime.now(UTC))
    project = System(sim, tmp_path, {"app_id": "app-1", "app_token": "sim-token"}, requests_per_minute=60_000)
    yield project
    project.close()


def test_voucherify_through_an_outage_and_a_kill(open_till, vendor: Vendor, project: System):
    """The customer is made with what may go, and changed since; the agent is killed in between; nothing else goes."""
    table = {**project.table, "send_identities": ["email"], "send_attributes": ["name"]}
    till = open_till(**{"forward.voucherify": table, "loyalty": WRITES}).start()
    eventually(till.loaded)
    project.cut()
    made = enrol(till).json()
    eventually(lambda: len(at_the_vendor(vendor)) == 1)
    (contact,) = at_the_vendor(vendor)
    eventually(lambda: till.status()["queue"]["depth"] == 1)
    till.kill()
    till.start()
    project.mend()
    till.order("flush")
    eventually(till.drained)
    customer = project.sim.customers[contact.attributes["memberNumber"]]
    assert (customer["name"], customer["email"]) == ("Ylva Torpmark", YLVA["email"])

    assert changed(till, made["ref"], first_name="Ylvali").status_code == 202  # half a name: it stays here
    assert changed(till, made["ref"], email="ylvali@example.com", street="Canarygatan 1").status_code == 202
    eventually(lambda: project.sim.customers[contact.attributes["memberNumber"]]["email"] == "ylvali@example.com")
    eventually(till.drained)
    held = project.sim.customers[contact.attributes["memberNumber"]]
    assert held["name"] == "Ylva Torpmark"
    assert "Canarygatan" not in str(held)
    assert E164 not in str(held)


def test_voucherify_hears_of_nobody_by_default(open_till, vendor: Vendor, project: System):
    """No setting lets anything of a person go: nothing waits for it, and nobody is made there."""
    till = open_till(**{"forward.voucherify": project.table, "loyalty": WRITES}).start()
    eventually(till.loaded)
    ref = enrol(till).json()["ref"]
    eventually(lambda: len(at_the_vendor(vendor)) == 1)
    assert changed(till, ref, email="ylvali@example.com").status_code == 202
    eventually(till.drained)
    assert (project.sim.customers, till.status()["queue"]["depth"]) == ({}, 0)


# --- Antavo -------------------------------------------------------------------------------------------------------


@pytest.fixture(name="workspace")
def _workspace(tmp_path: Path) -> Iterator[System]:
    sim = AntavoSimulator({"AN1EXAMPLEKEY": "sim-secret"}, now=lambda: datetime.now(UTC))
    credentials = {"api_key": "AN1EXAMPLEKEY", "api_secret": "sim-secret"}
    table = {"environment": "st2", "requests_per_minute": 20_000, "opt_in_new_contacts": True}
    workspace = System(sim, tmp_path, credentials, **table)
    yield workspace
    workspace.close()


def test_antavo_through_an_outage_and_a_kill(open_till, vendor: Vendor, workspace: System):
    """They are a member there before the sale that they made as a newcomer, which counts; a change goes to them."""
    till = open_till(**{"forward.antavo": workspace.table, "loyalty": WRITES}).start()
    eventually(till.loaded)
    vendor.cut()
    workspace.cut()
    made = enrol(till).json()
    for number in range(3):
        assert till.sell(f"s-{number}", integration_key=made["integration_key"]).status_code == 202
    vendor.mend()
    eventually(lambda: till.status()["queue"]["depth"] == 4)
    till.kill()
    till.start()
    workspace.mend()
    till.order("flush")
    eventually(till.drained)

    (contact,) = at_the_vendor(vendor)
    number = contact.attributes["memberNumber"]
    assert workspace.sim.held() == {"s-0": 1, "s-1": 1, "s-2": 1}
    assert till.status()["queue"]["parked"] == 0
    assert workspace.sim.member(number).fields["email"] == YLVA["email"]
    assert changed(till, made["ref"], first_name="Ylvali", street="Canarygatan 1").status_code == 202
    eventually(lambda: workspace.sim.member(number).fields["first_name"] == "Ylvali")
    assert "Canarygatan" not in str(workspace.sim.books.applied)
    assert len(workspace.sim.applied("opt_in")) == 1


# --- Monetary -----------------------------------------------------------------------------------------------------


def test_monetary_through_an_outage_and_a_kill(open_till, tmp_path: Path, vendor: Vendor):
    """They are a customer there, with what they gave, before the sale that they made as a newcomer, which is theirs."""
    sim = MonetarySimulator({"sk-1": "location-1"}, now=lambda: datetime.now(UTC))
    table = {"requests_per_minute": 6_000, "unknown_customer": "register"}
    account = System(sim, tmp_path, {"secret_key": "sk-1"}, path="/v1", **table)
    try:
        till = open_till(**{"forward.monetary": account.table, "loyalty": WRITES}).start()
        eventually(till.loaded)
        vendor.cut()
        account.cut()
        made = enrol(till).json()
        sell(till, "s-1", integration_key=made["integration_key"])
        vendor.mend()
        eventually(lambda: till.status()["queue"]["depth"] == 2)
        till.kill()
        till.start()
        account.mend()
        till.order("flush")
        eventually(till.drained)
        (contact,) = at_the_vendor(vendor)
        number = contact.attributes["memberNumber"]
        [customer] = [one for one in sim.customers.values() if one.get("ExternalID") == number]
        assert (customer["FirstName"], customer["Email"]) == ("Ylva", YLVA["email"])
        assert [receipt["CustomerID"] for receipt in sim.receipts] == [customer["CustomerID"]]
        assert changed(till, made["ref"], first_name="Ylvali").status_code == 202
        eventually(till.drained)
        assert till.status()["queue"]["parked"] == 0
    finally:
        account.close()
