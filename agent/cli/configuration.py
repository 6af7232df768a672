"""The configuration as a command needs it."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from agent import paths, settings
from agent.cli.invocation import Invocation
from agent.connectors.registry import settings_models
from agent.errors import ConfigurationError, Fault

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


def _flags(overrides: dict[str, str]) -> dict[str, Any]:
    # As in the environment: a list or table is spelled in TOML, anything else is the text itself.
    flags: dict[str, Any] = {}
    for key, text in overrides.items():
        try:
            flags[key] = tomllib.loads(f"value = {text}")["value"] if text.startswith(("[", "{")) else text
        except tomllib.TOMLDecodeError:
            raise ConfigurationError([Fault(f"the command line: {key}", "is not a TOML value")]) from None
    return flags
