"""Numbers of sales: each till's without gaps, whatever is undone, forgotten, rescued or deleted by hand."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta

import pytest

from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.retention import RetentionPlan
from agent.errors import ConflictError, InputError, StorageError, StorageFullError
from agent.ports import Settled
from agent.store import numbering
from agent.store.database import immediate
from tests.fakes import NOW, VENDOR, acceptance, member_key, open_outbox

DAY = timedelta(days=1)
TILL = "1042 03"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.db"


@pytest.fixture
def outbox(path):
    with open_outbox(path) as outbox:
        yield outbox


def sale(name, till_id="03", *, store_id="1042", **changes):
    return acceptance(name, key=member_key(), store_id=store_id, till_id=till_id, **changes)


async def sell(outbox, *names, **changes):
    """Sells one after the other; their numbers."""
    return [(await outbox.accept(sale(name, **changes), NOW)).number for name in names]


def by_hand(outbox, statement, *values):
    """Somebody changes the file behind the agent's back."""
    outbox._writer._connection.execute(statement, values)


def breaks(outbox):
    return [(gap.till, gap.kind, gap.first, gap.last, gap.reason) for gap in numbering.breaks(outbox._reader)]


async def forget(outbox, now=NOW + 500 * DAY):
    """Delivers what waits, then lets everything on record grow older than `retention.audit`."""
    while batch := await outbox.lease(VENDOR, 100, NOW):
        await outbox.settle([Settled(one.entry, Verdict(VerdictKind.DONE)) for one in batch], NOW)
    await outbox.purge(RetentionPlan(now, now, now - 400 * DAY, now), now)


# --- given ----------------------------------------------------------------------------------------------------------


async def test_each_till_counts_from_one(outbox):
    """A till is a store and a till; what another one sells in between makes no gap."""
    assert await sell(outbox, "a1", "a2") == [1, 2]
    assert await sell(outbox, "b1", till_id="04") == [1]
    assert await sell(outbox, "c1", store_id="1043") == [1]
    assert await sell(outbox, "a3") == [3]
    assert breaks(outbox) == []


