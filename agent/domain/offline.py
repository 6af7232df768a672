"""What a shop lets be used up while nobody can ask: its own risk, within limits that it sets. Pure.

A voucher is kept centrally and used once: whatever is given for it without asking may have been given elsewhere too.
Refused by default. Source: Voyado's integration principles leave it to the merchant.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from agent.domain.benefits import Benefit, BenefitKind, Worth


class OfflineReason(StrEnum):
    """Why a benefit is not given unasked.

    ``POLICY``: the shop allows none of the kind. ``UNKNOWN``: it is not among what the loyalty system said last of the
    member. ``CONTACT``: it said so too long ago. ``EXPIRED``: it is over. ``AMOUNT``: it takes off more than is
    allowed, by its own word or the till's, or money of another currency, or nobody knows how much. ``COUNT``: the
    member had as many today as is allowed.
    """

    POLICY = "policy"
    UNKNOWN = "unknown"
    CONTACT = "contact"
    EXPIRED = "expired"
    AMOUNT = "amount"
    COUNT = "count"


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may be given unasked.

    Attributes:
        amount: the most that one benefit may take off.
        currency: of that, ISO 4217; what is worth money of another is not given. What a till says is in it.
        per_day: how many of all kinds one person may have a day.
        within: how long ago the loyalty system may have said last what the member has.
    """

    amount: Decimal
    currency: str
    per_day: int
    within: timedelta


@dataclass(frozen=True, slots=True)
class OfflinePolicy:
    """The shop's allowances.

    Attributes:
        by_kind: for offers and for vouchers; a kind that is not here is refused.
        by_offer: for single promotions, by the id that receipts name them by; each wins over its kind's.
    """

    by_kind: Mapping[BenefitKind, Allowance] = field(default_factory=dict)
    by_offer: Mapping[str, Allowance] = field(default_factory=dict)

    def allowance(self, item: Benefit) -> Allowance | None:
        """What holds for a benefit; None: nothing is given."""
        if item.kind is BenefitKind.OFFER and item.reference in self.by_offer:
            return self.by_offer[item.reference or ""]
        return self.by_kind.get(item.kind)

    def refusal(
        self, item: Benefit, *, known_for: timedelta, given_today: int, now: datetime, stated: Decimal | None = None
    ) -> OfflineReason | None:
        """Why a benefit is not given unasked; None: it is.

        Args:
            item: as the loyalty system said last.
            known_for: how long ago that was.
            given_today: how many the member was given unasked today.
            now: for its end.
            stated: what it takes off the sale, as the till says; of that and its own amount the larger counts.
        """
        allowance = self.allowance(item)
        if allowance is None:
            return OfflineReason.POLICY
        if known_for > allowance.within:
            return OfflineReason.CONTACT
        if item.is_over(now):
            return OfflineReason.EXPIRED
        amount = worth_at_most(item.value, stated)
        foreign = item.value is not None and item.value.currency not in (None, allowance.currency)
        if amount is None or foreign or not 0 <= amount <= allowance.amount:
            return OfflineReason.AMOUNT
        return OfflineReason.COUNT if given_today >= allowance.per_day else None


def worth_at_most(value: Worth | None, stated: Decimal | None) -> Decimal | None:
    """What a benefit takes off at most; None when nobody says.

    Its own amount of money, or what the till says where that is more: so much is gone. One that is worth money, and
    does not say how much, nobody knows.
    """
    own = value.amount if value is not None and value.type == "money" else stated
    return own if own is None or stated is None else max(own, stated)
