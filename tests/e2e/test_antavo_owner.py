"""A shop whose contacts Antavo owns: the till has them, sales find them, and whoever leaves is gone here too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from e2e.further import System, by_phone, phone, redeem
from e2e.shop import Till, eventually

from agent.connectors.antavo.simulator import AntavoSimulator, Fault

KEY, SECRET = "AN1EXAMPLEKEY", "sim-secret"
MEMBERS = 250
LINE = {"kind": "purchase", "sku": "SK-77", "quantity": "2", "gross_paid": "250.00"}
OWNER = {"vendor": "antavo", "primary_key": "contact_id"}


@pytest.fixture(name="workspace")
def _workspace(tmp_path: Path) -> Iterator[System]:
    """A workspace in which the first ninety have a phone of their own, and all a mail address."""
    sim = AntavoSimulator({KEY: SECRET}, now=lambda: datetime.now(UTC))
    for number in range(MEMBERS):
        more = {"mobile_phone": phone(number)} if number < 90 else {}
        sim.add_member(f"m-{number}", email=f"m{number}@example.com", first_name="Alma", **more)
    sim.books.history.told.clear()  # they joined long ago
    credentials = {"api_key": KEY, "api_secret": SECRET}
    workspace = System(sim, tmp_path, credentials, environment="st2", requests_per_minute=20_000)
    workspace.table["read_base_url"] = workspace.table["base_url"]
    yield workspace
    workspace.close()


@pytest.fixture(name="open_owned")
def _open_owned(open_till: Callable[..., Till], workspace: System) -> Callable[..., Till]:
    """Opens tills of the workspace; `loyalty` and `table` differ from the usual."""

    def open_owned(loyalty: dict[str, Any] | None = None, **table: Any) -> Till:
        return open_till(voyado=None, loyalty={**OWNER, **(loyalty or {})}, antavo={**workspace.table, **table})

    return open_owned


def sell(till: Till, name: str, identifier: dict[str, str]) -> dict[str, Any]:
    answer = till.sell(name, lines=[LINE], identifier=identifier)
    assert answer.status_code == 202, answer.text
    return answer.json()


@pytest.mark.slow
def test_a_bad_day(open_owned: Callable[..., Till], workspace: System):
    """Loaded, cut off, killed and back, answers lost: known and new members' sales count once, each with its member."""
    sim = workspace.sim
    till = open_owned().start()
    eventually(lambda: till.loaded(MEMBERS))
    known = till.identify("mobile_phone", phone(3))
    assert (known["outcome"], known["integration_key"]["value"]) == ("matched", "m-3")
    sim.add_member("live", email="new@example.com")
    eventually(lambda: till.identify("email", "new@example.com")["served"]["source"] == "live")

    workspace.cut()
    for number in range(30):
        key = sell(till, f"s-{number}", by_phone(number))["integration_key"]
        assert (key["kind"], key["value"]) == ("primary", f"m-{number}")
    late = sell(till, "late", {"type": "mobile_phone", "value": "070-174 06 99"})
    assert late["integration_key"] == {"kind": "secondary", "type": "mobile_phone", "value": "+46701740699"}
    sell(till, "mail", {"type": "email", "value": "new@example.com"})
    sell(till, "nobody", {"type": "email", "value": "nobody@example.com"})
    sim.add_member("joined", mobile_phone="+46701740699")
    till.kill()
    till.start()
    lost = sim.add(Fault(kind="drop", method="POST", after_processing=True))
    workspace.mend()
    till.order("flush")
    eventually(sim.held)
    sim.remove(lost)
    till.order("flush")
    eventually(till.drained)

    [parked] = till.queue("parked")
    assert (parked["transaction_id"], parked["last_error"]["code"]) == ("nobody", "contact.unknown")
    expected = {f"s-{number}" for number in range(30)} | {"mail", "late"}
    assert sim.held() == dict.fromkeys(expected, 1)
    whose = {name: sim.transaction(name).customer for name in ("mail", "late", "s-7")}
    assert whose == {"mail": "live", "late": "joined", "s-7": "m-7"}
    assert len(sim.books.members.by_id) == MEMBERS + 2
    log = till.log.read_text()
    assert not [value for value in (phone(3), "new@example.com", "m-7", SECRET) if value in log]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sweep_every", "goes"), [("24h", "leave"), ("1ms", "vanish")], ids=["told by events", "found by the sweep"]
)
def test_whoever_leaves_there_is_gone_here(
    open_owned: Callable[..., Till], workspace: System, sweep_every: str, goes: str
):
    """With the sales that wait: they are kept without their person."""
    sim = workspace.sim
    till = open_owned(sweep_every=sweep_every).start()
    eventually(lambda: till.loaded(MEMBERS))
    till.order("pause")
    sell(till, "s-1", by_phone(5))
    getattr(sim, goes)("m-5")
    till.sync()
    eventually(lambda: till.loaded(MEMBERS - 1))
    eventually(lambda: till.logged("privacy.erased_by_feed"))
    till.order("resume")
    till.order("flush")
    eventually(till.drained)

    assert till.identify("mobile_phone", phone(5))["outcome"] == "not_found"
    assert sim.held() == {}
    sold = till.transaction("s-1")
    assert (sold["integration_key"], sold["deliveries"]) == (None, [])


