"""A workspace's members on their way into the replica: the first load, what happened, and who is gone."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.connectors.antavo.calls import Listed
from agent.connectors.antavo.simulator import Fault
from agent.domain.identifiers import Identifier
from agent.errors import FeedError, VendorRefusedError, VendorUnreachableError
from agent.ports import Sweep
from tests.connectors.antavo.conftest import KEY
from tests.connectors.antavo.world import CARD, DAY, ID, MEMBER, PHONE, World

OVERLAP, PAGE = 300, 30
AGES = 56 * 365 * DAY


@pytest.fixture(autouse=True)
def _pages_of_thirty(monkeypatch):
    monkeypatch.setattr("agent.connectors.antavo.feeds.PAGE", PAGE)


@pytest.fixture(name="open_world")
async def _open_world(tmp_path, afterwards):
    """Opens a world; the table and what the replica keeps can differ from the usual."""

    async def open_world(**how):
        world = World(tmp_path, **how)
        await world.start()
        afterwards.push_async_callback(world.stop)
        return world

    return open_world


@pytest.fixture(name="world")
async def _world(open_world):
    return await open_world()


class Asked:
    """An API whose lists a test changes."""

    def __init__(self, api, **lists):
        self._api, self._lists, self.asked = api, lists, 0

    async def events(self, since_at, offset):
        self.asked += 1
        return self._change("events", await self._api.events(since_at, offset), offset)

    async def members(self, since_at, offset):
        return self._change("members", await self._api.members(since_at, offset), offset)

    def _change(self, name, listed, offset):
        change = self._lists.get(name)
        return listed if change is None else change(listed, offset)

    def __getattr__(self, name):
        return getattr(self._api, name)


async def test_the_first_load(world):
    """Everybody is there afterwards, page after page, under each of their keys, and as of when it began."""
    for number in range(2 * PAGE + 5):
        world.enrol(number, mobile_phone=f"+46701740{605 + number % 90}")
    calls = await world.load()
    assert (world.contacts(), world.replica.info().as_of) == (2 * PAGE + 5, world.clock.now())
    assert world.known_by(MEMBER, "10000007") == world.known_by(CARD, "10000007") == ["m-7"]
    assert calls == 3 + 1


@pytest.mark.parametrize(
    ("primary", "key"), [(ID, "m-7"), (MEMBER, "10000007")], ids=["the customer's id", "the member number"]
)
async def test_the_key_of_a_sale(open_world, primary, key):
    """It is what the configuration says; who has none of its kind goes by the id."""
    world = await open_world(primary=primary)
    world.enrol(7, mobile_phone="070-174 06 05")
    world.sim.add_member("m-8", mobile_phone="+46701740606")
    await world.load()
    assert world.known_by(PHONE, "+46701740605") == [key]
    assert world.known_by(PHONE, "+46701740606") == ["m-8"]


async def test_a_page_of_large_customers(world):
    """Customers with many attributes are more than a mebibyte, and read all the same."""
    for number in range(3):
        world.enrol(number, properties={"note": "a" * 400_000})
    await world.load()
    assert world.contacts() == 3


async def test_an_empty_workspace(world):
    """It is loaded whole, with nobody in it, and whoever joins then is found."""
    await world.load()
    assert (world.contacts(), world.replica.info().as_of) == (0, world.clock.now())
    world.enrol(1)
    await world.sync()
    assert world.knows(1)


async def test_what_happened(world):
    """Who joined, was changed or left is asked for; what moves points alone costs nothing but the page."""
    for number in range(4):
        world.enrol(number, mobile_phone="+46701740605")
    await world.load()
    assert await world.sync() == 1
    world.enrol(7)
    world.enrol(1, mobile_phone="+46701740606")
    world.sim.leave("m-2")
    sale = {"transaction_id": "s-1", "total": 1, "items": []}
    for customer in ("m-0", "m-3"):
        world.sim.books.process(
            {"customer": customer, "action": "checkout", "data": sale | {"transaction_id": customer}}
        )
    assert await world.sync() == 1 + 3
    assert [number for number in range(9) if world.knows(number)] == [0, 1, 3, 7]
    assert world.known_by(PHONE, "+46701740606") == ["m-1"]


async def test_points_are_kept(open_world):
    """Where the replica keeps what a sale moves, a sale is a reason to ask."""
    world = await open_world(fields=("points", "first_name"))
    world.enrol(1, first_name="Alma")
    await world.load()
    sale = {"transaction_id": "s-1", "total": 40, "items": [{"price": 40, "quantity": 1, "subtotal": 40}]}
    world.clock.advance(1)
    world.sim.books.process({"customer": "m-1", "action": "checkout", "data": sale})
    await world.sync()
    [member] = world.replica.resolve([Identifier(ID, "m-1")])
    assert member.fields == {"points": "40", "first_name": "Alma"}


async def test_who_comes_back(world):
    """Whoever opts in again is a member again."""
    world.enrol(1)
    await world.load()
    for action in ("opt_out", "opt_in"):
        world.clock.advance(1)
        world.sim.books.process({"customer": "m-1", "action": action, "data": {}})
        await world.sync()
        assert world.knows(1) is (action == "opt_in")


async def test_an_action_that_is_not_documented(world):
    """It may be anything, so that its customer is asked for: here one who was merged into another."""
    for number in range(2):
        world.enrol(number)
    await world.load()
    world.clock.advance(1)
    world.sim.merge("m-1", "m-0")
    await world.sync()
    assert (world.knows(0), world.knows(1)) == (True, False)


async def test_what_shows_up_late(world):
    """An event that is listed up to the overlap after its time is read by a later poll."""
    world.enrol(1)
    await world.load()
    world.sim.leave("m-1")
    late = world.sim.books.history.told.pop()
    world.clock.advance(OVERLAP - 1)
    await world.sync()
    assert world.knows(1)
    world.sim.books.history.told.append(late)
    await world.sync()
    assert not world.knows(1)


async def test_a_quiet_time_is_read_once(world):
    """Whoever joined last is not asked for again with every poll of a night."""
    world.enrol(1)
    await world.load()
    for _ in range(3):
        world.clock.advance(2 * OVERLAP)
        assert await world.sync() == 1


@pytest.mark.parametrize("ahead_s", [3600, -3600], ids=["ahead", "behind"])
async def test_the_vendor_s_clock_is_not_ours(open_world, ahead_s):
    """Where it is an hour off nothing is skipped."""
    world = await open_world(ahead_s=ahead_s)
    world.enrol(1)
    await world.load()
    world.clock.advance(60)
    world.sim.leave("m-1")
    await world.sync()
    assert not world.knows(1)


@pytest.mark.parametrize("begun", [False, True], ids=["between sweeps", "in a sweep"])
@pytest.mark.parametrize("feed", ["events", "read_api"])
async def test_a_date_that_lies_years_ahead(open_world, feed, begun):
    """One such answer makes nobody deaf: the next sync walks over everybody, and those after it read on as ever."""
    world = await open_world(feed=feed)
    for number in range(PAGE + 5):
        world.enrol(number)
    await world.load()
    api = world.feed.api
    ahead = world.clock.now() + timedelta(days=5 * 365)
    world.feed.api = Asked(api, **dict.fromkeys(("events", "members"), _told(ahead)))
    if begun:
        world.clock.advance(DAY)
        assert await world.pages(4) == [Sweep.BEGINS, Sweep.GOES_ON, Sweep.ENDS, None]
    else:
        await world.sync()
    world.feed.api = api
    world.sim.leave("m-2")
    world.enrol(1, mobile_phone="+46701740606")
    await world.sync()
    if begun:  # the sweep came first, and its own word is what was wrong
        await world.sync()
    assert (world.knows(2), world.known_by(PHONE, "+46701740606")) == (False, ["m-1"])
    world.clock.advance(60)
    world.enrol(100)
    assert await world.sync() <= 3 + 2
    assert world.knows(100)


async def test_a_date_that_lies_years_back(world):
    """It is no reason to read anything again: our clock agrees with how far changes are read."""
    world.enrol(1)
    await world.load()
    before = world.cursor()
    api = world.feed.api
    world.feed.api = Asked(api, events=_told(world.clock.now() - timedelta(days=5 * 365)))
    world.clock.advance(60)
    assert await world.sync() == 1
    assert world.cursor() == before


def _told(at):
    return lambda listed, _offset: replace(listed, told_at=at)


@pytest.mark.parametrize("feed", ["events", "read_api"])
@pytest.mark.parametrize("count", [PAGE, PAGE + 1, 2 * PAGE + 7])
async def test_many_who_share_a_second(open_world, feed, count):
    """An import stamps everybody alike: nobody is left out, before it or after it, and the walk comes to an end."""
    world = await open_world(feed=feed)
    world.enrol(9000)
    await world.load()
    world.clock.advance(1)
    for number in range(count):
        world.enrol(number, after_s=0)
    world.enrol(9001)
    await world.sync()
    assert (world.contacts(), world.knows(9000), world.knows(9001)) == (count + 2, True, True)
    await world.sync(rebuild=True)
    assert world.contacts() == count + 2


async def test_members_without_an_instant(world):
    """They come first in the list and are read; everybody else is, too."""
    for number in range(PAGE + 20):
        world.enrol(number)
    for number in range(PAGE + 10):
        world.sim.member(f"m-{number}").fields["created_at"] = None
    await world.load()
    assert world.contacts() == PAGE + 20


@pytest.mark.parametrize("broken_after", range(1, 6))
async def test_a_load_that_is_broken_off(world, broken_after):
    """It goes on after its last page, in the next sync, and asks for little twice."""
    for number in range(3 * PAGE):
        world.enrol(number)
    world.clock.advance(3600)
    fault = Fault(kind="answer", method="GET", path="/v1/customers", status=500)
    await world.pages(broken_after)
    world.sim.add(fault)
    if broken_after < 4:
        with pytest.raises(VendorUnreachableError):
            await world.sync()
    world.sim.remove(fault)
    calls = await world.load()
    assert (world.contacts(), world.standing()) == (3 * PAGE, [])
    assert calls <= 4 - min(broken_after, 3) + 1 + 1


async def test_changes_that_are_broken_off(world):
    """Whom events named and who was not asked for yet is asked for by the next sync, nobody else a second time."""
    await world.load()
    for number in range(50):
        world.enrol(number)
    world.clock.advance(OVERLAP + 60)
    assert await world.pages(1) == [None]
    assert world.contacts() == 20
    assert await world.sync() == 10 + 1 + 1 + 20  # the second in which the first page ended is read again
    assert world.contacts() == 50


async def test_who_is_changed_while_everybody_is_read(world):
    """What the first load had passed already is read again at its end."""
    for number in range(PAGE + 1):
        world.enrol(number)
    world.clock.advance(60)
    pages = world.feed.pages(None)
    async with contextlib.aclosing(pages):
        with world.store().open_writer() as writer:
            async for page in pages:
                writer.apply_page(page, at=world.clock.now())
                if page.sweep is Sweep.BEGINS:
                    world.enrol(0, mobile_phone="+46701740606")
                    world.sim.leave("m-1")
            writer.finish(as_of=world.clock.now())
    world.replica.refresh()
    assert world.known_by(PHONE, "+46701740606") == ["m-0"]
    assert not world.knows(1)


@pytest.mark.parametrize("way", ["leave", "vanish"], ids=["opted out", "erased"])
async def test_who_is_gone_is_found_by_the_sweep(world, way):
    """Whatever the events tell: the walk over everybody finds them, once it is due, and asks for them by name."""
    world.sim.books.history.without.add("opt_out")
    for number in range(5):
        world.enrol(number)
    await world.load()
    getattr(world.sim, way)("m-3")
    world.clock.advance(DAY / 2)
    await world.sync()
    assert world.knows(3)
    world.clock.advance(DAY / 2)
    assert await world.sync() == 1 + 1 + 1
    assert [number for number in range(5) if world.knows(number)] == [0, 1, 2, 4]


async def test_who_is_listed_as_merged(world):
    """They are as good as not listed: taken out once, and no removal of strangers is carried out with every sweep."""
    for number in range(3):
        world.enrol(number)
    await world.load()
    world.sim.add_member("m-9", status="merged")
    world.sim.merge("m-1", "m-0")
    world.sim.books.history.told.clear()
    for _ in range(2):
        world.clock.advance(DAY)
        await world.sync()
    with world.store().open_writer() as writer:
        removed = writer.removed()
    assert (world.contacts(), world.knows(1), len(removed)) == (2, False, 1)


async def test_without_events(open_world):
    """`feed = "read_api"` shows who is new from sync to sync, and everything else by the sweep."""
    world = await open_world(feed="read_api")
    for number in range(3):
        world.enrol(number, mobile_phone="+46701740605")
    await world.load()
    world.sim.leave("m-2")
    world.enrol(1, mobile_phone="+46701740606")
    world.enrol(7)
    await world.sync()
    assert [number for number in range(9) if world.knows(number)] == [0, 1, 2, 7]
    assert world.known_by(PHONE, "+46701740606") == []
    world.clock.advance(DAY)
    await world.sync()
    assert [number for number in range(9) if world.knows(number)] == [0, 1, 7]
    assert world.known_by(PHONE, "+46701740606") == ["m-1"]


@pytest.mark.parametrize("primary", [ID, MEMBER])
async def test_a_row_that_slips_from_the_list(open_world, primary):
    """Whom the list leaves out though they are there stays: asked for by name, they answer."""
    world = await open_world(primary=primary)
    for number in range(5):
        world.enrol(number)
    await world.load()
    world.sim.books.members.hidden.add("m-3")
    world.clock.advance(DAY)
    await world.sync()
    assert (world.knows(3), world.contacts()) == (True, 5)


@pytest.mark.parametrize("primary", [ID, MEMBER])
@pytest.mark.parametrize("left", ["leave", "vanish"])
async def test_a_number_that_a_living_and_a_former_member_have(open_world, primary, left):
    """Who left is taken out, and whoever has their number now stays, found by it."""
    world = await open_world(primary=primary)
    world.sim.books.history.without.add("opt_out")
    for number in range(3):
        world.enrol(number)
    await world.load()
    getattr(world.sim, left)("m-1")
    world.clock.advance(1)
    world.sim.add_member("m-9", membership_id=["10000001"])
    await world.sync()
    world.clock.advance(DAY)
    await world.sync()
    assert (world.knows(1), world.knows(9), world.contacts()) == (False, True, 3)
    assert world.known_by(MEMBER, "10000001") == ["m-9" if primary is ID else "10000001"]


@pytest.mark.parametrize(
    "answer",
    [{"status": 400}, {"status": 404, "body": "html"}, {"status": 500}, {"status": 200, "body": "json"}],
    ids=["400", "404 without a number", "500", "somebody else's 200"],
)
async def test_who_cannot_be_asked_for(world, answer):
    """They stay until it can be told; the others' data is as new as ever, and it is said how many they are."""
    for number in range(25):
        world.enrol(number)
    await world.load()
    fault = world.sim.add(Fault(kind="answer", method="GET", path="/customers/m-3", **answer))
    for number in (3, 4):
        world.sim.leave(f"m-{number}")
    world.clock.advance(60)
    world.enrol(30)
    await world.sync()
    assert (world.knows(3), world.knows(4), world.knows(30)) == (True, False, True)
    assert world.replica.info().as_of == world.clock.now()
    assert world.standing() == ["feed.unreadable"]
    world.clock.advance(DAY)
    await world.sync()
    assert (world.knows(3), world.standing()) == (True, ["feed.unreadable"])
    world.sim.remove(fault)
    await world.sync()
    assert (world.knows(3), world.standing()) == (False, [])


