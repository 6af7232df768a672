"""What a member can use: asked within a cashier's patience, and remembered for when nobody answers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from agent.domain.benefits import GENERAL_REF, Benefit, BenefitKind, Benefits, GeneralOffer, Points, Worth
from agent.domain.identifiers import IdentifierType
from agent.domain.link import Link
from agent.domain.offline import Allowance, OfflinePolicy, OfflineReason
from agent.domain.tagging import TaggingPolicy
from agent.errors import StorageDamagedError, UnknownRecordError, VendorRefusedError
from agent.services.asking import Asking
from agent.services.benefits import MOST_REMEMBERED, BenefitsPolicy, MemberBenefitsDesk
from agent.services.contacts import LocalContacts
from agent.services.handles import Handles, Refs
from tests.fakes import NOW, VENDOR, FakeClock, FakeReplica, Offline, member, member_key, phone, until

BUDGET_S = 60.0
KEEP = timedelta(hours=30)
EVERYBODYS = GeneralOffer("member-10", "10 % off", Worth("percent", percent=Decimal(10)))
WELCOME = GeneralOffer("welcome", "Welcome offer", Worth("percent", percent=Decimal(20)), NOW.date())
ENDED = replace(WELCOME, id="ended", last_day=NOW.date() - timedelta(days=1))
VOUCHER = Benefit(BenefitKind.VOUCHER, "v-1", "Bonus", Worth("money", Decimal(50), "SEK"), NOW + timedelta(hours=1))
OFFER = Benefit(BenefitKind.OFFER, "o-1", "Socks", reference="p-1")
ALMAS = Benefits(Points(Decimal(240)), (OFFER, VOUCHER))
REF = "ref-10000421"
UNASKED = OfflinePolicy({BenefitKind.VOUCHER: Allowance(Decimal(50), "SEK", 1, timedelta(hours=2))})


class Vendor:
    """Says what it is told to, when the gate is open."""

    def __init__(self):
        self.says, self.fault, self.asked = ALMAS, None, []
        self.gate = asyncio.Event()
        self.gate.set()

    async def benefits(self, key, *, timeout_s, pace):
        await pace()
        self.asked.append((key, timeout_s))
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return self.says


class Desk:
    """A service and everything it asks."""

    def __init__(self, *, level=3, secondary=("mobile_phone",), live=True, vendor=True):
        self.clock, self.replica, self.vendor = FakeClock(), FakeReplica(), Vendor()
        self.replica.add(member(), phone())
        self.link = Link(
            VENDOR, "loyalty", requests_per_second=5, backoff_first_s=10, backoff_max_s=900, uniform=lambda _a, b: b
        )
        self.handles, self.given = Handles(self.clock), 0
        tagging = TaggingPolicy(IdentifierType.MEMBER_NUMBER, tuple(IdentifierType(kind) for kind in secondary), level)
        self.benefits = MemberBenefitsDesk(
            clock=self.clock,
            refs=Refs(LocalContacts(self.replica, tagging), self.handles),
            vendor=self.vendor if vendor else None,
            asking=Asking(self.clock, self.link, live=live, budget_s=BUDGET_S),
            link=self.link,
            given_unasked=lambda _key, _names, _day: self.given,
            policy=BenefitsPolicy(KEEP, timedelta(hours=24), (EVERYBODYS,), (ENDED, WELCOME), UNASKED),
        )

    def offline(self):
        """The vendor stops answering, and that is known."""
        self.vendor.fault = Offline()
        self.link.silent(self.clock.now(), self.clock.monotonic())


@pytest.fixture
def desk():
    return Desk()


async def test_the_vendor_is_asked(desk):
    """Whatever is remembered, it has just said so; the budget is a cashier's, and the call is counted."""
    for says in (ALMAS, Benefits(None, (OFFER,))):
        desk.vendor.says = says
        shown = await desk.benefits.of(REF)
        assert (shown.benefits, shown.live, shown.general, shown.codes) == (says, True, (), ())
        assert (shown.served.source, shown.served.as_of, shown.served.age_s, shown.served.level) == ("live", NOW, 0, 3)
    assert desk.vendor.asked == [(member_key(), BUDGET_S)] * 2
    assert desk.link.answers is True
    assert desk.link.bucket.wait_s(desk.clock.monotonic()) == 0
    await desk.benefits.of(REF)
    await asyncio.gather(*(desk.benefits.of(REF) for _ in range(5)))
    assert desk.link.bucket.wait_s(desk.clock.monotonic()) > 0


