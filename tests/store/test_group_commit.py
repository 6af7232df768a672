"""Committing in groups."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

from agent.errors import ConflictError, StorageError, StorageFullError
from agent.store.database import DatabaseFile, sqlite
from agent.store.group_commit import GroupWriter

KEY, OTHER_KEY = b"k" * 32, b"x" * 32
CANARY = b"Alma Made-Up"


@pytest.fixture
def file(tmp_path):
    return DatabaseFile(tmp_path / "a.db", None, "FULL")


@pytest.fixture
def writer(file):
    """A writer over one table with a unique column."""
    connection = file.connect()
    connection.execute("CREATE TABLE rows (value TEXT UNIQUE)")
    writer = GroupWriter(connection, "test")
    yield writer
    writer.close()


def rows(file) -> list[str]:
    connection = file.connect()
    try:
        return [row[0] for row in connection.execute("SELECT value FROM rows ORDER BY rowid")]
    finally:
        connection.close()


def insert(value):
    return lambda db: db.execute("INSERT INTO rows VALUES (?)", (value,)).rowcount


class Held:
    """Keeps the writer's thread busy, so that everything asked for meanwhile becomes one group."""

    def __init__(self, writer):
        self.writer, self.entered, self.go = writer, threading.Event(), threading.Event()

    def _wait(self, _db):
        self.entered.set()
        self.go.wait(60)

    async def __aenter__(self):
        self.task = asyncio.ensure_future(self.writer.run_alone(self._wait))
        while not self.entered.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.001)
        return self

    async def __aexit__(self, *exc):
        for _ in range(2):  # they are asked for, and handed over at the end of that turn
            await asyncio.sleep(0)
        self.go.set()
        await self.task


async def test_waiting_writes_share_one_commit(writer, file):
    """Everything that waits while the thread is busy is on disk after a single commit."""
    commits = []
    original = writer._commit
    writer._commit = lambda group: commits.append(len(group)) or original(group)
    async with Held(writer):
        waiting = [asyncio.ensure_future(writer.run(insert(f"row {number}"))) for number in range(100)]
    await asyncio.gather(*waiting)

    assert commits == [100]
    assert rows(file) == [f"row {number}" for number in range(100)]


async def test_writes_asked_for_in_one_turn_share_one_commit(writer, file):
    """Nobody need be waiting for the thread: what the event loop asks for in one turn arrives there together."""
    commits = []
    original = writer._commit
    writer._commit = lambda group: commits.append(len(group)) or original(group)
    await asyncio.gather(*(writer.run(insert(f"row {number}")) for number in range(8)))
    await writer.run(insert("another turn"))

    assert commits == [8, 1]
    assert len(rows(file)) == 9


def test_what_a_loop_left_unsaid_is_written(writer, file):
    """A loop that ends in the very turn in which a write was asked for takes neither it nor the next loop's along."""
    loop = asyncio.new_event_loop()
    loop.call_soon(loop.stop)
    left = loop.create_task(writer.run(insert("left behind")))
    loop.run_forever()
    assert not left.done()
    asyncio.run(writer.run(insert("of the next loop")))

    assert rows(file) == ["left behind", "of the next loop"]
    left.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        loop.run_until_complete(left)
    loop.close()


async def test_writes_of_a_kind_are_made_together(writer, file):
    """Those that wait side by side reach their function in one call, in order, and each hears of its own item."""
    calls = []

    def insert_all(db, values):
        calls.append(list(values))
        for value in values:
            insert(value)(db)
        return [ConflictError() if value == "b" else value.upper() for value in values]

    async with Held(writer):
        waiting = [asyncio.ensure_future(writer.run_together(insert_all, value)) for value in "ab"]
        waiting.append(asyncio.ensure_future(writer.run(insert("between"))))
        waiting.append(asyncio.ensure_future(writer.run_together(insert_all, "c")))
    first, refused, between, last = await asyncio.gather(*waiting, return_exceptions=True)

    assert calls == [["a", "b"], ["c"]]
    assert (first, between, last) == ("A", 1, "C")
    assert isinstance(refused, ConflictError)
    assert rows(file) == ["a", "b", "between", "c"]


async def test_a_function_of_many_that_fails_undoes_its_group(writer, file):
    """When writes made together break off, none of their group is kept, and everybody in it hears why."""

    def insert_all(db, values):
        for value in values:
            insert(value)(db)
        return list(values)

    async with Held(writer):
        waiting = [asyncio.ensure_future(writer.run(insert("before")))]
        waiting += [asyncio.ensure_future(writer.run_together(insert_all, value)) for value in ("twice", "twice")]
    heard = await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(error) for error in heard] == [StorageError] * 3
    assert rows(file) == []


