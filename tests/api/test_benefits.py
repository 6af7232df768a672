"""What a till hears of members' benefits, against a running door."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from agent.api.schemas_benefits import BenefitsAnswer, PreviewAnswer
from agent.domain.benefits import Benefit, BenefitKind, Benefits, Points, Worth

ALMAS = "/v1/contacts/c_5f3a/benefits"
EVERYBODYS = "/v1/contacts/general/benefits"
NOW = datetime(2026, 11, 20, 9, 5, 12, tzinfo=UTC)
UNKNOWN_PHONE = "+46701740608"
UNTIL = datetime(2026, 12, 31, 23, tzinfo=UTC)
OFFER = Benefit(
    BenefitKind.OFFER,
    "o-1",
    "Socks",
    Worth("percent", percent=Decimal(10)),
    UNTIL,
    "p-1",
    points=Decimal(120),
    brings_voucher=True,
)
HAS = Benefits(
    Points(Decimal(240), Decimal("12.5")),
    (
        OFFER,
        Benefit(BenefitKind.VOUCHER, "v-1", "Bonus", Worth("money", Decimal("50.00"), "SEK"), None, "0000000204417"),
    ),
)
WORTH = {"amount": None, "currency": None, "percent": None, "text": None}


async def test_what_a_member_has_is_answered_as_published(house):
    """Points, offers and vouchers, each with what it is worth, until when, and whether it can be used offline."""
    house.vendor.benefits_of_alma = HAS
    answer = await house.http.get(ALMAS)
    assert answer.status_code == 200
    assert answer.json() == {
        "points": {"balance": "240", "pending": "12.5", "unit": "points"},
        "offers": [
            {
                "id": "o-1",
                "name": "Socks",
                "value": {**WORTH, "type": "percent", "percent": "10"},
                "expires_at": "2026-12-31T23:00:00Z",
                "offline": "refused",
                "why": "policy",
                "promotion_id": "p-1",
                "minimum_purchase": None,
                "points": "120",
                "brings_voucher": True,
                "general": False,
            }
        ],
        "vouchers": [
            {
                "id": "v-1",
                "name": "Bonus",
                "value": {**WORTH, "type": "money", "amount": "50.00", "currency": "SEK"},
                "expires_at": None,
                "offline": "allowed",
                "why": "allowed",
                "number": "0000000204417",
            }
        ],
        "served": {"source": "live", "as_of": "2026-11-20T09:05:12Z", "age_s": 0, "stale": False, "level": 3},
        "messages": [],
    }
    BenefitsAnswer.model_validate_json(answer.content, strict=True)


async def test_what_was_said_last_is_answered_with_its_source(house):
    """The vendor does not answer any more."""
    house.vendor.benefits_of_alma = HAS
    live = (await house.http.get(ALMAS)).json()
    house.vendor.benefits_of_alma = None
    body = (await house.http.get(ALMAS)).json()
    assert body["served"] == {**live["served"], "source": "replica"}
    assert {part: body[part] for part in ("points", "offers", "vouchers")} == {
        part: live[part] for part in ("points", "offers", "vouchers")
    }
    assert {message["code"] for message in body["messages"]} == {"loyalty.offline.replica"}
    assert {message["locale"] for message in body["messages"]} == {"sv-SE"}


async def test_offers_for_everybody(house):
    """There are some while nobody answers and nobody can be known; they use nothing up."""
    quiet = (await house.http.get(EVERYBODYS)).json()
    assert (quiet["offers"], quiet["messages"]) == ([], [])
    house.people.as_of = None
    house.link.silent(NOW, 1000.0)
    body = (await house.http.get(EVERYBODYS)).json()
    assert body["offers"] == [
        {
            "id": "member-10",
            "name": "10 % off",
            "value": {**WORTH, "type": "percent", "percent": "10"},
            "expires_at": None,
            "offline": "allowed",
            "why": "general",
            "promotion_id": None,
            "minimum_purchase": None,
            "points": None,
            "brings_voucher": False,
            "general": True,
        }
    ]
    assert (body["points"], body["vouchers"], body["served"]["level"]) == (None, [], 2)
    assert {message["code"] for message in body["messages"]} == {"loyalty.general_offers"}


@pytest.mark.parametrize("ref", ["c_nobody", "v_nobody", "%00"])
async def test_a_handle_of_nobody_s(house, ref):
    """It is 404, and the handle is not repeated."""
    answer = await house.http.get(f"/v1/contacts/{ref}/benefits")
    assert (answer.status_code, answer.json()["code"]) == (404, "record.unknown")
    assert "nobody" not in answer.text


async def test_it_costs_a_look_up(open_door):
    """Whoever has used up the ration is refused; everybody's offers cost nothing."""
    async with open_door(hits="1/h", misses="1/h") as house:
        house.vendor.benefits_of_alma = HAS
        for _ in range(70):
            assert (await house.http.get(EVERYBODYS)).status_code == 200
        statuses = [(await house.http.get(ALMAS)).status_code for _ in range(61)]
        assert (statuses[:60], statuses[60]) == ([200] * 60, 429)
        assert (await house.http.get(EVERYBODYS)).status_code == 200


