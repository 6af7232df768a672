"""Members seen here, kept from look-ups where the loyalty system lists nobody.

Whoever asks says so before and hands over the answers; they are written a moment later, by one loop, so that no cashier
waits for a disk. Nothing that was asked for before an erasure is kept after it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

import structlog

from agent.domain.contact import ContactChange, Member
from agent.domain.identifiers import Identifier
from agent.domain.tagging import Found
from agent.errors import StorageDamagedError, StorageError
from agent.ports import AppliedCounts, Clock, ContactCache, Remember, Replica, ReplicaInfo, Told
from agent.services.sync import Contacts, to_its_end

log = structlog.get_logger(__name__)

T = TypeVar("T")

MOST_WAITING = 1_000


class SeenMembers:
    """Writes what the loyalty system said into the replica.

    Args:
        store: opens the replica as it is now, without those who were erased here up to now.
        contacts: the replica.
        heard: told whom of those who were erased here the loyalty system shows, whom it does not any more, and how else
            they are named.
        writing: held while the replica is written.
        clock: for when it was said.
        damaged: told when the replica turns out to be damaged.
    """

    def __init__(
        self,
        *,
        store: Callable[[], ContactCache],
        contacts: Contacts,
        heard: Callable[[frozenset[bytes], frozenset[bytes], Mapping[bytes, bytes]], Awaitable[None]],
        writing: asyncio.Lock,
        clock: Clock,
        damaged: Callable[[], None],
    ) -> None:
        self._store, self._contacts, self._tell = store, contacts, heard
        self._writing, self._clock, self._damaged = writing, clock, damaged
        self._waiting: deque[list[Told]] = deque(maxlen=MOST_WAITING)
        self._wake = asyncio.Event()
        self._erasures = 0

    def asking(self) -> Remember:
        """What is asked from now on is kept by what this returns, unless somebody is erased meanwhile."""
        before = self._erasures

        def remember(answers: Sequence[tuple[Identifier, Found]]) -> None:
            told = [Told(question, found.shown) for question, found in answers if found.shown is not None]
            if told and self._erasures == before:
                self._waiting.append(told)
                self._wake.set()

        return remember

    async def run(self) -> None:
        """Writes for ever what was said."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._write_waiting()
            except StorageError as error:  # what is not kept is asked for again
                log.warning("cache.not_kept", code=error.code)
                if isinstance(error, StorageDamagedError):
                    self._damaged()

    async def keep(self, told: Sequence[Sequence[Told]]) -> AppliedCounts:
        """Writes answers now. Raises StorageError."""
        at = self._clock.now()
        return await self._heard(await self.write(lambda store: store.remember(told, at=at)))

    async def plant(self, contacts: Iterable[ContactChange], *, as_of: datetime) -> AppliedCounts:
        """Writes people of a list: all, or nobody if the list raises. Raises StorageError, and what it raises."""
        return await self._heard(await self.write(lambda store: store.plant(contacts, as_of=as_of)))

    async def write(self, work: Callable[[ContactCache], T]) -> T:
        """Does something with the replica while nobody else writes to it. Raises StorageError."""
        async with self._writing:
            store = self._store()
            done = await to_its_end(lambda: work(store))
        self._contacts.refresh()
        return done

    @contextlib.asynccontextmanager
    async def halted(self) -> AsyncIterator[None]:
        """Forgets what was said and is not written yet, of whoever is being asked for now too."""
        self._erasures += 1
        self._waiting.clear()
        async with self._writing:  # what is being written is there before anybody is looked for
            pass
        yield

    async def _heard(self, counts: AppliedCounts) -> AppliedCounts:
        await self._tell(counts.refused, counts.removed, counts.named)
        return counts

    async def _write_waiting(self) -> None:
        while self._waiting:
            told = list(self._waiting)
            self._waiting.clear()
            await self.keep(told)


class AskedContacts:
    """The port `Replica`: the contacts, as far as the loyalty system can be asked for what was said.

    Args:
        replica: the local contacts.
        knows: whether it can be asked for that; nobody was ever found by anything else.
    """

    def __init__(self, replica: Replica, knows: Callable[[Identifier], bool]) -> None:
        self._replica, self._knows = replica, knows

    def resolve(self, readings: Sequence[Identifier]) -> tuple[Member, ...]:
        """Everybody whom the readings name, if each that can be asked for was. Raises StorageError."""
        return self._replica.resolve([reading for reading in readings if self._knows(reading)])

    def member(self, ref: str) -> Member | None:
        """The member behind an opaque handle. Raises StorageError."""
        return self._replica.member(ref)

    def info(self) -> ReplicaInfo:
        """Size and freshness. Raises StorageError."""
        return self._replica.info()
