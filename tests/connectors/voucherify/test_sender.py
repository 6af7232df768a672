"""Sales on their way to a project: made once, canceled, taken back, in doubt, and into trouble."""

import asyncio
import json
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from agent.connectors.voucherify import build
from agent.connectors.voucherify.client import VoucherifyClient
from agent.connectors.voucherify.sender import VoucherifySender
from agent.connectors.voucherify.settings import VoucherifySettings
from agent.connectors.voucherify.simulator import Fault
from agent.domain.delivery import VerdictKind
from agent.domain.identifiers import IdentifierType
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.transport import Transport
from tests.connectors.mparticle.sales import Reference, make_key, make_outgoing, make_sale
from tests.fakes import surroundings
from tests.wire import POLICY, answer, cut, cut_in_the_body, in_turn, nonsense, wire

PHONE = "+46701740605"
ORDER = b'{"object": "order", "id": "ord_00000001", "status": "%s"}'
MISSING = b'{"code": 404, "key": "not_found"}'
PURCHASE = {"kind": "purchase", "sku": "B", "quantity": "1", "gross_paid": "100.00"}
RETURNED = {"kind": "return", "sku": "SK-77", "quantity": "-1", "gross_paid": "125.00"}
DONE, DUPLICATE, PARK, RETRY, HOLD, IN_DOUBT = (
    VerdictKind.DONE,
    VerdictKind.DUPLICATE,
    VerdictKind.PARK,
    VerdictKind.RETRY,
    VerdictKind.HOLD,
    VerdictKind.IN_DOUBT,
)


def sale(name="s-1", **changes):
    return make_outgoing(make_sale(transaction_id=name), **changes)


def back(name="r-1", *, of="s-1", quantity="1", paid="125.00", more=(), **changes):
    line = {"kind": "return", "sku": "SK-77", "quantity": f"-{quantity}", "gross_paid": paid}
    named = {} if of is None else {"original_transaction_id": of}
    return make_outgoing(make_sale(transaction_id=name, type="return", lines=[line, *more], **named), **changes)


def void(name="v-1", *, of="s-1", original=None, **changes):
    cleared = make_sale(transaction_id=name, type="void", original_transaction_id=of, lines=[], payments=[], total="0")
    return make_outgoing(cleared, original=original, **changes)


async def test_one_sale(simulator, connect):
    """It becomes an order under its own id; the order's id is its reference."""
    sim, running = simulator

    [verdict] = await connect(running.url).send([sale()])

    assert (verdict.kind, verdict.status, verdict.code, verdict.reference) == (DONE, 200, "", "ord_00000000")
    assert sim.held() == {"s-1": 1}
    assert sim.customers["10000421"]["source_id"] == "10000421"


async def test_an_order_sent_twice(simulator, connect):
    """It is one order, whatever the vendor's memory of it is: the second is the first."""
    sim, running = simulator
    sender = connect(running.url)

    verdicts = [*await sender.send([sale()]), *await sender.send([sale()])]

    assert [verdict.kind for verdict in verdicts] == [DONE, DONE]
    assert verdicts[0].reference == verdicts[1].reference
    assert (len(sim.orders), sim.held()) == (1, {"s-1": 1})


async def test_an_answer_that_is_lost(simulator, connect):
    """What may have arrived is looked up, and not sent as paid a second time."""
    sim, running = simulator
    sender = connect(running.url)
    fault = sim.add(Fault(kind="drop", method="POST", after_processing=True))

    [first] = await sender.send([sale()])
    sim.remove(fault)
    [second] = await sender.send([sale(maybe_received=True)])

    assert (first.kind, first.not_received) == (RETRY, False)
    assert (second.kind, second.reference) == (DUPLICATE, "ord_00000000")
    assert sim.paid == {"s-1": 1}
    assert dict(sim.requests) == {"POST orders": 1, "GET orders": 1}


async def test_a_request_that_is_lost(simulator, connect):
    """What may have arrived and did not is sent."""
    sim, running = simulator
    sender = connect(running.url)
    fault = sim.add(Fault(kind="drop", method="POST"))

    [first] = await sender.send([sale()])
    sim.remove(fault)
    [second] = await sender.send([sale(maybe_received=True)])

    assert [first.kind, second.kind] == [RETRY, DONE]
    assert sim.paid == {"s-1": 1}


