"""Secrets by reference, and the one the agent makes itself."""

from __future__ import annotations

import base64
import os
import stat

import pytest

from agent.errors import ConfigurationError, StorageKeyError
from agent.secrets import MAX_AGE_S, SecretReference, WatchedSecret, storage_key, subkey
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


# --- the storage key ------------------------------------------------------------------------------------------


def reference(tmp_path, text="file:storage.key"):
    return SecretReference.parse(text, tmp_path)


def test_the_key_is_made_once(tmp_path):
    """At the first start, 32 random bytes, for the owner alone; then it is read."""
    key = storage_key(reference(tmp_path), may_create=True)
    assert len(key) == 32
    assert storage_key(reference(tmp_path), may_create=True) == key
    assert storage_key(reference(tmp_path), may_create=False) == key
    assert stat.S_IMODE((tmp_path / "storage.key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["storage.key"]


def test_no_two_keys_are_alike(tmp_path):
    """Each installation has its own."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert storage_key(reference(tmp_path / "a"), may_create=True) != storage_key(
        reference(tmp_path / "b"), may_create=True
    )


def test_a_key_lost_beside_its_databases_is_not_made_anew(tmp_path):
    """They could never be read again; the error says so and nothing is written."""
    with pytest.raises(StorageKeyError, match="there are databases, but their key is missing"):
        storage_key(reference(tmp_path), may_create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_draft_left_by_a_kill_is_replaced(tmp_path):
    """A power cut while the key was being made leaves nothing that stops the next start."""
    (tmp_path / "storage.key.new").write_text("half")
    assert len(storage_key(reference(tmp_path), may_create=True)) == 32
    assert [path.name for path in tmp_path.iterdir()] == ["storage.key"]


@pytest.mark.parametrize("content", ["", "short", base64.b64encode(b"x" * 31).decode(), "not base64 " + CANARY])
def test_what_is_no_key(tmp_path, content):
    """Too short, or no base64: an error that does not repeat it."""
    (tmp_path / "storage.key").write_text(content)
    with pytest.raises(StorageKeyError) as caught:
        storage_key(reference(tmp_path), may_create=True)
    assert CANARY not in str(caught.value)
    assert (tmp_path / "storage.key").read_text() == content


@pytest.mark.parametrize("text", ["credential:storage", "env:MADE_UP_KEY"])
def test_a_key_from_elsewhere_is_not_made(tmp_path, monkeypatch, text):
    """Whoever hands it over makes it."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(StorageKeyError):
        storage_key(reference(tmp_path, text), may_create=True)
    monkeypatch.setenv("MADE_UP_KEY", base64.b64encode(b"x" * 32).decode())
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "storage").write_text(os.environ["MADE_UP_KEY"])
    assert storage_key(reference(tmp_path, text), may_create=False) == b"x" * 32


def test_a_key_that_cannot_be_written_is_a_key_error(tmp_path):
    """A state directory that is not there, or is a file, is told as what it keeps from being made."""
    (tmp_path / "file").write_text("")
    for base in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(StorageKeyError, match="cannot be made"):
            storage_key(reference(base), may_create=True)


def test_subkeys_tell_nothing_of_each_other():
    """One purpose, one key; another master, another key."""
    keys = {subkey(b"m" * 32, "database"), subkey(b"m" * 32, "lookup"), subkey(b"n" * 32, "lookup")}
    assert len(keys) == 3
    assert all(len(key) == 32 for key in keys)
    assert subkey(b"m" * 32, "lookup") in keys
