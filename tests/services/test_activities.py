"""Taking an activity: what is refused, whom it is tagged with, who gets it, and what the cashier hears."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent.domain.activity import OF_TILLS
from agent.domain.identifiers import IdentifierType, Normaliser
from agent.domain.link import Link
from agent.domain.tagging import TaggingPolicy
from agent.errors import ActivityConflictError, InputError, StorageFullError
from agent.ports import Recipient
from agent.services.activities import ActivityIntake, ActivityPolicy
from agent.store.activities import Activities
from tests.fakes import (
    NOW,
    VENDOR,
    FakeClock,
    FakeReplica,
    activity_statement,
    member,
    member_key,
    open_outbox,
    phone,
    phone_key,
    primary_key,
)

WANTS = "platform"
NUMBER = {"type": "personal_number", "value": "19320823-2391"}


class Till:
    """An intake of activities with a real outbox behind it."""

    def __init__(self, outbox, *, level=3, secondary=("mobile_phone",), wants=(WANTS,)):
        self.outbox, self.replica, self.room, self.woken, self.held = outbox, FakeReplica(), True, 0, set()
        recipients = (Recipient(VENDOR), *(Recipient(name, owner=False, activities=OF_TILLS) for name in wants))
        self.intake = ActivityIntake(
            clock=FakeClock(),
            normaliser=Normaliser("SE"),
            replica=self.replica,
            outbox=Activities(outbox, outbox._writer),
            room=lambda: self.room,
            link=Link(VENDOR, "loyalty", requests_per_second=0, backoff_first_s=9, backoff_max_s=9, uniform=max),
            policy=ActivityPolicy(
                TaggingPolicy(IdentifierType.MEMBER_NUMBER, tuple(map(IdentifierType, secondary)), level, "1042-03-"),
                "1042", "03", timedelta(hours=24), recipients,
            ),
            accepted=self._accepted,
            held=lambda: self.held,
        )  # fmt: skip

    def _accepted(self):
        self.woken += 1

    async def tell(self, name="picked-up-1", *, resolve=True, **changes):
        return await self.intake.accept(activity_statement(name, **changes), resolve=resolve)

    def empty(self):
        counted = "SELECT (SELECT count(*) FROM sales) + (SELECT count(*) FROM statements)"
        return self.outbox._reader.execute(counted).fetchone()[0] == 0


@pytest.fixture
def outbox(tmp_path):
    recipients = (Recipient(VENDOR), Recipient(WANTS, owner=False, activities=OF_TILLS))
    with open_outbox(tmp_path / "outbox.db", recipients=recipients) as outbox:
        yield outbox


@pytest.fixture
def till(outbox):
    return Till(outbox)


@pytest.mark.parametrize(
    ("changes", "pointers"),
    [
        ({"identifier": None}, ["/identifier"]),
        ({"integration_key": member_key().model_dump(), "identifier": {"type": "email", "value": "a@example.com"}},
         ["/integration_key"]),
        ({"identifier": {"type": "mobile_phone", "value": "07"}}, ["/identifier/value"]),
        ({"integration_key": {"kind": "secondary", "type": "email", "value": "a@example.com"}},
         ["/integration_key/type"]),
        ({"integration_key": {"kind": "primary", "type": "card_number", "value": "12345678"}},
         ["/integration_key/type"]),
        ({"integration_key": {"kind": "secondary", "type": "mobile_phone", "value": "07"}},
         ["/integration_key/value"]),
    ],
    ids=["nobody", "twice", "no phone", "not a secondary key", "not the primary key", "a key that is no phone"],
)  # fmt: skip
async def test_what_does_not_fit_keeps_nothing(till, changes, pointers):
    """It is said where, without the value, and nothing is on disk."""
    with pytest.raises(InputError) as failed:
        await till.tell(**changes)
    assert [fault.pointer for fault in failed.value.faults] == pointers
    assert till.empty()


@pytest.mark.parametrize(
    ("people", "changes", "secondary", "expected"),
    [
        (1, {}, ("mobile_phone",), (member_key(), False, ())),
        (0, {}, ("mobile_phone",), (phone_key(5), True, ())),
        (2, {}, ("mobile_phone",), (phone_key(5), True, ("loyalty.ambiguous",))),
        (0, {}, (), (None, True, ())),
        (0, {"identifier": NUMBER}, ("mobile_phone",), (None, True, ())),
        (0, {"integration_key": member_key().model_dump()}, (), (member_key(), False, ())),
        (1, {"integration_key": phone_key(5).model_dump()}, ("mobile_phone",), (phone_key(5), True, ())),
    ],
    ids=["a member", "a stranger", "two members", "a phone that may not be sent", "no key at all", "a stated key",
         "a stated secondary key"],
)  # fmt: skip
async def test_it_is_tagged_as_a_sale_is(outbox, people, changes, secondary, expected):
    """By the replica to the primary key, else a secondary key that is allowed, and nobody is guessed."""
    till = Till(outbox, secondary=secondary)
    for number in range(people):
        till.replica.add(member(str(10_000_421 + number)), phone(5))
    noted = await till.tell(**changes)

    [outgoing] = await outbox.lease(WANTS, 9, NOW)
    assert (outgoing.key, outgoing.open, noted.codes) == expected
    assert noted.receipt.key == outgoing.key
    assert outgoing.record == activity_statement(**changes).recorded("1042", "03")
    assert till.woken == 1


@pytest.mark.parametrize("known", [True, False], ids=["known by the feed", "not yet"])
async def test_the_number_of_somebody_made_at_this_till(till, outbox, known):
    """It names them as what is said does, for no system but this till knows it as a key."""
    number = primary_key(IdentifierType.EXTERNAL_ID, "1042-03-27993907")
    if known:
        till.replica.add(member(), number.identifier)
    noted = await till.tell(integration_key=number.model_dump())
    [outgoing] = await outbox.lease(WANTS, 9, NOW)
    assert outgoing.key == noted.receipt.key == (member_key() if known else None)
    assert (outgoing.open, outgoing.readings) == (not known, (number.identifier,))


async def test_only_who_wants_activities_gets_it(till, outbox):
    """The loyalty system has no delivery of it, and hears of nothing."""
    await till.tell()
    assert [row.vendor for row in outbox.queue(state=None, vendor=None, limit=9, after=0)] == [WANTS]
    assert await outbox.lease(VENDOR, 9, NOW) == []


async def test_where_nobody_wants_activities_nothing_waits(outbox):
    """It is recorded and finished: as a guest's sale is at a system without guests."""
    till = Till(outbox, wants=())
    noted = await till.tell()
    assert noted.receipt.state == "delivered"
    assert outbox.info().depth == 0
    assert (await till.tell()).receipt.duplicate


