"""A project's customers on their way into the replica: the first load, changes, ties, and who is gone."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.connectors.voucherify import build
from agent.connectors.voucherify.feed import OVERLAP, VoucherifyFeed
from agent.connectors.voucherify.feeds import open_feed
from agent.connectors.voucherify.settings import VoucherifySettings
from agent.connectors.voucherify.simulator import Fault, VoucherifySimulator, serve
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.errors import FeedError, VendorRefusedError, VendorUnreachableError
from agent.ports import Sweep
from tests.connectors.feeding import Fed
from tests.connectors.mparticle.sales import Reference
from tests.fakes import feed_surroundings, surroundings
from tests.wire import POLICY

APP_ID, TOKEN = "app-1", "sim-token"
MEMBER, PHONE = IdentifierType.MEMBER_NUMBER, IdentifierType.MOBILE_PHONE
DAY = timedelta(hours=24).total_seconds()


class World(Fed):
    """A project, its feed, and a replica that is filled from it."""

    def __init__(self, tmp_path, **table):
        super().__init__("voucherify", tmp_path, MEMBER)
        self.sim = VoucherifySimulator({APP_ID: TOKEN}, now=self.clock.now)
        self.table = table

    async def start(self):
        self.running = await serve(self.sim)
        settings = VoucherifySettings.model_validate({"base_url": self.running.url, **self.table})
        secrets = {settings.app_id: Reference(APP_ID), settings.app_token: Reference(TOKEN)}
        self.connector = build(settings, surroundings(secret=secrets.__getitem__, http=POLICY, clock=self.clock))
        self.feed = open_feed(
            self.connector,
            feed_surroundings(
                normaliser=Normaliser("SE", guid_contact_ids=False),
                link=self.link,
                clock=self.clock,
                unseen=self.unseen,
            ),
        )

    async def stop(self):
        await self.connector.close()
        await self.running.stop()
        self.replica.close()

    def calls(self):
        return self.sim.requests["GET customers"]

    def enrol(self, number, *, after_s=1.0, **customer):
        """Somebody becomes a customer, so many seconds after the one before."""
        self.clock.advance(after_s)
        return self.sim.enrol(source_id=str(10_000_000 + number), **customer)

    def knows(self, number):
        return bool(self.replica.resolve([Identifier(MEMBER, str(10_000_000 + number))]))


@pytest.fixture(name="world")
async def _world(tmp_path):
    world = World(tmp_path)
    await world.start()
    yield world
    await world.stop()


async def test_the_first_load(world):
    """Everybody is there afterwards, page after page, and as of when it began."""
    for number in range(250):
        world.enrol(number, phone=f"+46701740{605 + number % 90}")
    await world.sync()
    assert (world.contacts(), world.replica.info().as_of) == (250, world.clock.now())
    assert all(world.knows(number) for number in range(250))


async def test_a_page_of_long_customers(world):
    """A hundred customers with much metadata are more than a mebibyte, and read all the same."""
    for number in range(3):
        world.enrol(number, metadata={"note": "a" * 400_000})
    await world.sync()
    assert world.contacts() == 3


async def test_an_empty_project(world):
    """It is loaded whole, with nobody in it, and whoever comes then is found."""
    await world.sync()
    assert (world.contacts(), world.replica.info().as_of) == (0, world.clock.now())
    world.enrol(1)
    await world.sync()
    assert world.knows(1)


@pytest.mark.parametrize("inclusive", [False, True], ids=["after the instant", "from the instant on"])
async def test_what_changed(world, inclusive):
    """New customers, who have no time of change, and changed ones; a poll costs a call for each, and no more."""
    world.sim.customers.inclusive = inclusive
    for number in range(3):
        world.enrol(number, phone="+46701740605")
    await world.sync()
    world.enrol(7)
    world.enrol(1, phone="+46701740606")
    assert await world.sync() == 2
    assert world.knows(7)
    [found] = world.replica.resolve([Identifier(PHONE, "+46701740606")])
    assert found.key.value == "10000001"
    world.clock.advance(900)
    assert await world.sync() == 2


async def test_who_is_changed_while_everybody_is_read(world):
    """What the first load had passed already is read again at its end."""
    for number in range(250):
        world.enrol(number)
    world.clock.advance(60)
    pages = world.feed.pages(None)
    async with contextlib.aclosing(pages):
        with world.store().open_writer() as writer:
            async for page in pages:
                writer.apply_page(page, at=world.clock.now())
                if page.sweep is Sweep.BEGINS:
                    world.enrol(0, phone="+46701740606")
            writer.finish(as_of=world.clock.now())
    world.replica.refresh()
    assert len(world.replica.resolve([Identifier(PHONE, "+46701740606")])) == 1


@pytest.mark.parametrize("inclusive", [False, True], ids=["after the instant", "from the instant on"])
@pytest.mark.parametrize("count", [100, 250, 301])
async def test_many_who_share_an_instant(world, inclusive, count):
    """An import stamps everybody alike: nobody is left out, before it or after it, and the walk comes to an end."""
    world.sim.customers.inclusive = inclusive
    world.enrol(900)
    world.clock.advance(1)
    for number in range(count):
        world.enrol(number, after_s=0)
    world.enrol(901, after_s=0.001)
    await world.sync()
    assert (world.contacts(), world.knows(900), world.knows(901)) == (count + 2, True, True)


async def test_more_at_one_instant_than_can_be_listed(world):
    """It is said, and no page is asked for that there cannot be."""
    asked = []

    class Same:
        async def listed(self, _order, after_at, page):
            asked.append(page)
            return replace(await world.feed._api.listed("created_at", after_at, 1), more=True)

    world.enrol(1)
    feed = VoucherifyFeed(Same(), Normaliser("SE"), (), world.clock, sweep_every=timedelta(days=1), unseen=world.unseen)
    with pytest.raises(FeedError, match="share one instant"):
        async for _page in feed.pages(None):
            pass
    assert max(asked) == 99


@pytest.mark.parametrize("broken_after", range(1, 6))
async def test_a_load_that_is_broken_off(world, broken_after):
    """It goes on after its last page, in the next sync, and asks for little twice."""
    for number in range(350):
        world.enrol(number)
    fault = Fault(kind="answer", method="GET", path="/v1/customers", status=500)
    await world.pages(broken_after)
    before = world.calls()
    world.sim.add(fault)
    with pytest.raises(VendorUnreachableError):
        await world.sync()
    world.sim.remove(fault)
    await world.sync()
    assert (world.contacts(), world.standing()) == (350, [])
    assert world.calls() - before <= 5 + 2 + 2


async def test_who_is_gone_is_found_by_the_sweep(world):
    """Deletions are listed nowhere: the walk over everybody finds them, once it is due, and asks for them by name."""
    for number in range(5):
        world.enrol(number)
    await world.sync()
    world.sim.leave("10000003")
    world.clock.advance(DAY / 2)
    await world.sync()
    assert world.knows(3)
    world.clock.advance(DAY / 2)
    assert await world.sync() == 2 + 1 + 1
    assert [number for number in range(5) if world.knows(number)] == [0, 1, 2, 4]
    assert world.contacts() == 4


async def test_a_row_that_slips_from_the_list(world):
    """Whom the list leaves out though they are there stays: asked for by name, they answer."""
    for number in range(5):
        world.enrol(number)
    await world.sync()
    world.sim.customers.hidden.add("10000003")
    world.clock.advance(DAY)
    await world.sync()
    assert (world.knows(3), world.contacts()) == (True, 5)


@pytest.mark.parametrize(
    "answer",
    [{"status": 400}, {"status": 404, "body": "html"}, {"status": 500}],
    ids=["400", "404 without a key", "500"],
)
async def test_who_cannot_be_asked_for(world, answer):
    """They stay until a sweep can tell; the others' data is as new as ever, and it is said how many they are."""
    for number in range(25):
        world.enrol(number)
    await world.sync()
    for number in (3, 4):
        world.sim.leave(str(10_000_000 + number))
    world.clock.advance(DAY)
    fault = Fault(kind="answer", method="GET", path="/v1/customers/10000003", **answer)
    world.sim.add(fault)
    await world.sync()
    assert (world.knows(3), world.knows(4), world.contacts()) == (True, False, 24)
    assert world.replica.info().as_of == world.clock.now()
    assert world.standing() == ["feed.unreadable"]
    world.sim.remove(fault)
    world.clock.advance(DAY)
    await world.sync()
    assert (world.knows(3), world.standing()) == (False, [])


