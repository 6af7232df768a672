"""What the services need from the world, as Protocols. Concrete classes are named in `agent.assembly` alone.

Instants are aware UTC datetimes; durations are seconds unless the name says otherwise.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, BinaryIO, Literal, Protocol, Self

from agent.domain.activity import Activity
from agent.domain.audit import Head
from agent.domain.benefits import BenefitKind, Benefits
from agent.domain.contact import ContactChange, Member
from agent.domain.delivery import DeliveryState, Verdict
from agent.domain.earning import Forecast
from agent.domain.enrolment import Enrolment
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.redemption import RedemptionState, VendorStanding, VendorWord
from agent.domain.revision import ContactThere
from agent.domain.tagging import Found
from agent.domain.transaction import IntegrationKey, NewContact, Transaction
from agent.domain.window import Window


class Clock(Protocol):
    """Reads the clocks; the only way to learn the time."""

    def now(self) -> datetime:
        """The wall clock, aware, UTC."""

    def monotonic(self) -> float:
        """Seconds that only ever grow, for intervals."""

    def today(self) -> date:
        """The date in the store's time zone."""


class Record(Protocol):
    """Puts an entry into the audit trail."""

    async def __call__(self, event: str, /, **facts: int | str) -> Head:
        """The entry, on disk. Raises StorageError."""


class Secret(Protocol):
    """A secret by reference, read again at most once a minute or when a vendor refuses it."""

    def value(self) -> str:
        """The secret, white space around it dropped. Raises ConfigurationError when it cannot be read."""

    def refused(self) -> None:
        """The vendor refused it: it is read again before the next use."""


# --- the replica ------------------------------------------------------------------------------------------------


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
class ExportFile:
    """One file of a feed as a listing shows it."""

    name: str
    size_bytes: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class AppliedFile:
    """A file of the ledger: it has been applied whole."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class FilePlan:
    """What a listing and the ledger say is to be done.

    Attributes:
        take: files to apply, in this order.
        gap: the missing part's place as text, such as ``20260220101500_1_*``; nothing past it is taken.
        late: files older than what is applied already; they cannot be applied in order any more.
    """

    take: tuple[ExportFile, ...] = ()
    gap: str | None = None
    late: tuple[str, ...] = ()


class LocalFile(Protocol):
    """An export file on this machine: a `pathlib.Path`, or a copy that is read through a key. Picklable."""

    @property
    def name(self) -> str:
        """The export's own name, without a directory."""

    def open(self, mode: Literal["rb"], buffering: int = -1) -> BinaryIO:
        """Its bytes, from the beginning. Raises OSError."""


