"""What the door needs of the rest of the program, filled in by `agent.assembly`."""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

from agent.api.metrics import Metrics
from agent.domain.activity import ActivityStatement
from agent.domain.benefits import BenefitKind
from agent.domain.contact import Member
from agent.domain.history import Sample, Span
from agent.domain.transaction import IdentifierStatement, NewContact, OpenTransaction, Transaction
from agent.messages import Messages
from agent.ports import Clock, Delivery, Record, Replica
from agent.services.benefits import ShownBenefits
from agent.services.enrolling import Enrolled
from agent.services.identify import Identification
from agent.services.preview import Previewed
from agent.services.privacy import Erasure, Export
from agent.services.reconcile import Reconciliation
from agent.services.redeeming import Redeemed, Wanted
from agent.services.revising import Revised
from agent.services.status import Snapshot
from agent.services.taking import Taken
from agent.settings import Settings
from agent.tokens import Token


class Identify(Protocol):
    """Says who an identifier belongs to (`agent.services.identify.Identify`)."""

    async def identify(self, statement: IdentifierStatement) -> Identification:
        """Who it is, within the budget. Raises IdentifierInvalidError."""


class Intake(Protocol):
    """Takes sales (`agent.services.intake.Intake`)."""

    async def accept(self, transaction: Transaction, *, resolve: bool = True) -> Taken:
        """Records a sale. Raises InputError, ConflictError, StorageError."""


class Enrolling(Protocol):
    """Makes contacts (`agent.services.enrolling.Enrolling`)."""

    async def enrol(self, contact: NewContact) -> Enrolled:
        """Makes one, or says who it is already.

        Raises ReadOnlyContactsError, InputError, AmbiguousContactError, StorageError.
        """

    def member(self, ref: str) -> Member | None:
        """Whoever was made here and has that handle."""


class Revising(Protocol):
    """Changes contacts (`agent.services.revising.Revising`)."""

    async def revise(self, ref: str, contact: NewContact) -> Revised:
        """Changes the contact of whoever has that handle.

        Raises ReadOnlyContactsError, InputError, UnknownRecordError, AmbiguousContactError, UnderWayError,
        StorageError.
        """


class Activities(Protocol):
    """Takes activities (`agent.services.activities.ActivityIntake`)."""

    async def accept(self, statement: ActivityStatement, *, resolve: bool = True) -> Taken:
        """Records an activity. Raises InputError, ActivityConflictError, StorageError."""


class Benefits(Protocol):
    """Says what a member can use (`agent.services.benefits.MemberBenefitsDesk`)."""

    async def of(self, ref: str) -> ShownBenefits:
        """What whoever is behind a handle can use, within the budget. Raises UnknownRecordError."""


class Redeeming(Protocol):
    """Uses benefits up (`agent.services.redeeming.Redeeming`)."""

    async def redeem(self, wanted: Wanted) -> Redeemed:
        """Uses one up for a sale, within the budget. Raises UnknownRecordError, StorageError."""

    async def release(self, kind: BenefitKind, id_: str, transaction_id: str) -> Redeemed:
        """Gives it back. Raises UnknownRecordError, StorageError."""


class Preview(Protocol):
    """Says what a sale would earn (`agent.services.preview.Preview`)."""

    async def of(self, sale: OpenTransaction, *, resolve: bool = True) -> Previewed:
        """What it would earn, within the budget. Raises InputError."""


class Story(Protocol):
    """A sale's life without the person in it (`agent.store.outbox_view.Story`)."""

    @property
    def transaction_id(self) -> str:
        """The till's own id."""

    @property
    def type(self) -> str:
        """What happened at the till."""

    @property
    def till(self) -> str:
        """Store and till (`agent.domain.numbering.till_name`)."""

    @property
    def number(self) -> int:
        """Its own among all sales of that till."""

    @property
    def occurred_at(self) -> str:
        """When, in the till's own words: ISO 8601 with its offset."""

    @property
    def accepted_at(self) -> datetime:
        """When it was put on disk."""

    @property
    def erased_at(self) -> datetime | None:
        """When its personal part was erased."""

    @property
    def original_transaction_id(self) -> str | None:
        """The earlier sale it is about."""

    @property
    def key_kind(self) -> str | None:
        """Kind of the integration key it carries; None for a guest."""

    @property
    def key_type(self) -> str | None:
        """Type of the integration key it carries."""

    @property
    def answered_kind(self) -> str | None:
        """Kind of the key that the till was answered with."""

    @property
    def answered_type(self) -> str | None:
        """Type of the key that the till was answered with."""

    @property
    def quiet(self) -> bool:
        """Whether the till hears only of the key that it was answered with: it had used up its look-ups."""

    @property
    def about_it(self) -> Sequence[Mapping[str, Any]]:
        """Later sales that name this one: ``transaction_id``, ``type``, ``accepted_at``."""

    @property
    def deliveries(self) -> Sequence[Delivery]:
        """How it stands with each vendor; also cancelled and discarded ones."""

    @property
    def attempts(self) -> Sequence[Mapping[str, Any]]:
        """Every attempt: ``entry``, ``at``, ``verdict``, ``code``, ``status``."""

    @property
    def events(self) -> Sequence[Mapping[str, Any]]:
        """What else happened: ``at``, ``what``, ``vendor``."""


