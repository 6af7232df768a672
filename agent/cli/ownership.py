"""Root works on the agent's files as their owner: what a command leaves behind must be readable by the service."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def as_owner_of(directory: Path) -> Iterator[None]:
    """Runs the block as the user that owns the directory, where root called; as it is otherwise."""
    if sys.platform == "win32" or os.geteuid() != 0 or not directory.is_dir():
        yield
        return
    owner = directory.stat()
    user, group = os.geteuid(), os.getegid()
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(user)
        os.setegid(group)
