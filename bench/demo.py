"""How long the demonstration takes; it is what somebody new waits for."""

import subprocess
import time
from collections.abc import Iterable

from bench.processes import BIN
from bench.runs import Run
from bench.table import Goal, Row


def run(_run: Run) -> Iterable[Row]:
    """The row of `demo`."""
    started = time.perf_counter()
    subprocess.run([str(BIN / "loyalty-agent"), "demo"], check=True, capture_output=True)
    yield Row("demo", "a working day with an outage in it", "s", time.perf_counter() - started, None, Goal("<=", 60.0))
