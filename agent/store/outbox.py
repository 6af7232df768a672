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
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from agent.domain.activity import Activity, activity_id_of, impersonal_body, record_of
from agent.domain.delivery import TAKEN_IN_PART, DeliveryState, Verdict, VerdictKind, in_lane, overall_state
from agent.domain.identifiers import Identifier
from agent.domain.link import FURTHEST_SALE, OLDEST_SALE
from agent.domain.numbering import till_name
from agent.domain.retention import RetentionPlan
from agent.domain.tagging import is_own
from agent.domain.transaction import (
    IntegrationKey,
    Transaction,
    TransactionType,
    body_of,
    content_of,
)
from agent.errors import ConflictError, Fault, InputError, UnderWayError, UnknownRecordError
from agent.ports import Acceptance, Occurrence, Outgoing, Receipt, Recipient, Settled
from agent.store import numbering, statements
from agent.store import outbox_sql as sql
from agent.store.database import Reader, truncate_log
from agent.store.group_commit import Writer, savepoint
from agent.store.keyhash import KeyHash
from agent.store.occurrences import put
from agent.store.outbox_sql import (
    COUNTS,  # the command line counts a stopped agent's queue with it
    RANK_PRIMARY,
    RANK_SECONDARY,
    ROWS_BYTES,
)
from agent.store.outbox_view import OutboxView, Story, from_ms, read, to_ms
from agent.store.redemptions import spent_of
from agent.store.said import Said

if TYPE_CHECKING:
    from sqlite3 import Connection

__all__ = ["COUNTS", "RANK_PRIMARY", "RANK_SECONDARY", "Outbox", "Story"]

ERASE_SLICE = 25
"""Sales erased in one commit: some 5 ms, for which a sale may have to wait."""

