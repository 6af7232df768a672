"""Using up a member's benefit for a sale, and giving it back: once, whatever gets lost on the way.

What is about to be asked is on disk before it is asked. An answer that was lost is looked up before anything else is
said. Who was told no has not used it: should the vendor have carried it out all the same, that is undone as soon as it
can be asked. While nobody can be, what the shop's policy allows is given unasked. What the shop gives itself is given,
and that is all: no vendor has ever heard of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from weakref import WeakValueDictionary

from agent.domain.benefits import BenefitKind
from agent.domain.health import Conditions
from agent.domain.identifiers import IdentifierType
from agent.domain.offline import OfflinePolicy
from agent.domain.redemption import (
    Reason,
    Redeemable,
    RedemptionMode,
    RedemptionState,
    Standing,
    Trace,
    VendorStanding,
    VendorWord,
    after_looking,
    without_asking,
)
from agent.domain.transaction import IntegrationKey
from agent.errors import UnknownRecordError
from agent.ports import Clock, Redeemer, Redemption, RedemptionRecord, RedemptionWish
from agent.services.asking import Asking
from agent.services.handles import Refs
from agent.services.redemption_calls import RedemptionCalls
from agent.services.settling import SETTLES_S, Settling
from agent.services.spending import Spending
from agent.services.unasked import Remembered, Unasked


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a till asks to be redeemed.

    Attributes:
        ref: whose it is, a handle from `identify`.
        kind: of benefit.
        id: which one; empty for points, which are on record under the sale's id.
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


_QUEUED: Final = Redeemed("queued", None, ("loyalty.benefit.allowed_offline",))


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
        conditions: where losses are told, and what is stuck.
        shops: ids of the shop's own offers, for everybody and for whoever joins.
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
        shops: Collection[str] = frozenset(),
        told: Callable[[str], None] = lambda _state: None,
    ) -> None:
        self._clock, self._record, self._vendor, self._asking = clock, record, vendor, asking
        self._refs, self._spend_with, self._over, self._told = refs, spend_with, over, told
        self._remembered, self._shops = remembered, shops
        self._locks: WeakValueDictionary[tuple[BenefitKind, str], asyncio.Lock] = WeakValueDictionary()
        self._giving = asyncio.Lock()  # what somebody was given today is counted by one at a time
        self._calls = None
        if vendor is not None:
            self._calls = RedemptionCalls(clock, vendor, asking, uses=record.uses)
        self._spending = Spending(clock, record, asking.vendor)
        self._unasked = Unasked(clock, record, unasked, remembered, self._settle)
        self._settling = Settling(
            clock=clock,
            record=record,
            calls=self._calls,
            asking=asking,
            unasked=self._unasked,
            alone=self._alone,
            settle=self._settle,
            conditions=conditions,
        )
        self.run, self.settle = self._settling.run, self._settling.settle

    async def redeem(self, wanted: Wanted) -> Redeemed:
        """Uses a benefit up for a sale; asked again with the same sale and benefit, the same answer.

        Raises:
            UnknownRecordError: nobody is known under that handle, and the shop itself does not give it.
            StorageError: it cannot be put on disk; the vendor is not asked then, or what it said is looked up when
                this is asked again.
        """
        shops = self._is_shops(wanted.kind, wanted.id)
        wanted = replace(wanted, id=self._spelled(wanted.kind, wanted.id, wanted.transaction_id))
        async with self._alone(wanted.kind, wanted.id):
            known = self._record.find(wanted.transaction_id, wanted.kind, wanted.id)
            if shops and known is None and not self._is_listed(wanted):
                return Redeemed("redeemed")
            key = self._whose(wanted.ref, known)
            calls = self._calls
            if calls is None or not calls.redeems(wanted.kind):
                return _refused(Reason.NOT_OFFERED)
            known_already = self._on_record(calls, wanted, known)
            if known_already is not None:
                return known_already
            asked = known is not None and known.state is RedemptionState.ASKING
            if not asked and not self._refs.handles.is_named_by(wanted.ref, self._spend_with):
                return _refused(Reason.WEAK)
            attempt = self._spend if calls.mode(wanted.kind) is RedemptionMode.NOTED else self._redeem
            return await self._earlier(calls, known) or await attempt(calls, key, wanted, known)

    async def release(self, kind: BenefitKind, id_: str, transaction_id: str) -> Redeemed:
        """Gives back what was redeemed for a sale; asked again, the same answer.

        Raises:
            UnknownRecordError: nothing of the kind was redeemed for that sale here, nor does the shop itself give it.
            StorageError: it cannot be put on disk.
        """
        shops = self._is_shops(kind, id_)
        id_ = self._spelled(kind, id_, transaction_id)
        async with self._alone(kind, id_):
            known = self._record.find(transaction_id, kind, id_)
            if known is None and not shops:
                raise UnknownRecordError("Nothing of the kind was redeemed for that sale here.")
            if known is None or known.state in (RedemptionState.RELEASED, RedemptionState.REFUSED):
                return Redeemed("released")
            calls = self._calls
            mode = calls.mode(kind) if calls is not None else None
            may_have_gone = mode is RedemptionMode.WITH_SALE
            untold = known.state is RedemptionState.QUEUED and not may_have_gone
            if untold or known.state is RedemptionState.LOST:  # the vendor was not told, or refused it
                await self._settle(known.number, RedemptionState.RELEASED)
                return Redeemed("released")
            at_rest, stays = known.state is RedemptionState.REDEEMED, known.state is RedemptionState.STUCK
            if calls is None or stays or known.key is None or (at_rest and not calls.releases(kind)):
                return _refused(Reason.NOT_RELEASED)
            if at_rest and mode is RedemptionMode.NOTED:
                return await self._unspend(known)
            if known.state is not RedemptionState.UNDOING:
                await self._settle(known.number, RedemptionState.UNDOING)
            state = await self._settling.undo(calls, known, at_rest=at_rest and not self._is_fresh(known, calls))
            if state is None:
                return Redeemed("queued")
            return Redeemed("released") if state is RedemptionState.RELEASED else _refused(Reason.NOT_RELEASED)

    async def _earlier(self, calls: RedemptionCalls, known: Redemption | None) -> Redeemed | None:
        """What an earlier attempt came to that may have used what counts each time; None: it did not, and may be made.

        Such a benefit does not show by itself that it was used, so that nothing is told again before that is known.
        """
        if known is None or known.key is None or known.state is not RedemptionState.ASKING:
            return None
        if calls.mode(known.kind) is not RedemptionMode.EACH_TIME:
            return None
        own = await calls.own(known, calls.patience(), at_rest=False)
        if own is Trace.NOTHING:
            return None
        if own is not None and not isinstance(own, Trace):
            return await self._settled(known.number, VendorWord(use=own))
        await self._settle(known.number, RedemptionState.UNDOING)
        return _refused(Reason.OFFLINE)

    async def _redeem(
        self, calls: RedemptionCalls, key: IntegrationKey, wanted: Wanted, known: Redemption | None
    ) -> Redeemed:
        until = calls.patience()
        state = known.state if known is not None else None
        found = await calls.standing(Redeemable(key, wanted.kind, wanted.id), until)
        if found is None or (known is not None and self._may_show_later(known, found, calls)):
            if known is not None and state is RedemptionState.ASKING:
                await self._settle(known.number, RedemptionState.UNDOING)
                return _refused(Reason.OFFLINE)
            async with self._giving:
                return await self._give(key, wanted, known)
        ours = known is not None and found.used_by(known.asked_at, since=known.accepted_at)
        answer = after_looking(state, found.standing, ours=ours)
        if answer is RedemptionState.REDEEMED and known is not None:
            return await self._settled(known.number, VendorWord())
        if isinstance(answer, Reason):
            self._over(key, wanted.kind, wanted.id)
            if known is not None and state is RedemptionState.ASKING:
                await self._settle(known.number, RedemptionState.REFUSED)
            return _refused(answer)
        wish = replace(self._wish(key, wanted, known), asked_at=calls.their_time())
        number = await self._ask_for(wish, known)
        told = await calls.redeem(wish, until, found)
        if told.word is None:
            maybe_used = told.received or state is RedemptionState.ASKING
            await self._settle(number, RedemptionState.UNDOING if maybe_used else RedemptionState.REFUSED)
            return _refused(Reason.OFFLINE)
        if told.word.reason is not None:
            self._over(key, wanted.kind, wanted.id)
        return await self._settled(number, told.word)

    def _on_record(self, calls: RedemptionCalls, wanted: Wanted, known: Redemption | None) -> Redeemed | None:
        """The answer that needs no vendor; None where it has to be asked. Raises StorageError."""
        spent = known is not None and known.state in (RedemptionState.REDEEMED, RedemptionState.ASKING)
        if spent and wanted.kind is BenefitKind.POINTS and known is not None and known.amount != wanted.amount:
            return _refused(Reason.USED)  # another number of points, in this sale
        once = calls.mode(wanted.kind) is not RedemptionMode.EACH_TIME
        elsewhere = once and self._record.elsewhere(wanted.transaction_id, wanted.kind, wanted.id)
        answer = without_asking(known.state if known is not None else None, elsewhere=elsewhere)
        if isinstance(answer, Reason):
            return _refused(answer)
        if answer is None:
            return None
        return Redeemed("redeemed") if answer is RedemptionState.REDEEMED else _QUEUED

    def _may_show_later(self, known: Redemption, found: VendorStanding, calls: RedemptionCalls) -> bool:
        """Whether what was asked for may have been carried out, though that does not show yet."""
        if known.state is not RedemptionState.ASKING:
            return False
        return found.standing is Standing.AVAILABLE and self._is_fresh(known, calls)

    @staticmethod
    def _is_fresh(known: Redemption, calls: RedemptionCalls) -> bool:
        """Whether it was asked for so short a time ago that it may not show yet."""
        if calls.mode(known.kind) is not RedemptionMode.BY_SALE:
            return False
        return known.asked_at is None or calls.their_time() - known.asked_at < timedelta(seconds=SETTLES_S)

    async def _spend(
        self, calls: RedemptionCalls, key: IntegrationKey, wanted: Wanted, known: Redemption | None
    ) -> Redeemed:
        """Notes points for a sale that is still to come; without the vendor's word nobody knows that they are there."""
        found = await calls.standing(Redeemable(key, wanted.kind, wanted.id), calls.patience())
        if found is None:
            return _refused(Reason.OFFLINE)
        wish = self._wish(key, wanted, known)
        self._check_there(wish, known)
        reason = await self._spending.spend(found, wish, known)
        if reason is not None:
            return _refused(reason)
        await self._name(wish)
        self._told(RedemptionState.REDEEMED.value)
        return Redeemed("redeemed")

    async def _unspend(self, known: Redemption) -> Redeemed:
        if not await self._spending.unspend(known):  # the sale has spent them, and gives them back itself
            return _refused(Reason.NOT_RELEASED)
        self._told(RedemptionState.RELEASED.value)
        return Redeemed("released")

    async def _give(self, key: IntegrationKey, wanted: Wanted, known: Redemption | None) -> Redeemed:
        """Gives a benefit unasked, if the shop's policy allows it: on disk, to be told to the vendor."""
        wish = None if self._asking.is_refused else self._unasked.allowed(self._wish(key, wanted, known))
        if wish is None:
            return _refused(Reason.OFFLINE)
        await self._ask_for(wish, known)
        self._told(RedemptionState.QUEUED.value)
        return _QUEUED

    def _is_shops(self, kind: BenefitKind, id_: str) -> bool:
        """Whether an offer of the shop's own has this id, as a till was shown it: whoever it is for, listed or not."""
        return kind is BenefitKind.OFFER and id_ in self._shops

    def _is_listed(self, wanted: Wanted) -> bool:
        """Whether the vendor has listed it as this member's, so that it is the vendor's whatever the shop has."""
        key = self._refs.key(wanted.ref)
        known = self._remembered(key) if key is not None else None
        return known is not None and any(
            (item.kind, item.id) == (wanted.kind, wanted.id) for item in known.benefits.items
        )

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

    def _wish(self, key: IntegrationKey, wanted: Wanted, known: Redemption | None) -> RedemptionWish:
        """What is about to be put on record of whoever has the key: a till may repeat it with another's handle."""
        ref, names = wanted.ref, self._refs.handles.names(wanted.ref)
        if known is not None and known.key == key and known.ref != ref and self._refs.key(ref) != key:
            ref, names = known.ref or "", ()
        return RedemptionWish(key, ref, wanted.kind, wanted.id, wanted.transaction_id, wanted.amount, names=names)

    async def _ask_for(self, wish: RedemptionWish, known: Redemption | None) -> int:
        """Puts on disk what is about to be asked, or given; the number of it.

        Raises:
            UnknownRecordError: whose it is was erased while this was on its way: nothing of theirs is written down.
            StorageError: it is not on disk.
        """
        self._check_there(wish, known)
        number = await self._record.ask(wish, known, self._clock.now())
        await self._name(wish)
        return number

    def _check_there(self, wish: RedemptionWish, known: Redemption | None) -> None:
        """Raises UnknownRecordError where whose it is was erased meanwhile: nothing of theirs is written down then."""
        latest = self._record.find(wish.transaction_id, wish.kind, wish.id)
        if (known is not None and latest is None) or self._whose(wish.ref, latest) != wish.key:
            raise UnknownRecordError("Nobody is known here under that handle any more.")

    async def _name(self, wish: RedemptionWish) -> None:
        names = self._refs.handles.names(wish.ref)
        if names != wish.names:  # they were named while this was being written down
            await self._record.named(wish.key, names)

    async def _settled(self, number: int, word: VendorWord) -> Redeemed:
        if word.reason is None:
            await self._settle(number, RedemptionState.REDEEMED, use=word.use)
            return Redeemed("redeemed")
        await self._settle(number, RedemptionState.REFUSED, word.code)
        return _refused(word.reason)

    async def _settle(
        self,
        number: int,
        state: RedemptionState,
        code: str | None = None,
        asked_at: datetime | None = None,
        *,
        use: str | None = None,
    ) -> None:
        await self._record.settle(number, state, self._clock.now(), code, asked_at, use=use)
        self._told(state.value)

    def _spelled(self, kind: BenefitKind, id_: str, transaction_id: str) -> str:
        """One spelling for a benefit, on record and in every comparison: the one in which the vendor's is listed.

        Points have none: what a sale spends is that sale's alone.
        """
        if kind is BenefitKind.POINTS:
            return transaction_id
        return self._vendor.spelled(kind, id_) if self._vendor is not None else id_

    def _alone(self, kind: BenefitKind, id_: str) -> asyncio.Lock:
        """Held by whoever does something about one benefit, whichever sale it is for."""
        return self._locks.setdefault((kind, id_), asyncio.Lock())


def _refused(reason: Reason) -> Redeemed:
    codes = ("loyalty.benefit.refused_offline",) if reason is Reason.OFFLINE else ()
    return Redeemed("refused", reason, codes)
