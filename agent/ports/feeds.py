"""Where contacts come from: export files, and a vendor's changes by pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import BinaryIO, Literal, Protocol, Self

from agent.domain.contact import ContactChange


@dataclass(frozen=True, slots=True)
class ExportFile:
    """One file of a feed as a listing shows it."""

    name: str
    size_bytes: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class AppliedFile:
    """A file of the ledger: it has been applied whole."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class FilePlan:
    """What a listing and the ledger say is to be done.

    Attributes:
        take: files to apply, in this order.
        gap: the missing part's place as text, such as ``20260220101500_1_*``; nothing past it is taken.
        late: files older than what is applied already; they cannot be applied in order any more.
    """

    take: tuple[ExportFile, ...] = ()
    gap: str | None = None
    late: tuple[str, ...] = ()


class LocalFile(Protocol):
    """An export file on this machine: a `pathlib.Path`, or a copy that is read through a key. Picklable."""

    @property
    def name(self) -> str:
        """The export's own name, without a directory."""

    def open(self, mode: Literal["rb"], buffering: int = -1) -> BinaryIO:
        """Its bytes, from the beginning. Raises OSError."""


class FileSource(Protocol):
    """Where export files lie: a folder or an SFTP server. Used as an async context manager, in a process of its own."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def list(self) -> list[ExportFile]:
        """The export files that are there, names checked. Raises VendorUnreachableError, VendorRefusedError."""

    async def strangers(self) -> Sequence[ExportFile]:
        """The other files that are there; their names are anybody's and not fit to be shown.

        Raises VendorUnreachableError, VendorRefusedError.
        """

    async def fetch(self, file: ExportFile) -> LocalFile:
        """The file's bytes on this machine; downloaded into the spool if need be.

        Raises:
            FeedUnreadableError: it is larger than allowed or changed meanwhile.
        """

    async def discard(self, file: LocalFile) -> None:
        """Erases a downloaded copy; leaves a file alone that was read in place."""


class ExportReading(Iterator[ContactChange], Protocol):
    """The changes of one file, in order, streamed."""

    @property
    def unidentified(self) -> int:
        """Contacts that name nobody, and are left out; complete once the changes are exhausted."""


class ExportReader(Protocol):
    """Reads one kind of export file. Picklable: parsing happens in other processes."""

    def plan(self, listing: Sequence[ExportFile], ledger: Sequence[AppliedFile]) -> FilePlan:
        """Order, gaps and replays, from names alone."""

    def overlooked(
        self, strangers: Sequence[ExportFile], listing: Sequence[ExportFile], ledger: Sequence[AppliedFile]
    ) -> Sequence[ExportFile]:
        """Those of the other files that may be exports under a name that is not known, the newest first."""

    def read(self, path: LocalFile, *, today: date) -> ExportReading:
        """The changes of one file.

        Raises:
            FeedUnreadableError: possibly after some were yielded; the caller applies all or nothing.
        """


class Sweep(StrEnum):
    """What a page is to a walk through everybody, by which a vendor that never names the deleted shows who is gone.

    ``BEGINS`` and ``GOES_ON``: whom the page brings is still there. ``ENDS``: whoever was not seen since is gone.
    ``GIVEN_UP``: so many were not that it was hardly everybody; nobody is gone.
    """

    BEGINS = "begins"
    GOES_ON = "goes_on"
    ENDS = "ends"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class ChangePage:
    """A page of an API feed and the cursor that stands once it is applied.

    Attributes:
        changes: what it brings.
        cursor: where to go on.
        last: it ends this poll.
        unread: contacts whose changes the vendor cannot tell; each poll asks for them again.
        sweep: what it is to a walk through everybody, while there is one.
        as_of: with the last page, up to when it tells of everything, where that is not when the poll began.
    """

    changes: tuple[ContactChange, ...]
    cursor: str
    last: bool
    unread: int = 0
    sweep: Sweep | None = None
    as_of: datetime | None = None


class ChangeFeed(Protocol):
    """Changes asked for call by call, where a tenant has no export."""

    def pages(self, cursor: str | None) -> AsyncIterator[ChangePage]:
        """Pages from a cursor (None: from the beginning). Raises VendorError; what was yielded stays valid."""
