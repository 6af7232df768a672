"""The wall clock: how far it is from the loyalty system's, when it jumps, and what becomes of what a wrong one dated.

A till with a dead battery starts years back, takes sales, and is put right later: while it runs, or between two runs.
Sales that this run dated move with the clock. What an earlier run dated is known by its impossible age, and gets
today's date as soon as the loyalty system has confirmed it; until then ages mean nothing, and nothing expires.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from agent.domain.health import Conditions
from agent.domain.link import CLOCK_TOLERANCE, Link
from agent.ports import Clock

log = structlog.get_logger(__name__)

CHECK_S = 1.0
JUMP_S = 5.0
DAYS_OFF = timedelta(days=1)
"""A clock further off than this gives no ages; one that is a few minutes off, as many are, keeps nobody on file."""
DOUBT_MAX_S = 24 * 3600.0
"""A clock that nobody confirms, and nobody puts right, is believed after this time."""


class Sales(Protocol):
    """The outbox's door for what dates are written in."""

    async def shift(self, by: timedelta) -> None:
        """Moves what this run dated."""

    async def clamp_due(self, latest: datetime) -> None:
        """Nothing waits beyond an instant."""

    def oddly_dated(self, now: datetime) -> bool:
        """Whether something bears a date that a right clock could not have written."""

    async def redate(self, now: datetime) -> int:
        """Gives it today's; how many sales there were."""


class Timekeeper:
    """Watches the wall clock.

    Args:
        clock: the clocks.
        link: the line to the loyalty system, which knows how far the clocks are apart.
        sales: the outbox.
        conditions: where `clock.wrong` stands.
        longest_wait: no delivery waits longer for its next attempt.
        on_jump: called after a jump.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        link: Link,
        sales: Sales,
        conditions: Conditions,
        longest_wait: timedelta,
        on_jump: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock, self._link, self._sales, self._conditions = clock, link, sales, conditions
        self._longest_wait = longest_wait
        self._on_jump = on_jump
        self._began = clock.monotonic()
        self._heard = False

    def heard(self, theirs: datetime) -> None:
        """What an answer's `Date` says of our clock."""
        self._link.heard_time((theirs - self._clock.now()).total_seconds())
        self._heard = True
        self._judge()

    def trusted(self) -> bool:
        """Whether ages by the wall clock mean something."""
        if self._days_off():
            return False
        believed = self._clock.monotonic() - self._began > DOUBT_MAX_S
        return believed or not self._sales.oddly_dated(self._clock.now())

    async def run(self) -> None:
        """Works for ever; ends by cancellation. Raises StorageError."""
        wall, mono = self._clock.now(), self._clock.monotonic()
        await self._sales.clamp_due(wall + self._longest_wait)
        while True:
            await asyncio.sleep(CHECK_S)
            now, now_mono = self._clock.now(), self._clock.monotonic()
            jump = (now - wall) - timedelta(seconds=now_mono - mono)
            if abs(jump.total_seconds()) > JUMP_S:
                await self._follow(jump, now)
            wall, mono = now, now_mono
            await self._redate(now)

    async def _follow(self, jump: timedelta, now: datetime) -> None:
        log.warning("clock.jumped", seconds=round(jump.total_seconds()))
        if self._heard:
            self._link.clock_moved(jump)
            self._judge()
        await self._sales.shift(jump)
        await self._sales.clamp_due(now + self._longest_wait)
        self._on_jump()

    async def _redate(self, now: datetime) -> None:
        if self._heard and not self._days_off() and self._sales.oddly_dated(now):
            log.warning("clock.redated", count=await self._sales.redate(now))

    def _days_off(self) -> bool:
        return abs(self._link.skew_s) > DAYS_OFF.total_seconds()

    def _judge(self) -> None:
        skew_s = self._link.skew_s
        wrong = abs(skew_s) > CLOCK_TOLERANCE.total_seconds()
        detail = f"{skew_s:+.0f} s" if wrong else ""
        self._conditions.set("clock.wrong", stands=wrong, now=self._clock.now(), detail=detail)
