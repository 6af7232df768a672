"""Vouchers and promotions: given, listed, redeemed once, and made good again."""

import pytest

ANOTHER = "0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10"
PATHS = {
    2: {
        "available": "/api/v2/contacts/{contact}/bonuschecks/available",
        "redeemed": "/api/v2/contacts/{contact}/bonuschecks/redeemed",
        "redeem": "/api/v2/contacts/{contact}/bonuschecks/{id}/redeem",
        "reactivate": "/api/v2/promotions/reward-vouchers/{id}/reactivate",
        "promotion": "/api/v2/contacts/{contact}/promotions/{id}/redeem",
    },
    3: {
        "available": "/api/v3/reward-vouchers/available?contactId={contact}",
        "redeemed": "/api/v3/reward-vouchers/redeemed?contactId={contact}",
        "redeem": "/api/v3/reward-vouchers/{id}/redeem",
        "reactivate": "/api/v3/reward-vouchers/{id}/reactivate",
        "promotion": "/api/v3/promotion-assignments/{id}/redeem",
    },
}
POS = {"redemptionChannel": "POS"}


class Member:
    """Somebody with a voucher and a promotion, and one version of the API to use them by."""

    def __init__(self, tenant, version, contact, voucher, promotion):
        self.tenant, self.paths, self.contact = tenant, PATHS[version], contact
        self.voucher, self.promotion = voucher, promotion

    def path(self, what, id_=""):
        return self.paths[what].format(contact=self.contact, id=id_)

    async def listed(self, what):
        return [row["id"] for row in (await self.tenant.http.get(self.path(what))).json()["items"]]

    async def post(self, what, id_, body=None):
        answer = await self.tenant.http.post(self.path(what, id_), json=body)
        return answer.status_code, answer.json().get("errorCode") if answer.status_code >= 400 else None


@pytest.fixture(params=[2, 3], ids=["v2", "v3"])
async def member(request, tenant):
    contact = (await tenant.member())["id"]
    voucher = await tenant.http.post("/_sim/vouchers", json={"contactId": contact, "amount": 75, "name": "Birthday"})
    assert voucher.status_code == 201
    assert voucher.json()["value"] == {"currency": "SEK", "amount": 75}
    promotion = await tenant.http.post("/_sim/promotions", json={"contactId": contact})
    return Member(tenant, request.param, contact, voucher.json()["id"], promotion.json()["id"])


async def test_a_voucher_is_redeemed_once(member):
    """It moves from one list to the other, and the second time is a conflict."""
    assert (await member.listed("available"), await member.listed("redeemed")) == ([member.voucher], [])
    assert await member.post("redeem", member.voucher) == (200, None)
    assert (await member.listed("available"), await member.listed("redeemed")) == ([], [member.voucher])
    assert await member.post("redeem", member.voucher) == (409, "RewardVoucherAlreadyRedeemed")


async def test_a_voucher_is_made_good_again_three_times(member):
    """Only a redeemed one, and not for ever."""
    assert await member.post("reactivate", member.voucher) == (409, "RewardVoucherAlreadyActivated")
    for _ in range(3):
        assert await member.post("redeem", member.voucher) == (200, None)
        assert await member.post("reactivate", member.voucher) == (200, None)
        assert await member.listed("available") == [member.voucher]
    assert await member.post("redeem", member.voucher) == (200, None)
    assert await member.post("reactivate", member.voucher) == (409, "RewardVoucherReactivationLimitReached")


async def test_an_expired_voucher(member):
    """It is neither listed nor taken, nor made good again."""
    ends = {"contactId": member.contact, "expiresOn": "2026-02-16T12:00:00+00:00"}
    expiring = (await member.tenant.http.post("/_sim/vouchers", json=ends)).json()["id"]
    redeemed = (await member.tenant.http.post("/_sim/vouchers", json=ends)).json()["id"]
    assert await member.post("redeem", redeemed) == (200, None)
    await member.tenant.http.post("/_sim/advance", json={"seconds": 3600})
    assert await member.listed("available") == [member.voucher]
    assert await member.post("redeem", expiring) == (409, "RewardVoucherExpired")
    assert await member.post("reactivate", redeemed) == (409, "RewardVoucherExpired")


@pytest.mark.parametrize(
    ("id_", "refusal"),
    [("nonsense", (400, "InvalidRewardVoucherId")), (ANOTHER, (404, "RewardVoucherNotFound"))],
    ids=["no id", "nobody's"],
)
async def test_a_voucher_that_is_not_there(member, id_, refusal):
    """What is no id is told apart from what is not there."""
    assert await member.post("redeem", id_) == refusal
    assert await member.post("reactivate", id_) == refusal


async def test_v2_looks_whose_a_voucher_is(tenant):
    """v3 knows a voucher by its id alone."""
    mine = (await tenant.member())["id"]
    yours = (await tenant.member(mobilePhone="+46701740606"))["id"]
    voucher = (await tenant.http.post("/_sim/vouchers", json={"contactId": yours})).json()["id"]
    answer = await tenant.http.post(f"/api/v2/contacts/{mine}/bonuschecks/{voucher}/redeem")
    assert (answer.status_code, answer.json()["errorCode"]) == (404, "RewardVoucherNotFound")
    assert (await tenant.http.post(f"/api/v3/reward-vouchers/{voucher}/redeem")).status_code == 200


async def test_a_promotion_is_redeemed_once(member):
    """By its instance, through a channel that it is for."""
    assert await member.post("promotion", member.promotion, {"redemptionChannel": "SHOP"}) == (
        400,
        "NotAValidRedemptionChannel",
    )
    ecom = {"redemptionChannel": "ECOM"}
    assert await member.post("promotion", member.promotion, ecom) == (409, "PromotionNotValidForRedemptionChannel")
    assert await member.post("promotion", ANOTHER, POS) == (404, "PromotionNotFound")
    assert await member.post("promotion", member.promotion, POS) == (200, None)
    assert await member.post("promotion", member.promotion, POS) == (409, "PromotionAlreadyRedeemed")


async def test_an_expired_promotion(member):
    """It is not taken."""
    await member.tenant.http.post("/_sim/advance", json={"seconds": 31 * 86_400})
    assert await member.post("promotion", member.promotion, POS) == (409, "PromotionExpired")


async def test_v2_has_two_paths_for_a_promotion(tenant):
    """One looks whose it is."""
    mine = (await tenant.member())["id"]
    yours = (await tenant.member(mobilePhone="+46701740606"))["id"]
    promotion = (await tenant.http.post("/_sim/promotions", json={"contactId": yours})).json()["id"]
    answer = await tenant.http.post(f"/api/v2/contacts/{mine}/promotions/{promotion}/redeem", json=POS)
    assert (answer.status_code, answer.json()["errorCode"]) == (404, "PromotionNotAssociatedWithContact")
    assert (await tenant.http.post(f"/api/v2/promotions/codes/{promotion}/redeem", json=POS)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [{"amount": -1}, {"amount": "50"}, {"expiresOn": "soon"}, {"expiresOn": "2026-02-16T12:00:00"}, {"colour": 1}],
    ids=str,
)
async def test_a_voucher_that_cannot_be_given(tenant, body):
    """The control says what is wrong."""
    contact = (await tenant.member())["id"]
    answer = await tenant.http.post("/_sim/vouchers", json={"contactId": contact, **body})
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "InvalidControl")
