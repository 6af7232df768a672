"""Taking sales: the agent beside a bare server that only stores them, both waiting for the disk.

The vendor is down, so intake alone is measured; each sale is checked, tagged from the replica, encrypted and on disk
before its 202.
"""

import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from bench import agents, members
from bench.load import Load, in_turns, press
from bench.processes import free_port, listens, process, rss_mib, wait_until
from bench.runs import Run, python
from bench.table import Goal, Row

CONNECTIONS = (1, 8)


def run(run: Run) -> Iterable[Row]:
    """Rows of `accept`."""
    port = free_port()
    yield Row("accept", "append + fdatasync of 4 KiB, the disk alone", "1/s", _appends_a_second())
    with (
        tempfile.TemporaryDirectory(dir=members.OUT) as folder,
        process(
            python("bench.reference", "accept", f"{folder}/sales.db", str(port)), log=members.OUT / "reference.log"
        ) as bare,
        agents.loaded(run.members) as at,
        agents.running(at) as till,
    ):
        wait_until(lambda: listens(port), child=bare)
        till.wait_for_sync(0.0)

        def ours() -> Load:
            return _press(f"{till.url}/v1/transactions", at.token, run, connections)

        def reference() -> Load:
            return _press(f"http://127.0.0.1:{port}/", "none", run, connections)

        for connections in CONNECTIONS:
            limit, found = in_turns(run.repeats, reference, ours)
            where = f"{connections} connection{'s' if connections > 1 else ''}"
            alone = connections == 1
            yield Row("accept", f"sales, {where}", "1/s", found.rate, limit.rate, None if alone else Goal(">=", 0.65))
            yield Row("accept", f"p50, {where}", "ms", found.p50_ms, limit.p50_ms, Goal("<=", 1.4) if alone else None)
            yield Row("accept", f"p99, {where}", "ms", found.p99_ms, limit.p99_ms, None if alone else Goal("<=", 2.0))
        yield Row("accept", "memory after it", "MiB", rss_mib(till.child.pid), rss_mib(bare.pid))


def _press(url: str, token: str, run: Run, connections: int) -> Load:
    word = f"1042-03-{time.time_ns():x}"
    return press(url, ("accept", token, str(run.members), word), connections=connections, seconds=run.seconds)


def _appends_a_second() -> float:
    with tempfile.TemporaryDirectory(dir=members.OUT) as folder:
        handle = os.open(Path(folder) / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        block, count = bytes(4096), 0
        started = time.perf_counter()
        while time.perf_counter() - started < 1.0:
            os.write(handle, block)
            os.fdatasync(handle)
            count += 1
        elapsed_s = time.perf_counter() - started
        os.close(handle)
    return count / elapsed_s
