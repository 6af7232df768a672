"""The Debian package: built, and lived with on a booted Debian without a network."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.packaging.container import CannotBootError, Container, booted, make_root

pytestmark = pytest.mark.slow

BUILDER = Path(__file__).parents[2] / "packaging" / "build_deb.py"
EPOCH = "1771063200"
CONFIG = """
[agent]
store_id = "1042"
till_id = "03"
country = "SE"
[voyado]
base_url = "https://tenant.voyado.example.com"
api_key = "credential:voyado-api-key"
feed = "api"
"""
STATE = "/var/lib/loyalty-agent"


def build(output):
    """The package for this machine, unpacked quickly rather than small."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("needs dpkg-deb")
    subprocess.run(
        [sys.executable, BUILDER, "--output", output, "--compression", "none"],
        env={"PATH": "/usr/bin:/bin", "SOURCE_DATE_EPOCH": EPOCH, **_of_pip()}, timeout=600, check=True,
    )  # fmt: skip
    (package,) = output.glob("*.deb")
    return package


def _of_pip():
    return {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))}


def next_revision(package, output):
    """The same package under the next version."""
    tree = output / "tree"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(control.read_text().replace("-1\n", "-2\n", 1))
    later = output / "later.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, later], check=True)
    shutil.rmtree(tree)
    return later


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """The package, built by whichever of the test run's processes comes first."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with (shared / "package.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = list((shared / "package").glob("*.deb"))
        return found[0] if found else build(shared / "package")


def test_the_same_commit_makes_the_same_bytes(tmp_path, package):
    """Built again, in another directory, it is the same file."""
    assert build(tmp_path / "again").read_bytes() == package.read_bytes()


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_a_life_on_debian(tmp_path, package, suite):
    """Installed, configured, selling, killed, hung, misconfigured, updated, put back, removed, purged."""
    (tmp_path / "given").mkdir()
    shutil.copy(package, tmp_path / "given" / "agent.deb")
    next_revision(tmp_path / "given" / "agent.deb", tmp_path / "given")
    shutil.copy(Path(__file__).with_name("till.py"), tmp_path / "given")
    try:
        with booted(make_root(suite, tmp_path / "root"), tmp_path / "given", tmp_path / f"{suite}.log") as debian:
            token = _installs_and_sells(debian)
            _is_confined(debian)
            _comes_back(debian, token)
            _needs_somebody_for_its_configuration(debian)
            _is_updated_and_put_back(debian, token)
            _leaves(debian)
    except CannotBootError as error:
        pytest.skip(str(error))
    finally:
        shutil.rmtree(tmp_path / "root", ignore_errors=True)


def sold(debian: Container, token, first, count):
    return int(debian.run("python3", "/given/till.py", "sell", token, str(first), str(count)))


def kept(debian: Container, token, count):
    return int(debian.run("python3", "/given/till.py", "kept", token, "0", str(count)))


def shown(debian: Container, name):
    return debian.run("systemctl", "show", "loyalty-agent", "-P", name).strip()


def _installs_and_sells(debian):
    debian.run("dpkg", "-i", "/given/agent.deb")
    assert shown(debian, "ActiveState") == "inactive", "nobody said which till this is"
    debian.run("sh", "-c", "cat > /etc/loyalty-agent/config.toml", stdin=CONFIG)
    debian.run("loyalty-agent", "secret", "set", "voyado.api_key", stdin="made-up")
    debian.run("loyalty-agent", "config", "check")
    debian.run("systemctl", "start", "loyalty-agent")
    assert shown(debian, "StatusText") == "takes sales on 127.0.0.1:8787"
    token = json.loads(debian.run("loyalty-agent", "token", "add", "kassa", "--scope", "pos", "--json"))["token"]
    assert sold(debian, token, 0, 20) == 20
    return token


def _is_confined(debian):
    process = shown(debian, "MainPID")
    status = dict(
        line.split(":\t", 1) for line in debian.run("cat", f"/proc/{process}/status").splitlines() if ":\t" in line
    )
    assert (status["NoNewPrivs"], status["Seccomp"], int(status["CapEff"], 16)) == ("1", "2", 0)
    assert status["Uid"].split()[0] == debian.run("id", "-u", "loyalty-agent").strip()
    assert debian.ended("systemd-analyze", "verify", "loyalty-agent.service").stdout == ""
    assert "made-up" not in debian.run("cat", f"/proc/{process}/environ", f"/proc/{process}/cmdline")
    assert "started" in debian.run("journalctl", "--namespace=loyalty-agent", "--no-pager")


def _comes_back(debian, token):
    debian.run("systemctl", "kill", "-s", "KILL", "loyalty-agent")
    debian.wait("systemctl", "show", "loyalty-agent", "-P", "NRestarts", until="1")
    debian.wait("systemctl", "is-active", "loyalty-agent", until="active\n")
    assert kept(debian, token, 20) == 20

    debian.run("mkdir", "-p", "/etc/systemd/system/loyalty-agent.service.d")
    debian.run(
        "sh", "-c", "cat > /etc/systemd/system/loyalty-agent.service.d/soon.conf",
        stdin="[Service]\nWatchdogSec=3\n",
    )  # fmt: skip
    debian.run("systemctl", "daemon-reload")
    debian.run("systemctl", "restart", "loyalty-agent")
    time.sleep(7)
    assert shown(debian, "NRestarts") == "0", "an agent that lives was taken for dead"
    debian.run("systemctl", "kill", "-s", "STOP", "loyalty-agent")
    debian.wait("systemctl", "show", "loyalty-agent", "-P", "NRestarts", until="1")
    debian.wait("systemctl", "is-active", "loyalty-agent", until="active\n")
    assert kept(debian, token, 20) == 20
    debian.run("rm", "-r", "/etc/systemd/system/loyalty-agent.service.d")
    debian.run("systemctl", "daemon-reload")


def _needs_somebody_for_its_configuration(debian):
    debian.run("sh", "-c", "echo 'no = such setting' >> /etc/loyalty-agent/config.toml")
    assert debian.ended("systemctl", "restart", "loyalty-agent").returncode != 0
    time.sleep(4)
    assert (shown(debian, "ExecMainStatus"), shown(debian, "NRestarts")) == ("78", "0")
    assert shown(debian, "ActiveState") == "failed"
    debian.run("sh", "-c", "cat > /etc/loyalty-agent/config.toml", stdin=CONFIG)
    debian.run("systemctl", "start", "loyalty-agent")


def _is_updated_and_put_back(debian, token):
    debian.run("sh", "-c", "echo '# ours' >> /etc/systemd/journald@loyalty-agent.conf")
    before = shown(debian, "MainPID")
    for package in ("/given/later.deb", "/given/agent.deb"):
        debian.run("dpkg", "-i", package, DEBIAN_FRONTEND="noninteractive")
        assert shown(debian, "ActiveState") == "active"
        assert shown(debian, "MainPID") != before
        assert kept(debian, token, 20) == 20
    assert "# ours" in debian.run("cat", "/etc/systemd/journald@loyalty-agent.conf")
    assert sold(debian, token, 20, 5) == 5


def _leaves(debian):
    debian.run("dpkg", "-r", "loyalty-agent")
    assert {"outbox.db", "storage.key", "tokens.json"} <= set(debian.run("ls", STATE).split())
    refused = debian.ended("dpkg", "--purge", "loyalty-agent")
    assert refused.returncode != 0
    assert "25 sales have not reached the loyalty system" in refused.stdout
    assert "outbox.db" in debian.run("ls", STATE)
    debian.run("dpkg", "--purge", "loyalty-agent", LOYALTY_AGENT_PURGE="force")
    left = debian.run(
        "find", "/", "-xdev", "-name", "*loyalty*", "-not", "-path", "/proc/*", "-not", "-path", "/sys/*",
        "-not", "-path", "/given/*", check=False,
    )  # fmt: skip
    assert left == ""
    assert debian.ended("getent", "passwd", "loyalty-agent").returncode != 0
