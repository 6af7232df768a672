"""Progress: one line that rewrites itself on a terminal, plain lines elsewhere, on standard error either way."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

import click

_ERASE_LINE = "\r\x1b[2K"


class Ticker:
    """Shows the latest of a row of texts. A context manager; at its end the last text stays.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet, self._rewrites = quiet, sys.stderr.isatty()
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._last and self._rewrites and not self._quiet:
            click.echo(err=True)

    def say(self, text: str) -> None:
        """Shows a text in place of the one before; nothing when it is the same."""
        if self._quiet or text == self._last:
            return
        self._last = text
        click.echo(f"{_ERASE_LINE}{text}" if self._rewrites else text, nl=not self._rewrites, err=True)
