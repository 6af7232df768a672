"""A database that is taken away and put back beneath whoever uses it."""

from __future__ import annotations

import asyncio
import os

import pytest

from agent.errors import StorageDamagedError, StorageError, StorageFullError
from agent.store.database import DatabaseFile, sqlite
from agent.store.live import LiveDatabase
from agent.store.pagekey import PAGE_BYTES

KEY = b"k" * 32


class Bench:
    def __init__(self, path, key=None):
        self.file = DatabaseFile(path, key, "FULL", cache_kib=64)
        self.suspicions, self.pieces, self.prepared = 0, 0, 0
        self.live = LiveDatabase(self.file, prepare=self._prepare, suspected=self._suspected, spare=self._spare)

    def _prepare(self, connection):
        self.prepared += 1
        connection.execute("CREATE TABLE IF NOT EXISTS rows (value TEXT)")

    def _suspected(self):
        self.suspicions += 1

    def _spare(self):
        self.pieces -= 1
        return self.pieces >= 0

    def rows(self):
        return [row[0] for row in self.live.execute("SELECT value FROM rows ORDER BY rowid")]


def insert(value):
    return lambda db: db.execute("INSERT INTO rows VALUES (?)", (value,)).rowcount


def insert_all(db, values):
    db.executemany("INSERT INTO rows VALUES (?)", [(value,) for value in values])
    return list(values)


@pytest.fixture
async def bench(tmp_path):
    bench = Bench(tmp_path / "a.db")
    await bench.live.open()
    yield bench
    bench.live.close()


async def test_before_it_is_open_everybody_hears_why(tmp_path):
    """Nothing works and nothing hangs."""
    bench = Bench(tmp_path / "a.db")
    with pytest.raises(StorageError, match="not open"):
        await bench.live.run(insert("a"))
    with pytest.raises(StorageError, match="not open"):
        bench.live.execute("SELECT 1")
    assert not bench.live.is_open
    bench.live.close()


async def test_it_reads_and_writes(bench):
    """As the writer and the reader behind it do."""
    assert await bench.live.run(insert("a")) == 1
    assert await bench.live.run_together(insert_all, "b") == "b"
    assert await bench.live.run_alone(lambda db: db.in_transaction) is False
    assert bench.rows() == ["a", "b"]
    found = bench.live.execute("SELECT value FROM rows WHERE value = ?", ("a",))
    assert (found.fetchone(), found.fetchall()) == (("a",), [("a",)])
    assert bench.live.execute("SELECT value FROM rows WHERE value = 'c'").fetchone() is None


async def test_shut_it_gives_the_reason_and_open_it_works_again(bench):
    """What was asked for before is done; afterwards everybody hears the reason until it is back."""
    waiting = [asyncio.ensure_future(bench.live.run(insert(str(number)))) for number in range(50)]
    await asyncio.sleep(0)
    await bench.live.shut(StorageError("being rescued"))
    await asyncio.gather(*waiting)
    for ask in (bench.live.run(insert("x")), bench.live.run_alone(str), bench.live.run_together(insert_all, "x")):
        with pytest.raises(StorageError, match="being rescued"):
            await ask
    with pytest.raises(StorageError, match="being rescued"):
        bench.rows()

    await bench.live.open()
    assert bench.rows() == [str(number) for number in range(50)]
    assert bench.prepared == 2


async def test_what_keeps_it_from_opening_is_the_reason(tmp_path):
    """A directory that is not there, say."""
    bench = Bench(tmp_path / "nowhere" / "a.db")
    with pytest.raises(StorageError):
        await bench.live.open()
    with pytest.raises(StorageError, match="unable to open"):
        await bench.live.run(insert("a"))


async def test_opening_it_twice_changes_nothing(bench):
    """It stays as it is."""
    await bench.live.open()
    assert bench.prepared == 1


def wreck(path):
    for page in range(2, path.stat().st_size // PAGE_BYTES):
        with path.open("r+b") as file:
            file.seek(page * PAGE_BYTES)
            file.write(os.urandom(PAGE_BYTES))


@pytest.mark.parametrize("how", ["read", "write"])
async def test_damage_is_told_and_raised(tmp_path, how):
    """Whoever meets it hears it, and somebody is told to look into it."""
    bench = Bench(tmp_path / "a.db", KEY)
    await bench.live.open()
    for number in range(200):
        await bench.live.run(insert(str(number) * 500))
    await bench.live.shut(StorageError("for now"))
    wreck(bench.file.path)
    await bench.live.open()
    if how == "read":
        with pytest.raises(sqlite.DatabaseError):
            bench.rows()
    else:
        with pytest.raises(StorageDamagedError):
            await bench.live.run(lambda db: db.execute("SELECT sum(length(value)) FROM rows").fetchall())
    assert bench.suspicions == 1
    bench.live.close()


async def test_other_faults_are_no_suspicion(bench):
    """A statement that is wrong is wrong."""
    with pytest.raises(sqlite.OperationalError):
        bench.live.execute("SELECT * FROM nowhere")
    with pytest.raises(StorageError):
        await bench.live.run(lambda db: db.execute("SELECT * FROM nowhere"))
    assert bench.suspicions == 0


class Filling:
    """A disk on which a write finds room only after so many pieces of the reserve have been given."""

    def __init__(self, bench, needed):
        self.bench, self.needed, self.had = bench, needed, bench.pieces

    def __call__(self, db, items=None):
        if self.had - self.bench.pieces < self.needed:
            raise StorageFullError
        return list(items) if items is not None else "done"


@pytest.mark.parametrize("alone", [False, True], ids=["in a group", "alone"])
async def test_a_full_disk_is_worked_off_with_the_reserve(bench, alone):
    """A verdict is written down with a piece of it, or with several."""
    bench.pieces = 5
    ask = bench.live.run_alone if alone else bench.live.run
    assert await ask(Filling(bench, 3)) == "done"
    assert bench.pieces == 2


async def test_without_a_reserve_a_full_disk_is_a_full_disk(bench):
    """When the last piece is gone, whoever writes hears it."""
    bench.pieces = 2
    with pytest.raises(StorageFullError):
        await bench.live.run(Filling(bench, 3))


async def test_new_sales_do_not_use_up_the_reserve(bench):
    """They are refused, and not a piece is given for them."""
    bench.pieces = 5
    with pytest.raises(StorageFullError):
        await bench.live.run_together(Filling(bench, 1), "a sale")
    assert bench.pieces == 5


async def test_what_was_asked_for_in_the_same_turn_is_written_before_it_is_taken_away(bench):
    """It is handed over on the event loop's thread: the thread that closes finds nothing left to hand over."""
    writer, left = bench.live._writer, []
    close = writer.close

    def closing():
        left.append(len(writer._gathered))
        close()

    writer.close = closing
    asked = asyncio.create_task(bench.live.run(insert("a")))
    await asyncio.sleep(0)
    assert len(writer._gathered) == 1
    await bench.live.shut(StorageError("taken away"))
    assert (left, await asked) == ([0], 1)
