"""The intelligent buffer: what an open sale becomes at the moment it is about to be sent."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.link import Link
from agent.domain.pacing import BreakerState
from agent.domain.tagging import Found, Outcome, TaggingPolicy
from agent.errors import (
    ConfigurationError,
    ContactRefusedError,
    Fault,
    StorageDamagedError,
    VendorRefusedError,
    VendorUnreachableError,
)
from agent.ports import Outgoing
from agent.services.buffer import Buffer, BufferPolicy
from agent.services.judge import DispatchPolicy
from agent.services.lane import Lane
from tests.fakes import (
    NOW,
    VENDOR,
    FakeClock,
    FakeReplica,
    FakeVendor,
    Offline,
    acceptance,
    email,
    member,
    member_key,
    open_outbox,
    phone,
    phone_key,
    transaction,
    until,
)

SECONDARY = (IdentifierType.MOBILE_PHONE, IdentifierType.EMAIL)
CARD = Identifier(IdentifierType.CARD_NUMBER, "7350012345")


class Bench:
    """A buffer and everything around it."""

    def __init__(
        self,
        *,
        level=3,
        secondary=SECONDARY,
        live=True,
        unknown="tag",
        lookup=True,
        writer=True,
        vendor=None,
        matches_later=True,
        fresh_for=None,
    ):
        self.remembered = []
        self.clock, self.replica, self.vendor = FakeClock(), FakeReplica(), vendor or FakeVendor()
        self.paced = 0
        self.link = Link(
            VENDOR, "loyalty", requests_per_second=0, backoff_first_s=10, backoff_max_s=900, uniform=lambda _a, b: b
        )
        self.buffer = Buffer(
            clock=self.clock,
            replica=self.replica,
            lookup=self.vendor if lookup else None,
            writer=self.vendor if writer else None,
            link=self.link,
            policy=BufferPolicy(
                TaggingPolicy(IdentifierType.MEMBER_NUMBER, secondary, level),
                live,
                unknown,
                15.0,
                matches_later,
                fresh_for,
            ),
            pace=self.pace,
            asking_now=lambda: self.remembered.append,
        )

    async def pace(self):
        self.paced += 1

    def settle(self, outgoing):
        return self.buffer.settle(outgoing)


PHONE_KEY, PHONE = phone_key(), phone()


def open_sale(*, key=PHONE_KEY, readings=(PHONE,), open_=True, maybe_received=False, **changes):
    return Outgoing(1, 0, maybe_received, key, open_, readings, transaction(**changes), None, b"", NOW)


CONTACT = {"first_name": "Alma", "mobile_phone": phone().value}


async def test_a_settled_sale_passes_unchanged():
    """Nobody is asked about a sale whose member is known."""
    bench = Bench()
    outgoing = open_sale(key=member_key(), open_=False)
    assert await bench.settle(outgoing) is outgoing
    assert bench.vendor.asked == []


@pytest.mark.parametrize(
    ("age_s", "known", "expected"),
    [(3600, [], "10000421"), (3601, ["10000422"], "10000422"), (3601, [], "contact.unknown")],
    ids=["fresh", "old, and somebody else's by now", "old, and nobody's by now"],
)
async def test_an_old_answer_is_not_believed_while_the_vendor_can_be_asked(age_s, known, expected):
    """Who was kept from a look-up goes for known only as long as that counts as fresh; what is said now is kept."""
    bench = Bench(unknown="park", writer=False, matches_later=False, fresh_for=timedelta(hours=1))
    bench.replica.add(replace(member(), as_of=NOW), phone())
    bench.vendor.contacts[phone()] = known
    bench.clock.advance(age_s)
    settled = await bench.settle(open_sale())
    assert (settled.code if isinstance(settled, Verdict) else settled.key.value) == expected
    assert [question for said in bench.remembered for question, _ in said] == ([phone()] if age_s > 3600 else [])


async def test_a_sale_that_may_have_arrived_is_never_touched():
    """Not even when the replica knows better, nor when a new contact waits: the vendor would see two receipts."""
    bench = Bench()
    bench.replica.add(member(), phone())
    outgoing = open_sale(maybe_received=True, new_contact=CONTACT)
    assert await bench.settle(outgoing) is outgoing
    assert (bench.vendor.asked, bench.vendor.created) == ([], [])


async def test_the_replica_is_asked_first():
    """A match there costs nothing and needs no vendor."""
    bench = Bench()
    bench.replica.add(member(), phone())
    assert (await bench.settle(open_sale())).key == member_key()
    assert bench.vendor.asked == []


@pytest.mark.parametrize(
    "prepare",
    [
        lambda bench: setattr(bench.replica, "as_of", None),
        lambda bench: setattr(bench.replica, "resolve", broken),
    ],
    ids=["never loaded or expired", "damaged"],
)
async def test_a_replica_that_cannot_be_used_is_passed_by(prepare):
    """The vendor is asked instead."""
    bench = Bench()
    bench.replica.add(member("1"), phone())
    bench.vendor.contacts[phone()] = ["10000422"]
    prepare(bench)
    assert (await bench.settle(open_sale())).key == member_key("10000422")


def broken(_readings):
    raise StorageDamagedError


async def test_the_vendor_is_asked_at_the_pace_of_its_allowance():
    """Each question takes its share, and an answer says that the line works."""
    bench = Bench()
    bench.vendor.contacts[phone()] = ["10000422"]
    assert (await bench.settle(open_sale(readings=(phone(), email())))).key == member_key("10000422")
    assert (bench.vendor.asked, bench.paced) == ([phone(), email()], 2)
    assert bench.link.state == "online"


@pytest.mark.parametrize(
    ("bench", "asked"),
    [
        (Bench(lookup=False), 0),
        (Bench(live=False), 0),
        (Bench(), 1),
    ],
    ids=["no look-up", "asking is switched off", "not found"],
)
async def test_without_an_answer_the_secondary_key_is_kept(bench, asked):
    """The sale goes under what the customer said."""
    assert (await bench.settle(open_sale())).key == phone_key()
    assert len(bench.vendor.asked) == asked


async def test_what_the_vendor_cannot_be_asked_is_not_asked():
    """A card number Voyado does not know as a key: the sale cannot be matched, and a person has to see it."""
    bench = Bench()
    verdict = await bench.settle(open_sale(key=None, readings=(CARD,)))
    assert (verdict.kind, verdict.code) == (VerdictKind.PARK, "contact.unresolved")
    assert bench.vendor.asked == []


async def test_nobody_is_guessed_among_several():
    """Two people under one phone, here or there: the secondary key, whatever else is configured."""
    here = Bench(unknown="create")
    here.replica.add(member("1"), phone())
    here.replica.add(member("2"), phone())
    there = Bench(unknown="create")
    there.vendor.contacts[phone()] = ["1", "2"]
    for bench in (here, there):
        assert (await bench.settle(open_sale(new_contact=CONTACT))).key == phone_key()
        assert bench.vendor.created == []


async def test_a_doubt_here_can_be_solved_there():
    """The vendor may tell two of the replica's matches apart."""
    bench = Bench()
    bench.replica.add(member("1"), phone())
    bench.replica.add(member("2"), phone())
    bench.vendor.contacts[phone()] = ["2"]
    assert (await bench.settle(open_sale())).key == member_key("2")


