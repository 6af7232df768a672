"""Vouchers used up at Voucherify, and given back."""

import asyncio
import json
from datetime import UTC, datetime

import pytest

from agent.connectors.registry import ROOMS
from agent.connectors.voucherify import build
from agent.connectors.voucherify.benefits import MAX_PAGES, PAGE
from agent.connectors.voucherify.settings import VoucherifySettings
from agent.connectors.voucherify.simulator import Fault
from agent.domain.benefits import BenefitKind
from agent.domain.identifiers import IdentifierType
from agent.domain.redemption import Reason, Redeemable, RedemptionMode, Standing, VendorStanding, VendorWord
from agent.errors import VendorRefusedError, VendorUnreachableError
from tests.connectors.mparticle.sales import Reference
from tests.connectors.voucherify.conftest import APP_ID, TOKEN
from tests.fakes import NOW, FakeClock, at_once, member_key, primary_key, surroundings
from tests.wire import POLICY, answer, cut, hang, wire

VOUCHER = BenefitKind.VOUCHER
FIRST = "v_00000000"
DONE = VendorWord()
HELD = {
    "holder_role": "OWNER",
    "customer_id": "cust_1",
    "redeemable": {
        "voucher": {
            "id": FIRST,
            "code": "CODE-1",
            "type": "DISCOUNT_VOUCHER",
            "redemption": {"quantity": 1, "redeemed_quantity": 1},
        }
    },
}
DATE = "2026-09-01T08:00:00.123Z"
LISTED = json.dumps({"object": "list", "data": [HELD], "has_more": False}).encode()


def after_the_list(script):
    """Lists the voucher, and has everything else answered by the script."""

    async def answered(request, writer):
        await (answer(200, LISTED) if b"/redeemables?" in request.split(b"\r\n")[0] else script)(request, writer)

    return answered


class Desk:
    """The room's redemptions of one member at an address."""

    def __init__(self, connector, key, pace):
        self.connector, self.key, self.pace = connector, key, pace
        self.room = ROOMS["voucherify"].owner.redeemer(connector)

    async def standing(self, id_=FIRST):
        return (await self.found(id_)).standing

    async def found(self, id_=FIRST):
        return await self.room.standing(Redeemable(self.key, VOUCHER, id_), timeout_s=5, pace=self.pace)

    async def redeem(self, id_=FIRST):
        return await self.room.redeem(Redeemable(self.key, VOUCHER, id_), timeout_s=5, pace=self.pace)

    async def release(self, id_=FIRST):
        return await self.room.release(Redeemable(self.key, VOUCHER, id_), timeout_s=5, pace=self.pace)


@pytest.fixture(name="open_desk")
async def _open_desk():
    """Opens desks."""
    made = []

    def open_desk(url, key=None, *, token=TOKEN, pace=at_once):
        settings = VoucherifySettings(base_url=url)
        secrets = {settings.app_id: Reference(APP_ID), settings.app_token: Reference(token)}
        agent = surroundings(secret=secrets.__getitem__, http=POLICY, clock=FakeClock())
        made.append(Desk(build(settings, agent), key or member_key(), pace))
        return made[-1]

    yield open_desk
    for desk in made:
        await desk.connector.close()


@pytest.fixture(name="sim")
def _sim(simulator):
    """A project with two customers, the first of whom has a voucher."""
    sim, _ = simulator
    for number in ("10000421", "10000422"):
        sim.enrol(source_id=number)
    sim.give("10000421", "CODE 1/ä")
    return sim


@pytest.fixture(name="desk")
def _desk(simulator, sim, open_desk):
    assert sim.vouchers
    return open_desk(simulator[1].url)


def used(sim, number=FIRST):
    return sim.vouchers[number]["redemption"]["redeemed_quantity"]


def test_what_is_redeemed(desk):
    """Vouchers and points, and they can be given back. Their ids are spelled in one way."""
    assert desk.room.redeems == {VOUCHER, BenefitKind.POINTS}
    assert desk.room.modes[VOUCHER] is RedemptionMode.ONCE
    assert desk.room.spelled(VOUCHER, "v_Ab") == "v_Ab"


