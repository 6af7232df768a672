"""When personal data has to go."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.domain.retention import RetentionPlan, RetentionPolicy, plan, sweep_every

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
POLICY = RetentionPolicy(
    delivered=timedelta(hours=24),
    undelivered=timedelta(days=30),
    audit=timedelta(days=400),
    tombstones=timedelta(days=7),
)


def test_the_plan():
    """Each kind of record goes by its own age."""
    assert plan(POLICY, NOW) == RetentionPlan(
        delivered_before=datetime(2026, 11, 19, 9, 0, tzinfo=UTC),
        accepted_before=datetime(2026, 10, 21, 9, 0, tzinfo=UTC),
        audit_before=datetime(2025, 10, 16, 9, 0, tzinfo=UTC),
        tombstones_before=datetime(2026, 11, 13, 9, 0, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("ages", "expected"),
    [
        pytest.param({}, timedelta(hours=1), id="as shipped"),
        pytest.param({"delivered": timedelta(hours=1)}, timedelta(minutes=6), id="an hour"),
        pytest.param({"undelivered": timedelta(seconds=30)}, timedelta(seconds=3), id="seconds, undelivered"),
        pytest.param({"audit": timedelta(seconds=30)}, timedelta(seconds=3), id="seconds, audit"),
        pytest.param({"delivered": timedelta(milliseconds=1)}, timedelta(seconds=1), id="not more than each second"),
    ],
)
def test_how_often_sales_are_looked_at(ages, expected):
    """By the shortest age."""
    assert sweep_every(replace(POLICY, **ages)) == expected


def test_an_age_beyond_the_calendar_means_never():
    """Retention for a million years erases nothing, instead of failing."""
    ages = dict.fromkeys(("delivered", "undelivered", "audit", "tombstones"), timedelta(days=999_999_999))

    decided = plan(RetentionPolicy(**ages), NOW)

    assert decided.delivered_before == decided.audit_before == datetime.min.replace(tzinfo=UTC)
