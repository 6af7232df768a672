"""Spending points of a loyalty card of version 1 for a sale, and giving them back.

===========================  ===================================================  ==================================
what                         call                                                 source
===========================  ===================================================  ==================================
whether a sale has spent     `GET /v1/loyalties/members/{code}/transactions`: a   OpenAPI
some                         change with `{sale's id}/spent` as its `source_id`
spend them                   `POST /v1/loyalties/members/{code}/balance`, less    loyalties page
give them back               the same, more, as `{sale's id}/back`                ours: an id that no sale has
===========================  ===================================================  ==================================

Voucherify's own way is a reward that is paid with points. It needs an order (`missing_order`), which is paid by it, and
the sale's own order would count beside that. A change of the balance needs none, and its name is found again: it is
looked for before it is sent, and one that may have been sent is never sent again. What a point is worth is the till's
to know. With loyalty version 2 nothing is spent from here: a payment there has no name, and each repetition is another
one (loyalty v2 pages).

The customer's one card is meant; of several, `campaign` says which.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from agent.connectors.base import before_telling
from agent.connectors.voucherify.cards import Card, Row, TooManyError, cards_in, named, points_of, read_pages
from agent.connectors.voucherify.client import VoucherifyClient
from agent.connectors.voucherify.errors import is_missing, raise_unless_answered, read_object, vendor_key
from agent.connectors.voucherify.mapping import render_json
from agent.connectors.voucherify.settings import VoucherifySettings
from agent.domain.identifiers import IdentifierType
from agent.domain.redemption import Reason, Standing, VendorStanding, VendorWord
from agent.domain.transaction import IntegrationKey
from agent.errors import VendorOwnError, VendorUnreachableError
from agent.ports import Clock, Pace
from agent.transport import Answer

SETTLES_S: Final = 60.0
"""A change that was sent shows in the list by then, or was not carried out."""
LOOKED_BACK: Final = timedelta(days=45)
"""Longer than a sale is remembered here with its person: what happened before is no sale's of which anybody asks."""
_PAGE, _CARD_PAGES, _OK, _CLIENT_ERROR, _MOST_REMEMBERED = 100, 3, 200, 400, 1_000
_NAMED_BY = (IdentifierType.CONTACT_ID, IdentifierType.MEMBER_NUMBER)
_REASONS = {
    "loyalty_card_points_exceeded": Reason.NOT_ENOUGH,
    "not_found": Reason.NOT_THEIRS,
    "resource_not_found": Reason.NOT_THEIRS,
}
History = list[tuple[Card, list[Row]]]


@dataclass(slots=True)
class _Latest:
    """What was done about a sale's points.

    Attributes:
        taken: from which card, and how many, as was answered.
        given_back_at: when the call to give them back went out last, monotonic seconds.
        is_back: that it was carried out was answered.
    """

    taken: tuple[Card, int] | None = None
    given_back_at: float | None = None
    is_back: bool = False


