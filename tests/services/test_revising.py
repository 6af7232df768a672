"""Changing contacts at the till: on disk first, never lost, never over a word that counts more, shown at once."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

import pytest

from agent.domain.contact import Member
from agent.domain.enrolment import EnrolmentState
from agent.domain.identifiers import IdentifierType, Normaliser
from agent.domain.revision import ConsentThere, ContactThere
from agent.domain.transaction import NewContact
from agent.errors import (
    AmbiguousContactError,
    ContactRefusedError,
    Fault,
    InputError,
    ReadOnlyContactsError,
    StorageError,
    StorageFullError,
    UnknownRecordError,
    VendorOwnError,
    VendorRefusedError,
)
from agent.services.asking import Asking
from agent.services.bringing import Manner
from agent.services.contacts import LocalContacts, Newcomers
from agent.services.enrolling import Enrolling, EnrolPolicy
from agent.services.handles import Handles, Refs
from agent.services.identify import Identify, IdentifyPolicy
from agent.services.revising import Revising
from agent.services.turns import ERRORS_ALONE, Turns
from agent.services.updating import Updating
from agent.store.revisions import Revisions
from tests.fakes import NAMES, NOW, Offline, contact_id_of, email, member_key, open_outbox, phone, primary_key, until
from tests.services.test_enrolling import DAY, PREFIX, TAGGING, Desk

ALMA = Member("c_5f3a", member_key("10000421"), {"first_name": "Alma"})
BO = Member("c_77b0", member_key("10000422"))
NEW_PHONE = NewContact(mobile_phone="070-174 06 09")
NEWS = {"id": "news", "given_at": NOW.isoformat(), "place": "1042"}
REFUSED = ContactRefusedError(422, "ValidationError", ("birth_date",))


class Counter(Desk):
    """A desk at which contacts are changed as well, with two members whom the local contacts know."""

    def __init__(self, outbox, *, offered=True, together=None):
        super().__init__(outbox)
        self.changes = Revisions(outbox._writer, outbox._reader, names=NAMES)
        self.newcomers = Newcomers(self.record, ("first_name",), self.changes)
        contacts = LocalContacts(self.replica, TAGGING, self.newcomers)
        handles, self.audited = Handles(self.clock), []
        self.identify = Identify(
            clock=self.clock,
            normaliser=Normaliser("SE"),
            replica=self.replica,
            lookup=self.vendor,
            asking=Asking(self.clock, self.link, live=True, budget_s=30.0),
            link=self.link,
            handles=handles,
            named=self.named,
            policy=IdentifyPolicy(TAGGING, DAY, frozenset()),
            newcomers=self.newcomers,
        )
        asking = Asking(self.clock, self.link, live=True, budget_s=30.0, patient=True)
        self.enrolling = Enrolling(
            clock=self.clock,
            normaliser=Normaliser("SE"),
            record=self.record,
            newcomers=self.newcomers,
            contacts=contacts,
            live=self.identify.live,
            asking=asking,
            bringing=self.bringing,
            link=self.link,
            policy=EnrolPolicy(True, PREFIX, DAY),
            room=lambda: self.room,
            added=self.wake,
        )
        self.updating = Updating(
            clock=self.clock,
            record=self.changes,
            writer=self.vendor,
            turns=Turns(self.clock, self.link, first_s=10.0, longest_s=900.0, uniform=lambda _low, high: high),
            manner=Manner("1042", 15.0, self.pace),
            as_of=contacts.as_of,
            their_time=asking.their_time,
            conditions=self.conditions,
            audit=self.audit,
            together=together(self) if together is not None else None,
        )
        self.bringing._existing = self.updating.existing
        self.revising = Revising(
            clock=self.clock,
            normaliser=Normaliser("SE"),
            offered=offered,
            newcomer=self.enrolling.add_to,
            refs=Refs(contacts, handles),
            contacts=contacts,
            live=self.identify.live,
            asking=asking,
            record=self.changes,
            updating=self.updating,
            link=self.link,
            stale_after=DAY,
            room=lambda: self.room,
            added=self.wake,
        )
        self.replica.add(ALMA, phone(5), email(), ALMA.key.identifier)
        self.replica.add(BO, phone(6), BO.key.identifier)

    async def audit(self, event, /, **facts):
        self.audited.append((event, facts))

    async def revise(self, contact=NEW_PHONE, ref=ALMA.ref):
        return await self.revising.revise(ref, contact)

    async def without_line(self, contact=NEW_PHONE, ref=ALMA.ref):
        self.vendor.fault = Offline()
        try:
            return await self.revise(contact, ref)
        finally:
            self.vendor.fault = None

    async def update(self):
        return await self.updating.deliver(lambda: True)

    async def who(self, *identifiers):
        statement = identifiers[0]
        found = await self.identify.identify(type("Said", (), {"type": statement.type, "value": statement.value})())
        return found.member.ref if found.member is not None else found.outcome.value

    def told(self):
        return [contact for _, contact, _ in self.vendor.updated]


@pytest.fixture
def open_counter(tmp_path):
    @contextlib.contextmanager
    def opener(run="run-1", **how):
        with open_outbox(tmp_path / "outbox.db", run=run) as outbox:
            yield Counter(outbox, **how)

    return opener


@pytest.fixture
def counter(open_counter):
    with open_counter() as opened:
        yield opened


# --- at the till ------------------------------------------------------------------------------------------------


async def test_the_vendor_has_it_while_the_cashier_waits(counter):
    """By field, in one form, at whoever has the key; the lane has nothing left to do."""
    revised = await counter.revise()
    assert (revised.state, revised.member.ref, revised.member.key) == ("delivered", ALMA.ref, ALMA.key)
    assert (revised.served.source, revised.served.level, revised.conflicts) == ("live", 4, ())
    assert counter.vendor.updated == [
        (contact_id_of("10000421"), NewContact(mobile_phone=phone(9).value), (phone(9),)),
    ]
    assert (counter.added, await counter.update(), counter.standing()) == (0, 0, [])


@pytest.mark.parametrize("run", ["the same run", "a new run"])
async def test_without_the_line_it_counts_here_at_once(open_counter, run):
    """On disk before the answer: shown, found by the new number and by the old one; the lane brings it, once."""
    with open_counter() as counter:
        revised = await counter.without_line(NewContact(first_name="Alva", mobile_phone=phone(9).value))
        assert (revised.state, revised.served.source, counter.added) == ("queued", "replica", 1)
        assert revised.member.fields == {"first_name": "Alva"}
        if run == "the same run":
            await check(counter)
            return
    with open_counter("run-2") as counter:
        await check(counter)


async def check(counter):
    assert await counter.who(phone(9)) == ALMA.ref
    assert await counter.who(phone(5)) == ALMA.ref
    assert counter.newcomers.shown(ALMA).fields == {"first_name": "Alva"}
    assert (await counter.update(), await counter.update()) == (1, 0)
    assert counter.told() == [NewContact(first_name="Alva", mobile_phone=phone(9).value)]


async def test_two_changes_go_as_one(counter):
    """What is given while one waits becomes one with it; the vendor hears of it once."""
    await counter.without_line(NewContact(first_name="Alva", email="a@example.com"))
    again = await counter.revise(NewContact(email="b@example.com"))
    assert again.state == "queued", "what the vendor may refuse of the first is nothing to tell this cashier"
    await counter.update()
    assert counter.told() == [NewContact(first_name="Alva", email="b@example.com")]


async def test_what_is_given_while_one_is_on_its_way_is_not_lost(counter):
    """The vendor's answer is about what it was sent: the rest goes after it, and never overtakes it."""
    counter.vendor.gate.clear()
    sending = asyncio.create_task(counter.revise(NewContact(first_name="Alva")))
    await until(lambda: bool(counter.changes.of(ALMA.key)))
    second = asyncio.create_task(counter.revise(NewContact(first_name="Alba")))
    for _ in range(50):
        await asyncio.sleep(0.001)
    counter.vendor.gate.set()
    states = {one.state for one in await asyncio.gather(sending, second)}
    assert states <= {"queued", "delivered"}
    await counter.update()
    assert counter.told()[-1].first_name == "Alba"
    assert counter.newcomers.shown(ALMA).fields == {"first_name": "Alba"}


