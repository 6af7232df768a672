"""Changes of contacts that go to the loyalty system together, where many wait: after an outage, where it takes several.

Each contact is read first, as for a change that goes alone, and at most :data:`FRESH_S` before the call. Only what can
be carried out late without harm goes so: no word on consents, and nothing of a contact that has changed since
(:func:`agent.domain.revision.goes_together`). What becomes of a call is :mod:`agent.services.together`'s. While
one is under way its changes go no other way, also while a cashier waits: an older word would overtake a newer one. A
change that said more meanwhile, and whatever the vendor does not plainly call done, goes alone afterwards.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from agent.domain.revision import ContactThere, Revision, goes_together
from agent.ports import BulkRecord, BulkUpdater, Clock, Pace
from agent.services.together import Together
from agent.services.turns import Turns

FRESH_S: Final = 60.0
"""So long what was read of a contact is good for a call: somebody else may change it in between, and is not heard."""
MOST: Final = 100
"""So many go out at once: more could not be read in that time, at the vendor's pace and with the sales in between."""


@dataclass(frozen=True, slots=True)
class WayTogether:
    """How several changes go together.

    Attributes:
        calls: calls whose end is not known, on disk.
        bulk: the vendor's way to take several.
        turns: of calls.
    """

    calls: BulkRecord[Revision]
    bulk: BulkUpdater
    turns: Turns


@dataclass(frozen=True, slots=True)
class _Ready:
    revision: Revision
    key: str = field(repr=False)
    row: bytes = field(repr=False)
    read_at: float


class Combining:
    """Combines changes, and follows the calls in which they went.

    Args:
        way: how.
        clock: for instants, and how long ago a contact was read.
        pace: waits for this agent's share of the vendor's allowance.
        is_there: whether the vendor has what a change says. Raises as vendors do.
        arrived: writes down that it has it. Raises StorageError.
    """

    def __init__(
        self,
        way: WayTogether,
        *,
        clock: Clock,
        pace: Pace,
        is_there: Callable[[Revision], Awaitable[bool]],
        arrived: Callable[[Revision], Awaitable[None]],
    ) -> None:
        self._clock, self._calls, self._bulk, self._arrived = clock, way.calls, way.bulk, arrived
        self._combines = False
        self._looked_at, self._round_s = clock.monotonic(), 0.0
        self._ready: dict[int, _Ready] = {}
        self._keys: dict[int, str] = {}
        self._together = Together[Revision](
            "changes",
            clock=clock,
            calls=way.calls,
            bulk=way.bulk,
            turns=way.turns,
            pace=pace,
            key_of=self._key_of,
            is_there=is_there,
            done=self._are_there,
        )

    def look(self) -> None:
        """Whether so many wait that they go together, in this round. Raises StorageError."""
        now = self._clock.monotonic()
        self._round_s, self._looked_at = now - self._looked_at, now
        self._combines = self._together.many_wait()
        self._ready = self._fresh() if self._combines else {}
        if not self._ready and not self._calls.open():
            self._keys.clear()

    def join(self, revision: Revision, there: ContactThere, given_at: datetime) -> bool:
        """Whether a change of a contact that was just read waits for the next call; what has gone so once does not.

        Args:
            revision: the change.
            there: the contact.
            given_at: when the change was given, by the vendor's clock.
        """
        if not self._combines or revision.bulk is not None or not goes_together(revision.contact, there, given_at):
            return False
        key = self._bulk.key_of(there, revision.identifiers)
        if key is None:
            return False
        row = self._bulk.row(key, revision.contact, revision.identifiers)
        self._ready[revision.number] = _Ready(revision, key, row, self._clock.monotonic())
        return True

    def has(self, revision: Revision) -> bool:
        """Whether it waits for the next call."""
        ready = self._ready.get(revision.number)
        return ready is not None and ready.revision.version == revision.version

    @property
    def is_due(self) -> bool:
        """As many are ready as go out at once, or what was read first is too old after one more round like the last."""
        latest = self._clock.monotonic() + self._round_s - FRESH_S
        return len(self._ready) >= MOST or any(one.read_at <= latest for one in self._ready.values())

    def _fresh(self) -> dict[int, _Ready]:
        """What was read lately enough for a call; the rest is read again."""
        at = self._clock.monotonic() - FRESH_S
        return {number: one for number, one in self._ready.items() if one.read_at > at}

    async def send(self, busy: Callable[[int], bool]) -> int:
        """Sends what is ready by one call; for how many calls the vendor answered.

        Args:
            busy: whether a change is being brought there alone at this moment.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
            StorageError: what must be on disk could not be put there.
        """
        self._ready = self._fresh()
        ready = [one for one in self._ready.values() if not busy(one.revision.number)]
        ready = ready[: self._together.fitting([one.row for one in ready])]
        self._keys |= {one.revision.number: one.key for one in ready}
        try:
            return await self._together.send([one.revision for one in ready], [one.row for one in ready])
        finally:  # until it is on disk that they are under way, they wait for this call
            for one in ready:
                self._ready.pop(one.revision.number, None)

    async def follow(self, go_on: Callable[[], bool]) -> int:
        """Asks what has become of the calls that went out; for how many the vendor answered. Raises as `Turns.take`.

        Args:
            go_on: whether another may be asked for.
        """
        return await self._together.follow(go_on)

    def forget(self) -> None:
        """Somebody was erased: what is held in memory is theirs, perhaps. Whoever was read is read again."""
        self._ready.clear()
        self._keys.clear()

    def _key_of(self, revision: Revision) -> str | None:
        """As its row has it; not known after a new start, and then nothing is believed of a call with errors."""
        return self._keys.get(revision.number)

    async def _are_there(self, revisions: Collection[Revision]) -> Collection[int]:
        for revision in revisions:
            await self._arrived(revision)
        return ()

    def line_changed(self) -> None:
        """The line is back."""
        self._together.line_changed()

    def hurry(self) -> None:
        """Somebody asked for an attempt now."""
        self._together.hurry()
