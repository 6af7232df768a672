"""Who was erased here and may still be sent by the vendor: refused until the vendor has removed them as well.

All that is kept of them is the keyed hash of their contact id and of their primary key, in `outbox.db`, because it
must outlive the replica. A person who registers anew has a new contact id and is somebody else here.

Whom nobody knew yet was named by one of the two alone: the first row of the feed that is refused says the other, so
that a removal by either ends the refusal, and asking again by either makes no second one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from agent.ports import ErasedBefore, Identity
from agent.store import outbox_sql as sql
from agent.store.database import Reader
from agent.store.group_commit import Writer
from agent.store.outbox_view import from_ms, read, to_ms

if TYPE_CHECKING:
    from sqlite3 import Connection


@dataclass(frozen=True, slots=True)
class Refusals:
    """Whose rows of the feed are not kept; picklable, for the processes that read them.

    Attributes:
        marks: keyed hashes of contact ids; of the primary key where no contact id was known.
        primaries: the mark behind a primary key's hash, for rows that carry no contact id.
    """

    marks: frozenset[bytes] = field(default=frozenset(), repr=False)
    primaries: dict[bytes, bytes] = field(default_factory=dict, repr=False)

    def __bool__(self) -> bool:
        return bool(self.marks)

    def mark_of(self, contact: bytes | None, primary: bytes | None) -> bytes | None:
        """The mark of the erased person whom a row with these keys is about, or None."""
        if contact in self.marks:
            return contact
        if primary in self.marks:
            return primary
        return self.primaries.get(primary) if contact is None and primary is not None else None

    def is_news(self, contact: bytes, primary: bytes) -> bool:
        """Whether it is not known yet that an erased person has both of these."""
        return contact != primary and (primary in self.marks or contact not in self.primaries.values())


NOBODY = Refusals()


class ErasedPeople:
    """The list of them.

    Args:
        writer: the outbox's one writer.
        reader: a connection for point reads, used on the event loop's thread.
    """

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer, self._reader = writer, reader

    def refusals(self) -> Refusals:
        """Whom the feed must not bring back. Raises StorageError."""
        rows = read(self._reader, sql.ERASURES)
        return Refusals(
            frozenset(mark for mark, *_ in rows),
            {primary: mark for mark, primary, *_ in rows if primary is not None},
        )

    def known(self, marks: Collection[bytes]) -> tuple[ErasedBefore, ...]:
        """What is kept of these, by contact id or by primary key. Raises StorageError."""
        rows = read(self._reader, sql.ERASURES)
        return tuple(
            ErasedBefore(receipt, from_ms(at))
            for mark, primary, receipt, at, _ in rows
            if mark in marks or primary in marks
        )

    def still_sent(self) -> tuple[str, ...]:
        """The receipts of those whom the vendor has sent since. Raises StorageError."""
        return tuple(receipt for _, _, receipt, _, refused_at in read(self._reader, sql.ERASURES) if refused_at)

    async def add(self, identity: Identity, receipt: str, now: datetime) -> None:
        """Refuses somebody from now on; who is refused already stays under the first receipt. Raises StorageError."""

        def write(db: Connection) -> None:
            if identity.primary is not None:
                _name(db, identity.mark, identity.primary)
            db.execute(sql.ADD_ERASURE, (identity.mark, identity.primary, receipt, to_ms(now)))

        await self._writer.run(write)

    async def heard(
        self, refused: Iterable[bytes], removed: Iterable[bytes], named: Mapping[bytes, bytes], now: datetime
    ) -> None:
        """The vendor sent some of them again, and has removed others: those are not refused any more.

        Args:
            refused: marks of those it sent, from before it named any of them here.
            removed: marks of those it removed, likewise.
            named: primary keys by contact ids, where one of the two was not known.
            now: when.

        Raises:
            StorageError: it could not be written down.
        """

        def write(db: Connection) -> None:
            for contact, primary in named.items():
                _name(db, contact, primary)
            db.executemany(sql.REFUSED, [(to_ms(now), mark) for mark in refused])
            db.executemany(sql.END_ERASURE, [(mark,) for mark in removed])

        await self._writer.run(write)


def _name(db: Connection, contact: bytes, primary: bytes) -> None:
    """One person has both: a removal by the contact id alone ends all of it, and the first receipt stays."""
    db.execute(sql.KEEP_FIRST_ERASURE, (contact, primary))
    db.execute(sql.NAME_ERASURE, (contact, primary))
