"""Redemptions: what the loyalty system was asked to use up for a sale, on disk before it is asked.

Whose one is, and of which benefit, is in a text of its own (:mod:`agent.store.redemption_rows`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
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
from agent.ports import Budget, Loss, Redemption, RedemptionWish
from agent.store import statements
from agent.store.database import Reader, truncate_log
from agent.store.group_commit import Writer
from agent.store.keyhash import KeyHash
from agent.store.outbox_view import from_ms, read, to_ms
from agent.store.redemption_rows import KEPT, ROWS, Stated, erase, forget, redemption_of, restate, stated_in

if TYPE_CHECKING:
    from sqlite3 import Connection

SLICE = 50
NOTED_FOR = timedelta(days=1)

FIND = ROWS.format(where="r.transaction_id = ? AND r.kind = ? AND r.item = ?")
OF_SALE = ROWS.format(where="r.transaction_id = ?")
ELSEWHERE = """
    SELECT 1 FROM redemptions
    WHERE item = ?1 AND kind = ?2 AND transaction_id <> ?3
      AND state IN ('queued', 'sending', 'lost', 'asking', 'redeemed', 'stuck') LIMIT 1"""
INSERT = """
    INSERT INTO redemptions (transaction_id, kind, item, person, state, statement, amount, currency, unasked_on,
                             accepted_at, asked_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
GIVEN_UNASKED = ROWS.format(where="r.unasked_on = ? AND r.state <> 'released' AND r.statement IS NOT NULL")
ASK_AGAIN = """
    UPDATE redemptions SET person = ?, state = ?, statement = ?, amount = ?, currency = ?, unasked_on = ?,
        asked_at = ?, settled_at = NULL, code = NULL WHERE id = ?"""
SETTLE = """
    UPDATE redemptions SET state = ?, settled_at = ?, code = ?, asked_at = coalesce(?, asked_at) WHERE id = ?"""
OPEN = (
    ROWS.format(where="r.state IN ('queued', 'sending', 'asking', 'undoing') AND r.id > ?") + " ORDER BY r.id LIMIT ?"
)
LOSSES = "SELECT currency, amount FROM redemptions WHERE state = 'lost' AND settled_at >= ?"
STUCK = """
    SELECT transaction_id FROM redemptions
    WHERE state = 'stuck' AND settled_at >= ?1 AND code IS NOT ?2 ORDER BY settled_at DESC, id DESC"""
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
REMEMBERED_OF = ROWS.format(where="r.statement IS NOT NULL AND r.id = ?")
REMEMBERED = ROWS.format(where="r.statement IS NOT NULL AND r.id > ?") + " ORDER BY r.id LIMIT ?"
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
        return redemption_of(rows[0]) if rows else None

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
        said = self._named(Stated(wish.key, wish.id, wish.ref), wish.names)
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
        kept = [stated_in(content) for (content,) in db.execute(KEPT, (known.number,))]
        forget(db, known.number)
        before = [one for one in kept if one is not None and one.key == wish.key]
        statement = statements.keep(db, reduce(Stated.named, before, said).text())
        again = (person, state.value, statement, amount, wish.currency, day, asked_at, known.number)
        db.execute(ASK_AGAIN, again)
        return known.number

    async def named(self, key: IntegrationKey, names: Collection[Identifier]) -> None:
        """Puts what whoever has the key was named by since into what is on record of them. Raises StorageError."""
        person = self._names.of_identifier(key.identifier)

        def write(db: Connection) -> None:
            for number, content in db.execute(OF_PERSON, (person,)).fetchall():
                said = stated_in(content)
                if said is not None and (more := self._named(said, names)) != said:
                    restate(db, number, more)

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
        kept = [stated_in(content) for (content,) in read(self._reader, OF_KIND, kind.value)]
        return frozenset(said.use for said in kept if said is not None and said.use is not None)

    def given_unasked(self, key: IntegrationKey, names: Collection[Identifier], day: date) -> int:
        """How many benefits somebody was given unasked on a day, under whichever of their keys. Raises StorageError."""
        person = self._redeemed(0, self._named(Stated(key, "", ""), names), 0)
        rows = read(self._reader, GIVEN_UNASKED, day.toordinal())
        given = [one for row in rows if (one := self._redeemed_of(row)) is not None]
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
            said = stated_in(kept[0]) if kept is not None else None
            if said is not None:
                restate(db, number, replace(said, use=use))

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
        return [redemption_of(row) for row in read(self._reader, OPEN, after, limit)]

    def of_sale(self, transaction_id: str) -> list[Redemption]:
        """What is on record for a sale. Raises StorageError."""
        return [redemption_of(row) for row in read(self._reader, OF_SALE, transaction_id)]

    # --- one person, and the end ----------------------------------------------------------------------------

    async def redeemed(self) -> list[Redeemed]:
        """What each whose person is remembered says of whose it is. Raises StorageError."""
        found: list[Redeemed] = []
        last = 0
        while rows := await self._writer.run(partial(_fetch, after=last)):
            last = rows[-1][0]
            found += (one for row in rows if (one := self._redeemed_of(row)) is not None)
        return found

    async def erase(self, numbers: Collection[int], now: datetime) -> int:
        """Erases the person of these; how many. Raises StorageError.

        One that was still to be asked about can be asked about no more, and is stuck.
        """
        await self._writer.run(partial(erase, numbers=numbers, code=ERASED, now=now))
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
            for one in map(redemption_of, rows)
        ]

    def due(self, plan: RetentionPlan) -> bool:
        """Whether a purge would find anything. Raises StorageError."""
        before = (plan.delivered_before, plan.accepted_before, plan.audit_before)
        return bool(read(self._reader, DUE, *map(to_ms, before))[0][0])

    async def purge(self, plan: RetentionPlan, now: datetime) -> dict[str, int]:
        """Erases what the plan names without a trace; how many redemptions. Raises StorageError."""

        def expire(db: Connection) -> int:
            before = (to_ms(plan.delivered_before), to_ms(plan.accepted_before), SLICE)
            numbers = [row[0] for row in db.execute(ERASABLE, before)]
            erase(db, numbers, EXPIRED, now)
            return len(numbers)

        def drop(db: Connection) -> int:
            numbers = db.execute(FORGETTABLE, (to_ms(plan.audit_before), SLICE)).fetchall()
            db.executemany(DROP, numbers)
            return len(numbers)

        total = 0
        while done := await self._writer.run(expire):
            total += done
        while await self._writer.run(drop):
            pass
        while await self._writer.run(statements.drop_forgotten):
            pass
        await self._writer.run_alone(truncate_log)
        return {"redemptions": total}

    def _named(self, said: Stated, names: Collection[Identifier]) -> Stated:
        own = [name for name in names if name.type is IdentifierType.CONTACT_ID]
        hashed = [frozenset(map(self._names.of_identifier, some)) for some in (own, set(names).difference(own))]
        return replace(said, own=said.own | hashed[0], names=said.names | hashed[1])

    def _redeemed_of(self, row: Sequence[Any]) -> Redeemed | None:
        """Whose a row is, as `ROWS` gives it; None when that was erased, or cannot be read any more."""
        said = stated_in(row[-1])
        return self._redeemed(row[0], said, row[6]) if said is not None else None

    def _redeemed(self, number: int, said: Stated, accepted_at: int) -> Redeemed:
        own = said.own | {self._names.of_identifier(said.key.identifier)}
        return Redeemed(number, said.ref, own, said.names, from_ms(accepted_at))

    def _item(self, kind: BenefitKind, id_: str) -> bytes:
        return blake2b(f"{kind}:{id_}".encode(), key=self._key, person=b"benefit", digest_size=16).digest()


def _fetch(db: Connection, after: int) -> list[Any]:
    return db.execute(REMEMBERED, (after, SLICE)).fetchall()
