"""Contacts made at the till, on disk: found by all that names them, and erased to the last byte."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest

from agent.domain.belonging import Wanted
from agent.domain.enrolment import EnrolmentState
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.retention import RetentionPlan
from agent.domain.transaction import NewContact
from agent.ports import Recipient
from agent.store.database import DatabaseFile, truncate_log
from agent.store.enrolment_rows import Given
from agent.store.enrolments import BY_REF, DUE, MARKS, OF_MARK, OVER, PARKED, QUEUED, SLICE, Enrolments
from agent.store.hashkey import lookup_key
from agent.store.keyhash import KeyHash
from agent.store.outbox_view import read
from agent.store.rescue import RescueJob, rescue
from tests.fakes import (
    NAMES,
    NOW,
    STORAGE_KEY,
    VENDOR,
    acceptance,
    contact_id_of,
    email,
    member_key,
    open_outbox,
    phone,
)

DAY = timedelta(days=1)
ALMA = NewContact(first_name="Canaryalma", mobile_phone=phone(5).value, email="canary@example.com")
GIVEN = (phone(5), email("canary"))
PREFIX = "1042-03-"


@contextlib.contextmanager
def shop(tmp_path, run="run-1"):
    with open_outbox(tmp_path / "outbox.db", run=run) as outbox:
        yield Enrolments(outbox._writer, outbox._reader, names=NAMES)


def add(record, contact=ALMA, identifiers=GIVEN, now=NOW):
    return record.add(contact, identifiers, prefix=PREFIX, now=now)


def wanted(*identifiers, refs=(), before=None):
    return Wanted(frozenset(refs), {NAMES.of_identifier(identifier): before for identifier in identifiers})


def bytes_of(tmp_path):
    return b"".join(path.read_bytes() for path in tmp_path.iterdir())


def plan(accepted=NOW - 30 * DAY):
    return RetentionPlan(
        delivered_before=NOW - DAY, accepted_before=accepted, audit_before=NOW - 400 * DAY, tombstones_before=NOW
    )


async def test_what_is_made_is_on_disk(tmp_path):
    """A new run, after whatever ended the last one, finds it by each identifier, by its number and by its handle."""
    with shop(tmp_path) as record:
        added = await add(record)
        assert added.new
    with shop(tmp_path, run="run-2") as record:
        (made,) = record.queued(10)
        assert (made,) == added.enrolments
        assert (made.state, made.contact, made.identifiers) == (EnrolmentState.QUEUED, ALMA, GIVEN)
        assert made.own_key.value.startswith(PREFIX)
        for identifier in (*GIVEN, made.own_key.identifier):
            assert record.find((identifier,)) == (made,)
        assert record.by_ref(made.ref) == made
        assert record.find((phone(6),)) == ()
        assert record.by_ref("n_nobody") is None


async def test_nobody_is_made_twice(tmp_path):
    """Whoever has one of the identifiers already is told instead, however many ask at once."""
    with shop(tmp_path) as record:
        (first,) = (await add(record)).enrolments
        again = await add(record, ALMA, (email("canary"), phone(7)))
        assert (again.new, again.enrolments) == (False, (first,))
        (second,) = (await add(record, NewContact(), (phone(8),))).enrolments
        both = await add(record, NewContact(), (phone(5), phone(8)))
        assert (both.new, both.enrolments) == (False, (first, second))
        assert record.queued(10) == [first, second]


async def test_numbers_outlive_their_contacts(tmp_path):
    """A number of somebody who was erased, or whose contact was taken back, is given to nobody else."""
    numbers = []
    for run in ("run-1", "run-2", "run-3"):
        with shop(tmp_path, run) as record:
            (made,) = (await add(record)).enrolments
            numbers.append(int(made.own_key.value.removeprefix(PREFIX)))
            await record.drop(made.number)
            assert record.find(GIVEN) == ()
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]


async def test_what_the_vendor_has_is_forgotten_here(tmp_path):
    """No name, phone or address is left; they are still found by what they say, under the vendor's key."""
    with shop(tmp_path) as record:
        (made,) = (await add(record)).enrolments
        await record.deliver(made.number, member_key(), contact_id_of("10000421"), NOW)
        assert b"anary" not in bytes_of(tmp_path) or await _emptied(record)
        (found,) = record.find((phone(5),))
        assert (found.state, found.key, found.own_key) == (EnrolmentState.DELIVERED, member_key(), made.own_key)
        assert (found.contact, found.identifiers) == (None, ())
        assert record.find((member_key().identifier,)) == (found,)
        assert record.find((Identifier(IdentifierType.CONTACT_ID, contact_id_of("10000421")),)) == (found,)
        assert record.queued(10) == []
        await record.deliver(made.number, member_key("1"), None, NOW)
        assert record.find((phone(5),)) == (found,), "the first word stands"
        await record.purge(plan())
        assert b"anary" not in bytes_of(tmp_path)


