"""Runs the installed agent days later: `python later.py DAYS COMMAND ARGUMENTS`. Only its wall clock is moved."""

from __future__ import annotations

import runpy
import sys
from datetime import timedelta

from agent.clock import SystemClock

if __name__ == "__main__":
    ahead = timedelta(days=int(sys.argv[1]))
    now, today = SystemClock.now, SystemClock.today
    SystemClock.now = lambda clock: now(clock) + ahead
    SystemClock.today = lambda clock: today(clock) + ahead
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")
