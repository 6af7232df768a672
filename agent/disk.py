"""Files that are there whole or not at all, whatever interrupts; and what a disk refuses, in our own errors."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from agent.errors import StorageError, StorageFullError

PRIVATE = 0o777 if sys.platform == "win32" else 0o700
"""The mode of a directory of ours. On Windows it has the access of the one that it is made in; 0o700 would be a list of
its own there, for whoever made it, be that an administrator or every service of one account."""
_TRIES, _TRY_AGAIN_S = 20, 0.05


def write_durably(path: Path, content: bytes) -> None:
    """Puts a file in its place whole, for its owner alone, and on disk before anything depends on it.

    It keeps the owner of the file it replaces: an administrator may write what a service's account reads.

    Raises:
        OSError: the disk or the directory says no; what was there stays.
    """
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            sync_file(file)
        with contextlib.suppress(FileNotFoundError):
            _keep_owner(path.stat(), draft)
        _put(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def erase(path: Path) -> None:
    """Overwrites a small file where it lies and removes it; nothing when it is not there.

    A disk that moves what is written (flash does) may keep the former bytes until it needs their place.

    Raises:
        OSError: the disk or the directory says no.
    """
    with contextlib.suppress(FileNotFoundError):
        with path.open("r+b") as file:
            overwrite(file)
        path.unlink()
        sync_directory(path.parent)


def overwrite(file: BinaryIO) -> None:
    """Puts zeros in the place of an open file's bytes, on disk. Raises OSError."""
    file.seek(0)
    file.write(bytes(os.fstat(file.fileno()).st_size))
    sync_file(file)


def sync_file(file: BinaryIO) -> None:
    """Makes what was written to an open file survive a power cut. Raises OSError."""
    file.flush()
    os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Makes what was made, moved or removed in a directory survive a power cut. Raises OSError."""
    if sys.platform != "win32":  # which has no such thing: NTFS keeps a journal of names
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def is_read_only(path: Path) -> bool:
    """Whether the file system that a path lies on is mounted read-only. Raises OSError."""
    return sys.platform != "win32" and bool(os.statvfs(path).f_flag & os.ST_RDONLY)


@contextlib.contextmanager
def telling(refused: str) -> Iterator[None]:
    """Tells what the disk refuses in our own words.

    Args:
        refused: what could not be done then: "outbox.db cannot be copied".

    Raises:
        StorageFullError: an OSError says that there is no room.
        StorageError: an OSError says anything else.
    """
    try:
        yield
    except OSError as error:
        kind = StorageFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageError
        raise kind(f"{refused}: {error.strerror or type(error).__name__}") from error


def _put(draft: Path, path: Path) -> None:
    """Raises OSError. On Windows a file that anybody reads at that moment is not replaced: they are waited for."""
    for _ in range(_TRIES if sys.platform == "win32" else 0):
        try:
            draft.replace(path)
        except PermissionError:
            time.sleep(_TRY_AGAIN_S)
        else:
            return
    draft.replace(path)


def _keep_owner(before: os.stat_result, file: Path) -> None:
    if sys.platform == "win32":  # where a file's directory says who may read it, whoever wrote it
        return
    now = file.stat()
    if (before.st_uid, before.st_gid) != (now.st_uid, now.st_gid):
        os.chown(file, before.st_uid, before.st_gid)
