"""What works and what does not, in one value."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from agent.domain.benefits import GeneralOffer, Worth
from agent.domain.health import Conditions
from agent.domain.link import Link
from agent.domain.window import Window
from agent.errors import StorageDamagedError
from agent.ports import QueueInfo
from agent.services.status import Status, StatusPolicy
from tests.fakes import NOW, VENDOR, FakeClock, FakeReplica, member, phone

MIB = 1 << 20
EVERYBODYS = GeneralOffer("member-10", "10 % off", Worth("percent", percent=Decimal(10)), NOW.date())
WINDOWS = (Window(timedelta(hours=24), "it is worth less"), Window(timedelta(days=30), "it is lost"))


class Bench:
    def __init__(self, *, level=3, general=(EVERYBODYS,)):
        self.clock, self.replica, self.conditions = FakeClock(), FakeReplica(), Conditions()
        self.queue, self.accepted, self.room, self.counted = QueueInfo(0, 0, 0, 0, None, MIB), 0, True, 0
        self.damage, self.paused = (), False
        self.link = Link(
            VENDOR, "loyalty", requests_per_second=0, backoff_first_s=10, backoff_max_s=900, uniform=lambda _a, b: b
        )
        self.status = Status(
            clock=self.clock,
            version="1.0",
            policy=StatusPolicy(level, True, timedelta(hours=24), 100 * MIB, general),
            links=[self.link],
            replica=self.replica,
            queue=lambda: self.queue,
            accepted_since=self._accepted_since,
            conditions=self.conditions,
            ready=lambda: self.room,
            room=lambda: self.room,
            damage=lambda: self.damage,
            paused=lambda: self.paused,
            windows={"other": WINDOWS},
        )
        self.link.worked(NOW, 0.0)

    def _accepted_since(self, since):
        assert since == self.clock.now() - timedelta(hours=1)
        self.counted += 1
        return self.accepted

    def codes(self):
        return [condition.code for condition in self.status.snapshot().conditions]


@pytest.fixture
def bench():
    return Bench()


def test_all_is_well(bench):
    """Online at the configured level, with the figures of queue and replica."""
    bench.replica.add(member(), phone())
    bench.queue = QueueInfo(3, 1, 0, 0, NOW - timedelta(minutes=2), MIB)
    seen = bench.status.snapshot()
    assert (seen.state, seen.level, seen.conditions, seen.codes) == ("online", 3, (), ())
    assert (seen.replica.contacts, seen.replica.age_s, seen.replica.stale) == (1, 0, False)
    assert (seen.queue.depth, seen.queue.held, seen.queue.oldest_age_s) == (3, 1, 120)
    assert (seen.vendors[0].state, seen.vendors[0].circuit) == ("online", "closed")


@pytest.mark.parametrize(
    ("change", "state", "code"),
    [
        (lambda b: b.link.silent(NOW, 0.0), "offline", "vendor.offline"),
        (lambda b: b.link.credentials_refused(NOW, 0.0), "degraded", "vendor.credentials_refused"),
        (lambda b: setattr(b, "paused", True), "degraded", "queue.paused"),
        (lambda b: setattr(b, "queue", replace(b.queue, parked=2)), "degraded", "queue.parked"),
        (lambda b: setattr(b, "queue", replace(b.queue, in_doubt=1)), "degraded", "queue.in_doubt"),
        (lambda b: setattr(b, "queue", replace(b.queue, bytes=81 * MIB)), "degraded", "queue.filling"),
        (lambda b: setattr(b, "room", False), "degraded", "storage.full"),
        (lambda b: b.clock.advance(25 * 3600), "degraded", "replica.stale"),
    ],
    ids=["silent", "refused", "paused", "parked", "in doubt", "filling", "full", "stale"],
)
def test_each_trouble_is_a_condition_while_it_lasts(bench, change, state, code):
    """It stands with the instant it began, and goes when its cause does."""
    change(bench)
    began = bench.clock.now()
    assert (bench.status.snapshot().state, bench.codes()) == (state, [code])
    bench.clock.advance(60)
    assert bench.status.snapshot().conditions[0].since == began
    bench.link.worked(bench.clock.now(), 0.0)
    bench.paused, bench.room = False, True
    bench.queue, bench.replica.as_of = QueueInfo(0, 0, 0, 0, None, MIB), bench.clock.now()
    seen = bench.status.snapshot()
    assert (seen.state, seen.conditions, seen.since) == ("online", (), bench.clock.now())


@pytest.mark.parametrize(
    ("vendor", "waited_h", "told"),
    [
        ("other", 17, None),
        ("other", 18, "other: after 24 h it is worth less"),
        ("other", 100, "other: after 24 h it is worth less"),
        ("other", 22.5 * 24, "other: after 30 days it is lost"),
        ("other", 40 * 24, "other: after 30 days it is lost"),
        (VENDOR, 40 * 24, None),
    ],
)
def test_a_window_that_closes_is_told_before_it_does(bench, vendor, waited_h, told):
    """From three quarters of it on, while anything that old waits; a vendor without a window has none to close."""
    bench.queue = replace(bench.queue, depth=1, oldest={vendor: NOW - timedelta(hours=waited_h)})
    conditions = {one.code: one.detail for one in bench.status.snapshot().conditions}
    assert conditions == ({"vendor.window_closing": told} if told else {})
    bench.queue = replace(bench.queue, depth=0, oldest={})
    assert bench.codes() == []


@pytest.mark.parametrize("code", ["benefits.lost", "benefits.stuck", "storage.unencrypted"])
def test_what_people_are_merely_told_of_leaves_the_agent_online(bench, code):
    """It stands among the conditions, and nothing is held, parked or stale for it."""
    bench.conditions.set(code, stands=True, now=NOW, detail="1 (50 SEK)")
    assert (bench.status.snapshot().state, bench.codes()) == ("online", [code])
    bench.queue = replace(bench.queue, parked=1)
    assert (bench.status.snapshot().state, set(bench.codes())) == ("degraded", {code, "queue.parked"})


def test_figures_name_the_count(bench):
    """Status says how many are parked."""
    bench.queue = replace(bench.queue, parked=1)
    (condition,) = bench.status.snapshot().conditions
    assert condition.detail == "1"


def test_damage_is_told_for_as_long_as_somebody_finds_it(bench):
    """Every finding stands in the condition's detail, and the agent is degraded."""
    bench.damage = ("outbox.db: 3 sales lost", "replica.db: fetched again")
    seen = bench.status.snapshot()
    (condition,) = seen.conditions
    assert (seen.state, condition.code) == ("degraded", "storage.damaged")
    assert condition.detail == "outbox.db: 3 sales lost; replica.db: fetched again"

    bench.damage = ()
    assert bench.codes() == []


