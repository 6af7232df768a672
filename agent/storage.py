"""The databases of one state directory and what keeps them whole, put together."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from agent.kept import Kept
from agent.ports import Clock
from agent.secrets import subkey
from agent.services.integrity import Integrity
from agent.services.room import Room
from agent.settings import QueueSection
from agent.state import State
from agent.store.database import migrate
from agent.store.guarded import GuardedOutbox, GuardedReplica
from agent.store.live import LiveDatabase
from agent.store.outbox import Outbox
from agent.store.replica import SqliteReplica
from agent.store.replica_builder import SqliteReplicaStore

if TYPE_CHECKING:
    from sqlite3 import Connection


class Storage:
    """Everything is built and nothing opened: :meth:`Integrity.start` does that.

    Args:
        state: the state directory.
        key: the storage key.
        queue: `[queue]`.
        clock: for instants and intervals.
        vendors: who gets sales.
        changed: called when something changed for whoever waits for a database or for room.
        refetch: orders the replica to be fetched again.

    Attributes:
        outbox: sales and their deliveries.
        replica: the local contacts, for who reads them.
        contacts: the same for who writes them.
        kept: what was damaged.
        integrity: keeps both whole.
        room: on the disk.
        alone: held by whoever reads a whole file through, or rewrites it.
    """

    def __init__(
        self,
        state: State,
        key: bytes,
        queue: QueueSection,
        clock: Clock,
        *,
        vendors: tuple[str, ...],
        changed: Callable[[], None],
        refetch: Callable[[], None],
    ) -> None:
        outbox, replica, hash_key = state.outbox(key), state.replica(key), subkey(key, "fingerprint")
        self.alone = asyncio.Lock()
        self.kept = Kept(state.directory)
        self._live = LiveDatabase(
            outbox,
            prepare=self._prepare,
            suspected=partial(self._suspect, outbox.path.name),
            spare=self._spare,
        )
        self.outbox = Outbox(self._live, self._live, hash_key=hash_key, run=secrets.token_hex(8))
        self.replica = SqliteReplica(
            replica, at_once=False, suspected=partial(self._suspect, replica.database.path.name)
        )
        self.contacts = SqliteReplicaStore(replica)
        self.integrity = Integrity(
            clock=clock,
            guarded=(
                GuardedOutbox(outbox, self._live, self.kept, vendors=vendors, hash_key=hash_key),
                GuardedReplica(replica, self.replica, self.kept, refetch=refetch),
            ),
            kept=self.kept,
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

    def close(self) -> None:
        """Closes both databases."""
        self.outbox.close()
        self.replica.close()

    def _prepare(self, connection: Connection) -> None:
        from agent.store.migrations import outbox  # noqa: PLC0415 - sqlite-utils: start-up alone needs it

        migrate(connection, outbox)
        self.outbox.begin(connection)

    def _spare(self) -> bool:
        return self.room.give()

    def _suspect(self, name: str) -> None:
        self.integrity.suspect(name)
