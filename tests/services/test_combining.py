"""Changes that go together: by one call, each once, nothing allowed too late, and no older word over a newer one."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest

from agent.domain.bulk import BulkSent, RowWord
from agent.domain.contact import Member
from agent.domain.enrolment import EnrolmentState
from agent.domain.revision import ConsentThere, ContactThere
from agent.domain.transaction import NewContact
from agent.errors import VendorOwnError, VendorRefusedError, VendorUnreachableError
from agent.services.combining import FRESH_S, MOST, WayTogether
from agent.services.together import FEWEST
from agent.services.turns import OWN_FAILURES, TURN
from agent.store.bulk import changes
from tests.fakes import NOW, Offline, contact_id_of, member_key, open_outbox
from tests.services.test_revising import Counter

BEFORE = NOW - timedelta(days=1)
KNOWN = "20000"


class FakeUpdates:
    """A vendor that takes several changes by one call, and finds contacts by their e-mail.

    Attributes:
        batches: the rows of each call that it took.
        at_once: it carries a call out at once; until then it is not over.
        loses: it takes a call, and its answer is lost.
        fault: raised by a call that it does not take.
        refuses: what it answers to a call that it refuses as a whole.
        leaves_out: e-mails of whom it does not change.
        misnames: by which key it names a row that it left out; its own if None.
    """

    max_rows, max_bytes = 4_000, 1 << 20

    def __init__(self, vendor):
        self._vendor = vendor
        self.batches, self.over, self.polls = [], set(), 0
        self.at_once, self.loses, self.fault, self.refuses = True, False, None, None
        self.leaves_out, self.misnames = set(), None
        self._words = {}

    def key_of(self, there, changed):
        return None if any(one.type == "email" for one in changed) else there.values.get("email")

    def row(self, key, contact, identifiers):
        return f"{key} {contact.first_name or ''}".encode()

    async def send(self, rows, *, pace):
        await pace()
        if self.fault is not None:
            raise self.fault
        if self.refuses is not None:
            return self.refuses
        self.batches.append([row.decode().split(" ") for row in rows])
        if self.at_once:
            self.carry_out()
        if self.loses:
            raise VendorUnreachableError("the answer was lost", maybe_received=True)
        return BulkSent(f"b-{len(self.batches)}", 202)

    def carry_out(self):
        for number, rows in enumerate(self.batches):
            if number not in self.over:
                self.over.add(number)
                self._words[f"b-{number + 1}"] = [self._change(*row) for row in rows]

    def _change(self, key, name):
        if key in self.leaves_out:
            return RowWord(made=False, key=self.misnames or key)
        number = next(number for number, one in self._vendor.there.items() if one.values.get("email") == key)
        self._vendor.there[number] = of_one(number, name)
        return RowWord(made=True)

    async def said(self, vendor_id, *, size, pace):
        await pace()
        self.polls += 1
        if self._vendor.fault is not None:
            raise self._vendor.fault
        words = self._words.get(vendor_id)
        assert words is None or len(words) == size
        return words


def of_one(number, name="There", *, modified_at=BEFORE, **more):
    values = {"first_name": name, "email": f"m{number}@example.com"}
    return ContactThere(contact_id_of(number), values, modified_at=modified_at, **more)


@contextlib.contextmanager
def opened(path, run="run-1"):
    made = []

    def together(counter):
        made.append(FakeUpdates(counter.vendor))
        return WayTogether(changes(outbox._writer, outbox._reader), made[0], counter.turns())

    with open_outbox(path, run=run) as outbox:
        counter = Counter(outbox, together=together)
        counter.bulk, counter.outbox = made[0], outbox
        yield counter


@pytest.fixture
def counter(tmp_path):
    with opened(tmp_path / "outbox.db") as one:
        yield one


def numbered(count):
    return [f"{KNOWN}{number:03d}" for number in range(count)]


async def given(counter, count=FEWEST, **said):
    """So many members have another name; nobody answers meanwhile."""
    for number in numbered(count):
        member = Member(f"c_{number}", member_key(number))
        counter.replica.add(member, member.key.identifier)
        counter.vendor.there[number] = of_one(number)
        mail = {"email": said["email"].format(number)} if "email" in said else {}
        await counter.without_line(NewContact(**{"first_name": f"New{number}", **said, **mail}), member.ref)


async def rounds(counter, count=10):
    for _ in range(count):
        await counter.update()


def states(counter, count=FEWEST):
    found = [counter.changes.of(member_key(number)) for number in numbered(count)]
    return {one[0].state.value if one else "gone" for one in found}


def names_there(counter, count=FEWEST):
    return [counter.vendor.there[number].values["first_name"] for number in numbered(count)]


def alone(counter):
    return [contact for contact, _, _ in counter.vendor.updated]


# --- which go so ------------------------------------------------------------------------------------------------


async def test_many_go_by_one_call(counter):
    """Each contact was read, and each change is settled by the vendor's word."""
    await given(counter)
    await rounds(counter)
    assert [[key for key, _ in batch] for batch in counter.bulk.batches] == [
        [f"m{number}@example.com" for number in numbered(FEWEST)]
    ]
    assert (states(counter), alone(counter)) == ({"delivered"}, [])
    assert names_there(counter) == [f"New{number}" for number in numbered(FEWEST)]


