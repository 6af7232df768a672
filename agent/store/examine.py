"""Whether a database is what was written: a quick look before it is opened, and a thorough one at leisure.

Encrypted pages are signed, so damage anywhere shows, in free pages too. Without encryption SQLite's own check of its
trees is all there is: a value that was changed in its place goes unnoticed.
"""

from __future__ import annotations

import time

from agent.errors import StorageDamagedError, StorageError
from agent.store import log_frames
from agent.store.database import ENCRYPTED, DatabaseFile, sqlite, storage_error
from agent.store.pagekey import PageKey
from agent.store.pages import Pages

LOOKS, PAUSE_S = 4, 0.25
_TABLES = "SELECT name FROM damaged.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"


def look(file: DatabaseFile) -> str | None:
    """What opening a database would lose without a word; None when nothing.

    For a database that nobody has open. SQLite deletes the log of an empty file, and passes over what stands behind
    a damaged frame; a log that was written under another key would make the file unreadable. Takes 0.1 ms a frame,
    and nothing after an orderly stop.

    Raises:
        StorageError: the disk says no.
    """
    try:
        log = log_frames.read(file.path)
        size = file.path.stat().st_size if file.path.exists() else 0
        if log.damaged:
            hidden = log.committed - log.taken
            return f"its log is damaged: {hidden} pages stand behind the damage, {log.missing} are missing"
        if not log.committed:
            return None
        if not size:
            return f"it is empty, but its log holds {log.committed} pages"
        with Pages(file, log) as pages:
            if pages.unreadable_frames and _is_ours(file, pages, log.committed):
                return f"{pages.unreadable_frames} of {log.committed} pages in its log cannot be read"
    except OSError as error:
        raise StorageError(f"{file.path.name} cannot be read: {error.strerror}") from error
    return None


def _is_ours(file: DatabaseFile, pages: Pages, frames: int) -> bool:
    """Whether the key is the right one: something was written under it. A wrong one is for the opening to tell."""
    if file.key is None or not ENCRYPTED:
        return True
    return pages.unreadable_frames < frames or PageKey(file.key).wrote(file.path)


def examine(file: DatabaseFile) -> str | None:
    """What is wrong with a database, which may be in use; None when it is whole. For a process of its own.

    Raises:
        StorageError: it cannot be opened or read, for reasons that are no damage.
    """
    try:
        return _unsigned(file) or _torn(file)
    except sqlite.Error as error:
        raise storage_error(error) from error
    except OSError as error:
        raise StorageError(f"{file.path.name} cannot be read: {error.strerror}") from error


def _unsigned(file: DatabaseFile) -> str | None:
    """Pages whose signature does not fit, and that do not come to fit: somebody may just be writing them."""
    unsound: set[int] = set()
    for attempt in range(LOOKS):
        with Pages(file, log_frames.read(file.path)) as pages:
            now = set(pages.unsound())
        unsound = unsound & now if attempt else now
        if not unsound:
            return None
        time.sleep(PAUSE_S)
    return f"{len(unsound)} pages cannot be read, the first is number {min(unsound)}"


def _torn(file: DatabaseFile) -> str | None:
    """What SQLite finds wrong with the trees, table by table: a long look would keep the log from being emptied."""
    connection = sqlite.connect(":memory:", isolation_level=None, uri=True)
    try:
        connection.execute(*file.attachment("damaged"))
        for (table,) in connection.execute(_TABLES).fetchall():
            found = connection.execute(f'PRAGMA damaged.quick_check("{table}")').fetchone()
            if found is not None and found[0] != "ok":
                return f"{table}: {found[0]}"[:200]
    except sqlite.DatabaseError as error:
        failure = storage_error(error)
        if not isinstance(failure, StorageDamagedError):
            raise failure from error
        return str(error)
    finally:
        connection.close()
    return None
