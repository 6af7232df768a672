"""A day as the outbox has it."""

from __future__ import annotations

import asyncio
import threading
from datetime import date, timedelta
from decimal import Decimal

import pytest

from agent.domain.completeness import Handling, handled
from agent.domain.delivery import DeliveryState, Verdict, VerdictKind
from agent.domain.retention import RetentionPlan
from agent.errors import StorageError
from agent.ports import Settled
from agent.store.database import DatabaseFile
from agent.store.daybook import OutboxDaybook
from tests.fakes import NOW, VENDOR, acceptance, member_key, open_outbox, phone_key

SATURDAY, SUNDAY = date(2026, 2, 14), date(2026, 2, 15)
DONE, PARK = Verdict(VerdictKind.DONE), Verdict(VerdictKind.PARK, "vendor.rejected", 422)
DOUBT = Verdict(VerdictKind.IN_DOUBT, "vendor.silent")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.db"


@pytest.fixture
def outbox(path):
    with open_outbox(path) as outbox:
        yield outbox


@pytest.fixture
def daybook(path, outbox):
    return OutboxDaybook(DatabaseFile(path, None, "FULL"))


def sale(name, *, key=None, day=14, till_id="03", **more):
    when = {"occurred_at": f"2026-02-{day}T16:41:09+01:00"}
    return acceptance(name, key=key or member_key(), store_id="1042", till_id=till_id, **when, **more)


async def settle(outbox, *verdicts):
    for verdict in verdicts:
        (outgoing,) = await outbox.lease(VENDOR, 1, NOW)
        await outbox.settle([Settled(outgoing.entry, verdict)], NOW)


async def test_a_sale_of_the_day(outbox, daybook):
    """Its id, kind, till, number, amount, how it stands and whose it is; nothing of other days."""
    await outbox.accept(sale("sunday", day=15), NOW + timedelta(days=1))
    await outbox.accept(sale("a", total="250.00"), NOW + timedelta(days=2))
    await settle(outbox, DONE, DONE)
    (found,) = daybook.read(SATURDAY).sales

    assert (found.transaction_id, found.type.value, found.till, found.number) == ("a", "purchase", "1042 03", 2)
    assert (found.currency, found.total, found.key) == ("SEK", Decimal(250), member_key())
    (handling,) = found.handlings
    assert (handling.vendor, handling.state, handling.delivered_at) == (VENDOR, DeliveryState.DELIVERED, NOW)


async def test_sales_come_in_the_order_of_acceptance_whatever_the_clock_said(outbox, daybook):
    """A sale taken while the clock was years behind is found all the same: the day is the till's own."""
    await outbox.accept(sale("a"), NOW)
    await outbox.accept(sale("b"), NOW - timedelta(days=9_000))

    assert [one.transaction_id for one in daybook.read(SATURDAY).sales] == ["a", "b"]


async def test_only_a_primary_key_is_handed_out(outbox, daybook):
    """A phone number stays where it is; a guest has none."""
    await outbox.accept(sale("phone", key=phone_key()), NOW)
    await outbox.accept(acceptance("guest", vendors=(), store_id="1042", till_id="03"), NOW)

    assert [one.key for one in daybook.read(SATURDAY).sales] == [None, None]


async def test_an_erased_sale_keeps_its_amount_and_nobody(outbox, daybook):
    """After the purge the sums of the day are what they were."""
    await outbox.accept(sale("a"), NOW)
    await settle(outbox, DONE)
    now = NOW + timedelta(days=2)
    await outbox.purge(RetentionPlan(now, now, NOW - timedelta(days=400), now), now)
    (found,) = daybook.read(SATURDAY).sales

    assert (found.total, found.key, found.handlings[0].state) == (Decimal(250), None, DeliveryState.DELIVERED)


@pytest.mark.parametrize("content", ["'nonsense'", "x'fffe'", "zeroblob(80)"])
async def test_a_damaged_record_still_counts(outbox, daybook, content):
    """What cannot be read any more is a sale without an amount."""
    await outbox.accept(sale("a"), NOW)
    outbox._writer._connection.execute(f"UPDATE statements SET content = CAST({content} AS BLOB)")
    (found,) = daybook.read(SATURDAY).sales

    assert (found.transaction_id, found.currency, found.total) == ("a", None, None)


