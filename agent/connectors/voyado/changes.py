"""The change feed of Engage's API, for a tenant without an export: ids by window of time, then contact by contact.

`GET /contacts/changes` answers ids alone, of one change type, at most 250,000 of them. What its documentation leaves
open is met on the safe side: its times are taken for UTC; windows overlap by ten minutes from poll to poll, for changes
that show up late, and touch within a poll, for bounds that may be exclusive; ids may repeat and come in any order.

Sources: Voyado, contact changes, v2 and v3 (change types, time format, cap); find contact (404).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from agent.connectors.voyado.fields import ContactMapping, ReadReport, RowReader, json_row
from agent.domain.contact import ChangeKind, ContactChange
from agent.domain.identifiers import IdentifierType
from agent.errors import FeedError, IdentifierInvalidError, VendorOwnError, VendorUnreachableError
from agent.ports import ChangePage, Clock

PAGE_CONTACTS = 500
OVERLAP = timedelta(minutes=10)
MOST_UNREAD = 100
UNREAD_IN_A_ROW = 3
"""So many contacts one after the other, or all in all, that draw an error are the vendor's trouble, not theirs."""
SINCE_AT = datetime(2000, 1, 1, tzinfo=UTC)
"""Before Engage's first contact."""

_EARLIEST, _LATEST = datetime(1990, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_SHORTEST = timedelta(seconds=1)
_TICK = timedelta(milliseconds=1)  # the feed's resolution


class TooManyChanges(Exception):  # noqa: N818 - an answer that the caller acts upon, not a failure
    """The window holds more changes than one answer may carry."""


class ChangesApi(Protocol):
    """The two calls the feed is made of."""

    async def changes(self, change_type: str, from_at: datetime, to_at: datetime) -> list[str]:
        """Ids of contacts `Created`, `Updated` or `Deleted` in a window. Raises TooManyChanges, VendorError."""

    async def contact(self, contact_id: str) -> Mapping[str, Any] | None:
        """A whole contact, None when there is none (any more). Raises VendorError."""


@dataclass(frozen=True, slots=True)
class _Window:
    """One stretch of a poll.

    Attributes:
        from_at: everything before is applied.
        to_at: where this stretch ends.
        until_at: where the poll ends.
        after: the last contact of the stretch that is applied, in the order of ids.
    """

    from_at: datetime
    to_at: datetime
    until_at: datetime
    after: str = ""

    def halved(self) -> _Window:
        """The first half of it. Raises VendorUnreachableError when there is nothing left to halve."""
        span = (self.to_at - self.from_at) / 2
        if span < _SHORTEST:
            raise VendorUnreachableError("lists more changes within a second than it can answer")
        return replace(self, to_at=self.from_at + span)

    def following(self) -> _Window | None:
        """The next stretch, up to twice as long as this one; None at the end of the poll."""
        if self.to_at >= self.until_at:
            return None
        span = 2 * (self.to_at - self.from_at)
        return _Window(self.to_at, min(self.to_at + span, self.until_at), self.until_at)

    def cursor(self, unread: set[str]) -> str:
        """Where to go on after an interruption."""
        return _cursor({"from_at": self.from_at, "to_at": self.to_at, "until_at": self.until_at}, unread, self.after)


@dataclass(slots=True)
class _Unread:
    """Contacts that the vendor could not tell of, from poll to poll.

    Attributes:
        ids: whom to ask for again.
        former: of them, those of earlier polls.
    """

    ids: set[str]
    former: frozenset[str] = field(init=False)
    _in_a_row: int = 0

    def __post_init__(self) -> None:
        self.former = frozenset(self.ids)

    def read(self, contact_id: str) -> None:
        """The vendor told of it."""
        self.ids.discard(contact_id)
        self._in_a_row = 0

    def failed(self, contact_id: str) -> bool:
        """The vendor answered with an error of its own; whether it can be left for the next poll."""
        self._in_a_row += contact_id not in self.former
        self.ids.add(contact_id)
        return self._in_a_row < UNREAD_IN_A_ROW and len(self.ids) <= MOST_UNREAD


class VoyadoChanges:
    """Pages of contact changes, asked for call by call.

    A page holds what up to 500 ids have become, in the order of ids: current contacts, each as a full row. A contact
    that cannot be found any more counts as deleted, and so does one that has been changed and is of another type: it
    may have been a member before. An interrupted poll goes on after its last page. A contact that draws an error of the
    vendor's own is left out, and asked for again by each poll.

    Args:
        api: the calls; pacing is theirs.
        mapping: how a contact is read.
        clock: says up to which instant a poll reads.
        since_at: where reading begins without a cursor.
    """

    def __init__(
        self, api: ChangesApi, mapping: ContactMapping, clock: Clock, *, since_at: datetime = SINCE_AT
    ) -> None:
        self.report = ReadReport()
        self._api = api
        self._mapping = mapping
        self._names = mapping.names()
        self._clock = clock
        self._since_at = since_at

    async def pages(self, cursor: str | None) -> AsyncIterator[ChangePage]:
        """Pages from a cursor; None reads from the beginning. ``report`` counts what this poll left out.

        Raises:
            VendorError: as the API says; what was yielded stays valid.
            FeedError: the cursor cannot be read, or lies in the future: the clock is wrong, and a poll that ends by
                it would skip changes.
        """
        rows = RowReader(self._mapping, self._clock.today())
        self.report = rows.report
        upcoming: _Window | None
        upcoming, unread = self._start(cursor)
        again = unread.former
        while upcoming is not None:
            window, changed, gone = await self._listed(upcoming)
            upcoming = window.following()
            ids = sorted(again.union(listed for listed in changed.keys() | gone if listed > window.after))
            changed, again = dict.fromkeys(again - gone, True) | changed, frozenset()
            for start in range(0, max(len(ids), 1), PAGE_CONTACTS):
                page = ids[start : start + PAGE_CONTACTS]
                changes = [await self._read(contact_id, changed.get(contact_id), rows, unread) for contact_id in page]
                found = tuple(change for change in changes if change is not None)
                left = unread.ids
                if start + PAGE_CONTACTS < len(ids):
                    after = max(window.after, page[-1])
                    yield ChangePage(found, replace(window, after=after).cursor(left), last=False, unread=len(left))
                elif upcoming is not None:
                    yield ChangePage(found, upcoming.cursor(left), last=False, unread=len(left))
                else:
                    yield ChangePage(found, _cursor({"from_at": window.until_at}, left), last=True, unread=len(left))

    def _start(self, cursor: str | None) -> tuple[_Window, _Unread]:
        """The stretch to go on with (the one under way, or the whole of a new poll), and whom to ask for again."""
        from_at, unread = self._since_at, _Unread(set())
        if cursor is not None:
            times, after, ids = _parsed(cursor)
            unread = _Unread(ids)
            if len(times) > 1:
                return _Window(**times, after=after), unread
            from_at = times["from_at"]
        now = self._clock.now()
        if now <= from_at - OVERLAP:
            raise FeedError("the clock stands before the last poll; nothing is asked until it is right again")
        return _Window(from_at - OVERLAP, now, now), unread

    async def _listed(self, window: _Window) -> tuple[_Window, dict[str, bool], set[str]]:
        """As much of the window as the vendor can list: contacts made or changed (True: changed), and deleted ones."""
        while True:
            try:
                created = await self._ids("Created", window)
                updated = await self._ids("Updated", window)
                deleted = await self._ids("Deleted", window)
            except TooManyChanges:
                window = window.halved()
            else:
                return window, dict.fromkeys(created, False) | dict.fromkeys(updated, True), deleted

    async def _ids(self, change_type: str, window: _Window) -> set[str]:
        listed = await self._api.changes(change_type, window.from_at, window.to_at + _TICK)
        return {self._contact_id(value) for value in listed}

    def _contact_id(self, value: str) -> str:
        try:
            return self._mapping.normaliser.normalise(IdentifierType.CONTACT_ID, value, today=self._clock.today()).value
        except IdentifierInvalidError:
            raise VendorUnreachableError("lists a change of something that is no contact id") from None

    async def _read(
        self,
        contact_id: str,
        changed: bool | None,  # noqa: FBT001 - as of `_change`
        rows: RowReader,
        unread: _Unread,
    ) -> ContactChange | None:
        """As :meth:`_change`; None, too, where the vendor has an error of its own for this contact alone."""
        try:
            change = await self._change(contact_id, changed, rows)
        except VendorOwnError as error:
            if error.retry_after_s is not None or not unread.failed(contact_id):
                raise
            return None
        unread.read(contact_id)
        return change

    async def _change(self, contact_id: str, changed: bool | None, rows: RowReader) -> ContactChange | None:  # noqa: FBT001
        """What has become of a contact; ``changed`` is None when it is only said to be deleted."""
        deleted = ContactChange(ChangeKind.DELETE, {IdentifierType.CONTACT_ID: contact_id})
        contact = None if changed is None else await self._api.contact(contact_id)
        if contact is None:
            return deleted
        try:
            row = json_row(contact, self._names)
        except ValueError:
            raise VendorUnreachableError("answers something that is no contact") from None
        row[IdentifierType.CONTACT_ID] = contact_id
        if changed and rows.is_other_type(row):
            return deleted
        return rows.change(row, ChangeKind.UPSERT, full_row=True)


def _cursor(times: Mapping[str, datetime], unread: set[str], after: str = "") -> str:
    values: dict[str, Any] = {name: at.isoformat() for name, at in times.items()}
    if len(times) > 1:
        values["after"] = after
    if unread:
        values["unread"] = sorted(unread)
    return json.dumps(values)


def _parsed(cursor: str) -> tuple[dict[str, datetime], str, set[str]]:
    """The instants, the last contact and the unread ones in a cursor. Raises FeedError."""
    try:
        values = json.loads(cursor)
        after, unread = values.pop("after", ""), values.pop("unread", [])
        times = {name: datetime.fromisoformat(text) for name, text in values.items()}
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise FeedError("the change feed's cursor cannot be read") from error
    known = isinstance(unread, list) and len(unread) <= MOST_UNREAD and all(isinstance(one, str) for one in unread)
    fits = known and isinstance(after, str) and times.keys() in ({"from_at"}, {"from_at", "to_at", "until_at"})
    if not fits or not all(at.tzinfo is not None and _EARLIEST < at < _LATEST for at in times.values()):
        raise FeedError("the change feed's cursor is none of this feed's")
    if len(times) > 1 and not times["from_at"] < times["to_at"] <= times["until_at"]:
        raise FeedError("the change feed's cursor runs backwards or stands still")
    return times, after, set(unread)