async def test_many_who_cannot_be_asked_for(world):
    """Where the vendor answers all other questions, they hold up nobody; where it does not, it is the vendor's."""
    await world.load()
    for number in range(10):
        world.enrol(number)
    odd = world.sim.add(Fault(kind="answer", method="GET", path="/customers/m-[0-5]", status=500))
    away = world.sim.add(Fault(kind="answer", method="GET", path="/customers/-/count", status=500))
    with pytest.raises(VendorUnreachableError):
        await world.sync()
    world.sim.remove(away)
    await world.sync()
    assert (world.contacts(), world.standing()) == (4, ["feed.unreadable"])
    world.sim.remove(odd)
    await world.sync()
    assert (world.contacts(), world.standing()) == (10, [])


async def test_a_pause_that_is_asked_for_with_one_member(world):
    """It is the vendor's, and not that member's: the sync stops, and says of nobody that they cannot be read."""
    await world.load()
    world.enrol(1)
    pause = {"status": 503, "headers": {"Retry-After": "17"}}
    world.sim.add(Fault(kind="answer", path="/customers/m-1", count=1, **pause))
    with pytest.raises(VendorUnreachableError):
        await world.sync()
    assert world.link.sending.pause_s(world.clock.monotonic()) == 17
    world.clock.advance(60)
    await world.sync()
    assert (world.contacts(), world.standing()) == (1, [])


