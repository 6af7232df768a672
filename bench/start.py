"""From the command to the first sale that could be taken, with a full replica and a long queue."""

import subprocess
import sys
import time
from collections.abc import Iterable
from statistics import median

from bench import agents, queue
from bench.runs import Run
from bench.table import Goal, Row

STARTS = 7
QUEUED = 100_000
ALONE = "import fastapi, httpx, pydantic"


def run(run: Run) -> Iterable[Row]:
    """Rows of `start`."""
    queued = min(QUEUED, run.members)
    ours, limit = [], []
    with agents.loaded(run.members) as at:
        queue.fill(at, queued)
        for _ in range(STARTS):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", ALONE], check=True)
            limit.append(time.perf_counter() - started)
            started = time.perf_counter()
            with agents.running(at):
                ours.append(time.perf_counter() - started)
    what = f"command to ready, {run.members:,} members, {queued:,} queued"
    yield Row("start", what, "s", median(ours), None, Goal("<=", 0.9))
    yield Row("start", f"the same beside `{ALONE}`", "s", median(ours), median(limit), Goal("<=", 3.0))