async def test_the_vendors_own_word_comes_back(counter):
    """Once the local contacts are newer than the vendor's answer, they alone count."""
    await counter.revise(NewContact(first_name="Alva"))
    assert counter.newcomers.shown(ALMA).fields == {"first_name": "Alva"}
    counter.replica.as_of = NOW + DAY
    await counter.update()
    assert counter.newcomers.shown(ALMA) == ALMA
    assert counter.changes.of(ALMA.key) == ()


async def test_what_waits_counts_whatever_the_vendor_says_meanwhile(counter):
    """An export from before it arrived there does not undo what the till was told."""
    await counter.without_line(NewContact(first_name="Alva"))
    counter.replica.as_of = NOW + DAY
    counter.vendor.fault = Offline()
    with pytest.raises(Offline):
        await counter.update()
    assert counter.newcomers.shown(ALMA).fields == {"first_name": "Alva"}


async def test_whoever_was_made_here_is_changed_here(counter):
    """Not at the vendor yet, they get there as they are by then: nobody is changed, one is made."""
    made = await counter.offline(NewContact(first_name="Dilba", mobile_phone=phone(7).value))
    revised = await counter.without_line(NewContact(first_name="Delba", email="d@example.com"), made.ref)
    assert (revised.state, revised.member.ref, revised.member.key) == ("queued", made.ref, made.key)
    assert await counter.who(email("d")) == made.ref
    assert await counter.deliver() == 1
    ((contact, identifiers),) = counter.vendor.created
    assert (contact.first_name, contact.email, contact.mobile_phone) == ("Delba", "d@example.com", phone(7).value)
    assert (set(identifiers) >= {phone(7), email("d")}, counter.told()) == (True, [])


