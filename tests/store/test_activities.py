"""Activities among the sales: they wait, end and are erased as sales are, and no sale is counted wrong for them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.domain.activity import OF_TILLS, ContactEvent, MemberEvent
from agent.domain.belonging import Wanted, belonging
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.retention import RetentionPlan
from agent.errors import ActivityConflictError
from agent.ports import ErasedSales, Recipient, Settled
from agent.store import numbering
from agent.store.activities import Activities
from agent.store.database import DatabaseFile, immediate
from agent.store.daybook import OutboxDaybook
from agent.store.mending import Clues, mend
from agent.store.persons import PersonalSales
from tests.fakes import (
    NAMES,
    NOW,
    STORAGE_KEY,
    VENDOR,
    acceptance,
    member_key,
    occurrence,
    open_outbox,
    phone,
    phone_key,
)

DAY = timedelta(days=1)
RECIPIENTS = (Recipient(VENDOR, activities=OF_TILLS), Recipient("ledger", guests=True, owner=False))
DONE, PARK = Verdict(VerdictKind.DONE), Verdict(VerdictKind.PARK, "vendor.rejected", 400)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.db"


@pytest.fixture
def outbox(path):
    with open_outbox(path, recipients=RECIPIENTS) as outbox:
        yield outbox


@pytest.fixture
def activities(outbox):
    return Activities(outbox, outbox._writer)


async def settle(outbox, verdict=DONE):
    batch = await outbox.lease(VENDOR, 9, NOW)
    await outbox.settle([Settled(one.entry, verdict) for one in batch], NOW)


def bytes_of(path):
    return b"".join(part.read_bytes() for part in path.parent.glob("outbox.db*"))


async def test_an_id_of_a_sale_is_free_for_an_activity(outbox, activities):
    """The two never meet: either may have the other's id, and a look for one does not find the other."""
    await outbox.accept(acceptance("one", key=member_key()), NOW)
    taken = await activities.accept(occurrence("one", key=member_key()), NOW)
    await activities.accept(occurrence("two", key=member_key()), NOW)
    assert not taken.duplicate
    assert (outbox.knows("two"), activities.knows("two")) == (False, True)
    assert not (await outbox.accept(acceptance("two", key=member_key()), NOW)).duplicate


async def test_a_repeat_comes_from_disk(path):
    """Another run of the program knows the id and the content."""
    with open_outbox(path) as outbox:
        await Activities(outbox, outbox._writer).accept(occurrence("one", key=member_key()), NOW)
    with open_outbox(path, run="run-2") as outbox:
        activities = Activities(outbox, outbox._writer)
        again = await activities.accept(occurrence("one", key=member_key()), NOW)
        with pytest.raises(ActivityConflictError):
            await activities.accept(occurrence("one", key=member_key(), order_id="other"), NOW)
    assert (again.duplicate, again.key, again.accepted_at) == (True, member_key(), NOW)


async def test_many_at_once_are_one(outbox, activities):
    """A till that repeats without waiting has one record."""
    told = await asyncio.gather(*(activities.accept(occurrence("one", key=member_key()), NOW) for _ in range(8)))
    assert sorted(receipt.duplicate for receipt in told) == [False] + [True] * 7
    assert outbox.info().depth == 1


async def test_a_person_s_records_keep_their_order(outbox, activities):
    """Somebody's activity does not overtake a sale of theirs that backs off."""
    await outbox.accept(acceptance("sale", key=member_key()), NOW)
    [sale] = await outbox.lease(VENDOR, 1, NOW)
    await activities.accept(occurrence("later", key=member_key()), NOW)
    await activities.accept(occurrence("other", key=phone_key(6)), NOW)
    later = NOW + DAY
    await outbox.settle([Settled(sale.entry, Verdict(VerdictKind.RETRY, "vendor.error", alone=True), later)], NOW)
    names = [one.record.activity_id for one in await outbox.lease(VENDOR, 9, NOW)]
    assert names == ["other"]


async def test_no_sale_waits_for_a_request_to_erase_them(outbox, activities):
    """It is another system's matter for weeks, if need be; what else is told of them keeps its order."""
    told = occurrence("erasure", key=member_key())
    erasure = replace(told, activity=told.activity.model_copy(update={"type": MemberEvent.ERASURE}))
    await activities.announce([erasure], NOW)
    [waits] = await outbox.lease(VENDOR, 1, NOW)
    await outbox.settle([Settled(waits.entry, Verdict(VerdictKind.RETRY, "erasure.unanswered"), NOW + DAY)], NOW)
    await outbox.accept(acceptance("sale", key=member_key()), NOW)
    await activities.accept(occurrence("later", key=member_key()), NOW)
    sale, later = await outbox.lease(VENDOR, 9, NOW)
    assert (sale.record.transaction_id, later.record.activity_id) == ("sale", "later")


