"""The databases of one state directory and what keeps them whole, put together."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from agent.kept import Kept
from agent.keys import StorageKeys
from agent.ports import Clock
from agent.services.integrity import Integrity
from agent.services.room import Room
from agent.settings import QueueSection
from agent.state import OUTBOX, REPLICA, State
from agent.store.database import migrate
from agent.store.guarded import GuardedOutbox, GuardedReplica
from agent.store.hashkey import hash_key
from agent.store.lease_file import LeaseFile
from agent.store.leased_replica import LeasedReplica
from agent.store.live import LiveDatabase
from agent.store.outbox import Outbox
from agent.store.replica import SqliteReplica

if TYPE_CHECKING:
    from sqlite3 import Connection


class Storage:
    """Everything is built and nothing opened: :meth:`Integrity.start` opens the outbox, the lease the replica.

    Args:
        state: the state directory.
        keys: the storage key, and those before it.
        lease: the replica's key.
        queue: `[queue]`.
        clock: for instants and intervals.
        vendors: who gets sales.
        changed: called when something changed for whoever waits for a database or for room.
        refetch: orders the replica to be fetched again.

    Attributes:
        outbox: sales and their deliveries.
        replica: the local contacts, for who reads them.
        leased: the same for their lease.
        integrity: keeps both whole.
        room: on the disk.
        alone: held by whoever reads a whole file through, or rewrites it.
        writing: held by whoever writes to the replica.
    """

    def __init__(
        self,
        state: State,
        keys: StorageKeys,
        lease: LeaseFile,
        queue: QueueSection,
        clock: Clock,
        *,
        vendors: tuple[str, ...],
        changed: Callable[[], None],
        refetch: Callable[[], None],
    ) -> None:
        file, self._keys = state.outbox(keys), keys
        self.alone, self.writing = asyncio.Lock(), asyncio.Lock()
        self._live = LiveDatabase(
            file, prepare=self._prepare, suspected=partial(self._suspect, OUTBOX), spare=self._spare
        )
        self.outbox = Outbox(self._live, self._live, run=secrets.token_hex(8))
        self.replica = SqliteReplica(
            state.replica(keys, lease), withheld=True, suspected=partial(self._suspect, REPLICA)
        )
        self.leased = LeasedReplica(
            self.replica,
            lease,
            renew_key=lambda: state.make_lease(keys),
            file_of=lambda lease: state.replica(keys, lease),
            failed=lambda error: self.integrity.unavailable(REPLICA, error),
        )
        kept = Kept(state.directory)
        self.integrity = Integrity(
            clock=clock,
            guarded=(
                GuardedOutbox(file, self._live, kept, vendors=vendors, keys=tuple(keys)),
                GuardedReplica(self.leased, kept, writing=self.writing, refetch=refetch),
            ),
            kept=kept,
            alone=self.alone,
            changed=changed,
        )
        self.room = Room(
            state.directory,
            reserve_bytes=queue.reserve_bytes,
            max_bytes=queue.max_bytes,
            queue=self.outbox.info,
            clock=clock,
            changed=changed,
        )

    def ready(self) -> bool:
        """Whether a sale can be put on disk now."""
        return self._live.is_open and self.room.has_room()

    def busy(self) -> bool:
        """Whether somebody writes to the replica, or makes it whole."""
        return self.writing.locked() or self.leased.barred

    def close(self) -> None:
        """Closes both databases."""
        self.outbox.close()
        self.replica.close()

    def _prepare(self, connection: Connection) -> None:
        from agent.store.migrations import outbox  # noqa: PLC0415 - sqlite-utils: start-up alone needs it

        migrate(connection, outbox)
        self.outbox.begin(connection, hash_key(connection, self._keys))

    def _spare(self) -> bool:
        return self.room.give()

    def _suspect(self, name: str) -> None:
        self.integrity.suspect(name)
