"""The bodies of the calls about benefits. What somebody has is personal: it goes to whoever asked, and nowhere else."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema, model_validator
from pydantic.config import JsonDict
from typing_extensions import TypeAliasType

from agent.api.schemas import Answer, Message, Request, Served
from agent.domain.benefits import BenefitKind
from agent.domain.earning import Basis
from agent.domain.money import parse_amount
from agent.domain.redemption import Reason
from agent.domain.transaction import TransactionId


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


OfflineState = TypeAliasType("OfflineState", Literal["allowed", "refused"])
OfflineReason = TypeAliasType(
    "OfflineReason", Literal["general", "welcome", "allowed", "policy", "contact", "expired", "amount", "count"]
)


class BenefitAnswer(Answer):
    """What can be used, and whether it can be while the loyalty system does not answer."""

    id: str = Field(repr=False)
    name: str = Field(repr=False)
    value: WorthAnswer | None
    expires_at: datetime | None = Field(description="the first instant at which it is of no use any more")
    offline: OfflineState
    why: OfflineReason = Field(
        description="`general`: it is everybody's, `welcome`: it is for whoever has just joined, and nothing is used "
        "up, redeemed or not; `allowed`: `benefits.offline` allows it; `policy`: that allows none of the kind; "
        "`contact`: the loyalty system has not said so for too long; `amount`: it takes off too much; `count`: the "
        "member has had as many today as is allowed"
    )


class OfferAnswer(BenefitAnswer):
    """An offer. ``id`` is this one instance, ``promotion_id`` what it is an instance of; both stand on a sale."""

    promotion_id: str | None
    minimum_purchase: str | None = Field(None, description="the least sale that it is good for; null: none is named")
    points: str | None = Field(None, repr=False, description="what it costs the member, taken when it is redeemed")
    brings_voucher: bool = Field(
        False, description="redeeming it gives the member a voucher: ask again, and redeem that for the sale"
    )
    general: bool = Field(False, description="for everybody, while nobody can tell who is a member")


class VoucherAnswer(BenefitAnswer):
    """A voucher; ``number`` stands on a sale."""

    number: str | None = Field(repr=False)


_AMOUNT: JsonDict = {"anyOf": [{"type": "number"}, {"type": "string", "examples": ["50.00"]}]}
BenefitId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_:.-]{1,64}$")]


class RedeemRequest(Request):
    """What is to be used up for a sale: before it is closed, once the customer has paid."""

    ref: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(
        description="from `identify`; `general` for what is for everybody"
    )
    kind: BenefitKind
    id: BenefitId | None = Field(None, repr=False, description="of the offer or voucher; null for points")
    amount: Annotated[Decimal, BeforeValidator(parse_amount), Field(ge=0), WithJsonSchema(_AMOUNT)] | None = Field(
        None, description="what it takes off the sale; how many points"
    )
    transaction_id: TransactionId = Field(description="the sale's")

    @model_validator(mode="after")
    def _names_what(self) -> Self:
        if (self.id is None) != (self.kind is BenefitKind.POINTS):
            raise ValueError("id is needed for an offer or a voucher, and null for points")
        if self.kind is BenefitKind.POINTS and not self.amount:
            raise ValueError("amount is needed for points")
        return self


class ReleaseRequest(Request):
    """What was used up for a sale that is voided, and is given back."""

    ref: str | None = Field(None, description="may be sent as in `redeem`; the record knows whose it was")
    kind: BenefitKind
    id: BenefitId | None = Field(None, repr=False)
    transaction_id: TransactionId


class PreviewAnswer(Answer):
    """What a sale would earn. It is promised to nobody before the sale is closed."""

    points: str | None = Field(repr=False, description="a decimal, below zero for a return; null with `unavailable`")
    basis: Basis = Field(
        description="`live`: the loyalty system says so; `estimate`: by the shop's own rule, `benefits.estimate`; "
        "`unavailable`: neither can say"
    )
    messages: tuple[Message, ...]


class RedeemAnswer(Answer):
    """What became of it. ``queued``: it is given back as soon as the loyalty system answers."""

    outcome: Literal["redeemed", "released", "queued", "refused"]
    reason: Reason | None = Field(description="why it was refused")
    messages: tuple[Message, ...]


class BenefitsAnswer(Answer):
    """What a member can use at this till now. ``served`` says who says so, and how old it is."""

    points: PointsAnswer | None
    offers: tuple[OfferAnswer, ...]
    vouchers: tuple[VoucherAnswer, ...]
    served: Served
    messages: tuple[Message, ...]
