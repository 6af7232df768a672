"""The replica together with its key and its lease: opened, withheld and ended as one (the port of the lease)."""

from __future__ import annotations

from collections.abc import Callable

from agent.domain.lease import LeaseRecord
from agent.errors import StorageDamagedError, StorageError, StorageKeyError
from agent.store.lease_file import LeaseFile
from agent.store.replica import SqliteReplica
from agent.store.replica_file import ReplicaFile


class LeasedReplica:
    """What the lease does to the replica.

    Args:
        replica: closed, over the file of this lease.
        lease: its key and record.
        renew_key: makes the key of the next replica. Raises StorageError.
        file_of: the file that belongs to a key.
        damaged: takes a file away that cannot be read; look-ups go on with an empty one.
    """

    def __init__(
        self,
        replica: SqliteReplica,
        lease: LeaseFile,
        *,
        renew_key: Callable[[], LeaseFile],
        file_of: Callable[[LeaseFile], ReplicaFile],
        damaged: Callable[[ReplicaFile, StorageError], None],
    ) -> None:
        self._replica, self._lease = replica, lease
        self._renew_key, self._file_of, self._damaged = renew_key, file_of, damaged
        self.withhold = replica.withhold

    def there(self) -> bool:
        """Whether a replica lies there, whole or being built."""
        file = self._replica.file
        return file.database.path.exists() or file.side.path.exists()

    def open(self) -> None:
        """Opens it to look-ups; anew when it is damaged. Raises StorageError."""
        try:
            self._replica.open()
        except (StorageDamagedError, StorageKeyError) as error:  # its key has been read: the file is at fault
            self._damaged(self._replica.file, error)
            self._replica.open()

    def start_over(self) -> None:
        """Overwrites the key, removes the files and opens an empty one under a new key. Can be repeated.

        Raises:
            StorageError, OSError: the disk says no; nobody is found then.
        """
        self._replica.withhold()
        self._lease.erase()
        self._lease = self._renew_key()
        self._replica.start_over(self._file_of(self._lease))

    def load(self) -> LeaseRecord | None:
        """The record, or None when there is none that can be read."""
        return self._lease.load()

    def save(self, record: LeaseRecord) -> None:
        """Puts the record on disk. Raises OSError."""
        self._lease.save(record)
