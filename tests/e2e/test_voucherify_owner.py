"""A shop whose contacts Voucherify owns: the till has them, sales find them, and whoever is gone is gone here too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from e2e.further import System, by_phone, phone, redeem
from e2e.shop import Till, eventually

from agent.connectors.voucherify.simulator import Fault, VoucherifySimulator

APP_ID, TOKEN = "app-1", "sim-token"
MEMBERS = 250
LINE = {"kind": "purchase", "sku": "SK-77", "quantity": "2", "gross_paid": "250.00"}


@pytest.fixture(name="project")
def _project(tmp_path: Path) -> Iterator[System]:
    """A project in which the first ninety have a phone of their own, and all a mail address."""
    sim = VoucherifySimulator({APP_ID: TOKEN}, now=lambda: datetime.now(UTC))
    project = System(sim, tmp_path, {"app_id": APP_ID, "app_token": TOKEN}, requests_per_minute=60_000)
    for number in range(MEMBERS):
        more = {"phone": phone(number)} if number < 90 else {}
        project.sim.enrol(source_id=str(10_000_000 + number), email=f"m{number}@example.com", name="Alma", **more)
    yield project
    project.close()


@pytest.fixture(name="open_owned")
def _open_owned(open_till: Callable[..., Till], project: System) -> Callable[..., Till]:
    """Opens tills of the project; `loyalty` and `table` differ from the usual."""

    def open_owned(loyalty: dict[str, Any] | None = None, **table: Any) -> Till:
        owner = {"vendor": "voucherify", **(loyalty or {})}
        return open_till(voyado=None, loyalty=owner, voucherify={**project.table, **table})

    return open_owned


def sell(till: Till, name: str, identifier: dict[str, str]) -> dict[str, Any]:
    answer = till.sell(name, lines=[LINE], identifier=identifier)
    assert answer.status_code == 202, answer.text
    return answer.json()


@pytest.mark.slow
def test_an_outage(open_owned: Callable[..., Till], project: System):
    """Loaded, cut off, killed and back: known and new customers' sales arrive once, each with its customer."""
    till = open_owned().start()
    eventually(lambda: till.loaded(MEMBERS))
    known = till.identify("mobile_phone", phone(3))
    assert (known["outcome"], known["integration_key"]["value"]) == ("matched", "10000003")
    live = project.sim.enrol(source_id="20000001", email="new@example.com")
    eventually(lambda: till.identify("email", "new@example.com")["served"]["source"] == "live")

    project.cut()
    for number in range(30):
        key = sell(till, f"s-{number}", by_phone(number))["integration_key"]
        assert (key["kind"], key["value"]) == ("primary", str(10_000_000 + number))
    late = sell(till, "late", {"type": "mobile_phone", "value": "070-174 06 99"})
    assert late["integration_key"] == {"kind": "secondary", "type": "mobile_phone", "value": "+46701740699"}
    sell(till, "mail", {"type": "email", "value": "new@example.com"})
    sell(till, "nobody", {"type": "email", "value": "nobody@example.com"})
    joined = project.sim.enrol(source_id="20000002", phone="+46701740699")
    till.kill()
    till.start()
    lost = project.sim.add(Fault(kind="drop", method="POST", after_processing=True))
    project.mend()
    till.order("flush")
    eventually(lambda: project.sim.paid)
    project.sim.remove(lost)
    till.sync()
    till.order("flush")
    eventually(till.drained)

    [parked] = till.queue("parked")
    assert (parked["transaction_id"], parked["last_error"]["code"]) == ("nobody", "contact.unknown")
    expected = {f"s-{number}" for number in range(30)} | {"mail", "late"}
    assert project.sim.held() == dict.fromkeys(expected, 1)
    whose = {name: project.sim.orders[name]["customer_id"] for name in ("mail", "late", "s-7")}
    assert whose == {"mail": live["id"], "late": joined["id"], "s-7": project.sim.customers["10000007"]["id"]}
    assert len(project.sim.customers) == MEMBERS + 2
    log = till.log.read_text()
    assert not [value for value in (phone(3), "new@example.com", "10000007", TOKEN) if value in log]