@pytest.mark.parametrize(
    ("held", "kind", "code"),
    [
        pytest.param({"amount": 25000, "status": "PAID"}, DUPLICATE, "", id="the sale"),
        pytest.param({"status": "PAID"}, DUPLICATE, "", id="of an amount that is not said"),
        pytest.param({"amount": 25000, "status": "FULFILLED"}, DUPLICATE, "", id="fulfilled"),
        pytest.param({"amount": 25000, "status": "CANCELED"}, DUPLICATE, "", id="canceled"),
        pytest.param({"amount": 25001, "status": "PAID"}, PARK, "sale.collision", id="of another amount"),
        pytest.param({"amount": 0, "status": "CANCELED"}, PARK, "sale.collision", id="of nothing"),
        pytest.param({"amount": "25000", "status": "PAID"}, DUPLICATE, "", id="of an amount as text"),
        pytest.param({"amount": [], "status": "PAID"}, RETRY, "vendor.unreadable", id="of no amount"),
        pytest.param({"amount": 25000, "status": ["PAID"]}, RETRY, "vendor.unreadable", id="in no status"),
        pytest.param({"amount": 25000, "status": "PAID", "source_id": "s-2"}, RETRY, "vendor.unreadable",
                     id="another order"),
        pytest.param({"amount": 25000, "status": "PAID", "customer": {"source_id": "10000422"}}, PARK,
                     "sale.collision", id="somebody else's"),
        pytest.param({"amount": 25000, "status": "PAID", "customer": {"source_id": "10000421"}}, DUPLICATE, "",
                     id="the same member's"),
        pytest.param({"amount": 25000, "status": "PAID", "customer": {"id": "cust_1"}}, DUPLICATE, "",
                     id="of whom nothing is said that we know"),
    ],
)  # fmt: skip
async def test_an_order_under_the_id_of_a_sale(connect, held, kind, code):
    """It is the sale that may have arrived only if amount and customer say nothing else; two are not taken for one."""
    body = json.dumps({"object": "order", "id": "ord_00000001", "source_id": "s-1", **held}).encode()
    async with wire(answer(200, body)) as server:
        [verdict] = await connect(server.url).send([sale(maybe_received=True)])

    assert (verdict.kind, verdict.code, verdict.reference) == (kind, code, None if code else "ord_00000001")
    assert len(server.requests) == 1


async def test_an_answer_about_another_order(connect):
    """It says nothing of this sale, which is looked up before it goes again."""
    body = json.dumps({"object": "order", "id": "ord_00000001", "source_id": "s-2"}).encode()
    async with wire(answer(200, body)) as server:
        [verdict] = await connect(server.url).send([sale()])

    assert (verdict.kind, verdict.code, verdict.not_received) == (RETRY, "vendor.unreadable", False)


async def test_an_id_that_another_sale_has(simulator, connect):
    """A first attempt asks nothing; that its answer shows an order that was there before is told."""
    _, running = simulator
    sender = connect(running.url, customer_metadata={"shoe_size": "number"})
    await sender.send([sale()])
    contact = {"email": "alma@example.com", "attributes": {"hat": "red"}}

    with capture_logs() as logs:
        [first] = await sender.send([sale("s-2")])
        [second] = await sender.send([make_outgoing(make_sale(transaction_id="s-1", new_contact=contact))])

    assert [(verdict.kind, verdict.code) for verdict in (first, second)] == [(DONE, ""), (DONE, "sale.known_before")]
    assert [line["transaction_id"] for line in logs if line["event"] == "sale.known_before"] == ["s-1"]


async def test_an_order_that_somebody_has_begun(simulator, connect):
    """An order that is there and not paid is paid."""
    sim, running = simulator
    sim.write_order({"source_id": "s-1", "status": "CREATED"})

    [verdict] = await connect(running.url).send([sale(maybe_received=True)])

    assert (verdict.kind, verdict.code, sim.held()) == (DONE, "", {"s-1": 1})


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        pytest.param(answer(500, b"{}"), RETRY, id="500"),
        pytest.param(answer(429, b"{}"), RETRY, id="429"),
        pytest.param(answer(401, b"{}"), HOLD, id="401"),
        pytest.param(answer(404, b"<html>"), RETRY, id="404 of somebody else's"),
        pytest.param(answer(200, b"{}"), RETRY, id="no order"),
        pytest.param(cut, RETRY, id="cut"),
    ],
)
async def test_a_look_up_that_says_nothing(connect, script, kind):
    """Then nothing is sent: the sale waits until it is known whether it is there."""
    async with wire(script) as server:
        [verdict] = await connect(server.url).send([sale(maybe_received=True)])

    assert verdict.kind is kind
    assert not any(request.startswith(b"POST") for request in server.requests)


