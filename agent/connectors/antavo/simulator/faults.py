"""What can go wrong with single events, beside the faults of the line."""

from dataclasses import dataclass
from typing import Any, ClassVar

from agent.connectors.simulation.records import RecordFault


@dataclass(kw_only=True)
class Fault(RecordFault):
    """One fault, met by requests whose method and path fit, or by the events of one transaction.

    Attributes:
        transaction_id: of `poison`: whose events are refused.
        code: of `poison`: the vendor's number.
    """

    record_kinds: ClassVar[tuple[str, ...]] = ("poison",)
    kinds: ClassVar[tuple[str, ...]] = (*RecordFault.kinds, "half", *record_kinds)
    named_by: ClassVar[str] = "transaction_id"

    transaction_id: str | None = None
    code: int = 160216


def transaction_of(event: Any) -> str | None:
    """The transaction that an event tells of."""
    data = event.get("data") if isinstance(event, dict) else None
    told = data.get("transaction_id") if isinstance(data, dict) else None
    return told if isinstance(told, str) else None
