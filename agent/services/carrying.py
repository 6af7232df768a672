"""Offers that the loyalty system hears of by their sale alone: what became of them here, for whoever sends the sale."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from agent.domain.benefits import BenefitKind
from agent.domain.redemption import RedemptionState
from agent.ports import Clock, RedemptionRecord

log = structlog.get_logger(__name__)

_GIVEN = (RedemptionState.QUEUED, RedemptionState.REDEEMED)


class Carrying:
    """Says what was redeemed for a sale, and writes down what its vendor refused.

    Args:
        clock: for instants.
        record: what is on disk.
        told: hears of each state that one comes to.
    """

    def __init__(self, clock: Clock, record: RedemptionRecord, told: Callable[[str], None]) -> None:
        self._clock, self._record, self._told = clock, record, told

    def of_sale(self, transaction_id: str) -> Mapping[str, RedemptionState]:
        """What became of each offer of a sale, by id; of an erased person's nothing is known. Raises StorageError."""
        offers = (one for one in self._record.of_sale(transaction_id) if one.kind is BenefitKind.OFFER)
        return {one.id: one.state for one in offers if one.id is not None}

    async def lost(self, transaction_id: str, offer_id: str) -> None:
        """An offer was refused with its sale: its discount is the shop's own. Raises StorageError."""
        log.warning("redemption.lost", code="vendor.rejected", transaction_id=transaction_id)
        known = self._record.find(transaction_id, BenefitKind.OFFER, offer_id)
        if known is not None and known.state in _GIVEN:
            await self._record.settle(known.number, RedemptionState.LOST, self._clock.now(), "vendor.rejected")
            self._told(RedemptionState.LOST.value)