def test_a_line_that_is_down_says_why(bench):
    """The condition names the vendor, and the reason where one is known."""
    bench.link.silent(NOW, 0.0, why="cannot be reached: its certificate has expired")
    (condition,) = bench.status.snapshot().conditions
    assert condition.detail == f"{bench.link.vendor}: cannot be reached: its certificate has expired"
    bench.link.silent(NOW, 0.0)
    (condition,) = bench.status.snapshot().conditions
    assert condition.detail == bench.link.vendor


@pytest.mark.parametrize("name", ["replica", "queue"])
def test_a_file_that_cannot_be_read_does_not_silence_the_status(bench, name):
    """Status goes on answering, with nothing where it knows nothing."""

    def broken():
        raise StorageDamagedError

    if name == "replica":
        bench.replica.info = broken
    else:
        bench.status._queue = broken
    seen = bench.status.snapshot()
    assert (seen.replica.contacts, seen.queue.depth) == (0, 0)


@pytest.mark.parametrize(
    ("level", "as_of", "served", "codes"),
    [
        (3, NOW, 3, ("loyalty.offline.replica",)),
        (3, NOW - timedelta(days=2), 3, ("loyalty.offline.replica", "loyalty.stale")),
        (3, None, 2, ("loyalty.offline.tagged", "loyalty.general_offers")),
        (1, None, 1, ("loyalty.unavailable", "loyalty.general_offers")),
    ],
    ids=["replica", "stale replica", "no replica", "level 1"],
)
def test_what_a_till_can_say_offline(level, as_of, served, codes):
    """The level being served, and the messages for a screen."""
    bench = Bench(level=level)
    bench.replica.as_of = as_of
    bench.link.silent(NOW, 0.0)
    seen = bench.status.snapshot()
    assert (seen.level, seen.codes) == (served, codes)


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize(("general", "days"), [((), 0), ((EVERYBODYS,), 1)], ids=["none configured", "over"])
def test_nobody_is_promised_offers_that_there_are_not(level, general, days):
    """General offers are told of only where the shop has some, until their last day is over."""
    bench = Bench(level=level, general=general)
    bench.replica.as_of = None
    bench.clock.advance(days * 24 * 3600)
    bench.link.silent(bench.clock.now(), 0.0)
    assert bench.status.snapshot().codes == (("loyalty.offline.tagged",) if level > 1 else ("loyalty.unavailable",))


