"""Contacts made at this till: on disk, with a number of its own, before the till hears of it, and before a vendor does.

Changes of contacts that the vendor has stand among them (:mod:`agent.store.revisions`): what is kept of both is erased,
exported, purged and rescued as one.

What was given (:mod:`agent.store.enrolment_rows`) is forgotten as soon as the vendor has it; from then on the text says
only which number is which member.

The number comes out of `series` in the commit that keeps the contact; :func:`agent.domain.enrolment.next_of_series`
says why none is ever given twice.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from agent.domain.belonging import Wanted
from agent.domain.enrolment import Enrolment, EnrolmentState, next_of_series, own_key
from agent.domain.identifiers import Identifier
from agent.domain.retention import RetentionPlan
from agent.domain.transaction import IntegrationKey, NewContact
from agent.ports import Added, Occurrence
from agent.store import statements
from agent.store.database import Reader, truncate_log
from agent.store.enrolment_rows import (
    ADD_KEY,
    AMEND,
    ASKED,
    BY_NUMBER,
    DROP_KEYS,
    LEAVE_CALL,
    PARK,
    ROWS,
    Given,
    Tell,
    drop,
    enrolment,
    forget_content,
    given_in,
    nobody_told,
    readable,
)
from agent.store.group_commit import Writer
from agent.store.keyhash import KeyHash
from agent.store.outbox_view import from_ms, read, to_ms

if TYPE_CHECKING:
    from sqlite3 import Connection

SLICE = 50
_REF_BYTES = 16

OF_MARK = """
    SELECT k.enrolment FROM enrolment_keys AS k JOIN enrolments AS e ON e.id = k.enrolment
    WHERE k.mark = ? AND e.kind = 'contact'"""
OF_ANY_MARK = "SELECT enrolment FROM enrolment_keys WHERE mark = ?"
BY_REF = ROWS.format(where="e.ref = ? AND e.kind = 'contact'")
QUEUED = ROWS.format(where="e.kind = 'contact' AND e.state = 'queued' AND e.id > ?") + " LIMIT ?"
NOT_UNDER_WAY = (
    ROWS.format(
        where="e.kind = 'contact' AND e.state = 'queued' AND e.id > ? AND (b.call IS NULL OR b.said IS NOT NULL)"
    )
    + " LIMIT ?"
)
AFTER = ROWS.format(where="e.id > ?") + " LIMIT ?"
PARKED = "SELECT count(*) FROM enrolments WHERE kind = 'contact' AND state = 'parked'"
LAST = "SELECT last FROM series WHERE prefix = ?"
GIVE = "INSERT INTO series VALUES (?1, ?2) ON CONFLICT DO UPDATE SET last = ?2"
ADD = "INSERT INTO enrolments (kind, ref, state, statement, accepted_at) VALUES ('contact', ?, 'queued', ?, ?)"
WAS_ASKED = "SELECT asked FROM enrolments WHERE id = ?"
DELIVERED = """
    UPDATE enrolments SET state = 'delivered', statement = ?2, settled_at = ?3, status = NULL, vendor_code = NULL
    WHERE id = ?1"""
_OVER = """
    coalesce(settled_at, accepted_at) < ?1 OR (kind = 'change' AND state = 'delivered' AND settled_at < ?2)"""
OVER = f"SELECT id FROM enrolments WHERE {_OVER} LIMIT ?3"  # noqa: S608 - ours
DUE = f"SELECT EXISTS (SELECT 1 FROM enrolments WHERE {_OVER})"  # noqa: S608 - ours
MARKS = "SELECT mark FROM enrolment_keys WHERE enrolment = ?"


class Enrolments:
    """The contacts made at this till.

    Args:
        writer: the outbox's one writer.
        reader: a connection for point reads, used on the event loop's thread.
        names: hashes what names people, as the replica does.
        tell: puts on record what further systems are told.
    """

    def __init__(self, writer: Writer, reader: Reader, *, names: KeyHash, tell: Tell = nobody_told) -> None:
        self._writer, self._reader, self._hash, self._tell = writer, reader, names.of_identifier, tell

    # --- found ----------------------------------------------------------------------------------------------

    def find(self, identifiers: Sequence[Identifier]) -> tuple[Enrolment, ...]:
        """Everybody made here whom one of these names. Raises StorageError."""
        numbers = {row[0] for one in identifiers for row in read(self._reader, OF_MARK, self._hash(one))}
        rows = [row for number in sorted(numbers) for row in read(self._reader, BY_NUMBER, number)]
        return tuple(readable(rows))

    def by_ref(self, ref: str) -> Enrolment | None:
        """Whose handle that is; None when nobody's who was made here. Raises StorageError."""
        return next(iter(readable(read(self._reader, BY_REF, ref))), None)

    def queued(self, limit: int, *, after: int = 0, under_way: bool = True) -> list[Enrolment]:
        """The oldest that the vendor does not have yet, after a record's number. Raises StorageError.

        Args:
            limit: at most so many.
            after: a record's number.
            under_way: also those who are in a call whose end is not known.
        """
        return readable(read(self._reader, QUEUED if under_way else NOT_UNDER_WAY, after, limit))

    def parked(self) -> int:
        """How many the vendor refuses. Raises StorageError."""
        return int(read(self._reader, PARKED)[0][0])

    # --- made and settled -----------------------------------------------------------------------------------

    async def add(self, contact: NewContact, identifiers: Sequence[Identifier], *, prefix: str, now: datetime) -> Added:
        """Puts a new contact on disk under the next number of a series, unless one of its identifiers is on record.

        Args:
            contact: what was given.
            identifiers: the same, each in its one form.
            prefix: of the series.
            now: when.

        Raises:
            StorageError: it is not on disk, and no number was given.
        """

        def write(db: Connection) -> tuple[list[Any], bool]:
            known = {row[0] for one in identifiers for row in db.execute(OF_MARK, (self._hash(one),))}
            if new := not known:
                (last,) = db.execute(LAST, (prefix,)).fetchone() or (0,)
                number = next_of_series(last, now)
                db.execute(GIVE, (prefix, number))
                given = Given(own_key(prefix, number).value, contact, tuple(identifiers))
                ref = f"n_{secrets.token_hex(_REF_BYTES)}"
                row = db.execute(ADD, (ref, statements.keep(db, given.text()), to_ms(now))).lastrowid or 0
                db.executemany(ADD_KEY, [(self._hash(one), row) for one in given.names()])
                known = {row}
            return [row for number in sorted(known) for row in db.execute(BY_NUMBER, (number,)).fetchall()], new

        rows, new = await self._writer.run(write)
        return Added(tuple(readable(rows)), new=new)

    async def amend(self, number: int, contact: NewContact, identifiers: Sequence[Identifier]) -> bool:
        """Puts what is given now in the place of what was, to be tried again under the same number.

        Does nothing to a contact that the vendor has. False, and nothing done, where it is on its way there together
        with others. Raises StorageError.
        """

        def write(db: Connection) -> bool:
            row = enrolment(db, number)
            if row is None or row.state is EnrolmentState.DELIVERED:
                return True
            if row.bulk is not None:
                return False
            given = Given(row.own_key.value, contact, tuple(identifiers))
            kept = statements.keep(db, given.text())
            forget_content(db, number)
            db.execute(AMEND, (number, kept))
            db.execute(DROP_KEYS, (number,))
            db.executemany(ADD_KEY, [(self._hash(one), number) for one in given.names()])
            return True

        return await self._writer.run(write)

    async def asking(self, number: int) -> bool:
        """Writes down that the vendor is asked to make it, before it is; whether it was at an earlier attempt.

        Raises:
            StorageError: it is not written down.
        """

        def write(db: Connection) -> bool:
            before = db.execute(WAS_ASKED, (number,)).fetchone()
            db.execute(ASKED, (number, 1))
            return bool(before == (1,))

        return await self._writer.run(write)

    async def not_made(self, number: int) -> None:
        """Writes down that the vendor had it before it was asked. Raises StorageError."""
        await self._writer.run(lambda db: db.execute(ASKED, (number, 0)))

    async def deliver(
        self,
        number: int,
        key: IntegrationKey,
        contact_id: str | None,
        now: datetime,
        joined: Occurrence | None = None,
    ) -> None:
        """Writes down that the vendor has it; what was given is forgotten.

        Args:
            number: the record's.
            key: the vendor's.
            contact_id: its own id, beside another key.
            now: when.
            joined: what further systems are told, where the vendor was asked to make it: at whatever attempt it was
                found to have them. Whom it had before has joined elsewhere.

        Raises:
            StorageError: it is not written down.
        """

        def write(db: Connection) -> None:
            row = enrolment(db, number)
            if row is None or row.state is EnrolmentState.DELIVERED:  # erased meanwhile, or somebody else was faster
                return
            settled = Given(row.own_key.value, key=key, contact_id=contact_id)
            kept = statements.keep(db, settled.text())
            forget_content(db, number)
            db.execute(LEAVE_CALL, (number,))
            db.execute(DELIVERED, (number, kept, to_ms(now)))
            db.executemany(ADD_KEY, [(self._hash(one), number) for one in settled.names()])
            if joined is not None and db.execute(WAS_ASKED, (number,)).fetchone()[0]:
                self._tell(db, joined, now)

        await self._writer.run(write)

    async def park(self, number: int, status: int | None, vendor_code: str | None) -> None:
        """Writes down that the vendor refuses it: it waits for a person. Raises StorageError."""

        def write(db: Connection) -> None:
            db.execute(LEAVE_CALL, (number,))
            db.execute(PARK, (number, status, vendor_code))

        await self._writer.run(write)

    async def drop(self, number: int) -> None:
        """Takes one back that nobody was told of; its number is not given again. Raises StorageError."""
        await self._writer.run(partial(drop, numbers=(number,)))

    # --- one person, and the end ----------------------------------------------------------------------------

    def marks_of(self, marks: Iterable[bytes]) -> tuple[frozenset[bytes], frozenset[str]]:
        """Everything else that names whoever is named by one of these keyed hashes: hashes, and handles.

        Raises:
            StorageError: the file cannot be read.
        """
        numbers = {row[0] for mark in marks for row in read(self._reader, OF_ANY_MARK, mark)}
        found = {bytes(row[0]) for number in numbers for row in read(self._reader, MARKS, number)}
        refs = {row[1] for number in numbers for row in read(self._reader, BY_NUMBER, number)}
        return frozenset(found), frozenset(refs)

    def key_of(self, marks: Iterable[bytes]) -> IntegrationKey | None:
        """The vendor's key of whoever is named by one of these keyed hashes.

        None where the vendor has none of them yet, or has several.

        Raises:
            StorageError: the file cannot be read.
        """
        numbers = {row[0] for mark in marks for row in read(self._reader, OF_ANY_MARK, mark)}
        keys = {given_in(row).key for number in numbers for row in read(self._reader, BY_NUMBER, number)} - {None}
        return keys.pop() if len(keys) == 1 else None

    async def holds(self, wanted: Wanted) -> bool:
        """Whether one of them is theirs. Raises StorageError."""
        return bool(await self._of(wanted))

    async def erase(self, wanted: Wanted) -> int:
        """Erases each that is theirs, whatever became of it; how many. Raises StorageError."""
        theirs = [row[0] for row, _ in await self._of(wanted)]
        await self._writer.run(partial(drop, numbers=theirs))
        while await self._writer.run(statements.drop_forgotten):
            pass
        await self._writer.run_alone(truncate_log)
        return len(theirs)

    async def export(self, wanted: Wanted) -> list[dict[str, Any]]:
        """Everything that is held of theirs, as documents of texts and numbers. Raises StorageError."""
        return [
            {
                "ref": row[1],
                "what": "contact" if given.own_number else "change",
                "state": row[2],
                "accepted_at": from_ms(row[3]).isoformat(),
                "number": given.own_number or None,
                "integration_key": given.key.model_dump(mode="json") if given.key is not None else None,
                "contact_id": given.contact_id,
                "contact": given.contact.model_dump(mode="json", exclude_defaults=True) if given.contact else None,
            }
            for row, given in await self._of(wanted)
        ]

    def due(self, plan: RetentionPlan) -> bool:
        """Whether a purge would find anything. Raises StorageError."""
        return bool(read(self._reader, DUE, to_ms(plan.accepted_before), to_ms(plan.delivered_before))[0][0])

    async def purge(self, plan: RetentionPlan) -> dict[str, int]:
        """Erases without a trace what is older than the plan allows; how many contacts. Raises StorageError.

        Which number is which member is needed for as long as a sale may wait under the number: that long after the
        vendor had it, and after it was given where the vendor never did. A change that the vendor has is a sale that
        it has.
        """
        limits = to_ms(plan.accepted_before), to_ms(plan.delivered_before), SLICE

        def erase(db: Connection) -> int:
            numbers = [row[0] for row in db.execute(OVER, limits)]
            drop(db, numbers)
            return len(numbers)

        total = 0
        while done := await self._writer.run(erase):
            total += done
        while await self._writer.run(statements.drop_forgotten):
            pass
        await self._writer.run_alone(truncate_log)
        return {"enrolments": total}

    async def _of(self, wanted: Wanted) -> list[tuple[Any, Given]]:
        found: list[tuple[Any, Given]] = []
        last = -1
        while rows := await self._writer.run(partial(_fetch, after=last)):
            last = rows[-1][0][0]
            found += (
                (row, given_in(row))
                for row, marks in rows
                if row[1] in wanted.refs or wanted.by_key(marks, from_ms(row[3]))
            )
        return found


def _fetch(db: Connection, after: int) -> list[tuple[Any, frozenset[bytes]]]:
    """A slice of them, each with the keyed hashes of everything that names it."""
    rows = db.execute(AFTER, (after, SLICE)).fetchall()
    return [(row, frozenset(bytes(mark) for (mark,) in db.execute(MARKS, row[:1]))) for row in rows]
