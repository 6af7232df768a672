"""Making contacts at the till: never twice, never lost, and at the vendor before the sales that need them."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, timedelta

import pytest

from agent.connectors.base import IDLE_PING_S
from agent.domain.delivery import DONE, VerdictKind
from agent.domain.enrolment import EnrolmentState
from agent.domain.health import Conditions
from agent.domain.identifiers import IdentifierType, Normaliser
from agent.domain.link import Link
from agent.domain.retention import RetentionPlan
from agent.domain.tagging import Found, Outcome, TaggingPolicy
from agent.domain.transaction import Consent, NewContact
from agent.errors import (
    AmbiguousContactError,
    ContactRefusedError,
    Fault,
    InputError,
    ReadOnlyContactsError,
    StorageFullError,
    UnderWayError,
    VendorOwnError,
    VendorRefusedError,
)
from agent.ports import Outgoing, Recipient, Settled
from agent.services.asking import Asking
from agent.services.bringing import Bringing, Manner
from agent.services.buffer import Buffer, BufferPolicy
from agent.services.contacts import LocalContacts, Newcomers
from agent.services.enrolling import Enrolling, EnrolPolicy
from agent.services.gathering import Gathering
from agent.services.handles import Handles
from agent.services.identify import Identify, IdentifyPolicy
from agent.services.intake import Intake, IntakePolicy
from agent.services.judge import DispatchPolicy
from agent.services.lane import Lane
from agent.services.turns import ERRORS_ALONE, OWN_FAILURES, SLICE, TURN, Turns
from agent.store.bulk import new_contacts
from agent.store.enrolments import Enrolments
from agent.store.mending import Clues, mend
from tests.fakes import (
    NAMES,
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

PREFIX = "1042-03-"
ALMA = NewContact(first_name="Alma", mobile_phone="070-174 06 05", email="alma@example.com")
TAGGING = TaggingPolicy(IdentifierType.MEMBER_NUMBER, (IdentifierType.MOBILE_PHONE, IdentifierType.EMAIL), 4)
DAY = timedelta(days=1)


class Desk:
    """Enrolling and everything around it, on a real outbox."""

    def __init__(self, outbox, *, offered=True, writer=True, budget_s=30.0, bulk=None):
        self.clock, self.replica, self.vendor, self.conditions = FakeClock(), FakeReplica(), FakeVendor(), Conditions()
        self.record = Enrolments(outbox._writer, outbox._reader, names=NAMES)
        self.newcomers = Newcomers(self.record, ("first_name",))
        self.link = Link(
            VENDOR, "loyalty", requests_per_second=0, backoff_first_s=10, backoff_max_s=900, uniform=lambda _a, b: b
        )
        self.room, self.added = True, 0
        self.identify = Identify(
            clock=self.clock,
            normaliser=Normaliser("SE"),
            replica=self.replica,
            lookup=self.vendor,
            asking=Asking(self.clock, self.link, live=True, budget_s=budget_s),
            link=self.link,
            handles=Handles(self.clock),
            named=self.named,
            policy=IdentifyPolicy(TAGGING, DAY, frozenset()),
            newcomers=self.newcomers,
        )
        self.calls = new_contacts(outbox._writer, outbox._reader)
        gathering = bulk and Gathering(
            clock=self.clock,
            record=self.record,
            calls=self.calls,
            bulk=bulk(self.vendor),
            turns=self.turns(),
            store_id="1042",
            timeout_s=15.0,
            pace=self.pace,
            listed=LocalContacts(self.replica, TAGGING).lists,
        )
        self.bringing = Bringing(
            clock=self.clock,
            record=self.record,
            newcomers=self.newcomers,
            lookup=self.vendor,
            writer=self.vendor if writer else None,
            turns=self.turns(),
            manner=Manner("1042", 15.0, self.pace),
            existing=self.is_existing,
            sales_again=lambda key: outbox.go_again(VENDOR, key, self.clock.now()),
            conditions=self.conditions,
            gathering=gathering,
        )
        self.enrolling = Enrolling(
            clock=self.clock,
            normaliser=Normaliser("SE"),
            record=self.record,
            newcomers=self.newcomers,
            contacts=LocalContacts(self.replica, TAGGING, self.newcomers),
            live=self.identify.live,
            asking=Asking(self.clock, self.link, live=True, budget_s=budget_s, patient=True),
            bringing=self.bringing,
            link=self.link,
            policy=EnrolPolicy(offered and writer, PREFIX, DAY),
            room=lambda: self.room,
            added=self.wake,
        )
        self.buffer = Buffer(
            clock=self.clock,
            replica=self.replica,
            lookup=self.vendor,
            writer=self.vendor,
            link=self.link,
            policy=BufferPolicy(TAGGING, live=True, unknown_at_delivery="tag", timeout_s=15.0),
            pace=self.pace,
            newcomers=self.newcomers,
            made=self.bringing.key_of,
            alone=self.bringing.making.alone,
        )

    def turns(self):
        return Turns(self.clock, self.link, first_s=10.0, longest_s=900.0, uniform=lambda _low, high: high)

    async def pace(self):
        pass

    async def named(self, _key, _names):
        """Nothing is on record of anybody that would have to know how they were named."""

    async def is_existing(self, _made, _key):
        """What is done for whom the vendor has already is the changes' own."""

    def wake(self):
        self.added += 1

    async def enrol(self, contact=ALMA):
        return await self.enrolling.enrol(contact)

    async def offline(self, contact=ALMA):
        """Somebody who was enrolled while nobody answered; the line is back."""
        self.vendor.fault = Offline()
        made = await self.enrol(contact)
        self.vendor.fault = None
        return made.member

    async def deliver(self):
        return await self.bringing.deliver(lambda: True)

    def standing(self):
        return [condition.code for condition in self.conditions.standing()]


@pytest.fixture
def open_desk(tmp_path):
    @contextlib.contextmanager
    def opener(run="run-1", **how):
        with open_outbox(tmp_path / "outbox.db", run=run) as outbox:
            yield Desk(outbox, **how)

    return opener


@pytest.fixture
def desk(open_desk):
    with open_desk() as opened:
        yield opened


# --- at the till ------------------------------------------------------------------------------------------------


