"""A shop whose sales go to Antavo as well: each member's sale counts once, whatever becomes of lines and answers."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from e2e.shop import COMMAND, Till, Vendor, eventually, members
from ports import free_port

from agent.connectors.antavo.simulator import AntavoSimulator, Fault, ThreadedSimulator

KEY, SECRET = "AN1EXAMPLEKEY", "sim-secret"
LINE = {"kind": "purchase", "sku": "SK-77", "quantity": "1", "gross_paid": "250.00"}
BACK = {**LINE, "kind": "return", "quantity": "-1"}


class Workspace:
    """A workspace on a port that stays the same while the line is cut and mended."""

    def __init__(self, home: Path) -> None:
        self.sim = AntavoSimulator({KEY: SECRET}, now=lambda: datetime.now(UTC))
        self._open = contextlib.ExitStack()
        self.server = self._open.enter_context(ThreadedSimulator(self.sim, port=free_port()))
        self.close, self.cut, self.mend = self._open.close, self.server.stop, self.server.start
        self.secret_file = home / "antavo.secret"
        self.secret_file.write_text(SECRET)
        (home / "antavo.key").write_text(KEY)
        self.table = {
            "base_url": self.server.url,
            "environment": "st2",
            "api_key": f"file:{home / 'antavo.key'}",
            "api_secret": f"file:{self.secret_file}",
            "requests_per_minute": 20_000,
        }


@pytest.fixture(name="workspace")
def _workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace(tmp_path)
    yield workspace
    workspace.close()


@pytest.fixture(name="people")
def _people(vendor: Vendor, workspace: Workspace) -> list[dict[str, str]]:
    """Members whom both systems know by the same number."""
    numbers = [one.value("memberNumber") for one in members(vendor, 20)]
    for number in numbers:
        workspace.sim.add_member(number)
    return [{"type": "member_number", "value": number} for number in numbers]


@pytest.fixture(name="shop")
def _shop(open_till: Callable[..., Till], workspace: Workspace) -> Till:
    """A till whose sales go to both, its replica loaded."""
    till = open_till(**{"forward.antavo": workspace.table}).start()
    eventually(till.loaded)
    return till


def sell(till: Till, name: str, **changes: Any) -> None:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    answer = till.sell(name, **{"occurred_at": at, "lines": [LINE], **changes})
    assert answer.status_code == 202, answer.text


def delivery(till: Till, name: str) -> dict[str, Any]:
    [row] = [row for row in till.transaction(name)["deliveries"] if row["vendor"] == "antavo"]
    return row


@pytest.mark.slow
def test_a_day_with_antavo(shop: Till, vendor: Vendor, workspace: Workspace, people: list[dict[str, str]]):
    """The line is cut, answers are lost, the agent is killed, one sale is poisoned: none lost, none twice."""
    sim = workspace.sim
    for number in range(20):
        sell(shop, f"s-{number:03}", identifier=people[number])
    eventually(shop.drained)

    workspace.cut()
    for number in range(20, 220):
        sell(shop, f"s-{number:03}", identifier=people[number % 20])
    sell(shop, "guest")
    given_back = {"lines": [BACK], "total": "-250.00", "payments": [{"type": "card", "amount": "-250.00"}]}
    for number in range(5):
        sell(shop, f"r-{number}", type="return", original_transaction_id=f"s-{number:03}", identifier=people[number],
             **given_back)  # fmt: skip
    at = datetime.now(UTC).isoformat(timespec="seconds")
    assert shop.void("v-1", "s-007", occurred_at=at).status_code == 202

    half = sim.add(Fault(kind="half", path="/events/bulk", count=1))
    lost = sim.add(Fault(kind="drop", path="/events*", after_processing=True, count=3))
    sim.add(Fault(kind="poison", transaction_id="s-037"))
    workspace.mend()
    shop.order("flush")
    eventually(lambda: (lost.count, half.count) == (0, 0), within_s=60)
    shop.kill()
    shop.start()
    shop.order("flush")
    eventually(shop.drained, within_s=60)

    [parked] = shop.queue("parked")
    assert (parked["transaction_id"], parked["last_error"]["vendor_code"]) == ("s-037", "160216")
    sim.faults.clear()
    assert shop.http.post(f"/v1/queue/{parked['entry']}/retry").status_code == 202
    eventually(lambda: delivery(shop, "s-037")["state"] == "delivered")
    eventually(shop.drained)

    doubted = {row["transaction_id"] for row in shop.queue("in_doubt")}
    assert sim.held() == {f"s-{number:03}": 1 for number in range(220)}
    assert shop.transaction("guest")["deliveries"] == []
    assert delivery(shop, "s-007")["vendor_reference"] == "s-007"
    assert sim.transaction("s-007").status == "refunded"
    refunds = [event["data"]["transaction_id"] for event in sim.applied("refund_item")]
    assert sorted(refunds) == [f"s-{number:03}" for number in range(5)]
    assert doubted <= {f"r-{number}" for number in range(5)}  # those whose answer was lost: a person decides
    assert SECRET not in shop.log.read_text()


@pytest.mark.slow
def test_credentials_expire_and_a_member_is_searched_for(
    shop: Till, vendor: Vendor, workspace: Workspace, people: list[dict[str, str]]
):
    """A refused secret holds that lane alone; a stranger is searched for; an id in use is told to a person."""
    sim = workspace.sim
    sim.add_member("c-stranger", email="stranger@example.com")
    sim.books.process(
        {"customer": people[0]["value"], "action": "checkout", "data": {"transaction_id": "taken", "total": 1}}
    )
    workspace.cut()
    for number in range(100):
        sell(shop, f"s-{number}", identifier=people[number % 20])
    sell(shop, "stranger", identifier={"type": "email", "value": "stranger@example.com"})
    sell(shop, "nobody", identifier={"type": "email", "value": "nobody@example.com"})
    sell(shop, "taken", identifier=people[1])
    sim.keys[KEY] = "another"
    workspace.mend()
    eventually(lambda: delivery(shop, "s-7")["state"] == "held")
    eventually(lambda: vendor.held().keys() >= {f"s-{number}" for number in range(100)})

    workspace.secret_file.write_text("another\n")
    eventually(shop.drained, within_s=60)

    assert sim.held() == {f"s-{number}": 1 for number in range(100)} | {"taken": 1, "stranger": 1}
    assert sim.transaction("stranger").customer == "c-stranger"
    told = {row["transaction_id"]: row["last_error"]["code"] for row in shop.queue("parked")
            if row["vendor"] == "antavo"}  # fmt: skip
    assert told == {"nobody": "contact.unknown", "taken": "sale.collision"}
    assert list(sim.books.members.by_id) == [*(person["value"] for person in people), "c-stranger"]
    log = shop.log.read_text()
    assert not [value for value in ("stranger@", "nobody@", SECRET) if value in log]


def test_simulate_antavo():
    """`simulate antavo` prints where it is found, refuses what is not signed, and ends in order."""
    with subprocess.Popen(
        [COMMAND, "simulate", "antavo", "--port", "0", "--json"], stdout=subprocess.PIPE, text=True
    ) as process:
        text = ""
        for line in process.stdout:
            text += line
            if line.startswith("}"):
                break
        told = json.loads(text)
        unsigned = httpx.get(f"{told['base_url']}/customers/-/count", trust_env=False)
        state = httpx.get(told["control_url"], trust_env=False)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0

    assert told.keys() == {"base_url", "control_url", "environment", "api_key", "api_secret"}
    assert (unsigned.status_code, state.json()["members"]) == (401, 0)


@pytest.mark.parametrize(
    ("loyalty", "table", "said"),
    [
        ("voyado", {"base_url": "https://api.st1.antavo.com"}, "is not the one of base_url, which is st1"),
        ("voyado", {"auth_mode": "oauth"}, 'is "escher" in this version'),
        ("antavo", {}, "cannot own the contacts in this version"),
    ],
    ids=["another environment", "another credential", "as the owner of the contacts"],
)
def test_a_configuration_that_cannot_be(open_till, workspace: Workspace, loyalty, table, said):
    """It is said at `config check`, with the key."""
    till = open_till(**{"forward.antavo": {**workspace.table, **table}, "loyalty": {"vendor": loyalty}})

    told = till.command("config", "check", "--json")

    assert told.returncode == 78
    assert said in json.dumps(json.loads(told.stdout), ensure_ascii=False).replace('\\"', '"')
