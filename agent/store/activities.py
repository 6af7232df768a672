"""Activities on disk: records among the sales, so that they wait, go out, are purged and are rescued as sales are.

What tells them apart is their name, which no sale can have (:data:`agent.domain.activity.PREFIX`). They are of no day
and have no number, so that a day's sales and a till's numbers are what they were.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from agent.domain.activity import PREFIX
from agent.domain.delivery import DeliveryState, in_lane, overall_state
from agent.errors import ActivityConflictError
from agent.ports import Occurrence, Receipt
from agent.store import outbox_sql as sql
from agent.store.group_commit import Writer
from agent.store.numbering import UNNUMBERED
from agent.store.occurrences import put
from agent.store.outbox import Outbox
from agent.store.outbox_intake import repeated
from agent.store.outbox_view import from_ms, to_ms

if TYPE_CHECKING:
    from sqlite3 import Connection


class Activities:
    """Puts activities on record.

    Args:
        outbox: where they stand.
        writer: its one writer.
    """

    def __init__(self, outbox: Outbox, writer: Writer) -> None:
        self._outbox, self._writer = outbox, writer

    def knows(self, activity_id: str) -> bool:
        """Whether an activity of that id is on record. Raises StorageError."""
        return self._outbox.knows(PREFIX + activity_id)

    async def accept(self, record: Occurrence, now: datetime, held: Collection[str] = ()) -> Receipt:
        """Records an activity; it is on disk when this returns.

        Args:
            record: the activity and who gets it.
            now: its acceptance.
            held: vendors whose lane is held: what waits for one of them is answered as held.

        Raises:
            ActivityConflictError: the id is taken by other content.
            StorageError: it could not be put on disk; nothing of it is kept.
        """
        return await self._writer.run(partial(self._accept, record=record, now=now, held=held))

    def _accept(self, db: Connection, record: Occurrence, now: datetime, held: Collection[str]) -> Receipt:
        activity, key, readings = record.activity, record.key, record.readings
        fingerprint = self._outbox.fingerprint(record.content)
        known = db.execute(sql.FIND_SALE, (activity.name,)).fetchone()
        if known is not None:
            if known[1] and known[1] != fingerprint:  # none where the key of fingerprints was lost
                raise ActivityConflictError
            named = (*readings, *((record.stated.identifier,) if record.stated else ()))
            return repeated(db, activity.name, known, named, held)
        put(db, record, to_ms(now), outbox=self._outbox)
        state = overall_state(in_lane(DeliveryState.QUEUED, held=vendor in held) for vendor in record.vendors)
        kind, key_type = (key.kind, key.type.value) if key else (None, None)
        return Receipt(activity.name, UNNUMBERED, state, False, from_ms(to_ms(now)), key, kind, key_type)

    async def announce(self, records: Sequence[Occurrence], now: datetime) -> None:
        """Records the agent's own; all of them are on disk when this returns. Raises StorageError.

        Args:
            records: under ids that are new.
            now: their acceptance.
        """

        def write(db: Connection) -> None:
            for record in records:
                self.tell(db, record, now)

        await self._writer.run(write)

    def tell(self, db: Connection, record: Occurrence, now: datetime) -> None:
        """Records one of the agent's own in a transaction that is somebody else's, whose fate it shares.

        Args:
            db: inside that transaction, which is the outbox's.
            record: under an id that is new.
            now: its acceptance.
        """
        put(db, record, to_ms(now), outbox=self._outbox)
