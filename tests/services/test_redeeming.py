"""A benefit used up for a sale: once, whatever gets lost on the way, and undone when nobody was told of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Final

import pytest

from agent.domain.benefits import GENERAL_REF, Benefit, BenefitKind, Benefits, Worth
from agent.domain.health import Conditions
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.link import Link
from agent.domain.offline import Allowance, OfflinePolicy
from agent.domain.redemption import Reason, RedemptionMode, RedemptionState, Standing, VendorStanding, VendorWord
from agent.domain.tagging import TaggingPolicy
from agent.errors import StorageFullError, UnknownRecordError, VendorRefusedError
from agent.ports import RedemptionWish
from agent.services.asking import Asking
from agent.services.benefits import Remembered
from agent.services.carrying import Carrying
from agent.services.contacts import LocalContacts
from agent.services.handles import KEPT_S, Handles, Refs
from agent.services.redeeming import Redeemed, Redeeming, Wanted
from agent.services.settling import LOOK_EVERY_S, MOST_SELDOM_S, SETTLES_S
from agent.store.redemptions import Redemptions
from tests.fakes import NAMES, STORAGE_KEY, VENDOR, FakeClock, FakeReplica, Offline, member, open_outbox, phone, until

VOUCHER, OFFER, POINTS = BenefitKind.VOUCHER, BenefitKind.OFFER, BenefitKind.POINTS
REF = "ref-10000421"
WANTED = Wanted(REF, VOUCHER, "v-1", "s-1")
STRONG = frozenset({IdentifierType.MEMBER_NUMBER})
UNASKED = OfflinePolicy({VOUCHER: Allowance(Decimal(50), "SEK", 2, timedelta(hours=1))})
DONE = Redeemed("redeemed")
QUEUED = Redeemed("queued", None, ("loyalty.benefit.allowed_offline",))
OFFLINE = Redeemed("refused", Reason.OFFLINE, ("loyalty.benefit.refused_offline",))


def refused(reason):
    return Redeemed("refused", reason)


class Vendor:
    """Keeps who has used what up, and does what the script says with each call to come.

    A step of the script is ``lost`` (carried out, no answer), ``never`` (not carried out, no answer), ``dead`` (out of
    reach from then on), a VendorWord, an error, or what happens elsewhere just before; without a step the call is
    carried out and answered.
    """

    modes: Final = {OFFER: RedemptionMode.FINAL, VOUCHER: RedemptionMode.ONCE}

    @property
    def redeems(self):
        return self.modes.keys()

    def __init__(self):
        self.there, self.used, self.times_used, self.calls = {"v-1", "v-2", "o-1"}, set(), 0, []
        self.script: dict[str, list] = {"standing": [], "redeem": [], "release": []}
        self.dead, self.gate, self.used_at, self.broken = False, asyncio.Event(), {}, set()
        self.gate.set()

    def spelled(self, kind, id_):
        return id_.lower()

    async def standing(self, one, *, timeout_s, pace):
        if one.id in self.broken:
            self.calls.append(f"standing {one.id}")
            raise Offline
        found = await self._answer("standing", pace, lambda: self._standing(one.id))
        return VendorStanding(found, self.used_at.get(one.id) if found is Standing.USED else None)

    async def redeem(self, one, *, timeout_s, pace):
        return await self._answer("redeem", pace, lambda: self._redeem(one.id))

    async def release(self, one, *, timeout_s, pace):
        return await self._answer("release", pace, lambda: self._release(one.id))

    async def _answer(self, what, pace, work):
        await pace()
        self.calls.append(what)
        await self.gate.wait()
        step = self.script[what].pop(0) if self.script[what] else None
        self.dead = self.dead or step == "dead"
        if self.dead:
            raise Offline
        if step == "never":
            raise Offline(maybe_received=True)
        if callable(step):
            step = step()
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, VendorWord):
            return step
        answer = work()
        if step == "lost":
            raise Offline(maybe_received=True)
        return answer

    def _standing(self, id_):
        if id_ not in self.there:
            return Standing.ABSENT
        return Standing.USED if id_ in self.used else Standing.AVAILABLE

    def _redeem(self, id_):
        if id_ in self.used:
            return VendorWord(Reason.USED, "AlreadyRedeemed")
        self.used.add(id_)
        self.times_used += 1
        return VendorWord()

    def _release(self, id_):
        self.used.discard(id_)
        return VendorWord()


class Desk:
    """A service on a real outbox."""

    def __init__(
        self,
        outbox,
        *,
        vendor=True,
        named_by=IdentifierType.MEMBER_NUMBER,
        make_vendor=lambda _clock: Vendor(),
        shops="Member-10",
    ):
        self.clock, self.replica, self.states = FakeClock(), FakeReplica(), []
        self.vendor = make_vendor(self.clock)
        self.replica.add(member(), phone())
        self.link = Link(
            VENDOR, "loyalty", requests_per_second=0, backoff_first_s=1, backoff_max_s=1, uniform=lambda _a, b: b
        )
        self.outbox, self.conditions, self.remembered = outbox, Conditions(), None
        self.record = Redemptions(outbox._writer, outbox._reader, key=STORAGE_KEY, names=NAMES)
        tagging = TaggingPolicy(IdentifierType.MEMBER_NUMBER, (), 3)
        self.handles = Handles(self.clock)
        if named_by is not None:
            self.handles.named(REF, [named_by])
        self.redeeming = Redeeming(
            clock=self.clock,
            record=self.record,
            vendor=self.vendor if vendor else None,
            asking=Asking(self.clock, self.link, live=True, budget_s=60.0, patient=True),
            refs=Refs(LocalContacts(self.replica, tagging), self.handles),
            spend_with=STRONG,
            unasked=UNASKED,
            remembered=lambda _key: self.remembered,
            over=self._drop,
            conditions=self.conditions,
            shops=frozenset({shops}),
            told=self.states.append,
        )

    def _drop(self, _key, kind, id_):
        if self.remembered is not None:
            items = tuple(one for one in self.remembered.benefits.items if (one.kind, one.id) != (kind, id_))
            self.remembered = replace(self.remembered, benefits=Benefits(None, items))

    async def redeem(self, wanted=WANTED):
        return await self.redeeming.redeem(wanted)

    async def release(self, wanted=WANTED):
        return await self.redeeming.release(wanted.kind, wanted.id, wanted.transaction_id)

    def state(self, wanted=WANTED):
        id_ = wanted.transaction_id if wanted.kind is BenefitKind.POINTS else wanted.id
        known = self.record.find(wanted.transaction_id, wanted.kind, id_)
        return known.state.value if known is not None else None

    async def later(self, seconds=SETTLES_S):
        """What is open is seen, and some time later looked up, the vendor being there."""
        self.vendor.dead = False
        await self.redeeming.settle()
        self.clock.advance(seconds)
        await self.redeeming.settle()


@pytest.fixture
def desk(tmp_path):
    with open_outbox(tmp_path / "outbox.db") as outbox:
        yield Desk(outbox)


async def test_a_benefit_is_used_up_once(desk):
    """How it stands is asked first; a repeat is answered from the record and asks nobody."""
    assert await desk.redeem() == DONE
    assert (desk.vendor.calls, desk.vendor.used, desk.state()) == (["standing", "redeem"], {"v-1"}, "redeemed")
    assert await desk.redeem() == DONE
    assert (desk.vendor.calls, desk.vendor.times_used) == (["standing", "redeem"], 1)
    assert desk.states == ["redeemed"]


@pytest.mark.parametrize("ref", [GENERAL_REF, REF, "v_of_a_former_run"])
@pytest.mark.parametrize("answers", [True, False], ids=["answers", "silent"])
@pytest.mark.parametrize("vendor", [True, False], ids=["a vendor", "none that redeems"])
async def test_what_the_shop_gives_itself_is_done_by_being_given(tmp_path, ref, answers, vendor):
    """Whoever it is for, and however often: nobody is asked, and nothing is written down or told later."""
    offer = Wanted(ref, OFFER, "Member-10", "s-1")
    with open_outbox(tmp_path / "outbox.db") as outbox:
        desk = Desk(outbox, named_by=None, vendor=vendor)
        desk.vendor.dead = not answers
        for _ in range(2):
            assert await desk.redeem(offer) == DONE
            assert await desk.redeem(replace(offer, transaction_id="s-2")) == DONE
            assert await desk.release(offer) == Redeemed("released")
        await desk.later()
        assert (desk.vendor.calls, desk.states, desk.state(replace(offer, id="member-10"))) == ([], [], None)
        with pytest.raises(UnknownRecordError):
            await desk.redeem(replace(offer, ref="v_of_a_former_run", kind=VOUCHER))
        with pytest.raises(UnknownRecordError):
            await desk.release(replace(offer, kind=VOUCHER))


async def test_an_offer_that_the_vendor_lists_is_the_vendors(tmp_path):
    """A shop that has one of the same id gives it to whoever does not have the vendor's."""
    offer = Wanted(REF, OFFER, "o-1", "s-1")
    with open_outbox(tmp_path / "outbox.db") as outbox:
        desk = Desk(outbox, shops="o-1")
        assert await desk.redeem(replace(offer, ref=GENERAL_REF)) == DONE
        assert desk.vendor.used == set()
        desk.remembered = Remembered(Benefits(None, (Benefit(OFFER, "o-1", "Socks"),)), desk.clock.now(), 0.0)
        for _ in range(2):
            assert await desk.redeem(offer) == DONE
            desk.remembered = None  # which lasts no longer than a run: then it is on record
        assert (desk.vendor.calls, desk.vendor.used, desk.states) == (["standing", "redeem"], {"o-1"}, ["redeemed"])


