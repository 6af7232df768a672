"""Everything about one person: exported, or erased so that no byte is left when the answer is given.

Who that is, and what is theirs, is :mod:`agent.services.whose`'s to say. Erasing is done with nothing else under way
that could bring the person back: no feed is being read, no sale of theirs is being sent. It can be asked for again at
any time, and goes on where a full disk or a power cut left it.

A person whom the vendor has removed is erased here with the same thoroughness, as soon as the feed has been read.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from agent.domain.audit import Head
from agent.domain.belonging import Redeemed, Wanted
from agent.domain.health import Conditions
from agent.domain.identifiers import Identifier
from agent.domain.transaction import IdentifierStatement, IntegrationKey
from agent.errors import StorageError
from agent.ports import Clock, ErasedBefore, ErasedSales, ErasureRequest, HandedOver, Identity, Person, Removed
from agent.services import whose
from agent.services.whose import Whose, as_one

log = structlog.get_logger(__name__)

REBUILD_EVERY_S = 3600.0
"""How often the replica is rebuilt for the feed's removals at most: a till's disk wears. What is left waits for the
purge, by the hour."""
EVER = datetime.max.replace(tzinfo=UTC)
_REFUSED = "privacy.erasure_refused_by_feed"


class Contacts(whose.Contacts, Protocol):
    """The replica's door for privacy."""

    async def erase(self, identity: Identity | None, keys: Collection[bytes]) -> int:
        """Takes somebody out, of what is being built too, and leaves no trace of anybody taken out; how many it was."""

    async def removed(self) -> Sequence[Removed]:
        """Whom the feed has removed, and nobody has carried out yet."""

    async def carried_out(self, removed: Sequence[Removed]) -> None:
        """Nothing else is kept of these."""

    async def leave_no_trace(self) -> None:
        """Erases what is left of whoever was taken out."""


class Sales(whose.Sales, Protocol):
    """The outbox's door for privacy: sales, and activities among them."""

    async def erase(self, sales: Collection[int], now: datetime) -> ErasedSales:
        """Erases the person of these sales without a trace."""

    def export(self, sales: Collection[int]) -> list[dict[str, Any]]:
        """Everything that is held of these sales; what is an activity has an ``activity_id``."""


class Notices(Protocol):
    """Tells further systems of erased people (`agent.services.notices.Notices`)."""

    async def erased(
        self, key: IntegrationKey | None, names: Sequence[Identifier], receipt: str
    ) -> tuple[ErasureRequest, ...]:
        """Puts on disk that they are to be told; who was asked to erase. Raises StorageError."""


class Refused(Protocol):
    """The list of who must not come back by the feed."""

    async def add(self, identity: Identity, receipt: str, now: datetime) -> None:
        """Refuses somebody from now on."""

    async def heard(
        self, refused: Iterable[bytes], removed: Iterable[bytes], named: Mapping[bytes, bytes], now: datetime
    ) -> None:
        """The vendor sent some of them, has removed others, and says more of who is who."""

    def known(self, marks: Collection[bytes]) -> tuple[ErasedBefore, ...]:
        """What is kept of these, by contact id or by primary key."""

    def still_sent(self) -> tuple[str, ...]:
        """The receipts of those whom the vendor has sent since."""


class Redemptions(whose.Redemptions, Protocol):
    """What was used up for sales, as privacy sees it."""

    async def erase(self, numbers: Collection[int], now: datetime) -> int:
        """Erases the person of these; how many."""

    def export(self, numbers: Collection[int]) -> list[dict[str, Any]]:
        """Everything that is held of these."""


class Enrolments(whose.Enrolments, Protocol):
    """Contacts made at this till, as privacy sees them."""

    async def holds(self, wanted: Wanted) -> bool:
        """Whether one of them is theirs."""

    async def erase(self, wanted: Wanted) -> int:
        """Erases each that is theirs; how many."""

    async def export(self, wanted: Wanted) -> list[dict[str, Any]]:
        """Everything that is held of theirs."""


