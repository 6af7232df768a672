"""What a shop lets be used up while nobody can ask."""

from datetime import timedelta
from decimal import Decimal

import pytest

from agent.domain.benefits import Benefit, BenefitKind, Worth
from agent.domain.offline import Allowance, OfflinePolicy, OfflineReason, worth_at_most
from tests.fakes import NOW

HOUR = timedelta(hours=1)
SMALL, LARGE = Allowance(Decimal(50), "SEK", 2, HOUR), Allowance(Decimal(500), "SEK", 1, 24 * HOUR)
POLICY = OfflinePolicy({BenefitKind.VOUCHER: SMALL}, {"p-1": LARGE})
MONEY = Worth("money", Decimal(50), "SEK")
VOUCHER = Benefit(BenefitKind.VOUCHER, "v-1", "Bonus", MONEY, NOW + HOUR)
OFFER = Benefit(BenefitKind.OFFER, "o-1", "Socks", Worth("percent", percent=Decimal(10)), None, "p-1")
OTHER = Benefit(BenefitKind.OFFER, "o-2", "Hats", MONEY, None, "p-2")
DEAR = Benefit(BenefitKind.VOUCHER, "v-2", "Bonus", Worth("money", Decimal("50.01"), "SEK"))
FOREIGN = Benefit(BenefitKind.VOUCHER, "v-4", "Bonus", Worth("money", Decimal(5), "EUR"))
UNPRICED = Benefit(BenefitKind.VOUCHER, "v-5", "Bonus", Worth("money"))
VAGUE = Benefit(BenefitKind.VOUCHER, "v-3", "Bonus")


@pytest.mark.parametrize(
    ("item", "facts", "refusal"),
    [
        (VOUCHER, {}, None),
        (VOUCHER, {"given_today": 1}, None),
        (VOUCHER, {"given_today": 2}, OfflineReason.COUNT),
        (VOUCHER, {"known_for": HOUR}, None),
        (VOUCHER, {"known_for": HOUR + timedelta(seconds=1)}, OfflineReason.CONTACT),
        (VOUCHER, {"now": NOW + HOUR}, OfflineReason.EXPIRED),
        (VOUCHER, {"stated": Decimal(1)}, None),
        (VOUCHER, {"stated": Decimal(50)}, None),
        (VOUCHER, {"stated": Decimal("50.01")}, OfflineReason.AMOUNT),
        (DEAR, {}, OfflineReason.AMOUNT),
        (DEAR, {"stated": Decimal(1)}, OfflineReason.AMOUNT),
        (UNPRICED, {"stated": Decimal(1)}, OfflineReason.AMOUNT),
        (FOREIGN, {}, OfflineReason.AMOUNT),
        (VAGUE, {}, OfflineReason.AMOUNT),
        (VAGUE, {"stated": Decimal(50)}, None),
        (VAGUE, {"stated": Decimal(51)}, OfflineReason.AMOUNT),
        (OTHER, {}, OfflineReason.POLICY),
        (OFFER, {"stated": Decimal(500), "known_for": 24 * HOUR}, None),
        (OFFER, {"stated": Decimal(500), "given_today": 1}, OfflineReason.COUNT),
        (OFFER, {}, OfflineReason.AMOUNT),
    ],
)
def test_what_is_given_unasked(item, facts, refusal):
    """Within every limit, and at each of them; an offer by its own limits before its kind's."""
    asked = {"known_for": timedelta(), "given_today": 0, "now": NOW, **facts}
    assert POLICY.refusal(item, **asked) is refusal


@pytest.mark.parametrize("item", [VOUCHER, OFFER, OTHER])
def test_nothing_is_given_by_default(item):
    """It is the merchant's risk: only who says so takes it."""
    refusal = OfflinePolicy().refusal(item, known_for=timedelta(), given_today=0, now=NOW, stated=Decimal(0))
    assert refusal is OfflineReason.POLICY


@pytest.mark.parametrize(
    ("value", "stated", "worth"),
    [
        (MONEY, Decimal(7), Decimal(50)),
        (MONEY, Decimal(70), Decimal(70)),
        (MONEY, None, Decimal(50)),
        (Worth("money"), Decimal(7), None),
        (OFFER.value, Decimal(7), Decimal(7)),
        (OFFER.value, None, None),
        (None, None, None),
    ],
)
def test_what_a_benefit_takes_off_at_most(value, stated, worth):
    """What it is worth, or what the till says where it is worth no money, or less than that."""
    assert worth_at_most(value, stated) == worth
