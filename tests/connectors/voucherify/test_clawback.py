"""Points of a sale that came back: read from the customer's card, taken off it once, and from nobody else."""

import json
from datetime import timedelta

import pytest

from agent.connectors.voucherify.cards import MAX_PAGES
from agent.connectors.voucherify.clawback import SETTLES_S
from agent.connectors.voucherify.simulator import Fault
from agent.domain.delivery import VerdictKind
from tests.connectors.mparticle.sales import make_outgoing, make_sale
from tests.wire import answer, in_turn, wire

DONE, DUPLICATE, PARK, RETRY, HOLD = (
    VerdictKind.DONE, VerdictKind.DUPLICATE, VerdictKind.PARK, VerdictKind.RETRY, VerdictKind.HOLD,
)  # fmt: skip
SOLD = {"kind": "purchase", "sku": "SK-77", "quantity": "2", "gross_paid": "250.00"}
MORE = {"kind": "purchase", "sku": "B", "quantity": "1", "gross_paid": "100.00"}
LATE = timedelta(seconds=SETTLES_S)
ORDER = {"object": "order", "id": "ord_00000001", "source_id": "s-1", "status": "PAID", "amount": 25_000,
         "customer_id": "cust_00000000"}  # fmt: skip


def back(name="r-1", *, of="s-1", paid="125.00", more=(), currency="SEK", **changes):
    line = {"kind": "return", "sku": "SK-77", "quantity": "-1", "gross_paid": paid}
    named = {"original_transaction_id": of, "lines": [line, *more]}
    sold = make_sale(transaction_id=name, type="return", currency=currency, **named)
    return make_outgoing(sold, **changes)


@pytest.fixture
async def shop(simulator, connect):
    """A project in which 1.00 earns a point; one sale of 250.00 of a customer with a card that had ten points."""
    sim, running = simulator
    sim.enrol(source_id="10000421")
    card = sim.give("10000421", "LC-1", type="LOYALTY_CARD", loyalty_card={"points": 10, "balance": 10})
    sim.ledger.per_point = 100
    sender = connect(running.url, on_return="adjust_points")
    [sold] = await sender.send([make_outgoing(make_sale(transaction_id="s-1", lines=[SOLD]))])
    assert (sold.kind, card["loyalty_card"]["balance"]) == (DONE, 260)
    return sim, sender, card["loyalty_card"]


@pytest.fixture
def again(simulator, connect):
    """Makes another sender, as after a start."""
    return lambda: connect(simulator[1].url, on_return="adjust_points")


async def told(sender, *batch):
    return [(verdict.kind, verdict.code) for verdict in await sender.send(batch)]


async def test_half_of_it_comes_back(shop):
    """Half of the points go, whose removal names the return and its sale; the order stays as it is."""
    sim, sender, card = shop
    before = json.dumps(sim.orders["s-1"])
    assert await told(sender, back()) == [(DONE, "")]
    assert (card["balance"], sim.ledger.changes("r-1")) == (135, [-125])
    assert json.dumps(sim.orders["s-1"]) == before


async def test_all_of_it_in_parts(shop):
    """No more points go than the sale earned, and a share is rounded for the customer."""
    sim, sender, card = shop
    batch = [back("r-1", paid="83.35"), back("r-2", paid="83.35"), back("r-3", paid="83.30")]
    assert await told(sender, *batch) == [(DONE, "")] * 3
    assert [sim.ledger.changes(name) for name in ("r-1", "r-2", "r-3")] == [[-83], [-83], [-83]]
    assert await told(sender, back("r-4", paid="250.00"), back("r-5")) == [(DONE, ""), (DONE, "sale.no_points_taken")]
    assert (card["balance"], sim.ledger.changes("r-4")) == (10, [-1])


async def test_sent_twice(shop):
    """It is found on the card, and counts once."""
    sim, sender, _ = shop
    assert await told(sender, back(), back(), back(maybe_received=True)) == [
        (DONE, ""),
        (DUPLICATE, ""),
        (DUPLICATE, ""),
    ]
    assert sim.ledger.changes("r-1") == [-125]


@pytest.mark.parametrize("carried_out", [True, False])
@pytest.mark.parametrize("restarted", [True, False])
async def test_a_lost_answer(shop, again, clock, carried_out, restarted):
    """A change can show late: what may have been sent is looked for for a minute before it is sent again."""
    sim, sender, card = shop
    sim.ledger.waits = 1
    sim.faults.append(Fault(kind="drop", path="*/balance", count=1, after_processing=carried_out))
    [lost] = await sender.send([back()])
    assert (lost.kind, lost.not_received) == (RETRY, False)
    if restarted:
        sender = again()
    assert await told(sender, back(maybe_received=True)) == [(RETRY, "sale.points_awaited")]
    clock.advance(LATE.total_seconds())
    [found] = await sender.send([back(maybe_received=True)])
    assert found.kind is (DUPLICATE if carried_out else DONE)
    assert (card["balance"], sim.ledger.changes("r-1")) == (135, [-125])


async def test_points_that_follow_later(shop, clock):
    """An order earns after it was taken: a return that overtakes that waits, and nothing is sent meanwhile."""
    sim, sender, card = shop
    sim.ledger.waits = 1
    await sender.send([make_outgoing(make_sale(transaction_id="s-2", lines=[SOLD]))])
    [waits] = await sender.send([back("r-2", of="s-2")])
    assert (waits.code, waits.awaits, waits.not_received) == ("sale.points_awaited", True, True)
    clock.advance(10)
    assert await told(sender, back("r-2", of="s-2")) == [(DONE, "")]
    assert card["balance"] == 260 + 250 - 125