class Remembered(Protocol):
    """What is remembered of people's benefits, in memory alone."""

    def forget(self) -> None:
        """Forgets everybody, whoever is being asked about included."""

    def export(self, names: Collection[Identifier]) -> list[dict[str, Any]]:
        """What is remembered of whoever is named by one of these."""


class KeptFiles(Protocol):
    """Damaged databases that were kept, as privacy sees them."""

    async def purge(self, taken_before: datetime, now: datetime) -> int:
        """Erases those that hold personal data from before an instant; how many files. Raises StorageError."""


class Trail(Protocol):
    """The audit trail's door for privacy."""

    async def record(self, event: str, /, **facts: int | str) -> Head:
        """Puts an entry into it."""

    async def of_records(self, transaction_ids: set[str], activity_ids: set[str]) -> list[dict[str, Any]]:
        """The entries about these sales and activities."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased, and the receipt for it; neither says of whom.

    Attributes:
        id: of the receipt.
        erased_at: when all of it was gone.
        counts: how many of each kind.
        entry: the entry of the audit trail that says so.
        requests: the further systems that are asked to erase them too.
    """

    id: str
    erased_at: datetime
    counts: dict[str, int]
    entry: Head
    requests: tuple[ErasureRequest, ...] = ()


@dataclass(frozen=True, slots=True)
class Export:
    """Everything that is held on one person.

    Attributes:
        exported_at: as of when.
        contacts: the replica's row.
        benefits: what the vendor said last of what they can use.
        redemptions: what was used up for sales.
        enrolments: contacts of theirs that were made at this till.
        sales: the sales that are theirs.
        activities: the activities that are theirs.
        withheld: sales and activities under a key that somebody else has too, and that could be theirs: they are not
            shown.
        audit: the audit trail's entries about those sales and activities.
        erased_before: what is kept because they were erased.
    """

    exported_at: datetime
    contacts: tuple[Person, ...]
    benefits: tuple[dict[str, Any], ...]
    redemptions: tuple[dict[str, Any], ...]
    enrolments: tuple[dict[str, Any], ...]
    sales: tuple[dict[str, Any], ...]
    activities: tuple[dict[str, Any], ...]
    withheld: int
    audit: tuple[dict[str, Any], ...]
    erased_before: tuple[ErasedBefore, ...]


