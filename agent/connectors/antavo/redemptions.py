"""Using coupons up at Antavo, and giving them back; rewards go by `rewards.py`.

===========================  ===================================================  ==================================
what                         call                                                 source
===========================  ===================================================  ==================================
how a coupon stands          `GET /customers/{id}/coupons?code=`: `status`, and   Coupons API
                             `redeemed_at`
use it up                    `POST /events`, `coupon_redeem` with its `code`      Events API, wiki: nothing else
                                                                                  records that it was used
give it back                 `POST /events`, `coupon_unredeem` with its `code`    Events API
points                       with the sale itself, as `points_burned`: a till     Events API; what becomes of points
                             has them noted for it, `spendable` being enough      that were reserved is not known
===========================  ===================================================  ==================================

===================================================================  ================================================
status, or number                                                    reason
===================================================================  ================================================
`redeemed`, and it was not this call                                 used
`expired`                                                            expired
not in the customer's list; 1601, 160212                             not theirs
any other status, and any other number                               refused, with it
127201, and the coupon is `redeemed`                                 none: a workflow stopped the event after that
===================================================================  ================================================

Nothing says that Antavo refuses to use a coupon up twice: an event has no key by which a repeat is recognised. So its
status is read before each event, and a number that says no is told apart by reading it again: the numbers for a coupon
that is used up or over are not documented.
"""

from collections.abc import Collection
from typing import Final

from agent.connectors.antavo.benefits import CLAIMED, AntavoBenefits, Row
from agent.connectors.antavo.client import AntavoClient
from agent.connectors.antavo.customers import points_of, text_of
from agent.connectors.antavo.errors import AntavoError, objection_in
from agent.connectors.antavo.lookup import AntavoLookup
from agent.connectors.antavo.mapping import Customer, render_coupon
from agent.connectors.antavo.rewards import AntavoRewards
from agent.connectors.antavo.values import exact_instant_of
from agent.connectors.base import before_telling
from agent.domain.benefits import BenefitKind
from agent.domain.redemption import Reason, Redeemable, RedemptionMode, Standing, VendorStanding, VendorWord
from agent.errors import VendorUnreachableError
from agent.ports import Pace

_REDEEMED: Final = "redeemed"
_KNOWN = ("claimed", "redeemed", "partially_redeemed", "expired", "invalid", "unassigned")
_INTERRUPTED = 127201
_REASONS = {1601: Reason.NOT_THEIRS, 160212: Reason.NOT_THEIRS}


