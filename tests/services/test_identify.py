"""Who is at the till: the replica, the vendor within a cashier's patience, or a secondary key."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from agent.domain.benefits import GeneralOffer, Worth
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.domain.link import Link
from agent.domain.pacing import TokenBucket
from agent.domain.tagging import Outcome, TaggingPolicy
from agent.domain.transaction import IdentifierStatement
from agent.errors import (
    ConfigurationError,
    Fault,
    IdentifierInvalidError,
    StorageDamagedError,
    StorageFullError,
    VendorRefusedError,
    VendorUnreachableError,
)
from agent.services.asking import Asking
from agent.services.handles import Handles
from agent.services.identify import Identify, IdentifyPolicy
from tests.fakes import (
    NOW,
    VENDOR,
    FakeClock,
    FakeReplica,
    FakeVendor,
    Offline,
    contact_id_of,
    member,
    member_key,
    phone,
    phone_key,
    primary_key,
    until,
)

BUDGET_S = 60.0
EVERYBODYS = GeneralOffer("member-10", "10 % off", Worth("percent", percent=Decimal(10)), NOW.date())


class Desk:
    """A service and everything it asks."""

    def __init__(
        self,
        *,
        level=3,
        secondary=("mobile_phone", "email"),
        live=True,
        lookup=True,
        clock=None,
        fresh_for=None,
        general=(EVERYBODYS,),
    ):
        self.remembered = []
        self.clock, self.replica, self.vendor = clock or FakeClock(), FakeReplica(), FakeVendor()
        self.link = Link(
            VENDOR, "loyalty", requests_per_second=0, backoff_first_s=10, backoff_max_s=900, uniform=lambda _a, b: b
        )
        self.handles, self.named, self.disk = Handles(self.clock), [], None
        self.identify = Identify(
            clock=self.clock,
            normaliser=Normaliser("SE"),
            replica=self.replica,
            lookup=self.vendor if lookup else None,
            asking=Asking(
                self.clock, self.link, live=live, budget_s=BUDGET_S, asking_now=lambda: self.remembered.append
            ),
            link=self.link,
            handles=self.handles,
            named=self._note,
            policy=IdentifyPolicy(
                TaggingPolicy(IdentifierType.MEMBER_NUMBER, tuple(IdentifierType(kind) for kind in secondary), level),
                timedelta(hours=24),
                frozenset({IdentifierType.MEMBER_NUMBER, IdentifierType.CONTACT_ID}),
                fresh_for,
                general,
            ),
        )

    async def _note(self, key, names):
        if self.disk is not None:
            raise self.disk
        self.named.append((key, names))

    async def who(self, value="070-174 06 05", kind="mobile_phone"):
        return await self.identify.identify(IdentifierStatement(type=kind, value=value))

    async def runs_out(self, pass_by):
        """What is known of somebody about whom the vendor is asked and says nothing until the budget is spent."""
        asked = len(self.vendor.asked)
        asking = asyncio.create_task(self.who())
        await until(lambda: len(self.vendor.asked) > asked)
        pass_by(BUDGET_S / 2)
        await asyncio.sleep(0.01)
        assert not asking.done()
        pass_by(BUDGET_S / 2)
        return await asyncio.wait_for(asking, BUDGET_S / 2)


@pytest.fixture
def desk():
    return Desk()


async def test_a_fresh_replica_answers_without_the_vendor(desk):
    """Its age and source are told, and nobody is asked."""
    desk.replica.add(member(first_name="Alma"), phone())
    desk.clock.advance(312)
    found = await desk.who()
    assert (found.outcome, found.key, found.codes) == (Outcome.MATCHED, member_key(), ())
    assert (found.member.ref, found.member.fields) == ("ref-10000421", {"first_name": "Alma"})
    assert (found.served.source, found.served.age_s, found.served.stale, found.served.level) == (
        "replica",
        312,
        False,
        3,
    )
    assert desk.vendor.asked == []


@pytest.mark.parametrize(
    ("kind", "value", "offline", "may_spend"),
    [
        ("member_number", "10000421", False, True),
        ("mobile_phone", "070-174 06 05", False, False),
        ("any", "070-174 06 05", False, False),
        ("member_number", "10000421", True, False),
    ],
    ids=["by number", "by phone", "by whatever it is", "offline"],
)
async def test_who_may_spend(desk, kind, value, offline, may_spend):
    """Whoever is named by what not anybody may say, while the vendor answers; how they were named is remembered."""
    desk.replica.add(member(), phone(), member_key().identifier)
    if offline:
        desk.link.silent(NOW, desk.clock.monotonic())
    found = await desk.who(value, kind)
    assert found.outcome is Outcome.MATCHED
    assert found.may_spend is may_spend
    by_number = desk.handles.is_named_by(found.member.ref, {IdentifierType.MEMBER_NUMBER})
    assert by_number is (kind == "member_number")


async def test_what_somebody_is_named_by_is_noted(desk):
    """Each name once, in memory and for what is on record of them; who is only known by the vendor has its id too."""
    desk.vendor.contacts[phone()] = ["10000422"]
    desk.vendor.contacts[member_key("10000422").identifier] = ["10000422"]
    contact = Identifier(IdentifierType.CONTACT_ID, contact_id_of("10000422"))
    ref = (await desk.who()).member.ref
    assert desk.named == [(member_key("10000422"), (contact, phone()))]
    for value, kind in (("+46701740605", "mobile_phone"), ("10000422", "member_number")):
        assert (await desk.who(value, kind)).member.ref == ref
    assert len(desk.named) == 1
    assert desk.handles.names(ref) == (contact, phone())


async def test_a_disk_that_takes_no_name_keeps_nobody_waiting(desk):
    """The look-up is answered, and the name is there for what is put on record next."""
    desk.replica.add(member(), phone())
    desk.disk = StorageFullError()
    found = await desk.who()
    assert found.outcome is Outcome.MATCHED
    assert desk.handles.names(found.member.ref) == (phone(),)


async def test_a_stale_replica_asks_the_vendor(desk):
    """The vendor's answer wins; without one the old answer serves and says so."""
    desk.replica.add(member("1"), phone())
    desk.clock.advance(25 * 3600)
    desk.vendor.contacts[phone()] = ["2"]
    found = await desk.who()
    assert (found.key, found.served.source, found.served.age_s) == (member_key("2"), "live", 0)

    desk.vendor.fault = Offline()
    found = await desk.who()
    assert (found.key, found.served.source, found.served.stale) == (member_key("1"), "replica", True)
    assert found.codes == ("loyalty.offline.replica", "loyalty.stale")


