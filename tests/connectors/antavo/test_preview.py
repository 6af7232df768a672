"""What a sale would earn, as Antavo calculates it."""

import json
from decimal import Decimal

import pytest

from agent.domain.earning import Forecast
from agent.domain.identifiers import IdentifierType
from agent.errors import VendorRefusedError, VendorUnreachableError
from tests.connectors.antavo.conftest import ALMA, CRM, MEMBER, NUMBER
from tests.fakes import primary_key, transaction
from tests.wire import answer, cut, wire

SOCKS = {"kind": "purchase", "sku": "SK-1-M", "article_number": "SK-1", "name": "Wool socks", "quantity": "2"}
SALE = transaction(lines=[{**SOCKS, "gross_paid": "250.00"}])
UNKNOWN, CANNOT_TELL = Forecast(None, member=False), Forecast(None)


@pytest.fixture(name="sim")
def _sim(simulator):
    """A workspace in which a campaign gives forty points for each purchase."""
    sim, _ = simulator
    sim.add_member(MEMBER, membership_id=["77123456"], external_ids={"crm_id": "X-1"})
    sim.books.bonus = 40
    return sim


def told(points):
    return answer(200, json.dumps({"data": {"campaigns": [], "purchase": {"points": points}}}).encode())


@pytest.mark.parametrize(
    ("key", "calls"), [(ALMA, 1), (NUMBER, 3), (CRM, 2)], ids=["id", "member number", "external id"]
)
async def test_points_of_a_member(*, simulator, sim, open_desk, key, calls):
    """By each key, the campaign's bonus with them; nothing is changed at the workspace."""
    desk = open_desk(simulator[1].url, key)
    assert await desk.points(SALE) == Forecast(Decimal(290))
    assert (sim.books.transactions, sim.received, sim.member(MEMBER).score) == ({}, [], 0)
    assert desk.paces == sum(sim.requests.values()) == calls


async def test_whom_nobody_knows(*, simulator, sim, open_desk):
    """That is an answer, and makes nobody a member, even where events would."""
    sim.books.anonymous = True
    for kind, value in ((IdentifierType.CONTACT_ID, "nobody"), (IdentifierType.MEMBER_NUMBER, "99")):
        assert await open_desk(simulator[1].url, primary_key(kind, value)).points(SALE) == UNKNOWN
    assert set(sim.books.members.by_id) == {MEMBER}


async def test_a_workspace_without_previews(*, simulator, sim, open_desk):
    """Where the module is not switched on nobody can tell."""
    sim.books.bonus = None
    assert await open_desk(simulator[1].url).points(SALE) == CANNOT_TELL


async def test_the_question(open_desk):
    """The event that the sale would become, without a time of its own; the person is named by the id alone."""
    async with wire(told(25)) as vendor:
        await open_desk(vendor.url, backdate=True).points(SALE)
    head, _, body = vendor.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /extensions/automation/campaign-bonus HTTP/1.1")
    item = {
        "product_id": "SK-1-M", "product_name": "Wool socks", "price": 125.0, "quantity": 2, "discount": 0,
        "subtotal": 250.0,
    }  # fmt: skip
    assert json.loads(body) == {
        "customer": MEMBER,
        "action": "checkout",
        "data": {
            "transaction_id": SALE.transaction_id, "total": 250.0, "currency": "SEK", "channel": "pos", "items": [item],
        },
    }  # fmt: skip


@pytest.mark.parametrize(("points", "said"), [(0, "0"), ("1124", "1124"), (12.5, "12.5"), (-3, "-3")])
async def test_how_points_are_written(open_desk, points, said):
    """As a number or as text."""
    async with wire(told(points)) as vendor:
        assert await open_desk(vendor.url).points(SALE) == Forecast(Decimal(said))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b'{"code": 0, "error": "Property items cannot be empty", "type": "BadRequestException"}'),
        (200, b'{"error": {"code": 160216}}'),
        (403, b"{}"),
        (404, b'{"error": {"code": 0, "message": "Not found"}}'),
        (404, b"<html>"),
        (405, b""),
        (422, b"{}"),
    ],
)
async def test_a_question_that_is_refused(open_desk, status, body):
    """Nobody can tell; our credentials are good for the rest, so that nothing is said of them."""
    async with wire(answer(status, body)) as vendor:
        assert await open_desk(vendor.url).points(SALE) == CANNOT_TELL


async def test_a_customer_who_is_not_there(open_desk):
    """The vendor's own number says so."""
    async with wire(answer(404, b'{"error": {"code": 160212}}')) as vendor:
        assert await open_desk(vendor.url).points(SALE) == UNKNOWN


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (answer(401, b'{"error": {"code": 101021}}'), VendorRefusedError),
        (answer(402, b"{}"), VendorRefusedError),
        (answer(429, b"{}"), VendorUnreachableError),
        (answer(500, b"{}"), VendorUnreachableError),
        (answer(302, b""), VendorUnreachableError),
        (answer(200, b"<html>"), VendorUnreachableError),
        (answer(200, b"[]"), VendorUnreachableError),
        (answer(200, b"{}"), VendorUnreachableError),
        (answer(200, b'{"data": []}'), VendorUnreachableError),
        (answer(200, b'{"data": {"purchase": 7}}'), VendorUnreachableError),
        (told(None), VendorUnreachableError),
        (told(True), VendorUnreachableError),
        (told("many"), VendorUnreachableError),
        (cut, VendorUnreachableError),
    ],
)
async def test_an_answer_that_says_nothing(open_desk, script, error):
    """It is one of the two errors that every question knows."""
    async with wire(script) as vendor:
        with pytest.raises(error):
            await open_desk(vendor.url).points(SALE)