async def test_a_sale_that_earned_nothing(shop, clock):
    """Once a minute is over that is so; points that are pending are a person's matter."""
    sim, sender, card = shop
    sim.ledger.per_point = 0
    await sender.send([make_outgoing(make_sale(transaction_id="s-2", lines=[SOLD]))])
    outgoing = back("r-2", of="s-2")
    assert await told(sender, outgoing) == [(RETRY, "sale.points_awaited")]
    clock.advance(LATE.total_seconds())
    assert await told(sender, outgoing) == [(DONE, "sale.no_points_taken")]
    card["pending_points"] = 250
    assert await told(sender, outgoing) == [(PARK, "sale.points_pending")]


async def test_an_exchange(shop):
    """Its points go, and what was bought earns its own; what becomes of both is one verdict."""
    sim, sender, card = shop
    assert await told(sender, back(more=[MORE])) == [(DONE, "")]
    assert (card["balance"], sim.orders["r-1"]["amount"]) == (260 - 125 + 100, 10_000)


async def test_an_exchange_that_was_paid_with_points(shop):
    """What the customer has spent in it is not what is taken back for it."""
    sim, sender, card = shop
    sim.adjust("LC-1", {"points": -40, "source_id": "r-1/spent", "reason": "agent_spent"})
    assert await told(sender, back(more=[MORE])) == [(DONE, "")]
    assert (card["balance"], sim.ledger.changes("r-1")) == (260 - 40 - 125 + 100, [-125])


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (back(of="s-9"), "sale.without_original"),
        (back(of=None), "sale.without_original"),
        (back(paid="250.01"), "sale.exceeds_original"),
        (back(currency="KWD", paid="0.0005"), "sale.inexact"),
    ],
    ids=["no such sale", "no sale", "more than that", "a fraction"],
)
async def test_what_a_person_settles(shop, sent, code):
    """It is parked, and no point is moved."""
    _, sender, card = shop
    assert await told(sender, sent) == [(PARK, code)]
    assert card["balance"] == 260


async def test_points_that_are_spent(shop):
    """What the card does not have any more is the vendor's no, and a person's matter."""
    _, sender, card = shop
    card["balance"] = 124
    [verdict] = await sender.send([back()])
    assert (verdict.kind, verdict.vendor_code) == (PARK, "loyalty_card_points_exceeded")


async def test_a_sale_that_was_voided(shop):
    """Nothing of it can come back."""
    sim, sender, _ = shop
    sim.orders["s-1"]["status"] = "CANCELED"
    assert await told(sender, back()) == [(PARK, "sale.exceeds_original")]


async def test_several_cards(simulator, shop, connect):
    """Which one is meant the campaign says; without one nothing is taken."""
    sim, sender, _ = shop
    sim.give("10000421", "LC-2", type="LOYALTY_CARD", campaign="Other", loyalty_card={"points": 0, "balance": 0})
    await sender.send([make_outgoing(make_sale(transaction_id="s-2", lines=[SOLD]))])
    assert await told(sender, back(of="s-2")) == [(PARK, "sale.return_unsupported")]
    sender = connect(simulator[1].url, on_return="adjust_points", campaign="Other")
    assert await told(sender, back(of="s-2")) == [(DONE, "")]
    assert sim.vouchers.coded("LC-2")["loyalty_card"]["balance"] == 125


async def test_a_guest_s_sale(connect):
    """Nobody earned points by it."""
    order = {name: value for name, value in ORDER.items() if name != "customer_id"}
    async with wire(answer(200, json.dumps(order).encode())) as vendor:
        sender = connect(vendor.url, on_return="adjust_points")
        assert await told(sender, back()) == [(DONE, "sale.no_points_taken")]


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (500, b"", (RETRY, "vendor.error")),
        (403, b'{"key": "missing_required_permission"}', (HOLD, "vendor.credentials_refused")),
        (200, b"<html>", (RETRY, "vendor.unreadable")),
    ],
    ids=["an error", "no such right", "a page"],
)
async def test_nothing_is_taken_because_of_the_line(connect, at, status, body, expected):
    """What cannot be read says nothing, and the return was not received."""
    good = [
        json.dumps(ORDER).encode(),
        page({"redeemable": {"voucher": {"id": "v_1", "code": "LC 1", "type": "LOYALTY_CARD"}}}),
    ]
    scripts = [answer(200, one) for one in good[:at]]
    async with wire(in_turn(*scripts, answer(status, body))) as vendor:
        [verdict] = await connect(vendor.url, on_return="adjust_points").send([back()])
        assert ((verdict.kind, verdict.code), verdict.not_received) == (expected, True)
        assert not [request for request in vendor.requests if request.startswith(b"POST")]


async def test_a_card_with_more_than_is_read(connect):
    """What stands behind that nobody knows: it is left to a person."""
    card = {"id": "v_1", "code": "LC-1", "type": "LOYALTY_CARD", "loyalty_card": {"balance": 1, "pending_points": None}}
    rows = page({"type": "POINTS_ADDITION"}, has_more=True, more_starting_after="vtx_1")
    scripts = [answer(200, json.dumps(ORDER).encode()), answer(200, page({"redeemable": {"voucher": card}}))]
    async with wire(in_turn(*scripts, *[answer(200, rows)] * MAX_PAGES)) as vendor:
        assert await told(connect(vendor.url, on_return="adjust_points"), back()) == [(PARK, "sale.return_unsupported")]
        assert len(vendor.requests) == 2 + MAX_PAGES


def page(*rows, **more):
    return json.dumps({"object": "list", "data_ref": "data", "data": rows, "has_more": False, **more}).encode()
