"""Whether a long queue makes the next sale slower or the agent larger: the vendor is down, sales wait."""

import time
from collections.abc import Iterable

from bench import agents, queue
from bench.load import Load, medians, press
from bench.processes import rss_mib
from bench.runs import Run
from bench.table import Goal, Row

CONNECTIONS = 8


def run(run: Run) -> Iterable[Row]:
    """Rows of `backlog`; the limit is the agent's own figure with nothing waiting."""
    rate = memory = None
    with agents.loaded(run.members) as at:
        for waiting in (0, run.members // 10, run.members):
            queue.fill(at, waiting)
            with agents.running(at) as till:
                till.wait_for_sync(0.0)
                found = medians([_press(till, run) for _ in range(run.repeats)])
                held = rss_mib(till.child.pid)
            what = f"sales, {CONNECTIONS} connections, {waiting:,} waiting"
            yield Row("backlog", what, "1/s", found.rate, rate, Goal(">=", 0.85) if rate else None)
            yield Row(
                "backlog", f"memory, {waiting:,} waiting", "MiB", held, memory, Goal("<=", 1.15) if memory else None
            )
            rate, memory = rate or found.rate, memory or held


def _press(till: agents.Till, run: Run) -> Load:
    arguments = ("accept", till.place.token, str(run.members), f"{time.time_ns():x}")
    return press(f"{till.url}/v1/transactions", arguments, connections=CONNECTIONS, seconds=run.seconds)
