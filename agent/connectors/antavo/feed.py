"""Contact changes from Antavo: what happened in the workspace, and now and then a walk over everybody.

The events of a workspace name the customer of each: whoever joined, left or was changed is asked for by id. Nothing
else tells of changes, and whoever opted out is listed nowhere; so everybody is walked over at the first load and every
`sweep_every` in the Read API's list. Without events (`feed = "read_api"`) that list shows new members from sync to
sync, and the sweep the rest.

Both lists go by an instant, in whole seconds, and by an offset among what is from then on. An offset alone would skip
whoever slides forward when somebody before them leaves: it counts only where a page brings no later instant, or is not
in order. Whom a sweep has not shown is asked for by name before anybody is taken out. A poll reads `feed_overlap` again
of what the one before has read; whom events name and who could not be asked for yet is kept in the cursor. How far
changes are read is the vendor's `Date`: where it turns out to have been ahead, everybody is walked over at once.

Sources: Read API (`sort`, `filter`, `limit`, `offset`; opted-out customers are never listed), Events API (events of all
customers), Customers API (160212). That an opt-out is among the events is inferred; the sweep finds it in any case.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from agent.connectors.antavo.calls import Listed, MembersApi, Page
from agent.connectors.antavo.customers import change_of, created_at, instant_of
from agent.connectors.antavo.occurrences import customers_in
from agent.connectors.antavo.progress import BEGINNING_AT, Progress, bounded, parse_progress
from agent.connectors.antavo.questions import Questions
from agent.connectors.sweeping import Place, Sweeping
from agent.domain.contact import ChangeKind, ContactChange
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.errors import VendorOwnError, VendorUnreachableError
from agent.ports import ChangePage, Clock, Sweep

log = structlog.get_logger(__name__)

LEAD = timedelta(minutes=10)
"""So long before a sweep began, and the overlap, changes are read after it."""
ASKED_AT_ONCE = 20
"""So many customers are asked for between two commits."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How the feed reads.

    Attributes:
        by_events: changes are asked for by events, not only by new members.
        overlap: so much is read again from poll to poll.
        sweep_every: how often everybody is walked over.
        external_id_field: whose value is a member's external id.
    """

    by_events: bool
    overlap: timedelta
    sweep_every: timedelta
    external_id_field: str = ""


class AntavoFeed:
    """Pages of members.

    An interrupted poll goes on after its last page.

    Args:
        api: the calls; pacing is theirs.
        normaliser: how this store reads identifiers.
        fields: what the replica keeps of a member.
        clock: says when a sweep is due.
        reading: how it reads.
        unseen: whom the sweep under way has not shown; None if they are so many that it was hardly everybody.
    """

    def __init__(
        self,
        api: MembersApi,
        normaliser: Normaliser,
        fields: Sequence[str],
        clock: Clock,
        reading: Reading,
        *,
        unseen: Callable[[], Awaitable[Sequence[Identifier] | None]],
    ) -> None:
        self.api, self.clock, self.reading, self.unseen, self.fields = api, clock, reading, unseen, fields
        self._normaliser = normaliser

    async def pages(self, cursor: str | None) -> AsyncIterator[ChangePage]:
        """Pages from a cursor; None reads everybody.

        Raises:
            VendorError: as the API says; what was yielded stays valid.
            FeedError: the cursor cannot be read, or the vendor has errors of its own for very many members.
        """
        poll = _Poll(self, parse_progress(cursor))
        parts = [poll.changes(), poll.everybody()]  # a sweep can take long: what changed comes first
        if poll.is_far_behind():  # but not what a sweep shows faster
            parts.reverse()
        for part in (*parts, poll.once_more()):
            async for page in part:
                yield page
        poll.say_left_out()
        yield poll.page((), last=True)

    def is_due(self, at: datetime | None) -> bool:
        """Whether `sweep_every` has passed since; also when it is said to lie ahead: a clock was wrong."""
        return at is None or not timedelta() <= self.clock.now() - at < self.reading.sweep_every

    def told_by(self, listed: Listed) -> datetime:
        """When a page was told, by the vendor's clock, which a signature has to agree with; else by ours."""
        return bounded(listed.told_at or self.clock.now())

    async def walk(
        self, page: Page, instant: Callable[[Mapping[str, Any]], datetime | None], place: Place
    ) -> AsyncIterator[tuple[Listed, Place]]:
        """Pages of a list, each with the place to go on from; after the last, the latest instant of all.

        Raises:
            VendorError: as the API says, or the same rows are listed twice where others are due.
        """
        before: Sequence[Mapping[str, Any]] = ()
        latest_at, more = place.at, True
        while more:
            listed = await page(place.at, place.count)
            if place.count and listed.rows and listed.rows == before:
                raise VendorUnreachableError("lists the same page again where another was asked for")
            before, more = listed.rows, listed.more
            instants = [_second(at) for row in listed.rows if (at := instant(row)) is not None]
            latest_at = max([latest_at, *instants])
            if not more:
                place = Place(latest_at, 0)
            elif instants and instants[-1] > place.at and instants == sorted(instants):
                place = Place(instants[-1], 0)
            else:
                place = replace(place, count=place.count + len(listed.rows))
            yield listed, place

    def read(self, customer: Mapping[str, Any]) -> ContactChange | None:
        """The change that a customer makes; None where they have no id, or one that nothing can carry."""
        field, today = self.reading.external_id_field, self.clock.today()
        return change_of(customer, self._normaliser, self.fields, external_id_field=field, today=today)


