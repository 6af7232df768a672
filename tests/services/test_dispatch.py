"""The lane between a real outbox and a vendor that misbehaves. Time is the test's; the event loop is real."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.connectors.base import IDLE_PING_S
from agent.domain.delivery import DONE, Verdict, VerdictKind
from agent.domain.link import Link
from agent.errors import StorageError, StorageFullError, VendorRefusedError
from agent.services.dispatch import Dispatch
from agent.services.judge import ALONE_ATTEMPTS, UNANSWERED_ATTEMPTS, DispatchPolicy
from agent.services.lane import Lane
from tests.fakes import (
    NOW,
    VENDOR,
    FakeClock,
    FakeVendor,
    Offline,
    acceptance,
    member_key,
    open_outbox,
    phone,
    phone_key,
    until,
)

OFFLINE = Verdict(VerdictKind.RETRY, "vendor.offline", title="cannot be reached", reached=False, not_received=True)
HANGS = replace(OFFLINE, not_received=False)
UNAVAILABLE = Verdict(VerdictKind.RETRY, "vendor.error", 503, "an error of its own", alone=True, reached=False)
BUSY = Verdict(VerdictKind.RETRY, "vendor.busy", 429, "more slowly", after_s=60.0, reached=False, not_received=True)
REFUSED = Verdict(VerdictKind.HOLD, "vendor.credentials_refused", 401, "refused", not_received=True)
INVALID = Verdict(VerdictKind.PARK, "vendor.rejected", 422, "refused", "ValidationError")
FIRST_S, MAX_S = 10.0, 900.0


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def vendor():
    return FakeVendor()


@pytest.fixture
def outbox(tmp_path):
    with open_outbox(tmp_path / "outbox.db") as outbox:
        yield outbox


class Drive:
    """A lane, its line, and what it told."""

    def __init__(self, outbox, vendor, clock, *, queue=None, settle_tag=None):
        self.clock, self.vendor, self.outbox = clock, vendor, outbox
        self.link = Link(
            VENDOR, "loyalty", requests_per_second=vendor.requests_per_second, backoff_first_s=FIRST_S,
            backoff_max_s=MAX_S, uniform=lambda _low, high: high,
        )  # fmt: skip
        self.told = Counter()

        self.lane = Lane(
            clock=clock,
            queue=queue or outbox,
            connector=vendor,
            link=self.link,
            settle_tag=settle_tag,
            corrected=self.link.corrected,
            policy=DispatchPolicy(flush_every_s=0.005, backoff_first_s=FIRST_S, backoff_max_s=MAX_S),
            uniform=lambda _low, high: high,
            told=lambda _vendor, verdict, _waited: self.told.update([verdict.kind]),
            changed=lambda: None,
        )
        self.link.on_change = self.lane.line_changed
        self.looks = 0
        self.lane._pause_s = self._looked  # asked for whenever the lane has nothing to do for now

    async def sell(self, count=1, *, prefix="sale", key=None, **changes):
        for number in range(count):
            own = key if key is not None else member_key(10_000_000 + number)
            await self.outbox.accept(acceptance(f"{prefix}-{number:03d}", key=own, **changes), self.clock.now())
        self.lane.wake()

    def states(self):
        rows = self.outbox._reader.execute("SELECT state, count(*) FROM deliveries GROUP BY state")
        return dict(rows.fetchall())

    def leased(self):
        return self.outbox._reader.execute("SELECT count(*) FROM deliveries WHERE lease_run IS NOT NULL").fetchone()[0]

    async def quiet(self):
        """Returns when the lane has looked around a few times without anything to do, or waits for its share."""
        while True:
            before, looks, still = (len(self.vendor.attempts), self.vendor.pings), self.looks, 0
            while self.looks < looks + 3 and still < 6:
                await asyncio.sleep(0.005)
                still += self.waits_for_share
            if (len(self.vendor.attempts), self.vendor.pings) == before:
                return

    @property
    def waits_for_share(self):
        return self.vendor.requests_per_second > 0

    def _looked(self):
        self.looks += 1
        return Lane._pause_s(self.lane)

    @contextlib.asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self.lane.run())
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.fixture
def drive(outbox, vendor, clock):
    return Drive(outbox, vendor, clock)


async def test_what_is_queued_goes_out(drive, vendor):
    """Each sale reaches the vendor once, and the line is known to be up."""
    await drive.sell(250)
    async with drive.running():
        await until(lambda: drive.states() == {"delivered": 250})
    assert len(vendor.taken) == len(vendor.attempts) == 250
    assert vendor.most_under_way == 4
    assert drive.link.state == "online"
    assert drive.told == {"done": 250}


# --- outages --------------------------------------------------------------------------------------------------


async def test_an_outage_uses_up_nothing(drive, vendor, clock):
    """For 72 hours nobody answers: nothing is parked or lost, few calls are made, and all goes in the end."""
    down = [OFFLINE, UNAVAILABLE, HANGS]
    await drive.sell(60)
    vendor.fault = Offline()
    async with drive.running():
        for hour in range(72):
            vendor.answer = lambda _outgoing, hour=hour: down[hour % 3]
            clock.advance(3_600)
            await drive.quiet()
            assert drive.states() == {"queued": 60}
        assert drive.link.state == "offline"
        calls = len(vendor.attempts) + vendor.pings
        assert calls < 72 * 20

        vendor.answer, vendor.fault = (lambda _outgoing: None), None
        for _ in range(3):
            clock.advance(MAX_S + 2)
            await drive.quiet()
        await until(lambda: drive.states() == {"delivered": 60})
    assert len(vendor.taken) == 60


async def test_the_breaker_lets_one_probe_through(drive, vendor, clock):
    """While the line is down one sale asks, not a batch; its success opens the way for all."""
    vendor.answer = lambda _outgoing: OFFLINE
    vendor.fault = Offline()
    await drive.sell(40)
    async with drive.running():
        await until(lambda: drive.link.state == "offline")
        await drive.quiet()
        before = len(vendor.attempts)
        clock.advance(MAX_S)
        await drive.quiet()
        assert len(vendor.attempts) == before + 1

        vendor.answer, vendor.fault = (lambda _outgoing: None), None
        clock.advance(MAX_S)
        await until(lambda: drive.states() == {"delivered": 40})


async def test_an_empty_lane_probes_with_a_ping(drive, vendor, clock):
    """With nothing to send the line is asked after, so that its state is known before the next sale."""
    vendor.fault = Offline()
    async with drive.running():
        for _ in range(4):
            await drive.quiet()
            clock.advance(MAX_S)
        assert drive.link.state == "offline"
        vendor.fault = None
        clock.advance(MAX_S)
        await until(lambda: drive.link.state == "online")


async def test_a_quiet_line_is_asked_after_now_and_then(drive, vendor, clock):
    """A ping each half minute without traffic, and none while sales go."""
    async with drive.running():
        await until(lambda: vendor.pings == 1)
        for _ in range(3):
            clock.advance(IDLE_PING_S - 1)
            await drive.sell(1, prefix=f"at-{round(clock.mono)}")
            await drive.quiet()
        assert vendor.pings == 1
        clock.advance(IDLE_PING_S)
        await until(lambda: vendor.pings == 2)


@pytest.mark.parametrize("lookup", [True, False], ids=["a look-up was answered", "a ping was answered"])
async def test_the_drain_begins_when_somebody_else_is_answered(drive, vendor, clock, lookup):
    """The lane does not wait its pause out when the vendor is known to answer again."""
    vendor.answer = lambda _outgoing: OFFLINE
    vendor.fault = Offline()
    await drive.sell(20)
    async with drive.running():
        for _ in range(6):
            clock.advance(MAX_S)
            await drive.quiet()
        vendor.answer, vendor.fault = (lambda _outgoing: None), None
        await drive.quiet()
        assert drive.states() == {"queued": 20}
        drive.link.worked(clock.now(), clock.monotonic(), lookup=lookup)
        await until(lambda: drive.states() == {"delivered": 20})


# --- hold -----------------------------------------------------------------------------------------------------


async def test_refused_credentials_hold_everything(drive, vendor, clock):
    """Nothing is dropped or parked, the lane shows held, and a new key lets all of it go."""
    vendor.answer = lambda _outgoing: REFUSED
    vendor.fault = VendorRefusedError()
    await drive.sell(30)
    async with drive.running():
        await until(lambda: drive.lane.held)
        for _ in range(5):
            clock.advance(30)
            await drive.quiet()
        info = drive.outbox.info(Dispatch([drive.lane]).held())
        assert (info.depth, info.held, info.parked) == (30, 30, 0)
        assert drive.link.state == "degraded"
        assert len(vendor.attempts) <= 4 + 5

        vendor.answer, vendor.fault = (lambda _outgoing: None), None
        clock.advance(60)
        await until(lambda: drive.states() == {"delivered": 30})
        assert not drive.lane.held
    assert drive.link.state == "online"


async def test_a_hold_ends_at_once_when_a_look_up_finds_the_new_key_good(drive, vendor, clock):
    """Somebody else's success with the credentials is as good as a probe."""
    vendor.answer = lambda _outgoing: REFUSED
    await drive.sell(5)
    async with drive.running():
        await until(lambda: drive.lane.held)
        vendor.answer = lambda _outgoing: None
        drive.link.worked(clock.now(), clock.monotonic(), lookup=True)
        await until(lambda: drive.states() == {"delivered": 5})


