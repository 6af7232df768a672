"""The day-end check: which day, what of it, and how the vendor is asked."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

import pytest

from agent.domain.completeness import DayRecord, DaySale, Handling
from agent.domain.delivery import DeliveryState
from agent.domain.link import Link
from agent.domain.numbering import Break
from agent.domain.transaction import TransactionType
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.ports import Seen
from agent.services import reconcile
from agent.services.reconcile import Books, Reconcile
from tests.fakes import NOW, VENDOR, FakeClock, member_key

DAY = date(2026, 2, 13)
"""The day before the clock's."""


def sale(name, *, state="delivered", key="10000421", till="1042 03", number=1, hours_ago=2.0):
    at = NOW - timedelta(hours=hours_ago) if state == "delivered" else None
    return DaySale(
        name, TransactionType.PURCHASE, till, number, "SEK", Decimal(250),
        (Handling(VENDOR, DeliveryState(state), at),), member_key(key) if key else None,
    )  # fmt: skip


@dataclass
class FakeDaybook:
    record: DayRecord
    read_days: list = field(default_factory=list)

    def read(self, day, listed=()):
        self.read_days.append((day, tuple(listed)))
        return self.record


@dataclass
class FakeHistory:
    """Has counted purchases; `fault` is raised from the call with that number on."""

    counts: dict
    whole: bool = True
    fault: Exception | None = None
    fault_from: int = 1
    asked: list = field(default_factory=list)
    settles_s: float = 75 * 60.0

    async def count(self, key, transaction_ids, *, pace):
        await pace()
        self.asked.append((key, sorted(transaction_ids)))
        if self.fault is not None and len(self.asked) >= self.fault_from:
            raise self.fault
        return Seen({name: self.counts[name] for name in transaction_ids if name in self.counts}, self.whole)


class Desk:
    """The check over a made-up day."""

    def __init__(self, *sales, breaks=(), counts=None, history=True, **how):
        self.clock = FakeClock()
        self.link = Link(
            VENDOR, "loyalty", requests_per_second=0, backoff_first_s=10, backoff_max_s=900, uniform=lambda _a, b: b
        )
        self.link.worked(NOW, 0.0)
        self.paced = 0
        self.history = FakeHistory(counts if counts is not None else {one.transaction_id: 1 for one in sales}, **how)
        self.daybook = FakeDaybook(DayRecord(sales, breaks, {}))
        self.lanes: set = set()
        self.check = Reconcile(
            clock=self.clock,
            daybook=self.daybook,
            books=[Books(self.link, self.history if history else None, self._pace)],
            held=lambda: self.lanes,
            chance=random.Random(1),
        ).check

    async def _pace(self):
        self.paced += 1

    async def books(self, *, sample=20):
        (vendor,) = (await self.check(DAY, sample=sample)).vendors
        return vendor.answer


async def test_without_a_day_it_is_yesterday():
    """The last day that is over, in the store's own time."""
    desk = Desk()
    found = await desk.check(None, sample=0)

    assert found.day == DAY
    assert desk.daybook.read_days == [(DAY, ())]


async def test_the_tills_of_the_day():
    """Each till with its sales and the span of their numbers, in order."""
    found = await Desk(
        sale("a", number=7), sale("b", number=9), sale("c", till="1042 02", number=1), sale("d", number=8)
    ).check(DAY, sample=0)

    assert [(till.store_id, till.till_id, till.sold, till.first, till.last) for till in found.tills] == [
        ("1042", "02", 1, 1, 1),
        ("1042", "03", 3, 7, 9),
    ]


async def test_a_whole_day_is_complete():
    """Sold, delivered, on the books: nothing is missing and nothing is there twice."""
    found = await Desk(sale("a"), sale("b")).check(DAY, sample=20, listed=["a", "b"])

    assert (found.sold, found.missing, found.twice, found.breaks_elsewhere) == (2, 0, 0, 0)
    assert found.vendors[0].answer.found == 2


async def test_each_witness_counts_what_it_misses():
    """Numbers, the till's list and the books each say what is missing and what is there twice."""
    breaks = (
        Break("1042 03", "missing", 4, 5, "a", "b", DAY, DAY),
        Break("1042 03", "twice", 6, 6, "a", "b", DAY, DAY),
        Break("1042 03", "missing", 1, 3, None, "z", None, DAY - timedelta(days=9)),
    )
    desk = Desk(sale("a"), sale("b"), breaks=breaks, counts={"a": 2})
    found = await desk.check(DAY, sample=20, listed=["a", "b", "gone", "gone"])

    assert (found.missing, found.twice) == (2 + 1 + 1, 1 + 1 + 1)
    assert (len(found.breaks), found.breaks_elsewhere) == (2, 3)


