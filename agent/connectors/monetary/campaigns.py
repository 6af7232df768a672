"""Campaigns and their offers, for the head office: money that is given away, told once.

===========================  ===================================================  ==================================
what                         call                                                 source
===========================  ===================================================  ==================================
a campaign of a location     `POST /Campaigns/Location`                           readme
a campaign of the group      `POST /Campaigns/Group`, with the holding            readme; 403 for another key: inferred
                             business's key alone
its offers                   `POST /Campaigns/{CampaignID}/Offers`, an array of   readme: 204 says that it was taken;
                             CustomerIDs                                          who gets one is decided later
===========================  ===================================================  ==================================

Nothing lists, shows or ends a campaign, none says who got an offer, and nothing recognises a repetition. So a call goes
once, and what came of it is said as it is: done, refused, not sent, or that nobody knows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

from agent.connectors.monetary.client import MonetaryClient
from agent.connectors.monetary.customers import LARGEST_ID, lowered
from agent.connectors.monetary.errors import json_of, rejection_of, trouble_of
from agent.connectors.monetary.mapping import render_json
from agent.domain.delivery import VerdictKind
from agent.errors import VendorUnreachableError
from agent.transport import Answer

Outcome = Literal["done", "refused", "unreachable", "unknown"]
MOST_DAYS: Final = 3_660
_TAKEN = 204


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a call.

    Attributes:
        outcome: ``done``; ``refused``: Monetary did not do it; ``unreachable``: it was not asked, or sent it back
            unread; ``unknown``: it may have been done, and nothing says so.
        status: of the answer; None without one.
        campaign_id: of the campaign that was made.
    """

    outcome: Outcome
    status: int | None = None
    campaign_id: int | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What a campaign offers.

    Attributes:
        amount_off: in the account's currency.
        minimum_purchase: the least sale that it is good for.
        days: how long an offer lasts.
        group: for all locations of the group, instead of the key's own.
    """

    amount_off: Decimal
    minimum_purchase: Decimal
    days: int
    group: bool


class MonetaryCampaigns:
    """Makes campaigns and sends their offers. Each call raises VendorRefusedError: there is no key to call with.

    Args:
        client: the account.
    """

    def __init__(self, client: MonetaryClient) -> None:
        self._client = client

    async def create(self, terms: Terms) -> Came:
        """Makes a campaign. Each call makes another one."""
        stated = {
            "AmountOff": terms.amount_off,
            "MinimumPurchase": terms.minimum_purchase,
            "DaysTillExpiration": terms.days,
        }
        came, answer = await _came(self._client.make_campaign(render_json(stated), group=terms.group))
        if came.outcome != "done" or answer is None:
            return came
        made = _whole(lowered(json_of(answer)).get("campaignid"))
        return Came("unknown" if made is None else "done", came.status, made)

    async def send(self, campaign_id: int, customers: Sequence[int]) -> Came:
        """Offers a campaign to customers. Each call may make further offers."""
        came, _ = await _came(self._client.send_offers(campaign_id, render_json(list(customers))))
        return Came("unknown", came.status) if came.outcome == "done" and came.status != _TAKEN else came


async def _came(call: Awaitable[Answer]) -> tuple[Came, Answer | None]:
    try:
        answer = await call
    except VendorUnreachableError as error:
        return Came("unknown" if error.maybe_received else "unreachable"), None
    trouble = trouble_of(answer, named=True) or rejection_of(answer)
    if trouble is None:
        return Came("done", answer.status), answer
    if not trouble.not_received:
        return Came("unknown", answer.status), answer
    return Came("unreachable" if trouble.kind is VerdictKind.RETRY else "refused", answer.status), answer


def _whole(value: Any) -> int | None:
    known = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST_ID
    return int(value) if known else None
