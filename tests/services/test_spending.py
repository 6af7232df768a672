"""Points that a till spends for a sale: noted while there are enough, spent by the sale, and by no sale twice."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Final

import pytest

from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.redemption import Reason, RedemptionMode, Standing, VendorStanding
from agent.errors import UnknownRecordError
from agent.ports import Budget, Recipient, RedemptionWish, Settled, Spent
from agent.services.redeeming import Redeemed, Wanted
from tests.fakes import NOW, VENDOR, acceptance, member_key, open_outbox
from tests.services.test_redeeming import DONE, OFFLINE, POINTS, REF, Desk, Vendor, refused

FORTY = Wanted(REF, POINTS, "", "s-1", Decimal(40))
NO = refused(Reason.REFUSED)
RELEASED = Redeemed("released")


class Purse(Vendor):
    """Says how many points a member has; it is told of none by a call."""

    modes: Final = {POINTS: RedemptionMode.NOTED}
    balance = Decimal(100)

    async def standing(self, one, *, timeout_s, pace):
        there = Standing.AVAILABLE if self.balance is not None else Standing.ABSENT
        return await self._answer("standing", pace, lambda: VendorStanding(there, balance=self.balance))


@pytest.fixture(name="desk")
def _desk(tmp_path):
    with open_outbox(tmp_path / "outbox.db") as outbox:
        yield Desk(outbox, make_vendor=lambda _clock: Purse())


async def sell(desk, name="s-1", key=None):
    """The till posts the sale."""
    await desk.outbox.accept(acceptance(name, key=key or member_key("10000421")), NOW)


async def leased(desk):
    """What is about to be sent, with its points."""
    batch = await desk.outbox.lease(VENDOR, 10, NOW)
    await desk.outbox.release([one.entry for one in batch])
    return {one.transaction.transaction_id: one.spent for one in batch}


def spends(number):
    return replace(FORTY, transaction_id=f"s-{number}")


async def test_noted_and_spent_by_its_sale(desk):
    """A repeat is answered from the record; the sale has them, whose they are with them, and no other sale has."""
    assert [await desk.redeem(FORTY), await desk.redeem(FORTY)] == [DONE] * 2
    assert (desk.vendor.calls, desk.states) == (["standing"], ["redeemed"])
    await sell(desk)
    await sell(desk, "s-2")
    key = desk.redeeming._whose(REF, None)
    assert await leased(desk) == {"s-1": Spent(Decimal(40), key), "s-2": None}


async def test_given_back_before_the_sale(desk):
    """It is forgotten, spends nothing, and can be asked for again, with another amount too."""
    await desk.redeem(FORTY)
    assert [await desk.release(FORTY), await desk.release(FORTY)] == [RELEASED] * 2
    assert await desk.redeem(replace(FORTY, amount=Decimal(100))) == DONE
    assert await desk.release(FORTY) == RELEASED
    await sell(desk)
    assert await leased(desk) == {"s-1": None}


async def test_another_amount_for_the_same_sale(desk):
    """The one that is noted stands, until it is given back."""
    await desk.redeem(FORTY)
    assert await desk.redeem(replace(FORTY, amount=Decimal(50))) == refused(Reason.USED)
    await sell(desk)
    assert (await leased(desk))["s-1"].points == Decimal(40)


async def test_the_sale_is_there(desk):
    """Nothing is noted for it any more, and nothing that was is taken from it: it gives them back itself."""
    await desk.redeem(FORTY)
    await sell(desk)
    assert await desk.release(FORTY) == refused(Reason.NOT_RELEASED)
    await sell(desk, "s-2")
    assert await desk.redeem(spends(2)) == NO
    assert [(await leased(desk))[name] is None for name in ("s-1", "s-2")] == [False, True]


async def test_no_point_twice(desk):
    """What other sales have noted is not there, until the vendor has taken it off itself."""
    assert [await desk.redeem(spends(number)) for number in (1, 2, 3)] == [DONE, DONE, NO]
    await desk.release(spends(2))
    assert await desk.redeem(spends(3)) == DONE
    await sell(desk)
    assert await desk.redeem(spends(4)) == NO
    [outgoing] = await desk.outbox.lease(VENDOR, 10, NOW)
    await desk.outbox.settle([Settled(outgoing.entry, Verdict(VerdictKind.DONE))], NOW)
    desk.vendor.balance = Decimal(60)
    assert [await desk.redeem(spends(number)) for number in (4, 5)] == [NO, NO]
    desk.vendor.balance = Decimal(80)
    assert await desk.redeem(spends(4)) == DONE


@pytest.mark.parametrize("end", [VerdictKind.DONE, VerdictKind.PARK, None], ids=["delivered", "parked", "waiting"])
async def test_whose_books_count(tmp_path, end):
    """A sale counts as spent when the vendor whose points they are has it, whatever becomes of it elsewhere."""
    both = tuple(Recipient(name, guests=False, owner=name == VENDOR) for name in (VENDOR, "further"))
    with open_outbox(tmp_path / "outbox.db", recipients=both) as outbox:
        desk = Desk(outbox, make_vendor=lambda _clock: Purse())
        assert await desk.redeem(FORTY) == DONE
        await outbox.accept(acceptance("s-1", key=member_key("10000421"), vendors=(VENDOR, "further")), NOW)
        [outgoing] = await outbox.lease(VENDOR, 10, NOW)
        if end is None:
            await outbox.release([outgoing.entry])
        else:
            await outbox.settle([Settled(outgoing.entry, Verdict(end))], NOW)
        assert await desk.redeem(replace(spends(2), amount=Decimal(100))) == (DONE if end is VerdictKind.DONE else NO)


async def test_two_at_once(desk):
    """Whoever is written down first has them."""
    wishes = (RedemptionWish(member_key("10000421"), REF, POINTS, "", f"s-{number}", Decimal(60)) for number in (1, 2))
    noting = (desk.record.note(wish, None, Budget(VENDOR, Decimal(100)), NOW) for wish in wishes)
    assert sorted(await asyncio.gather(*noting)) == [False, True]


async def test_a_sale_that_never_comes(desk):
    """After a day nobody waits for it any more; should it come then, it spends them all the same."""
    desk.vendor.balance = Decimal(40)
    await desk.redeem(FORTY)
    assert await desk.redeem(spends(2)) == NO
    desk.clock.wall += timedelta(days=1, seconds=1)
    assert await desk.redeem(spends(2)) == DONE
    await sell(desk)
    assert (await leased(desk))["s-1"].points == Decimal(40)


@pytest.mark.parametrize(
    ("balance", "amount", "answer"),
    [
        (Decimal(40), Decimal("40.00"), DONE),
        (Decimal(39), Decimal(40), refused(Reason.NOT_ENOUGH)),
        (Decimal(100), Decimal("0.5"), NO),
        (None, Decimal(40), refused(Reason.NOT_THEIRS)),
    ],
    ids=["just enough", "too few", "a part of one", "nobody's"],
)
async def test_how_many(desk, balance, amount, answer):
    """Whole points, and no more than there are."""
    desk.vendor.balance = balance
    assert await desk.redeem(replace(FORTY, amount=amount)) == answer
    assert desk.state(FORTY) == ("redeemed" if answer == DONE else None)


async def test_nobody_answers(desk):
    """Nobody knows that they are there: they are not given."""
    desk.vendor.dead = True
    assert await desk.redeem(FORTY) == OFFLINE
    assert desk.state(FORTY) is None


async def test_whoever_is_not_surely_named(tmp_path):
    """They spend nothing."""
    with open_outbox(tmp_path / "outbox.db") as outbox:
        desk = Desk(outbox, make_vendor=lambda _clock: Purse(), named_by=None)
        assert await desk.redeem(FORTY) == refused(Reason.WEAK)


async def test_somebody_erased(desk):
    """Whose they were is forgotten, and nothing can be given back."""
    await desk.redeem(FORTY)
    await desk.record.erase([desk.record.find("s-1", POINTS, "s-1").number], desk.clock.now())
    assert await desk.record.redeemed() == []
    with pytest.raises(UnknownRecordError):
        await desk.release(FORTY)


async def test_somebody_erased_meanwhile(desk):
    """Nothing of theirs is written down."""
    desk.vendor.script["standing"] = [desk.replica.people.clear]
    with pytest.raises(UnknownRecordError):
        await desk.redeem(FORTY)
    assert await desk.record.redeemed() == []