# --- used up and given back -------------------------------------------------------------------------------------

REDEEM, RELEASE = "/v1/benefits/redeem", "/v1/benefits/release"
WISH = {"ref": "c_5f3a", "kind": "voucher", "id": "v-1", "transaction_id": "s-1", "amount": "50.00"}


async def named(house, kind="member_number", value="10000421"):
    """Alma is looked up, as the replica of this house knows her by phone alone: her handle is noted as named so."""
    house.rooms.redeeming._refs.handles.named("c_5f3a", [kind])
    house.vendor.benefits_of_alma = HAS


async def test_a_voucher_is_used_up_and_given_back(house):
    """Each is answered alike when asked again; what is not there to be given back is 404."""
    await named(house)
    for _ in range(2):
        answer = await house.http.post(REDEEM, json=WISH)
        assert (answer.status_code, answer.json()) == (
            200,
            {"outcome": "redeemed", "reason": None, "messages": []},
        )
    assert house.vendor.used == {"v-1"}
    back = {"kind": "voucher", "id": "v-1", "transaction_id": "s-1"}
    for body in (back, {**back, "ref": "c_5f3a"}):
        answer = await house.http.post(RELEASE, json=body)
        assert (answer.status_code, answer.json()["outcome"]) == (200, "released")
    assert house.vendor.used == set()
    assert (await house.http.post(REDEEM, json=WISH)).json()["reason"] == "released"
    answer = await house.http.post(RELEASE, json={**back, "transaction_id": "s-2"})
    assert (answer.status_code, answer.json()["code"]) == (404, "record.unknown")


async def test_a_refusal_says_why(house):
    """In a word for the till and, while nobody answers, in words for people."""
    await named(house, kind="mobile_phone")
    answer = (await house.http.post(REDEEM, json=WISH)).json()
    assert answer == {"outcome": "refused", "reason": "weak_identification", "messages": []}
    await named(house)
    house.vendor.benefits_of_alma = None
    answer = (await house.http.post(REDEEM, json=WISH)).json()
    assert (answer["outcome"], answer["reason"]) == ("refused", "offline")
    assert [(message["code"], message["audience"]) for message in answer["messages"]] == [
        ("loyalty.benefit.refused_offline", "staff"),
        ("loyalty.benefit.refused_offline", "customer"),
    ]


async def test_what_the_shop_allows_is_given_unasked(house):
    """It is queued, and the cashier hears that it is registered later; the next one is refused and listed so."""
    await named(house)
    assert (await house.http.get(ALMAS)).json()["vouchers"][0]["why"] == "allowed"
    house.vendor.benefits_of_alma = None
    answer = (await house.http.post(REDEEM, json=WISH)).json()
    assert (answer["outcome"], answer["reason"]) == ("queued", None)
    assert [(message["code"], message["audience"]) for message in answer["messages"]] == [
        ("loyalty.benefit.allowed_offline", "staff")
    ]
    voucher = (await house.http.get(ALMAS)).json()["vouchers"][0]
    assert (voucher["offline"], voucher["why"]) == ("refused", "count")


@pytest.mark.parametrize("who", ["everybody", "somebody new"])
async def test_what_the_shop_gives_itself_is_redeemed_and_released(open_door, who):
    """A till that redeems whatever it was shown as allowed keeps it, while nobody answers and once the line is back."""
    async with open_door(level=4) as house:
        ref = "general"
        if who == "somebody new":
            ref = (await house.http.post("/v1/contacts", json={"mobile_phone": UNKNOWN_PHONE})).json()["ref"]
        house.people.as_of = None
        house.link.silent(NOW, 1000.0)
        offers = (await house.http.get(f"/v1/contacts/{ref}/benefits")).json()["offers"]
        assert {offer["why"] for offer in offers} == ({"general"} if who == "everybody" else {"general", "welcome"})
        for back in (False, True):
            if back:
                house.link.worked(NOW, 1060.0)
            for offer in offers:
                wish = {"ref": ref, "kind": "offer", "id": offer["id"], "transaction_id": "s-1"}
                assert (await house.http.post(REDEEM, json=wish)).json() == {
                    "outcome": "redeemed", "reason": None, "messages": []
                }  # fmt: skip
                assert (await house.http.post(RELEASE, json=wish)).json()["outcome"] == "released"
        assert house.vendor.used == set()


