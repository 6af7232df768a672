"""`version`: which program this is. Nothing else is imported here."""

from __future__ import annotations

import platform
from importlib import metadata

import click

from agent.cli.invocation import Invocation, common, pass_invocation

NAME = "loyalty-agent"


@click.command(short_help="Say which program this is.")
@common
@pass_invocation
def version(invocation: Invocation) -> None:
    """Say which program this is, and which Python runs it."""
    ours = metadata.version(NAME)
    python = platform.python_version()
    invocation.answer({"name": NAME, "version": ours, "python": python}, f"{NAME} {ours} (Python {python})")
