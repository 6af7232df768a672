"""New contacts that go to the loyalty system together, where many wait: after an outage, where it takes several a call.

Who goes so is asked for first by everything by which the loyalty system does not itself tell contacts apart: nobody is
made twice because others wait as well. A call is on disk before it goes out, and is never sent again: while it is being
carried out it is asked for at growing intervals, and one that was not answered is searched for. Whom it made is asked
for under its key; everybody else is looked up and made alone, whatever was said of them: also who is refused so hears
why from the one call that is well known. Sales of those who are under way wait; everybody else's go on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import structlog

from agent.domain.bulk import BulkCall, believed, fitting
from agent.domain.delivery import Verdict, VerdictKind
from agent.domain.enrolment import BulkWord, Enrolment, EnrolmentState
from agent.domain.identifiers import Identifier
from agent.domain.tagging import Found
from agent.errors import VendorOwnError, VendorRefusedError, VendorUnreachableError
from agent.ports import BulkRecord, BulkWriter, Clock, EnrolmentRecord, Pace
from agent.services.turns import OWN_FAILURES, SLICE, Turns

log = structlog.get_logger(__name__)

FEWEST: Final = 10
"""Fewer go one by one: that takes no longer, and a cashier's answer does not depend on when a call is carried out."""

WITH_OTHERS: Final = Verdict(
    VerdictKind.RETRY,
    "contact.with_others",
    title="The new contact is being made at the loyalty system together with others.",
    awaits=True,
    not_received=True,
)
_NOT_OVER: Final = Verdict(VerdictKind.RETRY, "contact.with_others", alone=True)


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
        fewest: so many go together; fewer go one by one.
        listed: whether the local contacts have somebody whom one of these names, as the vendor has told.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        record: EnrolmentRecord,
        calls: BulkRecord,
        bulk: BulkWriter,
        turns: Turns,
        store_id: str,
        timeout_s: float,
        pace: Pace,
        listed: Callable[[Sequence[Identifier]], bool],
        fewest: int = FEWEST,
    ) -> None:
        self._clock, self._record, self._calls, self._bulk, self._turns = clock, record, calls, bulk, turns
        self._store_id, self._timeout_s, self._pace, self._listed = store_id, timeout_s, pace, listed
        self._fewest, self._gathers = fewest, False
        self._ready: dict[int, int] = {}
        self._refused: Counter[int] = Counter()

    # --- who goes so ----------------------------------------------------------------------------------------

    def look(self) -> None:
        """Whether so many wait that they go together, from now on. Raises StorageError."""
        self._gathers = self._calls.waiting() >= self._fewest
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
        if not contacts:
            return 0
        call, taken = await self._calls.begin(contacts, self._clock.now())
        body = [row for made, row in zip(contacts, rows, strict=True) if made.number in taken]
        if not body:
            await self._calls.take_back(call.number)
            return 0
        try:
            sent = await self._bulk.send(body, pace=self._pace)
        except VendorOwnError:
            return 0  # the call's trouble, not the line's; it may be there
        except VendorUnreachableError as error:
            if not error.maybe_received:
                await self._calls.take_back(call.number)
            raise
        except VendorRefusedError:
            await self._calls.end(call.number, ())  # perhaps of such calls alone: they go one by one
            raise
        if sent.vendor_id is None:
            log.warning("contacts.bulk_refused", count=len(body), status=sent.status, code=sent.vendor_code)
            await self._calls.end(call.number, ())
        else:
            await self._calls.name(call.number, sent.vendor_id)
            log.info("contacts.bulk_sent", count=len(body))
        return 1

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
        count = fitting(rows, max_rows=self._bulk.max_rows, max_bytes=self._bulk.max_bytes)
        return contacts[:count], rows[:count]

    async def follow(self, go_on: Callable[[], bool]) -> int:
        """Asks what has become of the calls that went out; for how many the vendor answered. Raises as `Turns.take`.

        Args:
            go_on: whether another may be asked for.
        """

        def waiting(after: int) -> Sequence[BulkCall]:
            return self._calls.open(after=after)

        taken = await self._turns.take(go_on, waiting=waiting, bring=self._ask, give_up=self._give_up)
        return taken.answered

    async def _ask(self, call: BulkCall) -> Verdict | None:
        there = await self._calls.contacts(call.number)
        try:
            if call.vendor_id is None:
                return await self._search(call, there)
            said = await self._bulk.said(call.vendor_id, size=call.size, pace=self._pace)
        except VendorRefusedError:  # perhaps of this question alone: then there is an end to asking, too
            self._turns.refused(call.number)
            self._refused[call.number] += 1
            if self._refused[call.number] >= OWN_FAILURES:
                await self._give_up(call, VendorRefusedError.code)
            raise
        if said is None:
            return _NOT_OVER
        keys = {place: key.value if (key := self._bulk.key_of(made)) else None for place, made in there.items()}
        words = believed(said, keys)
        made_there = [made.number for place, made in there.items() if words[place].made]
        await self._end(call, made_there)
        log.info("contacts.bulk_over", counts={"made": len(made_there), "alone": len(there) - len(made_there)})
        self._turns.taken(call.number)
        return None

    async def _search(self, call: BulkCall, there: Mapping[int, Enrolment]) -> Verdict | None:
        """Whether a call that nobody heard of was carried out: whoever stands last in it is there."""
        if there:
            last = there[max(there)]
            found = await self._bulk.find(last, sure=False, timeout_s=self._timeout_s, pace=self._pace)
            if found is None:
                return _NOT_OVER  # it may be carried out at any moment
        await self._end(call, (), doubted=True)
        self._turns.taken(call.number)
        return None

    async def _give_up(self, call: BulkCall, _code: str) -> None:
        """Nobody says what has become of it: each of its contacts is looked up, alone."""
        log.warning("contacts.bulk_unknown", count=call.size)
        await self._end(call, (), doubted=True)
        self._turns.decided(call.number)

    async def _end(self, call: BulkCall, made: Collection[int], *, doubted: bool = False) -> None:
        await self._calls.end(call.number, made, doubted=doubted)
        self._refused.pop(call.number, None)  # a later call may have its number

    def line_changed(self) -> None:
        """The line is back."""
        self._turns.line_changed()

    def hurry(self) -> None:
        """Somebody asked for an attempt now."""
        self._turns.hurry()