async def test_look_ups_that_work_hide_no_hold(drive, vendor, clock):
    """A key that is good for questions alone: what is held is told as refused, steadily, however often is asked."""
    vendor.answer = lambda _outgoing: REFUSED
    await drive.sell(5)
    async with drive.running():
        await until(lambda: drive.lane.held)
        since = drive.link.since
        for _ in range(3):
            tried = len(vendor.attempts)
            drive.link.worked(clock.now(), clock.monotonic(), lookup=True)
            assert (drive.link.state, drive.link.refuses) == ("degraded", True)
            await until(lambda tried=tried: len(vendor.attempts) > tried)
            clock.advance(1)
        assert drive.link.since == since


async def test_a_hold_lasts_as_long_as_the_vendor_asks(drive, vendor, clock):
    """A refusal that says when to come back is not probed before, whatever an admin orders; then it is."""
    vendor.answer = lambda _outgoing: replace(REFUSED, after_s=600.0)
    await drive.sell(5)
    async with drive.running():
        await until(lambda: drive.lane.held)
        await drive.quiet()
        tried = len(vendor.attempts)
        vendor.answer = lambda _outgoing: None
        for _ in range(9):
            clock.advance(60)
            await drive.lane.flush()
            await drive.quiet()
        assert (len(vendor.attempts), vendor.pings, drive.lane.held) == (tried, 0, True)
        usual, drive.lane._policy = drive.lane._policy, replace(drive.lane._policy, flush_every_s=90.0)
        assert Lane._pause_s(drive.lane) == pytest.approx(60.0), "it does not spin meanwhile"
        drive.lane._policy = usual

        clock.advance(61)
        await until(lambda: drive.states() == {"delivered": 5})
    assert not drive.lane.held


