"""What members can use, as a till hears of it: the installed agent beside a tenant that comes and goes."""

from __future__ import annotations

import concurrent.futures
from datetime import UTC, datetime

import httpx
import pytest
from e2e.further import redeem
from e2e.shop import eventually, members

from agent.connectors.voyado.simulator import Fault

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("vendor", [20], indirect=True, ids=["few"])]

PATIENT = {"live_lookup_budget": "20s"}
GENERAL = '[{ id = "member-10", name = "10 % off", percent = 10 }]'


def given(vendor):
    """The first member, who has points, an offer and a voucher."""
    alma = members(vendor, 1)[0]
    with vendor.sim.lock:
        vendor.sim.rewards.account(alma.contact_id).balance = 240
        vendor.sim.rewards.assign_promotion(alma.contact_id, {"name": "Socks"})
        vendor.sim.rewards.issue_voucher(alma.contact_id, amount=50)
    return alma


def handle(till, contact):
    return till.identify("mobile_phone", contact.value("mobilePhone"))["contact"]["ref"]


def benefits(till, ref):
    answer = till.http.get(f"/v1/contacts/{ref}/benefits")
    assert answer.status_code == 200, answer.text
    return answer.json()


def has(body):
    """What there is, by name and worth, and who says so."""
    return (
        body["points"] and body["points"]["balance"],
        [offer["name"] for offer in body["offers"]],
        [voucher["value"]["amount"] for voucher in body["vouchers"]],
        body["served"]["source"],
    )


@pytest.mark.parametrize("version", [2, 3])
def test_live_then_remembered_then_forgotten(vendor, open_till, version):
    """With the line, without it, after somebody else was erased, and with the line again."""
    alma = given(vendor)
    till = open_till(loyalty=PATIENT, voyado={"api_version": version}).start()
    eventually(till.loaded)
    ref = handle(till, alma)
    assert has(benefits(till, ref)) == ("240", ["Socks"], ["50.00"], "live")
    vendor.cut()
    body = benefits(till, ref)
    assert has(body) == ("240", ["Socks"], ["50.00"], "replica")
    assert {item["offline"] for item in (*body["offers"], *body["vouchers"])} == {"refused"}
    number = {"type": "member_number", "value": alma.value("memberNumber")}
    exported = till.http.post("/v1/privacy/export", json={"identifier": number}).json()
    assert [item["name"] for item in exported["benefits"][0]["items"]] == ["Socks", "Bonus voucher"]

    bo = members(vendor, 2)[1]
    number = {"type": "member_number", "value": bo.value("memberNumber")}
    assert till.http.post("/v1/privacy/erase", json={"identifier": number}).status_code == 200
    assert has(benefits(till, ref)) == (None, [], [], "none")
    vendor.mend()
    assert eventually(lambda: (now := has(benefits(till, ref)))[-1] == "live" and now) == (
        "240",
        ["Socks"],
        ["50.00"],
        "live",
    )


def test_offers_for_everybody(vendor, open_till, monkeypatch):
    """A till that only tags: members have their own while the line stands, and everybody has some while it does not."""
    alma = given(vendor)
    monkeypatch.setenv("LOYALTY_AGENT__BENEFITS__GENERAL", GENERAL)
    till = open_till(loyalty={**PATIENT, "fallback_level": 2}).start()
    ref = handle(till, alma)
    assert has(benefits(till, ref)) == ("240", ["Socks"], ["50.00"], "live")
    assert benefits(till, "general")["offers"] == []
    vendor.cut()
    eventually(lambda: till.ask("email", "nobody@example.com") and till.status()["state"] == "offline")
    assert [offer["name"] for offer in benefits(till, "general")["offers"]] == ["10 % off"]
    assert has(benefits(till, ref)) == ("240", ["Socks", "10 % off"], ["50.00"], "replica")
    assert till.http.get("/v1/contacts/nobody/benefits").status_code == 404


# --- used up and given back -------------------------------------------------------------------------------------


def wish(till, vendor, **changes):
    """The first member's voucher, the member having shown their number."""
    alma = given(vendor)
    number = till.identify("member_number", alma.value("memberNumber"))
    assert number["allowed"]["spend"] is True
    voucher = benefits(till, number["contact"]["ref"])["vouchers"][0]["id"]
    return {"ref": number["contact"]["ref"], "kind": "voucher", "id": voucher, "transaction_id": "s-1", **changes}


def vouchers(vendor):
    with vendor.sim.lock:
        return [voucher for held in vendor.sim.rewards.vouchers.values() for voucher in held]


