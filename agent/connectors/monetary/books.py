"""What is on Monetary's books of a customer: whether a sale that may have arrived is among their receipts.

A receipt has no name of ours and no time. With `mark_receipts` each says which sale it is of, and nothing has to be
guessed. Without it a receipt of the same goods and sums is looked for that is no other sale's: one whose id is not
recorded here for a sale that was delivered. One is this sale; none is none; several cannot be told apart.

The list is taken to be whole, which no page says. One that is as long as pages usually are may be the first of several,
and then what is not in it may still be there.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from agent.connectors.monetary.client import MonetaryClient
from agent.connectors.monetary.errors import json_of, raise_unless_answered, trouble_of
from agent.connectors.monetary.mapping import likeness_of, mark_of
from agent.connectors.monetary.people import MonetaryPeople
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.transaction import IntegrationKey
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.ports import Seen

PAGES: Final = frozenset({10, 20, 25, 30, 40, 50, 100, 200, 250, 500, 1000, 2000, 5000, 10_000})
"""How many rows a page of a list usually has."""
_REFERENCE = re.compile(r"[0-9A-Za-z-]{8,64}")
_RECENT = 1_000
_SUCCESS = range(200, 300)


@dataclass(frozen=True, slots=True)
class Unclear:
    """The books do not tell. ``why`` goes on from "the customer's receipts"."""

    why: str


class MonetaryBooks:
    """Reads customers' receipts.

    Args:
        client: the location's account.
        taken: which of some receipts are recorded here for a sale that was delivered.
        marked: whether receipts name their sales.
    """

    def __init__(
        self, client: MonetaryClient, *, taken: Callable[[Collection[str]], Collection[str]], marked: bool
    ) -> None:
        self._client, self._taken, self._marked = client, taken, marked
        self._answered: deque[str] = deque(maxlen=_RECENT)
        """Receipts given to a sale that may not be on disk yet."""

    def note(self, reference: str) -> None:
        """A receipt is some sale's from now on."""
        self._answered.append(reference)

    async def find(self, customer_id: int, transaction_id: str, receipt: Mapping[str, Any]) -> Verdict | Unclear | None:
        """`duplicate` when the sale is on the books, None when it is not; another verdict when they cannot be read.

        Args:
            customer_id: whose receipts.
            transaction_id: the sale.
            receipt: as it would be sent.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
            StorageError: what is recorded here cannot be read.
        """
        answer = await self._client.receipts_of(customer_id)
        trouble = trouble_of(answer)
        if trouble is not None:
            return trouble
        shown = read_receipts(json_of(answer)) if answer.status in _SUCCESS else None
        if shown is None:
            return Unclear("cannot be read")
        if self._marked:
            same = [name for name, one in shown if mark_of(one) == transaction_id]
        else:
            wanted, others = likeness_of(receipt), [(name, likeness_of(one)) for name, one in shown]
            if any(other is None for _, other in others):
                return Unclear("have a form that is not understood")
            alike = [name for name, other in others if other == wanted]
            known = {*self._taken(alike), *self._answered}
            same = [name for name in alike if name not in known]
        if not same:
            return Unclear("may not all have been shown") if len(shown) in PAGES else None
        if len(same) > 1 and not self._marked:
            return Unclear("show several of the same goods that are no other sale's")
        self.note(same[0])
        return Verdict(VerdictKind.DUPLICATE, status=answer.status, reference=same[0])


class MonetaryHistory:
    """Counts marked receipts of members, for the day-end check.

    Args:
        client: the location's account.
        people: finds customers; it makes none.
    """

    settles_s = 15 * 60.0
    """No page says how soon a receipt shows."""

    def __init__(self, client: MonetaryClient, people: MonetaryPeople) -> None:
        self._client, self._people = client, people

    async def count(
        self, key: IntegrationKey, transaction_ids: Collection[str], *, pace: Callable[[], Awaitable[None]]
    ) -> Seen:
        """How often each of these sales is among the member's receipts.

        Raises:
            VendorUnreachableError: no sensible answer came.
            VendorRefusedError: our key is refused.
        """
        await pace()
        customer = await self._people.resolve(key, None)
        if isinstance(customer, Verdict):
            if customer.kind is VerdictKind.HOLD:
                raise VendorRefusedError
            if customer.kind is VerdictKind.RETRY:
                raise VendorUnreachableError(customer.title, retry_after_s=customer.after_s)
            return Seen({}, whole=False)
        await pace()
        answer = await self._client.receipts_of(customer)
        shown = read_receipts(raise_unless_answered(answer))
        if shown is None:
            return Seen({}, whole=False)
        marks = [mark_of(receipt) for _, receipt in shown]
        counts = Counter(mark for mark in marks if mark in transaction_ids)
        return Seen({str(name): times for name, times in counts.items()}, None not in marks and len(shown) not in PAGES)


def reference_of(receipt: Any) -> str | None:
    """Monetary's name of a receipt; None where it has none that could be one."""
    if not isinstance(receipt, Mapping):
        return None
    value = next((member for name, member in receipt.items() if str(name).lower() == "receiptid"), None)
    return value if isinstance(value, str) and _REFERENCE.fullmatch(value) else None


def read_receipts(body: Any) -> list[tuple[str, Mapping[str, Any]]] | None:
    """The receipts of a list, each once, with its name; None when it is no list of receipts."""
    if not isinstance(body, list):
        return None
    shown: dict[str, Mapping[str, Any]] = {}
    for receipt in body:
        name = reference_of(receipt)
        if name is None:
            return None
        shown.setdefault(name, receipt)
    return list(shown.items())