class Half(FakeVendor):
    """Cannot be asked for an address."""

    def __init__(self, after_s=None):
        super().__init__()
        self.after_s = after_s

    async def find(self, identifier, *, timeout_s, pace):
        if identifier.type is IdentifierType.EMAIL:
            self.asked.append(identifier)
            raise VendorUnreachableError("answered 500", retry_after_s=self.after_s)
        return await super().find(identifier, timeout_s=timeout_s, pace=pace)


@pytest.mark.parametrize("readings", [(email(), phone()), (phone(), email())], ids=["before", "after"])
async def test_who_is_found_by_one_reading_is_found(readings):
    """One of two readings cannot be asked: a match by the other stands, and the line counts as up."""
    bench = Bench(vendor=Half())
    bench.vendor.contacts[phone()] = ["10000422"]
    assert (await bench.settle(open_sale(readings=readings))).key == member_key("10000422")
    assert bench.link.state == "online"


async def test_a_vendor_that_asks_for_a_pause_is_asked_nothing_more():
    """The other reading waits as well, and the pause is everybody's."""
    bench = Bench(vendor=Half(after_s=30.0))
    await bench.settle(open_sale(readings=(email(), phone())))
    assert bench.vendor.asked == [email()]
    assert bench.link.sending.wait_s(bench.clock.monotonic()) >= 30.0


