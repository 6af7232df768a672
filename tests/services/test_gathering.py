"""New contacts that go together: by one call, each made once, whatever is lost on the way, and nobody else waits."""

from __future__ import annotations

import contextlib
from collections import Counter

import pytest

from agent.domain.bulk import BulkSent, RowWord
from agent.domain.delivery import VerdictKind
from agent.domain.enrolment import EnrolmentState
from agent.domain.identifiers import IdentifierType
from agent.domain.tagging import Found, Outcome
from agent.domain.transaction import NewContact
from agent.errors import (
    ContactRefusedError,
    UnderWayError,
    VendorOwnError,
    VendorRefusedError,
    VendorUnreachableError,
)
from agent.services.together import FEWEST
from agent.services.turns import OWN_FAILURES, TURN
from tests.fakes import (
    Offline,
    acceptance,
    contact_id_of,
    email,
    member,
    member_key,
    open_outbox,
    phone,
    primary_key,
    transaction,
    until,
)
from tests.services.test_enrolling import Desk, intake_of, lane_of, recipients_of


class FakeBulk:
    """A vendor that takes several contacts by one call and tells them apart by their phone.

    Attributes:
        batches: the rows of each call that it took.
        carried_out: whether it carries calls out at once; until then they are not over.
        loses: it takes a call, and its answer is lost.
        fault: raised by a call that it does not take.
        refuses: what it answers to a call that it refuses as a whole.
        leaves_out: phones of whom it does not make in a call.
        tells: whether it says what became of a call that is over.
        found_by: how often it was asked for somebody whom a call may have made, by whether it had said so.
    """

    max_rows, max_bytes = 4_000, 1 << 20

    def __init__(self, vendor):
        self._vendor = vendor
        self.batches: list[list[bytes]] = []
        self.over: set[int] = set()
        self.carried_out, self.loses, self.tells, self.polls = True, False, True, 0
        self.fault = self.refuses = None
        self.leaves_out: set[str] = set()
        self.found_by: Counter[bool] = Counter()
        self._made: dict[str, list[RowWord]] = {}

    def key_of(self, made):
        return next((one for one in made.identifiers if one.type is IdentifierType.MOBILE_PHONE), None)

    def row(self, made, *, store_id):
        assert store_id == "1042"
        return " ".join([made.own_key.value, *(f"{one.type}={one.value}" for one in made.identifiers)]).encode()

    async def send(self, rows, *, pace):
        await pace()
        if self.fault is not None:
            raise self.fault
        if self.refuses is not None:
            return self.refuses
        self.batches.append(list(rows))
        if self.carried_out:
            self.carry_out()
        if self.loses:
            raise VendorUnreachableError("the answer was lost", maybe_received=True)
        return BulkSent(f"b-{len(self.batches)}", 202)

    def carry_out(self):
        """Everything that waits becomes contacts, unless somebody has their phone already."""
        for number, rows in enumerate(self.batches, 1):
            if number in self.over:
                continue
            self.over.add(number)
            self._made[f"b-{number}"] = [RowWord(self._make(row.decode())) for row in rows]

    def _make(self, row):
        own, *given = row.split()
        names = [phone_or_mail(one) for one in given]
        key = next(one for one in names if one.type is IdentifierType.MOBILE_PHONE)
        if key.value in self.leaves_out or self._vendor.contacts[key]:
            return False
        number = str(30_000_000 + sum(map(len, self._vendor.contacts.values())))
        for one in (*names, primary_key(IdentifierType.EXTERNAL_ID, own).identifier):
            self._vendor.contacts[one].append(number)
        return True

    async def said(self, vendor_id, *, size, pace):
        await pace()
        self.polls += 1
        if self._vendor.fault is not None:
            raise self._vendor.fault
        if not self.tells or int(vendor_id.removeprefix("b-")) not in self.over:
            return None
        assert len(self._made[vendor_id]) == size
        return self._made[vendor_id]

    async def find(self, made, *, sure, timeout_s, pace):
        await pace()
        if self._vendor.fault is not None:
            raise self._vendor.fault
        self.found_by[sure] += 1
        theirs = self._vendor.contacts[made.own_key.identifier]
        return Found(Outcome.MATCHED, member_key(theirs[0]), contact_id_of(theirs[0])) if theirs else None


