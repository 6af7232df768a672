"""What a start of this version would do to a database's schema, done to a copy.

So that an update that cannot take the queue over is known while the version before it still runs, and stays.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.disk import PRIVATE, telling
from agent.errors import StorageFullError
from agent.store.database import KEY_BYTES, DatabaseFile, migrate, remove, sqlite, steps_due, storage_error

if TYPE_CHECKING:
    from sqlite3 import Connection

    from sqlite_utils.migrations import Migrations

GROWTH = 3
"""So many times its size are needed: the copy, a table that a step writes anew, and what is written meanwhile."""
_COPY = "rehearsal.db"


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """A schema that this version can go on with.

    Attributes:
        bytes: size of the database.
        steps: names of the changes that a start makes to it, in order.
    """

    bytes: int
    steps: tuple[str, ...]


def rehearse(file: DatabaseFile, migrations: Migrations, folder: Path, *, kept_free_bytes: int) -> Rehearsed:
    """Brings a copy of a database to this program's schema and removes it. The database may be in use.

    Takes a second or two per 100 MB, and nothing where there is nothing to change. Of an encrypted database the copy is
    under a key that exists in memory alone: whoever is erased later is not in what the disk keeps of it.

    Args:
        file: the database; it is read alone.
        migrations: what its schema goes through.
        folder: where the copy lies meanwhile; made if need be.
        kept_free_bytes: what must be left on the disk: no sale may find it full of copies.

    Raises:
        StorageSchemaError: the file was written by a newer program, or a step is at fault.
        StorageFullError: there is no room for a copy.
        StorageError: the file cannot be read, or the copy not be written.
    """
    copy = replace(file, path=folder / _COPY, key=file.key and secrets.token_bytes(KEY_BYTES))
    with telling("the queue cannot be rehearsed with"):
        size = sum(path.stat().st_size for path in _parts(file.path) if path.is_file())
        remove(copy)  # what a kill left, which would take the room of the next one
        steps = steps_due(file, migrations)
        if not steps:
            return Rehearsed(size, ())
        folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free - GROWTH * size < kept_free_bytes:
            raise StorageFullError("there is no room on the disk for a copy of the queue")
        try:
            with contextlib.closing(_copied(file, copy)) as connection:
                migrate(connection, migrations)
        finally:
            remove(copy)
    return Rehearsed(size, steps)


def _copied(file: DatabaseFile, copy: DatabaseFile) -> Connection:
    """A copy, open. It is worth nothing after a crash: no write of it is waited for, and it goes into no log first.

    With its content it gets the mode of its original, so that the steps are done as a start does them.
    """
    target = copy.connect()
    try:
        target.execute("PRAGMA journal_mode = MEMORY").fetchall()
        target.execute("PRAGMA synchronous = OFF")
        with contextlib.closing(file.connect(read_only=True)) as source:
            source.backup(target)
    except sqlite.Error as error:
        target.close()
        raise storage_error(error) from error
    except BaseException:
        target.close()
        raise
    return target


def _parts(path: Path) -> tuple[Path, ...]:
    return path, Path(f"{path}-wal")
