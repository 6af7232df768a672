"""What the loyalty system is asked about one redemption: how the benefit stands, to use it up, and to give it back.

All of it within a cashier's patience. An answer that was lost is looked up, and what follows depends on how the vendor
hears of a use (:class:`agent.domain.redemption.RedemptionMode`). A benefit that had been unused when this sale asked,
and that is said to have been used up about then, was used up by that. One that can be used again and again shows its
uses: the only one about then that is no other sale's is this sale's, and it is told of none a second time. What bears
the sale's id is found by that, and not sent again either.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from agent.domain.benefits import BenefitKind
from agent.domain.redemption import (
    Reason,
    Redeemable,
    RedemptionMode,
    Standing,
    Trace,
    VendorStanding,
    VendorWord,
    own_use,
)
from agent.errors import ConfigurationError, VendorRefusedError, VendorUnreachableError
from agent.ports import Clock, Pace, Redeemer, Redemption, RedemptionWish
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
        uses: of a kind, what is on record as other calls': a lost one made none of them.
    """

    def __init__(
        self,
        clock: Clock,
        vendor: Redeemer,
        asking: Asking,
        *,
        uses: Callable[[BenefitKind], Collection[str]] = lambda _kind: (),
    ) -> None:
        self._clock, self._vendor, self._asking, self._uses = clock, vendor, asking, uses

    def redeems(self, kind: BenefitKind) -> bool:
        """Whether that kind is used up at a till."""
        return kind in self._vendor.redeems

    def releases(self, kind: BenefitKind) -> bool:
        """Whether that kind can be given back."""
        return self.mode(kind) not in (None, RedemptionMode.FINAL)

    def mode(self, kind: BenefitKind) -> RedemptionMode | None:
        """How the vendor hears that one of a kind was used; None where it never does."""
        return self._vendor.modes.get(kind)

    def patience(self) -> float:
        """Until when whatever begins now is waited for, monotonic seconds."""
        return self._clock.monotonic() + self._asking.budget_s

    def their_time(self) -> datetime:
        """The present instant by the vendor's clock, as far as we have heard of it."""
        return self._asking.their_time(self._clock.now())

    async def standing(self, one: Redeemable, until: float) -> VendorStanding | None:
        """How a benefit stands; None when that cannot be learned in time."""
        return await self._ask(self._vendor.standing, one, until)

    async def own(self, known: Redemption, until: float, *, at_rest: bool) -> str | Trace | None:
        """The use that a call made: the vendor's name of it, empty of what can be used once; else what shows instead.

        None when that cannot be learned in time.

        Args:
            known: the redemption; one that has its use's name on record is not asked about.
            until: how long it is waited for, monotonic seconds.
            at_rest: the vendor is not busy with it any more: what can be used once and is unused now stays so.
        """
        if known.use:
            return known.use
        found = await self.of(known, until)
        if found is None:
            return None
        if self.mode(known.kind) is RedemptionMode.EACH_TIME:
            return self._trace(known.kind, found, known.asked_at or known.accepted_at)
        if found.used_by(known.asked_at, since=known.accepted_at):
            return ""
        return Trace.NOTHING if at_rest or found.standing is Standing.USED else Trace.NOT_YET

    async def of(self, known: Redemption, until: float) -> VendorStanding | None:
        """How the benefit of a redemption stands, whose person is remembered."""
        benefit = known.benefit
        return await self.standing(benefit, until) if benefit is not None else None

    async def redeem(self, wish: RedemptionWish, until: float, before: VendorStanding) -> Told:
        """What the vendor says to it, looked up when its answer is lost.

        What may be under way is not over because it is refused when it is repeated: nobody knows what becomes of it.

        Args:
            wish: what.
            until: how long it is waited for, monotonic seconds.
            before: how the benefit stood.
        """
        told = await self._tell(wish, until)
        if told.word is not None:
            return told
        found = await self.standing(wish.benefit, until)
        if found is None:
            return told
        if (shown := self._shown(wish, told, found, before)) is not None:
            return shown
        if found.standing is Standing.USED:
            ours = told.received and found.used_by(wish.asked_at)
            return Told(VendorWord(None if ours else Reason.USED), told.received)
        again = await self._tell(wish, until)
        if told.received and again.word is not None and again.word.reason is not None:
            # It had not been used when this sale first asked: who is too late now was before itself.
            return Told(VendorWord() if again.word.reason is Reason.USED else None, received=True)
        return Told(again.word, told.received or again.received)

    async def release(self, one: Redeemable, until: float) -> VendorWord | None:
        """What the vendor says to giving it back; None when that cannot be learned in time."""
        if not self.releases(one.kind):
            return VendorWord(Reason.NOT_RELEASED)
        return await self._ask(self._vendor.release, one, until)

    def _shown(self, wish: RedemptionWish, told: Told, found: VendorStanding, before: VendorStanding) -> Told | None:
        """What a call without an answer came to, of what would count again: what shows says all. None of anything else.

        What was sent may not show yet: sent again it would count twice.
        """
        used = found.standing is Standing.USED
        match self.mode(wish.kind):
            case RedemptionMode.BY_SALE if told.received or used:
                return Told(VendorWord() if used else None, received=True)
            case RedemptionMode.EACH_TIME if told.received:
                own = self._trace(wish.kind, found, wish.asked_at, before) if wish.asked_at else Trace.UNCLEAR
                return Told(None if isinstance(own, Trace) else VendorWord(use=own), received=True)
            case _:
                return None

    def _trace(
        self, kind: BenefitKind, found: VendorStanding, asked_at: datetime, before: VendorStanding | None = None
    ) -> str | Trace:
        others = {*self._uses(kind), *(use.id for use in (before.uses if before is not None else ()))}
        own = own_use(found.uses, asked_at, now=self.their_time(), others=others)
        return own if isinstance(own, Trace) else own.id

    async def _tell(self, wish: RedemptionWish, until: float) -> Told:
        received = False

        async def redeem(one: Redeemable, *, timeout_s: float, pace: Pace) -> VendorWord:
            nonlocal received
            received = True
            try:
                return await self._vendor.redeem(one, timeout_s=timeout_s, pace=pace)
            except VendorUnreachableError as error:
                received = error.maybe_received
                raise
            except (VendorRefusedError, ConfigurationError):
                received = False
                raise

        word = await self._ask(redeem, wish.benefit, until)
        return Told(word, received)

    async def _ask(self, call: Callable[..., Awaitable[T]], one: Redeemable, until: float) -> T | None:
        def ask() -> Awaitable[T]:
            return call(one, timeout_s=self._left(until), pace=self._asking.spend)

        left = self._left(until)
        return await self._asking.ask(ask, within_s=left) if left > 0 else None

    def _left(self, until: float) -> float:
        return until - self._clock.monotonic()
