"""Opening files and committing in groups."""

from __future__ import annotations

import asyncio
import os
import pickle
import threading

import pytest

from agent.errors import ConflictError, StorageDamagedError, StorageError, StorageFullError, StorageKeyError
from agent.store.database import DatabaseFile, GroupWriter, immediate, migrate, sqlite, truncate_log
from agent.store.migrations import outbox as migrations

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


def fill(path, key, *, pages=20):
    connection = DatabaseFile(path, key, "FULL").connect()
    connection.execute("CREATE TABLE people (name TEXT)")
    with immediate(connection):
        for number in range(pages * 40):
            connection.execute("INSERT INTO people VALUES (?)", (f"{CANARY.decode()} {number} {'.' * 80}",))
    truncate_log(connection)
    connection.close()


class Held:
    """Keeps the writer's thread busy, so that everything asked for meanwhile becomes one group."""

    def __init__(self, writer):
        self.writer, self.entered, self.go = writer, threading.Event(), threading.Event()

    def _wait(self, _db):
        self.entered.set()
        self.go.wait(10)

    async def __aenter__(self):
        self.task = asyncio.ensure_future(self.writer.run_alone(self._wait))
        while not self.entered.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.001)
        return self

    async def __aexit__(self, *exc):
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


@pytest.mark.parametrize(("key", "shows"), [(None, True), (KEY, False)], ids=["plain", "encrypted"])
def test_an_encrypted_file_shows_nothing(tmp_path, key, shows):
    """A value is found in a plain file's bytes, and nowhere in an encrypted one's, its log included."""
    path = tmp_path / "a.db"
    fill(path, key)
    connection = DatabaseFile(path, key, "FULL").connect()
    connection.execute("INSERT INTO people VALUES (?)", (CANARY.decode(),))
    data = b"".join(part.read_bytes() for part in tmp_path.iterdir())
    found = connection.execute("SELECT count(*) FROM people").fetchone()[0]
    connection.close()

    assert (CANARY in data) is shows
    assert found == 801


def test_pragmas_hold_on_every_connection(file):
    """A commit survives a power cut, what is deleted is overwritten, and keys of other tables are checked."""
    connection = file.connect()
    values = {
        name: connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "secure_delete", "foreign_keys", "temp_store")
    }
    connection.close()

    assert values == {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "foreign_keys": 1, "temp_store": 2}


@pytest.mark.parametrize(
    ("written_with", "opened_with", "text"),
    [(KEY, OTHER_KEY, "does not open"), (KEY, None, "is encrypted"), (None, KEY, "is not encrypted")],
    ids=["another key", "no key", "a key for a plain file"],
)
def test_a_wrong_key_is_no_damage(tmp_path, written_with, opened_with, text):
    """A file that waits for its right key is never taken for a damaged one, and opens once the key is back."""
    path = tmp_path / "a.db"
    fill(path, written_with)
    with pytest.raises(StorageKeyError, match=text):
        DatabaseFile(path, opened_with, "FULL").connect()
    connection = DatabaseFile(path, written_with, "FULL").connect()
    assert connection.execute("SELECT count(*) FROM people").fetchone()[0] == 800
    connection.close()


def overwrite(path, offset, data):
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(data)


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: overwrite(path, 0, os.urandom(4_096)),
        lambda path: overwrite(path, 16, bytes(4_080)),
        lambda path: path.write_bytes(b"no database at all " * 10_000),
        lambda path: path.write_bytes(bytes(40_960 + 17)),
        lambda path: path.write_bytes(b"\x07" * 100),
    ],
    ids=["first page", "header", "a text", "zeros", "a scrap"],
)
def test_a_damaged_file_is_called_damaged(tmp_path, key, damage):
    """A file that cannot be a matter of its key is reported as damaged, so that sales go on beside it."""
    path = tmp_path / "a.db"
    fill(path, key)
    damage(path)
    with pytest.raises(StorageDamagedError):
        DatabaseFile(path, key, "FULL").connect()


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
async def test_damage_inside_is_found_when_it_is_read(tmp_path, key):
    """A page overwritten in the middle fails the statement that reads it, as damage."""
    path = tmp_path / "a.db"
    fill(path, key)
    for page in range(3, 8):
        overwrite(path, page * 4_096, os.urandom(4_096))
    writer = GroupWriter(DatabaseFile(path, key, "FULL").connect(), "test")
    with pytest.raises(StorageDamagedError):
        await writer.run(lambda db: db.execute("SELECT sum(length(name)) FROM people").fetchall())
    writer.close()


def test_a_directory_that_is_not_there_is_a_storage_error(tmp_path):
    """A file that cannot be made is neither damage nor a key."""
    with pytest.raises(StorageError) as caught:
        DatabaseFile(tmp_path / "nowhere" / "a.db", None, "FULL").connect()
    assert type(caught.value) is StorageError


def test_a_database_file_shows_no_key():
    """The key stays out of the repr, and the value travels to another process."""
    file = DatabaseFile("a.db", KEY, "FULL")
    assert "kkk" not in repr(file)
    assert KEY.hex() not in repr(file)
    assert pickle.loads(pickle.dumps(file)) == file


def schema(connection):
    return sorted(tuple(row) for row in connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema"))


def test_migrated_equals_fresh(tmp_path):
    """A file brought step by step to this program's schema is the one a new file gets; doing it again does nothing."""
    fresh = DatabaseFile(tmp_path / "fresh.db", None, "FULL").connect()
    migrate(fresh, migrations)
    stepwise = DatabaseFile(tmp_path / "old.db", None, "FULL").connect()
    for count in range(1, len(migrations._migrations) + 1):
        partial = type(migrations)(migrations.name)
        partial._migrations = migrations._migrations[:count]
        migrate(stepwise, partial)
    migrate(stepwise, migrations)

    assert schema(stepwise) == schema(fresh)
    fresh.close()
    stepwise.close()


def test_an_older_program_refuses_a_newer_file(file):
    """A step this program does not know stops it before it touches anything."""
    connection = file.connect()
    newer = type(migrations)(migrations.name)
    newer._migrations = list(migrations._migrations)
    newer(name="from_the_future")(lambda db: db.execute("CREATE TABLE future (x)"))
    migrate(connection, newer)
    before = schema(connection)
    with pytest.raises(StorageError, match=r"newer program.*from_the_future"):
        migrate(connection, migrations)

    assert schema(connection) == before
    connection.close()


def test_a_broken_step_leaves_the_file_as_it_was(file):
    """A migration that fails is rolled back whole; the program that wrote the file opens it again."""
    connection = file.connect()
    migrate(connection, migrations)
    before = schema(connection)
    broken = type(migrations)(migrations.name)
    broken._migrations = list(migrations._migrations)

    def step(db):
        db.execute("CREATE TABLE half (x)")
        db.execute("INSERT INTO nowhere VALUES (1)")

    broken(name="broken")(step)
    with pytest.raises(StorageError):
        migrate(connection, broken)

    assert schema(connection) == before
    migrate(connection, migrations)
    connection.close()
