"""Exchanging the storage key: every file is brought under the new one, which then takes the former one's place.

Safe to be killed at any moment and to be repeated: each file moves in one rename, both keys stay at hand until the
last file has moved, and whoever opens a file meanwhile takes the key that opens it. Nobody else may hold the state
directory. What stays the same is what has to: the keys of hashes that are compared for years, sealed anew.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from agent.errors import StorageDamagedError, StorageError
from agent.keys import StorageKeys
from agent.state import OUTBOX, REPLICA, State
from agent.store.database import remove
from agent.store.examine import look
from agent.store.hashkey import reseal
from agent.store.lease_file import KEY_FILE
from agent.store.rekey import rekey
from agent.store.replica_file import side_of

log = structlog.get_logger(__name__)


def current_keys(state: State) -> tuple[StorageKeys, bool]:
    """The storage key of a start, and whether it has just taken another's place: before any file is opened.

    Raises:
        StorageKeyError: there are databases, but not their key.
    """
    keys = state.keys(may_create=True)
    if not keys.former:
        return keys, False
    try:
        files = rotate(state, keys)
    except StorageError as error:  # every file is readable all the same, and the next start tries again
        log.warning("key.not_rotated", code=error.code, reason=str(error))
        return keys, False
    log.info("key.rotated", files=files)
    return keys, bool(files)


def rotate(state: State, keys: StorageKeys) -> list[str]:
    """Brings every file under the current storage key.

    Returns:
        The names of the files that were not under it yet.

    Raises:
        StorageError: a file could not be moved. The others were, all are readable, and it can be repeated.
    """
    moved, failures = [], []
    for name, move in _STEPS.items():
        try:
            if move(state, keys):
                moved.append(name)
        except StorageError as error:
            failures.append(error)
        except OSError as error:
            failures.append(StorageError(f"{name} cannot be brought under another key: {error.strerror}"))
    if failures:
        raise failures[0]
    state.key_place.settle()
    return moved


def _move_outbox(state: State, keys: StorageKeys) -> bool:
    file = state.outbox(keys)
    if not file.path.exists():
        return False
    if (wrong := look(file)) is not None:  # opening it would lose what can be rescued; the next start tries again
        raise StorageDamagedError(wrong)
    key = state.outbox(StorageKeys(keys.current)).key
    if key is not None and key != file.key:
        rekey(file, key, lambda db: reseal(db, keys))
        return True
    connection = file.connect()
    try:
        return reseal(connection, keys)
    finally:
        connection.close()


def _move_replica(state: State, keys: StorageKeys) -> bool:
    lease = state.lease(keys)
    if lease is None:
        return False
    file = state.replica_pages(keys, lease)
    key = state.replica_pages(StorageKeys(keys.current), lease).key
    if key is None or key == file.key or not file.path.exists():
        return False
    remove(side_of(file))  # what is being built is begun anew
    rekey(file, key)
    return True


def _move_lease(state: State, keys: StorageKeys) -> bool:
    lease = state.lease(keys)
    return lease is not None and lease.reseal(keys.current)


_STEPS: dict[str, Callable[[State, StorageKeys], bool]] = {
    OUTBOX: _move_outbox,
    REPLICA: _move_replica,
    KEY_FILE: _move_lease,
}
