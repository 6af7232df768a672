"""A shop whose tills spend Antavo's points, on rewards and in sales: once, whatever gets lost on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from e2e.further import System, redeem
from e2e.shop import Till, eventually

from agent.connectors.antavo.simulator import AntavoSimulator, Fault

KEY, SECRET = "AN1EXAMPLEKEY", "sim-secret"


@pytest.fixture(name="workspace")
def _workspace(tmp_path: Path) -> Iterator[System]:
    """A workspace of two members with points for three mugs each, and with a reward that brings a coupon."""
    sim = AntavoSimulator({KEY: SECRET}, now=lambda: datetime.now(UTC))
    for number in range(2):
        sim.add_member(f"m-{number}", email=f"m{number}@example.com", first_name="Alma").score = 300
    sim.reward("mug")
    sim.reward("ten-off", type="coupon", coupon_pool="p-1", points=50, stores=[{"id": "I004"}])
    sim.reward("elsewhere", stores=[{"id": "I005"}])
    credentials = {"api_key": KEY, "api_secret": SECRET}
    workspace = System(sim, tmp_path, credentials, environment="st2", requests_per_minute=20_000)
    workspace.table |= {"read_base_url": workspace.table["base_url"], "rewards": True, "store": "I004",
                        "spend_points": True}  # fmt: skip
    yield workspace
    workspace.close()


@pytest.fixture(name="open_shop")
def _open_shop(
    open_till: Callable[..., Till], workspace: System, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Till]:
    """Opens tills with the patience of a slow machine, and starts them."""
    monkeypatch.setenv("LOYALTY_AGENT__BENEFITS__REDEEM_BUDGET", "20s")
    owner = {"vendor": "antavo", "primary_key": "contact_id", "live_lookup_budget": "20s"}
    return lambda: open_till(voyado=None, loyalty=owner, antavo=workspace.table).start()


def benefits(till: Till, member: str = "m-0") -> dict[str, Any]:
    answer = till.http.get(f"/v1/contacts/{ref_of(till, member)}/benefits")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def ref_of(till: Till, member: str) -> str:
    return str(till.identify("contact_id", member)["contact"]["ref"])


def wish(till: Till, sale: str = "s-1", member: str = "m-0", reward: str = "mug") -> dict[str, Any]:
    return {"ref": ref_of(till, member), "kind": "offer", "id": reward, "transaction_id": sale}


def release(till: Till, body: dict[str, Any]) -> str:
    return str(till.http.post("/v1/benefits/release", json=body).json()["outcome"])


@pytest.mark.slow
def test_a_mug_for_a_hundred_points(open_shop: Callable[[], Till], workspace: System):
    """Listed with its price, claimed once a sale over lost answers and a kill, and revoked with its sale."""
    till = open_shop()
    listed = benefits(till)
    assert listed["points"]["balance"] == "300"
    assert [(one["id"], one["points"], one["brings_voucher"]) for one in listed["offers"]] == [
        ("mug", "100", False),
        ("ten-off", "50", True),
    ]
    assert listed["offers"][0]["value"]["text"] == "From the shelf behind the till"
    lost = workspace.sim.add(Fault(kind="answer", status=504, path="*/claim", after_processing=True))
    assert redeem(till, wish(till)) == ("redeemed", None)
    workspace.sim.remove(lost)
    body = wish(till)
    till.kill()
    till.start()
    assert redeem(till, body) == ("redeemed", None)
    assert redeem(till, wish(till, "s-2")) == ("redeemed", None)
    assert redeem(till, wish(till, "s-1", "m-1")) == ("redeemed", None)  # the sale has it already, whoever asks
    assert workspace.sim.rewards_of("m-0") == ["mug"] * 2
    assert (workspace.sim.rewards_of("m-1"), redeem(till, wish(till, "s-3", "m-1"))) == ([], ("redeemed", None))

    assert [release(till, wish(till)) for _ in range(2)] == ["released"] * 2
    assert (workspace.sim.rewards_of("m-0"), benefits(till)["points"]["balance"]) == (["mug"], "200")
    log = till.log.read_text()
    assert not [value for value in ("m0@example.com", *workspace.sim.books.rewards.claims) if value in log]


@pytest.mark.slow
def test_a_reward_that_brings_a_coupon(open_shop: Callable[[], Till], workspace: System):
    """It is among the vouchers after that, and is used up for the sale as any other."""
    till = open_shop()
    assert redeem(till, wish(till, reward="ten-off")) == ("redeemed", None)
    [voucher] = benefits(till)["vouchers"]
    assert redeem(till, {**wish(till), "kind": "voucher", "id": voucher["id"]}) == ("redeemed", None)
    assert workspace.sim.coupon(voucher["number"])["status"] == "redeemed"


@pytest.mark.slow
def test_two_tills(open_shop: Callable[[], Till], workspace: System):
    """Points are spent once: the second claim of too few points is refused, with what the first till did standing."""
    tills = open_shop(), open_shop()
    workspace.sim.member("m-0").score = 100
    assert redeem(tills[0], wish(tills[0])) == ("redeemed", None)
    assert redeem(tills[1], wish(tills[1], "s-2")) == ("refused", "refused")
    assert [one["id"] for one in benefits(tills[1])["offers"]] == []
    assert release(tills[0], wish(tills[0])) == "released"
    assert redeem(tills[1], wish(tills[1], "s-2")) == ("redeemed", None)
    assert workspace.sim.rewards_of("m-0") == ["mug"]


@pytest.mark.slow
def test_without_a_line(open_shop: Callable[[], Till], workspace: System, monkeypatch: pytest.MonkeyPatch):
    """Nothing is given by default; what the policy allows is claimed when the line is back, once, over a kill."""
    monkeypatch.setenv(
        "LOYALTY_AGENT__BENEFITS__OFFLINE__OFFERS__mug",
        '{ amount = "50.00", currency = "SEK", per_day = 1, within = "1h" }',
    )
    till = open_shop()
    assert [one["offline"] for one in benefits(till)["offers"]] == ["allowed", "refused"]
    body = {**wish(till), "amount": "50.00"}
    workspace.cut()
    assert redeem(till, {**body, "id": "ten-off"}) == ("refused", "offline")
    assert [redeem(till, body), redeem(till, body)] == [("queued", None)] * 2
    till.kill()
    workspace.mend()
    till.start()
    eventually(lambda: redeem(till, body) == ("redeemed", None))
    assert workspace.sim.rewards_of("m-0") == ["mug"]
    assert release(till, wish(till)) == "released"
    assert workspace.sim.rewards_of("m-0") == []


@pytest.mark.slow
def test_what_no_till_claims(open_shop: Callable[[], Till], workspace: System):
    """Of another store, of nobody's, and not to be afforded: nothing is claimed, and the till hears why."""
    till = open_shop()
    assert redeem(till, wish(till, reward="elsewhere")) == ("refused", "not_theirs")
    assert redeem(till, wish(till, reward="nothing")) == ("refused", "not_theirs")
    workspace.sim.member("m-0").score = 99
    assert redeem(till, wish(till)) == ("refused", "refused")
    assert (workspace.sim.rewards_of("m-0"), till.conditions()) == ([], set())


