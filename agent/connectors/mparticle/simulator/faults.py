"""What can go wrong with single batches, beside the faults of the line."""

from dataclasses import dataclass
from typing import Any, ClassVar

from agent.connectors.simulation.records import RecordFault


@dataclass(kw_only=True)
class Fault(RecordFault):
    """One fault, met by requests whose method and path fit, or by the batches of one transaction or activity.

    Of single batches, `poison` draws 400 for the whole request that one is in, `lose` accepts one and never processes
    it.

    Attributes:
        transaction_id: Of a batch's fault: meets batches that tell of this transaction, or of the activity of this id.
    """

    record_kinds: ClassVar[tuple[str, ...]] = ("poison", "lose")
    kinds: ClassVar[tuple[str, ...]] = (*RecordFault.kinds, "half", *record_kinds)
    named_by: ClassVar[str] = "transaction_id"

    transaction_id: str | None = None


def transactions(batch: Any) -> set[str]:
    """The ids of the transactions and activities that a batch tells of; none of what is no batch."""
    found = set()
    for event in _of(batch, "events", list):
        data = _of(event, "data", dict)
        told = _of(data, "product_action", dict) or _of(data, "custom_attributes", dict)
        found.add(str(told.get("activity_id", told.get("transaction_id"))))
    return found


def _of(parent: Any, name: str, kind: type[Any]) -> Any:
    value = parent.get(name) if isinstance(parent, dict) else None
    return value if isinstance(value, kind) else kind()