class FileSource(Protocol):
    """Where export files lie: a folder or an SFTP server. Used as an async context manager, in a process of its own."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def list(self) -> list[ExportFile]:
        """The export files that are there, names checked. Raises VendorUnreachableError, VendorRefusedError."""

    async def strangers(self) -> Sequence[ExportFile]:
        """The other files that are there; their names are anybody's and not fit to be shown.

        Raises VendorUnreachableError, VendorRefusedError.
        """

    async def fetch(self, file: ExportFile) -> LocalFile:
        """The file's bytes on this machine; downloaded into the spool if need be.

        Raises:
            FeedUnreadableError: it is larger than allowed or changed meanwhile.
        """

    async def discard(self, file: LocalFile) -> None:
        """Erases a downloaded copy; leaves a file alone that was read in place."""


class ExportReading(Iterator[ContactChange], Protocol):
    """The changes of one file, in order, streamed."""

    @property
    def unidentified(self) -> int:
        """Contacts that name nobody, and are left out; complete once the changes are exhausted."""


class ExportReader(Protocol):
    """Reads one kind of export file. Picklable: parsing happens in other processes."""

    def plan(self, listing: Sequence[ExportFile], ledger: Sequence[AppliedFile]) -> FilePlan:
        """Order, gaps and replays, from names alone."""

    def overlooked(
        self, strangers: Sequence[ExportFile], listing: Sequence[ExportFile], ledger: Sequence[AppliedFile]
    ) -> Sequence[ExportFile]:
        """Those of the other files that may be exports under a name that is not known, the newest first."""

    def read(self, path: LocalFile, *, today: date) -> ExportReading:
        """The changes of one file.

        Raises:
            FeedUnreadableError: possibly after some were yielded; the caller applies all or nothing.
        """


class Sweep(StrEnum):
    """What a page is to a walk through everybody, by which a vendor that never names the deleted shows who is gone.

    ``BEGINS`` and ``GOES_ON``: whom the page brings is still there. ``ENDS``: whoever was not seen since is gone.
    ``GIVEN_UP``: so many were not that it was hardly everybody; nobody is gone.
    """

    BEGINS = "begins"
    GOES_ON = "goes_on"
    ENDS = "ends"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class ChangePage:
    """A page of an API feed and the cursor that stands once it is applied.

    Attributes:
        changes: what it brings.
        cursor: where to go on.
        last: it ends this poll.
        unread: contacts whose changes the vendor cannot tell; each poll asks for them again.
        sweep: what it is to a walk through everybody, while there is one.
    """

    changes: tuple[ContactChange, ...]
    cursor: str
    last: bool
    unread: int = 0
    sweep: Sweep | None = None


class ChangeFeed(Protocol):
    """Changes asked for call by call, where a tenant has no export."""

    def pages(self, cursor: str | None) -> AsyncIterator[ChangePage]:
        """Pages from a cursor (None: from the beginning). Raises VendorError; what was yielded stays valid."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a vendor said to one question.

    Attributes:
        question: the identifier that was asked for.
        contacts: everybody whom it leads to there, whole.
    """

    question: Identifier = field(repr=False)
    contacts: tuple[ContactChange, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Seed:
    """Whom a file lists, for a vendor that lists nobody.

    Attributes:
        mark: which list it is; another one has another.
        as_of: up to when it is right.
        contacts: whom it lists. Iterating raises FeedUnreadableError.
    """

    mark: str
    as_of: datetime
    contacts: Iterable[ContactChange] = field(repr=False)


Remember = Callable[[Sequence[tuple[Identifier, Found]]], None]
"""Keeps what the vendor said to questions that were asked together."""


class ContactCache(Protocol):
    """The replica where only those are kept who were asked for. Each call raises StorageError."""

    def remember(self, told: Sequence[Sequence[Told]], *, at: datetime) -> AppliedCounts:
        """Keeps answers, those to questions that were asked together side by side; what they contradict goes."""

    def plant(self, contacts: Iterable[ContactChange], *, as_of: datetime) -> AppliedCounts:
        """Keeps people of a list, all of whom it names, unless newer is known; nobody if iterating it raises."""

    def planted(self) -> str | None:
        """Which list was planted last."""

    def finish(self, *, as_of: datetime, planted: str | None = None) -> None:
        """Records that all is as fresh as it is meant to be, and which list was planted."""

    def outdated(self, before: datetime, limit: int | None) -> Sequence[Identifier]:
        """Of whom nothing was heard since, the longest ago first, by the keys they are kept under."""

    def outdated_among(self, keys: Sequence[Identifier], before: datetime) -> Sequence[Identifier]:
        """Those of the keys that were asked for, and not since."""

    def clamp(self, latest: datetime) -> None:
        """Of nobody anything was heard after an instant."""

    def expire(self, before: datetime) -> int:
        """Takes out of whom nothing was heard since; how many."""


# --- loading the replica ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Batch:
    """The changes of one file or page, ready to be applied: keys hashed, everything else dropped.

    Attributes:
        rows: in the feed's order; their layout is the store's own business.
        unidentified: rows that name neither a contact id nor the primary key, and were left out.
        refused: marks of people erased here whose rows were left out.
        removed: marks of people erased here of whom this says at the end that they are gone.
    """

    rows: Sequence[Any] = field(repr=False)
    unidentified: int = 0
    refused: frozenset[bytes] = field(default=frozenset(), repr=False)
    removed: frozenset[bytes] = field(default=frozenset(), repr=False)


@dataclass(frozen=True, slots=True)
class AppliedCounts:
    """What applying a batch did. ``replay``: this content had been applied before, so nothing was done.

    ``refused`` and ``removed`` are the batch's.
    """

    rows: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    unidentified: int = 0
    refused: frozenset[bytes] = field(default=frozenset(), repr=False)
    removed: frozenset[bytes] = field(default=frozenset(), repr=False)
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


# --- the outbox -------------------------------------------------------------------------------------------------


Guests = bool | Callable[[Transaction], bool]
"""Which sales without a member a system wants: all, none, or those of which it says so. Picklable."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """A system that gets sales, and which of them it wants.

    Attributes:
        vendor: its name.
        guests: which sales without a member it wants.
        owner: it owns the contacts: a sale's open tag is settled in its lane, and it alone counts points.
        activities: the types of activities that it wants.
    """

    vendor: str
    guests: Guests = False
    owner: bool = True
    activities: frozenset[str] = frozenset()

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

    @property
    def transaction(self) -> Transaction:
        """The sale, for who gets nothing else. Raises TypeError when it is none."""
        if not isinstance(self.record, Transaction):
            raise TypeError("is not a sale")
        return self.record

    @property
    def new_contact(self) -> NewContact | None:
        """What the customer of a sale gave who may not be a member yet."""
        return self.record.new_contact if isinstance(self.record, Transaction) else None


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


# --- one person -------------------------------------------------------------------------------------------------


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


# --- vendors ----------------------------------------------------------------------------------------------------


Pace = Callable[[], Awaitable[None]]
"""Takes one call out of this agent's share of a vendor's allowance; who can wait is made to."""


class Lookup(Protocol):
    """Asks the vendor who somebody is."""

    def knows(self, identifier: Identifier) -> bool:
        """Whether this vendor can be asked for that type at all."""

    async def find(self, identifier: Identifier, *, timeout_s: float, pace: Pace) -> Found:
        """Who it is. Raises VendorUnreachableError, VendorRefusedError.

        Args:
            identifier: what was said of them.
            timeout_s: longest wait for any one answer.
            pace: awaited before each call: one question may take several.
        """


class MemberBenefits(Protocol):
    """Asks the vendor what a member can use."""

    async def benefits(self, key: IntegrationKey, *, timeout_s: float, pace: Pace) -> Benefits:
        """Points, and offers and vouchers that can be used at a till now; empty for somebody it does not know.

        Args:
            key: a primary key: whose.
            timeout_s: longest wait for any one answer.
            pace: awaited before each call.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """


class PointsPreview(Protocol):
    """Asks the vendor what a sale would earn."""

    async def points(self, key: IntegrationKey, sale: Transaction, *, timeout_s: float, pace: Pace) -> Forecast:
        """What it would earn; nothing is written there.

        Args:
            key: a primary key: whose it would be.
            sale: of purchase lines alone, as it would stand if it were closed now; payments may be missing.
            timeout_s: longest wait for any one answer.
            pace: awaited before each call.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """


class Redeemer(Protocol):
    """Uses benefits up at the vendor, and gives them back.

    Each call raises VendorUnreachableError, VendorRefusedError.
    """

    @property
    def redeems(self) -> Collection[BenefitKind]:
        """What can be used up at a till."""

    @property
    def releases(self) -> Collection[BenefitKind]:
        """What can be given back."""

    def spelled(self, kind: BenefitKind, id_: str) -> str:
        """A benefit's id as `standing` looks for it, where the vendor takes several spellings for the same."""

    async def standing(
        self, key: IntegrationKey, kind: BenefitKind, id_: str, *, timeout_s: float, pace: Pace
    ) -> VendorStanding:
        """How a member's benefit stands."""

    async def redeem(
        self, key: IntegrationKey, kind: BenefitKind, id_: str, *, timeout_s: float, pace: Pace
    ) -> VendorWord:
        """Uses it up; without an answer it may have been all the same, if the error's ``maybe_received`` says so."""

    async def release(
        self, key: IntegrationKey, kind: BenefitKind, id_: str, *, timeout_s: float, pace: Pace
    ) -> VendorWord:
        """Gives it back; without an answer it may have been all the same."""


