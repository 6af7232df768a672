"""Asking Voyado what a member can use at a till.

===========================  ===========================================  ============================================
what                         v3                                           v2
===========================  ===========================================  ============================================
points                       `GET /point-accounts?contactId=`, ids are    the same path; ids are integers
                             GUIDs; an envelope, at one integrator a
                             bare array
vouchers                     `GET /reward-vouchers/available?contactId=`  `GET /contacts/{id}/bonuschecks/available`
a voucher's number           `voucherNumber`                              `checkNumber`
offers                       `GET /contacts/{id}/promotions`, an array    the same
an offer is redeemed by      `id`, the instance; `promotionId` is the     the same, although v2's path calls the slot
                             template that a receipt names                `{promotionId}`
===========================  ===========================================  ============================================

An offer is worth what its row for the till (`redemptionChannels`, `POS`) says. An item that is redeemed already, has no
id, or whose end cannot be read is left out: it could not be used. One point definition exists today: the first account
counts. Sources: points, vouchers and promotions pages; swagger of v2; an integration for the bare array. That an
instant without an offset is the store's is assumed.
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any

from agent.connectors.base import side_by_side
from agent.connectors.voyado.client import VoyadoClient
from agent.connectors.voyado.errors import raise_unless_answered
from agent.connectors.voyado.people import VoyadoPeople
from agent.domain.benefits import Benefit, BenefitKind, Benefits, Points, Worth
from agent.domain.identifiers import IdentifierType
from agent.domain.money import minor_unit
from agent.domain.transaction import IntegrationKey
from agent.errors import VendorUnreachableError
from agent.ports import Pace
from agent.transport import Answer

MAX_ITEMS = 200
"""Of each kind; nobody reads more at a till."""
_OK, _NOT_FOUND = 200, 404
_MAX_NAME_CHARS, _MAX_ID_CHARS, _MAX_TEXT_CHARS = 200, 64, 500
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_LARGEST = Decimal(10) ** 9
_FINEST = -12
"""The decimal at which a number has begun."""
_NEVER = "9999-12-31"
_A_DAY = timedelta(days=1)
_DATE_CHARS = len("2026-02-14")


class VoyadoBenefits:
    """Reads members' benefits.

    Args:
        client: the tenant.
        people: finds the contact id of a member.
        zone: the store's time zone.
    """

    def __init__(self, client: VoyadoClient, people: VoyadoPeople, zone: tzinfo) -> None:
        self._client, self._people, self._zone = client, people, zone

    async def benefits(self, key: IntegrationKey, *, timeout_s: float, pace: Pace) -> Benefits:
        """What the member can use; the three questions go side by side, and all of them have to be answered.

        Raises:
            VendorUnreachableError: no sensible answer came.
            VendorRefusedError: our credentials are refused.
        """
        contact_id = await contact_id_of(self._people, key, timeout_s, pace)
        if contact_id is None:
            return Benefits()
        client = self._client
        accounts, vouchers, promotions = await side_by_side(
            *(
                rows_of(ask, contact_id, timeout_s, pace)
                for ask in (client.point_accounts, client.available_vouchers, client.promotions)
            )
        )
        found = [*map(self._offer, promotions), *map(self._voucher, vouchers)]
        return Benefits(_points(accounts), tuple(item for item in found if item is not None))

    def _voucher(self, row: dict[str, Any]) -> Benefit | None:
        number = row.get("voucherNumber", row.get("checkNumber"))
        return self._benefit(BenefitKind.VOUCHER, row, row.get("name"), _money(row.get("value")), number)

    def _offer(self, row: dict[str, Any]) -> Benefit | None:
        name = _text(row.get("name"), _MAX_NAME_CHARS) or row.get("heading")
        return self._benefit(
            BenefitKind.OFFER, row, name, _worth(row.get("redemptionChannels")), row.get("promotionId")
        )

    def _benefit(
        self, kind: BenefitKind, row: dict[str, Any], name: object, value: Worth | None, reference: object
    ) -> Benefit | None:
        """What a row says, its id in small letters (lists differ in that), or None when it cannot be used."""
        own = str(row["id"]).lower() if isinstance(row.get("id"), (int, str)) else ""
        if not _ID.fullmatch(own) or row.get("redeemed") is True:
            return None
        try:
            expires_at = self._end(row.get("expiresOn"))
        except (ValueError, OverflowError):
            return None
        return Benefit(
            kind, own, _text(name, _MAX_NAME_CHARS) or "", value, expires_at, _text(reference, _MAX_ID_CHARS)
        )

    def _end(self, value: object) -> datetime | None:
        """The first instant after it, None for the last of days: a date counts to its end.

        Raises:
            ValueError: it cannot be read.
        """
        text = str(value)
        if value is None or text.startswith(_NEVER):
            return None
        if len(text) == _DATE_CHARS:
            return datetime.combine(date.fromisoformat(text) + _A_DAY, time(), self._zone)
        at = datetime.fromisoformat(text)
        return at if at.tzinfo is not None else at.replace(tzinfo=self._zone)


async def contact_id_of(people: VoyadoPeople, key: IntegrationKey, timeout_s: float, pace: Pace) -> str | None:
    """A member's contact id, asked for unless it is the key; None when there is none, or several."""
    if key.type is IdentifierType.CONTACT_ID:
        return key.value
    await pace()
    return await people.contact_id(key.identifier, timeout_s=timeout_s)


