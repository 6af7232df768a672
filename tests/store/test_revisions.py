"""Changes given at the till, on disk: one of a person at a time, found by what it says, erased to the last byte."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest

from agent.domain.belonging import Wanted
from agent.domain.enrolment import EnrolmentState
from agent.domain.retention import RetentionPlan
from agent.domain.transaction import NewContact
from agent.store.enrolments import Enrolments
from agent.store.hashkey import lookup_key
from agent.store.keyhash import KeyHash
from agent.store.outbox_view import read
from agent.store.revisions import ANY, ARRIVED, OF_MARK, PARKED, QUEUED, Revisions
from tests.fakes import NAMES, NOW, email, member_key, open_outbox, phone
from tests.store.test_enrolments import wrecked

DAY = timedelta(days=1)
KEY = member_key("90817263")
PHONE = (phone(5),)
CHANGE = NewContact(first_name="Canaryalma", mobile_phone=phone(5).value)


@contextlib.contextmanager
def shop(tmp_path, run="run-1"):
    with open_outbox(tmp_path / "outbox.db", run=run) as outbox:
        names = KeyHash(lookup_key(outbox._hash_key))
        yield (
            Revisions(outbox._writer, outbox._reader, names=names),
            Enrolments(outbox._writer, outbox._reader, names=names),
        )


def add(record, contact=CHANGE, identifiers=PHONE, *, key=KEY, known_by=(), now=NOW):
    return record.add(key, contact, identifiers, known_by=known_by, now=now)


def left_in(tmp_path):
    return b"".join(path.read_bytes() for path in tmp_path.iterdir())


async def test_a_change_is_on_disk(tmp_path):
    """A new run finds it by whose it is, and by the number that is theirs from now on; it is no new contact."""
    with shop(tmp_path) as (record, _):
        made, waited = await add(record, known_by=(email("old"),))
        assert not waited
    with shop(tmp_path, run="run-2") as (record, enrolments):
        assert record.queued(10) == [made]
        assert record.of(KEY) == record.naming((phone(5),)) == (made,)
        assert record.naming((email("old"),)) == (), "by what they were known before, the loyalty system knows them"
        assert (made.state, made.contact, made.identifiers) == (EnrolmentState.QUEUED, CHANGE, (phone(5),))
        assert (enrolments.queued(10), enrolments.find((phone(5), KEY.identifier)), enrolments.parked()) == ([], (), 0)
        (new,) = (await enrolments.add(NewContact(), (phone(5),), prefix="p-", now=NOW)).enrolments
        assert new.own_key, "a change is nobody whom a new contact could be"


async def test_what_is_given_meanwhile_becomes_one_with_it(tmp_path):
    """Field by field, parked or not, under the first one's time; nothing of what was there before is left."""
    with shop(tmp_path) as (record, _):
        first, _ = await add(record)
        assert await record.park(first, 422, "ValidationError")
        assert (record.parked(), record.queued(10)) == (1, [])
        second, waited = await add(
            record, NewContact(first_name="Alma", email=email().value), (email(),), now=NOW + DAY
        )
        assert (waited, second.number, record.parked()) == (True, first.number, 0)
        assert second.contact == NewContact(first_name="Alma", mobile_phone=phone(5).value, email=email().value)
        assert (set(second.identifiers), second.accepted_at) == ({phone(5), email()}, NOW)
        kept = [bytes(row[0]) for row in read(record._reader, "SELECT content FROM statements")]
        assert [b"anaryalma" in content for content in kept] == [False, False], "it is overwritten where it stood"
        other, waited = await add(record, key=member_key("2"))
        assert (waited, other.number) == (False, first.number + 1)


@pytest.mark.parametrize(
    ("anew", "phone_"), [(NewContact(first_name="Alma"), None), (NewContact(mobile_phone=phone(8).value), phone(8))],
    ids=["left out", "given anew"],
)  # fmt: skip
async def test_what_the_vendor_has_named_as_wrong_goes_no_more(tmp_path, anew, phone_):
    """The rest of a parked change goes with what is given next; nobody is found by a number that was refused."""
    with shop(tmp_path) as (record, _):
        first, _ = await add(record)
        assert await record.park(first, 422, "ValidationError", ("mobile_phone", "no_field"))
        assert [one.contact for one in record.of(KEY)] == [CHANGE], "it is kept as it was until then"
        second, _ = await add(record, anew, (phone_,) if phone_ else ())
        assert second.contact.mobile_phone == (phone_.value if phone_ else None)
        assert second.contact.first_name == (anew.first_name or "Canaryalma")
        assert (second.identifiers, record.naming((phone(5),))) == ((phone_,) if phone_ else (), ())


@pytest.mark.parametrize("what", ["deliver", "park", "take_back"])
async def test_what_was_given_meanwhile_is_not_lost(tmp_path, what):
    """The vendor's word is about what it was sent: a change that says more by now stays in line."""
    with shop(tmp_path) as (record, _):
        sent, _ = await add(record)
        now, _ = await add(record, NewContact(email=email().value), (email(),))
        if what == "deliver":
            await record.deliver(sent, CHANGE, NOW)
        else:
            assert not await (record.park(sent, 422, None) if what == "park" else record.take_back(sent))
        assert record.queued(10) == [now]


