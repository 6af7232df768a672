"""The state directory: who holds it, its key, its two databases.

::

    agent.lock       held while an agent runs; a second one is refused
    storage.key      what the databases and every keyed hash hang on (`storage.key` may put it elsewhere)
    outbox.db        sales and their deliveries
    replica.db       the local contacts; replica.next.db while one is being built
    spool/           export files while they are being read
    tokens.json      the door's tokens, hashed; cli.token, the commands' own
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import structlog

from agent.errors import StateHeldError
from agent.secrets import storage_key, subkey
from agent.settings import Configuration
from agent.store.database import ENCRYPTED, DatabaseFile
from agent.store.replica_file import ReplicaFile

log = structlog.get_logger(__name__)

OUTBOX, REPLICA, SPOOL, LOCK = "outbox.db", "replica.db", "spool", "agent.lock"
DATABASE_PARTS = ("", "-wal", "-shm")
OWN_FILES = (*(f"{name}{part}" for name in (OUTBOX, REPLICA) for part in DATABASE_PARTS), "storage.key", "tokens.json")
OWN_MODE = 0o600
OUTBOX_CACHE_KIB = 4_096
REPLICA_CACHE_KIB = 16_384


class State:
    """One state directory.

    Args:
        configuration: says where it is and how it is kept.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self.directory = configuration.state_dir

    @property
    def unencrypted(self) -> bool:
        """Encryption is wanted, but there is no library for it on this platform."""
        return self._configuration.settings.storage.encryption == "on" and not ENCRYPTED

    @property
    def spool(self) -> Path:
        """Where export files lie while they are being read."""
        return self.directory / SPOOL

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Holds the directory, made if need be, against any other agent, and closes its files to other users.

        Raises:
            StateHeldError: another agent holds it.
            OSError: it cannot be written.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(self.directory, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(self.directory))
        handle = os.open(self.directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StateHeldError from None
            self._close_to_others()
            yield
        finally:
            os.close(handle)

    def key(self, *, may_create: bool) -> bytes:
        """The storage key, made when it is a `file:` and there is no database yet.

        Args:
            may_create: False for who only looks.

        Raises:
            StorageKeyError: it is missing or no key.
        """
        reference = self._configuration.secret(self._configuration.settings.storage.key)
        if reference.kind == "file":
            reference = replace(reference, base=self.directory)
        databases = any((self.directory / name).exists() for name in (OUTBOX, REPLICA))
        return storage_key(reference, may_create=may_create and not databases)

    def outbox(self, key: bytes) -> DatabaseFile:
        """The outbox's file: what is committed survives a power cut."""
        return DatabaseFile(self.directory / OUTBOX, self._database_key(key), "FULL", OUTBOX_CACHE_KIB)

    def replica(self, key: bytes) -> ReplicaFile:
        """The replica's file: it can be fetched again."""
        settings = self._configuration.settings
        return ReplicaFile(
            database=DatabaseFile(self.directory / REPLICA, self._database_key(key), "NORMAL", REPLICA_CACHE_KIB),
            key=subkey(key, "lookup"),
            primary=settings.loyalty.primary,
            contents=settings.replica.contents,
            fields=settings.replica.fields,
        )

    def empty_spool(self) -> int:
        """Erases downloaded files that nobody is reading any more; how many there were."""
        left = list(self.spool.iterdir()) if self.spool.is_dir() else []
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def _close_to_others(self) -> None:
        """Takes from everybody else what a backup or a hand gave them: our own files, not what others put here."""
        for path in (self.directory / name for name in OWN_FILES):
            with contextlib.suppress(OSError):  # it is not there, or not ours to change: who opens it says so
                mode = path.stat().st_mode & 0o777
                if mode != OWN_MODE:
                    path.chmod(OWN_MODE)
                    log.warning("state.closed", file=path.name)

    def _database_key(self, key: bytes) -> bytes | None:
        encrypted = self._configuration.settings.storage.encryption == "on" and ENCRYPTED
        return subkey(key, "database") if encrypted else None
