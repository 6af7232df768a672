"""The look-ups that the till waits for, and the handover from one replica to the next.

Look-ups are indexed point reads on one connection, made inline on the event loop's thread: they take microseconds,
and in WAL mode they never wait for whoever writes.

Only the process that owns the state directory opens :class:`SqliteReplica`. A new replica is built in a side file by
another process (:mod:`agent.store.replica_builder`) and adopted here: with nobody else holding either file, closing
the one, renaming the other and opening it again cannot be torn.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.domain.contact import WITHHELD, Member
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.transaction import IntegrationKey
from agent.errors import StorageDamagedError, StorageError, StorageKeyError, StorageSchemaError
from agent.ports import Identity, Person, ReplicaInfo
from agent.store.database import remove, sqlite, storage_error
from agent.store.keyhash import HASH_BYTES, KeyHash
from agent.store.replica_file import COLUMNS, KEY_COLUMNS, ReplicaFile

if TYPE_CHECKING:
    from sqlite3 import Connection, Cursor

_INFO = "SELECT contacts, as_of FROM state"
_VOUCHED = "SELECT at FROM vouched WHERE key = ?"
_WHOLE = f"SELECT {', '.join(COLUMNS)} FROM contacts WHERE {{column}} = ?"  # noqa: S608 - names of ours
_SHARED = "SELECT 1 FROM contacts WHERE {column} = ? LIMIT 2"


class SqliteReplica:
    """Point reads of the local contacts (the port `Replica`), and the handover from one file to the next.

    Opening adopts a finished side file, and starts empty when what is there was made for another primary key, other
    fields or under another hash key: such rows answer nothing.

    Args:
        file: where and what; ``file.database.cache_kib`` decides what an encrypted look-up costs.
        withheld: leave it closed for now; nobody is found until it is opened.
        suspected: called when the open file turns out to be damaged.

    Raises:
        StorageError: the file cannot be opened; it is left as it is, for the owner to set aside.
    """

    def __init__(
        self, file: ReplicaFile, *, withheld: bool = False, suspected: Callable[[], None] = lambda: None
    ) -> None:
        self._suspected = suspected
        self._connection: Connection | None = None
        self._info: ReplicaInfo | None = None
        self._use(file)
        self.withhold()
        if not withheld:
            self.open()

    def resolve(self, readings: Sequence[Identifier]) -> tuple[Member, ...]:
        """Everybody whom any of the readings names, each person once. Empty while no load has ended.

        Where only those are kept who were asked for: nobody, unless each of the readings was.

        Raises:
            StorageError: the file cannot be read.
        """
        if self.info().as_of is None:
            return ()
        found: dict[bytes, Member] = {}
        ages: list[datetime] = []
        try:
            for reading in readings:
                # As a bytearray: for bytes, the binding would search for an adapter longer than SQLite for the row.
                hashed = bytearray(self._hash(reading.type, reading.value))
                if self.file.by_question:
                    if (said_at := self._said_at(hashed)) is None:  # somebody else may have this key too
                        return ()
                    ages.append(said_at)
                for identity, primary_key, contact_key, fields in self._execute(self._find[reading.type], (hashed,)):
                    if identity not in found:
                        found[identity] = self._member(identity, primary_key, contact_key, fields)
        except sqlite.Error as error:
            raise self._failure(error) from error
        if not ages:
            return tuple(found.values())
        return tuple(replace(member, as_of=min(ages)) for member in found.values())

    def member(self, ref: str) -> Member | None:
        """The member behind an opaque handle, or None: unknown, deleted since, or no handle at all.

        Raises:
            StorageError: the file cannot be read.
        """
        mark = self._mark_of(ref)
        if mark is None or self.info().as_of is None:
            return None
        try:
            for kind in self._identifying:
                for row in self._execute(self._find[kind], (mark,)):
                    return replace(self._member(*row), as_of=self._said_at(row[0]))
        except sqlite.Error as error:
            raise self._failure(error) from error
        return None

    def info(self) -> ReplicaInfo:
        """Size and freshness as of the last :meth:`refresh`: every sale and every look-up asks.

        Raises:
            StorageError: the file cannot be read.
        """
        if self._info is None:
            try:
                contacts, as_of = self._execute(_INFO).fetchone()
            except sqlite.Error as error:
                raise self._failure(error) from error
            self._info = ReplicaInfo(contacts, datetime.fromisoformat(as_of) if as_of else None, self.file.contents)
        return self._info

    def refresh(self) -> None:
        """Somebody wrote to the replica: :meth:`info` is read again."""
        if self._connection is not None:
            self._info = None

    def identity(self, mark: bytes, primary: bytes | None = None) -> Identity:
        """Who somebody with these keyed hashes is, whether or not they are here."""
        return Identity(self._ref(mark), mark, primary)

    def persons(self, readings: Sequence[Identifier]) -> tuple[Person, ...]:
        """Everybody whom any of the readings names, with all that leads to them.

        Whatever the replica's age, and while look-ups are closed as well: what is kept is asked, not who may be found.

        Raises:
            StorageError: the file cannot be read.
        """
        found: dict[bytes, Person] = {}
        with self._kept() as execute:
            for reading in readings:
                hashed = self._hash(reading.type, reading.value)
                for row in execute(_WHOLE.format(column=reading.type.value), (hashed,)).fetchall():
                    person = self._person(execute, row)
                    found[person.identity.mark] = person
        return tuple(found.values())

    def there(self, refs: Iterable[str]) -> frozenset[str]:
        """Those of the handles behind which somebody is kept; asked as :meth:`persons` is. Raises StorageError."""
        marks = {ref: mark for ref in refs if (mark := self._mark_of(ref)) is not None}
        with self._kept() as execute:
            return frozenset(
                ref
                for ref, mark in marks.items()
                if any(execute(self._find[kind], (mark,)).fetchone() for kind in self._identifying)
            )

    @contextlib.contextmanager
    def _kept(self) -> Iterator[Callable[..., Cursor]]:
        """Runs statements on the file, which is opened for the purpose while it is closed to look-ups."""
        connection = self._connection or self._connect()
        try:
            yield connection.execute
        except sqlite.Error as error:
            raise storage_error(error) from error
        finally:
            if connection is not self._connection:
                connection.close()

    def _person(self, execute: Callable[..., Cursor], row: Sequence[Any]) -> Person:
        keys = {kind: key for kind, key in zip(IdentifierType, row, strict=False) if key is not None}
        primary = keys.get(self._primary)
        mark = keys.get(IdentifierType.CONTACT_ID) or primary or b""
        shared = frozenset(
            key for kind, key in keys.items() if len(execute(_SHARED.format(column=kind.value), (key,)).fetchall()) > 1
        )
        member = self._member(mark, *row[len(KEY_COLUMNS) :])
        return Person(member, self.identity(mark, primary if primary != mark else None), keys, shared)

    def adopt(self) -> bool:
        """Takes a finished side file in place of the present replica; False when there is none.

        Takes milliseconds, on the thread that reads. Nobody else may have either file open.

        Raises:
            StorageError: the side file cannot be opened; the present replica stays.
        """
        if not self._side_is_finished():
            return False
        self.withhold()
        self.open()
        return True

    def withhold(self) -> None:
        """Closes the file: until it is opened nobody is found, and nothing counts as loaded. Idempotent."""
        self.close()
        self._connection = None
        self._info = ReplicaInfo(0, None, self.file.contents)

    def start_over(self, file: ReplicaFile) -> None:
        """Forgets everybody: removes the replica and whatever is being built, and starts empty with another file.

        On the thread that reads, so that no look-up meets a closed file.

        Raises:
            StorageError: the new file cannot be made.
            OSError: a file cannot be removed. Nobody is found then, and it can be repeated.
        """
        self.withhold()
        remove(self.file.side)
        remove(self.file.database)
        self._use(file)
        self.open()

    def close(self) -> None:
        """Closes the read connection. Idempotent."""
        if self._connection is not None:
            self._connection.close()

    def open(self) -> None:
        """Opens the file, adopting a finished side file.

        Raises:
            StorageError: it cannot be opened, and stays closed.
        """
        connection = self._connect()
        try:
            finished, fits = self._side_is_finished(), self.file.fits(connection)
        except sqlite.Error as error:
            connection.close()
            raise storage_error(error) from error
        if finished or not fits:
            connection.close()
            self._replace() if finished else remove(self.file.database)
            connection = self._connect()
        self._connection = connection
        self._execute = connection.execute
        self.refresh()

    def _said_at(self, key: bytes | bytearray) -> datetime | None:
        """Up to when it is known whom a key leads to; None where it was not asked for."""
        row = self._execute(_VOUCHED, (key,)).fetchone() if self.file.by_question else None
        return datetime.fromisoformat(row[0]) if row is not None else None

    def _failure(self, error: BaseException) -> StorageError:
        failure = storage_error(error)
        if isinstance(failure, StorageDamagedError):
            self._suspected()
        return failure

    def _use(self, file: ReplicaFile) -> None:
        self.file = file
        self._primary = file.primary
        self._identifying = (IdentifierType.CONTACT_ID, file.primary)
        keys = KeyHash(file.key)
        self._hash = keys.of
        # A reference is the identifying hash under a secret mask: no column and no index of its own, and whoever
        # has seen references cannot find their rows in a stolen file.
        self._mask = int.from_bytes(keys.derive("ref"))
        identity = f"ifnull(contact_id, {file.primary.value}), primary_key, contact_key, fields"  # two of our own names
        self._find = {
            kind: f"SELECT {identity} FROM contacts WHERE {kind.value} = ?"  # noqa: S608 - a column of ours
            for kind in IdentifierType
        }

    def _connect(self) -> Connection:
        """The file at this version's schema; made anew where that cannot be: it can be fetched again."""
        try:
            return self._brought()
        except StorageSchemaError:
            remove(self.file.database)
            return self._brought()

    def _brought(self) -> Connection:
        connection = self.file.database.connect()
        try:
            self.file.ensure(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _side_is_finished(self) -> bool:
        """Whether the side file is a whole replica of this shape. A damaged one is removed: it is built again."""
        side = self.file.side
        if not side.path.exists():
            return False
        try:
            connection = side.connect()
        except (StorageDamagedError, StorageKeyError):  # the present replica has opened: the key is right
            remove(side)
            return False
        try:
            return self.file.fits(connection) and connection.execute(_INFO).fetchone()[1] is not None
        except sqlite.Error:  # killed before its tables were there
            return False
        finally:
            connection.close()

    def _replace(self) -> None:
        """Puts the side file where the present replica was. Nobody has either open."""
        # The old journal is empty by now; were one left, it would be played into the new file.
        for suffix in ("-wal", "-shm"):
            Path(f"{self.file.database.path}{suffix}").unlink(missing_ok=True)
        self.file.side.path.replace(self.file.database.path)

    def _member(self, identity: bytes, primary_key: str | None, contact_key: str | None, fields: str | None) -> Member:
        key = (
            IntegrationKey(kind="primary", type=self._primary, value=primary_key)
            if primary_key is not None
            else IntegrationKey(kind="primary", type=IdentifierType.CONTACT_ID, value=contact_key or "")
        )
        return Member(self._ref(identity), key, _shown(fields) if fields is not None else {})

    def _mark_of(self, ref: str) -> bytes | None:
        """The identifying hash behind a handle; None when it is no handle at all."""
        try:
            return (int.from_bytes(bytes.fromhex(ref)) ^ self._mask).to_bytes(HASH_BYTES)
        except (ValueError, OverflowError):
            return None

    def _ref(self, mark: bytes) -> str:
        return f"{int.from_bytes(mark) ^ self._mask:032x}"


def _shown(fields: str) -> dict[str, str | None]:
    return {name: None if value is WITHHELD else value for name, value in json.loads(fields).items()}
