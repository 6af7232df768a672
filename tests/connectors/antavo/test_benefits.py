"""What a customer can use, as Antavo says it."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from agent.connectors.antavo.benefits import MAX_PAGES, PAGE, coupon_of
from agent.connectors.antavo.simulator import Fault
from agent.domain.benefits import Benefit, BenefitKind, Benefits, Points, Worth
from agent.domain.identifiers import IdentifierType
from agent.errors import VendorRefusedError, VendorUnreachableError
from tests.connectors.antavo.conftest import ALMA, CRM, MEMBER, NUMBER
from tests.fakes import primary_key
from tests.wire import answer, cut, wire

COUPON = {
    "code": "CODE-1", "status": "claimed", "type": "amount", "value": 50, "currency": "SEK", "name": "Bonus",
    "expires_at": None,
}  # fmt: skip
FIFTY = Worth("money", Decimal("50.00"), "SEK")
BENEFIT = Benefit(BenefitKind.VOUCHER, "CODE-1", "Bonus", FIFTY, None, "CODE-1")
CUSTOMER = {"id": MEMBER, "status": "active", "spendable": 240, "pending": 12}


def after_the_customer(script):
    """Shows the customer, and has the rest answered by the script."""

    async def answered(request, writer):
        shown = answer(200, json.dumps(CUSTOMER).encode())
        await (script if b"/coupons?" in request.split(b"\r\n")[0] else shown)(request, writer)

    return answered


def listed(*rows, **more):
    return answer(200, json.dumps({"data": rows, **more}).encode())


@pytest.fixture(name="sim")
def _sim(simulator):
    """A workspace in which Alma has a coupon and points, and Bo has another coupon."""
    sim, _ = simulator
    shown = {"membership_id": ["77123456"], "external_ids": {"crm_id": "X-1"}}
    member = sim.add_member(MEMBER, email="alma@example.com", **shown)
    member.score, member.spent, member.pending = 300, 60, 12
    sim.add_member("c-2", email="bo@example.com")
    sim.give(MEMBER, "CODE-1")
    sim.give("c-2", "CODE-2")
    return sim


@pytest.mark.parametrize(
    ("key", "calls"), [(ALMA, 2), (NUMBER, 3), (CRM, 2)], ids=["id", "member number", "external id"]
)
async def test_what_a_customer_has(*, simulator, sim, open_desk, key, calls):
    """Points and coupons; what somebody else has is not theirs. Each call comes out of this agent's share."""
    desk = open_desk(simulator[1].url, key)
    found = await desk.benefits()
    assert found == Benefits(Points(Decimal(240), Decimal(12)), (BENEFIT,))
    assert str(found.points.balance) == "240"
    assert desk.paces == sum(sim.requests.values()) == calls


@pytest.mark.parametrize(
    "key",
    [
        primary_key(IdentifierType.CONTACT_ID, "nobody"),
        primary_key(IdentifierType.MEMBER_NUMBER, "99"),
        primary_key(IdentifierType.CONTACT_ID, "x./y"),
        primary_key(IdentifierType.PERSONAL_NUMBER, "198507029805"),
    ],
    ids=["unknown id", "unknown number", "an id that cannot be signed", "a key Antavo does not have"],
)
async def test_nobody(*, simulator, sim, open_desk, key):
    """Whom Antavo does not know has nothing."""
    assert await open_desk(simulator[1].url, key).benefits() == Benefits()
    assert "nobody" not in sim.books.members.by_id


async def test_who_left(*, simulator, sim, open_desk):
    """They have nothing any more, even if the workspace still lists it."""
    sim.leave(MEMBER)
    assert await open_desk(simulator[1].url).benefits() == Benefits()


async def test_what_can_not_be_used(*, simulator, sim, open_desk):
    """Only what is there to be used is listed, whether or not the workspace filters by it."""
    for status in ("redeemed", "partially_redeemed", "expired", "invalid", "unassigned"):
        sim.give(MEMBER, status, status=status)
    sim.give(MEMBER, "OVER", expires_at=1)
    desk = open_desk(simulator[1].url)
    for unfiltered in (False, True):
        sim.books.coupons.unfiltered = unfiltered
        assert (await desk.benefits()).items == (BENEFIT,)


async def test_a_workspace_without_coupons(*, simulator, sim, open_desk):
    """The module that is not switched on says 404: there are points alone."""
    sim.books.coupons.module = False
    assert await open_desk(simulator[1].url).benefits() == Benefits(Points(Decimal(240), Decimal(12)))


async def test_page_after_page(*, simulator, sim, open_desk):
    """Nobody reads more than three pages at a till."""
    for number in range(MAX_PAGES * PAGE):
        sim.give(MEMBER, f"MORE-{number}")
    desk = open_desk(simulator[1].url)
    assert len((await desk.benefits()).items) == MAX_PAGES * PAGE
    assert desk.paces == 1 + MAX_PAGES