async def test_sales_of_several_tills_that_come_in_together(outbox):
    """However many share a commit: each till's are numbered in the order in which they came."""
    records = [sale(f"s-{number}", f"0{number % 3}") for number in range(30)]
    receipts = await asyncio.gather(*(outbox.accept(record, NOW) for record in records))

    assert [receipt.number for receipt in receipts] == [1 + number // 3 for number in range(30)]
    assert breaks(outbox) == []


async def test_every_kind_of_sale_has_a_number(outbox):
    """A void, a return and a guest's sale are counted like any other."""
    await sell(outbox, "s-1")
    void = await outbox.accept(sale("v-1", type="void", original_transaction_id="s-1"), NOW)
    given_back = await outbox.accept(sale("r-1", type="return"), NOW)
    guest = await outbox.accept(acceptance("g-1", vendors=(), store_id="1042", till_id="03"), NOW)

    assert (void.number, given_back.number, guest.number) == (2, 3, 4)


async def test_a_repeat_keeps_its_number(outbox):
    """The answer to a repeat carries the first number, and nothing is used up."""
    assert await sell(outbox, "a", "b", "a", "c") == [1, 2, 1, 3]


async def test_a_refused_sale_uses_no_number_up(outbox):
    """What is undone within a group is undone with its number, and its neighbours have theirs."""
    await sell(outbox, "a")
    asked = [
        outbox.accept(sale("b"), NOW),
        outbox.accept(sale("a", total="1.00"), NOW),
        outbox.accept(sale("v", type="void", original_transaction_id="unknown"), NOW),
        outbox.accept(sale("c"), NOW),
    ]
    b, conflict, invalid, c = await asyncio.gather(*asked, return_exceptions=True)

    assert isinstance(conflict, ConflictError)
    assert isinstance(invalid, InputError)
    assert (b.number, c.number) == (2, 3)
    assert await sell(outbox, "d") == [4]
    assert breaks(outbox) == []


async def test_a_failure_after_the_number_takes_it_back(outbox):
    """A sale that fails once it has its number gives it back with everything else."""
    await sell(outbox, "s-1")
    by_hand(
        outbox, "CREATE TRIGGER refuse BEFORE INSERT ON deliveries WHEN new.after_sale IS NOT NULL BEGIN"
        " SELECT raise(ABORT, 'refused'); END",
    )  # fmt: skip
    with pytest.raises(StorageError):
        await outbox.accept(sale("r-1", type="return", original_transaction_id="s-1"), NOW)

    assert not outbox.knows("r-1")
    assert await sell(outbox, "s-2") == [2]
    assert breaks(outbox) == []


async def test_a_group_that_cannot_be_committed_takes_no_number(outbox, monkeypatch):
    """A disk that fills up undoes the whole group, numbers and all."""
    await sell(outbox, "a")

    def full(_db):
        raise StorageFullError

    failed = asyncio.gather(
        outbox.accept(sale("b"), NOW), outbox._writer.run(full), outbox.accept(sale("c"), NOW), return_exceptions=True
    )
    assert all(isinstance(outcome, StorageFullError) for outcome in await failed)
    assert await sell(outbox, "c", "b") == [2, 3]
    assert breaks(outbox) == []


async def test_numbers_go_on_after_a_restart(path):
    """The next run of the program goes on where the last one stopped."""
    with open_outbox(path, run="run-1") as outbox:
        assert await sell(outbox, "a", "b") == [1, 2]
    with open_outbox(path, run="run-2") as outbox:
        assert await sell(outbox, "c") == [3]
        assert breaks(outbox) == []


# --- forgotten ------------------------------------------------------------------------------------------------------


async def test_a_forgotten_number_never_comes_again(outbox):
    """After `retention.audit` the records go; numbering goes on, and nothing counts as missing."""
    await sell(outbox, "a", "b", "c")
    await sell(outbox, "x", till_id="04")
    await forget(outbox)

    assert not outbox.knows("a")
    assert await sell(outbox, "d") == [4]
    assert await sell(outbox, "a") == [5]
    assert await sell(outbox, "y", till_id="04") == [2]
    assert breaks(outbox) == []


async def test_forgetting_in_slices_is_one_entry(outbox):
    """Months of forgetting leave one line for each till, not one for each purge."""
    for round_ in range(3):
        await sell(outbox, *(f"s-{round_}-{number}" for number in range(30)))
        await forget(outbox)
    rows = outbox._reader.execute("SELECT till, first, last, reason FROM gaps").fetchall()

    assert rows == [(TILL, 1, 90, "retention")]


async def test_a_gap_among_forgotten_sales_stays_visible(outbox):
    """Forgetting explains what it took itself and nothing beside it."""
    await sell(outbox, "a", "b", "c")
    by_hand(outbox, "DELETE FROM sales WHERE transaction_id = 'b'")
    await forget(outbox)
    await sell(outbox, "d")

    assert breaks(outbox) == [(TILL, "missing", 2, 2, None)]


# --- gone ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gone", "found"),
    [
        (["b"], [(2, 2, "a", "c")]),
        (["a"], [(1, 1, None, "b")]),
        (["e"], [(5, 5, "d", None)]),
        (["b", "c", "e"], [(2, 3, "a", "d"), (5, 5, "d", None)]),
        (["a", "b", "c", "d", "e"], [(1, 5, None, None)]),
    ],
    ids=["middle", "first", "last", "several", "all"],
)
async def test_a_sale_deleted_by_hand_is_missed(outbox, gone, found):
    """Wherever it stood: the number shows, with the sales on either side of it."""
    await sell(outbox, "a", "b", "c", "d", "e")
    for name in gone:
        by_hand(outbox, "DELETE FROM sales WHERE transaction_id = ?", name)
    missing = numbering.breaks(outbox._reader)

    assert [(gap.first, gap.last, gap.after, gap.before) for gap in missing] == found
    assert await sell(outbox, "f") == [6]


async def test_a_break_names_the_days_of_its_neighbours(outbox):
    """They say on which day the missing sale may have been sold."""
    for name, day in (("a", 13), ("b", 14), ("c", 15)):
        await sell(outbox, name, occurred_at=f"2026-02-{day}T16:41:09+01:00")
    by_hand(outbox, "DELETE FROM sales WHERE transaction_id = 'b'")
    (gap,) = numbering.breaks(outbox._reader)

    assert (gap.after_day, gap.before_day) == (date(2026, 2, 13), date(2026, 2, 15))


