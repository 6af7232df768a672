"""`config check`, `config show`, `config example`: the configuration without a running agent."""

from __future__ import annotations

from typing import Any

import click

from agent.cli import exits
from agent.cli.configuration import file_of, load, rows_of, warnings_of
from agent.cli.example import example as example_text
from agent.cli.invocation import Invocation, common, overridable, pass_invocation
from agent.errors import ConfigurationError
from agent.settings.values import toml

_ORIGIN_COLUMN = 64


@click.group(short_help="Check, show or begin a configuration.")
def config() -> None:
    """Check, show or begin a configuration. None of these needs a running agent."""


@config.command(short_help="Name every fault of the configuration.")
@click.option("--without-secrets", is_flag=True, help="Leave out whether the secrets can be read.")
@common
@overridable
@pass_invocation
def check(invocation: Invocation, *, without_secrets: bool) -> int:
    """Name every fault of the configuration at once, each with its file and key; 78 if there is one.

    What works, though perhaps not as it was meant, is a warning: it is named, and is no fault.

    No network is used, and no vendor is asked.
    """
    file = str(file_of(invocation))
    try:
        configuration = load(invocation, secrets=not without_secrets)
    except ConfigurationError as error:
        faults = [{"where": fault.pointer, "message": fault.message} for fault in error.faults]
        invocation.answer({"ok": False, "file": file, "faults": faults, "warnings": []}, str(error))
        return exits.CONFIGURATION
    warnings = [{"where": fault.pointer, "message": fault.message} for fault in warnings_of(configuration)]
    lines = [f"{file}: no faults", *(f"warning: {one['where']}: {one['message']}" for one in warnings)]
    invocation.answer({"ok": True, "file": file, "faults": [], "warnings": warnings}, "\n".join(lines))
    return exits.OK


@config.command(short_help="Show each key's value and where it comes from.")
@common
@overridable
@pass_invocation
def show(invocation: Invocation) -> None:
    """Show each key's value and where it comes from. A secret shows as the reference that it is, never its value."""
    configuration = load(invocation, secrets=False)
    rows = list(rows_of(configuration))
    lines = [f"{_line(row):<{_ORIGIN_COLUMN}}  # {row['origin']}" for row in rows]
    lines.append(f"\nstate directory: {configuration.state_dir}")
    document = {"file": str(file_of(invocation)), "state_dir": str(configuration.state_dir), "keys": rows}
    invocation.answer(document, "\n".join(lines))


@config.command(short_help="Print an example file with every key explained.")
@common
@pass_invocation
def example(invocation: Invocation) -> None:
    """Print an example file with every key explained; the same as config.example.toml."""
    text = example_text()
    invocation.answer({"toml": text}, text.rstrip("\n"))


def _line(row: dict[str, Any]) -> str:
    return f"{row['key']} is not set" if row["value"] is None else f"{row['key']} = {toml(row['value'])}"