@pytest.mark.parametrize(
    "key", [member_key(), primary_key(IdentifierType.CONTACT_ID, "cust_00000000")], ids=["number", "id"]
)
async def test_used_up_once_and_given_back(*, simulator, sim, open_desk, key):
    """Used up it is not used again; rolled back it is as before, and can be used again."""
    desk = open_desk(simulator[1].url, key)
    assert await desk.standing() is Standing.AVAILABLE
    assert (await desk.redeem(), used(sim)) == (DONE, 1)
    assert await desk.standing() is Standing.USED
    assert (await desk.redeem(), used(sim)) == (VendorWord(Reason.USED, "quantity_exceeded"), 1)
    assert (await desk.release(), used(sim)) == (DONE, 0)
    assert (await desk.release(), used(sim)) == (DONE, 0)
    assert await desk.standing() is Standing.AVAILABLE
    assert (await desk.redeem(), used(sim)) == (DONE, 1)
    assert (await desk.release(), used(sim)) == (DONE, 0)
    assert (sim.orders, sim.earned, set(sim.customers)) == ({}, {}, {"10000421", "10000422"})


async def test_another_s_voucher(*, simulator, sim, open_desk):
    """It is not theirs, whatever is asked, and stays as it is."""
    desk = open_desk(simulator[1].url, member_key("10000422"))
    assert await desk.standing() is Standing.ABSENT
    assert await desk.redeem() == VendorWord(Reason.NOT_THEIRS)
    assert await desk.release() == VendorWord(Reason.NOT_RELEASED, "not_found")
    nobody = open_desk(simulator[1].url, member_key("10000999"))
    assert await nobody.standing() is Standing.ABSENT
    stranger = open_desk(simulator[1].url, primary_key(IdentifierType.EXTERNAL_ID, "10000421"))
    assert (await stranger.standing(), await stranger.redeem()) == (Standing.ABSENT, VendorWord(Reason.NOT_THEIRS))
    assert (used(sim), sim.vouchers.redemptions) == (0, [])


async def test_only_their_own_redemption_is_rolled_back(desk, sim):
    """A code that somebody else has used is not given back for them."""
    sim.redeem({"redeemables": [{"object": "voucher", "id": "CODE 1/ä"}], "customer": {"source_id": "10000422"}})
    assert await desk.found() == VendorStanding(Standing.USED, theirs=False)
    assert (await desk.release(), used(sim)) == (DONE, 1)


@pytest.mark.parametrize(
    ("voucher", "word"),
    [
        ({"active": False}, VendorWord(Reason.REFUSED, "voucher_disabled")),
        ({"expiration_date": NOW.isoformat()}, VendorWord(Reason.EXPIRED, "voucher_expired")),
        ({"redemption": {"quantity": 5, "redeemed_quantity": 0}}, VendorWord(Reason.NOT_THEIRS)),
        ({"type": "GIFT_VOUCHER"}, VendorWord(Reason.NOT_THEIRS)),
    ],
    ids=["switched off", "over", "for several", "a gift card"],
)
async def test_what_cannot_be_used_up(desk, sim, voucher, word):
    """The reason is told; what a till is not shown it cannot use up either."""
    sim.give("10000421", "CODE-2", **voucher)
    assert await desk.redeem("v_00000001") == word
    assert used(sim, "v_00000001") == 0


@pytest.mark.parametrize("lost", [True, False], ids=["carried out", "not carried out"])
async def test_a_lost_answer(desk, sim, lost):
    """It may have been carried out, and the error says so; how it stands tells."""
    sim.add(Fault(kind="drop", method="POST", after_processing=lost, count=1))
    with pytest.raises(VendorUnreachableError) as error:
        await desk.redeem()
    assert error.value.maybe_received
    assert (await desk.standing(), used(sim)) == ((Standing.USED, 1) if lost else (Standing.AVAILABLE, 0))


async def test_a_lost_answer_to_a_rollback(desk, sim):
    """Asked again it is done, once."""
    await desk.redeem()
    sim.add(Fault(kind="drop", path="*/rollback", after_processing=True, count=1))
    with pytest.raises(VendorUnreachableError):
        await desk.release()
    assert (await desk.release(), used(sim)) == (DONE, 0)


async def test_what_was_not_asked_was_not_received(desk, sim):
    """A question for the code that gets no answer has used nothing up."""
    sim.add(Fault(kind="drop", method="GET", after_processing=True, count=1))
    with pytest.raises(VendorUnreachableError) as error:
        await desk.redeem()
    assert (error.value.maybe_received, used(sim)) == (False, 0)