async def test_a_newcomer_whom_the_vendor_refuses_is_mended(counter):
    """What is changed of them is added to what was refused, and goes again."""
    made = await counter.offline(NewContact(first_name="Dilba", mobile_phone=phone(7).value))
    (row,) = counter.record.queued(5)
    await counter.record.park(row.number, 422, "ValidationError")
    await counter.without_line(NewContact(last_name="Torp"), made.ref)
    (row,) = counter.record.queued(5)
    assert (row.contact.first_name, row.contact.last_name, row.contact.mobile_phone) == (
        "Dilba",
        "Torp",
        phone(7).value,
    )


async def test_whoever_was_made_here_and_is_there_is_changed_there(counter):
    """Under the vendor's key, by the handle that the till has of them."""
    made = await counter.offline(NewContact(first_name="Dilba", mobile_phone=phone(7).value))
    await counter.deliver()
    revised = await counter.revise(NewContact(first_name="Delba"), made.ref)
    assert (revised.state, revised.member.ref, revised.member.key) == ("delivered", made.ref, member_key("20000001"))
    assert counter.told() == [NewContact(first_name="Delba")]


@pytest.mark.parametrize(("there", "conflicts"), [(True, ()), (False, ("consents/news",))], ids=["there", "kept"])
async def test_a_change_of_which_nothing_is_left_to_write(counter, there, conflicts):
    """The vendor has what was said already, or a later word: the till is told so, and nothing stays on record."""
    has = {"news": ConsentThere(value=there, given_at=NOW if there else NOW + DAY)}
    counter.vendor.there[ALMA.key.value] = ContactThere(contact_id_of(ALMA.key.value), consents=has)
    revised = await counter.revise(NewContact(consents=[{**NEWS, "value": True}]))
    assert (revised.state, revised.conflicts, revised.member.key) == ("delivered", conflicts, ALMA.key)
    assert (counter.told(), counter.changes.of(ALMA.key)) == ([], ())


async def test_whom_the_vendor_alone_knows(counter):
    """By the handle of a look-up; erased by what they were named by, the change goes too."""
    counter.vendor.contacts[phone(8)] = ["10000499"]
    ref = await counter.who(phone(8))
    await counter.without_line(NewContact(first_name="Enya"), ref)
    (waiting,) = counter.changes.queued(5)
    assert waiting.key == member_key("10000499")
    assert counter.record.key_of([NAMES.of_identifier(phone(8))]) == waiting.key


