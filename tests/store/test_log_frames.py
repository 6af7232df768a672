"""The write-ahead log as it lies on the disk: what SQLite takes of it, and what damage would make it forget."""

from __future__ import annotations

import os
import random
import shutil
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.store import log_frames
from agent.store.database import DatabaseFile
from agent.store.log_frames import FRAME_BYTES, HEADER_BYTES, Log, read
from agent.store.pagekey import PAGE_BYTES

ROWS = 60


@pytest.fixture(scope="module")
def left(tmp_path_factory) -> Path:
    """A database whose owner was killed: sixty commits of a row each, all of them in the log alone."""
    folder = tmp_path_factory.mktemp("left")
    connection = DatabaseFile(folder / "a.db", None, "FULL").connect()
    connection.execute("CREATE TABLE numbers (n INTEGER, filling BLOB)")
    for number in range(ROWS):
        connection.execute("INSERT INTO numbers VALUES (?, randomblob(900))", (number,))
    target = tmp_path_factory.mktemp("copied")
    for part in ("", "-wal", "-shm"):
        shutil.copy(folder / f"a.db{part}", target / f"a.db{part}")
    connection.close()
    return target


@pytest.fixture
def path(left, tmp_path) -> Path:
    """A copy of it to damage."""
    for part in ("", "-wal", "-shm"):
        shutil.copy(left / f"a.db{part}", tmp_path / f"a.db{part}")
    return tmp_path / "a.db"


def log_of(path: Path) -> Path:
    return Path(f"{path}-wal")


def spoil(path: Path, frame: int, *, at: int = 100, size: int = 16) -> None:
    """Overwrites bytes of a frame, from 1."""
    with log_of(path).open("r+b") as file:
        file.seek(HEADER_BYTES + (frame - 1) * FRAME_BYTES + at)
        file.write(os.urandom(size))


def rows(path: Path) -> int:
    """How many rows SQLite finds."""
    connection = DatabaseFile(path, None, "FULL").connect()
    try:
        return connection.execute("SELECT count(*) FROM numbers").fetchone()[0]
    finally:
        connection.close()


@given(content=st.binary(min_size=8, max_size=400).map(lambda some: some[: len(some) // 8 * 8]), before=st.tuples(
    st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), order=st.sampled_from(["little", "big"]),
)  # fmt: skip
def test_the_sums_are_those_of_the_file_format(content, before, order):
    """Word by word, as the format's description adds them up."""
    first, second = before
    words = struct.unpack(f"{'<' if order == 'little' else '>'}{len(content) // 4}I", content)
    for left_word, right_word in zip(words[::2], words[1::2], strict=True):
        first = (first + left_word + second) & 0xFFFFFFFF
        second = (second + right_word + first) & 0xFFFFFFFF
    assert log_frames._sums(content, before, order) == (first, second)


def test_a_whole_log_is_taken_whole(path):
    """Every frame is sound, and SQLite takes them all."""
    log = read(path)

    assert len(log.frames) == log.taken == log.committed > ROWS
    assert all(frame.sound for frame in log.frames)
    assert not log.damaged
    assert rows(path) == ROWS


def test_without_a_log_nothing_is_lost(tmp_path):
    """After an orderly stop there is none."""
    assert read(tmp_path / "a.db") == Log()


@pytest.mark.parametrize("place", ["early", "middle", "last"])
@pytest.mark.parametrize("at", [0, 8, 16, 100, PAGE_BYTES], ids=["page number", "salt", "sum", "content", "end"])
def test_damage_in_the_middle_is_told_from_an_unfinished_commit(path, place, at):
    """A frame is spoiled: SQLite forgets what follows without a word, and that is noticed."""
    frames = len(read(path).frames)
    spoil(path, {"early": 3, "middle": frames // 2, "last": frames}[place], at=at)
    log = read(path)

    assert log.damaged
    assert log.committed + log.missing == frames
    assert log.taken < frames
    assert rows(path) < ROWS


def test_a_damaged_head_hides_the_whole_log(path):
    """The log's own head is overwritten: SQLite takes nothing of it, and every frame is still known."""
    frames = len(read(path).frames)
    with log_of(path).open("r+b") as file:
        file.write(os.urandom(HEADER_BYTES))
    log = read(path)

    assert (log.taken, log.committed) == (0, frames)
    assert log.damaged


@pytest.mark.parametrize("index", [True, False], ids=["with the index", "without"])
def test_a_commit_that_the_power_cut_short_is_no_damage(path, index):
    """The last commit is torn, and nothing says that it was ever synced: it was not answered, and SQLite is right."""
    if index:  # as it was before that commit
        shm = bytearray(Path(f"{path}-shm").read_bytes())
        before = read(path).frames
        commits = [number for number, frame in enumerate(before, 1) if frame.commits]
        head = shm[:40]
        head[16:20] = struct.pack("=I", commits[-2])
        sums = struct.pack("=II", *log_frames._sums(bytes(head), (0, 0), "little"))
        shm[:96] = (bytes(head) + sums) * 2
        Path(f"{path}-shm").write_bytes(shm)
    else:
        Path(f"{path}-shm").unlink()
    spoil(path, len(read(path).frames))
    log = read(path)

    assert not log.damaged
    assert log.committed == log.taken


def test_what_the_index_knows_to_be_synced_and_is_not_there_is_missing(path):
    """The log is cut off: how much of it is gone is known."""
    frames = len(read(path).frames)
    os.truncate(log_of(path), HEADER_BYTES + (frames - 10) * FRAME_BYTES + 17)
    log = read(path)

    assert (log.missing, log.damaged) == (10, True)


def test_what_is_in_the_database_already_is_not_missing(path):
    """Frames that were copied before the log was cut off are not lost."""
    frames = len(read(path).frames)
    shm = bytearray(Path(f"{path}-shm").read_bytes())
    shm[96:100] = struct.pack("=I", frames)
    Path(f"{path}-shm").write_bytes(shm)
    os.truncate(log_of(path), HEADER_BYTES + (frames - 10) * FRAME_BYTES)

    assert read(path).missing == 0


def test_frames_of_an_earlier_round_are_left_out(tmp_path):
    """The log is begun anew over its old frames: only the new ones count."""
    file = DatabaseFile(tmp_path / "a.db", None, "FULL")
    connection = file.connect()
    connection.execute("CREATE TABLE numbers (n INTEGER, filling BLOB)")
    for number in range(ROWS):
        connection.execute("INSERT INTO numbers VALUES (?, randomblob(900))", (number,))
    connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    connection.execute("INSERT INTO numbers VALUES (99, x'00')")
    copy = tmp_path / "copy"
    copy.mkdir()
    for part in ("", "-wal", "-shm"):
        shutil.copy(tmp_path / f"a.db{part}", copy / f"a.db{part}")
    size = log_of(copy / "a.db").stat().st_size
    log = read(copy / "a.db")
    connection.close()

    assert size > 20 * FRAME_BYTES
    assert len(log.frames) == log.taken <= 2
    assert not log.damaged


@pytest.mark.parametrize("seed", range(40))
def test_damage_is_never_passed_over(path, seed):
    """Wherever the log is overwritten: what SQLite takes without a word of ours is all there was."""
    chance = random.Random(seed)
    size = log_of(path).stat().st_size
    with log_of(path).open("r+b") as file:
        file.seek(chance.randrange(size))
        file.write(chance.randbytes(chance.choice((1, 16, 512, 4096, 9000))))
    os.truncate(log_of(path), size)
    log = read(path)

    assert log.damaged or rows(path) == ROWS
