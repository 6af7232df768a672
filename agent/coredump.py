"""What the operating system is asked not to keep of this process: its memory holds personal data that no purge reaches.

* No core file, for this process and those it starts (`RLIMIT_CORE`).
* Not dumpable (`prctl(PR_SET_DUMPABLE)`): a kernel that pipes core dumps to a program leaves that limit aside, and
  other programs of the same user could read the memory through `/proc` and `ptrace`. It is lost with every `exec`, so
  each process asks for itself.

Swap is not ours to forbid: docs/operations.md says how an administrator does. Sources: core(5), prctl(2), Linux.
"""

from __future__ import annotations

import ctypes
import sys

_PR_SET_DUMPABLE = 4


def forbid() -> None:
    """Forbids it. Does nothing where the operating system has no such thing."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - POSIX alone has it

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