async def _emptied(record):
    """The write-ahead log still has what was committed before; a purge empties it."""
    await record.purge(plan())
    return True


async def test_what_the_vendor_refuses_is_parked(tmp_path):
    """It is counted, waits no more by itself, and keeps what was given."""
    with shop(tmp_path) as record:
        (made,) = (await add(record)).enrolments
        assert record.parked() == 0
        await record.park(made.number, 422, "ValidationError")
        (found,) = record.find((phone(5),))
        assert (found.state, found.status, found.vendor_code) == (EnrolmentState.PARKED, 422, "ValidationError")
        assert (found.contact, record.parked(), record.queued(10)) == (ALMA, 1, [])


@pytest.mark.parametrize("state", ["delivered", "gone"])
async def test_only_whom_the_vendor_does_not_have_is_amended(tmp_path, state):
    """What the vendor has is not changed behind its back; nor does anybody come back who is gone."""
    with shop(tmp_path) as record:
        (made,) = (await add(record)).enrolments
        if state == "delivered":
            await record.deliver(made.number, member_key(), None, NOW)
        elif state == "gone":
            await record.drop(made.number)
        before = record.by_ref(made.ref)
        await record.amend(made.number, NewContact(), (phone(8),))
        assert (record.by_ref(made.ref), record.find((phone(8),))) == (before, ())


@pytest.mark.parametrize("delivered", [False, True], ids=["waiting", "delivered"])
@pytest.mark.parametrize("by", ["phone", "number", "handle"])
async def test_a_person_is_erased(tmp_path, by, delivered):
    """By any of their identifiers, the number or the handle: no byte of theirs is left, and others' are."""
    with shop(tmp_path) as record:
        (made,) = (await add(record)).enrolments
        (other,) = (await add(record, NewContact(), (phone(8),))).enrolments
        if delivered:
            await record.deliver(made.number, member_key("90817263"), None, NOW)
        marks, refs = record.marks_of([NAMES.of_identifier(phone(5))])
        assert NAMES.of_identifier(made.own_key.identifier) in marks
        assert (NAMES.of_identifier(member_key("90817263").identifier) in marks) is delivered
        assert refs == {made.ref}
        whom = {
            "phone": wanted(phone(5)),
            "number": wanted(made.own_key.identifier),
            "handle": wanted(refs=(made.ref,)),
        }[by]
        (document,) = await record.export(whom)
        assert document["number"] == made.own_key.value
        assert (document["contact"] is None) is delivered
        assert await record.holds(whom)
        assert await record.erase(whom) == 1
        assert not await record.holds(whom)
        assert record.find((phone(8),)) == (other,)
        left = bytes_of(tmp_path)
        assert b"anary" not in left
        assert b"90817263" not in left
        assert made.own_key.value.encode() not in left


