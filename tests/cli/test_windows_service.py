"""`service`, as far as it runs without Windows."""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner

from agent import paths, windows_service
from agent.cli.main import program
from agent.locks import try_hold
from agent.windows_service import ServiceStatus, WindowsServiceError


@pytest.fixture
def windows(monkeypatch, till):
    """A till that takes itself for a Windows machine's; its whole directory is the agent's."""
    monkeypatch.setattr(paths, "PLATFORM", "win32")
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(till.root))
    monkeypatch.setenv("STATE_DIRECTORY", str(till.root / "data"))
    return till


def call(*args):
    """Exit status, and what was printed."""
    done = CliRunner().invoke(program, args)
    return done.exit_code, done.output


def waits(till, count):
    """So many deliveries wait in the till's queue."""
    connection = till.outbox()
    connection.execute("INSERT INTO counts (what, of, n) VALUES ('queued', 'voyado', ?)", (count,))
    connection.close()


def test_elsewhere_there_is_no_windows_service():
    """On Linux systemd does it, and that is said; nothing is tried."""
    status, told = call("service", "status")

    assert (status, "systemctl" in told) == (64, True)


@pytest.mark.parametrize(("state", "status"), [("running", 0), ("stopped", 1), ("starting", 1)])
def test_status_is_0_only_while_it_runs(windows, monkeypatch, state, status):
    """For scripts, as `loyalty-agent status`."""
    monkeypatch.setattr(windows_service, "status", lambda: ServiceStatus(state, 0, automatic=True))

    ended, told = call("service", "status", "--json")

    assert ended == status
    assert json.loads(told) == {"state": state, "exit_status": 0, "automatic": True}


def test_a_refusal_of_windows_is_a_matter_of_permission(windows, monkeypatch):
    """Whoever is no administrator hears so."""

    def refuse():
        raise WindowsServiceError("OpenService: Access is denied (5)") from PermissionError(5, "Access is denied")

    monkeypatch.setattr(windows_service, "start", refuse)

    ended, told = call("service", "start")

    assert (ended, "administrator" in told) == (77, True)


@pytest.mark.parametrize("there", [True, False], ids=["configured", "new"])
def test_a_configuration_is_taken_only_where_there_is_none(windows, monkeypatch, tmp_path, there):
    """A machine that is configured keeps its own, at each update of a mass installation."""
    monkeypatch.setattr(windows_service, "prepare", lambda: None)
    monkeypatch.setattr(windows_service, "status", lambda: ServiceStatus("stopped", 0, automatic=True))
    own = windows.config.read_text()
    if not there:
        windows.config.unlink()
    handed = tmp_path / "from-the-share.toml"
    handed.write_text("[agent]\n")

    assert call("service", "prepare", "--take", handed)[0] == 0

    assert windows.config.read_text() == (own if there else "[agent]\n")


def test_what_is_unsent_is_not_erased(windows):
    """An uninstallation with KEEPDATA=0 ends with an error and the count, and nothing is gone."""
    waits(windows, 3)

    ended, told = call("service", "erase")

    assert (ended, "3 deliveries have not reached" in told) == (1, True)
    assert windows.config.exists()
    assert (windows.state / "outbox.db").exists()


@pytest.mark.parametrize(
    ("before", "words"),
    [(lambda _: None, ()), (lambda till: waits(till, 3), ("--unsent",))],
    ids=["all-is-sent", "given-up"],
)
def test_erasing_leaves_nothing(windows, before, words):
    """Configuration, secrets, sales and logs, once nothing waits or it was given up."""
    before(windows)

    assert call("service", "erase", *words)[0] == 0

    assert not windows.root.exists()


def test_nothing_is_erased_under_a_running_agent(windows):
    """Not even what was given up: the agent would go on with half of its files."""
    (windows.root / "data").mkdir()
    handle = os.open(windows.root / "data" / "agent.lock", os.O_RDWR | os.O_CREAT)
    assert try_hold(handle)

    ended, _ = call("service", "erase", "--unsent")

    os.close(handle)
    assert (ended, windows.config.exists()) == (75, True)


def test_a_queue_that_cannot_be_read_is_not_erased(windows):
    """Without its key nobody knows what waits in it."""
    (windows.state / "storage.key").unlink()

    ended, told = call("service", "erase")

    assert (ended, "cannot be read" in told) == (1, True)
    assert (windows.state / "outbox.db").exists()


def test_a_machine_without_anything_is_erased_too(monkeypatch, tmp_path):
    """Nobody ever configured it: there is nothing to lose, and the uninstallation goes on."""
    monkeypatch.setattr(paths, "PLATFORM", "win32")
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(tmp_path / "nothing"))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "nothing" / "data"))

    assert call("service", "erase")[0] == 0