def used(vendor):
    return sum(voucher.redeemed_at is not None for voucher in vouchers(vendor))


def opened(open_till, agent=None, **voyado):
    till = open_till(agent=agent or {}, loyalty=PATIENT, benefits={"redeem_budget": "20s"}, voyado=voyado).start()
    eventually(till.loaded)
    return till


def noon_zone():
    """A time zone in which midnight is half a day away."""
    east = 12 - datetime.now(UTC).hour
    return f"Etc/GMT{-east:+d}" if east else "Etc/GMT"


@pytest.mark.parametrize("version", [2, 3])
def test_a_voucher_is_used_up_once_whatever_gets_lost(vendor, open_till, version):
    """An answer is lost, the till asks again, another sale asks too; then it is given back and used by that one."""
    till = opened(open_till, api_version=version)
    body = wish(till, vendor)
    vendor.sim.faults.add(Fault(kind="answer", status=504, path="*redeem", after_processing=True, count=1))
    assert redeem(till, body) == ("redeemed", None)
    assert redeem(till, body) == ("redeemed", None)
    assert redeem(till, {**body, "transaction_id": "s-2"}) == ("refused", "used")
    assert used(vendor) == 1
    assert till.http.post("/v1/benefits/release", json=body).json()["outcome"] == "released"
    assert used(vendor) == 0
    assert redeem(till, {**body, "transaction_id": "s-2"}) == ("redeemed", None)
    vendor.cut()
    assert redeem(till, {**body, "transaction_id": "s-3"}) == ("refused", "used"), "known without a line"
    assert redeem(till, {**body, "kind": "offer", "transaction_id": "s-3"}) == ("refused", "offline")
    till.identify("mobile_phone", members(vendor, 1)[0].value("mobilePhone"))
    assert redeem(till, {**body, "kind": "offer", "transaction_id": "s-3"}) == ("refused", "weak_identification")


def test_killed_between_the_record_and_the_answer(vendor, open_till):
    """The vendor has carried it out; the next run knows of it and says it right when it is asked again."""
    till = opened(open_till)
    body = wish(till, vendor)
    vendor.sim.faults.add(Fault(kind="hang", path="*redeem", after_processing=True, count=1))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asked = pool.submit(till.http.post, "/v1/benefits/redeem", json=body)
        eventually(lambda: used(vendor) == 1)
        till.kill()
        with pytest.raises(httpx.TransportError):
            asked.result()
    till.start()
    assert till.identify("member_number", members(vendor, 1)[0].value("memberNumber"))["outcome"] == "matched"
    assert redeem(till, body) == ("redeemed", None)
    assert used(vendor) == 1


def test_the_same_voucher_at_two_tills_without_a_line(vendor, open_till, tmp_path, monkeypatch):
    """What the policy allows and no more; at reconnect one of them has it, the other's is a loss and not retried."""
    allowed = '{ amount = "50.00", currency = "SEK", per_day = 1, within = "1h" }'
    monkeypatch.setenv("LOYALTY_AGENT__BENEFITS__OFFLINE__VOUCHER", allowed)
    noon = {"timezone": noon_zone()}  # what is allowed in a day is allowed again after midnight
    a, b = opened(open_till, agent=noon), opened(open_till, agent=noon)
    body = wish(a, vendor)
    number = members(vendor, 1)[0].value("memberNumber")
    at_b = {**body, "ref": b.identify("member_number", number)["contact"]["ref"], "transaction_id": "b-1"}
    assert benefits(b, at_b["ref"])["vouchers"][0]["offline"] == "allowed"
    offer = {**body, "kind": "offer", "id": benefits(a, body["ref"])["offers"][0]["id"]}
    vendor.cut()
    assert redeem(a, offer) == ("refused", "offline")
    for till, asked in ((a, body), (b, at_b)):
        assert redeem(till, asked) == ("queued", None)
        assert redeem(till, asked) == ("queued", None)
        assert benefits(till, asked["ref"])["vouchers"][0]["why"] == "count"
    a.kill()
    a.start()
    vendor.mend()
    lost = eventually(lambda: [till for till in (a, b) if "benefits.lost" in till.conditions()])
    assert len(lost) == 1
    eventually(lambda: used(vendor) == 1)
    (condition,) = [one for one in lost[0].status()["conditions"] if one["code"] == "benefits.lost"]
    assert "1 (50.00 SEK)" in condition["detail"]
    assert used(vendor) == 1
    other = a if lost[0] is b else b
    assert "benefits.lost" not in other.conditions()
    assert redeem(other, body if other is a else at_b)[0] in ("redeemed", "queued")
