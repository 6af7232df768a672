"""Events as rows of CSV, as Antavo's Imports module takes them. Pure.

A file of events has the columns `customer` and `action`; every further column is an attribute (wiki). So that an import
is set up once, each file has the same columns, and what an event does not have is an empty cell. Every cell is quoted,
lines end as RFC 4180 has it, and the text is UTF-8.

===========================  =========================================  ============================================
of an event                  in the file                                source
===========================  =========================================  ============================================
customer, action, data       a row                                      wiki
checkout: data.items[]       a row `checkout_item` each, behind it,     Async Events API: the action; that it has an
                             with the transaction_id                    item's attributes and counts once a product:
                                                                        Read API's hashes. That a file may have it
                                                                        instead of a list, which a cell cannot hold:
                                                                        inferred
external_id                  none: the settings refuse it               no page tells of such a column
===========================  =========================================  ============================================

A spreadsheet takes a cell for a formula that begins as one. Words that people chose (the names of products and people)
get an apostrophe before such a beginning; keys, numbers and what Antavo compares stay as they are.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from agent.connectors.antavo.mapping import Event

_OF_A_SALE = (
    "customer", "action", "transaction_id", "total", "currency", "channel", "points_burned", "effective_timestamp",
    "product_id", "product_name", "price", "quantity", "discount", "subtotal",
)  # fmt: skip
_OF_A_PERSON = ("email", "mobile_phone", "first_name", "last_name", "birth_date", "language", "country")
_WORDS = frozenset({"product_name", "first_name", "last_name"})
_FORMULA = ("=", "+", "-", "@")
_OF_THE_WHOLE = ("transaction_id", "effective_timestamp")
"""What an item has of its checkout."""


def columns(*, of_people: bool) -> tuple[str, ...]:
    """The columns of every file; those of new members only where there can be any."""
    return (*_OF_A_SALE, *(_OF_A_PERSON if of_people else ()))


def render_file(events: Sequence[Event], header: Sequence[str]) -> bytes:
    """A whole file: its header and the events in their order. Raises ValueError for what has no column."""
    return render_rows([row for event in events for row in _rows(event)], header)


def parse_file(content: bytes) -> tuple[Sequence[str], list[dict[str, str]]]:
    """The header of a file and its rows, as they were written. Raises ValueError."""
    reader = csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise ValueError("is no file of events") from error
    needed = {"customer", "action", "transaction_id"}
    if not needed <= {*(reader.fieldnames or ())} or any(None in row or None in row.values() for row in rows):
        raise ValueError("is no file of events")
    return tuple(reader.fieldnames or ()), rows


def render_rows(rows: Sequence[dict[str, str]], header: Sequence[str]) -> bytes:
    """A whole file of rows. Raises ValueError for what has no column."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, header, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _rows(event: Event) -> Iterator[dict[str, str]]:
    customer, action, data = event.body["customer"], event.body["action"], dict(event.body["data"])
    items = data.pop("items", ())
    yield {"customer": customer, "action": action, **_cells(data)}
    whole = {name: data[name] for name in _OF_THE_WHOLE if name in data}
    for item in items:
        yield {"customer": customer, "action": "checkout_item", **_cells({**whole, **item})}


def _cells(data: dict[str, Any]) -> dict[str, str]:
    return {name: _cell(name, value) for name, value in data.items()}


def _cell(name: str, value: Any) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    text = str(value)  # without control characters: the door takes none
    return f"'{text}" if name in _WORDS and text.lstrip().startswith(_FORMULA) else text
