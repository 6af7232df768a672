"""What can go wrong with single batches, beside the faults of the line."""

from dataclasses import dataclass
from typing import Any, ClassVar

from agent.connectors.simulation.line import LineFault

BATCH_KINDS = ("poison", "lose")


@dataclass(kw_only=True)
class Fault(LineFault):
    """One fault, met by requests whose method and path fit, or by single batches.

    Of a bulk request, `half` takes the first half of its batches and cuts the line before an answer. Of single batches,
    `poison` draws 400 for the whole request that one is in, `lose` accepts one and never processes it.

    Attributes:
        transaction_id: Of a batch's fault: meets batches that tell of this transaction.
    """

    kinds: ClassVar[tuple[str, ...]] = (*LineFault.kinds, "half", *BATCH_KINDS)

    transaction_id: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.kind in BATCH_KINDS) is (self.transaction_id is None):
            raise ValueError("poison and lose name a transaction_id, the other faults do not")


def transactions(batch: Any) -> set[str]:
    """The ids of the transactions that a batch tells of; none of what is no batch."""
    found = set()
    for event in _of(batch, "events", list):
        data = _of(event, "data", dict)
        told = _of(data, "product_action", dict) or _of(data, "custom_attributes", dict)
        found.add(str(told.get("transaction_id")))
    return found


def _of(parent: Any, name: str, kind: type[Any]) -> Any:
    value = parent.get(name) if isinstance(parent, dict) else None
    return value if isinstance(value, kind) else kind()
