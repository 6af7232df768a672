"""Members seen here: kept from look-ups, asked for again in time, and gone with an erasure."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest
from told import ToldReplica

from agent.domain.contact import ChangeKind, ContactChange
from agent.domain.health import Conditions
from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.link import Link
from agent.domain.tagging import Found, Outcome
from agent.errors import FeedUnreadableError, StorageDamagedError, VendorOwnError, VendorUnreachableError
from agent.ports import Seed
from agent.services.cache import AskedContacts, SeenMembers
from agent.services.refresh import ASKED_AT_ONCE, MOST_A_SYNC, Refresh, RefreshPolicy
from agent.store.database import DatabaseFile
from agent.store.keyhash import KeyHash
from agent.store.refusals import Refusals
from agent.store.replica_cache import SqliteContactCache
from agent.store.replica_file import ReplicaFile
from tests.fakes import VENDOR, FakeClock, Offline, at_once, until

ID, MEMBER, PHONE = IdentifierType.CONTACT_ID, IdentifierType.MEMBER_NUMBER, IdentifierType.MOBILE_PHONE
KEY = bytes(range(32))
FRESH_FOR, EXPIRES = timedelta(hours=24), timedelta(days=14)


def number(member):
    return Identifier(MEMBER, str(10_000_000 + member))


def phone(member):
    return Identifier(PHONE, f"+467017406{member:02d}")


def whole(member, **changes):
    said = {ID: str(100 + member), MEMBER: number(member).value, PHONE: phone(member).value, **changes}
    return ContactChange(ChangeKind.UPSERT, said, full_row=True)


class Shop:
    """A cache over a real replica, and a loyalty system with some members."""

    def __init__(self, tmp_path, members=3):
        self.clock = FakeClock()
        self.file = ReplicaFile(
            DatabaseFile(tmp_path / "replica.db", None, "NORMAL"), KEY, MEMBER, "keys", (), by_question=True
        )
        self.replica = ToldReplica(self.file)
        self.members = {member: whole(member) for member in range(members)}
        self.errors, self.asked, self.pings, self.heard, self.damage = {}, [], 0, [], 0
        self.answers, self.trusted = True, True
        self.refusals, self.seed = Refusals(), Seed("of nobody", self.clock.now(), ())
        self.writing = asyncio.Lock()
        self.link = Link(
            VENDOR, "loyalty", requests_per_second=0, backoff_first_s=1, backoff_max_s=9, uniform=lambda low, _high: low
        )
        self.conditions = Conditions()
        self.cache = SeenMembers(
            store=self.store, contacts=self.replica, heard=self._heard, writing=self.writing, clock=self.clock,
            damaged=self._damaged,
        )  # fmt: skip
        self.refresh = Refresh(
            cache=self.cache, lookup=self, ping=self._ping, trusted=lambda: self.trusted, seed=self._seed,
            policy=RefreshPolicy(FRESH_FOR, EXPIRES, 5.0), link=self.link, pace=at_once, conditions=self.conditions,
            clock=self.clock,
        )  # fmt: skip

    def store(self):
        if isinstance(self.refusals, Exception):
            raise self.refusals
        return SqliteContactCache(replace(self.file, refusals=self.refusals))

    async def _heard(self, refused, removed, named):
        self.heard += [refused] if refused else []

    def _damaged(self):
        self.damage += 1

    def _seed(self):
        if isinstance(self.seed, Exception):
            raise self.seed
        return self.seed

    async def _ping(self):
        if not self.answers:
            raise Offline
        self.pings += 1

    def knows(self, identifier):
        return identifier.type in (ID, MEMBER, PHONE)

    async def find(self, identifier, *, timeout_s, pace):
        await pace()
        self.asked.append(identifier)
        if (error := self.errors.get(identifier)) is not None:
            self.answers = not isinstance(error, Offline)
            raise error
        return self.says(identifier)

    def says(self, identifier):
        shown = tuple(one for one in self.members.values() if one.identifiers[identifier.type] == identifier.value)
        outcome = {0: Outcome.NOT_FOUND, 1: Outcome.MATCHED}.get(len(shown), Outcome.AMBIGUOUS)
        return Found(outcome, shown=shown)

    async def see(self, *identifiers):
        """Somebody is looked up by what it can be, and the answer kept."""
        remember = self.cache.asking()
        remember([(identifier, self.says(identifier)) for identifier in identifiers])
        await self.cache._write_waiting()

    async def sync(self, *, rebuild=False):
        return await self.refresh.read(lambda _progress: None, rebuild=rebuild)

    def found(self, *readings):
        return [member.key.value for member in self.replica.resolve(readings)]


@pytest.fixture
def shop(tmp_path):
    shop = Shop(tmp_path)
    yield shop
    shop.replica.close()


# --- kept from look-ups -----------------------------------------------------------------------------------------


async def test_what_is_said_to_a_till_is_kept_by_itself(shop):
    """A moment later, by a loop of its own; the replica counts as loaded from then on."""
    running = asyncio.create_task(shop.cache.run())
    try:
        shop.cache.asking()([(phone(1), shop.says(phone(1)))])
        await until(lambda: shop.found(phone(1)) == [number(1).value])
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    assert shop.replica.info().as_of == shop.clock.now()


async def test_an_answer_that_is_not_to_be_kept(shop):
    """A vendor that does not show whom it knows leaves the cache as it is."""
    await shop.see(phone(1))
    shop.cache.asking()([(phone(1), Found(Outcome.NOT_FOUND))])
    await shop.cache._write_waiting()
    assert shop.found(phone(1)) == [number(1).value]


async def test_nothing_asked_for_before_an_erasure_is_kept_after_it(shop):
    """Neither what waits to be written nor what is still being asked for; what is asked for afterwards is."""
    waiting, under_way = shop.cache.asking(), shop.cache.asking()
    waiting([(phone(1), shop.says(phone(1)))])
    async with shop.cache.halted():
        under_way([(phone(2), shop.says(phone(2)))])
    await shop.cache._write_waiting()
    assert shop.replica.info().contacts == 0
    await shop.see(phone(1))
    assert shop.found(phone(1)) == [number(1).value]


async def test_an_erasure_waits_for_what_is_being_written(shop):
    """Whoever is about to be searched for is there by then."""

    async def erase():
        async with shop.cache.halted():
            pass

    async with shop.writing:
        halted = asyncio.create_task(erase())
        done, _ = await asyncio.wait([halted], timeout=0.05)
        assert not done
    await halted


async def test_who_was_erased_is_refused_and_told(shop):
    """However often they come; the list is read at each writing."""
    await shop.see(phone(2))
    mark = KeyHash(KEY).of(ID, "101")
    shop.refusals = Refusals(frozenset({mark}), {})
    await shop.see(phone(1))
    assert (shop.found(phone(1)), shop.heard) == ([], [{mark}])


async def test_a_replica_that_cannot_be_written(shop):
    """Look-ups go on, damage is told, and the next answer is kept when it can be."""
    shop.refusals = StorageDamagedError()
    running = asyncio.create_task(shop.cache.run())
    try:
        shop.cache.asking()([(phone(1), shop.says(phone(1)))])
        await until(lambda: shop.damage == 1)
        shop.refusals = Refusals()
        shop.cache.asking()([(phone(2), shop.says(phone(2)))])
        await until(lambda: shop.found(phone(2)) == [number(2).value])
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    assert shop.found(phone(1)) == []


async def test_readings_that_cannot_be_asked_for(shop):
    """Nobody was ever found by them: they do not stand in the way of those that can."""
    card = Identifier(IdentifierType.CARD_NUMBER, "12345678")
    await shop.see(phone(1))
    contacts = AskedContacts(shop.replica, shop.knows)
    [member] = contacts.resolve((card, phone(1)))
    assert contacts.member(member.ref).key == member.key
    assert (contacts.resolve((card,)), contacts.info().contacts) == ((), 1)


# --- kept fresh -------------------------------------------------------------------------------------------------


async def test_nobody_is_due(shop):
    """One question shows that the vendor answers, and the replica is renewed."""
    await shop.see(phone(1))
    assert await shop.sync()
    assert (shop.asked, shop.pings, shop.replica.info().as_of) == ([], 1, shop.clock.now())


async def test_who_is_due_is_asked_for_by_everything_that_led_to_them(shop):
    """By number, and by the phone they were found by: both answers are new; others are left alone."""
    await shop.see(phone(1))
    shop.clock.advance(23 * 3600)
    await shop.see(number(2))
    shop.clock.advance(2 * 3600)
    await shop.sync()
    assert (shop.asked, shop.pings) == ([number(1), phone(1)], 1)
    [member] = shop.replica.resolve((phone(1),))
    assert member.as_of == shop.clock.now()


async def test_what_changed_there_is_changed_here(shop):
    """A member who left is gone, a phone that was changed leads to nobody, one that is shared now to both."""
    for member in (0, 1, 2):
        await shop.see(phone(member))
    del shop.members[0]
    shop.members[1] = whole(1, **{PHONE: phone(2).value})
    shop.clock.advance(25 * 3600)
    await shop.sync()
    assert [shop.found(phone(member)) for member in (0, 1)] == [[], []]
    assert sorted(shop.found(phone(2))) == [number(1).value, number(2).value]
    assert (shop.found(number(0)), shop.replica.info().contacts) == ([], 2)


async def test_everybody_again(tmp_path, monkeypatch):
    """An order to build anew asks for everybody, however fresh and however many."""
    monkeypatch.setattr("agent.services.refresh.MOST_A_SYNC", 3)
    shop = Shop(tmp_path, members=8)
    for member in shop.members:
        await shop.see(number(member))
    shop.clock.advance(60)
    await shop.sync(rebuild=True)
    assert sorted(shop.asked, key=lambda key: key.value) == [number(member) for member in range(8)]
    shop.replica.close()


async def test_the_line_fails_on_the_way(tmp_path):
    """What was answered before is kept; who is still due is asked for by the next sync, and nothing is renewed."""
    shop = Shop(tmp_path, members=ASKED_AT_ONCE + 5)
    for member in shop.members:
        await shop.see(number(member))
    shop.clock.advance(25 * 3600)
    shop.errors[number(ASKED_AT_ONCE + 1)] = Offline()
    before = shop.replica.info().as_of
    with pytest.raises(Offline):
        await shop.sync()
    assert (len(shop.asked), shop.replica.info().as_of) == (ASKED_AT_ONCE + 2, before)
    assert len(shop.store().outdated(shop.clock.now(), 99)) == 4
    shop.errors.clear()
    shop.asked.clear()
    shop.answers = True
    await shop.sync()
    last = ASKED_AT_ONCE + 1
    assert shop.asked == [number(member) for member in (*range(last + 1, last + 4), last)]
    shop.replica.close()


@pytest.mark.parametrize(
    "error", [VendorOwnError("answered 500"), VendorUnreachableError("took too long")], ids=["error", "silence"]
)
@pytest.mark.parametrize("others", [1, 0], ids=["among others", "alone"])
async def test_one_whom_the_vendor_cannot_tell(shop, error, others):
    """They are told, stay as they are, and hold up nobody: the line answers."""
    for member in range(1 + others):
        await shop.see(number(member))
    shop.clock.advance(25 * 3600)
    shop.errors[number(0)] = error
    for _ in range(2):
        assert await shop.sync()
        assert shop.conditions.stands("feed.unreadable")
    assert (shop.found(number(0)), shop.replica.info().as_of) == ([number(0).value], shop.clock.now())
    assert shop.asked == [number(0), number(1), number(0)] if others else [number(0), number(0)]
    shop.errors.clear()
    await shop.sync()
    assert not shop.conditions.stands("feed.unreadable")


async def test_many_whom_the_vendor_cannot_tell(tmp_path, monkeypatch):
    """Whoever was asked for in vain comes behind the others, so that the oldest do not starve the rest."""
    monkeypatch.setattr("agent.services.refresh.MOST_A_SYNC", 3)
    shop = Shop(tmp_path, members=8)
    for member in shop.members:
        await shop.see(number(member))
        shop.clock.advance(1)
    shop.clock.advance(25 * 3600)
    shop.errors = {number(member): VendorOwnError("answered 500") for member in range(4)}
    turns = []
    for _ in range(4):
        shop.asked.clear()
        await shop.sync()
        turns.append([int(key.value) - 10_000_000 for key in shop.asked])
    assert turns == [[0, 1, 2], [3, 4, 5], [6, 7, 0], [1, 2, 3]]
    shop.replica.close()


async def test_a_vendor_that_does_not_show_whom_it_knows(shop):
    """Nobody is taken out for want of an answer."""
    await shop.see(number(1))
    shop.clock.advance(25 * 3600)
    shop.says = lambda _identifier: Found(Outcome.NOT_FOUND)
    await shop.sync()
    assert (shop.found(number(1)), shop.conditions.stands("feed.unreadable")) == ([number(1).value], True)


@pytest.mark.parametrize("due", [30, 3], ids=["at once", "a few a sync"])
async def test_another_shop_s_key(tmp_path, due):
    """It finds nobody: a few are believed gone at most, the others stay, and that is told until they are known."""
    shop = Shop(tmp_path, members=30)
    for member in shop.members:
        await shop.see(number(member))
        if (member + 1) % due == 0:
            shop.clock.advance(3600)
    members, shop.members = shop.members, {}
    shop.clock.advance(13 * 3600)
    for _ in range(12):
        shop.clock.advance(3600)
        await shop.sync()
    assert (shop.replica.info().contacts > 20, shop.conditions.stands("feed.gap")) == (True, True)
    shop.members = members
    await shop.sync()
    assert not shop.conditions.stands("feed.gap")
    shop.replica.close()


async def test_whoever_is_doubted_for_long_expires(tmp_path):
    """Nobody stays for good because many left at once."""
    shop = Shop(tmp_path, members=20)
    for member in shop.members:
        await shop.see(number(member))
    shop.members.clear()
    shop.clock.advance(25 * 3600)
    await shop.sync()
    assert shop.replica.info().contacts == 20
    shop.clock.advance(EXPIRES.total_seconds())
    await shop.sync()
    assert (shop.replica.info().contacts, shop.conditions.stands("feed.gap")) == (0, False)
    shop.replica.close()


async def test_a_pause_is_everybody_s(shop):
    """What a refresh is asked for is kept by deliveries, and by the next refresh."""
    await shop.see(number(1))
    shop.clock.advance(25 * 3600)
    shop.errors[number(1)] = VendorUnreachableError("answered 429", retry_after_s=17)
    for _ in range(2):
        with pytest.raises(VendorUnreachableError):
            await shop.sync()
    assert (shop.asked, shop.link.sending.pause_s(shop.clock.monotonic())) == ([number(1)], pytest.approx(17))


async def test_a_sync_is_bounded(tmp_path):
    """The longest unheard of come first, the others with the next one."""
    shop = Shop(tmp_path, members=MOST_A_SYNC + 1)
    remember = shop.cache.asking()
    for member in shop.members:
        remember([(number(member), shop.says(number(member)))])
    await shop.cache._write_waiting()
    shop.clock.advance(25 * 3600)
    await shop.sync()
    assert len(shop.asked) == MOST_A_SYNC
    await shop.sync()
    assert len(shop.asked) == MOST_A_SYNC + 1
    shop.replica.close()


async def test_of_whom_nothing_is_heard_expires(shop):
    """As soon as the vendor answers at all; nobody is asked for whose time is over."""
    await shop.see(number(1))
    shop.clock.advance(EXPIRES.total_seconds() + 1)
    await shop.sync()
    assert (shop.asked, shop.replica.info().contacts) == ([], 0)


@pytest.mark.parametrize(("answers", "trusted"), [(False, True), (True, False)], ids=["unconfirmed", "days off"])
async def test_a_clock_that_jumps_ahead_ends_nobody_s_time(shop, answers, trusted):
    """Until an answer shows that the clock is right, ages mean nothing."""
    await shop.see(number(1))
    shop.clock.wall += EXPIRES + timedelta(days=1)
    shop.answers, shop.trusted = answers, trusted
    shop.errors[number(1)] = Offline()
    with pytest.raises(VendorUnreachableError):
        await shop.sync()
    assert shop.found(number(1)) == [number(1).value]


async def test_what_a_clock_ahead_dated(shop):
    """It ages from when the clock is right again, and is asked for and ends in time."""
    right = shop.clock.wall
    shop.clock.wall += timedelta(days=3650)
    await shop.see(number(1))
    shop.clock.wall, shop.trusted = right, False
    await shop.sync()
    [member] = shop.replica.resolve([number(1)])
    assert member.as_of == right + timedelta(days=3650)
    shop.trusted = True
    await shop.sync()
    [member] = shop.replica.resolve([number(1)])
    assert member.as_of == right
    shop.members.clear()
    shop.clock.advance(25 * 3600)
    await shop.sync()
    assert shop.found(number(1)) == []


# --- a list for the first fill ----------------------------------------------------------------------------------


def listed(shop, *members, mark="list-1", age=timedelta()):
    return Seed(mark, shop.clock.now() - age, (whole(member) for member in members))


async def test_a_list_is_planted_once(shop):
    """Its people are found by all their keys, with its age; the same list changes nothing later, another one does."""
    shop.seed = listed(shop, 0, 1, age=timedelta(hours=1))
    await shop.sync()
    [member] = shop.replica.resolve((phone(1),))
    assert member.as_of == shop.clock.now() - timedelta(hours=1)
    shop.seed = listed(shop, 2)
    await shop.sync()
    assert shop.found(phone(2)) == []
    shop.seed = listed(shop, 2, mark="list-2")
    await shop.sync()
    assert shop.found(phone(2)) == [number(2).value]


@pytest.mark.parametrize(
    ("seed", "said"),
    [
        (None, "is not there"),
        (FeedUnreadableError("the seed file cannot be read: PermissionError"), "PermissionError"),
        (Seed("old", FakeClock().now() - timedelta(days=30), ()), "older than"),
    ],
    ids=["absent", "unreadable", "too old"],
)
async def test_a_list_that_cannot_be_used(shop, seed, said):
    """It is told, and everything else goes on."""
    shop.seed = seed
    assert await shop.sync()
    assert shop.pings == 1
    [told] = [one for one in shop.conditions.standing() if one.code == "feed.unreadable"]
    assert said in told.detail


async def test_a_list_that_is_bad_towards_its_end(shop):
    """Nobody of it is kept, since a later row may share a phone with an earlier one; it is read once."""
    read = []

    def rows():
        for member in (0, 1):
            read.append(member)
            yield whole(member)
        raise FeedUnreadableError("the seed file has another number of fields in its row 4")

    for _ in range(2):
        shop.seed = Seed("list-1", shop.clock.now(), rows())
        await shop.sync()
        [told] = [one for one in shop.conditions.standing() if one.code == "feed.unreadable"]
        assert "row 4" in told.detail
    assert (shop.replica.info().contacts, shop.found(phone(0)), read) == (0, [], [0, 1])
    shop.seed = listed(shop, 0, mark="list-2")
    await shop.sync()
    assert (shop.found(phone(0)), shop.conditions.stands("feed.unreadable")) == ([number(0).value], False)


async def test_a_list_waits_for_the_right_date(shop):
    """What a till dates that starts years back would end as soon as its clock is put right."""
    right = shop.clock.wall
    shop.clock.wall, shop.trusted = right - timedelta(days=2000), False
    shop.seed = listed(shop, 0)
    await shop.sync()
    assert shop.replica.info().contacts == 0
    shop.clock.wall, shop.trusted = right, True
    shop.seed = listed(shop, 0)
    await shop.sync()
    assert shop.found(phone(0)) == [number(0).value]


async def test_a_list_may_go_once_it_was_planted(shop):
    """It is personal data: its absence is no trouble then."""
    shop.seed = listed(shop, 0)
    await shop.sync()
    shop.seed = None
    await shop.sync()
    assert not shop.conditions.stands("feed.unreadable")
    assert shop.found(phone(0)) == [number(0).value]


async def test_who_was_erased_and_is_listed(shop):
    """They are refused and told, as in an answer."""
    mark = KeyHash(KEY).of(ID, "100")
    shop.refusals = Refusals(frozenset({mark}), {})
    shop.seed = listed(shop, 0, 1)
    await shop.sync()
    assert (shop.found(phone(0)), shop.found(phone(1)), shop.heard) == ([], [number(1).value], [{mark}])