async def test_until_when_a_vendor_is_not_asked(drive, vendor, clock):
    """As long as it asked for, or as long as the pause after failures lasts; while it is asked, nobody knows."""
    dispatch = Dispatch([drive.lane])
    assert dispatch.rests() == {}
    vendor.answer = lambda _outgoing: BUSY
    await drive.sell(3)
    async with drive.running():
        await drive.quiet()
        assert dispatch.rests() == {VENDOR: clock.now() + timedelta(seconds=60)}
        clock.advance(20)
        assert dispatch.rests() == {VENDOR: clock.now() + timedelta(seconds=40)}
        dispatch.pause()
        assert dispatch.rests() == {}, "it is not known when somebody resumes"
        dispatch.resume()
        vendor.answer = lambda _outgoing: None
        clock.advance(41)
        await until(lambda: drive.states() == {"delivered": 3})
        assert dispatch.rests() == {}

        vendor.answer = lambda _outgoing: REFUSED
        await drive.sell(1, prefix="later")
        await until(lambda: drive.lane.held)
        await drive.quiet()
        assert dispatch.rests() == {VENDOR: clock.now() + timedelta(seconds=FIRST_S)}
    drive.link.silent(clock.now(), clock.monotonic(), after_s=5.0)
    clock.advance(FIRST_S * 2)
    assert drive.link.sending.allows(clock.monotonic()), "the probe is out"
    assert dispatch.rests() == {}


async def test_an_empty_held_lane_is_released_by_a_ping(drive, vendor, clock):
    """When nothing is left to probe with, a ping does."""
    vendor.fault = VendorRefusedError()
    async with drive.running():
        await until(lambda: drive.lane.held)
        vendor.fault = None
        clock.advance(60)
        await until(lambda: not drive.lane.held)


# --- one record -----------------------------------------------------------------------------------------------


async def test_one_refused_record_is_parked_and_the_rest_goes_on(drive, vendor):
    """499 of 500 arrive in the same run; the poison one is parked with the vendor's reason, and goes once mended."""
    vendor.answer = lambda outgoing: INVALID if outgoing.transaction.transaction_id == "sale-036" else None
    await drive.sell(500)
    async with drive.running():
        await until(lambda: drive.states() == {"delivered": 499, "parked": 1}, timeout_s=60)
        (delivery,) = drive.outbox.queue(state="parked", vendor=None, limit=9, after=0)
        assert (delivery.transaction_id, delivery.error_status) == ("sale-036", 422)
        assert delivery.vendor_code == "ValidationError"
        vendor.answer = lambda _outgoing: None
        await drive.outbox.retry(delivery.entry, drive.clock.now())
        drive.lane.wake()
        await until(lambda: drive.states() == {"delivered": 500})
    assert len(vendor.taken) == 500


async def test_a_record_that_alone_draws_server_errors_is_parked(drive, vendor, clock):
    """Its neighbours pass between its failures: it is the record, not an outage."""
    vendor.answer = lambda outgoing: UNAVAILABLE if outgoing.transaction.transaction_id == "poison" else None
    await drive.outbox.accept(acceptance("poison", key=member_key(1)), NOW)
    async with drive.running():
        for hour in range(ALONE_ATTEMPTS + 2):
            await drive.sell(3, prefix=f"hour-{hour}")
            await drive.quiet()
            clock.advance(3_600)
        await until(lambda: drive.states().get("parked") == 1)
    (delivery,) = drive.outbox.queue(state="parked", vendor=None, limit=9, after=0)
    assert (delivery.error_code, delivery.error_status) == ("vendor.rejected", 503)
    assert drive.states()["delivered"] == 3 * (ALONE_ATTEMPTS + 2)
    tries = sum(outgoing.transaction.transaction_id == "poison" for outgoing in vendor.attempts)
    assert ALONE_ATTEMPTS < tries <= 2 * (ALONE_ATTEMPTS + 1)


