"""A working day in a shop, with an outage in it: the chapters of the demonstration, in order."""

from __future__ import annotations

import statistics
import threading
import time
from collections import defaultdict
from datetime import datetime

import httpx

from agent.workbench.further import Tally
from agent.workbench.ledger import Count
from agent.workbench.stage import PATIENCE_S, POLL_S, Stage, by_email, by_phone
from agent.workbench.till import Json
from agent.workbench.traces import find_traces
from agent.workbench.welcome import Welcome

MORNING_SALES = 40
OUTAGE_SALES = 300
NEWCOMERS = ("Tyra", "Folke", "Runa", "Nils", "Vega", "Pär")
STRANGERS = 4
LOST_ANSWERS = 2
POWER_CUT_AT_SALE = 60
POWER_CUT_AFTER_S = 0.02
LAST_SALES = 12
_OK, _ACCEPTED, _CONFLICT = 200, 202, 409


class Day:
    """Plays the day.

    Args:
        stage: who takes part.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage, self._tenant, self._till = stage, stage.tenant, stage.till
        self._baskets, self._ledger, self._tell = stage.baskets, stage.ledger, stage.narrator
        self._welcome = Welcome(stage)

    def play(self) -> tuple[Count, dict[str, Tally]]:
        """All of it; the count at its end, here and at each further system.

        What went wrong on the way is in the stage's ``wrong``.
        """
        self._open()
        self._look_up()
        self._sell_online()
        self._cut()
        self._sell_offline()
        self._welcome_offline()
        self._power_cut()
        self._join_at_headquarters()
        self._move_and_leave()
        self._mend()
        self._count_arrivals()
        self._changes()
        self._erase()
        return self._ledger.count(self._tenant.simulator), self._tally()

    def _open(self) -> None:
        self._tell.chapter(
            "The shop opens",
            "The agent beside the till fetches the membership once, as files. From then on it knows every member by a "
            "keyed hash, so that asking who somebody is needs no network.",
        )
        seconds = self._stage.agent.start()
        self._tell.say(f"the agent takes sales {seconds:.1f} s after its start, whatever the first load does")
        if names := [one.name for one in self._stage.further]:
            self._tell.say(f"beside Voyado, sales go to {', '.join(names)}: each has a lane of its own")
        began = time.monotonic()
        status = self._stage.wait_for("the first load", lambda status: status["replica"]["as_of"] is not None)
        count, seconds = status["replica"]["contacts"], time.monotonic() - began
        self._stage.check(f"first load: {count:,} members in {seconds:.1f} s, in a process of its own", right=count > 0)

    def _look_up(self) -> None:
        self._tell.chapter(
            "Who is at the till?",
            "A member is named in milliseconds; whom the copy does not know yet is asked for live; nobody is guessed.",
        )
        alma, newcomer = self._tenant.member(5), self._tenant.join("Sixten")
        cases = (
            (alma, "matched", "replica", f"{alma.name}, a member for years"),
            (newcomer, "matched", "live", f"{newcomer.name}, who joined in the app a minute ago"),
            (self._tenant.stranger(), "not_found", "live", "somebody who is no member"),
            (self._tenant.family(), "ambiguous", "replica", "a phone that two members of a family share"),
        )
        for person, outcome, source, words in cases:
            reply = self._till.identify("mobile_phone", person.as_said)
            got = reply.body["outcome"], reply.body["served"]["source"]
            self._stage.check(
                f"{words}: {got[0]} ({got[1]}, {reply.elapsed_ms:.0f} ms)", right=got == (outcome, source)
            )

    def _sell_online(self) -> None:
        self._tell.chapter(
            "The morning, line up",
            "The till hears 202 once the sale is on disk, and never waits for the loyalty system.",
        )
        sell = self._stage.sell
        people = self._tenant.members(MORNING_SALES)
        for person in people:
            sell(self._baskets.purchase(self._now(), by_phone(person)))
        first, second = self._stage.sold[:2]
        sell(self._baskets.taken_back(first, self._now(), by_phone(people[0])))
        sell(self._baskets.exchanged(second, self._now(), by_phone(people[1])))
        guest = sell(self._baskets.purchase(self._now(), {}))
        self._stage.check(
            "a guest's sale is kept; Voyado wants none without a member", right=guest.body["state"] == "delivered"
        )
        self._welcome.ask()
        status = self._stage.wait_for("delivery", _drained)
        self._stage.check(
            f"{len(people)} purchases, a return and an exchange are with Voyado, which books them at its next import",
            right=_drained(status),
        )

    def _cut(self) -> None:
        self._tell.chapter(
            "The line is cut",
            "A cashier must notice only what is worth saying to the customer, in the language of the shop.",
        )
        self._stage.cut()
        self._stage.sell(self._baskets.purchase(self._now(), by_phone(self._tenant.members(3)[2])))
        began = time.monotonic()
        status = self._stage.wait_for("the agent to notice", lambda status: status["state"] == "offline")
        seconds = time.monotonic() - began
        self._stage.check(f"noticed after {seconds:.1f} s, at the first sale", right=status["state"] == "offline")
        regular, stranger = self._tenant.member(15), self._tenant.stranger()
        known = self._till.identify("mobile_phone", regular.as_said)
        self._stage.check(
            f"{regular.name} is still known ({known.elapsed_ms:.0f} ms); the screens say:",
            right=(known.body["outcome"], known.body["served"]["source"]) == ("matched", "replica"),
        )
        self._stage.quote(known, "sv")
        self._stage.quote(self._till.identify("mobile_phone", regular.as_said, language="en"), "en")
        unknown = self._till.identify("mobile_phone", stranger.as_said)
        key = unknown.body["integration_key"] or {}
        self._stage.check(
            "whom the copy does not know is tagged with the phone number, a secondary key, until Voyado can be asked:",
            right=(unknown.body["outcome"], key.get("kind")) == ("unknown", "secondary"),
        )
        self._stage.quote(unknown, "sv")

    def _sell_offline(self) -> None:
        self._tell.chapter(
            "Selling goes on",
            "Every sale is on disk before the till hears of it. The till may repeat itself; a mistake is noticed.",
        )
        waits = [self._stage.sell(sale).elapsed_ms for sale in self._outage_sales(OUTAGE_SALES // 2)]
        p95 = statistics.quantiles(waits, n=20)[-1]
        self._tell.say(f"{len(waits)} sales queued; 95 % of the answers within {p95:.0f} ms")
        sale = self._stage.sold[-1]
        again = self._till.post(dict(reversed(sale.items())))
        self._stage.check(
            "the same sale again (keys in another order): recognised, counted once",
            right=again.status == _OK and again.body["duplicate"],
        )
        other = self._till.post({**sale, "occurred_at": "2026-01-02T03:04:05+01:00"})
        self._stage.check(
            f"another sale under the same id: refused ({other.body.get('code')})", right=other.status == _CONFLICT
        )
        mistaken = self._baskets.purchase(self._now(), by_phone(self._tenant.members(1)[0]))
        void = self._baskets.voided(mistaken, self._now())
        self._stage.sell(mistaken)
        reply = self._till.post(void)
        self._ledger.note(void, reply)
        self._ledger.note_voided(mistaken["transaction_id"], void["transaction_id"])
        self._stage.check(
            "a sale rung up by mistake is voided: both are cancelled before they are sent",
            right=reply.status == _ACCEPTED,
        )

    def _welcome_offline(self) -> None:
        self._tell.chapter(
            "Members' benefits, and new members",
            "What the loyalty system said last can be used within limits that the shop has set; the default is none. "
            "Somebody who wants to become a member becomes one now.",
        )
        self._welcome.spend(self._now())
        self._welcome.join(self._now())

    def _power_cut(self) -> None:
        self._tell.chapter(
            "The power goes, in the middle of a sale",
            "The agent is killed without warning. After its start it knows every sale it ever answered for, and the "
            "till repeats the one that it heard nothing of.",
        )
        before = self._till.status()["queue"]["depth"]
        cut = threading.Timer(POWER_CUT_AFTER_S, self._stage.agent.kill)
        restarted = False
        for answered, sale in enumerate(self._outage_sales(OUTAGE_SALES - OUTAGE_SALES // 2)):
            if answered == POWER_CUT_AT_SALE:
                cut.start()
            try:
                self._stage.sell(sale)
            except httpx.TransportError:
                cut.join()
                self._restart(sale, before + answered * self._stage.lanes)
                restarted = True
        self._stage.check("the till goes on where it was", right=restarted)

    def _restart(self, sale: Json, promised: int) -> None:
        self._tell.say(f"the power is gone; {promised:,} {self._stage.unit} were promised and not made yet")
        seconds = self._stage.agent.start()
        depth = self._till.status()["queue"]["depth"]
        # The sale in flight may be on disk although its answer was lost.
        self._stage.check(
            f"back after {seconds:.1f} s; {depth:,} {self._stage.unit} wait, none is missing",
            right=promised <= depth <= promised + self._stage.lanes,
        )
        reply = self._stage.sell(sale)
        known = "it was on disk already" if reply.body["duplicate"] else "it had not reached the disk"
        self._tell.say(f"the sale that was cut short is posted again: {known}")

    def _join_at_headquarters(self) -> None:
        self._tell.chapter(
            "Meanwhile, at headquarters",
            "People join, move and leave while the till cannot hear of it. Sales wait with what was said at the till.",
        )
        for name in NEWCOMERS:
            self._stage.sell(self._baskets.purchase(self._now(), by_phone(self._tenant.join(name))))
        self._tell.say(
            f"{len(NEWCOMERS)} people who joined in the app today buy something; the till does not know them"
        )
        for _ in range(STRANGERS):
            reply = self._stage.sell(self._baskets.purchase(self._now(), by_phone(self._tenant.stranger())))
        self._tell.say(f"{STRANGERS} people give a phone number that belongs to no member; the screens say:")
        self._stage.quote(reply, "sv")
        details = {"first_name": "Greta", "last_name": "Exempel", "mobile_phone": self._tenant.stranger().as_said}
        self._stage.sell(self._baskets.purchase(self._now(), {"new_contact": details}))
        self._tell.say("Greta joins at this till; she becomes a member when her sale is delivered")

    def _move_and_leave(self) -> None:
        self._moved_from, self._gone = self._tenant.member(25), self._tenant.member(35)
        self._moved_to = self._tenant.move(self._moved_from)
        self._tenant.leave(self._gone)
        self._tell.say(f"{self._moved_from.name} gets a new phone number; {self._gone.name} asks to be deleted")

    def _mend(self) -> None:
        waiting = self._till.status()["queue"]["depth"]
        self._tell.chapter(
            "The line is back",
            "The queue empties by itself, oldest first for each person. Whoever was tagged with a phone number is "
            "asked for once more, so that the points reach the right member.",
        )
        self._stage.mend(lost_answers=LOST_ANSWERS)
        began = time.monotonic()
        status = self._stage.wait_for(
            "delivery", _drained, lambda status: f"{status['queue']['depth']:,} of {waiting:,} wait"
        )
        seconds = time.monotonic() - began
        self._stage.check(
            f"{waiting:,} {self._stage.unit} done in {seconds:.1f} s, within this till's share of the calls",
            right=_drained(status),
        )
        stuck = status["queue"]["parked"] + status["queue"]["in_doubt"]
        left = sum(len(one.left_to_a_person(self._stage.sold)) for one in self._stage.further)
        settled = self._till.give_up("parked", reason="settled by hand") if left else 0
        waited = f"{left} that came back where nothing is taken back: settled by hand, and given up here; else " * (
            left > 0
        )
        self._stage.check(f"{waited}nothing is parked, nothing is in doubt", right=stuck == settled == left)

    def _count_arrivals(self) -> None:
        self._tenant.simulator.import_receipts_now()
        count = self._ledger.count(self._tenant.simulator)
        self._stage.check(
            f"{count.repeated} answers got lost on the way: those sales were sent again, and Voyado dropped the copies",
            right=count.repeated == LOST_ANSWERS,
        )
        self._stage.check(
            f"{count.risen} tags rose from a phone number to a member number: the points are theirs",
            right=count.risen == len(NEWCOMERS) + 1,
        )
        self._welcome.arrived()
        self._stage.check(
            f"{count.unmatched} sales name nobody that Voyado knows: it has them and books no points "
            '(unknown_at_delivery = "create" or "park" would make members of them, or ask a person)',
            right=count.unmatched == STRANGERS,
        )

    def _changes(self) -> None:
        self._tell.chapter(
            "What changed reaches the till",
            "The next export file holds the day's changes. A member who was deleted is gone from the till as well.",
        )
        before = self._till.status()["replica"]["as_of"]
        files = self._tenant.simulator.export_now()
        self._till.order("sync")
        status = self._stage.wait_for("the sync", lambda status: status["replica"]["as_of"] != before)
        self._stage.check(f"{len(files)} file of changes is applied", right=status["replica"]["as_of"] != before)
        cases = (
            (self._moved_to, "matched", f"{self._moved_from.name}'s new number"),
            (self._moved_from, "not_found", f"{self._moved_from.name}'s old number"),
            (self._gone, "not_found", f"{self._gone.name}, who was deleted"),
        )
        for person, outcome, words in cases:
            got = self._till.identify("mobile_phone", person.as_said).body["outcome"]
            self._stage.check(f"{words}: {got}", right=got == outcome)

    def _erase(self) -> None:
        self._tell.chapter(
            "Nothing personal stays",
            "What was delivered loses its personal part when its time is up (24 h; 1 s here). The databases are not "
            "encrypted in this demonstration, so that a search through their bytes means something.",
        )
        people = self._tenant.people
        self._till.order("pause")
        for sale in self._outage_sales(LAST_SALES):
            self._stage.sell(sale)
        left = _distinct(find_traces(self._stage.searched, people))
        self._stage.check(
            f"before: {left:,} phone numbers and addresses in the agent's files, from sales that wait", right=left > 0
        )
        self._till.order("resume")
        deadline = time.monotonic() + PATIENCE_S
        while left and time.monotonic() < deadline:
            time.sleep(POLL_S)
            left = _distinct(find_traces(self._stage.searched, people))
        self._stage.check(
            f"after: {left} of {len(people):,}, in databases, write-ahead logs and log lines alike", right=left == 0
        )
        sale = self._till.sale(self._stage.sold[0]["transaction_id"])
        self._stage.check("the sales themselves are still there, for the audit", right=sale["state"] == "delivered")

    def _tally(self) -> dict[str, Tally]:
        made: defaultdict[str, set[str]] = defaultdict(self._ledger.of_members)
        for name in self._ledger.answered if self._stage.further else ():
            for delivery in self._till.sale(name)["deliveries"]:
                made[delivery["vendor"]].add(name)
        sold = {sale["transaction_id"]: sale for sale in self._stage.sold}
        return {one.name: one.count({name: sold[name] for name in made[one.name]}) for one in self._stage.further}

    def _outage_sales(self, count: int) -> list[Json]:
        return [
            self._baskets.purchase(self._now(), by_phone(person) if place % 3 else by_email(person))
            for place, person in enumerate(self._tenant.members(count))
        ]

    def _now(self) -> datetime:
        return self._stage.clock.now()


def _drained(status: Json) -> bool:
    return bool(status["queue"]["depth"] == 0 and status["state"] != "offline")


def _distinct(found: dict[str, set[str]]) -> int:
    return len(set().union(*found.values())) if found else 0
