"""Two thousand agents whose vendor comes back in the same second: lanes and lines as they are, in virtual time."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections import Counter, deque
from datetime import timedelta
from itertools import pairwise

import pytest

from agent.domain.delivery import DONE, Verdict, VerdictKind
from agent.domain.link import Link
from agent.ports import Outgoing
from agent.services.judge import DispatchPolicy
from agent.services.lane import Lane
from tests.fakes import NOW, Offline, acceptance, member_key

pytestmark = pytest.mark.slow

AGENTS = 2_000
SALES_EACH = 8
SHARE = 2.0
"""Calls a second of each agent."""
OUTAGE_S = 2_700.0
FIRST_S, LONGEST_S = 10.0, 900.0
OFFLINE = Verdict(VerdictKind.RETRY, "vendor.offline", title="cannot be reached", reached=False, not_received=True)
SALE = acceptance("sale", key=member_key(10_000_000)).transaction


class _Jump(selectors.SelectSelector):
    """Never waits: what would be waited for is added to the loop's time."""

    waited_s = 0.0

    def select(self, timeout=None):
        self.waited_s += timeout or 0.0
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which sleeping takes no time."""

    def __init__(self):
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self):
        return self._jump.waited_s


class VirtualClock:
    """The loop's time on both hands."""

    def monotonic(self):
        return asyncio.get_running_loop().time()

    def now(self):
        return NOW + timedelta(seconds=self.monotonic())

    def today(self):
        return self.now().date()


class Memory:
    """A queue of one vendor's sales."""

    def __init__(self, count):
        self.waiting = deque(range(count))
        self.delivered, self.empty = 0, asyncio.Event()

    async def lease(self, _vendor, limit, _now):
        taken = [self.waiting.popleft() for _ in range(min(limit, len(self.waiting)))]
        return [Outgoing(entry, 0, False, member_key(10_000_000), False, (), SALE, None, b"", NOW) for entry in taken]

    async def settle(self, settled, _now):
        for one in settled:
            if one.verdict.kind is VerdictKind.DONE:
                self.delivered += 1
                if self.delivered == SALES_EACH:
                    self.empty.set()
            else:
                self.waiting.append(one.entry)

    async def release(self, entries):
        self.waiting.extendleft(entries)

    async def recover(self, _vendor):
        pass

    async def make_due(self, _vendor, *, doubtful_at=None):
        pass

    def next_due_at(self, _vendor, _now):
        return None


class Vendor:
    """One vendor for all of them; what each calls and when is written down."""

    name, guests, connections, requests_per_second = "voyado", False, 4, SHARE

    def __init__(self, calls):
        self.sender, self.batch_size, self.calls = self, 1, calls

    @staticmethod
    def is_back():
        return asyncio.get_running_loop().time() >= OUTAGE_S

    async def send(self, batch):
        self.calls.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0.05)
        return [DONE if self.is_back() else OFFLINE for _ in batch]

    async def ping(self):
        self.calls.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0.05)
        if not self.is_back():
            raise Offline


def lane(number, queue, vendor):
    """An agent's lane, with a chance of its own."""
    uniform = random.Random(number).uniform
    link = Link(
        "voyado",
        "loyalty",
        requests_per_second=SHARE,
        backoff_first_s=FIRST_S,
        backoff_max_s=LONGEST_S,
        uniform=uniform,
    )
    made = Lane(
        clock=VirtualClock(),
        queue=queue,
        connector=vendor,
        link=link,
        settle_tag=None,
        corrected=link.corrected,
        policy=DispatchPolicy(flush_every_s=LONGEST_S, backoff_first_s=FIRST_S, backoff_max_s=LONGEST_S),
        uniform=uniform,
        told=lambda _vendor, _verdict, _waited: None,
        changed=lambda: None,
    )
    link.on_change = made.line_changed
    return made


def test_two_thousand_agents_come_back():
    """All is delivered within the longest pause and the share; first calls are spread, and no share is exceeded."""
    queues, calls = [], [[] for _ in range(AGENTS)]

    async def agent(number):
        queue = Memory(SALES_EACH)
        queues.append(queue)
        running = asyncio.create_task(lane(number, queue, Vendor(calls[number])).run())
        await queue.empty.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def live():
        async with asyncio.timeout(OUTAGE_S + LONGEST_S + 4 * SALES_EACH / SHARE):
            await asyncio.gather(*(agent(number) for number in range(AGENTS)))

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(live())

    assert [queue.delivered for queue in queues] == [SALES_EACH] * AGENTS
    firsts = Counter(int(next(at for at in made if at >= OUTAGE_S)) for made in calls)
    assert max(firsts.values()) < AGENTS / 100
    assert len(firsts) > LONGEST_S / 3
    for made in calls:
        at_once = max(1.0, SHARE)
        for first, at in enumerate(made):
            within = sum(1 for other in made[first:] if other < at + 10)
            assert within <= at_once + 10 * SHARE + 1
    outage = Counter(int(at) for made in calls for at in made if OUTAGE_S - LONGEST_S <= at < OUTAGE_S)
    assert max(outage.values()) < AGENTS / 50


def test_the_virtual_loop_keeps_time():
    """Sleepers wake in their order, at their moments."""
    woken = []

    async def sleeper(pause):
        await asyncio.sleep(pause)
        woken.append((pause, asyncio.get_running_loop().time()))

    async def sleep_all():
        await asyncio.gather(*(sleeper(pause) for pause in (5.0, 1.0, 900.0, 0.5)))

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(sleep_all())

    assert [pause for pause, _ in woken] == [0.5, 1.0, 5.0, 900.0]
    assert all(abs(pause - at) < 0.1 for pause, at in woken)
    assert all(earlier[1] < later[1] for earlier, later in pairwise(woken))