async def test_sales_are_counted_without_them(path, outbox, activities):
    """Numbers, their gaps and a day know sales alone, before the purge, after it, and after all was forgotten."""
    for number in range(3):
        await outbox.accept(acceptance(f"s-{number}", key=member_key(), store_id="1042", till_id="03"), NOW)
        await activities.accept(occurrence(f"a-{number}", key=member_key()), NOW)
    daybook = OutboxDaybook(DatabaseFile(path, None, "FULL"))
    day = acceptance("s-0").day
    assert {sale.transaction_id for sale in daybook.read(day).sales} == {"s-0", "s-1", "s-2"}
    assert daybook.read(day).breaks == ()

    await settle(outbox)
    await outbox.purge(RetentionPlan(NOW + DAY, NOW + DAY, NOW - DAY, NOW + DAY), NOW + DAY)
    assert daybook.read(day).breaks == ()
    await outbox.purge(RetentionPlan(NOW + DAY, NOW + DAY, NOW + DAY, NOW + DAY), NOW + DAY)
    assert numbering.breaks(outbox._reader) == []
    assert outbox._reader.execute("SELECT till, first, last FROM gaps").fetchall() == [("1042 03", 1, 3)]
    assert outbox._reader.execute("SELECT count(*) FROM sales").fetchone() == (0,)


async def test_a_break_at_the_beginning_has_no_neighbour_among_them(outbox, activities):
    """The first sale of a till is gone: what stands before it is nothing, not an activity."""
    await activities.accept(occurrence("a-0", key=member_key()), NOW)
    for number in range(2):
        await outbox.accept(acceptance(f"s-{number}", key=member_key(), store_id="1042", till_id="03"), NOW)
    outbox._writer._connection.execute("DELETE FROM sales WHERE transaction_id = 's-0'")
    [gap] = numbering.breaks(outbox._reader)
    assert (gap.first, gap.last, gap.after, gap.before) == (1, 1, None, "s-1")


async def test_the_purge_takes_its_person(path, outbox, activities):
    """Delivered, it is purged as a sale is: no byte of the person or of the till's words is left."""
    await activities.accept(occurrence("one", key=phone_key(5), readings=(phone(5),)), NOW)
    await settle(outbox)
    done = await outbox.purge(RetentionPlan(NOW + DAY, NOW - DAY, NOW - DAY, NOW - DAY), NOW + DAY)
    assert done["delivered"] == 1
    assert not [word for word in (b"canary-note", phone(5).value.encode()) if word in bytes_of(path)]
    assert outbox._reader.execute("SELECT json_extract(body, '$.order_id') FROM sales").fetchone() == ("4711",)


@pytest.mark.parametrize("kind", MemberEvent)
async def test_who_was_to_be_forgotten_is_as_soon_as_that_is_settled(path, outbox, activities, kind):
    """What told another system of an erasure does not wait for its age; until it is through, it is kept."""
    record = occurrence("one", key=phone_key(5), readings=(phone(5),))
    told = record.activity.model_copy(update={"type": kind})
    await activities.announce([replace(record, activity=told)], NOW)
    kept = RetentionPlan(NOW - DAY, NOW - DAY, NOW - DAY, NOW - DAY)
    assert not outbox.due(kept)
    assert (await outbox.purge(kept, NOW))["delivered"] == 0
    await settle(outbox)
    assert outbox.due(kept)
    assert (await outbox.purge(kept, NOW))["delivered"] == 1
    assert not outbox.due(kept)
    assert phone(5).value.encode() not in bytes_of(path)


async def test_what_could_not_be_delivered_in_time_is_parked(outbox, activities):
    """Its person is gone with time: a person's retry cannot bring the member back, and it can still be read."""
    await activities.accept(occurrence("one", key=member_key()), NOW)
    await outbox.purge(RetentionPlan(NOW - DAY, NOW + DAY, NOW - DAY, NOW - DAY), NOW + DAY)
    [entry] = outbox.queue(state="parked", vendor=None, limit=9, after=0)
    assert entry.error_code == "retention.expired"
    await outbox.retry(entry.entry, NOW)
    [outgoing] = await outbox.lease(VENDOR, 9, NOW)
    assert (outgoing.key, outgoing.record.attributes) == (None, {})


