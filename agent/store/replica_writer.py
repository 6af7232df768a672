"""How changes get into the replica in place: one commit for a file or page with its ledger row or cursor.

How a row is found and merged is in :mod:`agent.store.replica_rows`. A delete takes the rows of its contact id, else of
the first of its keys that anybody has, and leaves a tombstone of hashes, known contact or not. A later upsert wins and
removes the tombstone.

A file whose content was applied under another name is recorded and not applied: a copy of an old file must never
bring back who was deleted since.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from agent.domain.identifiers import IdentifierType
from agent.ports import AppliedCounts, AppliedFile, Batch, ChangePage, Identity, Sweep
from agent.store.database import erase_leftovers, sqlite, storage_error, transaction, truncate_log
from agent.store.feed_cursor import without
from agent.store.keyhash import HASH_BYTES, KeyHash
from agent.store.replica_file import COLUMNS, KEY_COLUMNS, ReplicaFile, instant
from agent.store.replica_rows import CONTACT_ID, DELETE, FIELDS, KEYS, NOTHING, Followed, Row, digest, merge

if TYPE_CHECKING:
    from sqlite3 import Connection

_CUTS = ", ".join(
    f"nullif(substr(?1, {column * HASH_BYTES + 1}, {HASH_BYTES}), x'{NOTHING.hex()}')" for column in range(KEYS)
)
INSERT = f"INSERT INTO contacts VALUES ({_CUTS}, nullif(?2, ''), nullif(?3, ''), nullif(?4, ''))"  # noqa: S608 - ours
"""Takes the first four parts of a :class:`Row`."""

_FIND = f"SELECT rowid, {', '.join(COLUMNS)} FROM contacts WHERE"  # noqa: S608 - names of ours
REMOVE = "DELETE FROM contacts WHERE rowid = ?"
_LEDGER = "SELECT name, size_bytes, sha256 FROM files ORDER BY rowid"
_SEEN = "SELECT 1 FROM files WHERE sha256 = ? AND name = ? LIMIT 1"
_RECORD = (
    "INSERT OR REPLACE INTO files (name, size_bytes, sha256, rows, deletes, replay, applied_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_BURY = "INSERT OR REPLACE INTO tombstones (identity, keys, deleted_at) VALUES (?, ?, ?)"
_REMOVED = "SELECT identity, keys, deleted_at FROM tombstones WHERE carried_out = 0"
_CARRIED_OUT = "UPDATE tombstones SET carried_out = 1 WHERE identity = ? AND deleted_at = ?"
_ERASE = "DELETE FROM contacts WHERE {column} = ?"
_RESTORE = "DELETE FROM tombstones WHERE identity IN (?, ?)"
_SEEN_IN_SWEEP = "INSERT OR IGNORE INTO swept VALUES (?, ?)"
_TAKE_BACK = "DELETE FROM contacts WHERE contact_id IN (SELECT contact_id FROM swept WHERE brought)"
_SWEPT = "SELECT contact_id FROM swept"
_END_SWEEP = "DELETE FROM swept"
_UNLISTED = "SELECT mark FROM unlisted"
_FORGET_UNLISTED = "DELETE FROM unlisted"
_KEEP_UNLISTED = "INSERT INTO unlisted VALUES (?)"
UNSEEN = "contact_id IS NULL OR contact_id NOT IN (SELECT contact_id FROM swept)"
_HELD = " OR ".join(
    f"EXISTS (SELECT 1 FROM contacts WHERE {column} = {{key}})"  # noqa: S608 - names of ours
    for column in KEY_COLUMNS
)
FORGET_UNHELD = f"DELETE FROM vouched WHERE NOT ({_HELD.format(key='ifnull(beside, key)')})"  # noqa: S608 - ours
"""Drops what is known of keys that lead to nobody any more."""
_GO_ON_FROM = "UPDATE state SET cursor = ?"
_COUNT = "UPDATE state SET contacts = contacts + ?, erasures = erasures + ?"


class Merger:
    """Applies rows one by one inside an open transaction, counting what they did.

    Args:
        connection: inside the caller's transaction, which makes it all or nothing.
        primary: the type of the primary integration key.
    """

    def __init__(self, connection: Connection, primary: IdentifierType) -> None:
        self.inserted = self.updated = self.unchanged = self.deleted = self.erasures = 0
        self.met: set[bytes] = set()
        """The contact ids of those whom upserts named, by whatever key."""
        self.brought: set[bytes] = set()
        """Those of them who were not here."""
        self._connection = connection
        self._primary = KEY_COLUMNS.index(primary.value)
        self._by_key = [f"{_FIND} {column} = ?" for column in KEY_COLUMNS]
        self._orphan = f"{_FIND} {primary.value} = ? AND contact_id IS NULL"
        self._newest = f"{_FIND} {primary.value} = ? ORDER BY rowid DESC LIMIT 1"
        self._buried = connection.execute("SELECT 1 FROM tombstones LIMIT 1").fetchone() is not None

    def apply(self, rows: Iterable[Row], *, at: datetime) -> None:
        """Merges rows in order; ``at`` is the instant that tombstones get."""
        for row in rows:
            if row.mark & DELETE:
                self._delete(row, at)
            else:
                self._upsert(row)

    def remove_unseen(self, *, at: datetime) -> None:
        """Takes out everybody whom a walk through all contacts has not shown, as a delete does.

        What else is kept under a key of theirs stays where somebody who remains has that key, too: a member who was
        deleted and made again has the number of before, and a family shares a phone.
        """
        unseen = self._connection.execute(f"{_FIND} {UNSEEN}").fetchall()
        self._connection.executemany(REMOVE, [(number,) for number, *_ in unseen])
        for _number, *known in unseen:
            keys = [None if self._is_held(column, known[column]) else known[column] for column in range(KEYS)]
            self._bury(keys, known[CONTACT_ID] or known[self._primary], at)
        self.deleted += len(unseen)
        self.erasures += len(unseen)

    def take_back(self) -> None:
        """Takes out whoever only the walk through all contacts brought: they were never said to be gone."""
        taken = self._connection.execute(_TAKE_BACK).rowcount
        self.deleted += taken
        self.erasures += taken

    def counts(self, batch: Batch, *, unlisted: frozenset[bytes] = frozenset()) -> AppliedCounts:
        """What has been done, for a batch that has been applied whole.

        Args:
            batch: what was applied.
            unlisted: marks of people erased here whom two walks through all contacts in a row have not shown.
        """
        return AppliedCounts(
            rows=len(batch.rows),
            inserted=self.inserted,
            updated=self.updated,
            unchanged=self.unchanged,
            deleted=self.deleted,
            unidentified=batch.unidentified,
            refused=batch.refused,
            removed=batch.removed | unlisted,
            named=batch.named,
        )

    def record(self) -> None:
        """Carries the size of the replica, and that erased rows may have left traces."""
        self._connection.execute(_COUNT, (self.inserted - self.deleted, self.erasures))

    def _upsert(self, row: Row) -> None:
        execute = self._connection.execute
        contact, key = row.key(CONTACT_ID), row.key(self._primary)
        if contact is None:
            known = execute(self._newest, (key,)).fetchone()
        else:
            known = execute(self._by_key[CONTACT_ID], (contact,)).fetchone()
            if known is None and key is not None:
                known = execute(self._orphan, (key,)).fetchone()
        mark = contact or (known and known[1 + CONTACT_ID])
        if mark:
            self.met.add(bytes(mark))
        if known is None:
            execute(INSERT, row[:4])
            self.inserted += 1
            self.brought.add(bytes(mark or b""))
        else:
            self._update(known[0], known[1:], merge(known[1:], row, self._primary))
        if self._buried:
            execute(_RESTORE, (contact, key))

    def _update(self, number: int, old: Sequence[Any], new: Sequence[Any]) -> None:
        # Only what differs: an index is rewritten for every column an UPDATE names, changed or not, and the vendor
        # echoes our own writes.
        changed = [column for column, value in enumerate(new) if value != old[column]]
        if not changed:
            self.unchanged += 1
            return
        names = ", ".join(f"{COLUMNS[column]} = ?" for column in changed)
        self._connection.execute(
            f"UPDATE contacts SET {names} WHERE rowid = ?",  # noqa: S608 - names of ours
            (*(new[column] for column in changed), number),
        )
        self.updated += 1
        self.erasures += any(new[column] is None or column == FIELDS for column in changed)

    def _delete(self, row: Row, at: datetime) -> None:
        found = self._named_by(row)
        given = [row.key(column) for column in range(KEYS)]
        for number, *known in found:
            self._take_out(number, known, given, at)
        if not found:
            self._bury(given, given[CONTACT_ID] or given[self._primary], at)

    def _take_out(
        self, number: int, known: Sequence[Any], given: Sequence[bytes | bytearray | None], at: datetime
    ) -> None:
        """Takes out one row, whose stored values are known; ``given`` are keys that name the person too."""
        self._connection.execute(REMOVE, (number,))
        self._bury([*known[:KEYS], *given], known[CONTACT_ID] or known[self._primary], at)
        self.deleted += 1
        self.erasures += 1

    def _named_by(self, row: Row) -> list[tuple[Any, ...]]:
        execute = self._connection.execute
        if (contact := row.key(CONTACT_ID)) is not None:
            return (
                execute(self._by_key[CONTACT_ID], (contact,)).fetchall()
                or execute(self._orphan, (row.key(self._primary),)).fetchall()
            )
        for column in (self._primary, *range(KEYS)):
            key = row.key(column)
            if key is not None and (found := execute(self._by_key[column], (key,)).fetchall()):
                return found
        return []

    def _is_held(self, column: int, key: bytes | None) -> bool:
        return key is not None and self._connection.execute(self._by_key[column], (key,)).fetchone() is not None

    def _bury(self, keys: Sequence[bytes | bytearray | None], identity: bytes | bytearray | None, at: datetime) -> None:
        known = tuple(dict.fromkeys(bytes(key) for key in keys if key is not None))
        if known:
            self._connection.execute(_BURY, (identity or known[0], b"".join(known), instant(at)))
            self._buried = True


class SqliteReplicaWriter:
    """The ports `ReplicaWriter` and `ReplicaLoader` over a finished replica.

    Args:
        file: what is kept in it.
        connection: closed with it.
        builds: the replica has still to be adopted.
        least: a walk that has shown fewer contacts was not through everybody.
    """

    def __init__(self, file: ReplicaFile, connection: Connection, *, builds: bool = False, least: int = 0) -> None:
        self.builds = builds
        self._file, self._least = file, least
        self._connection, self._followed = connection, Followed()
        # Moving the log into the file is not what a look-up waits for: it is done before the next commit, not in it.
        connection.execute("PRAGMA wal_autocheckpoint = 0")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()

    def ledger(self) -> list[AppliedFile]:
        """The files applied so far, in order."""
        return ledger(self._connection)

    def apply_file(self, file: AppliedFile, batch: Batch, *, at: datetime) -> AppliedCounts:
        """Applies a file's changes and its ledger row in one commit; nothing when its content was applied before."""
        with self._transaction() as connection:
            if seen(connection, file):
                record(connection, file, batch, at, replay=True)
                return AppliedCounts(replay=True)
            merger = Merger(connection, self._file.primary)
            merger.apply(batch.rows, at=at)
            merger.record()
            record(connection, file, batch, at, replay=False)
            return merger.counts(self._followed.through(batch))

    def cursor(self) -> str | None:
        """Where the API feed stands; None before its first page."""
        row: tuple[str | None] = self._connection.execute("SELECT cursor FROM state").fetchone()
        return row[0]

    def apply_page(self, page: ChangePage, *, at: datetime) -> AppliedCounts:
        """Applies a page and its cursor in one commit, and what the page is to a sweep.

        Who was erased here is not remembered as somebody to be asked for, either.
        """
        batch = digest(page.changes, self._file)
        with self._transaction() as connection:
            if page.sweep is Sweep.BEGINS:
                connection.execute(_END_SWEEP)
            merger = Merger(connection, self._file.primary)
            merger.apply(batch.rows, at=at)
            unlisted: frozenset[bytes] = frozenset()
            if page.sweep is not None:
                marks = merger.met | batch.refused
                connection.executemany(_SEEN_IN_SWEEP, [(mark, mark in merger.brought) for mark in marks])
            if page.sweep is Sweep.ENDS:
                merger.remove_unseen(at=at)
                unlisted = self._unlisted(connection)
            if page.sweep is Sweep.GIVEN_UP:
                merger.take_back()
            if page.sweep in (Sweep.ENDS, Sweep.GIVEN_UP):
                connection.execute(_END_SWEEP)
            merger.record()
            connection.execute(_GO_ON_FROM, (self._naming_none_of(self._file.refusals.marks, page.cursor),))
            return merger.counts(self._followed.through(batch), unlisted=unlisted)

    def _unlisted(self, connection: Connection) -> frozenset[bytes]:
        """Who was erased here, and was not shown twice in a row.

        There is nothing to ask for them by, and once a row can slip from page to page while it is being read.
        """
        shown = {mark for (mark,) in connection.execute(_SWEPT)}
        if len(shown) < self._least:
            return frozenset()
        before = {mark for (mark,) in connection.execute(_UNLISTED)}
        missing = self._file.refusals.marks - shown
        connection.execute(_FORGET_UNLISTED)
        connection.executemany(_KEEP_UNLISTED, [(mark,) for mark in missing - before])
        return missing & before

    def finish(self, *, as_of: datetime) -> None:
        """Records that everything up to ``as_of`` is in it."""
        with self._transaction() as connection:
            connection.execute("UPDATE state SET as_of = ?", (instant(as_of),))

    def abandon(self) -> None:
        """Nothing is being built here."""

    def purge(self, tombstones_before: datetime) -> int:
        """Forgets tombstones of contacts deleted before an instant and erases every trace of deleted rows.

        A removal that has not been carried out elsewhere yet is not forgotten.

        Returns:
            How many tombstones went.

        Raises:
            StorageError: among others because readers kept the log busy; call it again later.
        """
        with transaction(self._connection) as connection:
            gone = connection.execute(
                "DELETE FROM tombstones WHERE deleted_at < ? AND carried_out = 1", (instant(tombstones_before),)
            ).rowcount
            if gone:
                connection.execute(_COUNT, (0, gone))
        self.leave_no_trace()
        return int(gone)

    def removed(self) -> list[tuple[bytes, bytes, datetime]]:
        """Whom the feed has removed, as long as nobody said that it is carried out.

        Returns:
            For each the identifying hash, the hashes of all their keys side by side, and when.

        Raises:
            StorageError: the file cannot be read.
        """
        try:
            rows = self._connection.execute(_REMOVED).fetchall()
        except sqlite.Error as error:
            raise storage_error(error) from error
        return [(identity, keys, datetime.fromisoformat(at)) for identity, keys, at in rows]

    def carried_out(self, removed: Iterable[tuple[bytes, datetime]]) -> None:
        """Nothing else is kept of these, who were removed then. Raises StorageError."""
        with self._transaction() as connection:
            connection.executemany(_CARRIED_OUT, [(identity, instant(at)) for identity, at in removed])

    def erase(self, identity: Identity) -> int:
        """Takes somebody out, their tombstone and their place in the cursor included; how many contacts that was.

        There are traces until :meth:`leave_no_trace` has erased them. Raises StorageError.
        """
        with self._transaction() as connection:
            contacts = connection.execute(_ERASE.format(column=KEY_COLUMNS[CONTACT_ID]), (identity.mark,)).rowcount
            if not contacts:
                statement = f"{_ERASE} AND contact_id IS NULL".format(column=self._file.primary.value)
                contacts = connection.execute(statement, (identity.mark,)).rowcount
            connection.execute(FORGET_UNHELD)
            buried = connection.execute(_RESTORE, (identity.mark, identity.primary)).rowcount
            (cursor,) = connection.execute("SELECT cursor FROM state").fetchone()
            named = cursor is not None and (left := self._naming_none_of({identity.mark}, cursor)) != cursor
            if named:
                connection.execute(_GO_ON_FROM, (left,))
            connection.execute(_COUNT, (-contacts, contacts + buried + named))
            return int(contacts)

    def _naming_none_of(self, marks: Container[bytes], cursor: str) -> str:
        hash_of = KeyHash(self._file.key).of
        return without(cursor, lambda id_: hash_of(IdentifierType.CONTACT_ID, id_) in marks)

    def leave_no_trace(self) -> None:
        """Rebuilds the file if anything was erased since the last time: a till's disk wears. Empties its log always.

        The log may have what was never committed: a load that was cut off was larger than its cache.

        Raises:
            StorageError: among others because readers kept the log busy; call it again later.
        """
        try:
            (erasures,) = self._connection.execute("SELECT erasures FROM state").fetchone()
            if erasures:
                erase_leftovers(self._connection)
                with transaction(self._connection) as connection:
                    connection.execute("UPDATE state SET erasures = 0")
            truncate_log(self._connection)
        except sqlite.Error as error:
            raise storage_error(error) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite.Error as error:
            raise storage_error(error) from error
        with transaction(self._connection) as connection:
            yield connection


def ledger(connection: Connection) -> list[AppliedFile]:
    """The files applied so far, in order."""
    return [AppliedFile(*row) for row in connection.execute(_LEDGER)]


def seen(connection: Connection, file: AppliedFile) -> bool:
    """Whether this file has been applied. The same content under a later name is another event: it can delete again."""
    return connection.execute(_SEEN, (file.sha256, file.name)).fetchone() is not None


def record(connection: Connection, file: AppliedFile, batch: Batch, at: datetime, *, replay: bool) -> None:
    """Writes a file's ledger row."""
    deletes = sum(row.mark & DELETE for row in batch.rows)
    connection.execute(
        _RECORD, (file.name, file.size_bytes, file.sha256, len(batch.rows), deletes, int(replay), instant(at))
    )