@pytest.mark.parametrize("where", ["replica", "vendor", "a change"])
async def test_what_is_somebody_elses_is_not_taken(counter, where):
    """Neither of the two would be found by it again; nothing is kept."""
    taken = phone(6)
    if where == "vendor":
        counter.vendor.contacts[taken := phone(8)] = ["10000499"]
    elif where == "a change":
        await counter.without_line(NewContact(mobile_phone=(taken := phone(8)).value), BO.ref)
    with pytest.raises(AmbiguousContactError):
        await counter.revise(NewContact(first_name="Alva", mobile_phone=taken.value))
    assert counter.changes.of(ALMA.key) == ()


async def test_whom_the_vendor_has_told_of_under_their_number_since(counter):
    """Who was made here under the vendor's own id is no other for that, and somebody else still is."""
    counter.vendor.primary_known = False
    made = (await counter.enrolling.enrol(NewContact(first_name="Delba", mobile_phone=phone(7).value))).member
    assert made.key == primary_key(IdentifierType.CONTACT_ID, contact_id_of("20000001"))
    counter.vendor.primary_known = True
    counter.vendor.there[made.key.value] = ContactThere(made.key.value)
    themselves = NewContact(first_name="Dilba", mobile_phone=phone(7).value)
    assert (await counter.revise(themselves, made.ref)).state == "delivered", "by the vendor's word alone"
    told_of = Member("c_19de", member_key("20000001"))
    counter.replica.add(told_of, phone(7), made.key.identifier, told_of.key.identifier)
    assert (await counter.revise(themselves, made.ref)).state == "delivered"
    with pytest.raises(AmbiguousContactError):
        await counter.revise(NewContact(mobile_phone=phone(6).value), made.ref)


@pytest.mark.parametrize("first", ["contact_id", "member_number"])
async def test_two_changes_of_one_contact_under_two_of_its_keys(counter, first):
    """They go in the order in which they were given: the earlier would be written over the later."""
    number = member_key("20000001")
    by_id = primary_key(IdentifierType.CONTACT_ID, contact_id_of("20000001"))
    there = ContactThere(by_id.value, numbers=(number.identifier,))
    counter.vendor.there |= {by_id.value: there, number.value: there}
    members = [Member("c_19de", by_id), Member("c_20ef", number)]
    earlier, later = members if first == "contact_id" else reversed(members)
    for one in members:
        counter.replica.add(one, one.key.identifier)
    await counter.without_line(NewContact(first_name="Delba"), earlier.ref)
    assert (await counter.revise(NewContact(first_name="Dulba"), later.ref)).state == "queued"
    assert counter.told() == []
    for _ in range(3):
        await counter.update()
    assert [told.first_name for told in counter.told()] == ["Delba", "Dulba"]
    assert (await counter.revise(NewContact(first_name="Dilba"), earlier.ref)).state == "delivered"


async def test_a_change_waits_for_no_earlier_one_that_was_refused(counter):
    """That one is a person's to decide."""
    number = member_key("20000001")
    by_id = primary_key(IdentifierType.CONTACT_ID, contact_id_of("20000001"))
    there = ContactThere(by_id.value, numbers=(number.identifier,))
    counter.vendor.there |= {by_id.value: there, number.value: there}
    for ref, key in (("c_19de", by_id), ("c_20ef", number)):
        counter.replica.add(Member(ref, key), key.identifier)
    await counter.without_line(NewContact(first_name="Delba"), "c_19de")
    counter.vendor.refuses_change = REFUSED
    await counter.update()
    counter.vendor.refuses_change = None
    assert counter.changes.parked() == 1
    assert (await counter.revise(NewContact(first_name="Dulba"), "c_20ef")).state == "delivered"


async def test_what_is_theirs_already_is_no_conflict(counter):
    """A till that sends the number that it knows changes nothing else by it."""
    assert (await counter.revise(NewContact(mobile_phone=phone(5).value))).state == "delivered"


