"""`queue rehearse`: whether this version can go on with a queue, asked without touching it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from agent.store.migrations import outbox


@pytest.fixture
def of_tomorrow(monkeypatch):
    """This version as one whose schema has one more step."""

    def comes_with(step):
        monkeypatch.setattr(outbox, "_migrations", list(outbox._migrations))
        outbox(name="of_tomorrow")(step)

    return comes_with


def widen(db):
    db.execute("ALTER TABLE deliveries ADD COLUMN of_tomorrow INTEGER")


def test_there_may_be_nothing_to_go_on_with(answer):
    """A till that was never started has no queue, and no key is made for it."""
    assert answer("queue", "rehearse") == {"bytes": None, "steps": []}


def test_the_queue_of_this_version(till):
    """It is gone on with as it is."""
    status, told = till.run("queue", "rehearse")

    assert status == 0
    assert told.startswith("This version can go on with the queue (")
    assert told.endswith("), as it is\n")


def test_the_queue_of_the_version_before(till, of_tomorrow):
    """What would be done to it is named, and not done."""
    of_tomorrow(widen)
    status, told = till.run("queue", "rehearse", "--json")

    assert (status, json.loads(told)["steps"]) == (0, ["of_tomorrow"])
    assert json.loads(till.run("queue", "rehearse", "--json")[1])["steps"] == ["of_tomorrow"]
    assert list((till.state / "spool").iterdir()) == []


def test_a_change_that_fails(till, of_tomorrow):
    """74, by the code that the package looks for, with what is wrong."""
    of_tomorrow(lambda db: db.execute("INSERT INTO nowhere VALUES (1)"))
    status, told = till.run("queue", "rehearse", "--json")
    error = json.loads(told)["error"]

    assert (status, error["code"]) == (74, "storage.schema")
    assert "no such table: nowhere" in error["message"]


def test_beside_a_running_agent(running, of_tomorrow):
    """It holds nothing up, and the agent's own queue stays as it is."""
    of_tomorrow(widen)
    assert running.run("queue", "rehearse")[0] == 0
    assert json.loads(running.run("status", "--json")[1])["reachable"] is True
    with pytest.MonkeyPatch.context() as of_today:
        of_today.setattr(outbox, "_migrations", outbox._migrations[:-1])
        assert json.loads(running.run("queue", "rehearse", "--json")[1])["steps"] == []


@pytest.fixture
def of_the_service(till):
    """The till's files as a package has them: the service's own, but for its storage key, which root hands over."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    shutil.move(till.state, root / "state")
    (root / "credentials").mkdir(0o700)
    shutil.move(root / "state" / "storage.key", root / "credentials" / "storage")
    shutil.copy(till.root / "voyado.key", root)
    for path in (root / "state", *(root / "state").rglob("*")):
        os.chown(path, 65534, 65534)
    till.root, till.config, till.state = root, root / "config.toml", root / "state"
    till.write('[storage]\nkey = "credential:storage"\n', root=root)
    yield till
    shutil.rmtree(root)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand a file to somebody else")
def test_by_root_on_the_service_s_files(of_the_service, of_tomorrow, monkeypatch):
    """The key that is handed over is root's, the work is the service's: nothing is left that it could not read."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    of_tomorrow(widen)
    status, told = of_the_service.run("queue", "rehearse", "--json")

    assert (status, json.loads(told)["steps"]) == (0, ["of_tomorrow"])
    assert json.loads(of_the_service.run("status", "--json")[1])["files"]["queue"] is not None
    assert {path.stat().st_uid for path in of_the_service.state.rglob("*")} == {65534}
