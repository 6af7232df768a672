"""Redeeming vouchers and promotions at Voyado, and making vouchers good again.

===========================  ===========================================  ============================================
what                         v3                                           v2
===========================  ===========================================  ============================================
redeem a voucher             `POST /reward-vouchers/{id}/redeem`          `POST /contacts/{id}/bonuschecks/{id}/redeem`
                             (inferred); it does not look whose it is
make it good again           `POST /reward-vouchers/{id}/reactivate`      `POST /promotions/reward-vouchers/{id}/
                             (inferred)                                   reactivate`
redeem an offer              `POST /promotion-assignments/{id}/redeem`,   `POST /contacts/{id}/promotions/{id}/redeem`
                             `{"redemptionChannel": "POS"}`
give an offer back           not known to exist
how a voucher stands         `GET /reward-vouchers?contactId=`            `GET /contacts/{id}/bonuschecks`
how an offer stands          `GET /contacts/{id}/promotions`, with `redeemed`, which lists used ones too
when it was used up          `redeemedOn`, where that is an instant with an offset; else nobody knows
a slow answer                v3 gives an offer up after about 4.5 s; a voucher may draw 504: whether it was carried
                             out is looked up
points                       they become vouchers at Voyado: a till redeems none
===========================  ===========================================  ============================================

===================================================================  ================================================
code                                                                 reason
===================================================================  ================================================
`RewardVoucherAlreadyRedeemed`, `PromotionAlreadyRedeemed`           used
`RewardVoucherExpired`, `PromotionExpired`                           expired
`RewardVoucherNotFound`, `PromotionNotFound`,                        not theirs
`PromotionNotAssociatedWithContact`, `ContactNotFound`
`RewardVoucherAlreadyActivated`, to a reactivation                   it is done
any other of 4xx                                                     refused, with the code
===================================================================  ================================================

Sources: vouchers and promotions pages, swagger of v2, timeout changes.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final

from agent.connectors.base import before_telling
from agent.connectors.voyado.benefits import contact_id_of, rows_of
from agent.connectors.voyado.client import VoyadoClient
from agent.connectors.voyado.errors import raise_unless_answered, vendor_code
from agent.connectors.voyado.people import VoyadoPeople
from agent.domain.benefits import BenefitKind
from agent.domain.redemption import Reason, Redeemable, RedemptionMode, Standing, VendorStanding, VendorWord
from agent.errors import VendorUnreachableError
from agent.ports import Pace
from agent.transport import Answer

MAX_PAGES = 10
_CLIENT_ERROR, _SERVER_ERROR, _REDIRECT = 400, 500, 300
_REASONS = {
    "RewardVoucherAlreadyRedeemed": Reason.USED,
    "PromotionAlreadyRedeemed": Reason.USED,
    "RewardVoucherExpired": Reason.EXPIRED,
    "PromotionExpired": Reason.EXPIRED,
    "RewardVoucherNotFound": Reason.NOT_THEIRS,
    "PromotionNotFound": Reason.NOT_THEIRS,
    "PromotionNotAssociatedWithContact": Reason.NOT_THEIRS,
    "ContactNotFound": Reason.NOT_THEIRS,
}
_ACTIVE_ALREADY = "RewardVoucherAlreadyActivated"


class VoyadoRedemptions:
    """Redeems members' benefits.

    Args:
        client: the tenant.
        people: finds the contact id of a member.
    """

    modes: Final = {BenefitKind.OFFER: RedemptionMode.FINAL, BenefitKind.VOUCHER: RedemptionMode.ONCE}
    redeems = modes.keys()

    def __init__(self, client: VoyadoClient, people: VoyadoPeople) -> None:
        self._client, self._people = client, people

    def spelled(self, kind: BenefitKind, id_: str) -> str:  # noqa: ARG002 - both are GUIDs
        """In small letters, as they are listed here: lists differ in that."""
        return id_.lower()

    async def standing(self, one: Redeemable, *, timeout_s: float, pace: Pace) -> VendorStanding:
        """How a member's benefit stands: what is not in their list is not theirs.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """
        contact_id = await contact_id_of(self._people, one.key, timeout_s, pace)
        if contact_id is None:
            return VendorStanding(Standing.ABSENT)
        if one.kind is BenefitKind.OFFER:
            row = _row(await rows_of(self._client.promotions, contact_id, timeout_s, pace), one.id)
        else:
            row = await self._voucher(contact_id, one.id, timeout_s, pace)
        if row is None:
            return VendorStanding(Standing.ABSENT)
        if row.get("redeemed") is not True:
            return VendorStanding(Standing.AVAILABLE)
        return VendorStanding(Standing.USED, _instant(row.get("redeemedOn")))

    async def redeem(self, one: Redeemable, *, timeout_s: float, pace: Pace) -> VendorWord:
        """Uses it up.

        Raises:
            VendorUnreachableError: where ``maybe_received`` says so, it may have been carried out all the same.
            VendorRefusedError: our credentials are refused; it was not carried out.
        """
        contact_id = await before_telling(contact_id_of(self._people, one.key, timeout_s, pace), timeout_s)
        if contact_id is None:
            return VendorWord(Reason.NOT_THEIRS)
        call = self._client.redeem_promotion if one.kind is BenefitKind.OFFER else self._client.redeem_voucher
        return await _word(lambda: call(contact_id, one.id, timeout_s=timeout_s), pace)

    async def release(self, one: Redeemable, *, timeout_s: float, pace: Pace) -> VendorWord:
        """Makes a voucher good again, by its id alone. Raises VendorUnreachableError, VendorRefusedError."""
        word = await _word(lambda: self._client.reactivate_voucher(one.id, timeout_s=timeout_s), pace)
        return VendorWord() if word.code == _ACTIVE_ALREADY else word

    async def _voucher(self, contact_id: str, id_: str, timeout_s: float, pace: Pace) -> dict[str, Any] | None:
        """The row of a voucher, however many the member has had."""
        offset = 0
        for _ in range(MAX_PAGES):
            rows = await rows_of(self._client.vouchers, contact_id, timeout_s, pace, offset=offset)
            row = _row(rows, id_)
            if row is not None or not rows:
                return row
            offset += len(rows)
        raise VendorUnreachableError("lists more vouchers than are read")


def _row(rows: list[dict[str, Any]], id_: str) -> dict[str, Any] | None:
    """The row of a benefit by its id as we list it, in small letters: spelled otherwise it would be on record twice."""
    return next((row for row in rows if str(row.get("id")).lower() == id_), None)


def _instant(value: object) -> datetime | None:
    """An instant that is one wherever it is read; None for anything else: a day, or a time whose zone is not said."""
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return at if at is not None and at.tzinfo is not None else None


async def _word(call: Callable[[], Awaitable[Answer]], pace: Pace) -> VendorWord:
    await pace()
    answer = await call()
    raise_unless_answered(answer)
    if answer.status < _REDIRECT:
        return VendorWord()
    if not _CLIENT_ERROR <= answer.status < _SERVER_ERROR:
        raise VendorUnreachableError(f"answered {answer.status} to a redemption", maybe_received=True)
    code = vendor_code(answer)
    return VendorWord(_REASONS.get(code or "", Reason.REFUSED), code)
