"""The lane to a vendor that takes several sales in one call: each has its own fate, and none drags others along."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from agent.domain.delivery import Verdict, VerdictKind
from tests.fakes import NOW, FakeClock, FakeVendor, acceptance, member_key, open_outbox, phone, phone_key, until
from tests.services.test_dispatch import BUSY, FIRST_S, HANGS, INVALID, MAX_S, REFUSED, UNAVAILABLE, Drive

TOO_LARGE = Verdict(VerdictKind.SPLIT, "vendor.too_large", 413, "is too large")


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def vendor():
    return FakeVendor(batch_size=50, connections=2)


@pytest.fixture
def outbox(tmp_path):
    with open_outbox(tmp_path / "outbox.db") as outbox:
        yield outbox


@pytest.fixture
def drive(outbox, vendor, clock):
    return Drive(outbox, vendor, clock)


def times_sent(vendor):
    return Counter(name for call in vendor.calls for name in call)


def poisoned(name, verdict):
    """A vendor that refuses every call which that sale is in."""
    return lambda batch: verdict if any(out.transaction.transaction_id == name for out in batch) else None


async def test_calls_are_filled(drive, vendor):
    """A queue goes out in as few calls as its size allows, each sale once, in the order of the queue."""
    await drive.sell(250)
    async with drive.running():
        await until(lambda: drive.states() == {"delivered": 250})
    assert len(vendor.calls) == 5
    assert set(times_sent(vendor).values()) == {1}
    assert all(call == sorted(call) for call in vendor.calls)


async def test_a_call_holds_one_sale_of_a_person(drive, vendor):
    """The next one goes when the vendor has taken it, and not before."""
    for number in range(4):
        await drive.sell(3, prefix=f"round-{number}")
    async with drive.running():
        await until(lambda: drive.states() == {"delivered": 12})
    order = [name for call in vendor.calls for name in call]
    for person in range(3):
        assert [name for name in order if name.endswith(f"-00{person}")] == [
            f"round-{number}-00{person}" for number in range(4)
        ]
    for call in vendor.calls:
        assert len({name[-3:] for name in call}) == len(call)


async def test_a_person_s_next_sale_waits_for_one_that_failed(drive, vendor, clock):
    """The others of the call are delivered meanwhile."""
    await drive.sell(3, prefix="first")
    await drive.sell(3, prefix="second")
    vendor.answer = lambda out: UNAVAILABLE if out.transaction.transaction_id == "first-001" else None
    async with drive.running():
        await until(lambda: drive.states() == {"delivered": 4, "queued": 2})
        assert "second-001" not in times_sent(vendor)
        vendor.answer = lambda _out: None
        clock.advance(MAX_S + 2)
        await until(lambda: drive.states() == {"delivered": 6})
    assert list(vendor.taken).index("first-001") < list(vendor.taken).index("second-001")


@pytest.mark.parametrize("where", [0, 17, 49], ids=["first", "in the middle", "last"])
async def test_one_sale_that_spoils_a_call_is_found_by_halving(drive, vendor, where):
    """It alone is parked, in a handful of calls; the other 49 are delivered, each once."""
    bad = f"sale-{where:03d}"
    vendor.of_call = poisoned(bad, TOO_LARGE)
    await drive.sell(50)
    async with drive.running():
        await until(lambda: drive.states() == {"delivered": 49, "parked": 1})
    assert len(vendor.calls) <= 13  # 1 + 2 for each halving
    assert bad not in vendor.taken
    assert len(vendor.taken) == 49
    assert [entry.transaction_id for entry in drive.outbox.queue(state="parked", vendor=None, limit=9, after=0)] == [
        bad
    ]
    assert drive.link.state == "online"


async def test_a_refused_part_of_a_call_is_sent_again_in_halves(drive, vendor):
    """What the vendor did take of it is not sent again."""
    vendor.answer = lambda out: (
        TOO_LARGE if len(vendor.calls) == 1 and out.transaction.transaction_id >= "sale-030" else None
    )
    await drive.sell(40)
    async with drive.running():
        await until(lambda: drive.states() == {"delivered": 40})
    assert [len(call) for call in vendor.calls] == [40, 5, 5]


async def test_a_sale_that_makes_every_call_fail_travels_alone_and_is_parked(drive, vendor, clock):
    """Those that were in a call with it are not to blame: they go by themselves once, and are delivered."""
    vendor.of_call = poisoned("sale-007", UNAVAILABLE)
    await drive.sell(50)
    async with drive.running():
        for number in range(60):
            if drive.states().get("parked"):
                break
            await drive.sell(40, prefix=f"more-{number:02d}")
            clock.advance(MAX_S + 2)
            await drive.quiet()
        await until(lambda: drive.states().get("queued", 0) == 0)
        assert drive.states()["parked"] == 1
    assert "sale-007" not in vendor.taken
    together = [call for call in vendor.calls if "sale-007" in call and len(call) > 1]
    assert len(together) == 1
    assert max(count for name, count in times_sent(vendor).items() if name != "sale-007") <= 3


async def test_a_call_that_fails_is_one_failure(drive, vendor, clock):
    """Fifty sales in it do not make fifty: the line is still tried, and only a second call shuts it."""
    calls = iter([HANGS])
    vendor.of_call = lambda _batch: next(calls, None)
    await drive.sell(50)
    async with drive.running():
        await until(lambda: drive.states() == {"queued": 50} and len(vendor.calls) == 1)
        await drive.sell(5, prefix="later", key=member_key(20_000_000))
        await until(lambda: drive.states() == {"queued": 50, "delivered": 5})
        assert drive.link.state == "online"
        clock.advance(FIRST_S + 2)
        await until(lambda: drive.states() == {"delivered": 55})
    assert len(vendor.calls[0]) == 50


async def test_a_refused_credential_holds_what_the_call_did_not_deliver(drive, vendor, clock):
    """What was taken before it stays delivered; the rest waits and nothing is sent but probes."""
    vendor.answer = lambda out: REFUSED if out.transaction.transaction_id >= "sale-020" else None
    await drive.sell(30)
    async with drive.running():
        await until(lambda: drive.lane.held)
        await drive.quiet()
        assert drive.states() == {"delivered": 20, "queued": 10}
        vendor.answer = lambda _out: None
        clock.advance(MAX_S + 2)
        await until(lambda: drive.states() == {"delivered": 30})
    assert not drive.lane.held


async def test_a_pause_asked_for_within_a_call_is_kept(outbox, clock):
    """Some of a call were taken and for the others the vendor asks for patience: the pace is halved once."""
    vendor = FakeVendor(batch_size=10, connections=1, rate=40.0)
    drive = Drive(outbox, vendor, clock)
    vendor.answer = lambda out: BUSY if out.transaction.transaction_id >= "sale-005" else None
    await drive.sell(10)
    async with drive.running():
        await until(lambda: drive.states() == {"delivered": 5, "queued": 5})
        await drive.quiet()
        assert drive.link.bucket.rate == 20.0
        assert drive.link.sending.pause_s(clock.monotonic()) > 50
        calls = len(vendor.calls)
        clock.advance(30)
        await drive.quiet()
        assert len(vendor.calls) == calls
        vendor.answer = lambda _out: None
        for _ in range(3):
            clock.advance(60)
            await drive.quiet()
        await until(lambda: drive.states() == {"delivered": 10})
    assert len(vendor.taken) == 10


async def test_records_that_are_refused_by_name_are_parked_alone(drive, vendor):
    """The vendor's words are each record's own."""
    vendor.answer = lambda out: INVALID if out.transaction.transaction_id in ("sale-003", "sale-004") else None
    await drive.sell(20)
    async with drive.running():
        await until(lambda: drive.states() == {"delivered": 18, "parked": 2})
    assert len(vendor.calls) == 1


async def test_a_room_that_answers_for_too_few_loses_nothing(drive, vendor, clock):
    """A mistake of ours: all of the call may have arrived, and is sent again."""
    send, wrong = vendor.send, [True]

    async def short(batch):
        verdicts = await send(batch)
        return verdicts[:-1] if wrong and wrong.pop() else verdicts

    vendor.send = short
    await drive.sell(5)
    async with drive.running():
        await drive.quiet()
        assert drive.states() == {"queued": 5}
        clock.advance(MAX_S + 2)
        await until(lambda: drive.states() == {"delivered": 5})
    assert all(outgoing.maybe_received for outgoing in vendor.attempts[5:])


async def test_a_stopped_agent_knows_which_of_a_call_may_have_arrived(outbox, vendor, clock):
    """Those whose tag was settled and sent; one that the buffer kept back is as it was."""
    vendor.gate.clear()
    unknown = Verdict(VerdictKind.PARK, "contact.unknown", not_received=True)

    async def settle_tag(outgoing):
        if outgoing.key == phone_key(1):
            return unknown
        return replace(outgoing, key=member_key()) if outgoing.key == phone_key(2) else outgoing

    drive = Drive(outbox, vendor, clock, settle_tag=settle_tag)
    for number in (1, 2, 3):
        record = acceptance(f"sale-{number}", key=phone_key(number), readings=(phone(number),), open_=True)
        await outbox.accept(record, NOW)
    async with drive.running():
        await until(lambda: vendor.under_way == 1)
    rows = outbox._reader.execute("SELECT entry, open, sending, maybe_received, lease_run FROM deliveries ORDER BY 1")
    assert [tuple(row) for row in rows.fetchall()] == [(1, 1, 0, 0, None), (2, 0, 0, 1, None), (3, 1, 0, 1, None)]


async def test_who_cannot_be_asked_about_one_is_not_asked_about_the_next(outbox, vendor, clock):
    """The line fails while a call's tags are settled: one question, and every sale keeps its place."""
    asked = []

    async def settle_tag(outgoing):
        asked.append(outgoing.entry)
        return replace(HANGS, not_received=True)

    drive = Drive(outbox, vendor, clock, settle_tag=settle_tag)
    for number in range(20):
        record = acceptance(f"sale-{number}", key=phone_key(number), readings=(phone(number),), open_=True)
        await outbox.accept(record, NOW)
    async with drive.running():
        await until(lambda: len(asked) >= 1)
        await drive.quiet()
    assert len(asked) <= 3
    assert drive.states() == {"queued": 20}
    assert vendor.calls == []


async def test_what_is_leased_is_what_goes_out_in_seconds(outbox, clock):
    """At a known pace calls count, not sales; and never more than the connections can hold at once."""
    vendor = FakeVendor(batch_size=100, connections=2, rate=5.0)
    drive = Drive(outbox, vendor, clock)
    vendor.gate.clear()
    await drive.sell(450)
    async with drive.running():
        await until(lambda: vendor.under_way == 2)
        assert drive.leased() == 200
        vendor.gate.set()
        async with asyncio.timeout(30):
            while drive.states() != {"delivered": 450}:
                clock.advance(FIRST_S)
                await asyncio.sleep(0.01)
