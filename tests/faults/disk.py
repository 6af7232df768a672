"""A small disk of a test's own."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

# Waits for the end of whoever holds its standard input, however that end comes: a pipe closes with its process.
_KEEP = 'mount -t tmpfs -o "size=$1" disk "$0" && echo && cat >/dev/null; umount --lazy "$0"'


@contextlib.contextmanager
def small(at: Path, size: str) -> Iterator[None]:
    """A file system of ``size`` at ``at`` while the block runs; it goes even when the test is killed in it."""
    at.mkdir()
    with subprocess.Popen(
        ["sh", "-c", _KEEP, at, size], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as keeper:
        assert keeper.stdout.readline(), "no file system could be mounted"
        yield


def resize(at: Path, size: str) -> None:
    """Makes the file system at ``at`` that large."""
    subprocess.run(["mount", "-o", f"remount,size={size}", at], check=True)
