"""What is on Monetary's books of a customer: whether a sale that may have arrived is among their receipts.

A receipt has no name of ours and no time. With `mark_receipts` each says which sale it is of, and nothing has to be
guessed. Without it a receipt of the same goods and sums is looked for that is no other sale's: one whose id is not
recorded here for a sale that was delivered. One is this sale, where everything else is known here: among receipts of
other tills it may be one of theirs. None is none; several cannot be told apart, and neither can one that names no sale
where all should.

The list is taken to be whole, which no page says. One that is as long as pages usually are may be the first of several,
and then what is not in it may still be there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent.connectors.monetary.client import MonetaryClient
from agent.connectors.monetary.errors import json_of, raise_unless_answered, trouble_of
from agent.connectors.monetary.mapping import Likeness, likeness_of, mark_of
from agent.connectors.monetary.people import MonetaryPeople
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.transaction import IntegrationKey
from agent.errors import VendorRefusedError, VendorUnreachableError
from agent.ports import Seen

PAGES: Final = frozenset({10, 20, 25, 30, 40, 50, 100, 200, 250, 500, 1000, 2000, 5000, 10_000})
"""How many rows a page of a list usually has."""
_REFERENCE = re.compile(r"[0-9A-Za-z-]{16,64}")
"""The readme's have 32 digits; what is shorter could be a phone number."""
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
        self._given: dict[str, str] = {}
        """The sale of each of the latest receipts: what is recorded of them may not be on disk yet."""

    def note(self, reference: str, transaction_id: str) -> None:
        """A receipt is this sale's from now on."""
        self._given[reference] = transaction_id
        if len(self._given) > _RECENT:
            del self._given[next(iter(self._given))]

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
        trouble = trouble_of(answer, named=True)
        if trouble is not None:
            return trouble
        shown = read_receipts(json_of(answer)) if answer.status in _SUCCESS else None
        if shown is None:
            return Unclear("cannot be read")
        found = self._among(shown, transaction_id, likeness_of(receipt))
        if not isinstance(found, str):
            return found
        self.note(found, transaction_id)
        return Verdict(VerdictKind.DUPLICATE, status=answer.status, reference=found)

    def _among(
        self, shown: Sequence[tuple[str, Mapping[str, Any]]], transaction_id: str, wanted: Likeness | None
    ) -> str | Unclear | None:
        """The sale's receipt. One that names a sale is that sale's, whatever the configuration says now."""
        marked = {name: mark_of(receipt) for name, receipt in shown}
        own = next((name for name, mark in marked.items() if mark == transaction_id), None)
        if own is not None:
            return own
        unnamed = {name: likeness_of(receipt) for name, receipt in shown if marked[name] is None}
        if None in unnamed.values():
            return Unclear("have a form that is not understood")
        alike = self._nobodys([name for name, likeness in unnamed.items() if likeness == wanted], transaction_id)
        others = [name for name in unnamed if name not in alike]
        if len(alike) == 1 and not self._marked and not self._nobodys(others, transaction_id):
            return alike[0]
        if alike:
            return Unclear("show the same goods in a way that does not tell whose they are")
        return Unclear("may not all have been shown") if len(shown) in PAGES else None

    def _nobodys(self, names: list[str], transaction_id: str) -> list[str]:
        """Those of some receipts that are no other sale's."""
        taken = self._taken(names) if names else ()
        return [name for name in names if name not in taken and self._given.get(name, transaction_id) == transaction_id]


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
        shown = read_receipts(raise_unless_answered(answer, named=True))
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