@pytest.mark.slow
def test_who_is_erased_here_stays_out_until_they_are_gone_there(open_owned: Callable[..., Till], workspace: System):
    """While Antavo lists them it is said so; that they left ends it."""
    till = open_owned(sweep_every="1ms").start()
    eventually(lambda: till.loaded(MEMBERS))
    erased = till.http.post("/v1/privacy/erase", json={"identifier": by_phone(5)})
    assert (erased.status_code, erased.json()["counts"]["contacts"]) == (200, 1)
    till.sync()
    assert "privacy.erasure_refused_by_feed" in till.conditions()
    assert till.loaded(MEMBERS - 1)

    workspace.sim.leave("m-5")
    till.sync()

    assert "privacy.erasure_refused_by_feed" not in till.conditions()
    assert till.loaded(MEMBERS - 1)


@pytest.mark.slow
def test_a_refused_secret(open_owned: Callable[..., Till], workspace: System):
    """Sales wait and the feed says so, nobody is taken out; a new secret is found by itself."""
    sim = workspace.sim
    till = open_owned(sweep_every="1ms").start()
    eventually(lambda: till.loaded(MEMBERS))
    sim.keys[KEY] = "another"
    sell(till, "s-1", by_phone(5))
    eventually(lambda: till.transaction("s-1")["deliveries"][0]["state"] == "held")
    till.command("sync", "--json")
    eventually(lambda: {"feed.silent", "vendor.credentials_refused"} <= set(till.conditions()))
    assert till.loaded(MEMBERS)

    workspace.files["api_secret"].write_text("another\n")
    eventually(till.drained)
    till.sync()

    assert sim.held() == {"s-1": 1}
    assert not {"feed.silent", "vendor.credentials_refused"} & set(till.conditions())


def test_a_configuration_that_cannot_be(open_owned: Callable[..., Till]):
    """What Antavo lacks or cannot do as the owner of the contacts is all said at once, of the key that asks for it."""
    asked = {"unknown_at_delivery": "tag", "secondary_keys": ["personal_number"]}
    told = open_owned(asked, read_base_url="", opt_in_new_contacts=True).command("config", "check", "--json")

    assert told.returncode == 78, told.stdout
    said = json.dumps(json.loads(told.stdout))
    keys = ("loyalty.unknown_at_delivery", "loyalty.secondary_keys", "antavo.read_base_url",
            "antavo.opt_in_new_contacts")  # fmt: skip
    assert [key for key in keys if key not in said] == []


def test_a_configuration_that_can_be(open_owned: Callable[..., Till]):
    """As it is documented it is sound."""
    assert open_owned().command("config", "check", "--json").returncode == 0


# --- coupons ----------------------------------------------------------------------------------------------------

PATIENT = {"live_lookup_budget": "20s"}


@pytest.fixture(name="generous")
def _generous(workspace: System, open_owned: Callable[..., Till], monkeypatch: pytest.MonkeyPatch) -> Till:
    """A till with the patience of a slow machine; the first member has points, a coupon, and one that is over."""
    monkeypatch.setenv("LOYALTY_AGENT__BENEFITS__REDEEM_BUDGET", "20s")
    workspace.sim.member("m-0").score = 240
    workspace.sim.give("m-0", "CODE-1")
    workspace.sim.give("m-0", "OVER-1", status="expired")
    workspace.sim.give("m-1", "HERS-1")
    return open_owned(PATIENT)


