"""Redeeming vouchers and offers at a tenant, and making vouchers good again."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest

from agent.connectors.voyado.client import VoyadoClient
from agent.connectors.voyado.people import VoyadoPeople
from agent.connectors.voyado.redemptions import VoyadoRedemptions, _instant, _row
from agent.connectors.voyado.settings import VoyadoSettings
from agent.connectors.voyado.simulator import SimulatorSettings, VoyadoSimulator, serve
from agent.connectors.voyado.simulator.faults import Fault
from agent.domain.benefits import BenefitKind
from agent.domain.identifiers import IdentifierType
from agent.domain.redemption import Reason, Redeemable, RedemptionMode, Standing, VendorWord
from agent.domain.transaction import IntegrationKey
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.transport import Transport
from tests.fakes import at_once, member_key
from tests.wire import POLICY, answer, hang, wire

NOW = datetime(2026, 2, 16, 11, 0, tzinfo=UTC)
VOUCHER, OFFER = BenefitKind.VOUCHER, BenefitKind.OFFER
HOW = {"timeout_s": 20.0, "pace": at_once}
DONE = VendorWord()
ANOTHER = "0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10"
ECOM = [{"type": "ECOM", "valueType": "PERCENT", "value": 10, "localValues": [], "instruction": None}]


class Key:
    def value(self):
        return "sim-key"

    def refused(self):
        """Read anew each time anyway."""


ALMA_S = Redeemable(member_key("10000421"), VOUCHER, "v-1")


class Shop:
    """A tenant with two members who have something, and whoever redeems it."""

    def __init__(self, sim, redemptions):
        self.sim, self.redemptions = sim, redemptions
        self.alma, self.bo = list(sim.state.members())[:2]
        self.voucher = sim.rewards.issue_voucher(self.alma.contact_id).voucher_id
        self.offer = sim.rewards.assign_promotion(self.alma.contact_id, {})["id"]
        self.key = member_key(self.alma.value("memberNumber"))

    def id_of(self, kind):
        return self.voucher if kind is VOUCHER else self.offer

    async def standing(self, kind, id_=None, key=None):
        return (await self.found(kind, id_, key)).standing

    async def found(self, kind, id_=None, key=None):
        return await self.redemptions.standing(Redeemable(key or self.key, kind, id_ or self.id_of(kind)), **HOW)

    async def redeem(self, kind, id_=None):
        return await self.redemptions.redeem(Redeemable(self.key, kind, id_ or self.id_of(kind)), **HOW)

    async def release(self, id_=None):
        return await self.redemptions.release(Redeemable(self.key, VOUCHER, id_ or self.voucher), **HOW)


def redeemer(url, version):
    settings = VoyadoSettings.model_validate({"base_url": url, "api_version": version})
    client = VoyadoClient(
        Transport(url, POLICY, connections=2, user_agent="LoyaltyAgent/0.1"),
        Key(),
        version=version,
        source="POS",
        heard=lambda _answer: None,
    )
    return client, VoyadoRedemptions(client, VoyadoPeople(client, settings, IdentifierType.MEMBER_NUMBER))


@pytest.fixture(params=[2, 3], ids=["v2", "v3"])
async def shop(request, tmp_path):
    sim = VoyadoSimulator(SimulatorSettings(root=tmp_path), now=lambda: NOW, rng=random.Random(7))
    sim.seed(20)
    running = await serve(sim)
    client, redemptions = redeemer(running.url, request.param)
    yield Shop(sim, redemptions)
    await client.close()
    await running.stop()


each_kind = pytest.mark.parametrize("kind", [VOUCHER, OFFER])


@each_kind
async def test_a_benefit_is_used_up_once(shop, kind):
    """How it stands tells, and the second time is a no."""
    assert await shop.standing(kind) is Standing.AVAILABLE
    assert await shop.redeem(kind) == DONE
    assert await shop.standing(kind) is Standing.USED
    assert (await shop.found(kind)).used_at == NOW
    again = await shop.redeem(kind)
    assert again.reason is Reason.USED
    assert again.code.endswith("AlreadyRedeemed")


async def test_a_voucher_is_made_good_again(shop):
    """Also when it is already; not for ever, and an offer not at all."""
    assert VoyadoRedemptions.modes == {VOUCHER: RedemptionMode.ONCE, OFFER: RedemptionMode.FINAL}
    assert await shop.release() == DONE, "it was never used"
    for _ in range(3):
        assert await shop.redeem(VOUCHER) == DONE
        assert await shop.release() == DONE
        assert await shop.standing(VOUCHER) is Standing.AVAILABLE
    assert await shop.redeem(VOUCHER) == DONE
    assert await shop.release() == VendorWord(Reason.REFUSED, "RewardVoucherReactivationLimitReached")


@each_kind
async def test_another_person_s(shop, kind):
    """What the member does not have is not theirs, whoever has it; a stranger has nothing."""
    theirs = {
        VOUCHER: shop.sim.rewards.issue_voucher(shop.bo.contact_id).voucher_id,
        OFFER: shop.sim.rewards.assign_promotion(shop.bo.contact_id, {})["id"],
    }[kind]
    assert await shop.standing(kind, theirs) is Standing.ABSENT
    assert await shop.standing(kind, ANOTHER) is Standing.ABSENT
    assert await shop.standing(kind, key=member_key("99999999")) is Standing.ABSENT
    assert (await shop.redeem(kind, ANOTHER)).reason is Reason.NOT_THEIRS


def test_an_id_in_another_case():
    """One benefit has one spelling here, small letters, so that it is on record once; however the vendor lists it."""
    rows = [{"id": "0D4E-AB"}, {"id": 7}]
    assert [_row(rows, id_) for id_ in ("0d4e-ab", "7", "0D4E-AB")] == [rows[0], rows[1], None]


@each_kind
async def test_an_expired_one(shop, kind):
    """The vendor says so, whatever the till's clock would."""
    shop.sim.advance(timedelta(days=400).total_seconds())
    assert await shop.standing(kind) is Standing.AVAILABLE
    assert (await shop.redeem(kind)).reason is Reason.EXPIRED


