"""The outbox with three systems against a model in plain Python: calls of several sales, verdicts of each, and kills.

The rules of a single lane are :mod:`tests.store.test_outbox_machine`'s. Here: what one lane does changes nothing in
another, whatever is leased, sent and settled together.
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
from agent.ports import Recipient, Settled
from tests.fakes import NOW, acceptance, member_key, open_outbox, phone, phone_key

OWNER, LEDGER, CLUB = "voyado", "ledger", "club"
VENDORS = (OWNER, LEDGER, CLUB)
RECIPIENTS = (
    Recipient(OWNER, guests=False, owner=True),
    Recipient(LEDGER, guests=True, owner=False),
    Recipient(CLUB, guests=False, owner=False),
)
WANTED = {
    "guest": (LEDGER,),
    "member": VENDORS,
    "phone": VENDORS,
    "nobody yet": (OWNER, LEDGER),
}
VERDICTS = {
    "done": Verdict(VerdictKind.DONE, status=200),
    "refused": Verdict(VerdictKind.RETRY, "vendor.offline", reached=False, not_received=True),
    "cut": Verdict(VerdictKind.RETRY, "vendor.offline", reached=False),
    "park": Verdict(VerdictKind.PARK, "vendor.rejected", 422),
}
UNFINISHED = ("queued", "parked")


@dataclass
class Lane:
    """What the model knows of one delivery."""

    open: bool
    state: str = "queued"
    leased: bool = False
    sending: bool = False
    maybe_received: bool = False
    due_at: datetime | None = None
    done: int = 0


@dataclass
class Sale:
    """What the model knows of one sale; each is another person's."""

    number: int
    kind: str
    key: object
    lanes: dict[str, Lane] = field(default_factory=dict)
    voided: bool = False

    @property
    def name(self) -> str:
        return f"sale-{self.number}"