def benefits(till: Till, ref: str) -> dict[str, Any]:
    answer = till.http.get(f"/v1/contacts/{ref}/benefits")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def wish(till: Till) -> dict[str, Any]:
    """The first member's coupon, as it is listed, the member having shown who they are."""
    ref = till.identify("contact_id", "m-0")["contact"]["ref"]
    listed = benefits(till, ref)
    assert (listed["points"]["balance"], listed["offers"], listed["served"]["source"]) == ("240", [], "live")
    [voucher] = listed["vouchers"]
    assert (voucher["name"], voucher["number"], voucher["value"]["amount"]) == ("Bonus", "CODE-1", "50.00")
    return {"ref": ref, "kind": "voucher", "id": voucher["id"], "transaction_id": "s-1"}


def told(workspace: System) -> list[str]:
    """What counted about coupons, in its order."""
    return [event["action"] for event in workspace.sim.books.applied if event["action"].startswith("coupon")]


@pytest.mark.slow
def test_a_coupon_is_used_up_once_whatever_gets_lost(generous: Till, workspace: System):
    """An answer is lost, the till is killed, another sale asks too; then it is given back and used by that one."""
    till = generous.start()
    body = wish(till)
    lost = workspace.sim.add(Fault(kind="answer", status=504, path="/events", after_processing=True))
    assert redeem(till, body) == ("redeemed", None)
    workspace.sim.remove(lost)
    till.kill()
    till.start()
    assert redeem(till, body) == ("redeemed", None)
    assert till.identify("contact_id", "m-0")["contact"]["ref"] == body["ref"]
    assert redeem(till, {**body, "transaction_id": "s-2"}) == ("refused", "used")
    assert told(workspace) == ["coupon_redeem"]
    assert benefits(till, body["ref"])["vouchers"] == []

    for _ in range(2):
        assert till.http.post("/v1/benefits/release", json=body).json()["outcome"] == "released"
    assert redeem(till, {**body, "transaction_id": "s-2"}) == ("redeemed", None)
    assert told(workspace) == ["coupon_redeem", "coupon_unredeem", "coupon_redeem"]
    assert (workspace.sim.coupon("CODE-1")["status"], workspace.sim.held()) == ("redeemed", {})
    assert "CODE-1" not in till.log.read_text()


@pytest.mark.slow
def test_what_a_coupon_is_refused_for(generous: Till, workspace: System):
    """Over, another's, and points: nothing is told to the vendor, and each has its reason."""
    till = generous.start()
    body = wish(till)
    assert redeem(till, {**body, "id": "OVER-1"}) == ("refused", "expired")
    assert redeem(till, {**body, "id": "HERS-1"}) == ("refused", "not_theirs")
    assert redeem(till, {**body, "kind": "points", "id": None, "amount": "10"}) == ("refused", "not_offered")
    assert redeem(till, {**body, "kind": "offer"}) == ("refused", "not_offered")
    workspace.sim.give("m-0", "CODE-1", status="redeemed", redeemed_at=1)
    assert redeem(till, body) == ("refused", "used")
    assert told(workspace) == []


@pytest.mark.slow
def test_what_is_there_without_a_line(generous: Till, workspace: System):
    """What was said last is shown with its age, nothing is given by default, and a sale's points are an estimate."""
    till = generous.start()
    body = wish(till)
    cart = {"currency": "SEK", "lines": [LINE], "integration_key": {"kind": "primary", "type": "contact_id",
            "value": "m-0"}}  # fmt: skip
    workspace.sim.books.bonus = 40
    previewed = till.http.post("/v1/points/preview", json=cart).json()
    assert (previewed["points"], previewed["basis"]) == ("290", "live")
    workspace.cut()
    listed = benefits(till, body["ref"])
    assert (listed["served"]["source"], [one["number"] for one in listed["vouchers"]]) == ("replica", ["CODE-1"])
    assert redeem(till, body) == ("refused", "offline")
    assert till.http.post("/v1/points/preview", json=cart).json()["basis"] == "unavailable"
    workspace.mend()
    eventually(lambda: benefits(till, body["ref"])["served"]["source"] == "live")
    assert redeem(till, body) == ("redeemed", None)
    assert told(workspace) == ["coupon_redeem"]


