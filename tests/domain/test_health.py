"""Conditions: what stands, since when, and how bad it is."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.domain.health import SEVERITY, Condition, Conditions

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def test_a_condition_keeps_its_beginning():
    """Said again, it stands since it was said first; its detail is the newest."""
    edges = []
    conditions = Conditions(on_edge=lambda *edge: edges.append(edge))
    conditions.set("queue.parked", stands=True, now=NOW, detail="1")
    conditions.set("queue.parked", stands=True, now=LATER, detail="1")
    conditions.set("queue.parked", stands=True, now=LATER, detail="2")

    assert conditions.standing() == (Condition("queue.parked", NOW, "2"),)
    assert edges == [("queue.parked", True, "1"), ("queue.parked", True, "2")]


def test_a_condition_goes_once():
    """What does not stand cannot go."""
    edges = []
    conditions = Conditions(on_edge=lambda *edge: edges.append(edge))
    conditions.set("feed.gap", stands=False, now=NOW)
    conditions.set("feed.gap", stands=True, now=NOW)
    conditions.set("feed.gap", stands=False, now=LATER)
    conditions.set("feed.gap", stands=False, now=LATER)

    assert edges == [("feed.gap", True, ""), ("feed.gap", False, "")]
    assert not conditions.stands("feed.gap")


def test_the_oldest_stands_first():
    """A reader sees what began first at the top."""
    conditions = Conditions()
    conditions.set("replica.stale", stands=True, now=LATER)
    conditions.set("vendor.offline", stands=True, now=NOW)
    conditions.set("feed.silent", stands=True, now=NOW)

    assert [condition.code for condition in conditions.standing()] == ["feed.silent", "vendor.offline", "replica.stale"]


def test_only_published_codes_can_stand():
    """A code that the contract does not know is a mistake of ours."""
    with pytest.raises(KeyError):
        Conditions().set("vendor.tired", stands=True, now=NOW)


@pytest.mark.parametrize("code", SEVERITY)
def test_every_condition_has_a_severity(code):
    """Each is a warning or an error, but for what is merely told."""
    told = {"storage.unencrypted"}
    assert Condition(code, NOW).severity in ({"info"} if code in told else {"warning", "error"})


@pytest.mark.parametrize("code", SEVERITY)
def test_what_is_over_or_merely_told_does_not_degrade(code):
    """Whoever has nothing to wait for is online, whatever people are still told of."""
    told = {"storage.unencrypted", "benefits.lost", "benefits.stuck"}
    assert Condition(code, NOW).degrades is (code not in told)
