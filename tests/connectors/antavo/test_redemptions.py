"""Coupons used up at Antavo, and given back."""

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from agent.connectors.antavo.simulator import Fault
from agent.domain.benefits import BenefitKind
from agent.domain.identifiers import IdentifierType
from agent.domain.redemption import Reason, RedemptionMode, Standing, VendorStanding, VendorWord
from agent.errors import VendorRefusedError, VendorUnreachableError
from tests.connectors.antavo.conftest import ALMA, BO, CRM, MEMBER, NUMBER, VOUCHER
from tests.connectors.mparticle.sales import NOW
from tests.fakes import primary_key
from tests.wire import answer, cut, wire

DONE, POINTS = VendorWord(), BenefitKind.POINTS
COUPON = {"code": "CODE-1", "status": "claimed", "type": "amount", "value": 50, "currency": "SEK"}


def coupons(*rows):
    """Lists coupons, one list after the other; the last for good."""
    left = list(rows)

    def next_():
        row = left.pop(0) if len(left) > 1 else left[0]
        return answer(200, json.dumps({"data": [row] if row else []}).encode())

    return next_


def after_the_list(script, *rows):
    """Lists the coupon, and has events answered by the script."""
    shown = coupons(*(rows or (COUPON,)))

    async def answered(request, writer):
        await (script if request.startswith(b"POST") else shown())(request, writer)

    return answered


@pytest.fixture(name="sim")
def _sim(simulator):
    """A workspace in which Alma has a coupon, and Bo has none."""
    sim, _ = simulator
    sim.add_member(MEMBER, membership_id=["77123456"], external_ids={"crm_id": "X-1"})
    sim.add_member("c-2")
    sim.give(MEMBER, "CODE-1")
    return sim


@pytest.fixture(name="desk")
def _desk(simulator, sim, open_desk):
    assert sim.books.coupons.by_code
    return open_desk(simulator[1].url)


def told(sim):
    """The events about coupons that counted."""
    return [event["action"] for event in sim.books.applied]


def test_what_is_redeemed(desk):
    """Coupons, and they can be given back; nothing else, unless it is switched on. Codes are spelled in one way."""
    assert desk.room.redeems == {VOUCHER}
    assert desk.room.modes[VOUCHER] is RedemptionMode.ONCE
    assert desk.room.spelled(VOUCHER, "Ab-1") == "Ab-1"


@pytest.mark.parametrize("key", [ALMA, NUMBER, CRM], ids=["id", "member number", "external id"])
async def test_used_up_once_and_given_back(*, simulator, sim, open_desk, key):
    """Used up it is not used again, nor told again; given back it is as before, and can be used again."""
    desk = open_desk(simulator[1].url, key)
    assert await desk.standing() == VendorStanding(Standing.AVAILABLE)
    assert await desk.redeem() == DONE
    assert await desk.standing() == VendorStanding(Standing.USED, NOW.replace(microsecond=0))
    assert await desk.redeem() == VendorWord(Reason.USED, "redeemed")
    assert [await desk.release(), await desk.release()] == [DONE, DONE]
    assert await desk.standing() == VendorStanding(Standing.AVAILABLE)
    assert await desk.redeem() == DONE
    assert told(sim) == ["coupon_redeem", "coupon_unredeem", "coupon_redeem"]
    assert {event["customer"] for event in sim.books.applied} == {MEMBER}
    assert sim.books.applied[0]["data"] == {"code": "CODE-1"}


@pytest.mark.parametrize("key", [ALMA, NUMBER], ids=["id", "member number"])
async def test_points_are_the_sale_s(simulator, sim, open_desk, key):
    """What can be spent is told, where the shop has switched it on; no call spends any."""
    desk = open_desk(simulator[1].url, key, spend_points=True)
    assert desk.room.redeems == {VOUCHER, POINTS}
    assert POINTS not in open_desk(simulator[1].url).room.redeems
    sim.member(MEMBER).score, sim.member(MEMBER).spent = 300, 60
    assert await desk.standing("", POINTS) == VendorStanding(Standing.AVAILABLE, balance=Decimal(240))
    nobody = open_desk(simulator[1].url, primary_key(IdentifierType.CONTACT_ID, "nobody"))
    assert await nobody.standing("", POINTS) == VendorStanding(Standing.ABSENT)
    assert await desk.redeem("", POINTS) == VendorWord(Reason.NOT_OFFERED)
    assert await desk.release("", POINTS) == VendorWord(Reason.NOT_RELEASED, "not_found")
    assert sim.received == []


