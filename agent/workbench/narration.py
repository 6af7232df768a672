"""What the demonstration says: chapters and lines, with colour and a progress line only where a terminal shows them."""

from __future__ import annotations

import sys
import textwrap

import click

WIDTH = 100
_ERASE_LINE = "\r\x1b[2K"


class Narrator:
    """Tells a story on standard output.

    Args:
        quiet: say nothing at all.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stdout.isatty()
        self._chapter = 0
        self._moving = False

    def chapter(self, title: str, why: str) -> None:
        """Opens a chapter; ``why`` says why a shop cares."""
        self._chapter += 1
        self._print("")
        self._print(click.style(f"{self._chapter}  {title}", bold=True, fg="cyan"))
        for row in textwrap.wrap(why, WIDTH - 3):
            self._print("   " + click.style(row, dim=True))

    def say(self, text: str, *, good: bool = True) -> None:
        """One thing that happened; ``good`` is false where it should not have."""
        mark = click.style("+", fg="green") if good else click.style("!", fg="red", bold=True)
        first, *rest = textwrap.wrap(text, WIDTH - 5) or [""]
        self._print(f"   {mark} {first}")
        for row in rest:
            self._print(f"     {row}")

    def quote(self, whom: str, locale: str, text: str) -> None:
        """A text that the agent gave for a screen."""
        lines = textwrap.wrap(f'{whom:<8} {locale:<5} "{text}"', WIDTH - 7, subsequent_indent=" " * 15)
        for row in lines:
            self._print("       " + click.style(row, fg="yellow"))

    def plain(self, text: str) -> None:
        """A line as it is."""
        self._print(text)

    def progress(self, text: str) -> None:
        """How far something is; rewrites itself on a terminal and is left out elsewhere."""
        if self._terminal and not self._quiet:
            click.echo(f"{_ERASE_LINE}   . {text}", nl=False)
            self._moving = True

    def _print(self, text: str) -> None:
        if self._quiet:
            return
        click.echo(f"{_ERASE_LINE if self._moving else ''}{text}")
        self._moving = False
