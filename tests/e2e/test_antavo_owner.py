"""A shop whose contacts Antavo owns: the till has them, sales find them, and whoever leaves is gone here too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from e2e.further import System, by_phone, phone
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
    eventually(till.drained, within_s=60)

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
    eventually(till.drained, within_s=60)
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
