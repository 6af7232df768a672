"""Where a till's numbers do not follow each other, and what is known of why."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain.numbering import Break, Explained, irregular, store_and_till, till_name, unexplained

AT = datetime(2026, 2, 20, 3, 10, tzinfo=UTC)
SATURDAY, MONDAY = date(2026, 2, 14), date(2026, 2, 16)
DAY = timedelta(days=1)


def missing(first, last, after_day=SATURDAY, before_day=MONDAY, till="1042 03"):
    return Break(till, "missing", first, last, "sale-a", "sale-b", after_day, before_day)


def known(first, last, reason, till="1042 03"):
    return Explained(till, first, last, reason, AT)


def spans(gap, *explained):
    return [(left.first, left.last, left.reason) for left in unexplained(gap, explained)]


def test_a_till_is_named_by_store_and_till():
    """The same till id in another store is another series."""
    assert till_name("1042", "03") != till_name("1043", "03")
    assert store_and_till(till_name("1042", "03")) == ("1042", "03")


@pytest.mark.parametrize(
    ("numbers", "given", "found"),
    [
        ([], 0, []),
        ([1, 2, 3], 3, []),
        ([3, 1, 2], 3, []),
        ([1, 3], 3, [("missing", 2, 2)]),
        ([4, 5], 5, [("missing", 1, 3)]),
        ([1, 2], 5, [("missing", 3, 5)]),
        ([], 2, [("missing", 1, 2)]),
        ([1, 2, 2, 3, 3, 3], 3, [("twice", 2, 2), ("twice", 3, 3), ("twice", 3, 3)]),
        ([1, 2, 2, 4], 6, [("twice", 2, 2), ("missing", 3, 3), ("missing", 5, 6)]),
        ([1, 2, 3], 2, []),
    ],
    ids=["none", "whole", "any order", "middle", "front", "end", "all gone", "twice", "everything", "counter behind"],
)
def test_numbers_that_do_not_follow_each_other(numbers, given, found):
    """From 1 to the last one given, each once; whatever is not so is told."""
    assert [(one.kind, one.first, one.last) for one in irregular("1042 03", numbers, given)] == found


@given(whole=st.integers(0, 80), gone=st.sets(st.integers(1, 80)), again=st.lists(st.integers(1, 80), max_size=5))
def test_every_missing_and_every_doubled_number_is_told(whole, gone, again):
    """Number by number: what was taken away is missing, what was added is there twice, and nothing else is told."""
    left = [number for number in range(1, whole + 1) if number not in gone]
    doubled = [number for number in again if number in left]
    told = list(irregular("1042 03", [*left, *doubled], whole))

    missing = [number for one in told if one.kind == "missing" for number in range(one.first, one.last + 1)]
    assert missing == [number for number in range(1, whole + 1) if number in gone]
    assert sorted(one.first for one in told if one.kind == "twice") == sorted(doubled)


@pytest.mark.parametrize(
    ("explained", "left"),
    [
        ([], [(5, 9, None)]),
        ([known(5, 9, "retention")], []),
        ([known(1, 6, "retention")], [(7, 9, None)]),
        ([known(6, 7, "retention")], [(5, 5, None), (8, 9, None)]),
        ([known(8, 20, "rescue")], [(5, 7, None), (8, 9, "rescue")]),
        ([known(5, 6, "rescue"), known(7, 9, "skipped")], [(5, 6, "rescue"), (7, 9, "skipped")]),
        ([known(9, 9, "retention"), known(5, 5, "retention")], [(6, 8, None)]),
        ([known(5, 9, "retention", till="1042 04")], [(5, 9, None)]),
        ([known(1, 4, "retention"), known(10, 12, "rescue")], [(5, 9, None)]),
    ],
    ids=["nothing", "all", "front", "middle", "rescue", "two reasons", "ends", "another till", "beside"],
)
def test_what_is_explained_is_taken_out(explained, left):
    """Forgotten sales are no gap, rescued files keep their reason, and what nobody explains stays."""
    assert spans(missing(5, 9), *explained) == left


def test_a_number_that_stands_twice_is_explained_by_nothing():
    """No reason makes two sales of one number right."""
    twice = Break("1042 03", "twice", 5, 5, "sale-a", "sale-b", SATURDAY, SATURDAY)
    assert list(unexplained(twice, [known(1, 9, "retention")])) == [twice]


def test_an_explained_gap_says_when():
    """The instant of the rescue stays with what it lost."""
    (left,) = unexplained(missing(5, 9), [known(5, 9, "rescue")])
    assert (left.at, left.after, left.before, left.count) == (AT, "sale-a", "sale-b", 5)


spans_of = st.tuples(st.integers(1, 60), st.integers(0, 15)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(gap=spans_of, explained=st.lists(st.tuples(spans_of, st.sampled_from(["retention", "rescue"])), max_size=6))
def test_what_is_left_is_exactly_what_is_not_forgotten(gap, explained):
    """Number by number: forgotten ones are gone, each other one is there once, and only within the gap."""
    forgotten = {
        number for (first, last), reason in explained if reason == "retention" for number in range(first, last + 1)
    }
    rescued = {number for (first, last), reason in explained if reason == "rescue" for number in range(first, last + 1)}
    left = list(unexplained(missing(*gap), [known(*span, reason) for span, reason in explained]))
    numbers = [number for piece in left for number in range(piece.first, piece.last + 1)]
    whole = set(range(gap[0], gap[1] + 1))

    assert len(numbers) == len(set(numbers))
    assert whole - forgotten <= set(numbers) | (rescued & forgotten)
    assert set(numbers) <= whole
    assert not set(numbers) & (forgotten - rescued)
    for piece in left:
        if piece.reason is None:
            assert not set(range(piece.first, piece.last + 1)) & (forgotten | rescued)


@pytest.mark.parametrize(
    ("after_day", "before_day", "days"),
    [
        (SATURDAY, MONDAY, [-1, 0, 0, 0, 1]),
        (MONDAY, SATURDAY, [-1, 0, 0, 0, 1]),
        (SATURDAY, SATURDAY, [-1, 0, 1, 1, 1]),
        (SATURDAY, None, [-1, 0, 0, 0, 0]),
        (None, MONDAY, [0, 0, 0, 0, 1]),
        (None, None, [0, 0, 0, 0, 0]),
    ],
    ids=["between", "in another order", "within a day", "at the end", "at the beginning", "all gone"],
)
def test_a_gap_concerns_every_day_that_it_may_lie_on(after_day, before_day, days):
    """The days of the neighbours bound it; where there is none, nothing does."""
    asked = [SATURDAY - DAY, SATURDAY, SATURDAY + DAY, MONDAY, MONDAY + DAY]
    gap = missing(5, 5, after_day, before_day)
    assert [gap.concerns(day) for day in asked] == [not outside for outside in days]