class _Poll:
    """One poll of a feed: how far it is."""

    def __init__(self, feed: AntavoFeed, progress: Progress) -> None:
        self._feed, self.progress = feed, progress
        self._former = progress.unread
        self._left: set[str] = set()
        self._untold = self._left_out = 0
        self._questions = Questions(feed.api, feed.read)

    def page(self, changes: Sequence[ContactChange], *, sweep: Sweep | None = None, last: bool = False) -> ChangePage:
        unread = len(self.progress.unread) + self._untold
        return ChangePage(tuple(changes), self.progress.cursor(), last=last, sweep=sweep, unread=unread)

    def is_far_behind(self) -> bool:
        """Nothing is read yet; or a sweep is due, and more has happened since the last poll than it takes to walk."""
        progress = self.progress
        walks = progress.sweep is not None or self._feed.is_due(progress.swept_at)
        return walks and self._feed.is_due(progress.changed_at)

    def say_left_out(self) -> None:
        if self._left_out:
            log.warning("feed.left_out", count=self._left_out)

    async def changes(self) -> AsyncIterator[ChangePage]:
        """What has become of those who joined, left or were changed since the last poll."""
        feed, stage = self._feed, None if self.progress.sweep is None else Sweep.GOES_ON
        by_events = feed.reading.by_events
        start = Place(_second(self.progress.changed_at or BEGINNING_AT), 0)
        listing, instant = (feed.api.events, _happened_at) if by_events else (feed.api.members, created_at)
        if self.progress.pending:
            async for page in self._work_off(stage):
                yield page
        async for listed, place in feed.walk(listing, instant, start):
            self._reach(listed, place)
            if not by_events:
                yield self.page(self._read(listed), sweep=stage)
                continue
            named = customers_in(listed.rows, feed.fields)
            self._left_out += named.left_out
            self._left |= named.left
            self.progress = self.progress.told_of(named.changed)
            async for page in self._work_off(stage):
                yield page

    def _reach(self, listed: Listed, place: Place) -> None:
        """Carries how far changes are read.

        Where that lies ahead of both clocks a `Date` was wrong: what came since was not asked for.
        """
        feed = self._feed
        told_at = feed.told_by(listed)
        settled_at = told_at - feed.reading.overlap  # later than that something may show up still
        if self.progress.is_ahead_of(max(told_at, feed.clock.now())):
            log.warning("feed.read_ahead")
            self.progress = self.progress.taken_back(settled_at)
        self.progress = self.progress.reached(min(place.at, settled_at) if listed.more else settled_at)

    async def everybody(self) -> AsyncIterator[ChangePage]:
        """If it is due, everybody, then those who were not among them, by name."""
        feed, sweep, stage = self._feed, self.progress.sweep, Sweep.GOES_ON
        if sweep is None:
            if not feed.is_due(self.progress.swept_at):
                return
            sweep, stage = Sweeping(bounded(feed.clock.now()), Place(BEGINNING_AT, 0), BEGINNING_AT), Sweep.BEGINS
        async for listed, place in feed.walk(feed.api.members, created_at, sweep.place):
            if stage is Sweep.BEGINS:
                changes_at = feed.told_by(listed) - feed.reading.overlap - LEAD
                sweep = replace(sweep, changes_at=_second(bounded(changes_at)))
            sweep = replace(sweep, place=place)  # whoever is made from now on is among the changes
            self.progress = replace(self.progress, sweep=sweep)
            yield self.page(self._read(listed), sweep=stage)
            stage = Sweep.GOES_ON
        missing = await feed.unseen()
        if missing is None:  # whom the sweep brought is taken back; who came meanwhile is read again
            self.progress = self.progress.given_up(sweep)
            yield self.page((), sweep=Sweep.GIVEN_UP)
            return
        for start in range(0, len(missing), ASKED_AT_ONCE):
            told = [await self._asked(one) for one in missing[start : start + ASKED_AT_ONCE]]
            yield self.page([change for changes in told for change in changes], sweep=stage)
        self.progress = self.progress.swept(sweep)
        yield self.page((), sweep=Sweep.ENDS)

    async def once_more(self) -> AsyncIterator[ChangePage]:
        """Those of whom the vendor could not tell in earlier polls."""
        for start in range(0, len(self._former), ASKED_AT_ONCE):
            yield await self._questioned(self._former[start : start + ASKED_AT_ONCE], None)

    async def _work_off(self, stage: Sweep | None) -> AsyncIterator[ChangePage]:
        """At least one page: of all whom a change was told of."""
        while True:
            yield await self._questioned(self.progress.pending[:ASKED_AT_ONCE], stage)
            if not self.progress.pending:
                return

    async def _questioned(self, customers: Sequence[str], stage: Sweep | None) -> ChangePage:
        """What has become of some customers.

        Who is not there is gone if this poll was told that they left. Otherwise it may be another workspace's word,
        whose keys are here by mistake: that is for the sweep to find out.
        """
        changes: list[ContactChange] = []
        unread: list[str] = []
        for one in customers:
            try:
                told = await self._questions.told(one)
            except VendorOwnError:
                unread.append(one)
                continue
            if told is not None:
                changes.append(told)
            elif one in self._left:
                changes.append(ContactChange(ChangeKind.DELETE, {IdentifierType.CONTACT_ID: one}))
        self.progress = self.progress.asked(customers, unread)
        return self.page(changes, sweep=stage)

    async def _asked(self, one: Identifier) -> list[ContactChange]:
        """What has become of somebody whom a sweep has not shown; nothing where nobody has that name any more.

        Where Antavo cannot tell, they count as still there: nothing is known of them but that.
        """
        try:
            named = [one.value] if one.type is IdentifierType.CONTACT_ID else await self._questions.named(one)
            told = [await self._questions.told(customer) for customer in named]
        except VendorOwnError:
            self._untold += 1
            return [ContactChange(ChangeKind.UPSERT, {one.type: one.value})]
        return [change for change in told if change is not None]

    def _read(self, listed: Listed) -> list[ContactChange]:
        """Who is listed, and is a member still; whoever is not is found by not being shown."""
        changes = [self._feed.read(row) for row in listed.rows]
        self._left_out += changes.count(None)
        return [change for change in changes if change is not None and change.kind is ChangeKind.UPSERT]


def _happened_at(event: Mapping[str, Any]) -> datetime | None:
    return instant_of(event.get("timestamp"))


def _second(at: datetime) -> datetime:
    return at.replace(microsecond=0)
