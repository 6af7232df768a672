"""What a customer can use, as Voucherify says it."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from agent.connectors.registry import ROOMS
from agent.connectors.voucherify import build
from agent.connectors.voucherify.benefits import MAX_PAGES, PAGE, voucher_of
from agent.connectors.voucherify.settings import VoucherifySettings
from agent.connectors.voucherify.simulator import Fault
from agent.connectors.voucherify.simulator.loyalty import Program
from agent.domain.benefits import Benefit, BenefitKind, Benefits, Points, Worth
from agent.domain.identifiers import IdentifierType
from agent.errors import VendorRefusedError, VendorUnreachableError
from tests.connectors.mparticle.sales import Reference
from tests.connectors.voucherify.conftest import APP_ID, TOKEN
from tests.fakes import NOW, FakeClock, at_once, member_key, primary_key, surroundings
from tests.wire import POLICY, answer, cut, wire

UNTIL = "2026-12-31T23:00:00.000Z"
VOUCHER = {
    "id": "v_1", "code": "CODE-1", "type": "DISCOUNT_VOUCHER", "campaign": "Bonus",
    "discount": {"type": "AMOUNT", "amount_off": 5000}, "redemption": {"quantity": 1, "redeemed_quantity": 0},
}  # fmt: skip
MONEY = Worth("money", Decimal("50.00"), "SEK")
BENEFIT = Benefit(BenefitKind.VOUCHER, "v_1", "Bonus", MONEY, None, "CODE-1")


def row(status="ACTIVE", role="OWNER", **voucher):
    return {"holder_role": role, "redeemable": {"voucher": {**VOUCHER, **voucher}, "status": status}}


def page(*rows, **more):
    return json.dumps({"object": "list", "data_ref": "data", "data": rows, "has_more": False, **more}).encode()


@pytest.fixture(name="ask")
async def _ask():
    """Asks a project at an address."""
    made = []

    async def ask(url, key=None, *, token=TOKEN, pace=at_once, **table):
        settings = VoucherifySettings(base_url=url, currency="SEK", **table)
        secrets = {settings.app_id: Reference(APP_ID), settings.app_token: Reference(token)}
        made.append(build(settings, surroundings(secret=secrets.__getitem__, http=POLICY, clock=FakeClock())))
        benefits = ROOMS["voucherify"].owner.benefits(made[-1])
        return await benefits.benefits(key or member_key(), timeout_s=5, pace=pace)

    yield ask
    for connector in made:
        await connector.close()


@pytest.mark.parametrize(
    "key", [member_key(), primary_key(IdentifierType.CONTACT_ID, "cust_00000000")], ids=["number", "id"]
)
async def test_what_a_customer_has(simulator, ask, key):
    """Vouchers and the points of loyalty cards of version 1, in one call; what somebody else has is not theirs."""
    sim, running = simulator
    sim.enrol(source_id="10000421")
    sim.enrol(source_id="10000422")
    sim.give("10000421", "CODE-1", campaign="Bonus", expiration_date=UNTIL)
    sim.give(
        "10000421", "LC-1", type="LOYALTY_CARD", loyalty_card={"points": 300, "balance": 240, "pending_points": 12}
    )
    sim.give("10000422", "CODE-2")
    taken = []

    async def pace():
        taken.append(1)

    voucher = Benefit(
        BenefitKind.VOUCHER, "v_00000000", "Bonus", Worth("money", Decimal("10.00"), "SEK"),
        datetime(2026, 12, 31, 23, tzinfo=UTC), "CODE-1",
    )  # fmt: skip
    assert await ask(running.url, key, pace=pace) == Benefits(Points(Decimal(240), Decimal(12)), (voucher,))
    assert (len(taken), sim.requests) == (1, {"GET customers": 1})


@pytest.mark.parametrize("key", [member_key(), primary_key(IdentifierType.CONTACT_ID, "cust_00000000")])
async def test_points_of_version_2(simulator, ask, key):
    """From the customer's memberships; a loyalty card of version 1 does not count."""
    sim, running = simulator
    sim.enrol(source_id="10000421")
    sim.join("10000421", Program("lprg_1", "Socks", pending=3), points=7)
    sim.join("10000421", Program("lprg_2", "Hats"), points=40)
    sim.give("10000421", "LC-1", type="LOYALTY_CARD", loyalty_card={"balance": 240})
    for campaign, points in (("", (47, 3)), ("Socks", (7, 3)), ("lprg_2", (40, 0))):
        found = await ask(running.url, key, loyalty_api="v2", campaign=campaign)
        assert found == Benefits(Points(*map(Decimal, points)))
    assert await ask(running.url, key, loyalty_api="v2", campaign="Gloves") == Benefits()


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_nobody(simulator, ask, version):
    """Whom Voucherify does not know has nothing; whose key it has no place for is not asked about."""
    sim, running = simulator
    assert await ask(running.url, loyalty_api=version) == Benefits()
    asked = dict(sim.requests)
    assert await ask(running.url, primary_key(IdentifierType.EXTERNAL_ID, "x"), loyalty_api=version) == Benefits()
    assert sim.requests == asked
    assert sim.customers == {}


