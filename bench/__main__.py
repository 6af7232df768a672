"""`python -m bench [NAME ...]`: runs benches, prints a table, writes `bench/out/results.json`.

With `--report` the table also goes into docs/performance.md, between its two marks.
"""

import argparse
import importlib
import json
import os
import platform
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.members import OUT
from bench.runs import Run
from bench.table import Row, for_markdown, for_terminal

REPORT = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
BENCHES = {
    "first_load": "replica:first_load",
    "delta": "replica:delta",
    "accept": "accept:run",
    "identify": "identify:run",
    "encryption": "encryption:run",
    "drain": "drain:run",
    "backlog": "backlog:run",
    "start": "start:run",
    "footprint": "footprint:run",
    "demo": "demo:run",
}


def main() -> int:
    """Runs what was asked for; the exit status says whether every bench came to its end, not whether goals were met."""
    options = _options()
    OUT.mkdir(exist_ok=True)
    run = Run(options.scale, options.seconds, options.repeats, options.sales)
    rows: list[Row] = []
    loads, failed = [], []
    for name in options.names or BENCHES:
        print(f"{name} ...", flush=True)
        loads.append(os.getloadavg()[0])
        started = time.perf_counter()
        try:
            rows += list(_bench(name)(run))
        except Exception as error:  # noqa: BLE001 - the others still have something to say
            failed.append(name)
            print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr)
        print(f"  {time.perf_counter() - started:.0f} s, load average {loads[-1]:.1f} before it", flush=True)
    about = _about(run, loads)
    print("\n" + for_terminal(rows))
    document = {"about": about, "rows": [{**asdict(row), "ratio": row.ratio, "verdict": row.verdict} for row in rows]}
    (OUT / "results.json").write_text(json.dumps(document, indent=1) + "\n")
    if options.report:
        _report(rows, about)
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Each figure beside its limit in the same run."
    )
    parser.add_argument("names", nargs="*", choices=[*BENCHES, []], metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--scale", type=int, default=Run.members, help="members in the replica (default %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=Run.seconds, help="of load a measurement (default %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=Run.repeats, help="whose median counts (default %(default)s)")
    parser.add_argument("--sales", type=int, default=Run.sales, help="that drain works off (default %(default)s)")
    parser.add_argument("--report", action="store_true", help="write the table into docs/performance.md")
    return parser.parse_args()


def _bench(name: str) -> Callable[[Run], Iterable[Row]]:
    module, _, function = BENCHES[name].partition(":")
    found: Callable[[Run], Iterable[Row]] = getattr(importlib.import_module(f"bench.{module}"), function)
    return found


def _about(run: Run, loads: list[float]) -> dict[str, Any]:
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "agent": version("loyalty-agent"),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "uvicorn": version("uvicorn"),
        "cores": os.cpu_count(),
        "load_average": [round(load, 1) for load in loads],
        "run": asdict(run),
    }


def _report(rows: list[Row], about: dict[str, Any]) -> None:
    head, _, rest = REPORT.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    loads = about["load_average"]
    facts = (
        f"{about['measured_at'][:10]}, {about['cores']} cores, Python {about['python']}, uvicorn {about['uvicorn']}, "
        f"{about['run']['members']:,} members; load average before each bench {min(loads)} to {max(loads)}."
    )
    REPORT.write_text(f"{head}{BEGIN}\n{facts}\n\n{for_markdown(rows)}\n{END}{tail}")


if __name__ == "__main__":
    sys.exit(main())
