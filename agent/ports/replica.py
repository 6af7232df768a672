"""The replica: contacts in a file, read by look-ups, filled by whoever loads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, Self

from agent.domain.contact import ContactChange, Member
from agent.domain.identifiers import Identifier
from agent.ports.feeds import AppliedFile, ChangePage


@dataclass(frozen=True, slots=True)
class ReplicaInfo:
    """What the replica is. ``as_of`` is the instant up to which changes are in it; None before the first load ended."""

    contacts: int
    as_of: datetime | None
    contents: str


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How far a running load is; ``files`` is 0 until they are listed, and with an API feed."""

    files: int = 0
    applied: int = 0
    rows: int = 0


class Replica(Protocol):
    """Point reads of the local contacts, in microseconds."""

    def resolve(self, readings: Sequence[Identifier]) -> tuple[Member, ...]:
        """Everybody whom any of the readings names, each person once. Empty while no load has ended."""

    def member(self, ref: str) -> Member | None:
        """The member behind an opaque handle."""

    def info(self) -> ReplicaInfo:
        """Size and freshness; cheap enough for every status call."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The changes of one file or page, ready to be applied: keys hashed, everything else dropped.

    Attributes:
        rows: in the feed's order; their layout is the store's own business.
        unidentified: rows that name neither a contact id nor the primary key, and were left out.
        refused: marks of people erased here whose rows were left out.
        removed: marks of people erased here of whom this says at the end that they are gone.
        named: keyed hashes of their primary keys by those of their contact ids, where one of the two was not known.
    """

    rows: Sequence[Any] = field(repr=False)
    unidentified: int = 0
    refused: frozenset[bytes] = field(default=frozenset(), repr=False)
    removed: frozenset[bytes] = field(default=frozenset(), repr=False)
    named: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class AppliedCounts:
    """What applying a batch did. ``replay``: this content had been applied before, so nothing was done.

    ``refused``, ``removed`` and ``named`` are the batch's.
    """

    rows: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    unidentified: int = 0
    refused: frozenset[bytes] = field(default=frozenset(), repr=False)
    removed: frozenset[bytes] = field(default=frozenset(), repr=False)
    named: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    replay: bool = False


class ReplicaLoader(Protocol):
    """Where export files are applied; a context manager around one connection, used by one thread at a time.

    Everything raises StorageError when the disk or the file says no; what was being applied is then undone whole.
    """

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...

    @property
    def builds(self) -> bool:
        """Whether a new replica is being built, beside the present one or for want of one, to be adopted at the end."""

    def ledger(self) -> list[AppliedFile]:
        """The files applied so far, in order."""

    def apply_file(self, file: AppliedFile, batch: Batch, *, at: datetime) -> AppliedCounts:
        """Applies a file's changes and its ledger row in one commit; nothing when its content was applied before."""

    def finish(self, *, as_of: datetime) -> None:
        """Records that everything up to ``as_of`` is in it; completes what is being built.

        Raises:
            FeedGapError: what was built lacks so much that it cannot be whole; it is gone.
        """

    def abandon(self) -> None:
        """Gives up what is being built when there is a replica to go on with."""


class ReplicaWriter(Protocol):
    """Writes into the replica in place, as :class:`ReplicaLoader` does, what does not come in files."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...

    def cursor(self) -> str | None:
        """Where the API feed stands; None before its first page."""

    def apply_page(self, page: ChangePage, *, at: datetime) -> AppliedCounts:
        """Applies a page and its cursor in one commit."""

    def finish(self, *, as_of: datetime) -> None:
        """Records that everything up to ``as_of`` is in it."""

    def purge(self, tombstones_before: datetime) -> int:
        """Forgets older tombstones and leaves no trace of deleted rows; returns how many tombstones went."""


class ReplicaStore(Protocol):
    """Opens a replica for writing, in any process. Picklable."""

    def digest(self, changes: Iterable[ContactChange]) -> Batch:
        """The changes in the form in which they are applied."""

    def open_writer(self) -> ReplicaWriter:
        """Writes into the replica in place. Raises StorageError."""

    def unseen(self) -> tuple[Identifier, ...] | None:
        """Whom the sweep under way has not shown, each by the key they are kept under; None if it is far too many.

        Raises StorageError.
        """

    def open_loader(self, *, rebuild: bool) -> ReplicaLoader:
        """Writes in place, or goes on with what is being built; builds from nothing when ``rebuild`` asks for it.

        Without a replica, or with one of another configuration, everything is built. Raises StorageError.
        """
