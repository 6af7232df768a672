"""How long what could not be brought to the vendor waits before it is tried again: each by itself, in memory alone."""

from __future__ import annotations

from collections.abc import Callable

from agent.domain.pacing import backoff_s
from agent.ports import Clock

BRIEF_FAILURES = 3
"""So many failures in a row are forgotten when the line is back; more of them may be the record's own fault."""


class Patience:
    """The records that failed lately.

    Args:
        clock: for the pauses.
        first_s: the first pause.
        longest_s: the longest.
        uniform: the source of chance.
    """

    def __init__(
        self, clock: Clock, *, first_s: float, longest_s: float, uniform: Callable[[float, float], float]
    ) -> None:
        self._clock, self._first_s, self._longest_s, self._uniform = clock, first_s, longest_s, uniform
        self._failed: dict[int, tuple[int, float]] = {}

    def waits(self, number: int) -> bool:
        """Whether a record is not to be tried yet."""
        return self._failed.get(number, (0, 0.0))[1] > self._clock.monotonic()

    def put_off(self, number: int) -> int:
        """A record failed: it waits longer each time; how often it has failed by now."""
        failures = self._failed.get(number, (0, 0.0))[0] + 1
        pause_s = backoff_s(failures, self._first_s, self._longest_s, self._uniform)
        self._failed[number] = failures, self._clock.monotonic() + pause_s
        return failures

    def over(self, number: int) -> None:
        """A record's fate is known."""
        self._failed.pop(number, None)

    def line_changed(self) -> None:
        """The line is back: what only failed with it need not wait any longer."""
        self._failed = {number: case for number, case in self._failed.items() if case[0] > BRIEF_FAILURES}

    def hurry(self) -> None:
        """Somebody asked for an attempt now: nothing waits any longer; how often it failed is remembered."""
        self._failed = {number: (failures, 0.0) for number, (failures, _) in self._failed.items()}
