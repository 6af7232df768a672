"""Whether a database is what was written, found out before it is opened and while it is in use."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import threading
from pathlib import Path

import pytest

from agent.errors import StorageKeyError
from agent.store import examine as module
from agent.store.database import DatabaseFile, immediate, truncate_log
from agent.store.examine import examine, look
from agent.store.pagekey import PAGE_BYTES
from tests.store import wreck

KEYS = {"encrypted": b"k" * 32, "plain": None}


@pytest.fixture(scope="module", params=list(KEYS))
def left(request, tmp_path_factory) -> DatabaseFile:
    """An outbox whose owner was killed, with something in its log."""
    folder = tmp_path_factory.mktemp(request.param)
    asyncio.run(wreck.fill(folder / "outbox.db", KEYS[request.param], sales=60, seed=1))
    return DatabaseFile(folder / "outbox.db", KEYS[request.param], "FULL")


@pytest.fixture
def file(left, tmp_path) -> DatabaseFile:
    """A copy of it."""
    for part in wreck.PARTS:
        shutil.copy(f"{left.path}{part}", tmp_path / f"outbox.db{part}")
    return DatabaseFile(tmp_path / "outbox.db", left.key, "FULL")


def log_of(file: DatabaseFile) -> Path:
    return Path(f"{file.path}-wal")


def test_a_whole_database_is_whole(file, monkeypatch):
    """With something in its log, and after an orderly stop."""
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    assert (look(file), examine(file)) == (None, None)
    file.connect().close()
    assert not log_of(file).exists()
    assert (look(file), examine(file)) == (None, None)


def test_a_database_that_is_not_there_yet_is_whole(tmp_path):
    """The first start."""
    assert look(DatabaseFile(tmp_path / "outbox.db", None, "FULL")) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.path.write_bytes(b""),
        lambda file: file.path.unlink(),
        lambda file: os.truncate(log_of(file), log_of(file).stat().st_size // 2),
        lambda file: wreck.overwrite(file, wreck.Place(0, 3), os.urandom(PAGE_BYTES)),
        lambda file: log_of(file).write_bytes(os.urandom(32) + log_of(file).read_bytes()[32:]),
    ],
    ids=["empty file", "no file", "log cut off", "log overwritten", "head of the log overwritten"],
)
def test_what_opening_would_lose_is_seen_before(file, damage):
    """SQLite would forget it without a word."""
    damage(file)
    assert look(file) is not None


def test_the_log_of_another_installation_is_not_played_in(file, tmp_path):
    """Its frames are sound, but they were not written under this key."""
    if file.key is None:
        pytest.skip("nothing signs the pages of a file that is not encrypted")
    other = tmp_path / "other"
    other.mkdir()
    asyncio.run(wreck.fill(other / "outbox.db", b"x" * 32, sales=60, seed=2))
    shutil.copy(other / "outbox.db-wal", log_of(file))
    Path(f"{file.path}-shm").unlink()

    assert "in its log cannot be read" in (look(file) or "")


def test_a_wrong_key_is_left_for_the_opening_to_tell(file):
    """Nothing verifies, in the file or in its log: that is not called damage."""
    if file.key is None:
        pytest.skip("a file that is not encrypted has no key")
    wrong = DatabaseFile(file.path, b"x" * 32, "FULL")
    assert look(wrong) is None
    with pytest.raises(StorageKeyError):
        wrong.connect()


@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_page_is_found_while_the_file_is_in_use(file, seed, monkeypatch):
    """Whichever page of a tree it is, somebody else having the file open."""
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    owners = wreck.survey(file.path.parent, file.key).owners
    connection = file.connect()
    truncate_log(connection)
    pages = file.path.stat().st_size // PAGE_BYTES
    page = random.Random(seed).randrange(2, pages + 1)
    with file.path.open("r+b") as stream:
        stream.seek((page - 1) * PAGE_BYTES)
        stream.write(os.urandom(PAGE_BYTES))
    found = examine(file)
    connection.close()

    if file.key is not None:
        assert found == f"1 pages cannot be read, the first is number {page}"
    else:  # the content of an overflow page is nobody's to check
        assert found is not None or owners[page] == "overflow"


def test_a_page_that_the_log_replaces_is_no_damage(file, monkeypatch):
    """A power cut tore it while it was being copied; its next version is in the log, and is copied again."""
    if file.key is None:
        pytest.skip("nothing signs the pages of a file that is not encrypted")
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    frames = module.log_frames.read(file.path).frames
    page = next(frame.page for frame in frames if frame.page <= file.path.stat().st_size // PAGE_BYTES)
    with file.path.open("r+b") as stream:
        stream.seek((page - 1) * PAGE_BYTES)
        stream.write(os.urandom(PAGE_BYTES))

    assert (look(file), examine(file)) == (None, None)


def test_a_file_that_is_being_written_is_not_called_damaged(tmp_path):
    """Commits and checkpoints go on while it is looked through."""
    file = DatabaseFile(tmp_path / "a.db", b"k" * 32, "NORMAL")
    connection = file.connect()
    connection.execute("CREATE TABLE rows (value BLOB)")
    stop = threading.Event()

    def write():
        chance = random.Random(1)
        while not stop.is_set():
            with immediate(connection):
                for _ in range(20):
                    connection.execute("INSERT INTO rows VALUES (?)", (chance.randbytes(900),))
                connection.execute("DELETE FROM rows WHERE rowid % 7 = 0")
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    writing = threading.Thread(target=write)
    writing.start()
    try:
        found = [examine(file) for _ in range(15)]
    finally:
        stop.set()
        writing.join()
        connection.close()
    assert found == [None] * 15
