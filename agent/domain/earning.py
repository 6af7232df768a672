"""What a sale would earn: by the shop's own rule of thumb, where the loyalty system cannot be asked. Pure.

A till never awards points: they follow from the sale, by the loyalty system's rules, which change without a till
hearing of it. What is worked out here is an estimate and is called one.
"""

from dataclasses import dataclass, field
from decimal import ROUND_DOWN, ROUND_HALF_UP, ROUND_UP, Decimal
from enum import StrEnum
from typing import Final

from agent.domain.money import ZERO
from agent.domain.transaction import OpenTransaction

_WHOLE: Final = Decimal(1)


class Basis(StrEnum):
    """Who says what a sale would earn: the loyalty system, the shop's rule, or nobody."""

    LIVE = "live"
    ESTIMATE = "estimate"
    UNAVAILABLE = "unavailable"


class Rounding(StrEnum):
    """How points become whole ones; a return loses what its purchase earned, so both go the same way from zero."""

    DOWN = "down"
    NEAREST = "nearest"
    UP = "up"


_ROUNDINGS = {Rounding.DOWN: ROUND_DOWN, Rounding.NEAREST: ROUND_HALF_UP, Rounding.UP: ROUND_UP}


@dataclass(frozen=True, slots=True)
class EarningRule:
    """The shop's rule of thumb.

    Attributes:
        per_unit: points for each unit of the currency; one for ten is 0.1.
        currency: ISO 4217.
        rounding: of the whole sale's.
    """

    per_unit: Decimal
    currency: str
    rounding: Rounding = Rounding.DOWN

    def estimate(self, sale: OpenTransaction) -> Decimal | None:
        """Whole points, less than none for a return; None for a sale in another currency.

        Args:
            sale: its lines count for what was paid for them, tax included; those that award no points do not count.
        """
        if sale.currency != self.currency:
            return None
        counted = sum((line.share for line in sale.lines if line.awards_points), ZERO)
        points = (counted * self.per_unit).quantize(_WHOLE, _ROUNDINGS[self.rounding])
        return points or ZERO  # a return of next to nothing is not minus nothing


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the loyalty system says that a sale would earn.

    Attributes:
        points: None where it cannot tell.
        member: it knows whom the sale is for.
    """

    points: Decimal | None = field(repr=False)
    member: bool = True
