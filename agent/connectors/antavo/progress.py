"""Where the member feed stands, and the cursor that says so. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from agent.connectors.sweeping import Sweeping, parse_sweeping
from agent.errors import FeedError

BEGINNING_AT = datetime(2000, 1, 1, tzinfo=UTC)
"""Before Antavo's first customer."""
MOST_UNREAD = 1_000
OF_A_LIST = "list "
"""How a cursor begins that says which list in a folder was read."""
_LATEST_AT = datetime(2200, 1, 1, tzinfo=UTC)
_INSTANTS = ("changed_at", "swept_at")
_IDS = ("pending", "unread")
_MOST_ROWS = 10**9


@dataclass(frozen=True, slots=True)
class Progress:
    """What a cursor holds.

    Attributes:
        changed_at: up to when changes are read; None before the first load's end.
        swept_at: when the last sweep began, by our clock.
        sweep: the one under way.
        pending: customers of whom a change was told, and who were not asked for yet.
        unread: customers for whom the vendor had an error of its own.
    """

    changed_at: datetime | None = None
    swept_at: datetime | None = None
    sweep: Sweeping | None = None
    pending: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    def reached(self, at: datetime) -> Progress:
        """The same, with changes read up to an instant; this never takes it back."""
        return replace(self, changed_at=max(bounded(at), self.changed_at or BEGINNING_AT))

    def is_ahead_of(self, at: datetime) -> bool:
        """Whether changes are said to be read up to an instant later than this one."""
        return self.changed_at is not None and self.changed_at > at

    def taken_back(self, at: datetime) -> Progress:
        """The same, with changes read up to an earlier instant; what was missed by then is for a sweep to find."""
        return replace(self, changed_at=bounded(at), swept_at=None, sweep=None)

    def told_of(self, customers: Iterable[str]) -> Progress:
        """The same, with customers to be asked for."""
        return replace(self, pending=tuple(dict.fromkeys((*self.pending, *customers))))

    def asked(self, customers: Iterable[str], unread: Iterable[str]) -> Progress:
        """The same, after some were asked for, and the vendor could not tell of those among them.

        Raises:
            FeedError: the vendor cannot tell of so many that it is its own trouble.
        """
        done = set(customers)
        left = tuple(one for one in self.unread if one not in done)
        unread = tuple(dict.fromkeys((*left, *unread)))
        if len(unread) > MOST_UNREAD:
            raise FeedError(f"the loyalty system has an error of its own for more than {MOST_UNREAD} members")
        return replace(self, pending=tuple(one for one in self.pending if one not in done), unread=unread)

    def swept(self, sweep: Sweeping) -> Progress:
        """The same after a sweep has ended: what happened before it is in it."""
        return replace(self.reached(sweep.changes_at), swept_at=sweep.begun_at, sweep=None)

    def given_up(self, sweep: Sweeping) -> Progress:
        """The same after a sweep that was hardly everybody: what came since it began is read again."""
        changed_at = min(self.changed_at or sweep.changes_at, sweep.changes_at)
        return replace(self, changed_at=changed_at, swept_at=sweep.begun_at, sweep=None)

    def cursor(self) -> str:
        """Where to go on after an interruption."""
        stated = {name: getattr(self, name) for name in _INSTANTS}
        values: dict[str, Any] = {name: at.isoformat() for name, at in stated.items() if at is not None}
        values |= {name: list(ids) for name in _IDS if (ids := getattr(self, name))}
        if self.sweep is not None:
            values["sweep"] = self.sweep.stated("offset")
        return json.dumps(values)


def bounded(at: datetime) -> datetime:
    """The instant, or the nearest that a cursor can hold: a till's clock can say anything."""
    return min(max(at, BEGINNING_AT), _LATEST_AT)


def parse_progress(cursor: str | None) -> Progress:
    """What a cursor holds; nothing is read without one, and where lists in a folder were the feed before.

    Raises:
        FeedError: it cannot be read, or is none of this feed's.
    """
    if cursor is None or cursor.startswith(OF_A_LIST):
        return Progress()
    try:
        values = json.loads(cursor)
        changed_at, swept_at = (_instant(values[name]) if name in values else None for name in _INSTANTS)
        pending, unread = (_ids(values.get(name, [])) for name in _IDS)
        sweep = (
            parse_sweeping(values["sweep"], "offset", counts=range(_MOST_ROWS), instant=_instant)
            if "sweep" in values
            else None
        )
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise FeedError("the member feed's cursor cannot be read") from error
    if changed_at is None and (sweep is None or pending or unread):
        raise FeedError("the member feed's cursor is none of this feed's")
    return Progress(changed_at, swept_at, sweep, pending, unread)


def _ids(told: Any) -> tuple[str, ...]:
    if not isinstance(told, list) or not all(isinstance(one, str) and one for one in told):
        raise ValueError("is no list of customers")
    return tuple(told)


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None or at != bounded(at):
        raise ValueError("is no instant of this feed's")
    return at
