"""The key of fingerprints and look-ups: it has to stay the same for as long as what was hashed may be asked for.

A fingerprint is compared long after what it was made of has been erased, and so is the hash of a phone that a settled
sale or an erased person is found by: none can be made anew under another key. The key is random, lies in the outbox,
which keeps all of them, and is sealed under the storage key, so that the file alone gives nothing away even where it
is not encrypted. The replica's look-ups are hashed under it as well: who is in both is known by the same hash.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING

from agent.errors import StorageKeyError
from agent.keys import KEY_BYTES, seal, subkey, unseal
from agent.store.database import transaction

if TYPE_CHECKING:
    from sqlite3 import Connection

_READ = "SELECT sealed FROM hash_key"
_WRITE = "INSERT INTO hash_key (one, sealed) VALUES (1, ?) ON CONFLICT DO UPDATE SET sealed = excluded.sealed"


def lookup_key(hash_key: bytes) -> bytes:
    """What contacts are found by is hashed under it (:class:`agent.store.keyhash.KeyHash`)."""
    return subkey(hash_key, "lookup")


def hash_key(db: Connection, keys: Iterable[bytes]) -> bytes:
    """The key, made if there is none yet.

    Args:
        db: the outbox, brought to its schema.
        keys: the storage keys that it may be sealed under, the current one first.

    Raises:
        StorageKeyError: none of them opens it.
        StorageError: the file cannot be read or written.
    """
    candidates = tuple(keys)
    with transaction(db):
        row = db.execute(_READ).fetchone()
        if row is None:
            made = secrets.token_bytes(KEY_BYTES)
            db.execute(_WRITE, (seal(candidates[0], made),))
            return made
        for key in candidates:
            if (found := unseal(key, row[0])) is not None:
                return found
    raise StorageKeyError("the key does not open what outbox.db keeps sealed")


def hash_key_again(db: Connection, keys: Iterable[bytes]) -> bytes:
    """The key of an outbox that was rescued; a new one when it is lost.

    Nothing can be compared with fingerprints of a lost key: they are emptied, and a sale is known by its id alone.

    Args:
        db: the outbox with whatever rows were saved.
        keys: as for :func:`hash_key`.

    Raises:
        StorageError: the file cannot be read or written.
    """
    candidates = tuple(keys)
    if db.execute(_READ).fetchone() is not None:
        with contextlib.suppress(StorageKeyError):
            return hash_key(db, candidates)
    with transaction(db):
        db.execute("DELETE FROM hash_key")
        db.execute("UPDATE sales SET fingerprint = x''")
    return hash_key(db, candidates)


def reseal(db: Connection, keys: Iterable[bytes]) -> bool:
    """Seals the key under the first of the storage keys; whether it was under another one.

    Raises:
        StorageKeyError: none of them opens it.
        StorageError: the file cannot be read or written.
    """
    candidates = tuple(keys)
    if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'hash_key'").fetchone():
        return False  # killed before its first table was there
    key = hash_key(db, candidates)
    with transaction(db):
        if unseal(candidates[0], db.execute(_READ).fetchone()[0]) is not None:
            return False
        db.execute(_WRITE, (seal(candidates[0], key),))
    return True
