"""What further systems are told of members: on disk with the loyalty system's yes, once, and no more than is wanted."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.domain.activity import ContactEvent
from agent.domain.belonging import Wanted, belonging
from agent.domain.contact import Member
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.retention import RetentionPlan
from agent.domain.revision import ConsentThere, ContactThere
from agent.domain.transaction import NewContact
from agent.errors import ContactRefusedError, StorageError
from agent.ports import ErasedSales, Recipient, Settled
from agent.services.news import News
from agent.store.activities import Activities
from agent.store.persons import PersonalSales
from tests.fakes import (
    NAMES,
    NOW,
    VENDOR,
    Offline,
    acceptance,
    contact_id_of,
    email,
    member_key,
    open_outbox,
    phone,
    phone_key,
    transaction,
)
from tests.services.test_revising import ALMA, NEWS, Counter

PLATFORM, BOOKS = "platform", "books"
RECIPIENTS = (
    Recipient(VENDOR),
    Recipient(
        PLATFORM,
        owner=False,
        shares=lambda _what, _contact: frozenset({"first_name", "email", "consents"}),
    ),
    Recipient(BOOKS, owner=False, activities=frozenset({"delivery_order_delivered"})),
)
DILBA = NewContact(
    first_name="Canarydilba", last_name="Canarytorp", mobile_phone=phone(7).value, email="canary@example.com"
)
DAY = timedelta(days=1)
DONE = Verdict(VerdictKind.DONE)


class Shop(Counter):
    """A counter whose members are told of to a platform."""

    def __init__(self, outbox, recipients=RECIPIENTS):
        super().__init__(outbox)
        self.outbox, self.woken = outbox, 0
        self.news = News(recipients, ("1042", "03"), self.told_news)
        self.bringing._news = self.updating._news = self.news
        self.record._tell = self.changes._tell = Activities(outbox, outbox._writer).tell
        self.buffer._attempts = outbox
        self.persons = PersonalSales(outbox, outbox._writer, outbox._reader, names=NAMES, guests=())

    def told_news(self):
        self.woken += 1

    def waiting(self):
        """The names of all that waits for further systems, by system."""
        rows = self.outbox.queue(state=None, vendor=None, limit=99, after=0)
        return [(row.vendor, row.transaction_id) for row in rows if row.vendor != VENDOR]

    async def platform(self):
        """What goes out to the platform now."""
        return await self.outbox.lease(PLATFORM, 9, self.clock.now())

    async def erase(self, *identifiers):
        wanted = Wanted(frozenset(), dict.fromkeys(map(NAMES.of_identifier, identifiers)))
        return await self.persons.erase(belonging(await self.persons.traces(wanted), wanted, ()), NOW)


@contextlib.contextmanager
def shop_of(tmp_path, run="run-1", recipients=RECIPIENTS):
    with open_outbox(tmp_path / "outbox.db", run=run, recipients=recipients) as outbox:
        yield Shop(outbox, recipients)


@pytest.fixture
def shop(tmp_path):
    with shop_of(tmp_path) as shop:
        yield shop


def deaf(making):
    """A vendor that makes them, and whose answer is lost."""

    async def call(*args, **kwargs):
        await making(*args, **kwargs)
        raise Offline

    return call


def bytes_of(tmp_path):
    return b"".join(path.read_bytes() for path in tmp_path.iterdir())


# --- who joins ----------------------------------------------------------------------------------------------------


async def test_who_joins_with_the_line(shop):
    """They are told of under the loyalty system's key, with no more of what they gave than the platform may have."""
    made = await shop.enrol(DILBA)
    assert made.state == "delivered"
    [told] = await shop.platform()
    assert (told.record.type, told.key) == (ContactEvent.JOINED, member_key("20000001"))
    assert told.new_contact == NewContact(first_name="Canarydilba", email="canary@example.com")
    assert (told.record.store_id, told.record.till_id, told.record.occurred_at) == ("1042", "03", NOW)
    assert (shop.waiting(), shop.woken) == ([(PLATFORM, told.record.name)], 1)


async def test_who_joins_without_the_line(shop):
    """Nobody hears of them before the loyalty system has them; then it is said once, as of then."""
    await shop.offline(DILBA)
    assert shop.waiting() == []
    shop.clock.advance(3600)
    assert await shop.deliver() == 1
    assert await shop.deliver() == 0
    [told] = await shop.platform()
    assert (told.record.type, told.record.occurred_at) == (ContactEvent.JOINED, shop.clock.now())


