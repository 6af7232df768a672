"""`privacy erase|export`: everything about one person.

Who it is comes from standard input or a prompt, never arguments: those stand in the shell's history and in the list of
processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import click

from agent.cli.client import Daemon
from agent.cli.configuration import load
from agent.cli.errors import UsageMistakeError
from agent.cli.invocation import Invocation, common, pass_invocation
from agent.cli.render import instant, table

TIMEOUT_S = 600.0
"""Erasing waits for deliveries under way, and rebuilds the replica."""
TYPES = ("any", "contact_id", "member_number", "external_id", "card_number", "mobile_phone", "email", "personal_number")
_OF_TYPE = click.option(
    "--type",
    "kind",
    type=click.Choice(TYPES),
    default="any",
    show_default=True,
    help="What is given; any: the agent decides what it can be.",
)


@click.group(short_help="Erase or export everything about one person.")
def privacy() -> None:
    """Erase or export everything about one person, named on standard input or at a prompt."""


@privacy.command(short_help="Erase one person without a trace.")
@_OF_TYPE
@click.option("--yes", is_flag=True, help="Do not ask again at a terminal.")
@common
@pass_invocation
def erase(invocation: Invocation, kind: str, *, yes: bool) -> None:
    """Erase one person from everything on this till. Their sales stay, without them; no byte is left at the end."""
    configuration = load(invocation, secrets=False)
    value = _read()
    if _at_a_terminal() and not yes:
        click.confirm("This cannot be undone. Erase?", abort=True, err=True)
    with Daemon(configuration, timeout_s=TIMEOUT_S) as daemon:
        answer = daemon.post("/v1/privacy/erase", {"identifier": {"type": kind, "value": value}})
    invocation.answer(answer, _receipt(answer))


@privacy.command(short_help="Export everything that is held on one person.")
@_OF_TYPE
@click.option(
    "--output", metavar="FILE", type=click.Path(path_type=Path), help="Write it to a new file, readable by you alone."
)
@common
@pass_invocation
def export(invocation: Invocation, kind: str, *, output: Path | None) -> None:
    """Export everything that is held on one person as JSON, to a new file of mode 0600 or, with --json, here."""
    configuration = load(invocation, secrets=False)
    if output is None and not invocation.json:
        raise UsageMistakeError("An export is personal data: name a file with --output, or take it with --json.")
    value = _read()
    with _new(output) as file, Daemon(configuration, timeout_s=TIMEOUT_S) as daemon:
        answer = daemon.post("/v1/privacy/export", {"identifier": {"type": kind, "value": value}})
        if file is None:
            invocation.answer(answer, "")
            return
        json.dump(answer, file, indent=2, ensure_ascii=False)
        file.write("\n")
    told = ", ".join(f"{count} {name}" for name, count in answer["counts"].items())
    invocation.answer({"path": str(output), "counts": answer["counts"]}, f"{output}: {told}")


@contextlib.contextmanager
def _new(path: Path | None) -> Iterator[TextIO | None]:
    """A new file that its owner alone can read, at no time anybody else; gone again if what was to be in it fails."""
    if path is None:
        yield None
        return
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _read() -> str:
    text = click.prompt("Identifier", err=True) if _at_a_terminal() else sys.stdin.read()
    value = str(text).strip()
    if not value:
        raise UsageMistakeError("Nothing came on standard input.")
    if "\n" in value:
        raise UsageMistakeError("One identifier is expected on standard input, not several lines.")
    return value


def _receipt(answer: dict[str, Any]) -> str:
    receipt = answer["receipt"]
    head = f"receipt {receipt['id']}, {instant(receipt['erased_at'])}; audit trail: entry {receipt['audit']['seq']}"
    rows = [(item["count"], item["what"], item["where"]) for item in receipt["removed"]]
    asked = "".join(f"\nasked to erase them too: {one['vendor']} ({one['id']})" for one in receipt["requests"])
    return f"{head}\n{table(('ERASED', 'WHAT', 'WHERE'), rows) if rows else 'Nobody is known here by that.'}{asked}"


def _at_a_terminal() -> bool:
    return sys.stdin.isatty()
