"""Rewards of Antavo's as a till's offers: listed, claimed, and a claim revoked."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from agent.connectors.antavo.rewards import MAX_PAGES, PAGE, AntavoRewards
from agent.connectors.antavo.simulator import Fault
from agent.domain.benefits import Benefit, BenefitKind, Worth
from agent.domain.redemption import Reason, Standing, Trace, Use, VendorStanding, VendorWord, own_use
from agent.errors import VendorRefusedError, VendorUnreachableError
from tests.connectors.antavo.conftest import ALMA, BO, CRM, MEMBER, NUMBER
from tests.connectors.mparticle.sales import NOW
from tests.wire import answer, cut, wire

OFFER = BenefitKind.OFFER
SHELF = Worth("manual", text="From the shelf behind the till")
MUG = Benefit(OFFER, "r-1", "A mug", SHELF, None, "r-1", points=Decimal(100))
AT = NOW.replace(microsecond=0)
ROW = {
    "id": "r-1", "title": "A mug", "status": "active", "type": "physical", "points": 100, "starts_at": None,
    "ends_at": None, "_actions": {"complete": {"method": "POST", "url": "/"}},
}  # fmt: skip
EVENT = {"id": "e-1", "action": "reward", "points": -100, "timestamp": "2026-02-14T15:41:09.000Z", "properties": []}
NAMING = {"properties": [{"name": "reward", "label": "Reward", "value": "r-1"}]}


@pytest.fixture(name="sim")
def _sim(simulator):
    """A workspace in which Alma has points for three mugs, and Bo has none."""
    sim, _ = simulator
    sim.add_member(MEMBER, membership_id=["77123456"], external_ids={"crm_id": "X-1"}).score = 300
    sim.add_member("c-2")
    sim.reward("r-1")
    return sim


@pytest.fixture(name="open_shop")
def _open_shop(simulator, sim, open_desk):
    """Opens desks that claim."""
    assert sim.books.rewards.by_id

    def open_shop(key=ALMA, **table):
        return open_desk(simulator[1].url, key, **{"rewards": True, **table})

    return open_shop


@pytest.fixture(name="desk")
def _desk(open_shop):
    return open_shop()


async def offers(desk):
    return [item for item in (await desk.benefits()).items if item.kind is OFFER]


def reward_of(row, store=""):
    return AntavoRewards(None, store).offer_of(row)


@pytest.mark.parametrize(
    ("key", "calls"), [(ALMA, 3), (NUMBER, 4), (CRM, 3)], ids=["id", "member number", "external id"]
)
async def test_what_a_customer_can_have(open_shop, sim, key, calls):
    """With its price and what the cashier has to know; what is too dear for somebody is not shown to them."""
    sim.give(MEMBER, "CODE-1")
    desk = open_shop(key)
    found = (await desk.benefits()).items
    assert (found[0], found[1].id) == (MUG, "CODE-1")
    assert desk.paces == sum(sim.requests.values()) == calls
    assert await offers(open_shop(BO)) == []


async def test_switched_off(open_shop, sim):
    """Nothing is shown, nothing is claimed; what was claimed before is still told apart and revoked."""
    claimed = await open_shop().redeem("r-1", OFFER)
    desk = open_shop(rewards=False)
    assert (await offers(desk), OFFER in desk.room.redeems, OFFER in desk.room.modes) == ([], False, True)
    assert await desk.release("r-1", OFFER, claimed.use) == VendorWord()
    assert sim.rewards_of(MEMBER) == []


async def test_a_workspace_without_rewards(desk, sim):
    """The module that is not switched on says 404: there is the rest."""
    sim.give(MEMBER, "CODE-1")
    sim.books.rewards.module = False
    assert [item.id for item in (await desk.benefits()).items] == ["CODE-1"]


async def test_page_after_page(desk, sim):
    """Nobody reads more than three pages at a till."""
    for number in range(MAX_PAGES * PAGE):
        sim.reward(f"r-{number + 2}")
    assert len(await offers(desk)) == MAX_PAGES * PAGE


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (
            {"instructions": "Ask for the key", "description": "A mug"},
            {"value": Worth("manual", text="Ask for the key")},
        ),
        ({"description": None}, {"value": None}),
        ({"points": "120.5"}, {"points": Decimal("120.5")}),
        ({"points": None}, {"points": None}),
        ({"coupon_pool": "p-1", "type": "coupon"}, {"brings_voucher": True}),
        ({"ends_at": "2026-12-24"}, {"expires_at": datetime(2026, 12, 25, tzinfo=UTC)}),
        ({"title": ["x"]}, {"name": ""}),
    ],
)
def test_what_is_shown_of_a_reward(told, shown):
    """As the workspace says it."""
    found = reward_of({**ROW, "description": "From the shelf", **told})
    assert {name: getattr(found, name) for name in shown} == shown
    assert "r-1" not in repr(found)


@pytest.mark.parametrize(
    "told",
    [
        {"id": None},
        {"id": "two words"},
        {"id": "a./b"},
        {"_actions": {}},
        {"_actions": None},
        {"type": "bidding"},
        {"type": "download"},
        {"type": None},
        {"type": ["coupon"]},
        {"exchange_rate": 1},
        {"price_step": 100},
        {"ends_at": "soon"},
        {"stores": {"id": "I004", "name": "Dublin"}},
    ],
)
def test_what_no_till_can_claim(told):
    """It is left out."""
    assert reward_of({**ROW, **told}) is None


@pytest.mark.parametrize(
    ("stores", "here"),
    [
        (None, True), ([], True), ({}, True), ("", True),
        ({"id": "I004", "name": "Dublin"}, True), ([{"id": "I003"}, {"id": "I004"}], True), (["I004"], True),
        ({"I004": {"name": "Dublin"}}, True), ("I004", True),
        ({"id": "I005"}, False), ([{"id": "I005"}], False), ([{}], False), (7, False),
    ],
)  # fmt: skip
def test_where_a_reward_is_to_be_had(stores, here):
    """In each form that the list of stores may have; one for other stores is not shown in this one."""
    assert (reward_of({**ROW, "stores": stores}, "I004") is not None) is here


async def test_claimed_and_revoked(desk, sim):
    """The points go and come back; each claim has a name of its own, and the history shows it as this reward's."""
    assert await desk.standing("r-1", OFFER) == VendorStanding(Standing.AVAILABLE)
    first, second = await desk.redeem("r-1", OFFER), await desk.redeem("r-1", OFFER)
    assert (first.reason, first.use != second.use, sim.member(MEMBER).spendable) == (None, True, 100)
    assert await desk.standing("r-1", OFFER) == VendorStanding(
        Standing.AVAILABLE, uses=(Use(second.use, AT), Use(first.use, AT))
    )
    for _ in range(2):
        assert await desk.release("r-1", OFFER, first.use) == VendorWord()
    assert (sim.rewards_of(MEMBER), sim.member(MEMBER).spendable) == (["r-1"], 200)
    assert desk.paces == sum(sim.requests.values()) == 2 + 1 + 1 + 2 + 1 + 1