async def test_who_was_a_member_already(shop):
    """Found here, found by asking, or found when they are brought there: they have joined elsewhere."""
    await shop.enrol(NewContact(mobile_phone=phone(5).value))
    shop.vendor.contacts[phone(8)] = ["10000423"]
    await shop.enrol(NewContact(mobile_phone=phone(8).value))
    await shop.offline(NewContact(mobile_phone=phone(9).value))
    shop.vendor.contacts[phone(9)] = ["10000424"]
    assert await shop.deliver() == 1
    assert shop.waiting() == []


@pytest.mark.parametrize("killed", [False, True], ids=["a lost answer", "the program killed as well"])
async def test_whose_answer_was_lost(tmp_path, killed):
    """The vendor made them and nobody heard, or the program ended before it was written down: told all the same."""
    with shop_of(tmp_path) as shop:
        vendor, making = shop.vendor, shop.vendor.create
        vendor.create = deaf(making)
        assert (await shop.enrol(DILBA)).state == "queued"
        vendor.create = making
        if not killed:
            assert await shop.deliver() == 1
    with shop_of(tmp_path, "run-2") as shop:
        shop.vendor = shop.bringing._lookup = shop.bringing._writer = vendor
        await shop.deliver()
        [told] = await shop.platform()
        assert (told.record.type, told.key) == (ContactEvent.JOINED, member_key("20000001"))
        assert len(vendor.created) == 1


def taken(vendor, number="10000423"):
    """A vendor whose look-up finds nobody, and which says of whoever is made that it has them already."""

    async def create(*_args, **_kwargs):
        return replace(vendor._found(number), existed=True)

    return create


async def test_who_turns_out_to_be_there_while_they_are_made(shop):
    """A contact of another type, or another till was faster: they have not joined here."""
    making, shop.vendor.create = shop.vendor.create, taken(shop.vendor)
    assert (await shop.enrol(DILBA)).state == "delivered"
    assert shop.waiting() == []
    await shop.offline(NewContact(mobile_phone=phone(9).value))
    shop.vendor.create = deaf(making)
    with pytest.raises(Offline):
        await shop.deliver()
    shop.vendor.contacts.clear()
    shop.vendor.create = taken(shop.vendor, "20000001")  # by our own attempt, whose answer was lost
    shop.clock.advance(3600)
    assert await shop.deliver() == 1
    assert [one.key for one in await shop.platform()] == [member_key("20000001")]


async def test_whom_the_vendor_refuses(shop):
    """Nobody hears of who did not become a member."""

    async def refuse(*_args, **_kwargs):
        raise ContactRefusedError(422, "ValidationError")

    shop.vendor.create = refuse
    with pytest.raises(ContactRefusedError):
        await shop.enrol(DILBA)
    assert shop.waiting() == []


async def test_both_are_written_down_or_neither(shop, monkeypatch):
    """A record that cannot be put on disk leaves the contact to be brought there again: it is told of then."""
    await shop.offline(DILBA)
    with monkeypatch.context() as patch:

        def refuse(*_):
            raise StorageError

        patch.setattr(shop.record, "_tell", refuse)
        with pytest.raises(StorageError):
            await shop.deliver()
        assert (len(shop.record.queued(5)), shop.waiting()) == (1, [])
    shop.clock.advance(3600)
    assert await shop.deliver() == 1
    assert (len(shop.vendor.created), len(shop.waiting())) == (1, 1)


async def test_where_nobody_wants_to_hear_it(tmp_path):
    """Nothing is recorded for systems that get sales alone."""
    with shop_of(tmp_path, recipients=(Recipient(VENDOR), Recipient(PLATFORM, owner=False))) as shop:
        await shop.enrol(DILBA)
        await shop.revise(NewContact(first_name="Canarydelba"))
        assert (shop.waiting(), shop.woken) == ([], 0)


async def test_where_nobody_may_have_what_they_gave(tmp_path):
    """The key alone goes along, and nothing of what they gave is kept for it."""
    recipients = (Recipient(VENDOR), Recipient(PLATFORM, owner=False, shares=lambda _what, _contact: frozenset()))
    with shop_of(tmp_path, recipients=recipients) as shop:
        await shop.enrol(DILBA)
        [told] = await shop.platform()
        assert (told.key, told.new_contact) == (member_key("20000001"), None)


# --- the new contact of a sale ------------------------------------------------------------------------------------


