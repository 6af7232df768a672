"""Bringing changes of contacts to the loyalty system: now, while a cashier waits, or before the sales once it answers.

A change goes field by field, so that sending it twice does no harm. What the loyalty system has is asked for first:
what it must keep is not written over, and what is written over though it may be as new is said
(:mod:`agent.domain.revision` has the rule). Of two changes of one contact, given under two of its keys, the later waits
for the earlier: it would be written over. Where many wait, those that may go together do
(:mod:`agent.services.combining`). Nothing waits for a change: sales go under a key that no change has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary

import structlog

from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.enrolment import Enrolment, EnrolmentState
from agent.domain.health import Conditions
from agent.domain.identifiers import Identifier
from agent.domain.revision import NOTHING, ContactThere, Reconciled, Revision, is_there, reconciled, withdrawn_in
from agent.domain.transaction import IntegrationKey, NewContact
from agent.errors import ContactRefusedError, Fault, VendorRefusedError
from agent.ports import Clock, Occurrence, Pace, Writer
from agent.services.bringing import Manner
from agent.services.combining import Combining, WayTogether
from agent.services.news import NO_NEWS, News
from agent.services.turns import SLICE, Turns

log = structlog.get_logger(__name__)

_UNKNOWN: Final = "contact.unknown"
NOT_FOUND: Final = 404
"""The status under which a change of somebody whom the vendor does not have is refused."""
_NOT_ALLOWED: Final = Verdict(
    VerdictKind.RETRY,
    "vendor.credentials_refused",
    title="The vendor refuses to change contacts with our credentials.",
    awaits=True,
    not_received=True,
)


class RevisionRecord(Protocol):
    """Changes given at this till, on disk. Each call raises StorageError."""

    def naming(self, identifiers: Sequence[Identifier]) -> Sequence[Revision]:
        """Every change by which one of these is somebody's from now on."""

    def of(self, key: IntegrationKey) -> Sequence[Revision]:
        """Every change of whoever has that key, the oldest first."""

    def queued(self, limit: int, *, after: int = 0) -> Sequence[Revision]:
        """The oldest that the vendor does not have yet, after a record's number; none that is under way in a call."""

    def parked(self) -> int:
        """How many the vendor refuses."""

    async def add(
        self,
        key: IntegrationKey,
        contact: NewContact,
        identifiers: Sequence[Identifier],
        *,
        known_by: Sequence[Identifier],
        now: datetime,
    ) -> tuple[Revision, bool]:
        """Puts one on disk; as it stands now, and whether it is one with what was given before."""

    async def deliver(
        self, revision: Revision, written: NewContact, now: datetime, changed: Occurrence | None = None
    ) -> None:
        """Writes down that the vendor has what was written of it, and tells so, unless more was given meanwhile."""

    async def park(
        self, revision: Revision, status: int | None, vendor_code: str | None, fields: Sequence[str] = ()
    ) -> bool:
        """Writes down that the vendor refuses it, and which fields it names, unless more was given meanwhile."""

    async def take_back(self, revision: Revision) -> bool:
        """Removes one, unless more was given meanwhile."""

    async def forget_arrived(self, before: datetime, limit: int) -> int:
        """Erases those that the vendor had before an instant."""


