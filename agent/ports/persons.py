"""One person, for whoever exports or erases everything about them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from agent.domain.contact import Member
from agent.domain.identifiers import Identifier, IdentifierType


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is, for a replica.

    Attributes:
        ref: their handle, whether or not they are in it.
        mark: the keyed hash of the contact id; of the primary key where no contact id is known.
        primary: the keyed hash of the primary key, beside a contact id.
    """

    ref: str
    mark: bytes = field(repr=False)
    primary: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Person:
    """A member as the replica knows them, for whoever exports or erases everything about them.

    Attributes:
        member: what may be shown.
        identity: what a feed's row about them is recognised by.
        keys: the keyed hash of each identifier the replica finds them by.
        shared: of those, the ones that find somebody else too.
    """

    member: Member
    identity: Identity = field(repr=False)
    keys: Mapping[IdentifierType, bytes] = field(repr=False)
    shared: frozenset[bytes] = field(default=frozenset(), repr=False)


@dataclass(frozen=True, slots=True)
class Removed:
    """Somebody whom the feed has removed.

    Attributes:
        identity: who it was.
        keys: the keyed hashes of everything that named them.
        at: when.
    """

    identity: Identity
    keys: tuple[bytes, ...] = field(repr=False)
    at: datetime


@dataclass(frozen=True, slots=True)
class ErasedBefore:
    """Somebody was erased here, and their rows of the feed are refused since."""

    receipt: str
    erased_at: datetime


@dataclass(frozen=True, slots=True)
class ErasedSales:
    """What was erased of sales and activities; each stays, without its person.

    Attributes:
        waiting: sales that were still owed to a vendor; they are untagged.
        finished: sales that were not.
        activities: activities, which nobody is owed any more.
        notes: reasons for giving one up.
    """

    waiting: int = 0
    finished: int = 0
    activities: int = 0
    notes: int = 0

    def __add__(self, other: ErasedSales) -> ErasedSales:
        return ErasedSales(
            self.waiting + other.waiting,
            self.finished + other.finished,
            self.activities + other.activities,
            self.notes + other.notes,
        )


@dataclass(frozen=True, slots=True)
class ErasureRequest:
    """A further system is asked to erase somebody; ``id`` is that of the activity that carries it."""

    vendor: str
    id: str


class HandedOver(Protocol):
    """Files that wait on this machine for a vendor to fetch them, as whoever erases sees them. Raises StorageError."""

    async def erase(self, is_theirs: Callable[[Identifier], bool], transaction_ids: Collection[str]) -> int:
        """Takes somebody out of what was not fetched yet; how many of its rows.

        Args:
            is_theirs: whether they go by an identifier.
            transaction_ids: sales of theirs that are known to be theirs.
        """

    async def expire(self, before: datetime) -> int:
        """Removes what was written before an instant and never fetched; how many files."""