@pytest.mark.parametrize(
    ("contact", "pointers"),
    [
        (NewContact(), [""]),
        (NewContact(contact_type="Employee"), ["/contact_type"]),
        (NewContact(mobile_phone="12", email="alma"), ["/mobile_phone", "/email"]),
        (NewContact(birth_date=(NOW + DAY).date()), ["/birth_date"]),
    ],
    ids=["nothing", "a type", "no such phone, no such address", "not born yet"],
)
async def test_a_cashier_hears_what_is_wrong(counter, contact, pointers):
    """Each field by its place, and nothing is kept."""
    with pytest.raises(InputError) as refused:
        await counter.revise(contact)
    assert [fault.pointer for fault in refused.value.faults] == pointers
    assert counter.changes.queued(5) == []


@pytest.mark.parametrize("line", ["up", "down"])
async def test_what_has_no_place_at_the_vendor_is_said_at_once(counter, line):
    """Whether it answers or not, and nothing of the change is kept."""
    counter.vendor.placeless = [Fault("/city", "has no place at the loyalty system")]
    revise = counter.revise if line == "up" else counter.without_line
    with pytest.raises(InputError) as caught:
        await revise(NewContact(first_name="Alva", city="Lund"))
    assert [fault.pointer for fault in caught.value.faults] == ["/city"]
    assert (counter.told(), counter.changes.of(ALMA.key)) == ([], ())


async def test_what_the_vendor_refuses_now_is_taken_back(counter):
    """With the fields that it names; the till goes on being shown what the vendor has."""
    counter.vendor.refuses_change = REFUSED
    with pytest.raises(ContactRefusedError) as told:
        await counter.revise(NewContact(first_name="Alva"))
    assert [fault.pointer for fault in told.value.faults] == ["/birth_date"]
    assert (counter.changes.of(ALMA.key), counter.newcomers.shown(ALMA), counter.standing()) == ((), ALMA, [])


async def test_whom_the_vendor_does_not_have_any_more(counter):
    """They are nobody, though the local contacts have yet to hear of it; nothing is kept."""
    counter.vendor.there["10000421"] = None
    with pytest.raises(UnknownRecordError):
        await counter.revise()
    assert counter.changes.of(ALMA.key) == ()


@pytest.mark.parametrize("ref", ["c_nobody", "n_nobody", "v_nobody", ""])
async def test_nobodys_handle(counter, ref):
    """Nothing is kept under it."""
    with pytest.raises(UnknownRecordError):
        await counter.revise(ref=ref)
    assert counter.changes.queued(5) == []


async def test_a_till_that_changes_no_contacts_says_so(open_counter):
    """Below level 4, or where the loyalty system takes none."""
    with open_counter(offered=False) as counter, pytest.raises(ReadOnlyContactsError):
        await counter.revise()


async def test_without_room_nothing_is_kept(counter):
    """A till that was told 507 need not wonder whether it counts all the same."""
    counter.room = False
    with pytest.raises(StorageFullError):
        await counter.revise()
    assert counter.changes.of(ALMA.key) == ()


async def test_who_is_erased_meanwhile_is_nobody(counter, monkeypatch):
    """The answer says so, and nothing goes to the vendor."""
    add = counter.changes.add

    async def then_erased(*args, **kwargs):
        revision, waited = await add(*args, **kwargs)
        await counter.changes.take_back(revision)
        return revision, waited

    monkeypatch.setattr(counter.changes, "add", then_erased)
    with pytest.raises(UnknownRecordError):
        await counter.revise()
    assert counter.told() == []


# --- two words about one contact --------------------------------------------------------------------------------


async def test_a_consent_withdrawn_there_since_wins(counter):
    """It is not written over; the till hears of it, and so does whoever reads the audit trail."""
    withdrawn = ContactThere("id", consents={"news": ConsentThere(False, NOW + timedelta(minutes=1))})
    counter.vendor.there["10000421"] = withdrawn
    change = NewContact.model_validate({"first_name": "Alva", "consents": [{**NEWS, "value": True}]})
    revised = await counter.revise(change)
    assert (revised.state, revised.conflicts) == ("delivered", ("consents/news",))
    assert counter.told() == [NewContact(first_name="Alva")]
    assert counter.audited == [("contact.conflict", {"kept": 1, "overwritten": 0})]


