"""A shop that cannot call Antavo: its sales lie in a folder, and each is fetched once, whoever is killed meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest
from e2e.further import BACK, deliveries, now, numbers, objection, sell
from e2e.shop import Till, Vendor, eventually

from agent.connectors.antavo.simulator import AntavoSimulator

GIVEN_BACK = {"lines": [BACK], "total": "-250.00", "payments": [{"type": "card", "amount": "-250.00"}]}
COUNT, KILLS = 160, 6


class Import:
    """The workspace's import, which fetches again and again, as a schedule has it, in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sim = AntavoSimulator({}, now=lambda: datetime.now(UTC))
        self.refused: list[Any] = []
        self.files = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def fetch(self) -> None:
        report = self.sim.run_import(self.folder)
        self.refused += report.refused + report.failed
        self.files += len(report.files)

    def _run(self) -> None:
        while not self._ended.wait(0.05):
            self.fetch()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "events"
    folder.mkdir(mode=0o750)
    return folder


@pytest.fixture(name="shop")
def _shop(open_till: Callable[..., Till], folder: Path) -> Till:
    table = {"events_folder": str(folder), "batch_size": 7, "requests_per_minute": 20_000}
    till = open_till(**{"forward.antavo": table}).start()
    eventually(till.loaded)
    return till


def delivery(till: Till, name: str) -> dict[str, Any]:
    return deliveries(till, name)["antavo"]


@pytest.mark.slow
def test_a_day_without_calls(shop: Till, vendor: Vendor, folder: Path):
    """The folder is closed for a while, the agent is killed in the middle of writing, the import fetches meanwhile."""
    imported = Import(folder)
    people = numbers(vendor, 40)
    for person in people:
        imported.sim.add_member(person["value"])

    folder.chmod(0o777)  # anybody may write into it
    for number in range(COUNT):
        sell(shop, f"s-{number:03}", identifier=people[number % 40])
    sell(shop, "guest")
    eventually(lambda: "anybody on this machine may write into" in shop.command("status").stdout)
    assert delivery(shop, "s-000")["state"] == "queued"
    assert not list(folder.iterdir())
    with imported:
        folder.chmod(0o750)
        shop.order("flush")
        for kill in range(KILLS):
            eventually(lambda least=COUNT * (kill + 1) // 10: len(imported.sim.held()) >= least)
            shop.kill()
            shop.start()
        for number in range(10):
            sell(shop, f"r-{number}", type="return", original_transaction_id=f"s-{number:03}",
                 identifier=people[number], **GIVEN_BACK)  # fmt: skip
        assert shop.void("v-1", "s-020", occurred_at=now()).status_code == 202
        eventually(shop.drained)
    imported.fetch()

    assert imported.refused == []
    assert imported.sim.held() == {f"s-{number:03}": 1 for number in range(COUNT)}
    assert imported.sim.given_back() == {f"s-{number:03}": 1 for number in range(10)}
    assert imported.sim.transaction("s-020").status == "refunded"
    assert list(folder.iterdir()) == []
    assert delivery(shop, "s-000")["vendor_reference"].startswith("file:antavo-1042-03-")
    assert shop.transaction("guest")["deliveries"] == []
    assert not [one["value"] for one in people if one["value"] in shop.log.read_text()]


@pytest.mark.slow
def test_somebody_who_is_erased(shop: Till, vendor: Vendor, folder: Path):
    """What of theirs waits to be fetched goes with them; other people's sales are fetched all the same."""
    alma, bo = numbers(vendor, 2)
    sell(shop, "s-1", identifier=alma)
    sell(shop, "s-2", identifier=bo)
    eventually(shop.drained)
    answer = shop.http.post("/v1/privacy/erase", json={"identifier": alma})
    assert answer.status_code == 200, answer.text
    assert answer.json()["counts"]["file_rows"] == 2
    text = "".join(file.read_text() for file in folder.iterdir())
    assert (alma["value"] in text, bo["value"] in text) == (False, True)


def test_what_the_check_says(open_till: Callable[..., Till], folder: Path):
    """What files lose is said, and what contradicts them is a fault; the sheet has a row for the folder."""
    till = open_till(**{"forward.antavo": {"events_folder": str(folder)}})
    told = till.command("config", "check")
    assert told.returncode == 0, told.stderr
    assert "forward.antavo.events_folder: what the import refuses" in told.stdout + told.stderr
    sheet = till.command("doctor", "--json").stdout
    assert '"antavo.files"' in sheet
    for contradiction in ({"base_url": "https://api.st2.antavo.com"}, {"guest_sales": True}):
        other = open_till(**{"forward.antavo": {"events_folder": str(folder), **contradiction}})
        assert "is for calls, and with events_folder there are none" in objection(other)
    bare = open_till(**{"forward.antavo": {"backdate": True}})
    assert "forward.antavo.base_url" in objection(bare)