async def test_a_void(simulator, connect):
    """The order of the sale is canceled and keeps everything else; doing it again changes nothing."""
    sim, running = simulator
    sender = connect(running.url)
    await sender.send([sale()])
    before = dict(sim.orders["s-1"])

    verdicts = [*await sender.send([void()]), *await sender.send([void(maybe_received=True)])]

    assert [verdict.kind for verdict in verdicts] == [DONE, DONE]
    after = sim.orders["s-1"]
    assert after["status"] == "CANCELED"
    assert {name: after[name] for name in ("amount", "items", "metadata")} == {
        name: before[name] for name in ("amount", "items", "metadata")
    }
    assert len(sim.orders) == 1


async def test_a_void_of_a_sale_that_is_not_there(simulator, connect):
    """A person has to look: nothing is canceled, and no order is made of it."""
    sim, running = simulator

    [verdict] = await connect(running.url).send([void()])

    assert (verdict.kind, verdict.code, sim.orders) == (PARK, "sale.without_original", {})


@pytest.mark.parametrize(
    ("what", "table", "code"),
    [
        pytest.param(back(), {}, "sale.return_unsupported", id="a return"),
        pytest.param(back(more=[PURCHASE]), {}, "sale.return_unsupported", id="an exchange"),
        pytest.param(make_outgoing(make_sale(type="points_claim", original_transaction_id="s-1", lines=[RETURNED])),
                     {"on_return": "order_update"}, "sale.return_unsupported", id="a claim of an exchange"),
        pytest.param(back(of=None), {"on_return": "order_update"}, "sale.without_original", id="without a receipt"),
        pytest.param(void(of="r-1", original=back().transaction), {"on_return": "order_update"},
                     "sale.return_unsupported", id="a void of a return"),
        pytest.param(sale(guest=True, key=None), {}, "sale.without_member", id="a guest"),
        pytest.param(sale(key=make_key(IdentifierType.MOBILE_PHONE, PHONE)), {}, "sale.without_member",
                     id="a phone, which is no key there"),
        pytest.param(make_outgoing(make_sale(lines=[PURCHASE] * 501)), {}, "sale.too_large", id="more than 500 lines"),
        pytest.param(make_outgoing(make_sale(lines=[{**PURCHASE, "gross_paid": "0.005"}])), {}, "sale.inexact",
                     id="half an öre"),
        pytest.param(back(), {"earn_with": "event"}, "sale.return_unsupported", id="a return of an event"),
        pytest.param(void(), {"earn_with": "event"}, "sale.return_unsupported", id="a void of an event"),
        pytest.param(sale(guest=True, key=None), {"earn_with": "event"}, "sale.without_member", id="a guest's event"),
    ],
)  # fmt: skip
async def test_what_is_left_to_a_person(connect, what, table, code):
    """It is parked with the reason, and nothing of it goes out."""
    async with wire(answer(200, ORDER % b"PAID")) as server:
        [verdict] = await connect(server.url, **table).send([what])

    assert (verdict.kind, verdict.code) == (PARK, code)
    assert server.connections == 0


async def test_five_hundred_lines(simulator, connect):
    """As many as Voucherify takes go."""
    _, running = simulator

    [verdict] = await connect(running.url).send([make_outgoing(make_sale(lines=[PURCHASE] * 500))])

    assert verdict.kind is DONE


async def test_a_return_is_taken_off_its_order(simulator, connect):
    """Part of it, the rest of it, and nothing twice when an answer is lost."""
    sim, running = simulator
    sender = connect(running.url, on_return="order_update")
    await sender.send([sale()])

    [part] = await sender.send([back()])
    after_part = dict(sim.orders["s-1"])
    fault = sim.add(Fault(kind="drop", method="PUT", after_processing=True))
    [lost] = await sender.send([back("r-2")])
    sim.remove(fault)
    [again] = await sender.send([back("r-2", maybe_received=True)])
    [beyond] = await sender.send([back("r-3")])

    assert [part.kind, lost.kind, again.kind] == [DONE, RETRY, DUPLICATE]
    assert (after_part["amount"], after_part["status"], after_part["items"][0]["quantity"]) == (12500, "PAID", 1)
    assert sim.orders["s-1"]["status"] == "CANCELED"
    assert sim.orders["s-1"]["metadata"]["agent_returns"] == "r-1,r-2"
    assert (beyond.kind, beyond.code) == (PARK, "sale.exceeds_original")
    assert sim.held() == {"s-1": 1, "r-1": 1, "r-2": 1}