async def test_what_the_vendor_has_is_kept_until_its_word_is_back(tmp_path):
    """A change that arrived is shown until the local contacts are newer; the next one is one of its own."""
    with shop(tmp_path) as (record, _):
        first, _ = await add(record)
        await record.deliver(first, CHANGE, NOW)
        assert [one.state for one in record.of(KEY)] == [EnrolmentState.DELIVERED]
        second, waited = await add(record, NewContact(email=email().value), (email(),))
        assert (waited, len(record.of(KEY))) == (False, 2)
        assert await record.forget_arrived(NOW, 10) == 0
        assert await record.forget_arrived(NOW + DAY, 10) == 1
        assert record.of(KEY) == (second,)


@pytest.mark.parametrize(
    ("written", "left"),
    [(NewContact(mobile_phone=phone(5).value), [NewContact(mobile_phone=phone(5).value)]), (NewContact(), [])],
    ids=["a part", "nothing"],
)
async def test_what_the_vendor_keeps_as_it_has_it_is_forgotten(tmp_path, written, left):
    """A till is shown what was written there, not what was overruled."""
    with shop(tmp_path) as (record, _):
        sent, _ = await add(record)
        await record.deliver(sent, written, NOW)
        assert [one.contact for one in record.of(KEY)] == left
        kept = b"".join(bytes(row[0]) for row in read(record._reader, "SELECT content FROM statements"))
        assert b"anaryalma" not in kept


@pytest.mark.parametrize("by", [phone(5), email("known"), KEY.identifier], ids=["new phone", "known by", "key"])
async def test_who_is_erased_leaves_no_change(tmp_path, by):
    """By the new number, by what they were named by, or by their key; nothing of it is in the bytes."""
    with shop(tmp_path) as (record, enrolments):
        await add(record, known_by=(email("known"),))
        names = KeyHash(lookup_key_of(tmp_path))
        wanted = Wanted(frozenset(), {names.of_identifier(by): None})
        assert enrolments.key_of(wanted.keys) == KEY
        (found,) = await enrolments.export(wanted)
        assert (found["what"], found["number"], found["contact"]["first_name"]) == ("change", None, "Canaryalma")
        assert await enrolments.erase(wanted) == 1
        assert record.of(KEY) == ()
        left = left_in(tmp_path)
        assert b"anaryalma" not in left
        assert phone(5).value.encode() not in left


def lookup_key_of(tmp_path):
    with open_outbox(tmp_path / "outbox.db", run="look") as outbox:
        return lookup_key(outbox._hash_key)


async def test_what_is_too_old_goes(tmp_path):
    """What arrived goes as a sale that arrived does, what never did as a sale that never did."""
    plan = RetentionPlan(
        delivered_before=NOW - DAY, accepted_before=NOW - 30 * DAY, audit_before=NOW, tombstones_before=NOW
    )
    with shop(tmp_path) as (record, enrolments):
        for days, arrived in ((31, False), (29, False), (5, True)):
            one, _ = await add(record, key=member_key(str(days)), now=NOW - days * DAY)
            if arrived:
                await record.deliver(one, CHANGE, NOW - 2 * DAY)
        fresh, _ = await add(record, key=member_key("1"), now=NOW - 5 * DAY)
        await record.deliver(fresh, CHANGE, NOW - timedelta(hours=1))
        assert enrolments.due(plan)
        assert await enrolments.purge(plan) == {"enrolments": 2}
        assert not enrolments.due(plan)
        assert [bool(record.of(member_key(name))) for name in ("31", "29", "5", "1")] == [False, True, False, True]


async def test_what_cannot_be_read_any_more_is_nobodys(tmp_path):
    """It is found by nothing and never sent, and what is given next is a change of its own."""
    with shop(tmp_path) as (record, _):
        await add(record)
        await record._writer.run(lambda db: db.execute("UPDATE statements SET content = zeroblob(length(content))"))
        assert (record.of(KEY), record.queued(10), record.naming((phone(5),))) == ((), [], ())
        again, waited = await add(record)
        assert (waited, record.queued(10)) == (False, [again])


@pytest.mark.parametrize("statement", [QUEUED, PARKED, ANY, ARRIVED, OF_MARK])
async def test_every_question_has_its_index(tmp_path, statement):
    """None reads through all that was ever made or changed: some are asked with every look-up."""
    with shop(tmp_path) as (record, _):
        values = (b"",) * statement.count("?")
        plan_of_it = read(record._reader, f"EXPLAIN QUERY PLAN {statement}", *values)
        assert not [row[3] for row in plan_of_it if row[3].startswith("SCAN") and "CONSTANT" not in row[3]]


async def test_a_rescue_keeps_it(tmp_path):
    """With the keys that find it gone it is found again, by all that it says."""
    with shop(tmp_path) as (record, _):
        made, _ = await add(record)
    fresh = wrecked(tmp_path, "enrolment_keys")
    with open_outbox(fresh, run="run-2") as outbox:
        record = Revisions(outbox._writer, outbox._reader, names=KeyHash(lookup_key(outbox._hash_key)))
        assert record.of(KEY) == record.naming((phone(5),)) == (made,)


async def test_a_wrong_clock_is_put_right(tmp_path):
    """A change is dated anew with the sales around it."""
    with open_outbox(tmp_path / "outbox.db") as outbox:
        record = Revisions(outbox._writer, outbox._reader, names=NAMES)
        await add(record, now=NOW - timedelta(days=9_000))
        assert outbox.oddly_dated(NOW)
        await outbox.shift(timedelta(days=9_000))
        assert [one.accepted_at for one in record.of(KEY)] == [NOW]
