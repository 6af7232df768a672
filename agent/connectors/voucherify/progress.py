"""Where the customer feed stands, and the cursor that says so. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from agent.connectors.sweeping import Sweeping, parse_sweeping
from agent.connectors.voucherify.customers import CREATED_AT
from agent.errors import FeedError

FIRST_PAGE, LAST_PAGE = 1, 99
BEGINNING_AT = datetime(2000, 1, 1, tzinfo=UTC)
"""Before Voucherify's first customer."""
_EARLIEST, _LATEST = datetime(1990, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_INSTANTS = ("created_at", "updated_at", "swept_at")


@dataclass(frozen=True, slots=True)
class Progress:
    """What a cursor holds.

    Attributes:
        created_at: up to when everybody who was made is read; None before the first load's end.
        updated_at: up to when every change is read; None likewise.
        swept_at: when the last sweep began, by our clock.
        sweep: the one under way.
    """

    created_at: datetime | None = None
    updated_at: datetime | None = None
    swept_at: datetime | None = None
    sweep: Sweeping | None = None

    def since(self, order: str) -> datetime:
        """Up to when everything of an order is read."""
        return (self.created_at if order == CREATED_AT else self.updated_at) or BEGINNING_AT

    def reached(self, order: str, at: datetime) -> Progress:
        """The same, with everything of an order read up to an instant; it never goes back."""
        at = max(at, self.since(order))
        return replace(self, created_at=at) if order == CREATED_AT else replace(self, updated_at=at)

    def swept(self, sweep: Sweeping, by_at: datetime) -> Progress:
        """The same after a sweep has ended, whose last page told of nothing after ``by_at``."""
        whole = self.reached(CREATED_AT, min(sweep.place.at, by_at))
        return replace(whole, updated_at=self.updated_at or sweep.changes_at, swept_at=sweep.begun_at, sweep=None)

    def given_up(self, sweep: Sweeping) -> Progress:
        """The same after a sweep that was hardly everybody: what came since it began is read again."""
        created_at = min(self.created_at or sweep.changes_at, sweep.changes_at)
        updated_at = min(self.updated_at or sweep.changes_at, sweep.changes_at)
        return replace(self, created_at=created_at, updated_at=updated_at, swept_at=sweep.begun_at, sweep=None)

    def cursor(self) -> str:
        """Where to go on after an interruption."""
        stated = {name: getattr(self, name) for name in _INSTANTS}
        values: dict[str, Any] = {name: at.isoformat() for name, at in stated.items() if at is not None}
        if self.sweep is not None:
            values["sweep"] = self.sweep.stated("page")
        return json.dumps(values)


def parse_progress(cursor: str | None) -> Progress:
    """What a cursor holds; nothing is read without one.

    Raises:
        FeedError: it cannot be read, or is none of this feed's.
    """
    if cursor is None:
        return Progress()
    try:
        values = json.loads(cursor)
        created_at, updated_at, swept_at = (_instant(values[name]) if name in values else None for name in _INSTANTS)
        sweep = (
            parse_sweeping(values["sweep"], "page", counts=range(FIRST_PAGE, LAST_PAGE + 1), instant=_instant)
            if "sweep" in values
            else None
        )
        progress = Progress(created_at, updated_at, swept_at, sweep)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise FeedError("the customer feed's cursor cannot be read") from error
    half = (progress.created_at is None) is not (progress.updated_at is None)
    if half or (progress.created_at is None and progress.sweep is None):
        raise FeedError("the customer feed's cursor is none of this feed's")
    return progress


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None or not _EARLIEST < at < _LATEST:
        raise ValueError("is no instant of this feed's")
    return at