async def test_who_answers_under_another_id(world):
    """Nobody has that id: no data is taken for theirs, and they go once a sweep does not show them either."""
    for number in range(2):
        world.enrol(number)
    await world.load()
    world.sim.member("m-1").id = "m-0"
    world.sim.books.history.tell("profile", "m-1", int(world.clock.now().timestamp()))
    await world.sync()
    assert (world.contacts(), world.knows(1), world.standing()) == (2, True, [])
    world.clock.advance(DAY)
    await world.sync()
    assert (world.contacts(), world.knows(0), world.knows(1), world.standing()) == (1, True, False, [])


async def test_ids_that_nothing_can_carry(world):
    """They are left out, in lists and in events; everybody else is read."""
    world.enrol(1)
    names = ("no id", "ends.", "a./b", "x" * 65, "\ud83d", "", None, ["m-1"], {})
    odd = [{"_id": name, "mobile_phone": "+46701740605"} for name in names]
    events = [{"action": "profile", "timestamp": "lately", "Customer": {"id": one["_id"]}} for one in odd]
    world.feed.api = Asked(
        world.feed.api,
        members=lambda listed, _offset: replace(listed, rows=[*odd, *listed.rows]),
        events=lambda listed, _offset: replace(listed, rows=[*events, {}, {"Customer": None}, *listed.rows]),
    )
    await world.load()
    world.enrol(2)
    await world.sync()
    assert (world.contacts(), world.knows(1), world.knows(2)) == (2, True, True)


