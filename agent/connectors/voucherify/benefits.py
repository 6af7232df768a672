"""Asking Voucherify what a customer can use at a till.

===========================  ===================================================  ==================================
ours                         Voucherify's                                         source
===========================  ===================================================  ==================================
vouchers                     `GET /v1/customers/{id or source_id}/redeemables`:   customers page
                             what was assigned to the customer
points, loyalty v1           the loyalty cards among them: `balance` can be       vouchers page
                             spent, `pending_points` not yet
points, loyalty v2           `GET /v2/loyalties/memberships/{id or source_id}`:   loyalty v2: memberships
                             each card's `balance`
id                           the voucher's `id`, `v_...`                          ours: a code can be any text
number                       the voucher's `code`                                 vouchers page
value                        `discount`: an amount or a percentage off; of        vouchers page; amounts are in the
                             anything else the voucher's own words                smallest unit and have no currency
===========================  ===================================================  ==================================

A till is shown vouchers that it can use up: those that are good for one redemption. A code for several, and a gift
card, of which any part can be spent, would be used up twice by a repeat after a lost answer: a redemption has no key by
which it is recognised (redemptions page). There are no personal offers: a promotion is everybody's who fits its rules.
Points of several cards are one number, unless `campaign` says whose count.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeGuard

from agent.connectors.base import side_by_side
from agent.connectors.voucherify.client import VoucherifyClient
from agent.connectors.voucherify.errors import Kind, is_missing, raise_unless_answered
from agent.connectors.voucherify.settings import VoucherifySettings
from agent.domain.benefits import Benefit, BenefitKind, Benefits, Points, Worth
from agent.domain.identifiers import IdentifierType
from agent.domain.money import minor_unit
from agent.domain.transaction import IntegrationKey
from agent.errors import VendorUnreachableError
from agent.ports import Clock, Pace
from agent.transport import Answer

PAGE, MAX_PAGES = 100, 3
"""Nobody reads more at a till."""
_OK = 200
IDENTIFIED_BY = {IdentifierType.CONTACT_ID: "customer_id", IdentifierType.MEMBER_NUMBER: "customer_source_id"}
"""What loyalty v2 calls the keys that a customer can be named by."""
_ID = re.compile(r"v_[0-9A-Za-z]{1,60}")
_NUMBER = re.compile(r"[!-~]{1,64}")
_THEIRS = ("OWNER", "REFEREE")
"""Of a referral code its referrer holds one too, for others to use."""
_DEAD = ("DISABLED", "NOT_ACTIVE_YET", "EXPIRED")
_MAX_NAME_CHARS, _MAX_TEXT_CHARS = 200, 500
_LARGEST, _ALL = 10**12, 100

Row = Mapping[str, Any]


class VoucherifyBenefits:
    """Reads customers' benefits.

    Args:
        client: the project.
        settings: the table.
        clock: for pauses that the vendor states as an instant.
    """

    def __init__(self, client: VoucherifyClient, settings: VoucherifySettings, *, clock: Clock) -> None:
        self._client, self._settings, self._clock = client, settings, clock

    async def benefits(self, key: IntegrationKey, *, timeout_s: float, pace: Pace) -> Benefits:
        """What the customer can use; every question has to be answered.

        Raises:
            VendorUnreachableError: no sensible answer came.
            VendorRefusedError: our credentials are refused, or do not go so far.
        """
        if key.type not in IDENTIFIED_BY:
            return Benefits()
        v2 = self._settings.loyalty_api == "v2"
        questions = [self._redeemables(key, timeout_s, pace), *([self._cards(key, timeout_s, pace)] if v2 else ())]
        lists = await side_by_side(*questions)
        items = (voucher_of(row, self._settings.currency) for row in lists[0])
        cards = lists[1] if v2 else list(_loyalty_cards(lists[0], self._settings.campaign))
        return Benefits(_points(cards), tuple(item for item in items if item is not None))

    async def _redeemables(self, key: IntegrationKey, timeout_s: float, pace: Pace) -> list[Row]:
        """What the customer holds, page by page; nothing for somebody whom it does not know."""
        found: list[Row] = []
        after: str | None = None
        for _ in range(MAX_PAGES):
            held, after = await self.page(key, after, timeout_s=timeout_s, pace=pace)
            found += held
            if after is None:
                break
        return found

    async def page(
        self, key: IntegrationKey, after: str | None, *, timeout_s: float, pace: Pace
    ) -> tuple[list[Row], str | None]:
        """A page of what the customer holds, and what the next one comes after, None behind the last.

        Nothing for somebody whom Voucherify does not know. Raises as :meth:`benefits` does.
        """
        await pace()
        answer = await self._client.redeemables(key.value, limit=PAGE, after=after, timeout_s=timeout_s)
        body = self._read(answer, "list")
        if body is None:
            return [], None
        more = body.get("more_starting_after") if body.get("has_more") is True else None
        return rows(body, "data"), more if is_word(more) else None

    async def _cards(self, key: IntegrationKey, timeout_s: float, pace: Pace) -> list[Row]:
        """The balances of the customer's cards in loyalty v2."""
        await pace()
        answer = await self._client.memberships(key.value, named_by=IDENTIFIED_BY[key.type], timeout_s=timeout_s)
        body = self._read(answer, "memberships_result")
        found: list[Row] = []
        for membership in rows(body, "memberships") if body is not None else ():
            program, member = _object(membership, "program"), _object(membership, "member")
            if member.get("status", "ACTIVE") == "ACTIVE" and _counts(self._settings.campaign, program, "name", "id"):
                cards = (_object(assigned, "card") for assigned in rows(membership, "cards"))
                found += [{**balance, "balance": balance.get("points")} for balance in _balances(cards)]
        return found

    def _read(self, answer: Answer, expected: Kind) -> dict[str, Any] | None:
        """The object in an answer; None for a customer who is not there. Raises as :meth:`benefits` does."""
        if is_missing(answer):
            return None
        raise_unless_answered(answer, expected, now=self._clock.now())
        body = answer.json() if answer.status == _OK else None
        if not isinstance(body, dict):
            raise VendorUnreachableError(f"answered {answer.status} without a list of benefits")
        return body