@pytest.mark.parametrize(
    ("accepted", "depth", "used", "expected_s"),
    [(0, 0, MIB, None), (60, 0, MIB, 99 * MIB * 60 // 2_048), (60, 1_024, 2 * MIB, 98 * MIB * 60 // 2_048),
     (60, 10, 60 * MIB, 40 * MIB * 60 // 4_096), (60, 10, 101 * MIB, 0),
     (60, 1, 0, 100 * MIB * 60 // 2_048)],
    ids=["no sales", "nothing waits", "by what waits", "mostly old records", "full", "finished in between"],
)  # fmt: skip
def test_how_long_an_outage_can_last(bench, accepted, depth, used, expected_s):
    """At the last hour's pace, by the room that is left."""
    bench.accepted, bench.queue = accepted, QueueInfo(depth, 0, 0, 0, None, used)
    left = bench.status.snapshot().queue.outage_left_s
    assert left == expected_s if expected_s is None else left == pytest.approx(expected_s, rel=0.01)


def test_the_pace_is_counted_once_a_minute(bench):
    """Not at every status call."""
    for _ in range(10):
        bench.status.snapshot()
        bench.clock.advance(10)
    assert bench.counted == 2


async def test_who_listens_hears_changes_and_a_heartbeat(bench):
    """The first at once, then one for each change, and a beat when it is quiet."""
    heard = bench.status.changes(0.02)
    assert await anext(heard) is True
    assert await anext(heard) is False
    bench.status.changed()
    bench.status.changed()
    assert await anext(heard) is True
    assert await anext(heard) is False
    await heard.aclose()
    assert not bench.status._listeners


async def test_everybody_who_listens_hears(bench):
    """One change reaches all."""
    listeners = [bench.status.changes(5) for _ in range(3)]
    for listener in listeners:
        await anext(listener)
    waiting = [asyncio.ensure_future(anext(listener)) for listener in listeners]
    await asyncio.sleep(0)
    bench.status.changed()
    assert await asyncio.gather(*waiting) == [True, True, True]
    for listener in listeners:
        await listener.aclose()


async def _soon(done):
    async with asyncio.timeout(30):
        while not done():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


async def test_what_begins_while_nobody_asks_is_known_since_then(bench):
    """The condition and the state carry the instant of the change, not of the first question about it."""
    watching = asyncio.ensure_future(bench.status.watch(3600))
    try:
        await _soon(lambda: bench.status._state == "online")
        began = bench.clock.wall
        bench.queue = replace(bench.queue, parked=1)
        bench.status.changed()
        await _soon(lambda: bench.conditions.stands("queue.parked"))
        bench.clock.advance(3600)
        seen = bench.status.snapshot()
        assert (seen.state, seen.since, seen.conditions[0].since) == ("degraded", began, began)
    finally:
        watching.cancel()


async def test_what_only_time_brings_is_noticed_and_told(bench):
    """A replica grows stale without anybody's doing: whoever listens hears of it."""
    watching = asyncio.ensure_future(bench.status.watch(0.01))
    told = bench.status.changes(3600)
    try:
        await _soon(lambda: bench.status._state == "online")
        await anext(told)
        bench.clock.advance(25 * 3600)
        assert await asyncio.wait_for(anext(told), 30)
        assert bench.conditions.stands("replica.stale")
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await told.aclose()


def test_readiness_asks_whoever_knows(bench):
    """Whatever vendor and replica do."""
    bench.link.silent(NOW, 0.0)
    assert bench.status.ready()
    bench.room = False
    assert not bench.status.ready()


def test_every_silent_system_is_named(bench):
    """A further one that does not answer degrades the agent; what waits is counted for each."""
    ledger = Link(
        "ledger", "forward", requests_per_second=0, backoff_first_s=10, backoff_max_s=900, uniform=lambda _a, b: b
    )
    bench.status._links = (bench.link, ledger)
    bench.queue = replace(bench.queue, depth=5, waiting={"ledger": 3, VENDOR: 2})
    ledger.silent(NOW, 0.0, why="refuses the connection")
    snapshot = bench.status.snapshot()
    assert snapshot.state == "degraded"
    assert [(row.vendor, row.role, row.state, row.waiting) for row in snapshot.vendors] == [
        (VENDOR, "loyalty", "online", 2), ("ledger", "forward", "offline", 3)
    ]  # fmt: skip
    assert [(row.code, row.detail) for row in snapshot.conditions] == [
        ("vendor.offline", "ledger: refuses the connection")
    ]
    bench.link.silent(NOW, 0.0)
    assert bench.status.snapshot().state == "offline"
    assert bench.status.snapshot().conditions[0].detail == f"{VENDOR}; ledger: refuses the connection"


def test_what_waits_for_nobody_in_the_configuration_is_told(bench):
    """Sales for a system that was taken out do not lie there in silence."""
    bench.queue = replace(bench.queue, depth=3, waiting={"ledger": 3})
    (condition,) = bench.status.snapshot().conditions
    assert (condition.code, condition.detail) == (
        "vendor.offline", "ledger: is not in the configuration, 3 waiting"
    )  # fmt: skip