_STATE_AFTER: Final = {
    VerdictKind.DONE: DeliveryState.DELIVERED,
    VerdictKind.DUPLICATE: DeliveryState.DELIVERED,
    VerdictKind.RETRY: DeliveryState.QUEUED,
    VerdictKind.SPLIT: DeliveryState.QUEUED,
    VerdictKind.HOLD: DeliveryState.QUEUED,
    VerdictKind.PARK: DeliveryState.PARKED,
    VerdictKind.IN_DOUBT: DeliveryState.IN_DOUBT,
}
_EXPIRED, _EXPIRED_TITLE = "retention.expired", "The personal part was erased before the sale could be delivered."
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
        arrival = _Arrival(record, body, self.fingerprint(content), to_ms(now), frozenset(held))
        receipt: Receipt = await self._writer.run_together(self._accept, arrival)
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

    def _accept(self, db: Connection, arrivals: Sequence[_Arrival]) -> list[Receipt | BaseException]:
        """Records sales that came in together: the plain ones in one go, then those that refer to another one."""
        ids = [arrival.sale.transaction_id for arrival in arrivals]
        seen = {row[0] for row in db.execute(sql.KNOWN, (json.dumps(ids),))}
        plain: list[_Row] = []
        for arrival in arrivals:
            if arrival.sale.transaction_id not in seen and arrival.sale.original_transaction_id is None:
                seen.add(arrival.sale.transaction_id)
                plain.append(_Row(arrival, arrival.record.key, arrival.record.vendors))
        receipts: dict[int, Receipt | BaseException] = dict(
            zip((id(row.arrival) for row in plain), self._insert(db, plain), strict=True)
        )
        for arrival in arrivals:
            if id(arrival) not in receipts:
                receipt, error = savepoint(db, partial(self._accept_one, arrival=arrival))
                receipts[id(arrival)] = error or receipt
        return [receipts[id(arrival)] for arrival in arrivals]

    def _accept_one(self, db: Connection, arrival: _Arrival) -> Receipt:
        record, sale = arrival.record, arrival.sale
        known = db.execute(sql.FIND_SALE, (sale.transaction_id,)).fetchone()
        if known is not None:
            if known[1] and known[1] != arrival.fingerprint:  # none where the key of fingerprints was lost
                raise ConflictError
            stated = sale.integration_key
            named = (*record.readings, *((stated.identifier,) if stated else ()))
            return repeated(db, sale.transaction_id, known, named, arrival.held)
        original = db.execute(sql.FIND_SALE, (sale.original_transaction_id,)).fetchone()
        vendors, key, told, follows, own = record.vendors, record.key, None, False, False
        if sale.type is TransactionType.VOID:
            vendors, key, own = _void(db, record, original)
            if original is not None and original[4] and record.key is None:
                told = original[5:7]
        elif sale.type is TransactionType.POINTS_CLAIM:
            self._take_over(db, sale, original)
        elif original is not None and key is None and not record.readings:
            reached, of_original, own = _of_original(db, original)
            if reached and of_original is not None:
                vendors = reached if own else tuple(dict.fromkeys((*vendors, *reached)))
                key, follows = of_original, True
                told = original[5:7] if original[4] else None
        about = original[0] if original else None
        (receipt,) = self._insert(db, [_Row(arrival, key, vendors, about, follows, told, own)])
        return receipt

    def _insert(self, db: Connection, rows: Sequence[_Row]) -> list[Receipt]:
        """Puts new sales and their deliveries on record; three statements however many there are."""
        if not rows:
            return []
        sale_id, statement_id, given = db.execute(sql.LAST_IDS).fetchone()
        numbers: dict[str, int] = json.loads(given)
        kept: list[Any] = []
        sales: list[Any] = []
        deliveries: list[Any] = []
        receipts = []
        for place, row in enumerate(rows, 1):
            key, sale, accepted_at = row.key, row.arrival.sale, row.arrival.accepted_at
            readings = row.arrival.record.readings
            borrowed = row.arrival.record.key is None
            said = Said(
                key.value if key else None, readings, row.arrival.body, row.arrival.record.ref, borrowed=borrowed
            )
            kind, key_type = (key.kind, key.type.value) if key else (None, None)
            told_kind, told_type = row.told or (kind, key_type)
            quiet = row.told is not None or row.arrival.record.quiet
            till = till_name(sale.store_id or "", sale.till_id or "")
            number = numbers[till] = numbers.get(till, 0) + 1
            content = statements.padded(said.text())
            kept += (statement_id + place, content)
            sales += (
                sale_id + place, sale.transaction_id, sale.type.value, till, number,
                row.arrival.record.day.toordinal(), row.arrival.fingerprint, accepted_at,
                sale.occurred_at.isoformat(), sale.original_transaction_id, statement_id + place,
                ROWS_BYTES + len(content), kind, key_type, told_kind, told_type, quiet,
                None if row.vendors else accepted_at,
            )  # fmt: skip
            person = None if row.follows else person_group(self._hash_key, key, readings)
            if person is None:
                person = row.original.to_bytes(8, "big") if row.original else b""
            rank = RANK_PRIMARY if kind == "primary" else RANK_SECONDARY
            for vendor in row.vendors:
                deliveries += (
                    sale_id + place, vendor, "queued", rank, person,
                    (row.arrival.record.open or row.own) and vendor == self._owner, row.original,
                )  # fmt: skip
            state = overall_state(
                in_lane(DeliveryState.QUEUED, held=vendor in row.arrival.held) for vendor in row.vendors
            )
            at = from_ms(accepted_at)
            receipts.append(Receipt(sale.transaction_id, number, state, False, at, key, told_kind, told_type))
        _insert_rows(db, statements.KEEP_AS, kept, columns=2)
        _insert_rows(db, sql.INSERT_SALES, sales, columns=18)
        _insert_rows(db, sql.INSERT_DELIVERIES, deliveries, columns=7)
        return receipts

    def _take_over(self, db: Connection, claim: Transaction, original: Any) -> None:
        """A claim is refused while its sale counts for somebody, and replaces one that waits for a person unsent."""
        if db.execute(sql.COUNTED, (claim.original_transaction_id, self._owner)).fetchone():
            raise ConflictError("The sale counts for a member already; its points cannot be claimed again.")
        if original is not None:
            db.execute(sql.CANCEL_PARKED, (original[0], self._owner))

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
            taken = db.execute(sql.LEASE, (self._run, vendor, to_ms(now), limit)).fetchall()
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
                batch.append(_outgoing(row))
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
                code, title = verdict.code, verdict.title
                if verdict.kind is VerdictKind.PARK and db.execute(sql.IS_EXPIRED, (item.entry,)).fetchone():
                    code, title = _EXPIRED, _EXPIRED_TITLE  # a person's retry cannot bring the member back
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
                        "code": None if fine else code,
                        "status": None if fine else verdict.status,
                        "title": None if fine else title,
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
            rank = RANK_PRIMARY if key.kind == "primary" else RANK_SECONDARY
            named = kind != "secondary"  # until now nobody, or somebody made here whom no vendor knew
            if named and activity_id_of(name) is None:  # who wants an activity has it from the beginning
                db.execute(sql.FOLLOW, (rank, self._followers, entry, self.group_of(key, ())))
                self._settle_following(db, name, key, rank)
            db.execute(sql.CLOSE_TAG, (rank, entry))
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

    async def make_due(self, vendor: str) -> None:
        """Forgets every back-off at one vendor: somebody asked for an attempt now, or the line is back."""
        await self._writer.run(lambda db: db.execute(sql.MAKE_DUE, (vendor,)))

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
        before = (plan.delivered_before, plan.accepted_before, plan.audit_before)
        return bool(self._number(sql.DUE, *map(to_ms, before)))

    async def purge(self, plan: RetentionPlan, now: datetime) -> dict[str, int]:
        """Erases what the plan names without a trace; how many sales of each kind.

        A sale that was never delivered keeps its content without the person and is parked. Works in small commits, so
        that no sale waits for it; one that is interrupted goes on at the next purge.
        """

        def erase_due(db: Connection, statement: str, *before: datetime, expire: bool = False) -> int:
            rows = db.execute(statement, (*map(to_ms, before), ERASE_SLICE)).fetchall()
            for row in rows:
                erase(db, row, now)
                if expire:
                    db.execute(sql.EXPIRE, (_EXPIRED_TITLE, row[0]))
            return len(rows)

        told = await self._in_slices(lambda db: erase_due(db, sql.ERASABLE_TOLD))
        counts = {
            "delivered": told
            + await self._in_slices(lambda db: erase_due(db, sql.ERASABLE_FINISHED, plan.delivered_before)),
            "undelivered": await self._in_slices(
                lambda db: erase_due(db, sql.ERASABLE_OLD, plan.accepted_before, expire=True)
            ),
            "forgotten": await self._in_slices(lambda db: numbering.forget(db, plan.audit_before, ERASE_SLICE, now)),
        }
        await self._in_slices(statements.drop_forgotten)
        await self._writer.run_alone(truncate_log)
        return counts

    async def _in_slices(self, work: Any) -> int:
        total = 0
        while done := await self._writer.run(work):
            total += done
        return total


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A sale to record, with what can be worked out beforehand; instants in milliseconds."""

    record: Acceptance
    body: str
    fingerprint: bytes
    accepted_at: int
    held: frozenset[str]

    @property
    def sale(self) -> Transaction:
        return self.record.transaction


@dataclass(frozen=True, slots=True)
class _Row:
    """A new sale, decided.

    Attributes:
        arrival: the sale.
        key: under which it goes.
        vendors: to whom.
        original: the id of the sale it refers to, when that is on record.
        follows: it names nobody and goes under that sale's key, after it.
        told: the key's kind and type as the till hears of them, where it may not hear how a quiet sale was resolved.
        own: the key is that sale's, and still this till's own number: it is settled before it goes.
    """

    arrival: _Arrival
    key: IntegrationKey | None
    vendors: tuple[str, ...]
    original: int | None = None
    follows: bool = False
    told: tuple[str | None, str | None] | None = None
    own: bool = False


def person_group(hash_key: bytes, key: IntegrationKey | None, readings: Sequence[Identifier]) -> bytes | None:
    """What deliveries that must not overtake each other have in common; None when they name nobody."""
    named = key.identifier if key else readings[0] if readings else None
    if named is None:
        return None
    text = f"{named.type}:{named.value}".encode()
    return blake2b(text, key=hash_key, person=b"person", digest_size=8).digest()


def said(
    content: bytes, kind: str | None, key_type: str | None
) -> tuple[IntegrationKey | None, tuple[Identifier, ...]]:
    """A kept sale's key, given what its row says of it, and its readings. Raises ValueError when it cannot be read."""
    told = Said.parse(bytes(content).decode())
    return _key(kind, key_type, told.key), tuple(told.readings)


