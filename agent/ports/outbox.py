"""Sales on disk: what is put there, what is taken out to be sent, and how it stands."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Protocol

from agent.domain.activity import Activity, ContactEvent
from agent.domain.delivery import DeliveryState, Verdict
from agent.domain.identifiers import Identifier
from agent.domain.transaction import IntegrationKey, NewContact, Transaction

Guests = bool | Callable[[Transaction], bool]
"""Which sales without a member a system wants: all, none, or those of which it says so. Picklable."""
Shares = Callable[[ContactEvent, NewContact], frozenset[str] | None]
"""The fields of a contact that a system is told when somebody has joined with it, or changed it: none, then only that
they did; None, then nothing at all. Picklable."""


def not_told(_what: ContactEvent, _contact: NewContact) -> frozenset[str] | None:
    """Nobody who joins or changes is told of."""
    return None


@dataclass(frozen=True, slots=True)
class Recipient:
    """A system that gets sales, and which of them it wants.

    Attributes:
        vendor: its name.
        guests: which sales without a member it wants.
        owner: it owns the contacts: a sale's open tag is settled in its lane, and it alone counts points.
        activities: the types of activities that it wants.
        shares: what it is told of somebody who joined or changed.
    """

    vendor: str
    guests: Guests = False
    owner: bool = True
    activities: frozenset[str] = frozenset()
    shares: Shares = not_told

    def wants_guest(self, sale: Transaction) -> bool:
        """Whether it wants this sale without a member."""
        return self.guests(sale) if callable(self.guests) else self.guests


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A sale about to be recorded, its defaults filled in.

    Attributes:
        vendors: who gets it.
        day: the business day it counts for.
        quiet: the till may not learn from the sale's fate who is a member; it hears of the key it was answered with.
        ref: the handle of the member whom the replica knows its customer as.
    """

    transaction: Transaction
    readings: tuple[Identifier, ...] = field(repr=False)
    key: IntegrationKey | None
    open: bool
    vendors: tuple[str, ...]
    day: date
    quiet: bool = False
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An activity about to be recorded.

    Attributes:
        activity: what is recorded beside its person.
        content: what makes two statements of it the same.
        readings: what its identifier can be.
        key: its tag.
        stated: what the till itself says is the integration key.
        open: the tag may still rise.
        vendors: who gets it.
        quiet: the till may not learn from its fate who is a member.
        ref: the handle of the member whom the replica knows its person as.
        known_by: what else names them: whoever is erased is found by it, and nothing but keyed hashes of it is kept.
    """

    activity: Activity
    content: bytes = field(repr=False)
    readings: tuple[Identifier, ...] = field(repr=False)
    key: IntegrationKey | None
    stated: IntegrationKey | None
    open: bool
    vendors: tuple[str, ...]
    quiet: bool = False
    ref: str | None = None
    known_by: tuple[Identifier, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What intake answers: the record that is on disk, and the till's own number of it; activities have none (0).

    ``key_kind`` and ``key_type`` outlive the key's value, which is None after the purge.
    """

    transaction_id: str
    number: int
    state: DeliveryState
    duplicate: bool
    accepted_at: datetime
    key: IntegrationKey | None
    key_kind: str | None = None
    key_type: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """How one record stands with one vendor; ``transaction_id`` is a sale's, or an activity's name."""

    entry: int
    transaction_id: str
    vendor: str
    state: DeliveryState
    attempts: int
    accepted_at: datetime
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    vendor_reference: str | None
    error_code: str | None
    error_status: int | None
    error_title: str | None
    vendor_code: str | None


@dataclass(frozen=True, slots=True)
class Spent:
    """Points that a till noted for a sale, to be spent with it.

    Attributes:
        points: how many.
        key: whose; None where nobody knows any more.
    """

    points: Decimal
    key: IntegrationKey | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A leased delivery, with everything that rendering needs.

    Attributes:
        entry: the delivery's id.
        attempts: attempts before this one.
        maybe_received: an earlier attempt may have arrived: the tag stays as it is.
        key: the tag.
        open: the tag may still rise.
        readings: what the identifier can be; empty once settled or erased.
        record: the sale, or the activity, which only those get who want activities.
        original: for a void, the sale it clears.
        person: groups deliveries that must not overtake each other.
        accepted_at: when the agent took it, by the wall clock as it is now.
        clock_off: how far that clock has been put right since.
        corrected_at: when it took place by the vendor's clock, where the till's was wrong.
        skew: how far the vendor's clock is ahead of the till's, where that is too far.
        reference: what the last verdict that named it calls it; None before one did.
        progress: how far it has come, as the last verdict that said so put it; None before one did.
        cut_off: an earlier attempt ended with the run of the program that made it, so that nothing is recorded of it.
        spent: the points that are spent with it, where a till noted some.
    """

    entry: int
    attempts: int
    maybe_received: bool
    key: IntegrationKey | None = field(repr=False)
    open: bool
    readings: tuple[Identifier, ...] = field(repr=False)
    record: Transaction | Activity = field(repr=False)
    original: Transaction | None = field(repr=False)
    person: bytes
    accepted_at: datetime
    clock_off: timedelta = timedelta()
    corrected_at: datetime | None = None
    skew: timedelta = timedelta()
    reference: str | None = None
    progress: str | None = None
    cut_off: bool = False
    spent: Spent | None = field(default=None, repr=False)

    @property
    def transaction(self) -> Transaction:
        """The sale, for who gets nothing else. Raises TypeError when it is none."""
        if not isinstance(self.record, Transaction):
            raise TypeError("is not a sale")
        return self.record

    @property
    def new_contact(self) -> NewContact | None:
        """What the customer of a sale gave who may not be a member yet; of an activity, what is new of its member."""
        return self.record.new_contact


@dataclass(frozen=True, slots=True)
class Settled:
    """A verdict for a leased delivery, with the instant before which it must not be tried again."""

    entry: int
    verdict: Verdict
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """The outbox in figures.

    ``oldest_at`` is the acceptance of the oldest waiting sale; ``bytes`` what sales take that are not finished, without
    the record that is kept of finished ones; ``waiting`` counts deliveries by vendor, and ``oldest`` has the acceptance
    of the oldest of them; ``erasures`` people whom a further system has not been asked yet to erase.
    """

    depth: int
    held: int
    parked: int
    in_doubt: int
    oldest_at: datetime | None
    bytes: int
    waiting: Mapping[str, int] = field(default_factory=dict)
    oldest: Mapping[str, datetime] = field(default_factory=dict)
    erasures: int = 0


class Handovers(Protocol):
    """Which deliveries go out in which file, on disk before the file can be fetched."""

    async def note(self, entries: Collection[int], reference: str) -> None:
        """Writes down what leased deliveries are handed over as. Raises StorageError, also where one is not leased."""

    def handed_over_of(self, vendor: str, reference: str) -> datetime | None:
        """When the last sale that was handed over so was accepted, by a clock put right; None where none is known."""

    async def withdraw(self, vendor: str, reference: str) -> bool:
        """Forgets what was noted so, as it was never handed over. Raises StorageError.

        Returns:
            False where it was handed over all the same, because some of it is delivered: then nothing is forgotten.
        """
