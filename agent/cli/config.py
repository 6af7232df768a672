"""`config check`, `config show`, `config example`: the configuration without a running agent."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from typing import Any

import click
from pydantic import BaseModel

from agent import messages
from agent.cli import exits
from agent.cli.configuration import file_of, load
from agent.cli.example import example as example_text
from agent.cli.invocation import Invocation, common, overridable, pass_invocation
from agent.errors import ConfigurationError, Fault
from agent.secrets import SecretReference
from agent.settings import Configuration, Settings, secret_keys
from agent.settings.values import spelled, toml

_ORIGIN_COLUMN = 64
_OTHERS = stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH


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
    warnings = [{"where": fault.pointer, "message": fault.message} for fault in _warnings(configuration)]
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
    rows = list(_rows(configuration))
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


def _warnings(configuration: Configuration) -> Iterator[Fault]:
    key, locale = "agent.locale", configuration.settings.agent.locale
    if not messages.are_shipped_in(locale):
        served = ", ".join(messages.LANGUAGES)
        yield Fault(
            f"{configuration.origins[key]}: {key}", f"has no texts: English is shown; there are texts in {served}"
        )
    for _, path, vendor in configuration.vendor_tables():
        for warning in vendor.warnings():
            at = f"{path}.{warning.pointer}"
            yield Fault(f"{configuration.origins.get(at, 'default')}: {at}", warning.message)
    for _, path, table in (("", "http", configuration.settings.http), *configuration.vendor_tables()):
        for key, text in secret_keys(table).items():
            if _is_open(configuration.secret(text)):
                origin = configuration.origins.get(f"{path}.{key}", "default")
                yield Fault(f"{origin}: {path}.{key}", f"{text} can be read by others than its owner: chmod 600")


def _is_open(reference: SecretReference) -> bool:
    """Whether a file of ours lets others read a secret; a service manager sees to its credentials itself."""
    file = reference.path if reference.kind == "file" else None
    return file is not None and file.is_file() and bool(stat.S_IMODE(file.stat().st_mode) & _OTHERS)


def _line(row: dict[str, Any]) -> str:
    return f"{row['key']} is not set" if row["value"] is None else f"{row['key']} = {toml(row['value'])}"


def _rows(configuration: Configuration) -> Iterator[dict[str, Any]]:
    for section in Settings.model_fields:
        table = getattr(configuration.settings, section)
        if isinstance(table, BaseModel):
            yield from _table(section, table, configuration)
        else:
            for key, text in table.items():
                yield {"key": f'{section}."{key}"', "value": text, "origin": configuration.origins[section]}
    for _, path, table in configuration.vendor_tables():
        yield from _table(path, table, configuration)


def _table(name: str, table: BaseModel, configuration: Configuration) -> Iterator[dict[str, Any]]:
    for key, field in type(table).model_fields.items():
        path = f"{name}.{key}"
        value = spelled(getattr(table, key), field)
        yield {"key": path, "value": value, "origin": configuration.origins.get(path, "default")}
