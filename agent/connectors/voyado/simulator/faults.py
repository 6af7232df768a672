"""What can go wrong on the way to Engage and inside it, switched on and off by whoever tests against it.

Nothing here acts by itself: the gate asks which fault a request meets, the receipt desk which receipt is poisoned, the
export which file to spoil.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, cast, get_args

from agent.connectors.simulation.line import LineFault, met

FileFault = Literal["truncated", "missing_part", "duplicate", "reordered", "wrong_encoding"]


@dataclass(kw_only=True)
class Fault(LineFault):
    """One fault, met by requests whose method and path fit, or by single receipts.

    Of single receipts, `poison` refuses one for ever, `lose` accepts and never imports it, without a word in the log,
    `double` imports it twice. ``status`` is then that of `poison`; 0 stands for 422.

    Attributes:
        receipt_id: Of a receipt's fault: meets the receipt with this `uniqueReceiptId`.
        sku: Of a receipt's fault: meets receipts with this article on a line.
        predicate: Of a receipt's fault: meets receipts for which this is true; in-process only.
    """

    record_kinds: ClassVar[tuple[str, ...]] = ("poison", "lose", "double")
    kinds: ClassVar[tuple[str, ...]] = (*LineFault.kinds, *record_kinds)

    receipt_id: str | None = None
    sku: str | None = None
    predicate: Callable[[dict[str, Any]], bool] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind == "poison":
            self.status = self.status or 422
        if self.kind in self.record_kinds and self.receipt_id is None and self.sku is None and self.predicate is None:
            raise ValueError(f"a {self.kind} fault names a receipt_id, a sku or a predicate")

    def fits(self, receipt: dict[str, Any]) -> bool:
        """Whether the receipt meets this fault."""
        return (
            (self.receipt_id is not None and receipt["uniqueReceiptId"] == self.receipt_id)
            or (self.sku is not None and any(item["sku"] == self.sku for item in receipt["items"]))
            or (self.predicate is not None and self.predicate(receipt))
        )


class Faults:
    """Every fault that is switched on.

    Attributes:
        rules: Faults that requests meet; the first that fits is met, latency comes on top.
        receipts: Faults that single receipts meet.
        files: For each fault of an export file, how many coming exports meet it.
        upper_case_guids: Contact ids are written in capitals, in files and answers.
        trailing_blanks: Phone numbers are followed by a blank, in files and answers.
        clock_skew_s: How far the `Date` header is ahead of the tenant's clock.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Switch everything off."""
        self.rules: list[Fault] = []
        self.receipts: list[Fault] = []
        self.files: Counter[str] = Counter()
        self.upper_case_guids = False
        self.trailing_blanks = False
        self.clock_skew_s = 0.0

    def add(self, fault: Fault) -> Fault:
        """Switch a fault on, and return it for a later `remove`."""
        (self.receipts if fault.kind in fault.record_kinds else self.rules).append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Switch one fault off."""
        (self.receipts if fault.kind in fault.record_kinds else self.rules).remove(fault)

    def spoil_next_export(self, fault: FileFault, runs: int = 1) -> None:
        """Let the coming exports suffer from a fault of their files."""
        self.files[check_file_fault(fault)] += runs

    def take_file(self, fault: FileFault) -> bool:
        """Whether this export suffers from the fault; counts it when it does."""
        if not self.files[fault]:
            return False
        self.files[fault] -= 1
        return True

    def meet(self, method: str, path: str) -> tuple[float, Fault | None]:
        """The seconds a request waits, and the fault it then meets."""
        return met(self.rules, method, path)

    def of_receipt(self, receipt: dict[str, Any], *kinds: str) -> Fault | None:
        """The first fault of these kinds that the receipt meets."""
        return next((fault for fault in self.receipts if fault.kind in kinds and fault.fits(receipt)), None)

    def guid(self, value: str) -> str:
        """A contact id as this tenant writes it."""
        return value.upper() if self.upper_case_guids else value

    def phone(self, value: str) -> str:
        """A phone number as this tenant writes it."""
        return value + " " if self.trailing_blanks else value

    def describe(self) -> dict[str, Any]:
        """Everything that is switched on, as JSON."""
        return {
            "rules": [_as_json(fault) for fault in (*self.rules, *self.receipts)],
            "files": dict(+self.files),
            "upper_case_guids": self.upper_case_guids,
            "trailing_blanks": self.trailing_blanks,
            "clock_skew_s": self.clock_skew_s,
        }


def check_file_fault(name: str) -> FileFault:
    """The name, known to be one of a file's faults.

    Raises:
        ValueError: It is not.
    """
    for known in get_args(FileFault):
        if name == known:
            return cast("FileFault", known)
    raise ValueError(f"no such fault of a file: {name!r}")


def _as_json(fault: Fault) -> dict[str, Any]:
    members = asdict(fault)
    members["predicate"] = members["predicate"] is not None
    return members
