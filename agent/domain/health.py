"""Conditions: what stands in the way, since when, and how bad it is.

A condition has a code, not a sentence: texts come from `agent.messages` in the reader's language. The codes are the
contract of `GET /v1/status`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

SEVERITY: Final[Mapping[str, str]] = {
    "vendor.offline": "warning",
    "vendor.credentials_refused": "error",
    "vendor.window_closing": "warning",
    "queue.paused": "warning",
    "queue.parked": "warning",
    "queue.in_doubt": "warning",
    "queue.filling": "warning",
    "feed.gap": "error",
    "feed.unreadable": "error",
    "feed.silent": "warning",
    "replica.stale": "warning",
    "replica.expired": "error",
    "storage.full": "error",
    "storage.damaged": "error",
    "storage.unencrypted": "info",  # a choice or a platform, not a disturbance: the agent is no less online for it
    "tokens.unreadable": "error",
    "clock.wrong": "warning",
    "privacy.erasure_refused_by_feed": "warning",
    "benefits.lost": "warning",
    "benefits.stuck": "warning",
    "contacts.parked": "warning",
    "changes.parked": "warning",
}
_IS_OVER: Final = frozenset({"benefits.lost", "benefits.stuck"})
"""They tell people for a while of what has happened: nothing waits, and nothing that is done here would end them."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that stands since ``since``. ``detail`` names files, vendors and counts, never people."""

    code: str
    since: datetime
    detail: str = ""

    @property
    def severity(self) -> str:
        """``info``, ``warning`` or ``error``."""
        return SEVERITY[self.code]

    @property
    def degrades(self) -> bool:
        """Whether the agent does less, or waits for somebody, for as long as it stands."""
        return self.severity != "info" and self.code not in _IS_OVER


@dataclass(slots=True)
class Conditions:
    """The conditions that stand now. Setting one that stands keeps its ``since``.

    Args:
        on_edge: called with the code, whether it stands now, and its detail, when one comes or goes.
    """

    on_edge: Callable[[str, bool, str], None] = lambda _code, _stands, _detail: None
    _standing: dict[str, Condition] = field(default_factory=dict)

    def set(self, code: str, *, stands: bool, now: datetime, detail: str = "") -> None:
        """Says whether a condition stands."""
        known = self._standing.get(code)
        if stands:
            if code not in SEVERITY:
                raise KeyError(code)
            self._standing[code] = Condition(code, known.since if known else now, detail)
            if known is None or known.detail != detail:
                self.on_edge(code, True, detail)
        elif known is not None:
            del self._standing[code]
            self.on_edge(code, False, known.detail)

    def stands(self, code: str) -> bool:
        """Whether it stands now."""
        return code in self._standing

    def standing(self) -> tuple[Condition, ...]:
        """All that stand, the oldest first."""
        return tuple(sorted(self._standing.values(), key=lambda condition: (condition.since, condition.code)))