async def test_a_sale_that_waits_for_something_on_this_side_is_not_blamed(drive, vendor, clock):
    """However often, while all its neighbours pass: it backs off, the line is fine, and it goes when its time comes."""
    awaited = Verdict(VerdictKind.RETRY, "contact.awaited", awaits=True, not_received=True)
    vendor.answer = lambda outgoing: awaited if outgoing.transaction.transaction_id == "early" else None
    rounds = UNANSWERED_ATTEMPTS + 4
    await drive.outbox.accept(acceptance("early", key=member_key(1)), NOW)
    async with drive.running():
        for hour in range(rounds):
            await drive.sell(3, prefix=f"hour-{hour}")
            await drive.quiet()
            assert drive.states()["queued"] == 1
            assert drive.outbox.next_due_at(VENDOR, clock.now()) >= clock.now() + timedelta(seconds=FIRST_S)
            clock.advance(3_600)
        assert (drive.link.state, drive.lane.held) == ("online", False)
        vendor.answer = lambda _outgoing: None
        clock.advance(3_600)
        drive.lane.wake()
        await until(lambda: "queued" not in drive.states())
    tries = sum(outgoing.transaction.transaction_id == "early" for outgoing in vendor.attempts)
    assert rounds <= tries <= rounds + 2


async def test_a_record_that_fails_among_failing_ones_waits(drive, vendor, clock):
    """As long as nobody's sale passes it is an outage, however often it is tried."""
    vendor.answer = lambda _outgoing: UNAVAILABLE
    await drive.sell(3)
    async with drive.running():
        for _ in range(30):
            clock.advance(2 * MAX_S)
            await drive.quiet()
        assert drive.states() == {"queued": 3}
        assert max(outgoing.attempts for outgoing in vendor.attempts) > 3 * ALONE_ATTEMPTS


async def test_the_head_of_the_line_does_not_stand_in_the_way(drive, vendor, clock):
    """A poison record at the head does not keep the probe after an outage to itself."""
    vendor.answer = lambda _outgoing: UNAVAILABLE
    await drive.outbox.accept(acceptance("poison", key=member_key(1)), NOW)
    await drive.sell(10)
    async with drive.running():
        clock.advance(1)
        await drive.quiet()
        vendor.answer = lambda outgoing: UNAVAILABLE if outgoing.transaction.transaction_id == "poison" else None
        for _ in range(40):
            clock.advance(1)
            await drive.quiet()
        assert drive.states() == {"delivered": 10, "queued": 1}


async def test_a_mistake_of_ours_is_one_record_s_trouble(drive, vendor, clock):
    """A sale that makes the agent itself fail is set aside like a poison one; the lane lives."""
    vendor.answer = lambda outgoing: KeyError("boom") if outgoing.transaction.transaction_id == "odd" else None
    await drive.outbox.accept(acceptance("odd", key=member_key(1)), NOW)
    async with drive.running():
        for hour in range(ALONE_ATTEMPTS + 2):
            await drive.sell(2, prefix=f"hour-{hour}")
            await drive.quiet()
            clock.advance(3_600)
        await until(lambda: drive.states().get("parked") == 1)
    (delivery,) = drive.outbox.queue(state="parked", vendor=None, limit=9, after=0)
    assert (delivery.error_code, delivery.error_title) == ("agent.error", "The agent failed on this sale (KeyError).")


async def test_a_batch_of_one_that_is_too_large_is_parked(drive, vendor):
    """There is nothing left to split."""
    vendor.answer = lambda _outgoing: Verdict(
        VerdictKind.SPLIT, "vendor.too_large", 413, "too large", not_received=True
    )
    await drive.sell(1)
    async with drive.running():
        await until(lambda: drive.states() == {"parked": 1})


async def test_a_probe_that_never_reached_the_vendor_is_followed_by_a_ping(drive, vendor, clock):
    """A sale parked before it was sent proves nothing about the line; the breaker does not hang on it."""
    vendor.answer = lambda _outgoing: OFFLINE
    vendor.fault = Offline()
    await drive.sell(2)
    async with drive.running():
        await until(lambda: drive.link.state == "offline")
        await drive.quiet()
        vendor.fault = None
        vendor.answer = lambda outgoing: (
            Verdict(VerdictKind.PARK, "sale.without_member")
            if outgoing.transaction.transaction_id == "sale-000"
            else None
        )
        clock.advance(MAX_S)
        await until(lambda: drive.states() == {"parked": 1, "delivered": 1})


# --- pace -----------------------------------------------------------------------------------------------------


async def test_a_vendor_that_takes_a_sale_and_asks_to_be_spared(drive, vendor, clock):
    """The line is fine, and nothing is sent until the pause is over, not even by a flush."""
    vendor.answer = lambda _outgoing: replace(DONE, after_s=3.0)
    async with drive.running():
        await drive.sell(1, prefix="first")
        await until(lambda: drive.told[VerdictKind.DONE] == 1)
        vendor.answer = lambda _outgoing: None
        await drive.sell(2, prefix="second")
        await drive.quiet()
        await drive.lane.flush()
        await drive.quiet()
        assert (len(vendor.attempts), drive.link.state) == (1, "online")
        clock.advance(3.1)
        await until(lambda: len(vendor.taken) == 3)


