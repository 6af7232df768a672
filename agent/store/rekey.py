"""Putting a database under another key, whole or not at all.

SQLCipher re-encrypts a copy, page by page, and the copy takes the file's place in one rename: killed at any moment,
what stands there is readable under one key or under the other. (`PRAGMA rekey` on the file itself would leave that to
a journal whose pages are under either key.) Nobody else may have the file open, which is made sure of: who closes a
write-ahead log unlinks it by name, and would unlink the new file's.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.disk import sync_directory, telling
from agent.errors import StorageDamagedError, StorageKeyError
from agent.store.database import DatabaseFile, remove, sqlite, storage_error
from agent.store.pagekey import PageKey

if TYPE_CHECKING:
    from sqlite3 import Connection

CHUNK_BYTES = 1024 * 1024
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL


def rekey(file: DatabaseFile, key: bytes, alter: Callable[[Connection], object] = lambda _db: None) -> None:
    """Puts an encrypted file under another key. Takes about 1.5 s per 100 MB, and as much room again.

    Args:
        file: as it is opened now.
        key: 32 bytes, the new one.
        alter: changes made to the copy before it takes the file's place.

    Raises:
        StorageDamagedError: a page of it cannot be read.
        StorageError: there is no room, or somebody has it open. The file stays as it was in every case.
    """
    copy = replace(file, path=file.path.with_suffix(".rekeyed.db"), key=key)
    remove(copy)
    try:
        with telling(f"{file.path.name} cannot be copied"):
            _copy(file, copy, PageKey(key), alter)
    except sqlite.Error as error:
        raise storage_error(error) from error
    finally:
        remove(copy)  # unless it has taken the file's place


def _copy(file: DatabaseFile, copy: DatabaseFile, key: PageKey, alter: Callable[[Connection], object]) -> None:
    source = file.connect()
    try:
        # Fails while anybody else has the file open; empties the write-ahead log and removes it.
        source.execute("PRAGMA journal_mode = DELETE").fetchall()
        source.execute("BEGIN EXCLUSIVE")
        with file.path.open("rb") as content, os.fdopen(os.open(copy.path, _NEW, 0o600), "wb") as target:
            shutil.copyfileobj(content, target, CHUNK_BYTES)
        _encrypt_anew(replace(copy, key=file.key), key)
        connection = _verified(file, copy)
        try:
            alter(connection)
            connection.execute("PRAGMA journal_mode = DELETE").fetchall()
        finally:
            connection.close()
        handle = os.open(copy.path, os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        if sys.platform == "win32":  # what is open is not replaced there, by whomever it was opened
            source.close()
        copy.path.replace(file.path)
        sync_directory(file.path.parent)
    finally:
        source.close()


def _encrypt_anew(copy: DatabaseFile, key: PageKey) -> None:
    connection = copy.connect()
    try:
        # Nobody needs a half-done copy: it is not worth a journal. Without one the statement says "ok" in any case.
        connection.execute("PRAGMA journal_mode = OFF").fetchall()
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(key.pragma_anew).fetchall()
    finally:
        connection.close()


def _verified(file: DatabaseFile, copy: DatabaseFile) -> Connection:
    """The copy opened under its new key, once the signature of every page has been found right."""
    damaged = StorageDamagedError(f"{file.path.name} has a damaged page")
    try:
        connection = copy.connect()
    except (StorageDamagedError, StorageKeyError) as error:  # it stopped at a page that the former key did not open
        raise damaged from error
    if connection.execute("PRAGMA cipher_integrity_check").fetchone() is not None:
        connection.close()
        raise damaged
    return connection
