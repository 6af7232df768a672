"""Sees every file that is made in a directory, however short its life: Linux's inotify."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path

_IN_CREATE, _IN_MOVED_TO = 0x100, 0x80
_HEAD = struct.Struct("iIII")


@contextlib.contextmanager
def watching(directory: Path) -> Iterator[list[str]]:
    """The names of the files made in the directory while the block runs, once it has ended."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.inotify_init1(os.O_NONBLOCK)
    if handle < 0 or libc.inotify_add_watch(handle, os.fsencode(directory), _IN_CREATE | _IN_MOVED_TO) < 0:
        raise OSError(ctypes.get_errno(), "inotify")
    made: list[str] = []
    try:
        yield made
        made += _names(handle)
    finally:
        os.close(handle)


def _names(handle: int) -> Iterator[str]:
    with contextlib.suppress(BlockingIOError):
        while True:
            events = os.read(handle, 1 << 20)
            while events:
                length = _HEAD.unpack_from(events)[3]
                yield events[_HEAD.size : _HEAD.size + length].rstrip(b"\0").decode()
                events = events[_HEAD.size + length :]
