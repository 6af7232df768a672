"""docs/operations.md names every command, option and exit status, and every key that --json prints."""

import re
from pathlib import Path

import click
import pytest

from agent.cli import exits
from agent.cli.main import program

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")


def commands(command=program, path=()):
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), (*path, name))
    else:
        yield " ".join(path), command


@pytest.mark.parametrize(("path", "command"), list(commands()), ids=[path for path, _ in commands()])
def test_every_command_and_option_is_documented(path, command):
    """Each command has its row, and each of its options stands on the page."""
    assert re.search(rf"^\| `{path}[` ]", PAGE, re.MULTILINE)
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert f"`{parameter.opts[-1]}" in PAGE or f"`{parameter.opts[0]}" in PAGE


def test_no_other_command_is_documented():
    """The page promises nothing that there is not."""
    table = PAGE.split("## Commands")[1].split("## Exit status")[0]
    rows = re.findall(r"^\| `([a-z-]+(?: [a-z]+)?)", table, re.MULTILINE)

    assert set(rows) == {path for path, _ in commands()}


def test_every_exit_status_is_documented():
    """The table of exit statuses is the program's own."""
    table = PAGE.split("## Exit status")[1].split("## JSON")[0]

    assert {int(status) for status in re.findall(r"^\| ([0-9]+) \|", table, re.MULTILINE)} == set(exits.MEANING)
