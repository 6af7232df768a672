"""Files as Windows has them: nobody moves, replaces or removes one that is open."""

from __future__ import annotations

import base64
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent import disk, keys, locks
from agent.connectors.folders import folder_of
from agent.errors import StorageError
from agent.keys import KeyPlace
from agent.secrets import SecretReference
from agent.store import rekey as rekeying
from agent.store.audit import AuditTrail
from agent.store.database import ENCRYPTED, DatabaseFile

NOW = datetime(2026, 2, 14, 15, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def windows(monkeypatch):
    """The branches of Windows, and its refusal of what is open in this process."""
    for module in (disk, keys, rekeying):
        monkeypatch.setattr(module, "sys", SimpleNamespace(platform="win32"))
    for name in ("rename", "replace", "unlink", "remove"):
        monkeypatch.setattr(os, name, _refusing(getattr(os, name)))


def _refusing(call):
    def refuse(*args, **kwargs):
        held = {os.path.realpath(f"/proc/self/fd/{handle}") for handle in os.listdir("/proc/self/fd")}  # noqa: PTH208 - it holds none open
        for path in args[:2]:
            if Path(path).is_file() and os.path.realpath(path) in held:
                raise PermissionError(13, "The process cannot access the file", path)
        return call(*args, **kwargs)

    return refuse


def test_what_is_open_is_not_replaced(tmp_path):
    """The fixture is Windows' refusal."""
    file = tmp_path / "a"
    file.touch()
    with file.open(), pytest.raises(PermissionError):
        (tmp_path / "a").unlink()


def test_a_key_takes_the_place_of_another_whose_bytes_are_overwritten(tmp_path, monkeypatch):
    """No name and no byte of the former key is left."""
    place = KeyPlace(SecretReference("file", "storage.key", tmp_path))
    former = place.read(may_create=True).current
    place.prepare()
    following = place.read(may_create=False).current
    overwritten = []
    monkeypatch.setattr(
        disk, "overwrite", lambda file, real=disk.overwrite: (overwritten.append(file.read()), real(file))
    )

    place.settle()

    assert [path.name for path in tmp_path.iterdir()] == ["storage.key"]
    assert place.read(may_create=False).current == following
    assert [base64.b64decode(content) for content in overwritten] == [former]


def test_a_killed_run_leaves_no_former_key_for_ever(tmp_path):
    """What it left under a second name is overwritten when the next key is settled."""
    place = KeyPlace(SecretReference("file", "storage.key", tmp_path))
    place.read(may_create=True)
    (tmp_path / "storage.key.former").write_text("left behind\n")
    place.prepare()

    place.settle()

    assert [path.name for path in tmp_path.iterdir()] == ["storage.key"]


@pytest.mark.skipif(not ENCRYPTED, reason="there is nothing to encrypt with here")
def test_a_database_is_put_under_another_key(tmp_path):
    """The copy takes the file's place once nobody here has that open."""
    file = DatabaseFile(tmp_path / "a.db", b"o" * 32, "FULL")
    connection = file.connect()
    connection.execute("CREATE TABLE sales (name TEXT)")
    connection.execute("INSERT INTO sales VALUES ('s-1')")
    connection.close()

    rekeying.rekey(file, b"n" * 32)

    connection = replace(file, key=b"n" * 32).connect()
    assert connection.execute("SELECT name FROM sales").fetchall() == [("s-1",)]
    connection.close()


@pytest.mark.skipif(not ENCRYPTED, reason="there is nothing to encrypt with here")
def test_a_database_that_somebody_has_open_stays_as_it_was(tmp_path):
    """As on every system, in Windows' own way."""
    file = DatabaseFile(tmp_path / "a.db", b"o" * 32, "FULL")
    file.connect().close()
    with file.path.open("rb"), pytest.raises(StorageError):
        rekeying.rekey(file, b"n" * 32)

    file.connect().close()
    assert [path.name for path in tmp_path.iterdir() if "rekeyed" in path.name] == []


def test_the_audit_trail_is_trimmed(tmp_path):
    """What is dropped is dropped by a file that takes its place."""
    trail = AuditTrail(tmp_path)
    trail.append("key.rotated", NOW, {})
    trail.append("key.rotated", NOW + timedelta(days=40), {})

    assert trail.trim(NOW + timedelta(days=1), NOW + timedelta(days=41)) is not None

    assert trail.verify().intact


def test_a_file_that_somebody_reads_at_this_moment_is_waited_for(tmp_path, monkeypatch):
    """A reader of a token file, or a virus scanner, is gone a moment later."""
    file = tmp_path / "tokens.json"
    file.write_bytes(b"before")
    reader = file.open("rb")
    monkeypatch.setattr(disk, "time", SimpleNamespace(sleep=lambda _s: reader.close()))

    disk.write_durably(file, b"after")

    assert file.read_bytes() == b"after"


def test_a_file_that_is_never_let_go_of_is_an_error(tmp_path, monkeypatch):
    """Nobody waits for ever; what stood there stays."""
    file = tmp_path / "tokens.json"
    file.write_bytes(b"before")
    monkeypatch.setattr(disk, "time", SimpleNamespace(sleep=lambda _s: None))
    with file.open("rb"), pytest.raises(PermissionError):
        disk.write_durably(file, b"after")

    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("tokens.json", b"before")]


def test_one_program_holds_a_file_until_it_lets_go(tmp_path):
    """Whoever tries meanwhile hears so; whoever waits gets it then."""
    path = tmp_path / "agent.lock"
    first, second = (os.open(path, os.O_RDWR | os.O_CREAT) for _ in range(2))
    assert (locks.try_hold(first), locks.try_hold(second)) == (True, False)
    os.close(first)

    locks.hold(second)

    os.close(second)


@pytest.mark.parametrize(
    ("url", "platform", "folder"),
    [
        ("file:///srv/the%20exports", "linux", "/srv/the exports"),
        ("file:///C:/the%20exports", "win32", "C:/the exports"),
        ("file:////server/exports", "win32", "//server/exports"),
        ("file:///C:/exports", "linux", "/C:/exports"),
    ],
    ids=["linux", "a-drive", "a-share", "no-drive-elsewhere"],
)
def test_a_folder_s_url_is_read_as_the_system_spells_paths(monkeypatch, url, platform, folder):
    """A drive has no slash before it."""
    monkeypatch.setattr("agent.paths.PLATFORM", platform)

    assert folder_of(url) == Path(folder)