async def test_the_vendor_makes_them_while_the_cashier_waits(desk):
    """With the line up the key is the vendor's own, and what was given is not kept here."""
    made = await desk.enrol()
    assert (made.state, made.member.key, made.member.own) == ("delivered", member_key("20000001"), False)
    assert (made.served.source, made.served.level, made.codes) == ("live", 4, ())
    ((contact, identifiers),) = desk.vendor.created
    assert contact.mobile_phone == phone(5).value, "in its one form"
    assert identifiers[:2] == (phone(5), email())
    assert identifiers[2].type is IdentifierType.EXTERNAL_ID
    assert identifiers[2].value.startswith(PREFIX)
    (kept,) = desk.record.find((phone(5),))
    assert (kept.contact, desk.added) == (None, 0)


async def test_without_the_line_they_are_a_member_at_once(desk):
    """Under this till's own number, on disk; the lane is told that something waits."""
    desk.vendor.fault = Offline()
    made = await desk.enrol()
    assert (made.state, made.member.own, made.codes) == ("queued", True, ("loyalty.enrolled_offline",))
    assert (made.member.key.type, made.member.key.value.startswith(PREFIX)) == (IdentifierType.EXTERNAL_ID, True)
    assert (made.member.fields, made.served.source, desk.added) == ({"first_name": "Alma"}, "replica", 1)
    assert desk.vendor.created == []


@pytest.mark.parametrize("said", [phone(5), email(), None], ids=["phone", "e-mail", "own number"])
async def test_who_was_made_here_is_identified(desk, said):
    """By everything they gave and by the number on their slip, without anybody being asked."""
    made = await desk.offline()
    desk.vendor.asked.clear()
    desk.replica.as_of = None  # nobody else is known here
    statement = said or made.key.identifier
    found = await desk.identify.identify(type("Statement", (), {"type": statement.type, "value": statement.value})())
    assert (found.outcome, found.member, found.key) == (Outcome.MATCHED, made, made.key)
    assert desk.vendor.asked == []


async def test_a_repeat_is_the_same_contact(desk):
    """A till that got no answer asks again: nobody is made twice, here or there."""
    first = await desk.offline()
    again = await desk.enrol()
    assert (again.state, again.member) == ("queued", first)
    await desk.deliver()
    later = await desk.enrol()
    assert (later.state, later.member.ref, later.member.key) == ("delivered", first.ref, member_key("20000001"))
    assert len(desk.vendor.created) == 1


async def test_repeats_at_once_are_the_same_contact(desk):
    """Two calls side by side make one contact, and both are told of it."""
    made = await asyncio.gather(desk.enrol(), desk.enrol())
    assert len({one.member.ref for one in made}) == 1
    assert len(desk.vendor.created) == 1


async def test_the_lane_waits_for_the_till(desk, monkeypatch):
    """It would bring what was just put on disk: the vendor is not asked a second time, and the till has its key."""
    add, create, asked, lanes = desk.record.add, desk.vendor.create, [], []

    async def then_brought(*args, **kwargs):
        added = await add(*args, **kwargs)
        lanes.append(asyncio.create_task(desk.deliver()))
        await asyncio.sleep(0.01)
        return added

    async def counted(contact, identifiers, **kwargs):
        asked.append(contact)
        return await create(contact, identifiers, **kwargs)

    monkeypatch.setattr(desk.record, "add", then_brought)
    desk.vendor.create = counted
    made = await desk.enrol()
    await asyncio.gather(*lanes)
    assert (made.state, made.member.key, len(asked)) == ("delivered", member_key("20000001"), 1)


async def test_who_is_a_member_is_told_instead(desk):
    """By the local contacts, else by asking: nothing is kept, nobody is made."""
    desk.replica.add(member("10000421"), phone(5))
    known = await desk.enrol()
    assert (known.state, known.member, known.served.source) == ("existing", member("10000421"), "replica")
    desk.vendor.contacts[phone(6)] = ["10000422"]
    asked = await desk.enrol(NewContact(mobile_phone=phone(6).value))
    assert (asked.state, asked.member.key, asked.served.source) == ("existing", member_key("10000422"), "live")
    assert asked.member.ref
    assert (desk.vendor.created, desk.record.find((phone(5), phone(6)))) == ([], ())


@pytest.mark.parametrize("where", ["replica", "vendor", "here"])
async def test_nobody_is_guessed(desk, where):
    """What several people share makes no contact."""
    if where == "replica":
        desk.replica.add(member("1"), phone(5))
        desk.replica.add(member("2"), email())
    elif where == "vendor":
        desk.vendor.contacts[phone(5)] = ["1", "2"]
    else:
        await desk.offline(NewContact(mobile_phone=phone(5).value))
        await desk.offline(NewContact(email=email().value))
    with pytest.raises(AmbiguousContactError):
        await desk.enrol()
    assert desk.vendor.created == []


@pytest.mark.parametrize(
    ("contact", "pointers"),
    [
        (NewContact(first_name="Alma"), ["/mobile_phone"]),
        (NewContact(mobile_phone="12", email="alma"), ["/mobile_phone", "/email"]),
        (NewContact(mobile_phone=phone(5).value, birth_date=(NOW + DAY).date()), ["/birth_date"]),
    ],
    ids=["nothing names them", "no such phone, no such address", "not born yet"],
)
async def test_a_cashier_hears_what_is_wrong(desk, contact, pointers):
    """Each field by its place, and nothing is kept."""
    with pytest.raises(InputError) as refused:
        await desk.enrol(contact)
    assert [fault.pointer for fault in refused.value.faults] == pointers
    assert desk.record.queued(10) == []


@pytest.mark.parametrize("how", [{"offered": False}, {"writer": False}], ids=["level 3", "the vendor takes none"])
async def test_a_till_that_makes_no_contacts_says_so(open_desk, how):
    """Before anything is looked at."""
    with open_desk(**how) as desk, pytest.raises(ReadOnlyContactsError):
        await desk.enrol(NewContact())


