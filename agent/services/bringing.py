"""Bringing contacts that were made at the till to the loyalty system: the half of enrolling that nobody waits for.

Each gets there before the sales that need it, and once: who is there already is found first, also after an attempt
whose answer was lost. What the loyalty system refuses is parked, and waits for a person with the sales that need it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from weakref import WeakValueDictionary

import structlog

from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.enrolment import Enrolment
from agent.domain.health import Conditions
from agent.domain.identifiers import Identifier
from agent.domain.tagging import Found, Outcome, together
from agent.domain.transaction import IntegrationKey, NewContact
from agent.errors import AmbiguousContactError, ContactRefusedError, Fault, ReadOnlyContactsError, VendorRefusedError
from agent.ports import Clock, EnrolmentRecord, Lookup, Pace, Writer
from agent.services.contacts import Newcomers
from agent.services.gathering import WITH_OTHERS, Gathering
from agent.services.making import Making
from agent.services.news import NO_NEWS, News
from agent.services.turns import SLICE, Taken, Turns

log = structlog.get_logger(__name__)

_RACED: Final = Verdict(
    VerdictKind.RETRY, "contact.exists", title="Somebody else makes this contact.", alone=True, not_received=True
)
_NOT_ALLOWED: Final = Verdict(
    VerdictKind.RETRY,
    "vendor.credentials_refused",
    title="The vendor refuses to make contacts with our credentials.",
    awaits=True,
    not_received=True,
)


@dataclass(frozen=True, slots=True)
class Manner:
    """How contacts are brought there.

    Attributes:
        store_id: where they were made.
        timeout_s: the longest wait for any one answer of a look-up.
        pace: waits for this agent's share of the vendor's allowance.
    """

    store_id: str
    timeout_s: float
    pace: Pace


class Bringing:
    """Brings contacts there.

    Args:
        clock: for instants.
        record: contacts made here, on disk.
        newcomers: the same, as members.
        lookup: the vendor's question.
        writer: makes contacts there; None where the vendor's are made elsewhere.
        turns: whose turn it is.
        manner: how.
        existing: hears of who was made here, and is at the vendor already, under which key. Raises StorageError.
        sales_again: puts the sales of somebody made here back in line, that were parked because the vendor refused what
            was given of them; how many. Raises StorageError.
        conditions: where it is told that the vendor refuses some.
        news: what further systems are told of who joined.
        gathering: who goes together with others; None where the vendor takes them one by one.

    Attributes:
        making: who is being made, in whatever way.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        record: EnrolmentRecord,
        newcomers: Newcomers,
        lookup: Lookup | None,
        writer: Writer | None,
        turns: Turns,
        manner: Manner,
        existing: Callable[[Enrolment, IntegrationKey], Awaitable[None]],
        sales_again: Callable[[IntegrationKey], Awaitable[int]],
        conditions: Conditions,
        news: News = NO_NEWS,
        gathering: Gathering | None = None,
    ) -> None:
        self._clock, self._record, self._newcomers = clock, record, newcomers
        self._news, self._gathering, self.making = news, gathering, Making()
        self._lookup, self._writer, self._turns, self._manner = lookup, writer, turns, manner
        self._existing, self._sales_again, self._conditions = existing, sales_again, conditions
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._told = False

    def without_place(self, contact: NewContact) -> Sequence[Fault]:
        """What of a contact the vendor has no field for: refused before anybody is told that it is kept."""
        return self._writer.without_place(contact) if self._writer is not None else ()

    async def deliver(self, go_on: Callable[[], bool]) -> int:
        """Brings to the vendor what waits, the oldest first; for how many it answered. Raises as :meth:`Turns.take`.

        Args:
            go_on: whether another may go.
        """
        if not self._told:  # what an earlier run has left parked
            self.tell()
        if self._gathering is None:
            return (await self._take(go_on)).answered
        followed = await self._gathering.follow(go_on)
        self._gathering.look()
        taken = await self._take(go_on)
        if taken.everybody and go_on() and not self._turns.are_refused():
            followed += await self._gathering.send(self._is_busy)
        return followed + taken.answered

    async def _take(self, go_on: Callable[[], bool]) -> Taken:
        def waiting(after: int) -> Sequence[Enrolment]:
            return self._record.queued(SLICE, after=after, under_way=self._gathering is None)

        return await self._turns.take(
            go_on, waiting=waiting, bring=self._bring_in_turn, give_up=self._give_up, passed=self._goes_with_others
        )

    def _goes_with_others(self, made: Enrolment) -> bool:
        """Whether somebody has nothing left to do but to wait for the next call."""
        if self._gathering is None:
            return False
        if self._gathering.has(made):
            return True
        if self._is_busy(made.number) or not self._gathering.takes(made) or self._to_ask(made, self._gathering):
            return False
        self._gathering.join(made)
        return True

    async def _bring_in_turn(self, made: Enrolment) -> Verdict | None:
        try:
            came_of_it = await self.key_of(made.own_key)
        except (ContactRefusedError, AmbiguousContactError):
            return None  # it is parked
        return came_of_it if isinstance(came_of_it, Verdict) and came_of_it is not WITH_OTHERS else None

    async def _give_up(self, made: Enrolment, code: str) -> None:
        async with self._alone(made.number):
            if self.current(made.own_key) == made:
                await self.park(made, None, code)

    def line_changed(self) -> None:
        """The line is back: what only failed with it need not wait any longer."""
        self._turns.line_changed()
        if self._gathering is not None:
            self._gathering.line_changed()

    def hurry(self) -> None:
        """Somebody asked for an attempt now: nothing waits any longer."""
        self._turns.hurry()
        if self._gathering is not None:
            self._gathering.hurry()

    async def key_of(self, own: IntegrationKey) -> IntegrationKey | Verdict | None:
        """The vendor's key of somebody made here, who is made there if they are not yet.

        None where nobody is known by that number any more; a verdict where it has to be asked for again.

        Raises:
            VendorUnreachableError, VendorRefusedError, ConfigurationError: as everywhere.
            ContactRefusedError: the vendor refuses what was given; it is parked.
            AmbiguousContactError: several people there share what was given; it is parked.
            StorageError: what came of it cannot be written down.
        """
        known = self.current(own)
        if known is None or known.key is not None:
            return known.key if known is not None else None
        async with self.making.alone(known.identifiers), self._alone(known.number):
            made = self.current(own)  # it may have been brought there meanwhile, or erased
            if made is None or made.key is not None:
                return made.key if made is not None else None
            if self._gathering is not None and (made.under_way or self._gathering.has(made)):
                return WITH_OTHERS
            if self._turns.are_refused():
                return _NOT_ALLOWED
            try:
                return await self._bring(made)
            except VendorRefusedError:
                self._turns.refused(made.number)
                raise

    async def _bring(self, made: Enrolment) -> IntegrationKey | Verdict:
        gathering = self._gathering
        if gathering is not None and made.said is not None and (found := await gathering.find(made)) is not None:
            await self._settle(made, found)
            return found.key or _RACED
        together = gathering if gathering is not None and gathering.takes(made) else None
        there = await self._ask(made.identifiers if together is None else self._to_ask(made, together))
        if there.outcome is Outcome.AMBIGUOUS:
            await self.park(made, None, AmbiguousContactError.code)
            raise AmbiguousContactError
        if there.key is None and together is not None:
            together.join(made)
            return WITH_OTHERS
        if there.key is None:
            try:
                there = await self._create(made, self._manner.pace)
            except ContactRefusedError as error:
                await self.park(made, error.status, error.vendor_code)
                raise
        else:
            await self._existing(made, there.key)
        await self._settle(made, there)
        return there.key or _RACED

    async def make_now(self, made: Enrolment, pace: Pace) -> None:
        """Has the vendor make somebody of whom it has just said that it does not know them; for who holds them alone.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
            ContactRefusedError: the vendor refuses what was given; it is not parked.
            StorageError: what came of it cannot be written down.
        """
        await self._settle(made, await self._create(made, pace))

    async def _ask(self, identifiers: Sequence[Identifier]) -> Found:
        """Who has one of these at the vendor: also who was made there by an attempt whose answer was lost."""
        lookup = self._lookup
        if lookup is None:
            return Found(Outcome.NOT_FOUND)
        find = partial(lookup.find, timeout_s=self._manner.timeout_s, pace=self._manner.pace)
        return together([await find(one) for one in identifiers if lookup.knows(one)])

    def _to_ask(self, made: Enrolment, gathering: Gathering) -> tuple[Identifier, ...]:
        """By what the vendor is asked for somebody who is to go with others."""
        lookup = self._lookup
        return tuple(one for one in gathering.to_ask(made) if lookup is not None and lookup.knows(one))

    async def _create(self, made: Enrolment, pace: Pace) -> Found:
        if self._writer is None or made.contact is None:
            raise ReadOnlyContactsError
        names = (*made.identifiers, made.own_key.identifier)
        before = await self._record.asking(made.number)
        there = await self._writer.create(made.contact, names, store_id=self._manner.store_id, pace=pace)
        if there.existed and not before:  # whoever is there has not joined here; nor by an answer that was lost
            await self._record.not_made(made.number)
        return there

    async def _settle(self, made: Enrolment, there: Found) -> None:
        """Writes down under which key the vendor has them, if it said so."""
        if there.key is None:
            return
        # First, lest a power cut in between leaves them where nobody looks for them any more.
        again = await self._sales_again(made.own_key)
        now = self._clock.now()
        joined = self._news.joined(made, there.key, now)
        await self._record.deliver(made.number, there.key, there.contact_id, now, joined)
        if joined is not None:
            self._news.told()
        if again:
            log.info("contact.sales_again", count=again)
        self._turns.taken(made.number)
        self._newcomers.told.discard(made.ref)
        self.tell()

    async def park(self, made: Enrolment, status: int | None, vendor_code: str | None) -> None:
        """The vendor refuses it: it waits for a person; for who holds it alone. Raises StorageError."""
        await self._record.park(made.number, status, vendor_code)
        log.warning("contact.parked", code=vendor_code, status=status)
        self._turns.decided(made.number)
        self._newcomers.told.discard(made.ref)
        self.tell()

    def given_anew(self, number: int) -> None:
        """What the vendor has not heard, or has refused, says something else now. Raises StorageError."""
        self._turns.anew(number)
        self.tell()

    def tell(self) -> None:
        """Says whether the vendor refuses contacts that were made here. Raises StorageError."""
        parked = self._record.parked()
        self._told = True
        self._conditions.set("contacts.parked", stands=parked > 0, now=self._clock.now(), detail=str(parked))

    def current(self, own: IntegrationKey) -> Enrolment | None:
        """Somebody made here, by their number; None where nobody is known by it any more. Raises StorageError."""
        return next(iter(self._record.find((own.identifier,))), None)

    def _is_busy(self, number: int) -> bool:
        """Whether somebody brings that contact to the vendor at this moment."""
        lock = self._locks.get(number)
        return lock is not None and lock.locked()

    def _alone(self, number: int) -> asyncio.Lock:
        """Held by whoever brings one contact to the vendor."""
        return self._locks.setdefault(number, asyncio.Lock())

    @contextlib.asynccontextmanager
    async def alone_in_time(self, made: Enrolment | None, within_s: float) -> AsyncIterator[bool]:
        """Whether nobody else brings a contact to the vendor while the block runs, waited for as a cashier waits."""
        if made is None:
            yield False
            return
        lock = self._alone(made.number)
        try:
            async with asyncio.timeout(within_s):
                await lock.acquire()
        except TimeoutError:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()
