"""Several new contacts, or changes, in one call: on disk, and at a vendor that takes them so."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from agent.domain.bulk import BulkCall, BulkSent, RowWord
from agent.domain.enrolment import Enrolment
from agent.domain.identifiers import Identifier
from agent.domain.revision import ContactThere
from agent.domain.tagging import Found
from agent.domain.transaction import NewContact
from agent.ports.basics import Pace

T = TypeVar("T")


class BulkRecord(Protocol[T]):
    """Calls whose end is not known yet, with records of one kind, on disk. Each call raises StorageError."""

    def open(self, *, after: int = 0) -> Sequence[BulkCall]:
        """The oldest first, after a number."""

    def waiting(self) -> int:
        """How many records wait and have not gone in a call."""

    async def begin(self, records: Sequence[T], now: datetime) -> tuple[BulkCall, frozenset[int]]:
        """Puts one on disk that is about to go out; the numbers of those that have a place in it, in their order."""

    async def name(self, number: int, vendor_id: str) -> None:
        """Writes down what the vendor calls it."""

    async def records(self, number: int) -> Mapping[int, T | None]:
        """What stands where in it, as far as it is on record still; None where it says something else by now."""

    async def end(self, number: int, made: Collection[int], *, doubted: bool = False) -> None:
        """Writes down that it is over, and whom the vendor says that it has made; or that nobody says."""

    async def take_back(self, number: int) -> None:
        """Removes one that did not go out."""


class BulkCarrier(Protocol):
    """Takes several rows by one call, which the vendor carries out in its own time."""

    @property
    def max_rows(self) -> int:
        """Rows that one call holds at most."""

    @property
    def max_bytes(self) -> int:
        """Bytes of rows that one call holds at most."""

    async def send(self, rows: Sequence[bytes], *, pace: Pace) -> BulkSent:
        """One call.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere; ``maybe_received`` says whether it may be there.
        """

    async def said(self, vendor_id: str, *, size: int, pace: Pace) -> Sequence[RowWord] | None:
        """What became of each row of a call; None while it is being carried out, or that cannot be told.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """


class BulkWriter(BulkCarrier, Protocol):
    """Makes several contacts by one call."""

    def key_of(self, made: Enrolment) -> Identifier | None:
        """By what of it the vendor tells contacts apart: it refuses a second one. None where it cannot go so."""

    def row(self, made: Enrolment, *, store_id: str) -> bytes:
        """The contact as it stands in a call, and where it was given."""

    async def find(self, made: Enrolment, *, sure: bool, timeout_s: float, pace: Pace) -> Found | None:
        """Whom a call has made, under a key of the vendor's; None where they are not found, or it is somebody else.

        Args:
            made: who went in a call.
            sure: the vendor says that it has made them: whoever alone has their key is them.
            timeout_s: longest wait for any one answer.
            pace: awaited before each call.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """


class BulkUpdater(BulkCarrier, Protocol):
    """Changes several contacts by one call."""

    def key_of(self, there: ContactThere, changed: Sequence[Identifier]) -> str | None:
        """By what the call finds a contact as the vendor has it; None where it has none, or that is what changes."""

    def row(self, key: str, contact: NewContact, identifiers: Sequence[Identifier]) -> bytes:
        """A change as it stands in a call, under the key of whose contact it is."""
