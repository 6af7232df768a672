"""New contacts that go to the vendor together in one call, on disk: which, and what the vendor calls it.

A call is written down before it goes out, so that whoever finds it after a power cut asks what became of it and does
not send it again. A row leaves when its contact is settled (:mod:`agent.store.enrolments`); nobody is named here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from agent.domain.bulk import BulkCall
from agent.domain.enrolment import Enrolment
from agent.store.database import Reader
from agent.store.enrolment_rows import ASKED, ROWS, readable
from agent.store.enrolments import SLICE
from agent.store.group_commit import Writer
from agent.store.outbox_view import read, to_ms

if TYPE_CHECKING:
    from sqlite3 import Connection

OPEN = "SELECT id, vendor_id, size FROM bulk_calls ORDER BY id"
OF_CALL = ROWS.format(where="b.call = ? AND b.said IS NULL AND b.enrolment > ?") + " LIMIT ?"
WAITING = """
    SELECT count(*) FROM enrolments AS e LEFT JOIN bulk_rows AS b ON b.enrolment = e.id
    WHERE e.kind = 'contact' AND e.state = 'queued' AND b.enrolment IS NULL"""
BEGIN = """
    INSERT INTO bulk_calls (id, size, begun_at) VALUES (
        1 + max(coalesce((SELECT max(id) FROM bulk_calls), 0), coalesce((SELECT max(call) FROM bulk_rows), 0)), 0, ?)"""
"""A row outlives its call: the call's number is not given again while somebody stands under it."""
TAKE = """
    INSERT OR IGNORE INTO bulk_rows (enrolment, call, place)
    SELECT id, ?3, ?4 FROM enrolments WHERE id = ?1 AND statement = ?2 AND kind = 'contact' AND state = 'queued'"""
SIZE = "UPDATE bulk_calls SET size = ?2 WHERE id = ?1"
NAME = "UPDATE bulk_calls SET vendor_id = ?2 WHERE id = ?1"
PLACES = "SELECT place, enrolment FROM bulk_rows WHERE call = ? AND said IS NULL"
SAY = "UPDATE bulk_rows SET said = 'made' WHERE enrolment = ?"
SAY_NOTHING = "UPDATE bulk_rows SET said = 'unknown' WHERE call = ? AND said IS NULL"
ASKED_BY = """
    UPDATE enrolments SET asked = 1 WHERE id IN (SELECT enrolment FROM bulk_rows WHERE call = ? AND said IS NULL)"""
FREE = "DELETE FROM bulk_rows WHERE call = ? AND said IS NULL"
END = "DELETE FROM bulk_calls WHERE id = ?"


class BulkCalls:
    """Calls whose end is not known yet.

    Args:
        writer: the outbox's one writer.
        reader: a connection for point reads, used on the event loop's thread.
    """

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer, self._reader = writer, reader

    def open(self, *, after: int = 0) -> list[BulkCall]:
        """Those whose end is not known, the oldest first, after a number. Raises StorageError."""
        return [BulkCall(*row) for row in read(self._reader, OPEN) if row[0] > after]

    def waiting(self) -> int:
        """How many new contacts wait and have not gone in a call. Raises StorageError."""
        return int(read(self._reader, WAITING)[0][0])

    async def begin(self, contacts: Sequence[Enrolment], now: datetime) -> tuple[BulkCall, frozenset[int]]:
        """Puts a call on disk that is about to go out, and which contacts have a place in it, in their order.

        Left out is of whom something else was given meanwhile, or whose fate is decided.

        Raises:
            StorageError: it is not on disk; it must not go out.
        """

        def write(db: Connection) -> tuple[BulkCall, frozenset[int]]:
            call = db.execute(BEGIN, (to_ms(now),)).lastrowid or 0
            taken: list[int] = []
            for made in contacts:
                if db.execute(TAKE, (made.number, made.version, call, len(taken))).rowcount:
                    taken.append(made.number)
            db.execute(SIZE, (call, len(taken)))
            return BulkCall(call, None, len(taken)), frozenset(taken)

        return await self._writer.run(write)

    async def name(self, number: int, vendor_id: str) -> None:
        """Writes down what the vendor calls it. Raises StorageError."""
        await self._writer.run(lambda db: db.execute(NAME, (number, vendor_id)))

    async def contacts(self, number: int) -> Mapping[int, Enrolment]:
        """Who stands where in a call, as far as they are on record still. Raises StorageError."""
        places = {enrolment: place for place, enrolment in await self._writer.run(partial(_places, call=number))}
        found: dict[int, Enrolment] = {}
        last = -1
        while page := await self._writer.run(partial(_page, call=number, after=last)):
            last = page[-1][0]
            found |= {places[made.number]: made for made in readable(page) if made.number in places}
        return found

    async def end(self, number: int, made: Collection[int], *, doubted: bool = False) -> None:
        """Writes down that it is over: whom the vendor says that it has made; of the others nothing is known.

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


def _page(db: Connection, call: int, after: int) -> list[Any]:
    return db.execute(OF_CALL, (call, after, SLICE)).fetchall()
