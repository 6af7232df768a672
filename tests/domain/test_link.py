"""What is known about the line to one vendor."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.domain.link import Link
from agent.domain.pacing import BreakerState

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


@pytest.fixture(name="changes")
def _changes() -> list[str]:
    """The states that were announced."""
    return []


@pytest.fixture(name="link")
def _link(changes) -> Link:
    """A line that has not been used."""
    link = Link(
        "voyado",
        "loyalty",
        requests_per_second=5.0,
        backoff_first_s=10.0,
        backoff_max_s=900.0,
        uniform=lambda _low, high: high,
        on_change=lambda: changes.append(link.state),
    )
    return link


def test_an_unused_line_counts_as_there(link, changes):
    """Nothing is known to be wrong, and nothing was announced."""
    assert (link.state, link.answers, link.since, link.reached_mono) == ("online", None, None, None)
    assert changes == []


@pytest.mark.parametrize(
    ("events", "state"),
    [
        pytest.param(["worked"], "online", id="works"),
        pytest.param(["silent"], "offline", id="silent"),
        pytest.param(["credentials_refused"], "degraded", id="credentials refused"),
        pytest.param(["credentials_refused", "answered"], "degraded", id="another answer says nothing of credentials"),
        pytest.param(["credentials_refused", "silent"], "offline", id="refused, then silent"),
        pytest.param(["credentials_refused", "silent", "answered"], "degraded", id="back, still refused"),
        pytest.param(["credentials_refused", "worked"], "online", id="a new key"),
        pytest.param(["silent", "answered"], "online", id="back"),
    ],
)
def test_states(link, events, state):
    """Silence is offline, a refusal of credentials degraded, everything else online."""
    for event in events:
        getattr(link, event)(NOW, 1.0)

    assert link.state == state


def test_changes_are_announced_once(link, changes):
    """One call for each change, none for more of the same; the instant is the change's."""
    for second in range(3):
        link.silent(NOW + timedelta(seconds=second), float(second))
    assert (changes, link.since) == (["offline"], NOW)

    link.worked(NOW + timedelta(seconds=9), 9.0)
    link.answered(NOW + timedelta(seconds=10), 10.0)
    assert changes == ["offline", "online"]
    assert link.last_success_at == NOW + timedelta(seconds=9)
    assert link.reached_mono == 10.0


def test_look_ups_do_not_stop_deliveries(link):
    """A vendor too slow for a cashier still takes sales."""
    for _ in range(5):
        link.too_slow(1.0)

    assert not link.lookups.allows(1.0)
    assert link.sending.allows(1.0)
    assert link.answers is None


def test_deliveries_do_not_stop_look_ups(link):
    """Failing deliveries alone do not keep a cashier from asking."""
    for _ in range(5):
        link.silent(NOW, 1.0)

    assert not link.sending.allows(1.0)
    assert link.lookups.allows(1.0)


@pytest.mark.parametrize("lookup", [True, False], ids=["drawn by a look-up", "drawn by a delivery"])
def test_the_vendors_wish_holds_for_every_call(link, lookup):
    """A `Retry-After` is the API key's, whichever call drew it, and a late answer does not end it."""
    link.silent(NOW, 0.0, lookup=lookup, after_s=60.0)
    link.answered(NOW, 1.0, lookup=lookup)

    assert not link.sending.allows(59.0)
    assert not link.lookups.allows(59.0)
    assert link.sending.allows(60.0)
    assert link.lookups.allows(60.0)


def test_a_look_up_is_tried_again_soon(link):
    """A cashier waits for no long back-off: half a minute at most."""
    now = 0.0
    for _ in range(10):
        while link.lookups.allows(now) and link.lookups.state is BreakerState.CLOSED:
            link.silent(NOW, now, lookup=True)
        assert link.lookups.wait_s(now) <= 30.0
        now += link.lookups.wait_s(now)
        link.lookups.allows(now)
        link.silent(NOW, now, lookup=True)


def test_the_share_of_the_key(link):
    """A second's share may go out at once, then the rate holds."""
    assert [link.bucket.wait_s(0.0) for _ in range(5)] == [0.0] * 5
    assert link.bucket.wait_s(0.0) == pytest.approx(0.2)


def test_the_vendors_clock(link):
    """What its `Date` says of ours is kept."""
    link.heard_time(-3.5)

    assert link.skew_s == -3.5


def test_why_it_does_not_answer(link):
    """The reason is that of the latest attempt, and goes when the line is back."""
    link.silent(NOW, 1.0, why="it refuses connections")
    assert link.why == "it refuses connections"
    link.silent(NOW, 2.0, why="it does not answer in time")
    assert link.why == "it does not answer in time"
    link.answered(NOW, 3.0)
    assert link.why == ""


def test_a_look_up_s_reason_counts_while_there_is_no_other(link):
    """A cashier's question tells why a line went away, and changes nothing that a delivery told."""
    link.silent(NOW, 1.0, lookup=True, why="it cut the connection")
    assert link.why == "it cut the connection"
    link.silent(NOW, 2.0, why="it refuses connections")
    link.silent(NOW, 3.0, lookup=True, why="it cut the connection")
    assert link.why == "it refuses connections"


YEARS, MINUTE = timedelta(days=3 * 365), timedelta(minutes=1)


@pytest.mark.parametrize(
    ("till", "accepted", "put_right", "skew", "corrected"),
    [
        pytest.param(NOW, NOW, timedelta(), MINUTE, None, id="a minute off is nothing"),
        pytest.param(NOW - 3 * MINUTE, NOW, timedelta(), timedelta(), None, id="posted late by a right clock"),
        pytest.param(NOW - YEARS, NOW - YEARS, timedelta(), YEARS, NOW, id="still wrong"),
        pytest.param(NOW - YEARS - 5 * MINUTE, NOW - YEARS, timedelta(), YEARS, NOW - 5 * MINUTE, id="posted late"),
        pytest.param(NOW - YEARS, NOW, YEARS, timedelta(), NOW, id="put right since"),
        pytest.param(NOW - YEARS, NOW - 5 * MINUTE, YEARS - 5 * MINUTE, 5 * MINUTE, NOW, id="put right in part"),
        pytest.param(NOW, NOW - YEARS, timedelta(), YEARS, None, id="the till's own clock is right"),
        pytest.param(NOW, NOW, YEARS, timedelta(), None, id="the till's own clock was right"),
        pytest.param(NOW + YEARS, NOW + YEARS, timedelta(), -YEARS, NOW, id="ahead"),
        pytest.param(NOW - YEARS, NOW - YEARS, timedelta(), timedelta(), NOW, id="put right between two runs"),
        pytest.param(NOW + YEARS, NOW + YEARS, timedelta(), timedelta(), NOW, id="ahead, put right between two runs"),
        pytest.param(NOW - 9 * YEARS, NOW - YEARS, timedelta(), YEARS, NOW, id="another wrong clock"),
    ],
)
def test_a_sale_dated_by_a_wrong_clock_is_dated_by_the_vendors(  # noqa: PLR0917 - a table's columns
    link, till, accepted, put_right, skew, corrected
):
    """Only where our clock was wrong and the till's with it; the delay between sale and acceptance is kept."""
    link.heard_time(skew.total_seconds())
    wall = NOW - skew

    assert link.corrected(till, accepted, put_right, wall) == corrected
