"""The day-end check over a day on which a bit of everything happened, by the installed command."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from e2e.shop import eventually, members

from agent.connectors.voyado.simulator import Fault

pytestmark = pytest.mark.slow

FEW = pytest.mark.parametrize("vendor", [20], indirect=True, ids=["few"])
PLAIN = {"encryption": "off"}
DAY = "2026-02-14"


def number_of(contact):
    return {"type": "member_number", "value": contact.value("memberNumber")}


def check(till, *words, **how):
    """`reconcile --json`: the exit status and the answer."""
    done = till.command("reconcile", "--day", DAY, "--json", *words, **how)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def by_hand(till, *statements):
    """Somebody changes the stopped agent's file."""
    with closing(sqlite3.connect(till.state / "outbox.db", isolation_level=None)) as db:
        db.execute("PRAGMA foreign_keys = ON")
        for statement in statements:
            assert db.execute(statement).rowcount > 0, statement


def play(vendor, till, alma, bo):
    """A day at the till: its sales, by name, with their numbers."""
    for kind, name in (("lose", "s-3"), ("double", "s-4"), ("poison", "s-7"), ("poison", "s-8")):
        vendor.sim.faults.add(Fault(kind=kind, receipt_id=name))

    def sell(*names, who=alma, **changes):
        answers = {name: till.sell(name, identifier=number_of(who), **changes) for name in names}
        assert {answer.status_code for answer in answers.values()} == {202}
        return {name: answer.json()["number"] for name, answer in answers.items()}

    numbers = sell("s-1", "s-2", "s-3", "s-4")
    eventually(lambda: all(till.delivered(name) for name in numbers))
    vendor.cut()
    numbers |= sell("s-5", "s-6", who=bo)
    eventually(lambda: till.http.get("/v1/transactions/s-5/story").json()["attempts"])
    vendor.mend()
    numbers |= sell("s-7", "s-8")
    eventually(lambda: len(till.queue("parked")) == 2 and till.delivered("s-6"))
    entry = next(one["entry"] for one in till.queue("parked") if one["transaction_id"] == "s-8")
    assert till.command("queue", "discard", str(entry), "--reason", "booked by hand").returncode == 0
    till.order("pause")
    numbers |= sell("s-9")
    assert till.void("v-9", "s-9").status_code == 202
    till.order("resume")
    assert till.void("v-1", "s-1").status_code == 202
    back = {"lines": [{"kind": "return", "sku": "SK-77-RED-M", "quantity": "-2", "gross_paid": "250.00"}],
            "payments": [{"type": "card", "amount": "-250.00"}], "total": "-250.00"}  # fmt: skip
    sell("r-2", type="return", original_transaction_id="s-2", **back)
    assert till.sell("g-1").status_code == 202
    eventually(lambda: till.delivered("v-1") and till.delivered("r-2"))
    return numbers


@FEW
def test_a_day_with_everything_in_it(vendor, open_till):
    """Whatever is missing or there twice is found by the witness that can know, and nobody is named.

    An outage, a refusal, a sale given up, voids, a return; a record deleted by hand, a receipt that the vendor lost,
    one that it doubled, and a sale that the agent never saw.
    """
    people = members(vendor, 2)
    till = open_till(storage=PLAIN).start()
    eventually(till.loaded)
    numbers = play(vendor, till, *people)
    assert numbers == {f"s-{number}": number for number in range(1, 10)}
    vendor.held()
    till.stop()
    by_hand(
        till,
        "DELETE FROM sales WHERE transaction_id = 's-6'",
        "UPDATE deliveries SET delivered_at = delivered_at - 7200000 WHERE delivered_at IS NOT NULL",
    )
    till.start()
    sold = [*numbers, "v-9", "v-1", "r-2", "g-1", "s-never"]
    status, told = check(till, "--sample", "100", "--expected", "-", input="\n".join(sold) + "\n")
    (at_voyado,) = told["vendors"]
    books = at_voyado.pop("books")

    assert (status, told["ok"], told["sold"]) == (1, False, 12)
    assert {(row["type"], row["count"], row["total"]) for row in told["totals"]} == {
        ("purchase", 9, "2250.00"), ("return", 1, "-250.00"), ("void", 2, "0.00"),
    }  # fmt: skip
    assert at_voyado == {
        "vendor": "voyado", "delivered": 7, "queued": 0, "held": 0, "parked": 1, "in_doubt": 0, "discarded": 1,
        "cancelled": 2, "guests": 1,
    }  # fmt: skip
    assert [(gap["kind"], gap["first"], gap["last"], gap["after"], gap["before"]) for gap in told["breaks"]] == [
        ("missing", 6, 6, "s-5", "s-7")
    ]
    assert (told["expected"]["missing"], told["expected"]["unlisted"]) == (["s-6", "s-never"], [])
    assert (books["outcome"], books["asked"], books["can_be_asked"]) == ("asked", 7, 7)
    assert (books["found"], books["missing"], books["twice"]) == (5, ["s-3"], ["s-4"])
    assert (told["missing"], told["twice"]) == (4, 1)
    assert {(one["transaction_id"], one["state"]) for one in told["stuck"]} == {("s-7", "parked"), ("s-8", "discarded")}

    said = till.command("reconcile", "--day", DAY, "--sample", "100")
    assert said.returncode == 1
    for words in (
        "NOT COMPLETE: 1 missing by its number, 1 missing at voyado, 1 twice at voyado.",
        "number 6, after s-5 and before s-7: was here, and the record is gone",
        "MISSING  1 accepted, and not there: s-3",
        "TWICE    1 there more than once: s-4",
    ):
        assert words in said.stdout
    for person in people:
        for name in ("memberNumber", "mobilePhone", "email", "firstName"):
            assert str(person.value(name)) not in said.stdout + json.dumps(told)