async def test_what_was_said_last_serves_with_its_age(desk):
    """While the vendor does not answer; what has expired meanwhile is gone."""
    await desk.benefits.of(REF)
    desk.offline()
    desk.clock.advance(1800)
    shown = await desk.benefits.of(REF)
    assert (shown.benefits, shown.live) == (ALMAS, False)
    assert (shown.served.source, shown.served.as_of, shown.served.age_s, shown.served.stale) == (
        "replica",
        NOW,
        1800,
        False,
    )
    assert shown.codes == ("loyalty.offline.replica",)

    desk.clock.advance(1800)
    assert (await desk.benefits.of(REF)).benefits == Benefits(ALMAS.points, (OFFER,))

    desk.clock.advance(25 * 3600)
    shown = await desk.benefits.of(REF)
    assert (shown.served.stale, shown.codes) == (True, ("loyalty.offline.replica", "loyalty.stale"))


async def test_what_would_be_given_unasked(desk):
    """By what the shop allows, when the vendor said so last, and how much the member was given today."""
    assert (await desk.benefits.of(REF)).refused == {OFFER: OfflineReason.POLICY, VOUCHER: None}
    desk.given = 1
    assert (await desk.benefits.of(REF)).refused[VOUCHER] is OfflineReason.COUNT
    desk.offline()
    desk.clock.mono += 2 * 3600 + 1
    assert (await desk.benefits.of(REF)).refused[VOUCHER] is OfflineReason.CONTACT


@pytest.mark.parametrize("how", ["asked for", "purged", "exported"])
async def test_nothing_is_remembered_for_longer_than_configured(desk, how):
    """By monotonic time, whatever is asked first."""
    await desk.benefits.of(REF)
    desk.offline()
    desk.clock.mono += KEEP.total_seconds()
    desk.clock.wall -= timedelta(days=400)
    names = (member_key().identifier,)
    if how == "purged":
        desk.benefits.purge()
        assert desk.benefits._remembered == {}
    elif how == "exported":
        assert desk.benefits.export(names) == []
    else:
        shown = await desk.benefits.of(REF)
        assert (shown.benefits, shown.served.source, shown.served.as_of) == (Benefits(), "none", None)


async def test_a_vendor_that_is_too_slow_is_not_waited_for(desk, pass_by):
    """The budget ends it; what was said last serves, and the breaker hears of it."""
    await desk.benefits.of(REF)
    desk.vendor.gate.clear()
    for asked in (2, 3, 4):
        asking = asyncio.create_task(desk.benefits.of(REF))
        await until(lambda asked=asked: len(desk.vendor.asked) == asked)
        pass_by(BUDGET_S)
        shown = await asyncio.wait_for(asking, BUDGET_S / 2)
        assert (shown.benefits, shown.served.source) == (ALMAS, "replica")
    assert (await asyncio.wait_for(desk.benefits.of(REF), BUDGET_S / 2)).benefits == ALMAS
    assert len(desk.vendor.asked) == 4, "the breaker is open"


async def test_refused_credentials_are_no_answer(desk):
    """What was said last serves; the line knows."""
    await desk.benefits.of(REF)
    desk.vendor.fault = VendorRefusedError()
    assert (await desk.benefits.of(REF)).served.source == "replica"
    assert desk.link.state == "degraded"


@pytest.mark.parametrize("ref", ["ref-nobody", "v_nobody", ""])
async def test_a_handle_of_nobody_s(desk, ref):
    """It is told, and nobody is asked."""
    with pytest.raises(UnknownRecordError):
        await desk.benefits.of(ref)
    assert desk.vendor.asked == []


async def test_whom_only_the_vendor_knows(desk):
    """Their handle from the look-up does, also at levels that read no replica."""
    for level in (1, 2, 3):
        desk = Desk(level=level)
        ref = desk.handles.give(member_key("10000499"))
        assert (await desk.benefits.of(ref)).benefits == ALMAS
        assert desk.vendor.asked == [(member_key("10000499"), BUDGET_S)]
        if level < 3:
            with pytest.raises(UnknownRecordError):
                await desk.benefits.of(REF)


async def test_a_replica_that_cannot_be_read_knows_nobody(desk):
    """The call ends in order; sales and look-ups have told of it already."""
    desk.replica.member = lambda _ref: (_ for _ in ()).throw(StorageDamagedError())
    with pytest.raises(UnknownRecordError):
        await desk.benefits.of(REF)


