"""Benefits that count each time they are used: told once, looked for when no answer came, and given back by name."""

import itertools
import random
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Final

import pytest

from agent.domain.benefits import Benefit, Benefits, Worth
from agent.domain.offline import Allowance, OfflinePolicy
from agent.domain.redemption import (
    CARRIED_OUT_WITHIN,
    Reason,
    RedemptionMode,
    RedemptionState,
    Standing,
    Use,
    VendorStanding,
    VendorWord,
)
from agent.services.benefits import Remembered
from agent.services.redeeming import Redeemed, Wanted
from agent.services.settling import MOST_SELDOM_S
from tests.fakes import Offline, member_key, open_outbox
from tests.services import test_redeeming
from tests.services.test_redeeming import DONE, OFFER, OFFLINE, QUEUED, REF, Desk, Vendor, refused

REWARD = Wanted(REF, OFFER, "r-1", "s-1")
ANOTHER_SALE = replace(REWARD, transaction_id="s-2")
RELEASED = Redeemed("released")


class Claims(Vendor):
    """Lists who has claimed what; each claim costs points, and none is refused for the ones before it."""

    modes: Final = {OFFER: RedemptionMode.EACH_TIME}

    def __init__(self, clock):
        super().__init__()
        self.clock, self.numbers, self.claims, self.revoked, self.certain = clock, itertools.count(1), [], [], True

    async def standing(self, one, *, timeout_s, pace):
        there = Standing.AVAILABLE if one.id == "r-1" else Standing.ABSENT
        return await self._answer("standing", pace, lambda: VendorStanding(there, uses=tuple(self.claims)))

    async def release(self, one, *, timeout_s, pace):
        return await self._answer("release", pace, lambda: self._revoke(one.use))

    def claim(self):
        """Somebody claims it, here or in the app."""
        self.claims.append(Use(f"e-{next(self.numbers)}", self.clock.now(), certain=self.certain))
        return self.claims[-1].id

    def _redeem(self, id_):
        return VendorWord(use=self.claim())

    def _revoke(self, use):
        self.revoked.append(use)
        return VendorWord()


@pytest.fixture(name="desk")
def _desk(tmp_path, monkeypatch):
    policy = OfflinePolicy({OFFER: Allowance(Decimal(50), "SEK", 2, timedelta(hours=1))})
    monkeypatch.setattr(test_redeeming, "UNASKED", policy)
    with open_outbox(tmp_path / "outbox.db") as outbox:
        desk = Desk(outbox, make_vendor=Claims)
        item = Benefit(OFFER, "r-1", "A mug", Worth("money", Decimal(20), "SEK"), points=Decimal(100))
        desk.remembered = Remembered(Benefits(None, (item,)), desk.clock.now(), desk.clock.monotonic())
        yield desk


def lose(desk, how):
    """The claim gets no answer, and then nobody answers."""
    desk.vendor.script |= {"redeem": [how], "standing": [None, "dead"]}


async def over(desk):
    """The vendor is back; it is long enough ago for whatever was under way."""
    await desk.later()
    for _ in range(3):
        await desk.later(CARRIED_OUT_WITHIN.total_seconds())


async def test_claimed_once_a_sale(desk):
    """A repeat is answered from the record; another sale has a claim of its own. Each is given back by its name."""
    assert [await desk.redeem(REWARD), await desk.redeem(REWARD), await desk.redeem(ANOTHER_SALE)] == [DONE] * 3
    assert desk.vendor.calls == ["standing", "redeem"] * 2
    assert desk.record.find("s-2", OFFER, "r-1").use == "e-2"
    assert [await desk.release(REWARD), await desk.release(REWARD)] == [RELEASED] * 2
    assert (desk.vendor.revoked, desk.state(REWARD), desk.state(ANOTHER_SALE)) == (["e-1"], "released", "redeemed")


async def test_a_lost_answer_is_found(desk):
    """The one claim that was not there before is this sale's: done, and never told again."""
    desk.vendor.claim()
    await desk.redeem(ANOTHER_SALE)
    desk.vendor.script["redeem"] = ["lost"]
    assert await desk.redeem(REWARD) == DONE
    assert (len(desk.vendor.claims), desk.record.find("s-1", OFFER, "r-1").use) == (3, "e-3")
    assert await desk.release(REWARD) == RELEASED
    assert desk.vendor.revoked == ["e-3"]


async def test_what_does_not_show_is_not_told_again(desk):
    """It may be under way: the till hears no, and what shows of it later is revoked."""
    desk.vendor.script["redeem"] = ["never"]
    assert await desk.redeem(REWARD) == OFFLINE
    assert (desk.state(REWARD), desk.vendor.calls) == ("undoing", ["standing", "redeem", "standing"])
    desk.vendor.claim()
    await over(desk)
    assert (desk.state(REWARD), desk.vendor.revoked) == ("released", ["e-1"])
    assert await desk.redeem(REWARD) == refused(Reason.RELEASED)


