"""The power goes: whatever the till has an answer for is on the disk, and arrives once."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e import powercut
from e2e.shop import Till, Vendor, eventually, members

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Run:
    """What was recorded: when each sale had its answer, and the calls that wrote to the state directory."""

    answered_at: dict[str, float]
    history: list[powercut.Event]
    posted: list[tuple[float, dict]]
    identifiers: dict[str, dict]
    state: Path


@pytest.fixture(scope="module", name="run")
def _run(tmp_path_factory) -> Run:
    """A morning at the till, traced: sales offline, delivered, during delivery, after a purge, and offline again."""
    home = tmp_path_factory.mktemp("traced")
    vendor = Vendor(home / "ftp", 30)
    vendor.sim.export_full()
    till = Till(home, vendor, {"retention": {"delivered": "1s"}})
    people = [{"type": "member_number", "value": person.value("memberNumber")} for person in members(vendor, 5)]
    identifiers = {f"s-{number:02}": people[number % 5] for number in range(20)}
    answered_at = {}

    def sell(first: int, last: int) -> None:
        for name in list(identifiers)[first:last]:
            assert till.sell(name, identifier=identifiers[name]).status_code == 202
            answered_at[name] = time.time()

    try:
        till.start(wrapper=powercut.wrapper(home / "traces"))
        eventually(till.loaded)
        vendor.cut()
        sell(0, 5)
        vendor.mend()
        eventually(till.drained)
        sell(5, 10)
        eventually(till.drained)
        time.sleep(1.1)  # retention.delivered
        till.purge()
        vendor.cut()
        sell(10, 20)
    finally:
        till.kill()
        till.http.close()
        vendor.close()
    posted = [(post.received_at.timestamp(), post.receipt()) for post in vendor.sim.receipts.received]
    return Run(answered_at, powercut.events(home / "traces", till.state), posted, identifiers, till.state)


def test_the_replay_is_faithful(run: Run, tmp_path: Path):
    """With everything that was written, synced or not, the replay is the very directory the agent left behind."""
    powercut.disk_after(run.history, time.time(), tmp_path / "state", unsynced=lambda changes: changes)
    replayed = {path.name: path.read_bytes() for path in (tmp_path / "state").iterdir()}
    left = {path.name: path.read_bytes() for path in run.state.iterdir() if not path.name.endswith("-shm")}

    assert replayed.keys() >= {"outbox.db", "outbox.db-wal", "storage.key"}
    by_commands = ("tokens.", "audit.")  # the token was added by a command, which is not traced
    assert {name: content for name, content in replayed.items() if not name.startswith(by_commands)} == {
        name: content for name, content in left.items() if not name.startswith(by_commands)
    }


@pytest.mark.parametrize("unsynced", ["nothing", "some"])
@pytest.mark.parametrize("last", ["s-00", "s-04", "s-07", "s-10", "s-19"])
def test_power_cut_after_the_answer(run: Run, tmp_path: Path, last: str, unsynced: str):
    """The power goes the moment a sale has its answer: every answered sale is there, and the vendor gets each once."""
    cut_at = run.answered_at[last]
    answered = [name for name, at in run.answered_at.items() if at <= cut_at]
    before = {receipt["uniqueReceiptId"]: receipt for at, receipt in run.posted if at <= cut_at}
    vendor = Vendor(tmp_path / "ftp", 30)
    vendor.sim.export_full()
    till = Till(tmp_path, vendor, {})
    chance = random.Random(last)
    some = lambda changes: chance.sample(changes, chance.randint(0, len(changes)))  # noqa: E731 - two words
    powercut.disk_after(run.history, cut_at, till.state, unsynced=some if unsynced == "some" else None)
    try:
        till.start()
        again = {name: till.sell(name, identifier=run.identifiers[name]) for name in answered}
        assert till.sell("next", identifier=run.identifiers[last]).status_code == 202
        eventually(till.drained)
        after = {receipt["uniqueReceiptId"]: receipt for receipt in vendor.receipts()}

        assert {name: answer.status_code for name, answer in again.items()} == dict.fromkeys(answered, 200)
        assert before.keys() | after.keys() == {*answered, "next"}
        assert set(vendor.posts().values()) == {1}
        assert all(before[name] == after[name] for name in before.keys() & after.keys())
        assert till.status()["queue"]["parked"] == 0
    finally:
        till.kill()
        till.http.close()
        vendor.close()