async def test_two_readings_of_two_people_are_nobody():
    """A value that means one person as a phone and another as an e-mail names neither."""
    bench = Bench()
    bench.vendor.contacts[phone()], bench.vendor.contacts[email()] = ["1"], ["2"]
    assert (await bench.settle(open_sale(readings=(phone(), email())))).key == phone_key()


@pytest.mark.parametrize(
    ("unknown", "expected"),
    [("tag", phone_key()), ("park", "contact.unknown"), ("create", member_key("20000001"))],
)
async def test_somebody_the_vendor_does_not_know(unknown, expected):
    """Tagged, parked or made, as `loyalty.unknown_at_delivery` says."""
    bench = Bench(unknown=unknown)
    settled = await bench.settle(open_sale())
    assert (settled.code if isinstance(settled, Verdict) else settled.key) == expected
    assert len(bench.vendor.created) == (unknown == "create")


async def test_a_stated_secondary_key_is_looked_up_as_what_it_is():
    """A key the till stated without an identifier is its own reading."""
    bench = Bench()
    bench.vendor.contacts[phone()] = ["10000422"]
    assert (await bench.settle(open_sale(readings=()))).key == member_key("10000422")


async def test_a_scanned_member_number_is_believed_when_nobody_knows_it():
    """With secondary keys forbidden, an unresolved member number is sent as what it is."""
    bench = Bench(secondary=())
    number = Identifier(IdentifierType.MEMBER_NUMBER, "10000421")
    assert (await bench.settle(open_sale(key=None, readings=(number,)))).key == member_key("10000421")


# --- a vendor that matches nothing later ------------------------------------------------------------------------


class Deaf(FakeVendor):
    """A vendor that cannot be asked for a phone, as some cannot."""

    def knows(self, identifier):
        return identifier.type is not IdentifierType.MOBILE_PHONE


def deaf(**options):
    return Bench(unknown="park", matches_later=False, writer=False, vendor=Deaf(), **options)


def told_later(outgoing):
    return (outgoing.kind, outgoing.code, outgoing.awaits, outgoing.reached, outgoing.not_received)


AWAITED = (VerdictKind.RETRY, "contact.awaited", True, True, True)
NUMBER = Identifier(IdentifierType.MEMBER_NUMBER, "0701740605")


@pytest.mark.parametrize("readings", [(PHONE,), (PHONE, NUMBER)], ids=["a phone", "a phone, or a number nobody has"])
@pytest.mark.parametrize("as_of", [None, NOW - timedelta(minutes=5), NOW], ids=["none yet", "older", "as old"])
async def test_contacts_that_are_older_than_the_sale_say_nothing(readings, as_of):
    """The customer may have joined in between: the sale waits for newer ones, and nothing is said of the line."""
    bench = deaf()
    bench.replica.as_of = as_of
    assert told_later(await bench.settle(open_sale(readings=readings))) == AWAITED


@pytest.mark.parametrize("readings", [(PHONE,), (PHONE, NUMBER)], ids=["a phone", "a phone, or a number nobody has"])
async def test_newer_contacts_settle_it(readings):
    """Who is among them is found; who is not is left to a person."""
    bench = deaf()
    bench.replica.as_of = NOW + timedelta(seconds=1)
    unknown = await bench.settle(open_sale(readings=readings))
    assert (unknown.kind, unknown.code) == (VerdictKind.PARK, "contact.unknown")
    bench.replica.add(member(), PHONE)
    assert (await bench.settle(open_sale(readings=readings))).key == member_key()