class Queue(Protocol):
    """The outbox as people look at it. ``held`` are the vendors whose lane is held."""

    def story(self, transaction_id: str, held: Collection[str] = ()) -> Story:
        """A sale's life. Raises UnknownRecordError."""

    def queue(
        self, *, state: str | None, vendor: str | None, limit: int, after: int, held: Collection[str] = ()
    ) -> Sequence[Delivery]:
        """Unfinished deliveries beyond the entry ``after``, in order."""

    async def retry(self, entry: int, now: datetime) -> str:
        """Puts a delivery back in line; the name of its record. Raises UnknownRecordError, StorageError."""

    async def discard(self, entry: int, reason: str, now: datetime) -> str:
        """Gives a delivery up; the name of its record. Raises UnknownRecordError, StorageError."""


class Privacy(Protocol):
    """Everything about one person (`agent.services.privacy.Privacy`); ``by`` is the name of the caller's token.

    Raises IdentifierInvalidError, AmbiguousPersonError, StorageError.
    """

    async def erase(self, statement: IdentifierStatement, by: str) -> Erasure:
        """Nothing is left of them when this returns."""

    async def export(self, statement: IdentifierStatement, by: str) -> Export:
        """Everything that is held."""


class Reconcile(Protocol):
    """Checks whether a day is complete (`agent.services.reconcile.Reconcile`)."""

    async def check(self, day: date | None, *, sample: int, listed: Sequence[str] | None = None) -> Reconciliation:
        """A day, checked; yesterday without one. Raises StorageError."""


class Status(Protocol):
    """What works and what does not (`agent.services.status.Status`)."""

    def snapshot(self) -> Snapshot:
        """Everything, as of now."""

    def changes(self, heartbeat_s: float) -> AsyncGenerator[bool, None]:
        """Yields True after each change, the first at once, and False after each quiet ``heartbeat_s``."""

    def ready(self) -> bool:
        """Whether a sale can be put on disk now."""

    def level(self) -> int:
        """The fallback level being served now."""

    def replica_usable(self) -> bool:
        """Whether the replica was loaded and has not expired."""


class Verifier(Protocol):
    """Knows the tokens (`agent.tokens.Tokens`)."""

    def verify(self, secret: str) -> Token | None:
        """Whose token that is, or None."""

    def holds(self, token: Token) -> bool:
        """Whether it is valid still."""


class Orders(Protocol):
    """What an administrator can have done. Everything starts and returns at once."""

    def sync(self, *, rebuild: bool = False) -> None:
        """Asks for contact changes now; ``rebuild`` for all contacts anew, which no call here does."""

    def flush(self) -> None:
        """Tries everything queued or held now, whatever its back-off; a vendor's `Retry-After` still wins."""

    def purge(self) -> None:
        """Erases what retention names, now."""

    def pause(self) -> None:
        """Stops deliveries; sales go on being taken."""

    def resume(self) -> None:
        """Starts deliveries again."""

    def wake(self) -> None:
        """Something was put back in line."""

    def held(self) -> Collection[str]:
        """Vendors whose lane is held."""

    def rests(self) -> Mapping[str, datetime]:
        """Vendors of whom nothing is asked for a while, and until when."""


class Damaged(Protocol):
    """A damaged file that was set aside (`agent.kept.Report`)."""

    @property
    def folder(self) -> str:
        """Where it is kept."""

    @property
    def file(self) -> str:
        """Its name."""

    @property
    def found_at(self) -> datetime:
        """When."""

    @property
    def reason(self) -> str:
        """What was wrong."""

    @property
    def rescued(self) -> Mapping[str, int]:
        """Counts of what is whole again."""

    @property
    def lost(self) -> Mapping[str, int]:
        """Counts of what is not."""

    @property
    def lost_ids(self) -> Sequence[str]:
        """Transaction ids of sales that are gone."""

    @property
    def acknowledged_at(self) -> datetime | None:
        """When an administrator had seen it."""


class Damage(Protocol):
    """What was damaged (`agent.services.integrity.Integrity`)."""

    @property
    def reports(self) -> Sequence[Damaged]:
        """What was set aside and is still kept."""

    def acknowledge(self) -> int:
        """An administrator has seen it; how many were new. Raises StorageError."""


class History(Protocol):
    """How the agent was (`agent.services.history.History`)."""

    async def of(self, span: Span) -> Sequence[Sample]:
        """One sample for each step of a time that has any."""


@dataclass(frozen=True, slots=True)
class Rooms:
    """Everything behind the door."""

    clock: Clock
    settings: Settings
    version: str
    messages: Messages
    identify: Identify
    intake: Intake
    enrolling: Enrolling
    revising: Revising
    shown: Callable[[Member], Member]
    activities: Activities
    benefits: Benefits
    redeeming: Redeeming
    preview: Preview
    replica: Replica
    outbox: Queue
    privacy: Privacy
    record: Record
    status: Status
    tokens: Verifier
    orders: Orders
    reconcile: Reconcile
    damage: Damage
    history: History
    metrics: Metrics
