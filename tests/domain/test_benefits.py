"""What a member has at the till, and what is for everybody."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from agent.domain.benefits import Benefit, BenefitKind, Benefits, GeneralOffer, Points, Worth, general_offers
from tests.fakes import NOW

TODAY = date(2026, 2, 14)
FOR_EVER = GeneralOffer("member-10", "10 % off", Worth("percent", percent=Decimal(10)))
UNTIL_TODAY = GeneralOffer("valentine", "Roses", Worth("price_rule", text="PR-7"), TODAY)
UNTIL_YESTERDAY = GeneralOffer("friday", "Cakes", Worth("price_rule", text="PR-8"), TODAY - timedelta(days=1))


@pytest.mark.parametrize(
    ("level", "given"),
    [(1, (FOR_EVER, UNTIL_TODAY)), (2, (FOR_EVER, UNTIL_TODAY)), (3, ()), (4, ())],
    ids=["level 1", "level 2", "level 3", "level 4"],
)
def test_offers_for_everybody(level, given):
    """They are given where the till cannot know who is a member, to the end of their last day."""
    assert general_offers((FOR_EVER, UNTIL_TODAY, UNTIL_YESTERDAY), level=level, today=TODAY) == given


@pytest.mark.parametrize(
    ("expires_at", "is_over"),
    [(None, False), (NOW + timedelta(seconds=1), False), (NOW, True), (NOW - timedelta(days=1), True)],
    ids=["never", "in a second", "now", "yesterday"],
)
def test_what_has_expired_cannot_be_used(expires_at, is_over):
    """The instant itself is too late."""
    item = Benefit(BenefitKind.VOUCHER, "v-1", "Bonus", expires_at=expires_at)
    assert item.is_over(NOW) is is_over
    assert Benefits(Points(Decimal(3)), (item,)).usable(NOW) == Benefits(Points(Decimal(3)), () if is_over else (item,))


def test_no_repr_says_what_somebody_has():
    """Neither ids nor names, amounts or balances."""
    item = Benefit(BenefitKind.OFFER, "zaphira-1", "For Zaphira", Worth("manual", text="zaphira"), None, "zaphira-2")
    assert "zaphira" not in repr((item, Benefits(Points(Decimal(77001)), (item,)))).lower()
    assert "77001" not in repr(Benefits(Points(Decimal(77001)), (item,)))
    assert "77001" not in repr(Points(Decimal(77001), Decimal(77001)))