@pytest.mark.parametrize("line", ["up", "down"])
async def test_what_has_no_place_at_the_vendor_is_said_at_once(desk, line):
    """Whether it answers or not: a consent that it cannot keep is not taken and lost later."""
    desk.vendor.placeless = [Fault("/consents/0", "has no place at the loyalty system")]
    desk.vendor.fault = Offline() if line == "down" else None
    consent = Consent(id="news", value=True, given_at=NOW, place="1042")
    with pytest.raises(InputError) as caught:
        await desk.enrol(ALMA.model_copy(update={"consents": (consent,)}))
    assert [fault.pointer for fault in caught.value.faults] == ["/consents/0"]
    assert (desk.vendor.created, desk.record.find((phone(5),))) == ([], ())


async def test_what_the_vendor_refuses_now_is_taken_back(desk):
    """The cashier mends it and asks again; nothing of the first attempt is kept, and its number is not given again."""
    refused = ContactRefusedError(422, "ValidationError", ("birth_date",))
    desk.vendor.create = _raising(refused)
    with pytest.raises(ContactRefusedError) as told:
        await desk.enrol()
    assert [fault.pointer for fault in told.value.faults] == ["/birth_date"]
    assert (desk.record.find((phone(5),)), desk.standing()) == ((), [])
    del desk.vendor.create
    assert (await desk.enrol()).state == "delivered"


def _refusing_later(desk, gate):
    async def create(*_args, **_kwargs):
        desk.vendor.pings += 1  # it is asked
        await gate.wait()
        raise ContactRefusedError(422, "ValidationError", ("birth_date",))

    asked = desk.vendor.pings
    desk.vendor.create = create
    return lambda: desk.vendor.pings > asked


async def test_nobody_is_told_of_a_contact_whose_fate_is_being_decided(desk):
    """A second till waits for what becomes of it, and hears the same refusal; nothing is kept."""
    gate = asyncio.Event()
    asked = _refusing_later(desk, gate)
    first = asyncio.create_task(desk.enrol())
    await until(asked)
    second = asyncio.create_task(desk.enrol())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not second.done()
    gate.set()
    told = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(error) for error in told] == [ContactRefusedError] * 2
    assert (desk.record.find((phone(5),)), desk.standing()) == ((), [])


async def test_whom_somebody_was_told_of_is_not_taken_back(desk):
    """Found by their phone while the vendor is asked, they may have bought something: the refusal parks them."""
    gate = asyncio.Event()
    asked = _refusing_later(desk, gate)
    first = asyncio.create_task(desk.enrol())
    await until(asked)
    (found,) = desk.newcomers.find((phone(5),))
    gate.set()
    with pytest.raises(ContactRefusedError):
        await first
    (kept,) = desk.record.find((phone(5),))
    assert (kept.ref, kept.state, kept.status) == (found.ref, EnrolmentState.PARKED, 422)
    assert desk.standing() == ["contacts.parked"]
    assert (await desk.buffer.settle(sale_of(found.key))).code == "contact.refused"


async def test_nobody_finds_whoever_is_being_taken_back(desk, monkeypatch):
    """Not even while the row is still on disk."""
    drop, found = desk.record.drop, []

    async def watched(number):
        found.append((desk.record.find((phone(5),)) != (), desk.newcomers.find((phone(5),))))
        await drop(number)

    monkeypatch.setattr(desk.record, "drop", watched)
    desk.vendor.create = _raising(ContactRefusedError(422, "ValidationError"))
    with pytest.raises(ContactRefusedError):
        await desk.enrol()
    assert found == [(True, ())]


def _given(*, email=None, agreed=None, minute=0):
    consent = {"id": "news", "value": agreed, "given_at": f"2026-02-14T16:{minute:02}:00+01:00", "place": "1042"}
    return NewContact.model_validate(
        {"mobile_phone": phone(5).value, "email": email, "consents": [consent] if agreed is not None else []}
    )


async def test_what_is_given_again_goes_along(desk):
    """The vendor does not have them yet: it gets the later word of each field, and what was not said again."""
    first = await desk.offline(_given(agreed=True))
    desk.vendor.fault, woken = Offline(), desk.added
    again = await desk.enrol(_given(email="alma@example.com", agreed=False, minute=30))
    assert (again.state, again.member.ref, again.member.key) == ("queued", first.ref, first.key)
    assert desk.added == woken + 1
    late = await desk.enrol(_given(agreed=True))  # a repeat of the first call that was long on its way
    assert (late.state, late.member.ref, desk.added) == ("queued", first.ref, woken + 1)
    assert desk.newcomers.find((email(),)), "found by what came later too"
    desk.vendor.fault = None
    await desk.deliver()
    ((contact, identifiers),) = desk.vendor.created
    assert (contact.consents[0].value, contact.email) == (False, "alma@example.com")
    assert identifiers[:2] == (phone(5), email())


async def test_what_is_given_again_too_late_is_not_taken(open_desk):
    """While the contact is on its way nothing can be added to it: the till is told to ask again."""
    with open_desk(budget_s=0.05) as desk:
        await desk.offline(_given(agreed=True))
        making, gate = desk.vendor.create, asyncio.Event()

        async def slow(*args, **kwargs):
            desk.vendor.pings += 1
            await gate.wait()
            return await making(*args, **kwargs)

        desk.vendor.create = slow
        lane = asyncio.create_task(desk.deliver())
        await until(lambda: desk.vendor.pings > 0)
        with pytest.raises(UnderWayError):
            await desk.enrol(_given(agreed=False, minute=30))
        assert (await desk.enrol(_given(agreed=True))).state == "queued", "a repeat needs nothing added"
        gate.set()
        assert await lane == 1
        assert desk.vendor.created[0][0].consents[0].value is True


async def test_no_room(desk):
    """On a full disk nobody is told welcome."""
    desk.room = False
    with pytest.raises(StorageFullError):
        await desk.enrol()
    assert (desk.record.queued(10), desk.vendor.created) == ([], [])


async def test_an_answer_that_is_lost_is_looked_up(desk):
    """The vendor made them, and nobody heard: they are found there, not made again."""
    making = desk.vendor.create

    async def deaf(*args, **kwargs):
        await making(*args, **kwargs)
        raise Offline

    desk.vendor.create = deaf
    made = await desk.enrol()
    assert made.state == "queued"
    desk.vendor.create = making
    assert await desk.deliver() == 1
    assert desk.record.find((phone(5),))[0].key == member_key("20000001")
    assert len(desk.vendor.created) == 1