async def test_another_sale_does_not_get_it_again(desk):
    """Neither at the same time nor afterwards, and nobody is asked."""
    second = replace(WANTED, transaction_id="s-2")
    desk.vendor.gate.clear()
    both = [asyncio.create_task(desk.redeem()), asyncio.create_task(desk.redeem(second))]
    await until(lambda: desk.vendor.calls == ["standing"])
    for _ in range(20):  # whatever the second could do by itself it has done then
        await asyncio.sleep(0)
    assert desk.vendor.calls == ["standing"]
    desk.vendor.gate.set()
    assert await asyncio.gather(*both) == [DONE, refused(Reason.USED)]
    assert (desk.vendor.times_used, desk.vendor.calls) == (1, ["standing", "redeem"])
    assert await desk.redeem(second) == refused(Reason.USED)


@pytest.mark.parametrize(
    ("id_", "used", "reason"),
    [("v-9", set(), Reason.NOT_THEIRS), ("v-1", {"v-1"}, Reason.USED)],
    ids=["another person's", "used elsewhere"],
)
async def test_what_cannot_be_used(desk, id_, used, reason):
    """It is told why; nothing is put on record and nothing asked for."""
    desk.vendor.used |= used
    assert await desk.redeem(replace(WANTED, id=id_)) == refused(reason)
    assert (desk.vendor.calls, desk.state(replace(WANTED, id=id_))) == (["standing"], None)


@pytest.mark.parametrize("reason", [Reason.USED, Reason.EXPIRED, Reason.REFUSED])
async def test_a_vendor_s_no(desk, reason):
    """Its reason is told, its code is kept; the same sale may ask again, and then it may be a yes."""
    desk.vendor.script["redeem"] = [VendorWord(reason, "SomeCode")]
    assert await desk.redeem() == refused(reason)
    known = desk.record.find("s-1", VOUCHER, "v-1")
    assert (known.state, known.code) == (RedemptionState.REFUSED, "SomeCode")
    assert await desk.redeem() == DONE
    assert desk.vendor.times_used == 1


@pytest.mark.parametrize(
    ("named_by", "waits", "answer"),
    [
        (IdentifierType.MEMBER_NUMBER, 0, DONE),
        (IdentifierType.MOBILE_PHONE, 0, refused(Reason.WEAK)),
        (IdentifierType.MEMBER_NUMBER, KEPT_S, refused(Reason.WEAK)),
    ],
    ids=["a member number", "a phone said aloud", "long ago"],
)
async def test_what_anybody_may_say_is_good_for_earning_alone(tmp_path, named_by, waits, answer):
    """Nobody is asked."""
    with open_outbox(tmp_path / "outbox.db") as outbox:
        desk = Desk(outbox, named_by=named_by)
        desk.clock.advance(waits)
        assert await desk.redeem() == answer
        assert bool(desk.vendor.calls) is (answer == DONE)


async def test_what_is_named_in_two_ways_at_once_is_as_weak_as_the_weaker(desk):
    """A value that may be a phone number may be said by anybody."""
    desk.handles.named(REF, [IdentifierType.MEMBER_NUMBER, IdentifierType.MOBILE_PHONE])
    assert await desk.redeem() == refused(Reason.WEAK)


async def test_what_no_vendor_redeems(tmp_path, desk):
    """Points at one that has none, anything at one that cannot be asked."""
    assert await desk.redeem(Wanted(REF, POINTS, "", "s-1")) == refused(Reason.NOT_OFFERED)
    (tmp_path / "other").mkdir()
    with open_outbox(tmp_path / "other" / "outbox.db") as outbox:
        assert await Desk(outbox, vendor=False).redeem() == refused(Reason.NOT_OFFERED)


async def test_a_handle_of_nobody_s(desk):
    """It is told."""
    with pytest.raises(UnknownRecordError):
        await desk.redeem(replace(WANTED, ref="ref-nobody"))


async def test_while_nobody_can_be_asked(desk):
    """It is refused, and nothing is on record that could be carried out later."""
    desk.vendor.dead = True
    assert await desk.redeem() == OFFLINE
    assert desk.state() is None
    desk.vendor.dead = False
    desk.clock.advance(60)
    assert await desk.redeem() == DONE


@pytest.mark.parametrize(
    ("redeem", "standing", "calls"),
    [
        (["lost"], [], ["standing", "redeem", "standing"]),
        (["never"], [], ["standing", "redeem", "standing", "redeem"]),
        (["lost", None], [None, Standing.AVAILABLE], ["standing", "redeem", "standing", "redeem"]),
    ],
    ids=["carried out", "not carried out", "carried out later than it was looked up"],
)
async def test_a_lost_answer_is_looked_up(desk, redeem, standing, calls):
    """Before anything else is said: the till hears the truth, and it is used up once."""
    desk.vendor.script["redeem"] = redeem
    looks = iter(standing)
    real = desk.vendor._standing
    desk.vendor._standing = lambda id_: next(looks, None) or real(id_)
    assert await desk.redeem() == DONE
    assert (desk.vendor.calls, desk.vendor.times_used, desk.state()) == (calls, 1, "redeemed")