async def test_what_can_be_asked_does_not_wait_for_newer_contacts():
    """The vendor's own answer is as new as can be."""
    bench = deaf()
    bench.replica.as_of = NOW - timedelta(minutes=5)
    verdict = await bench.settle(open_sale(readings=(email(),)))
    assert (verdict.kind, verdict.code) == (VerdictKind.PARK, "contact.unknown")


async def test_without_a_replica_there_is_nothing_to_wait_for():
    """Below level 3 a phone is for a person at once."""
    bench = deaf(level=2)
    bench.replica.as_of = None
    verdict = await bench.settle(open_sale())
    assert (verdict.kind, verdict.code) == (VerdictKind.PARK, "contact.unknown")


async def test_a_phone_that_two_share_is_for_a_person():
    """Sent under it, the sale would be nobody's for ever."""
    bench = deaf()
    bench.replica.as_of = NOW + timedelta(seconds=1)
    for number in ("10000421", "10000422"):
        bench.replica.add(member(number), PHONE)
    verdict = await bench.settle(open_sale())
    assert (verdict.kind, verdict.code) == (VerdictKind.PARK, "contact.unresolved")


# --- new contacts ---------------------------------------------------------------------------------------------


async def test_a_new_customer_is_made_a_contact():
    """With everything they gave, and the sale becomes theirs."""
    bench = Bench()
    settled = await bench.settle(open_sale(readings=(phone(), email()), new_contact=CONTACT))
    ((contact, identifiers),) = bench.vendor.created
    assert settled.key == member_key("20000001")
    assert (contact.first_name, identifiers) == ("Alma", (phone(), email()))


async def test_an_existing_member_is_not_made_again():
    """Somebody who is a member already only gets the sale."""
    bench = Bench()
    bench.vendor.contacts[email()] = ["10000422"]
    settled = await bench.settle(open_sale(readings=(phone(), email()), new_contact=CONTACT))
    assert settled.key == member_key("10000422")
    assert bench.vendor.created == []


async def test_a_contact_that_somebody_else_makes_is_looked_up_again():
    """Another till was faster: this sale alone waits, then finds the contact."""
    bench = Bench()
    found, bench.vendor.find = bench.vendor.find, nobody
    bench.vendor.contacts[phone()] = ["10000422"]
    verdict = await bench.settle(open_sale(new_contact=CONTACT))
    assert (verdict.kind, verdict.alone, verdict.not_received, verdict.reached) == (VerdictKind.RETRY, True, True, True)
    bench.vendor.find = found
    assert (await bench.settle(open_sale(new_contact=CONTACT))).key == member_key("10000422")


async def nobody(_identifier, *, timeout_s, pace):
    return Found(Outcome.NOT_FOUND)


async def test_refused_details_are_for_a_person():
    """The vendor's status and code name are kept, its words are not, and the sale is parked."""
    bench = Bench()

    async def refuse(*_args, **_more):
        raise ContactRefusedError(422, "ValidationError")

    bench.vendor.create = refuse
    verdict = await bench.settle(open_sale(new_contact=CONTACT))
    assert (verdict.kind, verdict.code, verdict.not_received) == (VerdictKind.PARK, "contact.refused", True)
    assert (verdict.status, verdict.vendor_code) == (422, "ValidationError")
    assert verdict.title == "The loyalty system refuses what the customer gave."


async def test_a_vendor_that_makes_no_contacts_gets_the_tagged_sale():
    """The customer is not made a contact, and the sale is not lost."""
    bench = Bench(writer=False)
    assert (await bench.settle(open_sale(new_contact=CONTACT))).key == phone_key()


async def test_nothing_to_make_a_contact_from_is_parked():
    """A card number alone does not make a contact."""
    bench = Bench(unknown="create")
    bench.vendor.knows = lambda _identifier: True
    verdict = await bench.settle(open_sale(key=None, readings=(CARD,)))
    assert (verdict.kind, verdict.code) == (VerdictKind.PARK, "contact.unknown")


# --- when the vendor cannot be asked --------------------------------------------------------------------------


