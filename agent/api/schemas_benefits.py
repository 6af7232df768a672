"""The bodies of the calls about benefits. What somebody has is personal: it goes to whoever asked, and nowhere else."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from agent.api.schemas import Answer, Message, Served


class PointsAnswer(Answer):
    """A member's points; decimals, as texts."""

    balance: str = Field(repr=False, description="what can be spent")
    pending: str = Field(repr=False, description="earned, and not to be spent yet")
    unit: Literal["points"] = "points"


class WorthAnswer(Answer):
    """What a benefit is worth."""

    type: Literal["money", "percent", "price_rule", "manual"]
    amount: str | None = Field(None, description="of `money`, in `currency`")
    currency: str | None = None
    percent: str | None = None
    text: str | None = Field(None, description="the id of a price rule that the till has, or words for the cashier")


class BenefitAnswer(Answer):
    """What can be used, and whether it can be while the loyalty system does not answer."""

    id: str = Field(repr=False)
    name: str = Field(repr=False)
    value: WorthAnswer | None
    expires_at: datetime | None = Field(description="the first instant at which it is of no use any more")
    offline: Literal["allowed", "refused"]
    why: Literal["general", "policy"] = Field(
        description="`general`: it is everybody's, and nothing is used up; `policy`: what the shop allows offline"
    )


class OfferAnswer(BenefitAnswer):
    """An offer. ``id`` is this one instance, ``promotion_id`` what it is an instance of; both stand on a sale."""

    promotion_id: str | None
    general: bool = Field(False, description="for everybody, while nobody can tell who is a member")


class VoucherAnswer(BenefitAnswer):
    """A voucher; ``number`` stands on a sale."""

    number: str | None = Field(repr=False)


class BenefitsAnswer(Answer):
    """What a member can use at this till now. ``served`` says who says so, and how old it is."""

    points: PointsAnswer | None
    offers: tuple[OfferAnswer, ...]
    vouchers: tuple[VoucherAnswer, ...]
    served: Served
    messages: tuple[Message, ...]