@pytest.mark.parametrize("reason", [Reason.REFUSED, Reason.EXPIRED])
async def test_a_repeat_that_is_refused_does_not_end_the_first_call(desk, reason):
    """It may be carried out yet: the cashier hears no, and should it be used up by it, that is undone."""
    desk.vendor.script["redeem"] = ["never", VendorWord(reason, "SomeCode")]
    assert (await desk.redeem(), desk.state()) == (OFFLINE, "undoing")
    desk.vendor.used.add("v-1")
    await desk.later()
    assert (desk.state(), desk.vendor.used) == ("released", set())


async def test_what_was_given_unasked_is_not_lost_by_a_repeat_that_is_refused(cut_off):
    """The first call is looked up, a while later."""
    assert await cut_off.redeem() == QUEUED
    cut_off.clock.advance(60)
    cut_off.vendor.script["redeem"] = ["never", VendorWord(Reason.REFUSED, "SomeCode")]
    await cut_off.later(0)
    assert cut_off.state() == "sending"
    cut_off.vendor.used.add("v-1")
    await cut_off.later(60)
    assert cut_off.state() == "redeemed"


@pytest.mark.parametrize("how", ["lost", "never"], ids=["carried out", "not"])
async def test_what_cannot_be_looked_up_is_undone(desk, how):
    """The cashier hears no, so that nothing may stay used up: not at once, as the vendor may be busy with it still."""
    desk.vendor.script |= {"redeem": [how], "standing": [None, "dead"]}
    assert await desk.redeem() == OFFLINE
    assert desk.state() == "undoing"
    assert await desk.redeem() == refused(Reason.RELEASED)
    await desk.later(SETTLES_S - 1)
    assert desk.state() == "undoing"
    desk.clock.advance(1)
    await desk.redeeming.settle()
    assert (desk.state(), desk.vendor.used) == ("released", set())
    assert desk.states == ["undoing", "released"]


@pytest.mark.parametrize("error", [Offline(), VendorRefusedError()], ids=["not reached", "refused key"])
@pytest.mark.parametrize("looked_up", [True, False])
async def test_what_the_vendor_never_heard_of_was_not_used_up_by_it(desk, error, looked_up):
    """Used up now, it was used by another till, which has it: this one hears no, and undoes nothing."""

    def another_till():
        desk.vendor.used.add("v-1")
        return error

    desk.vendor.script |= {"redeem": [another_till], "standing": [None] if looked_up else [None, "dead"]}
    assert await desk.redeem() == (refused(Reason.USED) if looked_up else OFFLINE)
    assert desk.state() == "refused"
    await desk.later()
    assert (desk.vendor.used, "release" in desk.vendor.calls) == ({"v-1"}, False)
    desk.clock.advance(60)
    assert await desk.redeem() == refused(Reason.USED)


@pytest.mark.parametrize("known", [True, False], ids=["a member here", "the vendor's alone"])
@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_till_that_got_no_answer_asks_again(tmp_path, carried_out, known):
    """Killed between the record and the answer: whatever the vendor made of it, the next run says it right, once.

    Nobody has to be named again for that: who it was, and that they could spend, is on record.
    """
    with open_outbox(tmp_path / "outbox.db") as outbox:
        desk = Desk(outbox)
        desk.vendor.gate.clear()
        asking = asyncio.create_task(desk.redeem())
        await until(lambda: desk.vendor.calls == ["standing"])
        desk.vendor.gate.set()
        desk.vendor.redeem = lambda *_args, **_more: asyncio.Event().wait()
        await until(lambda: desk.state() == "asking")
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    with open_outbox(tmp_path / "outbox.db", run="run-2") as outbox:
        desk = Desk(outbox, named_by=None)
        if not known:
            desk.replica.people.clear()
        desk.vendor.used = {"v-1"} if carried_out else set()
        desk.vendor.times_used = int(carried_out)
        assert await desk.redeem() == DONE
        assert (desk.vendor.times_used, desk.state()) == (1, "redeemed")
        assert await desk.redeem() == DONE
        desk.handles.named(REF, [IdentifierType.MOBILE_PHONE])
        other = replace(WANTED, transaction_id="s-2", id="v-2")
        if known:
            assert await desk.redeem(other) == refused(Reason.WEAK)
        else:
            with pytest.raises(UnknownRecordError):
                await desk.redeem(other)


@pytest.mark.parametrize(("carried_out", "state"), [(True, "redeemed"), (False, "refused")])
async def test_about_which_no_till_asks_again(desk, carried_out, state):
    """What became of it is looked up, after a while, and written down."""
    desk.vendor.gate.clear()
    asking = asyncio.create_task(desk.redeem())
    await until(lambda: desk.vendor.calls == ["standing"])
    desk.vendor.redeem = lambda *_args, **_more: asyncio.Event().wait()
    desk.vendor.gate.set()
    await until(lambda: desk.state() == "asking")
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    desk.vendor.used = {"v-1"} if carried_out else set()
    await desk.later()
    assert desk.state() == state
    assert ("release" in desk.vendor.calls) is False


async def test_an_attempt_whose_answer_was_lost_and_that_cannot_be_looked_up_now(desk):
    """Asked again while nobody answers, the till hears no: from then on it is to be undone."""
    await desk.record.ask(_wish(desk), None, desk.clock.now())
    desk.vendor.used, desk.vendor.dead = {"v-1"}, True
    assert await desk.redeem() == OFFLINE
    assert desk.state() == "undoing"
    desk.clock.advance(60)
    await desk.later()
    assert (desk.state(), desk.vendor.used) == ("released", set())


@pytest.mark.parametrize("before", ["nothing", "refused", "asking"])
@pytest.mark.parametrize("line", [True, False])
async def test_who_is_erased_while_it_is_on_its_way(cut_off, before, line):
    """Nothing of theirs is written down after their erasure was answered, and nothing is asked for."""
    desk = cut_off
    desk.vendor.dead = False
    if before != "nothing":
        number = await desk.record.ask(_wish(desk), None, desk.clock.now())
        await desk.record.settle(number, RedemptionState(before), desk.clock.now())
    desk.vendor.gate.clear()
    asking = asyncio.create_task(desk.redeem())
    await until(lambda: desk.vendor.calls == ["standing"])
    desk.replica.people.clear()
    await desk.record.erase([one.number for one in await desk.record.redeemed()], desk.clock.now())
    desk.vendor.dead = not line
    desk.vendor.script["standing"] = []
    desk.vendor.gate.set()
    (answer,) = await asyncio.gather(asking, return_exceptions=True)
    assert isinstance(answer, UnknownRecordError) or answer == OFFLINE
    assert (desk.vendor.calls, await desk.record.redeemed()) == (["standing"], [])
    assert desk.vendor.used == set()


async def test_what_they_were_named_by_is_on_record(desk):
    """Before they asked, and while that was being written down; of another's handle nothing is taken."""
    card = Identifier(IdentifierType.CARD_NUMBER, "7701")
    desk.handles.named(REF, [IdentifierType.MEMBER_NUMBER], [phone()])
    ask, written = desk.record.ask, []

    async def named_meanwhile(*about):
        written.append(about[0].names)
        number = await ask(*about)
        desk.handles.named(REF, [IdentifierType.MEMBER_NUMBER], [card])
        return number

    desk.record.ask = named_meanwhile
    desk.vendor.script |= {"redeem": [asyncio.CancelledError()]}
    with pytest.raises(asyncio.CancelledError):
        await desk.redeem()
    (one,) = await desk.record.redeemed()
    assert (one.ref, one.said) == (REF, {NAMES.of_identifier(name) for name in (phone(), card)})
    assert desk.state() == "asking"
    desk.handles.named("ref-7", [IdentifierType.MEMBER_NUMBER], [phone(7)])
    assert await desk.redeem(replace(WANTED, ref="ref-7")) == DONE
    assert await desk.record.redeemed() == [one]
    assert written == [(phone(),), ()], "with what is on record, not after it"


