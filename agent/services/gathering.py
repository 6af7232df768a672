"""New contacts that go to the loyalty system together, where many wait: after an outage, where it takes several a call.

Who goes so is asked for first by everything by which the loyalty system does not itself tell contacts apart: nobody is
made twice because others wait as well. What becomes of a call is :mod:`agent.services.together`'s. Whom it made is
asked for under its key; everybody else is looked up and made alone, whatever was said of them: also who is refused so
hears why from the one call that is well known. Sales of those who are under way wait; everybody else's go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Final

from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.enrolment import BulkWord, Enrolment, EnrolmentState
from agent.domain.identifiers import Identifier
from agent.domain.tagging import Found
from agent.ports import BulkRecord, BulkWriter, Clock, EnrolmentRecord, Pace
from agent.services.together import Together
from agent.services.turns import SLICE, Turns

WITH_OTHERS: Final = Verdict(
    VerdictKind.RETRY,
    "contact.with_others",
    title="The new contact is being made at the loyalty system together with others.",
    awaits=True,
    not_received=True,
)


class Gathering:
    """Gathers new contacts, and follows the calls in which they went.

    Args:
        clock: for instants.
        record: contacts made here, on disk.
        calls: calls whose end is not known, on disk.
        bulk: the vendor's way to take several.
        turns: of calls.
        store_id: where they were made.
        timeout_s: the longest wait for any one answer of a look-up.
        pace: waits for this agent's share of the vendor's allowance.
        listed: whether the local contacts have somebody whom one of these names, as the vendor has told.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        record: EnrolmentRecord,
        calls: BulkRecord[Enrolment],
        bulk: BulkWriter,
        turns: Turns,
        store_id: str,
        timeout_s: float,
        pace: Pace,
        listed: Callable[[Sequence[Identifier]], bool],
    ) -> None:
        self._record, self._bulk, self._listed = record, bulk, listed
        self._store_id, self._timeout_s, self._pace = store_id, timeout_s, pace
        self._gathers = False
        self._ready: dict[int, int] = {}
        self._together = Together[Enrolment](
            "contacts",
            clock=clock,
            calls=calls,
            bulk=bulk,
            turns=turns,
            pace=pace,
            key_of=self._key_of,
            is_there=self._is_there,
            done=_are_made,
        )

    # --- who goes so ----------------------------------------------------------------------------------------

    def look(self) -> None:
        """Whether so many wait that they go together, from now on. Raises StorageError."""
        self._gathers = self._together.many_wait()
        if not self._gathers:
            self._ready.clear()

    def takes(self, made: Enrolment) -> bool:
        """Whether somebody is to go with others; who has gone so once, and is not made, goes alone."""
        waits = self._gathers and made.state is EnrolmentState.QUEUED and made.bulk is None
        return waits and self._bulk.key_of(made) is not None and not self._listed(made.identifiers)

    def to_ask(self, made: Enrolment) -> tuple[Identifier, ...]:
        """By what somebody has to be asked for who goes so: the vendor itself refuses a second one with the rest."""
        key = self._bulk.key_of(made)
        return tuple(one for one in made.identifiers if one != key)

    def join(self, made: Enrolment) -> None:
        """Somebody is not at the vendor by any of that: the next call is theirs."""
        self._ready[made.number] = made.version

    def has(self, made: Enrolment) -> bool:
        """Whether they wait for the next call."""
        return self._gathers and made.bulk is None and self._ready.get(made.number) == made.version

    async def find(self, made: Enrolment) -> Found | None:
        """Whom a call has made of somebody who went in it. Raises VendorUnreachableError, VendorRefusedError."""
        sure = made.said is BulkWord.MADE
        return await self._bulk.find(made, sure=sure, timeout_s=self._timeout_s, pace=self._pace)

    # --- calls ----------------------------------------------------------------------------------------------

    async def send(self, busy: Callable[[int], bool]) -> int:
        """Has everybody who is ready made by one call; for how many calls the vendor answered.

        Args:
            busy: whether somebody is being brought there alone at this moment.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
            StorageError: what must be on disk could not be put there.
        """
        contacts, rows = await self._gathered(busy) if self._ready else ([], [])
        return await self._together.send(contacts, rows)

    async def _gathered(self, busy: Callable[[int], bool]) -> tuple[list[Enrolment], list[bytes]]:
        """Who goes in the next call, and as what, the oldest first."""
        contacts: list[Enrolment] = []
        rows: list[bytes] = []
        last = 0
        while len(contacts) < self._bulk.max_rows and (page := self._record.queued(SLICE, after=last, under_way=False)):
            last = page[-1].number
            for made in page:
                if self.has(made) and not busy(made.number):
                    contacts.append(made)
                    rows.append(self._bulk.row(made, store_id=self._store_id))
            await asyncio.sleep(0)  # a cashier's question comes in between
        count = self._together.fitting(rows)
        return contacts[:count], rows[:count]

    async def follow(self, go_on: Callable[[], bool]) -> int:
        """Asks what has become of the calls that went out; for how many the vendor answered. Raises as `Turns.take`.

        Args:
            go_on: whether another may be asked for.
        """
        return await self._together.follow(go_on)

    def _key_of(self, made: Enrolment) -> str | None:
        key = self._bulk.key_of(made)
        return key.value if key is not None else None

    async def _is_there(self, made: Enrolment) -> bool:
        found = await self._bulk.find(made, sure=False, timeout_s=self._timeout_s, pace=self._pace)
        return found is not None

    def line_changed(self) -> None:
        """The line is back."""
        self._together.line_changed()

    def hurry(self) -> None:
        """Somebody asked for an attempt now."""
        self._together.hurry()


async def _are_made(made: Collection[Enrolment]) -> Collection[int]:
    """They are there, to be found under a key of the vendor's."""
    return [one.number for one in made]
