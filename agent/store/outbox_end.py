"""The end of what the outbox holds of people: what retention says has to go, goes, a few sales at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from agent.domain.activity import impersonal_body
from agent.domain.retention import RetentionPlan
from agent.store import numbering, statements
from agent.store import outbox_sql as sql
from agent.store.database import Reader, truncate_log
from agent.store.group_commit import Writer
from agent.store.outbox_view import read, to_ms
from agent.store.said import Said

if TYPE_CHECKING:
    from sqlite3 import Connection

EXPIRED: Final = "retention.expired"
EXPIRED_TITLE: Final = "The personal part was erased before the sale could be delivered."
ERASE_SLICE: Final = 25
"""Sales erased in one commit: some 5 ms, for which a sale may have to wait."""


class Ending:
    """Erases sales.

    Args:
        writer: the database's one writer.
        reader: for point reads, used on the event loop's thread.
    """

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer, self._reader = writer, reader

    def due(self, plan: RetentionPlan) -> bool:
        """Whether a purge would find anything; a point read, whatever is on file."""
        before = (plan.delivered_before, plan.accepted_before, plan.audit_before)
        return bool(read(self._reader, sql.DUE, *map(to_ms, before))[0][0])

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
                    db.execute(sql.EXPIRE, (EXPIRED_TITLE, row[0]))
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

    async def _in_slices(self, work: Callable[[Connection], int]) -> int:
        total = 0
        while done := await self._writer.run(work):
            total += done
        return total


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
