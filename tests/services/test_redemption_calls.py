"""What the loyalty system is asked about a redemption, and what is known of it when a cashier's patience ends."""

import asyncio

import pytest

from agent.clock import SystemClock
from agent.connectors.base import before_telling
from agent.domain.benefits import BenefitKind
from agent.domain.link import Link
from agent.domain.redemption import Standing, VendorStanding, VendorWord
from agent.ports import RedemptionWish
from agent.services.asking import Asking
from agent.services.redemption_calls import RedemptionCalls, Told
from tests.fakes import NOW, member_key

BUDGET_S = 0.5


class Vendor:
    """Asks who it is, then is told; one of the two hangs."""

    def __init__(self, hangs):
        self.hangs, self.told = hangs, 0

    async def redeem(self, _one, *, timeout_s, pace):
        await pace()
        await before_telling(self._step("who"), timeout_s)
        self.told += 1
        await self._step("told")
        return VendorWord()

    async def _step(self, name):
        if name == self.hangs:
            await asyncio.Event().wait()


@pytest.mark.parametrize(("hangs", "told"), [("who", Told(None, received=False)), ("told", Told(None, received=True))])
async def test_patience_that_ends(hangs, told):
    """Before the vendor was told, nothing is to be undone there; afterwards nobody knows."""
    clock, vendor = SystemClock(), Vendor(hangs)
    link = Link("voyado", "loyalty", requests_per_second=0, backoff_first_s=1, backoff_max_s=1, uniform=lambda _a, b: b)
    calls = RedemptionCalls(clock, vendor, Asking(clock, link, live=True, budget_s=BUDGET_S, patient=True))
    calls.standing = _nothing
    wish = RedemptionWish(member_key(), "ref", BenefitKind.VOUCHER, "v-1", "sale-1", asked_at=NOW)
    assert await calls.redeem(wish, calls.patience(), VendorStanding(Standing.AVAILABLE)) == told
    assert vendor.told == int(told.received)


async def _nothing(*_args):
    return None
