"""What a till calls about members' benefits, and about the points that a sale would earn."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from agent.api import bodies
from agent.api.calls import Call
from agent.api.rooms import Rooms
from agent.api.schemas import Served
from agent.api.schemas_benefits import (
    BenefitsAnswer,
    OfferAnswer,
    PointsAnswer,
    PreviewAnswer,
    RedeemAnswer,
    RedeemRequest,
    ReleaseRequest,
    VoucherAnswer,
    WorthAnswer,
)
from agent.api.visits import Reply, Visit, Voice
from agent.domain.benefits import GENERAL_REF, Benefit, BenefitKind, GeneralOffer, Worth
from agent.domain.offline import OfflineReason
from agent.domain.transaction import OpenTransaction
from agent.services.benefits import ShownBenefits
from agent.services.redeeming import Redeemed, Wanted


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
        refused = {
            404: "Nobody is known under that handle.",
            503: "It cannot be put on disk now.",
            507: "There is no room to put it on disk.",
        }
        return (
            Call(
                "GET", "/v1/contacts/{ref}/benefits", "pos", self.benefits, "What a member can use",
                name="get_benefits",
                gives={200: BenefitsAnswer}, ration="refuse",
                refuses={404: "Nobody is known under that handle.", 429: "The look-up ration is used up."},
            ),
            Call(  # a call of its own, as nobody is looked up: no ration stands before it
                "GET", f"/v1/contacts/{GENERAL_REF}/benefits", "pos", self.everybodys, "What is for everybody",
                name="get_general_benefits", gives={200: BenefitsAnswer},
            ),
            Call(
                "POST", "/v1/benefits/redeem", "pos", self.redeem, "Use a benefit up", name="redeem_benefit",
                takes=RedeemRequest, gives={200: RedeemAnswer}, refuses=refused,
            ),
            Call(
                "POST", "/v1/benefits/release", "pos", self.release, "Give a benefit back", name="release_benefit",
                takes=ReleaseRequest, gives={200: RedeemAnswer},
                refuses={**refused, 404: "Nothing of the kind was redeemed for that sale here."},
            ),
            Call(
                "POST", "/v1/points/preview", "pos", self.preview, "What a sale would earn", name="preview_points",
                takes=OpenTransaction, gives={200: PreviewAnswer}, ration="tell",
            ),
        )  # fmt: skip

    async def redeem(self, visit: Visit) -> Reply:
        """Uses an offer, a voucher or points up for a sale, within `benefits.redeem_budget`.

        Idempotent on `transaction_id`, `kind` and `id`: whoever got no answer asks again. `refused` says why in
        `reason`, and nothing is used up then: what the loyalty system should have carried out all the same is undone.
        """
        request = bodies.parse(RedeemRequest, visit.body)
        done = await self._rooms.redeeming.redeem(
            Wanted(request.ref, request.kind, request.id or "", request.transaction_id, request.amount)
        )
        return self._answer(visit, done)

    async def release(self, visit: Visit) -> Reply:
        """Gives back what was used up for a sale that is voided. Idempotent; `queued` is given back later by itself."""
        request = bodies.parse(ReleaseRequest, visit.body)
        done = await self._rooms.redeeming.release(request.kind, request.id or "", request.transaction_id)
        return self._answer(visit, done)

    async def preview(self, visit: Visit) -> Reply:
        """Says what a sale that is not closed yet would earn, within `loyalty.live_lookup_budget`.

        Nothing is written down, here or at the loyalty system. Where that is asked it costs a look-up; beyond the
        ration it is not asked, and the answer is an estimate or `unavailable`.
        """
        sale = bodies.parse(OpenTransaction, visit.body)
        previewed = await self._rooms.preview.of(sale, resolve=visit.may_look_up)
        visit.found = previewed.looked_up
        answer = PreviewAnswer(
            points=_decimal(previewed.points) if previewed.points is not None else None,
            basis=previewed.basis,
            messages=self._voice.say(previewed.codes, self._voice.locale(visit)),
        )
        return Reply(200, answer.model_dump_json().encode())

    def _answer(self, visit: Visit, done: Redeemed) -> Reply:
        said = self._voice.say(done.codes, self._voice.locale(visit))
        answer = RedeemAnswer.model_validate({"outcome": done.outcome, "reason": done.reason, "messages": said})
        return Reply(200, answer.model_dump_json().encode())

    async def benefits(self, visit: Visit) -> Reply:
        """Points, offers and vouchers of the member behind a handle from `identify`.

        Asked of the loyalty system within `loyalty.live_lookup_budget`; when it does not answer, what it said last, for
        as long as `benefits.keep`. General offers are among them while it does not answer at the levels 1 and 2. It
        costs a look-up.
        """
        visit.found = False
        shown = await self._rooms.benefits.of(visit.params["ref"])
        visit.found = True
        return self._listed(visit, shown)

    async def everybodys(self, visit: Visit) -> Reply:
        """General offers, while the loyalty system does not answer at the levels 1 and 2; else none.

        For a customer who is not known then. Nobody is looked up, and it costs nothing.
        """
        return self._listed(visit, await self._rooms.benefits.of(GENERAL_REF))

    def _listed(self, visit: Visit, shown: ShownBenefits) -> Reply:
        own = shown.benefits
        points = own.points
        answer = BenefitsAnswer(
            points=PointsAnswer(balance=_decimal(points.balance), pending=_decimal(points.pending)) if points else None,
            offers=(
                *(_offer(item, shown.refused[item]) for item in own.items if item.kind is BenefitKind.OFFER),
                *(_of_the_shop(offer, "general") for offer in shown.general),
                *(_of_the_shop(offer, "welcome") for offer in shown.welcome),
            ),
            vouchers=tuple(
                _voucher(item, shown.refused[item]) for item in own.items if item.kind is BenefitKind.VOUCHER
            ),
            served=Served.model_validate(shown.served),
            messages=self._voice.say(shown.codes, self._voice.locale(visit)),
        )
        return Reply(200, answer.model_dump_json().encode())


def _offer(item: Benefit, refused: OfflineReason | None) -> OfferAnswer:
    return OfferAnswer(
        **_shared(item, refused),
        promotion_id=item.reference,
        minimum_purchase=_decimal(item.minimum) if item.minimum is not None else None,
        points=_decimal(item.points) if item.points is not None else None,
        brings_voucher=item.brings_voucher,
    )


def _voucher(item: Benefit, refused: OfflineReason | None) -> VoucherAnswer:
    return VoucherAnswer(**_shared(item, refused), number=item.reference)


def _shared(item: Benefit, refused: OfflineReason | None) -> dict[str, Any]:
    expires_at: datetime | None = item.expires_at
    return {
        "id": item.id,
        "name": item.name,
        "value": _worth(item.value) if item.value is not None else None,
        "expires_at": expires_at,
        "offline": "allowed" if refused is None else "refused",
        "why": "allowed" if refused is None else refused.value,
    }


def _of_the_shop(offer: GeneralOffer, why: Literal["general", "welcome"]) -> OfferAnswer:
    return OfferAnswer(
        id=offer.id,
        name=offer.name,
        value=_worth(offer.value),
        expires_at=None,
        offline="allowed",
        why=why,
        promotion_id=None,
        general=why == "general",
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
