"""`reconcile`: is a day complete, by the till's numbers, by its own list, and by the loyalty system's books."""

from __future__ import annotations

import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from agent.cli import exits
from agent.cli.client import Daemon
from agent.cli.configuration import load
from agent.cli.dayend import tell
from agent.cli.errors import DaemonRefusedError, UsageMistakeError
from agent.cli.invocation import Invocation, common, pass_invocation

_ID = re.compile(r"[A-Za-z0-9_:-]{1,64}")
_STANDARD_INPUT = "-"
_TOO_LARGE = "request.too_large"


@click.command(short_help="Check that a day is complete.")
@click.option(
    "--day",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="The business day; yesterday without it.",
)
@click.option(
    "--expected",
    metavar="FILE",
    help="What the till says it sold that day: one transaction id a line; - for standard input.",
)
@click.option(
    "--sample",
    type=click.IntRange(0, 100),
    default=20,
    show_default=True,
    help="How many delivered sales to look up at the loyalty system, at most.",
)
@common
@pass_invocation
def reconcile(invocation: Invocation, *, day: datetime | None, expected: str | None, sample: int) -> int:
    """Check that a day is complete: 0 when nothing is missing and nothing is there twice, else 1.

    Three witnesses: the numbers of the till's sales, which have no gaps; the till's own list, with --expected; and the
    loyalty system's books, for a sample of what was delivered. Nothing is changed, and no person is shown.
    """
    asked: dict[str, Any] = {"day": day.date().isoformat() if day else None, "sample": sample}
    with Daemon(load(invocation, secrets=False)) as daemon:
        if expected is None:
            answer = daemon.get("/v1/reconcile", **asked)
        else:
            answer = _compare(daemon, {**asked, "expected": _listed(expected)})
    invocation.answer(answer, "\n".join(tell(answer)).rstrip())
    return exits.OK if answer["ok"] else exits.DEGRADED


def _compare(daemon: Daemon, question: dict[str, Any]) -> dict[str, Any]:
    try:
        return daemon.post("/v1/reconcile", question)
    except DaemonRefusedError as error:
        if error.code == _TOO_LARGE:
            raise UsageMistakeError("The list is too long for one question: hand it in till by till.") from error
        raise


def _listed(source: str) -> list[str]:
    """The ids of a list. What is wrong in it is told by its line, never repeated: it might be another file."""
    try:
        if source == _STANDARD_INPUT:
            text = sys.stdin.buffer.read().decode("utf-8-sig")
        else:
            text = Path(source).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UsageMistakeError("--expected: not a list of transaction ids: it is not text in UTF-8.") from None
    listed = []
    for number, line in enumerate(text.splitlines(), start=1):
        name = line.strip()
        if name and not _ID.fullmatch(name):
            raise UsageMistakeError(f"--expected: line {number} is not a transaction id.")
        if name:
            listed.append(name)
    return listed