class AntavoRedemptions:
    """Uses customers' coupons up.

    Args:
        client: the workspace.
        benefits: reads coupons.
        lookup: finds the id of a customer.
        rewards: claims and revokes rewards.
        redeems: what the shop has switched on; what was claimed before it switched rewards off is revoked all the same.
    """

    modes: Final = {
        BenefitKind.OFFER: RedemptionMode.EACH_TIME,
        BenefitKind.VOUCHER: RedemptionMode.ONCE,
        BenefitKind.POINTS: RedemptionMode.NOTED,
    }

    def __init__(
        self,
        client: AntavoClient,
        benefits: AntavoBenefits,
        lookup: AntavoLookup,
        rewards: AntavoRewards,
        *,
        redeems: Collection[BenefitKind],
    ) -> None:
        self._client, self._benefits, self._lookup, self._rewards = client, benefits, lookup, rewards
        self.redeems = redeems

    def spelled(self, kind: BenefitKind, id_: str) -> str:  # noqa: ARG002 - of either kind
        """As it is: codes and ids are compared letter by letter."""
        return id_

    async def standing(self, one: Redeemable, *, timeout_s: float, pace: Pace) -> VendorStanding:
        """How a customer's coupon, reward or points stand: what is not in their list is not theirs.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """
        if one.kind is BenefitKind.POINTS:
            shown = await self._lookup.customer(one.key, timeout_s=timeout_s, pace=pace)
            balance = points_of(shown) if shown is not None else None
            return VendorStanding(Standing.ABSENT if balance is None else Standing.AVAILABLE, balance=balance)
        if one.kind is BenefitKind.OFFER:
            customer = await self._lookup.customer_of(one.key, timeout_s=timeout_s, pace=pace)
            if customer is None:
                return VendorStanding(Standing.ABSENT)
            return await self._rewards.standing(customer, one.id, timeout_s=timeout_s, pace=pace)
        _, held = await self._held(one, timeout_s, pace)
        if held is None:
            return VendorStanding(Standing.ABSENT)
        if held.get("status") != _REDEEMED:
            return VendorStanding(Standing.AVAILABLE)
        return VendorStanding(Standing.USED, exact_instant_of(held.get("redeemed_at")))

    async def redeem(self, one: Redeemable, *, timeout_s: float, pace: Pace) -> VendorWord:
        """Uses a coupon up, unless it is seen not to be there to be used; claims a reward.

        Raises:
            VendorUnreachableError: where ``maybe_received`` says so, it may have been carried out all the same.
            VendorRefusedError: our credentials are refused; it was not carried out.
        """
        if one.kind is BenefitKind.POINTS:
            return VendorWord(Reason.NOT_OFFERED)
        if one.kind is BenefitKind.OFFER:
            whose = self._lookup.customer_of(one.key, timeout_s=timeout_s, pace=pace)
            claimant = await before_telling(whose, timeout_s)
            if claimant is None:
                return VendorWord(Reason.NOT_THEIRS)
            return await self._rewards.claim(claimant, one.id, timeout_s=timeout_s, pace=pace)
        return await self._use_up(one, timeout_s, pace)

    async def release(self, one: Redeemable, *, timeout_s: float, pace: Pace) -> VendorWord:
        """Gives it back, if it is used up; of a reward the one claim.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """
        if one.kind is BenefitKind.VOUCHER:
            return await self._make_good(one, timeout_s, pace)
        claimant = await self._lookup.customer_of(one.key, timeout_s=timeout_s, pace=pace)
        if claimant is None or not one.use:  # points are no call's: a sale gives them back
            return VendorWord(Reason.NOT_RELEASED, "not_found")
        return await self._rewards.revoke(claimant, one.id, one.use, timeout_s=timeout_s, pace=pace)

    async def _make_good(self, one: Redeemable, timeout_s: float, pace: Pace) -> VendorWord:
        customer, held = await self._held(one, timeout_s, pace)
        if held is None:
            return VendorWord(Reason.NOT_RELEASED, "not_found")
        if held.get("status") != _REDEEMED:
            return _given_back(held, None)
        refusal = await self._told("coupon_unredeem", customer, one.id, timeout_s, pace)
        if refusal is None:
            return VendorWord()
        return _given_back(await self._benefits.coupon(customer, one.id, timeout_s=timeout_s, pace=pace), refusal)

    async def _use_up(self, one: Redeemable, timeout_s: float, pace: Pace) -> VendorWord:
        customer, held = await before_telling(self._held(one, timeout_s, pace), timeout_s)
        if held is None:
            return VendorWord(Reason.NOT_THEIRS)
        if held.get("status") != CLAIMED:
            return _unusable(held)
        refusal = await self._told("coupon_redeem", customer, one.id, timeout_s, pace)
        if refusal is None:
            return VendorWord()
        interrupted = refusal.code == _INTERRUPTED
        try:
            held = await self._benefits.coupon(customer, one.id, timeout_s=timeout_s, pace=pace)
        except VendorUnreachableError as error:
            error.maybe_received = interrupted
            raise
        if held is not None and held.get("status") == _REDEEMED:
            return VendorWord() if interrupted else VendorWord(Reason.USED, refusal.name)
        if held is not None and held.get("status") != CLAIMED:
            return _unusable(held)
        return VendorWord(_REASONS.get(refusal.code or 0, Reason.REFUSED), refusal.name)

    async def _held(self, one: Redeemable, timeout_s: float, pace: Pace) -> tuple[str, Row | None]:
        """Whose it is, and the row of their coupon."""
        customer = await self._lookup.customer_of(one.key, timeout_s=timeout_s, pace=pace)
        if customer is None:
            return "", None
        return customer, await self._benefits.coupon(customer, one.id, timeout_s=timeout_s, pace=pace)

    async def _told(self, action: str, customer: str, code: str, timeout_s: float, pace: Pace) -> AntavoError | None:
        """What the vendor has against an event; None: it was processed."""
        await pace()
        body = render_coupon(action, Customer(customer), code)
        return objection_in(await self._client.post_event(body, timeout_s=timeout_s))


def _unusable(held: Row) -> VendorWord:
    """Why a coupon cannot be used up, by its status."""
    status = text_of(held.get("status"))
    reason = {_REDEEMED: Reason.USED, "expired": Reason.EXPIRED}.get(status, Reason.REFUSED)
    return VendorWord(reason, status if status in _KNOWN else None)


def _given_back(held: Row | None, refusal: AntavoError | None) -> VendorWord:
    """Whether a coupon is there to be used again, which is all that was asked for."""
    status = text_of(held.get("status")) if held is not None else ""
    if status == CLAIMED:
        return VendorWord()
    code = refusal.name if refusal is not None else status if status in _KNOWN else None
    return VendorWord(Reason.NOT_RELEASED, code)
