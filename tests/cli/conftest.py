"""A configuration to run commands with, and the commands run in this process."""

import contextlib
import json
import os
import random
import shutil
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner
from e2e.shop import eventually
from ports import free_port

from agent.cli.configuration import load
from agent.cli.invocation import Invocation
from agent.cli.main import program
from agent.connectors.voyado.simulator import SimulatorSettings, ThreadedSimulator, VoyadoSimulator
from agent.state import State
from agent.workbench.agent_process import AgentProcess

CONFIG = """
[agent]
store_id = "1042"
till_id = "03"
state_dir = "{state}"

[api]
listen = ["{listen}"]

[loyalty]
fallback_level = 2

[voyado]
base_url = "http://127.0.0.1:9"
api_key = "file:voyado.key"
feed_secret = "credential:voyado-sftp"
"""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """Nothing of the machine's own agent or service manager reaches a test."""
    for name in list(os.environ):
        if name.startswith("LOYALTY_AGENT__") or name.endswith("_DIRECTORY"):
            monkeypatch.delenv(name)


@pytest.fixture
def configure(tmp_path):
    """Writes a sound configuration and returns its path."""

    def write(listen="127.0.0.1:9", more=""):
        (tmp_path / "voyado.key").write_text("made-up-key\n")
        (tmp_path / "voyado.key").chmod(0o600)
        file = tmp_path / "config.toml"
        file.write_text(CONFIG.format(state=tmp_path / "state", listen=listen) + more)
        return file

    return write


@pytest.fixture
def config(configure):
    return configure()


@pytest.fixture
def call(config):
    """Runs a command on the configuration; gives exit status, standard output and standard error."""

    def run(*args, stdin=None, with_config=True):
        before = ["--config", str(config)] if with_config else []
        return CliRunner().invoke(program, [*before, *map(str, args)], input=stdin)

    return run


@pytest.fixture
def answer(call):
    """Runs a command with --json and gives what it printed."""

    def run(*args, **how):
        return json.loads(call(*args, "--json", **how).stdout)

    return run


TILL = """
[agent]
store_id = "1042"
till_id = "03"
state_dir = "{root}/state"
[api]
listen = ["127.0.0.1:{port}"]
[voyado]
base_url = "{url}"
api_key = "file:voyado.key"
feed = "{feed}"
"""


class Till:
    """A till's files, and what doctor says of them."""

    def __init__(self, root, *, url, feed, port):
        self.root, self.config, self.state = root, root / "config.toml", root / "state"
        self._facts = {"root": root, "url": url, "feed": feed, "port": port}
        self.port = port
        self.write()
        (root / "voyado.key").write_text("sim-key")
        (root / "voyado.key").chmod(0o600)

    def write(self, more="", **facts):
        self.config.write_text(TILL.format(**self._facts | facts) + more)

    def run(self, *args):
        """Exit status, and what was printed."""
        done = CliRunner().invoke(program, ["--config", str(self.config), *args])
        return done.exit_code, done.stdout

    def sheet(self, *args):
        """The rows of each check."""
        status, told = self.run("doctor", "--json", *args)
        rows = {}
        for row in json.loads(told)["checks"]:
            rows.setdefault(row["check"], []).append(row)
        assert status == int(any(row["state"] == "fail" for found in rows.values() for row in found))
        return rows

    def outbox(self):
        """A connection to it."""
        state = State(load(Invocation(config=self.config), secrets=False))
        return state.outbox(state.keys(may_create=False)).connect()

    def look(self, check, *args):
        """State and detail of a check that has one row."""
        (row,) = self.sheet(*args)[check]
        assert row["remedy"] or row["state"] in ("ok", "unknown")
        return row["state"], row["detail"]


@pytest.fixture(scope="session")
def tenant(tmp_path_factory):
    """A tenant, and how to reach it."""
    root = tmp_path_factory.mktemp("tenant")
    settings = SimulatorSettings(root=root / "voyado", receipt_interval_s=None, export_interval_s=None)
    tenant = VoyadoSimulator(settings, now=lambda: datetime.now(UTC), rng=random.Random(1))
    tenant.seed(20)
    tenant.export_full()
    with ThreadedSimulator(tenant, port=free_port()) as server:
        yield tenant, server.url


@pytest.fixture(scope="session")
def running(tenant, tmp_path_factory):
    """A till whose agent runs."""
    root = tmp_path_factory.mktemp("till")
    till = Till(root, url=tenant[1], feed=tenant[0].exports.folder.as_uri(), port=free_port())
    agent = AgentProcess(till.config, f"http://127.0.0.1:{till.port}", root / "agent.log")
    agent.start()
    try:
        eventually(lambda: json.loads(till.run("status", "--json")[1]).get("replica", {}).get("as_of"))
        assert till.run("token", "add", "pos-1", "--scope", "pos")[0] == 0
        yield till
    finally:
        agent.stop()


@pytest.fixture(scope="session")
def left(running, tmp_path_factory):
    """What an agent left: copied while it ran, as after a power cut."""
    folder = tmp_path_factory.mktemp("left") / "state"
    shutil.copytree(running.state, folder, copy_function=_as_it_lies)
    (folder / "cli.token").unlink()
    return folder


def _as_it_lies(source, target):
    """A journal may go with the connection that had it, between the look into the directory and this one."""
    with contextlib.suppress(FileNotFoundError):
        shutil.copy2(source, target)


@pytest.fixture
def till(tenant, left, tmp_path):
    """A till whose agent has stopped."""
    shutil.copytree(left, tmp_path / "state")
    (tmp_path / "state").chmod(0o700)
    return Till(tmp_path, url=tenant[1], feed=tenant[0].exports.folder.as_uri(), port=free_port())
