"""The systemd unit, as systemd's own analysis reads it."""

from __future__ import annotations

import configparser
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
LAUNCHER = Path(__file__).parents[2] / "packaging" / "deb" / "loyalty-agent"
EXPOSURE = 1.3


def directives(name):
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read(UNITS / name)
    return parser


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_it_is_sandboxed():
    """The exposure that systemd reckons is no higher than 1.3 of 10."""
    said = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", UNITS / "loyalty-agent.service"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "Unknown key" not in said.stderr
    assert float(re.search(r"exposure level for loyalty-agent.service: ([0-9.]+)", said.stdout)[1]) <= EXPOSURE


def test_a_process_of_the_agent_s_is_no_second_agent(monkeypatch):
    """What multiprocessing starts reads the package's program as a module, and goes on to its own work."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert "main" not in runpy.run_path(str(LAUNCHER), run_name="__mp_main__")


def test_nothing_keeps_it_down_but_a_faulty_configuration():
    """It is started again for ever, waits for no network, and ends for good with 78 alone."""
    unit = directives("loyalty-agent.service")
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert not {"After", "Requires", "Wants", "BindsTo"} & set(unit["Unit"])
    assert (unit["Service"]["Restart"], unit["Service"]["RestartPreventExitStatus"]) == ("always", "78")


def test_its_journal_is_its_own_and_comes_to_an_end():
    """What it logs is apart from the machine's, survives a restart, and is gone after a week or at 50 MB."""
    assert directives("loyalty-agent.service")["Service"]["LogNamespace"] == "loyalty-agent"
    journal = directives("journald@loyalty-agent.conf")["Journal"]
    assert (journal["Storage"], journal["SystemMaxUse"], journal["MaxRetentionSec"]) == ("persistent", "50M", "7day")
    assert journal["MaxFileSec"] == "1day", "whole files are removed: a week is one of eight days at most"


def test_it_keeps_out_of_memory_dumps():
    """No core dump holds a customer."""
    assert directives("loyalty-agent.service")["Service"]["LimitCORE"] == "0"


def test_the_socket_is_the_default_door():
    """It holds the address that `api.listen` has without being told."""
    from agent.settings import ApiSection

    assert directives("loyalty-agent.socket")["Socket"]["ListenStream"] in ApiSection().listen
