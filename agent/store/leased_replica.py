"""The replica together with its key and its lease: opened, withheld and ended as one (the port of the lease).

Two have a say in whether it may be read: its lease, and whoever keeps the files whole. It is open while both allow it.
"""

from __future__ import annotations

from collections.abc import Callable

from agent.domain.lease import LeaseRecord
from agent.errors import StorageError
from agent.store.lease_file import LeaseFile
from agent.store.replica import SqliteReplica
from agent.store.replica_file import ReplicaFile


class LeasedReplica:
    """What the lease does to the replica, and what is done to a damaged one.

    Args:
        replica: closed, over the file of this lease.
        lease: its key and record.
        renew_key: makes the key of the next replica. Raises StorageError.
        file_of: the file that belongs to a key.
        failed: told when it cannot be opened: it stays barred until :meth:`unbar`.
    """

    def __init__(
        self,
        replica: SqliteReplica,
        lease: LeaseFile,
        *,
        renew_key: Callable[[], LeaseFile],
        file_of: Callable[[LeaseFile], ReplicaFile],
        failed: Callable[[StorageError], None],
    ) -> None:
        self._replica, self._lease = replica, lease
        self._renew_key, self._file_of, self._failed = renew_key, file_of, failed
        self._lent = False
        self.barred = False
        """Nobody may read it, whatever its lease says."""

    def there(self) -> bool:
        """Whether a replica lies there, whole or being built."""
        file = self.file
        return file.database.path.exists() or file.side.path.exists()

    @property
    def file(self) -> ReplicaFile:
        """Its file; another lease has another."""
        return self._replica.file

    @property
    def loaded(self) -> bool:
        """Whether everybody is in it. Raises StorageError."""
        return self._replica.info().as_of is not None

    # --- the lease's say ------------------------------------------------------------------------------------

    def open(self) -> None:
        """Look-ups may read it. What cannot be opened is left to whoever keeps the files whole."""
        self._lent = True
        if self.barred:
            return
        try:
            self._replica.open()
        except StorageError as error:
            self.bar()
            self._failed(error)

    def withhold(self) -> None:
        """Closes it to look-ups; they find nobody. Idempotent."""
        self._lent = False
        self._replica.withhold()

    def start_over(self) -> None:
        """Overwrites the key, removes the files and opens an empty one under a new key. Can be repeated.

        Raises:
            StorageError, OSError: the disk says no; nobody is found then.
        """
        self._replica.withhold()
        self._lease.erase()
        self._lease = self._renew_key()
        self._replica.start_over(self._file_of(self._lease))
        self._lent = True

    def load(self) -> LeaseRecord | None:
        """The record, or None when there is none that can be read."""
        return self._lease.load()

    def save(self, record: LeaseRecord) -> None:
        """Puts the record on disk. Raises OSError."""
        self._lease.save(record)

    # --- the say of whoever keeps it whole ------------------------------------------------------------------

    def bar(self) -> None:
        """Closes it to look-ups, and keeps the lease from opening it. Idempotent."""
        self.barred = True
        self._replica.withhold()

    def unbar(self) -> None:
        """Opens it, if its lease allows that. Raises StorageError; it stays barred then."""
        if self.barred and self._lent:
            self._replica.open()
        self.barred = False
