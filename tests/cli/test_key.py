"""`key rotate`: what it does to the files, and what it leaves to others. That nothing is lost is in tests/faults."""

from __future__ import annotations

import base64
import json

import pytest

from agent.settings import load
from agent.state import State
from agent.store.audit import AuditTrail


@pytest.fixture
def state(config):
    from agent.connectors.registry import settings_models

    return State(load(config=config, vendors=settings_models(), environ={}, secrets=False))


def key_of(state, name="storage.key"):
    return base64.b64decode((state.directory / name).read_bytes())


def test_a_stopped_agents_key_is_exchanged_now(call, answer, state):
    """Another key stands in the file, and the answer says what was moved."""
    with state.held():
        state.keys(may_create=True)
    before = key_of(state)
    told = answer("key", "rotate")

    assert told == {"key": "file:storage.key", "rotated": True, "files": []}
    assert key_of(state) != before
    assert not (state.directory / "storage.key.next").exists()
    assert [entry["event"] for entry in AuditTrail(state.directory).entries()] == ["key.rotated"]
    done = call("key", "rotate")
    assert done.exit_code == 0
    assert done.stdout.startswith("file:storage.key: exchanged in 0.")


def test_a_running_agent_does_it_at_its_next_start(call, answer, state):
    """The key is made and waits, once; nothing else is touched."""
    with state.held():
        state.keys(may_create=True)
        before = key_of(state)
        told = answer("key", "rotate")
        following = key_of(state, "storage.key.next")
        again = call("key", "rotate")

    assert told == {"key": "file:storage.key", "rotated": False, "files": []}
    assert key_of(state) == before
    assert key_of(state, "storage.key.next") == following
    assert "when it is next started" in again.stdout
    call("key", "rotate")
    assert key_of(state) == following


def test_a_key_that_is_handed_over_is_not_made_here(call, configure, monkeypatch):
    """64, in words that say what to do; with its predecessor named it is exchanged."""
    config = configure(more='\n[storage]\nkey = "env:MADE_UP_NEW"\n')
    monkeypatch.setenv("MADE_UP_NEW", base64.b64encode(b"n" * 32).decode())
    refused = call("key", "rotate", "--json")

    assert refused.exit_code == 64
    error = json.loads(refused.stdout)["error"]
    assert (error["code"], "storage.previous_key" in error["message"]) == ("usage.mistaken", True)
    config.write_text(config.read_text() + 'previous_key = "env:MADE_UP_OLD"\n')
    assert "MADE_UP_OLD is empty" in call("key", "rotate").stderr
    monkeypatch.setenv("MADE_UP_OLD", base64.b64encode(b"o" * 32).decode())
    assert call("key", "rotate").exit_code == 0


def test_beside_a_running_agent_a_key_is_handed_over_at_its_next_start(answer, call, configure, monkeypatch, state):
    """There is nothing to make; without a predecessor there is nothing to do either."""
    config = configure(more='\n[storage]\nkey = "env:MADE_UP_NEW"\n')
    monkeypatch.setenv("MADE_UP_NEW", base64.b64encode(b"n" * 32).decode())
    with state.held():
        assert call("key", "rotate").exit_code == 64
        config.write_text(config.read_text() + 'previous_key = "env:MADE_UP_OLD"\n')
        assert answer("key", "rotate")["rotated"] is False


def test_databases_without_their_key_are_78(call, state):
    """Nothing is made beside them."""
    with state.held():
        pass
    (state.directory / "outbox.db").write_bytes(b"")
    done = call("key", "rotate")

    assert done.exit_code == 78
    assert "their key is missing" in done.stderr
    assert not (state.directory / "storage.key").exists()
