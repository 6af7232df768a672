"""New contacts, or changes, that go to the vendor together in one call, on disk: which, and what the vendor calls it.

A call is written down before it goes out, so that whoever finds it after a power cut asks what became of it and does
not send it again. A row leaves when its record is settled (:mod:`agent.store.enrolments`,
:mod:`agent.store.revisions`); nobody is named here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from agent.domain.bulk import BulkCall
from agent.domain.enrolment import Enrolment
from agent.domain.revision import Revision
from agent.store import revisions
from agent.store.database import Reader
from agent.store.enrolment_rows import ASKED, ROWS, readable
from agent.store.enrolments import SLICE
from agent.store.group_commit import Writer
from agent.store.outbox_view import read, to_ms

if TYPE_CHECKING:
    from sqlite3 import Connection

T = TypeVar("T", Enrolment, Revision)

OPEN = "SELECT id, vendor_id, size FROM bulk_calls WHERE kind = ? ORDER BY id"
_STANDS = "b.call = ? AND b.said IS NULL AND coalesce(b.version, e.statement) = e.statement AND b.enrolment > ?"
"""What has become another since the call went out is not what stands in it."""
OF_CALL = ROWS.format(where=_STANDS) + " LIMIT ?"
CHANGES_OF_CALL = revisions.ROWS.format(where=_STANDS) + " LIMIT ?"
WAITING = """
    SELECT count(*) FROM enrolments AS e LEFT JOIN bulk_rows AS b ON b.enrolment = e.id
    WHERE e.kind = ? AND e.state = 'queued' AND b.enrolment IS NULL"""
BEGIN = """
    INSERT INTO bulk_calls (id, size, begun_at, kind) VALUES (
        1 + max(coalesce((SELECT max(id) FROM bulk_calls), 0), coalesce((SELECT max(call) FROM bulk_rows), 0)),
        0, ?, ?)"""
"""A row outlives its call: the call's number is not given again while somebody stands under it."""
TAKE = """
    INSERT OR IGNORE INTO bulk_rows (enrolment, version, call, place)
    SELECT id, statement, ?3, ?4 FROM enrolments WHERE id = ?1 AND statement = ?2 AND kind = ?5 AND state = 'queued'"""
SIZE = "UPDATE bulk_calls SET size = ?2 WHERE id = ?1"
NAME = "UPDATE bulk_calls SET vendor_id = ?2 WHERE id = ?1"
PLACES = "SELECT place, enrolment FROM bulk_rows WHERE call = ? AND said IS NULL"
SAY = "UPDATE bulk_rows SET said = 'made' WHERE enrolment = ?"
SAY_NOTHING = "UPDATE bulk_rows SET said = 'unknown' WHERE call = ? AND said IS NULL"
ASKED_BY = """
    UPDATE enrolments SET asked = 1 WHERE id IN (SELECT enrolment FROM bulk_rows WHERE call = ? AND said IS NULL)"""
FREE = "DELETE FROM bulk_rows WHERE call = ? AND said IS NULL"
END = "DELETE FROM bulk_calls WHERE id = ?"


class BulkCalls(Generic[T]):
    """Calls whose end is not known yet, with records of one kind.

    Args:
        writer: the outbox's one writer.
        reader: a connection for point reads, used on the event loop's thread.
        kind: ``contact`` or ``change``.
        of_call: reads the records of a call.
        readable: those of its rows that can be read.
    """

    def __init__(
        self,
        writer: Writer,
        reader: Reader,
        *,
        kind: str,
        of_call: str,
        readable: Callable[[Sequence[Sequence[Any]]], Sequence[T]],
    ) -> None:
        self._writer, self._reader = writer, reader
        self._kind, self._of_call = kind, of_call
        self._readable: Callable[[Sequence[Sequence[Any]]], Sequence[T]] = readable

    def open(self, *, after: int = 0) -> list[BulkCall]:
        """Those whose end is not known, the oldest first, after a number. Raises StorageError."""
        return [BulkCall(*row) for row in read(self._reader, OPEN, self._kind) if row[0] > after]

    def waiting(self) -> int:
        """How many records wait and have not gone in a call. Raises StorageError."""
        return int(read(self._reader, WAITING, self._kind)[0][0])

    async def begin(self, records: Sequence[T], now: datetime) -> tuple[BulkCall, frozenset[int]]:
        """Puts a call on disk that is about to go out, and which records have a place in it, in their order.

        Left out is what says something else by now, or is decided.

        Raises:
            StorageError: it is not on disk; it must not go out.
        """

        def write(db: Connection) -> tuple[BulkCall, frozenset[int]]:
            call = db.execute(BEGIN, (to_ms(now), self._kind)).lastrowid or 0
            taken: list[int] = []
            for one in records:
                if db.execute(TAKE, (one.number, one.version, call, len(taken), self._kind)).rowcount:
                    taken.append(one.number)
            db.execute(SIZE, (call, len(taken)))
            return BulkCall(call, None, len(taken)), frozenset(taken)

        return await self._writer.run(write)

    async def name(self, number: int, vendor_id: str) -> None:
        """Writes down what the vendor calls it. Raises StorageError."""
        await self._writer.run(lambda db: db.execute(NAME, (number, vendor_id)))

    async def records(self, number: int) -> Mapping[int, T | None]:
        """What stands where in a call, as far as it is on record still; None where it says something else by now.

        Raises:
            StorageError: it cannot be read.
        """
        places = {record: place for place, record in await self._writer.run(partial(_places, call=number))}
        found: dict[int, T | None] = dict.fromkeys(places.values())
        last = -1
        while page := await self._writer.run(partial(_page, sql=self._of_call, call=number, after=last)):
            last = page[-1][0]
            found |= {places[one.number]: one for one in self._readable(page) if one.number in places}
        return found

    async def end(self, number: int, made: Collection[int], *, doubted: bool = False) -> None:
        """Writes down that it is over: whom the vendor says that it has made; of everything else nothing is known.

        Args:
            number: the call's.
            made: whom.
            doubted: nobody says what became of it: whoever is found there then may have joined by it.

        Raises:
            StorageError: it is not written down.
        """

        def write(db: Connection) -> None:
            if doubted:
                db.execute(ASKED_BY, (number,))
            db.executemany(SAY, [(one,) for one in made])
            db.executemany(ASKED, [(one, 1) for one in made])
            db.execute(SAY_NOTHING, (number,))
            db.execute(END, (number,))

        await self._writer.run(write)

    async def take_back(self, number: int) -> None:
        """Removes one that did not go out. Raises StorageError."""

        def write(db: Connection) -> None:
            db.execute(FREE, (number,))
            db.execute(END, (number,))

        await self._writer.run(write)


def _places(db: Connection, call: int) -> list[Any]:
    return db.execute(PLACES, (call,)).fetchall()


def _page(db: Connection, sql: str, call: int, after: int) -> list[Any]:
    return db.execute(sql, (call, after, SLICE)).fetchall()


def new_contacts(writer: Writer, reader: Reader) -> BulkCalls[Enrolment]:
    """Calls with contacts that were made here."""
    return BulkCalls(writer, reader, kind="contact", of_call=OF_CALL, readable=readable)


def changes(writer: Writer, reader: Reader) -> BulkCalls[Revision]:
    """Calls with changes that were given here."""
    return BulkCalls(writer, reader, kind="change", of_call=CHANGES_OF_CALL, readable=revisions.readable)
