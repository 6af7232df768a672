"""`queue list|show|retry|discard|rehearse`: what waits for the line, for a person, or for another version."""

from __future__ import annotations

import sys
from typing import Any

import click

from agent.cli.client import Daemon
from agent.cli.configuration import load
from agent.cli.errors import DaemonRefusedError
from agent.cli.invocation import Invocation, common, pass_invocation
from agent.cli.ownership import as_owner_of
from agent.cli.render import instant, size, table
from agent.cli.story import tell
from agent.services.room import RESERVES_KEPT_FREE
from agent.state import State

STATES = ("queued", "held", "parked", "in_doubt")


_COLUMNS = ("ENTRY", "TRANSACTION", "VENDOR", "STATE", "TRIES", "NEXT", "ERROR")


@click.group(short_help="List, show, retry or discard what waits; rehearse an update.")
def queue() -> None:
    """List, show, retry or discard what waits for the line or for a person. No personal data is shown."""


@queue.command("list", short_help="List deliveries that are not finished.")
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@click.option("--vendor", help="Only those to this system.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many at most.")
@click.option("--after", type=int, help="Go on after this entry: `next` of the list before.")
@common
@pass_invocation
def list_entries(
    invocation: Invocation, *, state: str | None, vendor: str | None, limit: int, after: int | None
) -> None:
    """List deliveries that are not finished, the oldest first."""
    with Daemon(load(invocation, secrets=False)) as daemon:
        answer = daemon.get("/v1/queue", state=state, vendor=vendor, limit=limit, after=after)
    text = table(_COLUMNS, map(_row, answer["entries"]))
    if not answer["entries"]:
        text = "Nothing waits."
    elif answer["next"] is not None:
        text += f"\nMore: loyalty-agent queue list --after {answer['next']}"
    invocation.answer(answer, text)


@queue.command(short_help="Show one entry and its attempts.")
@click.argument("entry", type=int)
@common
@pass_invocation
def show(invocation: Invocation, entry: int) -> None:
    """Show the delivery ENTRY and every attempt on it."""
    with Daemon(load(invocation, secrets=False)) as daemon:
        found = daemon.get("/v1/queue", limit=1, after=entry - 1)["entries"]
        if not found or found[0]["entry"] != entry:
            raise DaemonRefusedError(f"No entry {entry} waits.", "record.unknown")
        if found[0]["transaction_id"] is None:  # an activity has no story beside how it stands
            invocation.answer(found[0], table(_COLUMNS, map(_row, found)))
            return
        story = daemon.get(f"/v1/transactions/{found[0]['transaction_id']}/story")
    attempts = [attempt for attempt in story["attempts"] if attempt["entry"] == entry]
    invocation.answer({**found[0], "attempts": attempts}, "\n".join(tell(story)))


@queue.command(short_help="Put entries back in line.")
@click.argument("entry", type=int, nargs=-1, required=True)
@common
@pass_invocation
def retry(invocation: Invocation, entry: tuple[int, ...]) -> None:
    """Put each ENTRY that is parked or in doubt back in line; one that waits is tried now."""
    with Daemon(load(invocation, secrets=False)) as daemon:
        for one in entry:
            daemon.post(f"/v1/queue/{one}/retry")
    invocation.answer({"retried": list(entry)}, f"Back in line: {_listed(entry)}")


@queue.command(short_help="Give up an entry; the sale stays on record.")
@click.argument("entry", type=int, nargs=-1, required=True)
@click.option("--reason", help="Why; never about a person. Asked for on a terminal if left out.")
@common
@pass_invocation
def discard(invocation: Invocation, entry: tuple[int, ...], reason: str | None) -> None:
    """Give up each ENTRY that is not under way right now: it is not sent again, the sale stays on record."""
    if reason is None:
        if invocation.json or not _on_a_terminal():
            raise click.UsageError("--reason is needed.")
        reason = click.prompt("Reason (never about a person)", err=True)
    with Daemon(load(invocation, secrets=False)) as daemon:
        for one in entry:
            daemon.post(f"/v1/queue/{one}/discard", {"reason": reason})
    invocation.answer({"discarded": list(entry)}, f"Given up: {_listed(entry)}")


@queue.command(short_help="Try on a copy whether this version can go on with it.")
@common
@pass_invocation
def rehearse(invocation: Invocation) -> None:
    """Try on a copy what a start of this version would do to the queue. The queue is only read; an agent may run.

    Ends with 74 where this version cannot go on with it (storage.schema: a newer version wrote it, or a step fails)
    or where that could not be tried. The package asks this before a version takes another's place.
    """
    configuration = load(invocation, secrets=False)
    state = State(configuration)
    if not state.has_outbox:
        invocation.answer({"bytes": None, "steps": []}, "There is no queue yet.")
        return
    keys = state.keys(may_create=False)  # as who called: what is handed over is root's
    with as_owner_of(state.directory):
        found = state.rehearse(keys, kept_free_bytes=RESERVES_KEPT_FREE * configuration.settings.queue.reserve_bytes)
    changes = f"changed by: {', '.join(found.steps)}" if found.steps else "as it is"
    text = f"This version can go on with the queue ({size(found.bytes)}), {changes}"
    invocation.answer({"bytes": found.bytes, "steps": found.steps}, text)


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    error = row["last_error"] or {}
    told = [str(error[name]) for name in ("code", "status", "vendor_code") if error.get(name)]
    return (
        row["entry"],
        row["transaction_id"] or f"activity {row['activity_id']}",
        row["vendor"],
        row["state"],
        row["attempts"],
        instant(row["next_attempt_at"]),
        " ".join(told) or None,
    )


def _on_a_terminal() -> bool:
    return sys.stdin.isatty()


def _listed(entries: tuple[int, ...]) -> str:
    return ", ".join(str(entry) for entry in entries)