async def test_a_return_of_somebody_whom_voucherify_cannot_know(simulator, connect):
    """It is taken off the order all the same: an order is found by the sale, not by the customer."""
    sim, running = simulator
    sender = connect(running.url, on_return="order_update")
    await sender.send([sale()])

    [verdict] = await sender.send([back(key=make_key(IdentifierType.MOBILE_PHONE, PHONE))])

    assert (verdict.kind, sim.orders["s-1"]["amount"]) == (DONE, 12500)


async def test_an_exchange(simulator, connect):
    """What came back is taken off the old order, what was bought is a new one; a lost answer doubles neither."""
    sim, running = simulator
    sender = connect(running.url, on_return="order_update")
    await sender.send([sale()])
    fault = sim.add(Fault(kind="drop", method="POST", after_processing=True))

    [first] = await sender.send([back(more=[PURCHASE])])
    sim.remove(fault)
    [second] = await sender.send([back(more=[PURCHASE], maybe_received=True)])

    assert [first.kind, second.kind] == [RETRY, DUPLICATE]
    assert (sim.orders["s-1"]["amount"], sim.orders["r-1"]["amount"]) == (12500, 10000)
    assert [row["source_id"] for row in sim.orders["r-1"]["items"]] == ["B"]
    assert sim.paid == {"s-1": 1, "r-1": 1}
    assert sim.held() == {"s-1": 1, "r-1": 1}


async def test_a_return_whose_order_is_not_there(simulator, connect):
    """A person has to look; of an exchange nothing is sent either."""
    sim, running = simulator

    [verdict] = await connect(running.url, on_return="order_update").send([back(more=[PURCHASE])])

    assert (verdict.kind, verdict.code, sim.orders) == (PARK, "sale.without_original", {})


def claim(**changes):
    return make_outgoing(make_sale(transaction_id="c-1", type="points_claim", original_transaction_id="s-1"), **changes)


async def test_a_claim_of_a_guests_sale(simulator, connect):
    """The member gets an order, and the guest's is canceled: its goods do not count twice."""
    sim, running = simulator
    sender = connect(running.url, guest_sales=True)
    await sender.send([sale(guest=True)])

    [verdict] = await sender.send([claim()])
    [again] = await sender.send([claim(maybe_received=True)])

    assert [verdict.kind, again.kind] == [DONE, DUPLICATE]
    assert {name: (order["status"], "customer" in order) for name, order in sim.orders.items()} == {
        "s-1": ("CANCELED", False),
        "c-1": ("PAID", True),
    }


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        pytest.param(Fault(kind="answer", status=429, method="POST"), RETRY, "vendor.busy", id="429"),
        pytest.param(Fault(kind="answer", status=402, method="POST"), HOLD, "vendor.plan_exhausted", id="402"),
        pytest.param(Fault(kind="answer", status=401, method="POST"), HOLD, "vendor.credentials_refused", id="401"),
        pytest.param(Fault(kind="answer", status=400, method="POST"), IN_DOUBT, "sale.partly_taken", id="400"),
        pytest.param(Fault(kind="poison", source_id="OWN"), IN_DOUBT, "sale.partly_taken", id="poison"),
        pytest.param(Fault(kind="drop", method="POST"), RETRY, "vendor.offline", id="dropped"),
    ],
)
@pytest.mark.parametrize("what", ["exchange", "claim"])
async def test_what_is_half_done(*, simulator, connect, fault, kind, code, what):
    """Once an earlier order was changed for a sale, no answer says that nothing arrived; the rest is done later."""
    sim, running = simulator
    sender = connect(running.url, on_return="order_update", guest_sales=True)
    await sender.send([sale(guest=what == "claim")])
    own, make = {"exchange": ("r-1", lambda **more: back(more=[PURCHASE], **more)), "claim": ("c-1", claim)}[what]
    added = sim.add(replace(fault, source_id=fault.source_id and own))

    [first] = await sender.send([make()])
    [second] = await sender.send([make(maybe_received=True)])
    sim.remove(added)
    [third] = await sender.send([make(maybe_received=True)])

    assert [(verdict.kind, verdict.code, verdict.not_received) for verdict in (first, second)] == [
        (kind, code, False)
    ] * 2
    assert third.kind is DONE
    assert sim.held()[own] == 1