@pytest.mark.parametrize(
    ("level", "secondary", "general", "codes"),
    [
        (1, ("mobile_phone",), (EVERYBODYS,), ("loyalty.unavailable", "loyalty.general_offers")),
        (2, ("mobile_phone",), (EVERYBODYS,), ("loyalty.general_offers",)),
        (2, (), (EVERYBODYS,), ("loyalty.unavailable", "loyalty.general_offers")),
        (3, ("mobile_phone",), (), ("loyalty.offline.replica",)),
    ],
    ids=["level 1", "level 2", "level 2 without keys", "level 3"],
)
@pytest.mark.parametrize("who", ["everybody", "a member"])
async def test_offers_for_everybody_while_nobody_answers(level, secondary, general, codes, who):
    """At the levels 1 and 2, to members and to everybody else; while the vendor answers there are none.

    Of a customer whom nobody knows it is not said that they are in the local contacts.
    """
    if who == "everybody":
        codes = tuple(code for code in codes if code != "loyalty.offline.replica")
    desk = Desk(level=level, secondary=secondary)
    ref = GENERAL_REF if who == "everybody" else desk.handles.give(member_key("10000499"))
    desk.vendor.says = Benefits()
    before = await desk.benefits.of(ref)
    assert (before.general, before.codes) == ((), ())
    desk.offline()
    shown = await desk.benefits.of(ref)
    assert (shown.general, shown.codes) == (general, codes)


@pytest.mark.parametrize("table", [{"live": False}, {"vendor": False}], ids=["not asked live", "no such question"])
async def test_where_the_vendor_is_not_asked(table):
    """There is nothing, and offers for everybody wait for an outage."""
    desk = Desk(level=2, **table)
    ref = desk.handles.give(member_key("10000499"))
    shown = await desk.benefits.of(ref)
    assert (shown.benefits, shown.general, shown.served.source, shown.codes) == (Benefits(), (), "none", ())
    desk.offline()
    assert (await desk.benefits.of(ref)).general == (EVERYBODYS,)
    assert desk.vendor.asked == []


@pytest.mark.parametrize("online", [True, False], ids=["line up", "line down"])
async def test_offers_for_whoever_joins(desk, online):
    """Until the vendor has them, who would not know the number that they have from this till."""
    desk.replica.add(replace(member("1042-03-1"), ref="made-here", own=True), phone(2))
    if not online:
        desk.offline()
    shown = await desk.benefits.of("made-here")
    assert (shown.welcome, shown.general, shown.benefits, shown.live) == ((WELCOME,), (), Benefits(), False)
    assert desk.vendor.asked == []
    desk.vendor.fault = None
    assert (await desk.benefits.of(REF)).welcome == ()


async def test_one_benefit_is_forgotten(desk):
    """What the vendor has said since that it cannot be used; nothing else, and of nobody else."""
    await desk.benefits.of(REF)
    desk.benefits.drop(member_key(), OFFER.kind, OFFER.id)
    desk.benefits.drop(member_key("7"), ALMAS.items[0].kind, ALMAS.items[0].id)
    left = tuple(item for item in ALMAS.items if item != OFFER)
    known = desk.benefits.remembered(member_key())
    assert left
    assert (known.benefits, known.as_of) == (Benefits(ALMAS.points, left), NOW)


async def test_everybody_is_forgotten(desk):
    """What is remembered, handles, and what is just being said."""
    ref = desk.handles.give(member_key("10000499"))
    await desk.benefits.of(REF)
    desk.vendor.gate.clear()
    under_way = asyncio.create_task(desk.benefits.of(ref))
    await until(lambda: len(desk.vendor.asked) == 2)
    desk.benefits.forget()
    desk.vendor.gate.set()
    assert (await under_way).benefits == ALMAS, "the cashier has asked before"
    desk.offline()
    assert (await desk.benefits.of(REF)).benefits == Benefits()
    assert desk.benefits.export([member_key().identifier, member_key("10000499").identifier]) == []
    with pytest.raises(UnknownRecordError):
        await desk.benefits.of(ref)


async def test_an_export_has_what_is_remembered(desk):
    """Of whoever is named, and of nobody else."""
    await desk.benefits.of(REF)
    desk.vendor.says = Benefits()
    await desk.benefits.of(desk.handles.give(member_key("10000499")))
    assert desk.benefits.export([phone(), member_key().identifier]) == [
        {
            "as_of": "2026-02-14T15:41:09+00:00",
            "points": "240",
            "items": [
                {"kind": "offer", "id": "o-1", "name": "Socks", "reference": "p-1"},
                {"kind": "voucher", "id": "v-1", "name": "Bonus", "reference": None},
            ],
        }
    ]


async def test_there_are_never_too_many(desk):
    """Whoever has not been asked about for longest goes first."""
    refs = [desk.handles.give(member_key(number)) for number in range(MOST_REMEMBERED + 1)]
    for ref in refs:
        await desk.benefits.of(ref)
    desk.offline()
    assert [(await desk.benefits.of(ref)).served.source for ref in (refs[0], refs[1], refs[-1])] == [
        "none",
        "replica",
        "replica",
    ]
