"""The outbox: every sale the till has an answer for, until every vendor that wants it has it.

Irreplaceable, so `synchronous=FULL` and one writer. A sale is one row, a delivery one row a sale and vendor. What
points to a person (the key's value, what the identifier can be, the sale as the till stated it) is one row in
`statements`; at the purge that is overwritten and :func:`agent.domain.activity.impersonal_body` stays with the sale.
`held` is never stored: a lane that is held shows what it has queued as held.

A lease names the run of the program that took it. A new run finds leases of the last one and knows of those
deliveries that they may have arrived; no clock is asked.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from agent.domain.activity import activity_id_of
from agent.domain.delivery import TAKEN_IN_PART, DeliveryState, Verdict, VerdictKind
from agent.domain.identifiers import Identifier
from agent.domain.link import FURTHEST_SALE, OLDEST_SALE
from agent.domain.retention import RetentionPlan
from agent.domain.transaction import (
    IntegrationKey,
    TransactionType,
    body_of,
    content_of,
)
from agent.errors import StorageError, UnderWayError, UnknownRecordError
from agent.ports import Acceptance, Occurrence, Outgoing, Receipt, Recipient, Settled
from agent.store import outbox_sql as sql
from agent.store import statements
from agent.store.database import Reader
from agent.store.group_commit import Writer
from agent.store.keyhash import KeyHash
from agent.store.occurrences import put
from agent.store.outbox_end import EXPIRED, EXPIRED_TITLE, Ending
from agent.store.outbox_intake import Arrival, Intake
from agent.store.outbox_rows import outgoing_of, person_group
from agent.store.outbox_sql import RANK_PRIMARY, RANK_SECONDARY
from agent.store.outbox_view import OutboxView, read, to_ms
from agent.store.said import Said

if TYPE_CHECKING:
    from sqlite3 import Connection

_STATE_AFTER: Final = {
    VerdictKind.DONE: DeliveryState.DELIVERED,
    VerdictKind.DUPLICATE: DeliveryState.DELIVERED,
    VerdictKind.RETRY: DeliveryState.QUEUED,
    VerdictKind.SPLIT: DeliveryState.QUEUED,
    VerdictKind.HOLD: DeliveryState.QUEUED,
    VerdictKind.PARK: DeliveryState.PARKED,
    VerdictKind.IN_DOUBT: DeliveryState.IN_DOUBT,
}
_TAKEN_IN_PART: Final = json.dumps(sorted(TAKEN_IN_PART))
_UNREADABLE: Final = Verdict(
    VerdictKind.PARK, "sale.unreadable", title="The recorded sale cannot be read.", not_received=True
)


class Outbox(OutboxView):
    """Sales on disk and their deliveries.

    Args:
        writer: the database's one writer.
        reader: for point reads, used on the event loop's thread.
        run: a name for this run of the program, for its leases.
        recipients: who gets sales.
    """

    def __init__(self, writer: Writer, reader: Reader, *, run: str, recipients: Sequence[Recipient]) -> None:
        super().__init__(reader)
        self._writer, self._run = writer, run
        self._owner = next(recipient.vendor for recipient in recipients if recipient.owner)
        self._followers = json.dumps([recipient.vendor for recipient in recipients if not recipient.owner])
        self._hash_key, self._names = b"", KeyHash(bytes(32))
        self._intake, self._ending = Intake(self._owner, self._hash_key), Ending(writer, reader)
        self._last_of_former_run: int | None = None
        self._last_redemption_of_former_run = self._last_enrolment_of_former_run = 0

    def close(self) -> None:
        """Finishes what is being written and closes both connections."""
        self._writer.close()
        self._reader.close()

    # --- intake ---------------------------------------------------------------------------------------------

    async def accept(self, record: Acceptance, now: datetime, held: Collection[str] = ()) -> Receipt:
        """Records a sale; it is on disk when this returns.

        Args:
            record: the sale and who gets it.
            now: its acceptance.
            held: vendors whose lane is held: what waits for one of them is answered as held.

        Raises:
            ConflictError: the id is taken by other content; the sale to be voided is voided already; or the points
                to be claimed are somebody's already.
            InputError: a void of a void, or of a sale that is not here when it brings no lines.
            StorageError: it could not be put on disk; nothing of it is kept.
        """
        body = body_of(record.transaction)
        content = content_of(record.transaction, body, record.readings)
        arrival = Arrival(record, body, self.fingerprint(content), to_ms(now), frozenset(held))
        receipt: Receipt = await self._writer.run_together(self._intake.accept, arrival)
        return receipt

    @property
    def names(self) -> KeyHash:
        """Hashes what names people, as the replica does."""
        return self._names

    def fingerprint(self, content: bytes) -> bytes:
        """What is remembered of a record's content, to recognise it by."""
        return blake2b(content, key=self._hash_key, person=b"content", digest_size=16).digest()

    def group_of(self, key: IntegrationKey | None, readings: Sequence[Identifier]) -> bytes:
        """What records of one person have in common, for their order; empty when nobody is named."""
        return person_group(self._hash_key, key, readings) or b""

    # --- delivery -------------------------------------------------------------------------------------------

    def begin(self, db: Connection, hash_key: bytes, names: KeyHash) -> int:
        """Takes back the leases of an earlier run, before anything else is done in this one; how many there were.

        Args:
            db: the file, brought to its schema.
            hash_key: its key of fingerprints and person groups.
            names: hashes what names people, as the replica does.

        Those deliveries may have arrived, except the open ones that had not been sent yet. When the file is opened
        again in the same run, its leases are this run's own and nothing is done.
        """
        self._hash_key, self._names = hash_key, names
        self._intake = Intake(self._owner, hash_key)
        if self._last_of_former_run is not None:
            return 0
        (self._last_of_former_run,) = db.execute(sql.LAST_SALE).fetchone()
        (self._last_redemption_of_former_run,) = db.execute(sql.LAST_REDEMPTION).fetchone()
        (self._last_enrolment_of_former_run,) = db.execute(sql.LAST_ENROLMENT).fetchone()
        return db.execute(sql.RECOVER).rowcount

    async def lease(self, vendor: str, limit: int, now: datetime) -> list[Outgoing]:
        """Up to ``limit`` due deliveries for one vendor, in the order it needs, marked as being sent.

        A cancelled call leaves nothing leased. A record that cannot be read any more is parked and left out.
        """

        def take(db: Connection) -> list[Any]:
            taken = db.execute(sql.LEASE, (self._run, vendor, to_ms(now), limit, self._owner)).fetchall()
            return db.execute(sql.LEASED, (json.dumps([row[0] for row in taken]),)).fetchall() if taken else []

        taking = asyncio.ensure_future(self._writer.run(take))
        try:
            rows = await asyncio.shield(taking)
        except asyncio.CancelledError:
            await self.release([row[0] for row in await taking])
            raise
        batch, unreadable = [], []
        for row in rows:
            try:
                batch.append(outgoing_of(row))
            except (ValueError, KeyError, TypeError):  # pydantic's ValidationError is a ValueError
                unreadable.append(Settled(row[0], _UNREADABLE))
        if unreadable:
            await self.settle(unreadable, now)
        return batch

    async def settle(self, settled: Sequence[Settled], now: datetime) -> None:
        """Writes down verdicts and gives the leases back; all of them in one commit."""

        def write(db: Connection) -> None:
            for item in settled:
                verdict = item.verdict
                fine = verdict.kind in (VerdictKind.DONE, VerdictKind.DUPLICATE)
                code, title = verdict.code or (None if fine else ""), verdict.title
                if verdict.kind is VerdictKind.PARK and db.execute(sql.IS_EXPIRED, (item.entry,)).fetchone():
                    code, title = EXPIRED, EXPIRED_TITLE  # a person's retry cannot bring the member back
                known = db.execute(
                    sql.SETTLE,
                    {
                        "entry": item.entry,
                        "run": self._run,
                        "state": _STATE_AFTER[verdict.kind].value,
                        "next_attempt_at": to_ms(item.retry_at) if item.retry_at else None,
                        "not_received": verdict.not_received or verdict.kind is VerdictKind.PARK,
                        "delivered_at": to_ms(now) if fine else None,
                        "reference": verdict.reference,
                        "progress": verdict.progress,
                        "code": code,
                        "status": None if fine else verdict.status,
                        "title": None if code is None else title,
                        "vendor_code": None if fine else verdict.vendor_code,
                    },
                ).rowcount
                if known:
                    db.execute(
                        sql.RECORD_ATTEMPT, (item.entry, to_ms(now), verdict.kind.value, verdict.code, verdict.status)
                    )

        await self._writer.run(write)

    async def recover(self, vendor: str) -> int:
        """Takes back every lease of one vendor, for who has nothing under way; how many there were.

        A write that failed on a bad disk may have been carried out all the same, and nobody knows what it leased.
        """
        return await self._writer.run(lambda db: db.execute(sql.RECOVER_OWN, (self._run, vendor)).rowcount)

    async def release(self, entries: Sequence[int]) -> None:
        """Gives back leases of deliveries that were not tried after all."""
        await self._writer.run(lambda db: db.execute(sql.RELEASE, (json.dumps(list(entries)), self._run)))

    async def note(self, entries: Collection[int], reference: str) -> None:
        """Writes down what leased deliveries are handed over as, before they are; all of them, or raises."""

        def write(db: Connection) -> None:
            noted = db.execute(sql.NOTE, (json.dumps(list(entries)), reference, self._run)).rowcount
            if noted != len(entries):
                raise StorageError("a delivery is not leased any more")

        await self._writer.run(write)

    async def withdraw(self, vendor: str, reference: str) -> bool:
        """Forgets what was noted and never handed over; False where it was, because some of it is delivered."""

        def write(db: Connection) -> bool:
            if db.execute(sql.HANDED_OVER, (vendor, reference)).fetchone()[0]:
                return False
            db.execute(sql.WITHDRAW, (vendor, reference))
            return True

        return await self._writer.run(write)

    async def sending(self, entries: Sequence[int]) -> None:
        """Writes down that open deliveries go out now, under the tags they have: from here on they may have arrived."""
        await self._writer.run(lambda db: db.execute(sql.SENDING, (json.dumps(list(entries)), self._run)))

    async def enrolling(self, entry: int, now: datetime) -> bool:
        """Writes down that the vendor is asked to make the new contact of a leased sale, before it is.

        Returns:
            Whether it was at an earlier attempt.
        """
        new = await self._writer.run(lambda db: db.execute(sql.ENROLLING, (entry, to_ms(now), self._run)).rowcount)
        return not new

    async def not_enrolled(self, entry: int) -> None:
        """Writes down that the vendor had the new contact of a sale before it was asked."""
        await self._writer.run(lambda db: db.execute(sql.NOT_ENROLLED, (entry,)))

    async def retag(self, entry: int, key: IntegrationKey, now: datetime, joined: Occurrence | None = None) -> None:
        """Writes the settled tag of a leased delivery, before it is sent, and forgets what it was resolved from.

        Does nothing to a sale of which an earlier attempt may have arrived.

        Args:
            entry: the delivery.
            key: the tag.
            now: when.
            joined: what further systems are told of its new contact, where :meth:`enrolling` has been written down: at
                whatever attempt the vendor was found to have them.
        """

        def write(db: Connection) -> None:
            found = db.execute(sql.TO_RETAG, (entry, self._run)).fetchone()
            if found is None:
                return
            sale, statement, kind, was, name = found
            said = Said.parse(statements.read(db, statement))
            kept = statements.keep(db, said.settled(key, self._names, was=was).text())
            statements.forget(db, statement)
            db.execute(sql.RETAG, (key.kind, key.type.value, kept, sale))
            rank, person = RANK_PRIMARY if key.kind == "primary" else RANK_SECONDARY, self.group_of(key, ())
            named = kind != "secondary"  # until now nobody, or somebody made here whom no vendor knew
            if named and activity_id_of(name) is None:  # who wants an activity has it from the beginning
                db.execute(sql.FOLLOW, (rank, self._followers, entry, person))
                self._settle_following(db, name, key, rank)
            if not named and rank == RANK_PRIMARY and activity_id_of(name) is None:
                db.execute(sql.RISEN, (rank, person, entry, self._followers))
            db.execute(sql.CLOSE_TAG, (rank, entry, person))
            db.execute(sql.RECORD_EVENT, (entry, to_ms(now), "retagged"))
            if joined is not None and db.execute(sql.WAS_ENROLLING, (sale,)).fetchone()[0]:
                put(db, joined, to_ms(now), outbox=self)

        await self._writer.run(write)

    def _settle_following(self, db: Connection, name: str, key: IntegrationKey, rank: int) -> None:
        """What is about a sale goes wherever the sale does now that its tag is settled, and under that tag.

        So does a void whomever it names; a return that names somebody has a tag of its own.
        """
        for sale, kind, statement, entry in db.execute(sql.FOLLOWING, (name, self._owner)).fetchall():
            told = Said.parse(statements.read(db, statement))
            if told.names_nobody:
                kept = statements.keep(db, replace(told, key=key.value).text())
                statements.forget(db, statement)
                db.execute(sql.RETAG, (key.kind, key.type.value, kept, sale))
                db.execute(sql.SETTLE_FOLLOWING, (rank, entry))
            if told.names_nobody or kind == TransactionType.VOID:
                db.execute(sql.FOLLOW_SALE, (rank, entry))

    async def make_due(self, vendor: str, *, doubtful_at: datetime | None = None) -> None:
        """Forgets every back-off at one vendor: somebody asked for an attempt now, or the line is back.

        Args:
            vendor: its name.
            doubtful_at: until when, at most, what may have arrived goes on waiting; None lets it go as well.
        """
        latest = to_ms(doubtful_at) if doubtful_at is not None else None
        await self._writer.run(lambda db: db.execute(sql.MAKE_DUE, (vendor, latest)))

    async def clamp_due(self, latest: datetime) -> None:
        """No delivery waits beyond ``latest``: the wall clock was put back, and with it every instant it wrote."""
        await self._writer.run(lambda db: db.execute(sql.CLAMP_DUE, (to_ms(latest),)))

    async def shift(self, by: timedelta) -> None:
        """Moves the instants of what this run accepted: the wall clock was found to be wrong by so much.

        So a sale taken while the clock was years back does not look years old once it is right.
        """
        milliseconds = round(by.total_seconds() * 1000)

        def move(db: Connection) -> None:
            db.execute(sql.SHIFT, (milliseconds, self._last_of_former_run))
            db.execute(sql.SHIFT_REDEMPTIONS, (milliseconds, self._last_redemption_of_former_run))
            db.execute(sql.SHIFT_ENROLMENTS, (milliseconds, self._last_enrolment_of_former_run))

        await self._writer.run(move)

    def oddly_dated(self, now: datetime) -> bool:
        """Whether a sale with its personal part bears a date that a right clock could not have written.

        The future is one; so are years ago: retention has erased everything of that age.
        """
        return bool(self._number(sql.ODDLY_DATED, *_plausible(now)))

    async def redate(self, now: datetime) -> int:
        """Gives such sales today's date; how many there were."""

        def redate(db: Connection) -> int:
            db.execute(sql.REDATE_REDEMPTIONS, (*_plausible(now), to_ms(now)))
            db.execute(sql.REDATE_ENROLMENTS, (*_plausible(now), to_ms(now)))
            return db.execute(sql.REDATE, (*_plausible(now), to_ms(now))).rowcount

        return await self._writer.run(redate)

    # --- a person decides -----------------------------------------------------------------------------------

    async def retry(self, entry: int, now: datetime) -> str:
        """Puts a parked or doubtful delivery back in line, or drops the back-off of a waiting one.

        Returns:
            The transaction's id.

        Raises:
            UnknownRecordError: there is none, or it is finished.
        """

        def write(db: Connection) -> str:
            if not db.execute(sql.RETRY, (entry, _TAKEN_IN_PART)).rowcount:
                raise UnknownRecordError
            db.execute(sql.RECORD_EVENT, (entry, to_ms(now), "retried"))
            return str(db.execute(sql.TRANSACTION_OF, (entry,)).fetchone()[0])

        return await self._writer.run(write)

    async def go_again(self, vendor: str, own_key: IntegrationKey, now: datetime) -> int:
        """Puts back in line what was parked because its new contact was refused; how many sales.

        What only waits because the contact was made together with others need not wait any longer.

        Args:
            vendor: the one that refused.
            own_key: this till's own number of the contact, under which the sales are.
            now: when.
        """
        person = self.group_of(own_key, ())
        if not any(read(self._reader, which, vendor, person) for which in (sql.UNENROLLED, sql.WITH_OTHERS)):
            return 0

        def write(db: Connection) -> int:
            db.executemany(sql.MAKE_ONE_DUE, db.execute(sql.WITH_OTHERS, (vendor, person)).fetchall())
            parked = db.execute(sql.UNENROLLED, (vendor, person)).fetchall()
            for (entry,) in parked:
                db.execute(sql.RETRY, (entry, _TAKEN_IN_PART))
                db.execute(sql.RECORD_EVENT, (entry, to_ms(now), "retried"))
            return len(parked)

        return await self._writer.run(write)

    async def discard(self, entry: int, reason: str, now: datetime) -> str:
        """Gives up an unfinished delivery; the sale stays on record. A void of it has nothing to clear then.

        Args:
            entry: the delivery.
            reason: a person's words; they are erased with the sale's personal part and shown nowhere.
            now: when it is given up.

        Returns:
            The transaction's id.

        Raises:
            UnknownRecordError: there is none, or it is finished.
            UnderWayError: it is being sent at this moment.
        """

        def write(db: Connection) -> str:
            found = db.execute(sql.TO_DISCARD, (entry,)).fetchone()
            if found is None:
                raise UnknownRecordError
            vendor, maybe_received, under_way, transaction_id, erased_at = found
            if under_way:
                raise UnderWayError
            note = statements.keep(db, reason) if erased_at is None else None  # nothing is added to an erased sale
            db.execute(sql.DISCARD, (note, entry))
            db.execute(sql.RECORD_EVENT, (entry, to_ms(now), "discarded"))
            if not maybe_received:
                db.execute(sql.CANCEL_VOIDS, (vendor, transaction_id))
            return str(transaction_id)

        return await self._writer.run(write)

    # --- the end --------------------------------------------------------------------------------------------

    def due(self, plan: RetentionPlan) -> bool:
        """Whether a purge would find anything; a point read, whatever is on file."""
        return self._ending.due(plan)

    async def purge(self, plan: RetentionPlan, now: datetime) -> dict[str, int]:
        """Erases what the plan names without a trace; how many sales of each kind. As :meth:`Ending.purge`."""
        return await self._ending.purge(plan, now)


def _plausible(now: datetime) -> tuple[int, int]:
    return to_ms(now - OLDEST_SALE), to_ms(now + FURTHEST_SALE)