@dataclass(frozen=True, slots=True)
class RedemptionWish:
    """A benefit that is about to be used up.

    Attributes:
        key: whose.
        ref: their handle.
        kind: of benefit.
        id: which one.
        transaction_id: the sale that it is for.
        amount: what it takes off, as far as anybody says.
        currency: of that, where the benefit says so.
        unasked_on: the day on which it is given without asking the vendor; None where it is asked.
        names: what they were named by beside the key; whoever is to be erased is found by any of them.
        asked_at: when the vendor is asked, by its own clock; None where it is not.
    """

    key: IntegrationKey = field(repr=False)
    ref: str
    kind: BenefitKind
    id: str = field(repr=False)
    transaction_id: str
    amount: Decimal | None = None
    currency: str | None = None
    unasked_on: date | None = None
    names: tuple[Identifier, ...] = field(default=(), repr=False)
    asked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Redemption:
    """A redemption on record; ``key``, ``id`` and ``ref`` are None once its person was erased.

    Attributes:
        number: the record's.
        transaction_id: the sale that it is for.
        kind: of benefit.
        state: what became of it.
        key: whose.
        id: which one.
        ref: their handle.
        amount: what it takes off, as far as anybody said.
        currency: of that, where the benefit said so.
        accepted_at: when it was asked for first.
        asked_at: when the vendor was asked last, by its own clock; None when it was not, or nobody knows any more.
        code: why, in the vendor's own name or ours.
    """

    number: int
    transaction_id: str
    kind: BenefitKind
    state: RedemptionState
    key: IntegrationKey | None = field(repr=False)
    id: str | None = field(repr=False)
    ref: str | None
    amount: Decimal | None
    currency: str | None
    accepted_at: datetime
    asked_at: datetime | None
    code: str | None


