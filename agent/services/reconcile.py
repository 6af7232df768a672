"""The day-end check: what a till's day came to, what is missing or there twice, and what the vendors' books say.

It changes nothing. The outbox is read in a thread of its own, the vendor asked about a random sample within its
allowance and a time that a person waits; what could not be asked is said, never guessed.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Protocol

from agent.domain.completeness import (
    Answer,
    Askable,
    DayRecord,
    DaySale,
    Handled,
    Listing,
    Stuck,
    Total,
    answer,
    askable,
    compare,
    handled,
    stuck,
    totals,
)
from agent.domain.link import Link
from agent.domain.numbering import Break, store_and_till
from agent.domain.transaction import IntegrationKey
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.ports import Clock, History

ASK_S = 15.0
"""For so long a vendor is asked; what is left of the sample then is not asked."""


class Daybook(Protocol):
    """The outbox's door for the check."""

    def read(self, day: date, listed: Sequence[str] = ()) -> DayRecord:
        """A day as it stands now; blocks. Raises StorageError."""


@dataclass(frozen=True, slots=True)
class Books:
    """A vendor that gets sales, and how to ask for its books.

    Attributes:
        link: the line to it.
        history: its members' purchases; None where it cannot be asked.
        pace: waits for this agent's share of the vendor's allowance.
    """

    link: Link
    history: History | None
    pace: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class VendorDay:
    """A day at one vendor."""

    handled: Handled
    answer: Answer


@dataclass(frozen=True, slots=True)
class TillDay:
    """A day of one till: how many sales, and the lowest and highest of their numbers."""

    store_id: str
    till_id: str
    sold: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """A day, checked.

    Attributes:
        day: the business day.
        sold: sales of that day.
        unreadable: of these, records whose sums cannot be read any more.
        totals: sums by kind and currency.
        tills: each till that sold something.
        breaks: where numbers of that day are missing or stand twice.
        breaks_elsewhere: how many numbers are missing or stand twice on other days.
        listing: the till's own list, compared; None when none was given.
        vendors: how the day stands with each.
        stuck: deliveries that wait for a person, or that one gave up.
    """

    day: date
    sold: int
    unreadable: int
    totals: tuple[Total, ...]
    tills: tuple[TillDay, ...]
    breaks: tuple[Break, ...]
    breaks_elsewhere: int
    listing: Listing | None
    vendors: tuple[VendorDay, ...]
    stuck: tuple[Stuck, ...]

    @property
    def missing(self) -> int:
        """What is missing by any witness; one sale may be missed by several."""
        of_list = len(self.listing.missing) if self.listing else 0
        of_vendors = sum(len(vendor.answer.missing) for vendor in self.vendors)
        return _count(self.breaks, "missing") + of_list + of_vendors

    @property
    def twice(self) -> int:
        """What is there twice by any witness."""
        of_list = len(self.listing.twice) if self.listing else 0
        of_vendors = sum(len(vendor.answer.twice) for vendor in self.vendors)
        return _count(self.breaks, "twice") + of_list + of_vendors


class Reconcile:
    """Checks days.

    Args:
        clock: for the day, and for how long ago a sale was delivered.
        daybook: the outbox, by day.
        books: each vendor that gets sales.
        held: vendors whose lane is held.
        chance: draws the samples.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        daybook: Daybook,
        books: Sequence[Books],
        held: Callable[[], Collection[str]],
        chance: random.Random,
    ) -> None:
        self._clock, self._daybook, self._books, self._held, self._chance = clock, daybook, books, held, chance

    async def check(self, day: date | None, *, sample: int, listed: Sequence[str] | None = None) -> Reconciliation:
        """A day, checked.

        Args:
            day: the business day; yesterday, the last one that is over, without one.
            sample: delivered sales to ask each vendor about, at most; 0 asks nobody.
            listed: the till's own list of what it sold that day.

        Raises:
            StorageError: the outbox cannot be read.
        """
        day = day or self._clock.today() - timedelta(days=1)
        record = await asyncio.to_thread(self._daybook.read, day, listed or ())
        breaks = tuple(gap for gap in record.breaks if gap.concerns(day))
        elsewhere = sum(gap.count for gap in record.breaks) - sum(gap.count for gap in breaks)
        return Reconciliation(
            day=day,
            sold=len(record.sales),
            unreadable=sum(1 for sale in record.sales if sale.total is None),
            totals=totals(record.sales),
            tills=_tills(record.sales),
            breaks=breaks,
            breaks_elsewhere=elsewhere,
            listing=compare(listed, record) if listed is not None else None,
            vendors=tuple([await self._at(books, record, sample) for books in self._books]),
            stuck=stuck(record.sales),
        )

    async def _at(self, books: Books, record: DayRecord, sample: int) -> VendorDay:
        vendor = books.link.vendor
        figures = handled(record.sales, vendor, held=vendor in self._held())
        if books.history is None:
            return VendorDay(figures, Answer("cannot_be_asked"))
        can_be_asked = askable(record.sales, vendor)
        if not sample or not can_be_asked:
            return VendorDay(figures, Answer("not_asked", len(can_be_asked)))
        if books.link.answers is False:
            return VendorDay(figures, Answer("unreachable", len(can_be_asked)))
        drawn = self._chance.sample(can_be_asked, min(sample, len(can_be_asked)))
        told = await self._ask(books, books.history, drawn)
        return VendorDay(figures, replace(told, can_be_asked=len(can_be_asked)))

    async def _ask(self, books: Books, history: History, sample: Sequence[Askable]) -> Answer:
        """What the vendor's books say; of what was asked before it fell silent, if it does."""
        by_member: defaultdict[IntegrationKey, list[Askable]] = defaultdict(list)
        for one in sample:
            by_member[one.key].append(one)
        outcome, link = "asked", books.link
        asked: list[Askable] = []
        counts: dict[str, int] = {}
        unclear: set[str] = set()
        try:
            async with asyncio.timeout(ASK_S):
                for key, sales in by_member.items():
                    seen = await history.count(key, [sale.transaction_id for sale in sales], pace=books.pace)
                    asked += sales
                    counts |= seen.counts
                    unclear |= set() if seen.whole else {sale.transaction_id for sale in sales}
        except TimeoutError:  # what is left of the sample is not asked
            pass
        except VendorUnreachableError as error:
            link.silent(self._clock.now(), self._clock.monotonic(), lookup=True, after_s=error.retry_after_s)
            outcome = "unreachable"
        except VendorRefusedError:
            link.credentials_refused(self._clock.now(), self._clock.monotonic(), lookup=True)
            outcome = "refused"
        settled_before = self._clock.now() - timedelta(seconds=history.settles_s)
        return replace(answer(asked, counts, unclear, settled_before=settled_before), outcome=outcome)


def _count(breaks: Sequence[Break], kind: str) -> int:
    return sum(gap.count for gap in breaks if gap.kind == kind)


def _tills(sales: Sequence[DaySale]) -> tuple[TillDay, ...]:
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for sale in sales:
        numbers[sale.till].append(sale.number)
    return tuple(TillDay(*store_and_till(till), len(of), min(of), max(of)) for till, of in sorted(numbers.items()))