async def test_where_nothing_is_left_nothing_is_sent(counter):
    """A change of which the vendor keeps everything as it has it is done with."""
    withdrawn = ContactThere("id", consents={"news": ConsentThere(False, NOW + timedelta(minutes=1))})
    counter.vendor.there["10000421"] = withdrawn
    await counter.without_line(NewContact.model_validate({"consents": [{**NEWS, "value": True}]}))
    assert (await counter.update(), counter.told(), counter.changes.queued(5)) == (1, [], [])
    assert counter.audited == [("contact.conflict", {"kept": 1, "overwritten": 0})]


async def test_what_is_written_over_is_said(counter):
    """The customer's word counts; that the vendor's may have been as new is on record."""
    since = ContactThere("id", values={"first_name": "Bea"}, modified_at=NOW + timedelta(minutes=1))
    counter.vendor.there["10000421"] = since
    await counter.without_line(NewContact(first_name="Alva"))
    await counter.update()
    assert counter.told() == [NewContact(first_name="Alva")]
    assert counter.audited == [("contact.conflict", {"kept": 0, "overwritten": 1})]


async def test_a_conflict_that_cannot_be_recorded_is_no_secret(counter, monkeypatch):
    """The change stays in line until it can."""

    async def full(*_args, **_kwargs):
        raise StorageError

    withdrawn = ContactThere("id", consents={"news": ConsentThere(False, NOW + timedelta(minutes=1))})
    counter.vendor.there["10000421"] = withdrawn
    await counter.without_line(NewContact.model_validate({"consents": [{**NEWS, "value": True}]}))
    monkeypatch.setattr(counter.updating, "_audit", full)
    with pytest.raises(StorageError):
        await counter.update()
    assert len(counter.changes.queued(5)) == 1


async def test_what_was_overruled_is_not_shown(counter):
    """Nor does it say later that it was given."""
    withdrawn = ContactThere("id", consents={"news": ConsentThere(False, NOW + timedelta(minutes=1))})
    counter.vendor.there["10000421"] = withdrawn
    await counter.revise(NewContact.model_validate({"first_name": "Alva", "consents": [{**NEWS, "value": True}]}))
    assert [one.contact for one in counter.changes.of(ALMA.key)] == [NewContact(first_name="Alva")]


@pytest.mark.parametrize("skew_s", [0.0, 90.0], ids=["one time", "the vendor's clock is ahead"])
async def test_a_change_right_after_another(counter, skew_s):
    """The vendor's contact is as new as our last word: that it changed since then is not made of a clock's error."""
    counter.link.skew_s = skew_s
    off = ContactThere("id", preferences={"accepts_sms": False}, modified_at=NOW + timedelta(seconds=skew_s - 1))
    counter.vendor.there["10000421"] = off
    revised = await counter.revise(NewContact.model_validate({"preferences": {"accepts_sms": True}}))
    assert revised.conflicts == ()


@pytest.mark.parametrize("arrived", [False, True], ids=["waiting", "at the vendor"])
async def test_the_vendors_word_of_this_moment(counter, arrived):
    """What it has yet to hear counts over it; what it has had does not."""
    change = NewContact(first_name="Alva", mobile_phone=phone(9).value)
    await (counter.revise(change) if arrived else counter.without_line(change))
    counter.clock.advance(2 * DAY.total_seconds())  # the local contacts are stale: whoever can be asked is
    counter.vendor.contacts[phone(5)] = ["10000421"]
    found = await counter.identify.identify(type("Said", (), {"type": "mobile_phone", "value": phone(5).value})())
    assert found.served.source == "live"
    assert found.member.fields.get("first_name") == (None if arrived else "Alva")
    asked = list(counter.vendor.asked)
    if not arrived:
        assert await counter.who(phone(9)) == ALMA.ref
        assert counter.vendor.asked == asked, "nobody knows better"


