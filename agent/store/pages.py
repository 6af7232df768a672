"""The pages of a database, however damaged its file is: verified, in clear, each in the last version that can be read.

SQLite refuses a file as a whole for one page that it cannot read (SQLCipher even the connection), and forgets what
stands in the log behind a damaged frame. Here every page stands for itself. Nothing is written, and no lock is taken:
for files that nobody has open, or, to look for damage, for those of which a second look is taken at what seems wrong.
"""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Self

from agent.store.database import ENCRYPTED, DatabaseFile
from agent.store.log_frames import Log
from agent.store.pagekey import PAGE_BYTES, RESERVED_BYTES, PageKey

_LOCK_PAGE = 2**30 // PAGE_BYTES + 1
"""Where SQLite keeps its locks: that page is never written."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page in clear.

    Attributes:
        number: its place in the file, from 1.
        content: all of it, the end that encryption reserves included.
        written: the later, the higher.
        stale: a later version of it may have been lost.
    """

    number: int
    content: bytes = field(repr=False)
    written: int
    stale: bool


class Pages:
    """A database's pages; a context manager, to be left before anybody opens the database.

    Args:
        file: the database.
        log: its write-ahead log.

    Raises:
        OSError: it cannot be read.
    """

    def __init__(self, file: DatabaseFile, log: Log) -> None:
        self._log = log
        self._key = PageKey(file.key) if file.key is not None and ENCRYPTED else None
        self._signed = self._key.signed if self._key is not None else None
        self._main = _open(file.path)
        self._side = _open(Path(f"{file.path}-wal"))
        self.usable_bytes = PAGE_BYTES - (RESERVED_BYTES if self._key is not None else 0)
        """Of each page."""
        self.unreadable = 0
        """Pages of which no version could be read, among those asked for so far."""
        self.unreadable_frames = 0
        """Committed frames of the log that cannot be read."""
        self._size = os.fstat(self._main.fileno()).st_size // PAGE_BYTES if self._main is not None else 0
        self._versions: defaultdict[int, list[int]] = defaultdict(list)
        self._lost = log.committed + 1 if log.missing else 0  # the last frame that cannot be read
        for number, frame in enumerate(log.frames[: log.committed], 1):
            if self._frame(number, frame.page) is not None:
                self._versions[frame.page].append(number)
            else:
                self.unreadable_frames += 1
                self._lost = max(self._lost, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for file in (self._main, self._side):
            if file is not None:
                file.close()

    def __iter__(self) -> Iterator[Page]:
        """Every page that can be read, the one written last first."""
        for number in sorted(self._versions, key=lambda number: -self._versions[number][-1]):
            yield from self._there(number)
        for number in range(1, self._size + 1):
            if number not in self._versions and number != _LOCK_PAGE:
                yield from self._there(number)

    def read(self, number: int) -> Page | None:
        """A page in the last version that can be read, or None."""
        versions = self._versions.get(number, ())
        copied = self._log.copied
        for version in reversed([version for version in versions if version > copied]):
            if (content := self._frame(version, number)) is not None:
                return self._page(number, content, version)
        if (content := self._copy(number)) is not None:
            return self._page(number, content, copied)
        for version in reversed([version for version in versions if version <= copied]):
            if (content := self._frame(version, number)) is not None:
                return self._page(number, content, version)
        return None

    def unsound(self) -> list[int]:
        """The pages that cannot be read any more, and that nothing in the log is going to replace.

        Always empty where pages are not signed: a file that is not encrypted.
        """
        if self._signed is None:
            return []
        return [
            number
            for number in range(1, self._size + 1)
            if number != _LOCK_PAGE and number not in self._versions and self._copy(number) is None
        ]

    def _there(self, number: int) -> Iterator[Page]:
        page = self.read(number)
        if page is None:
            self.unreadable += 1
        else:
            yield page

    def _page(self, number: int, content: bytes, version: int) -> Page:
        clear = self._key.clear(number, content) if self._key is not None else content
        return Page(number, clear, version, version < self._lost)

    def _copy(self, number: int) -> bytes | None:
        """The page in the database itself."""
        if self._main is None or not 1 <= number <= self._size:
            return None
        return self._sound(self._main, (number - 1) * PAGE_BYTES, number)

    def _frame(self, version: int, number: int) -> bytes | None:
        """The page in a frame of the log."""
        frame = self._log.frames[version - 1]
        if self._side is None or (self._signed is None and not frame.sound):
            return None
        return self._sound(self._side, frame.offset, number)

    def _sound(self, file: FileIO, offset: int, number: int) -> bytes | None:
        try:
            file.seek(offset)
            content = file.read(PAGE_BYTES)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return None  # the disk itself cannot read it
        return content if self._signed is None or self._signed(number, content) else None


def _open(path: Path) -> FileIO | None:
    try:
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        return None
