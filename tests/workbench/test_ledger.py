"""The count at the end of the demonstration: it must be able to tell bad news."""

import json
import random
from datetime import UTC, datetime

import pytest

from agent.connectors.voyado.simulator import SimulatorSettings, VoyadoSimulator
from agent.workbench.ledger import Ledger
from agent.workbench.till import Reply

PRIMARY = {"kind": "primary", "type": "member_number", "value": "10000000"}
SECONDARY = {"kind": "secondary", "type": "mobile_phone", "value": "+46701740699"}


@pytest.fixture
def tenant(tmp_path):
    settings = SimulatorSettings(root=tmp_path, receipt_interval_s=None, export_interval_s=None)
    tenant = VoyadoSimulator(settings, now=lambda: datetime(2026, 2, 14, tzinfo=UTC), rng=random.Random(1))
    tenant.seed(3)
    return tenant


def receive(tenant, name, key="memberNumber", value="10000000"):
    receipt = {
        "contact": {"matchKey": value, "matchKeyType": key, "contactType": "Member"},
        "uniqueReceiptId": name,
        "receiptNumber": name,
        "createdDate": "2026-02-14T16:41:09+01:00",
        "storeExternalId": "1042",
        "currency": "SEK",
        "totalGrossPrice": 10.0,
        "paymentMethods": [{"type": "card", "value": 10.0}],
        "items": [
            {
                "type": "PURCHASE",
                "sku": "a",
                "articleNumber": "a",
                "articleName": "a",
                "quantity": 1,
                "grossPaidPrice": 10.0,
                "taxAmount": 2.0,
                "taxPercent": 25,
                "awardsBonus": True,
            }
        ],
    }
    tenant.receipts.accept(json.dumps(receipt).encode())


def promised(*names, key=PRIMARY, kind="purchase", status=202):
    ledger = Ledger()
    for name in names:
        ledger.note({"transaction_id": name, "type": kind}, Reply(status, {"integration_key": key}, 1.0))
    return ledger


def test_a_sale_that_arrived_once_is_sound(tenant):
    """Delivered is delivered, also when the answer was lost and it was posted twice."""
    ledger = promised("a", "b")
    for name in ("a", "a", "b"):
        receive(tenant, name)
    tenant.import_receipts_now()

    count = ledger.count(tenant)
    assert (count.made, count.delivered, count.doubled, count.lost, count.repeated) == (2, 2, 0, 0, 1)
    assert count.sound


def test_a_sale_that_did_not_arrive_is_lost(tenant):
    """What the till was promised and the loyalty system does not have is counted."""
    ledger = promised("a", "b")
    receive(tenant, "a")

    count = ledger.count(tenant)
    assert (count.delivered, count.lost, count.sound) == (1, 1, False)


def test_a_sale_that_should_not_have_arrived_is_doubled(tenant):
    """A voided sale, or one that nobody made, is bad news at the loyalty system."""
    ledger = promised("a", "b", "c")
    ledger.note_voided("b", "c")
    for name in ("a", "b"):
        receive(tenant, name)

    count = ledger.count(tenant)
    assert (count.made, count.voided, count.doubled, count.lost, count.sound) == (1, 2, 1, 0, False)


def test_a_sale_booked_twice_is_doubled(tenant):
    """Two bookings of one sale in the members' histories are one too many."""
    ledger = promised("a")
    receive(tenant, "a")
    tenant.import_receipts_now()
    for posts in tenant.receipts.by_contact.values():
        posts.append(posts[0])

    assert ledger.count(tenant).doubled == 1


def test_nothing_made_is_not_sound(tenant):
    """An empty day proves nothing."""
    assert not Ledger().count(tenant).sound


def test_guests_refusals_and_repeats_are_no_promises(tenant):
    """A guest's sale is owed to nobody, a refused one was never taken, and a repeat changes nothing."""
    ledger = promised("guest", key=None)
    ledger.note({"transaction_id": "refused", "type": "purchase"}, Reply(409, {"code": "transaction.conflict"}, 1.0))
    ledger.note({"transaction_id": "a", "type": "purchase"}, Reply(202, {"integration_key": SECONDARY}, 1.0))
    ledger.note({"transaction_id": "a", "type": "purchase"}, Reply(200, {"integration_key": PRIMARY}, 1.0))
    receive(tenant, "a")
    tenant.import_receipts_now()

    count = ledger.count(tenant)
    assert (count.made, count.guests, count.risen, count.sound) == (1, 1, 1, True)


def test_a_sale_that_names_nobody_is_told(tenant):
    """The loyalty system has it, and books nothing."""
    ledger = promised("a", key=SECONDARY)
    receive(tenant, "a", "mobilePhone", "+46701740699")
    tenant.import_receipts_now()

    count = ledger.count(tenant)
    assert (count.delivered, count.unmatched, count.risen, count.sound) == (1, 1, 0, True)
