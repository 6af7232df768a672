"""Debian packages for the tests: this checkout's, and what its later versions might be."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

BUILDER = Path(__file__).parents[2] / "packaging" / "build_deb.py"
EPOCH = "1771063200"
SCHEMA = "usr/lib/loyalty-agent/agent/store/migrations.py"
WIDER = """

@outbox()
def of_tomorrow(db: Database) -> None:
    db.execute("ALTER TABLE deliveries ADD COLUMN of_tomorrow INTEGER")
"""
BROKEN = f"""{WIDER}    db.execute("DELETE FROM deliveries")
    db.execute("INSERT INTO nowhere VALUES (1)")
"""


def build(output: Path, arch: str = "amd64") -> Path:
    """The package, unpacked quickly rather than small."""
    subprocess.run(
        [sys.executable, BUILDER, "--arch", arch, "--output", output, "--compression", "none"],
        env={"PATH": os.environ["PATH"], "SOURCE_DATE_EPOCH": EPOCH, **_of_pip()}, timeout=600, check=True,
    )  # fmt: skip
    (package,) = output.glob("*.deb")
    return package


def build_once(shared: Path, arch: str) -> Path:
    """The package, built by whichever of the test run's processes comes first."""
    output = shared / f"package-{arch}"
    with (shared / f"package-{arch}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = list(output.glob("*.deb"))
        return found[0] if found else build(output, arch)


def variants(package: Path, output: Path) -> None:
    """Puts the package itself and later versions of it into a directory.

    ``agent.deb`` is this checkout's, ``later.deb`` the same under a higher version; the queue's schema has one more
    step in ``wider.deb``, and one that fails half-way in ``broken.deb``.
    """
    shutil.copy(package, output / "agent.deb")
    tree = output / "tree"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    control, schema = tree / "DEBIAN" / "control", tree / SCHEMA
    of_today, steps = control.read_text(), schema.read_text()
    for revision, (name, more) in enumerate((("later", ""), ("broken", BROKEN), ("wider", WIDER)), start=2):
        control.write_text(of_today.replace("-1\n", f"-{revision}\n", 1))
        schema.write_text(steps + more)
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, output / f"{name}.deb"], check=True
        )
    shutil.rmtree(tree)


def _of_pip() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))}
