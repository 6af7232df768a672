"""Working off a queue once the vendor is back: to a local sink, with no share of an allowance to keep."""

import asyncio
import time
from collections.abc import Iterable

import httpx
import uvloop

from agent.connectors.voyado import CONNECTIONS
from bench import agents, members, queue
from bench.processes import free_port, listens, process, wait_until
from bench.runs import Run, python
from bench.table import Goal, Row


def run(run: Run) -> Iterable[Row]:
    """Rows of `drain`."""
    port = free_port()
    with agents.loaded(run.members, vendor_port=port) as at:
        queue.fill(at, run.sales)
        with process(python("bench.sink", str(port)), log=members.OUT / "sink.log") as sink:
            wait_until(lambda: listens(port), child=sink)
            limit = uvloop.run(_post(port, run.sales, CONNECTIONS))
            with agents.running(at, inside=True) as till:
                depth = _depth(till)
                started = time.perf_counter()
                wait_until(lambda: _depth(till) == 0, child=till.child, within_s=300.0, every_s=0.1)
                ours = depth / (time.perf_counter() - started)
    what = f"{run.sales:,} sales, one a request, {CONNECTIONS} connections"
    yield Row("drain", what, "1/s", ours, limit, Goal(">=", 0.8))


def _depth(till: agents.Till) -> int:
    _, status = till.call("GET", "/v1/status")
    depth: int = status["queue"]["depth"]
    return depth


async def _post(port: int, count: int, connections: int) -> float:
    """Ready-made bodies a second through httpx."""
    body, left = queue.sale(0), count
    headers = {"Content-Type": "application/json", "apikey": "made-up"}
    limits = httpx.Limits(max_connections=connections)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, trust_env=False) as client:

        async def work() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                answer = await client.post("/receipts", content=body, headers=headers)
                answer.raise_for_status()

        started = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(connections)))
        return count / (time.perf_counter() - started)