async def test_what_was_revoked_is_no_other_sale_s(desk):
    """Also where the vendor goes on listing it: a sale whose own claim never arrived claims for itself."""
    lose(desk, "lost")
    assert await desk.redeem(REWARD) == OFFLINE
    desk.vendor.script["redeem"] = ["never"]
    await over(desk)
    assert (desk.vendor.revoked, desk.record.find("s-1", OFFER, "r-1").use) == (["e-1"], "e-1")
    desk.vendor.claims[0] = replace(desk.vendor.claims[0], at=desk.clock.now())
    assert await desk.redeem(ANOTHER_SALE) == OFFLINE
    assert desk.record.find("s-2", OFFER, "r-1").use is None


async def test_what_never_shows_was_never_carried_out(desk):
    """That is believed once it can not be carried out any more, and not before."""
    lose(desk, "never")
    assert await desk.redeem(REWARD) == OFFLINE
    await desk.later()
    assert desk.state(REWARD) == "undoing"
    await over(desk)
    assert (desk.state(REWARD), desk.vendor.revoked, desk.conditions.standing()) == ("released", [], ())


@pytest.mark.parametrize("certain", [True, False], ids=["two about then", "one that does not say of what"])
async def test_nobody_says_which(desk, certain):
    """Nothing is revoked and nothing repeated: people are told."""
    desk.vendor.certain = certain
    lose(desk, "lost")
    assert await desk.redeem(REWARD) == OFFLINE
    if certain:
        desk.vendor.claim()
    await over(desk)
    assert (desk.state(REWARD), desk.record.find("s-1", OFFER, "r-1").code) == ("stuck", "unclear")
    assert (desk.vendor.revoked, desk.vendor.calls.count("redeem")) == ([], 1)
    assert [one.detail for one in desk.conditions.standing()] == ["1 (s-1)"]


async def test_two_lost_at_once(desk):
    """Each would be taken for the other's: both are told to people, and neither is revoked."""
    for wanted in (REWARD, ANOTHER_SALE):
        lose(desk, "lost")
        await desk.redeem(wanted)
        desk.vendor.dead = False
    await over(desk)
    assert [desk.state(one) for one in (REWARD, ANOTHER_SALE)] == ["stuck", "stuck"]
    assert desk.vendor.revoked == []


@pytest.mark.parametrize("told", [True, False], ids=["it had been told", "it had not"])
async def test_the_agent_was_killed_in_between(desk, told):
    """Asked again, the claim that shows is taken; without one nothing is told before it can not be under way."""
    wish = desk.redeeming._wish(desk.redeeming._whose(REF, None), REWARD, None)
    await desk.record.ask(replace(wish, asked_at=desk.clock.now()), None, desk.clock.now())
    if told:
        desk.vendor.claim()
    assert await desk.redeem(REWARD) == (DONE if told else OFFLINE)
    await over(desk)
    assert (desk.state(REWARD), desk.vendor.calls.count("redeem")) == ("redeemed" if told else "released", 0)


async def test_asked_again_long_after_a_kill(desk):
    """Nothing shows, and nothing is under way any more: it is told."""
    wish = desk.redeeming._wish(desk.redeeming._whose(REF, None), REWARD, None)
    await desk.record.ask(replace(wish, asked_at=desk.clock.now()), None, desk.clock.now())
    desk.clock.advance(CARRIED_OUT_WITHIN.total_seconds() + 1)
    assert await desk.redeem(REWARD) == DONE
    assert len(desk.vendor.claims) == 1


@pytest.mark.parametrize(("claims", "state"), [(0, "refused"), (1, "redeemed"), (2, "stuck")])
async def test_nobody_asks_again_after_a_kill(desk, claims, state):
    """What became of it is found out all the same."""
    wish = desk.redeeming._wish(desk.redeeming._whose(REF, None), REWARD, None)
    await desk.record.ask(replace(wish, asked_at=desk.clock.now()), None, desk.clock.now())
    for _ in range(claims):
        desk.vendor.claim()
    await over(desk)
    known = desk.record.find("s-1", OFFER, "r-1")
    assert (known.state.value, known.use) == (state, "e-1" if claims == 1 else None)


async def test_a_lost_revocation(desk):
    """It is told again by the same name, whose repetition does nothing."""
    await desk.redeem(REWARD)
    desk.vendor.script["release"] = ["lost"]
    assert await desk.release(REWARD) == Redeemed("queued")
    await over(desk)
    assert (desk.state(REWARD), desk.vendor.revoked) == ("released", ["e-1", "e-1"])


async def test_what_is_not_revoked(desk):
    """People are told."""
    await desk.redeem(REWARD)
    desk.vendor.script["release"] = [VendorWord(Reason.NOT_RELEASED, "160340")]
    assert await desk.release(REWARD) == refused(Reason.NOT_RELEASED)
    assert (desk.state(REWARD), desk.record.find("s-1", OFFER, "r-1").code) == ("stuck", "160340")


async def test_what_is_not_theirs(desk):
    """Nothing is told."""
    assert await desk.redeem(replace(REWARD, id="r-9")) == refused(Reason.NOT_THEIRS)
    assert desk.vendor.calls == ["standing"]


