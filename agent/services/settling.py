"""What became of redemptions about which no till asks again: looked up, delivered or undone, each in its own time.

What is open waits for the line, however long that takes. One that goes wrong while the line works is itself the cause:
it is tried less and less often, and holds up nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from agent.domain.benefits import BenefitKind
from agent.domain.health import Conditions
from agent.domain.redemption import GIVEN_UNASKED, Reason, RedemptionMode, RedemptionState, Trace
from agent.errors import StorageError
from agent.ports import Clock, Redemption, RedemptionRecord
from agent.services.asking import Asking
from agent.services.redemption_calls import RedemptionCalls
from agent.services.unasked import Unasked

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 15.0
MOST_SELDOM_S = 900.0
SETTLES_S = 60.0
"""How long after it was first seen unsettled a redemption is looked up: a vendor may still be busy with it before."""
SLICE = 100
SHOWN_FOR = timedelta(days=7)
MOST_NAMED = 5


@dataclass(slots=True)
class _Turn:
    """When an open redemption is tried.

    Attributes:
        state: the one in which it was seen first then.
        due: when, monotonic seconds.
        failures: how often it went wrong while the line worked.
        worked_at: when the line had worked last as it went wrong last.
    """

    state: RedemptionState
    due: float
    failures: int = 0
    worked_at: datetime | None = None


class Settling:
    """Settles what is open.

    Args:
        clock: for turns and instants.
        record: what is on disk.
        calls: asks the vendor; None where nothing can be redeemed.
        asking: how it is asked.
        unasked: delivers what was given unasked.
        alone: held by whoever does something about one benefit.
        settle: writes down what became of one: its number, its state, and why.
        conditions: where losses are told, and what is stuck.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        record: RedemptionRecord,
        calls: RedemptionCalls | None,
        asking: Asking,
        unasked: Unasked,
        alone: Callable[[BenefitKind, str], AbstractAsyncContextManager[None]],
        settle: Callable[..., Awaitable[None]],
        conditions: Conditions,
    ) -> None:
        self._clock, self._record, self._calls, self._asking = clock, record, calls, asking
        self._unasked, self._alone, self._settle, self._conditions = unasked, alone, settle, conditions
        self._turns: dict[int, _Turn] = {}

    async def run(self) -> None:
        """Settles what is open, for as long as the agent runs; ends by cancellation."""
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
        """Settles what is due.

        Raises:
            StorageError: it cannot be read or written down.
        """
        waiting = list(self._open())
        self._turns = {one.number: self._turn(one) for one in waiting}
        for one in waiting:
            turn = self._turns[one.number]
            if self._calls is None or self._clock.monotonic() < turn.due:
                continue
            async with self._alone(one.kind, one.id or ""):
                known = self._record.find(one.transaction_id, one.kind, one.id) if one.id is not None else one
                if known is None or known.state is not one.state:
                    continue  # somebody has asked meanwhile
                try:
                    settled, broke = await self._try(self._calls, known), False
                except StorageError:
                    raise
                except Exception as error:  # noqa: BLE001 - a mistake of ours in one must not hold up the others
                    log.error(  # noqa: TRY400 - the text may hold what was answered
                        "redemption.failed", error=type(error).__name__, transaction_id=known.transaction_id
                    )
                    settled, broke = False, True
                if not settled:
                    self._put_off(turn, broke=broke)
        self._tell()

    async def undo(self, calls: RedemptionCalls, known: Redemption, *, at_rest: bool) -> RedemptionState | None:
        """Gives a benefit back if this sale has used it up; what became of it, None while that cannot be learned.

        Args:
            calls: asks the vendor.
            known: the redemption.
            at_rest: the vendor is not busy with it any more: what is unused now stays so.
        """
        benefit = known.benefit
        if benefit is None:
            return None
        once = calls.mode(known.kind) is not RedemptionMode.EACH_TIME
        if once and self._record.elsewhere(known.transaction_id, known.kind, benefit.id):  # another sale has used it up
            await self._settle(known.number, RedemptionState.RELEASED)
            return RedemptionState.RELEASED
        until = calls.patience()
        own = await calls.own(known, until, at_rest=at_rest)
        if own is None or own is Trace.NOT_YET:
            return None
        code = own.value if own is Trace.UNCLEAR else None
        if not isinstance(own, Trace):
            if own and not known.use:  # a use that was revoked is no other sale's, and is revoked by its name
                await self._settle(known.number, RedemptionState.UNDOING, use=own)
            word = await calls.release(replace(benefit, use=own), until)
            if word is None:
                return None
            code = word.code or Reason.NOT_RELEASED.value if word.reason is not None else None
        if code is not None:
            return await self._stuck(known, code)
        await self._settle(known.number, RedemptionState.RELEASED)
        return RedemptionState.RELEASED

    async def _stuck(self, known: Redemption, code: str) -> RedemptionState:
        log.warning("redemption.stuck", code=code, transaction_id=known.transaction_id)
        await self._settle(known.number, RedemptionState.STUCK, code)
        return RedemptionState.STUCK

    async def _try(self, calls: RedemptionCalls, known: Redemption) -> bool:
        """Whether it is settled now."""
        if known.key is None:
            state = RedemptionState.LOST if known.state in GIVEN_UNASKED else RedemptionState.STUCK
            await self._settle(known.number, state, "redemption.unreadable")
            return True
        if known.state in GIVEN_UNASKED:
            return await self._unasked.deliver(calls, known)
        if known.state is RedemptionState.UNDOING:
            return await self.undo(calls, known, at_rest=True) is not None
        own = await calls.own(known, calls.patience(), at_rest=True)
        if own is None or own is Trace.NOT_YET:
            return False
        if own is Trace.UNCLEAR:
            await self._stuck(known, Trace.UNCLEAR.value)
        elif isinstance(own, Trace):
            await self._settle(known.number, RedemptionState.REFUSED)
        else:
            await self._settle(known.number, RedemptionState.REDEEMED, use=own or None)
        return True

    def _open(self) -> Iterator[Redemption]:
        last = 0
        while rows := self._record.open(last, SLICE):
            yield from rows
            last = rows[-1].number

    def _turn(self, one: Redemption) -> _Turn:
        turn = self._turns.get(one.number)
        if turn is not None and turn.state is one.state:
            return turn
        patience_s = 0.0 if one.state is RedemptionState.QUEUED else SETTLES_S
        return _Turn(one.state, self._clock.monotonic() + patience_s)

    def _put_off(self, turn: _Turn, *, broke: bool) -> None:
        """An outage puts nothing off for longer: it says nothing of the one that was asked about in it."""
        worked_at = self._asking.worked_at
        turn.failures += broke or (worked_at is not None and worked_at != turn.worked_at)
        turn.worked_at = worked_at
        wait_s = LOOK_EVERY_S * 2.0 ** min(turn.failures - 1, 10) if turn.failures > 1 else 0.0
        turn.due = self._clock.monotonic() + min(wait_s, MOST_SELDOM_S)

    def _tell(self) -> None:
        """Tells people what was lost of late, and what is stuck."""
        now = self._clock.now()
        losses, stuck = self._record.losses(now - SHOWN_FOR), self._record.stuck(now - SHOWN_FOR)
        detail = ", ".join(f"{loss.count} ({loss.amount} {loss.currency})" for loss in losses)
        self._conditions.set("benefits.lost", stands=bool(losses), now=now, detail=detail)
        detail = f"{len(stuck)} ({', '.join(stuck[:MOST_NAMED])})" if stuck else ""
        self._conditions.set("benefits.stuck", stands=bool(stuck), now=now, detail=detail)