@pytest.mark.parametrize("ours", [True, False], ids=["an attempt of ours was lost", "a member of another till"])
async def test_a_newcomer_who_is_there_already(counter, ours):
    """What they said no to becomes a change of whoever it is; nobody's name or number is written over."""
    contact = NewContact.model_validate(
        {
            "first_name": "Dilba",
            "mobile_phone": phone(7).value,
            "email": "d@example.com",
            "preferences": {"accepts_email": True, "accepts_sms": False},
            "consents": [{**NEWS, "value": True}, {**NEWS, "id": "terms", "value": False}],
        }
    )
    made = await counter.offline(contact)
    counter.vendor.contacts[phone(7)] = ["10000499"]
    if ours:
        counter.vendor.contacts[email("d")] = counter.vendor.contacts[made.key.identifier] = ["10000499"]
    await counter.deliver()
    assert counter.vendor.created == []
    assert await counter.update() == 1
    withdrawn = {"preferences": {"accepts_sms": False}, "consents": [{**NEWS, "id": "terms", "value": False}]}
    assert counter.told() == [NewContact.model_validate(withdrawn)]


async def test_a_newcomer_who_is_there_already_and_withdrew_nothing(counter):
    """Nobody is told anything."""
    await counter.offline(
        NewContact.model_validate({"mobile_phone": phone(7).value, "consents": [{**NEWS, "value": True}]})
    )
    counter.vendor.contacts[phone(7)] = ["10000499"]
    await counter.deliver()
    assert (await counter.update(), counter.changes.of(member_key("10000499"))) == (0, ())


# --- in the lane ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", ["refused", "gone"])
async def test_what_the_vendor_refuses_later_waits_for_a_person(open_counter, why):
    """It is said, also by the next run; its own word is shown; mended, it goes again."""
    with open_counter() as counter:
        await counter.without_line(NewContact(first_name="Alva"))
        if why == "refused":
            counter.vendor.refuses_change = REFUSED
        else:
            counter.vendor.there["10000421"] = None
        assert await counter.update() == 1
        (parked,) = counter.changes.of(ALMA.key)
        assert (parked.state, parked.status) == (EnrolmentState.PARKED, 422 if why == "refused" else 404)
        assert (counter.standing(), counter.newcomers.shown(ALMA)) == (["changes.parked"], ALMA)
    with open_counter("run-2") as counter:
        assert await counter.update() == 0
        assert counter.standing() == ["changes.parked"]
        assert (await counter.revise(NewContact(last_name="Ek"))).state == "queued"
        assert await counter.update() == 1
        assert (counter.told(), counter.standing()) == ([NewContact(first_name="Alva", last_name="Ek")], [])


async def test_an_answer_that_was_lost(counter):
    """What the vendor may have had goes again: field by field it does no harm."""
    taking = counter.vendor.update

    async def lost(*args, **kwargs):
        await taking(*args, **kwargs)
        raise Offline

    counter.vendor.update = lost
    assert (await counter.revise(NewContact(first_name="Alva"))).state == "queued"
    counter.vendor.update = taking
    assert await counter.update() == 1
    assert counter.told() == [NewContact(first_name="Alva")] * 2


async def test_no_answer_loses_nothing(counter):
    """It waits, and goes when the line is back."""
    await counter.without_line()
    counter.vendor.fault = Offline()
    with pytest.raises(Offline):
        await counter.update()
    counter.vendor.fault = None
    assert await counter.update() == 0, "it waits a while"
    counter.updating.line_changed()
    assert await counter.update() == 1


async def test_refused_credentials_hold_everything(counter):
    """Nothing is parked; where contacts alone are refused, the next ones wait for an order or a while."""
    await counter.without_line()
    await counter.without_line(NewContact(first_name="Bo"), BO.ref)
    counter.vendor.fault = VendorRefusedError()
    with pytest.raises(VendorRefusedError):
        await counter.update()
    counter.vendor.fault = None
    assert (await counter.update(), counter.told()) == (0, [])
    counter.updating.hurry()
    assert (await counter.update(), len(counter.told())) == (2, 2)


async def test_a_change_that_alone_draws_errors_waits_for_a_person(counter):
    """The others go on."""
    await counter.without_line(NewContact(first_name="Alva"))
    for place in range(ERRORS_ALONE * 12):
        counter.vendor.fault = VendorOwnError("answered 500")
        counter.updating.hurry()
        await counter.update()
        counter.vendor.fault = None
        if counter.changes.parked():
            break
        counter.updating._turns.taken(10_000 + place)  # somebody else's goes through
    assert counter.changes.parked() == 1
    assert counter.standing() == ["changes.parked"]
