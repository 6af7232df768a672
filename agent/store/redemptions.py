"""Redemptions: what the loyalty system was asked to use up for a sale, on disk before it is asked.

Who it was and which benefit is a text in `statements`; a row says what became of it and names nobody.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from agent.domain.belonging import Wanted
from agent.domain.benefits import BenefitKind
from agent.domain.identifiers import IdentifierType
from agent.domain.redemption import RedemptionState
from agent.domain.retention import RetentionPlan
from agent.domain.transaction import IntegrationKey
from agent.ports import Loss, Redemption, RedemptionWish
from agent.store import statements
from agent.store.database import Reader, truncate_log
from agent.store.group_commit import Writer
from agent.store.keyhash import KeyHash
from agent.store.outbox_view import from_ms, read, to_ms

if TYPE_CHECKING:
    from sqlite3 import Connection

SLICE = 50

_COLUMNS = "id, transaction_id, kind, state, statement, amount, currency, accepted_at, code"
FIND = f"SELECT {_COLUMNS} FROM redemptions WHERE transaction_id = ? AND kind = ? AND item = ?"  # noqa: S608 - ours
ELSEWHERE = """
    SELECT 1 FROM redemptions
    WHERE item = ?1 AND kind = ?2 AND transaction_id <> ?3
      AND state IN ('queued', 'sending', 'lost', 'asking', 'redeemed', 'stuck') LIMIT 1"""
INSERT = """
    INSERT INTO redemptions (transaction_id, kind, item, person, state, statement, amount, currency, unasked_on,
                             accepted_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
GIVEN_UNASKED = "SELECT count(*) FROM redemptions WHERE person = ? AND unasked_on = ? AND state <> 'released'"
ASK_AGAIN = """
    UPDATE redemptions SET person = ?, state = ?, statement = ?, amount = ?, currency = ?, unasked_on = ?,
        settled_at = NULL, code = NULL WHERE id = ?"""
SETTLE = "UPDATE redemptions SET state = ?, settled_at = ?, code = ? WHERE id = ?"
OPEN = (
    f"SELECT {_COLUMNS} FROM redemptions WHERE state IN ('queued', 'sending', 'asking', 'undoing') ORDER BY id LIMIT ?"  # noqa: S608 - ours
)
LOSSES = "SELECT currency, amount FROM redemptions WHERE state = 'lost' AND settled_at >= ?"
STATEMENT = "SELECT statement FROM redemptions WHERE id = ? AND statement IS NOT NULL"
REMEMBERED = f"SELECT {_COLUMNS} FROM redemptions WHERE statement IS NOT NULL AND id > ? ORDER BY id LIMIT ?"  # noqa: S608 - ours
ERASE = """
    UPDATE redemptions SET statement = NULL, item = ?2,
        person = x'',
        code = iif(state IN ('queued', 'sending', 'asking', 'undoing'), ?3, code),
        state = CASE WHEN state IN ('asking', 'undoing') THEN 'stuck' WHEN state IN ('queued', 'sending') THEN 'lost'
                ELSE state END,
        settled_at = coalesce(settled_at, ?4)
    WHERE id = ?1"""
_ERASABLE = """
    (settled_at IS NOT NULL AND settled_at < ?1) OR (settled_at IS NULL AND accepted_at < ?2)"""
ERASABLE = f"SELECT id FROM redemptions WHERE statement IS NOT NULL AND ({_ERASABLE}) LIMIT ?3"  # noqa: S608 - ours
FORGETTABLE = "SELECT id FROM redemptions WHERE statement IS NULL AND settled_at < ? LIMIT ?"
DROP = "DELETE FROM redemptions WHERE id = ?"
DUE = f"""
    SELECT EXISTS (SELECT 1 FROM redemptions WHERE statement IS NOT NULL AND ({_ERASABLE}))
        OR EXISTS (SELECT 1 FROM redemptions WHERE statement IS NULL AND settled_at < ?3)"""  # noqa: S608 - ours
_OPEN = (RedemptionState.QUEUED, RedemptionState.SENDING, RedemptionState.ASKING, RedemptionState.UNDOING)
ERASED, EXPIRED = "privacy.erased", "retention.expired"


@dataclass(frozen=True, slots=True)
class _Said:
    """Who it was and which benefit, as the text that is kept of it."""

    key: IntegrationKey = field(repr=False)
    id: str = field(repr=False)
    ref: str

    def text(self) -> str:
        return json.dumps([self.key.type.value, self.key.value, self.id, self.ref])

    @classmethod
    def parse(cls, text: str) -> _Said:
        """Raises ValueError when it is not that."""
        try:
            kind, value, id_, ref = json.loads(text)
            return cls(IntegrationKey(kind="primary", type=IdentifierType(kind), value=value), id_, ref)
        except TypeError as error:
            raise ValueError("is not what was redeemed") from error


class Redemptions:
    """The redemptions on disk.

    Args:
        writer: the outbox's one writer.
        reader: a connection for point reads, used on the event loop's thread.
        key: hashes the ids of benefits.
        names: hashes what names people, as the replica does.
    """

    def __init__(self, writer: Writer, reader: Reader, *, key: bytes, names: KeyHash) -> None:
        self._writer, self._reader, self._key, self._names = writer, reader, key, names

    def find(self, transaction_id: str, kind: BenefitKind, id_: str) -> Redemption | None:
        """What is on record of a benefit in a sale. Raises StorageError."""
        rows = read(self._reader, FIND, transaction_id, kind.value, self._item(kind, id_))
        return self._redemption(rows[0]) if rows else None

    def elsewhere(self, transaction_id: str, kind: BenefitKind, id_: str) -> bool:
        """Whether another sale here has used the benefit up, or may have. Raises StorageError."""
        return bool(read(self._reader, ELSEWHERE, self._item(kind, id_), kind.value, transaction_id))

    async def ask(self, wish: RedemptionWish, known: Redemption | None, now: datetime) -> int:
        """Puts on disk that the vendor is about to be asked, or that it is given unasked; the number of it.

        Args:
            wish: what.
            known: what is on record of it already.
            now: when.

        Raises:
            StorageError: it is not on disk.
        """
        state = RedemptionState.ASKING if wish.unasked_on is None else RedemptionState.QUEUED
        day = wish.unasked_on.toordinal() if wish.unasked_on is not None else None
        person = self._names.of_identifier(wish.key.identifier)
        said = _Said(wish.key, wish.id, wish.ref).text()
        item = self._item(wish.kind, wish.id)
        amount = str(wish.amount) if wish.amount is not None else None

        def write(db: Connection) -> int:
            if known is None:
                statement = statements.keep(db, said)
                row = db.execute(
                    INSERT,
                    (
                        wish.transaction_id, wish.kind.value, item, person, state.value, statement, amount,
                        wish.currency, day, to_ms(now),
                    ),
                ).lastrowid  # fmt: skip
                return row or 0
            _forget(db, known.number)
            statement = statements.keep(db, said)
            db.execute(ASK_AGAIN, (person, state.value, statement, amount, wish.currency, day, known.number))
            return known.number

        return await self._writer.run(write)

    def given_unasked(self, key: IntegrationKey, day: date) -> int:
        """How many benefits somebody was given unasked on a day. Raises StorageError."""
        person = self._names.of_identifier(key.identifier)
        return int(read(self._reader, GIVEN_UNASKED, person, day.toordinal())[0][0])

    async def settle(self, number: int, state: RedemptionState, now: datetime, code: str | None = None) -> None:
        """Writes down what became of one. Raises StorageError."""
        settled_at = None if state in _OPEN else to_ms(now)
        await self._writer.run(lambda db: db.execute(SETTLE, (state.value, settled_at, code, number)))

    def losses(self, since: datetime) -> list[Loss]:
        """What was given unasked and refused since then, by currency. Raises StorageError."""
        sums: dict[str, Loss] = {}
        for currency, amount in read(self._reader, LOSSES, to_ms(since)):
            name = currency or "-"
            loss = sums.get(name, Loss(name, 0, Decimal(0)))
            sums[name] = Loss(name, loss.count + 1, loss.amount + Decimal(amount or 0))
        return sorted(sums.values(), key=lambda loss: loss.currency)

    def open(self, limit: int) -> list[Redemption]:
        """The oldest of which the vendor has yet to be asked what became of them. Raises StorageError."""
        return [self._redemption(row) for row in read(self._reader, OPEN, limit)]

    # --- one person, and the end ----------------------------------------------------------------------------

    async def erase(self, wanted: Wanted, now: datetime) -> int:
        """Erases the person of each that is theirs; how many. Raises StorageError.

        One that was still to be asked about can be asked about no more, and is stuck.
        """
        theirs = [one.number for one in await self._of(wanted)]
        await self._writer.run(partial(_erase, numbers=theirs, code=ERASED, now=now))
        return len(theirs)

    async def export(self, wanted: Wanted) -> list[dict[str, Any]]:
        """Everything that is held of theirs, as documents of texts and numbers. Raises StorageError."""
        return [
            {
                "transaction_id": one.transaction_id,
                "kind": one.kind.value,
                "id": one.id,
                "state": one.state.value,
                "amount": str(one.amount) if one.amount is not None else None,
                "accepted_at": one.accepted_at.isoformat(),
            }
            for one in await self._of(wanted)
        ]

    def due(self, plan: RetentionPlan) -> bool:
        """Whether a purge would find anything. Raises StorageError."""
        before = (plan.delivered_before, plan.accepted_before, plan.audit_before)
        return bool(read(self._reader, DUE, *map(to_ms, before))[0][0])

    async def purge(self, plan: RetentionPlan, now: datetime) -> dict[str, int]:
        """Erases what the plan names without a trace; how many redemptions. Raises StorageError."""

        def erase(db: Connection) -> int:
            before = (to_ms(plan.delivered_before), to_ms(plan.accepted_before), SLICE)
            numbers = [row[0] for row in db.execute(ERASABLE, before)]
            _erase(db, numbers, EXPIRED, now)
            return len(numbers)

        def drop(db: Connection) -> int:
            numbers = db.execute(FORGETTABLE, (to_ms(plan.audit_before), SLICE)).fetchall()
            db.executemany(DROP, numbers)
            return len(numbers)

        total = 0
        while done := await self._writer.run(erase):
            total += done
        while await self._writer.run(drop):
            pass
        while await self._writer.run(statements.drop_forgotten):
            pass
        await self._writer.run_alone(truncate_log)
        return {"redemptions": total}

    async def _of(self, wanted: Wanted) -> list[Redemption]:
        found: list[Redemption] = []
        last = 0
        while rows := await self._writer.run(partial(_fetch, after=last)):
            found += (one for one in map(self._redemption, rows) if self._is_of(one, wanted))
            last = rows[-1][0]
        return found

    def _is_of(self, one: Redemption, wanted: Wanted) -> bool:
        if one.key is None:
            return False
        return one.ref in wanted.refs or wanted.by_key(
            (self._names.of_identifier(one.key.identifier),), one.accepted_at
        )

    def _redemption(self, row: Sequence[Any]) -> Redemption:
        number, transaction_id, kind, state, statement, amount, currency, accepted_at, code = row
        said = self._said(statement)
        return Redemption(
            number=number,
            transaction_id=transaction_id,
            kind=BenefitKind(kind),
            state=RedemptionState(state),
            key=said.key if said is not None else None,
            id=said.id if said is not None else None,
            ref=said.ref if said is not None else None,
            amount=Decimal(amount) if amount is not None else None,
            currency=currency,
            accepted_at=from_ms(accepted_at),
            code=code,
        )

    def _said(self, statement: int | None) -> _Said | None:
        """None when it was erased, or cannot be read any more."""
        rows = read(self._reader, statements.READ, statement) if statement is not None else []
        try:
            return _Said.parse(bytes(rows[0][0]).decode()) if rows else None
        except ValueError:
            return None

    def _item(self, kind: BenefitKind, id_: str) -> bytes:
        return blake2b(f"{kind}:{id_}".encode(), key=self._key, person=b"benefit", digest_size=16).digest()


def _fetch(db: Connection, after: int) -> list[Any]:
    return db.execute(REMEMBERED, (after, SLICE)).fetchall()


def _forget(db: Connection, number: int) -> None:
    for (statement,) in db.execute(STATEMENT, (number,)).fetchall():
        statements.forget(db, statement)


def _erase(db: Connection, numbers: Sequence[int], code: str, now: datetime) -> None:
    for number in numbers:
        _forget(db, number)
        db.execute(ERASE, (number, secrets.token_bytes(16), code, to_ms(now)))
