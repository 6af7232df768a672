"""What every command takes: `--config` and `--json`, before the command or behind it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class Invocation:
    """How a command was called.

    Attributes:
        config: the file of `--config`, or None for the machine's own place.
        json: whether the answer is wanted as JSON.
        overrides: settings from the command line, by dotted path.
        zone: the store's time zone; None as long as no configuration was read, and people are shown the machine's own.
    """

    config: Path | None = None
    json: bool = False
    overrides: dict[str, str] = field(default_factory=dict)
    zone: tzinfo | None = None

    def answer(self, document: Mapping[str, Any], text: str) -> None:
        """Prints the answer, in the form that was asked for."""
        click.echo(json.dumps(document, indent=2, ensure_ascii=False) if self.json else text)


pass_invocation = click.make_pass_decorator(Invocation)


def _remember_config(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.ensure_object(Invocation).config = value


def _remember_json(context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's form
    if value:
        context.ensure_object(Invocation).json = True


def _remember_overrides(context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> None:
    for item in value:
        key, separator, text = item.partition("=")
        if not separator or not key:
            raise click.BadParameter("is not SECTION.KEY=VALUE, such as log.level=debug")
        context.ensure_object(Invocation).overrides[key] = text


def common(command: F) -> F:
    """Gives a command `--config` and `--json`; what was said before the command stands unless it is said again."""
    command = click.option("--json", expose_value=False, is_flag=True, callback=_remember_json, help="Answer in JSON.")(
        command
    )
    return click.option(
        "--config",
        expose_value=False,
        metavar="FILE",
        type=click.Path(path_type=Path),
        callback=_remember_config,
        help="The configuration file, instead of this machine's own.",
    )(command)


def overridable(command: F) -> F:
    """Gives a command `--set`, which goes before environment and files."""
    return click.option(
        "--set",
        expose_value=False,
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        callback=_remember_overrides,
        help="Set a configuration key for this run. May be repeated; secrets are references here too.",
    )(command)
