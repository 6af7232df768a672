"""What can go wrong with single events, beside the faults of the line."""

from dataclasses import dataclass
from typing import Any, ClassVar

from agent.connectors.simulation.line import LineFault

EVENT_KINDS = ("poison",)


@dataclass(kw_only=True)
class Fault(LineFault):
    """One fault, met by requests whose method and path fit, or by single events.

    Of a bulk request, `half` processes the first half of its events and cuts the line before an answer. `poison`
    refuses the events of one transaction.

    Attributes:
        transaction_id: of `poison`: whose events are refused.
        code: of `poison`: the vendor's number.
    """

    kinds: ClassVar[tuple[str, ...]] = (*LineFault.kinds, "half", *EVENT_KINDS)

    transaction_id: str | None = None
    code: int = 160216

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.kind in EVENT_KINDS) is (self.transaction_id is None):
            raise ValueError("poison names a transaction_id, the other faults do not")


def transaction_of(event: Any) -> str | None:
    """The transaction that an event tells of."""
    data = event.get("data") if isinstance(event, dict) else None
    told = data.get("transaction_id") if isinstance(data, dict) else None
    return told if isinstance(told, str) else None
