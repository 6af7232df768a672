"""Asking Voucherify what a sale would earn: its examination of earning rules, which triggers none.

===========================  ===================================================  ==================================
ours                         Voucherify's                                         source
===========================  ===================================================  ==================================
the question                 `POST /v2/loyalties/examine/earning-rules`, for the  loyalty v2: examine; no such call
                             event `customer.order.paid`                          in loyalty v1
contact_id, member_number    customer_identification: `customer_id`,              the same: over all programmes
                             `customer_source_id`                                 somebody belongs to
lines[], the facts           customer_order_paid.order: as the sale's order       the same; goods by their ids alone:
                             would say them                                       no other field is allowed
points                       Σ memberships[].cards[].points_estimation            the same
===========================  ===================================================  ==================================

Somebody who belongs to no programme earns nothing. A refusal of the question itself says nothing of our credentials:
they are good for everything else, and the project has no loyalty v2, or the application's role does not go so far.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from agent.connectors.voucherify.benefits import IDENTIFIED_BY
from agent.connectors.voucherify.client import VoucherifyClient
from agent.connectors.voucherify.errors import is_missing, raise_unless_answered, vendor_key
from agent.connectors.voucherify.mapping import MAX_ITEMS, InexactError, render_examined
from agent.connectors.voucherify.settings import VoucherifySettings
from agent.domain.earning import Forecast
from agent.domain.transaction import IntegrationKey, Transaction
from agent.errors import VendorUnreachableError
from agent.ports import Clock, Pace
from agent.transport import Answer

_OK = 200
_REFUSED = (400, 403, 404, 413, 415, 422, 423)


class VoucherifyPreview:
    """Previews of points.

    Args:
        client: the project.
        settings: the table.
        clock: for pauses that the vendor states as an instant.
    """

    def __init__(self, client: VoucherifyClient, settings: VoucherifySettings, *, clock: Clock) -> None:
        self._client, self._settings, self._clock = client, settings, clock

    async def points(self, key: IntegrationKey, sale: Transaction, *, timeout_s: float, pace: Pace) -> Forecast:
        """What the sale would earn, on all cards that count. Raises VendorUnreachableError, VendorRefusedError."""
        named = IDENTIFIED_BY.get(key.type)
        if named is None or len(sale.lines) > MAX_ITEMS:
            return Forecast(None)
        try:
            body = render_examined(sale, self._settings, {"type": named, named: key.value})
        except InexactError:
            return Forecast(None)
        await pace()
        answer = await self._client.examine_earning(body, timeout_s=timeout_s)
        if is_missing(answer):
            return Forecast(None, member=False)
        if answer.status in _REFUSED or vendor_key(answer) == "missing_required_feature":
            return Forecast(None)
        raise_unless_answered(answer, "earnings_examine_result", now=self._clock.now())
        return Forecast(sum(_estimations(answer, self._settings.campaign), Decimal(0)))


def _estimations(answer: Answer, program: str) -> Iterator[Decimal]:
    """What each card of the programme would get; of every programme where none is named.

    Raises:
        VendorUnreachableError: it is no examination.
    """
    body = answer.json() if answer.status == _OK else {}
    for membership in _rows(body, "memberships"):
        its = membership.get("program")
        named = (its.get("id"), its.get("name")) if isinstance(its, dict) else ()
        if program and program not in named:
            continue
        for card in _rows(membership, "cards"):
            points = card.get("points_estimation")
            if isinstance(points, bool) or not isinstance(points, int):
                raise VendorUnreachableError("estimates something that is no number of points")
            yield Decimal(points)


def _rows(of: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    rows = of.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise VendorUnreachableError(f"answers an examination without {name}")
    return rows
