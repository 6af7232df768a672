"""Sales on their way to an input: alone, together, late, and into trouble."""

import base64
from datetime import timedelta

import pytest

from agent.connectors.mparticle import build
from agent.connectors.mparticle.batching import MAX_BATCH_BYTES
from agent.connectors.mparticle.client import MparticleClient
from agent.connectors.mparticle.simulator import Fault
from agent.domain.delivery import VerdictKind
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.transport import Transport
from tests.connectors.mparticle.sales import NOW, Reference, make_outgoing, make_sale, make_settings
from tests.fakes import surroundings
from tests.wire import POLICY, answer, cut, cut_in_the_body, nonsense, wire


def sales(count: int, **changes):
    return [
        make_outgoing(make_sale(transaction_id=f"t-{number:03}", **changes), entry=number, person=bytes([number]))
        for number in range(count)
    ]


def kinds(verdicts):
    return [verdict.kind for verdict in verdicts]


async def test_one_sale(simulator, connect):
    """Alone it goes by the call that says what is wrong with it."""
    sim, running = simulator

    [verdict] = await connect(running.url).send([make_outgoing()])

    assert (verdict.kind, verdict.status, verdict.code) == (VerdictKind.DONE, 202, "")
    assert sim.held() == {"1042-03-20260214-000187": 1}
    assert dict(sim.requests) == {"events": 1}


async def test_a_backlog(simulator, connect):
    """Together they go in one request."""
    sim, running = simulator

    verdicts = await connect(running.url).send(sales(100))

    assert kinds(verdicts) == [VerdictKind.DONE] * 100
    assert sim.held() == {f"t-{number:03}": 1 for number in range(100)}
    assert dict(sim.requests) == {"bulkevents": 1}


async def test_more_events_than_go_together(simulator, connect):
    """What would exceed the stricter reading of the limit is split off, and nothing of it is sent."""
    sim, running = simulator

    verdicts = await connect(running.url).send(sales(60, vouchers_used=[{"number": "V-1"}]))

    assert kinds(verdicts) == [VerdictKind.DONE] * 50 + [VerdictKind.SPLIT] * 10
    assert len(sim.received) == 50


async def test_what_is_too_old(simulator, connect):
    """It goes by the historical call, alone of its kind, and is reported; no output gets it."""
    sim, running = simulator
    old = make_outgoing(make_sale(transaction_id="old", occurred_at="2026-01-10T12:00:00+01:00"), entry=7)

    verdicts = await connect(running.url).send([*sales(2), old])
    [again] = await connect(running.url).send([old])

    assert kinds(verdicts) == [VerdictKind.DONE, VerdictKind.DONE, VerdictKind.SPLIT]
    assert (again.kind, again.code) == (VerdictKind.DONE, "sale.historical")
    assert [(row.call, row.outcome, row.forwarded) for row in sim.received] == [
        ("bulkevents", "processed", True),
        ("bulkevents", "processed", True),
        ("historical", "processed", False),
    ]


async def test_what_is_late(simulator, connect, clock):
    """A sale older than a day is accepted and reported: outputs may not get it."""
    sim, running = simulator
    clock.wall += timedelta(days=3)

    [verdict] = await connect(running.url).send([make_outgoing()])

    assert (verdict.kind, verdict.code, verdict.status) == (VerdictKind.DONE, "sale.late", 202)
    assert [(row.call, row.forwarded) for row in sim.received] == [("events", False)]


async def test_what_is_late_rests_too(connect, clock):
    """An allowance that is nearly used up is kept to, however old the sale is."""
    clock.wall += timedelta(days=3)
    async with wire(answer(202, x_mp_rate_limit_percentage_used="97")) as server:
        [verdict] = await connect(server.url).send([make_outgoing()])

    assert (verdict.kind, verdict.code, verdict.after_s) == (VerdictKind.DONE, "sale.late", 1.0)


@pytest.mark.parametrize("count", [1, 3], ids=["alone", "together"])
async def test_an_answer_that_is_lost(simulator, connect, count):
    """Sent again, alone or otherwise grouped, it is known to be the same and counts once."""
    sim, running = simulator
    fault = sim.add(Fault(kind="drop", after_processing=True))
    sender = connect(running.url)

    first = await sender.send(sales(count))
    sim.remove(fault)
    second = [verdict for one in sales(count) for verdict in await sender.send([one])]

    assert kinds(first) == [VerdictKind.RETRY] * count
    assert not any(verdict.not_received for verdict in first)
    assert kinds(second) == [VerdictKind.DONE] * count
    assert set(sim.held().values()) == {1}
    assert sim.counts() == {"processed": count, "duplicate": count}


