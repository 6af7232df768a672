"""Building a whole replica fast, beside the one in use, and resumably.

Rows are appended as they come, without indexes and without asking whether a contact is there already; each file is one
commit with its ledger row, so that a builder killed at any moment is gone on with. At the end the indexes are made,
and whatever is not plainly one upsert of one contact is taken out and merged again, in order, by the same code that
applies a delta. That is right because what is taken out is closed: no row that stays could have been found by a row
that is replayed, nor the other way round.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Self

from agent.domain.contact import ContactChange
from agent.domain.identifiers import Identifier, IdentifierType
from agent.errors import FeedGapError, StorageDamagedError, StorageError, StorageKeyError, StorageSchemaError
from agent.ports import AppliedCounts, AppliedFile, Batch
from agent.store.database import DatabaseFile, remove, sqlite, storage_error, transaction
from agent.store.refusals import Refusals
from agent.store.replica_file import COLUMNS, KEY_COLUMNS, ReplicaFile, instant
from agent.store.replica_rows import CONTACT_ID, DELETE, Followed, digest, pack
from agent.store.replica_writer import INSERT, UNSEEN, Merger, SqliteReplicaWriter, ledger, record, seen

if TYPE_CHECKING:
    from sqlite3 import Connection

CACHE_KIB = 64 * 1024
"""Page cache while loading: an index is made from the whole table, and a delta touches every index at random."""

_INDEXES = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'contacts'"
_BUILDING = (
    "CREATE TABLE IF NOT EXISTS building_indexes (sql TEXT NOT NULL) STRICT",
    """
    CREATE TABLE IF NOT EXISTS building_marks (
        first_row INTEGER PRIMARY KEY,
        marks BLOB NOT NULL,
        orphans INTEGER NOT NULL,
        deletes INTEGER NOT NULL,
        applied_at TEXT NOT NULL
    ) STRICT""",
)
_NEXT = "SELECT ifnull(max(rowid), 0) + 1 FROM contacts"
_MARKS = "INSERT INTO building_marks VALUES (?, ?, ?, ?, ?)"
_KEYS_OF = f"SELECT {', '.join(KEY_COLUMNS)} FROM contacts WHERE rowid = ?"  # noqa: S608 - names of ours
_TAKE = "INSERT OR IGNORE INTO taken {rows}"
_NAMED = "SELECT rowid FROM contacts WHERE {column} = ?"
_TWICE = (
    "SELECT rowid FROM contacts WHERE contact_id IN"
    " (SELECT contact_id FROM contacts WHERE contact_id IS NOT NULL GROUP BY contact_id HAVING count(*) > 1)"
)
_SHARED = (
    "SELECT rowid FROM contacts WHERE {primary} IN"
    " (SELECT {primary} FROM contacts WHERE {primary} IS NOT NULL GROUP BY {primary} HAVING count(*) > 1) AND EXISTS"
    " (SELECT 1 FROM contacts AS other WHERE other.{primary} = contacts.{primary} AND other.contact_id IS NULL)"
)
_SET_ASIDE = (
    f"CREATE TABLE building_again AS SELECT rowid AS number, {', '.join(COLUMNS)} FROM contacts"  # noqa: S608 - ours
    " WHERE rowid IN taken ORDER BY rowid"
)
_HOLDS = f"SELECT 1 FROM contacts WHERE ? IN ({', '.join(KEY_COLUMNS)}) LIMIT 1"  # noqa: S608 - names of ours
_ERASURES = "SELECT ifnull(sum(erasures), 0) FROM state"
_UNSEEN = f"SELECT primary_key, contact_key FROM contacts WHERE {UNSEEN}"  # noqa: S608 - ours
_KNOWN = "SELECT 1 FROM contacts WHERE contact_id = ?1 UNION ALL SELECT 1 FROM contacts WHERE {primary} = ?1 LIMIT 1"


class SqliteReplicaBuilder:
    """The port `ReplicaLoader` over a side file that becomes the replica once it is finished."""

    builds = True

    def __init__(self, file: ReplicaFile, connection: Connection, present: DatabaseFile | None, least: int) -> None:
        self._file, self._least = file, least
        self._connection = connection
        self._present, self._followed = present, Followed()
        with transaction(connection):
            for statement in _BUILDING:
                connection.execute(statement)
        self._indexes = dict(connection.execute(_INDEXES).fetchall())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()

    def ledger(self) -> list[AppliedFile]:
        """The files in what is being built, in order."""
        return ledger(self._connection)

    def apply_file(self, file: AppliedFile, batch: Batch, *, at: datetime) -> AppliedCounts:
        """Appends a file's rows with its ledger row in one commit; what they mean is settled at the end."""
        with transaction(self._connection) as connection:
            if seen(connection, file):
                record(connection, file, batch, at, replay=True)
                return AppliedCounts(replay=True)
            rows = batch.rows
            (first,) = connection.execute(_NEXT).fetchone()
            self._drop_indexes(batch)
            connection.executemany(INSERT, (row[:4] for row in rows))
            marks = array("H", (row.mark for row in rows))
            orphans = sum(row.key(CONTACT_ID) is None for row in rows)
            deletes = sum(mark & DELETE for mark in marks)
            if rows:
                connection.execute(_MARKS, (first, marks.tobytes(), orphans, deletes, instant(at)))
            record(connection, file, batch, at, replay=False)
        batch = self._followed.through(batch)
        return AppliedCounts(
            rows=len(rows),
            inserted=len(rows) - deletes,
            deleted=deletes,
            unidentified=batch.unidentified,
            refused=batch.refused,
            removed=batch.removed,
            named=batch.named,
        )

    def finish(self, *, as_of: datetime) -> None:
        """Makes the indexes, settles contacts that appear more than once, and marks the file complete.

        Raises:
            FeedGapError: there are too few contacts to be everybody; the build is gone, and begun anew next time.
        """
        connection = self._connection
        for (sql,) in connection.execute("SELECT sql FROM building_indexes").fetchall():
            with transaction(connection):
                connection.execute(sql)
                connection.execute("DELETE FROM building_indexes WHERE sql = ?", (sql,))
        with transaction(connection):
            (appended,) = connection.execute("SELECT ifnull(max(rowid), 0) FROM contacts").fetchone()
            connection.execute("UPDATE state SET contacts = ?", (appended,))
            self._fold()
            self._keep_tombstones()
            for table in ("building_indexes", "building_marks"):
                connection.execute(f"DROP TABLE {table}")
            (contacts,) = connection.execute("SELECT contacts FROM state").fetchone()
            if contacts >= self._least:
                connection.execute("UPDATE state SET as_of = ?", (instant(as_of),))
        if contacts < self._least:
            connection.close()
            remove(self._file.side)
            raise FeedGapError(f"a full export: of at least {self._least} contacts {contacts} are here")

    def abandon(self) -> None:
        """Removes the side file when there is a replica to go on with; a first load is kept, to be gone on with."""
        if self._present is not None:
            self._connection.close()
            remove(self._file.side)

    def _drop_indexes(self, batch: Batch) -> None:
        """Drops the index of every column that gets its first value; the others cost nothing while they are empty."""
        for column, name in enumerate(KEY_COLUMNS):
            index = f"contacts_by_{name}"
            if index in self._indexes and any(row.key(column) is not None for row in batch.rows):
                self._connection.execute("INSERT INTO building_indexes VALUES (?)", (self._indexes.pop(index),))
                self._connection.execute(f"DROP INDEX {index}")

    def _fold(self) -> None:
        """Takes out every row that another row could have met, and merges these again in order."""
        connection = self._connection
        marks = _Marks(connection)
        connection.execute("CREATE TEMP TABLE taken (number INTEGER PRIMARY KEY)")
        connection.execute(_TAKE.format(rows=_TWICE))
        if marks.orphans:
            connection.execute(_TAKE.format(rows=_SHARED.format(primary=self._file.primary.value)))
        for number in marks.deletes():
            self._take_deleted(number)
        connection.execute(_SET_ASIDE)
        (taken,) = connection.execute("SELECT count(*) FROM taken").fetchone()
        connection.execute("DELETE FROM contacts WHERE rowid IN taken")
        connection.execute("UPDATE state SET contacts = contacts - ?", (taken,))
        merger = Merger(connection, self._file.primary)
        for number, *row in connection.execute("SELECT * FROM building_again ORDER BY number"):
            mark, at = marks.of(number)
            merger.apply([pack(row, mark)], at=at)
        merger.record()
        connection.execute("DROP TABLE building_again")
        connection.execute("DROP TABLE temp.taken")

    def _take_deleted(self, number: int) -> None:
        connection = self._connection
        keys = connection.execute(_KEYS_OF, (number,)).fetchone()
        connection.execute(_TAKE.format(rows="SELECT ?"), (number,))
        for column, key in zip(KEY_COLUMNS, keys, strict=True):
            if key is not None:
                connection.execute(_TAKE.format(rows=_NAMED.format(column=column)), (key,))

    def _keep_tombstones(self) -> None:
        """Carries over the tombstones of contacts that the new replica does not know."""
        if self._present is None:
            return
        present = self._present.connect()
        try:
            rows = present.execute("SELECT identity, keys, deleted_at, carried_out FROM tombstones").fetchall()
        finally:
            present.close()
        known = _KNOWN.format(primary=self._file.primary.value)
        for row in rows:
            if not self._connection.execute(known, row[:1]).fetchone():
                self._connection.execute("INSERT OR IGNORE INTO tombstones VALUES (?, ?, ?, ?)", row)


