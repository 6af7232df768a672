"""The outbox against a model in plain Python, over random days at a till.

Whatever the order of sales, voids, leases, verdicts, kills, purges and people's decisions: nothing vanishes, nothing
is delivered twice, what is handed out is what the model says, in its order, and the figures are the counts.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.retention import RetentionPlan
from agent.errors import ConflictError, UnderWayError, UnknownRecordError
from agent.ports import Settled
from agent.store import numbering
from tests.fakes import NOW, VENDOR, acceptance, member_key, open_outbox, phone, phone_key

VERDICTS = {
    "done": Verdict(VerdictKind.DONE, status=200),
    "refused": Verdict(VerdictKind.RETRY, "vendor.offline", reached=False, not_received=True),
    "cut": Verdict(VerdictKind.RETRY, "vendor.offline", reached=False),
    "hold": Verdict(VerdictKind.HOLD, "vendor.credentials_refused", 401, not_received=True),
    "park": Verdict(VerdictKind.PARK, "vendor.rejected", 422),
    "doubt": Verdict(VerdictKind.IN_DOUBT, "vendor.silent", reached=False),
}
AFTER = {"done": "delivered", "park": "parked", "doubt": "in_doubt"}
UNFINISHED = ("queued", "parked", "in_doubt")
DELIVERED, UNDELIVERED = timedelta(hours=24), timedelta(days=30)


@dataclass
class Sale:
    """What the model knows of a sale with one delivery."""

    number: int
    kind: str
    person: str | None
    rank: int
    original: Sale | None
    accepted_at: datetime
    open: bool
    state: str = "queued"
    leased: bool = False
    maybe_received: bool = False
    attempts: int = 0
    due_at: datetime | None = None
    done: int = 0
    delivered_at: datetime | None = None
    erased: bool = False
    key: str | None = None

    @property
    def name(self) -> str:
        return f"sale-{self.number}"

    @property
    def finished_at(self) -> datetime | None:
        return None if self.state in UNFINISHED else self.delivered_at or self.accepted_at


@dataclass
class Model:
    """All sales, in order of acceptance."""

    sales: list[Sale] = field(default_factory=list)

    def line(self, now: datetime) -> list[Sale]:
        """What may be handed out, in order."""
        waiting = [sale for sale in self.sales if sale.state == "queued" and not sale.leased]
        later = {s.person for s in self.sales if s.state == "queued" and s.due_at and s.due_at > now and s.person}
        return sorted(
            (
                sale
                for sale in waiting
                if not (sale.due_at and sale.due_at > now)
                and not (sale.original and sale.original.state in UNFINISHED)
                and sale.person not in later
            ),
            key=lambda sale: (sale.rank, sale.number),
        )


class Till(RuleBasedStateMachine):
    """Random days."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stack = ExitStack()
        self.path = Path(self.stack.enter_context(tempfile.TemporaryDirectory())) / "outbox.db"
        self.model, self.now, self.runs = Model(), NOW, 0
        self.open = None

    def wait(self, work):
        return self.loop.run_until_complete(work)

    @initialize()
    def start(self):
        self.runs += 1
        self.open = ExitStack()
        self.outbox = self.open.enter_context(open_outbox(self.path, run=f"run-{self.runs}"))

    def teardown(self):
        self.open.close()
        self.stack.close()
        self.loop.close()

    # --- the till ---------------------------------------------------------------------------------------------

    def record(self, sale: Sale):
        changes = {"type": sale.kind}
        if sale.original:
            changes["original_transaction_id"] = sale.original.name
        key = None
        if sale.person is not None:
            key = phone_key(int(sale.person)) if sale.rank == 2 else member_key(sale.person)
        readings = (phone(int(sale.person)),) if sale.open else ()
        return acceptance(sale.name, key=key, readings=readings, open_=sale.open, **changes)

    @rule(person=st.sampled_from([None, "1", "2", "3"]), primary=st.booleans())
    def sell(self, person, primary):
        """A purchase by a member, by somebody with a phone, or by a guest."""
        rank = 1 if person and primary else 2
        sale = Sale(
            len(self.model.sales), "purchase", person and f"{rank}:{person}", rank, None, self.now,
            open=bool(person) and not primary, key=person,
        )  # fmt: skip
        sale.person, group = person, sale.person
        receipt = self.wait(self.outbox.accept(self.record(sale), self.now))
        sale.person = group
        assert not receipt.duplicate
        assert receipt.number == len(self.model.sales) + 1
        self.model.sales.append(sale)

    @precondition(lambda self: self.model.sales)
    @rule(data=st.data(), kind=st.sampled_from(["return", "void"]))
    def undo(self, data, kind):
        """A return, or a void, of any purchase."""
        of = data.draw(st.sampled_from([sale for sale in self.model.sales if sale.kind == "purchase"]))
        sale = Sale(len(self.model.sales), kind, None, 2, of, self.now, open=False)
        record = self.record(sale)
        if kind == "void" and any(s.kind == "void" and s.original is of for s in self.model.sales):
            with pytest.raises(ConflictError):
                self.wait(self.outbox.accept(record, self.now))
            return
        assert self.wait(self.outbox.accept(record, self.now)).number == len(self.model.sales) + 1
        sale.person = f"after:{of.number}"
        if kind == "void":
            if of.state in ("queued", "parked") and not of.maybe_received and not of.leased:
                of.state, of.due_at = "cancelled", None
            if of.state == "cancelled":
                sale.state = "none"
            elif not of.erased and of.key is not None:
                sale.rank, sale.person = of.rank, of.person
                sale.key = of.key
        elif not of.erased and of.state != "cancelled" and of.key is not None:
            sale.rank, sale.key = of.rank, of.key
        self.model.sales.append(sale)

    @precondition(lambda self: self.model.sales)
    @rule(data=st.data())
    def repeat(self, data):
        """The till sends a sale again: always a duplicate, never a second one."""
        sale = data.draw(st.sampled_from([s for s in self.model.sales if s.kind == "purchase"]))
        person, sale.person = sale.person, sale.person and sale.person.split(":")[1]
        rank, opened = sale.rank, sale.open
        if person and person.startswith("2:"):  # as it was said first, whatever it rose to since
            sale.rank, sale.open = 2, True
        receipt = self.wait(self.outbox.accept(self.record(sale), self.now))
        sale.person, sale.rank, sale.open = person, rank, opened
        assert receipt.duplicate
        assert receipt.number == sale.number + 1
        assert (receipt.key is None) == (person is None or sale.erased)

    # --- the lane ---------------------------------------------------------------------------------------------

    @rule(limit=st.integers(1, 5))
    def lease(self, limit):
        """What is handed out is what the model says, in its order."""
        expected = self.model.line(self.now)[:limit]
        batch = self.wait(self.outbox.lease(VENDOR, limit, self.now))
        assert [outgoing.transaction.transaction_id for outgoing in batch] == [sale.name for sale in expected]
        for outgoing, sale in zip(batch, expected, strict=True):
            assert (outgoing.attempts, outgoing.maybe_received) == (sale.attempts, sale.maybe_received)
            assert outgoing.open == sale.open
            sale.leased, sale.attempts = True, sale.attempts + 1

    def leased(self):
        return [sale for sale in self.model.sales if sale.leased]

    def entry(self, sale):
        (delivery,) = self.outbox.story(sale.name).deliveries
        return delivery.entry

    @precondition(lambda self: self.leased())
    @rule(data=st.data(), word=st.sampled_from(sorted(VERDICTS)), pause=st.sampled_from([None, 600]))
    def settle(self, data, word, pause):
        """A verdict is written down."""
        sale = data.draw(st.sampled_from(self.leased()))
        verdict = VERDICTS[word]
        retry_at = self.now + timedelta(seconds=pause) if pause and verdict.kind is VerdictKind.RETRY else None
        self.wait(self.outbox.settle([Settled(self.entry(sale), verdict, retry_at)], self.now))
        sale.leased, sale.state, sale.due_at = False, AFTER.get(word, "queued"), retry_at
        if word == "done":
            sale.done += 1
            sale.delivered_at = self.now
        if word not in ("refused", "hold", "park"):
            sale.maybe_received = True

    @precondition(lambda self: self.leased())
    @rule(data=st.data())
    def release(self, data):
        """Some leases are given back untried."""
        sales = data.draw(st.lists(st.sampled_from(self.leased()), min_size=1, unique_by=lambda sale: sale.number))
        self.wait(self.outbox.release([self.entry(sale) for sale in sales]))
        for sale in sales:
            sale.leased, sale.attempts = False, sale.attempts - 1

    @precondition(lambda self: any(sale.open for sale in self.leased()))
    @rule(data=st.data())
    def retag(self, data):
        """An open sale rises to its member, unless an attempt may have arrived or its person is erased."""
        sale = data.draw(st.sampled_from([sale for sale in self.leased() if sale.open]))
        self.wait(self.outbox.retag(self.entry(sale), member_key(f"9{sale.number}"), NOW))
        if not sale.maybe_received and not sale.erased:
            sale.open, sale.rank = False, 1

    @rule()
    def flush(self):
        """Somebody asks for everything now."""
        self.wait(self.outbox.make_due(VENDOR))
        for sale in self.model.sales:
            if sale.state == "queued":
                sale.due_at = None

    @rule()
    def kill(self):
        """The program dies and starts again: what it had leased may have arrived, unless it was known not to."""
        self.open.close()
        self.start()
        for sale in self.leased():
            sale.leased = False
            sale.maybe_received = sale.maybe_received or not sale.open

    # --- people and time --------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.sales)
    @rule(data=st.data(), what=st.sampled_from(["retry", "discard"]))
    def decide(self, data, what):
        """A person retries or discards any sale; only what is not finished can be, nor discarded on its way."""
        sale = data.draw(st.sampled_from(self.model.sales))
        if sale.state in ("none", "cancelled"):
            return
        entry = self.entry(sale)
        work = self.outbox.retry(entry, NOW) if what == "retry" else self.outbox.discard(entry, "why", NOW)
        if sale.state not in UNFINISHED or (what == "discard" and sale.leased):
            with pytest.raises(UnknownRecordError if sale.state not in UNFINISHED else UnderWayError):
                self.wait(work)
            return
        self.wait(work)
        if what == "retry":
            if sale.state == "in_doubt":
                sale.maybe_received = False
            sale.state, sale.due_at = "queued", None
            return
        sale.state, sale.due_at = "discarded", None
        for void in self.model.sales:
            if (
                void.kind == "void" and void.original is sale and not sale.maybe_received
                and void.state == "queued" and not void.leased and not void.maybe_received
            ):  # fmt: skip
                void.state, void.due_at = "cancelled", None

    @rule(hours=st.sampled_from([1, 30, 24 * 31]))
    def purge(self, hours):
        """Time passes and the purge comes by."""
        self.now += timedelta(hours=hours)
        plan = RetentionPlan(self.now - DELIVERED, self.now - UNDELIVERED, self.now - timedelta(days=4_000), self.now)
        self.wait(self.outbox.purge(plan, self.now))
        for sale in self.model.sales:
            if sale.erased:
                continue
            if sale.finished_at and sale.finished_at < self.now - DELIVERED:
                sale.erased = True
            elif sale.accepted_at < self.now - UNDELIVERED:
                sale.erased = True
                if sale.state in UNFINISHED:
                    sale.state, sale.due_at, sale.open = "parked", None, False

    # --- always -----------------------------------------------------------------------------------------------

    @invariant()
    def nothing_vanishes(self):
        """Each sale is on record in the state the model knows."""
        if self.open is None:
            return
        rows = dict(
            self.outbox._reader.execute(
                "SELECT s.transaction_id, coalesce(d.state, 'none')"
                " FROM sales AS s LEFT JOIN deliveries AS d ON d.sale = s.id"
            )
        )
        assert rows == {sale.name: sale.state for sale in self.model.sales}

    @invariant()
    def numbers_have_no_gaps(self):
        """Whatever was refused, killed or erased: each sale has the number after the one before."""
        if self.open is not None:
            assert numbering.breaks(self.outbox._reader) == []

    @invariant()
    def nothing_is_delivered_twice(self):
        """No sale is done more than once, and a cancelled one never."""
        for sale in self.model.sales:
            assert sale.done <= 1
            assert not (sale.state == "cancelled" and sale.done)

    @invariant()
    def the_figures_are_the_counts(self):
        """The counters say what counting would."""
        if self.open is None:
            return
        counted = Counter(sale.state for sale in self.model.sales)
        info = self.outbox.info(held={VENDOR})
        assert (info.depth, info.held) == (counted["queued"], counted["queued"])
        assert (info.parked, info.in_doubt) == (counted["parked"], counted["in_doubt"])
        weights = dict(self.outbox._reader.execute("SELECT transaction_id, bytes FROM sales"))
        assert info.bytes == sum(weights[sale.name] for sale in self.model.sales if sale.state in UNFINISHED)
        heads = [
            min(
                (s for s in self.model.sales if s.state == "queued" and s.rank == rank),
                key=lambda s: s.number,
                default=None,
            )
            for rank in (1, 2)
        ]
        assert info.oldest_at == min((head.accepted_at for head in heads if head), default=None)
        assert min(info.oldest.values(), default=None) == info.oldest_at


common = {"deadline": None, "suppress_health_check": list(HealthCheck)}
TestTill = Till.TestCase
TestTill.settings = settings(max_examples=25, stateful_step_count=40, **common)


class Patient(Till):
    """The same, for longer."""


TestPatientTill = pytest.mark.slow(pytest.mark.timeout(600)(Patient.TestCase))
TestPatientTill.settings = settings(max_examples=300, stateful_step_count=80, **common)
