"""Points spent for a sale: found again by its id, taken once, and given back once."""

import json
from decimal import Decimal

import pytest

from agent.connectors.registry import ROOMS
from agent.connectors.voucherify import build
from agent.connectors.voucherify.cards import MAX_PAGES
from agent.connectors.voucherify.points import SETTLES_S
from agent.connectors.voucherify.settings import VoucherifySettings
from agent.connectors.voucherify.simulator import Fault
from agent.domain.benefits import BenefitKind
from agent.domain.identifiers import IdentifierType
from agent.domain.redemption import Reason, Redeemable, Standing, VendorStanding, VendorWord
from agent.errors import VendorOwnError, VendorRefusedError, VendorUnreachableError
from tests.connectors.mparticle.sales import Reference
from tests.connectors.voucherify.conftest import APP_ID, TOKEN
from tests.fakes import at_once, member_key, primary_key, surroundings
from tests.wire import POLICY, answer, cut, in_turn, wire

AVAILABLE, USED, ABSENT = map(VendorStanding, (Standing.AVAILABLE, Standing.USED, Standing.ABSENT))
DONE, POINTS = VendorWord(), BenefitKind.POINTS
CARD = {"redeemable": {"voucher": {"id": "v_1", "code": "LC-1", "type": "LOYALTY_CARD"}}}
HOW = {"timeout_s": 5, "pace": at_once}


def page(*rows, **more):
    return answer(
        200, json.dumps({"object": "list", "data_ref": "data", "data": rows, "has_more": False, **more}).encode()
    )


@pytest.fixture(name="open_points")
def _open_points(clock, afterwards):
    """Opens the part of a room that uses up what a till redeems."""

    def open_points(url, **table):
        settings = VoucherifySettings(base_url=url, **table)
        secrets = {settings.app_id: Reference(APP_ID), settings.app_token: Reference(TOKEN)}
        room = build(settings, surroundings(secret=secrets.__getitem__, http=POLICY, clock=clock))
        afterwards.push_async_callback(room.close)
        return ROOMS["voucherify"].owner.redeemer(room)

    return open_points


@pytest.fixture
def card(simulator):
    """The card of a customer with 240 points."""
    sim, _ = simulator
    sim.enrol(source_id="10000421")
    return sim.give("10000421", "LC-1", type="LOYALTY_CARD", loyalty_card={"points": 300, "balance": 240})[
        "loyalty_card"
    ]


async def spend(points, number="100", sale="s-1", key=None):
    return await points.redeem(Redeemable(key or member_key(), POINTS, sale, Decimal(number)), **HOW)


async def standing(points, sale="s-1", key=None):
    return await points.standing(Redeemable(key or member_key(), POINTS, sale), **HOW)


async def give_back(points, sale="s-1"):
    return await points.release(Redeemable(member_key(), POINTS, sale), **HOW)


@pytest.mark.parametrize("key", [None, primary_key(IdentifierType.CONTACT_ID, "cust_00000000")], ids=["number", "id"])
async def test_spent_and_given_back(simulator, card, open_points, key):
    """Each once, under the sale's id."""
    sim, running = simulator
    points = open_points(running.url)
    assert await standing(points, key=key) == AVAILABLE
    assert await spend(points, key=key) == DONE
    assert (card["balance"], await standing(points, key=key)) == (140, USED)
    assert await standing(points, "s-2", key) == AVAILABLE
    assert [await give_back(points), await give_back(points)] == [DONE, DONE]
    assert (card["balance"], sim.ledger.changes("s-1/spent"), sim.ledger.changes("s-1/back")) == (240, [-100], [100])
    assert await standing(points) == AVAILABLE


async def test_what_does_not_show_yet(simulator, card, open_points):
    """What was answered is so, whatever the list shows: neither is it denied nor done again."""
    sim, running = simulator
    points, sim.ledger.waits = open_points(running.url), 9
    assert await spend(points) == DONE
    assert await standing(points) == USED
    assert [await give_back(points), await give_back(points)] == [DONE, DONE]
    assert (card["balance"], await standing(points)) == (240, AVAILABLE)


@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_lost_answer_to_giving_back(simulator, card, open_points, clock, carried_out):
    """It may be under way: for a minute it is not sent again, and then only if the list does not show it."""
    sim, running = simulator
    points = open_points(running.url)
    await spend(points)
    sim.ledger.waits = 1
    sim.faults.append(Fault(kind="drop", path="*/balance", count=1, after_processing=carried_out))
    with pytest.raises(VendorUnreachableError):
        await give_back(points)
    assert await give_back(points) is None
    clock.advance(SETTLES_S)
    assert await give_back(points) == DONE
    assert (card["balance"], sim.ledger.changes("s-1/back")) == (240, [100])


