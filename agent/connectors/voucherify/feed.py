"""Contact changes from Voucherify: two walks over what is new, and now and then one over everybody.

`GET /v1/customers` lists customers after an instant, by when they were made or changed, a hundred at a time. A customer
who was never changed has no `updated_at`, so that neither order shows everybody who is new: both are walked. Nobody is
listed who was deleted; that shows only in a walk over everybody, the sweep, which is the first load, too. It goes by
`created_at`, which never changes: pages can be counted only up to the 99th.

Whether an instant is listed with those after it is not documented, and many customers can share one: each step reads
the last millisecond again, and pages are counted only where a page holds nothing later. What the sweep has not
shown is asked for by name before it is taken out: a row can slip from page to page while it is being read.

Sources: list customers (`order`, `starting_after`, `limit`, `page`); get customer (404); the rest is inferred.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from agent.connectors.sweeping import Place, Sweeping
from agent.connectors.voucherify.customers import CREATED_AT, UPDATED_AT, change_of, instant_of
from agent.connectors.voucherify.progress import BEGINNING_AT, FIRST_PAGE, LAST_PAGE, Progress, parse_progress
from agent.domain.contact import ChangeKind, ContactChange
from agent.domain.identifiers import Identifier, Normaliser
from agent.errors import FeedError, VendorOwnError
from agent.ports import ChangePage, Clock, Sweep

OVERLAP = timedelta(seconds=2)
"""So much is read again from poll to poll, for what shows up late."""
LEAD = timedelta(minutes=10)
"""So long before the first load began, by both clocks, changes are read after it."""
ASKED_AT_ONCE = 20
"""Of those whom a sweep has not shown so many are asked for between two commits."""
_TICK = timedelta(milliseconds=1)  # of their instants


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of customers.

    Attributes:
        customers: in the order that was asked for.
        more: whether there are more.
        told_at: the vendor's clock; None where it does not say.
    """

    customers: Sequence[Mapping[str, Any]]
    more: bool
    told_at: datetime | None


class CustomersApi(Protocol):
    """The two calls the feed is made of."""

    async def listed(self, order: str, after_at: datetime, page: int) -> Listed:
        """Customers after an instant of `created_at` or `updated_at`, ascending. Raises VendorError."""

    async def customer(self, name: str) -> Mapping[str, Any] | None:
        """A customer by `id` or `source_id`, None when there is none. Raises VendorError."""


class VoucherifyFeed:
    """Pages of customers.

    An interrupted poll goes on after its last page.

    Args:
        api: the calls; pacing is theirs.
        normaliser: how this store reads identifiers.
        fields: what the replica keeps of a customer.
        clock: says when a sweep is due.
        sweep_every: how often everybody is walked over.
        unseen: whom the sweep under way has not shown; None if they are so many that it was hardly everybody.
    """

    def __init__(
        self,
        api: CustomersApi,
        normaliser: Normaliser,
        fields: Sequence[str],
        clock: Clock,
        *,
        sweep_every: timedelta,
        unseen: Callable[[], Awaitable[Sequence[Identifier] | None]],
    ) -> None:
        self._api, self._normaliser, self._fields, self.clock = api, normaliser, fields, clock
        self._sweep_every, self.unseen = sweep_every, unseen

    async def pages(self, cursor: str | None) -> AsyncIterator[ChangePage]:
        """Pages from a cursor; None reads everybody.

        Raises:
            VendorError: as the API says; what was yielded stays valid.
            FeedError: the cursor cannot be read, or more customers share an instant than can be listed.
        """
        poll = _Poll(self, parse_progress(cursor))
        parts = [poll.changes(), poll.everybody()]  # a sweep can take long: what changed comes first
        if poll.progress.created_at is None:
            parts.reverse()
        for part in parts:
            async for page in part:
                yield page
        yield poll.page((), last=True)

    def is_due(self, swept_at: datetime | None) -> bool:
        """A sweep is due; also when the last one is said to lie ahead: a clock was wrong."""
        return swept_at is None or not timedelta() <= self.clock.now() - swept_at < self._sweep_every

    def by(self, listed: Listed) -> datetime:
        """Up to when a page can have told: a customer who is dated ahead of that says nothing of the time between."""
        return (listed.told_at or self.clock.now()) + OVERLAP

    async def walk(self, order: str, place: Place) -> AsyncIterator[tuple[Listed, Place]]:
        """Pages of one order, each with the place to go on from; after the last, the instant of the last customer.

        Raises:
            VendorError, FeedError: as :meth:`pages`.
        """
        more = True
        while more:
            listed = await self._api.listed(order, place.at, place.count)
            instants = [at for one in listed.customers if (at := instant_of(one, order)) is not None]
            reached_at, more = max(instants, default=place.at), listed.more
            if not more:
                place = Place(max(reached_at, place.at), FIRST_PAGE)
            elif reached_at - _TICK > place.at:
                place = Place(reached_at - _TICK, FIRST_PAGE)
            elif place.count < LAST_PAGE:
                place = replace(place, count=place.count + 1)
            else:
                raise FeedError("more customers share one instant than the loyalty system can list")
            yield listed, place

    async def asked(self, one: Identifier) -> ContactChange | None:
        """What has become of somebody whom a sweep has not shown; None when Voucherify cannot tell.

        Raises:
            VendorError: nobody answers, we are refused, or are to ask again later.
        """
        try:
            customer = await self._api.customer(one.value)
        except VendorOwnError as error:
            if error.retry_after_s is not None:
                raise
            return None
        if customer is None:
            return ContactChange(ChangeKind.DELETE, {one.type: one.value})
        return self._change(customer)

    def read(self, listed: Listed) -> tuple[ContactChange, ...]:
        """The changes that a page brings. Raises VendorUnreachableError: it lists something else than customers."""
        return tuple(map(self._change, listed.customers))

    def _change(self, customer: Mapping[str, Any]) -> ContactChange:
        return change_of(customer, self._normaliser, self._fields, today=self.clock.today())


