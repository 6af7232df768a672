"""The shop of each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.shop import Till, Vendor, eventually


@pytest.fixture(name="vendor")
def _vendor(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Vendor]:
    """A tenant with 300 members, its full export written; `@pytest.mark.parametrize` on `members` changes the number."""
    vendor = Vendor(tmp_path / "ftp", getattr(request, "param", 300))
    vendor.sim.export_full()
    yield vendor
    vendor.close()


@pytest.fixture(name="open_till")
def _open_till(tmp_path: Path, vendor: Vendor) -> Iterator[Callable[..., Till]]:
    """Opens tills at the vendor; each gets a directory of its own, and tables that differ from the usual."""
    tills: list[Till] = []

    def open_till(**overrides: dict[str, Any]) -> Till:
        home = tmp_path / f"till-{len(tills)}"
        home.mkdir()
        tills.append(Till(home, vendor, overrides))
        return tills[-1]

    yield open_till
    for till in tills:
        till.kill()
        till.http.close()


@pytest.fixture(name="till")
def _till(open_till: Callable[..., Till]) -> Till:
    """A till that has loaded its replica."""
    till = open_till().start()
    eventually(till.loaded)
    return till
