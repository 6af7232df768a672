"""The cursor of the customer feed: what is written can be read, and nothing else can."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from agent.connectors.sweeping import Place, Sweeping
from agent.connectors.voucherify.progress import Progress, parse_progress
from agent.errors import FeedError

AT = datetime(2026, 2, 14, 16, 0, 0, 123000, tzinfo=UTC)
SWEEP = Sweeping(AT, Place(AT, 7), AT - timedelta(minutes=10))
UNDER_WAY = {"begun_at": AT.isoformat(), "at": AT.isoformat(), "page": 1, "changes_at": AT.isoformat()}


@pytest.mark.parametrize(
    "progress",
    [Progress(AT, AT, AT), Progress(sweep=SWEEP), Progress(AT, AT, AT, SWEEP)],
    ids=["between sweeps", "the first load", "a later sweep"],
)
def test_what_is_written_can_be_read(progress):
    """A cursor says all of it."""
    assert parse_progress(progress.cursor()) == progress


def test_without_a_cursor():
    """Nothing is read yet."""
    assert parse_progress(None) == Progress()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "7",
        "[]",
        "{}",
        "[" * 100_000,
        json.dumps({"created_at": AT.isoformat(), "swept_at": AT.isoformat()}),
        json.dumps({"created_at": "2026-02-14T16:00:00", "updated_at": AT.isoformat(), "swept_at": AT.isoformat()}),
        json.dumps({"created_at": "9999-02-14T16:00:00Z", "updated_at": AT.isoformat(), "swept_at": AT.isoformat()}),
        json.dumps({"created_at": 7, "updated_at": AT.isoformat(), "swept_at": AT.isoformat()}),
        json.dumps({"sweep": 7}),
        json.dumps({"sweep": {**UNDER_WAY, "page": 0}}),
        json.dumps({"sweep": {**UNDER_WAY, "page": 100}}),
        json.dumps({"sweep": {**UNDER_WAY, "page": True}}),
        json.dumps({"sweep": {**UNDER_WAY, "page": "1"}}),
        json.dumps({"sweep": {key: value for key, value in UNDER_WAY.items() if key != "at"}}),
        json.dumps({"from_at": AT.isoformat()}),
    ],
)
def test_what_is_no_cursor(cursor):
    """A cursor that is none of this feed's is refused, whatever it is."""
    with pytest.raises(FeedError):
        parse_progress(cursor)


def test_it_never_goes_back():
    """What is read stays read."""
    progress = Progress(AT, AT, AT).reached("created_at", AT - timedelta(seconds=2))
    assert progress.created_at == AT