@dataclass(frozen=True, slots=True)
class Loss:
    """What was given unasked and refused afterwards: how many benefits, and their sum in a currency (or ``-``)."""

    currency: str
    count: int
    amount: Decimal


class RedemptionRecord(Protocol):
    """Redemptions on disk. Each call raises StorageError."""

    def find(self, transaction_id: str, kind: BenefitKind, id_: str) -> Redemption | None:
        """What is on record of a benefit in a sale."""

    def elsewhere(self, transaction_id: str, kind: BenefitKind, id_: str) -> bool:
        """Whether another sale here has used the benefit up, or may have."""

    async def ask(self, wish: RedemptionWish, known: Redemption | None, now: datetime) -> int:
        """Puts on disk that the vendor is about to be asked, or that it is given unasked; the record's number."""

    async def named(self, key: IntegrationKey, names: Collection[Identifier]) -> None:
        """Puts what whoever has the key was named by since into what is on record of them."""

    def given_unasked(self, key: IntegrationKey, names: Collection[Identifier], day: date) -> int:
        """How many benefits somebody was given unasked on a day, under whichever of their keys."""

    async def settle(
        self,
        number: int,
        state: RedemptionState,
        now: datetime,
        code: str | None = None,
        asked_at: datetime | None = None,
    ) -> None:
        """Writes down what became of one."""

    def losses(self, since: datetime) -> Sequence[Loss]:
        """What was lost since then, by currency."""

    def stuck(self, since: datetime) -> Sequence[str]:
        """The sales whose benefits are used up since then and cannot be given back, the latest first."""

    def open(self, after: int, limit: int) -> Sequence[Redemption]:
        """Those of which it is not known yet what became of them, by number, from behind one."""


@dataclass(frozen=True, slots=True)
class Added:
    """What came of putting a new contact on disk.

    Attributes:
        enrolments: the one that was made; else everybody made here whom one of its identifiers names.
        new: it was made.
    """

    enrolments: tuple[Enrolment, ...]
    new: bool


class EnrolmentRecord(Protocol):
    """Contacts made at this till, on disk. Each call raises StorageError."""

    def find(self, identifiers: Sequence[Identifier]) -> Sequence[Enrolment]:
        """Everybody made here whom one of these names."""

    def by_ref(self, ref: str) -> Enrolment | None:
        """Whose handle that is; None when nobody's who was made here."""

    def queued(self, limit: int, *, after: int = 0) -> Sequence[Enrolment]:
        """The oldest that the vendor does not have yet, after a record's number."""

    def parked(self) -> int:
        """How many the vendor refuses."""

    async def add(self, contact: NewContact, identifiers: Sequence[Identifier], *, prefix: str, now: datetime) -> Added:
        """Puts one on disk under the next number of a series, unless one of its identifiers is on record here."""

    async def amend(self, number: int, contact: NewContact, identifiers: Sequence[Identifier]) -> None:
        """Puts what is given now in the place of what was, to be tried again; not where the vendor has it."""

    async def deliver(self, number: int, key: IntegrationKey, contact_id: str | None, now: datetime) -> None:
        """Writes down that the vendor has it; what was given is forgotten."""

    async def park(self, number: int, status: int | None, vendor_code: str | None) -> None:
        """Writes down that the vendor refuses it."""

    async def drop(self, number: int) -> None:
        """Takes one back that nobody was told of."""


