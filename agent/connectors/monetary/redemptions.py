"""Noting that an offer goes with a sale, and taking that back for as long as the sale has not gone.

Monetary has no call that uses an offer up, and none that gives one back: an offer is used by standing among the
discounts of a receipt, with its OfferID (example till). So a redemption is the look whether the customer still has it,
and a note on disk; the sale's receipt names it (`sender.py`). Until that arrives another till can use it as well.

===========================  =======================================================================================
how an offer stands          what says so
===========================  =======================================================================================
available                    it is among the customer's offers (example till)
used                         it is not, and one of their receipts names it; or so many receipts are shown that there
                             may be more of them (inferred)
absent                       neither: it was never theirs, or its time is over
===========================  =======================================================================================

It is asked for while no receipt of the customer's is on its way from here: what is to be given back has gone by then,
or stays.
"""

from typing import Final

from agent.connectors.monetary.benefits import MonetaryBenefits, id_of
from agent.connectors.monetary.books import PAGES, read_receipts
from agent.connectors.monetary.client import MonetaryClient
from agent.connectors.monetary.errors import raise_unless_answered
from agent.connectors.monetary.mapping import offers_in
from agent.connectors.monetary.turns import Turns
from agent.domain.benefits import BenefitKind
from agent.domain.redemption import Reason, Redeemable, RedemptionMode, Standing, VendorStanding, VendorWord
from agent.errors import VendorOwnError
from agent.ports import Pace


class MonetaryRedemptions:
    """Notes customers' offers for their sales.

    Args:
        client: the location's account.
        benefits: lists what a customer has.
        turns: who is at work on a customer's receipts.
    """

    modes: Final = {BenefitKind.OFFER: RedemptionMode.WITH_SALE}
    redeems = modes.keys()

    def __init__(self, client: MonetaryClient, benefits: MonetaryBenefits, *, turns: Turns) -> None:
        self._client, self._benefits, self._turns = client, benefits, turns

    def spelled(self, kind: BenefitKind, id_: str) -> str:  # noqa: ARG002 - there is only one
        """As it is."""
        return id_

    async def standing(self, one: Redeemable, *, timeout_s: float, pace: Pace) -> VendorStanding:
        """How a customer's offer stands; when it was used no receipt says.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """
        customer = await self._benefits.customer(one.key, timeout_s=timeout_s, pace=pace)
        if customer is None:
            return VendorStanding(Standing.ABSENT)
        async with self._turns.of(customer):
            rows = await self._benefits.offers(customer, timeout_s=timeout_s, pace=pace)
            if any(id_of(row) == one.id for row in rows):
                return VendorStanding(Standing.AVAILABLE)
            used = await self._is_on_receipts(customer, one.id, timeout_s, pace)
        return VendorStanding(Standing.USED if used else Standing.ABSENT)

    async def redeem(self, one: Redeemable, *, timeout_s: float, pace: Pace) -> VendorWord:  # noqa: ARG002
        """It was theirs a moment ago, and is noted: there is nothing to be told before the sale."""
        return VendorWord()

    async def release(self, one: Redeemable, *, timeout_s: float, pace: Pace) -> VendorWord:  # noqa: ARG002
        """No: it is asked for what a receipt has used up, and Monetary takes none back."""
        return VendorWord(Reason.NOT_RELEASED)

    async def _is_on_receipts(self, customer: int, id_: str, timeout_s: float, pace: Pace) -> bool:
        await pace()
        answer = await self._client.receipts_of(customer, timeout_s=timeout_s)
        shown = read_receipts(raise_unless_answered(answer, named=True))
        if shown is None:
            raise VendorOwnError(f"answered {answer.status} without a list of receipts")
        return len(shown) in PAGES or any(id_ in offers_in(receipt) for _, receipt in shown)
