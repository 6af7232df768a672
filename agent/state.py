"""The state directory: who holds it, its keys, its two databases.

::

    agent.lock       held while an agent runs; a second one is refused
    storage.key      what all of this hangs on (`storage.key` may put it elsewhere); storage.key.next follows it
    outbox.db        sales and their deliveries
    replica.db       the local contacts; replica.next.db while one is being built
    replica.key      the replica's own key, and replica.lease, how long ago it was renewed
    replica.size     how many contacts it held last: one that is built anew with far fewer is not everybody
    spool/           export files while they are being read; a copy of the outbox while an update is rehearsed
    tokens.json      the door's tokens, hashed; cli.token, the commands' own
    audit.jsonl      the audit trail
    history.db       how the agent was over the last week, in figures
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import structlog

from agent.disk import PRIVATE, is_read_only, write_durably
from agent.errors import StateHeldError, StorageError, StorageKeyError
from agent.keys import KeyPlace, StorageKeys, subkey
from agent.locks import try_hold
from agent.secrets import SecretReference
from agent.settings import Configuration
from agent.store.database import ENCRYPTED, DatabaseFile
from agent.store.lease_file import KEY_FILE, RECORD_FILE, LeaseFile
from agent.store.pagekey import PageKey
from agent.store.rehearsal import Rehearsed, rehearse
from agent.store.replica_file import ReplicaFile

log = structlog.get_logger(__name__)

OUTBOX, REPLICA, SIZE, SPOOL, LOCK = "outbox.db", "replica.db", "replica.size", "spool", "agent.lock"
WHOLE_SHARE = 0.9
"""Members may have gone since the last sync; leftovers of a feed are hours or days of changes, not nine tenths."""
DATABASE_PARTS = ("", "-wal", "-shm")
OWN_FILES = (
    *(f"{name}{part}" for name in (OUTBOX, REPLICA) for part in DATABASE_PARTS),
    *("storage.key", "storage.key.next", KEY_FILE, RECORD_FILE, "tokens.json"),
)
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
        storage = configuration.settings.storage
        self._encrypted = storage.encryption == "on" and ENCRYPTED
        self.key_place = KeyPlace(
            self._reference(storage.key), self._reference(storage.previous_key) if storage.previous_key else None
        )

    @property
    def unencrypted(self) -> bool:
        """The databases can be read by whoever has the files: as configured, or for want of a library."""
        return not self._encrypted

    @property
    def has_outbox(self) -> bool:
        """An agent ran here."""
        return (self.directory / OUTBOX).exists()

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
        self.directory.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        if not os.access(self.directory, os.W_OK | os.X_OK):
            why = errno.EROFS if is_read_only(self.directory) else errno.EACCES
            raise OSError(why, os.strerror(why), os.fspath(self.directory))
        handle = os.open(self.directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not try_hold(handle):
                raise StateHeldError
            self._close_to_others()
            yield
        finally:
            os.close(handle)

    def keys(self, *, may_create: bool) -> StorageKeys:
        """The storage key, made when it is a `file:` and there is no database yet; with what it follows.

        Args:
            may_create: False for who only looks.

        Raises:
            StorageKeyError: it is missing or no key.
        """
        databases = any((self.directory / name).exists() for name in (OUTBOX, REPLICA))
        return self.key_place.read(may_create=may_create and not databases)

    def outbox(self, keys: StorageKeys) -> DatabaseFile:
        """The outbox's file: what is committed survives a power cut. Raises StorageKeyError."""
        file = DatabaseFile(self.directory / OUTBOX, None, "FULL", OUTBOX_CACHE_KIB)
        return self._under(keys, file, _outbox_page_key)

    def rehearse(self, keys: StorageKeys, *, kept_free_bytes: int) -> Rehearsed:
        """What a start of this version would do to the outbox, which may be in use; as :func:`rehearsal.rehearse`."""
        from agent.store.migrations import outbox  # noqa: PLC0415 - sqlite-utils, which only this needs

        return rehearse(self.outbox(keys), outbox, self.spool, kept_free_bytes=kept_free_bytes)

    def replica_pages(self, keys: StorageKeys, lease: LeaseFile) -> DatabaseFile:
        """The replica's file as SQLite sees it: it can be fetched again."""
        file = DatabaseFile(self.directory / REPLICA, None, "NORMAL", REPLICA_CACHE_KIB)
        try:
            return self._under(keys, file, lambda key: _replica_page_key(key, lease))
        except StorageKeyError:  # the key of the replica was read: the file is another one's, and fetched anew
            return self._under(StorageKeys(keys.current), file, lambda key: _replica_page_key(key, lease))

    def replica(self, keys: StorageKeys, lease: LeaseFile, lookup_key: bytes) -> ReplicaFile:
        """The replica's file and what is in it.

        Args:
            keys: the storage keys.
            lease: the replica's own key.
            lookup_key: what contacts are found by is hashed under it, in every replica and in the outbox.
        """
        settings = self._configuration.settings
        return ReplicaFile(
            database=self.replica_pages(keys, lease),
            key=lookup_key,
            primary=settings.loyalty.primary,
            contents=settings.replica.contents,
            fields=settings.replica.fields,
            vendor=settings.loyalty.vendor,
        )

    def lease(self, keys: StorageKeys) -> LeaseFile | None:
        """The replica's own key, or None when there is none that can be read: without it the replica is noise.

        Raises:
            StorageKeyError: it cannot be read, and nothing tells whether that is the storage key's fault.
        """
        try:
            return LeaseFile.found(self.directory, keys)
        except StorageKeyError:
            if not self.has_outbox:  # whose pages would have told
                raise
            return None

    def make_lease(self, keys: StorageKeys) -> LeaseFile:
        """A new key for a replica that is not there yet.

        Raises:
            StorageKeyError: the outbox is under another storage key, and what lies there may be too.
            StorageError: it cannot be written.
        """
        try:
            self.outbox(keys).connect(read_only=True).close()
        except StorageKeyError:
            raise
        except StorageError:
            pass  # not there, or damaged: nothing speaks against the key
        try:
            return LeaseFile.made(self.directory, keys.current)
        except OSError as error:
            raise StorageError(f"{KEY_FILE} cannot be made: {error.strerror}") from error

    @property
    def least_contacts(self) -> int:
        """So many a replica holds that is built anew, unless the feed lacks its full export; 0 where nobody knows."""
        return int(self.former_contacts * WHOLE_SHARE)

    @property
    def former_contacts(self) -> int:
        """So many a whole replica held last; 0 where nobody knows."""
        try:
            return int((self.directory / SIZE).read_bytes())
        except (OSError, ValueError):
            return 0

    def note_contacts(self, contacts: int) -> None:
        """Remembers how many contacts a whole replica holds, beyond its own end. Raises OSError.

        That there is nobody is not noted: an empty list says nothing about who was there.
        """
        if not contacts:
            return
        content = b"%d\n" % contacts
        path = self.directory / SIZE
        if not path.exists() or path.read_bytes() != content:
            write_durably(path, content)

    def empty_spool(self) -> int:
        """Erases downloaded files that nobody is reading any more; how many there were."""
        left = list(self.spool.iterdir()) if self.spool.is_dir() else []
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def _close_to_others(self) -> None:
        """Takes from everybody else what a backup or a hand gave them: our own files, not what others put here."""
        if sys.platform == "win32":  # a file has the access of its directory there, and no mode
            return
        for path in (self.directory / name for name in OWN_FILES):
            with contextlib.suppress(OSError):  # it is not there, or not ours to change: who opens it says so
                mode = path.stat().st_mode & 0o777
                if mode != OWN_MODE:
                    path.chmod(OWN_MODE)
                    log.warning("state.closed", file=path.name)

    def _reference(self, text: str) -> SecretReference:
        reference = self._configuration.secret(text)
        return replace(reference, base=self.directory) if reference.kind == "file" else reference

    def _under(self, keys: StorageKeys, file: DatabaseFile, page_key: Callable[[bytes], bytes]) -> DatabaseFile:
        """The file with the page key that opens it: the current one's, unless a former one does.

        Raises:
            StorageKeyError: none does.
        """
        if not self._encrypted:
            return file
        candidates = [replace(file, key=page_key(key)) for key in keys]
        if not (keys.former or keys.unreadable) or not file.path.exists():
            return candidates[0]
        for candidate in candidates:  # no database is opened for this: one with a journal could not be read alone
            if candidate.key is not None and PageKey(candidate.key).wrote(file.path):
                return candidate
        for candidate in candidates:
            try:
                candidate.connect(read_only=True).close()
            except StorageKeyError as error:
                failure = error
                continue
            except StorageError:
                pass  # damaged, or in use: whoever opens it next says so
            return candidate
        raise StorageKeyError(f"{failure}; {keys.unreadable}" if keys.unreadable else str(failure))


def _outbox_page_key(key: bytes) -> bytes:
    return subkey(key, "database")


def _replica_page_key(key: bytes, lease: LeaseFile) -> bytes:
    return subkey(key, "replica", lease.key)