async def test_somebody_else_s_erasure_names_nobody_less_well(desk):
    """Whoever was named before it by what they alone have can still spend."""
    desk.handles.forget()
    assert await desk.redeem() == DONE


async def test_a_release_does_not_trust_a_vendor_that_is_busy_still(desk):
    """What was asked for without an answer and shows unused may be used up in a moment: it is looked at again later."""
    desk.vendor.script |= {"redeem": ["never"], "standing": [None, "dead"]}
    assert await desk.redeem() == OFFLINE
    desk.vendor.dead = False
    desk.clock.advance(5)
    assert await desk.release() == Redeemed("queued")
    desk.vendor.used.add("v-1")
    await desk.later()
    assert (desk.state(), desk.vendor.used) == ("released", set())


async def test_no_room_on_the_disk(desk, monkeypatch):
    """The vendor is not asked for what cannot be put on record."""

    async def full(*_args):
        raise StorageFullError

    monkeypatch.setattr(desk.record, "ask", full)
    with pytest.raises(StorageFullError):
        await desk.redeem()
    assert desk.vendor.calls == ["standing"]


async def test_a_benefit_is_given_back(desk):
    """Once; the sale does not get it again, another one does."""
    await desk.redeem()
    assert await desk.release() == Redeemed("released")
    assert (desk.vendor.used, desk.state()) == (set(), "released")
    calls = len(desk.vendor.calls)
    assert await desk.release() == Redeemed("released")
    assert len(desk.vendor.calls) == calls
    assert await desk.redeem() == refused(Reason.RELEASED)
    assert await desk.redeem(replace(WANTED, transaction_id="s-2")) == DONE


async def test_what_is_given_back_without_a_line_is_given_back_later(desk):
    """It is on disk, and done as soon as the vendor answers."""
    await desk.redeem()
    desk.vendor.dead = True
    assert await desk.release() == Redeemed("queued")
    assert (desk.vendor.used, desk.state()) == ({"v-1"}, "undoing")
    desk.clock.advance(60)
    await desk.later()
    assert (desk.vendor.used, desk.state()) == (set(), "released")


@pytest.mark.parametrize("how", ["redeem", "release"])
@pytest.mark.parametrize("kind", [VOUCHER, OFFER])
async def test_what_another_sale_has_used_since_is_not_taken_back(desk, how, kind):
    """Whatever the first sale had still to undo, the benefit is the second's now, and good only once."""
    first = replace(WANTED, kind=kind, id="v-1" if kind is VOUCHER else "o-1")
    if how == "redeem":
        desk.vendor.script |= {"redeem": ["never"], "standing": [None, "dead"]}
        assert await desk.redeem(first) == OFFLINE
    else:
        desk.vendor.modes = dict.fromkeys((VOUCHER, OFFER), RedemptionMode.ONCE)
        assert await desk.redeem(first) == DONE
        desk.vendor.script["release"] = ["lost"]
        assert await desk.release(first) == Redeemed("queued")
        desk.vendor.modes = Vendor.modes
    desk.vendor.dead = False
    desk.clock.advance(10)
    second = replace(first, transaction_id="s-2")
    assert await desk.redeem(second) == DONE
    releases = desk.vendor.calls.count("release")
    await desk.later()
    assert (desk.state(first), desk.state(second)) == ("released", "redeemed")
    assert (desk.vendor.used, desk.vendor.calls.count("release")) == ({first.id}, releases)
    assert await desk.release(second) == (Redeemed("released") if kind is VOUCHER else refused(Reason.NOT_RELEASED))


@pytest.mark.parametrize("delivered", [True, False])
async def test_what_another_sale_was_given_unasked_since_is_not_taken_back(cut_off, delivered):
    """Before the vendor was told of it and after, and by a till that asks for it again."""
    cut_off.vendor.dead = False
    cut_off.vendor.script |= {"redeem": ["never"], "standing": [None, "dead"]}
    assert await cut_off.redeem() == OFFLINE
    second = replace(WANTED, transaction_id="s-2")
    assert await cut_off.redeem(second) == QUEUED
    cut_off.vendor.dead = False
    cut_off.clock.advance(60)
    if delivered:
        await cut_off.redeeming.settle()
        assert cut_off.state(second) == "redeemed"
    assert await cut_off.release() == Redeemed("released")
    await cut_off.later()
    assert (cut_off.state(), cut_off.state(second)) == ("released", "redeemed")
    assert (cut_off.vendor.used, cut_off.vendor.calls.count("release")) == ({"v-1"}, 0)


async def test_a_lost_answer_to_a_release(desk):
    """It is looked up, and not given back twice."""
    await desk.redeem()
    desk.vendor.script["release"] = ["lost"]
    assert await desk.release() == Redeemed("queued")
    desk.clock.advance(60)
    await desk.later()
    assert (desk.state(), desk.vendor.calls.count("release")) == ("released", 1)


async def test_what_cannot_be_given_back(desk):
    """An offer at a vendor without a call for it stays as it is; a voucher that the vendor keeps is told to people."""
    offer = replace(WANTED, kind=OFFER, id="o-1")
    await desk.redeem(offer)
    assert await desk.release(offer) == refused(Reason.NOT_RELEASED)
    assert desk.state(offer) == "redeemed"
    await desk.redeem()
    desk.vendor.script["release"] = [VendorWord(Reason.REFUSED, "Limit")]
    assert await desk.release() == refused(Reason.NOT_RELEASED)
    assert (desk.state(), desk.record.find("s-1", VOUCHER, "v-1").code) == ("stuck", "Limit")
    assert await desk.release() == refused(Reason.NOT_RELEASED)


async def test_an_offer_that_nobody_wanted_and_that_cannot_be_given_back(desk):
    """It is stuck, for people to see."""
    offer = replace(WANTED, kind=OFFER, id="o-1")
    desk.vendor.script |= {"redeem": ["lost"], "standing": [None, "dead"]}
    assert await desk.redeem(offer) == OFFLINE
    desk.clock.advance(60)
    await desk.later()
    assert (desk.state(offer), desk.states) == ("stuck", ["undoing", "stuck"])
    (condition,) = desk.conditions.standing()
    assert (condition.code, condition.detail) == ("benefits.stuck", "1 (s-1)")
    desk.clock.wall += timedelta(days=7, seconds=1)
    await desk.redeeming.settle()
    assert desk.conditions.standing() == ()


