"""When personal data has to go, and what goes.

A plan, pure: the store's purge carries it out. Ages are counted from instants the agent recorded itself.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

SWEEPS_AN_AGE = 10
SHORTEST_SWEEP, LONGEST_SWEEP = timedelta(seconds=1), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """`[retention]` and the vendor's restore window."""

    delivered: timedelta
    undelivered: timedelta
    audit: timedelta
    tombstones: timedelta


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """What is to be erased: everything recorded before each of these instants.

    Attributes:
        delivered_before: personal parts of sales delivered before.
        accepted_before: personal parts of sales accepted before, whatever their state; they are parked.
        audit_before: whole records accepted before.
        tombstones_before: tombstones of contacts deleted before.
    """

    delivered_before: datetime
    accepted_before: datetime
    audit_before: datetime
    tombstones_before: datetime


def plan(policy: RetentionPolicy, now: datetime) -> RetentionPlan:
    """What has to go at ``now``."""
    return RetentionPlan(
        delivered_before=_before(now, policy.delivered),
        accepted_before=_before(now, policy.undelivered),
        audit_before=_before(now, policy.audit),
        tombstones_before=_before(now, policy.tombstones),
    )


def sweep_every(policy: RetentionPolicy) -> timedelta:
    """How often sales are looked at, so that none outstays its age by more than a tenth of the shortest.

    Never more often than each second, nor less often than each hour.
    """
    shortest = min(policy.delivered, policy.undelivered, policy.audit)
    return min(max(shortest / SWEEPS_AN_AGE, SHORTEST_SWEEP), LONGEST_SWEEP)


def _before(now: datetime, age: timedelta) -> datetime:
    try:
        return now - age
    except OverflowError:  # so long that nothing is ever that old
        return datetime.min.replace(tzinfo=UTC)