class Shop(RuleBasedStateMachine):
    """Random days."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stack = ExitStack()
        self.path = Path(self.stack.enter_context(tempfile.TemporaryDirectory())) / "outbox.db"
        self.sales: list[Sale] = []
        self.now, self.runs, self.open = NOW, 0, None

    def wait(self, work):
        return self.loop.run_until_complete(work)

    @initialize()
    def start(self):
        self.runs += 1
        self.open = ExitStack()
        self.outbox = self.open.enter_context(open_outbox(self.path, run=f"run-{self.runs}", recipients=RECIPIENTS))

    def teardown(self):
        self.open.close()
        self.stack.close()
        self.loop.close()

    def entries(self, sale):
        rows = self.outbox._reader.execute(
            "SELECT vendor, entry FROM deliveries WHERE sale = (SELECT id FROM sales WHERE transaction_id = ?)",
            (sale.name,),
        )
        return dict(rows.fetchall())

    def leased(self, vendor):
        return [sale for sale in self.sales if vendor in sale.lanes and sale.lanes[vendor].leased]

    # --- the till ---------------------------------------------------------------------------------------------

    @rule(kind=st.sampled_from(list(WANTED)))
    def sell(self, kind):
        """A sale of a guest, of a member, of a phone, or of somebody who can only be named later."""
        number = len(self.sales)
        is_open = kind in ("phone", "nobody yet")
        key = {"member": member_key(10_000_000 + number), "phone": phone_key(number % 100)}.get(kind)
        sale = Sale(number, "purchase", key, {vendor: Lane(is_open and vendor == OWNER) for vendor in WANTED[kind]})
        readings = (phone(number % 100),) if is_open else ()
        record = acceptance(sale.name, key=key, readings=readings, open_=is_open, vendors=WANTED[kind])
        self.wait(self.outbox.accept(record, self.now))
        self.sales.append(sale)

    @precondition(lambda self: any(sale.kind == "purchase" and not sale.voided for sale in self.sales))
    @rule(data=st.data())
    def void(self, data):
        """A sale is cleared: cancelled where it was not sent, and followed where it may have been."""
        able = [sale for sale in self.sales if sale.kind == "purchase" and not sale.voided]
        of = data.draw(st.sampled_from(able))
        of.voided = True
        for lane in of.lanes.values():
            if lane.state in UNFINISHED and not lane.maybe_received and not lane.leased:
                lane.state, lane.due_at = "cancelled", None
        reached = [vendor for vendor, lane in of.lanes.items() if lane.state != "cancelled"]
        sale = Sale(len(self.sales), "void", of.key, {vendor: Lane(open=False) for vendor in reached})
        sale.original = of
        record = acceptance(sale.name, type="void", original_transaction_id=of.name, vendors=VENDORS)
        self.wait(self.outbox.accept(record, self.now))
        self.sales.append(sale)

    # --- the lanes --------------------------------------------------------------------------------------------

    @rule(vendor=st.sampled_from(VENDORS), limit=st.integers(1, 6))
    def lease(self, vendor, limit):
        """What may go in this lane is handed out, whatever the others do, and nothing else."""
        due = {
            sale.name
            for sale in self.sales
            if vendor in sale.lanes
            and (lane := sale.lanes[vendor]).state == "queued"
            and not lane.leased
            and not (lane.due_at and lane.due_at > self.now)
            and not (sale.kind == "void" and sale.original.lanes[vendor].state in UNFINISHED)
            and not (vendor != OWNER and self.owner_may_say(sale))
        }
        later = self.persons_waiting(vendor)
        due = {name for name in due if self.person(self.named(name)) not in later}
        batch = self.wait(self.outbox.lease(vendor, limit, self.now))
        names = [outgoing.transaction.transaction_id for outgoing in batch]
        assert len(set(names)) == len(names) == min(limit, len(due))
        assert set(names) <= due
        for outgoing in batch:
            sale = self.named(outgoing.transaction.transaction_id)
            lane = sale.lanes[vendor]
            assert (outgoing.open, outgoing.maybe_received) == (lane.open, lane.maybe_received)
            assert outgoing.key == (sale.original.key if sale.kind == "void" else sale.key)
            lane.leased = True

    def named(self, name):
        return self.sales[int(name.removeprefix("sale-"))]

    def owner_may_say(self, sale):
        """Whose a sale is that names nobody yet."""
        own = sale.lanes.get(OWNER)
        return sale.key is None and own is not None and own.open and own.state == "queued"

    def person(self, sale):
        """Sales of a phone are one person's as long as the outbox groups them so: here by what they were sold under."""
        row = self.outbox._reader.execute(
            "SELECT d.person FROM deliveries AS d JOIN sales AS s ON s.id = d.sale WHERE s.transaction_id = ?",
            (sale.name,),
        ).fetchone()
        return bytes(row[0]) or sale.name

    def persons_waiting(self, vendor):
        return {
            self.person(sale)
            for sale in self.sales
            if vendor in sale.lanes
            and (lane := sale.lanes[vendor]).state == "queued"
            and lane.due_at is not None
            and lane.due_at > self.now
        }

    @precondition(lambda self: any(self.leased(vendor) for vendor in VENDORS))
    @rule(data=st.data(), minutes=st.sampled_from([0, 5, 600]))
    def call(self, data, minutes):
        """One call with several sales: each draws a verdict of its own, written down together."""
        vendor = data.draw(st.sampled_from([vendor for vendor in VENDORS if self.leased(vendor)]))
        sales = data.draw(
            st.lists(st.sampled_from(self.leased(vendor)), min_size=1, unique_by=lambda sale: sale.number)
        )
        going = [sale for sale in sales if sale.lanes[vendor].open and not sale.lanes[vendor].maybe_received]
        rising = [sale for sale in going if data.draw(st.booleans())]
        for sale in rising:
            key = member_key(20_000_000 + sale.number)
            self.wait(self.outbox.retag(self.entries(sale)[vendor], key, self.now))
            if sale.key is None and CLUB not in sale.lanes:
                sale.lanes[CLUB] = Lane(open=False)
                for follower in self.sales:
                    if follower.kind == "void" and follower.original is sale:
                        reached = [name for name, lane in sale.lanes.items() if lane.state != "cancelled"]
                        follower.lanes = {name: Lane(open=False) for name in reached} | follower.lanes
            sale.key, sale.lanes[vendor].open = key, False
        kept = [sale for sale in going if sale not in rising]
        self.wait(self.outbox.sending([self.entries(sale)[vendor] for sale in kept]))
        for sale in going:
            sale.lanes[vendor].sending = True
        if data.draw(st.booleans()):  # killed or cut before an answer came; the leases stand
            return
        drawn = [data.draw(st.sampled_from(list(VERDICTS))) for _ in sales]
        retry_at = self.now + timedelta(minutes=minutes) if minutes else None
        settled = [
            Settled(self.entries(sale)[vendor], VERDICTS[word], retry_at if word in ("refused", "cut") else None)
            for sale, word in zip(sales, drawn, strict=True)
        ]
        self.wait(self.outbox.settle(settled, self.now))
        for sale, word in zip(sales, drawn, strict=True):
            lane = sale.lanes[vendor]
            lane.leased = lane.sending = False
            lane.state = {"done": "delivered", "park": "parked"}.get(word, "queued")
            lane.maybe_received = lane.maybe_received or word in ("done", "cut")
            lane.done += word == "done"
            lane.due_at = retry_at if word in ("refused", "cut") else None

    @precondition(lambda self: any(self.leased(vendor) for vendor in VENDORS))
    @rule(data=st.data())
    def release(self, data):
        """Some of what is leased is given back untried."""
        vendor = data.draw(st.sampled_from([vendor for vendor in VENDORS if self.leased(vendor)]))
        able = [sale for sale in self.leased(vendor) if not sale.lanes[vendor].sending]
        for sale in able:
            sale.lanes[vendor].leased = False
        self.wait(self.outbox.release([self.entries(sale)[vendor] for sale in able]))

    @rule(vendor=st.sampled_from(VENDORS))
    def line_is_back(self, vendor):
        """The back-offs of one lane are forgotten, and no other's."""
        self.wait(self.outbox.make_due(vendor))
        for sale in self.sales:
            if vendor in sale.lanes and sale.lanes[vendor].state == "queued":
                sale.lanes[vendor].due_at = None

    @rule(vendor=st.sampled_from(VENDORS))
    def lane_starts_over(self, vendor):
        """One lane takes back its leases; the others keep theirs."""
        self.wait(self.outbox.recover(vendor))
        self.taken_back([vendor])

    @rule()
    def kill(self):
        """The program dies and starts again."""
        self.open.close()
        self.start()
        self.taken_back(VENDORS)

    def taken_back(self, vendors):
        for vendor in vendors:
            for sale in self.leased(vendor):
                lane = sale.lanes[vendor]
                lane.maybe_received = lane.maybe_received or not (lane.open and not lane.sending)
                lane.leased = lane.sending = False

    @rule(minutes=st.sampled_from([1, 10, 700]))
    def time_passes(self, minutes):
        """Back-offs end."""
        self.now += timedelta(minutes=minutes)

    # --- always -----------------------------------------------------------------------------------------------

    @invariant()
    def every_lane_is_as_the_model_says(self):
        """Nothing vanishes, nothing appears, in any lane; a sale is finished when all of its lanes are."""
        if self.open is None:
            return
        rows = self.outbox._reader.execute(
            "SELECT s.transaction_id, d.vendor, d.state, d.lease_run IS NOT NULL, d.maybe_received, d.open"
            " FROM sales AS s JOIN deliveries AS d ON d.sale = s.id"
        ).fetchall()
        assert {tuple(row) for row in rows} == {
            (sale.name, vendor, lane.state, lane.leased, lane.maybe_received, lane.open)
            for sale in self.sales
            for vendor, lane in sale.lanes.items()
        }
        finished = self.outbox._reader.execute("SELECT transaction_id FROM sales WHERE finished_at IS NOT NULL")
        assert {row[0] for row in finished} == {
            sale.name for sale in self.sales if not any(lane.state in UNFINISHED for lane in sale.lanes.values())
        }

    @invariant()
    def nothing_is_delivered_twice(self):
        """In no lane."""
        assert all(lane.done <= 1 for sale in self.sales for lane in sale.lanes.values())

    @invariant()
    def each_lane_counts_for_itself(self):
        """What waits for each system is what counting would say."""
        if self.open is not None:
            lanes = [(vendor, lane) for sale in self.sales for vendor, lane in sale.lanes.items()]
            waiting = Counter(vendor for vendor, lane in lanes if lane.state == "queued")
            assert self.outbox.info().waiting == waiting


class Patient(Shop):
    """The same, for longer."""


common = {"deadline": None, "suppress_health_check": list(HealthCheck)}
TestShop = Shop.TestCase
TestShop.settings = settings(max_examples=12, stateful_step_count=30, **common)
TestPatientShop = pytest.mark.slow(pytest.mark.timeout(600)(Patient.TestCase))
TestPatientShop.settings = settings(max_examples=300, stateful_step_count=80, **common)
