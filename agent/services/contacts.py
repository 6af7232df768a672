"""The local contacts as the services read them: there or not, how old, and never in the way of a sale.

A replica that cannot be read is worth as much as none: the till goes on with secondary keys and the vendor's answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import structlog

from agent.domain.contact import Member
from agent.domain.fallback import REPLICA_LEVEL, level_served
from agent.domain.identifiers import Identifier
from agent.domain.tagging import TaggingPolicy
from agent.errors import StorageError
from agent.ports import Replica

log = structlog.get_logger(__name__)


class LocalContacts:
    """Reads the replica while it may be read.

    Args:
        replica: the local contacts.
        tagging: its level says whether they are read at all.
    """

    def __init__(self, replica: Replica, tagging: TaggingPolicy) -> None:
        self._replica, self._tagging = replica, tagging
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
        """Everybody whom any of the readings names, and up to when that is right.

        Nobody and None when there are none, or they cannot be read.
        """
        as_of = self.as_of()
        if as_of is None or not readings or self._tagging.level < REPLICA_LEVEL:
            return (), as_of
        try:
            return self._replica.resolve(readings), as_of
        except StorageError as error:
            self._note(error)
            return (), None

    def member(self, ref: str) -> Member | None:
        """The member behind a handle; None when there is none, or the contacts cannot be read."""
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