async def test_a_claim_that_brings_a_coupon(desk, sim):
    """It is among the vouchers then, and is used up as any other."""
    sim.reward("r-1", type="coupon", coupon_pool="p-1")
    assert [offer.brings_voucher for offer in await offers(desk)] == [True]
    claimed = await desk.redeem("r-1", OFFER)
    [voucher] = [item for item in (await desk.benefits()).items if item.kind is BenefitKind.VOUCHER]
    assert await desk.redeem(voucher.id) == VendorWord()
    assert sim.coupon(voucher.id)["status"] == "redeemed"
    assert claimed.use


@pytest.mark.parametrize(
    ("reward", "score", "word"),
    [
        ({"max_claims": 0}, 300, VendorWord(Reason.USED, "120211")),
        ({"stock": 0}, 300, VendorWord(Reason.REFUSED, "120212")),
        ({}, 99, VendorWord(Reason.REFUSED, "120241")),
        ({"status": "inactive"}, 300, VendorWord(Reason.REFUSED, "160321")),
    ],
    ids=["often enough", "out of stock", "not enough points", "not active"],
)
async def test_what_is_refused(desk, sim, reward, score, word):
    """Why is told by its number, and nothing is claimed."""
    sim.reward("r-1", **reward)
    sim.member(MEMBER).score = score
    assert await desk.redeem("r-1", OFFER) == word
    assert sim.rewards_of(MEMBER) == []