async def test_a_cached_answer_has_its_own_age():
    """Up to the age that counts as fresh nobody is asked; then the vendor is, and the old answer serves without it."""
    desk = Desk(fresh_for=timedelta(hours=2))
    desk.replica.add(replace(member("1"), as_of=NOW), phone())
    desk.replica.as_of = NOW + timedelta(hours=3)
    desk.clock.advance(2 * 3600)
    found = await desk.who()
    assert (found.served.source, found.served.age_s, desk.vendor.asked) == ("replica", 7200, [])
    desk.clock.advance(1)
    desk.vendor.contacts[phone()] = ["2"]
    assert (await desk.who()).key == member_key("2")
    desk.vendor.fault = Offline()
    found = await desk.who()
    assert (found.key, found.served.source, found.served.age_s) == (member_key("1"), "replica", 7201)


async def test_an_answer_from_the_future_is_not_fresh():
    """A clock that was ahead dated it: its age is unknown, and it serves only without the vendor."""
    desk = Desk(fresh_for=timedelta(hours=2))
    desk.replica.add(replace(member("1"), as_of=NOW + timedelta(days=3650)), phone())
    desk.vendor.contacts[phone()] = ["2"]
    assert (await desk.who()).key == member_key("2")
    desk.vendor.fault = Offline()
    assert (await desk.who()).key == member_key("1")


async def test_what_the_vendor_says_is_handed_on(desk):
    """With what was asked, for whoever keeps it; a question that was not answered is not."""
    desk.vendor.contacts[phone()] = ["1"]
    await desk.who()
    [[(question, answer)]] = desk.remembered
    assert (question, answer.key) == (phone(), member_key("1"))
    desk.vendor.fault = Offline()
    await desk.who()
    assert desk.remembered[1:] == [[]]