async def test_a_held_lane_holds_what_it_has_queued():
    """What waits for refused credentials is held."""
    desk = Desk(sale("a", state="queued"))
    desk.lanes.add(VENDOR)
    (vendor,) = (await desk.check(DAY, sample=0)).vendors

    assert (vendor.handled.queued, vendor.handled.held) == (0, 1)


# --- the vendor's books ---------------------------------------------------------------------------------------------


async def test_a_sample_is_drawn_from_what_can_be_asked():
    """No more than wanted, each sale once, a member's sales in one question, within the allowance."""
    sales = [sale(f"s-{number}", key=str(10_000_000 + number // 3)) for number in range(30)]
    desk = Desk(*sales, sale("guest", key=None), sale("waits", state="queued"))
    answer = await desk.books(sample=12)
    asked = [name for _, names in desk.history.asked for name in names]

    assert (answer.outcome, answer.asked, answer.can_be_asked, answer.found) == ("asked", 12, 30, 12)
    assert len(asked) == len(set(asked)) == 12
    assert len({key for key, _ in desk.history.asked}) == len(desk.history.asked) == desk.paced


async def test_another_check_draws_another_sample():
    """Chance decides, so that a row of checks sees more and more of the day."""
    desk = Desk(*(sale(f"s-{number}", key=str(10_000_000 + number)) for number in range(40)))
    await desk.books(sample=5)
    first = list(desk.history.asked)
    await desk.books(sample=5)

    assert desk.history.asked[len(first) :] != first


async def test_lost_and_doubled_at_the_vendor():
    """Accepted long ago and not there is missing, more than once is twice, accepted just now is not missing yet."""
    desk = Desk(sale("fine"), sale("lost"), sale("double"), sale("fresh", hours_ago=1), counts={"fine": 1, "double": 2})
    answer = await desk.books()

    assert (answer.found, answer.missing, answer.twice, answer.not_yet) == (1, ("lost",), ("double",), ("fresh",))


async def test_books_that_do_not_tell():
    """Where absence proves nothing, nothing is called missing."""
    desk = Desk(sale("a"), sale("b"), counts={"a": 1}, whole=False)
    answer = await desk.books()

    assert (answer.found, answer.missing, answer.unclear) == (1, (), ("b",))


@pytest.mark.parametrize(
    ("sales", "sample", "history", "outcome"),
    [
        ([sale("a")], 20, False, "cannot_be_asked"),
        ([sale("a")], 0, True, "not_asked"),
        ([], 20, True, "not_asked"),
        ([sale("a", key=None)], 20, True, "not_asked"),
    ],
    ids=["no such question", "no sample", "nothing sold", "nobody known"],
)
async def test_nobody_is_asked_without_need(sales, sample, history, outcome):
    """A vendor without the question, no sample, or nothing to ask for: it is said, and no call is made."""
    desk = Desk(*sales, history=history)
    answer = await desk.books(sample=sample)

    assert (answer.outcome, answer.asked, desk.history.asked) == (outcome, 0, [])


async def test_a_line_that_is_down_is_not_tried():
    """The sales wait for it already; a person is told at once."""
    desk = Desk(sale("a"))
    desk.link.silent(NOW, 0.0)

    assert (await desk.books()).outcome == "unreachable"
    assert desk.history.asked == []


@pytest.mark.parametrize(
    ("fault", "outcome", "state"),
    [
        (VendorUnreachableError(), "unreachable", "offline"),
        (VendorRefusedError(), "refused", "degraded"),
    ],
    ids=["silent", "refused"],
)
async def test_a_vendor_that_falls_silent_keeps_what_it_said(fault, outcome, state):
    """What was asked before stands, what was not asked is not missing, and the line learns of it."""
    desk = Desk(sale("a", key="1"), sale("b", key="2"), sale("c", key="3"), counts={}, fault=fault, fault_from=2)
    answer = await desk.books()

    assert (answer.outcome, answer.asked, len(answer.missing), answer.can_be_asked) == (outcome, 1, 1, 3)
    assert desk.link.state == state


async def test_a_pause_that_the_vendor_asks_for_is_kept_by_all():
    """`Retry-After` on a question pauses deliveries too."""
    desk = Desk(sale("a"), fault=VendorUnreachableError(retry_after_s=60))
    await desk.books()

    assert desk.link.sending.wait_s(0.0) > 50


async def test_a_slow_vendor_is_asked_for_a_persons_patience(monkeypatch):
    """When the time is up what was told stands, and the rest is simply not asked."""
    monkeypatch.setattr(reconcile, "ASK_S", 0.05)
    desk = Desk(sale("a", key="1"), sale("b", key="2"))
    answered = desk.history.count

    async def slow(key, transaction_ids, *, pace):
        if desk.history.asked:
            await asyncio.Event().wait()
        return await answered(key, transaction_ids, pace=pace)

    desk.history.count = slow
    answer = await desk.books()

    assert (answer.outcome, answer.asked, answer.found, answer.missing) == ("asked", 1, 1, ())
    assert desk.link.state == "online"