async def test_a_code_that_comes_too_slowly(open_desk):
    """A cashier's patience that ends in the question for the code ends before anything was used up."""
    async with wire(hang) as vendor:
        desk = open_desk(vendor.url)
        with pytest.raises(VendorUnreachableError) as error:
            async with asyncio.timeout(1):
                await desk.room.redeem(Redeemable(desk.key, VOUCHER, FIRST), timeout_s=1, pace=at_once)
        assert (error.value.maybe_received, len(vendor.requests)) == (False, 1)


async def test_two_at_once(desk, sim):
    """One of them uses it up."""
    words = await asyncio.gather(*(desk.redeem() for _ in range(4)))
    assert sorted(word.reason or "" for word in words) == ["", "used", "used", "used"]
    assert used(sim) == 1


async def test_each_call_is_counted(*, simulator, sim, open_desk):
    """All of them come out of this agent's share."""
    taken = []

    async def pace():
        taken.append(1)

    desk = open_desk(simulator[1].url, pace=pace)
    for call in (desk.standing, desk.redeem, desk.release):
        await call()
    assert len(taken) == sum(sim.requests.values()) == 1 + 2 + 3


async def test_one_of_very_many(desk, sim):
    """It is found on a later page; what a till is not shown it cannot use up, and the line is none the worse for it."""
    for number in range(PAGE):
        sim.give("10000421", f"CODE-{number}")
    assert await desk.standing(f"v_{PAGE:08d}") is Standing.AVAILABLE
    assert await desk.standing("v_99999999") is Standing.ABSENT
    for number in range(MAX_PAGES * PAGE):
        sim.give("10000421", f"MORE-{number}")
    further = f"v_{(MAX_PAGES + 1) * PAGE:08d}"
    assert (further in sim.vouchers, await desk.standing(further)) == (True, Standing.ABSENT)
    assert await desk.redeem(further) == VendorWord(Reason.NOT_THEIRS)
    assert sum(sim.requests.values()) == 2 + 2 + 2 * MAX_PAGES


@pytest.mark.parametrize("code", ["CODE\ud800", "", None, ["CODE"]], ids=["half a character", "empty", "none", "many"])
async def test_a_code_that_cannot_be_sent_back(*, open_desk, code):
    """A till cannot use it up: it is not among what is theirs."""
    row = json.loads(json.dumps(HELD))
    row["redeemable"]["voucher"]["code"] = code
    listed = answer(200, json.dumps({"object": "list", "data": [row], "has_more": False}).encode())
    async with wire(listed) as vendor:
        desk = open_desk(vendor.url)
        assert await desk.standing() is Standing.ABSENT
        assert await desk.redeem() == VendorWord(Reason.NOT_THEIRS)
        assert await desk.release() == VendorWord(Reason.NOT_RELEASED, "not_found")


async def test_a_next_page_that_cannot_be_asked_for(open_desk):
    """The list ends there."""
    told = {"object": "list", "data": [], "has_more": True, "more_starting_after": "v_\ud800"}
    async with wire(answer(200, json.dumps(told).encode())) as vendor:
        assert await open_desk(vendor.url).standing() is Standing.ABSENT


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"redemptions": [{"result": "SUCCESS"}]}, DONE),
        (
            {"redemptions": [], "inapplicable_redeemables": [{"result": {"error": {"key": "quantity_exceeded"}}}]},
            VendorWord(Reason.USED, "quantity_exceeded"),
        ),
        (
            {"inapplicable_redeemables": [{"result": {"error": {"key": "alma@example.com"}}}]},
            VendorWord(Reason.REFUSED),
        ),
        ({"skipped_redeemables": [{}]}, VendorWord(Reason.REFUSED)),
    ],
    ids=["done", "it does not apply", "a word of nobody's", "left out"],
)
async def test_what_an_answer_of_200_says(open_desk, body, word):
    """A project that redeems what it can says so when there is nothing it could."""
    async with wire(after_the_list(answer(200, json.dumps(body).encode()))) as vendor:
        assert await open_desk(vendor.url).redeem() == word