@pytest.fixture
def sale_of(shop):
    """A leased sale with a new contact whom nobody knew when it was rung up."""

    async def lease():
        sale = transaction("s-1", new_contact={"first_name": "Canarydilba", "mobile_phone": phone(7).value})
        record = replace(
            acceptance("s-1", key=phone_key(7), readings=(phone(7),), open_=True, vendors=(VENDOR, PLATFORM)),
            transaction=sale,
        )
        await shop.outbox.accept(record, NOW)
        (outgoing,) = await shop.outbox.lease(VENDOR, 1, NOW)
        return outgoing

    return lease


async def settle(shop, outgoing):
    settled = await shop.buffer.settle(outgoing)
    await shop.outbox.retag(outgoing.entry, settled.key, NOW, shop.news.joined_with(settled, NOW))


async def test_the_new_contact_of_a_sale(shop, sale_of):
    """Made there with the sale, they are told of beside it."""
    await settle(shop, await sale_of())
    told = {type(one.record).__name__: one for one in await shop.platform()}
    assert told.keys() == {"Activity", "Transaction"}
    assert {one.key for one in told.values()} == {member_key("20000001")}
    assert told["Activity"].new_contact == NewContact(first_name="Canarydilba")


async def test_the_new_contact_of_a_sale_whose_answer_was_lost(shop, sale_of):
    """The next attempt finds whom the last one had made: that is who joined."""
    outgoing, making = await sale_of(), shop.vendor.create
    shop.vendor.create = deaf(making)
    assert not (await shop.buffer.settle(outgoing)).reached
    shop.vendor.create = making
    await settle(shop, outgoing)
    assert [one.record.type for one in await shop.platform()].count(ContactEvent.JOINED) == 1
    assert [event["what"] for event in shop.outbox.story("s-1").events] == ["enrolling", "retagged"]


async def test_the_new_contact_of_a_sale_who_turns_out_to_be_there(shop, sale_of):
    """The sale is theirs, and nobody joined; its story does not say so either."""
    shop.vendor.create = taken(shop.vendor)
    await settle(shop, await sale_of())
    assert [one.record.type for one in await shop.platform()] == ["purchase"]
    assert [event["what"] for event in shop.outbox.story("s-1").events] == ["retagged"]


async def test_the_new_contact_of_a_sale_who_was_a_member(shop, sale_of):
    """The sale rises to them, and nobody joined."""
    shop.vendor.contacts[phone(7)] = ["10000423"]
    await settle(shop, await sale_of())
    assert [one.record.type for one in await shop.platform()] == ["purchase"]


# --- what changes -------------------------------------------------------------------------------------------------


async def test_what_was_changed(shop):
    """It is told of once the loyalty system has it, as far as the platform may have it."""
    shop.vendor.fault = Offline()
    await shop.revise(NewContact(first_name="Canaryalma", last_name="Canarytorp", consents=[{**NEWS, "value": True}]))
    shop.vendor.fault = None
    assert shop.waiting() == []
    assert await shop.update() == 1
    [told] = await shop.platform()
    assert (told.record.type, told.key) == (ContactEvent.CHANGED, ALMA.key)
    assert (told.new_contact.first_name, told.new_contact.last_name) == ("Canaryalma", None)
    assert [(consent.id, consent.value) for consent in told.new_contact.consents] == [("news", True)]


async def test_what_the_loyalty_system_keeps_is_not_told_otherwise(shop):
    """A consent that was withdrawn there since stays withdrawn; a change of nothing else is no change."""
    withdrawn = {"news": ConsentThere(value=False, given_at=NOW + DAY)}
    shop.vendor.there[ALMA.key.value] = ContactThere(contact_id_of(ALMA.key.value), consents=withdrawn)
    given = NewContact(consents=[{**NEWS, "value": True}])
    await shop.revise(given)
    assert shop.waiting() == []
    await shop.revise(given.model_copy(update={"first_name": "Canaryalma"}))
    [told] = await shop.platform()
    assert told.new_contact == NewContact(first_name="Canaryalma")


async def test_a_change_that_is_there_by_a_lost_answer(shop):
    """What the loyalty system has already of an attempt that nobody heard of is told as well."""
    given = {"news": ConsentThere(value=True, given_at=NOW)}
    shop.vendor.there[ALMA.key.value] = ContactThere(contact_id_of(ALMA.key.value), consents=given)
    await shop.revise(NewContact(consents=[{**NEWS, "value": True}]))
    [told] = await shop.platform()
    assert [(consent.id, consent.value) for consent in told.new_contact.consents] == [("news", True)]