@pytest.mark.parametrize("fields", [(), ("points",)], ids=["", "points are kept"])
@pytest.mark.parametrize("action", [["opt_out"], {}, 7, None], ids=str)
async def test_an_action_that_is_no_word(open_world, fields, action):
    """It may be anything: its customer is asked for, and the page is read to its end."""
    world = await open_world(fields=fields)
    for number in range(2):
        world.enrol(number)
    await world.load()
    world.enrol(1, mobile_phone="+46701740606")
    world.sim.books.history.told.clear()
    odd = {"action": action, "timestamp": world.clock.now().timestamp(), "Customer": {"id": "m-1"}}
    world.feed.api = Asked(world.feed.api, events=lambda listed, _offset: replace(listed, rows=[odd, *listed.rows]))
    world.enrol(2)
    await world.sync()
    assert (world.known_by(PHONE, "+46701740606"), world.knows(2)) == (["m-1"], True)


async def test_half_a_character(open_world):
    """Half a surrogate pair in somebody's name or number stops no page."""
    world = await open_world(fields=("first_name",))
    half = {"first_name": "Alma \ud83d", "email": "\ud83d@example.com", "mobile_phone": "\ud83d"}
    rows = [{"_id": "m-1", **half}, {"_id": "m-2", "membership_id": ["\ud83d", "77"], "first_name": "Bo"}]
    world.feed.api = Asked(world.feed.api, members=lambda listed, _offset: replace(listed, rows=rows))
    await world.load()
    [member] = world.replica.resolve([Identifier(ID, "m-1")])
    assert member.fields == {"first_name": "Alma ?"}
    assert world.known_by(MEMBER, "77") == ["m-2"]