@pytest.mark.parametrize("call", ["redeem", "release"])
@pytest.mark.parametrize(
    ("script", "error", "maybe"),
    [
        (answer(401, b'{"key": "unauthorized"}'), VendorRefusedError, None),
        (answer(429, b"{}"), VendorUnreachableError, False),
        (answer(400, b'{"key": "multiple_requests"}'), VendorUnreachableError, False),
        (answer(500, b"{}"), VendorUnreachableError, True),
        (answer(201, b"{}"), VendorUnreachableError, True),
        (answer(302, b""), VendorUnreachableError, True),
        (answer(404, b"<html>"), VendorUnreachableError, True),
        (answer(200, b"<html>"), VendorUnreachableError, True),
        (answer(200, b"[]"), VendorUnreachableError, True),
        (answer(200, b'{"redemptions": [{"result": "FAILURE"}]}'), VendorUnreachableError, True),
        (cut, VendorUnreachableError, True),
    ],
)
async def test_an_answer_that_says_nothing(*, open_desk, call, script, error, maybe):
    """It is one of the two errors; a redemption that may have been carried out says so."""
    async with wire(after_the_list(script)) as vendor:
        with pytest.raises(error) as raised:
            await getattr(open_desk(vendor.url), call)()
    if call == "redeem" and maybe is not None:
        assert raised.value.maybe_received is maybe


async def test_when_it_was_used_up(simulator, desk):
    """What stands says when, by Voucherify's clock; what was rolled back says nothing."""
    await desk.redeem()
    await desk.release()
    await desk.redeem()
    (*_, last) = simulator[0].vouchers.redemptions
    found = await desk.found()
    assert (found.used_at.isoformat(), found.theirs) == (last["date"], True)


@pytest.mark.parametrize(
    ("entry", "used_at", "theirs"),
    [
        ({"date": DATE}, datetime(2026, 9, 1, 8, 0, 0, 123000, tzinfo=UTC), True),
        ({"date": "2026-09-01T08:00:00"}, None, True),
        ({"date": 7}, None, True),
        ({"date": DATE, "customer_id": "cust_2"}, None, False),
        ({"date": DATE, "customer_id": None}, None, False),
        ({"date": DATE, "result": "FAILURE"}, None, False),
    ],
    ids=["theirs", "no offset", "no date", "another's", "nobody's", "a failed one"],
)
async def test_who_used_it_up(*, open_desk, entry, used_at, theirs):
    """Only this customer's redemption that stands is theirs; without a readable date nobody knows when."""
    entries = [{"object": "redemption", "result": "SUCCESS", "id": "r_1", "customer_id": "cust_1", **entry}]
    async with wire(after_the_list(answer(200, json.dumps({"redemption_entries": entries}).encode()))) as vendor:
        assert await open_desk(vendor.url).found() == VendorStanding(Standing.USED, used_at, theirs=theirs)


async def test_who_used_it_up_is_not_told(open_desk):
    """It is used up all the same."""
    async with wire(after_the_list(answer(404, b'{"key": "resource_not_found"}'))) as vendor:
        assert await open_desk(vendor.url).found() == VendorStanding(Standing.USED)


@pytest.mark.parametrize("unsaid", ["date", "customer_id"])
async def test_what_may_be_another_s_is_not_rolled_back(*, open_desk, unsaid):
    """Without its date, or without whose the voucher is, a person has to look at it."""
    own = {"object": "redemption", "result": "SUCCESS", "id": "r_1", "customer_id": "cust_1", "date": DATE}
    entries = [{**own, unsaid: None}]
    lists = [{**HELD, **({unsaid: None} if unsaid == "customer_id" else {})}]

    async def script(request, writer):
        if b"/redeemables?" in request.split(b"\r\n")[0]:
            told = {"object": "list", "data": lists, "has_more": False}
        else:
            told = {"redemption_entries": entries}
        await answer(200, json.dumps(told).encode())(request, writer)

    async with wire(script) as vendor:
        assert await open_desk(vendor.url).release() == VendorWord(Reason.NOT_RELEASED)
    assert not [request for request in vendor.requests if request.startswith(b"POST")]