async def test_given_unasked_and_told_once(desk):
    """The claim's name is on record, so that it can still be revoked."""
    desk.vendor.dead = True
    assert await desk.redeem(REWARD) == QUEUED
    await desk.later(0)
    assert (desk.state(REWARD), desk.record.find("s-1", OFFER, "r-1").use) == ("redeemed", "e-1")
    assert await desk.release(REWARD) == RELEASED
    assert desk.vendor.revoked == ["e-1"]


@pytest.mark.parametrize(
    ("how", "elsewhere", "state", "claims"),
    [
        ("lost", 0, "redeemed", 1),
        ("lost", 1, "stuck", 2),
        ("never", 0, "redeemed", 1),
    ],
    ids=["it shows", "so does another", "nothing shows: told again, once it can not be under way"],
)
async def test_given_unasked_and_the_answer_lost(desk, how, elsewhere, state, claims):
    """It counts once; where nobody says which claim is whose it is told to people, and to the vendor no more."""
    desk.vendor.dead = True
    assert await desk.redeem(REWARD) == QUEUED
    lose(desk, how)
    await desk.later(0)
    assert desk.state(REWARD) == "sending"
    for _ in range(elsewhere):
        desk.vendor.claim()
    await desk.later()
    told = desk.vendor.calls.count("redeem")
    assert (told, desk.state(REWARD)) == (1, "sending" if how == "never" else state)
    await over(desk)
    assert (desk.state(REWARD), len(desk.vendor.claims)) == (state, claims)


async def test_given_unasked_and_refused(desk):
    """It is the shop's loss."""
    desk.vendor.dead = True
    await desk.redeem(REWARD)
    desk.vendor.script["redeem"] = [VendorWord(Reason.REFUSED, "120241")]
    await desk.later(0)
    assert (desk.state(REWARD), desk.record.find("s-1", OFFER, "r-1").code) == ("lost", "120241")


async def test_what_is_on_record_of_anybody(desk):
    """The member may have been named by another key then: what that sale claimed is not taken for this one's."""
    wish = replace(desk.redeeming._wish(desk.redeeming._whose(REF, None), ANOTHER_SALE, None), key=member_key("c-1"))
    await desk.record.settle(
        await desk.record.ask(wish, None, desk.clock.now()),
        RedemptionState.REDEEMED, desk.clock.now(), use=desk.vendor.claim(),
    )  # fmt: skip
    lose(desk, "never")
    assert await desk.redeem(REWARD) == OFFLINE
    await over(desk)
    assert (desk.state(REWARD), desk.vendor.revoked, desk.state(ANOTHER_SALE)) == ("released", [], "redeemed")


async def test_another_member_s(desk):
    """What somebody else has claimed here is no claim of theirs, and takes nothing from them."""
    await desk.redeem(REWARD)
    number = desk.record.find("s-1", OFFER, "r-1").number
    await desk.record.erase([number], desk.clock.now())
    assert desk.record.uses(OFFER) == frozenset()
    assert await desk.redeem(ANOTHER_SALE) == DONE
    assert desk.state(REWARD) is None
    assert RedemptionState.REDEEMED.value == desk.state(ANOTHER_SALE)


@pytest.mark.parametrize("seed", range(60))
async def test_whatever_gets_lost(desk, seed):
    """In any order of sales, releases, repetitions, outages and lost answers: no claim counts twice, none is forgotten.

    What is redeemed has a claim of its own that stands; beside those only what people are told of may stand.
    """
    dice, told = random.Random(seed), dict[str, str]()
    sales = [replace(REWARD, transaction_id=f"s-{number}") for number in range(4)]
    for _ in range(25):
        desk.vendor.dead = dice.random() < 0.15
        desk.vendor.script = {
            "redeem": dice.choices(["lost", "never", None, Offline(), VendorWord(Reason.REFUSED, "120212")], k=1),
            "release": dice.choices(["lost", "never", None], k=1),
            "standing": dice.choice([[], [None, "never"], ["never"]]),
        }
        wanted = dice.choice(sales)
        known = desk.state(wanted) is not None
        match dice.choice(["redeem", "redeem", "release", "settle"]):
            case "redeem":
                told[wanted.transaction_id] = (await desk.redeem(wanted)).outcome
            case "release" if known:
                told[wanted.transaction_id] = (await desk.release(wanted)).outcome
            case _:
                await desk.redeeming.settle()
        desk.clock.advance(dice.choice([0, 1, 20, 70, 400]))
    desk.vendor.script = {"redeem": [], "release": [], "standing": []}
    await over(desk)
    for _ in range(5):
        await desk.later(MOST_SELDOM_S)

    standing = {claim.id for claim in desk.vendor.claims}.difference(desk.vendor.revoked)
    states = {one.transaction_id: desk.state(one) for one in sales}
    ours = [desk.record.find(name, OFFER, "r-1").use for name, state in states.items() if state == "redeemed"]
    stuck = list(states.values()).count("stuck")
    assert len(set(ours)) == len(ours)
    assert standing.issuperset(ours)
    assert len(standing) <= len(ours) + stuck, states
    assert not set(states.values()).intersection({"asking", "undoing", "sending", "queued"})
    for name, outcome in told.items():
        assert outcome != "redeemed" or states[name] == "redeemed", (name, states)
