"""Making a contact at the till: at the loyalty system while a cashier waits, else here, to be brought there later.

Somebody who is a member already is found before a second contact is made of them: here, then by asking. Whoever is not
is put on disk with a number of this till's own before the loyalty system is asked to make them, so that no power cut
loses a customer who was told "welcome". What it refuses while the cashier waits is taken back whole, for the cashier to
mend; :mod:`agent.services.bringing` has what comes later.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.domain.contact import Member
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
from agent.domain.identifiers import Identifier, Normaliser
from agent.domain.link import Link
from agent.domain.tagging import Outcome
from agent.domain.transaction import NewContact
from agent.errors import (
    AmbiguousContactError,
    ContactRefusedError,
    Fault,
    InputError,
    ReadOnlyContactsError,
    StorageFullError,
    UnderWayError,
)
from agent.ports import Clock, EnrolmentRecord
from agent.services.asking import Asking
from agent.services.bringing import Bringing
from agent.services.contacts import LocalContacts, Newcomers


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
        offered: contacts may be made at this till, and the loyalty system takes them.
        prefix: of its number series.
        stale_after: `replica.stale_after`.
    """

    offered: bool
    prefix: str
    stale_after: timedelta


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
        bringing: takes them to the vendor, now or later.
        link: the line.
        policy: the configuration.
        room: whether there is room for another record.
        added: called after one was put on disk that the vendor does not have.

    Attributes:
        bringing: takes them to the vendor.
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
        bringing: Bringing,
        link: Link,
        policy: EnrolPolicy,
        room: Callable[[], bool],
        added: Callable[[], None],
    ) -> None:
        self._clock, self._normaliser, self._record, self._newcomers = clock, normaliser, record, newcomers
        self._contacts, self._live, self._asking, self.bringing = contacts, live, asking, bringing
        self._link, self._policy, self._room, self._added = link, policy, room, added

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
        if not self._policy.offered:
            raise ReadOnlyContactsError
        identifiers = self._checked(contact)
        given = respelled(contact, identifiers)
        known = await self._given_before(given, identifiers)
        if known is not None:
            return known
        async with self.bringing.making.alone_in_time(identifiers, self._asking.budget_s) as alone:
            made = await self._make(given, identifiers, alone=alone)
        return made or await self.enrol(contact)  # what another call has made was taken back again

    async def _make(self, given: NewContact, identifiers: Sequence[Identifier], *, alone: bool) -> Enrolled | None:
        """Makes somebody whom this till does not know; None when another call was faster, and has taken it back.

        Args:
            given: the contact.
            identifiers: what names it.
            alone: nobody else makes them meanwhile. If not, the vendor is not asked: they are made later.
        """
        known = self._known_here(identifiers)  # by a sale that has been sent meanwhile
        if known is not None and known.state == "existing":
            return known
        live = await self._live(identifiers) if alone else None
        if live is not None and live[0] is not Outcome.NOT_FOUND:
            return self._existing(live[1], "live", self._clock.now())
        if not self._room():
            raise StorageFullError
        added = await self._record.add(given, identifiers, prefix=self._policy.prefix, now=self._clock.now())
        if not added.new and not added.enrolments:  # what is on record of them cannot be read
            raise AmbiguousContactError
        if not added.new:  # another call was faster
            return await self._given_before(given, identifiers)
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
        async with self._alone(made[0] if len(made) == 1 else None) as alone:
            known = self._known_here(identifiers)  # its fate may have been decided meanwhile
            if known is None or known.state not in (EnrolmentState.QUEUED, EnrolmentState.PARKED):
                return known
            return await self._given_again(known, given, identifiers, alone_with=made[0].number if alone else None)

    async def add_to(self, ref: str, given: NewContact, identifiers: Sequence[Identifier]) -> Enrolled | None:
        """Somebody made here, with what is changed of theirs; None where the vendor has them, or they are nobody's.

        What the vendor has refused of them stays, where nothing else is given, and is tried again.

        Raises:
            UnderWayError: the contact is being brought to the vendor at this moment.
            StorageError: it cannot be put on disk; nothing is changed.
        """
        made = self._record.by_ref(ref)
        if made is None or made.key is not None:
            return None
        async with self._alone(made) as alone:
            made = self._record.by_ref(ref)  # its fate may have been decided meanwhile
            if made is None or made.key is not None:
                return None
            number = made.number if alone else None
            return await self._given_again(self._made((made,)), given, identifiers, alone_with=number, whole=False)

    async def _given_again(
        self,
        known: Enrolled,
        given: NewContact,
        identifiers: Sequence[Identifier],
        *,
        alone_with: int | None,
        whole: bool = True,
    ) -> Enrolled | None:
        """Somebody whom the vendor does not have, with what is given now; None when they were erased meanwhile.

        What it has refused is replaced by the whole of what is given now, and tried again. What it has not heard is
        added to, field by field.
        """
        made = self.bringing.current(known.member.key)
        if made is None:
            return None
        queued = made.state is EnrolmentState.QUEUED
        if (queued or not whole) and made.contact is not None:
            given, identifiers = over(given, made.contact), names_over(identifiers, made.identifiers)
            if queued and given == made.contact:
                return known
        if made.number != alone_with:
            raise UnderWayError("This contact is being brought to the loyalty system.")
        if not await self._record.amend(made.number, given, identifiers):
            raise UnderWayError("This contact is being brought to the loyalty system.")
        self.bringing.given_anew(made.number)
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
        faults += [*faults_of(contact, now=now, today=today), *self.bringing.without_place(contact)]
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
        async with self._alone(made) as alone:
            if not alone or self.bringing.current(made.own_key) != made:  # the lane was faster, or another till
                return
            try:
                await self._asking.ask(lambda: self.bringing.make_now(made, self._asking.spend))
            except ContactRefusedError as error:
                if made.ref in self._newcomers.told:
                    await self.bringing.park(made, error.status, error.vendor_code)
                else:
                    with self._newcomers.hidden(made.ref):
                        await self._record.drop(made.number)
                raise error.at("") from error

    def _alone(self, made: Enrolment | None) -> AbstractAsyncContextManager[bool]:
        return self.bringing.alone_in_time(made, self._asking.budget_s)
