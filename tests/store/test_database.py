"""Opening files."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import pytest

from agent.errors import StorageDamagedError, StorageError, StorageKeyError, StorageSchemaError
from agent.store.database import DatabaseFile, immediate, migrate, truncate_log
from agent.store.group_commit import GroupWriter
from agent.store.migrations import outbox as migrations

KEY, OTHER_KEY = b"k" * 32, b"x" * 32
CANARY = b"Alma Made-Up"


@pytest.fixture
def file(tmp_path):
    return DatabaseFile(tmp_path / "a.db", None, "FULL")


def fill(path, key, *, pages=20):
    connection = DatabaseFile(path, key, "FULL").connect()
    connection.execute("CREATE TABLE people (name TEXT)")
    with immediate(connection):
        for number in range(pages * 40):
            connection.execute("INSERT INTO people VALUES (?)", (f"{CANARY.decode()} {number} {'.' * 80}",))
    truncate_log(connection)
    connection.close()


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


def migrated(path, until):
    """A file as the program left it whose last migration that is."""
    connection = DatabaseFile(path, None, "FULL").connect()
    earlier = type(migrations)(migrations.name)
    names = [migration.name for migration in migrations._migrations]
    earlier._migrations = migrations._migrations[: names.index(until) + 1]
    migrate(connection, earlier)
    return connection


def test_how_far_a_delivery_is_survives_the_update(tmp_path):
    """It stood in the place of what the vendor calls the sale; what was that stays there."""
    connection = migrated(tmp_path / "a.db", "contacts_in_bulk")
    for number, reference in enumerate(("async:2/3:4:first:c-1", "async", "asyncio-1", "ord_1", None), 1):
        with immediate(connection):
            connection.execute(
                "INSERT INTO sales (id, transaction_id, type, till, number, day, fingerprint, accepted_at, occurred_at,"
                " bytes) VALUES (?1, ?1, 'purchase', '03', ?1, 1, x'', 1, '', 1)",
                (number,),
            )
            connection.execute(
                "INSERT INTO deliveries (sale, vendor, state, rank, person, vendor_reference)"
                " VALUES (?, 'antavo', 'queued', 1, x'', ?)",
                (number, reference),
            )
    migrate(connection, migrations)
    assert connection.execute("SELECT vendor_reference, progress FROM deliveries ORDER BY entry").fetchall() == [
        (None, "2/3:4:first:c-1"),
        *(("async", None), ("asyncio-1", None), ("ord_1", None), (None, None)),
    ]
    connection.close()


TAKE_ALONE = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x4000_0002)
"""
"""What SQLite locks of a file to have it alone, from sqlite.org/fileformat.html: the shared range of the lock bytes."""


def taken_alone(path):
    """Whether another process can have it alone, as who removes its log."""
    done = subprocess.run([sys.executable, "-c", TAKE_ALONE, str(path)], check=False, capture_output=True, text=True)
    assert done.returncode == 0 or "BlockingIOError" in done.stderr
    return done.returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="locks of POSIX")
def test_another_connection_takes_no_lock_from_the_first(file):
    """A process loses its locks on a file with the first descriptor of it that is closed, whoever opened it."""
    first = file.connect()
    first.execute("CREATE TABLE t (x)")
    file.connect().close()
    second = file.connect()
    held = not taken_alone(file.path)
    for connection in (first, second):
        connection.close()

    assert held
    assert taken_alone(file.path)


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
    with pytest.raises(StorageSchemaError, match=r"newer program.*from_the_future"):
        migrate(connection, migrations)

    assert schema(connection) == before
    connection.close()


def refused(db):
    db.execute("INSERT INTO nowhere VALUES (1)")


def crashed(db):
    raise ValueError("alma@example.com")


@pytest.mark.parametrize(("fails", "told"), [(refused, "no such table: nowhere"), (crashed, "ValueError")])
def test_a_broken_step_leaves_the_file_as_it_was(file, fails, told):
    """It is rolled back with the steps before it; the program that wrote the file opens it again."""
    connection = file.connect()
    migrate(connection, migrations)
    before = schema(connection)
    broken = type(migrations)(migrations.name)
    broken._migrations = list(migrations._migrations)
    broken(name="good")(lambda db: db.execute("CREATE TABLE good (x)"))

    def step(db):
        db.execute("CREATE TABLE half (x)")
        fails(db)

    broken(name="broken")(step)
    with pytest.raises(StorageSchemaError, match=rf"step of its schema failed: .*{told}$"):
        migrate(connection, broken)

    assert schema(connection) == before
    migrate(connection, migrations)
    connection.close()
