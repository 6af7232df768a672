"""What can be said of an agent that does not answer, from the files it left. Nothing is started or changed."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.cli.ownership import as_owner_of
from agent.errors import StorageError
from agent.settings import Configuration
from agent.state import OUTBOX, REPLICA, State
from agent.store.outbox_sql import COUNTS

_DATABASES = {"outbox": OUTBOX, "replica": REPLICA}


def look(configuration: Configuration) -> dict[str, Any]:
    """The state directory, each database's size and last write, and the deliveries by state; null where unknown."""
    return {
        "state_dir": str(configuration.state_dir),
        **{name: _describe(configuration.state_dir / file) for name, file in _DATABASES.items()},
        "queue": _count(configuration),
    }


def _describe(path: Path) -> dict[str, Any] | None:
    files = [Path(f"{path}{suffix}") for suffix in ("", "-wal")]
    try:
        stats = [file.stat() for file in files if file.is_file()]
    except PermissionError:
        return None
    if not stats:
        return None
    written_at = datetime.fromtimestamp(max(stat.st_mtime for stat in stats), UTC)
    return {"bytes": sum(stat.st_size for stat in stats), "written_at": written_at.isoformat(timespec="seconds")}


def _count(configuration: Configuration) -> dict[str, int] | None:
    try:
        if not (configuration.state_dir / OUTBOX).is_file():
            return None
        state = State(configuration)
        keys = state.keys(may_create=False)  # as who called: what is handed over is root's
        with as_owner_of(configuration.state_dir), contextlib.closing(state.outbox(keys).connect(read_only=True)) as db:
            return {state: count for state, count in db.execute(COUNTS) if count}
    except (StorageError, PermissionError):
        return None
