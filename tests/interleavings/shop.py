"""A shop: an agent, a vendor and the line between them, and a POS that asks again whenever it got no answer."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import httpx
from interleavings.agents import Agent, InProcess
from interleavings.books import Books
from interleavings.passing import PassingClock, PassingLoop
from ports import kept_port

T = TypeVar("T")

STEP_S = 2.0
"""What a cashier takes for a step."""
QUIET_S = 0.1
"""Nothing is under way any more if the vendor hears nothing new for so long."""
HANGS_FOR_S = 2.0
"""A step of the time that passes where nothing else brings an answer about: a vendor hangs, or an allowance is used."""
MOST_TRIES = 5
"""So often a POS asks again while a contact is on its way in a call."""
TABLES: dict[str, dict[str, Any]] = {
    "replica": {"sync_every": "1h", "contents": "contacts", "fields": ["first_name"]},
    "queue": {"flush_every": "10s", "backoff_first": "1s", "backoff_max": "30s", "reserve_bytes": "64KiB"},
    "http": {"connect_timeout": "10s", "read_timeout": "20s"},
    "benefits": {
        "spend_with": ["contact_id", "member_number", "mobile_phone"],
        "offline": {"voucher": {"amount": "100.00", "currency": "SEK", "per_day": 100, "within": "30d"}},
    },
}


class Shop:
    """One shop, from its opening to its end.

    Args:
        home: a directory of its own.
        books: makes the vendor.
        agent: makes the agent.

    Attributes:
        runs: the agent does.
    """

    def __init__(
        self,
        home: Path,
        books: Callable[[Path, PassingClock, int], Books],
        agent: Callable[[Path, dict[str, dict[str, Any]], PassingLoop], Agent] = InProcess,
    ) -> None:
        self.loop = PassingLoop()
        self.clock = PassingClock(self.loop)
        self._ports = contextlib.ExitStack()
        self.vendor = books(home, self.clock, self._ports.enter_context(kept_port()))
        tables = dict(TABLES)
        for table, values in self.vendor.tables.items():
            tables[table] = {**tables.get(table, {}), **values}
        self.agent = agent(home, tables, self.loop)
        self.runs = False

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """A step, which takes its time; what was under way before it still is, as far as it takes time."""
        self.loop.run_until_complete(self.agent.rests())
        self.pass_by(STEP_S)
        return self.loop.run_until_complete(work)

    def pass_by(self, seconds: float) -> None:
        self.loop.let_pass(seconds)
        self.agent.passed(seconds)

    async def open(self) -> None:
        await self.vendor.line.mend()
        await self.start()

    async def start(self) -> None:
        await self._patiently(self.agent.start())
        self.runs = True

    async def stop(self) -> None:
        """In order, with what is under way."""
        self.runs = False
        await self._patiently(self.agent.stop())
        if self.vendor.line.killed.is_set():  # it was killed while it stopped
            await self._patiently(self.agent.bury())
            self.vendor.line.killed.clear()

    async def kill(self) -> None:
        """At this moment."""
        self.agent.strike()
        self.vendor.line.killed.set()
        await self._rise_again()

    async def close(self) -> None:
        """Whatever still runs ends."""
        self.vendor.line.kills(None)
        self.vendor.line.killed.clear()
        if self.runs:
            await self.stop()
        await self.agent.http.aclose()
        await self.vendor.line.cut()

    def end(self) -> None:
        """Closes everything, whatever came before."""
        self.loop.run_until_complete(self.close())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        self._ports.close()

    async def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """The POS asks until it is answered, and again where it is told to; an agent that dies is started again.

        Where contacts go by calls that take their time, it gives up in the end.
        """
        for tries in itertools.count(1):
            answer = await self._answered(method, path, body)
            if answer.status_code != 409 or answer.json()["code"] != "queue.under_way":
                break
            if self.vendor.in_bulk and tries == MOST_TRIES:
                break
            self.pass_by(HANGS_FOR_S)
            await asyncio.sleep(0)
        return answer

    async def _answered(self, method: str, path: str, body: Any) -> httpx.Response:
        while True:
            if self.vendor.line.killed.is_set():
                await self._rise_again()
            asked = asyncio.ensure_future(self.agent.http.request(method, path, json=body))
            died = asyncio.ensure_future(self.vendor.line.killed.wait())
            try:
                await self._until(asked, died)
                if asked.done() and not died.done():
                    with contextlib.suppress(httpx.TransportError):  # a connection that had idled for too long
                        return asked.result()
            finally:
                for task in (asked, died):
                    task.cancel()
                await asyncio.gather(asked, died, return_exceptions=True)

    async def get(self, path: str) -> Any:
        answer = await self.call("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def status(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.get("/v1/status")
        return found

    async def settles(self, quiet: float = 1.0) -> dict[str, Any]:
        """How it is once nothing is under way: the vendor hears nothing new, and no more is waiting than before.

        Args:
            quiet: how many times as long as usual nothing may be heard.
        """
        before: tuple[Any, ...] = ()
        while True:
            await self._quiet(quiet * QUIET_S)
            status = await self.status()
            now = (self.vendor.line.answered, tuple(status["queue"].values()), status["replica"]["loading"])
            if now == before and status["replica"]["loading"] is None:
                return status
            if now == before:  # a feed that hears nothing
                self.pass_by(HANGS_FOR_S)
            before = now

    async def _quiet(self, seconds: float) -> None:
        """Until nothing was answered for so long, nor is anything on its way."""
        line, before = self.vendor.line, -1
        await self.agent.rests()
        while before != line.answered or line.under_way:
            before = line.answered
            self.pass_by(seconds)
            await self.agent.rests()

    async def until(self, well: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """How it is, once it is well or has had a quarter of an hour for it."""
        for _ in range(60):
            status = await self.settles()
            if well(status):
                break
            self.pass_by(15.0)
        return status

    async def sync(self) -> None:
        """Asks for what the vendor has changed, and waits for it."""
        assert (await self.call("POST", "/v1/sync")).status_code == 202
        await self.settles()

    async def _rise_again(self) -> None:
        self.runs = False
        await self._patiently(self.agent.bury())
        self.vendor.line.killed.clear()
        await self.start()

    async def _patiently(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        await self._until(task)
        task.result()

    async def _until(self, *tasks: asyncio.Future[Any]) -> None:
        """Until one of them is done: time passes where nothing else brings that about, ever more of it."""
        step_s = QUIET_S
        while not any(task.done() for task in tasks):
            rests = asyncio.ensure_future(self.agent.rests())
            await asyncio.wait((*tasks, rests), return_when=asyncio.FIRST_COMPLETED)
            if not any(task.done() for task in tasks):
                self.pass_by(step_s)
                step_s = min(2 * step_s, HANGS_FOR_S)
            rests.cancel()
