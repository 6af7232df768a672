"""New contacts that go to the vendor together, on disk: who stands where in which call, through whatever happens."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest

from agent.domain.belonging import Wanted
from agent.domain.bulk import BulkCall
from agent.domain.enrolment import BulkWord, EnrolmentState
from agent.domain.retention import RetentionPlan
from agent.domain.transaction import NewContact
from agent.ports import Recipient
from agent.store.bulk import BEGIN, CHANGES_OF_CALL, OF_CALL, OPEN, PLACES, WAITING, new_contacts
from agent.store.database import DatabaseFile
from agent.store.enrolments import NOT_UNDER_WAY, WAS_ASKED, Enrolments
from agent.store.mending import Clues, mend
from agent.store.rescue import RescueJob, rescue
from agent.store.revisions import QUEUED
from tests.fakes import NAMES, NOW, STORAGE_KEY, VENDOR, member_key, open_outbox, phone

DAY = timedelta(days=1)


@contextlib.contextmanager
def shop(tmp_path, run="run-1"):
    with open_outbox(tmp_path / "outbox.db", run=run) as outbox:
        calls = new_contacts(outbox._writer, outbox._reader)
        yield Enrolments(outbox._writer, outbox._reader, names=NAMES), calls, outbox


async def made_here(record, count=3):
    for number in range(count):
        contact = NewContact(first_name="Canaryalma", mobile_phone=phone(number).value)
        await record.add(contact, (phone(number),), prefix="1042-03-", now=NOW)
    return record.queued(count)


async def begun(tmp_path, *, name=None, count=3):
    with shop(tmp_path) as (record, calls, _):
        call, _ = await calls.begin(await made_here(record, count), NOW)
        if name is not None:
            await calls.name(call.number, name)


async def test_a_call_is_on_disk_before_it_goes_out(tmp_path):
    """A later run finds it, without the vendor's name for it, and who stands where in it."""
    await begun(tmp_path)
    with shop(tmp_path, "run-2") as (record, calls, _):
        (call,) = calls.open()
        assert (call, calls.waiting()) == (BulkCall(call.number, None, 3), 0)
        there = await calls.records(call.number)
        assert {place: made.identifiers for place, made in there.items()} == {n: (phone(n),) for n in range(3)}
        assert all(made.under_way for made in record.queued(10))
        assert record.queued(10, under_way=False) == []
        await calls.name(call.number, "b-000017")
        assert (calls.open()[0].vendor_id, calls.open(after=call.number)) == ("b-000017", [])


async def test_nobody_stands_in_two_calls(tmp_path):
    """Nor does somebody of whom something else was given, or whose fate was decided, since they were read."""
    with shop(tmp_path) as (record, calls, _):
        read_before = await made_here(record, 4)
        await calls.begin(read_before[:1], NOW)
        await record.amend(read_before[1].number, NewContact(first_name="Bo"), (phone(1),))
        await record.park(read_before[2].number, 422, "ValidationError")
        call, taken = await calls.begin(read_before, NOW)
        assert (call.size, taken) == (1, {read_before[3].number})
        assert list(await calls.records(call.number)) == [0]


async def test_what_is_given_again_is_not_taken_meanwhile(tmp_path):
    """What the vendor may have by now is not what would be on record."""
    await begun(tmp_path)
    with shop(tmp_path) as (record, calls, _):
        first = record.queued(1)[0]
        assert not await record.amend(first.number, NewContact(first_name="Bo"), (phone(0),))
        await calls.end(calls.open()[0].number, [first.number])
        assert not await record.amend(first.number, NewContact(first_name="Bo"), (phone(0),))
        assert record.queued(1)[0].contact.first_name == "Canaryalma"


