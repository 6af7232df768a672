"""The local contacts as the services read them: there or not, how old, and never in the way of a sale.

A replica that cannot be read is worth as much as none: the till goes on with secondary keys and the vendor's answers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

import structlog

from agent.domain.contact import Member
from agent.domain.enrolment import Enrolment, EnrolmentState
from agent.domain.fallback import REPLICA_LEVEL, level_served
from agent.domain.identifiers import Identifier
from agent.domain.revision import Revision, shown_over
from agent.domain.tagging import TaggingPolicy
from agent.domain.transaction import IntegrationKey
from agent.errors import StorageError
from agent.ports import Replica

log = structlog.get_logger(__name__)


class MadeHere(Protocol):
    """The contacts made at this till, as they are found."""

    def find(self, identifiers: Sequence[Identifier]) -> Sequence[Enrolment]:
        """Everybody made here whom one of these names. Raises StorageError."""

    def by_ref(self, ref: str) -> Enrolment | None:
        """Whose handle that is. Raises StorageError."""


class ChangedHere(Protocol):
    """The changes given at this till, as they are found."""

    def naming(self, identifiers: Sequence[Identifier]) -> Sequence[Revision]:
        """Every change by which one of these is somebody's from now on. Raises StorageError."""

    def of(self, key: IntegrationKey) -> Sequence[Revision]:
        """Every change of whoever has that key, the oldest first. Raises StorageError."""


class Newcomers:
    """Contacts made at this till, as members, and what was changed here: until the replica knows, nobody else does.

    Args:
        made_here: what is on record of them.
        fields: what a till may be shown of a member.
        changed_here: what was changed of others; None where nothing is.

    Attributes:
        told: the handles of those who were found and whom the vendor did not have: a sale may be under their number.
    """

    def __init__(
        self, made_here: MadeHere, fields: Sequence[str] = (), changed_here: ChangedHere | None = None
    ) -> None:
        self._made_here, self._fields, self._changed_here = made_here, tuple(fields), changed_here
        self.told: set[str] = set()
        self._hidden: set[str] = set()

    def find(self, readings: Sequence[Identifier]) -> tuple[Member, ...]:
        """Everybody whom any of the readings names; nobody where the record cannot be read."""
        try:
            found = [made for made in self._made_here.find(readings) if made.ref not in self._hidden]
        except StorageError:  # told by whoever has to write there
            return ()
        self.told.update(made.ref for made in found if made.key is None)
        return tuple(map(self.member_of, found))

    def member(self, ref: str) -> Member | None:
        """The member behind a handle."""
        try:
            found = self._made_here.by_ref(ref)
        except StorageError:
            return None
        return self.shown(self.member_of(found)) if found is not None else None

    def changed_to(self, readings: Sequence[Identifier], *, waiting: bool = False) -> tuple[IntegrationKey, ...]:
        """The keys of everybody whom one of the readings names since a change that was given here.

        Args:
            readings: what was said of somebody.
            waiting: by a change that the vendor does not have yet.
        """
        try:
            found = self._changed_here.naming(readings) if self._changed_here is not None else ()
        except StorageError:  # told by whoever has to write there
            return ()
        counts = (EnrolmentState.QUEUED,) if waiting else (EnrolmentState.QUEUED, EnrolmentState.DELIVERED)
        return tuple(dict.fromkeys(one.key for one in found if one.state in counts))

    def shown(self, member: Member, *, live: bool = False) -> Member:
        """A member with what was changed of theirs here, as far as a till may be shown it.

        What the vendor refuses is not shown: its own word stands. Its word comes back with the feed; from then on no
        change that it has had is on record.

        Args:
            member: whoever it is.
            live: that is the vendor's word of this moment: it has what it has had.
        """
        try:
            found = self._changed_here.of(member.key) if self._changed_here is not None and not member.own else ()
        except StorageError:
            return member
        fields = member.fields
        for one in found:
            if one.state is EnrolmentState.QUEUED or (one.state is EnrolmentState.DELIVERED and not live):
                fields = shown_over(fields, one.contact, self._fields)
        return member if fields is member.fields else replace(member, fields=fields)

    @contextlib.contextmanager
    def hidden(self, ref: str) -> Iterator[None]:
        """Nobody finds whoever has that handle while the block takes them back."""
        self._hidden.add(ref)
        try:
            yield
        finally:
            self._hidden.discard(ref)

    def member_of(self, made: Enrolment) -> Member:
        """The member that a contact made here is."""
        given = made.contact.model_dump(mode="json") if made.contact is not None else {}
        told = {name: given.get(name) for name in self._fields}
        fields = {name: value for name, value in told.items() if isinstance(value, str)}
        return Member(made.ref, made.best_key, fields, own=made.key is None)


