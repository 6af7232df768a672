"""The audit trail as the running agent keeps it."""

from __future__ import annotations

import asyncio

import pytest

from agent.domain.audit import head_of
from agent.services.audit import Audit
from agent.store.audit import AuditAnchor, AuditTrail
from tests.fakes import NOW, FakeClock, open_outbox


class Bench:
    def __init__(self, directory, outbox):
        self.path = directory / "audit.jsonl"
        self.trail, self.anchor = AuditTrail(directory), AuditAnchor(outbox._writer, outbox._reader)
        self.intact = []
        self.audit = Audit(clock=FakeClock(), trail=self.trail, anchor=self.anchor, told=self.intact.append)

    def lines(self):
        return self.path.read_bytes().splitlines()

    def command(self, name):
        """A command records something while no agent runs."""
        return self.trail.append("token.added", NOW, {"name": name, "scope": "pos"})


@pytest.fixture
def bench(tmp_path):
    with open_outbox(tmp_path / "outbox.db") as outbox:
        yield Bench(tmp_path, outbox)


async def test_each_entry_is_anchored(bench):
    """What is recorded stands in the trail and is noted in the outbox before the caller goes on."""
    heads = await asyncio.gather(*(bench.audit.record("queue.retried", by="cli", entry=n) for n in range(20)))
    assert sorted(head.seq for head in heads) == list(range(1, 21))
    assert bench.anchor.load() == head_of(bench.lines()[-1])
    assert (await bench.audit.check()).intact
    assert bench.intact == [True]


async def test_what_commands_recorded_is_anchored_by_the_next_look(bench):
    """A trail that goes on beyond its anchor is whole, and the anchor follows."""
    await bench.audit.record("key.rotated")
    head = bench.command("pos-2")
    assert (await bench.audit.check()).intact
    assert bench.anchor.load() == head


async def test_a_trail_without_an_anchor(bench):
    """A new outbox notes the end that it finds."""
    head = bench.command("pos-1")
    assert (await bench.audit.check()).intact
    assert bench.anchor.load() == head


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda lines: lines[:-1], "cut"),
        (lambda lines: [], "cut"),
        (lambda lines: [lines[0], lines[1].replace(b'"entry":1', b'"entry":7'), lines[2]], "altered"),
        (lambda lines: [*lines[:2], lines[2].replace(b'"entry":2', b'"entry":7')], "altered"),
    ],
    ids=["the last entry is gone", "the trail is gone", "an entry was changed", "the last entry was changed"],
)
async def test_a_fault_is_told_and_recorded_once(bench, change, fault):
    """A trail that was cut or changed is told; the trail itself says so from then on, once, and goes on."""
    for number in range(3):
        await bench.audit.record("queue.retried", by="cli", entry=number)
    bench.path.write_bytes(b"".join(line + b"\n" for line in change(bench.lines())))
    found = await bench.audit.check()
    await bench.audit.check()
    await bench.audit.record("key.rotated")

    assert found.fault == fault
    assert bench.intact[0] is False
    broken = [entry for entry in bench.trail.entries() if entry["event"] == "audit.broken"]
    assert [(entry["fault"], entry["at_seq"]) for entry in broken] == [(fault, found.at_seq)]
    assert (await bench.audit.check()).incidents == 1


async def test_the_trail_has_an_end(bench):
    """Entries older than retention says are dropped, and the anchor goes along."""
    await bench.audit.record("key.rotated")
    await bench.audit.trim(NOW)
    assert len(bench.lines()) == 1
    bench.audit._clock.advance(86_400)
    await bench.audit.trim(bench.audit._clock.now())
    assert [entry["event"] for entry in bench.trail.entries()] == ["audit.trimmed"]
    assert bench.anchor.load() == head_of(bench.lines()[-1])
    assert (await bench.audit.check()).intact


async def test_entries_about_sales(bench):
    """What was done to certain sales and activities is found for whoever exports them; their ids are told apart."""
    await bench.audit.record("queue.retried", by="cli", entry=1, transaction_id="s-1")
    await bench.audit.record("queue.discarded", by="cli", entry=2, transaction_id="s-2")
    await bench.audit.record("queue.retried", by="cli", entry=3, activity_id="s-2")
    await bench.audit.record("queue.retried", by="cli", entry=4, activity_id="a-1")
    found = await bench.audit.of_records({"s-2", "s-3"}, {"a-1", "s-1"})
    assert [(entry["event"], entry["entry"]) for entry in found] == [("queue.discarded", 2), ("queue.retried", 4)]