class _Poll:
    """One poll of a feed: how far it is."""

    def __init__(self, feed: VoucherifyFeed, progress: Progress) -> None:
        self._feed, self.progress = feed, progress
        self.unread = 0

    def page(self, changes: tuple[ContactChange, ...], *, sweep: Sweep | None = None, last: bool = False) -> ChangePage:
        return ChangePage(changes, self.progress.cursor(), last=last, sweep=sweep, unread=self.unread)

    async def changes(self) -> AsyncIterator[ChangePage]:
        """Who was made and who was changed since the last poll."""
        stage = None if self.progress.sweep is None else Sweep.GOES_ON
        for order in (CREATED_AT, UPDATED_AT):
            start = Place(self.progress.since(order) - OVERLAP, FIRST_PAGE)
            async for listed, place in self._feed.walk(order, start):
                self.progress = self.progress.reached(order, min(place.at, self._feed.by(listed)))
                yield self.page(self._feed.read(listed), sweep=stage)

    async def everybody(self) -> AsyncIterator[ChangePage]:
        """If it is due, everybody, then those who were not among them, by name."""
        sweep, stage = self.progress.sweep, Sweep.GOES_ON
        if sweep is None:
            if not self._feed.is_due(self.progress.swept_at):
                return
            sweep, stage = Sweeping(self._feed.clock.now(), Place(BEGINNING_AT, FIRST_PAGE), BEGINNING_AT), Sweep.BEGINS
        by_at = BEGINNING_AT
        async for listed, place in self._feed.walk(CREATED_AT, sweep.place):
            by_at = self._feed.by(listed)
            if stage is Sweep.BEGINS and listed.told_at is not None:
                sweep = replace(sweep, changes_at=min(listed.told_at, sweep.begun_at) - LEAD)
            sweep = replace(sweep, place=place)
            # Who is dated ahead of the walk's start is no place to go on from: others are made before that.
            start_at = min(listed.told_at or sweep.begun_at, sweep.begun_at) - LEAD
            safe = place if place.at <= start_at else Place(start_at, FIRST_PAGE)
            self.progress = replace(self.progress, sweep=replace(sweep, place=safe))
            yield self.page(self._feed.read(listed), sweep=stage)
            stage = Sweep.GOES_ON
        missing = await self._feed.unseen()
        for start in range(0, len(missing or ()), ASKED_AT_ONCE):
            asked = [(one, await self._feed.asked(one)) for one in (missing or ())[start : start + ASKED_AT_ONCE]]
            self.unread += sum(change is None for _one, change in asked)
            changes = tuple(change or _unchanged(one) for one, change in asked)
            yield self.page(changes, sweep=stage)
        if missing is None:  # whom the sweep brought is taken back; who came meanwhile is read again
            self.progress = self.progress.given_up(sweep)
            yield self.page((), sweep=Sweep.GIVEN_UP)
            return
        self.progress = self.progress.swept(sweep, by_at)
        yield self.page((), sweep=Sweep.ENDS)


def _unchanged(one: Identifier) -> ContactChange:
    """Somebody counts as still there: nothing is known of them but that."""
    return ContactChange(ChangeKind.UPSERT, {one.type: one.value})