async def test_a_slow_vendor_is_not_waited_for(open_desk):
    """The cashier's patience ends; the contact is on disk and gets there later."""
    with open_desk(budget_s=0.05) as desk:
        making, desk.vendor.create = desk.vendor.create, _stuck
        assert (await desk.enrol()).state == "queued"
        desk.vendor.create = making
        assert await desk.deliver() == 1
        assert len(desk.vendor.created) == 1


async def _stuck(*_args, **_kwargs):
    await asyncio.Event().wait()


def _raising(error):
    async def create(*_args, **_kwargs):
        raise error

    return create


# --- in the lane ------------------------------------------------------------------------------------------------


async def test_what_waits_is_brought_there_by_a_later_run(open_desk):
    """Whatever ended the run that made them."""
    with open_desk() as desk:
        await desk.offline()
    with open_desk("run-2") as desk:
        assert await desk.deliver() == 1
        (found,) = desk.record.find((phone(5),))
        assert (found.state, found.key) == (EnrolmentState.DELIVERED, member_key("20000001"))
        assert await desk.deliver() == 0


async def test_who_has_become_a_member_elsewhere_is_not_made_again(desk):
    """The vendor is asked first: the till goes on with the contact that is there."""
    await desk.offline()
    desk.vendor.contacts[email()] = ["10000499"]
    assert await desk.deliver() == 1
    assert (desk.vendor.created, desk.record.find((phone(5),))[0].key) == ([], member_key("10000499"))


async def test_what_the_vendor_refuses_later_is_parked(desk):
    """It is told to people, is asked for no more by itself, and the others go on."""
    await desk.offline()
    await desk.offline(NewContact(mobile_phone=phone(6).value))
    making, refused = desk.vendor.create, ContactRefusedError(422, "ValidationError")

    async def picky(contact, identifiers, **kwargs):
        if phone(5) in identifiers:
            raise refused
        return await making(contact, identifiers, **kwargs)

    desk.vendor.create = picky
    assert await desk.deliver() == 2
    (parked,) = desk.record.find((phone(5),))
    assert (parked.state, parked.status, parked.vendor_code) == (EnrolmentState.PARKED, 422, "ValidationError")
    assert desk.record.find((phone(6),))[0].state is EnrolmentState.DELIVERED
    assert desk.standing() == ["contacts.parked"]
    assert await desk.deliver() == 0
    desk.vendor.create = making
    assert await desk.bringing.key_of(parked.own_key) == member_key("20000002")
    assert desk.standing() == []


async def test_what_was_refused_is_mended_by_giving_it_again(desk):
    """What is given now takes the place of what was, under the same number and handle, and is tried again."""
    made = await desk.offline(NewContact(mobile_phone=phone(5).value, email="wrong@example.com"))
    making, desk.vendor.create = desk.vendor.create, _raising(ContactRefusedError(422, "ValidationError"))
    await desk.deliver()
    desk.vendor.create, woken = making, desk.added
    again = await desk.enrol()
    assert (again.state, again.member.ref, again.member.key) == ("queued", made.ref, made.key)
    assert (desk.added, desk.standing()) == (woken + 1, [])
    assert await desk.deliver() == 1
    ((contact, identifiers),) = desk.vendor.created
    assert (contact.email, identifiers[:2]) == ("alma@example.com", (phone(5), email()))
    assert desk.record.find((email("wrong"),)) == ()
    assert desk.record.find((email(),))[0].key == member_key("20000001")


async def test_a_later_run_tells_of_what_is_parked(open_desk):
    """The condition stands again as soon as the lane has its first turn."""
    with open_desk() as desk:
        await desk.offline()
        desk.vendor.create = _raising(ContactRefusedError(422, "ValidationError"))
        await desk.deliver()
    with open_desk("run-2") as desk:
        assert await desk.deliver() == 0
        assert desk.standing() == ["contacts.parked"]


async def test_a_mistake_of_ours_stops_nothing(desk):
    """One contact that the program fails on waits; the others are made, and sales have their turn."""
    await desk.offline()
    await desk.offline(NewContact(mobile_phone=phone(6).value))
    making = desk.vendor.create

    async def mistaken(contact, identifiers, **kwargs):
        if phone(5) in identifiers:
            raise ZeroDivisionError
        return await making(contact, identifiers, **kwargs)

    desk.vendor.create = mistaken
    await desk.deliver()
    assert desk.record.find((phone(6),))[0].state is EnrolmentState.DELIVERED
    assert desk.record.find((phone(5),))[0].state is EnrolmentState.QUEUED
    desk.vendor.create = making
    desk.bringing.line_changed()
    assert await desk.deliver() == 1


async def test_several_people_there_are_not_guessed_among(desk):
    """What was given is two people's at the vendor: it waits for a person."""
    await desk.offline()
    desk.vendor.contacts[phone(5)], desk.vendor.contacts[email()] = ["1"], ["2"]
    assert await desk.deliver() == 1
    (parked,) = desk.record.find((phone(5),))
    assert (parked.state, parked.vendor_code) == (EnrolmentState.PARKED, "contact.ambiguous")


async def test_no_answer_is_the_lines_trouble(desk):
    """It is raised for the lane to hear, and the contact waits a while; when the line is back it need not."""
    await desk.offline()
    desk.vendor.fault = Offline()
    with pytest.raises(Offline):
        await desk.deliver()
    desk.vendor.fault = None
    assert await desk.deliver() == 0
    desk.bringing.line_changed()
    assert await desk.deliver() == 1


async def test_who_keeps_failing_waits_also_when_the_line_is_back(desk):
    """It may be to blame itself; the others are not held up by it, and its turn comes."""
    await desk.offline()
    desk.vendor.create = _raising(VendorOwnError("answered 500"))
    for _ in range(4):
        assert await desk.deliver() == 0
        desk.clock.advance(900)
    await desk.offline(NewContact(mobile_phone=phone(6).value))
    assert await desk.deliver() == 0, "the first draws an error, and sales have their turn"
    desk.bringing.line_changed()
    del desk.vendor.create
    assert await desk.deliver() == 1
    assert desk.record.find((phone(6),))[0].state is EnrolmentState.DELIVERED
    desk.clock.advance(900)
    assert await desk.deliver() == 1