async def test_far_too_many_are_gone(world):
    """Another workspace's keys, perhaps: nobody is taken out, it is said, and it ends with a sweep that is whole."""
    for number in range(10):
        world.enrol(number)
    await world.load()
    world.former = 10
    gone = dict(world.sim.books.members.by_id)
    world.sim.books.members.by_id.clear()
    world.clock.advance(DAY)
    await world.sync()
    assert (world.contacts(), world.standing()) == (10, ["feed.gap"])
    world.clock.advance(60)
    await world.sync()
    assert world.standing() == ["feed.gap"]
    world.sim.books.members.by_id.update(gone)
    world.clock.advance(DAY)
    await world.sync()
    assert (world.contacts(), world.standing()) == (10, [])


@pytest.mark.parametrize("strangers", [5, 10, 15], ids=["half as many", "as many", "more"])
async def test_another_workspace_s_keys(world, strangers):
    """However many members it has: nobody of ours goes, nobody of theirs stays, and ours are read on afterwards."""
    books = world.sim.books
    for number in range(10):
        world.enrol(number)
    await world.load()
    world.former = 10
    ours, told = dict(books.members.by_id), list(books.history.told)
    for _ in range(2):
        books.members.by_id.clear()
        for number in range(50, 50 + strangers):
            world.enrol(number)
        books.history.told.clear()
        world.clock.advance(DAY)
        await world.sync()
        assert (world.contacts(), world.standing(), world.knows(50)) == (10, ["feed.gap"], False)
    books.members.by_id.clear()
    books.members.by_id.update(ours)
    books.history.told[:] = told
    world.enrol(20)
    await world.sync()
    assert (world.contacts(), world.knows(20)) == (11, True)
    world.clock.advance(DAY)
    await world.sync()
    assert (world.contacts(), world.standing()) == (11, [])


