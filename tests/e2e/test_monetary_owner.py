"""A shop whose contacts Monetary owns: who was seen here is known while nobody answers, and nobody is guessed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from e2e.further import LINE, System, now, objection, redeem
from e2e.shop import Till, eventually

from agent.connectors.monetary.simulator import MonetarySimulator

KEY = "test-shop-key"


def number(member: int) -> str:
    return str(10_000_000 + member)


def phone(member: int) -> str:
    return f"+467017406{10 + member:02d}"


@pytest.fixture(name="account")
def _account(tmp_path: Path) -> Iterator[System]:
    """Ten members, customers 101 to 110, each with a phone; the last two share one."""
    sim = MonetarySimulator({KEY: "location-1"}, now=lambda: datetime.now(UTC))
    account = System(sim, tmp_path, {"secret_key": KEY}, path="/v1", requests_per_minute=6_000)
    for member in range(10):
        of = phone(min(member, 8))
        account.sim.add_customer(ExternalID=number(member), Phone=f"0{of.removeprefix('+46')}", FirstName="Alma")
    yield account
    account.close()


@pytest.fixture(name="open_owned")
def _open_owned(open_till: Callable[..., Till], account: System) -> Callable[..., Till]:
    """Opens tills of the account; `loyalty` and its table differ from the usual."""

    def open_owned(loyalty: dict[str, Any] | None = None, **table: Any) -> Till:
        owner = {"vendor": "monetary", **(loyalty or {})}
        return open_till(voyado=None, loyalty=owner, monetary={**account.table, **table})

    return open_owned


def sell(till: Till, name: str, member: str) -> dict[str, Any]:
    said = {"type": "mobile_phone", "value": member}
    answer = till.sell(name, occurred_at=now(), lines=[LINE], identifier=said)
    assert answer.status_code == 202, answer.text
    key = answer.json()["integration_key"]
    return {"kind": key["kind"], "value": key["value"]}


@pytest.mark.slow
def test_an_outage(open_owned: Callable[..., Till], account: System):
    """Seen, cut off, killed and back: who was seen is known, the others' sales are settled later, each counts once."""
    till = open_owned().start()
    eventually(lambda: till.loaded(0))
    seen = till.identify("mobile_phone", phone(3))
    assert (seen["outcome"], seen["integration_key"]["value"], seen["served"]["source"]) == (
        "matched",
        number(3),
        "live",
    )
    assert till.identify("mobile_phone", phone(8))["outcome"] == "ambiguous"
    eventually(lambda: till.loaded(3))
    asked = account.sim.requests["GET customers"]
    again = till.identify("mobile_phone", phone(3))
    assert (again["integration_key"]["value"], again["served"]["source"]) == (number(3), "replica")
    assert again["contact"]["ref"]

    account.cut()
    till.kill()
    till.start()
    known = till.identify("mobile_phone", phone(3))
    assert (known["outcome"], known["integration_key"]["value"]) == ("matched", number(3))
    assert known["served"]["source"] == "replica"
    assert known["served"]["as_of"] == again["served"]["as_of"]
    assert till.identify("mobile_phone", phone(8))["outcome"] == "ambiguous"
    assert till.identify("mobile_phone", phone(4))["outcome"] == "unknown"
    assert sell(till, "known", phone(3)) == {"kind": "primary", "value": number(3)}
    assert sell(till, "later", phone(4)) == {"kind": "secondary", "value": phone(4)}
    assert sell(till, "shared", phone(8)) == {"kind": "secondary", "value": phone(8)}
    assert sell(till, "nobody", phone(40)) == {"kind": "secondary", "value": phone(40)}

    account.mend()
    till.order("flush")
    eventually(till.drained)
    parked = {row["transaction_id"]: row["last_error"]["code"] for row in till.queue("parked")}
    assert parked == {"nobody": "contact.unknown", "shared": "contact.unresolved"}
    assert sorted(receipt["CustomerID"] for receipt in account.sim.receipts) == [104, 105]
    eventually(lambda: till.loaded(4))
    assert account.sim.requests["GET customers"] > asked
    log = till.log.read_text()
    assert not [value for value in (phone(3), number(3), "Alma", KEY) if value in log]


@pytest.mark.slow
def test_members_come_and_go(open_owned: Callable[..., Till], account: System, tmp_path: Path):
    """From a list, asked for again in time; gone there, merged there, and erased here."""
    listed = tmp_path / "members.csv"
    rows = [f"{101 + member},{number(member)},{phone(member)}" for member in range(4)]
    listed.write_text("\n".join(["CustomerID,ExternalID,Phone", *rows, ""]))
    till = open_owned(refresh_after="1ms", seed_file=str(listed)).start()
    eventually(lambda: till.loaded(4))
    listed.unlink()

    account.sim.leave(101)
    account.sim.merge(102, into=105)
    with account.sim.lock:
        account.sim.customers[105]["ExternalID"] = number(1)
    till.sync()
    eventually(lambda: till.loaded(3))
    assert till.conditions() == set()
    assert till.identify("mobile_phone", phone(0))["outcome"] == "not_found"
    assert till.identify("member_number", number(1))["integration_key"]["value"] == number(1)

    erased = till.http.post("/v1/privacy/erase", json={"identifier": {"type": "mobile_phone", "value": phone(2)}})
    assert (erased.status_code, erased.json()["counts"]["contacts"]) == (200, 1)
    assert till.identify("mobile_phone", phone(2))["served"]["source"] == "live"
    eventually(lambda: "privacy.erasure_refused_by_feed" in till.conditions())
    account.cut()
    assert till.identify("mobile_phone", phone(2))["outcome"] == "unknown"
    assert till.identify("mobile_phone", phone(3))["integration_key"]["value"] == number(3)


