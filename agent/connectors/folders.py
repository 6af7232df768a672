"""Files that a vendor puts into a folder: what lies there, read in place, and nothing that was not looked at."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal
from urllib.parse import unquote, urlsplit

from agent import paths
from agent.errors import FeedError, FeedUnreadableError, FolderUnreachableError, VendorRefusedError
from agent.ports import ExportFile

_DRIVE = re.compile(r"/[A-Za-z]:/")
MAX_LISTED = 100_000
"""Most directory entries that are looked at: eleven years of hourly files."""
_LAST_S = 253_402_300_799
"""The last second that a `datetime` can tell; a folder may say anything."""


@dataclass(frozen=True, slots=True)
class FolderFile:
    """A file of the folder, read in place: what lies there itself, and not what a link leads to."""

    path: Path

    @property
    def name(self) -> str:
        """Its name, without the folder."""
        return self.path.name

    def open(self, mode: Literal["rb"], buffering: int = -1) -> BinaryIO:
        """Its bytes; of a pipe, which must not make anybody wait, none. Raises OSError."""
        return open(self.path, mode, buffering, opener=_without_detours)


def _without_detours(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def folder_of(url: str) -> Path:
    """The folder that a `file:` URL names: ``file:///srv/exports``, on Windows ``file:///C:/exports``."""
    path = unquote(urlsplit(url).path)
    return Path(path[1:] if paths.PLATFORM == "win32" and _DRIVE.match(path) else path)


def scan(folder: Path, wanted: Callable[[str], bool]) -> list[ExportFile]:
    """The files with a wanted name; folders below and links are none.

    Raises:
        VendorUnreachableError, VendorRefusedError, FeedError: it cannot be read, or holds too much.
    """
    found = []
    try:
        with os.scandir(folder) as entries:
            for count, entry in enumerate(entries, 1):
                check_listing(count)
                if wanted(entry.name) and entry.is_file(follow_symlinks=False):
                    status = entry.stat()
                    found.append(listed(entry.name, status.st_size, status.st_mtime))
    except PermissionError:
        raise VendorRefusedError("the export folder may not be read by this user") from None
    except OSError as error:
        raise FolderUnreachableError(f"the export folder cannot be read: {error.strerror}") from None
    return found


def listed(name: str, size_bytes: int, modified_s: float) -> ExportFile:
    """A directory entry as a listed file; ``modified_s`` counts from 1970."""
    return ExportFile(name, size_bytes, datetime.fromtimestamp(min(max(modified_s, 0), _LAST_S), UTC))


def check_listing(count: int) -> None:
    """Raises FeedError when a folder has more entries than are looked at: half a listing is no listing."""
    if count > MAX_LISTED:
        raise FeedError(f"the export folder holds more than {MAX_LISTED} entries; move old files away")


def check_unchanged(file: ExportFile, size_bytes: int, modified_s: float) -> None:
    """Raises FeedUnreadableError when a file is not any more what was listed."""
    if listed(file.name, size_bytes, modified_s) != file:
        raise FeedUnreadableError(f"{file.name}: has changed since it was listed")
