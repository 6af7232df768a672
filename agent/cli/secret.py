"""`secret set`: puts a secret where the configuration's reference points; it comes from standard input.

A `file:` reference names the file. A `credential:` is written to `credentials/` beside the configuration, from where a
service manager hands it to the agent (systemd: `LoadCredential=`). An `env:` variable is not the agent's to set.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from agent.cli.configuration import credentials_beside, file_of, load
from agent.cli.errors import UsageMistakeError
from agent.cli.invocation import Invocation, common, pass_invocation
from agent.disk import PRIVATE, write_durably
from agent.secrets import SecretReference
from agent.settings import Configuration, secret_keys


@click.group(short_help="Put secrets in place.")
def secret() -> None:
    """Put secrets in place. Their values are never arguments, and never shown."""


@secret.command("set", short_help="Write a secret from standard input.")
@click.argument("name")
@common
@pass_invocation
def set_secret(invocation: Invocation, name: str) -> None:
    """Write the secret NAME from standard input, or a prompt, to where the configuration's reference points.

    NAME is the configuration key, such as voyado.api_key, or what its reference names, such as voyado-api-key. The
    file is replaced whole, readable by its owner alone; a running agent reads it within a minute.
    """
    configuration = load(invocation, secrets=False)
    key, reference = _named(configuration, name)
    path = _path(reference, credentials_beside(file_of(invocation)), key)
    value = _read()
    path.parent.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    write_durably(path, f"{value}\n".encode())
    invocation.answer(
        {"key": key, "reference": f"{reference.kind}:{reference.name}", "path": str(path)}, f"{key}: {path}"
    )


def _references(configuration: Configuration) -> Iterator[tuple[str, SecretReference]]:
    vendors = {path: section for _, path, section in configuration.vendor_tables()}
    for table, section in (*vendors.items(), ("http", configuration.settings.http)):
        for key, text in secret_keys(section).items():
            yield f"{table}.{key}", configuration.secret(text)


def _named(configuration: Configuration, name: str) -> tuple[str, SecretReference]:
    known = list(_references(configuration))
    for key, reference in known:
        if name in (key, reference.name, f"{reference.kind}:{reference.name}"):
            return key, reference
    listed = ", ".join(f"{key} ({reference.kind}:{reference.name})" for key, reference in known)
    raise UsageMistakeError(f"The configuration has no secret of that name. It has: {listed}.")


def _path(reference: SecretReference, credentials: Path, key: str) -> Path:
    match reference.kind:
        case "file":
            return reference.base / reference.name
        case "credential":
            return credentials / reference.name
        case _:
            raise UsageMistakeError(
                f"{key} is env:{reference.name}: set that variable where the agent starts, or use a file: reference."
            )


def _read() -> str:
    text = click.prompt("Secret", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.read()
    value = str(text).strip()
    if not value:
        raise UsageMistakeError("Nothing came on standard input.")
    return value
