"""What can go wrong with single orders, beside the faults of the line."""

from dataclasses import dataclass
from typing import ClassVar

from agent.connectors.simulation.records import RecordFault


@dataclass(kw_only=True)
class Fault(RecordFault):
    """One fault, met by requests whose method and path fit, or by writing one order.

    Attributes:
        source_id: Of `poison`: writing this order is answered with 400.
    """

    record_kinds: ClassVar[tuple[str, ...]] = ("poison",)
    kinds: ClassVar[tuple[str, ...]] = (*RecordFault.kinds, *record_kinds)
    named_by: ClassVar[str] = "source_id"

    source_id: str | None = None