async def test_what_a_vendor_refuses_otherwise(shop):
    """With its code."""
    web = shop.sim.rewards.assign_promotion(shop.alma.contact_id, {"redemptionChannels": ECOM})["id"]
    assert await shop.redeem(OFFER, web) == VendorWord(Reason.REFUSED, "PromotionNotValidForRedemptionChannel")


async def test_a_voucher_among_hundreds(shop):
    """Page by page until it is found."""
    for _ in range(230):
        shop.sim.rewards.issue_voucher(shop.alma.contact_id)
    last = shop.sim.rewards.issue_voucher(shop.alma.contact_id).voucher_id
    assert await shop.standing(VOUCHER, last) is Standing.AVAILABLE
    assert await shop.standing(VOUCHER, ANOTHER) is Standing.ABSENT


@each_kind
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "answer", "status": 504},
        {"kind": "drop"},
        {"kind": "answer", "status": 200, "body": "html"},
        {"kind": "answer", "status": 429},
    ],
    ids=["504", "cut", "a web page", "429"],
)
async def test_no_sensible_answer(shop, kind, fault):
    """It may have been carried out, and is not taken for a yes or a no."""
    shop.sim.faults.add(Fault(path="*redeem", after_processing=fault.get("status") != 429, count=1, **fault))
    with pytest.raises(VendorUnreachableError):
        await shop.redeem(kind)
    assert await shop.standing(kind) is (Standing.AVAILABLE if fault.get("status") == 429 else Standing.USED)


async def test_refused_credentials(shop):
    """They are told as such."""
    del shop.sim.state.keys["sim-key"]
    for call in (shop.standing(VOUCHER), shop.redeem(VOUCHER), shop.release()):
        with pytest.raises(VendorRefusedError):
            await call


@pytest.mark.parametrize("version", [2, 3])
async def test_a_list_without_end(version):
    """A vendor that never comes to the end of a list is no answer."""
    row = b'{"items": [{"id": "1", "redeemed": false}], "totalCount": 9}'
    async with wire(answer(200, row)) as server:
        client, redemptions = redeemer(server.url, version)
        key = IntegrationKey(kind="primary", type=IdentifierType.CONTACT_ID, value=ANOTHER)
        with pytest.raises(VendorUnreachableError):
            await redemptions.standing(Redeemable(key, VOUCHER, "2"), **HOW)
        await client.close()


async def test_whoever_cannot_be_found_was_not_redeemed_for():
    """A look-up without an answer says nothing of the redemption: Voyado has never heard of that."""

    class People:
        async def contact_id(self, *_args, **_more):
            raise VendorUnreachableError(maybe_received=True)

    with pytest.raises(VendorUnreachableError) as caught:
        await VoyadoRedemptions(None, People()).redeem(ALMA_S, **HOW)
    assert caught.value.maybe_received is False


@pytest.mark.parametrize("version", [2, 3])
async def test_whoever_is_found_too_slowly_was_not_redeemed_for(version):
    """A cashier's patience that ends in the look-up ends before Voyado was told, and that is known."""
    async with wire(hang) as server:
        client, redemptions = redeemer(server.url, version)
        with pytest.raises(VendorUnreachableError) as caught:
            async with asyncio.timeout(1):
                await redemptions.redeem(ALMA_S, timeout_s=1, pace=at_once)
        assert (caught.value.maybe_received, len(server.requests)) == (False, 1)
        await client.close()


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        ("2026-02-16T12:00:00+01:00", NOW),
        ("2026-02-16T11:00:00.000Z", NOW),
        ("2026-02-16T12:00:00", None),
        ("2026-02-16", None),
        ("yesterday", None),
        (None, None),
        (True, None),
    ],
)
def test_when_something_was_used_up(value, instant):
    """An instant that is the same wherever it is read; whatever is not says nothing."""
    assert _instant(value) == instant