@pytest.mark.parametrize(
    ("told", "worth"),
    [
        ({"value": "12.5"}, Worth("money", Decimal("12.50"), "SEK")),
        ({"value": 1500, "currency": "JPY"}, Worth("money", Decimal(1500), "JPY")),
        ({"type": "percentage", "value": 10}, Worth("percent", percent=Decimal(10))),
        ({"type": "percent", "value": "7.5"}, Worth("percent", percent=Decimal("7.5"))),
        ({"type": "percentage", "value": 101}, None),
        ({"currency": None}, None),
        ({"currency": "points"}, None),
        ({"value": None}, None),
        ({"value": -5}, None),
        ({"value": "1e999999"}, None),
        ({"type": "mystery"}, None),
    ],
)
def test_what_a_coupon_is_worth(told, worth):
    """As the workspace says it, exactly; null where nobody can tell."""
    [found] = [coupon_of({**COUPON, **told})]
    assert (found.value, found.id, found.reference) == (worth, "CODE-1", "CODE-1")


@pytest.mark.parametrize(
    ("told", "expires_at"),
    [
        (None, None),
        (1767225600, datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-03-01T10:00:00+01:00", datetime(2026, 3, 1, 9, tzinfo=UTC)),
        ("2026-03-01 10:00:00", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("2026-03-01", datetime(2026, 3, 2, tzinfo=UTC)),
    ],
    ids=["never", "seconds", "an offset", "no offset", "a day"],
)
def test_when_a_coupon_ends(told, expires_at):
    """In each form that the workspace may have; a day counts to its end."""
    assert coupon_of({**COUPON, "expires_at": told}).expires_at == expires_at


@pytest.mark.parametrize(
    "told",
    [
        {"code": None},
        {"code": ""},
        {"code": "two words"},
        {"code": "å"},
        {"code": "A" * 65},
        {"status": None},
        {"type": "gift_card"},
        {"type": "free_shipping"},
        {"expires_at": "soon"},
        {"expires_at": True},
        {"expires_at": "9999-99-99"},
    ],
)
def test_what_no_till_can_use(told):
    """It is left out."""
    assert coupon_of({**COUPON, **told}) is None


def test_a_name_that_is_none():
    """Words alone are shown, and not too many."""
    assert coupon_of({**COUPON, "name": ["x"]}).name == ""
    assert coupon_of({**COUPON, "name": "Bo\x00nus" + "s" * 300}).name == "Bonus" + "s" * 194


def test_nobody_reads_it_by_accident():
    """What somebody has is in no repr."""
    assert "CODE-1" not in repr(coupon_of(COUPON))


async def test_no_coupons_at_all(open_desk):
    """Null stands for an empty list."""
    async with wire(after_the_customer(answer(200, b'{"data": null}'))) as vendor:
        assert await open_desk(vendor.url).benefits() == Benefits(Points(Decimal(240), Decimal(12)))


async def test_a_balance_that_is_not_told(open_desk):
    """There are no points then, and coupons all the same."""

    async def script(request, writer):
        told = {"data": [COUPON]} if b"/coupons?" in request else {"id": MEMBER, "spendable": None}
        await answer(200, json.dumps(told).encode())(request, writer)

    async with wire(script) as vendor:
        assert await open_desk(vendor.url).benefits() == Benefits(None, (BENEFIT,))


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (answer(401, b'{"error": {"code": 101021}}'), VendorRefusedError),
        (answer(403, b"{}"), VendorRefusedError),
        (answer(429, b"{}"), VendorUnreachableError),
        (answer(500, b"{}"), VendorUnreachableError),
        (answer(404, b"<html>"), VendorUnreachableError),
        (answer(404, b"{}"), VendorUnreachableError),
        (answer(400, b'{"error": {"code": 160311}}'), VendorUnreachableError),
        (answer(200, b'{"error": {"code": 0}}'), VendorUnreachableError),
        (answer(200, b"<html>"), VendorUnreachableError),
        (answer(200, b"[]"), VendorUnreachableError),
        (answer(200, b'{"data": {}}'), VendorUnreachableError),
        (answer(200, b'{"data": [7]}'), VendorUnreachableError),
        (answer(200, b"{}"), VendorUnreachableError),
        (cut, VendorUnreachableError),
    ],
)
async def test_an_answer_that_says_nothing(open_desk, script, error):
    """Half an answer is none: the coupons have to be told too."""
    async with wire(after_the_customer(script)) as vendor:
        with pytest.raises(error):
            await open_desk(vendor.url).benefits()


@pytest.mark.parametrize("status", [401, 500])
async def test_a_customer_who_is_not_told(simulator, sim, open_desk, status):
    """Nor is it one without the points."""
    sim.add(Fault(kind="answer", status=status, path=f"/customers/{MEMBER}"))
    with pytest.raises(VendorRefusedError if status == 401 else VendorUnreachableError):
        await open_desk(simulator[1].url).benefits()