async def test_the_vendors_key_of_whom_something_names(tmp_path):
    """Once the vendor has them; of two people who are named by the same nobody can tell which is meant."""
    with shop(tmp_path) as record:
        (made,) = (await add(record)).enrolments
        (other,) = (await add(record, NewContact(), (phone(8),))).enrolments
        by_phone, by_either = [NAMES.of_identifier(phone(5))], [NAMES.of_identifier(phone(n)) for n in (5, 8)]
        assert record.key_of(by_phone) is None
        await record.deliver(made.number, member_key("90817263"), None, NOW)
        assert (record.key_of(by_phone), record.key_of(by_either)) == (member_key("90817263"),) * 2
        assert record.key_of([NAMES.of_identifier(phone(6))]) is None
        await record.deliver(other.number, member_key("90817264"), None, NOW)
        assert record.key_of(by_either) is None


async def test_whoever_is_looked_for_is_not_read_on_the_event_loop(tmp_path):
    """Every contact is looked through, on the writer's thread: a till that asks meanwhile is answered."""
    with shop(tmp_path) as record:
        await add(record)
        record._reader = None
        assert await record.holds(wanted(phone(5)))
        assert len(await record.export(wanted(phone(5)))) == 1
        assert await record.erase(wanted(phone(5))) == 1


async def test_a_key_counts_from_before_its_removal_alone(tmp_path):
    """Who was made after the feed removed somebody with that phone is somebody else."""
    with shop(tmp_path) as record:
        await add(record)
        assert await record.erase(wanted(phone(5), before=NOW)) == 0
        assert await record.erase(wanted(phone(5), before=NOW + DAY)) == 1


async def test_what_is_too_old_goes(tmp_path):
    """A contact that never arrived goes by its age; which number is which member stays as long after its arrival."""
    with shop(tmp_path) as record:
        (old,) = (await add(record, now=NOW - 31 * DAY)).enrolments
        (arrived,) = (await add(record, NewContact(), (phone(8),), now=NOW - 31 * DAY)).enrolments
        await record.deliver(arrived.number, member_key(), None, NOW - DAY)
        for place in range(SLICE):
            await add(record, NewContact(), (email(f"n{place}"),), now=NOW - 40 * DAY)
        assert record.due(plan())
        assert await record.purge(plan()) == {"enrolments": SLICE + 1}
        assert not record.due(plan())
        assert record.by_ref(old.ref) is None
        assert record.by_ref(arrived.ref) is not None
        assert b"anary" not in bytes_of(tmp_path)
        assert read(record._reader, "SELECT count(*) FROM enrolment_keys")[0][0] == 3


async def test_what_cannot_be_read_any_more_is_nobody(tmp_path):
    """It is found by nothing, counts as nobody's, and goes when its time is up."""
    with shop(tmp_path) as record:
        await add(record)
        await record._writer.run(lambda db: db.execute("UPDATE statements SET content = zeroblob(length(content))"))
        assert (record.find(GIVEN), record.queued(10)) == ((), [])
        assert await record.purge(plan(NOW + DAY)) == {"enrolments": 1}


@pytest.mark.parametrize(
    "text", ["", "[]", "[1, 2]", '{"a": 1}', '["n", null, [["x", "y"]], null, null]', '["n", null, [], [], null]']
)
def test_nonsense_is_not_taken_for_a_contact(text):
    """A text that was not written so is a ValueError, whatever is wrong with it."""
    with pytest.raises(ValueError):
        Given.parse(text)


@pytest.mark.parametrize("statement", [QUEUED, PARKED, DUE, OVER, BY_REF, OF_MARK, MARKS])
async def test_every_question_has_its_index(tmp_path, statement):
    """None reads through all that were ever made: some are asked with every sale of somebody unknown."""
    with shop(tmp_path) as record:
        values = (b"",) * statement.count("?")
        plan_of_it = read(record._reader, f"EXPLAIN QUERY PLAN {statement}", *values)
        assert not [row[3] for row in plan_of_it if row[3].startswith("SCAN") and "CONSTANT" not in row[3]]