async def test_an_idle_line_whose_questions_cost(drive, vendor, clock):
    """It is asked as rarely as its room says."""
    vendor.idle_ping_s = 3600.0
    async with drive.running():
        await until(lambda: vendor.pings == 1)
        clock.advance(3599)
        await drive.quiet()
        assert vendor.pings == 1
        clock.advance(2)
        await until(lambda: vendor.pings == 2)


async def test_retry_after_pauses_the_lane_whatever_anybody_asks(drive, vendor, clock):
    """The vendor's pause is kept even against a flush; after it everything goes."""
    vendor.answer = lambda _outgoing: BUSY
    await drive.sell(10)
    async with drive.running():
        await drive.quiet()
        before = len(vendor.attempts)
        vendor.answer = lambda _outgoing: None
        for _ in range(5):
            await drive.lane.flush()
            await drive.quiet()
            clock.advance(11)
        assert len(vendor.attempts) == before
        clock.advance(10)
        await until(lambda: drive.states() == {"delivered": 10})


async def test_a_flush_does_not_wait_for_back_offs(drive, vendor, clock):
    """Somebody asks for everything now: pauses of our own are given up."""
    vendor.answer = lambda _outgoing: UNAVAILABLE
    await drive.sell(3)
    async with drive.running():
        await until(lambda: drive.link.state == "offline")
        await drive.quiet()
        vendor.answer = lambda _outgoing: None
        await drive.lane.flush()
        await until(lambda: drive.states() == {"delivered": 3})


async def test_what_may_have_arrived_is_left_alone_for_a_while(drive, vendor, clock):
    """The vendor may still be at work on it: looked for at once it is not there yet, and there twice in the end."""
    answers = iter([HANGS])
    vendor.answer = lambda _outgoing: next(answers, None)
    await drive.sell(1)
    async with drive.running():
        await until(lambda: len(vendor.attempts) == 1)
        await drive.sell(3, prefix="later", key=member_key(20_000_000))
        await until(lambda: drive.states() == {"queued": 1, "delivered": 3})
        clock.advance(FIRST_S - 1)
        drive.lane.wake()
        await drive.quiet()
        assert drive.states() == {"queued": 1, "delivered": 3}
        clock.advance(1)
        drive.lane.wake()
        await until(lambda: drive.states() == {"delivered": 4})


async def test_nor_does_the_line_s_return_hurry_it(drive, vendor, clock):
    """The probe that was not answered may be there as well; a person's flush is a person's decision."""
    vendor.answer, vendor.fault = (lambda _outgoing: HANGS), Offline()
    await drive.sell(1)
    async with drive.running():
        await until(lambda: drive.link.state == "offline")
        for _ in range(4):
            clock.advance(MAX_S)
            await drive.quiet()
        vendor.answer, vendor.fault = (lambda _outgoing: None), None
        tried = len(vendor.attempts)
        drive.link.worked(clock.now(), clock.monotonic())
        await drive.quiet()
        assert len(vendor.attempts) == tried
        clock.advance(FIRST_S)
        await until(lambda: drive.states() == {"delivered": 1})


async def test_the_share_of_the_allowance_is_kept(outbox, clock):
    """No more calls go out than the bucket allows: a second's share at once, then the rate."""
    vendor = FakeVendor(rate=5.0)
    drive = Drive(outbox, vendor, clock)
    await drive.sell(40)
    async with drive.running():
        await drive.quiet()
        assert len(vendor.attempts) == 5
        for second in range(1, 5):
            clock.advance(1.0)
            await until(lambda second=second: len(vendor.attempts) == 5 + 5 * second)
            await asyncio.sleep(0.02)
            assert len(vendor.attempts) == 5 + 5 * second


async def test_at_a_known_pace_little_is_leased_ahead(outbox, clock):
    """A power cut leaves few sales that may have arrived."""
    vendor = FakeVendor(rate=5.0)
    drive = Drive(outbox, vendor, clock)
    await drive.sell(100)
    async with drive.running():
        await drive.quiet()
        assert 0 < drive.leased() <= 20


async def test_a_vendor_that_asks_for_less_gets_less(outbox, clock):
    """Each 429 halves the pace; deliveries bring it back, and never beyond the agent's share."""
    vendor = FakeVendor(rate=8.0)
    drive = Drive(outbox, vendor, clock)
    vendor.answer = lambda _outgoing: BUSY
    await drive.sell(1)
    async with drive.running():
        await until(lambda: drive.link.bucket.rate == 4.0)
        vendor.answer = lambda _outgoing: None
        clock.advance(61)
        await until(lambda: drive.states() == {"delivered": 1})
        await drive.sell(100, prefix="more")
        while drive.states().get("queued"):
            clock.advance(1)
            await asyncio.sleep(0.005)
    assert drive.link.bucket.rate == 8.0


