"""The Debian package: how it is built, what is in it, and where it refuses to be installed."""

from __future__ import annotations

import re
import struct
import subprocess
from collections import Counter

import pytest

from tests.packaging.builds import build

pytestmark = pytest.mark.slow

PYTHONS = ("311", "312", "313", "314")
GLIBC = (2, 36)
MACHINES = {"amd64": ("x86_64", 62), "arm64": ("aarch64", 183)}
"""Linux's name of the machine, and ELF's number (`e_machine`)."""
PLAIN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
INSTALLED = """\
Package: {name}
Status: install ok installed
Architecture: amd64
Maintainer: Somebody <somebody@example.com>
Version: {version}
Description: made up

"""


@pytest.fixture(params=sorted(MACHINES))
def unpacked(request, packages, tmp_path):
    """Debian's name of a machine, and the files of its package."""
    package = packages(request.param)
    subprocess.run(["dpkg-deb", "-R", package, tmp_path / "tree"], check=True)
    return request.param, tmp_path / "tree"


def test_the_same_commit_makes_the_same_bytes(tmp_path, packages):
    """Built again, in another directory, it is the same file."""
    assert build(tmp_path / "again").read_bytes() == packages().read_bytes()


def test_every_extension_is_of_its_machine(unpacked):
    """By its name, by the wheel that it came in, and by its own head; none needs a newer libc than Debian 12 has."""
    arch, tree = unpacked
    machine, number = MACHINES[arch]
    extensions = sorted(tree.rglob("*.so"))
    by_python = Counter()
    for extension in extensions:
        content = extension.read_bytes()
        assert content[:4] == b"\x7fELF"
        assert struct.unpack_from("<H", content, 18) == (number,), extension
        wanted = {tuple(map(int, version.split(b"."))) for version in re.findall(rb"GLIBC_([0-9.]+)\0", content)}
        assert max(wanted) <= GLIBC, extension
        abi = re.search(r"\.(?:cpython-(3\d+)|abi3)[-.]", extension.name)
        by_python[abi[1]] += 1
        assert machine in extension.name or "linux-gnu" not in extension.name
    assert {by_python[python] for python in PYTHONS} == {by_python[PYTHONS[0]]}, by_python
    assert set(by_python) - {None} == set(PYTHONS)
    for wheel in tree.rglob("*.dist-info/WHEEL"):
        tags = re.findall(r"^Tag: (.+)$", wheel.read_text(), re.MULTILINE)
        assert tags
        assert all(tag.endswith(("-any", f"_{machine}")) for tag in tags), wheel
    assert f"Architecture: {arch}\n" in (tree / "DEBIAN" / "control").read_text()


def test_both_machines_get_the_same(packages, tmp_path):
    """File by file, but for the extensions' names and what their wheels say of themselves."""
    names = {}
    for arch, (machine, _) in MACHINES.items():
        listed = subprocess.run(
            ["dpkg-deb", "-c", packages(arch)], capture_output=True, text=True, check=True
        ).stdout.replace(machine, "MACHINE")  # fmt: skip
        names[arch] = {line.split()[-1] for line in listed.splitlines()}
    assert names["amd64"] == names["arm64"]


@pytest.mark.parametrize(
    ("python", "libc", "missing"),
    [
        pytest.param("3.11.2-1+b1", "2.36-9+deb12u10", None, id="debian-12"),
        pytest.param("3.13.5-1", "2.41-12", None, id="debian-13"),
        pytest.param("3.12.3-0ubuntu2", "2.39-0ubuntu8.4", None, id="ubuntu-24.04"),
        pytest.param("3.14.0-1", "2.42-1", None, id="the newest Python it is for"),
        pytest.param("3.10.6-1~22.04.1", "2.35-0ubuntu3.8", "python3 (>= 3.11)", id="ubuntu-22.04"),
        pytest.param("3.11.2-1", "2.35-0ubuntu3.8", "libc6 (>= 2.36)", id="ubuntu-22.04 with a newer Python"),
        pytest.param("3.15.0-1", "2.43-1", "python3 (< 3.15)", id="a Python to come"),
    ],
)
def test_where_apt_installs_it(packages, tmp_path, python, libc, missing):
    """On what has a Python and a libc that it is for; elsewhere apt says what is missing."""
    status = system(tmp_path, python, libc)
    (tmp_path / "lists/partial").mkdir(parents=True)
    done = subprocess.run(
        [
            "apt-get", "--simulate", f"-oDir::State={tmp_path}", f"-oDir::State::status={status}",
            f"-oDir::Cache={tmp_path}", "-oDir::Etc::sourcelist=/dev/null", "-oDir::Etc::sourceparts=/dev/null",
            "install", packages(),
        ],
        capture_output=True, text=True, check=False, env=PLAIN,
    )  # fmt: skip
    assert (done.returncode == 0) is (missing is None), done.stdout + done.stderr
    assert (missing or "Inst loyalty-agent") in done.stdout


def test_where_it_cannot_run_nothing_of_it_is_run(packages, tmp_path):
    """Put on Ubuntu 22.04 by dpkg, which asks nobody beforehand, it is not configured: no user is made, no service."""
    status = system(tmp_path, "3.10.6-1~22.04.1", "2.35-0ubuntu3.8")
    for folder in ("info", "updates"):
        (status.parent / folder).mkdir()
    done = subprocess.run(
        ["dpkg", f"--root={tmp_path}", "--force-not-root", "--log=/dev/null", "-i", packages()],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=PLAIN,
    )  # fmt: skip
    assert done.returncode != 0
    assert "depends on python3 (>= 3.11)" in done.stdout
    assert "Status: install ok unpacked" in status.read_text()
    assert "Setting up" not in done.stdout


def system(root, python, libc):
    """What dpkg would know of a system with these versions."""
    status = root / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    versions = {"python3": python, "libc6": libc, "adduser": "3.118", "init-system-helpers": "1.62"}
    status.write_text("".join(INSTALLED.format(name=name, version=version) for name, version in versions.items()))
    return status
