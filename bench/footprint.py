"""What the agent takes of the till's memory: at rest with a full replica, and after many sales and syncs."""

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from bench import agents, members
from bench.load import press
from bench.processes import free_port, listens, process, rss_mib, wait_until
from bench.runs import Run, python
from bench.table import Goal, Row

SYNCS = 10
CHANGES = 1_000
SALES_S = 10.0
CONNECTIONS = 8


def run(run: Run) -> Iterable[Row]:
    """Rows of `footprint`."""
    vendor = free_port()
    with (
        tempfile.TemporaryDirectory(dir=members.OUT) as feed,
        process(python("bench.sink", str(vendor)), log=members.OUT / "sink.log") as sink,
        agents.loaded(run.members, vendor_port=vendor, feed=members.linked(run.members, Path(feed))) as at,
        agents.running(at, inside=True) as till,
    ):
        wait_until(lambda: listens(vendor), child=sink)
        till.wait_for_sync(0.0)
        yield Row(
            "footprint", f"memory at rest, {run.members:,} members", "MiB", _at_rest(till), None, Goal("<=", 65.0)
        )
        # What one round of everything brings in stays (caches, pools); what the next round adds is growth.
        sold = _round(till, run, Path(feed), 1)
        before = _at_rest(till)
        sold = _round(till, run, Path(feed), 2)
        after = _at_rest(till)
        yield Row(
            "footprint",
            f"memory after {sold:,.0f} more sales and {SYNCS} more syncs",
            "MiB",
            after,
            before,
            Goal("<=", 1.05),
        )


def _round(till: agents.Till, run: Run, feed: Path, number: int) -> float:
    arguments = ("accept", till.place.token, str(run.members), f"{time.time_ns():x}")
    found = press(f"{till.url}/v1/transactions", arguments, connections=CONNECTIONS, seconds=SALES_S)
    for sync in range(SYNCS):
        began = time.time()
        changed = range(sync * CHANGES, (sync + 1) * CHANGES)
        members.write(
            feed / f"202602{18 + number}1015{sync:02d}_0_members.xml",
            "updated",
            (members.record(member % run.members, f"round{number}") for member in changed),
        )
        till.call("POST", "/v1/sync")
        till.wait_for_sync(began)
    return found.rate * SALES_S


def _at_rest(till: agents.Till) -> float:
    time.sleep(1.0)  # what was under way is done
    return rss_mib(till.child.pid)
