"""A day as the outbox has it: each sale of it, where its till's numbers break, and on which day other sales were.

For people and jobs, not for tills: a read takes tens of milliseconds and up to seconds with years of sales on file. So
it has a connection of its own, for as long as it lasts, and is called in a thread of its own. It sees one moment: sales
that come in meanwhile are not half there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from datetime import date
from typing import TYPE_CHECKING, Any

from agent.domain.completeness import DayRecord, DaySale, Handling
from agent.domain.delivery import DeliveryState
from agent.domain.money import parse_amount
from agent.domain.transaction import IntegrationKey, TransactionType
from agent.store import numbering
from agent.store.database import DatabaseFile, sqlite, storage_error
from agent.store.outbox_view import from_ms
from agent.store.said import Said

if TYPE_CHECKING:
    from sqlite3 import Connection

SALES = """
    SELECT s.id, s.transaction_id, s.type, s.till, s.number, s.key_kind, s.key_type, t.content, s.body
    FROM sales AS s LEFT JOIN statements AS t ON t.id = s.statement
    WHERE s.id IN (SELECT id FROM sales INDEXED BY sales_by_age WHERE day = ?) ORDER BY s.id"""
HANDLINGS = """
    SELECT sale, vendor, state, delivered_at, error_code FROM deliveries
    WHERE sale IN (SELECT id FROM sales INDEXED BY sales_by_age WHERE day = ?)"""
CLEARED = """
    SELECT s.id, d.vendor FROM sales AS s JOIN sales AS o ON o.transaction_id = s.original
    JOIN deliveries AS d ON d.sale = o.id AND d.state = 'cancelled'
    WHERE s.type = 'void' AND s.id IN (SELECT id FROM sales INDEXED BY sales_by_age WHERE day = ?)"""
"""Voids of what was never sent: they cancelled a delivery, and have none of their own."""
ELSEWHERE = """
    SELECT transaction_id, day FROM sales
    WHERE transaction_id IN (SELECT value FROM json_each(?)) AND day <> ?"""


class OutboxDaybook:
    """Reads days.

    Args:
        file: the outbox.
    """

    def __init__(self, file: DatabaseFile) -> None:
        self._file = file

    def read(self, day: date, listed: Sequence[str] = ()) -> DayRecord:
        """A day as it stands now. Blocks; any thread may call it.

        Args:
            day: the business day.
            listed: ids to look for on other days.

        Raises:
            StorageError: the file cannot be read.
        """
        with closing(self._file.connect(read_only=True)) as db:
            try:
                db.execute("BEGIN")
                return DayRecord(
                    sales=_sales(db, day.toordinal()),
                    breaks=tuple(numbering.breaks(db)),
                    elsewhere={
                        name: date.fromordinal(there)
                        for name, there in db.execute(ELSEWHERE, (json.dumps(list(listed)), day.toordinal()))
                    },
                )
            except sqlite.Error as error:
                raise storage_error(error) from error


def _sales(db: Connection, day: int) -> tuple[DaySale, ...]:
    handlings: dict[int, dict[str, Handling]] = {}
    for sale, vendor in db.execute(CLEARED, (day,)):
        handlings.setdefault(sale, {})[vendor] = Handling(vendor, DeliveryState.CANCELLED)
    for sale, vendor, state, at, code in db.execute(HANDLINGS, (day,)):
        delivered_at = from_ms(at) if at is not None else None
        handlings.setdefault(sale, {})[vendor] = Handling(vendor, DeliveryState(state), delivered_at, code)
    return tuple(_sale(row, tuple(handlings.get(row[0], {}).values())) for row in db.execute(SALES, (day,)))


def _sale(row: Any, handlings: tuple[Handling, ...]) -> DaySale:
    _, name, kind, till, number, key_kind, key_type, content, body = row
    value = None
    try:
        if content is not None:
            said = Said.parse(bytes(content).decode())
            value, body = said.key, said.body
        stated = json.loads(body)
        currency, total = str(stated["currency"]), parse_amount(stated["total"])
    except (ValueError, KeyError, TypeError):  # a damaged record still counts as a sale
        currency, total = None, None
    key = None
    if value is not None and key_kind == "primary":
        key = IntegrationKey.model_validate({"kind": key_kind, "type": key_type, "value": value})
    return DaySale(name, TransactionType(kind), till, number, currency, total, handlings, key)
