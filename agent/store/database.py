"""Opening database files, and what everybody needs who works on an open one.

Both databases run in WAL mode with `secure_delete`, so that a point read never waits for a writer and what is deleted
is overwritten. SQLCipher encrypts the pages where it has a wheel; elsewhere the standard library's SQLite serves, and
the agent says `storage.unencrypted`.

Traps: a deferred transaction that reads before it writes beside another writer fails at once with
`SQLITE_BUSY_SNAPSHOT` (so: IMMEDIATE); CPython's implicit transactions hide commits (so: `isolation_level=None`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from agent.errors import StorageDamagedError, StorageError, StorageFullError, StorageKeyError, StorageSchemaError
from agent.store.pagekey import PageKey, looks_encrypted, starts_plain

if TYPE_CHECKING:
    import sqlite3 as sqlite
    from sqlite3 import Connection

    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

    ENCRYPTED = True
else:
    try:
        from sqlcipher3 import dbapi2 as sqlite

        ENCRYPTED = True
    except ImportError:  # no wheel for this platform (32-bit ARM)
        import sqlite3 as sqlite

        ENCRYPTED = False

__all__ = [
    "ENCRYPTED",
    "KEY_BYTES",
    "DatabaseFile",
    "Reader",
    "erase_leftovers",
    "immediate",
    "migrate",
    "remove",
    "sqlite",
    "steps_due",
    "storage_error",
    "transaction",
    "truncate_log",
]

KEY_BYTES = 32
BUSY_TIMEOUT_MS = 5_000
# Primary result codes, from sqlite.org/rescode.html; an extended code has its primary one in the low byte.
_IOERR, _CORRUPT, _FULL, _NOTADB = 10, 11, 13, 26
_OF_A_STATEMENT = (1, 19, 20)
"""ERROR, CONSTRAINT, MISMATCH: the statement is at fault, not the disk."""
_IOERR_SHMSIZE = 4_874
"""WAL's shared memory could not grow: a full disk, said differently."""
_IOERR_DAMAGE = (266, 522, 8_202, 8_458)
"""A read failed or came back short, or a checksum of the file system or the device did not fit."""


@dataclass(frozen=True, slots=True)
class DatabaseFile:
    """A database file and how it is opened; picklable, so that another process can open it too.

    Attributes:
        path: the file.
        key: 32 bytes that encrypt it, or None.
        synchronous: ``FULL`` (a commit survives a power cut) or ``NORMAL``.
        cache_kib: page cache of a connection, KiB.
    """

    path: Path
    key: bytes | None = field(repr=False)
    synchronous: str
    cache_kib: int = 4_096

    def connect(self, *, cache_kib: int | None = None, read_only: bool = False) -> Connection:
        """A connection that any thread may use, one at a time, with transactions spelled out.

        Args:
            cache_kib: another size of its page cache.
            read_only: for who only looks: nothing is made, and the log stays as it is when it is closed.

        Raises:
            StorageKeyError: the key does not open it, or it is encrypted and there is no key, or the reverse.
            StorageDamagedError: it is no database, or its first page is damaged.
            StorageError: it cannot be opened.
        """
        if not read_only:
            # SQLite would make it readable by others. One that is there is not opened: to close it would let go of the
            # locks that this process's other connections hold on it, as POSIX has it.
            with contextlib.suppress(OSError):  # SQLite says why
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            connection = sqlite.connect(
                self._read_only if read_only else os.fspath(self.path),
                isolation_level=None,
                check_same_thread=False,
                timeout=BUSY_TIMEOUT_MS / 1000,
                uri=True,  # for who attaches a file that must not be changed
            )
            try:
                if self.key is not None and ENCRYPTED:
                    connection.execute("PRAGMA cipher_log_level = NONE")  # it would write past our log
                    connection.execute(PageKey(self.key).pragma)
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
                for pragma in (
                    "journal_mode = WAL",
                    f"synchronous = {self.synchronous}",
                    "secure_delete = ON",
                    "foreign_keys = ON",
                    "temp_store = MEMORY",
                    "trusted_schema = OFF",
                    f"cache_size = -{cache_kib or self.cache_kib}",
                ):
                    connection.execute(f"PRAGMA {pragma}").fetchall()
            except BaseException:
                connection.close()
                raise
        except sqlite.Error as error:
            failure = storage_error(error)
            if isinstance(failure, StorageDamagedError):
                failure = self.key_error() or failure
            raise failure from error
        return connection

    def attachment(self, name: str) -> tuple[str, tuple[str, ...]]:
        """The statement, with its values, that attaches the file to another connection, to be read alone.

        Its values hold the key: they must not be logged.
        """
        uri = self._read_only
        if self.key is None or not ENCRYPTED:
            return f"ATTACH ? AS {name}", (uri,)
        return f"ATTACH ? AS {name} KEY ?", (uri, PageKey(self.key).literal)

    @property
    def _read_only(self) -> str:
        return f"{self.path.absolute().as_uri()}?mode=ro"

    def key_error(self) -> StorageKeyError | None:
        """The error to raise when an unreadable file is a matter of its key; None when it is damaged.

        Ciphertext of which nothing verifies is taken for another key's: set aside as damaged, it would take good
        sales with it.
        """
        name = self.path.name
        key = PageKey(self.key) if self.key is not None and ENCRYPTED else None
        if key is not None and starts_plain(self.path):
            return StorageKeyError(f"{name} is not encrypted, but encryption is on")
        if not looks_encrypted(self.path) or (key is not None and key.wrote(self.path)):
            return None
        return StorageKeyError(
            f"{name} is encrypted, but encryption is off" if key is None else f"the key does not open {name}"
        )