async def test_refused_credentials_are_raised(desk):
    """For the lane to be held; nothing is parked."""
    await desk.offline()
    desk.vendor.fault = VendorRefusedError()
    with pytest.raises(VendorRefusedError):
        await desk.deliver()
    assert desk.record.queued(10)[0].state is EnrolmentState.QUEUED


async def test_refused_contacts_wait_together(desk):
    """Our credentials may be good for all but this: the lane is not held again for each contact, nor for each sale."""
    made = await desk.offline()
    await desk.offline(NewContact(mobile_phone=phone(6).value))
    desk.vendor.create = _raising(VendorRefusedError())
    for pause_s in (10, 20, 40, 80, 160):
        with pytest.raises(VendorRefusedError):
            await desk.deliver()
        desk.bringing.line_changed()  # the lane's probe went through
        desk.clock.advance(pause_s - 1)
        assert await desk.deliver() == 0
        verdict = await desk.buffer.settle(sale_of(made.key))
        assert (verdict.kind, verdict.code, verdict.awaits) == (
            VerdictKind.RETRY,
            "vendor.credentials_refused",
            True,
        )
        desk.clock.advance(1)
    desk.clock.advance(900)
    del desk.vendor.create
    assert await desk.deliver() == 2


async def test_a_refusal_of_everything_is_not_held_against_contacts(desk):
    """While the line is refused anyway a contact's pause does not grow: it goes as soon as the key is good again."""
    made = await desk.offline()
    desk.vendor.fault = VendorRefusedError()
    desk.link.credentials_refused(desk.clock.now(), desk.clock.monotonic())
    for _ in range(5):
        assert (await desk.buffer.settle(sale_of(made.key))).kind is VerdictKind.HOLD
    desk.vendor.fault = None
    assert await desk.deliver() == 1


async def test_whom_the_vendor_neither_makes_nor_finds_is_parked(desk):
    """After so many tries of its own; a person has to look there."""
    await desk.offline()

    async def exists(*_args, **_kwargs):
        return Found(Outcome.AMBIGUOUS)

    desk.vendor.create = exists
    for _ in range(OWN_FAILURES - 1):
        assert await desk.deliver() == 1
        assert desk.standing() == []
        desk.clock.advance(900)
    assert await desk.deliver() == 1
    (parked,) = desk.record.find((phone(5),))
    assert (parked.state, parked.vendor_code) == (EnrolmentState.PARKED, "contact.exists")
    assert desk.standing() == ["contacts.parked"]


async def test_who_draws_errors_while_others_are_made_is_parked(desk):
    """Errors of an outage speak against nobody; those that come for one contact alone are its own."""
    await desk.offline()
    making = desk.vendor.create

    async def picky(contact, identifiers, **kwargs):
        if phone(5) in identifiers:
            raise VendorOwnError("answered 500")
        return await making(contact, identifiers, **kwargs)

    desk.vendor.create = _raising(VendorOwnError("answered 500"))
    for _ in range(2 * OWN_FAILURES):
        await desk.deliver()
        desk.clock.advance(900)
    assert desk.standing() == [], "an outage"
    desk.vendor.create = picky
    for place in range(2 * OWN_FAILURES):
        for of_many in range(ERRORS_ALONE):
            await desk.offline(NewContact(email=f"n{place}-{of_many}@example.com"))
        await desk.deliver()  # an error, and then the others
        await desk.deliver()
        desk.clock.advance(900)
        if desk.standing():
            break
    (parked,) = desk.record.find((phone(5),))
    assert (parked.state, parked.vendor_code) == (EnrolmentState.PARKED, VendorOwnError.code)
    assert desk.record.queued(100) == []