async def test_voided_sales_are_cancelled_and_add_up(outbox, daybook):
    """A sale voided before it was sent is cancelled with its void; the void of a guest's sale is a guest's."""
    await outbox.accept(sale("sent"), NOW)
    await settle(outbox, DONE)
    await outbox.accept(sale("unsent"), NOW)
    await outbox.accept(acceptance("guest", vendors=(), store_id="1042", till_id="03"), NOW)
    for name in ("sent", "unsent", "guest"):
        await outbox.accept(sale(f"void-{name}", type="void", original_transaction_id=name), NOW)
    sales = daybook.read(SATURDAY).sales
    states = {one.transaction_id: [handling.state.value for handling in one.handlings] for one in sales}

    assert states == {
        "sent": ["delivered"], "unsent": ["cancelled"], "guest": [],
        "void-sent": ["queued"], "void-unsent": ["cancelled"], "void-guest": [],
    }  # fmt: skip
    figures = handled(sales, VENDOR, held=False)
    assert (figures.delivered, figures.queued, figures.cancelled, figures.guests) == (1, 1, 2, 2)


async def test_what_is_stuck_says_why(outbox, daybook):
    """The reason stands beside the state; what a person gave up is told as such."""
    for name in ("a", "b", "c"):
        await outbox.accept(sale(name, key=member_key(name)), NOW)
    await settle(outbox, PARK, DOUBT, PARK)
    entry = outbox.story("c").deliveries[0].entry
    await outbox.discard(entry, "why", NOW)
    found = daybook.read(SATURDAY).sales

    assert [(one.handlings[0].state.value, one.handlings[0].error_code) for one in found] == [
        ("parked", "vendor.rejected"),
        ("in_doubt", "vendor.silent"),
        ("discarded", "queue.discarded"),
    ]


async def test_ids_of_other_days_are_found(outbox, daybook):
    """A listed sale that counts for another day is told with it; an unknown one is not."""
    await outbox.accept(sale("a"), NOW)
    await outbox.accept(sale("b", day=15), NOW)
    names = ["a", "b", "unknown", "'; DROP TABLE sales; --"]

    assert daybook.read(SATURDAY, names).elsewhere == {"b": SUNDAY}


async def test_gaps_come_with_the_day(outbox, daybook):
    """Every break on record is there, with the sales on either side."""
    for name in ("a", "b", "c"):
        await outbox.accept(sale(name), NOW)
    outbox._writer._connection.execute("DELETE FROM sales WHERE transaction_id = 'b'")
    (gap,) = daybook.read(SATURDAY).breaks

    assert (gap.store_id, gap.till_id, gap.first, gap.last, gap.after, gap.before) == ("1042", "03", 2, 2, "a", "c")


async def test_a_day_is_one_moment(outbox, daybook, monkeypatch):
    """A sale that comes in while the day is read is wholly in it or wholly not, never without its delivery."""
    await outbox.accept(sale("a"), NOW)
    reading, sold = threading.Event(), threading.Event()

    def meanwhile(*values):
        if not reading.is_set():
            reading.set()
            assert sold.wait(30)
        return Handling(*values)

    monkeypatch.setattr("agent.store.daybook.Handling", meanwhile)
    read = asyncio.create_task(asyncio.to_thread(daybook.read, SATURDAY))
    assert await asyncio.to_thread(reading.wait, 30)
    await outbox.accept(sale("b"), NOW)
    sold.set()
    record = await read

    assert [(one.transaction_id, len(one.handlings)) for one in record.sales] == [("a", 1)]
    assert record.breaks == ()


async def test_a_file_that_cannot_be_read(tmp_path):
    """A file that is no database is a storage error, not a traceback of SQLite's."""
    (tmp_path / "outbox.db").write_bytes(b"nonsense" * 1_000)
    with pytest.raises(StorageError):
        OutboxDaybook(DatabaseFile(tmp_path / "outbox.db", None, "FULL")).read(SATURDAY)


async def test_a_file_without_its_tables(tmp_path):
    """So is one whose tables are gone."""
    with pytest.raises(StorageError):
        OutboxDaybook(DatabaseFile(tmp_path / "outbox.db", None, "FULL")).read(SATURDAY)
