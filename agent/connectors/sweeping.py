"""A walk over everybody that is under way, as the cursors of member feeds hold it. Pure.

What is done with it, and from where on changes are read afterwards, is each feed's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Place:
    """Where a walk stands.

    Attributes:
        at: what comes before it is read.
        count: how far it is from there on, in what the vendor counts: rows that are read, or the page that is next.
    """

    at: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Sweeping:
    """A walk over everybody that is under way.

    Attributes:
        begun_at: by our clock.
        place: where it stands.
        changes_at: from when on changes are read once it has ended, unless they were read before it.
    """

    begun_at: datetime
    place: Place
    changes_at: datetime

    def stated(self, counted: str) -> dict[str, Any]:
        """What a cursor holds of it; ``counted`` is its word for the place's count."""
        return {
            "begun_at": self.begun_at.isoformat(),
            "at": self.place.at.isoformat(),
            counted: self.place.count,
            "changes_at": self.changes_at.isoformat(),
        }


def parse_sweeping(
    values: Mapping[str, Any], counted: str, *, counts: range, instant: Callable[[str], datetime]
) -> Sweeping:
    """What a cursor holds of a walk.

    Args:
        values: as they were stated.
        counted: the cursor's word for the place's count.
        counts: those that there can be.
        instant: reads one of the feed's.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    count = values[counted]
    if isinstance(count, bool) or not isinstance(count, int) or count not in counts:
        raise ValueError("is no place of this feed's")
    return Sweeping(instant(values["begun_at"]), Place(instant(values["at"]), count), instant(values["changes_at"]))