async def test_many_that_wait_starve_nobody(desk):
    """Whoever comes behind a whole slice of contacts that are put off is brought."""
    for place in range(SLICE + 1):
        await desk.offline(NewContact(email=f"n{place}@example.com"))
    newest, making = f"n{SLICE}@example.com", desk.vendor.create

    async def picky(contact, identifiers, **kwargs):
        if contact.email != newest:
            return Found(Outcome.AMBIGUOUS)
        return await making(contact, identifiers, **kwargs)

    desk.vendor.create = picky
    for _ in range(SLICE // TURN + 1):
        await desk.deliver()
    assert [contact.email for contact, _ in desk.vendor.created] == [newest]


async def test_sales_have_their_turn(desk):
    """So many contacts and no more are brought at a time, and none once the lane must stop."""
    for place in range(TURN + 1):
        await desk.offline(NewContact(email=f"n{place}@example.com"))
    desk.link.answers = True
    assert await desk.bringing.deliver(lambda: False) == 0
    assert await desk.deliver() == TURN
    assert await desk.deliver() == 1


async def test_somebody_else_is_just_making_them(desk):
    """Two tills raced: it is tried again, and the line is not blamed."""
    made = await desk.offline()

    async def raced(*_args, **_kwargs):
        return Found(Outcome.AMBIGUOUS)

    desk.vendor.create = raced
    verdict = await desk.bringing.key_of(made.key)
    assert (verdict.kind, verdict.code, verdict.reached) == (VerdictKind.RETRY, "contact.exists", True)
    assert await desk.deliver() == 1
    assert desk.record.queued(10)[0].state is EnrolmentState.QUEUED


async def test_nobody_is_known_by_a_number_any_more(desk):
    """Who was erased meanwhile is nobody."""
    made = await desk.offline()
    await desk.record.drop(desk.record.by_ref(made.ref).number)
    assert await desk.bringing.key_of(made.key) is None


# --- the sales of who was made here -----------------------------------------------------------------------------


def sale_of(key, *, readings=(), open_=True, maybe_received=False, **sale):
    return Outgoing(1, 0, maybe_received, key, open_, readings, transaction(**sale), None, b"", NOW)


async def test_a_sale_goes_under_the_vendors_key(desk):
    """The contact is made first, once; the sale has this till's own number no more."""
    made = await desk.offline()
    for _ in range(2):
        assert (await desk.buffer.settle(sale_of(made.key))).key == member_key("20000001")
    assert len(desk.vendor.created) == 1


@pytest.mark.parametrize("first", ["the sale", "the till"])
async def test_a_sale_that_has_them_new_meets_the_till(desk, first):
    """A vendor need not refuse a second contact with the same phone: whoever comes later finds the first."""
    behind, create, under_way = asyncio.Event(), desk.vendor.create, []

    async def slowly(contact, identifiers, **kwargs):
        under_way.append(contact)
        await behind.wait()
        for one in identifiers:
            desk.vendor.contacts.pop(one, None)  # it would make another one
        return await create(contact, identifiers, **kwargs)

    desk.vendor.create = slowly
    sale = sale_of(phone_key(), readings=(phone(5), email()), new_contact=ALMA.model_dump())
    both = [desk.buffer.settle(sale), desk.enrol()]
    tasks = [asyncio.create_task(one) for one in (both if first == "the sale" else reversed(both))]
    await until(lambda: under_way)
    await asyncio.sleep(0.01)
    behind.set()
    done = await asyncio.gather(*tasks)
    sold, made = done if first == "the sale" else reversed(done)
    assert (sold.key, made.member.key) == (member_key("20000001"), member_key("20000001"))
    assert made.state == ("existing" if first == "the sale" else "delivered")
    assert len(under_way) == 1


async def test_a_cashier_does_not_wait_for_a_sale_for_longer_than_the_budget(open_desk):
    """Who is being made by a sale is enrolled as without the line, and is whom the sale has made."""
    with open_desk(budget_s=0.05) as desk:
        behind, create = asyncio.Event(), desk.vendor.create

        async def slowly(contact, identifiers, **kwargs):
            await behind.wait()
            return await create(contact, identifiers, **kwargs)

        desk.vendor.create = slowly
        sale = sale_of(phone_key(), readings=(phone(5), email()), new_contact=ALMA.model_dump())
        selling = asyncio.create_task(desk.buffer.settle(sale))
        await asyncio.sleep(0.01)
        made = await desk.enrol()
        assert (made.state, made.member.own) == ("queued", True)
        behind.set()
        assert (await selling).key == member_key("20000001")
        assert await desk.deliver() == 1
        assert await desk.bringing.key_of(made.member.key) == member_key("20000001")
        assert len(desk.vendor.created) == 1


async def test_a_sale_by_phone_finds_who_was_made_here(desk):
    """Also one that was taken before they were, or beyond the ration: it waits for no other contact."""
    await desk.offline()
    settled = await desk.buffer.settle(sale_of(phone_key(), readings=(phone(5),)))
    assert (settled.key, len(desk.vendor.created)) == (member_key("20000001"), 1)


async def test_a_sale_that_may_have_been_sent_was_sent_under_the_vendors_key(desk):
    """An own number never goes out: whatever was sent before had the key that it gets now."""
    made = await desk.offline()
    settled = await desk.buffer.settle(sale_of(made.key, maybe_received=True))
    assert settled.key == member_key("20000001")


@pytest.mark.parametrize(
    ("prepare", "kind", "code"),
    [
        (lambda desk: setattr(desk.vendor, "fault", Offline()), VerdictKind.RETRY, "vendor.offline"),
        (
            lambda desk: setattr(desk.vendor, "fault", VendorRefusedError()),
            VerdictKind.HOLD,
            "vendor.credentials_refused",
        ),
        (
            lambda desk: setattr(desk.vendor, "create", _raising(ContactRefusedError(422, "ValidationError"))),
            VerdictKind.PARK,
            "contact.refused",
        ),
        (
            lambda desk: desk.vendor.contacts.update({phone(5): ["1"], email(): ["2"]}),
            VerdictKind.PARK,
            "contact.ambiguous",
        ),
    ],
    ids=["no answer", "credentials refused", "the contact is refused", "several people"],
)
async def test_a_sale_waits_for_its_contact(desk, prepare, kind, code):
    """Whatever keeps the contact from being made keeps the sale from being sent, and says so."""
    made = await desk.offline()
    prepare(desk)
    verdict = await desk.buffer.settle(sale_of(made.key))
    assert (verdict.kind, verdict.code, verdict.not_received) == (kind, code, True)


async def test_a_sale_of_somebody_erased_is_parked(desk):
    """Nobody is known by the number any more."""
    made = await desk.offline()
    await desk.record.drop(desk.record.by_ref(made.ref).number)
    assert (await desk.buffer.settle(sale_of(made.key))).code == "contact.unknown"


FORWARD = "mparticle"


def recipients_of(guests):
    return (Recipient(VENDOR), Recipient(FORWARD, guests=guests, owner=False))


def intake_of(desk, outbox, *, guests=False):
    return Intake(
        clock=desk.clock,
        normaliser=Normaliser("SE"),
        replica=desk.replica,
        outbox=outbox,
        room=lambda: True,
        link=desk.link,
        policy=IntakePolicy(TAGGING, "1042", "03", UTC, DAY, recipients_of(guests)),
        accepted=lambda: None,
        newcomers=desk.newcomers,
    )


@pytest.fixture
def shop(tmp_path, request):
    """A desk, its outbox with a further system, which may take guests, and its intake."""
    guests = getattr(request, "param", False)
    with open_outbox(tmp_path / "outbox.db", recipients=recipients_of(guests)) as outbox:
        desk = Desk(outbox)
        yield desk, outbox, intake_of(desk, outbox, guests=guests)


TAKES_GUESTS = pytest.mark.parametrize(
    "shop", [False, True, lambda _sale: True], ids=["no guests", "guests", "these guests"], indirect=True
)


async def leased(desk, outbox, vendor=VENDOR):
    return await outbox.lease(vendor, 5, desk.clock.now())


async def settled(desk, outbox, outgoing):
    """The tag of a leased sale is settled, and written down."""
    found = await desk.buffer.settle(outgoing)
    await outbox.retag(outgoing.entry, found.key, desk.clock.now())


def reached(outbox, name):
    return {one.vendor for one in outbox.story(name).deliveries}


@TAKES_GUESTS
@pytest.mark.parametrize("said", ["number", "phone", "new_contact"])
async def test_a_sale_is_taken_under_the_number(shop, said):
    """However they are named; it goes to nobody but the loyalty system before it has the vendor's key."""
    desk, outbox, intake = shop
    made = await desk.offline()
    changes = {
        "number": {"integration_key": made.key.model_dump()},
        "phone": {"identifier": {"type": "mobile_phone", "value": phone(5).value}},
        "new_contact": {"new_contact": {"mobile_phone": phone(5).value}},
    }[said]
    taken = await intake.accept(transaction("s-1", **changes))
    assert taken.receipt.key == made.key
    assert taken.looked_up is True
    assert [one.vendor for one in outbox.story("s-1").deliveries] == [VENDOR]
    (outgoing,) = await outbox.lease(VENDOR, 5, desk.clock.now())
    assert (outgoing.key, outgoing.open) == (made.key, True)
    settled = await desk.buffer.settle(outgoing)
    await outbox.retag(outgoing.entry, settled.key, desk.clock.now())
    assert {one.vendor for one in outbox.story("s-1").deliveries} == {VENDOR, FORWARD}
    (following,) = await outbox.lease(FORWARD, 5, desk.clock.now())
    assert following.key == member_key("20000001")


async def test_a_number_is_taken_beyond_the_ration(shop):
    """The till hears of nothing but what it said; who it is is found out at delivery."""
    desk, outbox, intake = shop
    made = await desk.offline()
    await desk.deliver()
    taken = await intake.accept(transaction("s-1", integration_key=made.key.model_dump()), resolve=False)
    assert (taken.receipt.key, taken.looked_up) == (made.key, None)
    (outgoing,) = await outbox.lease(VENDOR, 5, desk.clock.now())
    assert (await desk.buffer.settle(outgoing)).key == member_key("20000001")


async def test_once_the_vendor_has_them_sales_have_its_key(shop):
    """Also where the till says the old number; every system gets them at once."""
    desk, outbox, intake = shop
    made = await desk.offline()
    await desk.deliver()
    taken = await intake.accept(transaction("s-1", integration_key=made.key.model_dump()))
    assert taken.receipt.key == member_key("20000001")
    assert {one.vendor for one in outbox.story("s-1").deliveries} == {VENDOR, FORWARD}


async def test_nobodys_number_is_refused(shop):
    """A number that was not given here is no integration key of this shop's."""
    _, _, intake = shop
    key = {"kind": "primary", "type": "external_id", "value": "1042-03-1"}
    with pytest.raises(InputError) as refused:
        await intake.accept(transaction("s-1", integration_key=key))
    assert [fault.pointer for fault in refused.value.faults] == ["/integration_key/type"]


@TAKES_GUESTS
async def test_a_return_without_a_member_follows_its_sale(shop):
    """It waits under the number as its sale does, and goes under the key that the sale went under."""
    desk, outbox, intake = shop
    made = await desk.offline()
    await intake.accept(transaction("s-1", integration_key=made.key.model_dump()))
    await intake.accept(transaction("r-1", type="return", original_transaction_id="s-1"))
    assert reached(outbox, "r-1") == {VENDOR}
    (sale,) = await leased(desk, outbox)
    await settled(desk, outbox, sale)
    await outbox.settle([Settled(sale.entry, DONE)], desk.clock.now())
    (back,) = await leased(desk, outbox)
    assert (back.transaction.transaction_id, back.key) == ("r-1", member_key("20000001"))
    (first,) = await leased(desk, outbox, FORWARD)  # in its order there too
    await outbox.settle([Settled(first.entry, DONE)], desk.clock.now())
    (then,) = await leased(desk, outbox, FORWARD)
    assert [(one.transaction.transaction_id, one.key) for one in (first, then)] == [
        ("s-1", member_key("20000001")), ("r-1", member_key("20000001"))
    ]  # fmt: skip


async def test_a_return_has_the_vendors_key_when_its_sale_is_erased(shop):
    """The number that its sale was taken under is not what it falls back on."""
    desk, outbox, intake = shop
    made = await desk.offline()
    await intake.accept(transaction("s-1", integration_key=made.key.model_dump()))
    await intake.accept(transaction("r-1", type="return", original_transaction_id="s-1"))
    (sale,) = await leased(desk, outbox)
    await settled(desk, outbox, sale)
    for vendor, one in ((VENDOR, sale), (FORWARD, (await leased(desk, outbox, FORWARD))[0])):
        await outbox.settle([Settled(one.entry, DONE)], desk.clock.now())
        assert vendor in reached(outbox, "r-1")
    now = desk.clock.now()
    assert (await outbox.purge(RetentionPlan(now + DAY, now - DAY, now - DAY, now), now))["delivered"] == 1
    for vendor in (VENDOR, FORWARD):
        (back,) = await leased(desk, outbox, vendor)
        assert (back.key, back.open) == (member_key("20000001"), False)


@pytest.mark.parametrize("kind", ["return", "void"])
async def test_what_is_about_a_discarded_sale_does_not_take_its_number_out(shop, kind):
    """Nobody has settled whose it is: its own delivery does."""
    desk, outbox, intake = shop
    made = await desk.offline()
    await intake.accept(transaction("s-1", integration_key=made.key.model_dump()))
    (one,) = outbox.story("s-1").deliveries
    await outbox.discard(one.entry, "made twice", desk.clock.now())
    await intake.accept(transaction("about", type=kind, original_transaction_id="s-1"))
    assert reached(outbox, "about") == {VENDOR}
    (about,) = await leased(desk, outbox)
    assert (about.key, about.open) == (made.key, True)
    assert (await desk.buffer.settle(about)).key == member_key("20000001")


@TAKES_GUESTS
@pytest.mark.parametrize("names_them", [False, True], ids=["names nobody", "names them"])
async def test_a_void_follows_a_sale_that_is_being_settled(shop, names_them):
    """Its sale goes on to others once it is settled, so it does too."""
    desk, outbox, intake = shop
    made = await desk.offline()
    await intake.accept(transaction("s-1", integration_key=made.key.model_dump()))
    (sale,) = await leased(desk, outbox)
    named = {"integration_key": made.key.model_dump()} if names_them else {}
    await intake.accept(transaction("v-1", type="void", original_transaction_id="s-1", **named))
    assert reached(outbox, "v-1") == {VENDOR}
    await settled(desk, outbox, sale)
    assert reached(outbox, "s-1") == reached(outbox, "v-1") == {VENDOR, FORWARD}
    (first,) = await leased(desk, outbox, FORWARD)
    assert first.transaction.transaction_id == "s-1"
    await outbox.settle([Settled(sale.entry, DONE)], desk.clock.now())
    (void,) = await leased(desk, outbox)
    assert (await desk.buffer.settle(void)).key == member_key("20000001")


@TAKES_GUESTS
async def test_the_number_of_a_contact_that_damage_took_stays_here(shop, request):
    """The series tells whose it is when neither the contact nor the delivery is there any more."""
    desk, outbox, intake = shop
    made = await desk.offline()
    await intake.accept(transaction("s-1", integration_key=made.key.model_dump()))
    recipients = recipients_of(request.node.callspec.params["shop"])

    def damage(db):
        for table in ("deliveries", "enrolment_keys", "enrolments"):
            db.execute(f"DELETE FROM {table}")
        nothing = Clues(lambda: (), lambda: ())
        return mend(db, whole=(), stale={}, clues=nothing, recipients=recipients, hash_key=bytes(32), now=NOW)

    assert (await outbox._writer.run(damage)).sent_again == 1
    assert reached(outbox, "s-1") == {VENDOR}
    (sale,) = await leased(desk, outbox)
    assert (sale.key, sale.open) == (made.key, True)


# --- the lane itself --------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def lane_of(desk, outbox, flush_every_s=0.005):
    lane = Lane(
        clock=desk.clock, queue=outbox, connector=desk.vendor, link=desk.link, settle_tag=desk.buffer.settle,
        corrected=desk.link.corrected, policy=DispatchPolicy(flush_every_s, 10, 900), uniform=lambda _a, b: b,
        told=lambda *_: None, changed=lambda: None, contacts=(desk.bringing,),
    )  # fmt: skip
    task = asyncio.create_task(lane.run())
    try:
        yield lane
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def brought(desk):
    return not desk.record.queued(100)


async def test_contacts_go_without_a_sale(shop):
    """The lane brings them by itself, and says that the vendor answers."""
    desk, outbox, _ = shop
    await desk.offline()
    async with lane_of(desk, outbox):
        await until(lambda: brought(desk) and desk.link.answers is True)


async def test_many_contacts_do_not_wait_for_the_next_look(shop):
    """However many there are, and without a sale between them."""
    desk, outbox, _ = shop
    for number in range(2 * TURN + 1):
        await desk.offline(NewContact(mobile_phone=phone(number).value))
    desk.link.worked(desk.clock.now(), desk.clock.monotonic())
    async with lane_of(desk, outbox, flush_every_s=3600.0):
        await until(lambda: brought(desk), timeout_s=IDLE_PING_S - 1)  # the next look is for a sign of life


async def test_a_contact_that_draws_errors_holds_up_no_sale(shop):
    """The sales of others are delivered, while it waits for its next turn."""
    desk, outbox, _ = shop
    await desk.offline()
    desk.vendor.create = _raising(VendorOwnError("answered 500"))
    await outbox.accept(acceptance("s-1", key=member_key()), NOW)
    async with lane_of(desk, outbox):
        await until(lambda: "s-1" in desk.vendor.taken)
    assert not brought(desk)


async def test_sales_of_whom_the_vendor_takes_after_all(shop):
    """Parked with the contact, they go by themselves once it is mended; those of another stay."""
    desk, outbox, intake = shop
    made = await desk.offline()
    other = await desk.offline(NewContact(mobile_phone=phone(7).value))
    for name, whom in (("s-1", made), ("s-2", made), ("s-3", other)):
        await intake.accept(transaction(name, integration_key=whom.key.model_dump()))
    making, desk.vendor.create = desk.vendor.create, _raising(ContactRefusedError(422, "ValidationError"))

    def state(name):
        return outbox.story(name).deliveries[0].state.value

    async with lane_of(desk, outbox) as lane:
        await until(lambda: (state("s-1"), state("s-3")) == ("parked", "parked"))
        desk.vendor.create = making
        assert (await desk.enrol()).state == "queued"
        lane.wake()
        await until(lambda: set(desk.vendor.taken) == {"s-1", "s-2"})
    assert set(desk.vendor.taken.values()) == {member_key("20000001")}
    assert (state("s-3"), desk.standing()) == ("parked", ["contacts.parked"])


async def test_refused_credentials_hold_the_lane(shop):
    """A contact that meets them stops everything, as a sale does; nothing is lost."""
    desk, outbox, _ = shop
    await desk.offline()
    desk.vendor.fault = VendorRefusedError()
    async with lane_of(desk, outbox) as lane:
        await until(lambda: lane.held)
        assert not brought(desk)


async def test_a_refusal_of_contacts_alone_throttles_no_sale(shop):
    """The lane is held, tries a sale, and goes on with them; contacts are tried again later."""
    desk, outbox, _ = shop
    await desk.offline()
    refused = []

    async def create(*_args, **_kwargs):
        refused.append(desk.clock.monotonic())
        raise VendorRefusedError

    desk.vendor.create = create
    for place in range(20):
        await outbox.accept(acceptance(f"s-{place}", key=member_key(str(10_000_000 + place))), NOW)
    async with lane_of(desk, outbox) as lane:
        for times in (1, 2):
            await until(lambda times=times: len(refused) == times and lane.held)
            desk.clock.advance(11)
            lane.wake()
        await until(lambda: len(desk.vendor.taken) == 20)
    assert len(refused) == 2


async def test_a_flush_brings_contacts_too(shop):
    """A person who has everything tried now need not wait for a contact's pause."""
    desk, outbox, _ = shop
    await desk.offline()
    making, desk.vendor.create = desk.vendor.create, _raising(VendorOwnError("answered 500"))
    await desk.deliver()
    desk.vendor.create = making
    assert await desk.deliver() == 0
    async with lane_of(desk, outbox) as lane:
        await lane.flush()
        await until(lambda: brought(desk))


async def test_nothing_is_brought_while_the_lane_is_paused(shop):
    """Neither sales nor contacts; when it goes on, both."""
    desk, outbox, _ = shop
    await desk.offline()
    await outbox.accept(acceptance("s-1", key=member_key()), NOW)
    async with lane_of(desk, outbox) as lane:
        lane.pause()  # its task has not had a turn yet
        await asyncio.sleep(0.05)
        assert (brought(desk), desk.vendor.taken) == (False, {})
        lane.resume()
        await until(lambda: brought(desk) and "s-1" in desk.vendor.taken)