class VoucherifyPoints:
    """Spends customers' points.

    Args:
        client: the project.
        settings: the table.
        clock: for how long ago something happened.
    """

    def __init__(self, client: VoucherifyClient, settings: VoucherifySettings, *, clock: Clock) -> None:
        self._client, self._settings, self._clock = client, settings, clock
        self._began = clock.monotonic()
        self._latest: OrderedDict[str, _Latest] = OrderedDict()
        """What was done of late, which may not show yet."""

    async def standing(self, key: IntegrationKey, sale: str, *, timeout_s: float, pace: Pace) -> VendorStanding:
        """Whether a sale has spent points of a customer, who has a card to spend some from.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """
        history = await self._history(key, sale, timeout_s, pace)
        if self._taken(history, sale) is not None:
            return VendorStanding(Standing.AVAILABLE if self._is_back(history, sale) else Standing.USED)
        return VendorStanding(Standing.AVAILABLE if len(history) == 1 else Standing.ABSENT)

    async def spend(
        self, key: IntegrationKey, sale: str, points: Decimal, *, timeout_s: float, pace: Pace
    ) -> VendorWord:
        """Takes points off the customer's one card.

        Raises:
            VendorUnreachableError: where ``maybe_received`` says so, it may have been carried out all the same.
            VendorRefusedError: our credentials are refused; it was not carried out.
        """
        if points != points.to_integral_value():
            return VendorWord(Reason.REFUSED, "invalid_amount")
        cards = await before_telling(self._cards(key, timeout_s, pace), timeout_s)
        if len(cards) != 1:
            return VendorWord(Reason.NOT_THEIRS)
        word = await self._adjust(cards[0], -int(points), _spent(sale), timeout_s, pace)
        if word.reason is None:
            self._of(sale).taken = (cards[0], int(points))
        return word

    async def give_back(self, key: IntegrationKey, sale: str, *, timeout_s: float, pace: Pace) -> VendorWord | None:
        """Puts what a sale has spent back on its card, once; None while that may be under way already.

        What was spent before this run may have been given back before it as well.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """
        history = await self._history(key, sale, timeout_s, pace)
        found, latest, now = self._taken(history, sale), self._of(sale), self._clock.monotonic()
        if found is None or self._is_back(history, sale):
            return VendorWord()
        sent_at = latest.given_back_at
        if sent_at is None and latest.taken is None:
            sent_at = self._began
        if sent_at is not None and now - sent_at < SETTLES_S:
            return None
        latest.given_back_at = now
        card, points = found
        word = await self._adjust(card, points, _back(sale), timeout_s, pace)
        latest.is_back = word.reason is None
        return word if latest.is_back else VendorWord(Reason.NOT_RELEASED, word.code)

    async def _adjust(self, card: Card, points: int, name: str, timeout_s: float, pace: Pace) -> VendorWord:
        change = {"points": points, "source_id": name, "reason": "agent_spent" if points < 0 else "agent_given_back"}
        await pace()
        answer = await self._client.adjust(card.code, render_json(change), timeout_s=timeout_s)
        if answer.status == _OK:
            if read_object(answer).get("object") != "balance":
                raise VendorUnreachableError("answers a change with something else", maybe_received=True)
            return VendorWord()
        raise_unless_answered(answer, "balance", now=self._clock.now())
        if answer.status < _CLIENT_ERROR:
            raise VendorUnreachableError(f"answered {answer.status} to a change", maybe_received=True)
        code = vendor_key(answer)
        return VendorWord(_REASONS.get(code or "", Reason.REFUSED), code)

    async def _history(self, key: IntegrationKey, sale: str, timeout_s: float, pace: Pace) -> History:
        """The customer's cards, and what happened on each as far back as the sale may be."""
        since = self._clock.now() - LOOKED_BACK

        def is_enough(rows: Sequence[Row]) -> bool:
            return named(rows, _spent(sale)) is not None or any(_is_before(row, since) for row in rows)

        found: History = []
        for card in await self._cards(key, timeout_s, pace):
            rows = await self._rows(self._transactions_of(card, timeout_s, pace), is_enough=is_enough)
            found.append((card, rows))
        return found

    def _taken(self, history: History, sale: str) -> tuple[Card, int] | None:
        """From which card a sale has spent how many.

        Raises:
            VendorOwnError: it has, and how many is not said.
        """
        taken = self._of(sale).taken
        rows = ((card, named(rows, _spent(sale))) for card, rows in history) if taken is None else ()
        for card, row in rows:
            if row is not None:
                if (points := points_of(row)) >= 0:
                    raise VendorOwnError("lists a change of ours without its points")
                return card, -points
        return taken

    def _is_back(self, history: History, sale: str) -> bool:
        return self._of(sale).is_back or any(named(rows, _back(sale)) for _, rows in history)

    def _of(self, sale: str) -> _Latest:
        """What was done of late about a sale."""
        if len(self._latest) >= _MOST_REMEMBERED and sale not in self._latest:
            self._latest.popitem(last=False)
        return self._latest.setdefault(sale, _Latest())

    async def _cards(self, key: IntegrationKey, timeout_s: float, pace: Pace) -> list[Card]:
        if key.type not in _NAMED_BY:
            return []

        async def page(after: str | None) -> Answer:
            await pace()
            return await self._client.redeemables(key.value, limit=_PAGE, after=after, timeout_s=timeout_s)

        held = await self._rows(page, most=_CARD_PAGES)
        return cards_in(held, self._settings.campaign)

    def _transactions_of(self, card: Card, timeout_s: float, pace: Pace) -> Callable[[str | None], Awaitable[Answer]]:
        async def page(after: str | None) -> Answer:
            await pace()
            return await self._client.transactions(card.code, after=after, timeout_s=timeout_s)

        return page

    async def _rows(
        self,
        page: Callable[[str | None], Awaitable[Answer]],
        *,
        most: int | None = None,
        is_enough: Callable[[Sequence[Row]], bool] | None = None,
    ) -> list[Row]:
        """All rows of a list, or enough of them; none for a customer who is not there."""
        bounds = {} if most is None else {"most": most}
        try:
            rows = await read_pages(page, is_enough=is_enough, **bounds)
        except TooManyError as error:
            raise VendorOwnError("lists more than is read") from error
        if not isinstance(rows, Answer):
            return rows
        if is_missing(rows):
            return []
        raise_unless_answered(rows, "list", now=self._clock.now())
        raise VendorOwnError(f"answered {rows.status} without a list")


def _spent(sale: str) -> str:
    """An id that no sale has: of an exchange the points of what came back may be taken under its own."""
    return f"{sale}/spent"


def _back(sale: str) -> str:
    return f"{sale}/back"


def _is_before(row: Row, since: datetime) -> bool:
    try:
        at = datetime.fromisoformat(str(row.get("created_at")))
    except ValueError:
        return False
    return at.tzinfo is not None and at < since
