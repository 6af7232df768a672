"""What a customer can use, as Monetary lists it, and how an offer stands before and after its sale."""

import json
from datetime import timedelta
from decimal import Decimal

import pytest

from agent.domain.benefits import Benefit, BenefitKind, Benefits, Points, Worth
from agent.domain.identifiers import IdentifierType
from agent.domain.redemption import Reason, Redeemable, Standing, VendorWord
from agent.domain.transaction import IntegrationKey
from agent.errors import VendorOwnError, VendorUnreachableError
from tests.connectors.monetary.conftest import KEY, MEMBER
from tests.fakes import at_once
from tests.wire import answer, in_turn, wire

OFFER = BenefitKind.OFFER
ALMA = IntegrationKey(kind="primary", type=IdentifierType.MEMBER_NUMBER, value=MEMBER)
BY_ID = IntegrationKey(kind="primary", type=IdentifierType.CONTACT_ID, value="101")
FOUND = answer(200, json.dumps([{"CustomerID": 101, "ExternalID": MEMBER, "Points": 12}]).encode())
RECEIPT = {"ReceiptID": "0f6c2c526b0e4a0c9c1e0f6c2c526b0e", "Discounts": [{"OfferID": 7, "Amount": -5}]}


@pytest.fixture
def own(connect):
    """Makes rooms of shops whose contacts Monetary owns."""
    return lambda url, **table: connect(url, around={"role": "loyalty"}, **table)


async def shown(room, key=ALMA):
    return await room.benefits.benefits(key, timeout_s=5, pace=at_once)


async def standing(room, id_="7", key=ALMA):
    return (await room.redemptions.standing(Redeemable(key, OFFER, id_), timeout_s=5, pace=at_once)).standing


def listed(*rows):
    return answer(200, json.dumps(rows).encode())


@pytest.mark.parametrize("key", [ALMA, BY_ID], ids=["number", "id"])
async def test_a_customer(simulator, own, key):
    """Points as the search shows them, and each offer with what it takes off and from which sum."""
    sim, running = simulator
    until = sim.now() + timedelta(days=1)
    sim.customers[101]["Points"] = 12
    for fields in ({"DiscountAmount": 10.05, "MinimumPurchase": 50}, {"DiscountPercent": 12.5}):
        sim.offers.give(101, until, **fields)
    sim.offers.give(101, until, PosCode="P-7", PosCodeRewardDescription="Coffee", CampaignID=3)
    sim.offers.give(101, until, RewardSku="SK-1", RewardSkuDescription="Mug")
    sim.offers.give(102, until, DiscountAmount=1)
    sim.offers.give(101, sim.now(), DiscountAmount=1)
    assert await shown(own(running.url, currency="SEK"), key) == Benefits(
        Points(Decimal(12)),
        (
            Benefit(OFFER, "1", "", Worth("money", Decimal("10.05"), "SEK"), minimum=Decimal("50.00")),
            Benefit(OFFER, "2", "", Worth("percent", percent=Decimal("12.50"))),
            Benefit(OFFER, "3", "Coffee", Worth("price_rule", text="P-7"), reference="3"),
            Benefit(OFFER, "4", "Mug", Worth("manual", text="Mug")),
        ),
    )
    assert (await shown(own(running.url))).items[0].value is None, "nobody has said in which currency"


@pytest.mark.parametrize(
    "row",
    [{}, {"OfferID": None}, {"OfferID": True}, {"OfferID": "a b"}, {"OfferID": "x" * 65}, {"OfferID": 1.5}],
    ids=["no id", "null", "a yes", "a blank", "too long", "a fraction"],
)
async def test_an_offer_that_no_till_could_name(own, row):
    """It is left out, and hides no other."""
    async with wire(in_turn(FOUND, listed(row, {"offerid": "A-7", "DiscountAmount": "many"}))) as vendor:
        [item] = (await shown(own(vendor.url, currency="SEK"))).items
    assert (item.id, item.value, item.minimum) == ("A-7", None, None)


@pytest.mark.parametrize("people", [[], [101, 102]], ids=["nobody", "several"])
async def test_of_whom_nothing_is_said(own, people):
    """Neither a stranger nor one of several has anything, and nobody's offers are asked for."""
    rows = listed(*({"CustomerID": one, "ExternalID": MEMBER} for one in people))
    async with wire(rows) as vendor:
        room = own(vendor.url)
        assert await shown(room) == Benefits()
        assert await standing(room) is Standing.ABSENT
        assert not [request for request in vendor.requests if b"/Offers" in request]


async def test_a_customer_who_is_gone_meanwhile(own):
    """Has nothing any more."""
    async with wire(in_turn(FOUND, answer(404, b"{}"))) as vendor:
        assert (await shown(own(vendor.url))).items == ()


@pytest.mark.parametrize("status", [200, 204, 400, 500])
async def test_offers_that_are_no_list(own, status):
    """They say nothing, which is not that there are none."""
    async with wire(in_turn(FOUND, answer(status, b'{"Message": "no"}'))) as vendor:
        with pytest.raises(VendorUnreachableError):
            await shown(own(vendor.url))


@pytest.mark.parametrize(
    ("offers", "receipts", "expected"),
    [
        ([{"OfferID": 7}], None, Standing.AVAILABLE),
        ([{"OfferID": 8}], [RECEIPT], Standing.USED),
        ([], [{**RECEIPT, "Discounts": [{"OfferID": "7", "Amount": -5}]}], Standing.USED),
        ([], [{**RECEIPT, "Discounts": [{"OfferID": 8, "Amount": -5}]}], Standing.ABSENT),
        ([], [], Standing.ABSENT),
        ([], [{**RECEIPT, "ReceiptID": f"{number:032x}", "Discounts": []} for number in range(10)], Standing.USED),
    ],
    ids=["listed", "on a receipt", "as a text", "another", "never", "there may be more receipts"],
)
async def test_how_an_offer_stands(own, offers, receipts, expected):
    """By the list, then by the receipts."""
    scripts = [FOUND, listed(*offers), *([] if receipts is None else [listed(*receipts)])]
    async with wire(in_turn(*scripts)) as vendor:
        assert await standing(own(vendor.url)) is expected
        assert len(vendor.requests) == len(scripts)


async def test_receipts_that_are_not_understood(own):
    """Do not say that it was not used."""
    async with wire(in_turn(FOUND, listed(), listed({"ReceiptID": None}))) as vendor:
        with pytest.raises(VendorOwnError):
            await standing(own(vendor.url))


async def test_it_is_noted_without_a_call_and_never_taken_back_there(own):
    """There is no call for either."""
    room = own("http://127.0.0.1:9")
    how = {"timeout_s": 5, "pace": at_once}
    assert await room.redemptions.redeem(Redeemable(ALMA, OFFER, "7"), **how) == VendorWord()
    assert await room.redemptions.release(Redeemable(ALMA, OFFER, "7"), **how) == VendorWord(Reason.NOT_RELEASED)
    assert KEY not in repr(room)
