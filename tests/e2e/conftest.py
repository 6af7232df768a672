"""The shop of each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openssh as ssh
import pytest
from e2e.pages import _album, _axe, _tab
from e2e.shop import Till, Vendor, eventually

__all__ = ["_album", "_axe", "_tab"]  # fixtures of the pages


@pytest.fixture(name="vendor")
def _vendor(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Vendor]:
    """A tenant with 300 members, its full export written.

    `@pytest.mark.parametrize("vendor", ..., indirect=True)` has another number, or a dict of `members` and knobs.
    """
    param = getattr(request, "param", 300)
    vendor = Vendor(tmp_path / "ftp", **(param if isinstance(param, dict) else {"members": param}))
    vendor.sim.export_full()
    yield vendor
    vendor.close()


@pytest.fixture(name="open_till")
def _open_till(tmp_path: Path, vendor: Vendor) -> Iterator[Callable[..., Till]]:
    """Opens tills at the vendor; each gets a directory of its own, and tables that differ from the usual, or None."""
    tills: list[Till] = []

    def open_till(**overrides: dict[str, Any] | None) -> Till:
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


@pytest.fixture(name="openssh")
def _openssh(tmp_path: Path, vendor: Vendor) -> Iterator[ssh.OpenSsh]:
    """A real OpenSSH server over the vendor's export folder."""
    with ssh.running(tmp_path / "openssh", vendor.exports) as server:
        yield server


@pytest.fixture(name="sftp")
def _sftp(openssh: ssh.OpenSsh, tmp_path: Path) -> dict[str, str]:
    """The `[voyado]` keys of a till that reads the export over SFTP."""
    secret = tmp_path / "sftp.key"
    secret.write_text(openssh.private_key)
    secret.chmod(0o600)
    return {
        "feed": openssh.url,
        "feed_secret": f"file:{secret}",
        "feed_known_hosts": str(openssh.known_hosts),
    }