async def test_an_error_of_one_write_undoes_only_its_own(writer, file):
    """A refused write and a broken constraint leave the rest of their group on disk."""

    def refuse(db):
        insert("half done")(db)
        raise ConflictError

    async with Held(writer):
        waiting = [
            asyncio.ensure_future(writer.run(write))
            for write in (insert("first"), refuse, insert("first"), insert("last"))
        ]
    first, refused, broken, last = await asyncio.gather(*waiting, return_exceptions=True)

    assert (first, last) == (1, 1)
    assert isinstance(refused, ConflictError)
    assert type(broken) is StorageError
    assert rows(file) == ["first", "last"]


async def test_a_full_disk_fails_the_whole_group_and_keeps_nothing(writer, file):
    """When the file may not grow, every waiter of the group hears it, nothing is kept, and it recovers by itself."""
    await writer.run(insert("before"))
    await writer.run_alone(lambda db: db.execute("PRAGMA max_page_count = 1").fetchall())
    async with Held(writer):
        waiting = [asyncio.ensure_future(writer.run(insert(f"{number}" * 2_000))) for number in range(10)]
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [StorageFullError] * 10
    assert rows(file) == ["before"]

    await writer.run_alone(lambda db: db.execute("PRAGMA max_page_count = 100000").fetchall())
    await writer.run(insert("after"))
    assert rows(file) == ["before", "after"]


async def test_a_locked_file_is_an_error_and_not_the_end(tmp_path, monkeypatch):
    """Another process that holds the write lock makes a write fail; the next one goes through."""
    monkeypatch.setattr("agent.store.database.BUSY_TIMEOUT_MS", 20)
    file = DatabaseFile(tmp_path / "a.db", None, "FULL")
    other = file.connect()
    other.execute("CREATE TABLE rows (value TEXT UNIQUE)")
    writer = GroupWriter(file.connect(), "test")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="locked"):
        await writer.run(insert("a"))
    other.execute("ROLLBACK")
    other.close()

    assert await writer.run(insert("b")) == 1
    writer.close()


async def test_what_runs_alone_is_in_no_transaction_and_keeps_its_place(writer):
    """A checkpoint runs between two groups: after what was asked for before it, before what came after."""
    order = []
    async with Held(writer):
        waiting = [
            asyncio.ensure_future(writer.run(lambda db: order.append(("group", db.in_transaction)))),
            asyncio.ensure_future(writer.run_alone(lambda db: order.append(("alone", db.in_transaction)))),
            asyncio.ensure_future(writer.run(lambda db: order.append(("group", db.in_transaction)))),
        ]
    await asyncio.gather(*waiting)

    assert order == [("group", True), ("alone", False), ("group", True)]


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a group"])
async def test_errors_of_sqlite_come_as_ours(writer, alone):
    """Whoever waits sees the error tree, with SQLite's error as its cause."""
    with pytest.raises(StorageError) as caught:
        await (writer.run_alone if alone else writer.run)(lambda db: db.execute("SELECT * FROM nowhere"))

    assert isinstance(caught.value.__cause__, sqlite.Error)


async def test_a_cancelled_waiter_disturbs_nobody(writer, file):
    """Who gave up waiting hears nothing; their write and everybody else's are made."""
    async with Held(writer):
        waiting = [asyncio.ensure_future(writer.run(insert(f"row {number}"))) for number in range(3)]
        await asyncio.sleep(0)
        waiting[1].cancel()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)

    assert isinstance(outcomes[1], asyncio.CancelledError)
    assert rows(file) == ["row 0", "row 1", "row 2"]


async def test_closing_finishes_what_is_waiting(writer, file):
    """Everything asked for before the end is on disk after it, and more is refused."""
    async with Held(writer) as held:
        waiting = [asyncio.ensure_future(writer.run(insert(f"row {number}"))) for number in range(1_000)]
        await asyncio.sleep(0)
        held.go.set()
        writer.close()
    await asyncio.gather(*waiting)
    writer.close()

    assert len(rows(file)) == 1_000
    with pytest.raises(StorageError, match="closed"):
        await writer.run(insert("late"))


async def test_thousands_of_writers_at_once(writer, file):
    """Each of five thousand concurrent writers gets its own answer, and every row is there once."""
    answers = await asyncio.gather(
        *(writer.run(lambda db, value=value: insert(str(value))(db) and value) for value in range(5_000))
    )

    assert answers == list(range(5_000))
    assert sorted(map(int, rows(file))) == list(range(5_000))


async def test_a_broken_write_does_not_end_the_thread(writer):
    """Any exception of a write is its waiter's; the writer goes on."""
    with pytest.raises(ZeroDivisionError):
        await writer.run(lambda _db: 1 / 0)
    assert await writer.run(insert("next")) == 1


def test_nobody_waits_for_a_closed_event_loop(writer, file):
    """A write whose event loop is gone is still made."""

    async def start():
        asyncio.get_running_loop().create_task(writer.run(insert("orphan")))
        await asyncio.sleep(0)

    asyncio.run(start())
    writer.close()

    assert rows(file) == ["orphan"]