async def test_pause_and_resume(drive, vendor):
    """Paused, nothing is sent and nothing is leased; resumed, everything goes."""
    drive.lane.pause()
    await drive.sell(5)
    async with drive.running():
        await drive.quiet()
        assert (vendor.attempts, vendor.pings, drive.leased()) == ([], 0, 0)
        drive.lane.resume()
        await until(lambda: drive.states() == {"delivered": 5})


async def test_a_pause_in_the_middle_gives_the_rest_back(drive, vendor):
    """What is on its way arrives; the others are queued and unleased."""
    vendor.gate.clear()
    await drive.sell(50)
    async with drive.running():
        await until(lambda: vendor.under_way == 4)
        drive.lane.pause()
        vendor.gate.set()
        await until(lambda: drive.states() == {"delivered": 4, "queued": 46})
        await until(lambda: drive.leased() == 0)


# --- order ----------------------------------------------------------------------------------------------------


async def test_one_person_s_sales_keep_their_order(drive, vendor):
    """Over four connections, and with a failure now and then, nobody's sale overtakes an earlier one of theirs."""
    failures = iter([OFFLINE] * 3)
    vendor.answer = lambda outgoing: (
        next(failures, None) if outgoing.transaction.transaction_id.endswith("007") else None
    )
    for number in range(120):
        await drive.outbox.accept(acceptance(f"sale-{number:03d}", key=member_key(number % 3)), NOW)
    async with drive.running():
        while drive.states() != {"delivered": 120}:
            drive.clock.advance(MAX_S)
            await drive.quiet()
    order = list(vendor.taken)
    for person in range(3):
        own = [name for name in order if int(name[-3:]) % 3 == person]
        assert own == sorted(own)


async def test_a_return_arrives_after_its_purchase(drive, vendor):
    """Whatever fails in between."""
    vendor.answer = lambda outgoing: INVALID if outgoing.transaction.type == "purchase" else None
    await drive.outbox.accept(acceptance("sale", key=member_key(1)), NOW)
    record = acceptance("return", key=member_key(2), type="return", original_transaction_id="sale")
    await drive.outbox.accept(record, NOW)
    async with drive.running():
        await until(lambda: drive.states() == {"parked": 1, "queued": 1})
        await drive.quiet()
        vendor.answer = lambda _outgoing: None
        await drive.outbox.retry(1, drive.clock.now())
        await until(lambda: drive.states() == {"delivered": 2})
    assert list(vendor.taken) == ["sale", "return"]


async def test_how_far_the_vendor_s_clock_is(drive, vendor):
    """A sale carries its time by the vendor's clock, and how far that is from ours, so that both are by one clock."""
    seen = []
    vendor.answer = lambda outgoing: seen.append((outgoing.corrected_at - NOW, outgoing.skew))
    drive.link.heard_time(1000.0)
    await drive.sell(occurred_at=NOW.isoformat())
    async with drive.running():
        await until(lambda: drive.states() == {"delivered": 1})
    assert seen == [(timedelta(seconds=1000), timedelta(seconds=1000))]


# --- the tag at the last moment -------------------------------------------------------------------------------


async def test_a_settled_tag_is_on_disk_before_it_is_sent(outbox, vendor, clock):
    """What the vendor gets and what the outbox says are the same, even if the power fails in between."""
    seen = []

    async def settle_tag(outgoing):
        return replace(outgoing, key=member_key(42))

    def answer(_outgoing):
        seen.append(outbox.story("sale").key_type)

    vendor.answer = answer
    drive = Drive(outbox, vendor, clock, settle_tag=settle_tag)
    await outbox.accept(acceptance("sale", key=phone_key(), readings=(phone(),), open_=True), NOW)
    async with drive.running():
        await until(lambda: drive.states() == {"delivered": 1})
    assert seen == ["member_number"]
    assert vendor.taken == {"sale": member_key(42)}


async def test_a_verdict_of_the_buffer_is_settled_without_sending(outbox, vendor, clock):
    """A sale that must wait or be parked is not sent, and the vendor cannot have it."""

    async def settle_tag(_outgoing):
        return Verdict(VerdictKind.PARK, "contact.unknown", title="unknown")

    drive = Drive(outbox, vendor, clock, settle_tag=settle_tag)
    await drive.sell(1)
    async with drive.running():
        await until(lambda: drive.states() == {"parked": 1})
    assert vendor.attempts == []
    assert outbox._reader.execute("SELECT maybe_received FROM deliveries").fetchone()[0] == 0


# --- the end, and the disk ------------------------------------------------------------------------------------


async def test_a_stop_in_the_middle_leaves_nothing_leased(drive, vendor):
    """What was on its way may have arrived; what was not is as if it had never been tried."""
    vendor.gate.clear()
    await drive.sell(20)
    async with drive.running():
        await until(lambda: vendor.under_way == 4)
    rows = drive.outbox._reader.execute("SELECT state, maybe_received, attempts, lease_run FROM deliveries").fetchall()
    assert Counter(tuple(row) for row in rows) == {("queued", 1, 1, None): 4, ("queued", 0, 0, None): 16}