async def test_half_of_a_request(simulator, connect):
    """The line breaks in the middle of a request: nothing is lost and nothing counts twice."""
    sim, running = simulator
    fault = sim.add(Fault(kind="half"))
    sender = connect(running.url)

    first = await sender.send(sales(10))
    sim.remove(fault)
    second = await sender.send(sales(10))

    assert kinds(first) == [VerdictKind.RETRY] * 10
    assert kinds(second) == [VerdictKind.DONE] * 10
    assert sim.held() == {f"t-{number:03}": 1 for number in range(10)}
    assert sim.counts()["duplicate"] == 5


async def test_a_poisoned_sale(simulator, connect):
    """Among others it has them split; alone it is parked."""
    sim, running = simulator
    sim.add(Fault(kind="poison", transaction_id="t-001"))
    sender = connect(running.url)

    together = await sender.send(sales(3))
    alone = [verdict for one in sales(3) for verdict in await sender.send([one])]

    assert kinds(together) == [VerdictKind.SPLIT] * 3
    assert kinds(alone) == [VerdictKind.DONE, VerdictKind.PARK, VerdictKind.DONE]
    assert alone[1].vendor_code == "BAD_REQUEST"
    assert sim.held() == {"t-000": 1, "t-002": 1}


@pytest.mark.parametrize(
    ("fault", "kind", "not_received"),
    [
        pytest.param(Fault(kind="drop"), VerdictKind.RETRY, False, id="dropped before"),
        pytest.param(Fault(kind="answer", status=200, body="html"), VerdictKind.RETRY, False, id="a captive portal"),
        pytest.param(Fault(kind="answer", status=202, body="empty"), VerdictKind.DONE, False, id="an empty 202"),
        pytest.param(Fault(kind="answer", status=400, body="echo"), VerdictKind.PARK, False, id="what was sent, said"),
        pytest.param(Fault(kind="answer", status=202, body="huge", size_bytes=17 << 20), VerdictKind.RETRY, False,
                     id="a huge answer"),
        pytest.param(Fault(kind="answer", status=503), VerdictKind.RETRY, False, id="503"),
        pytest.param(Fault(kind="answer", status=429, headers={"Retry-After": "9"}), VerdictKind.RETRY, True, id="429"),
        pytest.param(Fault(kind="answer", status=401), VerdictKind.HOLD, True, id="401"),
    ],
)  # fmt: skip
async def test_an_input_in_trouble(simulator, connect, fault, kind, not_received):
    """Whatever it does, there is a verdict for each sale and no exception, and nothing it said gets through."""
    sim, running = simulator
    sim.add(fault)

    verdicts = await connect(running.url).send([make_outgoing()])

    assert [(verdict.kind, verdict.not_received) for verdict in verdicts] == [(kind, not_received)]
    assert "10000421" not in repr(verdicts)


@pytest.mark.parametrize("script", [cut, cut_in_the_body, nonsense], ids=["cut", "cut in the body", "another protocol"])
async def test_no_whole_answer(connect, script):
    """An answer that does not come whole leaves the doubt to the next attempt."""
    async with wire(script) as server:
        [verdict] = await connect(server.url).send([make_outgoing()])

    assert (verdict.kind, verdict.code, verdict.reached, verdict.not_received) == (
        VerdictKind.RETRY,
        "vendor.offline",
        False,
        False,
    )


async def test_a_redirect_gets_nothing(connect):
    """Credentials and sale go to no other host."""
    async with wire(answer()) as other, wire(answer(302, location=other.url)) as server:
        [verdict] = await connect(server.url).send([make_outgoing()])

    assert (verdict.kind, other.connections) == (VerdictKind.RETRY, 0)


async def test_the_wire(connect):
    """Basic authentication, and JSON that says so."""
    async with wire(answer(202)) as server:
        await connect(server.url).send([make_outgoing()])

    head = server.requests[0].partition(b"\r\n\r\n")[0].decode().lower()
    assert head.startswith("post /v2/events http/1.1")
    assert f"authorization: basic {base64.b64encode(b'us1-key:sim-secret').decode()}".lower() in head
    assert "content-type: application/json" in head


@pytest.mark.parametrize(("status", "refusals"), [(401, 1), (403, 1), (400, 0)])
async def test_credentials_that_are_refused(status, refusals):
    """Key and secret are both read again before the next call: nobody says which of them is wrong."""
    key, secret = Reference("us1-key"), Reference("sim-secret")
    async with wire(answer(status)) as server:
        transport = Transport(f"{server.url}/v2", POLICY, connections=1, user_agent="LoyaltyAgent/0.1")
        client = MparticleClient(transport, key, secret, heard=lambda _answer: None)
        await client.post_events(b"{}")
        await client.close()

    assert (key.refusals, secret.refusals) == (refusals, refusals)


