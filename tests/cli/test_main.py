"""How every command is called, and how it ends."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from agent.cli import exits
from agent.cli.errors import DaemonRefusedError, DaemonUnreachableError, PermissionRefusedError, UsageMistakeError
from agent.cli.main import COMMANDS, program
from agent.errors import (
    ConfigurationError,
    Fault,
    InputError,
    StateHeldError,
    StorageFullError,
    StorageKeyError,
    UnknownRecordError,
)

LOADED = """
import sys
from agent.cli.main import program
program.main(["version"], standalone_mode=False)
print([name for name in ("pydantic", "httpx", "fastapi", "structlog") if name in sys.modules])
"""
INSTALLED = Path(sys.executable).with_name("loyalty-agent")


def leaves(command, path=()):
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from leaves(command.get_command(context, name), (*path, name))
    else:
        yield pytest.param(command, id=" ".join(path))


def test_the_installed_command_answers_at_once_in_json():
    """`loyalty-agent version --json` is the program that is installed, and starts without the rest of it."""
    done = subprocess.run([INSTALLED, "version", "--json"], capture_output=True, text=True, check=False)

    assert done.returncode == 0
    assert json.loads(done.stdout).keys() == {"name", "version", "python"}
    loaded = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert loaded.stdout.endswith("[]\n")


def test_python_runs_it_as_a_module():
    """`python -m agent` is the same program."""
    done = subprocess.run([sys.executable, "-m", "agent", "version"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout.split()[0]) == (0, "loyalty-agent")


@pytest.mark.parametrize("command", list(leaves(program)))
def test_every_command_takes_config_and_json_and_has_help(command):
    """Each command has --config, --json and a help text."""
    options = {option for parameter in command.params for option in parameter.opts}

    assert {"--config", "--json"} <= options
    assert command.help
    assert command.get_short_help_str()


def test_every_command_of_this_version_is_there():
    """The top level holds the commands that scripts know."""
    assert " ".join(COMMANDS) == (
        "run demo status doctor config sync flush queue damage explain reconcile purge privacy audit token secret key"
        " support-bundle drill conformance campaign simulate service version"
    )


@pytest.mark.parametrize(
    "args",
    [
        ("nothing",),
        ("status", "--nothing"),
        ("queue", "list", "--limit", "0"),
        ("queue", "show", "seven"),
        ("token", "add", "till", "--scope", "root"),
        ("token", "add", "till"),
        ("token", "add", "not/a/name", "--scope", "pos"),
        ("config", "show", "--set", "log.level"),
        ("config",),
        ("explain",),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_64(call, args):
    """Whatever is wrong with the command line ends with 64 and says so on standard error."""
    done = call(*args)

    assert done.exit_code == exits.USAGE
    assert done.stderr
    assert not done.stdout


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigurationError([Fault("a", "b")]), 78),
        (StorageKeyError(), 78),
        (StateHeldError(), 75),
        (DaemonUnreachableError(), 2),
        (PermissionRefusedError(), 77),
        (PermissionError(13, "Permission denied"), 77),
        (UsageMistakeError(), 64),
        (InputError([Fault("name", "is taken")]), 64),
        (StorageFullError(), 74),
        (OSError(28, "No space left on device"), 74),
        (DaemonRefusedError("no"), 1),
        (UnknownRecordError(), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_each_error_has_its_exit_status(error, status):
    """An error ends the program with the status that scripts know it by."""
    assert exits.status_for(error) == status
    assert status in exits.MEANING


def test_an_error_that_wraps_one_of_permission_is_77():
    """A storage error that hides a refused file is told as what it is."""
    error = StorageFullError()
    error.__cause__ = PermissionError(13, "Permission denied")

    assert exits.status_for(error) == exits.PERMISSION


def test_config_stands_before_or_behind_the_command(call, config):
    """Both places of --config name the same file, and the later one wins."""
    before = call("config", "check", "--json")
    behind = call("config", "check", "--json", "--config", config, with_config=False)
    again = call("config", "check", "--config", config.with_name("other.toml"))

    assert before.exit_code == behind.exit_code == 0
    assert json.loads(before.stdout) == json.loads(behind.stdout)
    assert again.exit_code == exits.CONFIGURATION


def test_an_error_is_json_where_json_was_asked_for(call, config):
    """With --json an error is an object on standard output, with a stable code; without, words on standard error."""
    config.unlink()

    told = call("status", "--json")
    said = call("status")

    assert told.exit_code == said.exit_code == exits.CONFIGURATION
    error = json.loads(told.stdout)["error"]
    assert error.keys() == {"code", "message", "advice", "faults"}
    assert error["code"] == "configuration.invalid"
    assert error["faults"][0].keys() == {"where", "message"}
    assert not said.stdout
    assert "there is no such file" in said.stderr


def test_output_nobody_reads_is_no_trace(config):
    """A reader that leaves, as `head` does, gets no traceback for it."""
    done = subprocess.run(f"{INSTALLED} config example | true", shell=True, capture_output=True, text=True, check=False)

    assert done.stderr == ""


def test_an_answer_in_json_that_cannot_be_written():
    """The disk that says no may be the one that standard output goes to: then standard error is told."""
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [INSTALLED, "version", "--json"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 74
    assert "Traceback" not in done.stderr
    assert "No space left" in done.stderr