async def test_a_stop_before_an_open_sale_was_sent_leaves_it_open(outbox, vendor, clock):
    """Stopped while the vendor was being asked who it is, the tag may still rise later."""
    asked = asyncio.Event()

    async def settle_tag(_outgoing):
        asked.set()
        await asyncio.Event().wait()

    drive = Drive(outbox, vendor, clock, settle_tag=settle_tag)
    await outbox.accept(acceptance("sale", key=phone_key(), readings=(phone(),), open_=True), NOW)
    async with drive.running():
        await asyncio.wait_for(asked.wait(), 30)
    row = outbox._reader.execute("SELECT open, maybe_received, attempts, lease_run FROM deliveries").fetchone()
    assert tuple(row) == (1, 0, 0, None)


async def test_the_next_run_sends_again_what_may_have_arrived(tmp_path, vendor, clock):
    """A kill after the vendor took it: the next run sends the same id, and the vendor has it once."""
    path = tmp_path / "killed.db"
    with open_outbox(path, run="one") as outbox:
        await outbox.accept(acceptance("sale", key=member_key(1)), NOW)
        (outgoing,) = await outbox.lease(VENDOR, 1, NOW)
        await vendor.send([outgoing])
    with open_outbox(path, run="two") as outbox:
        drive = Drive(outbox, vendor, clock)
        async with drive.running():
            await until(lambda: drive.states() == {"delivered": 1})
    assert [attempt.maybe_received for attempt in vendor.attempts] == [False, True]
    assert len(vendor.taken) == 1


class FullDisk:
    """The outbox, except that some of its writes fail while ``full``."""

    def __init__(self, outbox, *methods):
        self.outbox, self.methods, self.full, self.refused = outbox, methods, False, 0

    def __getattr__(self, name):
        method = getattr(self.outbox, name)
        if name not in self.methods:
            return method

        async def write(*arguments):
            if self.full:
                self.refused += 1
                raise StorageFullError
            return await method(*arguments)

        return write


async def test_verdicts_that_cannot_be_written_are_kept(outbox, vendor, clock):
    """The disk fills up while sales are on their way: the lane lives, sends no more, and writes them down later."""
    disk = FullDisk(outbox, "settle", "release")
    drive = Drive(outbox, vendor, clock, queue=disk)
    vendor.gate.clear()
    await drive.sell(30)
    async with drive.running():
        await until(lambda: vendor.under_way == 4)
        disk.full = True
        vendor.gate.set()
        await until(lambda: disk.refused > 20)
        assert len(vendor.attempts) <= 8  # a connection takes the next sale before the last one's commit is known
        disk.full = False
        await until(lambda: drive.states() == {"delivered": 30})
    assert len(vendor.attempts) == 30


async def test_a_tag_that_cannot_be_written_is_not_sent(outbox, vendor, clock):
    """Nothing leaves under a tag that is not on disk."""
    disk = FullDisk(outbox, "sending", "retag")
    disk.full = True
    drive = Drive(outbox, vendor, clock, queue=disk)
    await drive.sell(3, readings=(phone(),), open_=True)
    async with drive.running():
        await until(lambda: disk.refused > 5)
        assert vendor.attempts == []
        disk.full = False
        await until(lambda: drive.states() == {"delivered": 3})


async def test_a_stop_with_a_full_disk_ends(outbox, vendor, clock):
    """Even when nothing can be given back the lane ends; the next run takes the leases back."""
    disk = FullDisk(outbox, "settle", "release")
    drive = Drive(outbox, vendor, clock, queue=disk)
    vendor.gate.clear()
    await drive.sell(10)
    async with asyncio.timeout(30), drive.running():
        await until(lambda: vendor.under_way == 4)
        disk.full = True
    assert drive.leased() == 10


async def test_a_lease_that_failed_and_stands_all_the_same_is_taken_back(outbox, vendor, clock):
    """A bad disk says no to what it has carried out: nobody knows of the lease, and its sales go out nevertheless."""

    class LyingDisk(FullDisk):
        async def lease(self, *arguments):
            batch = await outbox.lease(*arguments)
            if batch and not self.refused:
                self.refused += 1
                raise StorageError("the disk has an error")
            return batch

    disk = LyingDisk(outbox)
    drive = Drive(outbox, vendor, clock, queue=disk)
    await drive.sell(10)
    async with drive.running():
        await until(lambda: drive.states() == {"delivered": 10})
    assert disk.refused == 1
    assert len(vendor.attempts) == 10


async def test_an_outbox_that_cannot_be_leased_from_is_looked_at_again(outbox, vendor, clock):
    """Also in the middle of a probe: the breaker does not wait for an outcome that will not come."""
    disk = FullDisk(outbox, "lease")
    drive = Drive(outbox, vendor, clock, queue=disk)
    vendor.answer = lambda _outgoing: OFFLINE
    vendor.fault = Offline()
    await drive.sell(3)
    async with drive.running():
        await until(lambda: drive.link.state == "offline")
        await drive.quiet()
        disk.full = True
        clock.advance(MAX_S)
        await until(lambda: disk.refused > 0)
        disk.full, vendor.answer, vendor.fault = False, (lambda _outgoing: None), None
        clock.advance(MAX_S / 2)
        await until(lambda: drive.states() == {"delivered": 3})