@pytest.mark.parametrize(
    "credentials",
    [{"key": None}, {"secret": None}, {"key": ""}, {"secret": ""}, {"key": "a:b"}, {"secret": "a\nb"}],
    ids=["no key", "no secret", "empty key", "empty secret", "a colon in the key", "a line break in the secret"],
)
async def test_credentials_that_are_missing(connect, credentials):
    """Without them everything is held; nothing went out."""
    async with wire(answer(202)) as server:
        [verdict] = await connect(server.url, **credentials).send([make_outgoing()])

    assert (verdict.kind, verdict.code, verdict.not_received) == (VerdictKind.HOLD, "vendor.credentials_missing", True)
    assert server.connections == 0


@pytest.mark.parametrize(
    ("what", "kind", "code"),
    [
        pytest.param(make_outgoing(guest=True), VerdictKind.PARK, "sale.without_member", id="nothing to send"),
        pytest.param(
            make_outgoing(make_sale(type="void", original_transaction_id="gone", lines=[], payments=[], total="0")),
            VerdictKind.PARK, "sale.without_lines", id="a void of a sale that is gone",
        ),
        pytest.param(
            make_outgoing(
                make_sale(lines=[{"kind": "purchase", "sku": "A" * 250, "quantity": "1", "gross_paid": "1"}] * 999)
            ),
            VerdictKind.PARK, "sale.too_large", id="more lines than it takes",
        ),
        pytest.param(
            make_outgoing(maybe_received=True, accepted_at=NOW - timedelta(days=30, seconds=1)),
            VerdictKind.IN_DOUBT, "sale.window_closed", id="it may have arrived, long ago",
        ),
        pytest.param(
            make_outgoing(
                make_sale(occurred_at="2026-01-15T12:00:00Z"), maybe_received=True, accepted_at=NOW - timedelta(days=2)
            ),
            VerdictKind.IN_DOUBT, "sale.window_closed", id="it may have arrived, by the other call",
        ),
    ],
)  # fmt: skip
async def test_what_is_not_sent(simulator, connect, what, kind, code):
    """It is left to a person, and does not keep its neighbours."""
    sim, running = simulator

    verdicts = await connect(running.url).send([what, *sales(1)])

    assert [(verdict.kind, verdict.code) for verdict in verdicts] == [(kind, code), (VerdictKind.DONE, "")]
    assert sim.held() == {"t-000": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"maybe_received": True, "accepted_at": NOW - timedelta(days=29)},
        {"maybe_received": False, "accepted_at": NOW - timedelta(days=31)},
        {
            "maybe_received": True,
            "accepted_at": NOW - timedelta(days=2),
            "record": {"occurred_at": "2026-01-10T12:00:00Z"},
        },
        {
            "maybe_received": False,
            "accepted_at": NOW - timedelta(days=2),
            "record": {"occurred_at": "2026-01-15T12:00:00Z"},
        },
    ],
    ids=[
        "it would be recognised",
        "it never went out",
        "it was old from the beginning",
        "it got old, and never went out",
    ],
)
async def test_what_waited_long(simulator, connect, changes):
    """A sale goes as long as it cannot count twice."""
    _, running = simulator
    sold = make_sale(**changes.pop("record", {}))

    [verdict] = await connect(running.url).send([make_outgoing(sold, **changes)])

    assert verdict.kind is VerdictKind.DONE


async def test_the_largest_sale_goes(simulator, connect):
    """Four hundred lines are no trouble."""
    sim, running = simulator
    line = {"kind": "purchase", "sku": "A" * 20, "name": "Wool socks " * 5, "quantity": "1", "gross_paid": "1"}

    [verdict] = await connect(running.url).send([make_outgoing(make_sale(lines=[line] * 400))])

    assert verdict.kind is VerdictKind.DONE
    assert 60_000 < len(str(sim.received[0].batch)) < MAX_BATCH_BYTES


async def test_pinging(simulator, connect, clock):
    """An input that answers is there; refused credentials are told apart from silence; nothing is stored."""
    sim, running = simulator
    secrets = {"credential:mparticle-key": Reference("us1-key"), "credential:mparticle-secret": Reference("sim-secret")}

    room = build(
        make_settings(base_url=f"{running.url}/v2"),
        surroundings(role="forward", secret=secrets.__getitem__, http=POLICY, clock=clock),
    )
    await room.ping()
    fault = sim.add(Fault(kind="answer", status=503))
    with pytest.raises(VendorUnreachableError):
        await room.ping()
    sim.remove(fault)
    sim.keys["us1-key"] = "another"
    with pytest.raises(VendorRefusedError):
        await room.ping()
    await room.close()

    assert sim.received == []
