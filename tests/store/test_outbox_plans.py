"""The outbox stays fast however much waits: its statements use their indexes, and a million waiting sales prove it."""

from __future__ import annotations

import re
import time
from datetime import timedelta

import pytest

from agent.store import daybook, numbering
from agent.store import outbox_sql as sql
from agent.store.database import immediate
from tests.fakes import NOW, VENDOR, acceptance, member_key, open_outbox, phone_key

LISTING = {
    "everything": sql.UNFINISHED,
    "held": f"{sql.UNFINISHED} AND {sql.HELD}",
    "held by a vendor": f"{sql.UNFINISHED} AND {sql.HELD} AND {sql.OF_VENDOR}",
    "queued": f"{sql.UNFINISHED} AND {sql.QUEUED}",
    "stuck": f"{sql.UNFINISHED} AND {sql.STUCK}",
    "stuck at a vendor": f"{sql.UNFINISHED} AND {sql.STUCK} AND {sql.OF_VENDOR}",
}


def steps(outbox, statement):
    parameters = re.findall(r"\?(\d*)", statement)
    count = max((int(number) for number in parameters if number), default=len(parameters))
    return [row[3] for row in outbox._reader.execute(f"EXPLAIN QUERY PLAN {statement}", [1] * count)]


@pytest.fixture
def outbox(tmp_path):
    with open_outbox(tmp_path / "outbox.db") as outbox:
        yield outbox


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (sql.TAKEN, "deliveries_by_reference"),
        (sql.HANDED_OVER, "deliveries_by_reference"),
        (sql.WITHDRAW, "deliveries_by_reference"),
        (sql.HANDED_OVER_OF, "deliveries_by_reference"),
        (sql.LEASE, "deliveries_in_line"),
        (sql.LEASE, "deliveries_backing_off"),
        (sql.LEASE, "deliveries_unenrolled"),
        (sql.UNENROLLED, "deliveries_unenrolled"),
        (sql.NEXT_DUE, "deliveries_backing_off"),
        (sql.OLDEST, "deliveries_in_line"),
        (sql.MAKE_DUE, "deliveries_backing_off"),
        (sql.CLAMP_DUE, "deliveries_backing_off"),
        (sql.RECOVER, "deliveries_leased"),
        (sql.VOIDED, "sales_by_original"),
        (sql.FOLLOWING, "sales_by_original"),
        (sql.FOLLOW_SALE, "sqlite_autoindex_deliveries"),
        (sql.COUNTED, "sales_by_original"),
        (sql.ERASABLE_FINISHED, "sales_finished"),
        (sql.ERASABLE_TOLD, "sales_told_elsewhere"),
        (sql.ERASABLE_OLD, "sales_by_age"),
        (numbering.FORGET, "sales_by_age"),
        (sql.ABOUT, "sales_by_original"),
        (sql.EVENTS, "events_by_sale"),
        (sql.DUE, "sales_finished"),
        (sql.DUE, "sales_by_age"),
        (sql.DUE, "sales_told_elsewhere"),
        (sql.ACCEPTED_SINCE, "sales_by_age"),
        (sql.ERASURES_OPEN, "sales_to_erase_elsewhere"),
        *((sql.DELIVERIES.format(where=where), "deliveries_") for where in LISTING.values()),
    ],
)
def test_statements_use_their_indexes(outbox, statement, index):
    """No statement reads a table from end to end, and none sorts what waits."""
    plan = steps(outbox, statement)
    assert any(f"INDEX {index}" in step for step in plan)
    assert not [step for step in plan if re.fullmatch(r"SCAN (sales|deliveries|d|s|statements|attempts)( .*)?", step)
                and "deliveries_backing_off" not in step]  # fmt: skip
    assert not [step for step in plan if "TEMP B-TREE" in step]


