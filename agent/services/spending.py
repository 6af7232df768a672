"""Points that a till spends for a sale: noted for it while the vendor shows enough of them, and spent by the sale.

No point is taken before the sale is there, so that a sale that never comes spends nothing; and none twice, since the
sale counts once. What is noted and not spent yet is not spent again here. What the vendor refuses of a sale then, as
another till was faster, parks that sale for a person.
"""

from __future__ import annotations

from agent.domain.redemption import Reason, VendorStanding
from agent.ports import Budget, Clock, Redemption, RedemptionRecord, RedemptionWish


class Spending:
    """Notes points.

    Args:
        clock: for instants.
        record: notes, on disk with the sales that they are for.
        vendor: whose points they are.
    """

    def __init__(self, clock: Clock, record: RedemptionRecord, vendor: str) -> None:
        self._clock, self._record, self._vendor = clock, record, vendor

    async def spend(self, found: VendorStanding, wish: RedemptionWish, known: Redemption | None) -> Reason | None:
        """Notes them for a sale; why not, where it did not.

        Args:
            found: what the vendor says of the member's points.
            wish: how many, and for which sale.
            known: what is on record of it: given back before.

        Raises:
            StorageError: it cannot be put on disk.
        """
        if found.balance is None:
            return Reason.NOT_THEIRS
        if wish.amount is None or wish.amount != wish.amount.to_integral_value():
            return Reason.REFUSED
        if wish.amount > found.balance:
            return Reason.NOT_ENOUGH
        budget = Budget(self._vendor, found.balance)
        noted = await self._record.note(wish, known, budget, self._clock.now())
        return None if noted else Reason.REFUSED

    async def unspend(self, known: Redemption) -> bool:
        """Forgets a note before its sale is there; whether it did. Raises StorageError."""
        return await self._record.unnote(known, self._clock.now())
