"""`sync`, `flush`, `purge`: orders that the agent takes at once and carries out by itself.

The command then watches the status until it is done. Watching changes nothing: Ctrl-C ends the watching alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import click

from agent.cli import exits
from agent.cli.client import Daemon
from agent.cli.configuration import load
from agent.cli.invocation import Invocation, common, pass_invocation
from agent.cli.render import number, progress
from agent.cli.ticker import Ticker
from agent.clock import SystemClock

F = TypeVar("F", bound=Callable[..., Any])

POLL_S = 0.25
IDLE_S = 3.0
"""A sync that was ordered so long ago, with no load under way and nothing new, did not succeed."""
STALL_S = 10.0
"""A flush that has delivered nothing for so long is left to the agent."""

Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an order ended: ``reason`` says why it did not, for as long as anybody watched."""

    completed: bool
    status: Status
    reason: str | None = None


def _waits(command: F) -> F:
    return click.option("--no-wait", is_flag=True, help="Return as soon as the agent has taken the order.")(command)


@click.command(short_help="Read what changed at the loyalty system, now.")
@_waits
@common
@pass_invocation
def sync(invocation: Invocation, *, no_wait: bool) -> int:
    """Read what changed at the loyalty system into the local copy, now, and show how far it is."""
    return _order(invocation, "sync", watch=None if no_wait else _watch_sync)


@click.command(short_help="Send every waiting sale, now.")
@_waits
@common
@pass_invocation
def flush(invocation: Invocation, *, no_wait: bool) -> int:
    """Try every waiting sale now, whatever its back-off, and show how many are left."""
    return _order(invocation, "flush", watch=None if no_wait else _watch_flush)


@click.command(short_help="Erase what retention says has to go, now.")
@common
@pass_invocation
def purge(invocation: Invocation) -> int:
    """Erase now what retention says has to go. The agent does this by itself every hour; its log says what went."""
    return _order(invocation, "purge", watch=None)


def _order(invocation: Invocation, name: str, watch: Callable[[Daemon, Ticker], Outcome] | None) -> int:
    with Daemon(load(invocation, secrets=False)) as daemon:
        if watch is None:
            daemon.post(f"/v1/{name}")
            invocation.answer({"order": name, "completed": None, "reason": None, "status": None}, f"{name}: ordered")
            return exits.OK
        with Ticker(quiet=invocation.json) as ticker:
            outcome = watch(daemon, ticker)
    text = f"{name}: {outcome.reason or 'done'}; the agent is {outcome.status['state']}{_details(outcome)}"
    invocation.answer(
        {"order": name, "completed": outcome.completed, "reason": outcome.reason, "status": outcome.status}, text
    )
    return exits.OK if outcome.completed else exits.DEGRADED


def _details(outcome: Outcome) -> str:
    """What stands in the feed's way, a line each, where it did not come to its end."""
    if outcome.completed:
        return ""
    feed = (condition for condition in outcome.status["conditions"] if condition["code"].startswith("feed."))
    return "".join(f"\n  {condition['title']}: {condition['detail']}" for condition in feed)


def _watch_sync(daemon: Daemon, ticker: Ticker) -> Outcome:
    ordered_at = SystemClock().now()
    daemon.post("/v1/sync")
    idle_since = time.monotonic()
    while True:
        status = daemon.status()
        replica = status["replica"]
        as_of = replica["as_of"]
        if loading := replica.get("loading"):  # what it has healed is told at its end, not before
            idle_since = time.monotonic()
            ticker.say(progress(loading))
        elif as_of is not None and datetime.fromisoformat(as_of) >= ordered_at:
            ticker.say(f"{number(replica['contacts'])} contacts")
            return Outcome(True, status)
        elif time.monotonic() - idle_since > IDLE_S:
            return Outcome(False, status, _why_not_synced(status))
        time.sleep(POLL_S)


def _why_not_synced(status: Status) -> str:
    told = [condition["code"] for condition in status["conditions"] if condition["code"].startswith("feed.")]
    return f"not completed ({', '.join(told)})" if told else "not completed; the agent tries again by itself"


def _watch_flush(daemon: Daemon, ticker: Ticker) -> Outcome:
    daemon.post("/v1/flush")
    fewest, moved = None, time.monotonic()
    while True:
        status = daemon.status()
        waiting = status["queue"]["depth"]
        if not waiting:
            ticker.say("nothing waits")
            return Outcome(True, status)
        if fewest is None or waiting < fewest:
            fewest, moved = waiting, time.monotonic()
            ticker.say(f"{number(waiting)} waiting")
        elif time.monotonic() - moved > STALL_S:
            return Outcome(False, status, f"{number(waiting)} still wait; the agent goes on by itself")
        time.sleep(POLL_S)