async def rows_of(
    ask: Callable[..., Awaitable[Answer]], contact_id: str, timeout_s: float, pace: Pace, **page: int
) -> list[dict[str, Any]]:
    """The rows of a page or of a bare array; none for a contact that is gone.

    Raises:
        VendorUnreachableError, VendorRefusedError: as everywhere.
    """
    await pace()
    answer = await ask(contact_id, timeout_s=timeout_s, **page)
    raise_unless_answered(answer)
    if answer.status == _NOT_FOUND:
        return []
    body = answer.json() if answer.status == _OK else None
    items = body.get("items", body.get("Items")) if isinstance(body, dict) else body
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise VendorUnreachableError(f"answered {answer.status} without a list of benefits")
    return items[:MAX_ITEMS]


def _points(accounts: Iterable[dict[str, Any]]) -> Points | None:
    for account in accounts:
        balance = _number(account.get("balance"))
        if balance is not None:
            return Points(balance, _number(account.get("pendingPoints")) or Decimal(0))
    return None


def _worth(channels: object) -> Worth | None:
    for row in channels if isinstance(channels, list) else ():
        if isinstance(row, dict) and row.get("type") == "POS":
            return _channel_worth(row)
    return None


def _channel_worth(row: dict[str, Any]) -> Worth | None:
    kind, value = row.get("valueType"), row.get("value")
    if kind == "MONEY":
        return _money(value)
    if kind == "PERCENT":
        percent = _number(value)
        return Worth("percent", percent=percent) if percent is not None else None
    if kind == "EXTERNALOFFER":
        rule = _text(value, _MAX_TEXT_CHARS)
        return Worth("price_rule", text=rule) if rule is not None else None
    words = _text(value, _MAX_TEXT_CHARS) or _text(row.get("instruction"), _MAX_TEXT_CHARS)
    return Worth("manual", text=words) if words is not None else None


def _money(value: object) -> Worth | None:
    if not isinstance(value, dict):
        return None
    amount, currency = _number(value.get("amount")), value.get("currency")
    unit = minor_unit(currency) if isinstance(currency, str) else None
    if amount is None or unit is None:
        return None
    return Worth("money", amount=amount.quantize(unit), currency=currency)


def _number(value: object) -> Decimal | None:
    """A number up to a thousand million, as its shortest decimal says; None for anything else, and for next to none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    if not number.is_finite() or not _FINEST <= number.adjusted() <= _LARGEST.adjusted():
        return None  # an exponent of millions cannot even be compared, and fills the memory where it is printed
    return number if abs(number) <= _LARGEST else None


def _text(value: object, most_chars: int) -> str | None:
    """Words without control characters, cut to a length; None when there are none."""
    text = "".join(char for char in value if char.isprintable()).strip() if isinstance(value, str) else ""
    return text[:most_chars] or None