async def test_what_is_not_there(desk, open_shop, sim):
    """Neither a reward of nobody's, nor one that is no till's, nor a customer who is not known."""
    sim.reward("r-2", type="bidding")
    sim.reward("r-3", stores=[{"id": "I005"}])
    for reward in ("r-2", "r-3", "r-9"):
        assert (await desk.standing(reward, OFFER)).standing is Standing.ABSENT
    nobody = open_shop(NUMBER.model_copy(update={"value": "99"}))
    assert (await nobody.standing("r-1", OFFER)).standing is Standing.ABSENT
    assert await nobody.redeem("r-1", OFFER) == VendorWord(Reason.NOT_THEIRS)
    assert await nobody.release("r-1", OFFER, "e-1") == VendorWord(Reason.NOT_RELEASED, "not_found")
    assert await desk.release("r-1", OFFER) == VendorWord(Reason.NOT_RELEASED, "not_found")
    assert await desk.release("r-1", OFFER, "e-9") == VendorWord(Reason.NOT_RELEASED, "160340")


@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_lost_answer(desk, sim, carried_out):
    """It may have been carried out, and the error says so; the history tells, as soon as nothing can be under way."""
    assert (await desk.standing("r-1", OFFER)).uses == ()
    sim.add(Fault(kind="drop", method="POST", after_processing=carried_out, count=1))
    with pytest.raises(VendorUnreachableError) as error:
        await desk.redeem("r-1", OFFER)
    assert error.value.maybe_received
    uses = (await desk.standing("r-1", OFFER)).uses
    own = own_use(uses, NOW, now=NOW + timedelta(hours=1), others=())
    assert own is Trace.NOTHING if not carried_out else isinstance(own, Use)
    assert len(sim.rewards_of(MEMBER)) == carried_out


async def test_a_history_that_does_not_say_of_what(desk, sim):
    """One such claim may be of any reward: nobody says that it was this one's."""
    sim.books.rewards.names_rewards = False
    await desk.redeem("r-1", OFFER)
    [use] = (await desk.standing("r-1", OFFER)).uses
    assert (use.certain, own_use([use], NOW, now=NOW, others=())) == (False, Trace.UNCLEAR)


async def test_a_history_in_another_order(desk, sim):
    """Where there is more of it than a page, the page is not known to be the latest: it says nothing."""
    sim.member(MEMBER).score = 100_000
    sim.books.history.unordered = True
    for number in range(PAGE + 1):
        sim.books.history.tell("reward", MEMBER, int(NOW.timestamp()) - 1000 + number)
    with pytest.raises(VendorUnreachableError):
        await desk.standing("r-1", OFFER)


def in_turn(reward, events, claim=cut):
    """Answers what is asked of the reward, of the history, and to a claim or revocation."""

    async def answered(request, writer):
        line = request.split(b"\r\n")[0]
        script = claim if line.startswith(b"POST") else events if b"/events?" in line else reward
        await (script if callable(script) else answer(200, json.dumps(script).encode()))(request, writer)

    return answered


@pytest.mark.parametrize(
    ("told", "uses"),
    [
        ({**EVENT, **NAMING}, (Use("e-1", datetime(2026, 2, 14, 15, 41, 9, tzinfo=UTC)),)),
        (
            {**EVENT, "reward": {"id": "r-1", "name": "A mug"}},
            (Use("e-1", datetime(2026, 2, 14, 15, 41, 9, tzinfo=UTC)),),
        ),
        ({**EVENT}, (Use("e-1", datetime(2026, 2, 14, 15, 41, 9, tzinfo=UTC), certain=False),)),
        ({**EVENT, **NAMING, "timestamp": "lately"}, (Use("e-1", None),)),
        ({**EVENT, **NAMING, "timestamp": "2026-02-14 15:41:09"}, (Use("e-1", None),)),
        ({**EVENT, **NAMING, "id": None}, (Use("", datetime(2026, 2, 14, 15, 41, 9, tzinfo=UTC), certain=False),)),
        ({**EVENT, **NAMING, "action": "checkout"}, ()),
    ],
    ids=[
        "a property",
        "a reference",
        "of nobody knows what",
        "no instant",
        "by which clock",
        "no id",
        "another action",
    ],
)
async def test_what_a_history_says(open_desk, told, uses):
    """A claim is of the reward that it names in whatever place; what cannot be read may be any."""
    async with wire(in_turn(ROW, {"data": [told]})) as vendor:
        desk = open_desk(vendor.url, rewards=True)
        assert await desk.standing("r-1", OFFER) == VendorStanding(Standing.AVAILABLE, uses=uses)