async def test_a_member_who_has_left(ask):
    """A membership that is kept for the record has no points to spend."""
    cards = [{"card": {"balance": {"points": 7, "pending_points": 0}}}]
    body = {"object": "memberships_result", "memberships": [{"member": {"status": "DELETED"}, "cards": cards}]}

    async def script(request, writer):
        told = json.dumps(body).encode() if request.startswith(b"GET /v2/") else page()
        await answer(200, told)(request, writer)

    async with wire(script) as vendor:
        assert await ask(vendor.url, loyalty_api="v2") == Benefits()
        body["memberships"][0]["member"]["status"] = "ACTIVE"
        assert await ask(vendor.url, loyalty_api="v2") == Benefits(Points(Decimal(7)))


@pytest.mark.parametrize(
    ("campaign", "balance"), [("", 51), ("Socks", 40), ("camp_hats", 11), ("Gloves", None)],
    ids=["all of them", "by name", "by id", "another"],
)  # fmt: skip
async def test_which_cards_count(ask, campaign, balance):
    """Those of the campaign that the table names; a card that is over counts for nothing."""
    cards = [("Socks", 30, "ACTIVE"), ("Socks", 10, "NO_BALANCE"), ("Hats", 11, "ACTIVE"), ("Hats", 99, "EXPIRED"),
             ("Socks", 99, "DISABLED")]  # fmt: skip
    rows = [
        row(status, type="LOYALTY_CARD", campaign=name, campaign_id=f"camp_{name.lower()}", loyalty_card={"balance": n})
        for name, n, status in cards
    ]
    async with wire(answer(200, page(*rows))) as vendor:
        found = await ask(vendor.url, campaign=campaign)
    assert found.points == (Points(Decimal(balance)) if balance is not None else None)


async def test_page_after_page(simulator, ask):
    """They are read one after the other, and not without end."""
    sim, running = simulator
    sim.enrol(source_id="10000421")
    for number in range(MAX_PAGES * PAGE + 1):
        sim.give("10000421", f"CODE-{number}")
    found = await ask(running.url)
    assert [item.reference for item in found.items] == [f"CODE-{number}" for number in range(MAX_PAGES * PAGE)]
    assert sim.requests == {"GET customers": MAX_PAGES}


async def test_a_last_page(ask):
    """One that says that nothing follows is the last, whatever else it says."""
    async with wire(answer(200, page(row(), more_starting_after="rh_1"))) as vendor:
        assert len((await ask(vendor.url)).items) == 1
    assert len(vendor.requests) == 1


@pytest.mark.parametrize(
    ("discount", "info", "worth"),
    [
        ({"type": "AMOUNT", "amount_off": 5000}, None, MONEY),
        ({"type": "PERCENT", "percent_off": 12.5}, None, Worth("percent", percent=Decimal("12.5"))),
        ({"type": "UNIT", "unit_off": 1}, "One pair of socks free", Worth("manual", text="One pair of socks free")),
        ({"type": "FIXED", "fixed_amount": 100}, None, None),
        ({"type": "AMOUNT", "amount_off": -1}, None, None),
        ({"type": "AMOUNT", "amount_off": 10**13}, None, None),
        ({"type": "AMOUNT", "amount_off": "5000"}, None, None),
        ({"type": "PERCENT", "percent_off": 101}, None, None),
        ({"type": "PERCENT", "percent_off": True}, None, None),
        (None, None, None),
    ],
)
def test_what_a_voucher_is_worth(discount, info, worth):
    """An amount in the currency that the table names, a percentage, the voucher's own words, or nobody says."""
    assert voucher_of(row(discount=discount, additional_info=info), "SEK").value == worth