async def test_somebody_new_is_found_at_the_vendor(desk):
    """A miss here is a hit there, as of now."""
    desk.vendor.contacts[phone()] = ["10000422"]
    found = await desk.who()
    assert (found.outcome, found.key, found.served.source) == (Outcome.MATCHED, member_key("10000422"), "live")
    assert found.served.as_of == NOW
    assert desk.handles.key(found.member.ref) == member_key("10000422")


async def test_a_look_up_counts_against_the_share_of_the_allowance(desk):
    """A cashier never waits for this agent's share of the calls; what waits is the next delivery."""
    desk.link.bucket = TokenBucket(rate=1.0, burst=1.0)
    for _ in range(3):
        await desk.identify.identify(IdentifierStatement(type="mobile_phone", value="+46701740699"))

    assert desk.link.bucket.wait_s(desk.clock.monotonic()) == pytest.approx(2.0)  # a debt of one burst, and the call


async def test_not_found_and_unknown_are_different_things(desk):
    """Who can know says not found; nobody could be asked is unknown; both carry the secondary key."""
    found = await desk.who()
    assert (found.outcome, found.key, found.codes) == (Outcome.NOT_FOUND, phone_key(), ("loyalty.not_found",))
    assert (found.served.source, found.member) == ("live", None)

    desk.vendor.fault = Offline()
    found = await desk.who()
    assert (found.outcome, found.key, found.codes) == (Outcome.UNKNOWN, phone_key(), ("loyalty.unknown",))
    assert (found.served.source, found.served.as_of) == ("none", None)


@pytest.mark.parametrize("desk", [Desk(live=False), Desk(lookup=False)], ids=["switched off", "no look-up"])
async def test_a_vendor_that_is_not_asked_makes_nobody_not_found(desk):
    """Without a look-up a stranger is unknown, and a stale replica serves."""
    assert (await desk.who()).outcome is Outcome.UNKNOWN
    desk.replica.add(member(), phone())
    desk.clock.advance(25 * 3600)
    found = await desk.who()
    assert (found.outcome, found.codes) == (Outcome.MATCHED, ("loyalty.stale",))


async def test_a_type_the_vendor_cannot_be_asked_for(desk):
    """A card number unknown here is unknown, not 'not found', and is no key."""
    found = await desk.who("7350012345", "card_number")
    assert (found.outcome, found.key) == (Outcome.UNKNOWN, None)
    assert desk.vendor.asked == []


@pytest.mark.parametrize("here", [True, False], ids=["in the replica", "at the vendor"])
async def test_nobody_is_guessed_among_several(desk, here):
    """Two people share the phone: the secondary key, no contact, a message for staff."""
    if here:
        desk.replica.add(member("1"), phone())
        desk.replica.add(member("2"), phone())
    else:
        desk.vendor.contacts[phone()] = ["1", "2"]
    found = await desk.who()
    assert (found.outcome, found.key, found.member) == (Outcome.AMBIGUOUS, phone_key(), None)
    assert found.codes == ("loyalty.ambiguous",)


async def test_a_value_that_can_be_two_things_is_looked_up_as_both(desk):
    """A member number that looks like a phone: whoever it names, by either reading."""
    both = {reading.type for reading in desk.identify.readings(IdentifierStatement(type="any", value="0701740605"))}
    assert {IdentifierType.MOBILE_PHONE, IdentifierType.MEMBER_NUMBER} <= both
    desk.vendor.contacts[phone()] = ["1"]
    found = await desk.who("0701740605", "any")
    assert (found.outcome, found.key) == (Outcome.MATCHED, member_key("1"))
    assert {identifier.type for identifier in desk.vendor.asked} >= {
        IdentifierType.MOBILE_PHONE, IdentifierType.MEMBER_NUMBER
    }  # fmt: skip

    desk.replica.add(member("1"), phone())
    number = next(
        r
        for r in desk.identify.readings(IdentifierStatement(type="any", value="0701740605"))
        if r.type == "member_number"
    )
    desk.replica.add(member("2"), number)
    found = await desk.who("0701740605", "any")
    assert (found.outcome, found.key) == (Outcome.AMBIGUOUS, phone_key())