async def test_who_came_back_under_another_id(world):
    """Deleted and made again under the same number, they are one person, and not two who share it."""
    world.enrol(3, phone="+46701740605")
    await world.sync()
    world.sim.leave("10000003")
    world.enrol(3, phone="+46701740606")
    world.clock.advance(DAY)
    await world.sync()
    assert world.contacts() == 1
    [found] = world.replica.resolve([Identifier(MEMBER, "10000003")])
    assert world.replica.resolve([Identifier(PHONE, "+46701740606")]) == (found,)
    assert world.replica.resolve([Identifier(PHONE, "+46701740605")]) == ()


async def test_far_too_many_are_gone(world):
    """Another project's keys, perhaps: nobody is taken out, it is said, and it ends with a sweep that is whole."""
    for number in range(10):
        world.enrol(number)
    await world.sync()
    world.former = 10
    gone = dict(world.sim.customers)
    world.sim.customers.clear()
    world.clock.advance(DAY)
    await world.sync()
    assert (world.contacts(), world.standing()) == (10, ["feed.gap"])
    world.clock.advance(60)
    await world.sync()
    assert world.standing() == ["feed.gap"]
    world.sim.customers.update(gone)
    world.clock.advance(DAY)
    await world.sync()
    assert (world.contacts(), world.standing()) == (10, [])