async def test_another_s_coupon(*, simulator, sim, open_desk):
    """It is not theirs, whatever is asked; nothing is told of it, and it stays as it is."""
    nobody = primary_key(IdentifierType.CONTACT_ID, "nobody")
    for desk in (open_desk(simulator[1].url, BO), open_desk(simulator[1].url, nobody)):
        assert await desk.standing() == VendorStanding(Standing.ABSENT)
        assert await desk.redeem() == VendorWord(Reason.NOT_THEIRS)
        assert await desk.release() == VendorWord(Reason.NOT_RELEASED, "not_found")
    assert (told(sim), sim.received, sim.coupon("CODE-1")["status"]) == ([], [], "claimed")


@pytest.mark.parametrize(
    ("coupon", "word"),
    [
        ({"status": "expired"}, VendorWord(Reason.EXPIRED, "expired")),
        ({"expires_at": 1}, VendorWord(Reason.EXPIRED, "expired")),
        ({"status": "invalid"}, VendorWord(Reason.REFUSED, "invalid")),
        ({"status": "+46701740605"}, VendorWord(Reason.REFUSED)),
        ({"type": "gift_card"}, VendorWord(Reason.NOT_THEIRS)),
        ({"type": "free_shipping"}, VendorWord(Reason.NOT_THEIRS)),
    ],
    ids=["over", "over by its time", "invalid", "a status of nobody's", "a gift card", "no till's"],
)
async def test_what_cannot_be_used_up(desk, sim, coupon, word):
    """Why is told by its status, and no event is sent; what a till is not shown it cannot use up either."""
    sim.give(MEMBER, "CODE-2", **coupon)
    assert await desk.redeem("CODE-2") == word
    assert sim.received == []


async def test_what_cannot_be_given_back(desk, sim):
    """What is over since can be used by nobody."""
    sim.give(MEMBER, "CODE-2", status="expired")
    assert await desk.release("CODE-2") == VendorWord(Reason.NOT_RELEASED, "expired")


@pytest.mark.parametrize("lost", [True, False], ids=["carried out", "not carried out"])
async def test_a_lost_answer(desk, sim, lost):
    """It may have been carried out, and the error says so; how it stands tells."""
    sim.add(Fault(kind="drop", method="POST", after_processing=lost, count=1))
    with pytest.raises(VendorUnreachableError) as error:
        await desk.redeem()
    assert error.value.maybe_received
    assert (await desk.standing()).standing is (Standing.USED if lost else Standing.AVAILABLE)
    assert len(told(sim)) == lost


async def test_a_lost_answer_to_giving_it_back(desk, sim):
    """Asked again it is done, and told once."""
    await desk.redeem()
    sim.add(Fault(kind="drop", method="POST", after_processing=True, count=1))
    with pytest.raises(VendorUnreachableError):
        await desk.release()
    assert await desk.release() == DONE
    assert told(sim) == ["coupon_redeem", "coupon_unredeem"]


async def test_what_was_not_asked_was_not_received(desk, sim):
    """A question that gets no answer has used nothing up."""
    sim.add(Fault(kind="drop", method="GET", after_processing=True, count=1))
    with pytest.raises(VendorUnreachableError) as error:
        await desk.redeem()
    assert (error.value.maybe_received, sim.received) == (False, [])


async def test_two_at_once(desk, sim):
    """One of them uses it up, where the workspace refuses the others; all had seen it unused."""
    words = await asyncio.gather(*(desk.redeem() for _ in range(4)))
    assert sorted(word.reason or "" for word in words) == ["", "used", "used", "used"]
    assert (len(told(sim)), sim.coupon("CODE-1")["status"]) == (1, "redeemed")


async def test_each_call_is_counted(desk, sim):
    """All of them come out of this agent's share: one look, and one look before each event."""
    for call in (desk.standing, desk.redeem, desk.release):
        await call()
    assert desk.paces == sum(sim.requests.values()) == 1 + 2 + 2


@pytest.mark.parametrize("unfiltered", [False, True])
async def test_one_of_very_many(desk, sim, unfiltered):
    """It is found, at one call where the workspace filters by code; behind the third page it is not."""
    sim.books.coupons.unfiltered = unfiltered
    for number in range(300):
        sim.give(MEMBER, f"MORE-{number}")
    assert (await desk.standing("MORE-150")).standing is Standing.AVAILABLE
    assert desk.paces == (2 if unfiltered else 1)
    assert (await desk.standing("MORE-299")).standing is (Standing.ABSENT if unfiltered else Standing.AVAILABLE)


