"""The cursor of the member feed: what is written can be read, and nothing else can."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from agent.connectors.antavo.progress import Progress, bounded, parse_progress
from agent.connectors.sweeping import Place, Sweeping
from agent.errors import FeedError

AT = datetime(2026, 2, 14, 16, 0, 0, 123000, tzinfo=UTC)
SWEEP = Sweeping(AT, Place(AT, 700), AT - timedelta(minutes=10))
UNDER_WAY = {"begun_at": AT.isoformat(), "at": AT.isoformat(), "offset": 0, "changes_at": AT.isoformat()}


@pytest.mark.parametrize(
    "progress",
    [Progress(AT, AT), Progress(sweep=SWEEP), Progress(AT, AT, SWEEP), Progress(AT, AT, None, ("a", "b"), ("c",))],
    ids=["between sweeps", "the first load", "a later sweep", "members to ask for"],
)
def test_what_is_written_can_be_read(progress):
    """A cursor says all of it."""
    assert parse_progress(progress.cursor()) == progress


@pytest.mark.parametrize("cursor", [None, "list ", "list 2026-02-14T10:00:00+00:00 17 0f6c"])
def test_without_a_cursor(cursor):
    """Nothing is read yet, also where a folder was the feed before."""
    assert parse_progress(cursor) == Progress()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "7",
        "[]",
        "{}",
        "[" * 100_000,
        json.dumps({"swept_at": AT.isoformat()}),
        json.dumps({"changed_at": "2026-02-14T16:00:00"}),
        json.dumps({"changed_at": "9999-02-14T16:00:00Z"}),
        json.dumps({"changed_at": 7}),
        json.dumps({"changed_at": AT.isoformat(), "pending": "abc"}),
        json.dumps({"changed_at": AT.isoformat(), "unread": [7]}),
        json.dumps({"changed_at": AT.isoformat(), "unread": [""]}),
        json.dumps({"sweep": UNDER_WAY, "pending": ["a"]}),
        json.dumps({"sweep": 7}),
        json.dumps({"sweep": {**UNDER_WAY, "offset": -1}}),
        json.dumps({"sweep": {**UNDER_WAY, "offset": True}}),
        json.dumps({"sweep": {**UNDER_WAY, "offset": "1"}}),
        json.dumps({"sweep": {key: value for key, value in UNDER_WAY.items() if key != "at"}}),
        json.dumps({"from_at": AT.isoformat()}),
    ],
)
def test_what_is_no_cursor(cursor):
    """A cursor that is none of this feed's is refused, whatever it is."""
    with pytest.raises(FeedError):
        parse_progress(cursor)


def test_it_never_goes_back():
    """What is read stays read; only a sweep that was hardly everybody has what came since it began read again."""
    progress = Progress(AT, AT)
    assert progress.reached(AT - timedelta(seconds=2)).changed_at == AT
    assert progress.swept(SWEEP).changed_at == AT
    assert progress.given_up(SWEEP).changed_at == SWEEP.changes_at


@pytest.mark.parametrize("year", [1970, 2026, 2300])
def test_an_instant_that_a_cursor_can_hold(year):
    """Whatever a till's clock says, the cursor that is written can be read."""
    at = bounded(AT.replace(year=year))
    assert parse_progress(Progress(at, at).cursor()).changed_at == at