async def test_credentials_that_go_missing_between_two_writes(simulator, clock):
    """The order was changed already: everything is held, and the sale may have arrived."""

    class Fading(Reference):
        left = 3  # one sale, and of the exchange the question and the change

        def value(self) -> str:
            self.left -= 1
            return super().value() if self.left >= 0 else ""

    _, running = simulator
    transport = Transport(running.url, POLICY, connections=1, user_agent="LoyaltyAgent/0.1")
    client = VoucherifyClient(transport, Fading("app-1"), Reference("sim-token"), heard=lambda _answer: None)
    settings = VoucherifySettings(on_return="order_update")
    sender = VoucherifySender(client, settings, primary=IdentifierType.MEMBER_NUMBER, clock=clock)
    await sender.send([sale()])

    [verdict] = await sender.send([back(more=[PURCHASE])])
    await client.close()

    assert (verdict.kind, verdict.code, verdict.not_received) == (HOLD, "vendor.credentials_missing", False)


async def test_a_claim_of_somebodys_sale(simulator, connect):
    """An order that has a customer is left alone, and a person has to look."""
    sim, running = simulator
    sender = connect(running.url)
    await sender.send([sale()])

    [verdict] = await sender.send([claim(key=make_key(value="10000422"))])

    assert (verdict.kind, verdict.code) == (PARK, "sale.has_customer")
    assert sim.orders.keys() == {"s-1"}
    assert sim.orders["s-1"]["status"] == "PAID"


async def test_a_claim_of_a_sale_that_never_went_there(simulator, connect):
    """It is an order of its own."""
    sim, running = simulator

    [verdict] = await connect(running.url).send([claim()])

    assert (verdict.kind, sim.held()) == (DONE, {"c-1": 1})


async def test_guests(simulator, connect):
    """Where they are wanted they are orders without a customer; whom Voucherify cannot know goes so too."""
    sim, running = simulator
    sender = connect(running.url, guest_sales=True)

    [guest] = await sender.send([sale(guest=True)])
    [nobody] = await sender.send([sale("s-2", key=make_key(IdentifierType.MOBILE_PHONE, PHONE))])

    assert [(verdict.kind, verdict.code) for verdict in (guest, nobody)] == [
        (DONE, ""),
        (DONE, "sale.without_customer"),
    ]
    assert sim.customers == {}


@pytest.mark.parametrize(
    ("held", "kind", "code"),
    [
        pytest.param({"status": "CANCELED"}, PARK, "sale.taken_back", id="voided"),
        pytest.param({"status": "PAID", "metadata": {"agent_returns": "r-1"}}, PARK, "sale.taken_back",
                     id="partly returned"),
        pytest.param({"status": "CANCELED", "metadata": {"agent_returns": "r-1"}}, PARK, "sale.taken_back",
                     id="returned"),
        pytest.param({"status": "CANCELED", "metadata": {"agent_claim": "c-2"}}, PARK, "sale.has_customer",
                     id="claimed by another"),
        pytest.param({"status": "CANCELED", "metadata": {"agent_claim": "c-1"}}, DONE, "", id="freed by this claim"),
        pytest.param({"status": "PAID", "metadata": {"agent_claim": "c-1"}}, DONE, "", id="paid again since"),
    ],
)  # fmt: skip
async def test_what_became_of_a_claimed_order(*, simulator, connect, held, kind, code):
    """What was voided or came back is not claimed in full; what this claim canceled itself is."""
    sim, running = simulator
    sim.write_order({"source_id": "s-1", "amount": 25000, **held})
    before = dict(sim.orders["s-1"])

    [verdict] = await connect(running.url).send([claim()])

    assert (verdict.kind, verdict.code) == (kind, code)
    if kind is PARK:
        assert sim.orders == {"s-1": before}
    else:
        assert {name: order["status"] for name, order in sim.orders.items()} == {"s-1": "CANCELED", "c-1": "PAID"}


async def test_the_mark_of_a_claim(simulator, connect):
    """The guest's order says which claim canceled it, beside what it said before."""
    sim, running = simulator
    sender = connect(running.url, guest_sales=True)
    await sender.send([sale(guest=True)])

    await sender.send([claim()])

    assert sim.orders["s-1"]["metadata"].items() >= {"agent_claim": "c-1", "store_id": "1042"}.items()


async def test_returns_at_the_same_time(simulator, connect):
    """Two that come back at once are both taken off: one order is read and written by one of them at a time."""
    sim, running = simulator
    sender = connect(running.url, on_return="order_update")
    await sender.send([sale()])
    sim.add(Fault(kind="latency", method="PUT", delay_s=0.2))

    verdicts = await asyncio.gather(sender.send([back()]), sender.send([back("r-2")]))

    assert [verdict.kind for [verdict] in verdicts] == [DONE, DONE]
    assert sim.held() == {"s-1": 1, "r-1": 1, "r-2": 1}