def _plausible(now: datetime) -> tuple[int, int]:
    return to_ms(now - OLDEST_SALE), to_ms(now + FURTHEST_SALE)


def _insert_rows(db: Connection, statement: str, values: list[Any], *, columns: int) -> None:
    if values:
        db.execute(sql.rows(statement, len(values) // columns, columns), values)


def _void(db: Connection, record: Acceptance, original: Any) -> tuple[tuple[str, ...], IntegrationKey | None, bool]:
    """A void cancels what was not sent, and follows what was, under the same key."""
    sale = record.transaction
    if db.execute(sql.VOIDED, (sale.original_transaction_id,)).fetchone():
        raise ConflictError("The sale is voided already, under another transaction_id.")
    if original is None:
        if not sale.lines:
            raise InputError([Fault("/original_transaction_id", "is not recorded here, and the void brings no lines")])
        return record.vendors, record.key, False
    if original[-1] == TransactionType.VOID:
        raise InputError([Fault("/original_transaction_id", "is a void itself: there is nothing to clear")])
    db.execute(sql.CANCEL_UNSENT, (original[0],))
    reached, key, own = _of_original(db, original)
    return reached, record.key or key, own and record.key is None


def _of_original(db: Connection, original: Any) -> tuple[tuple[str, ...], IntegrationKey | None, bool]:
    """The vendors that the sale went or goes to, the key it carries (none once erased), and if that stays here."""
    sale_id, *_, key_kind, key_type, statement, _, _ = original
    reached = db.execute(sql.VENDORS_REACHED, (sale_id,)).fetchall()
    vendors = tuple(vendor for vendor, _ in reached)
    if statement is None:
        return vendors, None, False
    key = _key(key_kind, key_type, Said.parse(statements.read(db, statement)).key)
    return vendors, key, is_own(key, open_=any(is_open for _, is_open in reached))


def repeated(db: Connection, name: str, known: Any, named: Sequence[Identifier], held: Collection[str]) -> Receipt:
    """The first answer again, under the key it named, even if the tag has risen since.

    Args:
        db: inside a transaction.
        name: of the record.
        known: its row, as `sql.FIND_SALE` gives it.
        named: everybody whom the repeat names.
        held: vendors whose lane is held.
    """
    sale_id, _, accepted_at, number, _, answered_kind, answered_type, kind, key_type, statement, _, _ = known
    value = None
    if statement is not None:
        if (answered_kind, answered_type) == (kind, key_type):
            value = Said.parse(statements.read(db, statement)).key
        else:  # the repeat itself spells what was answered first
            value = next((item.value for item in named if item.type == answered_type), None)
    states = [
        in_lane(DeliveryState(state), held=vendor in held) for state, vendor in db.execute(sql.STATES, (sale_id,))
    ]
    return Receipt(
        name,
        number,
        overall_state(states),
        duplicate=True,
        accepted_at=from_ms(accepted_at),
        key=_key(answered_kind, answered_type, value),
        key_kind=answered_kind,
        key_type=answered_type,
    )


def erase(db: Connection, row: Sequence[Any], now: datetime) -> int:
    """Erases the personal part of a sale where it stands; the sale stays.

    Args:
        db: inside a transaction.
        row: its number, its statement, when it happened, and whatever else.
        now: what it says of when.

    Returns:
        How many reasons for giving it up went along.
    """
    sale, statement, occurred_at, *_ = row
    body = None
    if statement is not None:
        try:
            said = Said.parse(statements.read(db, statement))
            body = impersonal_body(said.body, occurred_at)
        except ValueError:  # what cannot be read any more cannot be stripped of a person either
            body = None
        statements.forget(db, statement)
    notes = db.execute(sql.NOTES, (sale,)).fetchall()
    for (note,) in notes:
        statements.forget(db, note)
    db.execute(sql.ERASE_NOTES, (sale,))
    db.execute(sql.ERASE_GROUP, (sale,))
    db.execute(sql.ERASE, (body, to_ms(now), sale))
    return len(notes)


def _key(kind: str | None, key_type: str | None, value: str | None) -> IntegrationKey | None:
    if kind is None or key_type is None or value is None:
        return None
    return IntegrationKey.model_validate({"kind": kind, "type": key_type, "value": value})


def _outgoing(row: Any) -> Outgoing:
    (entry, attempts, maybe_received, is_open, person, accepted_at, clock_off, reference, points, whose, *of_sale) = row
    key, readings, record, borrowed = _record(*of_sale[:5])
    original_key, original = None, None
    if of_sale[-1] is not None:
        original_key, _, original, _ = _record(*of_sale[5:])
    if isinstance(original, Activity):
        raise TypeError("a sale is about a sale")
    its_own = key is not None and key.kind == "primary" and not borrowed
    follows = record.type is TransactionType.RETURN and not is_open and not its_own
    if original_key is not None and (record.type is TransactionType.VOID or follows):
        key = original_key  # the tag it was sent under, which may have risen since this one was taken
    return Outgoing(
        entry=entry,
        attempts=attempts - 1,
        maybe_received=bool(maybe_received),
        key=key,
        open=bool(is_open),
        readings=readings,
        record=record,
        original=original,
        person=person,
        accepted_at=from_ms(accepted_at),
        clock_off=timedelta(milliseconds=clock_off),
        reference=reference,
        spent=spent_of(points, whose),
    )


def _record(
    kind: str | None, key_type: str | None, content: bytes | None, body: str | None, occurred_at: str
) -> tuple[IntegrationKey | None, tuple[Identifier, ...], Transaction | Activity, bool]:
    """A record's key, readings and statement, as the till made it or as the purge left it; if the key is borrowed."""
    if content is None:
        return None, (), record_of(body or "", occurred_at), False
    said = Said.parse(bytes(content).decode())
    return _key(kind, key_type, said.key), tuple(said.readings), record_of(said.body, occurred_at), said.borrowed
