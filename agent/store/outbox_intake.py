"""Sales on their way into the outbox: those that came in together are put on record together.

Plain ones in three statements however many there are; what refers to another sale, or repeats one, by itself.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from agent.domain.delivery import DeliveryState, in_lane, overall_state
from agent.domain.identifiers import Identifier
from agent.domain.numbering import till_name
from agent.domain.tagging import is_own
from agent.domain.transaction import IntegrationKey, Transaction, TransactionType
from agent.errors import ConflictError, Fault, InputError
from agent.ports import Acceptance, Receipt
from agent.store import outbox_sql as sql
from agent.store import statements
from agent.store.group_commit import savepoint
from agent.store.outbox_rows import key_of, person_group
from agent.store.outbox_sql import RANK_PRIMARY, RANK_SECONDARY, ROWS_BYTES
from agent.store.outbox_view import from_ms
from agent.store.said import Said

if TYPE_CHECKING:
    from sqlite3 import Connection


@dataclass(frozen=True, slots=True)
class Arrival:
    """A sale to record, with what can be worked out beforehand; instants in milliseconds."""

    record: Acceptance
    body: str
    fingerprint: bytes
    accepted_at: int
    held: frozenset[str]

    @property
    def sale(self) -> Transaction:
        """It."""
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

    arrival: Arrival
    key: IntegrationKey | None
    vendors: tuple[str, ...]
    original: int | None = None
    follows: bool = False
    told: tuple[str | None, str | None] | None = None
    own: bool = False


@dataclass(frozen=True, slots=True)
class _Earlier:
    """The sale that a return or a void is about.

    Attributes:
        vendors: to whom it went or goes.
        key: what it carries; none where nobody could be named yet, and once it is erased.
        open: whose it is has still to be settled.
    """

    vendors: tuple[str, ...]
    key: IntegrationKey | None
    open: bool

    @classmethod
    def read(cls, db: Connection, row: Any) -> _Earlier:
        """From its row, as `sql.FIND_SALE` gives it."""
        sale_id, *_, key_kind, key_type, statement, _, _ = row
        reached = db.execute(sql.VENDORS_REACHED, (sale_id,)).fetchall()
        vendors = tuple(vendor for vendor, _ in reached)
        if statement is None:
            return cls(vendors, None, open=False)
        key = key_of(key_kind, key_type, Said.parse(statements.read(db, statement)).key)
        return cls(vendors, key, open=any(is_open for _, is_open in reached))

    @property
    def own(self) -> bool:
        """It stays here until somebody made at this till has a number of the vendor's."""
        return is_own(self.key, open_=self.open)

    def lends(self, to: TransactionType) -> bool:
        """Whether what is about it and names nobody is its somebody's, even if nobody can say yet who that is.

        A return's tag is settled with its sale's; what is bought in exchange has to have one when it is taken.
        """
        return self.key is not None or (self.open and to is TransactionType.RETURN)


class Intake:
    """Puts sales on record, inside the transaction that gathers them.

    Args:
        owner: the vendor that owns the contacts.
        hash_key: the file's key of fingerprints and person groups.
    """

    def __init__(self, owner: str, hash_key: bytes) -> None:
        self._owner, self._hash_key = owner, hash_key

    def accept(self, db: Connection, arrivals: Sequence[Arrival]) -> list[Receipt | BaseException]:
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

    def _accept_one(self, db: Connection, arrival: Arrival) -> Receipt:
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
            earlier = _Earlier.read(db, original)
            if earlier.vendors and earlier.lends(sale.type):
                key, own, follows = earlier.key, earlier.own, True
                vendors = earlier.vendors if own else tuple(dict.fromkeys((*vendors, *earlier.vendors)))
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
    earlier = _Earlier.read(db, original)
    return earlier.vendors, record.key or earlier.key, earlier.own and record.key is None


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
        key=key_of(answered_kind, answered_type, value),
        key_kind=answered_kind,
        key_type=answered_type,
    )