async def test_the_secondary_key_of_any_is_the_first_that_is_allowed():
    """In the configuration's order; with none allowed there is none."""
    desk = Desk(secondary=("external_id", "mobile_phone"))
    assert (await desk.who("0701740605", "any")).key.type is IdentifierType.EXTERNAL_ID
    desk = Desk(secondary=())
    assert (await desk.who()).key is None


async def test_a_value_that_cannot_be_is_refused(desk):
    """Before anybody is asked."""
    with pytest.raises(IdentifierInvalidError):
        await desk.who("12")
    assert desk.vendor.asked == []


async def test_a_live_match_without_the_primary_field_gives_the_contact_id(desk):
    """The vendor's own id ties the sale as well."""
    desk.vendor.primary_known = False
    desk.vendor.contacts[phone()] = ["7"]
    assert (await desk.who()).key == primary_key(IdentifierType.CONTACT_ID, contact_id_of("7"))


async def test_a_live_match_the_replica_knows_has_a_handle(desk):
    """Found by a new phone at the vendor, the contact is the replica's own, with what may be shown."""
    contact_id = primary_key(IdentifierType.CONTACT_ID, contact_id_of("10000421")).identifier
    desk.replica.add(member(first_name="Alma"), contact_id)
    desk.vendor.contacts[phone()] = ["10000421"]
    found = await desk.who()
    assert (found.member.ref, found.member.fields["first_name"]) == ("ref-10000421", "Alma")
    assert found.served.source == "live"


# --- levels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "secondary", "codes", "key", "served"),
    [
        (1, ("mobile_phone",), ("loyalty.unavailable", "loyalty.general_offers"), None, 1),
        (2, ("mobile_phone",), ("loyalty.unknown",), phone_key(), 2),
        (2, (), ("loyalty.unavailable", "loyalty.general_offers"), None, 1),
        (3, ("mobile_phone",), ("loyalty.unknown",), phone_key(), 3),
    ],
    ids=["level 1", "level 2", "level 2 without keys", "level 3"],
)
async def test_what_is_said_while_nobody_answers(level, secondary, codes, key, served):
    """As much as the level allows: general offers, a tag, or the replica."""
    desk = Desk(level=level, secondary=secondary)
    desk.vendor.fault = Offline()
    found = await desk.who()
    assert (found.outcome, found.codes, found.key, found.served.level) == (Outcome.UNKNOWN, codes, key, served)


@pytest.mark.parametrize(("general", "days"), [((), 0), ((EVERYBODYS,), 1)], ids=["none configured", "over"])
async def test_nobody_is_promised_offers_that_there_are_not(general, days):
    """General offers are told of only where the shop has some, until their last day is over."""
    desk = Desk(level=1, general=general)
    desk.clock.advance(days * 24 * 3600)
    desk.vendor.fault = Offline()
    assert (await desk.who()).codes == ("loyalty.unavailable",)


async def test_general_offers_are_told_of_in_an_outage_alone():
    """Who was merely too slow may still answer: there are none yet."""
    desk = Desk(level=1, live=False)
    assert (await desk.who()).codes == ("loyalty.unavailable",)


@pytest.mark.parametrize("level", [1, 2])
async def test_below_level_three_the_replica_is_not_read(level):
    """Not even for the handle of a live match."""
    desk = Desk(level=level)
    contact_id = primary_key(IdentifierType.CONTACT_ID, contact_id_of("10000421")).identifier
    desk.replica.add(member(), phone(), contact_id)
    desk.vendor.contacts[phone()] = ["10000421"]
    found = await desk.who()
    assert found.served.source == "live"
    assert desk.handles.key(found.member.ref) == member_key()


@pytest.mark.parametrize("how", ["never loaded or expired", "damaged"])
async def test_an_unusable_replica_is_passed_by(desk, how):
    """The vendor answers; offline the level falls to tagging."""
    desk.replica.add(member(), phone())
    if how == "never loaded or expired":
        desk.replica.as_of = None
    else:
        desk.replica.info = desk.replica.resolve = lambda *_args: (_ for _ in ()).throw(StorageDamagedError())
    desk.vendor.contacts[phone()] = ["9"]
    assert (await desk.who()).key == member_key("9")
    desk.vendor.fault = Offline()
    found = await desk.who()
    assert (found.outcome, found.served.level) == (Outcome.UNKNOWN, 2)


