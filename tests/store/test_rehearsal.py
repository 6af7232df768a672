"""Rehearsing on a copy what a start of this version would do to a database."""

from __future__ import annotations

import contextlib
import shutil

import pytest

from agent.errors import StorageDamagedError, StorageFullError, StorageKeyError, StorageSchemaError
from agent.store.database import ENCRYPTED, DatabaseFile, immediate, migrate
from agent.store.migrations import outbox
from agent.store.pagekey import PageKey, starts_plain
from agent.store.rehearsal import Rehearsed, rehearse

KEY = b"k" * 32 if ENCRYPTED else None


@pytest.fixture
def file(tmp_path):
    """A database of this version's schema, as an agent keeps it."""
    return DatabaseFile(tmp_path / "a.db", KEY, "FULL")


@pytest.fixture
def live(file):
    """Its own agent's connection; what was written last is in the log alone."""
    connection = file.connect()
    migrate(connection, outbox)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    with immediate(connection):
        connection.execute("INSERT INTO statements (content) VALUES (x'00')")
    yield connection
    connection.close()


def following(*steps):
    """The migrations of a version to come."""
    newer = type(outbox)(outbox.name)
    newer._migrations = list(outbox._migrations)
    for step in steps:
        newer(name=step.__name__)(step)
    return newer


def good(db):
    db.execute("ALTER TABLE statements ADD COLUMN of_tomorrow INTEGER")
    assert db.execute("SELECT count(*) FROM statements").fetchone() == (1,), "what is in the log is rehearsed with"


def refused(db):
    db.execute("DELETE FROM statements")
    db.execute("INSERT INTO nowhere VALUES (1)")


def left(file):
    """What lies beside the database, and what is in it."""
    with contextlib.closing(file.connect(read_only=True)) as connection:
        rows = connection.execute("SELECT id, forgotten, content FROM statements").fetchall()
        schema = connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
    files = {path.name for path in file.path.parent.rglob("*") if path.is_file()}
    return rows, schema, files - {"a.db", "a.db-wal", "a.db-shm"}


def tried(file, migrations, free=0):
    return rehearse(file, migrations, file.path.parent / "spool", kept_free_bytes=free)


def test_what_a_start_would_change(file, live):
    """The steps are named; the file, which is in use, stays as it is, and no copy of it lies about."""
    before = left(file)
    told = tried(file, following(good))

    assert told.steps == ("good",)
    assert told.bytes > file.path.stat().st_size
    assert left(file) == before
    live.execute("INSERT INTO statements (content) VALUES (x'01')")


def test_nothing_to_change_needs_no_copy(file, live):
    """An update that leaves the schema alone asks no room of the disk."""
    told = tried(file, outbox, free=1 << 60)

    assert told == Rehearsed(told.bytes, ())
    assert not (file.path.parent / "spool").exists()


def test_a_step_that_fails_is_told(file, live):
    """As a start would tell it; the file is as it was, and its own agent goes on."""
    before = left(file)
    with pytest.raises(StorageSchemaError, match="no such table: nowhere"):
        tried(file, following(good, refused))

    assert left(file) == before
    live.execute("INSERT INTO statements (content) VALUES (x'01')")


def test_an_older_version_is_refused(file, live):
    """What a newer version has changed cannot be gone back on."""
    migrate(live, following(good))
    with pytest.raises(StorageSchemaError, match=r"newer program.*good"):
        tried(file, outbox)


def test_without_room_nothing_is_tried(file, live):
    """No sale finds the disk full of a copy: what has to be left free is."""
    before = left(file)
    free = shutil.disk_usage(file.path.parent).free
    with pytest.raises(StorageFullError):
        tried(file, following(good), free=free)

    assert left(file) == before


def test_a_copy_that_was_left_by_a_kill_is_in_nobody_s_way(file, live):
    """The next rehearsal removes it, before it asks for room, and where nothing is to be changed as well."""
    spool = file.path.parent / "spool"
    spool.mkdir()
    for migrations, steps in ((following(good), ("good",)), (outbox, ())):
        for part in ("rehearsal.db", "rehearsal.db-wal"):
            (spool / part).write_bytes(b"half a copy" * 1_000)

        assert tried(file, migrations).steps == steps
        assert list(spool.iterdir()) == []

    (spool / "rehearsal.db").touch()
    with pytest.raises(StorageFullError):
        tried(file, following(good), free=1 << 60)
    assert list(spool.iterdir()) == []


@pytest.mark.skipif(not ENCRYPTED, reason="there is nothing to encrypt with here")
def test_the_copy_is_noise_to_everybody(file, live):
    """Under a key of its own that nobody keeps, and for its owner alone: nothing of it can be read when it is gone."""
    seen = []

    def looks(db):
        db.execute("CREATE TABLE zaphira (x)")
        copy = file.path.parent / "spool" / "rehearsal.db"
        assert copy.stat().st_size > 100_000
        parts = list(copy.parent.iterdir())
        modes = {path.stat().st_mode & 0o777 for path in (copy, *parts)}
        plain = any(b"zaphira" in path.read_bytes() or b"statements" in path.read_bytes() for path in parts)
        seen.append((modes, PageKey(KEY).wrote(copy), starts_plain(copy), plain))

    tried(file, following(looks))
    assert seen == [({0o600}, False, False, False)]
    live.execute("PRAGMA wal_checkpoint")
    assert PageKey(KEY).wrote(file.path), "as the file itself does"


@pytest.mark.skipif(not ENCRYPTED, reason="there is nothing to encrypt with here")
def test_what_is_no_matter_of_the_schema_is_told_apart(file, live):
    """A key that does not fit and a damaged file are errors of their own."""
    live.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with pytest.raises(StorageKeyError):
        tried(DatabaseFile(file.path, b"x" * 32, "FULL"), following(good))
    live.close()
    content = bytearray(file.path.read_bytes())
    content[4096:8192] = bytes(4096)
    file.path.write_bytes(content)
    with pytest.raises(StorageDamagedError):
        tried(file, following(good))