class Privacy:
    """Exports and erases.

    Args:
        clock: for instants.
        readings: what an identifier can be. Raises IdentifierInvalidError.
        contacts: the replica.
        sales: the outbox.
        benefits: what is remembered of benefits: nobody is searched for in it, so all of it goes.
        redemptions: what was used up for sales.
        enrolments: contacts made at this till.
        refused: who must not come back.
        notices: tells further systems.
        trail: the audit trail.
        kept: damaged databases that were kept: nobody can be searched for in them, so all of them go.
        spool: erases downloaded export files.
        handed_over: files that wait for a vendor to fetch them.
        conditions: where it is told that an erased person is still being sent.
        feed_halted: no feed is being read while this is held; what was being read is gone on with afterwards.
        lanes_halted: nothing is being sent while this is held.
        alone: held by whoever erases.
        changed: called when something changed.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        readings: Callable[[IdentifierStatement], tuple[Identifier, ...]],
        contacts: Contacts,
        sales: Sales,
        benefits: Remembered,
        redemptions: Redemptions,
        enrolments: Enrolments,
        refused: Refused,
        notices: Notices,
        trail: Trail,
        kept: KeptFiles,
        spool: Callable[[], int],
        handed_over: Sequence[HandedOver],
        conditions: Conditions,
        feed_halted: Callable[[], AbstractAsyncContextManager[None]],
        lanes_halted: Callable[[], AbstractAsyncContextManager[None]],
        alone: asyncio.Lock,
        changed: Callable[[], None],
    ) -> None:
        self._whose = Whose(contacts=contacts, sales=sales, redemptions=redemptions, enrolments=enrolments)
        self._clock, self._readings, self._contacts, self._sales = clock, readings, contacts, sales
        self._refused, self._trail, self._spool, self._conditions = refused, trail, spool, conditions
        self._benefits, self._redemptions, self._kept = benefits, redemptions, kept
        self._enrolments, self._handed_over = enrolments, handed_over
        self._feed_halted, self._lanes_halted, self._alone, self._changed = feed_halted, lanes_halted, alone, changed
        self._notices, self._rebuilt_mono = notices, float("-inf")

    async def erase(self, statement: IdentifierStatement, by: str) -> Erasure:
        """Erases one person from everything; nothing is left of them when this returns.

        Their sales stay, untagged. The feed's rows about them are refused from now on.

        Args:
            statement: the person, by any identifier.
            by: the name of the token that asks.

        Raises:
            IdentifierInvalidError: the value cannot be an identifier.
            AmbiguousPersonError: several people share it; nothing was erased.
            StorageError: not everything could be erased; asked again, it goes on.
        """
        readings = self._readings(statement)
        receipt = secrets.token_hex(8)
        async with self._feed_halted(), self._alone:
            subject = self._whose.subject(readings)
            wanted, identity = subject.wanted, subject.identity
            theirs = await self._whose.redeemed(wanted)
            if identity is not None:
                await self._refused.add(identity, receipt, self._clock.now())
            # On disk before the local contacts are gone, which alone may know the key that they go by elsewhere.
            key = self._whose.key(subject)
            requests = await self._notices.erased(key, readings if len(readings) == 1 else (), receipt)
            sales = await self._sales_for_files(wanted)
            in_files = await self._erase_in_files(wanted, sales)  # first: asked again nothing else may lead to them
            # Whoever asks again is led to the sales by who was made here, and to both by the replica: they go in that
            # order, and then what was sold and made meanwhile.
            redeemed = await self._erase_redeemed(theirs)
            sold = await self._erase_sales(wanted)
            enrolled = await self._erase_enrolments(wanted)
            contacts = await self._contacts.erase(identity, wanted.keys)
            self._benefits.forget()
            redeemed += await self._erase_redeemed(await self._whose.redeemed(as_one(wanted, theirs)))
            sold += await self._erase_sales(wanted)
            enrolled += await self._erase_enrolments(wanted)
            in_files += await self._erase_in_files(wanted, sales)
            kept_files = await self._kept.purge(EVER, self._clock.now())
            self._spool()
            counts = {
                "contacts": contacts,
                **_counts(sold),
                "redemptions": redeemed,
                "enrolments": enrolled,
                "kept_files": kept_files,
                "file_rows": in_files,
            }
            asked = {"requests": len(requests)} if requests else {}
            entry = await self._trail.record("privacy.erased", receipt=receipt, by=by, **counts, **asked)
        log.info("privacy.erased", counts=counts, receipt=receipt)
        self._changed()
        return Erasure(receipt, self._clock.now(), counts, entry, requests)

    async def export(self, statement: IdentifierStatement, by: str) -> Export:
        """Everything that is held on one person.

        What is under a key that somebody else has too is not shown: it may be about them.

        Args:
            statement: the person, by any identifier.
            by: the name of the token that asks.

        Raises:
            IdentifierInvalidError: the value cannot be an identifier.
            AmbiguousPersonError: several people share it.
            StorageError: a file cannot be read.
        """
        readings = self._readings(statement)
        async with self._alone:
            subject = self._whose.subject(readings)
            own = subject.own
            every, theirs = await self._whose.sales(subject.wanted), await self._whose.sales(own)
            records = self._sales.export(theirs)
            sales = [record for record in records if "activity_id" not in record]
            activities = [record for record in records if "activity_id" in record]
            audit = await self._trail.of_records(
                {sale["transaction_id"] for sale in sales}, {activity["activity_id"] for activity in activities}
            )
            before = self._refused.known(self._whose.marks(subject))
            contacts = (subject.person,) if subject.person else ()
            names = {*readings, *(one.member.key.identifier for one in contacts)}
            benefits = self._benefits.export(names)
            redemptions = self._redemptions.export([one.number for one in await self._whose.redeemed(own)])
            enrolments = await self._enrolments.export(own)
            withheld = len(every - theirs)
            await self._trail.record(
                "privacy.exported",
                by=by,
                contacts=len(contacts),
                sales=len(sales),
                activities=len(activities),
                withheld=withheld,
            )
        return Export(
            self._clock.now(),
            contacts,
            tuple(benefits),
            tuple(redemptions),
            tuple(enrolments),
            tuple(sales),
            tuple(activities),
            withheld,
            tuple(audit),
            before,
        )

    async def carry_out(self) -> None:
        """Erases what else is kept of those whom the feed has removed: their sales, and every trace of their rows.

        Raises:
            StorageError: not everything could be erased; the next call goes on.
        """
        async with self._alone:
            removed = await self._contacts.removed()
            if not removed:
                return
            wanted = self._whose.removed(removed)
            self._benefits.forget()
            sales, in_files = await self._sales_for_files(wanted), 0
            with contextlib.suppress(StorageError):  # told below, when all else is erased
                in_files = await self._erase_in_files(wanted, sales)  # the next call would not know their sales
            redeemed = await self._erase_redeemed(await self._whose.redeemed(wanted))
            sold = await self._erase_sales(wanted)
            if self._clock.monotonic() - self._rebuilt_mono >= REBUILD_EVERY_S:
                await self._contacts.leave_no_trace()
                self._rebuilt_mono = self._clock.monotonic()
            enrolled = await self._erase_enrolments(wanted)
            in_files += await self._erase_in_files(wanted, sales)
            await self._contacts.carried_out(removed)
            counts = {
                "contacts": len(removed),
                **_counts(sold),
                "redemptions": redeemed,
                "enrolments": enrolled,
                "file_rows": in_files,
            }
            await self._trail.record("privacy.erased_by_feed", **counts)
        log.info("privacy.erased_by_feed", counts=counts)
        self._changed()

    async def heard(self, refused: Collection[bytes], removed: Collection[bytes], named: Mapping[bytes, bytes]) -> None:
        """The feed has sent people who were erased here, or has removed them. Raises StorageError.

        Args:
            refused: whom it sent.
            removed: whom it removed.
            named: keyed hashes of their primary keys by those of their contact ids, where one of the two was not known.
        """
        if refused or removed:
            await self._refused.heard(refused, removed, named, self._clock.now())
        self.tell()

    def tell(self) -> None:
        """Says whether erased people are still being sent. Raises StorageError."""
        receipts = self._refused.still_sent()
        detail = ", ".join(receipts[:5])
        self._conditions.set(_REFUSED, stands=bool(receipts), now=self._clock.now(), detail=detail)

    async def _sales_for_files(self, wanted: Wanted) -> frozenset[str]:
        """The ids of their sales, where a file may have them."""
        return await self._whose.transaction_ids(wanted) if self._handed_over else frozenset()

    async def _erase_in_files(self, wanted: Wanted, sales: Collection[str]) -> int:
        def is_theirs(identifier: Identifier) -> bool:
            return self._whose.named(identifier, wanted)

        return sum([await files.erase(is_theirs, sales) for files in self._handed_over])

    async def _erase_enrolments(self, wanted: Wanted) -> int:
        if not await self._enrolments.holds(wanted):
            return 0
        async with self._lanes_halted():  # one on its way gets its answer first, and is erased as that left it
            return await self._enrolments.erase(wanted)

    async def _erase_redeemed(self, redeemed: Iterable[Redeemed]) -> int:
        return await self._redemptions.erase([one.number for one in redeemed], self._clock.now())

    async def _erase_sales(self, wanted: Wanted) -> ErasedSales:
        if not await self._whose.sales(wanted):
            return await self._sales.erase((), self._clock.now())
        async with self._lanes_halted():  # a sale on its way may have been settled meanwhile: looked for again
            return await self._sales.erase(await self._whose.sales(wanted), self._clock.now())


def _counts(sold: ErasedSales) -> dict[str, int]:
    return {
        "sales_waiting": sold.waiting,
        "sales_finished": sold.finished,
        "activities": sold.activities,
        "notes": sold.notes,
    }
