"""The calendar: what happens by the hour or the day. Syncs, flushes and sweeps have monotonic loops of their own.

APScheduler's traps, as measured: its jobs live on the wall clock, so that an hour back stops them for an hour and a
jump of years forward makes it count every second between; `coalesce` and an unlimited grace make a late job run once,
and after a jump every job is armed anew (:meth:`Calendar.rearm`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger

JITTER_S = 600

TABLE: Mapping[str, Mapping[str, Any]] = {
    "purge": {"minute": 17},
    "check": {"hour": 2, "minute": 43},
}
"""Each job and its place in the calendar, in UTC."""


class Calendar:
    """Runs the table's jobs.

    Args:
        jobs: what to call, by the name in the table.
    """

    def __init__(self, jobs: Mapping[str, Callable[[], Awaitable[object]]]) -> None:
        self._jobs = jobs
        self._scheduler = AsyncIOScheduler(
            timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )

    def start(self) -> None:
        """Arms every job; call it inside the running loop."""
        self.rearm()
        self._scheduler.start()

    def rearm(self) -> None:
        """Arms every job anew, from the wall clock as it stands now."""
        for name, job in self._jobs.items():
            trigger = CronTrigger(timezone="UTC", jitter=JITTER_S, **TABLE[name])
            self._scheduler.add_job(job, trigger, id=name, replace_existing=True)

    def stop(self) -> None:
        """Starts nothing more."""
        self._scheduler.shutdown(wait=False)