@pytest.mark.parametrize(
    "statement", [numbering.NUMBERS, numbering.NEIGHBOURS, daybook.SALES, daybook.HANDLINGS, daybook.CLEARED]
)
def test_the_day_end_check_reads_an_index_and_not_the_sales(outbox, statement):
    """Of years of sales only the days and numbers are read, and of the sales themselves those of one day."""
    scanned = [step for step in steps(outbox, statement) if step.startswith("SCAN")]
    assert [step for step in scanned if "sales_by_age" in step]
    assert not [step for step in scanned if re.match(r"SCAN (sales|s|o|deliveries|d|statements|t)( |$)", step)
                and "COVERING INDEX sales_by_age" not in step]  # fmt: skip


@pytest.mark.parametrize("where", [LISTING["stuck"], LISTING["stuck at a vendor"]], ids=["all", "of a vendor"])
def test_the_few_that_are_stuck_are_found_among_many(outbox, where):
    """The list of parked sales does not walk through those that wait."""
    assert any("deliveries_stuck" in step for step in steps(outbox, sql.DELIVERIES.format(where=where)))


def test_a_lease_of_the_front_does_not_sort(outbox):
    """The order of the line is the order of its index."""
    assert not [step for step in steps(outbox, sql.LEASE) if "ORDER BY" in step]


def multiply(outbox, count):
    """Copies the one sale on file, statement and delivery, until there are so many."""
    db = outbox._writer._connection
    with immediate(db):
        db.execute(
            "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
            " INSERT INTO statements (id, content) SELECT i, (SELECT content FROM statements WHERE id = 1) FROM n",
            (count,),
        )
        db.execute(
            "INSERT INTO sales"
            " (transaction_id, type, till, number, day, fingerprint, accepted_at, occurred_at, statement, bytes,"
            "  key_kind, key_type)"
            " SELECT 'copy-' || t.id, type, till, t.id, day, fingerprint, accepted_at + t.id, occurred_at, t.id, bytes,"
            "  key_kind, key_type"
            " FROM statements AS t JOIN sales AS s ON s.id = 1 WHERE t.id > 1"
        )
        db.execute(
            "INSERT INTO deliveries (sale, vendor, state, rank, person)"
            " SELECT s.id, d.vendor, d.state, 1 + s.id % 2, CAST('p' || s.id % 5000 AS BLOB)"
            " FROM sales AS s JOIN deliveries AS d ON d.entry = 1 WHERE s.id > 1"
        )


async def seconds(work, times=5):
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        result = work()
        if hasattr(result, "__await__"):
            await result
        taken.append(time.perf_counter() - start)
    return min(taken)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_million_waiting_sales_slow_nothing_down(tmp_path):
    """With a million waiting, each call of a sale's way takes about what it takes with a thousand."""

    async def measure(count):
        with open_outbox(tmp_path / f"{count}.db") as outbox:
            await outbox.accept(acceptance("first", key=phone_key()), NOW)
            multiply(outbox, count)
            number = iter(range(10**6))

            async def lease():
                batch = await outbox.lease(VENDOR, 200, NOW + timedelta(days=1))
                assert len(batch) == 200
                await outbox.release([outgoing.entry for outgoing in batch])

            def accept():
                return outbox.accept(acceptance(f"new-{next(number)}", key=member_key()), NOW)

            return {
                "lease": await seconds(lease),
                "accept": await seconds(accept, 50),
                "info": await seconds(lambda: outbox.info(held={VENDOR})),
                "next due": await seconds(lambda: outbox.next_due_at(VENDOR, NOW)),
                "page": await seconds(
                    lambda: outbox.queue(state="held", vendor=VENDOR, limit=100, after=0, held={VENDOR})
                ),
                "parked": await seconds(lambda: outbox.queue(state="parked", vendor=None, limit=100, after=0)),
                "flush": await seconds(lambda: outbox.make_due(VENDOR)),
            }

    few, many = await measure(1_000), await measure(1_000_000)
    slower = {name: (few[name], many[name]) for name in few if many[name] > 3 * few[name] + 0.002}
    assert slower == {}
