"""The package lived with, on booted systems without a network: from the installation to the last byte."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
from pathlib import Path

import pytest

from tests.packaging.builds import variants
from tests.packaging.container import SYSTEMS, CannotBootError, Container, booted, make_root

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # a system is fetched, and lived with

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
EXPOSURE = 1.3
DROP_IN = "/etc/systemd/system/loyalty-agent.service.d/test.conf"
PLACES = ("/", "/run", "/tmp", "/dev/shm")
OF_THE_SYSTEM = re.compile(
    r"/var/(log|cache|lib/(dpkg|systemd|apt))/|/run/(systemd|log|dbus|udev|user|lock|utmp|motd)|/tmp/systemd-private-"
    r"|/run/(adduser|agetty\.reload)$|/etc/((passwd|group|g?shadow|sub[ug]id)-?|\.pwd\.lock|ld\.so\.cache)$"
)
"""Where dpkg, adduser and the system itself note what happens."""


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_life(tmp_path, packages, name):
    """Installed, selling, rehearsing, killed, hung, misconfigured, updated, put back, removed, put back, purged."""
    given = tmp_path / "given"
    given.mkdir()
    variants(packages(), given)
    shutil.copy(Path(__file__).with_name("till.py"), given)
    try:
        with booted(make_root(SYSTEMS[name], tmp_path / "root"), given, tmp_path / f"{name}.log") as container:
            container.run("sh", "-c", "echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/quick")
            before = files(container)
            till = installed(container)
            _is_confined(till)
            _starts_processes_of_its_own(till)
            _comes_back(till)
            _never_gives_up(till)
            _needs_somebody_for_its_configuration(till)
            _is_updated_and_put_back(till)
            _survives_a_bad_update(till)
            _does_not_go_back_behind_its_queue(till)
            _is_removed_and_comes_back(till)
            _leaves_nothing(till, before)
    except CannotBootError as error:
        pytest.skip(f"{name}: {error}")
    finally:
        shutil.rmtree(tmp_path / "root", ignore_errors=True)


class Till(Container):
    """A booted system with the agent on it, and the sales that it has taken."""

    def __init__(self, container: Container, token: str) -> None:
        super().__init__(container.leader)
        self._token, self.sales = token, 0

    def sell(self, count):
        """All of so many more sales are taken."""
        taken = self.run("python3", "/given/till.py", "sell", self._token, str(self.sales), str(count))
        assert int(taken) == count
        self.sales += count

    def keeps_all(self):
        """The agent runs, and every sale waits in it."""
        self.wait("systemctl", "is-active", "loyalty-agent", until="active\n")
        assert int(self.run("python3", "/given/till.py", "kept", self._token, "0", str(self.sales))) == self.sales

    def shown(self, *names):
        """Properties of the service as systemd has them."""
        return self.run("systemctl", "show", "loyalty-agent", "--value", "-p", ",".join(names)).strip()

    def installs(self, package):
        """Another version takes its place, while nobody can be asked."""
        self.run("dpkg", "-i", f"/given/{package}.deb", DEBIAN_FRONTEND="noninteractive")

    def version(self):
        """Which version dpkg has, and how."""
        return self.run("dpkg-query", "-W", "-f", "${Version} ${Status}", "loyalty-agent").split("-")[-1]

    @contextlib.contextmanager
    def drop_in(self, lines):
        """The service under other settings."""
        self.run("mkdir", "-p", str(Path(DROP_IN).parent))
        self.run("sh", "-c", f"cat > {DROP_IN}", stdin=f"[Service]\n{lines}\n")
        self.run("systemctl", "daemon-reload")
        yield
        self.run("rm", "-r", str(Path(DROP_IN).parent))
        self.run("systemctl", "daemon-reload")


def files(container):
    """Every file and directory."""
    return set(container.run("find", *PLACES, "-xdev", check=False).splitlines())


def installed(container):
    container.run("dpkg", "-i", "/given/agent.deb")
    till = Till(container, "")
    assert till.shown("ActiveState") == "inactive", "nobody said which till this is"
    assert till.run("systemctl", "is-enabled", "loyalty-agent") == "enabled\n"
    till.run("sh", "-c", "cat > /etc/loyalty-agent/config.toml", stdin=CONFIG)
    till.run("loyalty-agent", "secret", "set", "voyado.api_key", stdin="made-up")
    till.run("loyalty-agent", "config", "check")
    till.run("systemctl", "start", "loyalty-agent")
    assert till.shown("StatusText") == "takes sales on 127.0.0.1:8787"
    token = json.loads(till.run("loyalty-agent", "token", "add", "kassa", "--scope", "pos", "--json"))["token"]
    till = Till(container, token)
    till.sell(20)
    return till


def _is_confined(till):
    process = till.shown("MainPID")
    status = dict(
        line.split(":\t", 1) for line in till.run("cat", f"/proc/{process}/status").splitlines() if ":\t" in line
    )
    assert (status["NoNewPrivs"], status["Seccomp"], int(status["CapEff"], 16)) == ("1", "2", 0)
    assert status["Uid"].split()[0] == till.run("id", "-u", "loyalty-agent").strip()
    assert till.ended("systemd-analyze", "verify", "loyalty-agent.service").stdout == ""
    said = till.run("systemd-analyze", "security", "--no-pager", "loyalty-agent.service")
    assert float(re.search(r"exposure level for loyalty-agent.service: ([0-9.]+)", said)[1]) <= EXPOSURE
    assert "made-up" not in till.run("cat", f"/proc/{process}/environ", f"/proc/{process}/cmdline")
    assert "network" not in till.shown("After", "Requires", "Requisite", "Wants", "BindsTo")
    journal = till.run("journalctl", "--namespace=loyalty-agent", "--no-pager")
    assert "started" in journal
    assert re.search(r"/var/log/journal/\w+\.loyalty-agent\) is \S+, max 50\.?0?M", journal), "kept within bounds"


def _starts_processes_of_its_own(till):
    """What looks through its databases beside it, and the agent that a drill rehearses with."""
    journal = "journalctl --namespace=loyalty-agent --no-pager"
    till.wait("sh", "-c", f"{journal} | grep -c damage.checked", until="2")
    assert "damage.check_failed" not in till.run(*journal.split())
    assert "1 of 1 passed" in till.run("loyalty-agent", "drill", "--scene", "line-down")


def _comes_back(till):
    till.run("systemctl", "kill", "-s", "KILL", "loyalty-agent")
    till.wait("systemctl", "show", "loyalty-agent", "-P", "NRestarts", until="1")
    till.keeps_all()

    with till.drop_in("WatchdogSec=3"):
        till.run("systemctl", "restart", "loyalty-agent")
        time.sleep(7)
        assert till.shown("NRestarts") == "0", "an agent that lives was taken for dead"
        till.run("systemctl", "kill", "-s", "STOP", "loyalty-agent")
        till.wait("systemctl", "show", "loyalty-agent", "-P", "NRestarts", until="1")
        till.keeps_all()


def _never_gives_up(till):
    """More starts fail, sooner, than systemd would let pass by itself: five in ten seconds."""
    with till.drop_in("RestartSec=100ms\nExecStartPre=/bin/false"):
        assert till.ended("systemctl", "restart", "loyalty-agent").returncode != 0
        till.wait("sh", "-c", "test $(systemctl show loyalty-agent -P NRestarts) -gt 8 && echo often", until="often")
    till.keeps_all()


def _needs_somebody_for_its_configuration(till):
    till.run("sh", "-c", "echo 'no = such setting' >> /etc/loyalty-agent/config.toml")
    assert till.ended("systemctl", "restart", "loyalty-agent").returncode != 0
    time.sleep(4)
    assert till.shown("ExecMainStatus", "NRestarts", "ActiveState").split() == ["0", "78", "failed"]
    till.run("sh", "-c", "cat > /etc/loyalty-agent/config.toml", stdin=CONFIG)
    till.run("systemctl", "start", "loyalty-agent")
    till.keeps_all()


def _is_updated_and_put_back(till):
    till.run("sh", "-c", "echo '# ours' >> /etc/systemd/journald@loyalty-agent.conf")
    for package, version in (("later", "2"), ("agent", "1")):
        before = till.shown("MainPID")
        till.installs(package)
        assert till.version() == f"{version} install ok installed"
        assert till.shown("MainPID") != before
        till.keeps_all()
    assert "# ours" in till.run("cat", "/etc/systemd/journald@loyalty-agent.conf")
    till.sell(5)


def _survives_a_bad_update(till):
    """The version before is there and runs, with every sale, and nobody was there to see to it."""
    _is_refused(till, "broken", "no such table: nowhere")
    assert till.version() == "1 install ok installed"
    till.run("systemctl", "restart", "loyalty-agent")
    till.keeps_all()


def _does_not_go_back_behind_its_queue(till):
    """A version that could not read what a later one has changed is refused, and the later one goes on."""
    till.installs("wider")
    till.keeps_all()
    till.sell(5)
    _is_refused(till, "agent", "written by a newer program (it has of_tomorrow)")
    assert till.version() == "4 install ok installed"


def _is_refused(till, package, reason):
    refused = till.ended("dpkg", "-i", f"/given/{package}.deb")
    assert refused.returncode != 0
    assert refused.stdout.count("cannot go on with the till's queue") == 1
    assert reason in refused.stdout
    assert till.run("dpkg", "--audit") == ""
    assert till.run("find", f"{STATE}/spool", "-type", "f") == ""
    till.keeps_all()
    till.sell(5)


def _is_removed_and_comes_back(till):
    till.run("dpkg", "-r", "loyalty-agent")
    assert {"outbox.db", "storage.key", "tokens.json"} <= set(till.run("ls", STATE).split())
    refused = till.ended("dpkg", "--purge", "loyalty-agent")
    assert refused.returncode != 0
    assert f"{till.sales} sales have not reached the loyalty system" in refused.stdout
    till.installs("wider")
    till.keeps_all()
    till.sell(5)


def _leaves_nothing(till, before):
    for unit in ("service", "socket"):
        till.run("mkdir", "-p", f"/etc/systemd/system/loyalty-agent.{unit}.d")
        till.run("touch", f"/etc/systemd/system/loyalty-agent.{unit}.d/ours.conf", "/etc/default/loyalty-agent")
    till.run("dpkg", "-r", "loyalty-agent")
    assert f"{till.sales} sales" in till.ended("dpkg", "--purge", "loyalty-agent").stdout
    till.run("dpkg", "--purge", "loyalty-agent", LOYALTY_AGENT_PURGE="force")
    left = files(till) - before
    assert [path for path in left if "loyalty" in path.lower()] == []
    assert sorted(path for path in left if not OF_THE_SYSTEM.match(path)) == []
    for name in ("passwd", "group"):
        assert till.ended("getent", name, "loyalty-agent").returncode != 0
    found = till.ended("grep", "-rlF", "--devices=skip", "701740605", "/etc", "/var", "/run", "/tmp", "/root", "/home")
    assert found.stdout == "", "the customer of every sale"
