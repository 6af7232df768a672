"""The table of commands, and how each ends: with an exit status, and with an error in words or in JSON.

Commands are imported when they are called: `loyalty-agent version` must not wait for a web server to load.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from agent.cli import exits
from agent.cli.invocation import Invocation, common
from agent.errors import ConfigurationError, InputError, LoyaltyAgentError

COMMANDS = {
    "run": "agent.cli.run:run",
    "demo": "agent.cli.workbench:demo",
    "status": "agent.cli.state:status",
    "doctor": "agent.cli.doctor:doctor",
    "config": "agent.cli.config:config",
    "sync": "agent.cli.orders:sync",
    "flush": "agent.cli.orders:flush",
    "queue": "agent.cli.queue:queue",
    "damage": "agent.cli.damage:damage",
    "explain": "agent.cli.state:explain",
    "reconcile": "agent.cli.reconcile:reconcile",
    "purge": "agent.cli.orders:purge",
    "privacy": "agent.cli.privacy:privacy",
    "audit": "agent.cli.audit:audit",
    "token": "agent.cli.tokens:token",
    "secret": "agent.cli.secret:secret",
    "key": "agent.cli.key:key",
    "support-bundle": "agent.cli.support:support_bundle",
    "drill": "agent.cli.workbench:drill",
    "conformance": "agent.cli.conformance:conformance",
    "campaign": "agent.cli.campaign:campaign",
    "simulate": "agent.cli.workbench:simulate",
    "service": "agent.cli.service:service",
    "version": "agent.cli.version:version",
}
"""Each command and the attribute that holds it, in the order of the help."""


class Program(click.Group):
    """The whole command line. Its exit status is always one of :data:`agent.cli.exits.MEANING`."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The commands, most used first."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> int:
        """Runs the command and tells of what went wrong; the exit status."""
        try:
            result = super().invoke(ctx)
        except BrokenPipeError:
            # Whoever read our output has left; the interpreter must not complain about it at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return exits.INPUT_OUTPUT
        except (LoyaltyAgentError, OSError) as error:
            invocation: Invocation = ctx.ensure_object(Invocation)
            _tell(error, as_json=invocation.json)
            return exits.status_for(error)
        return result if isinstance(result, int) else exits.OK

    def main(  # type: ignore[override] # click overloads on standalone_mode; both forms are served here
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 - click's signature
        windows_expand_args: bool = True,  # noqa: FBT001, FBT002 - click's signature
        **extra: Any,
    ) -> int:
        """Runs the program; exits with its status, or returns it outside ``standalone_mode``."""
        extra.setdefault("obj", Invocation())
        try:
            status: int = super().main(
                args,
                prog_name or "loyalty-agent",
                complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
        except click.ClickException as error:
            error.show()
            status = exits.USAGE
        except (click.Abort, KeyboardInterrupt):
            click.echo("Stopped.", err=True)
            status = exits.DEGRADED
        if standalone_mode:
            sys.exit(status)
        return status


def _tell(error: Exception, *, as_json: bool) -> None:
    """Says what went wrong: on standard output as JSON where that was asked for, else on standard error."""
    code = error.code if isinstance(error, LoyaltyAgentError) else "system.error"
    advice = error.advice if isinstance(error, LoyaltyAgentError) else None
    text = _text(error)
    if as_json:
        document: dict[str, Any] = {"code": code, "message": text, "advice": advice}
        if isinstance(error, ConfigurationError):
            document["faults"] = [{"where": fault.pointer, "message": fault.message} for fault in error.faults]
        with contextlib.suppress(OSError):  # it may be standard output that says no
            click.echo(json.dumps({"error": document}, indent=2, ensure_ascii=False))
            return
    click.echo(text, err=True)
    if advice:
        click.echo(advice, err=True)


def _text(error: Exception) -> str:
    if isinstance(error, InputError):
        return "\n".join(f"{fault.pointer} {fault.message}" for fault in error.faults)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or type(error).__name__}"
    return str(error)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@common
def program() -> None:
    """The offline-first loyalty agent that runs beside every till.

    Exit status: 0 fine, 1 a check failed or the agent is degraded, 2 the agent cannot be reached, 64 usage, 74 I/O,
    75 another agent holds the state, 77 permission, 78 configuration.
    """