async def test_another_workspace_s_keys_while_members_wait_to_be_asked_for(world):
    """That they are unknown there says nothing of them here."""
    for number in range(50):
        world.enrol(number)
    await world.load()
    world.former = 50
    world.clock.advance(OVERLAP + 60)
    for number in range(50):
        world.enrol(number, mobile_phone="+46701740605")
    assert await world.pages(1) == [None]
    world.sim.books.members.by_id.clear()
    world.sim.books.history.told.clear()
    world.clock.advance(60)
    await world.sync()
    assert world.contacts() == 50


async def test_who_joins_while_a_sweep_is_given_up(world):
    """They are taken back with all whom the sweep brought, and read again by the next poll."""
    for number in range(10):
        world.enrol(number)
    await world.load()
    world.former = 10
    for number in range(10):
        world.sim.vanish(f"m-{number}")
    world.clock.advance(DAY - 30)
    await world.sync()
    world.clock.advance(30)
    joined = []
    with world.store().open_writer() as writer:
        async for page in world.feed.pages(writer.cursor()):
            writer.apply_page(page, at=world.clock.now())
            if page.sweep is None and not joined:
                joined = [world.enrol(number, after_s=60) for number in (20, 21)]
    await world.sync()
    assert (world.knows(20), world.knows(21)) == (True, True)


async def test_a_till_that_was_off_for_long(world):
    """It walks over everybody first, which costs less than all that happened, and reads what came since."""
    for number in range(3):
        world.enrol(number)
    await world.load()
    for number in range(40):
        world.enrol(number)
    world.clock.advance(2 * DAY)
    world.sim.leave("m-2")
    calls = await world.sync()
    assert (world.contacts(), calls) == (39, 2 + 1 + 1 + 1)


@pytest.mark.parametrize("away_s", [DAY, -DAY], ids=["a day later", "a day earlier: a clock was wrong"])
async def test_when_a_sweep_is_due(world, away_s):
    """Once a day, and when the last one is said to lie ahead."""
    world.enrol(1)
    await world.load()
    world.sim.vanish("m-1")
    world.clock.advance(away_s)
    await world.sync()
    assert world.contacts() == 0


async def test_a_clock_of_another_age(open_world):
    """A till that begins in 1970 writes cursors that it can read, and goes on when its clock is right again."""
    world = await open_world(ahead_s=AGES)
    world.clock.advance(-AGES)
    world.enrol(1)
    await world.load()
    world.enrol(2)
    await world.sync()
    assert (world.contacts(), world.knows(2)) == (2, True)


async def test_everybody_anew(world):
    """A rebuild that is ordered walks over everybody at once."""
    world.enrol(1)
    await world.load()
    world.sim.vanish("m-1")
    await world.sync(rebuild=True)
    assert world.contacts() == 0


async def test_a_pause_that_is_asked_for(world):
    """429 stops the sync, and neither a delivery nor another sync asks before it is over."""
    for number in range(2 * PAGE):
        world.enrol(number)
    world.sim.add(Fault(kind="answer", path="/v1/customers", status=429, skip=1, count=1))
    with pytest.raises(VendorUnreachableError) as stopped:
        await world.sync()
    assert stopped.value.retry_after_s is not None
    assert not world.link.sending.allows(world.clock.monotonic())
    world.clock.advance(60)
    await world.load()
    assert world.contacts() == 2 * PAGE


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (lambda sim: sim.keys.clear(), VendorRefusedError),
        (lambda sim: sim.keys.update({KEY: "another"}), VendorRefusedError),
        (lambda sim: sim.add(Fault(kind="answer", status=503)), VendorUnreachableError),
        (lambda sim: sim.add(Fault(kind="answer", path="/v1/customers", status=422)), VendorUnreachableError),
        (lambda sim: sim.add(Fault(kind="answer", path="/v1/*", status=200, body="json")), VendorUnreachableError),
        (lambda sim: sim.add(Fault(kind="answer", path="/customers/-/events", status=200, body="html")),
         VendorUnreachableError),
    ],
    ids=["keys", "a secret", "away", "a refused list", "no list", "a page instead of events"],
)  # fmt: skip
async def test_what_ends_a_sync(world, trouble, error):
    """It is one of the errors that a sync knows, and nobody is taken out."""
    world.enrol(1)
    await world.load()
    world.clock.advance(DAY)
    trouble(world.sim)
    with pytest.raises(error):
        await world.sync()
    assert world.contacts() == 1