def phone_or_mail(text):
    kind, value = text.split("=")
    return primary_key(IdentifierType(kind), value).identifier


@contextlib.contextmanager
def opened(path, run="run-1"):
    made = []

    def bulk(vendor):
        made.append(FakeBulk(vendor))
        return made[0]

    with open_outbox(path, run=run, recipients=recipients_of(False)) as outbox:
        desk = Desk(outbox, bulk=bulk)
        desk.bulk = made[0]
        yield desk, outbox


@pytest.fixture
def shop(tmp_path):
    with opened(tmp_path / "outbox.db") as both:
        yield both


@pytest.fixture
def desk(shop):
    return shop[0]


async def newcomers(desk, count=FEWEST, **given):
    """So many who joined while nobody answered; the line is back."""
    return [await desk.offline(NewContact(mobile_phone=phone(n).value, **given)) for n in range(count)]


async def rounds(desk, count=10):
    for _ in range(count):
        await desk.deliver()


def states(desk, count=FEWEST):
    return Counter(desk.record.find((phone(n),))[0].state.value for n in range(count))


def of_one_each(desk, count=FEWEST):
    """Everybody is at the vendor, once."""
    return [len(desk.vendor.contacts[phone(n)]) for n in range(count)] == [1] * count


# --- who goes so ------------------------------------------------------------------------------------------------


async def test_many_go_by_one_call(desk):
    """None of them is asked for before, and each has the vendor's key afterwards."""
    await newcomers(desk, 30)
    await rounds(desk, 4)
    assert [len(rows) for rows in desk.bulk.batches] == [30]
    assert (states(desk, 30), of_one_each(desk, 30)) == ({"delivered": 30}, True)
    assert (desk.vendor.created, desk.bulk.found_by) == ([], {True: 30})
    assert (desk.calls.open(), desk.calls.waiting(), desk.standing()) == ([], 0, [])


async def test_a_few_go_one_by_one(desk):
    """As ever."""
    await newcomers(desk, FEWEST - 1)
    await rounds(desk)
    assert (desk.bulk.batches, len(desk.vendor.created)) == ([], FEWEST - 1)


async def test_who_cannot_go_so_goes_alone(desk):
    """Without the vendor's key, or known to the local contacts by something: they are asked for by all of it."""
    await newcomers(desk, FEWEST)
    await desk.offline(NewContact(email="alma@example.com"))
    await desk.offline(NewContact(mobile_phone=phone(70).value))
    desk.replica.add(member(), phone(70))
    await rounds(desk)
    assert [len(rows) for rows in desk.bulk.batches] == [FEWEST]
    assert {one for _, given in desk.vendor.created for one in given} >= {email(), phone(70)}


async def test_everybody_is_asked_for_by_what_the_vendor_does_not_tell_apart(desk):
    """A mail address that is a member's already: nobody is made twice because others wait as well."""
    await newcomers(desk, FEWEST)
    await desk.offline(NewContact(mobile_phone=phone(70).value, email="alma@example.com"))
    desk.vendor.contacts[email()] = ["10000499"]
    await rounds(desk)
    assert [len(rows) for rows in desk.bulk.batches] == [FEWEST]
    assert desk.record.find((phone(70),))[0].key == member_key("10000499")
    assert desk.vendor.contacts[phone(70)] == []
    assert phone(70) not in desk.vendor.asked


async def test_sales_have_their_turn_while_everybody_is_asked_for(desk):
    """Whoever has to be asked for takes turns as ever; the call goes when all of them are."""
    for number in range(TURN + 5):
        await desk.offline(NewContact(mobile_phone=phone(number).value, email=f"a{number}@example.com"))
    desk.vendor.asked.clear()
    assert await desk.deliver() == TURN
    assert (len(desk.vendor.asked), desk.bulk.batches) == (TURN, [])
    assert await desk.deliver() == 5 + 1
    assert [len(rows) for rows in desk.bulk.batches] == [TURN + 5]


