"""Activities as rows: written in a commit of their own, or in the one that settles what they tell of.

So nothing that a further system is to be told gets lost between the loyalty system's answer and the record of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agent.domain.activity import MemberEvent
from agent.domain.delivery import DeliveryState
from agent.ports import Occurrence
from agent.store import outbox_sql as sql
from agent.store import statements
from agent.store.numbering import UNNUMBERED
from agent.store.said import Said

if TYPE_CHECKING:
    from sqlite3 import Connection

    from agent.store.outbox import Outbox

_NO_TILL: Final = ""
_NO_DAY: Final = 0


def put(db: Connection, record: Occurrence, at: int, *, outbox: Outbox) -> None:
    """Puts a new one among the sales, with a delivery for each system that gets it.

    Args:
        db: inside a transaction.
        record: under an id that is new.
        at: its acceptance, in milliseconds.
        outbox: whose fingerprints and keyed hashes it gets.
    """
    activity, key = record.activity, record.key
    forgotten = tuple(outbox.names.of_identifier(one).hex() for one in record.known_by)
    content = Said(key.value if key else None, record.readings, activity.body(), record.ref, forgotten).text()
    kept = statements.keep(db, content)
    kind, key_type = (key.kind, key.type.value) if key else (None, None)
    sale = db.execute(
        sql.rows(sql.INSERT_SALES, 1, 18),
        (
            None, activity.name, activity.type.value, _NO_TILL, UNNUMBERED, _NO_DAY,
            outbox.fingerprint(record.content), at, activity.occurred_at.isoformat(), None, kept,
            sql.ROWS_BYTES + len(statements.padded(content)), kind, key_type, kind, key_type, record.quiet,
            None if record.vendors else at,
        ),
    ).lastrowid  # fmt: skip
    rank = sql.RANK_PRIMARY if kind == "primary" else sql.RANK_SECONDARY
    # What asks another system to forget somebody may wait for weeks: no sale of theirs waits with it.
    person = b"" if activity.type is MemberEvent.ERASURE else outbox.group_of(key, record.readings)
    for vendor in record.vendors:
        delivery = (sale, vendor, DeliveryState.QUEUED.value, rank, person, record.open, None)
        db.execute(sql.rows(sql.INSERT_DELIVERIES, 1, 7), delivery)
