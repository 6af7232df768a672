"""Putting a database under another key."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import StorageDamagedError, StorageError, StorageFullError, StorageKeyError
from agent.store import rekey as rekeying
from agent.store.database import ENCRYPTED, DatabaseFile, immediate, truncate_log
from agent.store.pagekey import PageKey
from agent.store.rekey import rekey

pytestmark = pytest.mark.skipif(not ENCRYPTED, reason="there is nothing to encrypt with here")

OLD, NEW = b"o" * 32, b"n" * 32
CANARY = "Alma Made-Up"


@pytest.fixture
def file(tmp_path):
    """A database of two hundred pages, the newest of its rows in the write-ahead log alone."""
    file = DatabaseFile(tmp_path / "a.db", OLD, "FULL")
    connection = file.connect()
    connection.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT)")
    connection.execute("CREATE INDEX by_name ON people (name)")
    with immediate(connection):
        connection.executemany(
            "INSERT INTO people (name) VALUES (?)", ((f"{CANARY} {n} {'.' * 90}",) for n in range(5_000))
        )
    truncate_log(connection)
    connection.execute("DELETE FROM people WHERE id % 7 = 0")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    log = (tmp_path / "a.db-wal").read_bytes()
    content = file.path.read_bytes()
    connection.close()
    file.path.write_bytes(content)  # as a kill leaves it: what was written last is in the log
    (tmp_path / "a.db-wal").write_bytes(log)
    return file


def people(file):
    connection = file.connect()
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA cipher_integrity_check").fetchall() == []
        return connection.execute("SELECT id, name FROM people").fetchall()
    finally:
        connection.close()


def files(file):
    return sorted(path.name for path in file.path.parent.iterdir())


def test_everything_is_there_under_the_new_key_alone(file):
    """Every row, those in the log too; the former key opens nothing, no page is its any more, nothing lies about."""
    shutil.copytree(file.path.parent, file.path.parent / "before")
    before = people(replace(file, path=file.path.parent / "before" / "a.db"))
    shutil.rmtree(file.path.parent / "before")
    rekey(file, NEW)

    assert people(replace(file, key=NEW)) == before
    assert len(before) == 5_000 - 714
    assert not PageKey(OLD).wrote(file.path)
    assert files(file) == ["a.db"]
    assert file.path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(StorageKeyError):
        file.connect()


def test_changes_come_with_it(file):
    """What is altered in the copy is there the moment the new key is."""
    rekey(file, NEW, lambda db: db.execute("DELETE FROM people WHERE id > 10"))
    assert [number for number, _ in people(replace(file, key=NEW))] == [1, 2, 3, 4, 5, 6, 8, 9, 10]


def refuse_to(call, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(call, refuse)


@pytest.mark.parametrize(
    ("prepare", "error"),
    [
        pytest.param(lambda path, mp: overwrite(path, 100), StorageDamagedError, id="a damaged page"),
        pytest.param(lambda path, mp: overwrite(path, 0), StorageDamagedError, id="a damaged first page"),
        pytest.param(lambda path, mp: refuse_to("shutil.copyfileobj", mp), StorageFullError, id="no room for a copy"),
        pytest.param(lambda path, mp: refuse_to("os.fsync", mp), StorageFullError, id="no room at its end"),
        pytest.param(lambda path, mp: refuse_to("pathlib.Path.replace", mp), StorageFullError, id="no room for a name"),
    ],
)
def test_what_cannot_be_moved_stays_as_it_was(file, monkeypatch, prepare, error):
    """Byte for byte what it was, but for the log that went into it; the copy is gone."""
    truncate = file.connect()
    truncate_log(truncate)
    truncate.close()
    prepare(file.path, monkeypatch)
    before = file.path.read_bytes()
    with pytest.raises(error):
        rekey(file, NEW)
    monkeypatch.undo()

    after = file.path.read_bytes()
    assert after[4_096:] == before[4_096:]
    assert files(file) == ["a.db"]


def overwrite(path, page):
    with path.open("r+b") as stream:
        stream.seek(page * 4_096)
        stream.write(os.urandom(4_096))


def test_a_file_in_use_is_left_alone(file, monkeypatch):
    """Its write-ahead log would be unlinked under whoever reads it."""
    monkeypatch.setattr("agent.store.database.BUSY_TIMEOUT_MS", 20)
    reader = file.connect()
    reader.execute("SELECT count(*) FROM people").fetchone()
    with pytest.raises(StorageError, match="locked"):
        rekey(file, NEW)
    assert reader.execute("SELECT count(*) FROM people").fetchone() == (4_286,)
    reader.close()
    rekey(file, NEW)
    assert len(people(replace(file, key=NEW))) == 4_286


def test_the_copy_is_on_disk_before_it_takes_the_place(file, monkeypatch):
    """Whatever SQLite has synced by then: first the copy, then the rename, then the name."""
    calls, sync, move = [], os.fsync, Path.replace

    def note_sync(handle):
        calls.append(os.fstat(handle).st_ino)
        sync(handle)

    def note_move(path, target):
        calls.append((path.stat().st_ino, target.name))
        move(path, target)

    monkeypatch.setattr("os.fsync", note_sync)
    monkeypatch.setattr("pathlib.Path.replace", note_move)
    rekey(file, NEW)
    number = file.path.stat().st_ino
    assert calls == [number, (number, "a.db"), file.path.parent.stat().st_ino]


def test_a_copy_left_by_a_kill_is_in_nobodys_way(file):
    """Nor are its journals."""
    for suffix in ("", "-wal", "-journal"):
        (file.path.parent / f"a.rekeyed.db{suffix}").write_bytes(b"half")
    rekey(file, NEW)
    assert files(file) == ["a.db"]
    assert len(people(replace(file, key=NEW))) == 4_286


def test_a_copy_that_was_not_written_right_is_not_taken(file, monkeypatch):
    """Every page of it is verified under the new key before it takes the file's place."""
    encrypt = rekeying._encrypt_anew

    def botch(copy, key):
        encrypt(copy, key)
        overwrite(copy.path, 60)

    monkeypatch.setattr(rekeying, "_encrypt_anew", botch)
    with pytest.raises(StorageDamagedError):
        rekey(file, NEW)
    assert files(file) == ["a.db"]
    assert len(people(file)) == 4_286


def test_an_error_of_what_is_altered_undoes_everything(file):
    """Whatever it is."""

    def broken(_db):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        rekey(file, NEW, broken)
    assert files(file) == ["a.db"]
    assert len(people(file)) == 4_286