async def test_what_is_stuck_of_somebody_erased_is_nobody_s(desk):
    """Nobody could do anything about it; of many sales the latest are named."""
    for number in range(7):
        row = await desk.record.ask(replace(_wish(desk), transaction_id=f"s-{number}"), None, desk.clock.now())
        await desk.record.settle(row, RedemptionState.STUCK, desk.clock.now() + timedelta(seconds=number), "Limit")
    await desk.redeeming.settle()
    (condition,) = desk.conditions.standing()
    assert condition.detail == "7 (s-6, s-5, s-4, s-3, s-2)"
    await desk.outbox._writer.run(lambda db: db.execute("UPDATE redemptions SET state = 'undoing', settled_at = NULL"))
    await desk.record.erase([one.number for one in await desk.record.redeemed()], desk.clock.now())
    await desk.redeeming.settle()
    assert desk.conditions.standing() == ()


async def test_what_was_refused_needs_no_release(desk):
    """There is nothing to give back."""
    desk.vendor.script["redeem"] = [VendorWord(Reason.EXPIRED)]
    await desk.redeem()
    assert await desk.release() == Redeemed("released")
    assert "release" not in desk.vendor.calls


async def test_a_release_of_nothing(desk):
    """It is told."""
    with pytest.raises(UnknownRecordError):
        await desk.release()


async def test_what_lost_its_person_can_be_asked_about_no_more(desk):
    """An open one is stuck at once, and a release says so."""
    await desk.record.ask(_wish(desk), None, desk.clock.now())
    await desk.outbox._writer.run(lambda db: db.execute("UPDATE redemptions SET statement = NULL"))
    await desk.later()
    assert (desk.state(), desk.vendor.calls) == ("stuck", [])
    assert await desk.release() == refused(Reason.NOT_RELEASED)


async def test_nobody_is_asked_while_it_makes_no_sense(desk):
    """An outage uses up nothing: what is open waits for the line, however long that takes."""
    desk.vendor.script |= {"redeem": ["lost"], "standing": [None, "dead"]}
    await desk.redeem()
    for _ in range(20):
        await desk.redeeming.settle()
        desk.clock.advance(timedelta(hours=1).total_seconds())
    assert desk.state() == "undoing"
    await desk.later()
    assert desk.state() == "released"


# --- given unasked ----------------------------------------------------------------------------------------------


def money(id_, amount=50):
    return Benefit(VOUCHER, id_, "Bonus", Worth("money", Decimal(amount), "SEK"))


@pytest.fixture
def cut_off(desk):
    """The vendor has said what there is, and answers no more."""
    items = (
        money("v-1"),
        money("v-2"),
        money("v-3"),
        money("v-9", 51),
        money("v-6", -1),
        Benefit(VOUCHER, "v-7", "Half"),
        Benefit(OFFER, "o-1", "Socks"),
    )
    desk.remembered = Remembered(Benefits(None, items), desk.clock.now(), desk.clock.monotonic())
    desk.vendor.dead = True
    return desk


async def test_what_the_policy_allows_is_given_unasked(cut_off):
    """It is on disk, a repeat is the same answer, and the vendor is told as soon as it answers: once."""
    assert [await cut_off.redeem(), await cut_off.redeem()] == [QUEUED, QUEUED]
    assert (cut_off.state(), cut_off.states) == ("queued", ["queued"])
    cut_off.clock.advance(60)
    await cut_off.later(0)
    assert (cut_off.state(), cut_off.vendor.used, cut_off.vendor.times_used) == ("redeemed", {"v-1"}, 1)
    assert await cut_off.redeem() == DONE
    assert cut_off.conditions.standing() == ()


@pytest.mark.parametrize(("said", "answer"), [("50", QUEUED), ("10", QUEUED), ("50.01", OFFLINE), ("150", OFFLINE)])
async def test_a_till_takes_off_no_more_than_the_policy_allows(cut_off, said, answer):
    """Whatever the benefit itself is worth."""
    assert await cut_off.redeem(replace(WANTED, amount=Decimal(said))) == answer


async def test_another_sale_of_this_till_does_not_get_it_as_well(cut_off):
    """What was given once is used up, as far as anybody knows here."""
    assert await cut_off.redeem() == QUEUED
    assert await cut_off.redeem(replace(WANTED, transaction_id="s-2")) == refused(Reason.USED)


@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_day_has_its_limit(cut_off, carried_out):
    """So many a person and day, whatever became of them meanwhile; what was given back does not count."""
    for number in (1, 2):
        wanted = replace(WANTED, id=f"v-{number}", transaction_id=f"s-{number}")
        assert await cut_off.redeem(wanted) == QUEUED
    third = replace(WANTED, id="v-3", transaction_id="s-3")
    assert await cut_off.redeem(third) == OFFLINE
    if carried_out:
        cut_off.clock.advance(60)
        await cut_off.later(0)
        cut_off.vendor.dead = True
        cut_off.remembered = replace(cut_off.remembered, mono=cut_off.clock.monotonic())
        assert await cut_off.redeem(third) == OFFLINE
    else:
        assert await cut_off.release(wanted) == Redeemed("released")
        assert await cut_off.redeem(third) == QUEUED
    cut_off.clock.wall += timedelta(days=1)
    assert await cut_off.redeem(replace(third, transaction_id="s-4", id="v-3" if carried_out else "v-2")) == QUEUED


async def test_a_day_has_its_limit_for_tills_that_ask_at_once(cut_off):
    """What one is being given counts for the other."""
    wishes = [replace(WANTED, id=f"v-{number}", transaction_id=f"s-{number}") for number in (1, 2, 3)]
    assert sorted(answer.outcome for answer in await asyncio.gather(*map(cut_off.redeem, wishes))) == [
        "queued", "queued", "refused",
    ]  # fmt: skip


@pytest.mark.parametrize("way", ["looked up", "told"])
async def test_the_vendor_s_latest_no_holds_without_a_line(cut_off, way):
    """What it listed before counts for nothing then."""
    cut_off.vendor.dead = False
    if way == "looked up":
        cut_off.vendor.used = {"v-1"}
    else:
        cut_off.vendor.script["redeem"] = [VendorWord(Reason.EXPIRED, "Expired")]
    assert (await cut_off.redeem()).outcome == "refused"
    cut_off.vendor.dead = True
    assert await cut_off.redeem() == OFFLINE
    assert await cut_off.redeem(replace(WANTED, transaction_id="s-2")) == OFFLINE
    assert await cut_off.redeem(replace(WANTED, id="v-2")) == QUEUED


async def test_a_vendor_that_is_slow_for_look_ups_is_asked(cut_off):
    """A redemption has more patience: only whom nobody can reach is not asked for a while."""
    cut_off.vendor.dead = False
    for _ in range(3):
        cut_off.link.too_slow(cut_off.clock.monotonic())
    assert not cut_off.link.lookups.allows(cut_off.clock.monotonic())
    assert await cut_off.redeem() == DONE
    cut_off.vendor.dead = True
    for number in range(3):
        await cut_off.redeem(replace(WANTED, id=f"v-{number + 7}", transaction_id="s-2"))
    calls = len(cut_off.vendor.calls)
    assert await cut_off.redeem(replace(WANTED, id="v-2", transaction_id="s-2")) == QUEUED
    assert len(cut_off.vendor.calls) == calls


async def test_refused_credentials_are_no_outage(cut_off):
    """Nothing is given unasked while the vendor answers, whatever it says; it is once nobody answers any more."""
    cut_off.vendor.dead = False
    cut_off.vendor.script["standing"] = [VendorRefusedError()]
    assert await cut_off.redeem() == OFFLINE
    assert cut_off.state() is None
    cut_off.vendor.dead = True
    assert await cut_off.redeem() == QUEUED


