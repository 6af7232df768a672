"""A configuration to run commands with, and the commands run in this process."""

import json
import os

import pytest
from click.testing import CliRunner

from agent.cli.main import program

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
