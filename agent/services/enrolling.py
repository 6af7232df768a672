"""Making a contact at the till: at the loyalty system while a cashier waits, else here, to be brought there later.

Somebody who is a member already is found before a second contact is made of them: here, then by asking. Whoever is not
is put on disk with a number of this till's own before the loyalty system is asked to make them, so that no power cut
loses a customer who was told "welcome". What it refuses while the cashier waits is taken back whole, for the cashier to
mend; what it refuses later is parked, and waits for a person with the sales that need it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from weakref import WeakValueDictionary

import structlog

from agent.domain.contact import Member
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.enrolment import (
    Enrolment,
    EnrolmentState,
    faults_of,
    identifiers_of,
    names_over,
    over,
    respelled,
)
from agent.domain.fallback import Served, served
from agent.domain.health import Conditions
from agent.domain.identifiers import Identifier, Normaliser
from agent.domain.link import Link
from agent.domain.suspicion import Suspicion
from agent.domain.tagging import Found, Outcome, together
from agent.domain.transaction import IntegrationKey, NewContact
from agent.errors import (
    AmbiguousContactError,
    ContactRefusedError,
    Fault,
    InputError,
    LoyaltyAgentError,
    ReadOnlyContactsError,
    StorageFullError,
    UnderWayError,
    VendorOwnError,
    VendorRefusedError,
    VendorUnreachableError,
)
from agent.ports import Clock, EnrolmentRecord, Lookup, Pace, Writer
from agent.services.asking import Asking
from agent.services.contacts import LocalContacts, Newcomers
from agent.services.patience import Patience

log = structlog.get_logger(__name__)

SLICE, TURN = 100, 20
"""Contacts that are looked at, and brought to the vendor, before sales have their turn again. A sale brings its own."""
OWN_FAILURES = 10
"""So often the vendor may answer for a contact, and neither make nor find it, before it waits for a person. The pauses
in between grow: two tills that race are long done by then."""
ERRORS_ALONE = 3
"""So many errors of the vendor's, with others made in between, before a contact may be blamed for them."""
_ALL = 0
_RACED: Final = Verdict(
    VerdictKind.RETRY, "contact.exists", title="Somebody else makes this contact.", alone=True, not_received=True
)
_MISTAKEN: Final = Verdict(VerdictKind.RETRY, "agent.error", alone=True, not_received=True)
_NOT_ALLOWED: Final = Verdict(
    VerdictKind.RETRY,
    "vendor.credentials_refused",
    title="The vendor refuses to make contacts with our credentials.",
    awaits=True,
    not_received=True,
)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The answer to a new contact.

    Attributes:
        member: whom the till goes on with.
        state: ``queued``, ``parked``, ``delivered``; or ``existing``: they were a member already.
        served: how that is known.
        codes: messages for the cashier's screen.
    """

    member: Member
    state: str
    served: Served
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EnrolPolicy:
    """The part of the configuration that enrolling obeys.

    Attributes:
        offered: contacts may be made at this till.
        prefix: of its number series.
        store_id: where.
        stale_after: `replica.stale_after`.
        timeout_s: the longest wait for any one answer of a look-up, when nobody waits.
        backoff_first_s: the first pause after a contact could not be brought to the vendor.
        backoff_max_s: the longest.
    """

    offered: bool
    prefix: str
    store_id: str
    stale_after: timedelta
    timeout_s: float
    backoff_first_s: float
    backoff_max_s: float


class Enrolling:
    """Makes contacts.

    Args:
        clock: for instants and the budget.
        normaliser: how this store reads identifiers.
        record: contacts made here, on disk.
        newcomers: the same, as members.
        contacts: everybody whom this till knows.
        live: what the vendor says of somebody while a cashier waits; None when it does not answer in time.
        asking: asks it to make a contact meanwhile.
        lookup: the vendor's question, when nobody waits.
        writer: makes contacts there; None where the vendor's are made elsewhere.
        link: the line.
        policy: the configuration.
        pace: waits for this agent's share of the vendor's allowance.
        room: whether there is room for another record.
        added: called after one was put on disk that the vendor does not have.
        conditions: where it is told that the vendor refuses some.
        uniform: the source of chance.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        normaliser: Normaliser,
        record: EnrolmentRecord,
        newcomers: Newcomers,
        contacts: LocalContacts,
        live: Callable[[Sequence[Identifier]], Awaitable[tuple[Outcome, tuple[Member, ...]] | None]],
        asking: Asking,
        lookup: Lookup | None,
        writer: Writer | None,
        link: Link,
        policy: EnrolPolicy,
        pace: Pace,
        room: Callable[[], bool],
        added: Callable[[], None],
        conditions: Conditions,
        uniform: Callable[[float, float], float],
    ) -> None:
        self._clock, self._normaliser, self._record, self._newcomers = clock, normaliser, record, newcomers
        self._contacts, self._live, self._asking, self._lookup, self._writer = contacts, live, asking, lookup, writer
        self._link, self._policy, self._pace, self._room, self._added = link, policy, pace, room, added
        self._conditions = conditions
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        first_s, longest_s = policy.backoff_first_s, policy.backoff_max_s
        self._patience = Patience(clock, first_s=first_s, longest_s=longest_s, uniform=uniform)
        self._refusals = Patience(clock, first_s=first_s, longest_s=longest_s, uniform=uniform)
        self._suspicion = Suspicion()
        self._told = False

    # --- at the till ----------------------------------------------------------------------------------------

    async def enrol(self, contact: NewContact) -> Enrolled:
        """Makes a contact, or says who it is already; asked again with the same identifiers, nobody is made twice.

        Raises:
            ReadOnlyContactsError: none are made at this till.
            InputError: what was given cannot be right, or names nobody.
            AmbiguousContactError: several people share what was given.
            ContactRefusedError: the vendor refuses it; nothing is kept, unless another till was told of it meanwhile.
            UnderWayError: what is given changes a contact that is being brought to the vendor at this moment.
            StorageError: it cannot be put on disk; nothing is kept.
        """
        if not self._policy.offered or self._writer is None:
            raise ReadOnlyContactsError
        identifiers = self._checked(contact)
        given = respelled(contact, identifiers)
        known = await self._given_before(given, identifiers)
        if known is not None:
            return known
        live = await self._live(identifiers)
        if live is not None and live[0] is not Outcome.NOT_FOUND:
            return self._existing(live[1], "live", self._clock.now())
        if not self._room():
            raise StorageFullError
        added = await self._record.add(given, identifiers, prefix=self._policy.prefix, now=self._clock.now())
        if not added.new and not added.enrolments:  # what is on record of them cannot be read
            raise AmbiguousContactError
        if not added.new:  # another call was faster; what it had made may be taken back again
            return await self._given_before(given, identifiers) or await self.enrol(contact)
        (made,) = added.enrolments
        if live is not None:
            await self._try_now(made)
        answer = self._made(self._record.find((made.own_key.identifier,)) or (made,))
        if answer.state == EnrolmentState.QUEUED:
            self._added()
        return answer

    async def _given_before(self, given: NewContact, identifiers: Sequence[Identifier]) -> Enrolled | None:
        """Who it is by what is known at this till, with what is new of it kept; None when nobody is."""
        made = [one for one in self._record.find(identifiers) if one.key is None]
        async with self._alone_in_time(made[0] if len(made) == 1 else None) as alone:
            known = self._known_here(identifiers)  # its fate may have been decided meanwhile
            if known is None or known.state not in (EnrolmentState.QUEUED, EnrolmentState.PARKED):
                return known
            return await self._given_again(known, given, identifiers, alone_with=made[0].number if alone else None)

    async def _given_again(
        self, known: Enrolled, given: NewContact, identifiers: Sequence[Identifier], *, alone_with: int | None
    ) -> Enrolled | None:
        """Somebody whom the vendor does not have, with what is given now; None when they were erased meanwhile.

        What it has refused is replaced, and tried again. What it has not heard is added to, field by field.
        """
        made = self._of(known.member.key)
        if made is None:
            return None
        if made.state is EnrolmentState.QUEUED and made.contact is not None:
            given, identifiers = over(given, made.contact), names_over(identifiers, made.identifiers)
            if given == made.contact:
                return known
        if made.number != alone_with:
            raise UnderWayError("This contact is being brought to the loyalty system.")
        await self._record.amend(made.number, given, identifiers)
        self._patience.over(made.number)
        self.tell()
        self._added()
        found = self._record.find((known.member.key.identifier,))
        return self._made(found) if found else None

    def member(self, ref: str) -> Member | None:
        """The member behind the handle of somebody made here; None when it is nobody's who was."""
        return self._newcomers.member(ref)

    def _checked(self, contact: NewContact) -> tuple[Identifier, ...]:
        """What names the contact, each in its one form. Raises InputError with everything that is wrong with it."""
        now, today = self._clock.now(), self._clock.today()
        identifiers, faults = identifiers_of(contact, self._normaliser, today=today)
        faults += faults_of(contact, now=now, today=today)
        if not identifiers and not faults:
            faults.append(Fault("/mobile_phone", "is needed, or email, or personal_number"))
        if faults:
            raise InputError(faults, "The contact does not fit.")
        return identifiers

    def _known_here(self, identifiers: Sequence[Identifier]) -> Enrolled | None:
        """Who it is by what is known at this till; the loyalty system's word comes before what was made here."""
        members, as_of = self._contacts.find(identifiers)
        made = self._record.find(identifiers)
        if made and {member.ref for member in members} <= {one.ref for one in made}:
            return self._made(made)
        return self._existing(members, "replica", as_of) if members else None

    def _existing(self, members: Sequence[Member], source: str, as_of: datetime | None) -> Enrolled:
        if len(members) != 1:
            raise AmbiguousContactError
        return Enrolled(members[0], "existing", self._served(source, as_of))

    def _made(self, enrolments: Sequence[Enrolment]) -> Enrolled:
        if len(enrolments) != 1:
            raise AmbiguousContactError
        made = enrolments[0]
        waits = made.state is EnrolmentState.QUEUED
        how = self._served("replica" if made.key is None else "live", self._clock.now())
        codes = ("loyalty.enrolled_offline",) if waits else ()
        return Enrolled(self._newcomers.member_of(made), made.state.value, how, codes)

    def _served(self, source: str, as_of: datetime | None) -> Served:
        answers = self._link.answers is not False
        level = self._contacts.level(self._contacts.as_of(), vendor_answers=answers)
        return served(source, as_of=as_of, now=self._clock.now(), stale_after=self._policy.stale_after, level=level)

    async def _try_now(self, made: Enrolment) -> None:
        """Has the vendor make somebody of whom it has just said that it does not know them, while a cashier waits.

        What it refuses is taken back, unless somebody was told of them meanwhile: a sale may be under their number.
        """
        async with self._alone_in_time(made) as alone:
            if not alone or self._of(made.own_key) != made:  # the lane was faster, or another till
                return
            try:
                await self._asking.ask(lambda: self._bring_now(made))
            except ContactRefusedError as error:
                if made.ref in self._newcomers.told:
                    await self._park(made, error.status, error.vendor_code)
                else:
                    with self._newcomers.hidden(made.ref):
                        await self._record.drop(made.number)
                raise error.at("") from error

    async def _bring_now(self, made: Enrolment) -> None:
        await self._settle(made, await self._create(made, self._asking.spend))

    # --- in the lane ----------------------------------------------------------------------------------------

    async def deliver(self, go_on: Callable[[], bool]) -> int:
        """Brings to the vendor what waits, the oldest first; for how many it answered.

        Args:
            go_on: whether another may go.

        Raises:
            VendorUnreachableError: no answer came; what was on its way waits a while.
            VendorRefusedError: our credentials are refused.
            ConfigurationError: they cannot even be read.
            StorageError: what came of it cannot be written down.
        """
        if not self._told:  # what an earlier run has left parked
            self.tell()
        answered, last = 0, 0
        while page := self._record.queued(SLICE, after=last):
            last = page[-1].number
            for made in page:
                if answered == TURN or not go_on():
                    return answered
                if self._patience.waits(made.number) or self._refusals.waits(made.number):
                    continue
                if not await self._attempt(made):
                    return answered
                answered += 1
        return answered

    async def _attempt(self, made: Enrolment) -> bool:
        """Brings one there; False when it may be to blame itself for an error of the vendor's: then sales are next."""
        came_of_it: IntegrationKey | Verdict | None = None
        try:
            came_of_it = await self.key_of(made.own_key)
        except VendorOwnError as error:
            self._patience.put_off(made.number)
            if self._suspicion.blames(made.number, at_least=ERRORS_ALONE):
                await self._give_up(made, error.code)
            return False
        except VendorUnreachableError:
            self._patience.put_off(made.number)
            raise
        except (ContactRefusedError, AmbiguousContactError):
            pass  # it is parked
        except LoyaltyAgentError:
            raise
        except Exception:  # a mistake of ours in one contact must not stop the others, nor the sales
            log.exception("contact.failed")
            came_of_it = _MISTAKEN
        if not isinstance(came_of_it, Verdict):
            return True
        if came_of_it.awaits:
            return False
        if self._patience.put_off(made.number) >= OWN_FAILURES:
            await self._give_up(made, came_of_it.code)
        return True

    async def _give_up(self, made: Enrolment, code: str) -> None:
        async with self._alone(made.number):
            if self._of(made.own_key) == made:
                await self._park(made, None, code)

    def line_changed(self) -> None:
        """The line is back: what only failed with it need not wait any longer."""
        self._patience.line_changed()

    def hurry(self) -> None:
        """Somebody asked for an attempt now: nothing waits any longer."""
        self._patience.hurry()
        self._refusals.hurry()

    async def key_of(self, own: IntegrationKey) -> IntegrationKey | Verdict | None:
        """The vendor's key of somebody made here, who is made there if they are not yet.

        None where nobody is known by that number any more; a verdict where it has to be asked for again.

        Raises:
            VendorUnreachableError, VendorRefusedError, ConfigurationError: as everywhere.
            ContactRefusedError: the vendor refuses what was given; it is parked.
            AmbiguousContactError: several people there share what was given; it is parked.
            StorageError: what came of it cannot be written down.
        """
        known = self._of(own)
        if known is None or known.key is not None:
            return known.key if known is not None else None
        async with self._alone(known.number):
            made = self._of(own)  # it may have been brought there meanwhile, or erased
            if made is None or made.key is not None:
                return made.key if made is not None else None
            if self._refusals.waits(_ALL):
                return _NOT_ALLOWED
            try:
                return await self._bring(made)
            except VendorRefusedError:
                if not self._link.refused:  # it took them before: they may be good for all but this
                    self._refusals.put_off(_ALL)
                    self._refusals.put_off(made.number)
                raise

    async def _bring(self, made: Enrolment) -> IntegrationKey | Verdict:
        there = await self._ask(made.identifiers)
        if there.outcome is Outcome.AMBIGUOUS:
            await self._park(made, None, AmbiguousContactError.code)
            raise AmbiguousContactError
        if there.key is None:
            try:
                there = await self._create(made, self._pace)
            except ContactRefusedError as error:
                await self._park(made, error.status, error.vendor_code)
                raise
        await self._settle(made, there)
        return there.key or _RACED

    async def _ask(self, identifiers: Sequence[Identifier]) -> Found:
        """Who has one of these at the vendor: also who was made there by an attempt whose answer was lost."""
        lookup = self._lookup
        if lookup is None:
            return Found(Outcome.NOT_FOUND)
        askable = [one for one in identifiers if lookup.knows(one)]
        return together([await lookup.find(one, timeout_s=self._policy.timeout_s, pace=self._pace) for one in askable])

    async def _create(self, made: Enrolment, pace: Pace) -> Found:
        if self._writer is None or made.contact is None:
            raise ReadOnlyContactsError
        names = (*made.identifiers, made.own_key.identifier)
        return await self._writer.create(made.contact, names, store_id=self._policy.store_id, pace=pace)

    async def _settle(self, made: Enrolment, there: Found) -> None:
        """Writes down under which key the vendor has them, if it said so."""
        if there.key is None:
            return
        await self._record.deliver(made.number, there.key, there.contact_id, self._clock.now())
        self._refusals.over(_ALL)
        self._suspicion.delivered()
        self._decided(made)

    async def _park(self, made: Enrolment, status: int | None, vendor_code: str | None) -> None:
        await self._record.park(made.number, status, vendor_code)
        log.warning("contact.parked", code=vendor_code, status=status)
        self._decided(made)

    def _decided(self, made: Enrolment) -> None:
        self._patience.over(made.number)
        self._refusals.over(made.number)
        self._suspicion.clear(made.number)
        self._newcomers.told.discard(made.ref)
        self.tell()

    def tell(self) -> None:
        """Says whether the vendor refuses contacts that were made here. Raises StorageError."""
        parked = self._record.parked()
        self._told = True
        self._conditions.set("contacts.parked", stands=parked > 0, now=self._clock.now(), detail=str(parked))

    def _of(self, own: IntegrationKey) -> Enrolment | None:
        return next(iter(self._record.find((own.identifier,))), None)

    def _alone(self, number: int) -> asyncio.Lock:
        """Held by whoever brings one contact to the vendor."""
        return self._locks.setdefault(number, asyncio.Lock())

    @contextlib.asynccontextmanager
    async def _alone_in_time(self, made: Enrolment | None) -> AsyncIterator[bool]:
        """Whether nobody else brings a contact to the vendor while the block runs, waited for as a cashier waits."""
        if made is None:
            yield False
            return
        lock = self._alone(made.number)
        try:
            async with asyncio.timeout(self._asking.budget_s):
                await lock.acquire()
        except TimeoutError:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()
