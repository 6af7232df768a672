"""The agent's last days on disk: a row for five minutes, in a small file of its own that nobody would miss.

It shares neither file, writer nor sync with the sales: it is never synced at all, and opened for each use. What is
damaged, or was written by a program that counts otherwise, is made anew. It holds no personal data.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zlib import crc32

from agent.disk import telling
from agent.domain.history import ANSWER_BOUNDS_S, DELIVERY_BOUNDS_S, KEPT, NOTED, Sample
from agent.errors import StorageDamagedError, StorageError, StorageKeyError
from agent.store.database import DatabaseFile, remove, sqlite, storage_error, transaction
from agent.store.outbox_view import from_ms, to_ms

if TYPE_CHECKING:
    from sqlite3 import Connection

FILE: Final = "history.db"
ROWS: Final = KEPT // NOTED
"""As many as a week has of these. They are counted, not aged: a clock that jumps ages nothing."""
_CACHE_KIB: Final = 256
_DAMAGE: Final = (StorageDamagedError, StorageKeyError, ValueError, TypeError, AttributeError)
"""Of the pages, of the first of them, or of what a row says."""
_NOT_AS_MADE: Final = (1, 8)
"""ERROR, READONLY: no statement of ours is at fault, so it is what they find: another table, or another format. (Of a
disk that nobody can write to nothing is removed either.)"""
_FORMAT: Final = crc32(repr((1, ANSWER_BOUNDS_S, DELIVERY_BOUNDS_S)).encode()) >> 1
_SCHEMA: Final = "CREATE TABLE samples (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, sample BLOB NOT NULL) STRICT"
_ADD: Final = "INSERT INTO samples (at, sample) VALUES (?, ?)"
_DROP: Final = "DELETE FROM samples WHERE id <= (SELECT max(id) FROM samples) - ?"
_BETWEEN: Final = "SELECT at, sample FROM samples WHERE at >= ? AND at < ? ORDER BY id"


class HistoryFile:
    """The file. Its methods block, raise StorageError, and may be called by several threads.

    Args:
        directory: the state directory.
    """

    def __init__(self, directory: Path) -> None:
        self._file = DatabaseFile(directory / FILE, None, "OFF", _CACHE_KIB)

    def add(self, samples: Sequence[Sample]) -> None:
        """Puts samples behind those that are there, and drops the oldest beyond a week's."""
        rows = [(to_ms(sample.at), _content(sample)) for sample in samples]
        with self._open() as db, transaction(db):
            db.executemany(_ADD, rows)
            db.execute(_DROP, (ROWS,))

    def between(self, start: datetime, until: datetime) -> list[Sample]:
        """The samples of a time, in the order they were taken in."""
        with self._open(read_only=True) as db:
            if not _is_ours(db):
                return []
            rows = db.execute(_BETWEEN, (to_ms(start), to_ms(until))).fetchall()
            return [_sample(from_ms(at), content) for at, content in rows]

    @contextlib.contextmanager
    def _open(self, *, read_only: bool = False) -> Iterator[Connection]:
        """The file for one use. One that is damaged is removed, and made anew when it is written next."""
        with telling(f"{FILE} cannot be used"):
            try:
                with contextlib.closing(self._as_it_lies() if read_only else self._file.connect()) as db:
                    if not read_only and not _is_ours(db):
                        _begin(db)
                    yield db
            except (*_DAMAGE, StorageError, sqlite.Error) as error:
                if _is_damage(error):
                    remove(self._file)
                    raise StorageDamagedError(f"{FILE} is damaged and made anew: {type(error).__name__}") from error
                if isinstance(error, sqlite.Error):
                    raise storage_error(error) from error
                raise

    def _as_it_lies(self) -> Connection:
        """A connection for which nothing is made: what WAL mode needs beside the file has no place on a full disk.

        Only a log that a kill has left behind has to be read the usual way.
        """
        path = self._file.path
        log = path.with_name(f"{FILE}-wal")
        if not path.exists():
            return sqlite.connect(":memory:")
        if log.exists() and log.stat().st_size:
            return self._file.connect()
        return sqlite.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)


def _is_damage(error: Exception) -> bool:
    cause = error.__cause__ if isinstance(error, StorageError) else error
    if getattr(cause, "sqlite_errorcode", 0) & 0xFF in _NOT_AS_MADE:
        return True
    return isinstance(storage_error(error) if isinstance(error, sqlite.Error) else error, _DAMAGE)


def _is_ours(db: Connection) -> bool:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return bool(version == _FORMAT)


def _begin(db: Connection) -> None:
    db.execute("DROP TABLE IF EXISTS samples")
    db.execute(_SCHEMA)
    db.execute(f"PRAGMA user_version = {_FORMAT}")


def _content(sample: Sample) -> bytes:
    return json.dumps(
        [
            sample.depth, sample.parked, sample.in_doubt, sample.oldest_age_s, sample.replica_age_s,
            sample.answers, sample.delivered,
        ],
        separators=(",", ":"),
    ).encode()  # fmt: skip


def _sample(at: datetime, content: bytes) -> Sample:
    depth, parked, in_doubt, oldest_age_s, replica_age_s, answers, delivered = json.loads(content)
    ages = [age for age in (oldest_age_s, replica_age_s) if age is not None]
    for figure in (depth, parked, in_doubt, *ages, *answers, *chain.from_iterable(delivered.values())):
        if type(figure) is not int or figure < 0:
            raise ValueError("a figure is none")
    return Sample(
        at, depth, parked, in_doubt, oldest_age_s, replica_age_s,
        tuple(answers), {vendor: tuple(counts) for vendor, counts in delivered.items()},
    )  # fmt: skip