@pytest.mark.slow
def test_whoever_is_gone_there_is_gone_here(open_owned: Callable[..., Till], project: System):
    """Found by the sweep, with the sales that wait: they are kept without their person, who is not made again."""
    till = open_owned(sweep_every="1ms").start()
    eventually(lambda: till.loaded(MEMBERS))
    till.order("pause")
    sell(till, "s-1", by_phone(5))
    project.sim.leave("10000005")
    till.sync()
    eventually(lambda: till.loaded(MEMBERS - 1))
    eventually(lambda: till.logged("privacy.erased_by_feed"))
    till.order("resume")
    till.order("flush")
    eventually(till.drained)

    assert till.identify("mobile_phone", phone(5))["outcome"] == "unknown"
    assert "10000005" not in project.sim.customers
    assert "s-1" not in project.sim.orders
    sold = till.transaction("s-1")
    assert (sold["integration_key"], sold["deliveries"]) == (None, [])


@pytest.mark.slow
def test_who_is_erased_here_stays_out_until_they_are_gone_there(open_owned: Callable[..., Till], project: System):
    """While Voucherify lists them it is said so; the second sweep that does not ends it."""
    till = open_owned(sweep_every="1ms").start()
    eventually(lambda: till.loaded(MEMBERS))
    erased = till.http.post("/v1/privacy/erase", json={"identifier": by_phone(5)})
    assert (erased.status_code, erased.json()["counts"]["contacts"]) == (200, 1)
    till.sync()
    assert "privacy.erasure_refused_by_feed" in till.conditions()
    assert till.loaded(MEMBERS - 1)

    project.sim.leave("10000005")
    till.sync()
    till.sync()

    assert "privacy.erasure_refused_by_feed" not in till.conditions()
    assert till.loaded(MEMBERS - 1)


@pytest.mark.parametrize(
    ("loyalty", "table", "said"),
    [
        ({"unknown_at_delivery": "tag"}, {}, "loyalty.unknown_at_delivery"),
        ({"primary_key": "external_id"}, {}, "loyalty.primary_key"),
        ({"secondary_keys": ["card_number"]}, {}, "loyalty.secondary_keys"),
        ({}, {"identities": ["email"]}, "voucherify.identities"),
        ({}, {}, None),
    ],
    ids=["tagged for later", "a key it does not have", "a card", "other identities", "as it should be"],
)
def test_config_check(open_owned: Callable[..., Till], loyalty, table, said):
    """What Voucherify cannot do as the owner of the contacts is said of the key that asks for it."""
    told = open_owned(loyalty, **table).command("config", "check", "--json")

    assert told.returncode == (0 if said is None else 78), told.stdout
    assert said is None or said in json.dumps(json.loads(told.stdout))


# --- vouchers ---------------------------------------------------------------------------------------------------

PATIENT = {"live_lookup_budget": "20s"}


def opened(open_owned: Callable[..., Till], project: System) -> Till:
    """A till that has loaded the members, with the patience of a slow machine; the first has points and a voucher."""
    with project.sim.lock:
        project.sim.give("10000000", "CODE-1", campaign="Bonus", discount={"type": "AMOUNT", "amount_off": 5000})
        project.sim.give("10000000", "LC-1", type="LOYALTY_CARD", loyalty_card={"balance": 240})
    till = open_owned(PATIENT, currency="SEK").start()
    eventually(lambda: till.loaded(MEMBERS))
    return till


def wish(till: Till) -> dict[str, Any]:
    """The first member's voucher, as it is listed, the member having shown their number."""
    ref = till.identify("member_number", "10000000")["contact"]["ref"]
    listed = till.http.get(f"/v1/contacts/{ref}/benefits").json()
    assert (listed["points"]["balance"], listed["served"]["source"]) == ("240", "live")
    [voucher] = listed["vouchers"]
    assert (voucher["name"], voucher["number"], voucher["value"]["amount"]) == ("Bonus", "CODE-1", "50.00")
    return {"ref": ref, "kind": "voucher", "id": voucher["id"], "transaction_id": "s-1"}


def used(project: System) -> int:
    with project.sim.lock:
        return int(next(iter(project.sim.vouchers.values()))["redemption"]["redeemed_quantity"])