@pytest.mark.parametrize(
    ("entries", "rolled_back"),
    [
        ([], None),
        ([{"object": "redemption", "result": "FAILURE", "id": "rf_1", "customer_id": "cust_1", "date": DATE}], None),
        ([{"object": "redemption", "result": "SUCCESS", "id": "r_1", "customer_id": "cust_1", "date": DATE}], b"r_1"),
        ([{"object": "redemption", "result": "SUCCESS", "id": "r_1", "customer_id": "cust_1", "date": DATE},
          {"object": "redemption_rollback", "redemption": "r_1"}], None),
        ([{"object": "redemption", "result": "SUCCESS", "id": "r_1", "customer_id": "cust_1", "date": DATE},
          {"object": "redemption_rollback", "redemption": {"id": "r_1"}}], b"r_1"),
        ([{"object": "redemption", "result": "SUCCESS", "id": "r_1\ud800", "customer_id": "cust_1",
           "date": DATE}], None),
        ([{"object": "redemption", "result": "SUCCESS", "id": "r_1", "customer_id": "cust_1", "date": DATE,
           "status": "ROLLED_BACK"}], None),
        ([{"object": "redemption", "result": "SUCCESS", "id": "r_1", "customer_id": "cust_1", "date": DATE,
           "status": "ROLLED_BACK"},
          {"object": "redemption", "result": "SUCCESS", "id": "r_2", "customer_id": "cust_1", "date": DATE}], b"r_2"),
    ],
    ids=["none", "a failed one", "one that stands", "one with its rollback", "a rollback of what",
         "half a character", "one that says so", "a later one"],
)  # fmt: skip
async def test_which_redemption_is_rolled_back(open_desk, entries, rolled_back):
    """The one that stands; where there is none, nothing has to be given back."""
    told = {"object": "redemption_rollback", "redemption_entries": entries}
    async with wire(after_the_list(answer(200, json.dumps(told).encode()))) as vendor:
        assert await open_desk(vendor.url).release() == DONE
    asked = [request.split(b" ")[1] for request in vendor.requests if request.startswith(b"POST")]
    assert asked == ([b"/v1/redemptions/" + rolled_back + b"/rollback"] if rolled_back else [])


async def test_a_rollback_that_is_refused(open_desk):
    """It is told with Voucherify's own name for it, as after three months; what is undone already is done."""
    entries = [{"object": "redemption", "result": "SUCCESS", "id": "r_1", "customer_id": "cust_1", "date": DATE}]
    listed = answer(200, json.dumps({"redemption_entries": entries}).encode())
    for key, word in (
        ("invalid_redemption", VendorWord(Reason.NOT_RELEASED, "invalid_redemption")),
        ("already_rolled_back", DONE),
    ):
        refused = answer(400, json.dumps({"key": key}).encode())

        async def script(request, writer, refused=refused):
            await (refused if request.startswith(b"POST") else listed)(request, writer)

        async with wire(after_the_list(script)) as vendor:
            assert await open_desk(vendor.url).release() == word


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"object": "redemption_rollback", "result": "SUCCESS"}, DONE),
        ({"object": "redemption_rollback", "result": "FAILURE"}, VendorWord(Reason.NOT_RELEASED)),
        ({"unheard": ["of"]}, None),
    ],
    ids=["done", "failed", "somebody else's"],
)
async def test_what_an_answer_to_a_rollback_says(open_desk, body, word):
    """That it is done only what names one says."""
    entries = [{"object": "redemption", "result": "SUCCESS", "id": "r_1", "customer_id": "cust_1", "date": DATE}]
    listed = answer(200, json.dumps({"redemption_entries": entries}).encode())

    async def script(request, writer):
        told = answer(200, json.dumps(body).encode()) if request.startswith(b"POST") else listed
        await told(request, writer)

    async with wire(after_the_list(script)) as vendor:
        if word is not None:
            assert await open_desk(vendor.url).release() == word
            return
        with pytest.raises(VendorUnreachableError) as caught:
            await open_desk(vendor.url).release()
    assert caught.value.maybe_received


async def test_a_rollback_while_another_call_is_under_way(open_desk):
    """It is no refusal: it is asked for again."""
    entries = [{"object": "redemption", "result": "SUCCESS", "id": "r_1", "customer_id": "cust_1", "date": DATE}]

    async def script(request, writer):
        busy = answer(400, b'{"key": "multiple_requests"}')
        listed = answer(200, json.dumps({"redemption_entries": entries}).encode())
        await (busy if request.startswith(b"POST") else listed)(request, writer)

    async with wire(after_the_list(script)) as vendor:
        with pytest.raises(VendorUnreachableError):
            await open_desk(vendor.url).release()


async def test_an_answer_of_200_while_another_call_is_under_way(open_desk):
    """The voucher may be used up in a moment; this call has not done it."""
    body = b'{"inapplicable_redeemables": [{"result": {"error": {"key": "multiple_requests"}}}]}'
    async with wire(after_the_list(answer(200, body))) as vendor:
        with pytest.raises(VendorUnreachableError) as error:
            await open_desk(vendor.url).redeem()
    assert not error.value.maybe_received
