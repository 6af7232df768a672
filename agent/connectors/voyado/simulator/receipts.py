"""The receipt desk: what Engage does with a posted receipt at once, and what its import does with it later.

A 2xx only means that the receipt lies in the inbox. Whether it finds its contact shows at the import, and then only in
the Integration log.
"""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from agent.connectors.voyado.simulator.faults import Faults
from agent.connectors.voyado.simulator.receipt_rules import MATCH_FIELDS, find_errors
from agent.connectors.voyado.simulator.records import Contact
from agent.connectors.voyado.simulator.refusal import Refusal
from agent.connectors.voyado.simulator.rewards import Rewards
from agent.connectors.voyado.simulator.state import State

Outcome = Literal["waiting", "imported", "duplicate", "contact missing", "several contacts", "lost"]


@dataclass(slots=True, kw_only=True)
class Posted:
    """One accepted post of a receipt and what became of it. `body` is the receipt as received."""

    receipt_id: str
    body: bytes
    match_key: str
    match_key_type: str
    contact_type: str | None
    received_at: datetime
    outcome: Outcome = "waiting"
    imported_at: datetime | None = None
    contact_id: str | None = None

    def receipt(self) -> dict[str, Any]:
        """The receipt, parsed."""
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


@dataclass(frozen=True, kw_only=True)
class ReceiptCounts:
    """What has become of the receipts that reached this tenant.

    Attributes:
        received: Accepted posts, repetitions included.
        unique: Different `uniqueReceiptId` among them.
        waiting: Posts in the inbox.
        imported: Receipts that found their contact; no two have the same `uniqueReceiptId`.
        duplicates: Posts ignored at import, the receipt having been imported before.
        unmatched: Posts dropped at import because no contact fitted.
        ambiguous: Posts dropped at import because several contacts fitted.
        lost: Posts that the import swallowed.
        doubled: Receipts that became two purchases.
        refused: Posts answered 400 or 422.
    """

    received: int
    unique: int
    waiting: int
    imported: int
    duplicates: int
    unmatched: int
    ambiguous: int
    lost: int
    doubled: int
    refused: int


class ReceiptDesk:
    """Receives and imports receipts.

    Args:
        state: The tenant's memory.
        rewards: Where imported receipts turn into points.
        faults: Asked for poisoned, lost and doubled receipts.

    Attributes:
        received: Every accepted post, in the order of arrival.
        imported: The imported post of each `uniqueReceiptId`.
        posts: Accepted posts for each `uniqueReceiptId`.
        by_contact: Purchases of each contact id: imported posts, a doubled one twice.
    """

    def __init__(self, state: State, rewards: Rewards, faults: Faults) -> None:
        self._state = state
        self._rewards = rewards
        self._faults = faults
        self.received: list[Posted] = []
        self.imported: dict[str, Posted] = {}
        self.posts: Counter[str] = Counter()
        self.by_contact: dict[str, list[Posted]] = {}
        self._inbox: list[Posted] = []
        self._outcomes: Counter[Outcome] = Counter()
        self._refused = 0

    def accept(self, body: bytes) -> None:
        """Check a posted receipt and put it into the inbox.

        Raises:
            Refusal: 400 when it is not a JSON object, 422 when a field is missing or wrong, or the receipt is poisoned.
        """
        try:
            self._accept(body)
        except Refusal:
            self._refused += 1
            raise

    def _accept(self, body: bytes) -> None:
        try:
            receipt = json.loads(body)
        except ValueError:
            receipt = None
        if not isinstance(receipt, dict) or not receipt:
            raise Refusal(400, "NoData")
        if errors := list(find_errors(receipt, check_totals=self._state.settings.check_totals)):
            raise Refusal(422, "ValidationError", validation=errors)
        if fault := self._faults.of_receipt(receipt, "poison"):
            raise Refusal(fault.status, "ValidationError", validation=["the receipt is not accepted"])
        contact = receipt["contact"]
        posted = Posted(
            receipt_id=receipt["uniqueReceiptId"],
            body=body,
            match_key=contact["matchKey"],
            match_key_type=contact["matchKeyType"],
            contact_type=contact.get("contactType"),
            received_at=self._state.clock.now(),
        )
        self.received.append(posted)
        self.posts[posted.receipt_id] += 1
        self._inbox.append(posted)
        if self._state.settings.receipt_interval_s == 0:
            self.run_import()

    def run_import(self) -> None:
        """Import everything in the inbox."""
        inbox, self._inbox = self._inbox, []
        if inbox:
            self._state.note("receipt xml generated", f"{len(inbox)} receipts")
        for posted in inbox:
            posted.outcome = self._import(posted)
            self._outcomes[posted.outcome] += 1
            if posted.outcome not in ("imported", "lost"):
                self._state.note(f"receipt ignored: {posted.outcome}", posted.receipt_id)

    def _import(self, posted: Posted) -> Outcome:
        if posted.receipt_id in self.imported:
            return "duplicate"
        fault = self._faults.of_receipt(posted.receipt(), "lose", "double")
        if fault is not None and fault.kind == "lose":
            return "lost"
        found = self._match(posted)
        if not found:
            return "contact missing"
        if len(found) > 1:
            choice = self._state.settings.ambiguous
            if choice == "drop":
                return "several contacts"
            found = [found[0] if choice == "first" else found[-1]]
        receipt = posted.receipt()
        posted.imported_at = self._state.clock.now()
        posted.contact_id = found[0].contact_id
        self.imported[posted.receipt_id] = posted
        times = 1 if fault is None else 2
        self.by_contact.setdefault(posted.contact_id, []).extend([posted] * times)
        if receipt["storeExternalId"] not in self._state.stores:
            self._state.open_store(receipt["storeExternalId"], {})
            self._state.note("store created", receipt["storeExternalId"])
        for _ in range(times):
            self._rewards.book_receipt(posted.contact_id, receipt)
        return "imported"

    def _match(self, posted: Posted) -> list[Contact]:
        contact_type = posted.contact_type or "Member"
        for name in MATCH_FIELDS[posted.match_key_type.lower()]:
            scope = None if name == "contactId" else self._state.contact_type(contact_type)
            if found := self._state.find(name, posted.match_key, scope):
                return found
        return []

    def counts(self) -> ReceiptCounts:
        """What has become of every receipt so far."""
        return ReceiptCounts(
            received=len(self.received),
            unique=len(self.posts),
            waiting=len(self._inbox),
            imported=len(self.imported),
            duplicates=self._outcomes["duplicate"],
            unmatched=self._outcomes["contact missing"],
            ambiguous=self._outcomes["several contacts"],
            lost=self._outcomes["lost"],
            doubled=sum(map(len, self.by_contact.values())) - len(self.imported),
            refused=self._refused,
        )