async def test_a_few_go_one_by_one(counter):
    """One less than that."""
    await given(counter, FEWEST - 1)
    await rounds(counter)
    assert (counter.bulk.batches, len(alone(counter))) == ([], FEWEST - 1)


CONSENT = {"id": "news", "given_at": NOW.isoformat(), "place": "1042"}


@pytest.mark.parametrize(
    ("said", "together"),
    [
        ({"preferences": {"accepts_email": True}}, False),
        ({"consents": [{**CONSENT, "value": True}]}, False),
        ({"attributes": {"shoeSize": "39"}}, False),
        ({"email": "new{}@example.com"}, False),
        ({"first_name": "There"}, False),
        ({"preferences": {"accepts_email": False}}, False),
        ({"consents": [{**CONSENT, "value": False}]}, False),
        ({"last_name": "Ek", "birth_date": "1990-05-17"}, True),
    ],
    ids=[
        *("a yes to mail", "a consent", "what is not shown", "the key itself", "what is there"),
        *("a no", "withdrawn", "plain fields"),
    ],
)
async def test_what_may_come_late(counter, said, together):
    """No word on consent: a yes could come after a withdrawal, and a withdrawal that comes late, or is lost, harms."""
    await given(counter, **said)
    await rounds(counter)
    assert (len(counter.bulk.batches), len(alone(counter))) == ((1, 0) if together else (0, FEWEST))


@pytest.mark.parametrize(
    "there",
    [
        {"modified_at": NOW + timedelta(hours=1)},
        {"modified_at": None},
    ],
    ids=["changed since", "nobody knows when it was changed"],
)
async def test_a_contact_that_others_change_too(counter, there):
    """Its change goes alone, at once: the rest does not wait for it."""
    await given(counter, FEWEST + 1)
    counter.vendor.there[f"{KNOWN}000"] = of_one(f"{KNOWN}000", **there)
    await rounds(counter)
    assert (len(counter.bulk.batches[0]), len(alone(counter))) == (FEWEST, 1)
    assert states(counter, FEWEST + 1) == {"delivered"}


async def test_what_the_vendor_keeps_as_it_has_it(counter):
    """It is told, as for one that goes alone."""
    later = ConsentThere(value=True, given_at=NOW + timedelta(hours=2))
    await given(counter, consents=[{**CONSENT, "value": False}])
    counter.vendor.there[f"{KNOWN}000"] = of_one(f"{KNOWN}000", consents={"news": later})
    await rounds(counter)
    assert [event for event, _ in counter.audited] == ["contact.conflict"]
    assert counter.bulk.batches == []


async def test_sales_have_their_turn_while_contacts_are_read(counter):
    """A turn at a time; the call goes out when everybody has been looked at."""
    await given(counter, TURN + 3)
    assert await counter.update() == TURN
    assert counter.bulk.batches == []
    assert await counter.update() == 3 + 1
    assert len(counter.bulk.batches[0]) == TURN + 3