@FEW
def test_each_sale_of_such_a_day_has_its_story(vendor, open_till):
    """Number, attempts through the outage, what voided or returned it, and what a person decided."""
    till = open_till().start()
    eventually(till.loaded)
    play(vendor, till, *members(vendor, 2))
    story = till.command("explain", "s-5").stdout
    assert "number 5 of till 03 in store 1042" in story
    assert "did not get through to voyado" in story
    assert "Now it is with voyado." in story
    assert "voided by v-1" in till.command("explain", "s-1").stdout
    assert "returned by r-2" in till.command("explain", "s-2").stdout
    assert "voided, or claimed anew, before it got there" in till.command("explain", "s-9").stdout
    assert "a person gave up its delivery to voyado" in till.command("explain", "s-8").stdout


@FEW
def test_a_sound_day_is_complete(vendor, till):
    """Everything delivered and on the vendor's books: 0, and the list of the till agrees."""
    alma = members(vendor, 1)[0]
    for number in range(5):
        till.sell(f"s-{number}", identifier=number_of(alma))
    eventually(till.drained)
    listed = till.home / "z-report.txt"
    listed.write_text("\r\n".join(f"s-{number}" for number in range(5)) + "\r\n\r\n")

    status, told = check(till, "--expected", str(listed))
    assert (status, told["ok"], told["sold"]) == (0, True, 5)
    assert len(told["vendors"][0]["books"]["not_yet"]) == 5
    assert told["expected"] == {"listed": 5, "missing": [], "other_day": [], "twice": [], "unlisted": []}
    vendor.held()
    status, told = check(till)
    assert (status, told["vendors"][0]["books"]["found"]) == (0, 5)
    vendor.cut()
    eventually(lambda: till.status()["state"] == "offline")
    status, told = check(till)
    assert (status, told["vendors"][0]["books"]["outcome"]) == (0, "unreachable")
    said = till.command("reconcile", "--day", DAY)
    assert (said.returncode, "it does not answer" in said.stdout) == (0, True)


@FEW
def test_a_receipt_that_is_late_is_not_called_lost(vendor, till):
    """Voyado takes its time to import: absent for now is told as such, and the check ends well."""
    till.sell("s-1", identifier=number_of(members(vendor, 1)[0]))
    eventually(till.drained)
    status, told = check(till)

    assert (status, told["vendors"][0]["books"]["not_yet"]) == (0, ["s-1"])


@FEW
def test_numbers_survive_whatever_happens(vendor, till):
    """Killed while selling, refused sales in between, several tills: every number once, and none left out."""
    alma = members(vendor, 1)[0]
    taken = {"03": [], "04": []}
    for round_ in range(3):
        for number in range(4):
            for till_id, found in taken.items():
                answer = till.sell(f"s-{till_id}-{round_}-{number}", identifier=number_of(alma), till_id=till_id)
                found.append(answer.json()["number"])
            assert till.sell(f"s-03-{round_}-{number}", total="1.00").status_code in (409, 422)
        till.kill()
        till.start()
    assert taken == {"03": list(range(1, 13)), "04": list(range(1, 13))}
    status, told = check(till, "--sample", "0")

    assert (status, told["breaks"]) == (0, [])
    assert [(one["till_id"], one["sold"], one["first"], one["last"]) for one in told["tills"]] == [
        ("03", 12, 1, 12),
        ("04", 12, 1, 12),
    ]


@FEW
def test_numbers_go_on_when_the_records_are_forgotten(vendor, open_till):
    """After `retention.audit` the sales are gone for good; no number comes again, and nothing counts as missing."""
    till = open_till(retention={"delivered": "1s", "undelivered": "1s", "audit": "2s"}).start()
    eventually(till.loaded)
    alma = members(vendor, 1)[0]
    for number in range(3):
        till.sell(f"s-{number}", identifier=number_of(alma))
    eventually(till.drained)

    def forgotten():
        till.purge()
        return till.http.get("/v1/transactions/s-2").status_code == 404

    eventually(forgotten)
    assert till.sell("s-3", identifier=number_of(alma)).json()["number"] == 4
    status, told = check(till, "--sample", "0")
    assert (status, told["breaks"], told["breaks_elsewhere"]) == (0, [], 0)


@FEW
def test_a_day_is_the_stores_own(vendor, till):
    """A sale just after the shop's midnight belongs to the new day, whatever offset the till writes."""
    midnight = datetime(2026, 2, 14, tzinfo=ZoneInfo("Europe/Stockholm"))
    till.sell("before", occurred_at=(midnight - timedelta(seconds=1)).astimezone(UTC).isoformat())
    till.sell("after", occurred_at=midnight.astimezone(UTC).isoformat())
    status, told = check(till)

    assert (status, told["sold"]) == (0, 1)
    assert told["tills"] == [{"store_id": "1042", "till_id": "03", "sold": 1, "first": 2, "last": 2}]


@FEW
def test_the_vendors_allowance_is_respected(vendor, open_till):
    """Asking about a sample takes its turn: no more calls a second than the key's share."""
    till = open_till(voyado={"requests_per_second": 10}).start()
    eventually(till.loaded)
    for number, person in enumerate(members(vendor, 12)):
        till.sell(f"s-{number}", identifier=number_of(person))
    eventually(till.drained)
    vendor.held()
    before, began = vendor.requests(), time.monotonic()
    status, told = check(till, "--sample", "12")
    took_s, calls = time.monotonic() - began, vendor.requests() - before

    assert (status, told["vendors"][0]["books"]["found"]) == (0, 12)
    assert calls >= 24
    assert calls <= 10 + 10 * took_s + 1
