"""The agent's last days on disk."""

import contextlib
import os
import sqlite3
from datetime import timedelta

import pytest

from agent.domain.history import Sample
from agent.errors import StorageDamagedError, StorageError, StorageFullError
from agent.store import history
from agent.store.history import FILE, ROWS, HistoryFile
from tests.fakes import NOW

FULL = Sample(NOW, 3, 1, 2, 60, 300, (1, 0, 4), {"voyado": (0, 7)})
AFTER = NOW + timedelta(days=1)


def rows(count, *, start=NOW):
    return [Sample(start + 5 * timedelta(minutes=number), number, 0, 0) for number in range(count)]


@pytest.fixture(name="file")
def _file(tmp_path):
    return HistoryFile(tmp_path)


def test_what_was_put_there_comes_back(file, tmp_path):
    """Every figure comes back, also through another start; the file is its owner's alone."""
    file.add([FULL])
    assert HistoryFile(tmp_path).between(NOW, AFTER) == [FULL]
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_only_the_time_asked_for(file):
    """The start counts in, the end does not."""
    file.add(rows(10))
    found = file.between(NOW + timedelta(minutes=10), NOW + timedelta(minutes=25))
    assert [sample.depth for sample in found] == [2, 3, 4]


def test_a_week_is_kept_and_no_more(file, tmp_path):
    """The oldest go, whatever the clock says of their age, and the file stays as small as it is."""
    file.add(rows(ROWS))
    size = (tmp_path / FILE).stat().st_size
    file.add(rows(100, start=NOW - timedelta(days=3650)))
    with sqlite3.connect(tmp_path / FILE) as db:
        assert db.execute("SELECT count(*) FROM samples").fetchone() == (ROWS,)
    db.close()
    assert len(file.between(NOW - timedelta(days=3650), AFTER)) == 100 + 24 * 12 - 100
    assert (tmp_path / FILE).stat().st_size <= size + 16_384
    assert size < 1 << 20


@pytest.mark.parametrize("content", [b"", b"noise " * 900, os.urandom(8192)], ids=["empty", "no-database", "noise"])
def test_a_file_that_is_none_is_made_anew(file, tmp_path, content):
    """Whatever lies in its place is replaced: at the second try at the latest there is a history again."""
    (tmp_path / FILE).write_bytes(content)
    try:
        file.add([FULL])
    except StorageDamagedError:
        file.add([FULL])
    assert file.between(NOW, AFTER) == [FULL]


@pytest.mark.parametrize(
    "row",
    [
        b"", b"[1, 2]", b"\xff\xfe", b"[1,0,0,null,null,[],[]]", b"[1,0,0,null,null,3,{}]",
        b"[1,0,0,null,null,[7e9],{}]", b"[1,0,0,null,null,[-7],{}]", b'[1,0,0,null,null,"77",{}]',
        b"[1,0,0,true,null,[],{}]", b'[1,0,0,null,null,[],{"voyado":[null]}]',
    ],
)  # fmt: skip
def test_a_row_that_says_nothing_is_damage(file, tmp_path, row):
    """What cannot be read is told, and the file begins anew."""
    file.add([FULL])
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("UPDATE samples SET sample = ?", (row,))
    db.close()
    with pytest.raises(StorageDamagedError):
        file.between(NOW, AFTER)
    assert file.between(NOW, AFTER) == []
    file.add([FULL])
    assert file.between(NOW, AFTER) == [FULL]


@pytest.mark.parametrize("place", [18, 19, 47], ids=["write-version", "read-version", "format"])
def test_a_head_that_says_otherwise(file, tmp_path, place):
    """One byte in the head makes it a file of another kind: it is made anew like any that is damaged."""
    file.add([FULL])
    with (tmp_path / FILE).open("r+b") as written:
        written.seek(place)
        written.write(b"\x77")
    for act in (lambda: file.between(NOW, AFTER), lambda: file.add([FULL])):
        with contextlib.suppress(StorageDamagedError):
            act()
    file.add([FULL])
    assert FULL in file.between(NOW, AFTER)


@pytest.mark.parametrize("change", ["DROP TABLE samples", "ALTER TABLE samples RENAME COLUMN sample TO simple"])
def test_a_table_that_is_another(file, tmp_path, change):
    """What no statement of ours fits is damage too, and begins anew."""
    file.add([FULL])
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute(change)
    db.close()
    with pytest.raises(StorageDamagedError):
        file.add([FULL])
    file.add([FULL])
    assert file.between(NOW, AFTER) == [FULL]


def test_pages_that_are_torn(file, tmp_path):
    """After a power cut pages may be half there: that is told, or the rows are whole; then it goes on."""
    file.add(rows(2_000))
    with (tmp_path / FILE).open("r+b") as torn:
        torn.seek(8_192)
        torn.write(bytes(20_000))
    with pytest.raises(StorageError):
        file.between(NOW, NOW + timedelta(days=9))
    file.add([FULL])
    assert file.between(NOW, AFTER) == [FULL]


def test_another_programs_classes_are_not_mixed_with_ours(file, monkeypatch):
    """Counts mean something under their bounds alone: with other bounds the history begins anew."""
    file.add([FULL])
    monkeypatch.setattr(history, "_FORMAT", 7)
    assert file.between(NOW, AFTER) == []


def test_a_full_disk_is_told_as_such(file, tmp_path, monkeypatch):
    """No room is no damage: what is there stays."""
    file.add(rows(100))
    limit = (tmp_path / FILE).stat().st_size // 4096
    connect = history.DatabaseFile.connect

    def cramped(self):
        connection = connect(self)
        connection.execute(f"PRAGMA max_page_count = {limit}")
        return connection

    with monkeypatch.context() as patched:
        patched.setattr(history.DatabaseFile, "connect", cramped)
        with pytest.raises(StorageFullError):
            file.add(rows(4_000))
    assert len(file.between(NOW, AFTER)) == 100


def test_a_full_disk_does_not_hide_what_is_on_it(file, tmp_path, monkeypatch):
    """To read makes no file, so that whoever looks why the disk is full sees the last days."""
    file.add([FULL])
    (tmp_path / f"{FILE}-wal").touch()  # as a write leaves it that found no room
    monkeypatch.setattr(history.DatabaseFile, "connect", None)
    assert file.between(NOW, AFTER) == [FULL]
    assert {path.name for path in tmp_path.iterdir()} == {FILE, f"{FILE}-wal"}


def test_what_a_kill_has_left_in_the_log_is_read(file, tmp_path):
    """A write that was carried out but for its end counts."""
    file.add([FULL])
    with contextlib.closing(history.DatabaseFile(tmp_path / FILE, None, "OFF").connect()) as db:
        db.execute("UPDATE samples SET at = at + 1")
        left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name, content in left.items():
        (tmp_path / name).write_bytes(content)
    assert f"{FILE}-wal" in left
    assert [sample.at - NOW for sample in file.between(NOW, AFTER)] == [timedelta(milliseconds=1)]


def test_before_the_first_row_there_is_nothing(file, tmp_path):
    """To look makes no file either."""
    assert file.between(NOW, AFTER) == []
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_gone_is_an_error_of_ours(tmp_path):
    """Whoever writes hears it in our own words."""
    with pytest.raises(StorageError):
        HistoryFile(tmp_path / "none").add([FULL])