async def test_a_sale_that_can_go_without_an_answer_goes():
    """The line is noted as silent; the sale goes under its secondary key."""
    bench = Bench()
    bench.vendor.fault = Offline()
    assert (await bench.settle(open_sale())).key == phone_key()
    assert bench.link.state == "offline"


@pytest.mark.parametrize(
    ("bench", "sale"),
    [
        (Bench(), open_sale(new_contact=CONTACT)),
        (Bench(unknown="park"), open_sale()),
        (Bench(unknown="create"), open_sale()),
        (Bench(secondary=()), open_sale(key=None)),
    ],
    ids=["a new contact", "park", "create", "no key at all"],
)
async def test_a_sale_that_needs_an_answer_waits(bench, sale):
    """It keeps its place, the vendor cannot have it, and the lane hears that nobody answers."""
    bench.vendor.fault = Offline(retry_after_s=30.0)
    verdict = await bench.settle(sale)
    assert (verdict.kind, verdict.code) == (VerdictKind.RETRY, "vendor.offline")
    assert (verdict.reached, verdict.alone, verdict.not_received) == (False, False, True)
    assert bench.vendor.created == []


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (VendorRefusedError(), "vendor.credentials_refused"),
        (ConfigurationError([Fault("credential:key", "is empty")]), "vendor.credentials_missing"),
    ],
    ids=["refused", "missing"],
)
async def test_bad_credentials_hold_the_lane(fault, code):
    """Everything is held, and this sale has not been received."""
    bench = Bench()
    bench.vendor.fault = fault
    verdict = await bench.settle(open_sale())
    assert (verdict.kind, verdict.code, verdict.not_received) == (VerdictKind.HOLD, code, True)


# --- through the lane -----------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def lane(outbox, bench):
    lane = Lane(
        clock=bench.clock, queue=outbox, connector=bench.vendor, link=bench.link, settle_tag=bench.settle,
        corrected=bench.link.corrected, policy=DispatchPolicy(0.005, 10, 900),
        uniform=lambda _a, b: b, told=lambda *_: None, changed=lambda: None,
    )  # fmt: skip
    task = asyncio.create_task(lane.run())
    try:
        yield lane
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("moment", ["before the contact is made", "before its key is written down"])
async def test_a_contact_is_made_once_across_a_kill(tmp_path, moment):
    """Killed on either side of making the contact, the next run makes it if it is not there, and only then."""
    bench = Bench()
    path = tmp_path / "outbox.db"
    record = acceptance(key=phone_key(), readings=(phone(),), open_=True, new_contact=CONTACT)
    with open_outbox(path, run="one") as outbox:
        await outbox.accept(record, NOW)
        (outgoing,) = await outbox.lease(VENDOR, 1, NOW)
        if moment == "before its key is written down":
            await bench.settle(outgoing)
    with open_outbox(path, run="two") as outbox:
        async with lane(outbox, bench):
            await until(lambda: outbox.info().depth == 0)
    assert len(bench.vendor.created) == 1
    assert bench.vendor.taken == {record.transaction.transaction_id: member_key("20000001")}


async def test_an_open_sale_rises_after_an_outage(tmp_path):
    """Taken and tried while the line was down, it goes under its member's key once the vendor can be asked."""
    bench = Bench()
    bench.vendor.fault = Offline()
    offline = Verdict(VerdictKind.RETRY, "vendor.offline", reached=False, not_received=True)
    bench.vendor.answer = lambda _outgoing: offline
    with open_outbox(tmp_path / "outbox.db") as outbox:
        await outbox.accept(acceptance("sale", key=phone_key(), readings=(phone(),), open_=True), NOW)
        async with lane(outbox, bench):
            await until(lambda: bench.link.sending.state is BreakerState.OPEN)  # no attempt is under way any more
            bench.vendor.fault, bench.vendor.answer = None, lambda _outgoing: None
            bench.vendor.contacts[phone()] = ["10000422"]
            while outbox.info().depth:
                bench.clock.advance(60)
                await asyncio.sleep(0.01)
    assert bench.vendor.taken == {"sale": member_key("10000422")}
