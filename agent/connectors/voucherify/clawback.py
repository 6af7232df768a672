"""A return, where the configuration has the points of its sale taken back: off the card that earned them, once.

Which card that is, and how many points the sale earned, stands in the transactions of the customer's loyalty cards,
version 1. What comes back takes its share of them, rounded for the customer. The change is sent with the return's id as
its `source_id`, and looked for by that in the same list before it is sent: it counts once.

A change is carried out some time after it was answered, and points follow an order by seconds (balance page, two-phase
processing). So what may have been sent, or is not earned yet, is looked for again for a minute before it counts as
absent. Loyalty version 2 has no such name for a change (facts: never automatic), and an event names no sale.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from agent.connectors.voucherify.benefits import is_word
from agent.connectors.voucherify.cards import (
    Card,
    Row,
    TooManyError,
    cards_in,
    earned,
    named,
    read_pages,
    taken_for,
)
from agent.connectors.voucherify.client import VoucherifyClient
from agent.connectors.voucherify.errors import is_missing, read_object, verdict_of, verdict_without_answer
from agent.connectors.voucherify.mapping import CANCELED, render_item, render_json
from agent.connectors.voucherify.returns import ExceedsError
from agent.connectors.voucherify.settings import VoucherifySettings
from agent.connectors.voucherify.values import whole
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.transaction import Transaction
from agent.errors import VendorOwnError, VendorUnreachableError
from agent.ports import Clock, Outgoing
from agent.transport import Answer

SETTLES_S: Final = 60.0
"""What was sent and is not listed by then was not carried out; what an order has not earned by then it does not."""
_PAGE, _CARD_PAGES = 100, 3
_MOST_REMEMBERED = 1_000
_PARK, _DONE = VerdictKind.PARK, VerdictKind.DONE
UNKNOWN: Final = Verdict(
    _PARK, "sale.without_original", title="The vendor has no order of the sale that this is about."
)
_THERE = Verdict(VerdictKind.DUPLICATE)
_NONE = Verdict(_DONE, "sale.no_points_taken", title="The sale earned no points that the return would take back.")
_AWAITED = Verdict(
    VerdictKind.RETRY, "sale.points_awaited", title="The customer's points may not show it yet.",
    awaits=True, not_received=True,
)  # fmt: skip
_PENDING = Verdict(_PARK, "sale.points_pending", title="The sale's points may be pending: a person takes them back.")
_SEVERAL = Verdict(
    _PARK,
    "sale.return_unsupported",
    title="Several cards earned points by the sale: `campaign` can say which.",
)
_TOO_MANY = Verdict(_PARK, "sale.return_unsupported", title="More happened on the customer's cards than is read.")


class Clawback:
    """Takes back the points of what came back.

    Args:
        client: the project.
        settings: the table.
        clock: for how long something was looked for.
    """

    def __init__(self, client: VoucherifyClient, settings: VoucherifySettings, *, clock: Clock) -> None:
        self._client, self._settings, self._clock = client, settings, clock
        self._since: dict[str, float] = {}
        """When each return was looked for first, or sent last, monotonic seconds."""

    async def take_back(self, outgoing: Outgoing, source_id: str) -> Verdict:
        """What came of it; the order of the sale stays as it is.

        Args:
            outgoing: the return.
            source_id: the sale's id.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
            VendorOwnError: what was read has a form that is not understood; nothing was changed.
            ExceedsError: more comes back than the order has, or it is canceled.
            InexactError: an amount cannot be said.
        """
        sale = outgoing.transaction
        try:
            found = await self._found(sale, source_id)
        except TooManyError:
            return _TOO_MANY
        except VendorOwnError:
            raise
        except VendorUnreachableError as error:
            return replace(verdict_without_answer(error), not_received=True)
        if isinstance(found, Verdict):
            return found
        card, points = found
        if outgoing.maybe_received and self._is_fresh(sale.transaction_id):
            return _AWAITED
        self._note(sale.transaction_id)
        change = {"points": -points, "source_id": sale.transaction_id, "reason": _reason(source_id)}
        answer = await self._client.adjust(card.code, render_json(change))
        return verdict_of(answer, "balance", now=self._clock.now())

    async def _found(self, sale: Transaction, source_id: str) -> tuple[Card, int] | Verdict:
        """The card, and the points to be taken off it; or why there is nothing to be taken."""
        answer = await self._client.get_order(source_id)
        if is_missing(answer):
            return UNKNOWN
        verdict, order = verdict_of(answer, "order", now=self._clock.now()), read_object(answer)
        if verdict.kind is not _DONE:
            return replace(verdict, not_received=True)
        if order.get("source_id") not in (None, source_id):
            raise VendorOwnError("answers with another order than was asked for")
        if order.get("status") == CANCELED or _came_back(sale) > _amount(order):
            raise ExceedsError
        return await self._share(sale, source_id, order)

    async def _share(self, sale: Transaction, source_id: str, order: Row) -> tuple[Card, int] | Verdict:
        customer, whole = _customer(order), _amount(order)
        if customer is None or not whole:
            return _NONE
        histories = await self._histories(customer)
        if isinstance(histories, Verdict):
            return histories
        if any(named(rows, sale.transaction_id) for _, rows in histories):
            return _THERE
        earning = [(card, rows, points) for card, rows in histories if (points := earned(rows, order))]
        if not earning:
            return self._unearned(sale.transaction_id, [card for card, _ in histories])
        if len(earning) > 1:
            return _SEVERAL
        [(card, rows, points)] = earning
        share = min(points * _came_back(sale) // whole, points - taken_for(rows, _reason(source_id)))
        return (card, share) if share > 0 else _NONE

    async def _histories(self, customer: str) -> list[tuple[Card, list[Row]]] | Verdict:
        held = await read_pages(
            lambda after: self._client.redeemables(customer, limit=_PAGE, after=after), most=_CARD_PAGES
        )
        if isinstance(held, Answer):
            return self._unread(held)
        found: list[tuple[Card, list[Row]]] = []
        for card in cards_in(held, self._settings.campaign):
            rows = await read_pages(self._transactions_of(card))
            if isinstance(rows, Answer):
                return self._unread(rows)
            found.append((card, rows))
        return found

    def _transactions_of(self, card: Card) -> Callable[[str | None], Awaitable[Answer]]:
        return lambda after: self._client.transactions(card.code, after=after)

    def _unearned(self, transaction_id: str, cards: list[Card]) -> Verdict:
        if self._is_fresh(transaction_id):
            return _AWAITED
        return _PENDING if any(card.pending for card in cards) else _NONE

    def _unread(self, answer: Answer) -> Verdict:
        """What it means that a list cannot be read; nothing was changed."""
        verdict = verdict_of(answer, "list", now=self._clock.now())
        if verdict.kind is _DONE:
            title = "The vendor's answer has a form that is not understood."
            verdict = Verdict(VerdictKind.RETRY, "vendor.unreadable", answer.status, title, alone=True)
        return replace(verdict, not_received=True)

    def _is_fresh(self, transaction_id: str) -> bool:
        """Whether what is not to be found may yet show, looked for from now on where it was not before."""
        now = self._clock.monotonic()
        if transaction_id not in self._since:
            self._note(transaction_id)
        return now - self._since[transaction_id] < SETTLES_S

    def _note(self, transaction_id: str) -> None:
        self._since[transaction_id] = self._clock.monotonic()
        if len(self._since) > _MOST_REMEMBERED:
            del self._since[next(iter(self._since))]


def _reason(source_id: str) -> str:
    return f"agent_return {source_id}"


def _came_back(sale: Transaction) -> int:
    lines = (render_item(line, sale.currency) for line in sale.lines if line.kind == "return")
    return sum(int(item["amount"]) for item in lines)


def _amount(order: Row) -> int:
    return max(whole(order, "amount") or 0, 0)


def _customer(order: Row) -> str | None:
    held: Any = order.get("customer")
    told = order.get("customer_id") or (held.get("id") if isinstance(held, dict) else held)
    if told and not is_word(told):
        raise VendorOwnError("has something else than a customer in an order")
    return told or None
