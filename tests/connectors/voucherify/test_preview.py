"""What a sale would earn, as Voucherify examines it."""

import json
from decimal import Decimal

import pytest

from agent.connectors.registry import ROOMS
from agent.connectors.voucherify import build
from agent.connectors.voucherify.settings import VoucherifySettings
from agent.connectors.voucherify.simulator.loyalty import Program
from agent.domain.earning import Forecast
from agent.domain.identifiers import IdentifierType
from agent.errors import VendorRefusedError, VendorUnreachableError
from tests.connectors.mparticle.sales import Reference
from tests.connectors.voucherify.conftest import APP_ID, TOKEN
from tests.fakes import FakeClock, at_once, member_key, primary_key, surroundings, transaction
from tests.wire import POLICY, answer, cut, wire

PROGRAM = "lprg_1"
SOCKS = {"kind": "purchase", "sku": "SK-1-M", "article_number": "SK-1", "name": "Wool socks", "quantity": "2"}
SALE = transaction(lines=[{**SOCKS, "gross_paid": "250.00"}])
UNKNOWN = Forecast(None, member=False)
CANNOT_TELL = Forecast(None)


def examined(*programs, **changes):
    """An examination's answer: of each programme its name and what its cards would get."""
    memberships = [
        {"program": {"id": f"lprg_{name}", "name": name}, "cards": [{"points_estimation": points} for points in cards]}
        for name, cards in programs
    ]
    return json.dumps({"object": "earnings_examine_result", "memberships": memberships, **changes}).encode()


@pytest.fixture(name="ask")
async def _ask():
    """Asks a project at an address."""
    made = []

    async def ask(url, sale=SALE, key=None, *, token=TOKEN, pace=at_once, **table):
        settings = VoucherifySettings(base_url=url, loyalty_api="v2", **table)
        secrets = {settings.app_id: Reference(APP_ID), settings.app_token: Reference(token)}
        made.append(build(settings, surroundings(secret=secrets.__getitem__, http=POLICY, clock=FakeClock())))
        preview = ROOMS["voucherify"].owner.preview(made[-1])
        return await preview.points(key or member_key(), sale, timeout_s=5, pace=pace)

    yield ask
    for connector in made:
        await connector.close()


@pytest.mark.parametrize(
    "key", [member_key(), primary_key(IdentifierType.CONTACT_ID, "cust_00000000")], ids=["number", "id"]
)
async def test_points_of_a_member(simulator, ask, key):
    """By either key; the question names goods by their ids alone, and changes nothing at the project."""
    sim, running = simulator
    sim.enrol(source_id="10000421")
    sim.join("10000421", Program(PROGRAM, "Socks club", per=1000), points=7)
    told = dict(sim.customers["10000421"])
    assert await ask(running.url, key=key) == Forecast(Decimal(25))
    assert (sim.orders, sim.events, sim.programs[PROGRAM].cards) == ({}, [], {"cust_00000000": 7})
    assert sim.customers["10000421"] == told


async def test_who_is_in_no_programme(simulator, ask):
    """Nothing is earned, and that is an answer; whom Voucherify does not know is another."""
    sim, running = simulator
    sim.enrol(source_id="10000421")
    assert await ask(running.url) == Forecast(Decimal(0))
    assert await ask(running.url, key=member_key("10000999")) == UNKNOWN
    assert set(sim.customers) == {"10000421"}


async def test_each_question_is_counted(simulator, ask):
    """The call comes out of this agent's share."""
    sim, running = simulator
    sim.enrol(source_id="10000421")
    taken = []

    async def pace():
        taken.append(1)

    await ask(running.url, pace=pace)
    assert (taken, sim.requests) == ([1], {"POST loyalties": 1})