@pytest.mark.parametrize(("doubted", "asked"), [(False, [1, 0, 0]), (True, [1, 1, 1])], ids=["told", "nobody says"])
async def test_who_joined_by_a_call(tmp_path, doubted, asked):
    """Whom the vendor says it has made; and whoever is found after a call of which nobody says what became of it."""
    await begun(tmp_path)
    with shop(tmp_path) as (record, calls, outbox):
        everybody = [made.number for made in record.queued(10)]
        await calls.end(calls.open()[0].number, everybody[:1], doubted=doubted)
        assert [outbox._reader.execute(WAS_ASKED, (number,)).fetchone()[0] for number in everybody] == asked


async def test_the_end_of_a_call(tmp_path):
    """Who was made is known, nothing of the others, and nobody goes in another call."""
    await begun(tmp_path)
    with shop(tmp_path) as (record, calls, _):
        first, *others = record.queued(10)
        await calls.end(calls.open()[0].number, [first.number])
        assert (calls.open(), calls.waiting()) == ([], 0)
        assert [made.said for made in record.queued(10, under_way=False)] == [
            BulkWord.MADE,
            BulkWord.UNKNOWN,
            BulkWord.UNKNOWN,
        ]
        call, taken = await calls.begin(record.queued(10), NOW)
        assert (call.size, taken) == (0, frozenset())
        await record.deliver(first.number, member_key(), None, NOW)
        await record.park(others[0].number, 422, "ValidationError")
        assert [record.find((phone(n),))[0].bulk for n in (0, 1)] == [None, None]
        assert await record.amend(others[0].number, NewContact(first_name="Bo"), (phone(1),))
        assert calls.waiting() == 1, "mended, they are as new"


async def test_a_call_that_did_not_go_out(tmp_path):
    """It never was."""
    await begun(tmp_path)
    with shop(tmp_path) as (record, calls, _):
        await calls.take_back(calls.open()[0].number)
        assert (calls.open(), calls.waiting(), record.queued(1)[0].bulk) == ([], 3, None)


def said_and_asked(record, outbox):
    return [(made.said, outbox._reader.execute(WAS_ASKED, (made.number,)).fetchone()[0]) for made in record.queued(10)]


async def test_no_call_has_the_number_of_one_of_which_somebody_is_left(tmp_path):
    """A row outlives its call, and says by its number in which it stood."""
    with shop(tmp_path) as (record, calls, _):
        everybody = await made_here(record, 3)
        first, _ = await calls.begin(everybody[:1], NOW)
        second, _ = await calls.begin(everybody[1:2], NOW)
        await calls.end(second.number, ())
        third, _ = await calls.begin(everybody[2:], NOW)
        assert [made.bulk for made in record.queued(10)] == [first.number, second.number, third.number]
        assert len({first.number, second.number, third.number}) == 3


@pytest.mark.parametrize("how", ["did not go out", "nobody says"])
async def test_a_later_call_is_about_nobody_of_an_earlier_one(tmp_path, how):
    """Whom the vendor has made is not sent again; whom it has not made is not told as joined."""
    with shop(tmp_path) as (record, calls, outbox):
        everybody = await made_here(record, 3)
        first, _ = await calls.begin(everybody[:2], NOW)
        await calls.end(first.number, [everybody[0].number])
        later, _ = await calls.begin(everybody[2:], NOW)
        if how == "nobody says":
            await calls.end(later.number, (), doubted=True)
        else:
            await calls.take_back(later.number)
        assert said_and_asked(record, outbox)[:2] == [(BulkWord.MADE, 1), (BulkWord.UNKNOWN, 0)]


@pytest.mark.parametrize("how", ["did not go out", "nobody says"])
async def test_what_a_call_has_said_stands(tmp_path, how):
    """Also where a damaged file has brought the call back whose contacts have heard of it."""
    await begun(tmp_path)
    with shop(tmp_path) as (record, calls, outbox):
        (call,) = calls.open()
        await calls.end(call.number, [record.queued(1)[0].number])
        await outbox._writer.run(
            lambda db: db.execute("INSERT INTO bulk_calls VALUES (?, NULL, 3, 1, 'contact')", (call.number,))
        )
        before = said_and_asked(record, outbox)
        if how == "nobody says":
            await calls.end(call.number, (), doubted=True)
        else:
            await calls.take_back(call.number)
        assert (calls.open(), said_and_asked(record, outbox)) == ([], before)