async def test_what_was_omitted_is_told(simulator, connect):
    """A sale that went without something says so, with the names and never the values."""
    _, running = simulator
    contact = {"email": "alma@example.com", "attributes": {"shoe_size": "large-9917", "hat": "red-9917"}}
    outgoing = make_outgoing(make_sale(new_contact=contact))

    with capture_logs() as logs:
        [verdict] = await connect(running.url, customer_metadata={"shoe_size": "number"}).send([outgoing])

    assert (verdict.kind, verdict.code) == (DONE, "sale.metadata_omitted")
    [line] = [line for line in logs if line["event"] == "sale.metadata_omitted"]
    assert line["detail"] == "hat, shoe_size"
    assert "9917" not in repr(logs) + repr(verdict)


async def test_metadata_that_the_schema_refuses(simulator, connect):
    """A configuration that says another type than the project has is told by the project; the sale waits."""
    sim, running = simulator
    sim.schemas["order"] = {"properties": {"store_id": {"type": "number"}}}

    [wrong] = await connect(running.url).send([sale()])
    [right] = await connect(running.url, order_metadata={"store_id": "number"}).send([sale()])

    assert (wrong.kind, wrong.vendor_code) == (PARK, "metadata_validation_failed")
    assert right.kind is DONE
    assert sim.orders["s-1"]["metadata"] == {"store_id": 1042}


# --- events -------------------------------------------------------------------------------------------------


async def test_an_event(simulator, connect):
    """One sale, one event."""
    sim, running = simulator

    [verdict] = await connect(running.url, earn_with="event").send([sale()])

    assert (verdict.kind, verdict.reference) == (DONE, None)
    assert [event["metadata"]["transaction_id"] for event in sim.events] == ["s-1"]
    assert sim.orders == {}


@pytest.mark.parametrize(
    ("on_doubt", "first", "second", "events"),
    [
        pytest.param("hold", (IN_DOUBT, "sale.maybe_received"), (IN_DOUBT, "sale.maybe_received"), 1, id="hold"),
        pytest.param("drop", (DONE, "sale.not_repeated"), (DONE, "sale.not_repeated"), 1, id="drop"),
        pytest.param("resend", (RETRY, "vendor.offline"), (DONE, "sale.time_lost"), 2, id="resend"),
    ],
)
async def test_an_event_whose_answer_is_lost(*, simulator, connect, on_doubt, first, second, events):
    """Nothing there would recognise it: what becomes of it is what the configuration says, now and after a restart."""
    sim, running = simulator
    sender = connect(running.url, earn_with="event", on_doubt=on_doubt)
    fault = sim.add(Fault(kind="drop", after_processing=True))

    [lost] = await sender.send([sale()])
    sim.remove(fault)
    [after] = await sender.send([sale(maybe_received=True)])

    assert (lost.kind, lost.code) == first
    assert lost.reached is False
    assert (after.kind, after.code) == second
    assert len(sim.events) == events


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        pytest.param(answer(500, b"{}"), IN_DOUBT, id="500 proves nothing"),
        pytest.param(answer(200, b"{}"), IN_DOUBT, id="nor does somebody's 200"),
        pytest.param(cut_in_the_body, IN_DOUBT, id="nor half an answer"),
        pytest.param(answer(302, b"{}"), RETRY, id="a redirect went nowhere"),
        pytest.param(answer(404, b"{}"), RETRY, id="nobody was there"),
        pytest.param(answer(405, b"{}"), RETRY, id="no such call"),
        pytest.param(answer(407, b"{}"), RETRY, id="a proxy let nothing through"),
        pytest.param(answer(429, b"{}"), RETRY, id="429 took nothing"),
        pytest.param(answer(401, b"{}"), HOLD, id="401 took nothing"),
        pytest.param(answer(400, b"{}"), PARK, id="400 answers"),
    ],
)
async def test_what_is_in_doubt(connect, script, kind):
    """An event is tried again by itself, and is never given up, only where it is certain that it was not taken."""
    async with wire(script) as server:
        [held] = await connect(server.url, earn_with="event").send([sale()])
        [dropped] = await connect(server.url, earn_with="event", on_doubt="drop").send([sale()])

    assert held.kind is kind
    assert dropped.kind is (DONE if kind is IN_DOUBT else kind)


