"""Minutes become points, and counted classes become percentiles."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain.history import (
    ANSWER_BOUNDS_S,
    DELIVERY_BOUNDS_S,
    MOST_HOURS,
    Sample,
    Span,
    joined,
    points,
    quantile_s,
    since,
)

NOW = datetime(2026, 11, 20, 9, 7, 12, tzinfo=UTC)
COUNTS = st.lists(st.integers(0, 50), max_size=len(ANSWER_BOUNDS_S) + 1).map(tuple)


def sample(minutes_ago: float, depth: int = 0, **figures) -> Sample:
    return Sample(NOW - timedelta(minutes=minutes_ago), depth, figures.pop("parked", 0), 0, **figures)


@pytest.mark.parametrize(
    ("hours", "step_min", "steps"), [(1, 5, 12), (30, 5, 360), (31, 15, 124), (72, 15, 288), (168, 30, 336)]
)
def test_a_span_has_steps_that_a_plot_can_show(hours, step_min, steps):
    """The step grows with the time that is asked for; it begins at a round minute, and now is in the last one."""
    span = Span.of(hours, NOW)
    assert (span.step, span.steps) == (timedelta(minutes=step_min), steps)
    assert span.start.timestamp() % (step_min * 60) == 0
    assert span.until - span.step <= NOW < span.until


@given(st.integers(1, MOST_HOURS), st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001 - made aware
def test_any_span_at_any_time_is_bounded(hours, at):
    """Whatever is asked for, and whatever the clock says: at most 360 steps, and the last holds now."""
    now = at.replace(tzinfo=UTC)
    span = Span.of(hours, now)
    assert span.steps <= 360
    assert span.until - span.step <= now < span.until
    assert span.step * span.steps >= timedelta(hours=hours)


def test_a_point_is_the_highest_of_its_step():
    """A queue that was full for a minute shows, and so does an age that was high for one; counts add up."""
    taken = [
        sample(1, 3, parked=1, oldest_age_s=60, answers=(0, 2), delivered={"voyado": (1,)}),
        sample(0, 9, replica_age_s=300, answers=(5,), delivered={"antavo": (0, 1), "voyado": (2,)}),
    ]
    (point,) = points(taken, Span.of(24, NOW))
    assert point == Sample(
        datetime(2026, 11, 20, 9, 5, tzinfo=UTC), 9, 1, 0, 60, 300, (5, 2), {"antavo": (0, 1), "voyado": (3,)}
    )  # fmt: skip


def test_what_was_not_noted_is_not_made_up():
    """A step without a sample has no point, and what lies outside of the span none either."""
    found = points([sample(0), sample(120), sample(60 * 25), sample(-60)], Span.of(24, NOW))
    assert [point.at.hour for point in found] == [7, 9]


def test_an_hour_that_was_lived_through_twice_is_one():
    """The clock was put back: both times count for the hour that they were taken in."""
    (before, again) = (sample(30, 4), sample(30.2, 7))
    (point,) = points([before, sample(0), again], Span.of(24, NOW))[:1]
    assert point.depth == 7


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ((), 0.5, 0.0),
        ((10,), 0.5, 0.00025),
        ((0, 0, 0, 100), 0.5, 0.00375),
        ((90, 0, 0, 0, 0, 0, 10), 0.95, 0.0375),
        ((0,) * 13 + (1,), 0.99, 10.0),
        ((99,) + (0,) * 12 + (1,), 0.5, 0.0005 * 50 / 99),
    ],
    ids=["nothing", "the-first", "in-its-class", "the-tail", "beyond-all", "mostly-fast"],
)
def test_percentiles_of_classes(counts, share, expected):
    """A percentile lies in its class, in proportion; beyond the last bound it is that bound."""
    assert quantile_s(counts, ANSWER_BOUNDS_S, share) == pytest.approx(expected)


@given(COUNTS)
def test_percentiles_never_fall(counts):
    """The more are to be within it, the longer the time; and it is never below the first that was counted."""
    shares = [quantile_s(counts, ANSWER_BOUNDS_S, share) for share in (0.5, 0.95, 0.99)]
    assert shares == sorted(shares)
    assert all(0.0 <= time <= ANSWER_BOUNDS_S[-1] for time in shares)


@given(COUNTS, COUNTS)
def test_what_was_counted_between_two_looks(before, more):
    """The difference of two looks, joined to the first, is the second."""
    now = tuple(
        (before[place] if place < len(before) else 0) + (more[place] if place < len(more) else 0)
        for place in range(max(len(before), len(more)))
    )
    new = since(now, before)
    assert sum(new) == sum(more)
    assert not new or new[-1]


def test_minutes_are_joined_as_they_are_kept():
    """Five minutes are one row, and joining rows again changes nothing."""
    minutes = [sample(minute, minute, answers=(1,)) for minute in range(20)]
    rows = joined(minutes)
    assert [row.at.minute for row in rows] == [45, 50, 55, 0, 5]
    assert sum(row.answers[0] for row in rows) == 20
    assert joined(rows) == rows
    assert points(rows, Span.of(24, NOW)) == points(minutes, Span.of(24, NOW))


@pytest.mark.parametrize("bounds", [ANSWER_BOUNDS_S, DELIVERY_BOUNDS_S])
def test_classes_are_in_order(bounds):
    """A percentile needs bounds that grow."""
    assert list(bounds) == sorted(set(bounds))
