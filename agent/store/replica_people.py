"""People in the replica, for whoever exports, erases or purges them.

Reads are made on the event loop's thread, as every look-up; what is written is written in a thread, over a connection
of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from agent.domain.identifiers import Identifier, IdentifierType
from agent.ports import Identity, Person, Removed, ReplicaInfo
from agent.store.keyhash import HASH_BYTES, KeyHash
from agent.store.replica import SqliteReplica
from agent.store.replica_builder import SqliteReplicaStore
from agent.store.replica_writer import SqliteReplicaWriter

T = TypeVar("T")


class ReplicaPeople:
    """The replica by person. Everything raises StorageError when the file cannot be read or written.

    Args:
        replica: for reading.
        store: opens it for writing.
    """

    def __init__(self, replica: SqliteReplica, store: SqliteReplicaStore) -> None:
        self._replica, self._store = replica, store
        self._hash = KeyHash(store.file.key).of_identifier

    def info(self) -> ReplicaInfo:
        """Size and freshness."""
        return self._replica.info()

    def persons(self, readings: Sequence[Identifier]) -> tuple[Person, ...]:
        """Everybody whom any of the readings names, however old the replica is."""
        return self._replica.persons(readings)

    def identity_of(self, readings: Sequence[Identifier]) -> Identity | None:
        """Who a stranger would be: only if there is one reading, and it is a contact id or the primary key."""
        if len(readings) != 1 or readings[0].type not in (IdentifierType.CONTACT_ID, self._store.file.primary):
            return None
        return self._replica.identity(self._hash(readings[0]))

    def keys_of(self, readings: Sequence[Identifier]) -> frozenset[bytes]:
        """The keyed hashes of the readings."""
        return frozenset(map(self._hash, readings))

    def there(self, refs: Iterable[str]) -> frozenset[str]:
        """Those of the handles behind which somebody is."""
        return frozenset(ref for ref in refs if self._replica.member(ref) is not None)

    async def erase(self, identity: Identity | None, keys: Collection[bytes]) -> int:
        """Takes somebody out and leaves no trace of anybody taken out; how many contacts it was.

        What is being built is begun anew if it holds them. Nobody else may be writing.
        """

        def work(writer: SqliteReplicaWriter) -> int:
            gone = writer.erase(identity) if identity is not None else 0
            writer.leave_no_trace()
            self._store.give_up_build(keys)
            return gone

        gone = await self._write(work)
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
        """Drops older tombstones and every trace of who was taken out; counts."""
        return {"tombstones": await self._write(lambda writer: writer.purge(tombstones_before))}

    async def erase_all(self) -> None:
        """Forgets everybody."""
        self._replica.erase()

    async def _write(self, work: Callable[[SqliteReplicaWriter], T]) -> T:
        def run() -> T:
            with self._store.open_writer() as writer:
                return work(writer)

        return await asyncio.to_thread(run)


def _keys(side_by_side: bytes) -> tuple[bytes, ...]:
    return tuple(side_by_side[start : start + HASH_BYTES] for start in range(0, len(side_by_side), HASH_BYTES))
