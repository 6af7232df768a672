"""Failure stories of this trade, played by the installed agent; what counts is what the vendor holds in the end."""

from __future__ import annotations

import subprocess
import time
from collections import Counter

import pytest
from e2e.shop import API_KEY, COMMAND, eventually, members

from agent.connectors.voyado.simulator import Fault


def _counted(vendor) -> Counter[str]:
    """How often each sale counts at the vendor."""
    return Counter(vendor.held())


def test_answer_lost_points_once(till, vendor):
    """The vendor takes a sale and the answer is lost, the agent is killed and tries again: the vendor holds one."""
    alma = members(vendor, 1)[0]
    vendor.sim.faults.add(Fault(kind="drop", path="*/receipts", after_processing=True))

    assert (
        till.sell("s-1", identifier={"type": "member_number", "value": alma.value("memberNumber")}).status_code == 202
    )
    for _ in range(3):
        before = vendor.posts().get("s-1", 0)
        eventually(lambda before=before: vendor.posts().get("s-1", 0) > before)
        till.kill()
        till.start()
    vendor.sim.faults.clear()
    till.order("flush")
    eventually(till.drained)

    assert vendor.posts()["s-1"] >= 3
    assert _counted(vendor) == {"s-1": 1}
    assert {receipt["uniqueReceiptId"] for receipt in vendor.receipts()} == {"s-1"}
    assert {receipt["contact"]["matchKey"] for receipt in vendor.receipts()} == {alma.value("memberNumber")}


def test_two_senders_one_queue(open_till, vendor):
    """A second agent on the same state directory refuses to start and says why; the first delivers everything once."""
    till = open_till(http={"connect_timeout": "60s", "read_timeout": "60s"}).start()  # no call is given up and repeated
    eventually(till.loaded)
    alma = members(vendor, 1)[0]
    vendor.cut()
    for number in range(20):
        till.sell(f"s-{number}", identifier={"type": "member_number", "value": alma.value("memberNumber")})

    second = subprocess.run(
        [COMMAND, "run", "--config", till.config], capture_output=True, text=True, timeout=60, check=False
    )
    vendor.mend()
    eventually(till.drained)

    assert second.returncode == 75
    assert "another agent" in second.stderr.lower()
    assert _counted(vendor) == {f"s-{number}": 1 for number in range(20)}
    assert set(vendor.posts().values()) == {1}


@pytest.mark.slow
def test_poison_record(till, vendor):
    """One sale of 500 draws 422 for ever: 499 arrive, one is parked, and goes out once the cause is gone."""
    people = members(vendor, 50)
    vendor.cut()
    for number in range(500):
        phone = people[number % 50].value("memberNumber")
        assert till.sell(f"s-{number}", identifier={"type": "member_number", "value": phone}).status_code == 202
    poison = vendor.sim.faults.add(Fault(kind="poison", receipt_id="s-37"))
    vendor.mend()
    till.order("flush")
    eventually(till.drained)

    assert len(_counted(vendor)) == 499
    assert till.status()["queue"]["parked"] == 1
    assert "queue.parked" in till.conditions()
    (entry,) = till.http.get("/v1/queue", params={"state": "parked"}).json()["entries"]
    assert entry["transaction_id"] == "s-37"
    assert entry["last_error"]["status"] == 422
    assert entry["last_error"]["vendor_code"]

    vendor.sim.faults.remove(poison)
    assert till.http.post(f"/v1/queue/{entry['entry']}/retry").status_code == 202
    eventually(lambda: till.http.get("/v1/transactions/s-37").json()["state"] == "delivered")

    assert len(_counted(vendor)) == 500
    assert "queue.parked" not in till.conditions()


def test_trouble_is_logged_when_it_begins(till, vendor):
    """A sale is parked and nobody asks for the status: the log has the condition all the same."""
    alma = members(vendor, 1)[0].value("memberNumber")
    vendor.sim.faults.add(Fault(kind="poison", receipt_id="s-1"))

    till.sell("s-1", identifier={"type": "member_number", "value": alma})

    eventually(lambda: [line for line in till.logged("condition") if line["code"] == "queue.parked"])