async def test_a_call_is_bounded(desk):
    """What does not fit goes in the next."""
    desk.bulk.max_rows = FEWEST
    await newcomers(desk, 3 * FEWEST)
    await rounds(desk)
    assert [len(rows) for rows in desk.bulk.batches] == [FEWEST] * 3
    assert states(desk, 3 * FEWEST) == {"delivered": 3 * FEWEST}


async def test_what_is_given_again_before_it_goes(desk):
    """Goes along, and whoever adds something that has to be asked for is asked for first."""
    for number in range(TURN + 1):
        await desk.offline(NewContact(mobile_phone=phone(number).value, email=f"a{number}@example.com"))
    await desk.deliver()
    desk.vendor.fault = Offline()
    await desk.enrol(NewContact(mobile_phone=phone(0).value, email="alma@example.com"))
    desk.vendor.fault = None
    desk.vendor.asked.clear()
    await desk.deliver()
    assert [one.value for one in desk.vendor.asked] == ["alma@example.com", f"a{TURN}@example.com"]
    assert any(b"alma@example.com" in row for row in desk.bulk.batches[0])
    assert len(desk.bulk.batches[0]) == TURN + 1


# --- what becomes of a call -------------------------------------------------------------------------------------


async def test_a_call_that_is_being_carried_out_is_asked_for_at_growing_intervals(desk):
    """And its contacts are neither sent again nor made alone."""
    desk.bulk.carried_out = False
    await newcomers(desk)
    await rounds(desk)
    assert (desk.bulk.polls, len(desk.bulk.batches)) == (1, 1)
    for seconds in (10, 20, 40):
        desk.clock.advance(seconds + 0.1)
        await rounds(desk)
    assert (desk.bulk.polls, states(desk), desk.vendor.created) == (4, {"queued": FEWEST}, [])
    desk.bulk.carry_out()
    desk.clock.advance(80.1)
    await rounds(desk)
    assert (states(desk), of_one_each(desk)) == ({"delivered": FEWEST}, True)


async def test_a_call_survives_the_run_that_sent_it(tmp_path):
    """A restart asks for it and does not send it again."""
    path = tmp_path / "outbox.db"
    with opened(path) as (desk, _):
        desk.bulk.carried_out = False
        await newcomers(desk)
        await desk.deliver()
        vendor, before = desk.vendor, desk.bulk
    with opened(path, "run-2") as (desk, _):
        desk.vendor.contacts, desk.bulk.batches, desk.bulk._made = vendor.contacts, before.batches, before._made
        await rounds(desk)
        assert (len(before.batches), desk.bulk.polls, states(desk)) == (1, 1, {"queued": FEWEST})
        desk.bulk.carry_out()
        desk.clock.advance(11)
        await rounds(desk)
        assert (states(desk), of_one_each(desk), len(before.batches)) == ({"delivered": FEWEST}, True, 1)


@pytest.mark.parametrize("received", [True, False], ids=["there", "not there"])
async def test_an_answer_that_is_lost(desk, received):
    """The call is not sent again: it is searched for, and whoever is not there in the end is made alone."""
    desk.bulk.loses = True
    desk.bulk.carried_out = False
    await newcomers(desk)
    with pytest.raises(VendorUnreachableError):
        await desk.deliver()
    await rounds(desk)
    assert (desk.vendor.created, states(desk), desk.bulk.found_by) == ([], {"queued": FEWEST}, {False: 1})
    if received:
        desk.bulk.carry_out()
        desk.clock.advance(11)
        await rounds(desk)
        assert desk.bulk.found_by == {False: 2 + FEWEST}, "found by whoever stands last, then each by themselves"
    else:
        desk.bulk.over = {1}  # it never arrived
        for _ in range(OWN_FAILURES):
            desk.clock.advance(901)
            await rounds(desk)
    assert (states(desk), of_one_each(desk)) == ({"delivered": FEWEST}, True)
    assert (len(desk.bulk.batches), len(desk.vendor.created)) == (1, 0 if received else FEWEST)


