"""What can go wrong with single receipts, beside the faults of the line."""

from dataclasses import dataclass
from typing import ClassVar

from agent.connectors.simulation.records import RecordFault


@dataclass(kw_only=True)
class Fault(RecordFault):
    """One fault, met by requests whose method and path fit, or by a receipt with a line of one SKU.

    Attributes:
        sku: Of `poison`: a receipt with such a line is answered with 400.
    """

    record_kinds: ClassVar[tuple[str, ...]] = ("poison",)
    kinds: ClassVar[tuple[str, ...]] = (*RecordFault.kinds, *record_kinds)
    named_by: ClassVar[str] = "sku"

    sku: str | None = None