def test_killed_after_the_answer(till, vendor):
    """The till has its 202 and the process is killed: the sale is there, the next is another, the vendor gets both."""
    alma = members(vendor, 1)[0].value("memberNumber")
    vendor.cut()

    assert till.sell("s-1", identifier={"type": "member_number", "value": alma}).status_code == 202
    till.kill()
    till.start()
    repeat = till.sell("s-1", identifier={"type": "member_number", "value": alma})
    assert till.sell("s-2", identifier={"type": "member_number", "value": alma}).status_code == 202
    vendor.mend()
    eventually(till.drained)

    assert repeat.status_code == 200
    assert repeat.json()["duplicate"] is True
    assert _counted(vendor) == {"s-1": 1, "s-2": 1}


def test_credentials_expire_during_the_outage(till, vendor):
    """The line returns with 401: nothing dropped or parked, the lane held, look-ups go on; a new key lets all go."""
    alma = members(vendor, 1)[0].value("memberNumber")
    vendor.cut()
    for number in range(300):
        till.sell(f"s-{number}", identifier={"type": "member_number", "value": alma})
    vendor.sim.faults.add(Fault(kind="answer", path="/api/*", status=401))
    vendor.mend()
    eventually(lambda: "vendor.credentials_refused" in till.conditions())

    status = till.status()
    assert status["queue"]["held"] == status["queue"]["depth"] == 300
    assert status["queue"]["parked"] == 0
    assert status["state"] == "degraded"
    assert till.http.get("/v1/transactions/s-7").json()["state"] == "held"
    assert till.identify("member_number", alma)["outcome"] == "matched"

    vendor.sim.faults.clear()
    till.key_file.write_text(API_KEY + "\n")
    eventually(till.drained)

    assert len(_counted(vendor)) == 300
    assert till.status()["state"] == "online"


def test_half_done_at_the_switch(till, vendor):
    """A sale is being sent when the cashier finishes it again: one sale at the vendor; other content is a conflict."""
    alma = {"type": "member_number", "value": members(vendor, 1)[0].value("memberNumber")}
    vendor.sim.faults.add(Fault(kind="hang", path="*/receipts"))
    first = till.sell("s-1", identifier=alma)
    eventually(lambda: till.http.get("/v1/transactions/s-1").json()["deliveries"][0]["attempts"] >= 1)
    vendor.cut()
    again = till.sell("s-1", identifier=alma)
    lines = [{"kind": "purchase", "sku": "SK-77", "quantity": "1", "gross_paid": "251.00"}]
    paid = {"total": "251.00", "payments": [{"type": "card", "amount": "251.00"}]}
    other = till.sell("s-1", identifier=alma, lines=lines, **paid)
    vendor.sim.faults.clear()
    vendor.mend()
    eventually(till.drained)

    assert first.status_code == 202
    assert again.status_code == 200
    assert again.json()["integration_key"] == first.json()["integration_key"]
    assert other.status_code == 409
    assert other.json()["code"] == "transaction.conflict"
    assert _counted(vendor) == {"s-1": 1}
    assert [receipt["totalGrossPrice"] for receipt in vendor.receipts()] == [250.0]


@pytest.mark.slow
def test_long_outage_is_not_a_failure(till, vendor):
    """Refused, then 503, then silence: nothing is parked or lost, order is kept per contact, the state says offline."""
    people = [person.value("memberNumber") for person in members(vendor, 20)]
    vendor.cut()
    for number in range(400):
        till.sell(f"s-{number:03}", identifier={"type": "member_number", "value": people[number % 20]})
    eventually(lambda: till.status()["state"] == "offline")
    vendor.sim.faults.add(Fault(kind="answer", path="/api/*", status=503))
    vendor.mend()
    time.sleep(2)
    assert till.status()["state"] == "offline"
    vendor.sim.faults.clear()
    vendor.sim.faults.add(Fault(kind="hang", path="/api/*"))
    time.sleep(4)
    assert till.status()["state"] == "offline"
    assert till.status()["queue"]["parked"] == 0
    vendor.sim.faults.clear()
    eventually(till.drained)

    assert _counted(vendor) == {f"s-{number:03}": 1 for number in range(400)}
    order = [receipt["uniqueReceiptId"] for receipt in vendor.receipts()]
    for person in range(20):
        mine = [uid for uid in order if int(uid[2:]) % 20 == person]
        assert list(dict.fromkeys(mine)) == sorted(set(mine))
    assert till.status()["state"] == "online"
