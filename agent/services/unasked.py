"""What is given while nobody can be asked, as the shop's policy allows, and told to the vendor when it answers: once.

What the vendor refuses then is the shop's loss, told to people and never tried again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

import structlog

from agent.domain.benefits import Benefits
from agent.domain.offline import OfflinePolicy, worth_at_most
from agent.domain.redemption import Reason, RedemptionMode, RedemptionState, Standing, Trace, VendorWord
from agent.domain.transaction import IntegrationKey
from agent.ports import Clock, Redemption, RedemptionRecord, RedemptionWish
from agent.services.redemption_calls import RedemptionCalls

log = structlog.get_logger(__name__)


class Remembered(Protocol):
    """What the vendor said last of a member's benefits."""

    @property
    def benefits(self) -> Benefits:
        """What it said."""

    @property
    def mono(self) -> float:
        """When, in monotonic seconds."""


class Unasked:
    """Decides what is given unasked, and delivers it.

    Args:
        clock: for today.
        record: what is on disk: how much somebody was given already.
        policy: what may be given.
        remembered: what the vendor said last of a member's benefits.
        settle: writes down what became of one: its number, its state, why, and by the vendor's clock when it is asked.
    """

    def __init__(
        self,
        clock: Clock,
        record: RedemptionRecord,
        policy: OfflinePolicy,
        remembered: Callable[[IntegrationKey], Remembered | None],
        settle: Callable[..., Awaitable[None]],
    ) -> None:
        self._clock, self._record, self._policy = clock, record, policy
        self._remembered, self._settle = remembered, settle

    def allowed(self, wish: RedemptionWish) -> RedemptionWish | None:
        """The wish as it is put on record to be given unasked; None: it is not given. Raises StorageError."""
        said, today = self._remembered(wish.key), self._clock.today()
        items = said.benefits.items if said is not None else ()
        item = next((one for one in items if (one.kind, one.id) == (wish.kind, wish.id)), None)
        if said is None or item is None:
            return None
        refusal = self._policy.refusal(
            item,
            known_for=timedelta(seconds=self._clock.monotonic() - said.mono),
            given_today=self._record.given_unasked(wish.key, wish.names, today),
            now=self._clock.now(),
            stated=wish.amount or None,  # what takes nothing off needs no voucher: whoever says so does not know
        )
        if refusal is not None:
            return None
        amount = worth_at_most(item.value, wish.amount)
        allowance = self._policy.allowance(item)
        currency = allowance.currency if allowance is not None else None
        return replace(wish, amount=amount, currency=currency, unasked_on=today)

    async def deliver(self, calls: RedemptionCalls, known: Redemption) -> bool:
        """Tells the vendor of one; what it refuses is lost. Whether it is settled now. Raises StorageError."""
        if known.key is None or known.id is None:
            return False
        mode = calls.mode(known.kind)
        if mode is RedemptionMode.WITH_SALE:  # it may be used up by now, by the sale that it is for
            await self._settle(known.number, RedemptionState.REDEEMED)
            return True
        until = calls.patience()
        sent_before = known.state is RedemptionState.SENDING
        if sent_before and mode is RedemptionMode.EACH_TIME:
            own = await calls.own(known, until, at_rest=True)
            if own is not Trace.NOTHING:
                return await self._as_found(known, own)
            sent_before = False  # it was never carried out, and is not any more
        found = await calls.of(known, until)
        if found is None:
            return False
        if found.standing is not Standing.AVAILABLE:
            ours = sent_before and found.used_by(known.asked_at, since=known.accepted_at)
            await self._judge(known, VendorWord(None if ours else Reason.USED, found.standing.value))
            return True
        asked_at = calls.their_time()
        if known.state is RedemptionState.SENDING:
            await self._record.settle(known.number, known.state, self._clock.now(), known.code, asked_at)
        else:
            await self._settle(known.number, RedemptionState.SENDING, None, asked_at)
        wish = RedemptionWish(known.key, known.ref or "", known.kind, known.id, known.transaction_id, asked_at=asked_at)
        told = await calls.redeem(wish, until, found)
        if told.word is not None:
            ours = sent_before and told.word.reason is Reason.USED
            await self._judge(known, VendorWord() if ours else told.word)
        elif not (sent_before or told.received):  # whoever uses it up before the next attempt is somebody else
            await self._record.settle(known.number, RedemptionState.QUEUED, self._clock.now())
        return told.word is not None

    async def _as_found(self, known: Redemption, own: str | Trace | None) -> bool:
        """What was told before, and can be used again and again, is never told again because nothing is known of it."""
        if own is None or own is Trace.NOT_YET:
            return False
        if isinstance(own, Trace):
            log.warning("redemption.stuck", code=own.value, transaction_id=known.transaction_id)
            await self._settle(known.number, RedemptionState.STUCK, own.value)
        else:
            await self._judge(known, VendorWord(use=own))
        return True

    async def _judge(self, known: Redemption, word: VendorWord) -> None:
        if word.reason is None:
            await self._settle(known.number, RedemptionState.REDEEMED, use=word.use)
            return
        code = word.code or word.reason.value
        log.warning("redemption.lost", code=code, transaction_id=known.transaction_id)
        await self._settle(known.number, RedemptionState.LOST, code)
