"""The outbox: every sale the till has an answer for, until every vendor that wants it has it.

Irreplaceable, so `synchronous=FULL` and one writer. The statements are below, each named; instants come in as
parameters, in milliseconds since 1970.

A sale is one row. Its personal part are three columns: `key_value`, `readings`, and what `body` holds of the person;
:func:`agent.domain.transaction.without_person` says what is left of the body after the purge. A delivery is one row a
sale and vendor. `held` is never stored: a lane that is held shows what it has queued as held.

A lease names the run of the program that took it. A new run finds leases of the last one and knows of those
deliveries that they may have arrived; no clock is asked.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from agent.domain.delivery import DeliveryState, VerdictKind, overall_state, shown_state
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.retention import RetentionPlan
from agent.domain.transaction import (
    IntegrationKey,
    Transaction,
    TransactionType,
    body_of,
    content_of,
    transaction_of,
    without_person,
)
from agent.errors import ConflictError, Fault, InputError, UnknownRecordError
from agent.ports import Acceptance, Delivery, Outgoing, QueueInfo, Receipt, Settled
from agent.store.database import GroupWriter, erase_leftovers, truncate_log

if TYPE_CHECKING:
    from sqlite3 import Connection

RANK_PRIMARY, RANK_SECONDARY = 1, 2
_FINISHED = "('delivered', 'cancelled', 'discarded')"

FIND_SALE = """
    SELECT id, fingerprint, accepted_at, answered_kind, answered_type, key_kind, key_type, key_value, erased_at
    FROM sales WHERE transaction_id = ?"""
INSERT_SALE = """
    INSERT INTO sales (transaction_id, type, fingerprint, accepted_at, occurred_at, original, body, readings,
                       key_kind, key_type, key_value, answered_kind, answered_type)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
INSERT_DELIVERY = """
    INSERT INTO deliveries (sale, vendor, state, rank, person, open, after_sale) VALUES (?, ?, 'queued', ?, ?, ?, ?)"""
CANCEL_UNSENT = """
    UPDATE deliveries SET state = 'cancelled', lease_run = NULL
    WHERE sale = ? AND state IN ('queued', 'parked') AND maybe_received = 0 AND lease_run IS NULL"""
VENDORS_REACHED = "SELECT vendor FROM deliveries WHERE sale = ? AND state <> 'cancelled'"
LEASE = """
    UPDATE deliveries SET lease_run = ?, attempts = attempts + 1 WHERE entry IN (
        SELECT entry FROM deliveries AS d
        WHERE vendor = ? AND state = 'queued' AND lease_run IS NULL AND coalesce(next_attempt_at, 0) <= ?
          AND (after_sale IS NULL OR NOT EXISTS (
              SELECT 1 FROM deliveries AS earlier WHERE earlier.sale = d.after_sale AND earlier.vendor = d.vendor
                AND earlier.state IN ('queued', 'parked', 'in_doubt')))
        ORDER BY rank, entry LIMIT ?)
    RETURNING entry"""
LEASED = """
    SELECT d.entry, d.attempts, d.maybe_received, d.open, d.person, s.key_kind, s.key_type, s.key_value, s.readings,
           s.body, s.occurred_at, o.body AS original_body, o.occurred_at AS original_at,
           o.key_kind AS original_kind, o.key_type AS original_type, o.key_value AS original_value
    FROM deliveries AS d JOIN sales AS s ON s.id = d.sale LEFT JOIN sales AS o ON o.transaction_id = s.original
    WHERE d.entry IN (SELECT value FROM json_each(?)) ORDER BY d.rank, d.entry"""
SETTLE = """
    UPDATE deliveries SET state = :state, lease_run = NULL, next_attempt_at = :next_attempt_at,
        maybe_received = CASE WHEN :not_received THEN maybe_received ELSE 1 END,
        delivered_at = :delivered_at,
        vendor_reference = coalesce(:reference, vendor_reference),
        error_code = :code, error_status = :status, error_title = :title, vendor_code = :vendor_code
    WHERE entry = :entry AND lease_run = :run"""
