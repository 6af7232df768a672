"""Loyalty cards of version 1 and what happened on them, as Voucherify lists both. Pure but for the paging.

===========================  ===================================================  ==================================
what                         where it stands                                      source
===========================  ===================================================  ==================================
a customer's cards           `GET /v1/customers/{id}/redeemables`                 customers page
what happened on a card      `GET /v1/loyalties/members/{code}/transactions`      loyalties page
points of a sale             `POINTS_ACCRUAL`, and `PENDING_POINTS_ACTIVATION`,   OpenAPI: `details.order`, and the
                             whose `details.order` is the sale's                  `points` of `details.balance`
a change of ours             `source_id`, which is sent with the change           OpenAPI; that it may be used once
                                                                                  alone is not known: looked for
===========================  ===================================================  ==================================
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from agent.connectors.voucherify.errors import is_elsewhere, read_object
from agent.connectors.voucherify.values import whole
from agent.transport import Answer

MAX_PAGES: Final = 10
"""Pages of a hundred that are read of one card; nobody knows what stands behind them."""
ADJUSTED: Final = ("POINTS_ADDITION", "POINTS_REMOVAL")
_EARNED: Final = ("POINTS_ACCRUAL", "PENDING_POINTS_ACTIVATION")
_OK = 200

Row = Mapping[str, Any]


class TooManyError(Exception):
    """There is more on a list than is read."""


@dataclass(frozen=True, slots=True)
class Card:
    """A customer's loyalty card.

    Attributes:
        id: the voucher's.
        code: by which it is addressed.
        balance: what can be spent; None where it does not say.
        pending: earned, and not to be spent yet.
    """

    id: str = field(repr=False)
    code: str = field(repr=False)
    balance: int | None
    pending: int


async def read_pages(
    ask: Callable[[str | None], Awaitable[Answer]],
    *,
    most: int = MAX_PAGES,
    is_enough: Callable[[Sequence[Row]], bool] | None = None,
) -> list[Row] | Answer:
    """All rows of a list; or the first answer that is no page of it.

    Args:
        ask: for a page, given what it comes after.
        most: pages.
        is_enough: whether what stands behind a page is of no interest.

    Raises:
        TooManyError: there are more.
        VendorUnreachableError, VendorRefusedError: as ``ask`` does.
    """
    found: list[Row] = []
    after: str | None = None
    for _ in range(most):
        answer = await ask(after)
        body = read_object(answer)
        page = body.get("data")
        is_page = isinstance(page, list) and all(isinstance(row, Mapping) for row in page)
        if answer.status != _OK or is_elsewhere(answer, "list") or not is_page:
            return answer
        found += page or ()
        told = body.get("more_starting_after") if body.get("has_more") is True else None
        after = told if isinstance(told, str) and told else None
        if after is None or (is_enough is not None and is_enough(page or ())):
            return found
    raise TooManyError


def cards_in(held: Iterable[Row], campaign: str) -> list[Card]:
    """The loyalty cards among what a customer holds.

    Args:
        held: rows of the customer's redeemables.
        campaign: whose cards count, by name or id; all if empty.
    """
    return [card for card in map(_card, _vouchers(held, campaign)) if card is not None]


def earned(rows: Iterable[Row], order: Row) -> int:
    """The points that an order earned on a card, as far as it says.

    Args:
        rows: what happened on the card.
        order: as Voucherify has it.
    """
    return sum(max(points_of(row), 0) for row in rows if row.get("type") in _EARNED and _is_of(row, order))


def named(rows: Iterable[Row], source_id: str) -> Row | None:
    """The change of ours that has this name; None where there is none."""
    return next((row for row in rows if row.get("type") in ADJUSTED and row.get("source_id") == source_id), None)


def taken_for(rows: Iterable[Row], reason: str) -> int:
    """The points that were taken off a card for a reason of ours."""
    return -sum(min(points_of(row), 0) for row in rows if row.get("type") in ADJUSTED and row.get("reason") == reason)


def points_of(row: Row) -> int:
    """The points that one transaction added, below zero where it took some off. Raises VendorOwnError."""
    return whole(_object(_object(row, "details"), "balance"), "points") or 0


def _is_of(row: Row, order: Row) -> bool:
    told = _object(_object(row, "details"), "order")
    return any(order.get(name) is not None and told.get(name) == order[name] for name in ("id", "source_id"))


def _vouchers(held: Iterable[Row], campaign: str) -> Iterator[Row]:
    for row in held:
        voucher = _object(_object(row, "redeemable"), "voucher")
        counts = not campaign or campaign in (voucher.get("campaign"), voucher.get("campaign_id"))
        if voucher.get("type") == "LOYALTY_CARD" and counts:
            yield voucher


def _card(voucher: Row) -> Card | None:
    own, code, held = voucher.get("id"), voucher.get("code"), _object(voucher, "loyalty_card")
    if not isinstance(own, str) or not (isinstance(code, str) and code and code.isprintable()):
        return None
    return Card(own, code, whole(held, "balance"), whole(held, "pending_points") or 0)


def _object(of: Row, name: str) -> Row:
    value = of.get(name)
    return value if isinstance(value, Mapping) else {}