@pytest.mark.parametrize("strangers", [5, 10, 15], ids=["half as many", "as many", "more"])
async def test_another_project_s_keys(world, strangers):
    """However many customers it has: nobody of ours goes, nobody of theirs stays, and ours are read on afterwards."""
    for number in range(10):
        world.enrol(number)
    await world.sync()
    world.former = 10
    ours = dict(world.sim.customers)
    for _ in range(2):
        world.sim.customers.clear()
        for number in range(50, 50 + strangers):
            world.enrol(number)
        world.clock.advance(DAY)
        world.sim.customers.update(
            (name, {**one, "created_at": "2026-01-01T00:00:00.000Z"}) for name, one in world.sim.customers.items()
        )
        await world.sync()
        assert (world.contacts(), world.standing(), world.knows(50)) == (10, ["feed.gap"], False)
    world.sim.customers.clear()
    world.sim.customers.update(ours)
    world.enrol(20)
    await world.sync()
    assert (world.contacts(), world.knows(20)) == (11, True)
    world.clock.advance(DAY)
    await world.sync()
    assert (world.contacts(), world.standing()) == (11, [])


async def test_who_joins_while_a_sweep_is_given_up(world):
    """They are taken back with all whom the sweep brought, and read again by the next poll."""
    for number in range(10):
        world.enrol(number)
    await world.sync()
    world.former = 10
    for number in range(10):
        world.sim.leave(str(10_000_000 + number))
    world.clock.advance(DAY)
    joined = []
    with world.store().open_writer() as writer:
        async for page in world.feed.pages(writer.cursor()):
            writer.apply_page(page, at=world.clock.now())
            if page.sweep is None and not joined:
                joined = [world.enrol(number, after_s=60) for number in (20, 21)]
    await world.sync()
    assert (world.knows(20), world.knows(21)) == (True, True)


async def test_a_sweep_that_is_gone_on_with(world):
    """What changed comes first, and shows its customers as the sweep does: they need not be asked for by name."""
    for number in range(150):
        world.enrol(number)
    await world.sync()
    world.clock.advance(DAY)
    assert await world.pages(3) == [None, None, Sweep.BEGINS]
    assert await world.pages(9) == [Sweep.GOES_ON] * 3 + [Sweep.ENDS, None]


@pytest.mark.parametrize("away_s", [DAY, -DAY], ids=["a day later", "a day earlier: a clock was wrong"])
async def test_when_a_sweep_is_due(world, away_s):
    """Once a day, and when the last one is said to lie ahead."""
    world.enrol(1)
    await world.sync()
    world.sim.leave("10000001")
    world.clock.advance(away_s)
    await world.sync()
    assert world.contacts() == 0


