"""Redemptions: what the loyalty system was asked to use up for a sale, on disk before it is asked.

Who it was and which benefit is a text in `statements`; a row says what became of it and names nobody. What else they
were named by is in that text too, as keyed hashes: whoever is to be erased says a phone number, not a key.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial, reduce
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from agent.domain.belonging import Redeemed, Wanted, redeemers
from agent.domain.benefits import BenefitKind
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.redemption import RedemptionState
from agent.domain.retention import RetentionPlan
from agent.domain.transaction import IntegrationKey
from agent.ports import Budget, Loss, Redemption, RedemptionWish, Spent
from agent.store import statements
from agent.store.database import Reader, truncate_log
from agent.store.group_commit import Writer
from agent.store.keyhash import KeyHash
from agent.store.outbox_view import from_ms, read, to_ms

if TYPE_CHECKING:
    from sqlite3 import Connection

SLICE = 50
NOTED_FOR = timedelta(days=1)

_COLUMNS = "id, transaction_id, kind, state, statement, amount, currency, accepted_at, asked_at, code"
FIND = f"SELECT {_COLUMNS} FROM redemptions WHERE transaction_id = ? AND kind = ? AND item = ?"  # noqa: S608 - ours
OF_SALE = f"SELECT {_COLUMNS} FROM redemptions WHERE transaction_id = ?"  # noqa: S608 - ours
ELSEWHERE = """
    SELECT 1 FROM redemptions
    WHERE item = ?1 AND kind = ?2 AND transaction_id <> ?3
      AND state IN ('queued', 'sending', 'lost', 'asking', 'redeemed', 'stuck') LIMIT 1"""
INSERT = """
    INSERT INTO redemptions (transaction_id, kind, item, person, state, statement, amount, currency, unasked_on,
                             accepted_at, asked_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
GIVEN_UNASKED = f"""
    SELECT {_COLUMNS} FROM redemptions
    WHERE unasked_on = ? AND state <> 'released' AND statement IS NOT NULL"""  # noqa: S608 - ours
ASK_AGAIN = """
    UPDATE redemptions SET person = ?, state = ?, statement = ?, amount = ?, currency = ?, unasked_on = ?,
        asked_at = ?, settled_at = NULL, code = NULL WHERE id = ?"""
SETTLE = """
    UPDATE redemptions SET state = ?, settled_at = ?, code = ?, asked_at = coalesce(?, asked_at) WHERE id = ?"""
OPEN = f"""
    SELECT {_COLUMNS} FROM redemptions
    WHERE state IN ('queued', 'sending', 'asking', 'undoing') AND id > ? ORDER BY id LIMIT ?"""  # noqa: S608 - ours
LOSSES = "SELECT currency, amount FROM redemptions WHERE state = 'lost' AND settled_at >= ?"
STUCK = """
    SELECT transaction_id FROM redemptions
    WHERE state = 'stuck' AND settled_at >= ?1 AND code IS NOT ?2 ORDER BY settled_at DESC, id DESC"""
STATEMENT = "SELECT statement FROM redemptions WHERE id = ? AND statement IS NOT NULL"
KEPT = "SELECT t.content FROM redemptions AS r JOIN statements AS t ON t.id = r.statement WHERE r.id = ?"
OF_PERSON = """
    SELECT r.id, t.content FROM redemptions AS r JOIN statements AS t ON t.id = r.statement
    WHERE r.person = ? AND r.statement IS NOT NULL"""
OF_KIND = """
    SELECT t.content FROM redemptions AS r JOIN statements AS t ON t.id = r.statement
    WHERE r.statement IS NOT NULL AND r.kind = ?"""
SALE = "SELECT 1 FROM sales WHERE transaction_id = ?"
NOTED = """
    SELECT amount FROM redemptions AS r
    WHERE person = ?1 AND statement IS NOT NULL AND kind = 'points' AND state = 'redeemed' AND amount IS NOT NULL
      AND CASE WHEN EXISTS (SELECT 1 FROM sales AS s WHERE s.transaction_id = r.transaction_id)
          THEN EXISTS (SELECT 1 FROM sales AS s JOIN deliveries AS d ON d.sale = s.id
                       WHERE s.transaction_id = r.transaction_id AND d.vendor = ?3
                         AND d.state IN ('queued', 'parked', 'in_doubt'))
          ELSE accepted_at >= ?2 END"""
PUT_STATEMENT = "UPDATE redemptions SET statement = ? WHERE id = ?"
REMEMBERED_OF = f"SELECT {_COLUMNS} FROM redemptions WHERE statement IS NOT NULL AND id = ?"  # noqa: S608 - ours
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
    """Who it was and which benefit, as the text that is kept of it.

    Attributes:
        key: theirs.
        id: the benefit's.
        ref: their handle.
        own: keyed hashes of what else is theirs alone: the contact id.
        names: keyed hashes of what else they were named by.
        use: the vendor's name of the use, which leads to them there; a text without one is as it was before there was.
    """

    key: IntegrationKey = field(repr=False)
    id: str = field(repr=False)
    ref: str
    own: frozenset[bytes] = field(default=frozenset(), repr=False)
    names: frozenset[bytes] = field(default=frozenset(), repr=False)
    use: str | None = field(default=None, repr=False)

    def text(self) -> str:
        hashed = [sorted(one.hex() for one in some) for some in (self.own, self.names)]
        use = [] if self.use is None else [self.use]
        return json.dumps([self.key.type.value, self.key.value, self.id, self.ref, *hashed, *use])

    @classmethod
    def parse(cls, text: str) -> _Said:
        """Raises ValueError when it is not that."""
        try:
            kind, value, id_, ref, own, names, *more = json.loads(text)
            key = IntegrationKey(kind="primary", type=IdentifierType(kind), value=value)
            (use,) = more or (None,)
            own, names = (frozenset(map(bytes.fromhex, some)) for some in (own, names))
            return cls(key, id_, ref, own, names, use)
        except TypeError as error:
            raise ValueError("is not what was redeemed") from error

    def named(self, other: _Said) -> _Said:
        """The same, with what the same person was named by in another one too."""
        return replace(self, own=self.own | other.own, names=self.names | other.names)


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
        return await self._writer.run(lambda db: self._asked(db, wish, known, now))

    def _asked(self, db: Connection, wish: RedemptionWish, known: Redemption | None, now: datetime) -> int:
        state = RedemptionState.ASKING if wish.unasked_on is None else RedemptionState.QUEUED
        day = wish.unasked_on.toordinal() if wish.unasked_on is not None else None
        person = self._names.of_identifier(wish.key.identifier)
        said = self._named(_Said(wish.key, wish.id, wish.ref), wish.names)
        item = self._item(wish.kind, wish.id)
        amount = str(wish.amount) if wish.amount is not None else None
        asked_at = to_ms(wish.asked_at) if wish.asked_at is not None else None
        if known is None:
            statement = statements.keep(db, said.text())
            row = db.execute(
                INSERT,
                (
                    wish.transaction_id, wish.kind.value, item, person, state.value, statement, amount,
                    wish.currency, day, to_ms(now), asked_at,
                ),
            ).lastrowid  # fmt: skip
            return row or 0
        kept = [_said(content) for (content,) in db.execute(KEPT, (known.number,))]
        _forget(db, known.number)
        before = [one for one in kept if one is not None and one.key == wish.key]
        statement = statements.keep(db, reduce(_Said.named, before, said).text())
        again = (person, state.value, statement, amount, wish.currency, day, asked_at, known.number)
        db.execute(ASK_AGAIN, again)
        return known.number

    async def named(self, key: IntegrationKey, names: Collection[Identifier]) -> None:
        """Puts what whoever has the key was named by since into what is on record of them. Raises StorageError."""
        person = self._names.of_identifier(key.identifier)

        def write(db: Connection) -> None:
            for number, content in db.execute(OF_PERSON, (person,)).fetchall():
                said = _said(content)
                if said is not None and (more := self._named(said, names)) != said:
                    _forget(db, number)
                    db.execute(PUT_STATEMENT, (statements.keep(db, more.text()), number))

        if read(self._reader, OF_PERSON, person):
            await self._writer.run(write)

    async def note(self, wish: RedemptionWish, known: Redemption | None, budget: Budget, now: datetime) -> bool:
        """Notes points for a sale; whether it did.

        Not if the sale is here already, nor if more would be noted than there are, for sales that the vendor may not
        have yet; one that did not come within a day does not come any more. Raises StorageError.
        """
        person = self._names.of_identifier(wish.key.identifier)

        def write(db: Connection) -> bool:
            if db.execute(SALE, (wish.transaction_id,)).fetchone() is not None:
                return False
            noted = db.execute(NOTED, (person, to_ms(now - NOTED_FOR), budget.vendor)).fetchall()
            if sum((Decimal(amount) for (amount,) in noted), wish.amount or Decimal(0)) > budget.points:
                return False
            number = self._asked(db, wish, known, now)
            db.execute(SETTLE, (RedemptionState.REDEEMED.value, to_ms(now), None, None, number))
            return True

        return await self._writer.run(write)

    async def unnote(self, known: Redemption, now: datetime) -> bool:
        """Forgets such a note, unless the sale is here already; whether it did. Raises StorageError."""

        def write(db: Connection) -> bool:
            if db.execute(SALE, (known.transaction_id,)).fetchone() is not None:
                return False
            db.execute(SETTLE, (RedemptionState.REFUSED.value, to_ms(now), None, None, known.number))
            return True

        return await self._writer.run(write)

    def uses(self, kind: BenefitKind) -> frozenset[str]:
        """The vendor's names of the uses that are on record, whoever's they are. Raises StorageError."""
        kept = [_said(content) for (content,) in read(self._reader, OF_KIND, kind.value)]
        return frozenset(said.use for said in kept if said is not None and said.use is not None)

    def given_unasked(self, key: IntegrationKey, names: Collection[Identifier], day: date) -> int:
        """How many benefits somebody was given unasked on a day, under whichever of their keys. Raises StorageError."""
        person = self._redeemed(0, self._named(_Said(key, "", ""), names), 0)
        rows = read(self._reader, GIVEN_UNASKED, day.toordinal())
        given = [self._redeemed(row[0], said, row[7]) for row in rows if (said := self._said(row[4])) is not None]
        people = redeemers([person, *given], Wanted(frozenset(), dict.fromkeys(person.own)), ())
        return sum(map(len, people)) - 1

    async def settle(
        self,
        number: int,
        state: RedemptionState,
        now: datetime,
        code: str | None = None,
        asked_at: datetime | None = None,
        *,
        use: str | None = None,
    ) -> None:
        """Writes down what became of one; where they are known, when the vendor is asked, and its name of the use.

        Raises:
            StorageError: it is not on disk.
        """
        settled_at = None if state in _OPEN else to_ms(now)
        asked = to_ms(asked_at) if asked_at is not None else None

        def write(db: Connection) -> None:
            db.execute(SETTLE, (state.value, settled_at, code, asked, number))
            kept = db.execute(KEPT, (number,)).fetchone() if use is not None else None
            said = _said(kept[0]) if kept is not None else None
            if said is not None:
                _forget(db, number)
                db.execute(PUT_STATEMENT, (statements.keep(db, replace(said, use=use).text()), number))

        await self._writer.run(write)

    def losses(self, since: datetime) -> list[Loss]:
        """What was given unasked and refused since then, by currency. Raises StorageError."""
        sums: dict[str, Loss] = {}
        for currency, amount in read(self._reader, LOSSES, to_ms(since)):
            name = currency or "-"
            loss = sums.get(name, Loss(name, 0, Decimal(0)))
            sums[name] = Loss(name, loss.count + 1, loss.amount + Decimal(amount or 0))
        return sorted(sums.values(), key=lambda loss: loss.currency)

    def stuck(self, since: datetime) -> list[str]:
        """The sales whose benefits are used up since then and cannot be given back, the latest first.

        An erased person's is nobody's any more, and is not among them. Raises StorageError.
        """
        return [transaction_id for (transaction_id,) in read(self._reader, STUCK, to_ms(since), ERASED)]

    def open(self, after: int, limit: int) -> list[Redemption]:
        """Those of which the vendor has yet to be asked what became of them, by number. Raises StorageError."""
        return [self._redemption(row) for row in read(self._reader, OPEN, after, limit)]

    def of_sale(self, transaction_id: str) -> list[Redemption]:
        """What is on record for a sale. Raises StorageError."""
        return [self._redemption(row) for row in read(self._reader, OF_SALE, transaction_id)]

    # --- one person, and the end ----------------------------------------------------------------------------

    async def redeemed(self) -> list[Redeemed]:
        """What each whose person is remembered says of whose it is. Raises StorageError."""
        found: list[Redeemed] = []
        last = 0
        while rows := await self._writer.run(partial(_fetch, after=last)):
            for row in rows:
                last, said = row[0], self._said(row[4])
                if said is not None:
                    found.append(self._redeemed(last, said, row[7]))
        return found

    async def erase(self, numbers: Collection[int], now: datetime) -> int:
        """Erases the person of these; how many. Raises StorageError.

        One that was still to be asked about can be asked about no more, and is stuck.
        """
        await self._writer.run(partial(_erase, numbers=numbers, code=ERASED, now=now))
        return len(numbers)

    def export(self, numbers: Collection[int]) -> list[dict[str, Any]]:
        """Everything that is held of these, as documents of texts and numbers. Raises StorageError."""
        rows = [row for number in sorted(numbers) for row in read(self._reader, REMEMBERED_OF, number)]
        return [
            {
                "transaction_id": one.transaction_id,
                "kind": one.kind.value,
                "id": one.id,
                "state": one.state.value,
                "amount": str(one.amount) if one.amount is not None else None,
                "accepted_at": one.accepted_at.isoformat(),
                **({"use": one.use} if one.use is not None else {}),
            }
            for one in map(self._redemption, rows)
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

    def _named(self, said: _Said, names: Collection[Identifier]) -> _Said:
        own = [name for name in names if name.type is IdentifierType.CONTACT_ID]
        hashed = [frozenset(map(self._names.of_identifier, some)) for some in (own, set(names).difference(own))]
        return replace(said, own=said.own | hashed[0], names=said.names | hashed[1])

    def _redeemed(self, number: int, said: _Said, accepted_at: int) -> Redeemed:
        own = said.own | {self._names.of_identifier(said.key.identifier)}
        return Redeemed(number, said.ref, own, said.names, from_ms(accepted_at))

    def _redemption(self, row: Sequence[Any]) -> Redemption:
        number, transaction_id, kind, state, statement, amount, currency, accepted_at, asked_at, code = row
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
            asked_at=from_ms(asked_at) if asked_at is not None else None,
            code=code,
            use=said.use if said is not None else None,
        )

    def _said(self, statement: int | None) -> _Said | None:
        """None when it was erased, or cannot be read any more."""
        rows = read(self._reader, statements.READ, statement) if statement is not None else []
        return _said(rows[0][0]) if rows else None

    def _item(self, kind: BenefitKind, id_: str) -> bytes:
        return blake2b(f"{kind}:{id_}".encode(), key=self._key, person=b"benefit", digest_size=16).digest()


def spent_of(points: str | None, content: bytes | None) -> Spent | None:
    """The points that are noted for a sale, and whose they are; None where none are."""
    if points is None:
        return None
    said = _said(content) if content is not None else None
    return Spent(Decimal(points), said.key if said is not None else None)


def _fetch(db: Connection, after: int) -> list[Any]:
    return db.execute(REMEMBERED, (after, SLICE)).fetchall()


def _said(content: bytes) -> _Said | None:
    """None when it cannot be read any more."""
    try:
        return _Said.parse(bytes(content).decode())
    except ValueError:
        return None


def _forget(db: Connection, number: int) -> None:
    for (statement,) in db.execute(STATEMENT, (number,)).fetchall():
        statements.forget(db, statement)


def _erase(db: Connection, numbers: Collection[int], code: str, now: datetime) -> None:
    for number in numbers:
        _forget(db, number)
        db.execute(ERASE, (number, secrets.token_bytes(16), code, to_ms(now)))
