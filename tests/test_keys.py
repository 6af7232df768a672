"""The storage key: made, read, followed by another, and what is sealed under it."""

from __future__ import annotations

import base64
import os
import stat

import pytest

from agent.errors import StorageKeyError
from agent.keys import SEALED_BYTES, KeyPlace, StorageKeys, seal, subkey, unseal
from agent.secrets import SecretReference

CANARY = "made-up-secret-canary"
OLD, NEW = b"o" * 32, b"n" * 32


def place(tmp_path, text="file:storage.key", previous=None):
    return KeyPlace(
        SecretReference.parse(text, tmp_path), SecretReference.parse(previous, tmp_path) if previous else None
    )


def put(path, key):
    path.write_bytes(base64.b64encode(key) + b"\n")
    return path


def names(path):
    return sorted(file.name for file in path.iterdir())


# --- made and read --------------------------------------------------------------------------------------------


def test_the_key_is_made_once(tmp_path):
    """At the first start, 32 random bytes, for the owner alone; then it is read."""
    keys = place(tmp_path).read(may_create=True)
    assert (len(keys.current), keys.former) == (32, ())
    assert place(tmp_path).read(may_create=True) == keys
    assert place(tmp_path).read(may_create=False) == keys
    assert stat.S_IMODE((tmp_path / "storage.key").stat().st_mode) == 0o600
    assert names(tmp_path) == ["storage.key"]


def test_no_two_keys_are_alike(tmp_path):
    """Each installation has its own."""
    for name in "ab":
        (tmp_path / name).mkdir()
    assert place(tmp_path / "a").read(may_create=True) != place(tmp_path / "b").read(may_create=True)


def test_a_key_lost_beside_its_databases_is_not_made_anew(tmp_path):
    """They could never be read again; the error says so and nothing is written."""
    with pytest.raises(StorageKeyError, match="there are databases, but their key is missing"):
        place(tmp_path).read(may_create=False)
    assert names(tmp_path) == []


def test_a_draft_left_by_a_kill_is_replaced(tmp_path):
    """A power cut while the key was being made leaves nothing that stops the next start."""
    (tmp_path / "storage.key.new").write_text("half")
    assert len(place(tmp_path).read(may_create=True).current) == 32
    assert names(tmp_path) == ["storage.key"]


@pytest.mark.parametrize("content", ["", "short", base64.b64encode(b"x" * 31).decode(), "not base64 " + CANARY])
@pytest.mark.parametrize("name", ["storage.key", "storage.key.next"])
def test_what_is_no_key(tmp_path, content, name):
    """Too short, or no base64: an error that does not repeat it."""
    put(tmp_path / "storage.key", OLD)
    (tmp_path / name).write_text(content)
    with pytest.raises(StorageKeyError) as caught:
        place(tmp_path).read(may_create=True)
    assert CANARY not in str(caught.value)
    assert (tmp_path / name).read_text() == content


@pytest.mark.parametrize("text", ["credential:storage", "env:MADE_UP_KEY"])
def test_a_key_from_elsewhere_is_not_made(tmp_path, monkeypatch, text):
    """Whoever hands it over makes it."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(StorageKeyError):
        place(tmp_path, text).read(may_create=True)
    monkeypatch.setenv("MADE_UP_KEY", base64.b64encode(OLD).decode())
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "storage").write_text(os.environ["MADE_UP_KEY"])
    assert place(tmp_path, text).read(may_create=False) == StorageKeys(OLD)
    assert not place(tmp_path, text).prepare()
    place(tmp_path, text).settle()
    assert names(tmp_path) == ["storage"]


def test_a_key_that_cannot_be_written_is_a_key_error(tmp_path):
    """A state directory that is not there, or is a file, is told as what it keeps from being made."""
    (tmp_path / "file").write_text("")
    for base in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(StorageKeyError, match="cannot be made"):
            place(base).read(may_create=True)


def test_keys_stay_out_of_reprs():
    """Neither the current nor a former one shows."""
    shown = repr(StorageKeys(OLD, (NEW,)))
    assert "ooo" not in shown
    assert "nnn" not in shown


# --- followed by another --------------------------------------------------------------------------------------


def test_a_key_that_follows_waits_beside_the_present_one(tmp_path):
    """It is made once, both are at hand, and in the end it takes the place; the former one's bytes are overwritten."""
    put(tmp_path / "storage.key", OLD)
    here = place(tmp_path)
    with (tmp_path / "storage.key").open("rb") as former:
        assert here.prepare()
        made = here.read(may_create=False)
        assert here.prepare()
        assert here.read(may_create=False) == made
        assert made.former == (OLD,)
        assert made.current != OLD
        assert stat.S_IMODE((tmp_path / "storage.key.next").stat().st_mode) == 0o600

        here.settle()
        here.settle()
        assert here.read(may_create=False) == StorageKeys(made.current)
        assert names(tmp_path) == ["storage.key"]
        assert set(former.read()) == {0}


