"""The wall clock of the till is years off, and jumps: the installed agent under a library that lies about the time.

The library (libfaketime) is loaded before the agent and answers what a file says; the monotonic clocks stay true.
"""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from e2e.shop import Till, eventually, members

pytestmark = pytest.mark.slow

FEW = pytest.mark.parametrize("vendor", [40], indirect=True, ids=["few"])
LIBRARIES = [*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")]
THREE_YEARS = timedelta(days=3 * 365)
LIMIT = timedelta(minutes=10)


class WallClock:
    """The wall clock as the agent sees it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.off = timedelta()
        self.turn(self.off)

    def turn(self, off: timedelta) -> None:
        """So far ahead of the true time from now on; it jumps in one step."""
        draft = self._file.with_suffix(".draft")
        draft.write_text(f"{off.total_seconds():+.0f}s\n")
        draft.rename(self._file)
        self.off = off

    def now(self) -> str:
        """What a till under the same clock writes on its receipt."""
        return (datetime.now(UTC) + self.off).isoformat(timespec="seconds")

    def wrapper(self) -> tuple[str, ...]:
        """The command that an agent under this clock is started with."""
        if not LIBRARIES:
            if os.environ.get("CI") == "true":
                pytest.fail("libfaketime is missing: CI has to install it")
            pytest.skip("libfaketime is missing: install the package faketime")
        lies = {
            "LD_PRELOAD": LIBRARIES[0],
            "FAKETIME_TIMESTAMP_FILE": self._file,
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        return ("env", *(f"{name}={value}" for name, value in lies.items()))


@pytest.fixture(name="clock")
def _clock(tmp_path: Path) -> WallClock:
    """A clock that is right."""
    return WallClock(tmp_path / "clock")


def sell(till: Till, clock: WallClock, name: str, person) -> None:
    identifier = {"type": "member_number", "value": person.value("memberNumber")}
    assert till.sell(name, occurred_at=clock.now(), identifier=identifier).status_code == 202


def purges(till: Till) -> bool:
    """Orders a purge; whether it is carried out, and not skipped while the clock is not known to be right."""
    purged, skipped = len(till.logged("purged")), len(till.logged("purge.skipped"))
    till.order("purge")
    eventually(lambda: len(till.logged("purged")) + len(till.logged("purge.skipped")) > purged + skipped)
    return len(till.logged("purged")) > purged


def dates(vendor) -> dict[str, tuple[datetime, datetime | None]]:
    """What each receipt says of its time: the till's word, and the corrected one."""
    found = {}
    for receipt in vendor.receipts():
        extra = {row["name"]: row["value"] for row in receipt.get("extraData", [])}
        corrected = datetime.fromisoformat(extra["correctedDate"]) if extra else None
        found[receipt["uniqueReceiptId"]] = datetime.fromisoformat(receipt["createdDate"]), corrected
    return found


@FEW
@pytest.mark.parametrize("jump", ["while it runs", "while it is off"])
def test_three_years_back_then_right(vendor, open_till, clock, jump):
    """Sales of before and after arrive once with both times; nothing expires, and no timer dies or runs wild."""
    till = open_till(retention={"undelivered": "30d"}, replica={"sync_every": "1m"})
    clock.turn(-THREE_YEARS)
    till.start(wrapper=clock.wrapper())
    eventually(till.loaded)
    eventually(lambda: "clock.wrong" in till.conditions())
    person, other = members(vendor, 2)
    sell(till, clock, "early", person)
    eventually(till.drained)
    vendor.cut()
    for number in range(5):
        sell(till, clock, f"back-{number}", person)

    if jump == "while it runs":
        clock.turn(timedelta())
        eventually(lambda: till.logged("clock.jumped"))
    else:
        till.stop()
        clock.turn(timedelta())
        till.start(wrapper=clock.wrapper())
    purges(till)
    for number in range(5):
        sell(till, clock, f"right-{number}", other)
    vendor.mend()
    eventually(till.drained)
    eventually(lambda: "clock.wrong" not in till.conditions())
    eventually(lambda: purges(till))

    names = ["early", *(f"back-{n}" for n in range(5)), *(f"right-{n}" for n in range(5))]
    assert vendor.held() == dict.fromkeys(names, 1)
    now = datetime.now(UTC)
    for name, (stated, corrected) in dates(vendor).items():
        if name.startswith("right"):
            assert (abs(now - stated) < LIMIT, corrected) == (True, None)
        else:
            assert abs(now - THREE_YEARS - stated) < LIMIT
            assert corrected is not None
            assert abs(now - corrected) < LIMIT
    assert till.identify("member_number", person.value("memberNumber"))["outcome"] == "matched"
    assert Counter(line["event"] for line in till.logs())["loop.failed"] == 0
    assert len(till.logged("synced")) < 10