@pytest.mark.parametrize(
    ("currency", "worth"),
    [("", None), ("JPY", Worth("money", Decimal(5000), "JPY")), ("KWD", Worth("money", Decimal("5.000"), "KWD"))],
)
def test_amounts_have_no_currency_of_their_own(currency, worth):
    """They are in the smallest unit of the one that the table names; without one nothing is said."""
    assert voucher_of(row(), currency).value == worth


@pytest.mark.parametrize(
    "held",
    [pytest.param(row(status), id=status) for status in ("USED", "DISABLED", "NOT_ACTIVE_YET", "EXPIRED", "NO_BALANCE")]
    + [
        pytest.param(row(redemption={"quantity": 1, "redeemed_quantity": 1}), id="used up"),
        pytest.param(row(redemption={"quantity": None, "redeemed_quantity": 0}), id="without end"),
        pytest.param(row(redemption={"quantity": 5, "redeemed_quantity": 0}), id="for several"),
        pytest.param(row(type="GIFT_VOUCHER"), id="a gift card"),
        pytest.param(row(type="LOYALTY_CARD"), id="a loyalty card"),
        pytest.param(row(role="REFERRER"), id="for others"),
        pytest.param(row(active=False), id="switched off"),
        pytest.param(row(id="../x"), id="no id"),
        pytest.param(row(expiration_date="soon"), id="an end nobody can read"),
        pytest.param(row(expiration_date="2026-12-31T00:00:00"), id="an end without an offset"),
        pytest.param({}, id="nothing"),
    ],
)
def test_what_no_till_can_use_up(held):
    """It is left out."""
    assert voucher_of(held, "SEK") is None


def test_a_code_that_no_receipt_can_name():
    """The voucher is known by its id; names are cut and cleaned."""
    found = voucher_of(row(code="A B", campaign="Bo\nnus" + "s" * 300), "SEK")
    assert (found.id, found.reference, len(found.name)) == ("v_1", None, 200)
    assert voucher_of(row(role="REFEREE"), "SEK") == BENEFIT


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    ("script", "error"),
    [
        (answer(401, b'{"key": "unauthorized"}'), VendorRefusedError),
        (answer(403, b'{"key": "missing_required_permission"}'), VendorRefusedError),
        (answer(429, b"{}"), VendorUnreachableError),
        (answer(500, b"{}"), VendorUnreachableError),
        (answer(404, b"<html>"), VendorUnreachableError),
        (answer(400, b'{"key": "invalid_query_params"}'), VendorUnreachableError),
        (answer(200, b"<html>"), VendorUnreachableError),
        (answer(200, b'{"object": "customer"}'), VendorUnreachableError),
        (answer(200, page(7)), VendorUnreachableError),
        (answer(200, page(data=None)), VendorUnreachableError),
        (cut, VendorUnreachableError),
    ],
)
async def test_an_answer_that_says_nothing(ask, script, error, version):
    """It is one of the two errors that every question knows, whatever else was answered."""
    async with wire(script) as vendor:
        with pytest.raises(error):
            await ask(vendor.url, loyalty_api=version)


async def test_half_an_answer(simulator, ask):
    """Vouchers without points are none: the other question has to be answered too."""
    sim, running = simulator
    sim.enrol(source_id="10000421")
    sim.give("10000421", "CODE-1")
    sim.add(Fault(kind="answer", status=500, path="/v2/*"))
    with pytest.raises(VendorUnreachableError):
        await ask(running.url, loyalty_api="v2")


async def test_what_is_over_is_not_shown(simulator, ask, clock):
    """By the vendor's own clock."""
    sim, running = simulator
    sim.enrol(source_id="10000421")
    sim.give("10000421", "CODE-1", expiration_date=(NOW + timedelta(hours=1)).isoformat())
    assert len((await ask(running.url)).items) == 1
    clock.wall += timedelta(hours=1)
    assert (await ask(running.url)).items == ()