@pytest.mark.parametrize(
    ("loyalty", "table", "said"),
    [
        ({"fallback_level": 4}, {}, "loyalty.fallback_level"),
        ({"unknown_at_delivery": "tag"}, {}, "loyalty.unknown_at_delivery"),
        ({}, {"refresh_after": "48h"}, "monetary.refresh_after"),
    ],
    ids=["a replica that is written", "tagged for later", "older than stale"],
)
def test_config_check(open_owned: Callable[..., Till], loyalty, table, said):
    """What Monetary cannot do as the owner of the contacts is said of the key that asks for it."""
    assert said in objection(open_owned(loyalty, **table))


ALLOWED = '{ offer = { amount = "20.00", currency = "SEK", per_day = 5, within = "24h" } }'


def offers(till: Till, ref: str) -> tuple[list[tuple[str, str | None]], str | None, str]:
    """Each offer with its least sale, the points, and who says so."""
    body = till.http.get(f"/v1/contacts/{ref}/benefits").json()
    points = body["points"]["balance"] if body["points"] else None
    return [(one["id"], one["minimum_purchase"]) for one in body["offers"]], points, body["served"]["source"]


def use(till: Till, name: str, ref: str, offer: str) -> tuple[str, str | None]:
    wanted = {"ref": ref, "kind": "offer", "id": offer, "transaction_id": name, "amount": "10.00"}
    return redeem(till, wanted)


def release(till: Till, name: str, offer: str) -> tuple[str, str | None]:
    answer = till.http.post("/v1/benefits/release", json={"kind": "offer", "id": offer, "transaction_id": name})
    assert answer.status_code == 200, answer.text
    return answer.json()["outcome"], answer.json()["reason"]


def reduced(till: Till, name: str, *used: str) -> None:
    """A sale of the first member with the discount of one offer, which the sale may name."""
    line = {**LINE, "unit_price": None, "discounts": [{"type": "offer", "description": "Offer", "amount": "10.00"}]}
    named = [{"offer_id": one} for one in used]
    who = {"type": "member_number", "value": number(0)}
    answer = till.sell(name, occurred_at=now(), lines=[line], identifier=who, offers_used=named)
    assert answer.status_code == 202, answer.text


def under_way(till: Till, name: str) -> bool:
    """Whether a sale is being sent, which a kill would leave in doubt."""
    story = till.http.get(f"/v1/transactions/{name}/story").json()
    return bool(sum(one["attempts"] for one in story["deliveries"]) != len(story["attempts"]))


@pytest.mark.slow
def test_offers(open_owned: Callable[..., Till], account: System, monkeypatch: pytest.MonkeyPatch):
    """Shown, used up with their sales with and without a line, given back before and after them, and refused."""
    monkeypatch.setenv("LOYALTY_AGENT__BENEFITS__OFFLINE", ALLOWED)
    until_ = account.sim.now() + timedelta(days=31)
    with account.sim.lock:
        for _ in range(5):
            account.sim.offers.give(101, until_, DiscountAmount=10, MinimumPurchase=50)
    till = open_owned({"live_lookup_budget": "20s"}, currency="SEK", mark_receipts=True).start()
    ref = till.identify("member_number", number(0))["contact"]["ref"]
    listed = [(str(offer), "50.00") for offer in range(1, 6)]
    assert offers(till, ref) == (listed, "0", "live")

    assert use(till, "first", ref, "1") == ("redeemed", None)
    assert use(till, "second", ref, "1") == ("refused", "used")
    assert use(till, "second", ref, "99") == ("refused", "not_theirs")
    assert use(till, "back", ref, "2") == ("redeemed", None)
    assert release(till, "back", "2") == ("released", None)
    reduced(till, "first", "1")
    reduced(till, "back", "2")
    eventually(till.drained)
    assert receipts(account) == {"first": [1], "back": [None]}
    assert release(till, "first", "1") == ("refused", "not_released")
    shown, points, _ = offers(till, ref)
    assert ([one for one, _ in shown], points) == (["2", "3", "4", "5"], "500")

    account.cut()
    assert offers(till, ref)[2] == "replica"
    for name, offer in (("unasked", "3"), ("taken", "4")):
        assert use(till, name, ref, offer) == ("queued", None)
        reduced(till, name)  # the till does not name it: it was redeemed for this sale
    eventually(
        lambda: till.status()["state"] == "offline" and not any(under_way(till, one) for one in ("unasked", "taken"))
    )
    till.kill()
    till.start()
    with account.sim.lock:
        account.sim.offers.use([4], 101, "location-1", 250, account.sim.now())  # at another till meanwhile
    account.mend()
    till.order("flush")
    eventually(till.drained)
    assert receipts(account) == {"first": [1], "back": [None], "unasked": [3], "taken": [None]}
    eventually(lambda: till.conditions() == {"benefits.stuck", "benefits.lost"})
    log = till.log.read_text()
    assert "redemption.lost" in log
    assert not [value for value in (number(0), phone(0), "Alma", KEY) if value in log]


def receipts(account: System) -> dict[str, list[int | None]]:
    """The offers that each sale's receipt names."""
    with account.sim.lock:
        return {
            receipt["Skus"][-1]["Description"]: [row["OfferID"] for row in receipt["Discounts"]]
            for receipt in account.sim.receipts
        }