@pytest.mark.parametrize("year", [1, 1970, 2027, 2300, 9999])
async def test_a_customer_dated_by_a_wrong_clock(world, year):
    """They are read like anybody, and who is made after them is found all the same."""
    for number in range(3):
        world.enrol(number)
    world.sim.member("m-1").fields["created_at"] = f"{year:04d}-06-01T00:00:00Z"
    await world.load()
    await world.sync()
    assert world.knows(1)
    world.clock.advance(60)
    world.enrol(7)
    await world.sync()
    assert world.knows(7)
    world.clock.advance(DAY)
    await world.sync()
    assert world.contacts() == 4


async def test_a_walk_that_is_broken_off_at_a_customer_of_the_future(world):
    """Whoever joins meanwhile is found all the same: they are among the changes that follow."""
    for number in range(PAGE + 50):
        world.enrol(number)
    for number in range(PAGE - 10, PAGE + 50):
        world.sim.member(f"m-{number}").created_at += int(365 * DAY)
    await world.pages(1)
    world.enrol(9000, after_s=3600)
    await world.load()
    assert (world.contacts(), world.knows(9000)) == (PAGE + 51, True)


async def test_an_event_of_the_future(world):
    """It says nothing of the time before it: who joins then is found."""
    world.enrol(1)
    await world.load()
    world.clock.advance(60)
    world.sim.books.history.tell("profile", "m-1", int(world.clock.now().timestamp() + 365 * DAY))
    await world.sync()
    world.enrol(2)
    await world.sync()
    assert world.knows(2)


async def test_events_in_another_order(world):
    """Where the list begins with the latest it is read to its end by the count of rows: nobody is skipped."""
    await world.load()
    for number in range(PAGE + 30):
        world.enrol(number)
    told = [*world.sim.books.history.told]

    def latest_first(listed, offset):
        rows = [{"timestamp": one["at"], "Customer": {"id": one["customer"]}} for one in reversed(told)]
        return Listed(rows[offset : offset + PAGE], offset + PAGE < len(rows), listed.told_at)

    world.feed.api = Asked(world.feed.api, events=latest_first)
    await world.sync()
    assert world.contacts() == PAGE + 30


async def test_the_same_page_again_and_again(world):
    """A list that does not go on ends the poll with an error, and not never."""
    await world.load()
    row = {"timestamp": world.clock.now().timestamp(), "customer": "m-1"}
    world.feed.api = Asked(world.feed.api, events=lambda listed, _offset: replace(listed, rows=[row], more=True))
    with pytest.raises(VendorUnreachableError, match="the same page"):
        await world.sync()
    assert world.feed.api.asked == 3


async def test_a_list_that_knows_no_instant(world):
    """Where members from before what was asked for are listed, it is said: such a walk would never end."""
    for number in range(PAGE + 5):
        world.enrol(number, after_s=3600)
    reader = world.connector.reader
    ask = reader.customers
    reader.customers = lambda params: ask({name: value for name, value in params.items() if "filter" not in name})
    with pytest.raises(VendorUnreachableError, match="before the instant"):
        await world.sync()


async def test_very_many_whom_the_vendor_cannot_tell(world, monkeypatch):
    """More than a cursor holds are the vendor's own trouble."""
    monkeypatch.setattr("agent.connectors.antavo.progress.MOST_UNREAD", 3)
    await world.load()
    for number in range(6):
        world.enrol(number)
    world.sim.add(Fault(kind="answer", method="GET", path="/customers/m-*", status=500))
    with pytest.raises(FeedError, match="more than 3"):
        await world.sync()
