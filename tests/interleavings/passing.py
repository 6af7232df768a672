"""Time that passes only when a test says so: an event loop that stands still in between, and clocks that go by it.

What the agent leaves to threads is done in turn, too. Whatever depends on how fast a machine is, or one of two threads,
comes out the same in each run then, and is drawn where it should differ.
"""

from __future__ import annotations

import asyncio
import random
import selectors
import threading
from asyncio import Future
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any
from unittest import mock

from agent.store import group_commit
from agent.store.group_commit import GroupWriter

BEGIN = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
"""When every shop opens, on a Monday."""
TURNS = (0, 0, 1, 3, 10, 30)
"""Of the loop, which others have before that is done which a thread would do."""
_GRACE_S = 0.001
"""What one end of a connection on this machine has sent has reached the other by then."""
_NOBODY_ASKS_S = 0.05


class PassingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still until some is let pass.

    Attributes:
        passed_s: how much was.
        heard: how often it was told of anything from outside.
        chance: decides how many turns others have before whatever a thread would do.
    """

    def __init__(self) -> None:
        self.passed_s, self.heard, self.chance = 0.0, 0, random.Random(0)
        self._wait_for_rest: list[Future[None]] = []
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Seconds that only ever grow; every timer goes by them."""
        return self.passed_s

    def let_pass(self, seconds: float) -> None:
        """So much later all of a sudden: what was due meanwhile is due now."""
        self.passed_s += seconds

    async def rest(self) -> None:
        """Until nothing can happen any more unless time passes, or somebody outside does something."""
        rested: Future[None] = self.create_future()
        self._wait_for_rest.append(rested)
        await rested

    def rests(self) -> bool:
        """Tells everybody who waits for it; whether anybody did."""
        waiting, self._wait_for_rest = [one for one in self._wait_for_rest if not one.done()], []
        for rested in waiting:
            rested.set_result(None)
        return bool(waiting)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Future[Any]:
        """What a thread would do, some turns later."""
        done: Future[Any] = self.create_future()

        def run() -> None:
            try:
                result = func(*args)
            except Exception as error:  # noqa: BLE001 - handed to whoever waits for it
                if not done.done():
                    done.set_exception(error)
            else:
                if not done.done():
                    done.set_result(result)

        self._later(run)
        return done

    @contextmanager
    def writes_in_turn(self) -> Iterator[None]:
        """So does the thread that writes to a database, while the block runs."""
        hand_over, answer = GroupWriter.hand_over, group_commit._answer
        answered = threading.Semaphore(0)

        def handed_over(writer: GroupWriter) -> None:
            count = len(writer._gathered)
            hand_over(writer)
            for _ in range(count):
                answered.acquire()

        def later(writer: GroupWriter) -> None:
            if writer._closed:  # which waits for it
                handed_over(writer)
            else:
                self._later(handed_over, writer)

        def told(group: list[Any], outcomes: list[Any]) -> None:
            answer(group, outcomes)
            answered.release(len(group))

        with mock.patch.object(GroupWriter, "hand_over", later), mock.patch.object(group_commit, "_answer", told):
            yield

    def _later(self, work: Callable[..., None], *args: Any) -> None:
        self._in(self.chance.choice(TURNS), work, *args)

    def _in(self, turns: int, work: Callable[..., None], *args: Any) -> None:
        if turns:
            self.call_soon(self._in, turns - 1, work, *args)
        else:
            work(*args)


class _Selector(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    """Says when there is nothing to wait for but time."""

    def __init__(self, loop: PassingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if not found and timeout != 0:
            found = super().select(_GRACE_S)
            if not found and not self._loop.rests():
                found = super().select(_NOBODY_ASKS_S)
        self._loop.heard += len(found)
        return found


class PassingClock:
    """The agent's clock and the vendor's, which go by the loop's time."""

    def __init__(self, loop: PassingLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self._loop.passed_s)

    def monotonic(self) -> float:
        return self._loop.time()

    def today(self) -> date:
        return self.now().date()