@pytest.mark.parametrize(
    ("at", "used_at"),
    [
        (1771083669, datetime.fromtimestamp(1771083669, UTC)),
        ("2026-02-14T16:41:09+01:00", datetime(2026, 2, 14, 15, 41, 9, tzinfo=UTC)),
        ("2026-02-14 16:41:09", None),
        ("2026-02-14", None),
        ("lately", None),
        (True, None),
        (None, None),
    ],
    ids=["seconds", "an offset", "no offset", "a day", "words", "no time", "not told"],
)
async def test_when_it_was_used_up(open_desk, at, used_at):
    """By an instant that is one wherever it is read; else nobody knows."""
    row = {**COUPON, "status": "redeemed", "redeemed_at": at}
    async with wire(after_the_list(cut, row)) as vendor:
        assert await open_desk(vendor.url).standing() == VendorStanding(Standing.USED, used_at)


def refused(code, status=400):
    return answer(status, json.dumps({"error": {"type": "RuntimeException", "code": code, "message": "No"}}).encode())


@pytest.mark.parametrize(
    ("script", "after", "word"),
    [
        (refused(0), "redeemed", VendorWord(Reason.USED, "0")),
        (refused(0, 200), "redeemed", VendorWord(Reason.USED, "0")),
        (refused(0), "expired", VendorWord(Reason.EXPIRED, "expired")),
        (refused(0), "claimed", VendorWord(Reason.REFUSED, "0")),
        (refused(1601), None, VendorWord(Reason.NOT_THEIRS, "1601")),
        (refused(160212, 404), None, VendorWord(Reason.NOT_THEIRS, "160212")),
        (refused(160216, 500), "claimed", VendorWord(Reason.REFUSED, "160216")),
        (refused(127201), "redeemed", DONE),
        (refused(127201), "claimed", VendorWord(Reason.REFUSED, "127201")),
        (answer(422, b"{}"), "claimed", VendorWord(Reason.REFUSED, "UNNAMED")),
    ],
)
async def test_why_it_was_refused(open_desk, script, after, word):
    """A number that says no is told apart by how the coupon stands then; a workflow's stop is none if it was used."""
    later = {**COUPON, "status": after} if after else None
    async with wire(after_the_list(script, COUPON, later)) as vendor:
        assert await open_desk(vendor.url).redeem() == word


@pytest.mark.parametrize(("code", "maybe"), [(0, False), (127201, True)])
async def test_why_cannot_be_asked(open_desk, code, maybe):
    """What was refused was not carried out; what a workflow stopped may have been."""
    asked = []

    async def script(request, writer):
        asked.append(request)
        answered = (answer(200, json.dumps({"data": [COUPON]}).encode()), refused(code), cut)
        await answered[min(len(asked), 3) - 1](request, writer)

    async with wire(script) as vendor:
        with pytest.raises(VendorUnreachableError) as error:
            await open_desk(vendor.url).redeem()
    assert error.value.maybe_received is maybe


@pytest.mark.parametrize(
    ("after", "word"),
    [
        ("claimed", DONE),
        ("redeemed", VendorWord(Reason.NOT_RELEASED, "1601")),
        (None, VendorWord(Reason.NOT_RELEASED, "1601")),
    ],
)
async def test_giving_back_that_is_refused(open_desk, after, word):
    """It is done if it is there to be used again, whoever did it; else a person has to know."""
    rows = [{**COUPON, "status": "redeemed"}, {**COUPON, "status": after} if after else None]
    async with wire(after_the_list(refused(1601), *rows)) as vendor:
        assert await open_desk(vendor.url).release() == word


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
        (answer(200, b"{}"), VendorUnreachableError, True),
        (cut, VendorUnreachableError, True),
    ],
)
async def test_an_answer_that_says_nothing(*, open_desk, call, script, error, maybe):
    """It is one of the two errors; a redemption that may have been carried out says so."""
    status = "claimed" if call == "redeem" else "redeemed"
    async with wire(after_the_list(script, {**COUPON, "status": status})) as vendor:
        with pytest.raises(error) as raised:
            await getattr(open_desk(vendor.url), call)()
    if maybe is not None:
        assert raised.value.maybe_received is maybe
