"""The installed agent is killed at each call that changes the disk or speaks: none lost, none twice.

Each round is the same short shift: the agent starts, the day's export is applied, three sales are taken and delivered,
and what they say of people is erased. In round `n` the kernel kills whoever comes to its `n`-th call of one kind; each
thread and each process counts for itself. Over the rounds death comes at every step: start and migration, load, intake,
lease, send, settle, purge.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from e2e import powercut
from e2e.shop import Till, Vendor, eventually, members

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_200)]

FEW = pytest.mark.parametrize("vendor", [40], indirect=True, ids=["few"])
MOMENTS = {
    "pwrite64": (*range(1, 31, 3), *range(31, 400, 12)),
    "fsync": range(1, 60),
    "sendto": range(1, 60),
    "write": range(1, 400, 9),
    "unlink": range(1, 60),
    "rename": range(1, 60),
}
"""Which calls of a kind somebody is killed at, until a shift ends before it comes to that."""
PEOPLE = 20


class KilledError(Exception):
    """The agent is gone."""


class Shop:
    """A till whose agent is doomed again and again, and what its POS knows.

    Attributes:
        sold: the sales that the till has an answer for.
        unanswered: those that it has to post again.
        deaths: how often death came in which part of a shift.
    """

    def __init__(self, till: Till, vendor: Vendor) -> None:
        self.till, self.vendor = till, vendor
        self.sold: list[str] = []
        self.unanswered: list[str] = []
        self.deaths: Counter[str] = Counter()
        self._people = members(vendor, PEOPLE)
        self._part = "start"

    def shift(self, call: str, number: int) -> bool:
        """A shift with somebody doomed; whether all outlived it."""
        before = self.deaths.total()
        doom = ("-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}")
        wrapper = (str(powercut.STRACE), "-f", "-qq", "-o", "/dev/null", *doom)
        self.unanswered += [f"{call}-{number}-{index}" for index in range(3)]
        with self.vendor.sim.lock:
            self.vendor.sim.state.write(self._people[0], {"firstName": f"Frida {call} {number}"})
        self.vendor.sim.export_now()
        try:
            self._start(wrapper)
            self._load()
            self._sell()
            self._deliver()
            self._purge()
        except (KilledError, httpx.TransportError):
            assert self.till.process is not None
            self.till.process.wait(timeout=30)
            self.deaths[self._part] += 1
        finally:
            self.till.kill()
        return self.deaths.total() == before

    def finish(self) -> None:
        """The last shift, in peace: everything is posted once more, and counted."""
        self.till.start()
        self.unanswered += self.sold
        self._sell()
        self._deliver()

    def _start(self, wrapper: tuple[str, ...]) -> None:
        self._part = "start"
        try:
            self.till.start(wrapper=wrapper)
        except AssertionError:
            assert self.till.process is not None
            if self.till.process.poll() is None:
                raise
            raise KilledError from None

    def _load(self) -> None:
        """The export is applied, or the process that applies it was killed: the agent goes on without."""
        self._part = "load"
        failed = len(self.till.logged("feed.failed"))
        synced = len(self.till.logged("synced"))
        self.till.order("sync")
        self._until(lambda: len(self.till.logged("synced")) > synced or len(self.till.logged("feed.failed")) > failed)
        for line in self.till.logged("feed.failed")[failed:]:
            assert "the loading process died" in line["reason"]
            self.deaths["apply"] += 1

    def _sell(self) -> None:
        self._part = "intake"
        while self.unanswered:
            name = self.unanswered[0]
            phone = self._people[sum(name.encode()) % PEOPLE].value("mobilePhone")
            answer = self.till.sell(name, identifier={"type": "mobile_phone", "value": phone})
            assert answer.status_code in (200, 202), answer.text
            self.sold.append(self.unanswered.pop(0))

    def _deliver(self) -> None:
        self._part = "delivery"
        self._until(self.till.drained)

    def _purge(self) -> None:
        self._part = "purge"
        purged = len(self.till.logged("purged"))
        self.till.order("purge")
        self._until(lambda: len(self.till.logged("purged")) > purged)

    def _until(self, what: Callable[[], Any]) -> None:
        def looked() -> bool:
            assert self.till.process is not None
            if self.till.process.poll() is not None:
                raise KilledError
            return bool(what())

        eventually(looked)


@FEW
@pytest.mark.parametrize("call", MOMENTS)
def test_killed_at_every_step(vendor, open_till, tmp_path, call, record_property):
    """Shift after shift somebody dies a little later; in the end every sale counts once and has its number."""
    if powercut.STRACE is None:
        powercut.wrapper(tmp_path / "none")  # skips, or fails in CI
    till = open_till(retention={"delivered": "1s"})
    added = till.command("token", "add", "pos-1", "--scope", "admin", "--json")
    till.token = json.loads(added.stdout)["token"]
    till.http.headers["Authorization"] = f"Bearer {till.token}"
    shop = Shop(till, vendor)

    shifts = 1 + sum(1 for _ in itertools.takewhile(lambda n: not shop.shift(call, n), MOMENTS[call]))
    shop.finish()

    record_property("deaths", dict(shop.deaths))
    names = set(shop.sold)
    assert vendor.held() == dict.fromkeys(names, 1)
    assert len({posted["uniqueReceiptId"]: 0 for posted in vendor.receipts()}) == len(names)
    queue = till.status()["queue"]
    assert (queue["parked"], queue["in_doubt"]) == (0, 0)
    assert sorted(till.transaction(name)["number"] for name in names) == list(range(1, len(names) + 1))
    assert shop.deaths.total() >= shifts - 1
