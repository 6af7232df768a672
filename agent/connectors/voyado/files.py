"""Export files: in which order they are applied, and how they are read from a folder.

Voyado names a file `[timestamp]_[number]_[name].xml`: the number starts at 0 with every run and grows by one for each
10,000 contacts, and each part carries its own timestamp. So the order is (timestamp, number), parts of a run are told
by their numbers alone, and a name that does not look like that is not an export.

Sources: Voyado, contact XML export; file transfer by FTP. That a file is still being written cannot be seen from its
name: whoever calls :meth:`list` twice and compares decides when it has settled.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Self

from agent.connectors.folders import FolderFile, check_unchanged, scan
from agent.errors import FeedUnreadableError
from agent.ports import AppliedFile, ExportFile, FilePlan, LocalFile

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Largest export file that is taken; 10,000 rich contacts, the most that Engage puts into one, are 14 MB."""
_DATA = re.compile(r"\.(?:xml|csv|json|zip|gz|7z|pgp|gpg)$", re.IGNORECASE)
_UNFINISHED = (".part", ".filepart", ".partial", ".tmp", ".temp", ".new")
"""Endings under which programs write what they rename afterwards."""
_NAME = re.compile(r"(?P<timestamp>[0-9]{14})_(?P<number>[0-9]{1,6})_(?P<series>[A-Za-z0-9._-]{1,120})\.xml")


@dataclass(frozen=True, order=True, slots=True)
class Part:
    """What a file's name says; the order of parts is the order in which they are applied."""

    timestamp: str
    number: int
    series: str

    @classmethod
    def of(cls, name: str) -> Self | None:
        """The part that a file name spells, or None when it is no export file's name."""
        match = _NAME.fullmatch(name)
        return match and cls(match["timestamp"], int(match["number"]), match["series"])


def plan_files(listing: Sequence[ExportFile], ledger: Sequence[AppliedFile]) -> FilePlan:
    """What a listing and the ledger say is to be applied next, from names and sizes alone.

    * Files are taken in the order of :class:`Part`. Within one series (the last part of the name) numbers count up
      from 0 and start at 0 again with every run; they go on from the newest file of the ledger, whether or not that
      one is still there.
    * The first missing part stops everything after it, of every series. ``gap`` carries the missing number, with the
      timestamp of the file that is held back because of it.
    * A file is done when the ledger has its name and size. The newest applied file is taken again when its size is
      another: it was taken too early. Any other file that sorts before the newest applied one, or has been
      rewritten, is ``late``: applying it would bring old values back.

    Names cannot say more: that the last part of a run is missing, or that a part 1 belongs to a later run than the
    part 0 before it, shows only when the missing file turns up, as late.

    Args:
        listing: what is there now, in any order; names that are no export's are left out.
        ledger: what has been applied, in any order.
    """
    done = {(file.name, file.size_bytes) for file in ledger}
    applied = sorted(part for file in ledger if (part := Part.of(file.name)))
    newest = applied[-1] if applied else None
    last_numbers = {part.series: part.number for part in applied}
    take: list[ExportFile] = []
    late: list[str] = []
    gap: str | None = None
    named = [(part, file) for file in listing if (part := Part.of(file.name))]
    for part, file in sorted(named, key=itemgetter(0)):
        if (file.name, file.size_bytes) in done:
            continue
        if newest is not None and part < newest:
            late.append(file.name)
        elif gap is None:
            expected = last_numbers.get(part.series, -1) + 1
            if part != newest and part.number not in (0, expected):
                missing = expected if part.number > expected else 0
                gap = f"{part.timestamp}_{missing}_*"
                continue
            take.append(file)
            last_numbers[part.series] = part.number
    return FilePlan(tuple(take), gap, tuple(late))


def overlooked_files(
    strangers: Sequence[ExportFile], listing: Sequence[ExportFile], ledger: Sequence[AppliedFile]
) -> list[ExportFile]:
    """Files that may be exports under a name that is not known, the newest first.

    Before the first export any file will do: it may be all that there is. Afterwards it must look like data, and be
    newer than every export that lies there: an export's name or form is another from some day on.

    Args:
        strangers: files with other names, as :meth:`FolderSource.strangers` answers them.
        listing: the export files.
        ledger: what has been applied.
    """
    newest_at = max((file.modified_at for file in listing), default=None)
    known = bool(listing or ledger)
    found = [
        file
        for file in strangers
        if not known or (_DATA.search(file.name) and (newest_at is None or file.modified_at > newest_at))
    ]
    return sorted(found, key=lambda file: file.modified_at, reverse=True)


def is_strange(name: str) -> bool:
    """Whether it is a file's name that is no export's; of hidden files and such as are being written, no."""
    return Part.of(name) is None and not name.startswith(".") and not name.lower().endswith(_UNFINISHED)


def is_export(name: str) -> bool:
    """Whether it is an export's name."""
    return Part.of(name) is not None


@dataclass(frozen=True, slots=True)
class FolderSource:
    """Export files in a local folder, read where they lie.

    Args:
        folder: the folder; files in folders below it and links are not looked at.
        max_bytes: largest file that is handed out.
    """

    folder: Path
    max_bytes: int = MAX_FILE_BYTES

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    async def list(self) -> list[ExportFile]:
        """The export files that are there. Raises VendorUnreachableError, VendorRefusedError, FeedError."""
        return await asyncio.to_thread(scan, self.folder, is_export)

    async def strangers(self) -> Sequence[ExportFile]:
        """The other files. Raises VendorUnreachableError, VendorRefusedError, FeedError."""
        return await asyncio.to_thread(scan, self.folder, is_strange)

    async def fetch(self, file: ExportFile) -> FolderFile:
        """The file where it lies. Raises FeedUnreadableError when it is too large or not what was listed."""
        check(file, self.max_bytes)
        path = self.folder / file.name
        try:
            status = await asyncio.to_thread(path.lstat)
        except OSError:
            raise FeedUnreadableError(f"{file.name}: is gone since it was listed") from None
        check_unchanged(file, status.st_size, status.st_mtime)
        return FolderFile(path)

    async def discard(self, file: LocalFile) -> None:
        """Nothing: the file is not ours."""


def check(file: ExportFile, max_bytes: int) -> None:
    """Raises FeedUnreadableError for a file that is too large, or whose name is no export's."""
    if Part.of(file.name) is None:  # a path, perhaps: it never gets near the disk
        raise FeedUnreadableError("a file has a name that no export has")
    if file.size_bytes > max_bytes:
        raise FeedUnreadableError(f"{file.name}: is larger than {max_bytes} bytes")