async def test_what_is_stuck_is_not_given_unasked(cut_off):
    """It is used up at the vendor, as far as anybody knows."""
    cut_off.vendor.dead = False
    assert await cut_off.redeem() == DONE
    cut_off.vendor.script["release"] = [VendorWord(Reason.REFUSED, "Limit")]
    assert await cut_off.release() == refused(Reason.NOT_RELEASED)
    cut_off.vendor.dead = True
    assert await cut_off.redeem(replace(WANTED, transaction_id="s-2")) == refused(Reason.USED)


@pytest.mark.parametrize(
    ("wanted", "waits"),
    [
        (replace(WANTED, kind=OFFER, id="o-1"), 0),
        (replace(WANTED, id="v-9"), 0),
        (replace(WANTED, id="v-8"), 0),
        (replace(WANTED, id="v-7"), 0),
        (replace(WANTED, id="v-7", amount=Decimal(0)), 0),
        (replace(WANTED, id="v-6"), 0),
        (WANTED, 3601),
    ],
    ids=[
        "a kind that is not allowed",
        "too much",
        "not among what the vendor said",
        "no amount",
        "nothing",
        "less than nothing",
        "too long ago",
    ],
)
async def test_what_the_policy_does_not_allow(cut_off, wanted, waits):
    """It is refused, and nothing is on record."""
    cut_off.clock.advance(waits)
    assert await cut_off.redeem(wanted) == OFFLINE
    assert cut_off.state(wanted) is None


async def test_nothing_is_given_unasked_of_whom_nothing_is_known(desk):
    """The vendor has said nothing of them in this run."""
    desk.vendor.dead = True
    assert await desk.redeem() == OFFLINE


async def test_who_was_only_named_by_what_anybody_may_say_is_given_nothing(cut_off):
    """As with a line."""
    cut_off.handles.named(REF, [IdentifierType.MOBILE_PHONE])
    assert await cut_off.redeem() == refused(Reason.WEAK)


@pytest.mark.parametrize(
    ("used", "says", "code"),
    [
        ({"v-1"}, None, "used"),
        (set(), VendorWord(Reason.USED, "AlreadyRedeemed"), "AlreadyRedeemed"),
        (set(), VendorWord(Reason.EXPIRED, "Expired"), "Expired"),
    ],
    ids=["used elsewhere meanwhile", "used elsewhere just now", "refused"],
)
async def test_what_the_vendor_refuses_afterwards_is_lost(cut_off, used, says, code):
    """With its sum, told to people, and never tried again; the till hears what it heard before."""
    assert await cut_off.redeem() == QUEUED
    cut_off.vendor.used |= used
    cut_off.vendor.script["redeem"] = [says]
    cut_off.clock.advance(60)
    await cut_off.later(0)
    assert (cut_off.state(), cut_off.record.find("s-1", VOUCHER, "v-1").code) == ("lost", code)
    (condition,) = cut_off.conditions.standing()
    assert (condition.code, condition.detail) == ("benefits.lost", "1 (50 SEK)")
    calls = len(cut_off.vendor.calls)
    for _ in range(3):
        cut_off.clock.advance(3600)
        await cut_off.redeeming.settle()
    assert len(cut_off.vendor.calls) == calls
    assert await cut_off.redeem() == QUEUED
    cut_off.clock.wall += timedelta(days=8)
    await cut_off.redeeming.settle()
    assert cut_off.conditions.standing() == ()


@pytest.mark.parametrize("how", ["lost", "never"], ids=["carried out", "not carried out"])
async def test_a_lost_answer_is_no_loss(cut_off, how):
    """The vendor is asked how it stands, a while later: what this till told it of is no other's."""
    assert await cut_off.redeem() == QUEUED
    cut_off.clock.advance(60)
    cut_off.vendor.script |= {"redeem": [how], "standing": [None, "dead"]}
    await cut_off.later(0)
    assert cut_off.state() == "sending"
    await cut_off.later(60)
    assert (cut_off.state(), cut_off.vendor.times_used) == ("redeemed", 1)


async def test_what_a_later_try_used_up_is_no_loss(cut_off):
    """When it was asked for last is on record with each try: what was used up long after the first was by the last."""

    def carried_out():
        cut_off.vendor.used.add("v-1")
        cut_off.vendor.used_at["v-1"] = cut_off.clock.now()
        return Offline(maybe_received=True)

    assert await cut_off.redeem() == QUEUED
    for tries in ("never", carried_out):
        cut_off.clock.advance(3600)
        cut_off.vendor.script |= {"redeem": [tries], "standing": [None, "dead"]}
        await cut_off.later(0)
        assert cut_off.state() == "sending"
    await cut_off.later(60)
    assert cut_off.state() == "redeemed"


async def test_what_could_not_be_delivered_is_no_less_a_loss(cut_off):
    """The call never left, and another till used it up meanwhile: nothing hides that both gave it."""
    assert await cut_off.redeem() == QUEUED
    cut_off.clock.advance(60)
    cut_off.vendor.script |= {"redeem": [Offline()], "standing": [None, "dead"]}
    await cut_off.later(0)
    assert cut_off.state() == "queued"
    cut_off.vendor.used, cut_off.vendor.dead = {"v-1"}, False
    cut_off.clock.advance(60)
    await cut_off.redeeming.settle()
    assert cut_off.state() == "lost"
    assert [one.code for one in cut_off.conditions.standing()] == ["benefits.lost"]


async def test_what_was_given_unasked_waits_for_the_line(cut_off):
    """An outage uses up nothing, and nothing that was never sent counts as sent."""
    assert await cut_off.redeem() == QUEUED
    for _ in range(20):
        await cut_off.redeeming.settle()
        cut_off.clock.advance(3600)
    assert cut_off.state() == "queued"
    cut_off.vendor.used = {"v-1"}
    await cut_off.later(0)
    assert cut_off.state() == "lost"


async def test_what_was_given_unasked_is_given_back(cut_off):
    """The vendor was never told: there is nothing to tell it."""
    assert await cut_off.redeem() == QUEUED
    assert await cut_off.release() == Redeemed("released")
    assert cut_off.state() == "released"
    cut_off.clock.advance(60)
    await cut_off.later()
    assert cut_off.vendor.times_used == 0


# --- points -----------------------------------------------------------------------------------------------------


class Account:
    """A member's points, and what the script says of each call to come; see Vendor. What is taken may show late."""

    modes: Final = {POINTS: RedemptionMode.BY_SALE}
    redeems = modes.keys()

    def __init__(self):
        self.balance, self.taken, self.shows, self.calls = 240, [], True, []
        self.script: dict[str, list] = {"standing": [], "spend": [], "give_back": []}

    async def standing(self, one, *, timeout_s, pace):
        spent = self.shows and one.id in [sale for sale, _ in self.taken]
        return await self._answer("standing", VendorStanding(Standing.USED if spent else Standing.AVAILABLE))

    async def redeem(self, one, *, timeout_s, pace):
        lost = self.script["spend"][:1] in (["never"], ["dead"])
        if one.amount > self.balance:
            return await self._answer("spend", VendorWord(Reason.NOT_ENOUGH, "exceeded"))
        if not lost:
            self.balance -= one.amount
            self.taken.append((one.id, one.amount))
        return await self._answer("spend", VendorWord())

    async def release(self, one, *, timeout_s, pace):
        self.balance += sum(points for sale, points in self.taken if sale == one.id)
        self.taken = [taken for taken in self.taken if taken[0] != one.id]
        return await self._answer("give_back", VendorWord())

    async def _answer(self, what, said):
        self.calls.append(what)
        step = self.script[what].pop(0) if self.script[what] else None
        if step in ("lost", "never"):
            raise Offline(maybe_received=True)
        if step == "dead":
            raise Offline
        return said


