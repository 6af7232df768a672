"""Instead of a replica: what a vendor said of the members seen here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from agent.domain.contact import ContactChange
from agent.domain.identifiers import Identifier
from agent.domain.tagging import Found
from agent.ports.replica import AppliedCounts


@dataclass(frozen=True, slots=True)
class Told:
    """What a vendor said to one question.

    Attributes:
        question: the identifier that was asked for.
        contacts: everybody whom it leads to there, whole.
    """

    question: Identifier = field(repr=False)
    contacts: tuple[ContactChange, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Seed:
    """Whom a file lists, for a vendor that lists nobody.

    Attributes:
        mark: which list it is; another one has another.
        as_of: up to when it is right.
        contacts: whom it lists. Iterating raises FeedUnreadableError.
    """

    mark: str
    as_of: datetime
    contacts: Iterable[ContactChange] = field(repr=False)


Remember = Callable[[Sequence[tuple[Identifier, Found]]], None]
"""Keeps what the vendor said to questions that were asked together."""


class ContactCache(Protocol):
    """The replica where only those are kept who were asked for. Each call raises StorageError."""

    def remember(self, told: Sequence[Sequence[Told]], *, at: datetime) -> AppliedCounts:
        """Keeps answers, those to questions that were asked together side by side; what they contradict goes."""

    def plant(self, contacts: Iterable[ContactChange], *, as_of: datetime) -> AppliedCounts:
        """Keeps people of a list, all of whom it names, unless newer is known; nobody if iterating it raises."""

    def planted(self) -> str | None:
        """Which list was planted last."""

    def finish(self, *, as_of: datetime, planted: str | None = None) -> None:
        """Records that all is as fresh as it is meant to be, and which list was planted."""

    def outdated(self, before: datetime, limit: int | None) -> Sequence[Identifier]:
        """Of whom nothing was heard since, the longest ago first, by the keys they are kept under."""

    def outdated_among(self, keys: Sequence[Identifier], before: datetime) -> Sequence[Identifier]:
        """Those of the keys that were asked for, and not since."""

    def clamp(self, latest: datetime) -> None:
        """Of nobody anything was heard after an instant."""

    def expire(self, before: datetime) -> int:
        """Takes out of whom nothing was heard since; how many."""
