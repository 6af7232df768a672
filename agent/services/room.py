"""Room on the disk: whether another sale may be put on it, and the reserve from which a full one is worked off.

The reserve is a file in the state directory of `queue.reserve_bytes`, so that no other program can use the space. When
our own writes fail on a full disk it is given back a piece at a time: what is delivered meanwhile can be written down,
and whoever filled the disk does not get all of it at once. New sales are refused until it is whole again, which it is
made as soon as there is space.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from agent.errors import StorageError
from agent.ports import Clock, QueueInfo

log = structlog.get_logger(__name__)

FILE: Final = "reserve"
PIECES: Final = 8
MARGIN_BYTES: Final = 1 << 20
"""Free beside the reserve before a sale is taken: a group of them takes some hundred kilobytes at most."""
LOOK_EVERY_S: Final = 1.0
RESERVES_KEPT_FREE: Final = 4
"""So often `queue.reserve_bytes` stay free of what is no sale; at one of them the till's sales are refused."""


class Room:
    """The disk under the state directory.

    Args:
        directory: the state directory.
        reserve_bytes: `queue.reserve_bytes`.
        max_bytes: `queue.max_bytes`.
        queue: the outbox in figures.
        clock: for the pauses between looks.
        changed: called when there is room again, or no more.
    """

    def __init__(
        self,
        directory: Path,
        *,
        reserve_bytes: int,
        max_bytes: int,
        queue: Callable[[], QueueInfo],
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self._directory, self._file = directory, directory / FILE
        self._reserve_bytes, self._max_bytes = reserve_bytes, max_bytes
        self._queue, self._clock, self._changed = queue, clock, changed
        self._looked_mono = float("-inf")
        self._room = True

    def has_room(self) -> bool:
        """Whether another sale may be put on disk: the queue's limit and the disk's reserve, once a second.

        A queue that cannot be read at the moment says nothing about room.
        """
        mono = self._clock.monotonic()
        if mono - self._looked_mono >= LOOK_EVERY_S:
            self._looked_mono = mono
            room = self._look()
            if room is not self._room:
                self._room = room
                (log.info if room else log.error)("disk.room", stands=room)
                self._changed()
        return self._room

    def give(self) -> bool:
        """Gives a piece of the reserve back, for what has to be written on a full disk; False when none is left."""
        self._room = False
        self._looked_mono = float("-inf")
        try:
            held = self._file.stat().st_size
            if not held:
                return False
            os.truncate(self._file, max(0, held - max(1, self._reserve_bytes // PIECES)))
        except OSError:
            return False
        log.warning("reserve.used", bytes=self._file.stat().st_size)
        return True

    def take(self) -> bool:
        """Makes the reserve whole where there is space for it; whether it is. Blocks for as long as the disk takes."""
        try:
            missing = self._reserve_bytes - self._held()
            if missing > 0 and self._free() < missing + MARGIN_BYTES:
                return False
            if missing:
                _allocate(self._file, self._reserve_bytes)
                log.info("reserve.whole", bytes=self._reserve_bytes)
        except OSError as error:
            log.warning("reserve.failed", error=type(error).__name__, code=error.errno)
            return False
        return True

    async def watch(self) -> None:
        """Takes the reserve back as soon as there is space; works for ever, ends by cancellation."""
        while True:
            if self._held() != self._reserve_bytes:
                await asyncio.to_thread(self.take)
            self.has_room()
            await asyncio.sleep(LOOK_EVERY_S)

    def _look(self) -> bool:
        try:
            full = self._held() < self._reserve_bytes or self._free() < MARGIN_BYTES
        except OSError:  # the disk is gone
            full = True
        if full:
            return False
        try:
            return self._queue().bytes < self._max_bytes
        except StorageError:
            return True

    def _free(self) -> int:
        return shutil.disk_usage(self._directory).free

    def _held(self) -> int:
        try:
            return self._file.stat().st_size
        except FileNotFoundError:
            return 0


def _allocate(path: Path, size: int) -> None:
    """Gives a file that size, with the space for it; it stays as it was when there is not enough."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    held = min(size, os.fstat(handle).st_size)
    try:
        os.ftruncate(handle, held)
        _promise(handle, held, size)
    except OSError:
        os.ftruncate(handle, held)
        raise
    finally:
        os.close(handle)


def _promise(handle: int, held: int, size: int) -> None:
    if sys.platform == "win32":
        os.ftruncate(handle, size)  # NTFS gives a file its space with its length
        return
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        for offset in range(held, size, MARGIN_BYTES):  # a file system that cannot promise space
            os.pwrite(handle, bytes(min(MARGIN_BYTES, size - offset)), offset)