async def test_a_call_goes_out_when_it_is_full(counter):
    """However many more wait: what was read first does not grow old."""
    await given(counter, MOST + TURN + 5)
    await rounds(counter, MOST // TURN + 1)
    assert len(counter.bulk.batches[0]) >= MOST
    await rounds(counter)
    assert states(counter, MOST + TURN + 5) == {"delivered"}
    assert sum(map(len, counter.bulk.batches)) + len(alone(counter)) == MOST + TURN + 5


async def test_what_was_read_long_ago_is_read_again(counter):
    """Somebody else may have changed it since."""
    await given(counter, TURN + 3)
    await counter.update()
    first = f"{KNOWN}000"
    counter.vendor.there[first] = of_one(first, "Else", modified_at=NOW + timedelta(hours=1))
    counter.clock.advance(FRESH_S + 1)
    await rounds(counter)
    assert [event for event, _ in counter.audited] == ["contact.conflict"]
    assert f"m{first}@example.com" not in [key for key, _ in counter.bulk.batches[0]]


@pytest.mark.parametrize(
    ("reading_s", "sales_s"), [(0, FRESH_S + 10), (2, 0), (4, 0)], ids=["long sales", "a low rate", "a lower one"]
)
async def test_where_more_cannot_be_read_in_that_time(counter, reading_s, sales_s):
    """What is ready goes before it is too old: nobody is read again and again, and nothing stale goes out."""
    read, stale = {}, []
    contact_there, send = counter.vendor.contact_there, counter.bulk.send

    async def reading(key, **how):
        counter.clock.advance(reading_s)
        read[f"m{key.value}@example.com"] = counter.clock.monotonic()
        return await contact_there(key, **how)

    async def sending(rows, **how):
        stale.extend(row for row in rows if counter.clock.monotonic() - read[row.decode().split()[0]] > FRESH_S)
        return await send(rows, **how)

    counter.vendor.contact_there, counter.bulk.send = reading, sending
    count = 2 * TURN + FEWEST
    await given(counter, count)
    for _ in range(10):
        await counter.update()
        counter.clock.advance(sales_s)
    assert (states(counter, count), stale) == ({"delivered"}, [])
    assert len(alone(counter)) < FEWEST, "only the last few"


# --- what becomes of a call -------------------------------------------------------------------------------------


async def test_while_a_call_is_under_way(counter):
    """Its changes go no other way, not even while a cashier waits; what is said meanwhile goes alone afterwards."""
    counter.bulk.at_once = False
    await given(counter)
    await rounds(counter)
    first, ref = f"{KNOWN}000", f"c_{KNOWN}000"
    revised = await counter.revise(NewContact(first_name="Newest"), ref)
    await rounds(counter)
    assert (revised.state, alone(counter), states(counter)) == ("queued", [], {"queued"})
    counter.bulk.carry_out()
    counter.updating.hurry()
    await rounds(counter)
    assert states(counter) == {"delivered"}
    assert counter.vendor.updated == [(contact_id_of(first), NewContact(first_name="Newest"), ())]


async def test_a_cashier_who_waits_while_a_call_begins(counter):
    """Their change is in it: it does not go alone as well, or what comes next would be overtaken by the call."""
    counter.bulk.at_once = False
    await given(counter)
    (first,) = counter.changes.of(member_key(f"{KNOWN}000"))
    begin = counter.updating._combining._calls.begin

    async def waited_for(records, now):
        assert await counter.updating.now(first, counter.pace) is None
        return await begin(records, now)

    counter.updating._combining._calls.begin = waited_for
    await rounds(counter)
    assert (alone(counter), len(counter.bulk.batches[0]), states(counter)) == ([], FEWEST, {"queued"})


async def test_a_call_survives_the_run_that_sent_it(tmp_path):
    """It is asked for and not sent again."""
    with opened(tmp_path / "outbox.db") as counter:
        counter.bulk.at_once = False
        await given(counter)
        await rounds(counter)
        there, bulk = counter.vendor.there, counter.bulk
    with opened(tmp_path / "outbox.db", "run-2") as counter:
        counter.vendor.there = bulk._vendor.there = there
        await rounds(counter)
        assert (counter.bulk.batches, alone(counter), states(counter)) == ([], [], {"queued"})
        bulk.carry_out()
        counter.bulk._words = bulk._words
        counter.updating.hurry()
        await rounds(counter)
        assert (counter.bulk.batches, alone(counter), states(counter)) == ([], [], {"delivered"})


@pytest.mark.parametrize("carried_out", [True, False])
async def test_an_answer_that_is_lost(counter, carried_out):
    """It is searched for by its last; nothing is sent again before that, and in the end each goes alone."""
    counter.bulk.loses, counter.bulk.at_once = True, carried_out
    await given(counter)
    with pytest.raises(VendorUnreachableError):
        await rounds(counter)
    assert alone(counter) == []
    for _ in range(OWN_FAILURES):
        counter.updating.hurry()
        await counter.update()
    await rounds(counter)
    assert (len(counter.bulk.batches), len(alone(counter)), states(counter)) == (1, FEWEST, {"delivered"})


async def test_an_answer_that_is_lost_and_all_of_it_says_more_since(counter):
    """Nothing of it can be searched for: the newer word waits as long as the older may still be carried out."""
    counter.bulk.loses, counter.bulk.at_once = True, False
    await given(counter)
    with pytest.raises(VendorUnreachableError):
        await rounds(counter)
    for number in numbered(FEWEST):
        await counter.revise(NewContact(first_name="Newest"), f"c_{number}")
    for _ in range(OWN_FAILURES - 1):
        counter.updating.hurry()
        await counter.update()
    assert (alone(counter), states(counter)) == ([], {"queued"})
    counter.updating.hurry()
    await rounds(counter)
    assert (len(alone(counter)), states(counter)) == (FEWEST, {"delivered"})


@pytest.mark.parametrize(
    "fault", [Offline(), VendorRefusedError(), VendorOwnError("500")], ids=["no line", "refused", "its own error"]
)
async def test_a_call_that_is_not_taken(counter, fault):
    """Nothing is lost: what was surely not received may go again, so or alone."""
    await given(counter)
    counter.bulk.fault = fault
    with contextlib.suppress(VendorUnreachableError, VendorRefusedError):
        await rounds(counter)
    assert states(counter) == {"queued"}
    counter.bulk.fault = None
    for _ in range(OWN_FAILURES + 2):
        counter.clock.advance(1_000)
        counter.updating.hurry()
        await counter.update()
    assert states(counter) == {"delivered"}
    assert len(counter.bulk.batches) == (1 if isinstance(fault, Offline) else 0)


async def test_a_call_that_is_refused_as_a_whole(counter):
    """Each change goes alone: whoever is refused hears why from the call that is well known."""
    await given(counter)
    counter.bulk.refuses = BulkSent(None, 400, "NoData")
    await rounds(counter)
    assert (len(alone(counter)), states(counter)) == (FEWEST, {"delivered"})


async def test_what_a_call_leaves_out_goes_alone(counter):
    """The vendor names its row; the others are settled."""
    await given(counter)
    counter.bulk.leaves_out = {f"m{KNOWN}003@example.com"}
    await rounds(counter)
    assert counter.vendor.updated == [(contact_id_of(f"{KNOWN}003"), NewContact(first_name=f"New{KNOWN}003"), ())]
    assert states(counter) == {"delivered"}


async def test_words_that_are_not_about_our_rows(counter):
    """Nothing is believed of them."""
    await given(counter)
    counter.bulk.leaves_out, counter.bulk.misnames = {f"m{KNOWN}003@example.com"}, f"m{KNOWN}004@example.com"
    await rounds(counter)
    assert (len(alone(counter)), states(counter)) == (FEWEST, {"delivered"})


async def test_a_vendor_that_never_says_what_became_of_a_call(counter):
    """It is asked ten times, then each goes alone."""
    counter.bulk.at_once = False
    await given(counter)
    await counter.update()
    for _ in range(OWN_FAILURES):
        counter.updating.hurry()
        await counter.update()
    await rounds(counter)
    assert (counter.bulk.polls, len(alone(counter)), states(counter)) == (OWN_FAILURES, FEWEST, {"delivered"})


async def test_who_is_erased_meanwhile(counter):
    """Before the call nothing of theirs goes out, also of what was read; in it they keep nobody else waiting."""
    await given(counter, TURN + 1)
    await counter.update()
    (first,) = counter.changes.of(member_key(f"{KNOWN}000"))
    await counter.changes.take_back(first)
    counter.updating.erased()
    counter.bulk.at_once = False
    await rounds(counter)
    assert f"m{KNOWN}000@example.com" not in [key for batch in counter.bulk.batches for key, _ in batch]
    (last,) = counter.changes.of(member_key(f"{KNOWN}{TURN:03d}"))
    assert last.under_way
    await counter.changes.take_back(last)
    counter.bulk.carry_out()
    counter.updating.hurry()
    await rounds(counter)
    assert states(counter, TURN + 1) == {"delivered", "gone"}
    assert EnrolmentState.QUEUED.value not in states(counter, TURN + 1)
