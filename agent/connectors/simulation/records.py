"""What can go wrong with single records at a simulated vendor, beside the faults of the line."""

from dataclasses import dataclass
from typing import ClassVar

from agent.connectors.simulation.line import LineFault


@dataclass(kw_only=True)
class RecordFault(LineFault):
    """One fault, met by requests whose method and path fit, or by one record.

    A vendor adds the kinds that its records meet, and the attribute that names a record.

    Attributes:
        named_by: Which attribute that is. A fault of single records needs it, any other has none.
    """

    named_by: ClassVar[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.kind in self.record_kinds) is (self.record is None):
            kinds = " and ".join(self.record_kinds)
            raise ValueError(f"a {self.named_by} goes with {kinds}, and with no other fault")

    @property
    def record(self) -> str | None:
        """The record that it is about."""
        record: str | None = getattr(self, self.named_by)
        return record