class LocalContacts:
    """Reads the replica while it may be read, and for whom it does not have, who was made here.

    Args:
        replica: the local contacts.
        tagging: its level says whether they are read at all.
        newcomers: who was made here.
    """

    def __init__(self, replica: Replica, tagging: TaggingPolicy, newcomers: Newcomers | None = None) -> None:
        self._replica, self._tagging, self._newcomers = replica, tagging, newcomers
        self._readable = True

    def as_of(self) -> datetime | None:
        """Up to when the contacts are right; None when there are none, or they cannot be read."""
        try:
            as_of = self._replica.info().as_of
        except StorageError as error:
            self._note(error)
            return None
        self._note(None)
        return as_of

    def find(self, readings: Sequence[Identifier]) -> tuple[tuple[Member, ...], datetime | None]:
        """Everybody whom any of the readings names, and up to when that is right: the replica, or what it has of them.

        Nobody and None when there are none, or they cannot be read. Whom the loyalty system has told of comes before
        who was made here: those are looked for only where it names nobody.
        """
        as_of = self.as_of()
        if not readings:
            return (), as_of
        members: tuple[Member, ...] = ()
        if as_of is not None and self._tagging.level >= REPLICA_LEVEL:
            try:
                members = self._replica.resolve(readings)
            except StorageError as error:
                self._note(error)
                as_of = None
            as_of = min((member.as_of for member in members if member.as_of is not None), default=as_of)
        found = self._with_changed(members or self.made_here(readings), readings, read=as_of is not None)
        return found, as_of

    def lists(self, readings: Sequence[Identifier]) -> bool:
        """Whether the loyalty system has told of somebody whom any of the readings names."""
        if self.as_of() is None or self._tagging.level < REPLICA_LEVEL:
            return False
        try:
            return bool(self._replica.resolve(readings))
        except StorageError as error:
            self._note(error)
            return False

    def _with_changed(
        self, members: tuple[Member, ...], readings: Sequence[Identifier], *, read: bool
    ) -> tuple[Member, ...]:
        """Everybody as they are since what was changed here: also who is only since then named by a reading."""
        if self._newcomers is None:
            return members
        for key in self._newcomers.changed_to(readings):
            if all(member.key != key for member in members):
                try:
                    known = self._replica.resolve((key.identifier,)) if read else ()
                except StorageError as error:
                    self._note(error)
                    known = ()
                members += tuple(known) or self.made_here((key.identifier,))
        return tuple(map(self._newcomers.shown, members))

    def knows_better(self, members: Sequence[Member], readings: Sequence[Identifier]) -> bool:
        """Whether this till alone knows some of them, or that a reading names them: the vendor has yet to hear it."""
        keys = self._newcomers.changed_to(readings, waiting=True) if self._newcomers is not None else ()
        return any(member.own or member.key in keys for member in members)

    def live(self, member: Member) -> Member:
        """Somebody as the vendor has just told of them, with what it has yet to hear."""
        return self._newcomers.shown(member, live=True) if self._newcomers is not None else member

    def made_here(self, readings: Sequence[Identifier]) -> tuple[Member, ...]:
        """Everybody made at this till whom any of the readings names."""
        return self._newcomers.find(readings) if self._newcomers is not None else ()

    def member(self, ref: str) -> Member | None:
        """The member behind a handle; None when there is none, or the contacts cannot be read."""
        made_here = self._newcomers.member(ref) if self._newcomers is not None else None
        if made_here is not None:
            return made_here
        if self.as_of() is None or self._tagging.level < REPLICA_LEVEL:
            return None
        try:
            member = self._replica.member(ref)
        except StorageError as error:
            self._note(error)
            return None
        return self._newcomers.shown(member) if member is not None and self._newcomers is not None else member

    def level(self, as_of: datetime | None, *, vendor_answers: bool) -> int:
        """The fallback level being served now, given what :meth:`as_of` said."""
        return level_served(
            configured=self._tagging.level,
            vendor_answers=vendor_answers,
            replica_usable=as_of is not None,
            secondary_keys=bool(self._tagging.secondary),
        )

    def _note(self, error: StorageError | None) -> None:
        if (error is None) == self._readable:
            return
        self._readable = error is None
        if error is not None:
            log.error("replica.unreadable", code=error.code)
        else:
            log.info("replica.readable")
