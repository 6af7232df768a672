"""What a till calls about members' benefits."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from agent.api.calls import Call
from agent.api.rooms import Rooms
from agent.api.schemas import Served
from agent.api.schemas_benefits import BenefitsAnswer, OfferAnswer, PointsAnswer, VoucherAnswer, WorthAnswer
from agent.api.visits import Reply, Visit, Voice
from agent.domain.benefits import GENERAL_REF, Benefit, BenefitKind, GeneralOffer, Worth


class BenefitCalls:
    """The calls of scope `pos` that are about benefits.

    Args:
        rooms: what is behind the door.
        voice: the texts.
    """

    def __init__(self, rooms: Rooms, voice: Voice) -> None:
        self._rooms, self._voice = rooms, voice

    def calls(self) -> tuple[Call, ...]:
        """What is offered."""
        return (
            Call(
                "GET", "/v1/contacts/{ref}/benefits", "pos", self.benefits, "What a member can use",
                gives={200: BenefitsAnswer}, ration="refuse",
                refuses={404: "Nobody is known under that handle.", 429: "The look-up ration is used up."},
            ),
        )  # fmt: skip

    async def benefits(self, visit: Visit) -> Reply:
        """Points, offers and vouchers of the member behind a handle from `identify`; with `general`, everybody's.

        Asked of the loyalty system within `loyalty.live_lookup_budget`; when it does not answer, what it said last, for
        as long as `benefits.keep`. General offers are among them while it does not answer at the levels 1 and 2. It
        costs a look-up.
        """
        ref = visit.params["ref"]
        visit.found = None if ref == GENERAL_REF else False
        shown = await self._rooms.benefits.of(ref)
        visit.found = visit.found if visit.found is None else True
        own = shown.benefits
        points = own.points
        answer = BenefitsAnswer(
            points=PointsAnswer(balance=_decimal(points.balance), pending=_decimal(points.pending)) if points else None,
            offers=(
                *(_offer(item) for item in own.items if item.kind is BenefitKind.OFFER),
                *(_general(offer) for offer in shown.general),
            ),
            vouchers=tuple(_voucher(item) for item in own.items if item.kind is BenefitKind.VOUCHER),
            served=Served.model_validate(shown.served),
            messages=self._voice.say(shown.codes, self._voice.locale(visit)),
        )
        return Reply(200, answer.model_dump_json().encode())


def _offer(item: Benefit) -> OfferAnswer:
    return OfferAnswer(**_shared(item), promotion_id=item.reference)


def _voucher(item: Benefit) -> VoucherAnswer:
    return VoucherAnswer(**_shared(item), number=item.reference)


def _shared(item: Benefit) -> dict[str, Any]:
    expires_at: datetime | None = item.expires_at
    return {
        "id": item.id,
        "name": item.name,
        "value": _worth(item.value) if item.value is not None else None,
        "expires_at": expires_at,
        "offline": "refused",
        "why": "policy",
    }


def _general(offer: GeneralOffer) -> OfferAnswer:
    return OfferAnswer(
        id=offer.id,
        name=offer.name,
        value=_worth(offer.value),
        expires_at=None,
        offline="allowed",
        why="general",
        promotion_id=None,
        general=True,
    )


def _worth(value: Worth) -> WorthAnswer:
    return WorthAnswer(
        type=value.type,
        amount=_decimal(value.amount) if value.amount is not None else None,
        currency=value.currency,
        percent=_decimal(value.percent) if value.percent is not None else None,
        text=value.text,
    )


def _decimal(value: Decimal) -> str:
    return format(value, "f")
