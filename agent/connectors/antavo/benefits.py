"""Asking Antavo what a customer can use at a till.

===========================  ===================================================  ==================================
ours                         Antavo's                                             source
===========================  ===================================================  ==================================
points                       `GET /customers/{id}`: `spendable`, else score less  Customers API; `spendable` is what
                             spent, expired and reserved; `pending`               the retail page shows as a balance
vouchers                     `GET /customers/{id}/coupons`, those `claimed`       Coupons API; that pages go by
                                                                                  `offset` is the API's general rule
id, number                   the coupon's `code`: it has no other name            Coupons API, Events API
value                        `amount` with `currency`, or `percentage`            Coupons API; one page says `percent`
expires_at                   the same: seconds, an instant, or a day that counts  Coupons API; its form is not
                             to its end                                           documented
===========================  ===================================================  ==================================

A till is shown coupons that it can use up. Gift cards are not among them: which attribute says how much of one is
spent is not documented; nor is free shipping, which is no till's, nor a code that no till can say. Rewards are offers
here, where the shop has switched them on (`rewards.py`). Antavo's offers are claimed elsewhere and come back as
coupons: how a claim of one is undone, and where it shows, is not documented, so that a lost answer could be neither
repeated nor undone.
"""

import re
from collections.abc import Coroutine, Mapping
from decimal import Decimal
from typing import Any, Final

from agent.connectors.antavo.answers import read_held
from agent.connectors.antavo.client import AntavoClient
from agent.connectors.antavo.customers import amount_of, is_usable, points_of, stated_id, text_of
from agent.connectors.antavo.lookup import AntavoLookup
from agent.connectors.antavo.rewards import AntavoRewards
from agent.connectors.antavo.values import end_of, words_of
from agent.connectors.base import side_by_side
from agent.domain.benefits import Benefit, BenefitKind, Benefits, Points, Worth
from agent.domain.identifiers import IdentifierType
from agent.domain.money import minor_unit
from agent.domain.transaction import IntegrationKey
from agent.ports import Pace

PAGE, MAX_PAGES = 100, 3
"""Nobody reads more at a till."""
CLAIMED: Final = "claimed"
"""The status of a coupon that can be used up."""
_CODE = re.compile(r"[A-Za-z0-9_:.-]{1,64}")  # as the door takes the id of a benefit
_NOT_A_TILL_S = ("gift_card", "free_shipping")
_PERCENT = ("percentage", "percent")
_MOST_PERCENT = Decimal(100)

Row = Mapping[str, Any]


class AntavoBenefits:
    """Reads customers' benefits.

    Args:
        client: the workspace.
        lookup: finds the id of a customer.
        rewards: lists what can be had for points; None where the shop has not switched that on.
    """

    def __init__(self, client: AntavoClient, lookup: AntavoLookup, rewards: AntavoRewards | None = None) -> None:
        self._client, self._lookup, self._rewards = client, lookup, rewards

    async def benefits(self, key: IntegrationKey, *, timeout_s: float, pace: Pace) -> Benefits:
        """What the customer can use; every question has to be answered, and all go side by side under an id.

        Raises:
            VendorUnreachableError: no sensible answer came.
            VendorRefusedError: our credentials are refused.
        """
        shown = self._shown(key, timeout_s, pace)
        if key.type is IdentifierType.CONTACT_ID:
            found, *held = await side_by_side(shown, *self._usable(key.value, timeout_s, pace))
        else:
            found, held = await shown, []
            if found:
                held = await side_by_side(*self._usable(stated_id(found[0]), timeout_s, pace))
        if not found:
            return Benefits()
        vouchers = [coupon_of(row) for row in held[0]] if held else []
        offers = [self._rewards.offer_of(row) for row in held[1]] if held[1:] and self._rewards is not None else []
        items = (item for item in (*offers, *vouchers) if item is not None)
        return Benefits(_points(found[0]), tuple(items))

    async def coupon(self, customer: str, code: str, *, timeout_s: float, pace: Pace) -> Row | None:
        """A customer's coupon by its code, whatever became of it; None too for what a till is not shown.

        Raises:
            VendorUnreachableError, VendorRefusedError: as :meth:`benefits`.
        """
        rows = await self._coupons(customer, {"code": code}, timeout_s, pace, until=code)
        return next((row for row in rows if is_a_till_s(row) and row["code"] == code), None)

    async def _shown(self, key: IntegrationKey, timeout_s: float, pace: Pace) -> list[Row]:
        """The customer, if there is one."""
        found = await self._lookup.customer(key, timeout_s=timeout_s, pace=pace)
        return [] if found is None else [found]

    def _usable(self, customer: str, timeout_s: float, pace: Pace) -> list[Coroutine[Any, Any, list[Row]]]:
        """Asks for the coupons of an id that can be asked for, then for the rewards; nothing is asked of another."""
        if not is_usable(customer):
            return []
        coupons = self._coupons(customer, {"status": CLAIMED}, timeout_s, pace)
        if self._rewards is None:
            return [coupons]
        return [coupons, self._rewards.listed(customer, timeout_s=timeout_s, pace=pace)]

    async def _coupons(
        self, customer: str, wanted: Mapping[str, str], timeout_s: float, pace: Pace, *, until: str | None = None
    ) -> list[Row]:
        """The customer's coupons, page by page; ``until`` is a code behind which nothing more is wanted."""
        found: list[Row] = []
        for _ in range(MAX_PAGES):
            await pace()
            page = {**wanted, "limit": str(PAGE), "offset": str(len(found))}
            listed = read_held(await self._client.coupons(customer, page, timeout_s=timeout_s), limit=PAGE)
            found += listed.rows
            if not listed.more or (until is not None and any(row.get("code") == until for row in listed.rows)):
                break
        return found


def coupon_of(row: Row) -> Benefit | None:
    """What a row of the customer's says; None for what no till can use up now."""
    if not is_a_till_s(row) or row.get("status") != CLAIMED:
        return None
    try:
        expires_at = end_of(row.get("expires_at"))
    except ValueError:
        return None
    return Benefit(BenefitKind.VOUCHER, row["code"], words_of(row.get("name")), _worth(row), expires_at, row["code"])


def is_a_till_s(row: Row) -> bool:
    """Whether it is a coupon that a till can say, and use up as a whole."""
    code = row.get("code")
    return isinstance(code, str) and _CODE.fullmatch(code) is not None and row.get("type") not in _NOT_A_TILL_S


def _points(customer: Row) -> Points | None:
    balance, pending = points_of(customer), amount_of(customer.get("pending"))
    return None if balance is None else Points(balance, pending or Decimal(0))


def _worth(row: Row) -> Worth | None:
    value, currency = amount_of(row.get("value")), text_of(row.get("currency"))
    if value is None or value <= 0:
        return None
    if row.get("type") in _PERCENT:
        return Worth("percent", percent=value) if value <= _MOST_PERCENT else None
    unit = minor_unit(currency) if row.get("type") == "amount" else None
    return Worth("money", amount=value.quantize(unit), currency=currency) if unit is not None else None
