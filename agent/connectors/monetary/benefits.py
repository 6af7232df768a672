"""Asking Monetary what a customer can use at a till.

===========================  ===================================================  ==================================
ours                         Monetary's                                           source
===========================  ===================================================  ==================================
points                       Points of the row that a search finds; by the        example till: in what a search
                             CustomerID only where that reading shows them        finds
offers                       `GET /Customers/{CustomerID}/Offers`, an array       example till
id                           OfferID                                              example till
value, of one kind, the      DiscountAmount, in `currency`; DiscountPercent;      example till, in this order
first that is there          PosCode, a price rule of the till's; RewardSku
name                         PosCodeRewardDescription, RewardSkuDescription       example till
minimum                      MinimumPurchase                                      example till
promotion                    CampaignID                                           inferred: campaigns have one; that
                                                                                  an offer shows it is not known
expires_at                   none: no page names a field                          unknown
===========================  ===================================================  ==================================

Punch cards have no known form, and Monetary names no vouchers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from agent.connectors.monetary.client import MonetaryClient
from agent.connectors.monetary.customers import lowered
from agent.connectors.monetary.errors import raise_unless_answered
from agent.connectors.monetary.lookup import MonetaryLookup
from agent.connectors.monetary.mapping import amount_of
from agent.domain.benefits import Benefit, BenefitKind, Benefits, Points, Worth
from agent.domain.transaction import IntegrationKey
from agent.errors import VendorOwnError
from agent.ports import Pace

MAX_OFFERS: Final = 300
"""Nobody reads more at a till."""
_OK, _NOT_FOUND = 200, 404
_ID = re.compile(r"[A-Za-z0-9_:.-]{1,64}")
_MAX_NAME_CHARS, _MAX_ID_CHARS = 200, 64
_ALL = 100


class MonetaryBenefits:
    """Reads customers' points and offers.

    Args:
        client: the location's account.
        lookup: finds customers.
        currency: of the account's amounts; empty where nobody has said.
    """

    def __init__(self, client: MonetaryClient, lookup: MonetaryLookup, *, currency: str) -> None:
        self._client, self._lookup, self._currency = client, lookup, currency

    async def benefits(self, key: IntegrationKey, *, timeout_s: float, pace: Pace) -> Benefits:
        """What the customer can use; both questions have to be answered. Several customers with one key have nothing.

        Raises:
            VendorUnreachableError: no sensible answer came.
            VendorRefusedError: our key is refused.
        """
        found = await self._lookup.shown(key.identifier, timeout_s=timeout_s, pace=pace)
        if len(found) != 1:
            return Benefits()
        [(customer, row)] = found.items()
        offers = await self.offers(customer, timeout_s=timeout_s, pace=pace)
        items = (offer_of(offer, self._currency) for offer in offers)
        return Benefits(_points(row.get("points")), tuple(item for item in items if item is not None))

    async def customer(self, key: IntegrationKey, *, timeout_s: float, pace: Pace) -> int | None:
        """The one customer with a key; None where there is none, or several. Raises as :meth:`benefits` does."""
        found = await self._lookup.shown(key.identifier, timeout_s=timeout_s, pace=pace)
        return next(iter(found)) if len(found) == 1 else None

    async def offers(self, customer: int, *, timeout_s: float, pace: Pace) -> list[dict[str, Any]]:
        """The rows of what a customer can use, by names in lower case. Raises as :meth:`benefits` does."""
        await pace()
        answer = await self._client.offers_of(customer, timeout_s=timeout_s)
        body = raise_unless_answered(answer, named=True)
        if answer.status == _NOT_FOUND:
            return []
        if answer.status != _OK or not isinstance(body, list) or not all(isinstance(row, Mapping) for row in body):
            raise VendorOwnError(f"answered {answer.status} without a list of offers")
        return [lowered(row) for row in body[:MAX_OFFERS]]


def id_of(row: Mapping[str, Any]) -> str | None:
    """An offer's id as a till says it; None where it could not."""
    told = row.get("offerid")
    known = isinstance(told, int | str) and not isinstance(told, bool) and _ID.fullmatch(str(told))
    return str(told) if known else None


def offer_of(row: Mapping[str, Any], currency: str) -> Benefit | None:
    """What a row says, or None where it could not be used.

    Args:
        row: by names in lower case.
        currency: of the account's amounts; empty where nobody has said.
    """
    own, campaign = id_of(row), row.get("campaignid")
    if own is None:
        return None
    name = _text(row.get("poscoderewarddescription")) or _reward(row) or ""
    known = isinstance(campaign, int | str) and not isinstance(campaign, bool)
    reference = str(campaign)[:_MAX_ID_CHARS] if known else None
    least = amount_of(row.get("minimumpurchase"))
    minimum = least if least is not None and least > 0 else None
    return Benefit(BenefitKind.OFFER, own, name, _worth(row, currency), None, reference, minimum)


def _worth(row: Mapping[str, Any], currency: str) -> Worth | None:
    """The first of the kinds that the example till knows, in its order."""
    amount, percent = amount_of(row.get("discountamount")), amount_of(row.get("discountpercent"))
    if amount is not None and amount > 0:
        return Worth("money", amount=amount, currency=currency) if currency else None
    if percent is not None and 0 < percent <= _ALL:
        return Worth("percent", percent=_plain(percent))
    code, reward = _text(row.get("poscode")), _reward(row)
    if code is not None:
        return Worth("price_rule", text=code)
    return Worth("manual", text=reward) if reward is not None else None


def _reward(row: Mapping[str, Any]) -> str | None:
    """What is free, in words, or its article."""
    named = (_text(row.get(name)) for name in ("rewardskudescription", "rewardsku", "sku"))
    return next((text for text in named if text is not None), None)


def _points(value: object) -> Points | None:
    balance = amount_of(value)
    return Points(_plain(balance)) if balance is not None else None


def _plain(number: Decimal) -> Decimal:
    """Without decimals that say nothing."""
    return number.quantize(Decimal(1)) if number == number.to_integral_value() else number


def _text(value: object) -> str | None:
    """Words without control characters, cut to a length; None when there are none."""
    text = "".join(char for char in value if char.isprintable()).strip() if isinstance(value, str) else ""
    return text[:_MAX_NAME_CHARS] or None
