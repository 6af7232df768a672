"""The numbers that each till's sales are given at intake, and the places where they do not follow each other. Pure.

A number is given in the commit that keeps the sale, so that none is skipped by a crash, a full disk or a refused sale,
and it is never given again. A number without a sale therefore means a sale that was here and is gone; forgetting after
`retention.audit` and the rescue of a damaged file write down which they took.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Literal

TILL_SEPARATOR = " "
"""Between store and till; neither can hold a blank."""


def till_name(store_id: str, till_id: str) -> str:
    """The name under which a till's sales are numbered: a number series of its own for each till of each store."""
    return f"{store_id}{TILL_SEPARATOR}{till_id}"


def store_and_till(name: str) -> tuple[str, str]:
    """What :func:`till_name` put together."""
    store_id, _, till_id = name.partition(TILL_SEPARATOR)
    return store_id, till_id


@dataclass(frozen=True, slots=True)
class Explained:
    """Numbers of which it is known why they have no sale: `retention`, or a reason of :class:`Break`."""

    till: str
    first: int
    last: int
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Break:
    """A place where a till's numbers do not follow each other.

    Attributes:
        till: store and till.
        kind: `missing`, numbers without a sale; `twice`, a number with two.
        first: of those numbers.
        last: of those numbers.
        after: the sale before it; None at the beginning.
        before: the sale behind it; None at the end.
        after_day: the day of that sale.
        before_day: the day of that sale.
        reason: `rescue`: the sales were lost in a damaged file; `skipped`: left out after such a loss, because nobody
            knows whether they had been given; None: nobody knows why.
        at: when that was written down.
    """

    till: str
    kind: Literal["missing", "twice"]
    first: int
    last: int
    after: str | None = None
    before: str | None = None
    after_day: date | None = None
    before_day: date | None = None
    reason: str | None = None
    at: datetime | None = None

    @property
    def store_id(self) -> str:
        """Whose series it is."""
        return store_and_till(self.till)[0]

    @property
    def till_id(self) -> str:
        """Whose series it is."""
        return store_and_till(self.till)[1]

    @property
    def count(self) -> int:
        """How many numbers it is about."""
        return self.last - self.first + 1

    def concerns(self, day: date) -> bool:
        """Whether a sale of that day may be what is missing: the day lies between those of the neighbours.

        Where there is no neighbour, before the first sale and behind the last one, nothing bounds it.
        """
        after, before = self.after_day or date.min, self.before_day or date.max
        return min(after, before) <= day <= max(after, before)


def irregular(till: str, numbers: Iterable[int], given: int) -> Iterator[Break]:
    """Where the numbers on record are not each one more than the one before, from 1 to the last that was given.

    Args:
        till: whose they are.
        numbers: on record, in any order.
        given: the last one that was given.
    """
    last = 0
    for number in sorted(numbers):
        if number == last:
            yield Break(till, "twice", number, number)
        elif number != last + 1:
            yield Break(till, "missing", last + 1, number - 1)
        last = number
    if given > last:
        yield Break(till, "missing", last + 1, given)


def unexplained(found: Break, known: Iterable[Explained]) -> Iterator[Break]:
    """What is left of a break once forgotten sales are taken out; what a rescue lost keeps that as its reason."""
    if found.kind == "twice":
        yield found
        return
    start = found.first
    for gap in sorted((gap for gap in known if gap.till == found.till), key=lambda gap: gap.first):
        first, last = max(gap.first, start), min(gap.last, found.last)
        if first > last:
            continue
        if start < first:
            yield replace(found, first=start, last=first - 1)
        if gap.reason != "retention":
            yield replace(found, first=first, last=last, reason=gap.reason, at=gap.at)
        start = last + 1
    if start <= found.last:
        yield replace(found, first=start)