SPENT = Wanted(REF, POINTS, "", "s-1", Decimal(100))


@pytest.fixture
def till(tmp_path):
    with open_outbox(tmp_path / "outbox.db") as outbox:
        desk = Desk(outbox, make_vendor=lambda _clock: Account())
        desk.account = desk.vendor
        yield desk


async def release_points(desk, sale="s-1"):
    return await desk.redeeming.release(POINTS, "", sale)


async def test_points_are_spent_once_a_sale_and_given_back(till):
    """A repeat is the same answer, another sale spends its own, and each is given back alone."""
    again = replace(SPENT, transaction_id="s-2", amount=Decimal(40))
    assert [await till.redeem(SPENT), await till.redeem(SPENT), await till.redeem(again)] == [DONE] * 3
    assert till.account.taken == [("s-1", 100), ("s-2", 40)]
    assert [await release_points(till), await release_points(till)] == [Redeemed("released")] * 2
    assert (till.account.balance, await till.redeem(SPENT)) == (200, refused(Reason.RELEASED))
    with pytest.raises(UnknownRecordError):
        await release_points(till, "s-3")


async def test_another_number_of_points_in_the_same_sale(till):
    """It is not called spent, and is not spent beside the first."""
    assert await till.redeem(SPENT) == DONE
    assert await till.redeem(replace(SPENT, amount=Decimal(200))) == refused(Reason.USED)
    assert till.account.taken == [("s-1", 100)]


async def test_more_points_than_there_are(till):
    """They are refused, and fewer can be asked for."""
    assert await till.redeem(replace(SPENT, amount=Decimal(241))) == refused(Reason.NOT_ENOUGH)
    assert await till.redeem(SPENT) == DONE


@pytest.mark.parametrize("shows", [True, False])
@pytest.mark.parametrize("step", ["lost", "never"])
async def test_points_without_an_answer(till, step, shows):
    """They are never taken twice; where nobody knows, they are given back as soon as it shows."""
    till.account.script["spend"], till.account.shows = [step], shows
    known = step == "lost" and shows
    assert await till.redeem(SPENT) == (DONE if known else OFFLINE)
    assert till.account.calls.count("spend") == 1
    assert await till.redeem(SPENT) == (DONE if known else refused(Reason.RELEASED))
    till.account.shows = True
    await till.later()
    assert till.account.balance == (140 if known else 240)
    assert till.account.calls.count("spend") == 1


async def test_points_after_a_power_cut(till):
    """What was asked a moment ago may not show yet: it is not asked again, and given back where it was carried out."""
    wish = RedemptionWish(await whose(till), REF, POINTS, "s-1", "s-1", Decimal(100), asked_at=till.clock.now())
    await till.record.ask(wish, None, till.clock.now())
    till.account.balance, till.account.taken, till.account.shows = 140, [("s-1", 100)], False
    assert await till.redeem(SPENT) == OFFLINE
    till.account.shows = True
    await till.later()
    assert (till.account.balance, till.account.calls.count("spend")) == (240, 0)


async def test_points_given_back_before_they_show(till):
    """After a new start the vendor's list is all there is: what was spent a moment ago is not called given back."""
    assert await till.redeem(SPENT) == DONE
    till.account.shows = False
    assert await release_points(till) == Redeemed("queued")
    till.account.shows = True
    await till.later()
    assert (till.account.balance, await release_points(till)) == (240, Redeemed("released"))


async def test_points_long_after_a_power_cut(till):
    """What does not show after a minute was not carried out: it is asked for anew."""
    wish = RedemptionWish(await whose(till), REF, POINTS, "s-1", "s-1", Decimal(100), asked_at=till.clock.now())
    await till.record.ask(wish, None, till.clock.now())
    till.clock.advance(SETTLES_S)
    assert (await till.redeem(SPENT), till.account.taken) == (DONE, [("s-1", 100)])


@pytest.mark.parametrize("what", ["standing", "spend"])
async def test_points_are_never_given_unasked(till, what):
    """Nobody knows what is left of them."""
    till.account.script[what] = ["dead"] * 9
    assert await till.redeem(SPENT) == OFFLINE
    await till.later()
    assert (till.account.taken, till.account.balance) == ([], 240)


async def whose(desk):
    return desk.redeeming._whose(REF, None)


# --- what goes with the sale --------------------------------------------------------------------------------------


@pytest.fixture
def carried(cut_off):
    """Vouchers of which the vendor hears by their sale alone; it answers."""
    cut_off.vendor.modes, cut_off.vendor.dead = dict.fromkeys((OFFER, VOUCHER), RedemptionMode.WITH_SALE), False
    cut_off.vendor.script["redeem"] = [VendorWord()] * 9  # nobody is called
    return cut_off


async def test_what_was_given_unasked_goes_with_its_sale(carried):
    """Used up by its own sale before anybody looked, it is no loss; nobody is asked."""
    carried.vendor.dead = True
    assert await carried.redeem() == QUEUED
    carried.vendor.used = {"v-1"}
    carried.vendor.calls.clear()
    await carried.later(0)
    assert (carried.state(), carried.vendor.calls) == ("redeemed", [])
    assert carried.conditions.standing() == ()


@pytest.mark.parametrize("unasked", [False, True])
@pytest.mark.parametrize(
    ("gone", "outcomes", "state"),
    [
        (False, {Redeemed("released")}, "released"),
        (True, {refused(Reason.NOT_RELEASED)}, "stuck"),
    ],
    ids=["before its sale has gone", "after"],
)
async def test_what_goes_with_its_sale_is_given_back(carried, unasked, gone, outcomes, state):
    """Where its sale has not gone nothing was used up; where it has, whoever was given it unasked is told so too."""
    carried.vendor.dead = unasked
    assert await carried.redeem() == (QUEUED if unasked else DONE)
    carried.vendor.dead = False
    carried.vendor.used = {"v-1"} if gone else set()
    carried.vendor.script["release"] = [VendorWord(Reason.NOT_RELEASED)]
    first = await carried.release()
    assert first in outcomes | ({Redeemed("queued")} if unasked else set())
    await carried.later()
    assert (carried.state(), await carried.release()) == (state, *outcomes)


async def test_what_its_vendor_refused_with_the_sale_is_a_loss(carried):
    """It is told to people, and given to nobody again in this sale; what is not on record is nobody's loss here."""
    carrying = Carrying(carried.clock, carried.record, carried.states.append)
    wanted = replace(WANTED, kind=OFFER, id="o-1")
    assert await carried.redeem(wanted) == DONE
    assert carrying.of_sale("s-1") == {"o-1": RedemptionState.REDEEMED}
    assert carrying.of_sale("s-2") == {}
    for transaction_id, offer in (("s-1", "o-1"), ("s-1", "o-2"), ("s-2", "o-1")):
        await carrying.lost(transaction_id, offer)
    await carried.later()
    assert (carried.state(wanted), carried.states) == ("lost", ["redeemed", "lost"])
    assert [one.code for one in carried.conditions.standing()] == ["benefits.lost"]


