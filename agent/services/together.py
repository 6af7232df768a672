"""Calls in which several records go to the loyalty system at once: each sent once, and followed to its end.

A call is on disk before it goes out, and is never sent again: while it is being carried out it is asked for at growing
intervals, and one that was not answered is searched for by what stands last in it. In the end whatever the vendor does
not plainly call done goes alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, Generic, TypeVar

import structlog

from agent.domain.bulk import BulkCall, believed, fitting
from agent.domain.delivery import Verdict, VerdictKind
from agent.errors import VendorOwnError, VendorRefusedError, VendorUnreachableError
from agent.ports import BulkCarrier, BulkRecord, Clock, Pace
from agent.services.turns import OWN_FAILURES, Numbered, Turns

log = structlog.get_logger(__name__)

FEWEST: Final = 10
"""Fewer go one by one: that takes no longer, and a cashier's answer does not depend on when a call is carried out."""
_NOT_OVER: Final = Verdict(VerdictKind.RETRY, "contact.with_others", alone=True)


T = TypeVar("T", bound=Numbered)


class Together(Generic[T]):
    """Calls with records of one kind.

    Args:
        what: the kind, as the log has it.
        clock: for instants.
        calls: calls whose end is not known, on disk.
        bulk: the vendor's way to take several.
        turns: of calls.
        pace: waits for this agent's share of the vendor's allowance.
        key_of: by what the vendor names the row of a record; None where that is not known.
        is_there: whether the vendor shows that what a record asks for is done. Raises as vendors do.
        done: does what is to be done with those that the vendor calls done, which are not to be asked about alone; the
            numbers of those that are to be found there. Raises StorageError.
    """

    def __init__(
        self,
        what: str,
        *,
        clock: Clock,
        calls: BulkRecord[T],
        bulk: BulkCarrier,
        turns: Turns,
        pace: Pace,
        key_of: Callable[[T], str | None],
        is_there: Callable[[T], Awaitable[bool]],
        done: Callable[[Collection[T]], Awaitable[Collection[int]]],
    ) -> None:
        self._what, self._clock, self._calls, self._bulk, self._turns = what, clock, calls, bulk, turns
        self._pace, self._key_of, self._is_there, self._done = pace, key_of, is_there, done
        self._refused: Counter[int] = Counter()

    def many_wait(self) -> bool:
        """Whether so many wait that they go together. Raises StorageError."""
        return self._calls.waiting() >= FEWEST

    def fitting(self, rows: Sequence[bytes]) -> int:
        """How many of the first rows go into one call."""
        return fitting(rows, max_rows=self._bulk.max_rows, max_bytes=self._bulk.max_bytes)

    async def send(self, records: Sequence[T], rows: Sequence[bytes]) -> int:
        """Sends these by one call; for how many calls the vendor answered.

        Args:
            records: those that fit into one.
            rows: each as it stands in the call.

        Raises:
            VendorUnreachableError, VendorRefusedError: as everywhere.
            StorageError: what must be on disk could not be put there.
        """
        if not records:
            return 0
        call, taken = await self._calls.begin(records, self._clock.now())
        body = [row for record, row in zip(records, rows, strict=True) if record.number in taken]
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
            log.warning("bulk.refused", kind=self._what, count=len(body), status=sent.status, code=sent.vendor_code)
            await self._calls.end(call.number, ())
        else:
            await self._calls.name(call.number, sent.vendor_id)
            log.info("bulk.sent", kind=self._what, count=len(body))
        return 1

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
        there = await self._calls.records(call.number)
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
        same = {place: record for place, record in there.items() if record is not None}
        words = believed(said, {place: self._key_of(record) for place, record in same.items()})
        done = [record for place, record in same.items() if words[place].made]
        await self._end(call, await self._done(done))
        log.info("bulk.over", kind=self._what, counts={"made": len(done), "alone": len(there) - len(done)})
        self._turns.taken(call.number)
        return None

    async def _search(self, call: BulkCall, there: Mapping[int, T | None]) -> Verdict | None:
        """Whether a call that nobody heard of was carried out: what stands last in it is there."""
        same = [record for _, record in sorted(there.items()) if record is not None]
        if there and not (same and await self._is_there(same[-1])):
            return _NOT_OVER  # it may be carried out at any moment, also over what was said since
        await self._end(call, (), doubted=True)
        self._turns.taken(call.number)
        return None

    async def _give_up(self, call: BulkCall, _code: str) -> None:
        """Nobody says what has become of it: each of its records is looked at, alone."""
        log.warning("bulk.unknown", kind=self._what, count=call.size)
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
