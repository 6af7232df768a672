"""What a member has at the till: points, offers and vouchers, and which offers are for everybody. Pure.

What is personal here (which benefits somebody has) never shows in a repr.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from agent.domain.fallback import TAG_LEVEL

GENERAL_REF = "general"
"""The handle that stands for everybody: whoever is not known while the loyalty system does not answer."""


class BenefitKind(StrEnum):
    """What can be redeemed."""

    OFFER = "offer"
    VOUCHER = "voucher"
    POINTS = "points"


@dataclass(frozen=True, slots=True)
class Worth:
    """What a benefit is worth at the till.

    Attributes:
        type: ``money`` (amount and currency), ``percent``, ``price_rule`` (the id of a rule that the till has) or
            ``manual`` (words for whoever is at the till).
        amount: of money.
        currency: ISO 4217.
        percent: off the price.
        text: a price rule's id, or the words.
    """

    type: Literal["money", "percent", "price_rule", "manual"]
    amount: Decimal | None = None
    currency: str | None = None
    percent: Decimal | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Benefit:
    """An offer or a voucher.

    Attributes:
        kind: which of the two.
        id: the vendor's, of this one instance; it is redeemed by it.
        name: in the vendor's words.
        value: what it is worth; None where the vendor does not say.
        expires_at: the first instant at which it is of no use any more; None: it does not expire.
        reference: what a receipt names it by: of an offer the promotion's id, of a voucher its number.
        minimum: the least sale that it is good for; None where the vendor names none.
        points: what it costs the member, of whom they are taken when it is used; None: nothing.
        brings_voucher: using it gives the member a voucher, which is what is used up for the sale.
    """

    kind: BenefitKind
    id: str = field(repr=False)
    name: str = field(repr=False)
    value: Worth | None = field(default=None, repr=False)
    expires_at: datetime | None = None
    reference: str | None = field(default=None, repr=False)
    minimum: Decimal | None = None
    points: Decimal | None = field(default=None, repr=False)
    brings_voucher: bool = False

    def is_over(self, now: datetime) -> bool:
        """Whether it has expired."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True)
class Points:
    """A member's points.

    Attributes:
        balance: what can be spent.
        pending: what is earned and cannot be spent yet.
    """

    balance: Decimal = field(repr=False)
    pending: Decimal = field(default=Decimal(0), repr=False)


@dataclass(frozen=True, slots=True)
class Benefits:
    """Everything a member has; empty when the vendor has nothing for them.

    Attributes:
        points: None where the vendor keeps none for them.
        items: offers and vouchers.
    """

    points: Points | None = field(default=None, repr=False)
    items: tuple[Benefit, ...] = field(default=(), repr=False)

    def usable(self, now: datetime) -> "Benefits":
        """Without what has expired."""
        return Benefits(self.points, tuple(item for item in self.items if not item.is_over(now)))


@dataclass(frozen=True, slots=True)
class GeneralOffer:
    """An offer of the shop's own, as it configured it: for everybody, or for whoever joins.

    Attributes:
        id: the shop's own.
        name: for people.
        value: what it is worth.
        last_day: the last day on which it is given, in the store's time zone; None: no end.
    """

    id: str
    name: str
    value: Worth
    last_day: date | None = None


def general_offers(offers: Iterable[GeneralOffer], *, level: int, today: date) -> tuple[GeneralOffer, ...]:
    """The offers that everybody gets while the loyalty system does not answer.

    Only where the till cannot know who is a member: at the levels 1 and 2. Source: Voyado's integration principles,
    level 1, "apply loyalty offers to all".

    Args:
        offers: as configured.
        level: the fallback level in force.
        today: in the store's time zone.
    """
    if level > TAG_LEVEL:
        return ()
    return current(offers, today)


def current(offers: Iterable[GeneralOffer], today: date) -> tuple[GeneralOffer, ...]:
    """Those whose last day is not over, in the store's time zone."""
    return tuple(offer for offer in offers if offer.last_day is None or today <= offer.last_day)
