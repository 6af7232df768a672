"""People in the replica, for whoever exports, erases or purges them.

Reads are made on the event loop's thread, as every look-up; what is written is written in a thread, over a connection
of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import TypeVar

import structlog

from agent.domain.identifiers import Identifier, IdentifierType
from agent.ports import Identity, Removed
from agent.store.keyhash import HASH_BYTES, KeyHash
from agent.store.replica import SqliteReplica
from agent.store.replica_builder import SqliteReplicaStore
from agent.store.replica_writer import SqliteReplicaWriter

log = structlog.get_logger(__name__)

T = TypeVar("T")

PURGE_PATIENCE_S = 5.0


class ReplicaPeople:
    """The replica by person. Everything raises StorageError when the file cannot be read or written.

    Args:
        replica: the local contacts; open or closed to look-ups.
        writing: held while the replica is written; whoever else writes to it, or replaces it, waits.
    """

    def __init__(self, replica: SqliteReplica, writing: asyncio.Lock) -> None:
        self._replica, self._writing = replica, writing
        self._hash = KeyHash(replica.file.key).of_identifier
        self.persons, self.there = replica.persons, replica.there

    def identity_of(self, readings: Sequence[Identifier]) -> Identity | None:
        """Who a stranger would be: only if there is one reading, and it is a contact id or the primary key."""
        if len(readings) != 1 or readings[0].type not in (IdentifierType.CONTACT_ID, self._replica.file.primary):
            return None
        return self._replica.identity(self._hash(readings[0]))

    def keys_of(self, readings: Sequence[Identifier]) -> frozenset[bytes]:
        """The keyed hashes of the readings."""
        return frozenset(map(self._hash, readings))

    async def erase(self, identity: Identity | None, keys: Collection[bytes]) -> int:
        """Takes somebody out and leaves no trace of anybody taken out; how many contacts it was.

        What is being built is begun anew if it holds them. The feed must be halted.
        """

        def work(store: SqliteReplicaStore) -> int:
            with store.open_writer() as writer:
                gone = writer.erase(identity) if identity is not None else 0
                writer.leave_no_trace()
            store.give_up_build(keys)
            return gone

        async with self._writing:
            gone = await self._run(work)
        self._replica.refresh()
        return gone

    async def removed(self) -> tuple[Removed, ...]:
        """Whom the feed has removed, and nobody has carried out yet."""
        return tuple(
            Removed(self._replica.identity(mark), _keys(keys), at)
            for mark, keys, at in await self._write(SqliteReplicaWriter.removed)
        )

    async def carried_out(self, removed: Sequence[Removed]) -> None:
        """Nothing else is kept of these."""
        of = [(one.identity.mark, one.at) for one in removed]
        await self._write(lambda writer: writer.carried_out(of))

    async def leave_no_trace(self) -> None:
        """Erases what is left of whoever was taken out."""
        await self._write(SqliteReplicaWriter.leave_no_trace)

    async def purge(self, tombstones_before: datetime) -> dict[str, int]:
        """Drops older tombstones and every trace of who was taken out; counts.

        What a sync that takes long leaves no time for goes with the next purge.
        """
        try:
            async with asyncio.timeout(PURGE_PATIENCE_S):
                await self._writing.acquire()
        except TimeoutError:
            log.info("purge.postponed", file=self._replica.file.database.path.name)
            return {}
        try:
            return {"tombstones": await self._run(_written(lambda writer: writer.purge(tombstones_before)))}
        finally:
            self._writing.release()

    async def _write(self, work: Callable[[SqliteReplicaWriter], T]) -> T:
        async with self._writing:
            return await self._run(_written(work))

    async def _run(self, work: Callable[[SqliteReplicaStore], T]) -> T:
        return await asyncio.to_thread(work, SqliteReplicaStore(self._replica.file))


def _written(work: Callable[[SqliteReplicaWriter], T]) -> Callable[[SqliteReplicaStore], T]:
    def run(store: SqliteReplicaStore) -> T:
        with store.open_writer() as writer:
            return work(writer)

    return run


def _keys(side_by_side: bytes) -> tuple[bytes, ...]:
    return tuple(side_by_side[start : start + HASH_BYTES] for start in range(0, len(side_by_side), HASH_BYTES))
