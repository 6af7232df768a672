"""Secrets by reference."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from agent.errors import ConfigurationError
from agent.secrets import MAX_AGE_S, SecretReference, WatchedSecret
from tests.fakes import FakeClock

CANARY = "made-up-secret-canary"


@pytest.mark.parametrize("text", ["", "plain", "file:", "vault:x", ":x", "env"])
def test_what_is_no_reference(tmp_path, text):
    """A secret itself in the configuration is refused, and not repeated."""
    with pytest.raises(ValueError, match="is not a reference") as caught:
        SecretReference.parse(text, tmp_path)
    assert "plain" not in str(caught.value)


def test_the_three_kinds(tmp_path, monkeypatch):
    """A file beside the configuration or anywhere, a variable, a credential of the service manager."""
    (tmp_path / "a").write_text(f" {CANARY}\n\n")
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "key").write_text("from systemd")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    monkeypatch.setenv("MADE_UP", "from the environment")
    assert SecretReference.parse("file:a", tmp_path).read() == CANARY
    assert SecretReference.parse(f"file:{tmp_path / 'a'}", tmp_path / "elsewhere").read() == CANARY
    assert SecretReference.parse("env:MADE_UP", tmp_path).read() == "from the environment"
    assert SecretReference.parse("credential:key", tmp_path).read() == "from systemd"
    (tmp_path / "credentials" / "loyalty-agent_other").write_text("from a directory that systemd loads")
    assert SecretReference.parse("credential:other", tmp_path).read() == "from a directory that systemd loads"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file:none", "file:none cannot be read: No such file or directory"),
        ("file:binary", "file:binary cannot be read: is not UTF-8 text"),
        ("file:blank", "file:blank is empty"),
        ("env:NOT_SET", "env:NOT_SET is empty"),
        ("credential:key", "credential key: not started by a service manager that hands credentials over"),
    ],
)
def test_a_secret_that_cannot_be_read_is_named_alone(tmp_path, monkeypatch, text, message):
    """The reference, never a value."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "blank").write_text(" \n")
    with pytest.raises(ValueError, match=r"read|empty|service manager") as caught:
        SecretReference.parse(text, tmp_path).read()
    assert str(caught.value) == message


def test_a_credential_in_a_closed_directory(tmp_path, monkeypatch):
    """Outside the service nobody but root may look into it: a secret that cannot be read, as any other."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    def refused(path, *_how, **_more):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    for name in ("stat", "read_text"):
        monkeypatch.setattr(Path, name, refused)
    with pytest.raises(ValueError, match="credential:key cannot be read: Permission denied"):
        SecretReference.parse("credential:key", tmp_path).read()


@pytest.fixture
def watched(tmp_path):
    (tmp_path / "key").write_text("first")
    clock = FakeClock()
    return WatchedSecret(SecretReference.parse("file:key", tmp_path), clock), clock, tmp_path / "key"


def test_a_changed_secret_is_noticed_within_a_minute(watched):
    """And not read at every call."""
    secret, clock, path = watched
    assert secret.value() == "first"
    path.write_text("second")
    clock.advance(MAX_AGE_S - 1)
    assert secret.value() == "first"
    clock.advance(1)
    assert secret.value() == "second"


def test_a_refused_secret_is_read_at_once(watched):
    """A new key works as soon as the vendor has refused the old one."""
    secret, _, path = watched
    assert secret.value() == "first"
    path.write_text("second")
    secret.refused()
    assert secret.value() == "second"


def test_a_secret_that_disappears_goes_on_for_now(watched):
    """A key that is being replaced does not stop deliveries; the next look finds the new one."""
    secret, clock, path = watched
    assert secret.value() == "first"
    path.unlink()
    clock.advance(MAX_AGE_S)
    assert secret.value() == "first"
    path.write_text("second")
    clock.advance(MAX_AGE_S)
    assert secret.value() == "second"


def test_a_secret_that_was_never_there_is_an_error(tmp_path):
    """Named by its reference."""
    secret = WatchedSecret(SecretReference.parse("file:none", tmp_path), FakeClock())
    with pytest.raises(ConfigurationError, match="file:none"):
        secret.value()