# --- patience -------------------------------------------------------------------------------------------------


async def test_a_vendor_that_hangs_costs_the_budget_and_no_more(desk, pass_by):
    """The answer is there when the budget is spent and not before, and the line is not called down for being slow."""
    desk.vendor.gate.clear()
    assert (await desk.runs_out(pass_by)).outcome is Outcome.UNKNOWN
    assert desk.link.answers is None


async def test_a_vendor_too_slow_for_a_cashier_is_not_asked_every_time(desk, pass_by):
    """After three in a row the next cashier does not wait; later one probe is made, and its success opens again."""
    desk.vendor.gate.clear()
    for _ in range(3):
        await desk.runs_out(pass_by)
    await asyncio.wait_for(desk.who(), BUDGET_S / 2)
    assert len(desk.vendor.asked) == 3

    desk.vendor.gate.set()
    desk.clock.advance(60)
    assert (await desk.who()).outcome is Outcome.NOT_FOUND
    assert (await desk.who()).outcome is Outcome.NOT_FOUND


async def test_a_call_s_own_time_out_counts_as_slowness(desk):
    """When the call gives up a moment before the budget does, the line is slow, not down."""

    async def slow(_identifier, *, timeout_s, pace):
        desk.clock.advance(timeout_s)
        raise VendorUnreachableError("did not answer (TimeoutError)")

    desk.vendor.find = slow
    assert (await desk.who()).outcome is Outcome.UNKNOWN
    assert desk.link.answers is None


async def test_a_line_that_is_down_is_known_to_be(desk):
    """A refused connection says so at once."""
    desk.vendor.fault = Offline()
    await desk.who()
    assert desk.link.state == "offline"


@pytest.mark.parametrize(
    "fault",
    [VendorRefusedError(), ConfigurationError([Fault("credential:key", "is empty")])],
    ids=["refused", "cannot be read"],
)
async def test_bad_credentials_leave_the_cashier_with_the_replica(desk, fault):
    """Unknown here and not to be asked there: unknown; the line is degraded."""
    desk.vendor.fault = fault
    assert (await desk.who()).outcome is Outcome.UNKNOWN
    assert desk.link.state == "degraded"


async def test_one_reading_s_failure_leaves_nothing_running(desk):
    """Asked for two readings, one of which fails at once: the other has ended too when the answer is there."""
    ended = []

    async def find(identifier, *, timeout_s, pace):
        if identifier.type is IdentifierType.MOBILE_PHONE:
            raise Offline
        await asyncio.sleep(0.01)
        ended.append(identifier)
        raise Offline

    desk.vendor.find = find
    found = await desk.who("0701740605", "any")
    assert found.outcome is Outcome.UNKNOWN
    assert ended


async def test_who_is_found_by_one_reading_is_found(desk):
    """A value that can be two things: a match by one of them stands, though the other cannot be asked."""
    find = desk.vendor.find
    desk.vendor.contacts[phone()] = ["10000421"]

    async def half(reading, *, timeout_s, pace):
        if reading.type is not IdentifierType.MOBILE_PHONE:
            raise VendorUnreachableError("answered 400 to a look-up (InvalidSearchQuery)")
        return await find(reading, timeout_s=timeout_s, pace=pace)

    desk.vendor.find = half
    found = await desk.who("0701740605", "any")
    assert (found.outcome, found.key, desk.link.state) == (Outcome.MATCHED, member_key(), "online")


async def test_who_answers_one_of_two_questions_is_not_offline(desk):
    """A value that can be two things: one question answered, one not, leaves the person unknown and the line up."""
    find = desk.vendor.find

    async def half(reading, *, timeout_s, pace):
        if reading.type is not IdentifierType.MOBILE_PHONE:
            raise VendorUnreachableError("answered 500", maybe_received=True)
        return await find(reading, timeout_s=timeout_s, pace=pace)

    desk.vendor.find = half
    found = await desk.who("0701740605", "any")
    assert (found.outcome, desk.link.state) == (Outcome.UNKNOWN, "online")
    desk.vendor.find = find
    desk.vendor.fault = Offline()
    await desk.who("0701740605", "any")
    assert desk.link.state == "offline"
