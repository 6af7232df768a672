"""`status` and `explain`: how the agent is, and what became of one sale."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import click

from agent.cli import exits, files
from agent.cli.client import Daemon
from agent.cli.configuration import load
from agent.cli.errors import DaemonUnreachableError, UsageMistakeError
from agent.cli.invocation import Invocation, common, pass_invocation
from agent.cli.render import age, instant, number, progress, size, table
from agent.cli.story import tell
from agent.settings import Configuration

_AN_ID: Final = re.compile(r"[A-Za-z0-9_:-]{1,64}")


@click.command(short_help="Say how the agent is.")
@common
@pass_invocation
def status(invocation: Invocation) -> int:
    """Say how the agent is: 0 online, 1 degraded or offline, 2 it cannot be reached.

    Without a running agent this says what its files tell.
    """
    configuration = load(invocation, secrets=False)
    with Daemon(configuration) as daemon:
        try:
            answer = daemon.status()
        except DaemonUnreachableError as error:
            return _from_files(invocation, configuration, error)
        invocation.answer({"reachable": True, "address": daemon.address, **answer}, "\n".join(_lines(answer)))
    return exits.OK if answer["state"] == "online" else exits.DEGRADED


@click.command(short_help="Tell what became of one sale.")
@click.argument("transaction_id")
@common
@pass_invocation
def explain(invocation: Invocation, transaction_id: str) -> None:
    """Tell what became of the sale TRANSACTION_ID, step by step and in words, without the person in it."""
    if not _AN_ID.fullmatch(transaction_id):
        raise UsageMistakeError("That cannot be a transaction_id: letters, digits, _, : and -, 64 at most.")
    with Daemon(load(invocation, secrets=False)) as daemon:
        story = daemon.get(f"/v1/transactions/{quote(transaction_id, safe='')}/story")
    invocation.answer(story, "\n".join(tell(story)))


def _from_files(invocation: Invocation, configuration: Configuration, error: DaemonUnreachableError) -> int:
    found = files.look(configuration)
    document = {
        "reachable": False,
        "address": configuration.listen[0],
        "state": "unreachable",
        "message": str(error),
        "files": found,
    }
    lines = [str(error), "What its files tell:", f"  state directory  {found['state_dir']}"]
    for name in ("outbox", "replica"):
        file = found[name]
        told = f"{size(file['bytes'])}, written {instant(file['written_at'])}" if file else "none yet"
        lines.append(f"  {name:<15}  {told}")
    if found["queue"] is not None:
        told = ", ".join(f"{number(count)} {state}" for state, count in sorted(found["queue"].items())) or "empty"
        lines.append(f"  deliveries       {told}")
    invocation.answer(document, "\n".join(lines))
    return exits.UNREACHABLE


def _lines(answer: dict[str, Any]) -> Iterator[str]:
    replica, queue = answer["replica"], answer["queue"]
    yield f"loyalty-agent {answer['version']}: {answer['state']} since {instant(answer['since'])}"
    yield f"fallback level {answer['level']}"
    yield ""
    yield table(
        ("VENDOR", "ROLE", "STATE", "SINCE", "LAST SUCCESS", "WAITING"),
        [
            (
                row["vendor"],
                row["role"],
                row["state"],
                instant(row["since"]),
                instant(row["last_success_at"]),
                number(row["waiting"]),
            )
            for row in answer["vendors"]
        ],
    )
    if arrivals := [row["vendor"] for row in answer["vendors"] if not row["keeps_time"]]:
        yield f"         a sale that comes late counts when it arrives: {', '.join(arrivals)}"
    yield ""
    if replica["as_of"] is None:
        yield "replica  not loaded yet"
    else:
        stale = ", stale" if replica["stale"] else ""
        held = f"{number(replica['contacts'])} contacts ({replica['contents']})"
        yield f"replica  {held}, {age(replica['age_s'])} old{stale}"
    if loading := replica.get("loading"):
        yield f"         loading: {progress(loading)}"
    yield (
        f"queue    {number(queue['depth'])} waiting, {queue['held']} held, {queue['parked']} parked, "
        f"{queue['in_doubt']} in doubt; {size(queue['bytes'])}"
    )
    if queue["oldest_age_s"] is not None:
        yield f"         the oldest has waited {age(queue['oldest_age_s'])}"
    if queue["outage_left_s"] is not None:
        yield f"         room for {age(queue['outage_left_s'])} more at this pace"
    if erasures := queue.get("erasures"):
        yield f"         {number(erasures)} erased here, and not yet asked to be erased elsewhere"
    for condition in answer["conditions"]:
        yield ""
        since = instant(condition["since"])
        yield f"{condition['severity']}: {condition['title']} ({condition['code']}, since {since})"
        yield from (f"  {condition[name]}" for name in ("detail", "remedy") if condition.get(name))
