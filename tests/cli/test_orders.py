"""Watching an order: it ends with the state that it leaves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agent.cli import orders

OLD, NEW = datetime(2020, 1, 1, tzinfo=UTC), datetime.now(UTC) + timedelta(days=1)
READING = {"files": 2, "applied": 2, "rows": 20}


class Played:
    """An agent whose status is as told, one after the other; the last one stays."""

    def __init__(self, *statuses):
        self.statuses, self.ordered = list(statuses), []

    def post(self, path):
        self.ordered.append(path)

    def status(self):
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]


class Quiet:
    def say(self, _text):
        """Nobody listens."""


def status(as_of, loading, *codes):
    return {
        "state": "degraded" if codes else "online",
        "replica": {"as_of": as_of.isoformat(), "contacts": 20, "loading": loading},
        "conditions": [{"code": code} for code in codes],
    }


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(orders, "POLL_S", 0.001)
    monkeypatch.setattr(orders, "IDLE_S", 0.05)


def test_a_sync_ends_with_the_state_that_it_leaves():
    """What is new shows a moment before what it healed is told: the command waits for the sync's end."""
    daemon = Played(
        status(OLD, None, "feed.gap"),
        status(OLD, READING, "feed.gap"),
        status(NEW, READING, "feed.gap"),
        status(NEW, None),
    )
    outcome = orders._watch_sync(daemon, Quiet())
    assert (outcome.completed, outcome.status["state"], daemon.ordered) == (True, "online", ["/v1/sync"])


def test_a_sync_that_brings_nothing_says_why():
    """The conditions of the feed are named; the agent goes on by itself."""
    outcome = orders._watch_sync(Played(status(OLD, READING), status(OLD, None, "feed.unreadable")), Quiet())
    assert (outcome.completed, outcome.reason) == (False, "not completed (feed.unreadable)")