async def test_a_settled_tag_brings_no_further_recipient(path):
    """Who gets an activity has it from the beginning: a system that wants sales alone does not get it later."""
    recipients = (Recipient(VENDOR, activities=OF_TILLS), Recipient("club", owner=False))
    with open_outbox(path, recipients=recipients) as outbox:
        await Activities(outbox, outbox._writer).accept(occurrence("one", readings=(phone(5),), open_=True), NOW)
        await outbox.accept(acceptance("sale", readings=(phone(6),), open_=True), NOW)
        for outgoing in await outbox.lease(VENDOR, 9, NOW):
            await outbox.retag(outgoing.entry, member_key(), NOW)
        waiting = {(row.transaction_id, row.vendor) for row in outbox.queue(state=None, vendor=None, limit=9, after=0)}
    assert waiting == {("activity/one", VENDOR), ("sale", VENDOR), ("sale", "club")}


@pytest.mark.parametrize("verdict", [None, PARK, DONE], ids=["waiting", "parked", "delivered"])
async def test_a_person_s_activities_are_erased(path, outbox, activities, verdict):
    """They are counted as what they are, nobody is owed them any more, and no byte of the person is left."""
    persons = PersonalSales(outbox, outbox._writer, outbox._reader, names=NAMES, guests=(VENDOR,))
    await activities.accept(occurrence("theirs", key=phone_key(5), readings=(phone(5),)), NOW)
    if verdict is not None:
        await settle(outbox, verdict)
    await activities.accept(occurrence("another", key=phone_key(6), attributes={}), NOW)
    wanted = Wanted(frozenset(), {NAMES.of_identifier(phone(5)): None})
    erased = await persons.erase(belonging(await persons.traces(wanted), wanted, ()), NOW)

    assert erased == ErasedSales(activities=1)
    assert not [word for word in (b"canary-note", phone(5).value.encode()) if word in bytes_of(path)]
    waiting = [row.transaction_id for row in outbox.queue(state=None, vendor=None, limit=9, after=0)]
    assert waiting == ["activity/another"]


async def test_a_person_s_activities_are_exported(outbox, activities):
    """Everything that is held of one, in its own form: no till, number or transaction of a sale."""
    persons = PersonalSales(outbox, outbox._writer, outbox._reader, names=NAMES, guests=())
    await activities.accept(occurrence("theirs", key=phone_key(5), readings=(phone(5),), ref="c0ffee"), NOW)
    wanted = Wanted(frozenset({"c0ffee"}), {})
    [document] = persons.export(belonging(await persons.traces(wanted), wanted, ()))
    assert document["activity_id"] == "theirs"
    assert document["integration_key"] == {"kind": "secondary", "type": "mobile_phone", "value": phone(5).value}
    assert document["statement"]["attributes"] == {"note": "canary-note"}
    assert [delivery["vendor"] for delivery in document["deliveries"]] == [VENDOR]
    assert not document.keys() & {"transaction_id", "till", "number", "about_it"}


async def test_a_rescue_owes_what_was_told_of_a_member_to_who_hears_of_members(path):
    """The record of who joined is the agent's own: whoever lost its delivery gets it anew, and nobody else."""
    hears = frozenset[str](ContactEvent)
    recipients = (Recipient(VENDOR, activities=OF_TILLS), Recipient("platform", owner=False, activities=hears))
    with open_outbox(path, recipients=recipients) as outbox:
        told = occurrence("joined-1", key=member_key(), vendors=("platform",))
        joined = told.activity.model_copy(update={"type": ContactEvent.JOINED})
        await Activities(outbox, outbox._writer).announce([replace(told, activity=joined)], NOW)
    assert rescued_deliveries(path, recipients) == [(1, "platform", 0, 1)]


async def test_a_rescue_owes_them_to_who_wants_them(path):
    """A lost delivery of an activity is made anew for who wants activities, and for nobody else; numbers stay sound."""
    recipients = (Recipient(VENDOR), Recipient("platform", owner=False, activities=OF_TILLS))
    with open_outbox(path, recipients=recipients) as outbox:
        await Activities(outbox, outbox._writer).accept(occurrence("one", key=member_key()), NOW)
        await Activities(outbox, outbox._writer).accept(occurrence("two", readings=(phone(5),), open_=True), NOW)
    assert rescued_deliveries(path, recipients) == [(1, "platform", 0, 1), (2, "platform", 1, 0)]


def rescued_deliveries(path, recipients):
    """What is owed to whom once every delivery was lost; numbers of sales stay sound."""
    connection = DatabaseFile(path, None, "FULL").connect()
    try:
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("DELETE FROM deliveries")
        with immediate(connection):
            mended = mend(
                connection, whole=(), stale={}, clues=Clues(lambda: (), lambda: ()), recipients=recipients,
                hash_key=STORAGE_KEY, now=NOW,
            )  # fmt: skip
        rows = connection.execute("SELECT sale, vendor, open, maybe_received FROM deliveries ORDER BY sale").fetchall()
    finally:
        connection.close()
    assert (mended.sent_again, mended.lost) == (len(rows), 0)
    return rows
