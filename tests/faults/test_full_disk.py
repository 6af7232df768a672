"""Another program fills the disk of the installed agent: a small file system of its own, full to the last byte."""

from __future__ import annotations

import os
import shutil

import pytest
from e2e.shop import eventually, members
from faults import disk

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is root's to make"),
    pytest.mark.parametrize("vendor", [40], indirect=True, ids=["few"]),
]


def fill(path) -> None:
    """Writes until nothing fits any more."""
    with path.open("wb", buffering=0) as file:
        piece = 1 << 20
        while piece:
            try:
                file.write(bytes(piece))
            except OSError:
                piece //= 2


def test_a_disk_that_another_program_fills(vendor, open_till, tmp_path):
    """What is queued is worked off from the reserve, a sale that cannot be kept gets 507, and it recovers by itself."""
    place = tmp_path / "disk"
    with disk.small(place, "48m"):
        till = open_till(
            agent={"state_dir": str(place / "state")}, queue={"reserve_bytes": "4MiB", "max_bytes": "32MiB"}
        )
        person = {"type": "member_number", "value": members(vendor, 1)[0].value("memberNumber")}
        till.start()
        eventually(till.loaded)
        vendor.cut()
        queued = [f"q-{number:02}" for number in range(40)]
        for name in queued:
            assert till.sell(name, identifier=person).status_code == 202

        fill(place / "other")
        refused = []
        eventually(
            lambda: refused.append(till.sell(f"no-{len(refused)}", identifier=person).status_code) or 507 in refused
        )
        kept = [f"no-{number}" for number, status in enumerate(refused) if status == 202]
        assert set(refused) <= {202, 507}
        name = f"no-{refused.index(507)}"
        answer = till.sell(name, identifier=person)
        assert (answer.status_code, answer.json()["code"]) == (507, "storage.full")
        assert till.http.get(f"/v1/transactions/{name}").status_code == 404
        eventually(lambda: "storage.full" in till.conditions())
        assert till.identify("member_number", person["value"])["outcome"] == "matched"

        fill(place / "more")
        vendor.mend()
        eventually(till.drained)
        assert vendor.held() == dict.fromkeys([*queued, *kept], 1)
        assert shutil.disk_usage(place).free < 4 << 20
        assert till.process.poll() is None
        assert till.logged("reserve.used")

        (place / "other").unlink()
        (place / "more").unlink()
        eventually(lambda: "storage.full" not in till.conditions())
        assert till.sell(name, identifier=person).status_code == 202
        eventually(till.drained)
        assert vendor.held() == dict.fromkeys([*queued, *kept, name], 1)
        assert (place / "state" / "reserve").stat().st_size == 4 << 20
        assert till.status()["queue"]["parked"] == 0
        till.kill()
