"""Where things lie."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agent import paths


@pytest.fixture(autouse=True)
def no_service_manager(monkeypatch):
    for name in ("CONFIGURATION_DIRECTORY", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY", "RUNTIME_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


def test_a_service_manager_s_word_counts(monkeypatch):
    """The first of several directories."""
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", "/etc/a:/etc/b")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/a")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/a")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/a:/run/b")
    assert (paths.config_dir(), paths.state_dir(None)) == (Path("/etc/a"), Path("/var/lib/a"))
    assert paths.credentials_dir() == Path("/run/credentials/a")
    assert (paths.runtime_dir(None), paths.runtime_dir("/srv/agent")) == (Path("/run/a"), Path("/run/a"))


def test_a_linux_service_has_fixed_places(monkeypatch):
    """Where administrators look."""
    monkeypatch.setattr(paths, "PLATFORM", "linux")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert (paths.config_dir(), paths.state_dir(None)) == (Path("/etc/loyalty-agent"), Path("/var/lib/loyalty-agent"))
    assert (paths.runtime_dir(None), paths.credentials_dir()) == (Path("/run/loyalty-agent"), None)


def test_a_developer_s_state_is_their_own(monkeypatch, tmp_path):
    """Nothing is written outside the home directory."""
    monkeypatch.setattr(paths, "PLATFORM", "linux")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert paths.state_dir(None) == paths.runtime_dir(None) == tmp_path / ".local/state/loyalty-agent"


def test_how_it_is_started_anew(monkeypatch):
    """By Python, or by Debian's package, whose libraries no other Python sees."""
    assert paths.program() == [sys.executable, "-m", "agent"]
    monkeypatch.setattr(paths, "__file__", "/usr/lib/loyalty-agent/agent/paths.py")
    assert paths.program() == ["/usr/bin/loyalty-agent"]


def test_the_configured_directory_wins(monkeypatch, tmp_path):
    """Over everything, and `~` is the user's home."""
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/a")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.state_dir("/srv/agent") == Path("/srv/agent")
    assert paths.state_dir("~/agent") == tmp_path / "agent"


@pytest.mark.parametrize(("state", "configured"), [("/var/lib/a", None), (None, "/srv/agent")])
def test_without_a_runtime_directory_a_socket_lies_beside_the_state(monkeypatch, state, configured):
    """Wherever the state was put."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    if state is not None:
        monkeypatch.setenv("STATE_DIRECTORY", state)
    assert paths.runtime_dir(configured) == paths.state_dir(configured) == Path(configured or state)