async def test_a_number_that_stands_twice_is_told(outbox):
    """A counter that was set back by hand gives numbers again; both sales are named."""
    await sell(outbox, "a", "b", "c")
    by_hand(outbox, "UPDATE counts SET n = 1 WHERE what = 'number'")
    assert await sell(outbox, "d") == [2]
    (gap,) = numbering.breaks(outbox._reader)

    assert (gap.kind, gap.first, gap.last, {gap.after, gap.before}) == ("twice", 2, 2, {"b", "d"})


# --- rescued --------------------------------------------------------------------------------------------------------


def mend(outbox, now=NOW):
    with immediate(outbox._writer._connection) as db:
        return numbering.mend(db, now)


async def test_what_a_rescue_lost_is_visible_and_explained(outbox):
    """Lost in the middle and at the end: both are counted and named as the rescue's, and numbering goes on behind."""
    await sell(outbox, "a", "b", "c", "d")
    by_hand(outbox, "DELETE FROM sales WHERE transaction_id IN ('b', 'd')")

    assert mend(outbox) == 2
    assert breaks(outbox) == [(TILL, "missing", 2, 2, "rescue"), (TILL, "missing", 4, 4, "rescue")]
    assert await sell(outbox, "e") == [5]
    assert mend(outbox) == 0
    assert {gap.at for gap in numbering.breaks(outbox._reader)} == {NOW}


async def test_a_lost_counter_goes_on_where_no_number_can_have_been_given(outbox):
    """Without its counter a till leaves numbers out rather than give one again, and says so."""
    await sell(outbox, "a", "b", "c")
    by_hand(outbox, "DELETE FROM sales WHERE transaction_id = 'c'")
    by_hand(outbox, "DELETE FROM counts WHERE what = 'number'")

    assert mend(outbox) == 0
    assert await sell(outbox, "d") == [3 + numbering.LEAP]
    assert breaks(outbox) == [(TILL, "missing", 3, 2 + numbering.LEAP, "skipped")]


async def test_every_part_of_a_gap_lies_between_the_same_sales(outbox):
    """Lost numbers beside skipped ones are bounded by the sales around both: later days are not concerned for ever."""
    await sell(outbox, "a", "b", "c", occurred_at="2026-02-14T16:41:09+01:00")
    by_hand(outbox, "DELETE FROM sales WHERE transaction_id IN ('b', 'c')")
    mend(outbox)
    by_hand(outbox, "DELETE FROM counts WHERE what = 'number'")
    mend(outbox)
    await sell(outbox, "d", occurred_at="2026-02-16T09:00:00+01:00")
    found = numbering.breaks(outbox._reader)

    assert [(gap.reason, gap.after, gap.before) for gap in found] == [("rescue", "a", "d"), ("skipped", "a", "d")]
    assert [gap.concerns(date(2026, 2, 17)) for gap in found] == [False, False]


async def test_a_rescue_knows_what_was_forgotten(outbox):
    """A till with nothing left on record keeps its place behind its forgotten numbers."""
    await sell(outbox, "a", "b")
    await forget(outbox)
    by_hand(outbox, "DELETE FROM counts WHERE what = 'number'")
    mend(outbox)

    assert await sell(outbox, "c") == [3 + numbering.LEAP]


async def test_a_counter_behind_its_sales_is_raised(outbox):
    """An old counter beside newer sales: the highest number wins."""
    await sell(outbox, "a", "b", "c")
    by_hand(outbox, "UPDATE counts SET n = 1 WHERE what = 'number'")
    mend(outbox)

    assert await sell(outbox, "d") == [4]
    assert breaks(outbox) == []


async def test_a_rescue_that_lost_nothing_says_nothing(outbox):
    """A file whose sales were all readable has no gap to explain."""
    await sell(outbox, "a", "b")
    assert mend(outbox) == 0
    assert breaks(outbox) == []
    assert outbox._reader.execute("SELECT count(*) FROM gaps").fetchone() == (0,)