async def test_a_call_of_people_who_are_all_gone(desk):
    """Nobody has to be asked for."""
    desk.bulk.loses = True
    made = await newcomers(desk)
    with pytest.raises(VendorUnreachableError):
        await desk.deliver()
    for one in made:
        await desk.record.drop(desk.record.by_ref(one.ref).number)
    await rounds(desk)
    assert (desk.calls.open(), desk.bulk.found_by) == ([], {})


async def test_a_call_that_was_not_received(desk):
    """It never was: the same contacts go in the next, and need not be asked for again."""
    desk.bulk.fault = Offline()
    for number in range(FEWEST):
        await desk.offline(NewContact(mobile_phone=phone(number).value, email=f"a{number}@example.com"))
    with pytest.raises(Offline):
        await desk.deliver()
    assert (desk.calls.open(), desk.calls.waiting()) == ([], FEWEST)
    desk.bulk.fault = None
    desk.vendor.asked.clear()
    await rounds(desk)
    assert (len(desk.bulk.batches), states(desk), desk.vendor.asked) == (1, {"delivered": FEWEST}, [])


@pytest.mark.parametrize(
    "refusal", [BulkSent(None, 413), VendorRefusedError()], ids=["the call", "the credentials for it"]
)
async def test_a_call_that_is_refused_as_a_whole(desk, refusal):
    """Everybody in it goes alone: nothing of it was taken."""
    if isinstance(refusal, Exception):
        desk.bulk.fault = refusal
    else:
        desk.bulk.refuses = refusal
    await newcomers(desk)
    with contextlib.suppress(VendorRefusedError):
        await desk.deliver()
    await rounds(desk)
    assert (desk.bulk.batches, len(desk.vendor.created), states(desk)) == ([], FEWEST, {"delivered": FEWEST})


async def test_an_error_of_the_vendors_own_to_a_call(desk):
    """Is not the line's trouble, and may have come after the call was taken: each is looked up in the end."""
    desk.bulk.fault = VendorOwnError("answered 500")
    await newcomers(desk)
    await rounds(desk)
    assert (len(desk.calls.open()), desk.vendor.created) == (1, [])
    for _ in range(OWN_FAILURES):
        desk.clock.advance(901)
        await rounds(desk)
    assert (states(desk), len(desk.vendor.created)) == ({"delivered": FEWEST}, FEWEST)


async def test_a_vendor_that_never_says_what_became_of_a_call(desk):
    """After so many questions each is looked up, and found."""
    desk.bulk.tells = False
    await newcomers(desk)
    await rounds(desk)
    for _ in range(OWN_FAILURES):
        desk.clock.advance(901)
        await rounds(desk)
    assert (desk.bulk.polls, states(desk), desk.vendor.created) == (OWN_FAILURES, {"delivered": FEWEST}, [])


async def test_a_question_about_a_call_that_is_refused(desk):
    """Holds up nothing and nobody for good."""
    desk.bulk.carried_out = False
    await newcomers(desk)
    await desk.deliver()

    async def refuses(*_args, **_kwargs):
        raise VendorRefusedError

    desk.bulk.said = refuses
    for _ in range(OWN_FAILURES):
        assert states(desk) == {"queued": FEWEST}
        with pytest.raises(VendorRefusedError):
            await desk.deliver()
        desk.clock.advance(901)
    await rounds(desk)
    assert (states(desk), len(desk.vendor.created)) == ({"delivered": FEWEST}, FEWEST)


