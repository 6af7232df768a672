"""A damaged file: it is set aside, what is readable is rescued and counted, the replica is fetched anew, sales go on."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from e2e.shop import API_KEY, COMMAND, Till, Vendor, eventually, members, sale

from agent import settings
from agent.connectors.registry import SETTINGS
from agent.connectors.voyado.simulator import Fault
from agent.state import State
from agent.store import log_frames
from agent.store.database import DatabaseFile
from agent.store.log_frames import FRAME_BYTES, HEADER_BYTES
from agent.store.pagekey import PAGE_BYTES
from tests.store import wreck
from tests.store.wreck import Place, Wreck

pytestmark = pytest.mark.slow

MEMBERS, DELIVERED, WAITING = 30, 60, 140
LINES = [{"kind": "purchase", "sku": f"SK-{line}", "quantity": "1", "gross_paid": "1.00"} for line in range(80)]
TROLLEY: dict[str, Any] = {"lines": LINES, "total": "80.00", "payments": [{"type": "card", "amount": "80.00"}]}
"""More than a page of the outbox holds."""
FEW = pytest.mark.parametrize("vendor", [MEMBERS], indirect=True, ids=["few"])


def outbox_of(till: Till) -> DatabaseFile:
    """The till's outbox as its owner opens it."""
    state = State(settings.load(config=till.config, vendors=SETTINGS, environ={}))
    return state.outbox(state.key(may_create=False))


@dataclass(frozen=True)
class Morning:
    """A till that was killed in the middle of a morning, and what the vendor had by then.

    Attributes:
        state: its state directory.
        answered: the sales it has an answer for, with the bodies.
        posted: what reached the vendor.
        token: for its door.
        survey: its outbox, row by row and page by page.
    """

    state: Path
    answered: dict[str, dict[str, Any]]
    posted: tuple[dict[str, Any], ...]
    token: str
    survey: Wreck