@pytest.mark.slow
def test_a_voucher_is_used_up_once_whatever_gets_lost(open_owned, project, monkeypatch):
    """An answer is lost, the till is killed, another sale asks too; then it is given back and used by that one."""
    monkeypatch.setenv("LOYALTY_AGENT__BENEFITS__REDEEM_BUDGET", "20s")
    till = opened(open_owned, project)
    body = wish(till)
    lost = project.sim.add(Fault(kind="answer", status=504, path="/v1/redemptions", after_processing=True))
    assert redeem(till, body) == ("redeemed", None)
    project.sim.remove(lost)
    assert used(project) == 1
    till.kill()
    till.start()
    assert redeem(till, body) == ("redeemed", None)
    assert till.identify("member_number", "10000000")["contact"]["ref"] == body["ref"]
    assert redeem(till, {**body, "transaction_id": "s-2"}) == ("refused", "used")
    assert used(project) == 1

    for _ in range(2):
        assert till.http.post("/v1/benefits/release", json=body).json()["outcome"] == "released"
    assert used(project) == 0
    assert redeem(till, {**body, "transaction_id": "s-2"}) == ("redeemed", None)
    assert used(project) == 1
    assert (project.sim.orders, len(project.sim.customers)) == ({}, MEMBERS)
    assert "CODE-1" not in till.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("taken", [False, True], ids=["still there", "used elsewhere meanwhile"])
def test_a_voucher_is_given_without_a_line(open_owned, project, monkeypatch, taken):
    """What the policy allows is told when the line is back, over a kill; what was used elsewhere is a loss."""
    allowed = '{ amount = "50.00", currency = "SEK", per_day = 1, within = "1h" }'
    monkeypatch.setenv("LOYALTY_AGENT__BENEFITS__OFFLINE__VOUCHER", allowed)
    monkeypatch.setenv("LOYALTY_AGENT__BENEFITS__REDEEM_BUDGET", "20s")
    till = opened(open_owned, project)
    body = wish(till)
    project.cut()
    assert redeem(till, body) == ("queued", None)
    assert redeem(till, body) == ("queued", None)
    till.kill()
    if taken:
        with project.sim.lock:
            elsewhere = {"redeemables": [{"object": "voucher", "id": "CODE-1"}], "customer": {"source_id": "10000001"}}
            project.sim.redeem(elsewhere)
    project.mend()
    till.start()
    if taken:
        eventually(lambda: "benefits.lost" in till.conditions())
    else:
        eventually(lambda: redeem(till, body) == ("redeemed", None))
        assert "benefits.lost" not in till.conditions()
    assert used(project) == 1


@pytest.mark.slow
def test_points_are_spent_once_whatever_gets_lost(open_owned, project, monkeypatch):
    """Taken off the card for the sale, found again after a power cut, given back, and not without a line."""
    monkeypatch.setenv("LOYALTY_AGENT__BENEFITS__REDEEM_BUDGET", "20s")
    till = opened(open_owned, project)
    card = next(one for one in project.sim.vouchers.values() if one["code"] == "LC-1")["loyalty_card"]
    card["points"] = 240
    body = {**wish(till), "kind": "points", "id": None, "amount": "100", "transaction_id": "p-1"}
    lost = project.sim.add(Fault(kind="drop", path="*/balance", after_processing=True))
    assert redeem(till, body) == ("redeemed", None)
    project.sim.remove(lost)
    till.kill()
    till.start()
    assert redeem(till, body) == ("redeemed", None)
    assert (card["balance"], project.sim.ledger.changes("p-1/spent")) == (140, [-100])
    body = {**body, "ref": till.identify("member_number", "10000000")["contact"]["ref"]}
    assert redeem(till, {**body, "amount": "90"}) == ("refused", "used")
    assert redeem(till, {**body, "transaction_id": "p-2", "amount": "141"}) == ("refused", "not_enough")
    project.cut()
    assert redeem(till, {**body, "transaction_id": "p-3"}) == ("refused", "offline")
    project.mend()
    back = {"kind": "points", "transaction_id": "p-1"}
    eventually(lambda: till.http.post("/v1/benefits/release", json=back).json()["outcome"] == "released")
    assert (card["balance"], project.sim.ledger.changes("p-1/back")) == (240, [100])
    assert "LC-1" not in till.log.read_text()
