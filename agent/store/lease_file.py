"""The replica's own key and the record of its lease, in two small files.

::

    replica.key      32 random bytes, sealed under the storage key: without them the replica is noise
    replica.lease    when it was last renewed, signed with that key

The pages of the replica hang on the storage key and on this one. So the lease ends with one small overwritten file,
however large the replica is. Look-up hashes hang on neither (:mod:`agent.store.hashkey`): whom the outbox remembers by
a hash must be found after the replica that knew them has ended.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Self

from agent.disk import erase, write_durably
from agent.domain.lease import Contents, LeaseRecord
from agent.errors import StorageKeyError
from agent.keys import KEY_BYTES, seal, unseal

KEY_FILE, RECORD_FILE = "replica.key", "replica.lease"


@dataclass(frozen=True, slots=True)
class LeaseFile:
    """The key of one replica and its record; another replica has another.

    Attributes:
        directory: where both files lie.
        key: 32 bytes.
    """

    directory: Path
    key: bytes = field(repr=False)

    @classmethod
    def made(cls, directory: Path, storage_key: bytes) -> Self:
        """A new key, sealed and on disk, without a record. Raises OSError."""
        key = secrets.token_bytes(KEY_BYTES)
        (directory / RECORD_FILE).unlink(missing_ok=True)
        write_durably(directory / KEY_FILE, seal(storage_key, key))
        return cls(directory, key)

    @classmethod
    def found(cls, directory: Path, storage_keys: Iterable[bytes]) -> Self | None:
        """The key that is there; None when there is none.

        Raises:
            StorageKeyError: it is sealed under another storage key, or damaged.
            OSError: it cannot be read.
        """
        try:
            sealed = (directory / KEY_FILE).read_bytes()
        except FileNotFoundError:
            return None
        for storage_key in storage_keys:
            if (key := unseal(storage_key, sealed)) is not None:
                return cls(directory, key)
        raise StorageKeyError(f"the key does not open {KEY_FILE}")

    def reseal(self, storage_key: bytes) -> bool:
        """Seals the key under this storage key; whether it was under another one. Raises OSError."""
        path = self.directory / KEY_FILE
        if unseal(storage_key, path.read_bytes()) is not None:
            return False
        write_durably(path, seal(storage_key, self.key))
        return True

    def erase(self) -> None:
        """Ends the replica: nobody can read it any more. Raises OSError."""
        erase(self.directory / KEY_FILE)

    def load(self) -> LeaseRecord | None:
        """The record, or None when there is none that was written with this key."""
        try:
            said = json.loads((self.directory / RECORD_FILE).read_bytes())
            signature = bytes.fromhex(said.pop("signature"))
            if not hmac.compare_digest(signature, self._signature(said)):
                return None
            seen_at = datetime.fromisoformat(said.pop("seen_at"))
            return LeaseRecord(seen_at=seen_at, contents=Contents(said.pop("contents")), **said)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def save(self, record: LeaseRecord) -> None:
        """Puts the record on disk. Raises OSError; the former one stays."""
        said = {
            "contents": record.contents.value,
            "age_s": round(record.age_s, 3),
            "seen_at": record.seen_at.isoformat(),
            "skew_s": round(record.skew_s, 3),
        }
        content = json.dumps({**said, "signature": self._signature(said).hex()}, indent=1)
        write_durably(self.directory / RECORD_FILE, f"{content}\n".encode())

    def _signature(self, said: Mapping[str, object]) -> bytes:
        return blake2b(json.dumps(said).encode(), key=self.key, person=b"lease", digest_size=16).digest()