class _Marks:
    """The marks of everything appended, by row number: two bytes a row."""

    def __init__(self, connection: Connection) -> None:
        rows = connection.execute(
            "SELECT first_row, marks, orphans, deletes, applied_at FROM building_marks ORDER BY first_row"
        ).fetchall()
        self.orphans = sum(row[2] for row in rows)
        self._firsts = [row[0] for row in rows]
        self._marks = [array("H", row[1]) for row in rows]
        self._deletes = [row[3] for row in rows]
        self._ats = [datetime.fromisoformat(row[4]) for row in rows]

    def of(self, number: int) -> tuple[int, datetime]:
        """A row's mark, and when its file was appended."""
        index = bisect_right(self._firsts, number) - 1
        return self._marks[index][number - self._firsts[index]], self._ats[index]

    def deletes(self) -> Iterator[int]:
        """The numbers of the rows that are deletes."""
        for first, marks, count in zip(self._firsts, self._marks, self._deletes, strict=True):
            if count:
                yield from (first + offset for offset, mark in enumerate(marks) if mark & DELETE)


@dataclass(frozen=True, slots=True)
class SqliteReplicaStore:
    """The port `ReplicaStore`: opens the replica for writing, in any process.

    Attributes:
        file: the replica.
        least: a replica that is built with fewer contacts is not everybody: the feed lacks its full export.
        former: so many contacts a whole replica held last; 0 where nobody knows.
    """

    file: ReplicaFile
    least: int = 0
    former: int = 0

    def digest(self, changes: Iterable[ContactChange]) -> Batch:
        """The changes in the form in which they are applied."""
        return digest(changes, self.file)

    def open_writer(self) -> SqliteReplicaWriter:
        """Writes into the replica in place, which its owner has brought to its schema.

        Raises:
            StorageError: it cannot be opened.
        """
        return SqliteReplicaWriter(self.file, self.file.database.connect(), least=self.least)

    def unseen(self) -> tuple[Identifier, ...] | None:
        """Whom the sweep under way has not shown, each by the key they are kept under.

        None when they are more than may be missing of the former contacts: it was hardly everybody. Whoever the sweep
        brought makes up for nobody: another project's list can be as long as ours.

        Raises:
            StorageError: the file cannot be read.
        """
        connection = self.file.database.connect()
        try:
            rows = connection.execute(_UNSEEN).fetchall()
        except sqlite.Error as error:
            raise storage_error(error) from error
        finally:
            connection.close()
        if self.former and len(rows) > self.former - self.least:
            return None
        primary = self.file.primary
        return tuple(
            Identifier(primary, key) if key is not None else Identifier(IdentifierType.CONTACT_ID, contact_key)
            for key, contact_key in rows
        )

    def open_loader(self, *, rebuild: bool) -> SqliteReplicaWriter | SqliteReplicaBuilder:
        """Writes in place, or goes on with what is being built; builds from nothing when ``rebuild`` asks for it.

        Without a replica, or with one of another configuration, everything is built.

        Raises:
            StorageError: a file cannot be opened.
        """
        file = self.file
        if rebuild:
            remove(file.side)
        present = file.database.connect(cache_kib=CACHE_KIB)
        loaded = _is_finished(file, present)
        if loaded and not rebuild and not file.side.path.exists():
            return SqliteReplicaWriter(file, present)
        present.close()
        side = self._open_side()
        if _is_finished(file, side):  # nobody has adopted it yet; it only needs what is newer
            return SqliteReplicaWriter(file, side, builds=True)
        return SqliteReplicaBuilder(file, side, file.database if loaded else None, self.least)

    def refusing(self, refusals: Refusals) -> SqliteReplicaStore:
        """The same store, in which these people are not kept."""
        return replace(self, file=replace(self.file, refusals=refusals))

    def give_up_build(self, keys: Iterable[bytes]) -> bool:
        """Begins what is being built anew if it holds anybody whom one of these keyed hashes names; whether it did.

        Nobody may have it open. What cannot be read is begun anew too, and what has traces of anybody taken out.
        """
        side = self.file.side
        if not side.path.exists():
            return False
        try:
            connection = side.connect()
            try:
                (erasures,) = connection.execute(_ERASURES).fetchone()
                held = erasures > 0 or any(connection.execute(_HOLDS, (key,)).fetchone() for key in keys)
            finally:
                connection.close()
        except (StorageError, sqlite.Error):
            held = True
        if held:
            remove(side)
            self._open_side().close()  # a rebuild that was asked for is remembered by its file
        return held

    def _open_side(self) -> Connection:
        """The side file, brought to its schema; made anew when it is damaged or of another shape."""
        file = self.file
        try:
            connection = file.side.connect(cache_kib=CACHE_KIB)
            if not connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() or file.fits(connection):
                file.ensure(connection)
                return connection
            connection.close()
        except (StorageDamagedError, StorageKeyError, StorageSchemaError):
            pass
        remove(file.side)
        connection = file.side.connect(cache_kib=CACHE_KIB)
        file.ensure(connection)
        return connection


def _is_finished(file: ReplicaFile, connection: Connection) -> bool:
    """Whether an open file is a replica of this shape that was loaded whole once."""
    return file.fits(connection) and connection.execute("SELECT as_of FROM state").fetchone()[0] is not None
