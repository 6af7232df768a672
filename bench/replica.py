"""Filling the replica: the rows of `first_load` and `delta`, from one run of :mod:`bench.first_load`."""

import json
import subprocess
from collections.abc import Iterable
from functools import lru_cache

from bench import members
from bench.runs import Run, python
from bench.table import Goal, Row


def first_load(run: Run) -> Iterable[Row]:
    """Rows of `first_load`."""
    found = _figures(run.members)
    what = f"{run.members:,} members; limit: reading them in one process"
    yield Row("first_load", what, "s", found["first_load_s"], found["reading_alone_s"], Goal("<=", 1.4))
    yield Row("first_load", "peak memory of all processes", "MiB", found["peak_rss_mib"], None, Goal("<=", 300.0))


def delta(run: Run) -> Iterable[Row]:
    """Rows of `delta`."""
    found = _figures(run.members)
    what = f"10,000 changes into {run.members:,}; limit: reading and a bare upsert"
    yield Row("delta", what, "s", found["delta_visible_s"], found["delta_limit_s"], Goal("<=", 1.6))
    yield Row("delta", "from the file being taken to look-ups", "s", found["delta_visible_s"], None, Goal("<=", 1.0))
    yield Row("delta", "the same with the loader's own start", "s", found["delta_s"])


@lru_cache(maxsize=1)
def _figures(count: int) -> dict[str, float]:
    folder = members.OUT / f"load-{count}"
    command = python("bench.first_load", "--members", str(count), "--folder", str(folder))
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(said, end="")
    figures: dict[str, float] = json.loads(said.strip().rpartition("\n")[2])
    return figures
