"""Changes to contacts that the vendor has, given at this till: on disk before the till hears of it.

They stand among the contacts that were made here (:mod:`agent.store.enrolments`), with which they are erased, exported,
purged and rescued, under a kind of their own. One change of a person waits at a time: what is given meanwhile becomes
one with it, field by field. What the vendor has had is kept until its own word about the contact can have come back:
the till that was just told a new number must not be shown the old one.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from agent.domain.enrolment import EnrolmentState, names_over, over
from agent.domain.identifiers import Identifier
from agent.domain.revision import NOTHING, Revision, without
from agent.domain.transaction import IntegrationKey, NewContact
from agent.ports import Occurrence
from agent.store import statements
from agent.store.database import Reader
from agent.store.enrolment_rows import (
    ADD_KEY,
    AMEND,
    DROP_KEYS,
    LEAVE_CALL,
    PARK,
    Given,
    Tell,
    drop,
    forget_content,
    given_in,
    nobody_told,
)
from agent.store.group_commit import Writer
from agent.store.keyhash import KeyHash
from agent.store.outbox_view import from_ms, read, to_ms

if TYPE_CHECKING:
    from sqlite3 import Connection

_REF_BYTES = 16

ROWS = """
    SELECT e.id, e.statement, e.state, e.accepted_at, e.settled_at, e.status, e.vendor_code, b.call, b.said, t.content
    FROM enrolments AS e JOIN statements AS t ON t.id = e.statement LEFT JOIN bulk_rows AS b ON b.enrolment = e.id
    WHERE {where} ORDER BY e.id"""
OF_MARK = """
    SELECT k.enrolment FROM enrolment_keys AS k JOIN enrolments AS e ON e.id = k.enrolment
    WHERE k.mark = ? AND e.kind = 'change'"""
BY_NUMBER = ROWS.format(where="e.id = ? AND e.kind = 'change'")
QUEUED = (
    ROWS.format(
        where="e.kind = 'change' AND e.state = 'queued' AND e.id > ? AND (b.call IS NULL OR b.said IS NOT NULL)"
    )
    + " LIMIT ?"
)
PARKED = "SELECT count(*) FROM enrolments WHERE kind = 'change' AND state = 'parked'"
ANY = "SELECT EXISTS (SELECT 1 FROM enrolments WHERE kind = 'change')"
ARRIVED = ROWS.format(where="e.kind = 'change' AND e.state = 'delivered' AND e.settled_at < ?") + " LIMIT ?"
ADD = "INSERT INTO enrolments (kind, ref, state, statement, accepted_at) VALUES ('change', ?, 'queued', ?, ?)"
SETTLE = """
    UPDATE enrolments SET state = 'delivered', statement = ?2, settled_at = ?3, status = NULL, vendor_code = NULL
    WHERE id = ?1"""
RESTATE = "UPDATE enrolments SET statement = ?2 WHERE id = ?1"
VERSION = "SELECT statement FROM enrolments WHERE id = ?"


class Revisions:
    """The changes given at this till.

    Args:
        writer: the outbox's one writer.
        reader: a connection for point reads, used on the event loop's thread.
        names: hashes what names people, as the replica does.
        tell: puts on record what further systems are told.
    """

    def __init__(self, writer: Writer, reader: Reader, *, names: KeyHash, tell: Tell = nobody_told) -> None:
        self._writer, self._reader, self._hash, self._tell = writer, reader, names.of_identifier, tell

    # --- found ----------------------------------------------------------------------------------------------

    def naming(self, identifiers: Sequence[Identifier]) -> tuple[Revision, ...]:
        """Every change by which one of these is somebody's from now on. Raises StorageError."""
        return tuple(one for one in self._marked(identifiers) if set(one.identifiers) & set(identifiers))

    def of(self, key: IntegrationKey) -> tuple[Revision, ...]:
        """Every change of whoever has that key, the oldest first. Raises StorageError."""
        return tuple(one for one in self._marked((key.identifier,)) if one.key == key)

    def queued(self, limit: int, *, after: int = 0) -> list[Revision]:
        """The oldest that the vendor does not have yet, after a record's number; none that is under way in a call.

        Raises:
            StorageError: they cannot be read.
        """
        return readable(read(self._reader, QUEUED, after, limit))

    def parked(self) -> int:
        """How many the vendor refuses. Raises StorageError."""
        return int(read(self._reader, PARKED)[0][0])

    def _marked(self, identifiers: Sequence[Identifier]) -> list[Revision]:
        if not read(self._reader, ANY)[0][0]:  # as a rule: with each look-up and sale it is one question, not many
            return []
        numbers = {row[0] for one in identifiers for row in read(self._reader, OF_MARK, self._hash(one))}
        return readable([row for number in sorted(numbers) for row in read(self._reader, BY_NUMBER, number)])

    # --- given and settled ----------------------------------------------------------------------------------

    async def add(
        self,
        key: IntegrationKey,
        contact: NewContact,
        identifiers: Sequence[Identifier],
        *,
        known_by: Sequence[Identifier],
        now: datetime,
    ) -> tuple[Revision, bool]:
        """Puts a change on disk; as it stands now, and whether it is one with what was given before.

        Args:
            key: whose contact it is.
            contact: what is new.
            identifiers: of it, each in its one form.
            known_by: what else names them.
            now: when.

        Raises:
            StorageError: it is not on disk.
        """

        def write(db: Connection) -> tuple[list[Any], bool]:
            given = Given("", contact, tuple(identifiers), key, known_by=tuple(known_by))
            numbers = [row[0] for row in db.execute(OF_MARK, (self._hash(key.identifier),))]
            rows = [row for number in numbers for row in db.execute(BY_NUMBER, (number,)).fetchall()]
            waiting = [one for one in readable(rows) if one.key == key and one.state is not EnrolmentState.DELIVERED]
            if waiting:
                number, before = waiting[0].number, next(given_in(row) for row in rows if row[0] == waiting[0].number)
                given = _one(given, before)
                kept = statements.keep(db, given.text())
                forget_content(db, number)
                db.execute(AMEND, (number, kept))
                db.execute(DROP_KEYS, (number,))
            else:
                ref, kept = f"g_{secrets.token_hex(_REF_BYTES)}", statements.keep(db, given.text())
                number = db.execute(ADD, (ref, kept, to_ms(now))).lastrowid or 0
            db.executemany(ADD_KEY, [(self._hash(one), number) for one in given.names()])
            return db.execute(BY_NUMBER, (number,)).fetchall(), bool(waiting)

        rows, before = await self._writer.run(write)
        return readable(rows)[0], before

    async def deliver(
        self, revision: Revision, written: NewContact, now: datetime, changed: Occurrence | None = None
    ) -> None:
        """Writes down that the vendor has it; not where more was given meanwhile: it goes once more, then.

        Args:
            revision: the change as it was sent.
            written: what of it was written there; the rest is forgotten.
            now: when.
            changed: what further systems are told of it.

        Raises:
            StorageError: it is not written down.
        """

        def write(db: Connection) -> None:
            if db.execute(VERSION, (revision.number,)).fetchone() != (revision.version,):
                return
            if changed is not None:
                self._tell(db, changed, now)
            if written == NOTHING:
                drop(db, (revision.number,))
                return
            version = revision.version
            if written != revision.contact:
                (row,) = db.execute(BY_NUMBER, (revision.number,))
                version = statements.keep(db, replace(given_in(row), contact=written).text())
                forget_content(db, revision.number)
            db.execute(LEAVE_CALL, (revision.number,))
            db.execute(SETTLE, (revision.number, version, to_ms(now)))

        await self._writer.run(write)

    async def park(
        self, revision: Revision, status: int | None, vendor_code: str | None, fields: Sequence[str] = ()
    ) -> bool:
        """Writes down that the vendor refuses it: it waits for a person; not where more was given meanwhile.

        Args:
            revision: the change as it was sent.
            status: the vendor's.
            vendor_code: its own name for why.
            fields: what of it the vendor names as wrong: it is left out of what is given next, unless it is given anew.

        Raises:
            StorageError: it is not written down.
        """

        def write(db: Connection) -> bool:
            if db.execute(VERSION, (revision.number,)).fetchone() != (revision.version,):
                return False
            if not db.execute(PARK, (revision.number, status, vendor_code)).rowcount:
                return False
            db.execute(LEAVE_CALL, (revision.number,))
            if fields:
                (row,) = db.execute(BY_NUMBER, (revision.number,))
                kept = statements.keep(db, replace(given_in(row), refused=tuple(fields)).text())
                forget_content(db, revision.number)
                db.execute(RESTATE, (revision.number, kept))
            return True

        return await self._writer.run(write)

    async def take_back(self, revision: Revision) -> bool:
        """Removes one that the vendor refuses while the cashier waits; not where more was given meanwhile.

        Raises:
            StorageError: it is still there.
        """

        def write(db: Connection) -> bool:
            if db.execute(VERSION, (revision.number,)).fetchone() != (revision.version,):
                return False
            drop(db, (revision.number,))
            return True

        return await self._writer.run(write)

    async def forget_arrived(self, before: datetime, limit: int) -> int:
        """Erases changes that the vendor had before an instant up to which its own word is here; how many.

        Raises:
            StorageError: they are still there.
        """
        if not read(self._reader, ARRIVED, to_ms(before), 1):
            return 0

        def write(db: Connection) -> int:
            numbers = [row[0] for row in db.execute(ARRIVED, (to_ms(before), limit))]
            drop(db, numbers)
            return len(numbers)

        return await self._writer.run(write)


def _one(later: Given, earlier: Given) -> Given:
    """What was given at two times as one."""
    if later.contact is None or earlier.contact is None:  # what cannot be read any more says nothing
        return later
    return replace(
        later,
        contact=over(later.contact, without(earlier.contact, earlier.refused)),
        identifiers=names_over(
            later.identifiers, [one for one in earlier.identifiers if one.type not in earlier.refused]
        ),
        known_by=tuple(dict.fromkeys((*earlier.known_by, *later.known_by))),
    )


def readable(rows: Sequence[Sequence[Any]]) -> list[Revision]:
    """Those of them that can be read."""
    found = []
    for row in rows:
        number, version, state, accepted_at, settled_at, status, vendor_code, call, said, _ = row
        given = given_in(row)
        if given.key is None or given.contact is None:  # it goes when its time is up
            continue
        found.append(
            Revision(
                number=number,
                version=version,
                state=EnrolmentState(state),
                key=given.key,
                contact=given.contact,
                identifiers=given.identifiers,
                accepted_at=from_ms(accepted_at),
                settled_at=from_ms(settled_at) if settled_at is not None else None,
                status=status,
                vendor_code=vendor_code,
                bulk=call,
                under_way=call is not None and said is None,
            )
        )
    return found