RELEASE = """
    UPDATE deliveries SET lease_run = NULL, attempts = attempts - 1
    WHERE entry IN (SELECT value FROM json_each(?)) AND lease_run = ?"""
RECORD_ATTEMPT = "INSERT INTO attempts (entry, at, verdict, code, status) VALUES (?, ?, ?, ?, ?)"
RETAG = """
    UPDATE sales SET key_kind = ?, key_type = ?, key_value = ?, readings = NULL
    WHERE id = (SELECT sale FROM deliveries WHERE entry = ? AND maybe_received = 0)"""
CLOSE_TAG = "UPDATE deliveries SET open = 0, rank = ? WHERE entry = ?"
RELEASE_LEASES = "UPDATE deliveries SET lease_run = NULL, maybe_received = 1 WHERE lease_run IS NOT NULL"
MAKE_DUE = "UPDATE deliveries SET next_attempt_at = NULL WHERE state = 'queued' AND next_attempt_at IS NOT NULL"
CLAMP_DUE = "UPDATE deliveries SET next_attempt_at = ?1 WHERE state = 'queued' AND next_attempt_at > ?1"
NEXT_DUE = "SELECT min(next_attempt_at) FROM deliveries WHERE vendor = ? AND state = 'queued' AND next_attempt_at > ?"
RETRY = """
    UPDATE deliveries SET state = 'queued', next_attempt_at = NULL
    WHERE entry = ? AND state IN ('parked', 'in_doubt', 'queued')"""
DISCARD = """
    UPDATE deliveries SET state = 'discarded', error_code = 'queue.discarded', note = ?
    WHERE entry = ? AND state IN ('parked', 'in_doubt') """
COUNTS = "SELECT state, sum(n) FROM counts GROUP BY state"
OLDEST = """
    SELECT min(s.accepted_at) FROM (
        SELECT min(entry) AS entry FROM deliveries WHERE state = 'queued' GROUP BY vendor, rank) AS first
    JOIN deliveries AS d ON d.entry = first.entry JOIN sales AS s ON s.id = d.sale"""
DELIVERIES = """
    SELECT d.entry, s.transaction_id, d.vendor, d.state, d.attempts, s.accepted_at, d.next_attempt_at, d.delivered_at,
           d.vendor_reference, d.error_code, d.error_status, d.error_title, d.vendor_code
    FROM deliveries AS d JOIN sales AS s ON s.id = d.sale WHERE {where} ORDER BY d.entry LIMIT ?"""
ATTEMPTS = "SELECT at, verdict, code, status FROM attempts WHERE entry = ? ORDER BY at, rowid"
ERASABLE_DELIVERED = f"""
    SELECT id, body, occurred_at FROM sales AS s
    WHERE erased_at IS NULL AND accepted_at < ?1 AND NOT EXISTS (
        SELECT 1 FROM deliveries WHERE sale = s.id AND (state NOT IN {_FINISHED} OR delivered_at >= ?1))"""
ERASABLE_OLD = "SELECT id, body, occurred_at FROM sales WHERE erased_at IS NULL AND accepted_at < ?"
ERASE = """
    UPDATE sales SET body = ?, key_value = NULL, readings = NULL, erased_at = ? WHERE id = ?"""
ERASE_NOTES = "UPDATE deliveries SET note = NULL WHERE sale = ?"
EXPIRE = f"""
    UPDATE deliveries SET state = 'parked', error_code = 'retention.expired', error_status = NULL, vendor_code = NULL,
        error_title = 'The personal part was erased before the sale could be delivered.', next_attempt_at = NULL
    WHERE sale = ? AND state NOT IN {_FINISHED}"""
FORGET = "DELETE FROM sales WHERE accepted_at < ?"


@dataclass(frozen=True, slots=True)
class Story:
    """A sale's whole life without the person in it."""

    transaction_id: str
    type: str
    occurred_at: str
    accepted_at: datetime
    erased_at: datetime | None
    original_transaction_id: str | None
    key_kind: str | None
    key_type: str | None
    answered_kind: str | None
    answered_type: str | None
    deliveries: tuple[Delivery, ...]
    attempts: tuple[dict[str, Any], ...]


