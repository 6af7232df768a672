"""The databases of one state directory and what keeps them whole, put together.

The outbox comes first, because the keys of look-ups lie in it: the start waits until it is open, made whole if need be.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from agent.domain.enrolment import Enrolment
from agent.domain.revision import Revision
from agent.errors import StorageError, StorageSchemaError
from agent.kept import Kept
from agent.keys import StorageKeys
from agent.ports import Clock, Recipient
from agent.services.integrity import Integrity
from agent.services.room import Room
from agent.settings import QueueSection
from agent.state import OUTBOX, REPLICA, State
from agent.store import bulk
from agent.store.activities import Activities
from agent.store.bulk import BulkCalls
from agent.store.database import migrate
from agent.store.enrolments import Enrolments
from agent.store.guarded import GuardedOutbox, GuardedReplica
from agent.store.hashkey import hash_key, lookup_key
from agent.store.keyhash import KeyHash
from agent.store.lease_file import LeaseFile
from agent.store.leased_replica import LeasedReplica
from agent.store.live import LiveDatabase
from agent.store.outbox import Outbox
from agent.store.persons import PersonalSales
from agent.store.redemptions import Redemptions
from agent.store.refusals import ErasedPeople
from agent.store.replica import SqliteReplica
from agent.store.replica_file import ReplicaFile
from agent.store.revisions import Revisions

if TYPE_CHECKING:
    from sqlite3 import Connection


PATIENCE_S, LOOK_EVERY_S = 30.0, 0.1
"""How long a start waits for an outbox that cannot be opened now: for room on the disk, or for who holds the file."""


@dataclass(frozen=True, slots=True)
class Contacts:
    """The local contacts.

    Attributes:
        replica: for who reads them.
        leased: for their lease.
        writing: held by whoever writes to them.
    """

    replica: SqliteReplica
    leased: LeasedReplica
    writing: asyncio.Lock

    def busy(self) -> bool:
        """Whether somebody writes to them, or makes them whole."""
        return self.writing.locked() or self.leased.barred


class Storage:
    """The outbox, once it is opened with :meth:`open`.

    Args:
        state: the state directory.
        keys: the storage key, and those before it.
        queue: `[queue]`.
        clock: for instants and intervals.
        recipients: who gets sales.
        changed: called when something changed for whoever waits for a database or for room.

    Attributes:
        outbox: sales and their deliveries.
        live: its file, for what else is kept in it.
        integrity: keeps both databases whole.
        room: on the disk.
        alone: held by whoever reads a whole file through, or erases.
        writing: held by whoever writes to the replica.
    """

    def __init__(
        self,
        state: State,
        keys: StorageKeys,
        queue: QueueSection,
        clock: Clock,
        *,
        recipients: tuple[Recipient, ...],
        changed: Callable[[], None],
    ) -> None:
        file = state.outbox(keys)
        self._state, self._keys, self._clock, self._lookup_key = state, keys, clock, b""
        self.alone, self.writing = asyncio.Lock(), asyncio.Lock()
        self.live = LiveDatabase(
            file, prepare=self._prepare, suspected=partial(self._suspect, OUTBOX), spare=self._spare
        )
        self.outbox = Outbox(self.live, self.live, run=secrets.token_hex(8), recipients=recipients)
        self._recipients = recipients
        self._kept = Kept(state.directory)
        self.integrity = Integrity(
            clock=clock,
            guarded=[GuardedOutbox(file, self.live, self._kept, recipients=recipients, keys=tuple(keys))],
            kept=self._kept,
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

    async def open(self) -> None:
        """Opens the outbox, made whole if it is damaged; what stands in the way for the moment is waited for.

        Raises:
            StorageKeyError: it is there, but not its key.
            StorageSchemaError: it is another version's; waiting does not help.
            StorageError: it cannot be opened for half a minute.
        """
        await asyncio.to_thread(self.room.take)
        await self.integrity.start()
        patient_until = self._clock.monotonic() + PATIENCE_S
        while not self.live.is_open:
            await self.integrity.attend()
            if not self.live.is_open:
                if self._clock.monotonic() > patient_until or isinstance(self.live.reason, StorageSchemaError):
                    raise self.live.reason
                await asyncio.sleep(LOOK_EVERY_S)

    @property
    def erased(self) -> ErasedPeople:
        """Who must not come back by the feed."""
        return ErasedPeople(self.live, self.live)

    def of_persons(self) -> PersonalSales:
        """The sales by person."""
        guests = [recipient.vendor for recipient in self._recipients if recipient.guests is True]
        return PersonalSales(self.outbox, self.live, self.live, names=KeyHash(self._lookup_key), guests=guests)

    def activities(self) -> Activities:
        """Activities, which stand among the sales."""
        return Activities(self.outbox, self.live)

    def redemptions(self) -> Redemptions:
        """What was asked to be used up for sales."""
        return Redemptions(self.live, self.live, key=self._lookup_key, names=KeyHash(self._lookup_key))

    def enrolments(self) -> Enrolments:
        """The contacts made at this till."""
        return Enrolments(self.live, self.live, names=KeyHash(self._lookup_key), tell=self.activities().tell)

    def bulk_contacts(self) -> BulkCalls[Enrolment]:
        """Calls with several contacts made at this till."""
        return bulk.new_contacts(self.live, self.live)

    def bulk_changes(self) -> BulkCalls[Revision]:
        """Calls with several changes given at this till."""
        return bulk.changes(self.live, self.live)

    def revisions(self) -> Revisions:
        """The changes given at this till."""
        return Revisions(self.live, self.live, names=KeyHash(self._lookup_key), tell=self.activities().tell)

    def contacts(self, lease: LeaseFile, refetch: Callable[[], None], *, by_question: bool = False) -> Contacts:
        """The local contacts, closed: their lease opens them. For an outbox that is open.

        Args:
            lease: their key.
            refetch: orders them to be fetched again.
            by_question: only those are kept who were asked for.
        """

        def file_of(lease: LeaseFile) -> ReplicaFile:
            return replace(state.replica(keys, lease, found_by), by_question=by_question)

        state, keys, found_by = self._state, self._keys, self._lookup_key
        replica = SqliteReplica(file_of(lease), withheld=True, suspected=partial(self._suspect, REPLICA))
        leased = LeasedReplica(
            replica,
            lease,
            renew_key=lambda: state.make_lease(keys),
            file_of=file_of,
            failed=partial(self.integrity.unavailable, REPLICA),
        )
        self.integrity.guard(GuardedReplica(leased, self._kept, writing=self.writing, refetch=refetch))
        return Contacts(replica, leased, self.writing)

    def ready(self) -> bool:
        """Whether a sale can be put on disk now."""
        return self.live.is_open and self.room.has_room()

    async def answer(self) -> None:
        """Returns once the disk has answered a write, whatever it said."""
        with contextlib.suppress(StorageError):  # told as conditions; a new start would not end them
            await self.live.prove()

    def _prepare(self, connection: Connection) -> None:
        from agent.store.migrations import outbox  # noqa: PLC0415 - sqlite-utils: start-up alone needs it

        migrate(connection, outbox)
        key = hash_key(connection, self._keys)
        self._lookup_key = lookup_key(key)
        self.outbox.begin(connection, key, KeyHash(self._lookup_key))

    def _spare(self) -> bool:
        return self.room.give()

    def _suspect(self, name: str) -> None:
        self.integrity.suspect(name)
