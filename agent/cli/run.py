"""`run`: the agent itself, in the foreground."""

from __future__ import annotations

import click

from agent.cli.configuration import load
from agent.cli.invocation import Invocation, common, overridable, pass_invocation


@click.command(short_help="Run the agent in the foreground until SIGTERM or Ctrl-C.")
@common
@overridable
@pass_invocation
def run(invocation: Invocation) -> int:
    """Run the agent in the foreground until SIGTERM or Ctrl-C.

    What happens is logged on standard error, with --json one JSON object a line. A service manager runs this command.
    """
    if invocation.json:
        invocation.overrides.setdefault("log.format", "json")
    configuration = load(invocation, secrets=True)
    from agent import daemon  # noqa: PLC0415 - the whole agent: a faulty configuration is told before it loads

    return daemon.main(configuration)
