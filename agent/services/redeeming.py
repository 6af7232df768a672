"""Using up a member's benefit for a sale, and giving it back: once, whatever gets lost on the way.

While nobody can be asked, what the shop's policy allows is given unasked: on disk with its sale, told to the vendor
when it answers, once. What the vendor refuses then is the shop's loss, told to people and never tried again.

What is about to be asked is on disk before it is asked. An answer that was lost is looked up before anything else is
said: a benefit that had been unused when this sale asked, and is used up now, was used up by that. Who was told no has
not used it: should the vendor have carried it out all the same, that is undone as soon as it can be asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Final, Protocol, TypeVar
from weakref import WeakValueDictionary

import structlog

from agent.domain.benefits import BenefitKind, Benefits
from agent.domain.health import Conditions
from agent.domain.identifiers import IdentifierType
from agent.domain.offline import OfflinePolicy, worth_at_most
from agent.domain.redemption import (
    GIVEN_UNASKED,
    Reason,
    RedemptionState,
    Standing,
    VendorWord,
    after_looking,
    without_asking,
)
from agent.domain.transaction import IntegrationKey
from agent.errors import (
    ConfigurationError,
    StorageError,
    UnknownRecordError,
    VendorRefusedError,
    VendorUnreachableError,
)
from agent.ports import Clock, Redeemer, Redemption, RedemptionRecord, RedemptionWish
from agent.services.asking import Asking
from agent.services.handles import Refs

log = structlog.get_logger(__name__)
T = TypeVar("T")

LOOK_EVERY_S = 15.0
SETTLES_S = 60.0
"""How long after it was first seen unsettled a redemption is looked up: a vendor may still be busy with it before."""
SLICE = 100
LOSSES_SHOWN_FOR = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a till asks to be redeemed.

    Attributes:
        ref: whose it is, a handle from `identify`.
        kind: of benefit.
        id: which one; empty for points.
        transaction_id: the sale.
        amount: what it takes off the sale, where the till says so.
    """

    ref: str
    kind: BenefitKind
    id: str = field(repr=False)
    transaction_id: str
    amount: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Redeemed:
    """The answer to a redemption or a release.

    Attributes:
        outcome: ``redeemed``, ``released``, ``refused`` or ``queued`` (given unasked, or to be given back: the vendor
            is told as soon as it answers).
        reason: why it was refused.
        codes: messages for the cashier's screen.
    """

    outcome: str
    reason: Reason | None = None
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Told:
    """What came of telling the vendor to use something up.

    Attributes:
        word: what it says; None when that cannot be learned in time.
        received: it may have been told, whether or not it answered.
    """

    word: VendorWord | None
    received: bool


_QUEUED: Final = Redeemed("queued", None, ("loyalty.benefit.allowed_offline",))


class Remembered(Protocol):
    """What the vendor said last of a member's benefits."""

    @property
    def benefits(self) -> Benefits:
        """What it said."""

    @property
    def mono(self) -> float:
        """When, in monotonic seconds."""


