"""Which sales Antavo takes at all. Pure."""

from __future__ import annotations

from agent.connectors.antavo.mapping import is_free, is_void, returned
from agent.domain.delivery import Verdict, VerdictKind
from agent.ports import Outgoing

_NO_ORIGINAL = Verdict(
    VerdictKind.PARK, "sale.without_original", not_received=True,
    title="Something was given back of a sale that is not named: the vendor takes no such return.",
)  # fmt: skip
_NO_LINES = Verdict(VerdictKind.PARK, "sale.without_lines", title="The sale has no lines.", not_received=True)
_RETURNS_STAY = Verdict(
    VerdictKind.PARK, "sale.not_clearable", not_received=True,
    title="What the sale to be cleared gave back cannot be taken again at the vendor.",
)  # fmt: skip
_FREE = Verdict(VerdictKind.DONE, title="What was given back had cost nothing: the vendor has nothing to refund.")


def unsendable(outgoing: Outgoing) -> Verdict | None:
    """Why there is nothing that Antavo would take."""
    sale, original = outgoing.transaction, outgoing.original
    if is_free(sale) or (original is not None and is_free(original)):
        return _FREE
    if is_void(sale):
        return _RETURNS_STAY if original is not None and returned(original) else None
    if returned(sale) and sale.original_transaction_id is None:
        return _NO_ORIGINAL
    return None if sale.lines else _NO_LINES
