"""What members have a claim to, and what of it was used up here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Protocol

from agent.domain.benefits import BenefitKind, Benefits
from agent.domain.earning import Forecast
from agent.domain.identifiers import Identifier
from agent.domain.redemption import Redeemable, RedemptionMode, RedemptionState, VendorStanding, VendorWord
from agent.domain.transaction import IntegrationKey, Transaction
from agent.ports.basics import Pace


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
    def modes(self) -> Mapping[BenefitKind, RedemptionMode]:
        """How it hears that one was used, by kind; of each kind that was ever used up at a till."""

    @property
    def redeems(self) -> Collection[BenefitKind]:
        """Which of them a till may use up now; what was before is given back all the same."""

    def spelled(self, kind: BenefitKind, id_: str) -> str:
        """A benefit's id as `standing` looks for it, where the vendor takes several spellings for the same."""

    async def standing(self, one: Redeemable, *, timeout_s: float, pace: Pace) -> VendorStanding:
        """How a member's benefit stands."""

    async def redeem(self, one: Redeemable, *, timeout_s: float, pace: Pace) -> VendorWord:
        """Uses it up; without an answer it may have been all the same, if the error's ``maybe_received`` says so."""

    async def release(self, one: Redeemable, *, timeout_s: float, pace: Pace) -> VendorWord | None:
        """Gives it back; without an answer it may have been all the same. None while an earlier call may be at it."""


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

    @property
    def benefit(self) -> Redeemable:
        """As the vendor is asked about it."""
        return Redeemable(self.key, self.kind, self.id, self.amount)


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
        use: the vendor's name of the use, where it has one and the benefit can be used again and again.
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
    use: str | None = field(default=None, repr=False)

    @property
    def benefit(self) -> Redeemable | None:
        """As the vendor is asked about it; None where nobody knows any more whose it was."""
        if self.key is None or self.id is None:
            return None
        return Redeemable(self.key, self.kind, self.id, self.amount, self.use or "")


@dataclass(frozen=True, slots=True)
class Loss:
    """What was given unasked and refused afterwards: how many benefits, and their sum in a currency (or ``-``)."""

    currency: str
    count: int
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Budget:
    """What somebody has to spend.

    Attributes:
        vendor: whose points they are.
        points: how many it shows.
    """

    vendor: str
    points: Decimal = field(repr=False)


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

    async def note(self, wish: RedemptionWish, known: Redemption | None, budget: Budget, now: datetime) -> bool:
        """Notes points for a sale; whether it did.

        Not if the sale is here already, nor if more would be noted than there are, for sales that the vendor may not
        have yet.
        """

    async def unnote(self, known: Redemption, now: datetime) -> bool:
        """Forgets such a note, unless the sale is here already; whether it did."""

    def uses(self, kind: BenefitKind) -> frozenset[str]:
        """The vendor's names of the uses that are on record, whoever's they are: no lost call made any of them."""

    def given_unasked(self, key: IntegrationKey, names: Collection[Identifier], day: date) -> int:
        """How many benefits somebody was given unasked on a day, under whichever of their keys."""

    async def settle(
        self,
        number: int,
        state: RedemptionState,
        now: datetime,
        code: str | None = None,
        asked_at: datetime | None = None,
        *,
        use: str | None = None,
    ) -> None:
        """Writes down what became of one, and the vendor's name of the use."""

    def losses(self, since: datetime) -> Sequence[Loss]:
        """What was lost since then, by currency."""

    def stuck(self, since: datetime) -> Sequence[str]:
        """The sales whose benefits are used up since then and cannot be given back, the latest first."""

    def open(self, after: int, limit: int) -> Sequence[Redemption]:
        """Those of which it is not known yet what became of them, by number, from behind one."""

    def of_sale(self, transaction_id: str) -> Sequence[Redemption]:
        """What is on record for a sale."""


class CarriedOffers(Protocol):
    """Offers that were redeemed here, for a vendor that hears of them by their sale alone. Raises StorageError."""

    def of_sale(self, transaction_id: str) -> Mapping[str, RedemptionState]:
        """What became of each offer of a sale, by id."""

    async def lost(self, transaction_id: str, offer_id: str) -> None:
        """The vendor refused an offer with its sale: what was given for it is the shop's loss."""
