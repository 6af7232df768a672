"""The data lease: how long ago the replica was renewed, as far as the clocks of a till can tell.

A till's wall clock may be years off, jump, or be set back by whoever wants to keep the data; its monotonic clock is
right while the program runs and says nothing of the time between two runs. So age is added up: what passed while
the program ran, monotonic, and between two runs the difference of the wall clock. A difference below nothing adds
nothing, so that setting the clock back never makes the replica younger; a difference of years is doubted, because a
clock whose battery is dead says so more often than a till that was off so long. Once the vendor has said what time it
is, that counts instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

BELIEVED_OFF = timedelta(days=366)
"""A till that seems to have been off for longer is not believed without the vendor's word."""


class Contents(StrEnum):
    """What the lease is about.

    Attributes:
        NONE: nothing has been loaded whole yet.
        HELD: a replica, renewed so long ago as the lease says.
        ENDED: nothing; a replica was not renewed in time, and erased.
    """

    NONE = "none"
    HELD = "held"
    ENDED = "ended"


class Standing(StrEnum):
    """Whether the replica may be read: it may, it may not and goes, or that cannot be told yet."""

    VALID = "valid"
    RUN_OUT = "run_out"
    DOUBTFUL = "doubtful"


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """What was known when it was last written down.

    Attributes:
        age_s: since the last renewal (for :attr:`Contents.NONE`, since the first record), seconds.
        seen_at: the newest instant known; never earlier than one that the clock was set back to.
        skew_s: how far the vendor's clock was ahead of ours when it was last heard, seconds.
        contents: what the lease is about.
    """

    age_s: float
    seen_at: datetime
    skew_s: float = 0.0
    contents: Contents = Contents.NONE

    def off_s(self, now: datetime) -> float:
        """Seconds since it was written, as our clock tells: now as right, or still as wrong as it was then."""
        told = (now - self.seen_at).total_seconds()
        return min((off_s for off_s in (told, told + self.skew_s) if off_s >= 0), default=0.0)


class Ageing:
    """How old the replica is while the program runs. Given monotonic seconds, it asks no clock.

    Args:
        record: what the run before left.
        now: what our wall clock says at the start of this one.
        mono: the monotonic clock then.
    """

    def __init__(self, record: LeaseRecord, now: datetime, mono: float) -> None:
        self._left, self._started_mono = record, mono
        self._off_s = record.off_s(now)
        self._renewal: tuple[datetime, float] | None = None
        self._true_at_zero: datetime | None = None

    def renew(self, now: datetime, mono: float) -> None:
        """Counts from nothing again."""
        self._renewal = (now, mono)

    def hear(self, theirs: datetime, mono: float) -> None:
        """The vendor said what time it is. The first word of a run counts; from there the monotonic clock is right."""
        if self._true_at_zero is None:
            self._true_at_zero = _later(theirs, -mono)
            begun_at = _later(theirs, self._started_mono - mono)
            self._off_s = max(0.0, (begun_at - self._left.seen_at).total_seconds())

    def age_s(self, mono: float) -> float:
        """Seconds since the last renewal."""
        if self._renewal is not None:
            return mono - self._renewal[1]
        return self._known_s(mono) + self._off_s

    def standing(self, mono: float, term: timedelta) -> Standing:
        """Whether the replica may be read, when it may be so old."""
        if self.age_s(mono) <= term.total_seconds():
            return Standing.VALID
        if self._is_guess and self._known_s(mono) <= term.total_seconds():
            return Standing.DOUBTFUL
        return Standing.RUN_OUT

    def record(self, contents: Contents, now: datetime, mono: float) -> LeaseRecord:
        """How far it is, for the next run. What is a guess is not written down."""
        if self._true_at_zero is not None:
            seen_at = _later(self._true_at_zero, mono)
            return LeaseRecord(self.age_s(mono), seen_at, (seen_at - now).total_seconds(), contents)
        if self._renewal is not None:
            renewed_at, renewed_mono = self._renewal
            return LeaseRecord(self.age_s(mono), _later(renewed_at, mono - renewed_mono), self._left.skew_s, contents)
        off_s = 0.0 if self._is_guess else self._off_s
        seen_at = _later(self._left.seen_at, off_s + mono - self._started_mono)
        return LeaseRecord(self._known_s(mono) + off_s, seen_at, self._left.skew_s, contents)

    @property
    def _is_guess(self) -> bool:
        """Our own clock alone says how long the program did not run, and it claims years."""
        certain = self._renewal is not None or self._true_at_zero is not None
        return not certain and self._off_s > BELIEVED_OFF.total_seconds()

    def _known_s(self, mono: float) -> float:
        """Seconds since the last renewal in which the program ran, or which were believed before."""
        return self._left.age_s + mono - self._started_mono


def _later(instant: datetime, seconds: float) -> datetime:
    return instant + timedelta(seconds=seconds)