@pytest.mark.slow
@pytest.mark.parametrize("taken", [False, True], ids=["still there", "used elsewhere meanwhile"])
def test_a_coupon_is_given_without_a_line(generous: Till, workspace: System, monkeypatch, taken):
    """What the policy allows is told when the line is back, over a kill; what was used elsewhere is a loss."""
    allowed = '{ amount = "50.00", currency = "SEK", per_day = 1, within = "1h" }'
    monkeypatch.setenv("LOYALTY_AGENT__BENEFITS__OFFLINE__VOUCHER", allowed)
    till = generous.start()
    body = wish(till)
    workspace.cut()
    assert [redeem(till, body), redeem(till, body)] == [("queued", None)] * 2
    till.kill()
    if taken:
        with workspace.sim.lock:
            workspace.sim.books.process({"customer": "m-0", "action": "coupon_redeem", "data": {"code": "CODE-1"}})
            workspace.sim.books.coupons.by_code["CODE-1"]["redeemed_at"] -= 3600
    workspace.mend()
    till.start()
    if taken:
        eventually(lambda: "benefits.lost" in till.conditions())
    else:
        eventually(lambda: redeem(till, body) == ("redeemed", None))
        assert "benefits.lost" not in till.conditions()
    assert told(workspace) == ["coupon_redeem"]


@pytest.mark.slow
def test_lists_in_a_folder(open_owned: Callable[..., Till], workspace: System, tmp_path: Path):
    """Without the Read API: a list makes the local contacts, the next one says who is gone, and half of one nothing."""
    folder = tmp_path / "lists"
    folder.mkdir()
    head = "id,mobile_phone,membership_id\n"
    rows = [f"m-{number},{phone(number) if number < 90 else ''},{10_000_000 + number}\n" for number in range(MEMBERS)]

    def put(name: str, people: list[str]) -> None:
        (folder / ".new").write_text(head + "".join(people))
        (folder / ".new").rename(folder / name)

    put("1.csv", rows)
    till = open_owned(read_base_url="", feed=f"file://{folder}").start()
    eventually(lambda: till.loaded(MEMBERS))
    assert till.identify("mobile_phone", phone(3))["outcome"] == "matched"
    assert sell(till, "s-1", by_phone(4))["integration_key"]["value"] == "m-4"

    put("2.csv", rows[1:])
    till.order("sync")
    eventually(lambda: till.loaded(MEMBERS - 1))
    put("3.csv", rows[:100])
    till.order("sync")
    eventually(lambda: "feed.gap" in str(till.http.get("/v1/status").json()))
    assert till.loaded(MEMBERS - 1)
    eventually(till.drained)

    assert workspace.sim.held() == {"s-1": 1}
    assert not [name for name in ("1.csv", phone(3)) if name in till.log.read_text()]


@pytest.mark.slow
def test_guests(open_owned: Callable[..., Till], workspace: System):
    """Purchases of nobody count once and make nobody a member; a claim makes one theirs, a void is for a person."""
    sim = workspace.sim
    sim.books.guests = True
    till = open_owned(guest_sales=True).start()
    eventually(lambda: till.loaded(MEMBERS))
    workspace.cut()
    for number in range(5):
        assert till.sell(f"g-{number}", lines=[LINE]).status_code == 202
    sell(till, "s-1", by_phone(4))
    workspace.mend()
    lost = sim.add(Fault(kind="drop", path="/events", method="POST", after_processing=True, count=2))
    till.order("flush")
    eventually(lambda: lost.count == 0)
    eventually(till.drained)

    assert sim.held() == {"s-1": 1, **{f"g-{number}": 1 for number in range(5)}}
    assert len(sim.books.members.by_id) == MEMBERS

    claim = {"type": "points_claim", "original_transaction_id": "g-0", "identifier": by_phone(3)}
    assert till.sell("c-1", lines=[LINE], **claim).status_code == 202
    assert till.void("v-1", "g-1").status_code == 202
    eventually(lambda: "c-1" in sim.held())
    eventually(lambda: till.queue("parked"))
    [parked] = till.queue("parked")
    assert (parked["transaction_id"], parked["last_error"]["code"]) == ("v-1", "sale.without_member")
    assert sim.transaction("c-1").customer == "m-3"
