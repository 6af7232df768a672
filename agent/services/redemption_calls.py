"""What the loyalty system is asked about one redemption: how the benefit stands, to use it up, and to give it back.

All of it within a cashier's patience. An answer that was lost is looked up: a benefit that had been unused when this
sale asked, and that is said to have been used up about then, was used up by that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from agent.domain.benefits import BenefitKind
from agent.domain.redemption import Reason, Standing, VendorStanding, VendorWord
from agent.domain.transaction import IntegrationKey
from agent.errors import ConfigurationError, VendorRefusedError, VendorUnreachableError
from agent.ports import Clock, PointsSpender, Redeemer, Redemption, RedemptionWish
from agent.services.asking import Asking

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Told:
    """What came of telling the vendor to use something up.

    Attributes:
        word: what it says; None when that cannot be learned in time.
        received: it may have been told, whether or not it answered.
    """

    word: VendorWord | None
    received: bool


class RedemptionCalls:
    """Asks the vendor.

    Args:
        clock: for the budget, and for the vendor's.
        vendor: the loyalty system.
        asking: how it is asked; its budget is for a whole redemption.
        points: spends points there; None where a till spends none.
    """

    def __init__(self, clock: Clock, vendor: Redeemer, asking: Asking, *, points: PointsSpender | None = None) -> None:
        self._clock, self._vendor, self._points, self._asking = clock, vendor, points, asking

    def redeems(self, kind: BenefitKind) -> bool:
        """Whether that kind is used up at a till."""
        return self._points is not None if kind is BenefitKind.POINTS else kind in self._vendor.redeems

    def releases(self, kind: BenefitKind) -> bool:
        """Whether that kind can be given back."""
        return self._points is not None if kind is BenefitKind.POINTS else kind in self._vendor.releases

    def go_with_sale(self, kind: BenefitKind) -> bool:
        """Whether the vendor hears of that kind by the sale alone."""
        return kind in self._vendor.with_sale

    def patience(self) -> float:
        """Until when whatever begins now is waited for, monotonic seconds."""
        return self._clock.monotonic() + self._asking.budget_s

    def their_time(self) -> datetime:
        """The present instant by the vendor's clock, as far as we have heard of it."""
        return self._asking.their_time(self._clock.now())

    async def standing(self, key: IntegrationKey, kind: BenefitKind, id_: str, until: float) -> VendorStanding | None:
        """How a benefit stands; None when that cannot be learned in time."""
        points, how = self._points, self._asking.spend
        if kind is BenefitKind.POINTS:
            if points is None:
                return None
            return await self._ask(lambda: points.standing(key, id_, timeout_s=self._left(until), pace=how), until)
        return await self._ask(
            lambda: self._vendor.standing(key, kind, id_, timeout_s=self._left(until), pace=how), until
        )

    async def of(self, known: Redemption, until: float) -> VendorStanding | None:
        """How the benefit of a redemption stands, whose person is remembered."""
        if known.key is None or known.id is None:
            return None
        return await self.standing(known.key, known.kind, known.id, until)

    async def redeem(self, wish: RedemptionWish, until: float) -> Told:
        """What the vendor says to it, looked up when its answer is lost.

        What may be under way is not over because it is refused when it is repeated: nobody knows what becomes of it.
        """
        told = await self._tell(wish, until)
        if told.word is not None:
            return told
        found = await self.standing(wish.key, wish.kind, wish.id, until)
        if found is None:
            return told
        if wish.kind is BenefitKind.POINTS and (told.received or found.standing is Standing.USED):
            # They are named by the sale. What was sent may not show yet: sent again it would be taken twice.
            return Told(VendorWord() if found.standing is Standing.USED else None, received=True)
        if found.standing is Standing.USED:
            ours = told.received and found.used_by(wish.asked_at)
            return Told(VendorWord(None if ours else Reason.USED), told.received)
        again = await self._tell(wish, until)
        if told.received and again.word is not None and again.word.reason is not None:
            # It had not been used when this sale first asked: who is too late now was before itself.
            return Told(VendorWord() if again.word.reason is Reason.USED else None, received=True)
        return Told(again.word, told.received or again.received)

    async def release(self, key: IntegrationKey, kind: BenefitKind, id_: str, until: float) -> VendorWord | None:
        """What the vendor says to giving it back; None when that cannot be learned in time."""
        points, how = self._points, self._asking.spend
        if not self.releases(kind):
            return VendorWord(Reason.NOT_RELEASED)
        if points is not None and kind is BenefitKind.POINTS:
            return await self._ask(lambda: points.give_back(key, id_, timeout_s=self._left(until), pace=how), until)
        return await self._ask(
            lambda: self._vendor.release(key, kind, id_, timeout_s=self._left(until), pace=how), until
        )

    async def _tell(self, wish: RedemptionWish, until: float) -> Told:
        received = False

        async def redeem() -> VendorWord:
            nonlocal received
            received = True
            how = self._asking.spend
            try:
                if self._points is not None and wish.kind is BenefitKind.POINTS:
                    points = wish.amount or Decimal(0)
                    return await self._points.spend(wish.key, wish.id, points, timeout_s=self._left(until), pace=how)
                return await self._vendor.redeem(wish.key, wish.kind, wish.id, timeout_s=self._left(until), pace=how)
            except VendorUnreachableError as error:
                received = error.maybe_received
                raise
            except (VendorRefusedError, ConfigurationError):
                received = False
                raise

        word = await self._ask(redeem, until)
        return Told(word, received)

    async def _ask(self, question: Callable[[], Awaitable[T]], until: float) -> T | None:
        left = self._left(until)
        return await self._asking.ask(question, within_s=left) if left > 0 else None

    def _left(self, until: float) -> float:
        return until - self._clock.monotonic()