# --- points -----------------------------------------------------------------------------------------------------


def points(till: Till, sale: str = "s-1", amount: str = "200") -> dict[str, Any]:
    """So many of the first member's points, for a sale."""
    return {**wish(till, sale), "kind": "points", "id": None, "amount": amount}


def sell(till: Till, name: str = "s-1", **changes: Any) -> None:
    """The till posts the first member's sale."""
    answer = till.sell(name, **{"identifier": {"type": "email", "value": "m0@example.com"}, **changes})
    assert answer.status_code == 202, answer.text


@pytest.mark.slow
def test_points_are_spent_by_the_sale(open_shop: Callable[[], Till], workspace: System):
    """Over an outage, a kill and a lost answer: once; given back by a void, or before the sale is there."""
    till = open_shop()
    eventually(lambda: till.loaded(2))
    assert [redeem(till, points(till)), redeem(till, points(till))] == [("redeemed", None)] * 2
    assert redeem(till, points(till, "s-2")) == ("refused", "refused")
    assert redeem(till, points(till, "s-3", "100")) == ("redeemed", None)
    body = {"kind": "points", "id": None, "transaction_id": "s-3"}
    assert release(till, body) == "released"
    assert workspace.sim.member("m-0").spent == 0
    workspace.cut()
    sell(till)
    assert release(till, {**body, "transaction_id": "s-1"}) == "refused"
    assert redeem(till, points(till, "s-4", "1")) == ("refused", "offline")
    till.kill()
    till.start()
    lost = workspace.sim.add(Fault(kind="drop", method="POST", path="/events", after_processing=True))
    workspace.mend()
    till.order("flush")
    eventually(workspace.sim.held)
    workspace.sim.remove(lost)
    till.order("flush")
    eventually(lambda: till.delivered("s-1"))
    assert (workspace.sim.held(), workspace.sim.member("m-0").spent) == ({"s-1": 1}, 200)
    sell(till, "s-3")
    assert till.void("v-1", "s-1").status_code == 202
    eventually(lambda: till.delivered("v-1") and till.delivered("s-3"))
    assert workspace.sim.member("m-0").spent == 0


@pytest.mark.slow
def test_points_at_two_tills(open_shop: Callable[[], Till], workspace: System):
    """Both see enough of them: one sale spends them, the other one is parked with the vendor's number."""
    tills = open_shop(), open_shop()
    for number, till in enumerate(tills):
        eventually(lambda till=till: till.loaded(2))
        assert redeem(till, points(till, f"s-{number}", "300")) == ("redeemed", None)
    for number, till in enumerate(tills):
        sell(till, f"s-{number}")
        eventually(till.drained)
    assert (workspace.sim.member("m-0").spent, workspace.sim.held()) == (300, {"s-0": 1})
    [parked] = tills[1].queue("parked")
    assert (parked["transaction_id"], parked["last_error"]["vendor_code"]) == ("s-1", "120241")