class Writer(Protocol):
    """Makes contacts at the vendor, and changes them."""

    async def create(
        self, contact: NewContact, identifiers: Sequence[Identifier], *, store_id: str, pace: Pace
    ) -> Found:
        """The new contact's key. ``not_found`` never; ``ambiguous`` when the vendor says it exists but not which.

        Args:
            contact: what the customer gave.
            identifiers: what is unique of it; an `external_id` among them is this till's own number.
            store_id: where it was given.
            pace: awaited before each call.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
            ContactRefusedError: the vendor refuses what the customer gave.
        """

    async def contact_there(self, key: IntegrationKey, *, timeout_s: float, pace: Pace) -> ContactThere | None:
        """A contact as the vendor has it now; None where it has none under that key, or several.

        Args:
            key: a primary key: whose.
            timeout_s: longest wait for any one answer.
            pace: awaited before each call.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """

    async def update(
        self, contact_id: str, contact: NewContact, identifiers: Sequence[Identifier], *, pace: Pace
    ) -> None:
        """Writes what is given over what the vendor has, field by field; what is not given stays.

        Args:
            contact_id: the vendor's own id.
            contact: what is new.
            identifiers: of it, each in its one form.
            pace: awaited before each call.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere; sending it again does no harm.
            ContactRefusedError: the vendor refuses what the customer gave.
        """


class Sender(Protocol):
    """Takes sales, and activities where it wants them, to the vendor.

    It classifies; it never sleeps, retries or touches the queue.
    """

    @property
    def batch_size(self) -> int:
        """Sales that one call takes at most; 1 where the vendor takes them one by one."""

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Verdict]:
        """One call; a verdict for each sale, in their order. Never raises for anything the vendor does.

        Args:
            batch: up to ``batch_size`` sales, in the order of the queue, no two of one person.

        Returns:
            As many verdicts as there are sales. SPLIT says that the call was refused for what was in it together, so
            that nothing of the sale was taken: it is sent again in a smaller one, and parked if it was alone.
        """


@dataclass(frozen=True, slots=True)
class Seen:
    """What a member's purchases at a vendor show.

    Attributes:
        counts: how often each sale stands among them; absent ones are left out.
        whole: they were read to the end and name the sales by our ids. If not, a sale that does not show may be there.
    """

    counts: Mapping[str, int]
    whole: bool


class History(Protocol):
    """Asks the vendor what it has on its books of a member: whether sales that it accepted have become purchases."""

    @property
    def settles_s(self) -> float:
        """Seconds within which an accepted sale shows; before, its absence means nothing."""

    async def count(
        self, key: IntegrationKey, transaction_ids: Collection[str], *, pace: Callable[[], Awaitable[None]]
    ) -> Seen:
        """How often each of these sales of one member is on the books.

        Args:
            key: a primary key: whose they are.
            transaction_ids: the sales.
            pace: waits for this agent's share of the vendor's allowance; awaited before each call.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """


class Connector(Protocol):
    """A vendor room's face."""

    @property
    def name(self) -> str:
        """The vendor's name."""

    @property
    def guests(self) -> Guests:
        """Which sales without a member the vendor wants."""

    @property
    def connections(self) -> int:
        """Calls under way at once."""

    @property
    def requests_per_second(self) -> float:
        """This agent's share of the key's allowance."""

    @property
    def idle_ping_s(self) -> float:
        """Seconds without an answer after which an idle line is asked for a sign of life; more where a call costs."""

    @property
    def windows(self) -> Sequence[Window]:
        """How late a sale may come before something of it is lost; none where nothing is known of that."""

    @property
    def sender(self) -> Sender:
        """Takes sales."""

    @property
    def lookup(self) -> Lookup | None:
        """Says who somebody is; None where the vendor cannot be asked."""

    @property
    def writer(self) -> Writer | None:
        """Makes contacts; None where the vendor's are made elsewhere."""

    @property
    def history(self) -> History | None:
        """Says what is on its books; None where the vendor cannot be asked."""

    async def ping(self) -> None:
        """Any cheap authenticated question. Raises VendorUnreachableError, VendorRefusedError."""

    async def close(self) -> None:
        """Closes connections."""