def test_a_key_that_is_handed_over_names_its_predecessor(tmp_path):
    """`storage.previous_key` is at hand for files that are still under it."""
    put(tmp_path / "new", NEW)
    put(tmp_path / "old", OLD)
    assert place(tmp_path, "file:new", "file:old").read(may_create=False) == StorageKeys(NEW, (OLD,))
    put(tmp_path / "old", NEW)
    assert place(tmp_path, "file:new", "file:old").read(may_create=False).former == ()


def test_a_predecessor_that_was_taken_away_is_not_missed(tmp_path):
    """Once nothing is under it any more it may go, with or without its line in the configuration."""
    put(tmp_path / "new", NEW)
    keys = place(tmp_path, "file:new", "file:old").read(may_create=False)
    assert (keys.current, keys.former) == (NEW, ())
    assert "storage.previous_key" in keys.unreadable


def test_a_key_of_our_own_may_follow_one_that_was_handed_over(tmp_path, monkeypatch):
    """Beside databases it is made all the same: the former one opens them."""
    monkeypatch.setenv("MADE_UP_KEY", base64.b64encode(OLD).decode())
    keys = place(tmp_path, previous="env:MADE_UP_KEY").read(may_create=False)
    assert keys.former == (OLD,)
    assert names(tmp_path) == ["storage.key"]


def test_both_ways_at_once(tmp_path):
    """A key that waits to follow comes before everything else that may still open a file."""
    put(tmp_path / "storage.key.next", NEW)
    put(tmp_path / "storage.key", OLD)
    put(tmp_path / "oldest", b"x" * 32)
    assert place(tmp_path, previous="file:oldest").read(may_create=False) == StorageKeys(NEW, (OLD, b"x" * 32))


# --- what hangs on it -----------------------------------------------------------------------------------------


def test_subkeys_tell_nothing_of_each_other():
    """One purpose, one key; another master or another secret, another key."""
    keys = {
        subkey(OLD, "database"), subkey(OLD, "lookup"), subkey(NEW, "lookup"), subkey(OLD, "lookup", b"1" * 32),
    }  # fmt: skip
    assert len(keys) == 4
    assert all(len(key) == 32 for key in keys)
    assert subkey(OLD, "lookup") in keys


def test_what_is_sealed_opens_with_its_key_alone():
    """Nothing of it shows, no two seals are alike, and another key or a changed bit opens nothing."""
    secret = b"s" * 32
    sealed = seal(OLD, secret)
    assert len(sealed) == SEALED_BYTES
    assert secret[:4] not in sealed
    assert seal(OLD, secret) != sealed
    assert unseal(OLD, sealed) == secret
    assert unseal(NEW, sealed) is None
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        assert unseal(OLD, bytes(changed)) is None
    assert unseal(OLD, sealed[:-1]) is None
    assert unseal(OLD, b"") is None
    with pytest.raises(ValueError, match="32 bytes"):
        seal(OLD, b"short")