class Outbox:
    """Sales on disk and their deliveries.

    Args:
        writer: the database's one writer.
        reader: a connection for point reads, used on the event loop's thread.
        hash_key: the key of fingerprints and person groups.
        run: a name for this run of the program, for its leases.
    """

    def __init__(self, writer: GroupWriter, reader: Connection, *, hash_key: bytes, run: str) -> None:
        self._writer, self._reader, self._hash_key, self._run = writer, reader, hash_key, run

    def close(self) -> None:
        """Finishes what is being written and closes both connections."""
        self._writer.close()
        self._reader.close()

    # --- intake ---------------------------------------------------------------------------------------------

    async def accept(self, record: Acceptance, now: datetime) -> Receipt:
        """Records a sale; it is on disk when this returns.

        Raises:
            ConflictError: the id is taken by other content.
            InputError: a void of a sale that is not here and brings no lines.
            StorageError: it could not be put on disk; nothing of it is kept.
        """
        body = body_of(record.transaction)
        content = content_of(record.transaction, body, record.readings)
        fingerprint = blake2b(content, key=self._hash_key, person=b"content", digest_size=16).digest()
        return await self._writer.run(lambda db: self._accept(db, record, body, fingerprint, now))

    def _accept(self, db: Connection, record: Acceptance, body: str, fingerprint: bytes, now: datetime) -> Receipt:
        sale = record.transaction
        known = db.execute(FIND_SALE, (sale.transaction_id,)).fetchone()
        if known is not None:
            if known[1] != fingerprint:
                raise ConflictError
            return self._repeated(db, record, known)
        original = None
        if sale.original_transaction_id is not None:
            original = db.execute(FIND_SALE, (sale.original_transaction_id,)).fetchone()
        vendors, key = record.vendors, record.key
        if sale.type is TransactionType.VOID:
            vendors, key = self._void(db, record, original)
        readings = json.dumps([(item.type, item.value) for item in record.readings]) if record.readings else None
        kind, key_type, value = (key.kind, key.type.value, key.value) if key else (None, None, None)
        row = db.execute(
            INSERT_SALE,
            (
                sale.transaction_id, sale.type.value, fingerprint, _ms(now), sale.occurred_at.isoformat(),
                sale.original_transaction_id, body, readings, kind, key_type, value, kind, key_type,
            ),
        ).lastrowid  # fmt: skip
        person = self._person(key, record.readings) or original and original[0].to_bytes(8, "big")
        rank = RANK_PRIMARY if kind == "primary" else RANK_SECONDARY
        for vendor in vendors:
            db.execute(INSERT_DELIVERY, (row, vendor, rank, person or b"", record.open, original and original[0]))
        state = DeliveryState.QUEUED if vendors else DeliveryState.DELIVERED
        return Receipt(sale.transaction_id, state, False, now, key, kind, key_type)

    def _void(self, db: Connection, record: Acceptance, original: Any) -> tuple[tuple[str, ...], IntegrationKey | None]:
        """A void cancels what was not sent, and follows what was."""
        if original is None:
            if not record.transaction.lines:
                raise InputError([Fault("/original_transaction_id", "is not recorded here, and the void brings no lines")])
            return record.vendors, record.key
        db.execute(CANCEL_UNSENT, (original[0],))
        reached = tuple(row[0] for row in db.execute(VENDORS_REACHED, (original[0],)))
        key = record.key
        if key is None and original[7] is not None:
            key = IntegrationKey(kind=original[5], type=IdentifierType(original[6]), value=original[7])
        return reached, key

    def _repeated(self, db: Connection, record: Acceptance, known: Any) -> Receipt:
        sale_id, _, accepted_at, answered_kind, answered_type, kind, key_type, value, erased_at = known
        key = None
        if answered_kind is not None and erased_at is None:
            if (answered_kind, answered_type) != (kind, key_type):
                # The tag rose meanwhile; the repeat itself spells the value that was answered first.
                value = next((item.value for item in record.readings if item.type == answered_type), None)
            if value is not None:
                key = IntegrationKey(kind=answered_kind, type=IdentifierType(answered_type), value=value)
        states = [DeliveryState(row[0]) for row in db.execute("SELECT state FROM deliveries WHERE sale = ?", (sale_id,))]
        return Receipt(
            record.transaction.transaction_id, _overall(states), True, _at(accepted_at), key, answered_kind, answered_type
        )

    def _person(self, key: IntegrationKey | None, readings: Sequence[Identifier]) -> bytes | None:
        named = key.identifier if key else readings[0] if readings else None
        if named is None:
            return None
        return blake2b(f"{named.type}:{named.value}".encode(), key=self._hash_key, person=b"person", digest_size=8).digest()

    # --- delivery -------------------------------------------------------------------------------------------

    async def recover(self) -> int:
        """Takes back the leases of an earlier run; how many there were. Those deliveries may have arrived."""
        return await self._writer.run(lambda db: db.execute(RELEASE_LEASES).rowcount)

    async def lease(self, vendor: str, limit: int, now: datetime) -> list[Outgoing]:
        """Up to ``limit`` due deliveries for one vendor, in the order it needs, marked as being sent."""

        def take(db: Connection) -> list[Outgoing]:
            entries = [row[0] for row in db.execute(LEASE, (self._run, vendor, _ms(now), limit)).fetchall()]
            return [_outgoing(row) for row in db.execute(LEASED, (json.dumps(entries),))] if entries else []

        return await self._writer.run(take)

    async def settle(self, settled: Sequence[Settled], now: datetime) -> None:
        """Writes down verdicts and gives the leases back; all of them in one commit."""

        def write(db: Connection) -> None:
            for item in settled:
                verdict = item.verdict
                fine = verdict.kind in (VerdictKind.DONE, VerdictKind.DUPLICATE)
                db.execute(
                    SETTLE,
                    {
                        "entry": item.entry,
                        "run": self._run,
                        "state": _STATE_AFTER[verdict.kind].value,
                        "next_attempt_at": _ms(item.retry_at) if item.retry_at else None,
                        "not_received": verdict.not_received or verdict.kind is VerdictKind.PARK,
                        "delivered_at": _ms(now) if fine else None,
                        "reference": verdict.reference,
                        "code": None if fine else verdict.code,
                        "status": verdict.status,
                        "title": None if fine else verdict.title,
                        "vendor_code": verdict.vendor_code,
                    },
                )
                db.execute(RECORD_ATTEMPT, (item.entry, _ms(now), verdict.kind, verdict.code, verdict.status))

        await self._writer.run(write)

    async def release(self, entries: Sequence[int]) -> None:
        """Gives back leases of deliveries that were not tried after all."""
        await self._writer.run(lambda db: db.execute(RELEASE, (json.dumps(list(entries)), self._run)))

    async def retag(self, entry: int, key: IntegrationKey) -> None:
        """Writes the settled tag of a leased delivery, before it is sent, and forgets what it was resolved from.

        Does nothing to a sale of which an earlier attempt may have arrived.
        """

        def write(db: Connection) -> None:
            if db.execute(RETAG, (key.kind, key.type.value, key.value, entry)).rowcount:
                db.execute(CLOSE_TAG, (RANK_PRIMARY if key.kind == "primary" else RANK_SECONDARY, entry))

        await self._writer.run(write)

    async def make_due(self) -> None:
        """Forgets every back-off: somebody asked for an attempt now."""
        await self._writer.run(lambda db: db.execute(MAKE_DUE))

    async def clamp_due(self, latest: datetime) -> None:
        """No delivery waits beyond ``latest``: the wall clock was put back, and with it every instant it wrote."""
        await self._writer.run(lambda db: db.execute(CLAMP_DUE, (_ms(latest),)))

    def next_due_at(self, vendor: str, now: datetime) -> datetime | None:
        """When the next delivery that backs off is due."""
        due = self._reader.execute(NEXT_DUE, (vendor, _ms(now))).fetchone()[0]
        return _at(due) if due is not None else None

    # --- what people ask ------------------------------------------------------------------------------------

    def info(self, held: Collection[str] = ()) -> QueueInfo:
        """The queue in figures; cheap whatever its length.

        Args:
            held: vendors whose lane is held.
        """
        waiting = self._reader.execute("SELECT vendor, n FROM counts WHERE state = 'queued'").fetchall()
        counts = dict(self._reader.execute(COUNTS).fetchall())
        oldest = self._reader.execute(OLDEST).fetchone()[0]
        pages, free, size = (
            int(self._reader.execute(f"PRAGMA {name}").fetchone()[0])  # SQLCipher answers page_size as text
            for name in ("page_count", "freelist_count", "page_size")
        )
        return QueueInfo(
            depth=sum(n for _, n in waiting),
            held=sum(n for vendor, n in waiting if vendor in held),
            parked=counts.get("parked", 0),
            in_doubt=counts.get("in_doubt", 0),
            oldest_at=_at(oldest) if oldest is not None else None,
            bytes=(pages - free) * size,
        )

    def accepted_since(self, since: datetime) -> int:
        """How many sales were accepted since then."""
        row = self._reader.execute("SELECT count(*) FROM sales WHERE accepted_at >= ?", (_ms(since),)).fetchone()
        return int(row[0])

    def story(self, transaction_id: str, held: Collection[str] = ()) -> Story:
        """A sale's life. Raises UnknownRecordError."""
        row = self._reader.execute(
            "SELECT id, type, occurred_at, accepted_at, erased_at, original, key_kind, key_type, answered_kind,"
            " answered_type FROM sales WHERE transaction_id = ?",
            (transaction_id,),
        ).fetchone()
        if row is None:
            raise UnknownRecordError
        deliveries = self._deliveries("d.sale = ? AND d.state <> 'cancelled'", [row[0], 1_000], held)
        attempts = tuple(
            {"entry": delivery.entry, "at": _at(at), "verdict": verdict, "code": code, "status": status}
            for delivery in deliveries
            for at, verdict, code, status in self._reader.execute(ATTEMPTS, (delivery.entry,))
        )
        return Story(
            transaction_id, row[1], row[2], _at(row[3]), _at(row[4]) if row[4] else None, *row[5:], deliveries, attempts
        )  # fmt: skip

    def queue(
        self, *, state: str | None, vendor: str | None, limit: int, after: int, held: Collection[str] = ()
    ) -> tuple[Delivery, ...]:
        """Unfinished deliveries in order of entry.

        Args:
            state: only these; `held` and `queued` are told apart by ``held``.
            vendor: only this one's.
            limit: at most so many.
            after: entries beyond this one.
            held: vendors whose lane is held.
        """
        where, values = ["d.entry > ?"], [after]
        stored = "queued" if state == "held" else state
        if stored is None:
            where.append("d.state IN ('queued', 'parked', 'in_doubt')")
        else:
            where.append("d.state = ?")
            values.append(stored)
        if vendor is not None:
            where.append("d.vendor = ?")
            values.append(vendor)
        if state in ("held", "queued"):
            where.append(f"d.vendor {'' if state == 'held' else 'NOT '}IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(list(held)))
        return self._deliveries(" AND ".join(where), [*values, limit], held)

    def entry(self, entry: int, held: Collection[str] = ()) -> Delivery:
        """One delivery. Raises UnknownRecordError."""
        found = self._deliveries("d.entry = ?", [entry, 1], held)
        if not found:
            raise UnknownRecordError
        return found[0]

    async def retry(self, entry: int) -> None:
        """Puts a parked or doubtful delivery back in line, or drops the back-off of a waiting one.

        Raises:
            UnknownRecordError: there is none, or it is finished.
        """
        if not await self._writer.run(lambda db: db.execute(RETRY, (entry,)).rowcount):
            raise UnknownRecordError

    async def discard(self, entry: int, reason: str) -> None:
        """Gives up a parked or doubtful delivery; the sale stays on record.

        Args:
            entry: the delivery.
            reason: a person's words; they are erased with the sale's personal part and shown nowhere.

        Raises:
            UnknownRecordError: there is none in one of these states.
        """
        if not await self._writer.run(lambda db: db.execute(DISCARD, (reason, entry)).rowcount):
            raise UnknownRecordError

    def _deliveries(self, where: str, values: list[Any], held: Collection[str]) -> tuple[Delivery, ...]:
        rows = self._reader.execute(DELIVERIES.format(where=where), values).fetchall()
        return tuple(_delivery(row, held) for row in rows)

    # --- the end --------------------------------------------------------------------------------------------

    async def purge(self, plan: RetentionPlan, now: datetime) -> dict[str, int]:
        """Erases what the plan names, row by row and then every trace; how many sales of each kind.

        A sale that was never delivered keeps its content without the person and is parked.
        """

        def erase(db: Connection) -> dict[str, int]:
            delivered = db.execute(ERASABLE_DELIVERED, (_ms(plan.delivered_before),)).fetchall()
            _erase(db, delivered, now)
            old = db.execute(ERASABLE_OLD, (_ms(plan.accepted_before),)).fetchall()
            _erase(db, old, now)
            for sale_id, _, _ in old:
                db.execute(EXPIRE, (sale_id,))
            forgotten = db.execute(FORGET, (_ms(plan.audit_before),)).rowcount
            return {"delivered": len(delivered), "undelivered": len(old), "forgotten": forgotten}

        counts = await self._writer.run(erase)
        if any(counts.values()):
            await self._writer.run_alone(erase_leftovers)
        else:
            await self._writer.run_alone(truncate_log)
        return counts


def _erase(db: Connection, rows: Sequence[Any], now: datetime) -> None:
    for sale_id, body, occurred_at in rows:
        left = body_of(without_person(transaction_of(body, occurred_at)))
        db.execute(ERASE, (left, _ms(now), sale_id))
        db.execute(ERASE_NOTES, (sale_id,))


_STATE_AFTER = {
    VerdictKind.DONE: DeliveryState.DELIVERED,
    VerdictKind.DUPLICATE: DeliveryState.DELIVERED,
    VerdictKind.RETRY: DeliveryState.QUEUED,
    VerdictKind.SPLIT: DeliveryState.QUEUED,
    VerdictKind.HOLD: DeliveryState.QUEUED,
    VerdictKind.PARK: DeliveryState.PARKED,
    VerdictKind.IN_DOUBT: DeliveryState.IN_DOUBT,
}


def _outgoing(row: Any) -> Outgoing:
    (
        entry, attempts, maybe_received, is_open, person, kind, key_type, value, readings, body, occurred_at,
        original_body, original_at, original_kind, original_type, original_value,
    ) = row  # fmt: skip
    transaction: Transaction = transaction_of(body, occurred_at)
    key = IntegrationKey(kind=kind, type=IdentifierType(key_type), value=value) if value is not None else None
    if key is None and original_value is not None and transaction.type is TransactionType.VOID:
        key = IntegrationKey(kind=original_kind, type=IdentifierType(original_type), value=original_value)
    return Outgoing(
        entry=entry,
        attempts=attempts - 1,
        maybe_received=bool(maybe_received),
        key=key,
        open=bool(is_open),
        readings=tuple(Identifier(IdentifierType(item[0]), item[1]) for item in json.loads(readings)) if readings else (),
        transaction=transaction,
        original=transaction_of(original_body, original_at) if original_body is not None else None,
        person=person,
    )


def _delivery(row: Any, held: Collection[str]) -> Delivery:
    state = shown_state(DeliveryState(row[3]))
    if state is DeliveryState.QUEUED and row[2] in held:
        state = DeliveryState.HELD
    return Delivery(
        entry=row[0], transaction_id=row[1], vendor=row[2], state=state, attempts=row[4], accepted_at=_at(row[5]),
        next_attempt_at=_at(row[6]) if row[6] is not None else None,
        delivered_at=_at(row[7]) if row[7] is not None else None,
        vendor_reference=row[8], error_code=row[9], error_status=row[10], error_title=row[11], vendor_code=row[12],
    )  # fmt: skip


def _overall(states: Sequence[DeliveryState]) -> DeliveryState:
    return overall_state(state for state in states if state is not DeliveryState.CANCELLED)


def _ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def _at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