@pytest.mark.parametrize("how", ["erased", "purged"])
async def test_who_is_gone_leaves_no_row(tmp_path, how):
    """The others keep their places; of a call with nobody in it nothing but its number and size is left."""
    await begun(tmp_path)
    with shop(tmp_path) as (record, calls, outbox):
        if how == "erased":
            assert await record.erase(Wanted(frozenset(), {NAMES.of_identifier(phone(1)): None})) == 1
            assert sorted(await calls.records(calls.open()[0].number)) == [0, 2]
        else:
            old = RetentionPlan(
                delivered_before=NOW + DAY,
                accepted_before=NOW + DAY,
                audit_before=NOW - DAY,
                tombstones_before=NOW - DAY,
            )
            assert await record.purge(old) == {"enrolments": 3}
            assert await calls.records(calls.open()[0].number) == {}
        left = await outbox._writer.run(lambda db: db.execute("SELECT count(*) FROM bulk_rows").fetchone()[0])
        assert left == (2 if how == "erased" else 0)


async def test_a_rescue_keeps_them(tmp_path):
    """Who went in a call is not sent again after a rescue; the call is still asked for."""
    await begun(tmp_path, name="b-000017")
    damaged, fresh = (DatabaseFile(tmp_path / name, None, "FULL") for name in ("outbox.db", "fresh.db"))
    rescue(RescueJob(damaged, fresh, (Recipient(VENDOR),), (STORAGE_KEY,), NOW))
    (tmp_path / "outbox.db").unlink()
    (tmp_path / "fresh.db").rename(tmp_path / "outbox.db")
    with shop(tmp_path) as (record, calls, _):
        (call,) = calls.open()
        assert (call.vendor_id, len(await calls.records(call.number)), calls.waiting()) == ("b-000017", 3, 0)
        assert all(made.under_way for made in record.queued(10))


@pytest.mark.parametrize(
    ("lost", "said"),
    [("bulk_calls", [BulkWord.UNKNOWN] * 3), ("bulk_rows", [None] * 3)],
    ids=["the call", "who stood in it"],
)
async def test_a_call_of_which_damage_took_a_part(tmp_path, lost, said):
    """Whoever stood in a call that cannot be asked for any more is looked up; nobody is stuck."""
    await begun(tmp_path, name="b-000017")
    with shop(tmp_path) as (record, _, outbox):

        def damage(db):
            db.execute(f"DELETE FROM {lost}")
            nothing = Clues(lambda: (), lambda: ())
            mend(db, whole=(), stale={}, clues=nothing, recipients=(), hash_key=bytes(32), now=NOW)

        await outbox._writer.run(damage)
        queued = record.queued(10)
        assert [made.said for made in queued] == said
        assert not any(made.under_way for made in queued)
        assert {made.state for made in queued} == {EnrolmentState.QUEUED}


@pytest.mark.parametrize("statement", [WAITING, PLACES, OF_CALL, CHANGES_OF_CALL, OPEN, NOT_UNDER_WAY, QUEUED, BEGIN])
async def test_every_question_has_its_index(tmp_path, statement):
    """However many contacts were made here."""
    with shop(tmp_path) as (_, _, outbox):
        given = (1,) * statement.count("?")
        rows = await outbox._writer.run(lambda db: db.execute(f"EXPLAIN QUERY PLAN {statement}", given).fetchall())
    scans = [row[3] for row in rows if row[3].startswith("SCAN")]
    assert scans in ([], ["SCAN bulk_calls"]), "of open calls there are a few"