async def test_nobody_s_benefit(house):
    """A handle of nobody's is 404."""
    answer = await house.http.post(REDEEM, json={**WISH, "ref": "c_nobody"})
    assert (answer.status_code, answer.json()["code"]) == (404, "record.unknown")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (REDEEM, {**WISH, "id": None}),
        (REDEEM, {**WISH, "kind": "points"}),
        (REDEEM, {**WISH, "kind": "points", "id": None, "amount": None}),
        (REDEEM, {**WISH, "kind": "cash"}),
        (REDEEM, {**WISH, "id": "../x"}),
        (REDEEM, {**WISH, "amount": "-1"}),
        (REDEEM, {**WISH, "transaction_id": "s 1"}),
        (REDEEM, {name: value for name, value in WISH.items() if name != "ref"}),
        (REDEEM, {**WISH, "colour": "red"}),
        (RELEASE, {"kind": "voucher", "id": "v-1"}),
        (RELEASE, {"kind": "voucher", "id": "a/b", "transaction_id": "s-1"}),
    ],
    ids=lambda value: None if isinstance(value, str) else "-",
)
async def test_what_does_not_fit(house, path, body):
    """It is 422, and nobody is asked."""
    await named(house)
    answer = await house.http.post(path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "request.invalid")
    assert house.vendor.used == set()


# --- what a sale would earn -------------------------------------------------------------------------------------

PREVIEW = "/v1/points/preview"
BASKET = {
    "currency": "SEK",
    "identifier": {"type": "mobile_phone", "value": "070-174 06 05"},
    "lines": [{"kind": "purchase", "sku": "SK-77-RED-M", "quantity": 2, "gross_paid": 259.90}],
}


async def test_a_preview_of_points(house):
    """Live as long as the loyalty system answers, else an estimate that says so; nothing is put on disk."""
    house.vendor.earns = Decimal("40.5")
    answer = await house.http.post(PREVIEW, json=BASKET)
    assert (answer.status_code, answer.json()) == (200, {"points": "40.5", "basis": "live", "messages": []})
    house.vendor.earns = None
    body = (await house.http.post(PREVIEW, json=BASKET)).json()
    assert (body["points"], body["basis"]) == ("25", "estimate")
    assert [(message["code"], message["audience"], message["locale"]) for message in body["messages"]] == [
        ("loyalty.points_estimated", "staff", "sv-SE"),
        ("loyalty.points_estimated", "customer", "sv-SE"),
    ]
    body = (await house.http.post(PREVIEW, json={**BASKET, "currency": "NOK"})).json()
    assert (body["points"], body["basis"]) == (None, "unavailable")
    assert [(message["code"], message["audience"]) for message in body["messages"]] == [
        ("loyalty.points_unavailable", "staff")
    ]
    PreviewAnswer.model_validate_json(answer.content, strict=True)
    assert house.outbox.info().depth == 0


async def test_a_closed_sale_can_be_previewed(house):
    """The body of a sale fits as it is."""
    closed = {
        **BASKET,
        "transaction_id": "s-1",
        "type": "purchase",
        "occurred_at": "2026-11-20T10:00:00+01:00",
        "total": "259.90",
        "payments": [{"type": "card", "amount": "259.90"}],
    }
    assert (await house.http.post(PREVIEW, json=closed)).json()["basis"] == "estimate"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({**BASKET, "lines": []}, "/lines"),
        ({"currency": "SEK"}, "/lines"),
        ({"lines": BASKET["lines"]}, "/currency"),
        ({**BASKET, "type": "void", "original_transaction_id": "s-1"}, "/type"),
        ({**BASKET, "colour": "red"}, "/colour"),
        ({**BASKET, "identifier": {"type": "mobile_phone", "value": "12"}}, "/identifier/value"),
    ],
    ids=["no line", "no lines", "no currency", "a void", "a field of nobody's", "no phone"],
)
async def test_what_does_not_fit_a_preview(house, body, pointer):
    """It is 422 with the place."""
    answer = await house.http.post(PREVIEW, json=body)
    assert (answer.status_code, [fault["pointer"] for fault in answer.json()["errors"]]) == (422, [pointer])


async def test_a_preview_is_never_refused_for_the_ration(open_door):
    """Whoever has used it up gets an answer that tells nothing of members."""
    async with open_door(hits="1/h", misses="1/h") as house:
        house.vendor.earns = Decimal(40)
        bases = [(await house.http.post(PREVIEW, json=BASKET)).json()["basis"] for _ in range(62)]
        assert bases == ["live"] * 60 + ["estimate"] * 2