async def test_what_was_given_back_is_no_loss(carried):
    """A refusal that comes after it changes nothing."""
    carrying = Carrying(carried.clock, carried.record, carried.states.append)
    wanted = replace(WANTED, kind=OFFER, id="o-1")
    assert await carried.redeem(wanted) == DONE
    assert await carried.release(wanted) == Redeemed("released")
    await carrying.lost("s-1", "o-1")
    assert carrying.of_sale("s-1") == {"o-1": RedemptionState.RELEASED}


# --- whose a use is ---------------------------------------------------------------------------------------------

THEN = timedelta(seconds=30)
LONG_AFTER, LONG_BEFORE = timedelta(hours=1), timedelta(hours=-1)
WHEN = pytest.mark.parametrize(
    ("used", "ours"), [(THEN, True), (LONG_AFTER, False), (LONG_BEFORE, False)], ids=["then", "after", "before"]
)


def used_by_somebody(desk, used):
    """Its call is on record, and the vendor says that the voucher was used up at that time."""
    desk.vendor.used, desk.vendor.used_at["v-1"] = {"v-1"}, desk.clock.now() + used


async def asked(desk, state):
    number = await desk.record.ask(replace(_wish(desk), asked_at=desk.clock.now()), None, desk.clock.now())
    await desk.record.settle(number, RedemptionState(state), desk.clock.now())


@WHEN
async def test_what_was_used_at_another_time_was_used_by_another(desk, used, ours):
    """Killed before the answer, and perhaps before the call: the till that asks again hears whose it is."""
    await asked(desk, "asking")
    used_by_somebody(desk, used)
    desk.clock.advance(LONG_AFTER.total_seconds() * 2)
    assert await desk.redeem() == (DONE if ours else refused(Reason.USED))
    assert desk.state() == ("redeemed" if ours else "refused")


@WHEN
@pytest.mark.parametrize("state", ["asking", "sending", "undoing"])
async def test_whose_a_use_is_when_no_till_asks(desk, state, used, ours):
    """What another used is not taken back from them, not taken for ours, and no less a loss."""
    await asked(desk, state)
    used_by_somebody(desk, used)
    desk.clock.advance(LONG_AFTER.total_seconds() * 2)
    await desk.later()
    assert (
        desk.state()
        == {
            "asking": "redeemed" if ours else "refused",
            "sending": "redeemed" if ours else "lost",
            "undoing": "released",
        }[state]
    )
    assert desk.vendor.used == (set() if ours and state == "undoing" else {"v-1"})


async def test_the_vendor_s_clock_is_the_one_that_counts(desk):
    """Ours may be an hour slow: what we heard of theirs is on record with the call."""
    desk.link.heard_time(3600.0)
    desk.vendor.script["redeem"] = [asyncio.CancelledError()]
    with pytest.raises(asyncio.CancelledError):
        await desk.redeem()
    assert desk.record.find("s-1", VOUCHER, "v-1").asked_at == desk.clock.now() + timedelta(hours=1)
    used_by_somebody(desk, timedelta(hours=1))
    assert await desk.redeem() == DONE


# --- each in its own time ---------------------------------------------------------------------------------------


async def test_one_that_goes_wrong_while_the_line_works_holds_up_nobody(desk):
    """It is tried less and less often; the others are settled in the same round, however many wait before them."""
    await asked(desk, "asking")
    desk.vendor.broken = {"v-1"}
    tries = []
    for second in range(0, 4 * 3600, int(LOOK_EVERY_S)):
        before = len(desk.vendor.calls)
        await desk.redeeming.settle()
        tries += [second] * desk.vendor.calls[before:].count("standing v-1")
        desk.link.worked(desk.clock.now(), desk.clock.monotonic(), lookup=True)
        desk.clock.advance(LOOK_EVERY_S)
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    assert gaps == sorted(gaps)
    assert (gaps[0], gaps[-1]) == (LOOK_EVERY_S, MOST_SELDOM_S)
    desk.vendor.used = {"v-2"}
    number = await desk.record.ask(replace(_wish(desk), id="v-2", transaction_id="s-2"), None, desk.clock.now())
    await desk.later()
    assert desk.record.find("s-2", VOUCHER, "v-2").state is RedemptionState.REDEEMED
    assert number
    desk.vendor.broken = set()
    await desk.later(MOST_SELDOM_S)
    assert desk.state() == "refused"


async def test_one_that_breaks_us_holds_up_nobody(desk):
    """A mistake of ours in one is tried less and less often, however the line is; the others are settled behind it."""
    await asked(desk, "asking")
    other = replace(_wish(desk), id="v-2", transaction_id="s-2")
    await desk.record.ask(replace(other, asked_at=desk.clock.now()), None, desk.clock.now())
    desk.vendor.used, standing, tries = {"v-2"}, desk.vendor.standing, []

    async def broken(one, **how):
        if one.id == "v-1":
            tries.append(desk.clock.monotonic())
            raise TypeError
        return await standing(one, **how)

    desk.vendor.standing = broken
    for _ in range(0, 4 * 3600, int(LOOK_EVERY_S)):
        await desk.redeeming.settle()
        desk.clock.advance(LOOK_EVERY_S)
    assert desk.record.find("s-2", VOUCHER, "v-2").state is RedemptionState.REDEEMED
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    assert gaps == sorted(gaps)
    assert (gaps[0], gaps[-1]) == (LOOK_EVERY_S, MOST_SELDOM_S)
    desk.vendor.standing = standing
    await desk.later(MOST_SELDOM_S)
    assert desk.state() == "refused"


async def test_a_disk_that_says_no_ends_the_round(desk, monkeypatch):
    """What cannot be written down is no mistake in one: the whole round is told of it."""

    async def full(*_args, **_named):
        raise StorageFullError

    await asked(desk, "asking")
    monkeypatch.setattr(desk.record, "settle", full)
    with pytest.raises(StorageFullError):
        await desk.later()


async def test_an_outage_puts_nothing_off(desk):
    """However long it lasts, what waits is settled in the first round after it."""
    await asked(desk, "sending")
    desk.vendor.dead = True
    for _ in range(200):
        await desk.redeeming.settle()
        desk.clock.advance(LOOK_EVERY_S)
    desk.vendor.dead = False
    desk.clock.advance(60)
    await desk.redeeming.settle()
    assert desk.state() == "redeemed"


async def test_more_than_one_page_of_them(desk, monkeypatch):
    """All that is due is settled in one round."""
    monkeypatch.setattr("agent.services.settling.SLICE", 2)
    desk.vendor.there |= {f"w-{number}" for number in range(5)}
    for number in range(5):
        wish = replace(_wish(desk), id=f"w-{number}", transaction_id=f"s-{number}")
        await desk.record.ask(wish, None, desk.clock.now())
    await desk.later()
    assert list(desk.record.open(0, 10)) == []


async def test_one_benefit_has_one_spelling(desk):
    """Whatever letters a till writes it in: it is used up once, and given back."""
    loud = replace(WANTED, id="V-1")
    assert await desk.redeem(loud) == DONE
    assert await desk.redeem() == DONE
    assert await desk.redeem(replace(loud, transaction_id="s-2")) == refused(Reason.USED)
    assert desk.vendor.times_used == 1
    assert await desk.release(loud) == Redeemed("released")
    assert desk.vendor.used == set()


def _wish(desk):
    key = desk.replica.member(REF).key
    return RedemptionWish(key, REF, VOUCHER, "v-1", "s-1")
