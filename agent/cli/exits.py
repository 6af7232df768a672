"""Exit statuses: a contract that IT departments script against. Values from 64 up are those of BSD's sysexits.h."""

from __future__ import annotations

from agent.cli.errors import DaemonUnreachableError, PermissionRefusedError, UsageMistakeError
from agent.errors import ConfigurationError, InputError, StateHeldError, StorageError, StorageKeyError

OK = 0
DEGRADED = 1
UNREACHABLE = 2
USAGE = 64
INPUT_OUTPUT = 74
STATE_HELD = 75
PERMISSION = 77
CONFIGURATION = 78

MEANING = {
    OK: "fine",
    DEGRADED: "a check failed, what was asked was refused, or the agent is degraded or offline",
    UNREACHABLE: "the running agent cannot be reached",
    USAGE: "the command line is wrong",
    INPUT_OUTPUT: "a file, the disk or the network said no",
    STATE_HELD: "another agent holds the state directory",
    PERMISSION: "this user, or this token, may not do that",
    CONFIGURATION: "the configuration has faults",
}
"""Every status that a command ends with, and what it means."""


_STATUSES: tuple[tuple[tuple[type[BaseException], ...], int], ...] = (
    ((ConfigurationError, StorageKeyError), CONFIGURATION),
    ((StateHeldError,), STATE_HELD),
    ((DaemonUnreachableError,), UNREACHABLE),
    ((UsageMistakeError, InputError), USAGE),
    ((PermissionRefusedError, PermissionError), PERMISSION),
    ((StorageError, OSError), INPUT_OUTPUT),
)


def status_for(error: BaseException) -> int:
    """The exit status that tells of an error; :data:`DEGRADED` where none is more precise."""
    known = (status for kinds, status in _STATUSES if isinstance(error, kinds))
    if isinstance(error.__cause__, PermissionError):
        return PERMISSION
    return next(known, INPUT_OUTPUT if isinstance(error.__cause__, OSError) else DEGRADED)
