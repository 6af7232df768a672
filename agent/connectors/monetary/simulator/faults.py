"""What can go wrong with single receipts, beside the faults of the line."""

from dataclasses import dataclass
from typing import ClassVar

from agent.connectors.simulation.line import LineFault


@dataclass(kw_only=True)
class Fault(LineFault):
    """One fault, met by requests whose method and path fit, or with `poison` by a receipt with a line of one SKU.

    Attributes:
        sku: Of `poison`: a receipt with such a line is answered with 400.
    """

    kinds: ClassVar[tuple[str, ...]] = (*LineFault.kinds, "poison")

    sku: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.kind == "poison") is (self.sku is None):
            raise ValueError("poison names a sku, the other faults do not")
