"""What the rows of redemptions say, with the text that is kept of whose each is; and how that text is forgotten.

Who it was and which benefit is a text in `statements`; a row says what became of it and names nobody. What else they
were named by is in that text too, as keyed hashes: whoever is to be erased says a phone number, not a key.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from agent.domain.benefits import BenefitKind
from agent.domain.identifiers import IdentifierType
from agent.domain.redemption import RedemptionState
from agent.domain.transaction import IntegrationKey
from agent.ports import Redemption, Spent
from agent.store import statements
from agent.store.outbox_view import from_ms, to_ms

if TYPE_CHECKING:
    from sqlite3 import Connection

ROWS = """
    SELECT r.id, r.transaction_id, r.kind, r.state, r.amount, r.currency, r.accepted_at, r.asked_at, r.code, t.content
    FROM redemptions AS r LEFT JOIN statements AS t ON t.id = r.statement WHERE {where}"""
"""What :func:`redemption_of` reads; without its person a row has no content."""
KEPT = "SELECT t.content FROM redemptions AS r JOIN statements AS t ON t.id = r.statement WHERE r.id = ?"
STATEMENT = "SELECT statement FROM redemptions WHERE id = ? AND statement IS NOT NULL"
PUT_STATEMENT = "UPDATE redemptions SET statement = ? WHERE id = ?"
ERASE = """
    UPDATE redemptions SET statement = NULL, item = ?2,
        person = x'',
        code = iif(state IN ('queued', 'sending', 'asking', 'undoing'), ?3, code),
        state = CASE WHEN state IN ('asking', 'undoing') THEN 'stuck' WHEN state IN ('queued', 'sending') THEN 'lost'
                ELSE state END,
        settled_at = coalesce(settled_at, ?4)
    WHERE id = ?1"""


@dataclass(frozen=True, slots=True)
class Stated:
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
        """The text that :meth:`parse` reads."""
        hashed = [sorted(one.hex() for one in some) for some in (self.own, self.names)]
        use = [] if self.use is None else [self.use]
        return json.dumps([self.key.type.value, self.key.value, self.id, self.ref, *hashed, *use])

    @classmethod
    def parse(cls, text: str) -> Stated:
        """What such a text says. Raises ValueError when it is none."""
        try:
            kind, value, id_, ref, own, names, *more = json.loads(text)
            key = IntegrationKey(kind="primary", type=IdentifierType(kind), value=value)
            (use,) = more or (None,)
            own, names = (frozenset(map(bytes.fromhex, some)) for some in (own, names))
            return cls(key, id_, ref, own, names, use)
        except TypeError as error:
            raise ValueError("is not what was redeemed") from error

    def named(self, other: Stated) -> Stated:
        """The same, with what the same person was named by in another one too."""
        return replace(self, own=self.own | other.own, names=self.names | other.names)


def stated_in(content: bytes | None) -> Stated | None:
    """None when it was erased, or cannot be read any more."""
    if content is None:
        return None
    try:
        return Stated.parse(bytes(content).decode())
    except ValueError:
        return None


def redemption_of(row: Sequence[Any]) -> Redemption:
    """A redemption, as `ROWS` gives it."""
    number, transaction_id, kind, state, amount, currency, accepted_at, asked_at, code, content = row
    said = stated_in(content)
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


def spent_of(points: str | None, content: bytes | None) -> Spent | None:
    """The points that are noted for a sale, and whose they are; None where none are."""
    if points is None:
        return None
    said = stated_in(content)
    return Spent(Decimal(points), said.key if said is not None else None)


def restate(db: Connection, number: int, said: Stated) -> None:
    """Keeps another text of a redemption in the place of the one that it had, which is forgotten."""
    forget(db, number)
    db.execute(PUT_STATEMENT, (statements.keep(db, said.text()), number))


def forget(db: Connection, number: int) -> None:
    """Forgets the text of a redemption, where it stands."""
    for (statement,) in db.execute(STATEMENT, (number,)).fetchall():
        statements.forget(db, statement)


def erase(db: Connection, numbers: Collection[int], code: str, now: datetime) -> None:
    """Takes the person out of these; what was still to be asked about can be asked about no more, and says why."""
    for number in numbers:
        forget(db, number)
        db.execute(ERASE, (number, secrets.token_bytes(16), code, to_ms(now)))