# --- the line -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind", "not_received"),
    [
        pytest.param(Fault(kind="drop"), RETRY, False, id="dropped"),
        pytest.param(Fault(kind="answer", status=200, body="html"), RETRY, False, id="a captive portal"),
        pytest.param(Fault(kind="answer", status=200, body="truncated"), RETRY, False, id="half an object"),
        pytest.param(Fault(kind="answer", status=200, body="huge", size_bytes=17 << 20), RETRY, False, id="huge"),
        pytest.param(Fault(kind="answer", status=400, body="echo"), PARK, False, id="what was sent, said"),
        pytest.param(Fault(kind="answer", status=503), RETRY, False, id="503"),
        pytest.param(Fault(kind="answer", status=429, headers={"Retry-After": "9"}), RETRY, True, id="429"),
        pytest.param(Fault(kind="answer", status=401), HOLD, True, id="401"),
        pytest.param(Fault(kind="poison", source_id="s-1"), PARK, False, id="poison"),
    ],
)
async def test_a_project_in_trouble(simulator, connect, fault, kind, not_received):
    """Whatever it does, there is a verdict and no exception, and nothing it said gets through."""
    sim, running = simulator
    sim.add(fault)

    [verdict] = await connect(running.url).send([sale()])

    assert (verdict.kind, verdict.not_received) == (kind, not_received)
    assert "10000421" not in repr(verdict)


@pytest.mark.parametrize("script", [cut, cut_in_the_body, nonsense], ids=["cut", "cut in the body", "another protocol"])
async def test_no_whole_answer(connect, script):
    """An answer that does not come whole leaves the doubt to the next attempt."""
    async with wire(script) as server:
        [verdict] = await connect(server.url).send([sale()])

    assert (verdict.kind, verdict.code, verdict.not_received) == (RETRY, "vendor.offline", False)


async def test_the_allowance(simulator, connect):
    """The last tenth of a minute's calls is left to others; beyond the last one the vendor says how long to wait."""
    sim, running = simulator
    sim.allowance.per_minute = 10
    sender = connect(running.url)

    verdicts = [(await sender.send([sale(f"s-{number}")]))[0] for number in range(11)]

    assert [verdict.after_s for verdict in verdicts[:9]] == [None] * 9
    assert [(verdict.kind, verdict.after_s) for verdict in verdicts[9:]] == [(DONE, 60.0), (RETRY, 60.0)]
    assert verdicts[10].vendor_code == "api_calls"
    assert len(sim.orders) == 10


async def test_the_last_tenth_is_spaced(simulator, connect):
    """While calls are left no instant is named: a delivery waits a minute then, and others have the rest."""
    sim, running = simulator
    sim.allowance.per_minute = 100
    sender = connect(running.url)

    verdicts = [(await sender.send([sale(f"s-{number}")]))[0] for number in range(95)]

    assert [verdict.after_s for verdict in verdicts] == [None] * 90 + [60.0] * 5


async def test_a_plan_that_is_used_up(simulator, connect):
    """Everything is held: waiting does not help, a person or the next cycle does."""
    sim, running = simulator
    sim.allowance.of_plan = 1
    sender = connect(running.url)

    verdicts = [(await sender.send([sale(f"s-{number}")]))[0] for number in range(2)]
    sim.allowance.of_plan = None
    [after] = await sender.send([sale("s-1")])

    assert [verdict.kind for verdict in verdicts] == [DONE, HOLD]
    assert (verdicts[1].code, verdicts[1].vendor_code, verdicts[1].not_received) == (
        "vendor.plan_exhausted", "api_calls_cycle", True,
    )  # fmt: skip
    assert after.kind is DONE


async def test_a_redirect_gets_nothing(connect):
    """Credentials and sale go to no other host."""
    async with wire(answer()) as other, wire(answer(302, location=other.url)) as server:
        [verdict] = await connect(server.url).send([sale()])

    assert (verdict.kind, other.connections) == (RETRY, 0)


async def test_the_wire(connect):
    """Two headers and the version; no credential and nobody in a path, whatever is asked."""
    order = answer(200, ORDER % b"PAID")
    async with wire(in_turn(order, answer(404, MISSING), order)) as server:
        sender = connect(server.url)
        await sender.send([sale()])
        await sender.send([sale("a:b", maybe_received=True)])

    heads = [request.partition(b"\r\n\r\n")[0].decode() for request in server.requests]
    assert [head.splitlines()[0] for head in heads] == [
        "POST /v1/orders HTTP/1.1", "GET /v1/orders/a%3Ab HTTP/1.1", "POST /v1/orders HTTP/1.1",
    ]  # fmt: skip
    for head in heads:
        assert "x-app-id: app-1" in head.lower()
        assert "x-app-token: sim-token" in head.lower()
        assert "x-voucherify-api-version: v2018-08-01" in head.lower()