@pytest.fixture(scope="module", name="morning")
def _morning(tmp_path_factory) -> Morning:
    """Some sales are delivered, one is refused; the line goes, more are taken, some of them only in the log."""
    home = tmp_path_factory.mktemp("morning")
    vendor = Vendor(home / "ftp", MEMBERS)
    vendor.sim.export_full()
    till = Till(home, vendor, {})
    people = [{"type": "member_number", "value": person.value("memberNumber")} for person in members(vendor, 7)]
    answered = {}

    def sell(first: int, last: int) -> None:
        for number in range(first, last):
            body = sale(f"s-{number:03}", identifier=people[number % 7], **(TROLLEY if number % 10 == 3 else {}))
            assert till.http.post("/v1/transactions", json=body).status_code == 202
            answered[body["transaction_id"]] = body

    try:
        till.start()
        eventually(till.loaded)
        vendor.sim.faults.add(Fault(kind="poison", receipt_id="s-007"))
        sell(0, DELIVERED)
        eventually(till.drained)
        vendor.cut()
        sell(DELIVERED, DELIVERED + WAITING // 2)
        till.purge()  # which moves the log into the file
        sell(DELIVERED + WAITING // 2, DELIVERED + WAITING)
    finally:
        till.kill()
        till.http.close()
        vendor.close()
    kept = home / "kept"
    shutil.copytree(till.state, kept)
    shutil.copytree(till.state, home / "surveyed")
    posted = tuple(posted.receipt() for posted in vendor.sim.receipts.received)
    return Morning(kept, answered, posted, till.token, wreck.survey(home / "surveyed", outbox_of(till).key))


@dataclass
class Afternoon:
    """The same till again, with a vendor that has what it had."""

    till: Till
    vendor: Vendor
    morning: Morning

    def start(self) -> None:
        self.till.start()
        self.till.http.headers["Authorization"] = f"Bearer {self.till.token}"

    def settle(self) -> dict[str, Any]:
        """Waits until everything has gone that can, and says what the agent tells of damage."""
        eventually(lambda: self.till.http.get("/readyz").status_code == 200)
        self.till.order("flush")
        eventually(lambda: (queue := self.till.status()["queue"])["depth"] == queue["held"] == 0)
        return self.till.http.get("/v1/damage").json()["damages"]

    def check(self, damages: list[dict[str, Any]], *, lost: set[str] = frozenset()) -> None:
        """Every sale that the till has an answer for is at the vendor once, or is told to be gone or unreadable."""
        held, posts = self.vendor.held(), self.vendor.posts()
        told = {name for damage in damages for name in damage["lost_ids"]}
        parked = {entry["transaction_id"] for entry in self.till.queue("parked")}
        silent = self.morning.answered.keys() - held.keys() - told - parked
        assert silent <= lost, f"gone without a word: {sorted(silent)}"
        assert set(held.values()) == {1}
        before = {receipt["uniqueReceiptId"] for receipt in self.morning.posted}
        known = {name for name in before if posts[name] == 1}
        assert all(posts[name] <= 2 for name in posts)  # the vendor deduplicates what goes out again
        assert known or not before

    def goes_on(self) -> None:
        """New sales are taken and delivered; a repeat of an old one is no second sale."""
        person = {"type": "member_number", "value": members(self.vendor, 1)[0].value("memberNumber")}
        assert self.till.sell("afternoon", identifier=person).status_code == 202
        eventually(lambda: "afternoon" in self.vendor.held())


@pytest.fixture(name="afternoon")
def _afternoon(morning: Morning, tmp_path: Path) -> Iterator[Afternoon]:
    vendor = Vendor(tmp_path / "ftp", MEMBERS)
    vendor.sim.export_full()
    with httpx.Client(base_url=vendor.url, headers={"apikey": API_KEY}, trust_env=False) as http:
        for receipt in morning.posted:
            if receipt["uniqueReceiptId"] != "s-007":
                assert http.post("/api/v3/receipts", json=receipt).is_success
    vendor.sim.faults.add(Fault(kind="poison", receipt_id="s-007"))
    till = Till(tmp_path, vendor, {})
    till.token = morning.token
    shutil.copytree(morning.state, till.state)
    yield Afternoon(till, vendor, morning)
    till.kill()
    till.http.close()
    vendor.close()


def told(afternoon: Afternoon) -> str:
    """What the status says of damage; it is never healthy with that."""
    status = afternoon.till.status()
    (condition,) = [one for one in status["conditions"] if one["code"] == "storage.damaged"]
    assert status["state"] == "degraded"
    assert condition["remedy"]
    return condition["detail"]


def test_nothing_is_damaged(afternoon):
    """The yardstick: killed and started again, everything goes out once, and nobody is alarmed."""
    afternoon.start()
    assert afternoon.settle() == []
    afternoon.check([])
    afternoon.goes_on()
    eventually(lambda: len(afternoon.till.logged("damage.checked")) == 2)
    assert "storage.damaged" not in afternoon.till.conditions()
    assert set(afternoon.vendor.posts().values()) == {1}


# --- pages of the outbox --------------------------------------------------------------------------------------------


def overwrite_pages(file: DatabaseFile, pages: list[int], chance: random.Random) -> set[Place]:
    """Makes noise of pages wherever they lie: in the file and in each frame of the log."""
    frames = log_frames.read(file.path).frames
    size = file.path.stat().st_size // PAGE_BYTES
    places = {Place(page) for page in pages if page <= size}
    places |= {Place(frame.page, number) for number, frame in enumerate(frames, 1) if frame.page in pages}
    for place in places:
        wreck.overwrite(file, place, chance.randbytes(PAGE_BYTES))
    return places


TREES = (
    "sqlite_schema", "sales", "deliveries", "statements", "attempts", "counts", "overflow",
    "sqlite_autoindex_sales_1", "sqlite_autoindex_deliveries_1", "sales_by_age", "deliveries_in_line",
    "deliveries_unfinished", "attempts_by_entry",
)  # fmt: skip


@pytest.mark.parametrize("place", ["root", "last"])
@pytest.mark.parametrize("tree", TREES)
def test_a_page_of_each_tree(afternoon, tree, place):
    """The root (an inner page, where there is more than one) and the last page of each table and index."""
    pages = sorted(afternoon.morning.survey.pages_of(tree))
    assert pages
    file = outbox_of(afternoon.till)
    overwrite_pages(file, [pages[0 if place == "root" else -1]], random.Random(f"{tree} {place}"))
    afternoon.start()
    eventually(lambda: afternoon.till.http.get("/v1/damage").json()["damages"], within_s=60)
    damages = afternoon.settle()

    assert "outbox.db" in told(afternoon)
    assert (afternoon.till.state / "damaged" / damages[0]["folder"] / "outbox.db").stat().st_size > 0
    afternoon.check(damages)
    afternoon.goes_on()
