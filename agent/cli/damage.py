"""`damage list|acknowledge`: files that were damaged, what was rescued of them, and that somebody has seen it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from agent.cli.client import Daemon
from agent.cli.configuration import load
from agent.cli.invocation import Invocation, common, pass_invocation
from agent.cli.render import instant, number


@click.group(short_help="List or acknowledge damaged files.")
def damage() -> None:
    """List files that were damaged and set aside, or say that you have seen them. No personal data is shown."""


@damage.command("list", short_help="List what was damaged, rescued and lost.")
@common
@pass_invocation
def list_damages(invocation: Invocation) -> None:
    """List what was damaged, what of it is whole again and what is not."""
    with Daemon(load(invocation, secrets=False)) as daemon:
        answer = daemon.get("/v1/damage")
    lines = [line for one in answer["damages"] for line in _told(one)]
    invocation.answer(answer, "\n".join(lines) or "Nothing was damaged.")


@damage.command(short_help="Say that damage has been seen.")
@common
@pass_invocation
def acknowledge(invocation: Invocation) -> None:
    """Say that damage has been seen: the condition storage.damaged ends for what is whole again.

    The files stay until retention takes them.
    """
    with Daemon(load(invocation, secrets=False)) as daemon:
        answer = daemon.post("/v1/damage/acknowledge")
    invocation.answer(answer, f"Acknowledged: {answer['acknowledged']}")


def _told(one: dict[str, Any]) -> Iterator[str]:
    yield f"{one['file']}, {instant(one['found_at'])}: {one['reason']}"
    for what in ("rescued", "lost"):
        counts = ", ".join(f"{number(count)} {name.replace('_', ' ')}" for name, count in one[what].items())
        yield f"  {what:<8}  {counts or 'nothing'}"
    if one["lost_ids"]:
        yield f"  gone      {', '.join(one['lost_ids'])}"
    yield f"  kept      {'damaged/' + one['folder'] if one['folder'] else 'no: there was no room'}"
    if one["acknowledged_at"]:
        yield f"  seen      {instant(one['acknowledged_at'])}"