class Redeeming:
    """Redeems and releases.

    Args:
        clock: for instants and the budget.
        record: what is on disk.
        vendor: the loyalty system, or None where nothing can be redeemed.
        asking: how it is asked; its budget is for a whole redemption.
        refs: whose a handle is.
        spend_with: what somebody has to be named by.
        unasked: what may be given unasked.
        remembered: what the vendor said last of a member's benefits.
        over: hears that the vendor has said since that a member cannot use one of them.
        conditions: where losses are told.
        told: hears of each state that one comes to.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        record: RedemptionRecord,
        vendor: Redeemer | None,
        asking: Asking,
        refs: Refs,
        spend_with: frozenset[IdentifierType],
        unasked: OfflinePolicy,
        remembered: Callable[[IntegrationKey], Remembered | None],
        over: Callable[[IntegrationKey, BenefitKind, str], None],
        conditions: Conditions,
        told: Callable[[str], None] = lambda _state: None,
    ) -> None:
        self._clock, self._record, self._vendor, self._asking = clock, record, vendor, asking
        self._refs, self._spend_with, self._told = refs, spend_with, told
        self._unasked, self._remembered, self._over, self._conditions = unasked, remembered, over, conditions
        self._locks: WeakValueDictionary[tuple[BenefitKind, str], asyncio.Lock] = WeakValueDictionary()
        self._giving = asyncio.Lock()  # what somebody was given today is counted by one at a time
        self._seen: dict[tuple[int, RedemptionState], float] = {}

    async def redeem(self, wanted: Wanted) -> Redeemed:
        """Uses a benefit up for a sale; asked again with the same sale and benefit, the same answer.

        Raises:
            UnknownRecordError: nobody is known under that handle.
            StorageError: it cannot be put on disk; the vendor is not asked then, or what it said is looked up when
                this is asked again.
        """
        async with self._alone(wanted.kind, wanted.id):
            known = self._record.find(wanted.transaction_id, wanted.kind, wanted.id)
            key = self._whose(wanted.ref, known)
            vendor = self._vendor
            if vendor is None or wanted.kind not in vendor.redeems:
                return _refused(Reason.NOT_OFFERED)
            elsewhere = self._record.elsewhere(wanted.transaction_id, wanted.kind, wanted.id)
            answer = without_asking(known.state if known is not None else None, elsewhere=elsewhere)
            if isinstance(answer, Reason):
                return _refused(answer)
            if answer is RedemptionState.REDEEMED:
                return Redeemed("redeemed")
            if answer is not None:
                return _QUEUED
            asked = known is not None and known.state is RedemptionState.ASKING
            if not asked and not self._refs.handles.is_named_by(wanted.ref, self._spend_with):
                return _refused(Reason.WEAK)
            return await self._redeem(vendor, key, wanted, known)

    async def release(self, kind: BenefitKind, id_: str, transaction_id: str) -> Redeemed:
        """Gives back what was redeemed for a sale; asked again, the same answer.

        Raises:
            UnknownRecordError: nothing of the kind was redeemed for that sale here.
            StorageError: it cannot be put on disk.
        """
        async with self._alone(kind, id_):
            known = self._record.find(transaction_id, kind, id_)
            if known is None:
                raise UnknownRecordError("Nothing of the kind was redeemed for that sale here.")
            if known.state in (RedemptionState.RELEASED, RedemptionState.REFUSED):
                return Redeemed("released")
            if known.state in (RedemptionState.QUEUED, RedemptionState.LOST):  # the vendor was not told, or refused it
                await self._settle(known.number, RedemptionState.RELEASED)
                return Redeemed("released")
            vendor = self._vendor
            if vendor is None or known.state is RedemptionState.STUCK or known.key is None:
                return _refused(Reason.NOT_RELEASED)
            if kind not in vendor.releases and known.state is RedemptionState.REDEEMED:
                return _refused(Reason.NOT_RELEASED)
            if known.state is not RedemptionState.UNDOING:
                await self._settle(known.number, RedemptionState.UNDOING)
            state = await self._undo(vendor, known, at_rest=known.state is RedemptionState.REDEEMED)
            if state is None:
                return Redeemed("queued")
            return Redeemed("released") if state is RedemptionState.RELEASED else _refused(Reason.NOT_RELEASED)

    async def run(self) -> None:
        """Looks up what is open, for as long as the agent runs; ends by cancellation."""
        failing = False
        while True:
            try:
                await self.settle()
                failing = False
            except StorageError as error:
                if not failing:
                    log.warning("redemptions.unreadable", code=error.code)
                failing = True
            await asyncio.sleep(LOOK_EVERY_S)

    async def settle(self) -> None:
        """Looks up what became of redemptions whose answer was lost, and undoes what nobody wanted.

        Raises:
            StorageError: it cannot be read or written down.
        """
        vendor, mono = self._vendor, self._clock.monotonic()
        waiting = self._record.open(SLICE)
        self._seen = {(one.number, one.state): self._seen.get((one.number, one.state), mono) for one in waiting}
        for one in waiting:
            patience_s = 0.0 if one.state is RedemptionState.QUEUED else SETTLES_S
            if vendor is None or mono - self._seen[one.number, one.state] < patience_s:
                continue
            async with self._alone(one.kind, one.id or ""):
                known = self._record.find(one.transaction_id, one.kind, one.id) if one.id is not None else one
                if known is None or known.state is not one.state:
                    continue  # somebody has asked meanwhile
                if known.key is None:
                    code = "redemption.unreadable"
                    given = known.state in GIVEN_UNASKED
                    await self._settle(one.number, RedemptionState.LOST if given else RedemptionState.STUCK, code)
                elif known.state in GIVEN_UNASKED:
                    await self._deliver(vendor, known)
                elif known.state is RedemptionState.UNDOING:
                    await self._undo(vendor, known, at_rest=True)
                else:
                    await self._look_up(vendor, known)

        self._tell_losses()

    def _tell_losses(self) -> None:
        now = self._clock.now()
        losses = self._record.losses(now - LOSSES_SHOWN_FOR)
        detail = ", ".join(f"{loss.count} ({loss.amount} {loss.currency})" for loss in losses)
        self._conditions.set("benefits.lost", stands=bool(losses), now=now, detail=detail)

    # --- given unasked --------------------------------------------------------------------------------------

    async def _give(self, key: IntegrationKey, wanted: Wanted, known: Redemption | None) -> Redeemed:
        """Gives a benefit unasked, if the shop's policy allows it: on disk, to be told to the vendor."""
        said, today = self._remembered(key), self._clock.today()
        items = said.benefits.items if said is not None else ()
        item = next((one for one in items if (one.kind, one.id) == (wanted.kind, wanted.id)), None)
        if said is None or item is None or self._asking.is_refused:
            return _refused(Reason.OFFLINE)
        refusal = self._unasked.refusal(
            item,
            known_for=timedelta(seconds=self._clock.monotonic() - said.mono),
            given_today=self._record.given_unasked(key, today),
            now=self._clock.now(),
            stated=wanted.amount or None,  # what takes nothing off needs no voucher: whoever says so does not know
        )
        if refusal is not None:
            return _refused(Reason.OFFLINE)
        amount = worth_at_most(item.value, wanted.amount)
        currency = item.value.currency if item.value is not None else None
        wish = RedemptionWish(
            key, wanted.ref, wanted.kind, wanted.id, wanted.transaction_id, amount, currency, unasked_on=today
        )
        await self._ask_for(wish, known)
        self._told(RedemptionState.QUEUED.value)
        return _QUEUED

    async def _deliver(self, vendor: Redeemer, known: Redemption) -> None:
        """Tells the vendor of what was given unasked; what it refuses is lost."""
        if known.key is None or known.id is None:
            return
        until = self._clock.monotonic() + self._asking.budget_s
        standing = await self._standing(vendor, known.key, known.kind, known.id, until)
        if standing is None:
            return
        sent_before = known.state is RedemptionState.SENDING
        if standing is not Standing.AVAILABLE:
            ours = sent_before and standing is Standing.USED
            await self._settle_given(known, VendorWord(None if ours else Reason.USED, standing.value))
            return
        if not sent_before:
            await self._settle(known.number, RedemptionState.SENDING)
        wish = RedemptionWish(known.key, known.ref or "", known.kind, known.id, known.transaction_id)
        told = await self._call(vendor, wish, until)
        if told.word is not None:
            ours = sent_before and told.word.reason is Reason.USED
            await self._settle_given(known, VendorWord() if ours else told.word)
        elif not (sent_before or told.received):  # whoever uses it up before the next attempt is somebody else
            await self._record.settle(known.number, RedemptionState.QUEUED, self._clock.now())

    async def _settle_given(self, known: Redemption, word: VendorWord) -> None:
        if word.reason is None:
            await self._settle(known.number, RedemptionState.REDEEMED)
            return
        code = word.code or word.reason.value
        log.warning("redemption.lost", code=code, transaction_id=known.transaction_id)
        await self._settle(known.number, RedemptionState.LOST, code)

    # --- with the vendor ------------------------------------------------------------------------------------

    async def _redeem(
        self, vendor: Redeemer, key: IntegrationKey, wanted: Wanted, known: Redemption | None
    ) -> Redeemed:
        until = self._clock.monotonic() + self._asking.budget_s
        state = known.state if known is not None else None
        step = await self._standing(vendor, key, wanted.kind, wanted.id, until)
        if step is None:
            if known is not None and state is RedemptionState.ASKING:
                await self._settle(known.number, RedemptionState.UNDOING)
                return _refused(Reason.OFFLINE)
            async with self._giving:
                return await self._give(key, wanted, known)
        answer = after_looking(state, step)
        if answer is RedemptionState.REDEEMED and known is not None:
            return await self._settled(known.number, VendorWord())
        if isinstance(answer, Reason):
            self._over(key, wanted.kind, wanted.id)
            if known is not None and state is RedemptionState.ASKING:
                await self._settle(known.number, RedemptionState.REFUSED)
            return _refused(answer)
        wish = RedemptionWish(key, wanted.ref, wanted.kind, wanted.id, wanted.transaction_id, wanted.amount)
        number = await self._ask_for(wish, known)
        told = await self._call(vendor, wish, until)
        if told.word is None:
            maybe_used = told.received or state is RedemptionState.ASKING
            await self._settle(number, RedemptionState.UNDOING if maybe_used else RedemptionState.REFUSED)
            return _refused(Reason.OFFLINE)
        if told.word.reason is not None:
            self._over(key, wanted.kind, wanted.id)
        return await self._settled(number, told.word)

    def _whose(self, ref: str, known: Redemption | None) -> IntegrationKey:
        """Whose it is: what is on record goes first, as handles and names last no longer than a run.

        Raises:
            UnknownRecordError: nobody is known under that handle, or not any more.
        """
        stands = known is not None and known.state is not RedemptionState.REFUSED
        key = known.key if known is not None and stands else None
        key = key or self._refs.key(ref)
        if key is None:
            raise UnknownRecordError("Nobody is known here under that handle.")
        return key

    async def _ask_for(self, wish: RedemptionWish, known: Redemption | None) -> int:
        """Puts on disk what is about to be asked, or given; the number of it.

        Raises:
            UnknownRecordError: whose it is was erased while this was on its way: nothing of theirs is written down.
            StorageError: it is not on disk.
        """
        latest = self._record.find(wish.transaction_id, wish.kind, wish.id)
        if (known is not None and latest is None) or self._whose(wish.ref, latest) != wish.key:
            raise UnknownRecordError("Nobody is known here under that handle any more.")
        return await self._record.ask(wish, known, self._clock.now())

    async def _call(self, vendor: Redeemer, wish: RedemptionWish, until: float) -> _Told:
        """What the vendor says, looked up when its answer is lost."""
        told = await self._tell(vendor, wish, until)
        if told.word is not None:
            return told
        standing = await self._standing(vendor, wish.key, wish.kind, wish.id, until)
        if standing is None:
            return told
        if standing is Standing.USED:
            return _Told(VendorWord(None if told.received else Reason.USED), told.received)
        again = await self._tell(vendor, wish, until)
        if told.received and again.word is not None and again.word.reason is Reason.USED:
            # It had not been used when this sale first asked: who is too late now was before itself.
            return _Told(VendorWord(), received=True)
        return _Told(again.word, told.received or again.received)

    async def _tell(self, vendor: Redeemer, wish: RedemptionWish, until: float) -> _Told:
        received = False

        async def redeem() -> VendorWord:
            nonlocal received
            received = True
            try:
                return await vendor.redeem(
                    wish.key, wish.kind, wish.id, timeout_s=self._left(until), pace=self._asking.spend
                )
            except VendorUnreachableError as error:
                received = error.maybe_received
                raise
            except (VendorRefusedError, ConfigurationError):
                received = False
                raise

        word = await self._ask(redeem, until)
        return _Told(word, received)

    async def _undo(self, vendor: Redeemer, known: Redemption, *, at_rest: bool) -> RedemptionState | None:
        """Gives a benefit back if it was used up; what became of it, None while that cannot be learned.

        Args:
            vendor: is asked.
            known: the redemption.
            at_rest: the vendor is not busy with it any more: what is unused now stays so.
        """
        if known.key is None or known.id is None:
            return None
        key, kind, id_ = known.key, known.kind, known.id
        if self._record.elsewhere(known.transaction_id, kind, id_):  # what is used up now is another sale's
            await self._settle(known.number, RedemptionState.RELEASED)
            return RedemptionState.RELEASED
        until = self._clock.monotonic() + self._asking.budget_s
        standing = await self._standing(vendor, key, kind, id_, until)
        if standing is None or not (at_rest or standing is Standing.USED):
            return None
        state, code = RedemptionState.RELEASED, None
        if standing is Standing.USED:
            word = VendorWord(Reason.NOT_RELEASED)
            if kind in vendor.releases:
                asked = await self._ask(
                    lambda: vendor.release(key, kind, id_, timeout_s=self._left(until), pace=self._asking.spend), until
                )
                if asked is None:
                    return None
                word = asked
            if word.reason is not None:
                state, code = RedemptionState.STUCK, word.code or Reason.NOT_RELEASED.value
                log.warning("redemption.stuck", code=code, transaction_id=known.transaction_id)
        await self._settle(known.number, state, code)
        return state

    async def _look_up(self, vendor: Redeemer, known: Redemption) -> None:
        """Writes down what became of one whose answer was lost, and about which no till asks again."""
        if known.key is None or known.id is None:
            return
        until = self._clock.monotonic() + self._asking.budget_s
        standing = await self._standing(vendor, known.key, known.kind, known.id, until)
        if standing is not None:
            state = RedemptionState.REDEEMED if standing is Standing.USED else RedemptionState.REFUSED
            await self._settle(known.number, state)

    async def _settled(self, number: int, word: VendorWord) -> Redeemed:
        if word.reason is None:
            await self._settle(number, RedemptionState.REDEEMED)
            return Redeemed("redeemed")
        await self._settle(number, RedemptionState.REFUSED, word.code)
        return _refused(word.reason)

    async def _settle(self, number: int, state: RedemptionState, code: str | None = None) -> None:
        await self._record.settle(number, state, self._clock.now(), code)
        self._told(state.value)

    async def _standing(
        self, vendor: Redeemer, key: IntegrationKey, kind: BenefitKind, id_: str, until: float
    ) -> Standing | None:
        return await self._ask(
            lambda: vendor.standing(key, kind, id_, timeout_s=self._left(until), pace=self._asking.spend), until
        )

    async def _ask(self, question: Callable[[], Awaitable[T]], until: float) -> T | None:
        left = self._left(until)
        return await self._asking.ask(question, within_s=left) if left > 0 else None

    def _left(self, until: float) -> float:
        return until - self._clock.monotonic()

    def _alone(self, kind: BenefitKind, id_: str) -> asyncio.Lock:
        """Held by whoever does something about one benefit, whichever sale it is for."""
        return self._locks.setdefault((kind, id_), asyncio.Lock())


def _refused(reason: Reason) -> Redeemed:
    codes = ("loyalty.benefit.refused_offline",) if reason is Reason.OFFLINE else ()
    return Redeemed("refused", reason, codes)