@pytest.mark.parametrize(("status", "refusals"), [(401, 1), (403, 1), (400, 0), (402, 0)])
async def test_credentials_that_are_refused(status, refusals):
    """Id and token are both read again before the next call: nobody says which of them is wrong."""
    app_id, token = Reference("app-1"), Reference("sim-token")
    async with wire(answer(status)) as server:
        transport = Transport(server.url, POLICY, connections=1, user_agent="LoyaltyAgent/0.1")
        client = VoucherifyClient(transport, app_id, token, heard=lambda _answer: None)
        await client.post_order(b"{}")
        await client.close()

    assert (app_id.refusals, token.refusals) == (refusals, refusals)


@pytest.mark.parametrize(
    "credentials",
    [{"app_id": None}, {"token": None}, {"app_id": ""}, {"token": ""}, {"token": "a\nb"}, {"token": "ä"}],
    ids=["no id", "no token", "empty id", "empty token", "a line break in the token", "a letter no header has"],
)
async def test_credentials_that_are_missing(connect, credentials):
    """Without them everything is held; nothing went out."""
    async with wire(answer(200, ORDER % b"PAID")) as server:
        [verdict] = await connect(server.url, **credentials).send([sale()])

    assert (verdict.kind, verdict.code, verdict.not_received) == (HOLD, "vendor.credentials_missing", True)
    assert server.connections == 0


async def test_pinging(simulator, clock):
    """A project that answers is there; refused credentials are told apart from silence; nothing is stored."""
    sim, running = simulator
    secrets = {"credential:voucherify-id": Reference("app-1"), "credential:voucherify-token": Reference("sim-token")}

    room = build(
        VoucherifySettings(base_url=running.url),
        surroundings(role="forward", secret=secrets.__getitem__, http=POLICY, clock=clock),
    )
    await room.ping()
    fault = sim.add(Fault(kind="answer", status=503))
    with pytest.raises(VendorUnreachableError):
        await room.ping()
    sim.remove(fault)
    sim.keys["app-1"] = "another"
    with pytest.raises(VendorRefusedError):
        await room.ping()
    await room.close()

    assert (sim.orders, sim.customers) == ({}, {})


@pytest.mark.parametrize("owns", [True, False])
async def test_a_sale_of_somebody_is_no_guest_s_where_the_contacts_are(simulator, connect, owns):
    """The owner's lane leaves it to a person; a further system takes it without a customer, as it was asked to."""
    sim, running = simulator
    sender = connect(running.url, owns_contacts=owns, guest_sales=True)
    key = make_key(IdentifierType.MOBILE_PHONE, PHONE)

    [named] = await sender.send([sale("s-1", key=key)])
    [unnamed] = await sender.send([sale("s-2", guest=True, open=True)])
    [guest] = await sender.send([sale("s-3", guest=True)])

    expected = (PARK, "sale.without_member") if owns else (DONE, "sale.without_customer")
    assert (named.kind, named.code) == expected
    assert (unnamed.kind, guest.kind) == (PARK if owns else DONE, DONE)
    assert sim.held().keys() == ({"s-3"} if owns else {"s-1", "s-2", "s-3"})


async def test_a_customer_by_the_vendor_s_own_id(simulator, connect):
    """The order is theirs; one whom the vendor does not have any more parks the sale."""
    sim, running = simulator
    alma = sim.enrol(email="alma@example.com")["id"]
    sender = connect(running.url, owns_contacts=True)

    [verdict] = await sender.send([sale(key=make_key(IdentifierType.CONTACT_ID, alma))])
    [again] = await sender.send([replace(sale(key=make_key(IdentifierType.CONTACT_ID, alma)), maybe_received=True)])
    [other] = await sender.send([replace(sale(key=make_key(IdentifierType.CONTACT_ID, "cust_9")), maybe_received=True)])
    sim.leave(alma)
    [gone] = await sender.send([sale("s-2", key=make_key(IdentifierType.CONTACT_ID, alma))])

    assert (verdict.kind, again.kind, sim.orders["s-1"]["customer_id"]) == (DONE, DUPLICATE, alma)
    assert (other.kind, other.code) == (PARK, "sale.collision")
    assert (gone.kind, gone.status, len(sim.customers)) == (PARK, 404, 0)