class Updating:
    """Brings changes there.

    Args:
        clock: for instants.
        record: the changes, on disk.
        writer: changes contacts there; None where the vendor's are changed elsewhere.
        turns: whose turn it is.
        manner: how, when nobody waits.
        as_of: up to when the local contacts are right; None when there are none.
        their_time: an instant of ours by the vendor's clock.
        conditions: where it is told that the vendor refuses some.
        audit: records that two words about one contact differed. Raises StorageError.
        news: what further systems are told of changes.
        together: how several go together; None where the vendor takes them one by one.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        record: RevisionRecord,
        writer: Writer | None,
        turns: Turns,
        manner: Manner,
        as_of: Callable[[], datetime | None],
        their_time: Callable[[datetime], datetime],
        conditions: Conditions,
        audit: Callable[..., Awaitable[Any]],
        news: News = NO_NEWS,
        together: WayTogether | None = None,
    ) -> None:
        self._clock, self._record, self._writer, self._turns = clock, record, writer, turns
        self._manner, self._as_of, self._conditions, self._audit = manner, as_of, conditions, audit
        self._their_time, self._news = their_time, news
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._behind: dict[int, Revision] = {}
        self._told = False
        self._combining = self._opened(together) if together is not None else None

    def _opened(self, together: WayTogether) -> Combining:
        pace, is_there, arrived = self._manner.pace, self._is_there, self._has_arrived
        return Combining(together, clock=self._clock, pace=pace, is_there=is_there, arrived=arrived)

    def without_place(self, contact: NewContact) -> Sequence[Fault]:
        """What of a change the vendor has no field for: refused before anybody is told that it is kept."""
        return self._writer.without_place(contact) if self._writer is not None else ()

    async def deliver(self, go_on: Callable[[], bool]) -> int:
        """Brings to the vendor what waits, the oldest first; for how many it answered. Raises as :meth:`Turns.take`.

        Args:
            go_on: whether another may go.
        """
        if self._writer is None:
            return 0
        if not self._told:  # what an earlier run has left parked
            self.tell()
        as_of = self._as_of()
        if as_of is not None:  # from here on the vendor's own word about them is the newer one
            await self._record.forget_arrived(as_of, SLICE)

        def waiting(after: int) -> Sequence[Revision]:
            return self._record.queued(SLICE, after=after)

        bring = partial(self._in_turn, writer=self._writer)
        answered = 0
        if self._combining is not None:
            answered = await self._combining.follow(go_on)
            self._combining.look()
        taken = await self._turns.take(
            go_on, waiting=waiting, bring=bring, give_up=self._give_up, passed=self._has_no_turn
        )
        if self._combining is None:
            return taken.answered
        if (taken.everybody or self._combining.is_due) and go_on() and not self._turns.are_refused():
            answered += await self._combining.send(self._is_busy)
        return answered + taken.answered

    def _has_no_turn(self, revision: Revision) -> bool:
        """Whether one waits for the next call, or for an earlier change of the same contact."""
        if self._combining is not None and self._combining.has(revision):
            return True
        earlier = self._behind.get(revision.number)
        if earlier is None:
            return False
        standing = self.standing(earlier)
        if standing is not None and standing.state is EnrolmentState.QUEUED:
            return True
        del self._behind[revision.number]
        return False

    async def _in_turn(self, revision: Revision, *, writer: Writer) -> Verdict | None:
        async with self._alone(revision.number):
            standing = self.standing(revision)
            if standing is None or standing.state is not EnrolmentState.QUEUED or standing.under_way:
                return None  # a cashier waited for it meanwhile, or they were erased
            if self._turns.are_refused():
                return _NOT_ALLOWED
            try:
                await self._bring(standing, writer, self._manner.pace, combining=self._combining)
            except ContactRefusedError as error:
                await self._park(standing, error.status, error.vendor_code, error.fields)
            except VendorRefusedError:
                self._turns.refused(standing.number)
                raise
            return None

    async def existing(self, made: Enrolment, key: IntegrationKey) -> None:
        """Somebody made here is at the vendor already: what they said no to becomes a change; the rest is not kept.

        They may be another of a family who share a phone: nobody's name, number or consent is written over on that
        ground. That somebody withdrew what they never gave does no harm, and a withdrawal that is lost does.

        Raises:
            StorageError: it is not on disk.
        """
        withdrawn = withdrawn_in(made.contact) if made.contact is not None else NOTHING
        if withdrawn != NOTHING:
            await self._record.add(key, withdrawn, (), known_by=made.identifiers, now=made.accepted_at)
        log.info("contact.existing", withdrawn=withdrawn != NOTHING)

    async def now(self, revision: Revision, pace: Pace) -> tuple[str, ...] | None:
        """Brings one there at once; the names of what the vendor keeps as it has it. None where nothing was brought.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere; it stays queued.
            ContactRefusedError: the vendor refuses it; it is not parked.
            StorageError: what came of it cannot be written down.
        """
        async with self._alone(revision.number):
            standing = self.standing(revision)
            if standing is None or standing.version != revision.version or self._writer is None or standing.under_way:
                return None  # the lane was faster, more was given meanwhile, or they were erased
            if self._combining is not None and self._combining.has(standing):
                return None  # it goes by the next call, which may be about to begin
            result = await self._bring(standing, self._writer, pace)
            return result.kept_there if result is not None else None

    async def _bring(
        self, revision: Revision, writer: Writer, pace: Pace, *, combining: Combining | None = None
    ) -> Reconciled | None:
        """Brings one there, or has it go by the next call; None where an earlier change of the contact goes first."""
        there = await writer.contact_there(revision.key, timeout_s=self._manner.timeout_s, pace=pace)
        if there is None:
            raise ContactRefusedError(NOT_FOUND, _UNKNOWN)
        if (earlier := self._earlier(revision, there)) is not None:
            self._behind[revision.number] = earlier
            return None
        given_at = self._their_time(revision.accepted_at)
        result = reconciled(revision.contact, there, given_at)
        if combining is not None and combining.join(revision, there, given_at):
            self._turns.taken(revision.number)
            return result
        if result.contact != NOTHING:
            await writer.update(there.contact_id, result.contact, revision.identifiers, pace=pace)
        if result.kept_there or result.overwritten:
            await self._tell_conflict(result)
        await self._arrived(revision, result.contact, result.there)
        return result

    def _earlier(self, revision: Revision, there: ContactThere) -> Revision | None:
        """A change of the same contact, given before under another key, that is not there yet. Raises StorageError."""
        given = (one for key in there.keys if key != revision.key for one in self._record.of(key))
        waits = (one for one in given if one.number < revision.number and one.state is EnrolmentState.QUEUED)
        return next(waits, None)

    async def _arrived(self, revision: Revision, written: NewContact, there: NewContact) -> None:
        """Writes down what of a change was written at the vendor, and what of it is there now."""
        now = self._clock.now()
        changed = self._news.changed(revision, there, now)
        await self._record.deliver(revision, written, now, changed)
        if changed is not None:
            self._news.told()
        self._turns.taken(revision.number)
        self.tell()

    async def _has_arrived(self, revision: Revision) -> None:
        await self._arrived(revision, revision.contact, revision.contact)

    async def _is_there(self, revision: Revision) -> bool:
        """Whether the vendor has what a change says; one of somebody who is gone there is decided, too."""
        if self._writer is None:
            return False
        there = await self._writer.contact_there(revision.key, timeout_s=self._manner.timeout_s, pace=self._manner.pace)
        return there is None or is_there(revision.contact, there)

    async def _tell_conflict(self, result: Reconciled) -> None:
        """Somebody else has changed the contact too: says so, lest a word is lost without anybody knowing."""
        kept, overwritten = (
            sorted({name.split("/")[0] for name in of}) for of in (result.kept_there, result.overwritten)
        )
        log.warning("contact.conflict", kept=kept, overwritten=overwritten)
        await self._audit("contact.conflict", kept=len(result.kept_there), overwritten=len(result.overwritten))

    async def _park(
        self, revision: Revision, status: int | None, vendor_code: str | None, fields: Sequence[str] = ()
    ) -> None:
        if await self._record.park(revision, status, vendor_code, fields):
            log.warning("change.parked", code=vendor_code, status=status, fields=list(fields))
        self._turns.decided(revision.number)
        self.tell()

    async def _give_up(self, revision: Revision, code: str) -> None:
        async with self._alone(revision.number):
            await self._park(revision, None, code)

    def standing(self, revision: Revision) -> Revision | None:
        """How a change stands now; None where it is gone. Raises StorageError."""
        return next((one for one in self._record.of(revision.key) if one.number == revision.number), None)

    def given_anew(self, number: int) -> None:
        """A change says more now. Raises StorageError."""
        self._turns.anew(number)
        self.tell()

    def line_changed(self) -> None:
        """The line is back: what only failed with it need not wait any longer."""
        self._turns.line_changed()
        if self._combining is not None:
            self._combining.line_changed()

    def hurry(self) -> None:
        """Somebody asked for an attempt now: nothing waits any longer."""
        self._turns.hurry()
        if self._combining is not None:
            self._combining.hurry()

    def erased(self) -> None:
        """Somebody was. Raises StorageError."""
        self._behind.clear()
        if self._combining is not None:
            self._combining.forget()
        self.tell()

    def tell(self) -> None:
        """Says whether the vendor refuses changes that were given here. Raises StorageError."""
        parked = self._record.parked()
        self._told = True
        self._conditions.set("changes.parked", stands=parked > 0, now=self._clock.now(), detail=str(parked))

    def _is_busy(self, number: int) -> bool:
        """Whether somebody brings that change to the vendor at this moment."""
        lock = self._locks.get(number)
        return lock is not None and lock.locked()

    def _alone(self, number: int) -> asyncio.Lock:
        """Held by whoever brings one change to the vendor: two of one person must not overtake each other."""
        return self._locks.setdefault(number, asyncio.Lock())