async def test_everybody_anew(world):
    """A rebuild that is ordered walks over everybody at once."""
    world.enrol(1)
    await world.sync()
    world.sim.leave("10000001")
    await world.sync(rebuild=True)
    assert world.contacts() == 0


async def test_a_pause_that_is_asked_for(world):
    """429 stops the sync, and neither a delivery nor another sync asks before it is over."""
    world.sim.allowance.per_minute = 1
    for number in range(250):
        world.enrol(number, after_s=0.01)
    with pytest.raises(VendorUnreachableError) as stopped:
        await world.sync()
    assert stopped.value.retry_after_s is not None
    assert not world.link.sending.allows(world.clock.monotonic())
    world.sim.allowance.per_minute = 1000
    world.clock.advance(60)
    await world.sync()
    assert world.contacts() == 250


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (lambda sim: sim.keys.clear(), VendorRefusedError),
        (lambda sim: setattr(sim.allowance, "of_plan", 0), VendorRefusedError),
        (lambda sim: sim.add(Fault(kind="answer", status=503)), VendorUnreachableError),
        (
            lambda sim: sim.customers.update(x={"id": "no id", "created_at": sim.now().isoformat()}),
            VendorUnreachableError,
        ),
        (lambda sim: sim.customers.update(x={"id": "cust_1", "created_at": "lately"}), VendorUnreachableError),
    ],
    ids=["keys", "plan", "away", "no customer", "no instant"],
)
async def test_what_ends_a_sync(world, trouble, error):
    """It is one of the errors that a sync knows, and nobody is taken out."""
    world.enrol(1)
    await world.sync()
    world.clock.advance(DAY)
    trouble(world.sim)
    with pytest.raises(error):
        await world.sync()
    assert world.contacts() == 1


@pytest.mark.parametrize(
    ("field", "year"),
    [*(("created_at", year) for year in (2027, 2300, 9999)), *(("updated_at", year) for year in (1, 1970, 2027, 9999))],
)
async def test_a_customer_dated_by_a_wrong_clock(world, field, year):
    """They are read like anybody, and who is made or changed after them is found all the same."""
    for number in range(3):
        world.enrol(number)
    world.sim.customers["10000001"][field] = f"{year:04d}-06-01T00:00:00.000Z"
    await world.sync()
    await world.sync()
    assert world.knows(1)
    world.clock.advance(60)
    world.enrol(7)
    world.enrol(2, phone="+46701740607")
    await world.sync()
    assert world.knows(7)
    assert len(world.replica.resolve([Identifier(PHONE, "+46701740607")])) == 1
    world.clock.advance(DAY)
    await world.sync()
    assert world.contacts() == 4


async def test_a_walk_that_is_broken_off_at_a_customer_of_the_future(world):
    """Whoever is made meanwhile is found by the rest of the walk: where it stands is never later than its start."""
    for number in range(150):
        world.enrol(number)
    for number in range(100, 150):
        world.sim.customers[str(10_000_000 + number)]["created_at"] = "2030-06-01T00:00:00.000Z"
    await world.pages(2)
    world.enrol(900, after_s=3600)
    await world.sync()
    assert (world.contacts(), world.knows(900)) == (151, True)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z"])
async def test_an_instant_that_cannot_be_is_none(world, text):
    """A load that was broken off behind it can be gone on with."""
    world.sim.customers.inclusive = True
    world.enrol(1)
    world.sim.customers["10000001"]["created_at"] = text
    world.enrol(2)
    await world.pages(1)
    await world.sync()
    assert world.knows(2)


async def test_nobody_is_skipped_between_polls(world):
    """Who shows up late, up to two seconds, is read by the next poll."""
    world.enrol(1)
    late = world.sim.enrol(source_id="10000002")
    del world.sim.customers["10000002"]
    world.enrol(3, after_s=OVERLAP.total_seconds() - 0.5)
    await world.sync()
    world.sim.customers["10000002"] = late
    await world.sync()
    assert world.knows(2)