def voucher_of(row: Row, currency: str) -> Benefit | None:
    """What a row of the customer's says; None for what no till can use up now.

    Args:
        row: of what was assigned to them.
        currency: of the project's amounts; empty where nobody has said.
    """
    held = _object(row, "redeemable")
    voucher = _object(held, "voucher")
    redemption, own = _object(voucher, "redemption"), voucher.get("id")
    if not (is_single(row) and isinstance(own, str) and _ID.fullmatch(own)):
        return None
    if (
        held.get("status", "ACTIVE") != "ACTIVE"
        or voucher.get("active") is False
        or redemption.get("redeemed_quantity")
    ):
        return None
    try:
        expires_at = _instant(voucher.get("expiration_date"))
    except ValueError:
        return None
    code = voucher.get("code")
    number = code if isinstance(code, str) and _NUMBER.fullmatch(code) else None
    name = _text(voucher.get("campaign"), _MAX_NAME_CHARS) or ""
    return Benefit(BenefitKind.VOUCHER, own, name, _worth(voucher, currency), expires_at, number)


def is_single(row: Row) -> bool:
    """Whether it is a customer's own discount voucher that is good for one redemption."""
    voucher = _object(_object(row, "redeemable"), "voucher")
    return (
        row.get("holder_role", "OWNER") in _THEIRS
        and voucher.get("type") == "DISCOUNT_VOUCHER"
        and _object(voucher, "redemption").get("quantity") == 1
    )


def is_word(value: object) -> TypeGuard[str]:
    """Whether it is text that can be sent back as it came: half a character of two halves cannot."""
    return isinstance(value, str) and value.isprintable() and value != ""


def rows(of: Row, name: str) -> list[Row]:
    """The objects of a list. Raises VendorUnreachableError: it is none."""
    found = of.get(name)
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise VendorUnreachableError(f"answers a list without {name}")
    return found


def _loyalty_cards(held: Iterable[Row], campaign: str) -> Iterator[Row]:
    """The balances of the loyalty cards of version 1 that count."""
    for row in held:
        voucher = _object(_object(row, "redeemable"), "voucher")
        alive = _object(row, "redeemable").get("status") not in _DEAD
        if voucher.get("type") == "LOYALTY_CARD" and alive and _counts(campaign, voucher, "campaign", "campaign_id"):
            yield _object(voucher, "loyalty_card")


def _balances(cards: Iterable[Row]) -> Iterator[Row]:
    return (_object(card, "balance") for card in cards)


def _points(cards: Iterable[Row]) -> Points | None:
    """What all cards hold together; None where there is none, or none says so."""
    held = [(_whole(card.get("balance")), _whole(card.get("pending_points"))) for card in cards]
    spendable = [balance for balance, _ in held if balance is not None]
    pending = sum(points or 0 for _, points in held)
    return Points(Decimal(sum(spendable)), Decimal(pending)) if spendable else None


def _counts(campaign: str, of: Row, *names: str) -> bool:
    return not campaign or campaign in [of.get(name) for name in names]


def _worth(voucher: Row, currency: str) -> Worth | None:
    discount = _object(voucher, "discount")
    unit, amount, percent = minor_unit(currency), _whole(discount.get("amount_off")), discount.get("percent_off")
    if discount.get("type") == "AMOUNT" and amount is not None and unit is not None:
        return Worth("money", amount=amount * unit, currency=currency)
    known = isinstance(percent, int | float) and not isinstance(percent, bool) and 0 < percent <= _ALL
    if discount.get("type") == "PERCENT" and known:
        return Worth("percent", percent=Decimal(str(percent)))
    words = _text(voucher.get("additional_info"), _MAX_TEXT_CHARS)
    return Worth("manual", text=words) if words is not None else None


def _instant(value: object) -> datetime | None:
    """When it ends; None when it does not. Raises ValueError: nobody can tell."""
    if value is None:
        return None
    at = datetime.fromisoformat(str(value))
    if at.tzinfo is None:
        raise ValueError("has no offset")
    return at


def _object(of: Row, name: str) -> Row:
    value = of.get(name)
    return value if isinstance(value, dict) else {}


def _whole(value: object) -> int | None:
    """A whole number of points or of smallest units, up to a million million; None for anything else."""
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST
    return value if whole and isinstance(value, int) else None


def _text(value: object, most_chars: int) -> str | None:
    """Words without control characters, cut to a length; None when there are none."""
    text = "".join(char for char in value if char.isprintable()).strip() if isinstance(value, str) else ""
    return text[:most_chars] or None