@pytest.mark.parametrize("how", ["told", "found", "given up"])
async def test_refused_questions_speak_against_their_own_call_alone(desk, how):
    """A later one is not given up because an earlier one was asked for in vain, however that ended."""
    desk.bulk.carried_out, desk.bulk.loses = False, how == "found"
    await newcomers(desk)
    with contextlib.suppress(VendorUnreachableError):
        await desk.deliver()
    desk.vendor.fault = VendorRefusedError()
    for _ in range(OWN_FAILURES - (how != "given up")):
        with pytest.raises(VendorRefusedError):
            await desk.deliver()
        desk.clock.advance(901)
    desk.vendor.fault, desk.bulk.loses = None, False
    desk.bulk.carry_out()
    await rounds(desk)
    assert (desk.calls.open(), states(desk)) == ([], {"delivered": FEWEST})
    for number in range(FEWEST, 2 * FEWEST):
        await desk.offline(NewContact(mobile_phone=phone(number).value))
    await desk.deliver()
    desk.vendor.fault = VendorRefusedError()
    with pytest.raises(VendorRefusedError):
        await desk.deliver()
    assert len(desk.calls.open()) == 1


async def in_vain(*_args, **_kwargs):
    """A look-up of somebody who went in a call."""
    raise VendorOwnError("answered 500")


async def test_nobody_goes_while_somebody_has_not_been_looked_at(desk):
    """A turn that an error of the vendor's ended early is not the end of the list."""
    desk.bulk.max_rows = FEWEST
    await newcomers(desk, 2 * FEWEST)
    await desk.deliver()
    finds, desk.bulk.find = desk.bulk.find, in_vain
    await desk.deliver()
    assert (desk.calls.open(), len(desk.bulk.batches)) == ([], 1)
    desk.bulk.find = finds
    await rounds(desk)
    assert ([len(rows) for rows in desk.bulk.batches], of_one_each(desk, 2 * FEWEST)) == ([FEWEST] * 2, True)


async def test_whom_a_call_has_made_is_not_sent_again(desk):
    """Not where they cannot be looked up yet, and the next call does not go out."""
    desk.bulk.max_rows = FEWEST
    await newcomers(desk, 2 * FEWEST)
    await desk.deliver()
    finds, desk.bulk.find, desk.bulk.fault = desk.bulk.find, in_vain, Offline()
    for _ in range(FEWEST):
        await desk.deliver()
    with pytest.raises(Offline):  # each of them waits: it is the others' turn
        await desk.deliver()
    desk.bulk.find, desk.bulk.fault = finds, None
    desk.clock.advance(901)
    await rounds(desk)
    sent = [row for rows in desk.bulk.batches for row in rows]
    assert (len(sent), len(set(sent)), states(desk, 2 * FEWEST)) == (2 * FEWEST,) * 2 + ({"delivered": 2 * FEWEST},)


async def test_whom_a_call_does_not_make_goes_alone(desk):
    """Who is there already is found; whom the vendor refuses is parked with its word; the others are made."""
    desk.bulk.leaves_out = {phone(1).value, phone(2).value}
    await newcomers(desk)
    desk.vendor.contacts[phone(0)] = ["10000499"]
    making = desk.vendor.create

    async def picky(contact, identifiers, **kwargs):
        if phone(1) in identifiers:
            raise ContactRefusedError(422, "ValidationError")
        return await making(contact, identifiers, **kwargs)

    desk.vendor.create = picky
    await rounds(desk)
    assert states(desk) == {"delivered": FEWEST - 1, "parked": 1}
    parked = desk.record.find((phone(1),))[0]
    assert (parked.state, parked.status, parked.vendor_code) == (EnrolmentState.PARKED, 422, "ValidationError")
    assert desk.record.find((phone(0),))[0].key == member_key("10000499")
    assert desk.standing() == ["contacts.parked"]
    assert (len(desk.bulk.batches), [len(desk.vendor.contacts[phone(n)]) for n in (0, 1, 2)]) == (1, [1, 0, 1])


async def test_nothing_goes_while_new_contacts_are_refused(desk):
    """Credentials that are not good for one contact are not tried with many."""
    await desk.offline(NewContact(email="alma@example.com"))
    await newcomers(desk)
    making = desk.vendor.create

    async def forbidden(*_args, **_kwargs):
        raise VendorRefusedError

    desk.vendor.create = forbidden
    with pytest.raises(VendorRefusedError):
        await desk.deliver()
    await rounds(desk)
    assert (desk.bulk.batches, states(desk)) == ([], {"queued": FEWEST})
    desk.vendor.create = making
    desk.clock.advance(901)
    await rounds(desk)
    assert (len(desk.bulk.batches), states(desk)) == (1, {"delivered": FEWEST})


