"""Taking sales to Monetary, one receipt each.

Each `POST /Receipts` makes another receipt: Monetary has nothing to know a sale by. So what may have arrived is looked
for among the customer's receipts before it goes out again (`books.py`); where they do not tell, and for a guest's sale,
which is among nobody's, `on_doubt` decides. A first attempt costs no such question.

A customer's sales go one after the other, on whatever strands they travel: from when Monetary made a receipt until its
answer is here the receipt is nobody's, and an alike sale that looked meanwhile would take it for its own.

Where Monetary owns the contacts, a sale's offers stand among its discounts with their ids, which uses them up: those
that the sale names and those that were redeemed here for it, but none that was given back. A receipt that is refused
goes again without the ids: the discount was given, and is the shop's own then.

Between looking and sending, a request that was cut off a moment ago could still be at work there: that gap cannot be
closed from here, and the pause before another attempt makes it small.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from agent.connectors.base import with_lost_time
from agent.connectors.monetary.books import MonetaryBooks, Unclear, reference_of
from agent.connectors.monetary.client import MonetaryClient
from agent.connectors.monetary.errors import (
    json_of,
    rejection_of,
    trouble_of,
    verdict_without_answer,
    verdict_without_key,
)
from agent.connectors.monetary.mapping import (
    InexactError,
    WithoutTaxError,
    labels_of,
    offers_in,
    render_json,
    render_receipt,
    without_offers,
)
from agent.connectors.monetary.people import MonetaryPeople
from agent.connectors.monetary.settings import MonetarySettings
from agent.connectors.monetary.turns import Turns
from agent.domain.activity import Activity
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.redemption import RedemptionState
from agent.domain.transaction import Transaction, TransactionType
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.ports import CarriedOffers, Clock, Outgoing

T = TypeVar("T")

MAX_CALLS = 4
"""Calls that one delivery usually takes at most: who it is, somebody new, what is on the books, the receipt."""
_GIVEN: Final = (RedemptionState.QUEUED, RedemptionState.REDEEMED)
_GIVEN_BACK: Final = (RedemptionState.UNDOING, RedemptionState.RELEASED, RedemptionState.LOST)
_PARK, _DONE, _RETRY = VerdictKind.PARK, VerdictKind.DONE, VerdictKind.RETRY
_NOBODY = Verdict(_PARK, "sale.without_member", title="The sale names nobody.")
_RETURN = Verdict(_PARK, "sale.return_unsupported", title="The vendor takes no returns: a person settles it there.")
_VOID = Verdict(_PARK, "sale.return_unsupported", title="The vendor takes no receipt back: a person settles it there.")
_CLAIM = Verdict(
    _PARK, "sale.return_unsupported",
    title="The vendor has a guest's receipt of the claimed sale and takes none back: its goods would count twice.",
)  # fmt: skip
_INEXACT = Verdict(_PARK, "sale.inexact", title="An amount has more than the two decimals that the vendor takes.")
_NO_TAX = Verdict(_PARK, "sale.without_tax", title="A line does not say its tax, which is told beside the amounts.")
_IN_DOUBT = Verdict(VerdictKind.IN_DOUBT, "sale.maybe_received")
_OF_NOBODY = Unclear("do not have it: it is a guest's sale")
_NOT_SHOWN = Unclear("do not have what was answered with success, more than once")
_DROPPED = Verdict(_DONE, "sale.not_repeated", title="It may have arrived; on_doubt says not to send it again.")
_OFFER_DOUBTED = Unclear("do not have it, and an offer of it is refused")
_OFFER_REFUSED = ("sale.offer_refused", "An offer of the sale is refused: its discount went as the shop's own.")
_OFFER_UNTOLD = ("sale.offer_untold", "Which discount is an offer's nobody said: that it was used was not told.")
_NOT_WANTED = Verdict(
    _DONE, "contact.not_wanted", title="Nothing was sent: the configuration makes no customers any more."
)


class MonetarySender:
    """Sends sales; who joined becomes a customer.

    Args:
        client: the location's account.
        settings: the table.
        people: finds customers.
        books: reads their receipts.
        turns: who is at work on a customer's receipts.
        offers: the offers that were redeemed here; None where another system owns the contacts: those are its own.
        clock: tells how late a sale is.
    """

    batch_size = 1

    def __init__(
        self,
        client: MonetaryClient,
        settings: MonetarySettings,
        *,
        people: MonetaryPeople,
        books: MonetaryBooks,
        turns: Turns,
        offers: Callable[[], CarriedOffers] | None,
        clock: Clock,
    ) -> None:
        self._client, self._settings, self._clock = client, settings, clock
        self._people, self._books, self._turns, self._offers = people, books, turns, offers

    async def send(self, batch: Sequence[Outgoing]) -> list[Verdict]:
        """A verdict for each sale; ``done`` means that Monetary made a receipt of it."""
        return [await self._send(outgoing) for outgoing in batch]

    async def _send(self, outgoing: Outgoing) -> Verdict:
        if isinstance(outgoing.record, Activity):
            return await self._made_a_customer(outgoing)
        receipt = self._rendered(outgoing)
        if isinstance(receipt, Verdict):
            return receipt
        customer = await _before_sending(self._asked(outgoing))
        if isinstance(customer, Verdict):
            return customer
        async with self._turns.of(customer):  # no other sale of the customer's is looked for or sent meanwhile
            known = await _before_sending(self._known(outgoing, customer, receipt)) if outgoing.maybe_received else None
            return known or await self._deliver(outgoing, customer, receipt)

    async def _deliver(self, outgoing: Outgoing, customer: int | None, receipt: Mapping[str, Any]) -> Verdict:
        """Sends the receipt with the ids of its offers, and where it is refused for them without."""
        sale = outgoing.transaction
        given, given_back = self._offers_of(sale)
        told = without_offers(receipt, given_back)
        verdict, used = await self._post(outgoing, customer, told), offers_in(told)
        if verdict.reference is not None and given - given_back - used:
            return replace(verdict, code=_OFFER_UNTOLD[0], title=_OFFER_UNTOLD[1])
        if verdict.code != "vendor.rejected" or not used or self._offers is None:
            return verdict
        if outgoing.maybe_received and (doubtful := self._doubtful(_OFFER_DOUBTED)) is not None:
            return replace(doubtful, status=verdict.status)  # its own first attempt may be what used them up
        verdict = await self._post(outgoing, customer, without_offers(receipt, used | given_back))
        if verdict.kind is not _DONE:
            return verdict
        for offer in sorted(used):
            await self._offers().lost(sale.transaction_id, offer)
        return replace(verdict, code=_OFFER_REFUSED[0], title=_OFFER_REFUSED[1])

    def _offers_of(self, sale: Transaction) -> tuple[frozenset[str], frozenset[str]]:
        """The offers that a sale uses, and those of them that were given back since. Raises StorageError."""
        if self._offers is None:
            return frozenset(), frozenset()
        noted = self._offers().of_sale(sale.transaction_id)
        given = {one.offer_id for one in sale.offers_used} | {one for one, state in noted.items() if state in _GIVEN}
        return frozenset(given), frozenset(one for one, state in noted.items() if state in _GIVEN_BACK)

    async def _made_a_customer(self, outgoing: Outgoing) -> Verdict:
        """Somebody who joined becomes a customer with what they gave, unless they are one: both are found by asking."""
        if self._settings.unknown_customer != "register":
            return _NOT_WANTED
        if outgoing.key is None:
            return _NOBODY
        found = await _before_sending(self._people.resolve(outgoing.key, outgoing.new_contact))
        return found if isinstance(found, Verdict) else Verdict(_DONE)

    def _rendered(self, outgoing: Outgoing) -> dict[str, Any] | Verdict:
        refused = self._unsendable(outgoing)
        if refused is not None:
            return refused
        try:
            sale, (given, given_back) = outgoing.transaction, self._offers_of(outgoing.transaction)
            offers = labels_of(sale, given | given_back)  # alike in each attempt: it is looked for by its discounts
            return render_receipt(sale, tax=self._settings.tax, mark=self._settings.mark_receipts, offers=offers)
        except InexactError:
            return _INEXACT
        except WithoutTaxError:
            return _NO_TAX

    def _unsendable(self, outgoing: Outgoing) -> Verdict | None:
        """Why there is nothing that Monetary would take."""
        sale, guests = outgoing.transaction, self._settings.guest_sales
        if sale.type is TransactionType.VOID:
            return _VOID
        if any(line.kind == "return" for line in sale.lines):
            return _RETURN
        if outgoing.key is None:
            return None if guests else _NOBODY
        is_claim = sale.type is TransactionType.POINTS_CLAIM and sale.original_transaction_id is not None
        return _CLAIM if guests and is_claim else None

    async def _asked(self, outgoing: Outgoing) -> int | Verdict | None:
        """Whose sale it is; None for a guest's; a verdict where nobody can be named."""
        if outgoing.key is None:
            return None
        found = await self._people.resolve(outgoing.key, outgoing.transaction.new_contact)
        return replace(found, not_received=True) if isinstance(found, Verdict) else found

    async def _known(self, outgoing: Outgoing, customer: int | None, receipt: Mapping[str, Any]) -> Verdict | None:
        """What is known of a sale that may have arrived; None when it is to be sent."""
        if customer is None:
            return self._doubtful(_OF_NOBODY)
        found = await self._books.find(customer, outgoing.transaction.transaction_id, receipt)
        if isinstance(found, Unclear):
            return self._doubtful(found)
        if found is None or found.kind is VerdictKind.DUPLICATE:
            return found
        return replace(found, not_received=True)

    async def _post(self, outgoing: Outgoing, customer: int | None, receipt: Mapping[str, Any]) -> Verdict:
        try:
            named = receipt if customer is None else {"CustomerID": customer, **receipt}
            answer = await self._client.post_receipt(render_json(named))
        except VendorUnreachableError as error:
            verdict = verdict_without_answer(error)
        except VendorRefusedError as error:
            return verdict_without_key(error)
        else:
            refused, reference = trouble_of(answer, named=True) or rejection_of(answer), reference_of(json_of(answer))
            if refused is None and reference is not None:
                self._books.note(reference, outgoing.transaction.transaction_id)
                return self._dated(outgoing, Verdict(_DONE, status=answer.status, reference=reference))
            title = "The vendor's answer does not show the receipt."
            strange = Verdict(_RETRY, "vendor.unreadable", answer.status, title, alone=True)
            if refused is None and outgoing.maybe_received:
                # Neither its answers nor its books tell: each repetition may be one receipt more.
                return self._doubtful(_NOT_SHOWN) or strange
            verdict = refused or strange
        if verdict.kind is _RETRY and not verdict.not_received and customer is None:
            doubtful = self._doubtful(_OF_NOBODY)
            if doubtful is not None:
                return replace(doubtful, status=verdict.status, reached=verdict.reached, after_s=verdict.after_s)
        return verdict

    def _doubtful(self, unclear: Unclear) -> Verdict | None:
        """What `on_doubt` makes of a sale that may have arrived; None when it goes out again."""
        if self._settings.on_doubt == "resend":
            return None
        if self._settings.on_doubt == "drop":
            return _DROPPED
        return replace(_IN_DOUBT, title=f"It may have arrived, and the customer's receipts {unclear.why}.")

    def _dated(self, outgoing: Outgoing, verdict: Verdict) -> Verdict:
        return with_lost_time(verdict, outgoing, self._clock.now())


async def _before_sending(question: Awaitable[T]) -> T | Verdict:
    """What is known, or what it means that it cannot be: this attempt has sent no receipt."""
    try:
        return await question
    except VendorUnreachableError as error:
        return replace(verdict_without_answer(error), not_received=True, alone=error.maybe_received)
    except VendorRefusedError as error:
        return verdict_without_key(error)