async def test_a_wrong_clock_is_put_right(tmp_path):
    """What this run dated moves with the clock; what an earlier one dated impossibly gets today's date."""
    years = timedelta(days=9_000)
    with open_outbox(tmp_path / "outbox.db") as outbox:
        record = Enrolments(outbox._writer, outbox._reader, names=NAMES)
        await add(record, now=NOW - years)
        await outbox.shift(years)
        assert record.find((phone(5),))[0].accepted_at == NOW
        await add(record, NewContact(), (phone(8),), now=NOW - years)
    with open_outbox(tmp_path / "outbox.db", run="run-2") as outbox:
        record = Enrolments(outbox._writer, outbox._reader, names=NAMES)
        await outbox.shift(timedelta(days=1))
        assert record.find((phone(5),))[0].accepted_at == NOW, "another run's date is left alone"
        assert outbox.oddly_dated(NOW)
        await outbox.redate(NOW)
        assert record.find((phone(8),))[0].accepted_at == NOW
        assert not outbox.oddly_dated(NOW)


def wrecked(tmp_path, *names):
    """What a rescue makes of an outbox whose tables of these names are overwritten; opens it."""
    damaged, fresh = (DatabaseFile(tmp_path / name, None, "FULL") for name in ("outbox.db", "fresh.db"))
    connection = damaged.connect()
    truncate_log(connection)
    root_of = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
    roots = [connection.execute(root_of, (name,)).fetchone() for name in names]
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    with damaged.path.open("r+b") as file:
        for (root,) in roots:
            file.seek((root - 1) * page_bytes)
            file.write(b"\xa5" * page_bytes)
    rescue(RescueJob(damaged, fresh, (Recipient(VENDOR),), (STORAGE_KEY,), NOW))
    return fresh.path


async def test_a_rescue_keeps_them_and_their_sales(tmp_path):
    """With the keys that find them and the deliveries of their sales gone: both are made anew, the sale unsent."""
    with open_outbox(tmp_path / "outbox.db") as outbox:
        record = Enrolments(outbox._writer, outbox._reader, names=KeyHash(lookup_key(outbox._hash_key)))
        (made,) = (await add(record)).enrolments
        await outbox.accept(acceptance("s-1", key=made.own_key, open_=True), NOW)
        await outbox.accept(acceptance("s-2", key=member_key()), NOW)
    fresh = wrecked(tmp_path, "enrolment_keys", "deliveries", "series")
    with open_outbox(fresh, run="run-2") as outbox:
        record = Enrolments(outbox._writer, outbox._reader, names=KeyHash(lookup_key(outbox._hash_key)))
        assert record.find((phone(5),)) == record.find((made.own_key.identifier,)) == (made,)
        leased = {one.transaction.transaction_id: one for one in await outbox.lease(VENDOR, 10, NOW)}
        assert {name: (one.key, one.open, one.maybe_received) for name, one in leased.items()} == {
            "s-1": (made.own_key, True, False),
            "s-2": (member_key(), False, True),
        }
        (later,) = (await add(record, NewContact(), (phone(8),), now=NOW + timedelta(seconds=1))).enrolments
        assert later.own_key != made.own_key, "the clock alone leads past what was given"


async def test_a_contact_that_a_rescue_finds_nothing_of_is_nobody(tmp_path):
    """Its keys lead nowhere and go; nothing is left that points at a statement which is not there."""
    with open_outbox(tmp_path / "outbox.db") as outbox:
        record = Enrolments(outbox._writer, outbox._reader, names=KeyHash(lookup_key(outbox._hash_key)))
        await add(record)
    with open_outbox(wrecked(tmp_path, "statements"), run="run-2") as outbox:
        assert read(outbox._reader, "SELECT count(*) FROM enrolments")[0][0] == 0
        assert read(outbox._reader, "SELECT count(*) FROM enrolment_keys")[0][0] == 0
