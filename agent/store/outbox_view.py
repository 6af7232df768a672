"""The outbox as people look at it: figures, a sale's story, the queue. Nothing here changes a row.

Point reads on a connection of their own, made inline on the event loop's thread.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from agent.domain.delivery import DeliveryState, in_lane
from agent.errors import UnknownRecordError
from agent.ports import Delivery, QueueInfo
from agent.store import outbox_sql as sql
from agent.store.database import Reader, sqlite, storage_error

MAX_DELIVERIES = 1_000


@dataclass(frozen=True, slots=True)
class Story:
    """A sale's whole life without the person in it.

    Attributes:
        till: its store and till, as :func:`agent.domain.numbering.till_name` spells them.
        number: of the sale among all of that till.
        about_it: what came later and names this sale: ``transaction_id``, ``type``, ``accepted_at``.
        attempts: ``entry``, ``at``, ``verdict``, ``code``, ``status`` of each.
        events: what else happened, in order: ``at``, ``what`` (`retagged`, `retried`, `discarded`), ``vendor``.
    """

    transaction_id: str
    type: str
    till: str
    number: int
    occurred_at: str
    accepted_at: datetime
    erased_at: datetime | None
    original_transaction_id: str | None
    key_kind: str | None
    key_type: str | None
    answered_kind: str | None
    answered_type: str | None
    quiet: bool
    about_it: tuple[dict[str, Any], ...]
    deliveries: tuple[Delivery, ...]
    attempts: tuple[dict[str, Any], ...]
    events: tuple[dict[str, Any], ...]


class OutboxView:
    """Reads the outbox. Every method raises StorageError when the file cannot be read.

    Args:
        reader: for point reads, used on the event loop's thread.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def knows(self, transaction_id: str) -> bool:
        """Whether a sale of that id, or an activity of that name, is on record."""
        return bool(self._rows(sql.KNOWS, transaction_id))

    def taken(self, vendor: str, references: Collection[str]) -> frozenset[str]:
        """Which of these names of a vendor's are recorded for a sale that it took."""
        return frozenset(name for (name,) in self._rows(sql.TAKEN, vendor, json.dumps(list(references))))

    def handed_over_of(self, vendor: str, reference: str) -> datetime | None:
        """When the last sale that was handed over so was accepted; None where none is known."""
        ((at,),) = self._rows(sql.HANDED_OVER_OF, vendor, reference)
        return from_ms(at) if at is not None else None

    def info(self, held: Collection[str] = ()) -> QueueInfo:
        """The queue in figures; cheap whatever its length.

        Args:
            held: vendors whose lane is held.
        """
        waiting = self._rows(sql.WAITING)
        counts = dict(self._rows(sql.COUNTS))
        oldest = {vendor: from_ms(at) for vendor, at in self._rows(sql.OLDEST) if at is not None}
        return QueueInfo(
            depth=sum(n for _, n in waiting),
            held=sum(n for vendor, n in waiting if vendor in held),
            parked=counts.get("parked", 0),
            in_doubt=counts.get("in_doubt", 0),
            oldest_at=min(oldest.values(), default=None),
            bytes=self._number(sql.UNFINISHED_BYTES) or 0,
            waiting={vendor: n for vendor, n in waiting if n},
            oldest=oldest,
            erasures=self._number(sql.ERASURES_OPEN) or 0,
        )

    def accepted_since(self, since: datetime) -> int:
        """How many sales and activities were accepted since then."""
        return self._number(sql.ACCEPTED_SINCE, to_ms(since)) or 0

    def next_due_at(self, vendor: str, now: datetime) -> datetime | None:
        """When the next delivery that backs off is due."""
        due = self._number(sql.NEXT_DUE, vendor, to_ms(now))
        return from_ms(due) if due is not None else None

    def story(self, transaction_id: str, held: Collection[str] = ()) -> Story:
        """A sale's life. Raises UnknownRecordError."""
        found = self._rows(sql.STORY, transaction_id)
        if not found:
            raise UnknownRecordError
        row = found[0]
        deliveries = self._deliveries(sql.OF_SALE, [row[0], MAX_DELIVERIES], held)
        attempts = tuple(
            {"entry": delivery.entry, "at": from_ms(at), "verdict": verdict, "code": code, "status": status}
            for delivery in deliveries
            for at, verdict, code, status in self._rows(sql.ATTEMPTS, delivery.entry)
        )
        return Story(
            transaction_id=transaction_id, type=row[1], till=row[2], number=row[3], occurred_at=row[4],
            accepted_at=from_ms(row[5]), erased_at=from_ms(row[6]) if row[6] is not None else None,
            original_transaction_id=row[7],
            key_kind=row[8], key_type=row[9], answered_kind=row[10], answered_type=row[11], quiet=bool(row[12]),
            about_it=tuple(
                {"transaction_id": name, "type": kind, "accepted_at": from_ms(at)}
                for name, kind, at in self._rows(sql.ABOUT, transaction_id)
            ),
            deliveries=deliveries, attempts=attempts,
            events=tuple(
                {"at": from_ms(at), "what": what, "vendor": vendor}
                for at, what, vendor in self._rows(sql.EVENTS, row[0])
            ),
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
        where: list[str] = [sql.UNFINISHED]
        values: list[Any] = [after]
        if state in ("held", "queued"):
            where.append(sql.HELD if state == "held" else sql.QUEUED)
            values.append(json.dumps(list(held)))
        elif state is not None:
            where.append(sql.STUCK)
            values.append(state)
        if vendor is not None:
            where.append(sql.OF_VENDOR)
            values.append(vendor)
        return self._deliveries(" AND ".join(where), [*values, limit], held)

    def entry(self, entry: int, held: Collection[str] = ()) -> Delivery:
        """One delivery. Raises UnknownRecordError."""
        found = self._deliveries(sql.OF_ENTRY, [entry, 1], held)
        if not found:
            raise UnknownRecordError
        return found[0]

    def _deliveries(self, where: str, values: list[Any], held: Collection[str]) -> tuple[Delivery, ...]:
        return tuple(_delivery(row, held) for row in self._rows(sql.DELIVERIES.format(where=where), *values))

    def _number(self, statement: str, *values: Any) -> int | None:
        number: int | None = self._rows(statement, *values)[0][0]
        return number

    def _rows(self, statement: str, *values: Any) -> list[Any]:
        return read(self._reader, statement, *values)


def read(reader: Reader, statement: str, *values: Any) -> list[Any]:
    """The rows of a point read. Raises StorageError."""
    try:
        rows: list[Any] = reader.execute(statement, values).fetchall()
    except sqlite.Error as error:
        raise storage_error(error) from error
    return rows


def _delivery(row: Any, held: Collection[str]) -> Delivery:
    state = in_lane(DeliveryState(row[3]), held=row[2] in held)
    return Delivery(
        entry=row[0], transaction_id=row[1], vendor=row[2], state=state, attempts=row[4], accepted_at=from_ms(row[5]),
        next_attempt_at=from_ms(row[6]) if row[6] is not None else None,
        delivered_at=from_ms(row[7]) if row[7] is not None else None,
        vendor_reference=row[8], error_code=row[9], error_status=row[10], error_title=row[11], vendor_code=row[12],
    )  # fmt: skip


def to_ms(instant: datetime) -> int:
    """Milliseconds since 1970, as the outbox stores instants."""
    return int(instant.timestamp() * 1000)


def from_ms(milliseconds: int) -> datetime:
    """The instant that :func:`to_ms` stored."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
