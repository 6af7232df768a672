"""How the agent was over the last days: what is noted of a minute, and how minutes become the points of a plot.

Times are counted in classes, as Prometheus' histograms are: counts of a class add up over minutes and days, and a
percentile of them is right to the width of a class; an average of percentiles would be none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import Final

Counts = tuple[int, ...]
"""How many fell into each class: up to its bound and above the one before; the last has no bound. Zeros at the end are
left out."""

ANSWER_BOUNDS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Of the time from a request's head to the end of its answer."""
DELIVERY_BOUNDS_S: Final = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0, 604800.0)
"""Of the time from a sale's acceptance to its delivery: seconds on a good day, days after an outage."""

EVERY: Final = timedelta(minutes=1)
NOTED: Final = timedelta(minutes=5)
"""So much goes to disk together: what a week of minutes would take to read, a till that waits would notice."""
KEPT: Final = timedelta(days=7)
MOST_HOURS: Final = KEPT // timedelta(hours=1)
_STEPS: Final = tuple(timedelta(minutes=minutes) for minutes in (5, 15, 30))
_MOST_POINTS: Final = 360


@dataclass(frozen=True, slots=True)
class Sample:
    """What is noted of a minute, or of several; ``answers`` and ``delivered`` count what happened in it.

    Attributes:
        at: when it was taken.
        depth: deliveries that wait, queued or held.
        parked: deliveries that a person has to decide about.
        in_doubt: deliveries of which nobody knows whether they arrived.
        oldest_age_s: of what waits; None when nothing does.
        replica_age_s: of the local contacts; None where there are none.
        answers: how long tills waited for the answer to a sale, in the classes of `ANSWER_BOUNDS_S`.
        delivered: by vendor, how long sales took to get there, in the classes of `DELIVERY_BOUNDS_S`.
    """

    at: datetime
    depth: int
    parked: int
    in_doubt: int
    oldest_age_s: int | None = None
    replica_age_s: int | None = None
    answers: Counts = ()
    delivered: Mapping[str, Counts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """A time with an end, cut into steps of one length.

    Attributes:
        start: of the first step; a multiple of ``step`` since 1970.
        step: how long each is.
        steps: how many; the last is the one that ``now`` is in.
    """

    start: datetime
    step: timedelta
    steps: int

    @classmethod
    def of(cls, hours: int, now: datetime) -> Span:
        """The last hours, in the shortest steps that make no more points than a plot can show."""
        length = timedelta(hours=hours)
        step = next((step for step in _STEPS if length / step <= _MOST_POINTS), _STEPS[-1])
        steps = -(-length // step)
        return cls(beginning(now, step) - step * (steps - 1), step, steps)

    @property
    def until(self) -> datetime:
        """The end of its last step."""
        return self.start + self.step * self.steps


def points(samples: Iterable[Sample], span: Span) -> list[Sample]:
    """One sample for each step that has any, in order: the highest figures, and all that was counted.

    A step without one is a time when nothing was noted: the agent did not run, or did not know its queue. ``at`` is
    where the step begins. Samples may come in any order: a clock that was put back has lived through an hour twice.
    """
    return [sample for sample in joined(samples, span.step) if span.start <= sample.at < span.until]


def joined(samples: Iterable[Sample], step: timedelta = NOTED) -> list[Sample]:
    """One sample for each step of time that has any, in order; ``at`` is where the step begins."""
    found: defaultdict[datetime, list[Sample]] = defaultdict(list)
    for sample in samples:
        found[beginning(sample.at, step)].append(sample)
    return [_one(at, found[at]) for at in sorted(found)]


def beginning(instant: datetime, step: timedelta = NOTED) -> datetime:
    """Where the step of time begins that an instant is in; steps are counted from 1970."""
    seconds = step.total_seconds()
    return datetime.fromtimestamp(instant.timestamp() // seconds * seconds, UTC)


def quantile_s(counts: Counts, bounds: Sequence[float], share: float) -> float:
    """The time that a share of all stayed within, in seconds; of nothing that was counted it is 0.

    Within its class it is taken to lie where it would if all of them were spread evenly; beyond the last bound it is
    that bound.
    """
    wanted, before = sum(counts) * share, 0
    if not counts:
        return 0.0
    for place, count in enumerate(counts[: len(bounds)]):
        if count and before + count >= wanted:
            low = bounds[place - 1] if place else 0.0
            return low + (bounds[place] - low) * (wanted - before) / count
        before += count
    return bounds[-1]


def since(now: Counts, before: Counts) -> Counts:
    """What was counted between two looks at counters that only grow."""
    return _trimmed([here - there for here, there in zip_longest(now, before, fillvalue=0)])


def _one(at: datetime, samples: Sequence[Sample]) -> Sample:
    vendors = sorted({vendor for sample in samples for vendor in sample.delivered})
    return Sample(
        at,
        max(sample.depth for sample in samples),
        max(sample.parked for sample in samples),
        max(sample.in_doubt for sample in samples),
        max((sample.oldest_age_s for sample in samples if sample.oldest_age_s is not None), default=None),
        max((sample.replica_age_s for sample in samples if sample.replica_age_s is not None), default=None),
        _sum(sample.answers for sample in samples),
        {vendor: _sum(sample.delivered.get(vendor, ()) for sample in samples) for vendor in vendors},
    )


def _sum(counts: Iterable[Counts]) -> Counts:
    return _trimmed([sum(of_a_class) for of_a_class in zip_longest(*counts, fillvalue=0)])


def _trimmed(counts: list[int]) -> Counts:
    while counts and not counts[-1]:
        counts.pop()
    return tuple(counts)
