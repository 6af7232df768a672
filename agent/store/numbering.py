"""Numbers of sales: given at intake, each till its own series, without gaps and never twice.

Each till's counter stands beside the counts of deliveries, and a trigger raises it with the sale that gets the number:
what undoes the sale undoes the number. The counter alone says what comes next, so forgotten sales do not free theirs.
What is no sale, an activity, stands beside them under :data:`UNNUMBERED` and is left out of all this.

Whoever takes sales away says which: :func:`forget` after `retention.audit`, :func:`mend` after a rescue.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Final

from agent.domain.numbering import Break, Explained, irregular, unexplained
from agent.store.outbox_view import from_ms, to_ms

if TYPE_CHECKING:
    from sqlite3 import Connection

UNNUMBERED: Final = 0
LEAP = 1_000
"""Numbers left out after a rescue that could not read the counter: nobody knows which of them had been given."""

FORGET = """
    DELETE FROM sales WHERE id IN (
        SELECT id FROM sales WHERE (erased_at IS NULL) = 0 AND accepted_at < ? ORDER BY accepted_at LIMIT ?)
    RETURNING till, number"""
EXTEND = "UPDATE gaps SET last = ?3, at = ?4 WHERE till = ?1 AND last = ?2 - 1 AND reason = 'retention'"
EXPLAIN = "INSERT INTO gaps (till, first, last, reason, at) VALUES (?, ?, ?, ?, ?)"
EXPLAINED = "SELECT till, first, last, reason, at FROM gaps"
NUMBERS = """
    SELECT till, json_group_array(number) FROM sales INDEXED BY sales_by_age WHERE number > 0 GROUP BY till"""
NEIGHBOURS = """
    SELECT till, number, transaction_id, day FROM sales WHERE id IN (
        SELECT id FROM sales INDEXED BY sales_by_age WHERE number IN (SELECT value FROM json_each(?)))
    ORDER BY id"""
COUNTED = "SELECT of, n FROM counts WHERE what = 'number'"
COUNT_FROM = "INSERT INTO counts VALUES (?, 'number', ?) ON CONFLICT DO UPDATE SET n = excluded.n"


def forget(db: Connection, accepted_before: datetime, limit: int, now: datetime) -> int:
    """Forgets up to ``limit`` erased sales that were accepted before, and writes their numbers down; how many."""
    gone = db.execute(FORGET, (to_ms(accepted_before), limit)).fetchall()
    for till, first, last in _runs(sorted(row for row in gone if row[1] != UNNUMBERED)):
        if not db.execute(EXTEND, (till, first, last, to_ms(now))).rowcount:
            db.execute(EXPLAIN, (till, first, last, "retention", to_ms(now)))
    return len(gone)


def mend(db: Connection, now: datetime) -> int:
    """Makes numbering sound after a rescue put the readable sales and counters into a new file; how many sales it lost.

    Every number whose sale was not rescued is written down as lost by it. Where a counter was not rescued either,
    numbers go on well behind the highest known, so that none that was ever given comes again; those between are
    written down as skipped.
    """
    counted = dict(db.execute(COUNTED).fetchall())
    highest = {till: max(json.loads(numbers)) for till, numbers in db.execute(NUMBERS)}
    for till, _, last, _, _ in db.execute(EXPLAINED).fetchall():
        highest[till] = max(highest.get(till, 0), last)
    for till, number in highest.items():
        if till not in counted:
            db.execute(COUNT_FROM, (till, number + LEAP))
            db.execute(EXPLAIN, (till, number + 1, number + LEAP, "skipped", to_ms(now)))
        elif counted[till] < number:
            db.execute(COUNT_FROM, (till, number))
    lost = [gap for gap in breaks(db) if gap.kind == "missing" and gap.reason is None]
    db.executemany(EXPLAIN, [(gap.till, gap.first, gap.last, "rescue", to_ms(now)) for gap in lost])
    return sum(gap.count for gap in lost)


def breaks(db: Connection) -> list[Break]:
    """Every place where a till's numbers do not follow each other, but for what retention took.

    Reads an index entry for each sale on file, not the sales: a second of processor time for a million.
    """
    known = [
        Explained(till, first, last, reason, from_ms(at))
        for till, first, last, reason, at in db.execute(EXPLAINED).fetchall()
    ]
    given = dict(db.execute(COUNTED).fetchall())
    numbers = {till: json.loads(found) for till, found in db.execute(NUMBERS)}
    found = [
        one
        for till in sorted(given.keys() | numbers.keys())
        for one in irregular(till, numbers.get(till, ()), given.get(till, 0))
    ]
    # A part of a break lies between the same sales as the whole: its own ends border on other missing numbers.
    return [left for one in _with_neighbours(db, found) for left in unexplained(one, known)]


def _with_neighbours(db: Connection, found: list[Break]) -> list[Break]:
    edges = sorted({number for one in found for number in _edges(one)} - {UNNUMBERED})
    there: dict[tuple[str, int], list[tuple[str, date]]] = {}
    for till, number, name, day in db.execute(NEIGHBOURS, (json.dumps(edges),)):
        there.setdefault((till, number), []).append((name, date.fromordinal(day)))
    complete = []
    for one in found:
        before, behind = _edges(one)
        after, after_day = there.get((one.till, before), [(None, None)])[0]
        name, day = there.get((one.till, behind), [(None, None)])[-1]
        complete.append(replace(one, after=after, after_day=after_day, before=name, before_day=day))
    return complete


def _edges(one: Break) -> tuple[int, int]:
    """The numbers of the sales between which it lies; of a number that stands twice, that number itself."""
    return (one.first, one.first) if one.kind == "twice" else (one.first - 1, one.last + 1)


def _runs(numbers: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int, int]]:
    """Sorted numbers of tills as runs: till, first, last."""
    run: tuple[str, int, int] | None = None
    for till, number in numbers:
        if run is not None and run[0] == till and run[2] == number - 1:
            run = till, run[1], number
            continue
        if run is not None:
            yield run
        run = till, number, number
    if run is not None:
        yield run
