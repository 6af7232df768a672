"""Contacts made at this till, on disk, and who brings them to the vendor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from agent.domain.enrolment import Enrolment
from agent.domain.identifiers import Identifier
from agent.domain.revision import ContactThere
from agent.domain.tagging import Found
from agent.domain.transaction import IntegrationKey, NewContact
from agent.errors import Fault
from agent.ports.basics import Pace
from agent.ports.outbox import Occurrence


@dataclass(frozen=True, slots=True)
class Added:
    """What came of putting a new contact on disk.

    Attributes:
        enrolments: the one that was made; else everybody made here whom one of its identifiers names.
        new: it was made.
    """

    enrolments: tuple[Enrolment, ...]
    new: bool


class EnrolmentRecord(Protocol):
    """Contacts made at this till, on disk. Each call raises StorageError."""

    def find(self, identifiers: Sequence[Identifier]) -> Sequence[Enrolment]:
        """Everybody made here whom one of these names."""

    def by_ref(self, ref: str) -> Enrolment | None:
        """Whose handle that is; None when nobody's who was made here."""

    def queued(self, limit: int, *, after: int = 0, under_way: bool = True) -> Sequence[Enrolment]:
        """The oldest that the vendor does not have yet, after a record's number; also those who are ``under_way``."""

    def parked(self) -> int:
        """How many the vendor refuses."""

    async def add(self, contact: NewContact, identifiers: Sequence[Identifier], *, prefix: str, now: datetime) -> Added:
        """Puts one on disk under the next number of a series, unless one of its identifiers is on record here."""

    async def amend(self, number: int, contact: NewContact, identifiers: Sequence[Identifier]) -> bool:
        """Puts what is given now in the place of what was, to be tried again; not where the vendor has it.

        False where it is on its way there together with others.
        """

    async def asking(self, number: int) -> bool:
        """Writes down that the vendor is asked to make it, before it is; whether it was at an earlier attempt."""

    async def not_made(self, number: int) -> None:
        """Writes down that the vendor had it before it was asked."""

    async def deliver(
        self,
        number: int,
        key: IntegrationKey,
        contact_id: str | None,
        now: datetime,
        joined: Occurrence | None = None,
    ) -> None:
        """Writes down that the vendor has it; what was given is forgotten. Tells that they joined, if it was asked."""

    async def park(self, number: int, status: int | None, vendor_code: str | None) -> None:
        """Writes down that the vendor refuses it."""

    async def drop(self, number: int) -> None:
        """Takes one back that nobody was told of."""


class Writer(Protocol):
    """Makes contacts at the vendor, and changes them."""

    def without_place(self, contact: NewContact) -> Sequence[Fault]:
        """What of a contact the vendor has no field for, each with where it stands: it is refused before it is kept.

        Likewise what stands among the free attributes and has a field of its own, or is the vendor's own.
        """

    async def create(
        self, contact: NewContact, identifiers: Sequence[Identifier], *, store_id: str, pace: Pace
    ) -> Found:
        """The new contact's key, or that of who keeps another from being made; asked again, nobody is made twice.

        ``not_found`` never; ``ambiguous`` when the vendor says it exists but not which.

        ``existed`` where it was not made by this call.

        Args:
            contact: what the customer gave.
            identifiers: what is unique of it; an `external_id` among them is this till's own number.
            store_id: where it was given.
            pace: awaited before each call.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
            ContactRefusedError: the vendor refuses what the customer gave.
        """

    async def contact_there(self, key: IntegrationKey, *, timeout_s: float, pace: Pace) -> ContactThere | None:
        """A contact as the vendor has it now; None where it has none under that key, or several.

        Args:
            key: a primary key: whose.
            timeout_s: longest wait for any one answer.
            pace: awaited before each call.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """

    async def update(
        self, contact_id: str, contact: NewContact, identifiers: Sequence[Identifier], *, pace: Pace
    ) -> None:
        """Writes what is given over what the vendor has, field by field; what is not given stays.

        Args:
            contact_id: the vendor's own id.
            contact: what is new.
            identifiers: of it, each in its one form.
            pace: awaited before each call.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere; sending it again does no harm.
            ContactRefusedError: the vendor refuses what the customer gave.
        """