async def test_what_was_given_meanwhile(shop):
    """A change that grew while it was on its way goes once more, and is told of once, whole."""
    await shop.without_line(NewContact(first_name="Canaryalma"))
    updating = shop.vendor.update

    async def meanwhile(*args, **kwargs):
        shop.vendor.update = updating
        await updating(*args, **kwargs)
        await shop.changes.add(
            ALMA.key, NewContact(email="canary@example.com"), (email("canary"),), known_by=(), now=NOW
        )

    shop.vendor.update = meanwhile
    await shop.update()
    assert shop.waiting() == []
    await shop.update()
    [told] = await shop.platform()
    assert told.new_contact == NewContact(first_name="Canaryalma", email="canary@example.com")


# --- one person, and the end --------------------------------------------------------------------------------------

OWN = IdentifierType.EXTERNAL_ID


@pytest.mark.parametrize("by", ["key", "phone", "address", "number"])
async def test_who_is_erased_is_told_of_no_more(tmp_path, shop, by):
    """By whatever names them: what waits is owed to nobody, and no byte of theirs is left."""
    own = (await shop.offline(DILBA)).key
    await shop.deliver()
    await shop.outbox.accept(acceptance("another", key=member_key(), vendors=(PLATFORM,)), NOW)
    names = {"key": member_key("20000001").identifier, "phone": phone(7), "address": email("canary")}
    erased = await shop.erase(names.get(by, Identifier(OWN, own.value)))
    assert erased == ErasedSales(activities=1)
    assert [name for _, name in shop.waiting()] == ["another"]
    await shop.record.erase(Wanted(frozenset(), {NAMES.of_identifier(own.identifier): None}))
    assert not [word for word in (b"Canary", b"canary@", b"20000001") if word in bytes_of(tmp_path)]


async def test_a_person_s_export_has_it(shop):
    """Whose it is and what of them it would tell."""
    await shop.enrol(DILBA)
    wanted = Wanted(frozenset(), {NAMES.of_identifier(member_key("20000001").identifier): None})
    [document] = shop.persons.export(belonging(await shop.persons.traces(wanted), wanted, ()))
    assert document["activity_id"].startswith("joined-")
    assert document["integration_key"]["value"] == "20000001"
    assert document["statement"]["new_contact"] == {"first_name": "Canarydilba", "email": "canary@example.com"}


async def test_the_purge_takes_it(tmp_path, shop):
    """Delivered, it loses its person as a sale does; what stays says that somebody joined."""
    await shop.enrol(DILBA)
    told = await shop.platform()
    await shop.outbox.settle([Settled(one.entry, DONE) for one in told], NOW)
    plan = RetentionPlan(NOW + DAY, NOW - DAY, NOW - DAY, NOW - DAY)
    assert (await shop.outbox.purge(plan, NOW + DAY))["delivered"] == 1
    await shop.record.purge(replace(plan, accepted_before=NOW + DAY))
    assert not [word for word in (b"Canary", b"canary@") if word in bytes_of(tmp_path)]
    rows = shop.outbox._reader.execute("SELECT type, statement, json_extract(body, '$.new_contact') FROM sales")
    assert rows.fetchall() == [("member_registration_completed", None, None)]


async def test_somebody_erased_at_the_moment_of_the_answer(shop):
    """They are gone before the loyalty system's yes is written down: nobody is told of them."""
    await shop.offline(DILBA)
    making = shop.vendor.create

    async def meanwhile(*args, **kwargs):
        (made,) = shop.record.queued(5)
        await shop.record.drop(made.number)
        return await making(*args, **kwargs)

    shop.vendor.create = meanwhile
    await shop.deliver()
    await asyncio.sleep(0)
    assert shop.waiting() == []


def test_members_are_told_of_by_key_alone():
    """Nobody is read off what is logged of it."""
    news = News(RECIPIENTS, ("1042", "03"), lambda: None)
    sale = transaction("s-1", new_contact={"first_name": "Canarydilba", "email": "canary@example.com"})
    outgoing = type("Leased", (), {"new_contact": sale.new_contact, "key": member_key("90817263"), "readings": ()})()
    assert "anary" not in repr(news.joined_with(outgoing, NOW))
    assert Member("c", member_key("90817263")).key.value not in repr(news.joined_with(outgoing, NOW))
