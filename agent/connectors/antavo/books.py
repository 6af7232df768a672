"""What is on Antavo's books: whether something can still be given back or cleared, and whose a transaction is.

Sources: the Transactions API's page, which lists no customer among a transaction's members: whose it is is told by
asking for the customer's own. That `refunded` is an amount, and the form of a list, are inferred.
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any

from agent.connectors.antavo.client import AntavoClient
from agent.connectors.antavo.customers import text_of
from agent.connectors.antavo.errors import COLLISION, STRANGE, UNREADABLE, error_in, trouble_of, verdict_of_error
from agent.domain.delivery import Verdict, VerdictKind
from agent.errors import VendorUnreachableError
from agent.transport import Answer

_NOT_FOUND, _NO_NUMBER = 404, 0
_NOT_ON_THE_BOOKS = Verdict(
    VerdictKind.PARK, "sale.without_original", title="The vendor has no such earlier sale.", not_received=True
)
_MAYBE_GIVEN_BACK = Verdict(
    VerdictKind.IN_DOUBT, "sale.maybe_given_back",
    title="It may have arrived, something of the earlier sale was given back, and the vendor would count it again.",
)  # fmt: skip
_ALREADY = Verdict(VerdictKind.DUPLICATE)
_SAME = Decimal("0.005")


class AntavoBooks:
    """Reads the books.

    Every call raises VendorUnreachableError and VendorRefusedError.

    Args:
        client: the workspace.
    """

    def __init__(self, client: AntavoClient) -> None:
        self._client = client

    async def status(self, transaction_id: str) -> str | Verdict:
        """How a transaction stands, or what it means that it cannot be seen."""
        found = await self._transaction(transaction_id)
        return found if isinstance(found, Verdict) else str(found["status"])

    async def nothing_given_back(self, transaction_id: str) -> Verdict | None:
        """None when the books show that nothing of a sale was given back yet."""
        found = await self._transaction(transaction_id)
        if isinstance(found, Verdict):
            return found
        untouched = found["status"] in ("accepted", "pending") and _is(found.get("refunded", "unsaid"), Decimal(0))
        return None if untouched else _MAYBE_GIVEN_BACK

    async def whose(self, transaction_id: str, customer: str, total: Decimal, *, field: str = "") -> Verdict:
        """What it means that an id is in use: `duplicate` when it is this customer's sale of this total.

        Args:
            transaction_id: the id.
            customer: their id, or the value of an external one.
            total: of the sale that was refused for it.
            field: the external id's; empty for the customer's own.
        """
        answer = await self._client.transactions_of(customer, transaction_id, field=field)
        body = _read(answer)
        if isinstance(body, Verdict):
            return replace(COLLISION, status=body.status) if body.kind is VerdictKind.PARK else body
        rows = body.get("data") if isinstance(body, dict) and "data" in body else body
        rows = [rows] if isinstance(rows, dict) else rows
        if rows is not None and not isinstance(rows, list):
            return replace(STRANGE, status=answer.status)
        own = [row for row in rows or () if isinstance(row, dict) and text_of(row.get("id")) == transaction_id]
        agrees = any(_is(row.get("total", "unsaid"), total) for row in own)
        return replace(_ALREADY if agrees else COLLISION, status=answer.status)

    async def _transaction(self, transaction_id: str) -> dict[str, Any] | Verdict:
        answer = await self._client.transaction(transaction_id)
        body = _read(answer)
        if isinstance(body, Verdict):
            return body
        fits = isinstance(body, dict) and isinstance(body.get("status"), str) and _is_of(body, transaction_id)
        return body if fits else replace(STRANGE, status=answer.status)


def _read(answer: Answer) -> Any | Verdict:
    """The JSON of an answer, or what it means that it is none."""
    verdict = trouble_of(answer)
    if verdict is not None:
        return verdict
    try:
        body = answer.json()
    except VendorUnreachableError:
        return UNREADABLE
    error = error_in(body)
    if error is None:
        return body
    if error.code == _NO_NUMBER and answer.status == _NOT_FOUND:  # as documented of these calls
        return replace(_NOT_ON_THE_BOOKS, status=answer.status)
    return verdict_of_error(error, answer.status, maybe_received=False)


def _is_of(row: Mapping[str, Any], transaction_id: str) -> bool:
    """Whether a transaction is the one that was asked for, if it says."""
    return text_of(row.get("id")) in ("", transaction_id)


def _is(amount: Any, other: Decimal) -> bool:
    """Whether an amount, which can be text, or null for nothing, is another."""
    try:
        return abs(Decimal(str(0 if amount is None else amount)) - other) < _SAME
    except InvalidOperation:
        return False