async def test_a_repeat_is_the_first_answer(till):
    """The same content is answered with the first key, also when the replica knows the person by now."""
    first = await till.tell()
    till.replica.add(member(), phone(5))
    again = await till.tell(identifier={"type": "mobile_phone", "value": "070-174 06 05"})
    assert (first.receipt.duplicate, again.receipt.duplicate) == (False, True)
    assert again.receipt.key == first.receipt.key == phone_key(5)
    assert till.woken == 1


async def test_a_repeat_with_other_content_is_refused(till):
    """Somebody else's, or another order's: the id is taken."""
    await till.tell()
    for changes in ({"order_id": "4712"}, {"identifier": {"type": "mobile_phone", "value": phone(6).value}}):
        with pytest.raises(ActivityConflictError):
            await till.tell(**changes)


async def test_without_room_nothing_is_taken(till):
    """507 for what is new; a repeat of what is on disk needs no room."""
    await till.tell("known")
    till.room = False
    with pytest.raises(StorageFullError):
        await till.tell("new")
    assert (await till.tell("known")).receipt.duplicate


async def test_a_held_lane_is_told(till):
    """The till hears at once what the queue would show."""
    till.held.add(WANTS)
    assert (await till.tell()).receipt.state == "held"


@pytest.mark.parametrize(("people", "resolve", "looked_up"), [(1, True, True), (0, True, False), (1, False, None)])
async def test_beyond_the_ration_nobody_is_looked_up(till, people, resolve, looked_up):
    """What a look-up would tell is not told: the secondary key, whoever it is."""
    for _ in range(people):
        till.replica.add(member(), phone(5))
    noted = await till.tell(resolve=resolve)
    assert noted.looked_up is looked_up
    assert (noted.receipt.key == member_key()) is (people == 1 and resolve)