async def test_an_error_of_the_vendors_own_is_no_answer(desk):
    """To a question about a call: it is asked again; what the vendor may have is not sent again."""
    desk.bulk.carried_out = False
    await newcomers(desk)
    await desk.deliver()
    desk.vendor.fault = VendorOwnError("answered 500")
    await rounds(desk)
    desk.vendor.fault = None
    desk.bulk.carry_out()
    desk.clock.advance(901)
    await rounds(desk)
    assert (states(desk), len(desk.bulk.batches)) == ({"delivered": FEWEST}, 1)


# --- everybody else ---------------------------------------------------------------------------------------------


async def test_a_cashier_is_served_while_a_call_is_carried_out(desk):
    """Who joins now is made now; who changes what is under way is told so."""
    desk.bulk.carried_out = False
    await newcomers(desk)
    await desk.deliver()
    desk.link.worked(desk.clock.now(), desk.clock.monotonic(), lookup=True)
    joined = await desk.enrol(NewContact(mobile_phone=phone(50).value))
    assert (joined.state, len(desk.vendor.created)) == ("delivered", 1)
    with pytest.raises(UnderWayError):
        await desk.enrol(NewContact(mobile_phone=phone(0).value, first_name="Alma"))
    assert (await desk.enrol(NewContact(mobile_phone=phone(0).value))).state == "queued", "a repeat needs nothing added"


async def test_sales_of_others_go_on(shop):
    """Those of who is under way wait, are blamed for nothing, and go under the vendor's key as soon as there is one."""
    desk, outbox = shop
    desk.bulk.carried_out = False
    made = await newcomers(desk)
    intake = intake_of(desk, outbox)
    await intake.accept(transaction("s-1", integration_key=made[0].key.model_dump()))
    await outbox.accept(acceptance("s-2", key=member_key()), desk.clock.now())
    async with lane_of(desk, outbox) as lane:
        await until(lambda: "s-2" in desk.vendor.taken and desk.bulk.polls > 0)
        await until(lambda: outbox.story("s-1").deliveries[0].attempts > 0)
        delivery = outbox.story("s-1").deliveries[0]
        assert (delivery.state.value, "s-1" in desk.vendor.taken) == ("queued", False)
        desk.bulk.carry_out()
        desk.clock.advance(10.1)
        lane.wake()
        await until(lambda: "s-1" in desk.vendor.taken)
    assert desk.vendor.taken["s-1"].type is IdentifierType.MEMBER_NUMBER
    assert desk.vendor.created == []


async def test_a_sale_does_not_take_its_contact_out_of_a_call(desk):
    """Whoever is about to go with others is not made alone because a sale of theirs comes first."""
    for number in range(TURN + 1):
        await desk.offline(NewContact(mobile_phone=phone(number).value, email=f"a{number}@example.com"))
    await desk.deliver()
    for number in (0, TURN):  # who has been asked for, and who has not
        verdict = await desk.bringing.key_of(desk.record.find((phone(number),))[0].own_key)
        assert (verdict.kind, verdict.code, verdict.awaits) == (VerdictKind.RETRY, "contact.with_others", True)
    await desk.deliver()
    assert ([len(rows) for rows in desk.bulk.batches], desk.vendor.created) == ([TURN + 1], [])


async def test_without_the_way_for_several_everybody_goes_alone(tmp_path):
    """Also who stood in a call when the setting was taken out."""
    path = tmp_path / "outbox.db"
    with opened(path) as (desk, _):
        desk.bulk.carried_out = False
        await newcomers(desk)
        await desk.deliver()
    with open_outbox(path, run="run-2") as outbox:
        desk = Desk(outbox)
        await rounds(desk)
        assert (states(desk), len(desk.vendor.created)) == ({"delivered": FEWEST}, FEWEST)
