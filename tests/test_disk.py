"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from agent.disk import erase, telling, write_durably
from agent.errors import StorageError, StorageFullError


def refusing(code):
    def refuse(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    return refuse


def test_a_file_takes_the_place_of_another(tmp_path):
    """What was there is replaced, drafts are not left, and nobody but its owner may read it."""
    path = tmp_path / "file"
    path.write_bytes(b"before")
    path.chmod(0o644)
    write_durably(path, b"after")
    assert path.read_bytes() == b"after"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_draft_left_by_a_kill_is_no_hindrance(tmp_path):
    """It is made anew: another's half file never takes the place."""
    (tmp_path / "file.new").write_bytes(b"half of another")
    write_durably(tmp_path / "file", b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_what_was_there_stays_when_the_disk_refuses(tmp_path, monkeypatch, step):
    """A full disk leaves the former file, and no draft with what was to be written."""
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with monkeypatch.context() as patch:
        patch.setattr(step, refusing(errno.ENOSPC))
        with pytest.raises(OSError, match="No space"):
            write_durably(path, b"after")
    assert path.read_bytes() == b"before"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_it_keeps_its_owner(tmp_path):
    """What an administrator writes stays readable by the service's account."""
    path = tmp_path / "file"
    path.write_bytes(b"before")
    os.chown(path, 65534, 65534)
    write_durably(path, b"after")
    assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)


def test_what_is_erased_is_overwritten_where_it_lies(tmp_path):
    """Whoever holds the file open finds zeros; a file that is not there is nothing to do."""
    path = tmp_path / "key"
    path.write_bytes(b"secret")
    with path.open("rb") as held:
        erase(path)
        assert held.read() == bytes(6)
    assert not path.exists()
    erase(path)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        pytest.param(errno.ENOSPC, StorageFullError, id="full"),
        pytest.param(errno.EDQUOT, StorageFullError, id="quota"),
        pytest.param(errno.EROFS, StorageError, id="read-only"),
        pytest.param(errno.EIO, StorageError, id="broken"),
    ],
)
def test_what_a_disk_refuses_is_told(code, kind):
    """As an error of our own, with what could not be done and why."""
    with (
        pytest.raises(kind, match=f"the list cannot be kept: {os.strerror(code)}") as caught,
        telling("the list cannot be kept"),
    ):
        refusing(code)()
    assert type(caught.value) is kind
