"""How large and how long a run is."""

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """The measure of a run.

    Attributes:
        members: how many contacts the replica holds.
        seconds: of load a measurement.
        repeats: measurements whose median counts.
        sales: how many a bench queues that works a queue off.
    """

    members: int = 1_000_000
    seconds: float = 3.0
    repeats: int = 3
    sales: int = 20_000


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our own modules."""
    return [sys.executable, "-m", module, *arguments]
