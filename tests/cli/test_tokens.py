"""`token add|list|rotate|revoke`, without a running agent."""

import os
import stat
import tempfile
from pathlib import Path

import pytest

from agent.clock import SystemClock
from agent.store.audit import AuditTrail
from agent.tokens import Tokens


def test_a_tokens_life(answer, call, config):
    """A token is made, listed without itself, taken by the agent, and refused once it is revoked."""
    state = config.parent / "state"
    made = answer("token", "add", "till-03", "--scope", "pos")
    tokens = Tokens(state, SystemClock())

    assert made.keys() == {"name", "scope", "token"}
    assert tokens.verify(made["token"]).name == "till-03"
    listed = answer("token", "list")["tokens"]
    assert [(row["name"], row["scope"]) for row in listed] == [("till-03", "pos")]
    assert made["token"] not in call("token", "list").output
    assert made["token"] not in (state / "tokens.json").read_text()
    assert stat.S_IMODE(state.stat().st_mode) == 0o700

    assert answer("token", "revoke", "till-03") == {"name": "till-03", "revoked": True}
    assert Tokens(state, SystemClock()).verify(made["token"]) is None
    assert call("token", "list").stdout == "There are no tokens.\n"


def test_people_read_the_store_s_time(answer, call, monkeypatch):
    """A command that reads the configuration shows instants in its zone; what programs read stays as it was written."""
    monkeypatch.setenv("LOYALTY_AGENT__AGENT__TIMEZONE", "Asia/Kathmandu")
    answer("token", "add", "till-03", "--scope", "pos")
    assert call("token", "list").stdout.rstrip().endswith("+05:45")
    assert answer("token", "list")["tokens"][0]["created_at"].endswith("+00:00")


def test_adding_and_revoking_is_recorded(call, config):
    """The audit trail says who may call since when, and until when; it does not have the token."""
    token = call("token", "add", "till-03", "--scope", "pos").stdout.strip()
    rotated = call("token", "rotate", "till-03").stdout.strip()
    call("token", "revoke", "till-03", "--old")
    call("token", "revoke", "till-03")
    call("token", "revoke", "nobody")
    trail = AuditTrail(config.parent / "state")

    assert [(entry["event"], entry["name"], entry.get("which")) for entry in trail.entries()] == [
        ("token.added", "till-03", None),
        ("token.rotated", "till-03", None),
        ("token.revoked", "till-03", "old"),
        ("token.revoked", "till-03", "every"),
    ]
    written = (config.parent / "state" / "audit.jsonl").read_text()
    assert token not in written
    assert rotated not in written


def test_the_bare_token_is_all_that_is_printed(call, config):
    """A script can take the token from standard output."""
    token = call("token", "add", "till-03", "--scope", "admin").stdout.strip()

    assert Tokens(config.parent / "state", SystemClock()).verify(token).scope == "admin"


def test_a_name_is_given_once(call):
    """A second token of the same name is refused, and the first one stays."""
    first = call("token", "add", "till-03", "--scope", "pos")
    second = call("token", "add", "till-03", "--scope", "pos")

    assert (first.exit_code, second.exit_code) == (0, 64)
    assert "is taken" in second.stderr


def test_a_token_is_replaced_without_a_gap(answer, call, config):
    """A second token of the name, both listed and taken; then the old one alone is ended."""
    old = answer("token", "add", "till-03", "--scope", "admin")["token"]
    made = answer("token", "rotate", "till-03")
    assert (made["name"], made["scope"]) == ("till-03", "admin")
    assert [row["name"] for row in answer("token", "list")["tokens"]] == ["till-03"] * 2
    assert call("token", "rotate", "till-03").exit_code == 64

    assert answer("token", "revoke", "till-03", "--old") == {"name": "till-03", "revoked": True}
    tokens = Tokens(config.parent / "state", SystemClock())
    assert (tokens.verify(old), tokens.verify(made["token"]).scope) == (None, "admin")
    assert call("token", "revoke", "till-03", "--old").exit_code == 1
    assert call("token", "rotate", "nobody").exit_code == 1


def test_revoking_nobody_is_told(call):
    """A name that is not there ends with 1."""
    assert call("token", "revoke", "nobody").exit_code == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand a file to somebody else")
def test_root_leaves_files_that_the_service_can_read(call, monkeypatch):
    """Whoever administers as root does not lock the agent's own user out of its tokens."""
    with tempfile.TemporaryDirectory() as name:
        open_to_all, state = Path(name), Path(name) / "state"
        open_to_all.chmod(0o755)
        state.mkdir(0o700)
        os.chown(state, 65534, 65534)
        monkeypatch.setenv("LOYALTY_AGENT__AGENT__STATE_DIR", name + "/state")

        assert call("token", "add", "till-03", "--scope", "pos").exit_code == 0

        assert {path.stat().st_uid for path in state.iterdir()} == {65534}
        assert os.geteuid() == 0
