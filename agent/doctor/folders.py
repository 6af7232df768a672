"""Folders in which files wait for a vendor to fetch them: whether they can be written, and whether anybody fetches."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.connectors.registry import ROOMS
from agent.doctor.findings import Finding, fail, look, ok, unknown, warn
from agent.ports import Clock
from agent.settings import Configuration

_LONG = timedelta(days=1)
_ALL = os.R_OK | os.W_OK | os.X_OK


def look_at_folders(configuration: Configuration, clock: Clock) -> Iterator[Finding]:
    """A finding for each system that fetches files here."""
    for name, _, table in configuration.vendor_tables():
        folder = ROOMS[name].folder(table)
        if folder is not None:
            yield from look(f"{name}.files")(_folder)(f"{name}.files", folder, clock)


def _folder(check: str, folder: Path, clock: Clock) -> Iterator[Finding]:
    if not folder.is_dir():
        yield fail(check, f"{folder} is no folder", "Make it, for the agent's user and whoever fetches the files.")
        return
    if os.name == "posix" and folder.stat().st_mode & stat.S_IWOTH:
        yield fail(check, f"anybody on this machine may write into {folder}", f"chmod o-rwx {folder}")
        return
    files = [file.stat() for file in folder.glob("[!.]*.csv")]
    waiting = f"{len(files)} file{' waits' if len(files) == 1 else 's wait'} in {folder} to be fetched"
    oldest = min((datetime.fromtimestamp(file.st_mtime, UTC) for file in files), default=None)
    if oldest is not None and clock.now() - oldest > _LONG:
        text = f"{waiting}, the oldest since {oldest.isoformat(timespec='minutes')}"
        yield warn(check, text, "Look at the import: nobody fetches them, and they hold people's data.")
    elif not os.access(folder, _ALL, effective_ids=os.access in os.supports_effective_ids):
        yield unknown(check, f"{folder} may not be written by this user", "Run doctor as the agent's user.")
    else:
        yield ok(check, waiting)