@pytest.mark.parametrize(
    ("status", "told", "word"),
    [
        (400, {"error": {"type": "X", "code": 0, "message": "No"}}, VendorWord(Reason.REFUSED, "0")),
        (200, {"type": None, "code": 120213, "message": "No"}, VendorWord(Reason.NOT_THEIRS, "120213")),
        (404, {"error": {"type": "X", "code": 160212, "message": "No"}}, VendorWord(Reason.NOT_THEIRS, "160212")),
        (422, {}, VendorWord(Reason.REFUSED, "UNNAMED")),
        (200, {"spent": 100, "id": "e-1", "coupon": {"type": "amount", "code": "C"}}, VendorWord(use="e-1")),
    ],
)
async def test_what_a_claim_is_answered(open_desk, status, told, word):
    """A number that says no, in each of its forms; what was claimed is named."""
    async with wire(in_turn(ROW, {"data": []}, answer(status, json.dumps(told).encode()))) as vendor:
        assert await open_desk(vendor.url, rewards=True).redeem("r-1", OFFER) == word


@pytest.mark.parametrize("call", ["redeem", "release"])
@pytest.mark.parametrize(
    ("script", "error", "maybe"),
    [
        (answer(401, b'{"error": {"code": 0}}'), VendorRefusedError, None),
        (answer(429, b"{}"), VendorUnreachableError, False),
        (answer(500, b"{}"), VendorUnreachableError, True),
        (answer(302, b""), VendorUnreachableError, True),
        (answer(404, b"<html>"), VendorUnreachableError, True),
        (answer(200, b"<html>"), VendorUnreachableError, True),
        (answer(200, b"[]"), VendorUnreachableError, True),
        (cut, VendorUnreachableError, True),
    ],
)
async def test_an_answer_that_says_nothing(open_desk, call, script, error, maybe):
    """It is one of the two errors; a claim that may have been carried out says so."""
    async with wire(in_turn(ROW, {"data": []}, script)) as vendor:
        desk = open_desk(vendor.url, rewards=True)
        with pytest.raises(error) as raised:
            await (desk.redeem("r-1", OFFER) if call == "redeem" else desk.release("r-1", OFFER, "e-1"))
    if maybe is not None:
        assert raised.value.maybe_received is maybe


@pytest.mark.parametrize("told", [{}, {"spent": 100}, {"spent": 100, "id": "å"}, {"error": {"code": 127201}}], ids=str)
async def test_a_claim_without_a_name(open_desk, told):
    """It may have been carried out, and could not be revoked: it is looked up as one without an answer."""
    async with wire(in_turn(ROW, {"data": []}, answer(200, json.dumps(told).encode()))) as vendor:
        with pytest.raises(VendorUnreachableError) as raised:
            await open_desk(vendor.url, rewards=True).redeem("r-1", OFFER)
    assert raised.value.maybe_received


@pytest.mark.parametrize("reward", [{}, {**ROW, "id": "r-2"}, {"data": [ROW]}, []], ids=str)
async def test_a_reward_that_is_not_told(open_desk, reward):
    """That there is none is an answer, which this is not."""
    async with wire(in_turn(reward, {"data": []})) as vendor:
        with pytest.raises(VendorUnreachableError):
            await open_desk(vendor.url, rewards=True).standing("r-1", OFFER)


@pytest.mark.parametrize("events", [answer(404, b'{"error": {"code": 160212}}'), answer(200, b"{}"), cut])
async def test_a_history_that_is_not_told(open_desk, events):
    """Without it nobody knows what was claimed: nothing is concluded."""
    async with wire(in_turn(ROW, events)) as vendor:
        with pytest.raises(VendorUnreachableError):
            await open_desk(vendor.url, rewards=True).standing("r-1", OFFER)
