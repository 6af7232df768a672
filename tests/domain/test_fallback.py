"""The level being served, and the agent's state."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.domain.fallback import Served, agent_state, level_served, served

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("configured", "answers", "usable", "keys", "expected"),
    [
        pytest.param(1, True, True, True, 1, id="1 stays 1"),
        pytest.param(2, True, False, True, 2, id="2, line up"),
        pytest.param(3, True, False, False, 3, id="3, line up, whatever the replica"),
        pytest.param(4, True, True, True, 4, id="4, line up"),
        pytest.param(1, False, True, True, 1, id="1, line down"),
        pytest.param(2, False, True, True, 2, id="2 has no replica to read"),
        pytest.param(2, False, False, False, 1, id="2 without secondary keys"),
        pytest.param(3, False, True, True, 3, id="3, line down"),
        pytest.param(3, False, True, False, 3, id="3 needs no secondary keys"),
        pytest.param(3, False, False, True, 2, id="3, replica expired"),
        pytest.param(3, False, False, False, 1, id="3, replica expired, no secondary keys"),
        pytest.param(4, False, True, True, 4, id="4, line down"),
    ],
)
def test_the_level_served(configured, answers, usable, keys, expected):
    """The configured level while the vendor answers, less when less does."""
    level = level_served(configured=configured, vendor_answers=answers, replica_usable=usable, secondary_keys=keys)

    assert level == expected


@pytest.mark.parametrize(
    ("source", "as_of", "expected"),
    [
        pytest.param("replica", None, Served("none", None, None, stale=False, level=3), id="nothing served"),
        pytest.param("none", None, Served("none", None, None, stale=False, level=3), id="none"),
        pytest.param("replica", NOW - timedelta(seconds=312.9), Served("replica", NOW - timedelta(seconds=312.9), 312,
                     stale=False, level=3), id="fresh"),
        pytest.param("replica", NOW - DAY, Served("replica", NOW - DAY, 86400, stale=False, level=3), id="just fresh"),
        pytest.param("replica", NOW - 2 * DAY, Served("replica", NOW - 2 * DAY, 172800, stale=True, level=3),
                     id="stale"),
        pytest.param("live", NOW - 2 * DAY, Served("live", NOW - 2 * DAY, 172800, stale=False, level=3),
                     id="live is never stale"),
        pytest.param("replica", NOW + DAY, Served("replica", NOW + DAY, 0, stale=False, level=3),
                     id="a clock that went back makes nothing younger than now"),
    ],
)  # fmt: skip
def test_how_an_answer_was_served(source, as_of, expected):
    """Source, instant, age in whole seconds, and whether that is too old."""
    assert served(source, as_of=as_of, now=NOW, stale_after=DAY, level=3) == expected


@pytest.mark.parametrize(
    ("answers", "links", "troubled", "expected"),
    [
        pytest.param(None, [], False, "online", id="not asked yet"),
        pytest.param(True, ["online"], False, "online", id="all well"),
        pytest.param(True, ["online"], True, "degraded", id="something stands in the way"),
        pytest.param(True, ["degraded"], False, "degraded", id="credentials refused"),
        pytest.param(True, ["online", "offline"], False, "degraded", id="another system is away"),
        pytest.param(False, ["offline"], True, "offline", id="the loyalty system is away"),
    ],
)
def test_the_agents_state(answers, links, troubled, expected):
    """Offline is the loyalty system's alone; anything else wrong is degraded."""
    state = agent_state(loyalty_answers=answers, link_states=links, troubled=troubled)

    assert state == expected
