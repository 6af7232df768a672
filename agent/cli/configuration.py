"""The configuration as a command needs it."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from agent import messages, paths, settings
from agent.access import CLOSE, open_to_others
from agent.cli.invocation import Invocation
from agent.connectors.registry import settings_models
from agent.errors import ConfigurationError, Fault
from agent.secrets import SecretReference
from agent.settings.values import spelled

CREDENTIALS = "credentials"
"""Beside the configuration file: where a service manager reads credentials from, and `secret set` writes them."""


def file_of(invocation: Invocation) -> Path:
    """The main configuration file of this invocation, whether it exists or not."""
    return invocation.config or paths.config_dir() / "config.toml"


def credentials_beside(file: Path) -> Path:
    """The directory that credentials are handed over from."""
    return file.parent.resolve() / CREDENTIALS


def load(invocation: Invocation, *, secrets: bool) -> settings.Configuration:
    """The checked configuration; from then on instants are shown in the store's time.

    Args:
        invocation: names the file and what the command line sets.
        secrets: whether each referenced secret must be readable.

    Raises:
        ConfigurationError: with every fault.
    """
    beside = credentials_beside(file_of(invocation))
    if paths.credentials_dir() is None and beside.is_dir():
        # No service manager hands credentials over to a shell: they are read from where it would take them.
        os.environ["CREDENTIALS_DIRECTORY"] = str(beside)
    configuration = settings.load(
        config=invocation.config, vendors=settings_models(), flags=_flags(invocation.overrides), secrets=secrets
    )
    invocation.zone = ZoneInfo(configuration.settings.agent.timezone)
    return configuration


def warnings_of(configuration: settings.Configuration) -> Iterator[Fault]:
    """What works, though perhaps not as it was meant, each with its file and key."""
    key, locale = "agent.locale", configuration.settings.agent.locale
    if not messages.are_shipped_in(locale):
        served = ", ".join(messages.LANGUAGES)
        yield Fault(
            f"{configuration.origins[key]}: {key}", f"has no texts: English is shown; there are texts in {served}"
        )
    for _, path, vendor in configuration.vendor_tables():
        for warning in vendor.warnings(configuration.base):
            at = f"{path}.{warning.pointer}"
            yield Fault(f"{configuration.origins.get(at, 'default')}: {at}", warning.message)
    for _, path, table in (("", "http", configuration.settings.http), *configuration.vendor_tables()):
        for key, text in settings.secret_keys(table).items():
            reference, origin = configuration.secret(text), configuration.origins.get(f"{path}.{key}", "default")
            if _is_open(reference):
                yield Fault(f"{origin}: {path}.{key}", f"{text} can be read by others than its owner: {CLOSE}")
            if (name := _handed_over(reference)) is not None:
                yield Fault(
                    f"{origin}: {path}.{key}", f"{text} is closed to the service, which is handed credential:{name}"
                )


def rows_of(configuration: settings.Configuration) -> Iterator[dict[str, Any]]:
    """Each key, its value as TOML has it, and where it comes from; of a secret the reference."""
    for section in settings.Settings.model_fields:
        table = getattr(configuration.settings, section)
        if isinstance(table, BaseModel):
            yield from _table(section, table, configuration)
        else:
            for key, text in table.items():
                yield {"key": f'{section}."{key}"', "value": text, "origin": configuration.origins[section]}
    for _, path, table in configuration.vendor_tables():
        yield from _table(path, table, configuration)


def _table(name: str, table: BaseModel, configuration: settings.Configuration) -> Iterator[dict[str, Any]]:
    for key, field in type(table).model_fields.items():
        path = f"{name}.{key}"
        value = spelled(getattr(table, key), field)
        yield {"key": path, "value": value, "origin": configuration.origins.get(path, "default")}


def _is_open(reference: SecretReference) -> bool:
    """Whether a file of ours lets others read a secret; a service manager sees to its credentials itself."""
    file = reference.path if reference.kind == "file" else None
    try:
        return file is not None and file.is_file() and open_to_others(file)
    except PermissionError:  # its directory is closed to us, and that it cannot be read is told as a fault
        return False


def _handed_over(reference: SecretReference) -> str | None:
    """What the service manager calls a credential that is spelled as a file of root's; None for anything else.

    Root reads it, and so does every command of root's: the service, which has a user of its own, does not.
    """
    file, beside = reference.path if reference.kind == "file" else None, reference.base / CREDENTIALS
    if sys.platform == "win32" or file is None or file.parent != beside or not beside.is_dir():
        return None
    return file.name if beside.stat().st_uid == 0 and not open_to_others(beside) else None


def _flags(overrides: dict[str, str]) -> dict[str, Any]:
    # As in the environment: a list or table is spelled in TOML, anything else is the text itself.
    flags: dict[str, Any] = {}
    for key, text in overrides.items():
        try:
            flags[key] = tomllib.loads(f"value = {text}")["value"] if text.startswith(("[", "{")) else text
        except tomllib.TOMLDecodeError:
            raise ConfigurationError([Fault(f"the command line: {key}", "is not a TOML value")]) from None
    return flags