async def test_lanes_do_not_delay_each_other(tmp_path, clock):
    """One vendor hangs, the other one's sales go out."""
    with open_outbox(tmp_path / "two.db") as outbox:
        slow, fast = FakeVendor(name="slow"), FakeVendor(name="fast")
        slow.gate.clear()
        drives = [Drive(outbox, slow, clock), Drive(outbox, fast, clock)]
        for drive, vendor in zip(drives, (slow, fast), strict=True):
            drive.link.vendor = vendor.name
        dispatch = Dispatch([drive.lane for drive in drives])
        for number in range(10):
            await outbox.accept(acceptance(f"sale-{number}", vendors=("slow", "fast")), NOW)
        running = [asyncio.create_task(lane.run()) for lane in dispatch.lanes]
        dispatch.wake()
        await until(lambda: len(fast.taken) == 10)
        assert slow.taken == {}
        dispatch.pause()
        slow.gate.set()
        await until(lambda: len(slow.taken) == 4)
        dispatch.resume()
        await dispatch.flush()
        await until(lambda: len(slow.taken) == 10)
        assert dispatch.held() == frozenset()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_a_back_off_ends_by_itself(drive, vendor, clock):
    """A record that waits alone goes when its time has come, without anybody's wake."""
    answers = iter([Verdict(VerdictKind.RETRY, "contact.busy", alone=True, not_received=True)])
    vendor.answer = lambda _outgoing: next(answers, None)
    await drive.sell(1)
    async with drive.running():
        await until(lambda: len(vendor.attempts) == 1)
        await until(lambda: drive.outbox.next_due_at(VENDOR, clock.now()) is not None)
        assert drive.outbox.next_due_at(VENDOR, clock.now()) >= clock.now() + timedelta(seconds=FIRST_S)
        clock.advance(FIRST_S + 2)
        await until(lambda: drive.states() == {"delivered": 1})


@pytest.mark.parametrize(
    "verdict",
    [
        replace(OFFLINE, not_received=False),
        Verdict(VerdictKind.RETRY, "vendor.unreadable", 200, "Something else answered.", reached=False),
        REFUSED,
    ],
    ids=["cut off", "unreadable", "refused as if it were the key"],
)
async def test_one_record_at_the_head_does_not_stop_the_line(drive, vendor, clock, verdict):
    """Whatever a single sale draws, those behind it go out: the next probe takes another record."""
    vendor.answer = lambda outgoing: verdict if outgoing.transaction.transaction_id == "bad-000" else None
    await drive.sell(1, prefix="bad", key=member_key("1"))
    await drive.sell(20)
    async with drive.running():
        for _ in range(60):
            if drive.states().get("delivered") == 20:
                break
            clock.advance(MAX_S + 2)
            await drive.quiet()
        assert drive.states()["delivered"] == 20


async def test_a_halted_lane_has_nothing_on_its_way(drive, vendor):
    """Whoever halts it waits for what is on its way; the rest of the batch is given back, and goes afterwards."""
    vendor.connections = 1
    await drive.sell(5)
    vendor.gate.clear()
    async with drive.running():
        await until(lambda: vendor.under_way == 1)
        entered = asyncio.Event()

        async def halt():
            async with drive.lane.halted():
                entered.set()
                assert (vendor.under_way, drive.leased()) == (0, 0)
                assert drive.states() == {"delivered": 1, "queued": 4}
                drive.lane.wake()
                await asyncio.sleep(0.05)
                assert len(vendor.attempts) == 1

        halting = asyncio.create_task(halt())
        await asyncio.sleep(0.05)
        assert not entered.is_set(), "one is on its way still"
        vendor.gate.set()
        await halting
        await until(lambda: drive.states() == {"delivered": 5})
    assert [outgoing.transaction.transaction_id for outgoing in vendor.attempts] == [f"sale-{n:03d}" for n in range(5)]


async def test_a_lane_may_be_halted_before_it_runs(drive, vendor):
    """An idle lane is halted at once, and two who halt it take turns."""
    order = []

    async def halt(name):
        async with Dispatch([drive.lane]).halted():
            order.append(name)
            await asyncio.sleep(0)
            order.append(name)

    await asyncio.gather(halt("a"), halt("b"))
    assert order == ["a", "a", "b", "b"]
    await drive.sell()
    async with drive.running():
        await until(lambda: drive.states() == {"delivered": 1})


async def test_a_probe_is_not_sent_while_it_is_halted(drive, vendor, clock):
    """Not even the one record that a held lane tries."""
    vendor.answer = lambda _outgoing: REFUSED
    await drive.sell(2)
    async with drive.running():
        await until(lambda: drive.lane.held)
        await drive.quiet()
        async with drive.lane.halted():
            clock.advance(MAX_S)
            drive.lane.wake()
            before = len(vendor.attempts)
            await asyncio.sleep(0.05)
            assert len(vendor.attempts) == before
        await until(lambda: len(vendor.attempts) > before)