async def test_given_back_by_an_earlier_run(simulator, card, open_points, clock):
    """What went out before a new start shows within a minute; until then nothing is sent."""
    sim, running = simulator
    before = open_points(running.url)
    await spend(before)
    sim.ledger.waits = 1
    await give_back(before)
    points = open_points(running.url)
    assert await give_back(points) is None
    clock.advance(SETTLES_S)
    assert await give_back(points) == DONE
    assert (card["balance"], sim.ledger.changes("s-1/back")) == (240, [100])


async def test_a_change_of_ours_without_its_points(open_points):
    """It was not nothing: what it was is learned another time."""
    row = {"id": "vtx_1", "type": "POINTS_REMOVAL", "source_id": "s-1/spent", "details": {"balance": {}}}
    async with wire(in_turn(page(CARD), page(row))) as vendor:
        with pytest.raises(VendorOwnError, match="without its points"):
            await standing(open_points(vendor.url))


@pytest.mark.parametrize(
    ("number", "word"),
    [
        ("241", VendorWord(Reason.NOT_ENOUGH, "loyalty_card_points_exceeded")),
        ("0.5", VendorWord(Reason.REFUSED, "invalid_amount")),
    ],
    ids=["more than there is", "a part of one"],
)
async def test_what_cannot_be_spent(simulator, card, open_points, number, word):
    """The card keeps what it has."""
    assert await spend(open_points(simulator[1].url), number) == word
    assert card["balance"] == 240


async def test_whose_card_it_is(simulator, card, open_points):
    """Nobody's is guessed: of several the campaign says which; who is not known, or has none, has nothing to spend."""
    sim, running = simulator
    sim.enrol(source_id="10000422")
    points = open_points(running.url)
    for key in (member_key("10000422"), member_key("10000429"), primary_key(IdentifierType.EMAIL, "a@example.com")):
        assert (await standing(points, key=key), await spend(points, key=key)) == (
            ABSENT,
            VendorWord(Reason.NOT_THEIRS),
        )
    sim.give("10000421", "LC-2", type="LOYALTY_CARD", campaign="Other", loyalty_card={"points": 9, "balance": 9})
    assert (await standing(points), await spend(points)) == (ABSENT, VendorWord(Reason.NOT_THEIRS))
    assert await spend(open_points(running.url, campaign="Other"), "9") == DONE
    assert (card["balance"], sim.vouchers.coded("LC-2")["loyalty_card"]["balance"]) == (240, 0)


def test_loyalty_v2_spends_nothing(open_points):
    """A payment there has no name by which a repetition could be told."""
    assert POINTS not in open_points("http://127.0.0.1:9", loyalty_api="v2").redeems


@pytest.mark.parametrize("part", ["standing", "spend", "give_back"])
@pytest.mark.parametrize(
    ("script", "error"),
    [
        (answer(401, b"{}"), VendorRefusedError),
        (answer(503, b""), VendorUnreachableError),
        (cut, VendorUnreachableError),
        (answer(200, b"<html>"), VendorUnreachableError),
        (answer(200, b'{"object": "list"}'), VendorUnreachableError),
    ],
    ids=["refused", "away", "cut", "page", "another shape"],
)
async def test_nothing_is_said_because_of_the_line(open_points, part, script, error):
    """What cannot be read says nothing, and nothing was taken."""
    async with wire(script) as vendor:
        points = open_points(vendor.url)
        with pytest.raises(error) as raised:
            await {"standing": standing, "spend": spend, "give_back": give_back}[part](points)
        assert part != "spend" or not getattr(raised.value, "maybe_received", False)
        assert not [request for request in vendor.requests if request.startswith(b"POST")]


@pytest.mark.parametrize(
    ("script", "maybe"),
    [
        (cut, True),
        (answer(500, b""), True),
        (answer(200, b"{}"), True),
        (answer(204, b""), True),
        (answer(408, b""), True),
        (answer(429, b""), False),
    ],
    ids=["cut", "an error", "something else", "nothing", "too slow", "busy"],
)
async def test_a_change_without_an_answer(open_points, script, maybe):
    """It may have been carried out all the same, unless the vendor sent it back."""
    async with wire(in_turn(page(CARD), script)) as vendor:
        with pytest.raises(VendorUnreachableError) as raised:
            await spend(open_points(vendor.url))
        assert raised.value.maybe_received is maybe


async def test_how_far_back_is_read(open_points):
    """As far as a sale may be that anybody asks about; where even that is more than is read, nothing is said."""
    old, new = ({"type": "POINTS_ACCRUAL", "created_at": f"{year}-01-01T00:00:00.000Z"} for year in (2020, 2099))
    more = {"has_more": True, "more_starting_after": "vtx_1"}
    async with wire(in_turn(page(CARD), page(new, **more), page(new, old, **more))) as vendor:
        assert await standing(open_points(vendor.url)) == AVAILABLE
        assert len(vendor.requests) == 3
    async with wire(in_turn(page(CARD), *[page(new, **more)] * MAX_PAGES)) as vendor:
        with pytest.raises(VendorOwnError):
            await standing(open_points(vendor.url))
