"""Changing a contact at the till: on disk first, then at the loyalty system while a cashier waits, else later.

Whoever was made here and is not there yet is changed here, and gets there as they are by then. A change of somebody
else's that the loyalty system refuses while the cashier waits is taken back, for the cashier to mend;
:mod:`agent.services.updating` has what comes later. Until its own word comes back the till is shown what was changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from agent.domain.contact import Member
from agent.domain.enrolment import EnrolmentState, faults_of, identifiers_of, respelled
from agent.domain.fallback import Served, served
from agent.domain.identifiers import Identifier, Normaliser
from agent.domain.link import Link
from agent.domain.revision import Revision, faults_of_change, said_in
from agent.domain.tagging import Outcome
from agent.domain.transaction import IntegrationKey, NewContact
from agent.errors import (
    AmbiguousContactError,
    ContactRefusedError,
    InputError,
    ReadOnlyContactsError,
    StorageFullError,
    UnknownRecordError,
)
from agent.ports import Clock
from agent.services.asking import Asking
from agent.services.contacts import LocalContacts
from agent.services.handles import Refs
from agent.services.updating import NOT_FOUND, RevisionRecord, Updating

UNKNOWN_CONTACT = "Nobody is known here under that handle."


@dataclass(frozen=True, slots=True)
class Revised:
    """The answer to a change.

    Attributes:
        member: whose it is, with the change.
        state: ``queued`` or ``delivered``.
        served: how that is known.
        conflicts: names of what the loyalty system keeps as it has it, because its word counts more.
    """

    member: Member
    state: str
    served: Served
    conflicts: tuple[str, ...] = ()


class Newly(Protocol):
    """What becomes of a newcomer whom the vendor does not have yet."""

    @property
    def member(self) -> Member:
        """Whoever it is."""

    @property
    def state(self) -> str:
        """Where the contact stands."""

    @property
    def served(self) -> Served:
        """How that is known."""


class Revising:
    """Changes contacts.

    Args:
        clock: for instants.
        normaliser: how this store reads identifiers.
        offered: contacts may be changed at this till, and the loyalty system takes that.
        newcomer: adds to what is given of somebody made here; None where the vendor has them, or they are nobody's.
        refs: whose a handle is.
        contacts: everybody whom this till knows.
        live: what the vendor says of somebody while a cashier waits; None when it does not answer in time.
        asking: asks it to change a contact meanwhile.
        record: the changes, on disk.
        updating: takes them to the vendor.
        link: the line.
        stale_after: `replica.stale_after`.
        room: whether there is room for another record.
        added: called after one was put on disk that the vendor does not have.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        normaliser: Normaliser,
        offered: bool,
        newcomer: Callable[[str, NewContact, Sequence[Identifier]], Awaitable[Newly | None]],
        refs: Refs,
        contacts: LocalContacts,
        live: Callable[[Sequence[Identifier]], Awaitable[tuple[Outcome, tuple[Member, ...]] | None]],
        asking: Asking,
        record: RevisionRecord,
        updating: Updating,
        link: Link,
        stale_after: timedelta,
        room: Callable[[], bool],
        added: Callable[[], None],
    ) -> None:
        self._clock, self._normaliser, self._offered, self._newcomer = clock, normaliser, offered, newcomer
        self._refs, self._contacts, self._live, self._asking = refs, contacts, live, asking
        self._record, self._updating, self._link, self._stale_after = record, updating, link, stale_after
        self._room, self._added = room, added

    async def revise(self, ref: str, contact: NewContact) -> Revised:
        """Changes the contact of whoever has that handle. The same change again does no harm.

        Raises:
            ReadOnlyContactsError: none are changed at this till.
            InputError: what was given cannot be right, or changes nothing.
            UnknownRecordError: nobody has that handle, or they were erased meanwhile.
            AmbiguousContactError: what was given is somebody else's.
            ContactRefusedError: the vendor refuses it; nothing of it is kept.
            UnderWayError: the contact is being made at the vendor at this moment.
            StorageError: it cannot be put on disk; nothing is kept.
        """
        if not self._offered:
            raise ReadOnlyContactsError
        identifiers = self._checked(contact)
        given = said_in(respelled(contact, identifiers))
        key = self._refs.key(ref)
        if key is None:
            raise UnknownRecordError(UNKNOWN_CONTACT)
        await self._nobody_elses(ref, key, identifiers)
        if not self._room():
            raise StorageFullError
        newly = await self._newcomer(ref, given, identifiers)
        if newly is not None:
            return Revised(newly.member, newly.state, newly.served)
        key = self._refs.key(ref)  # the vendor may have made them meanwhile
        if key is None:
            raise UnknownRecordError(UNKNOWN_CONTACT)
        known_by = self._refs.handles.names(ref)
        revision, waited = await self._record.add(key, given, identifiers, known_by=known_by, now=self._clock.now())
        if waited:  # the vendor may have refused the rest of it: that it does again is nothing to tell this cashier
            self._updating.given_anew(revision.number)
            conflicts = None
        else:
            conflicts = await self._try_now(revision)
        standing = self._updating.standing(revision)
        if standing is None and conflicts is None:
            raise UnknownRecordError(UNKNOWN_CONTACT)
        # Of what the vendor had already, or keeps as it has it, nothing stays on record.
        arrived = standing or replace(revision, state=EnrolmentState.DELIVERED)
        return self._answer(ref, arrived, conflicts or ())

    def _checked(self, contact: NewContact) -> tuple[Identifier, ...]:
        now, today = self._clock.now(), self._clock.today()
        identifiers, faults = identifiers_of(contact, self._normaliser, today=today)
        faults += [*faults_of(contact, now=now, today=today), *faults_of_change(contact)]
        faults += self._updating.without_place(contact)
        if faults:
            raise InputError(faults, "The change does not fit.")
        return identifiers

    async def _nobody_elses(self, ref: str, key: IntegrationKey, identifiers: Sequence[Identifier]) -> None:
        """Raises AmbiguousContactError where an identifier is somebody else's: neither would be found again.

        Whoever was made here under the loyalty system's own id may have been told of under their number since.
        """
        if not identifiers:
            return
        known, _ = self._contacts.find((key.identifier,))
        keys = {key, *(member.key for member in known)}

        def is_another(member: Member) -> bool:
            return member.ref != ref and member.key not in keys

        members, _ = self._contacts.find(identifiers)
        if any(map(is_another, members)):
            raise AmbiguousContactError
        live = await self._live(identifiers)
        if live is not None and (live[0] is Outcome.AMBIGUOUS or any(map(is_another, live[1]))):
            raise AmbiguousContactError

    async def _try_now(self, revision: Revision) -> tuple[str, ...] | None:
        try:
            return await self._asking.ask(lambda: self._updating.now(revision, self._asking.spend))
        except ContactRefusedError as error:
            await self._record.take_back(revision)
            if error.status == NOT_FOUND:  # the vendor has removed them, and the local contacts have yet to hear of it
                raise UnknownRecordError(UNKNOWN_CONTACT) from error
            raise error.at("") from error

    def _answer(self, ref: str, revision: Revision, conflicts: tuple[str, ...]) -> Revised:
        arrived = revision.state is EnrolmentState.DELIVERED
        if not arrived:
            self._added()
        known = self._contacts.member(ref)
        member = known if known is not None else Member(ref, revision.key)
        how = self._served("live" if arrived else "replica", self._clock.now())
        return Revised(replace(member, ref=ref), revision.state.value, how, conflicts)

    def _served(self, source: str, as_of: datetime) -> Served:
        level = self._contacts.level(self._contacts.as_of(), vendor_answers=self._link.answers is not False)
        return served(source, as_of=as_of, now=self._clock.now(), stale_after=self._stale_after, level=level)
