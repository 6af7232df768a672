"""What can go wrong with single orders, beside the faults of the line."""

from dataclasses import dataclass
from typing import ClassVar

from agent.connectors.simulation.line import LineFault


@dataclass(kw_only=True)
class Fault(LineFault):
    """One fault, met by requests whose method and path fit, or with `poison` by an order of one `source_id`.

    Attributes:
        source_id: Of `poison`: writing this order is answered with 400.
    """

    kinds: ClassVar[tuple[str, ...]] = (*LineFault.kinds, "poison")

    source_id: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.kind == "poison") is (self.source_id is None):
            raise ValueError("poison names a source_id, the other faults do not")