def storage_error(error: BaseException) -> StorageError:
    """The error of our tree for one of SQLite's. SQLite's texts name files and tables, never values."""
    code = getattr(error, "sqlite_errorcode", 0)
    primary = code & 0xFF
    if primary == _FULL or code == _IOERR_SHMSIZE:
        return StorageFullError()
    if primary in (_CORRUPT, _NOTADB) or code in _IOERR_DAMAGE:
        return StorageDamagedError(f"SQLite says: {error}")
    return StorageError(f"SQLite says: {error}")


def migrate(connection: Connection, migrations: Migrations) -> None:
    """Brings a file to this program's schema; an older program refuses a newer file.

    All steps that are due are one transaction: where one fails, the program that wrote the file can go on with it.

    Raises:
        StorageSchemaError: the file was written by a newer program, or a step is at fault.
        StorageError: the disk or the file said no.
    """
    import sqlite_utils  # noqa: PLC0415 - 15 MiB and 70 ms that only start-up needs

    database = sqlite_utils.Database(connection)
    try:
        newer = _newer(database, migrations)
        if not newer:
            due = migrations.pending(database)
            with immediate(connection) if due else contextlib.nullcontext():
                migrations.apply(database)
    except sqlite.Error as error:
        failure = storage_error(error)
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _OF_A_STATEMENT:
            failure = StorageSchemaError(f"a step of its schema failed: {failure}")
        raise failure from error
    except Exception as error:  # its text may hold what is in the file
        raise StorageSchemaError(f"a step of its schema failed: {type(error).__name__}") from error
    if newer:
        raise _written_by_a_newer_program(newer)


def steps_due(file: DatabaseFile, migrations: Migrations) -> tuple[str, ...]:
    """The steps, in order, that would bring a file to this program's schema. It is only looked at.

    Raises:
        StorageSchemaError: the file was written by a newer program.
        StorageError: it cannot be opened or read.
    """
    import sqlite_utils  # noqa: PLC0415 - as above

    connection = file.connect(read_only=True)
    try:
        database = sqlite_utils.Database(connection)
        newer = _newer(database, migrations)
        due = tuple(migration.name for migration in migrations.pending(database))
    except sqlite.Error as error:
        raise storage_error(error) from error
    finally:
        connection.close()
    if newer:
        raise _written_by_a_newer_program(newer)
    return due


def _newer(database: Database, migrations: Migrations) -> list[str]:
    """The steps of a file that this program does not know."""
    known = {migration.name for migration in migrations._migrations}  # noqa: SLF001 - there is no public list of names
    return [migration.name for migration in migrations.applied(database) if migration.name not in known]


def _written_by_a_newer_program(steps: Sequence[str]) -> StorageSchemaError:
    return StorageSchemaError(f"the file was written by a newer program (it has {steps[-1]})")


@contextlib.contextmanager
def immediate(connection: Connection) -> Iterator[Connection]:
    """One write transaction: committed at the end, rolled back on any error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise


@contextlib.contextmanager
def transaction(connection: Connection) -> Iterator[Connection]:
    """One write transaction whose failures are of our tree.

    Raises:
        StorageError: the disk or the file said no; nothing of the transaction is kept.
    """
    try:
        with immediate(connection):
            yield connection
    except sqlite.Error as error:
        raise storage_error(error) from error


def roll_back(connection: Connection) -> None:
    """Undoes what is open; nothing when nothing is."""
    if connection.in_transaction:  # a full disk makes SQLite roll back by itself
        with contextlib.suppress(sqlite.Error):  # the error that led here says more
            connection.execute("ROLLBACK")


class Reader(Protocol):
    """Who reads from a database: a connection, or what stands before one."""

    def execute(self, statement: str, values: Sequence[Any] = ..., /) -> Any:
        """What a statement finds."""

    def close(self) -> None:
        """Closes the database."""


def erase_leftovers(connection: Connection) -> None:
    """Leaves no trace of deleted rows: rebuilds the file and empties the write-ahead log.

    `secure_delete` overwrites what is deleted, but cells that a page split moved leave copies in the slack of the old
    page; only a rebuild is free of them. Takes about a second per 100 MB, holding the write lock: for a file that
    nobody waits for.
    """
    connection.execute("VACUUM")
    truncate_log(connection)


def truncate_log(connection: Connection) -> None:
    """Moves the write-ahead log into the file and cuts it to nothing.

    Raises:
        StorageError: readers kept it from finishing; the caller tries again later.
    """
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise StorageError("the write-ahead log is in use")


def remove(file: DatabaseFile) -> None:
    """Deletes a database that nobody has open, with its journals."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{file.path}{suffix}").unlink(missing_ok=True)
