"""The local contacts as the services read them: there or not, how old, and never in the way of a sale.

A replica that cannot be read is worth as much as none: the till goes on with secondary keys and the vendor's answers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol

import structlog

from agent.domain.contact import Member
from agent.domain.enrolment import Enrolment
from agent.domain.fallback import REPLICA_LEVEL, level_served
from agent.domain.identifiers import Identifier
from agent.domain.tagging import TaggingPolicy
from agent.errors import StorageError
from agent.ports import Replica

log = structlog.get_logger(__name__)


class MadeHere(Protocol):
    """The contacts made at this till, as they are found."""

    def find(self, identifiers: Sequence[Identifier]) -> Sequence[Enrolment]:
        """Everybody made here whom one of these names. Raises StorageError."""

    def by_ref(self, ref: str) -> Enrolment | None:
        """Whose handle that is. Raises StorageError."""


class Newcomers:
    """Contacts made at this till, as members: until the replica knows them, nobody else here does.

    Args:
        made_here: what is on record of them.
        fields: what a till may be shown of a member.

    Attributes:
        told: the handles of those who were found and whom the vendor did not have: a sale may be under their number.
    """

    def __init__(self, made_here: MadeHere, fields: Sequence[str] = ()) -> None:
        self._made_here, self._fields = made_here, tuple(fields)
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
        return self.member_of(found) if found is not None else None

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
        return members or self.made_here(readings), as_of

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
            return self._replica.member(ref)
        except StorageError as error:
            self._note(error)
            return None

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