async def test_the_question(ask):
    """As its order would say it, with the facts that the table names, typed; the person is named by the key alone."""
    async with wire(answer(200, examined())) as vendor:
        await ask(vendor.url, order_metadata={"store_id": "string", "total_amount": "number"})
    head, _, body = vendor.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v2/loyalties/examine/earning-rules HTTP/1.1")
    goods = {"source_id": "SK-1-M", "related_object": "sku", "product": {"source_id": "SK-1"}}
    assert json.loads(body) == {
        "trigger": {"type": "SPECIFIC", "specific": {"event": "customer.order.paid"}},
        "customer_identification": {"type": "customer_source_id", "customer_source_id": "10000421"},
        "customer_order_paid": {
            "order": {
                "amount": 25000,
                "items": [{**goods, "quantity": 2, "price": 12500, "amount": 25000}],
                "metadata": {"total_amount": 25000},
            }
        },
    }


@pytest.mark.parametrize(
    ("campaign", "points"),
    [("", 51), ("socks", 40), ("lprg_hats", 11), ("gloves", 0)],
    ids=["all of them", "by name", "by id", "another"],
)
async def test_which_programme_counts(ask, campaign, points):
    """The one that the table names, by name or id; its cards together."""
    async with wire(answer(200, examined(("socks", [30, 10]), ("hats", [11])))) as vendor:
        assert await ask(vendor.url, campaign=campaign) == Forecast(Decimal(points))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b'{"key": "invalid_payload"}'),
        (402, b'{"key": "missing_required_feature"}'),
        (403, b'{"key": "missing_required_permission"}'),
        (404, b'{"message": "Cannot POST"}'),
        (423, b'{"key": "non_active_program"}'),
    ],
)
async def test_a_project_without_previews(ask, status, body):
    """It cannot tell; our credentials are good for the rest, so that nothing is said of them."""
    async with wire(answer(status, body)) as vendor:
        assert await ask(vendor.url) == CANNOT_TELL


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (answer(401, b'{"key": "unauthorized"}'), VendorRefusedError),
        (answer(402, b"{}"), VendorRefusedError),
        (answer(429, b"{}"), VendorUnreachableError),
        (answer(500, b"{}"), VendorUnreachableError),
        (answer(200, b"<html>"), VendorUnreachableError),
        (answer(200, b'{"object": "order"}'), VendorUnreachableError),
        (answer(409, examined()), VendorUnreachableError),
        (answer(200, examined(memberships=None)), VendorUnreachableError),
        (answer(200, examined(memberships=[7])), VendorUnreachableError),
        (answer(200, examined(memberships=[{"cards": None}])), VendorUnreachableError),
        (answer(200, examined(("socks", ["30"]))), VendorUnreachableError),
        (answer(200, examined(("socks", [True]))), VendorUnreachableError),
        (answer(200, examined(("socks", [1.5]))), VendorUnreachableError),
        (cut, VendorUnreachableError),
    ],
)
async def test_an_answer_that_says_nothing(ask, script, error):
    """It is one of the two errors that every question knows."""
    async with wire(script) as vendor:
        with pytest.raises(error):
            await ask(vendor.url)


@pytest.mark.parametrize(
    ("sale", "key"),
    [
        (transaction(lines=[{**SOCKS, "gross_paid": "0.50"}] * 501), member_key()),
        (transaction(currency="JPY", lines=[{**SOCKS, "gross_paid": "0.5"}]), member_key()),
        (SALE, primary_key(IdentifierType.EXTERNAL_ID, "x-1")),
    ],
    ids=["too many lines", "less than its smallest unit", "a key of nobody's there"],
)
async def test_what_is_never_asked(ask, sale, key):
    """What no order could say."""
    async with wire(answer(200, examined())) as vendor:
        assert await ask(vendor.url, sale, key) == CANNOT_TELL
    assert vendor.requests == []


@pytest.mark.parametrize(
    "table", [{}, {"loyalty_api": "v1"}, {"loyalty_api": "v2", "earn_with": "event"}], ids=["default", "v1", "events"]
)
async def test_where_there_is_no_preview(table):
    """Loyalty v1 has none, and what an event earns is another question."""
    settings = VoucherifySettings(**table)
    secrets = {settings.app_id: Reference(APP_ID), settings.app_token: Reference(TOKEN)}
    connector = build(settings, surroundings(secret=secrets.__getitem__, http=POLICY))
    assert ROOMS["voucherify"].owner.preview(connector) is None
    await connector.close()
