"""What everything is built on: the configuration of this machine, its clock, and who hears of what.

Rooms that have to tell each other something are built one after the other, so none can be given all the others. They
are given a :class:`Bell` instead, which rings for whoever was connected to it by then.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import Generic, ParamSpec
from zoneinfo import ZoneInfo

import structlog

from agent.clock import SystemClock
from agent.domain.health import Conditions
from agent.domain.identifiers import Normaliser
from agent.domain.tagging import TaggingPolicy
from agent.ports import Clock
from agent.secrets import WatchedSecret
from agent.settings import Configuration, Settings
from agent.state import State
from agent.transport import Answer, HttpPolicy

log = structlog.get_logger(__name__)

P = ParamSpec("P")


class Bell(Generic[P]):
    """Rings for everybody who listens; for nobody, as long as nobody does."""

    def __init__(self) -> None:
        self._listeners: list[Callable[P, object]] = []

    def listen(self, listener: Callable[P, object]) -> None:
        """Calls ``listener`` from now on, after those before it."""
        self._listeners.append(listener)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Rings."""
        for listener in self._listeners:
            listener(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class Bells:
    """Who hears of what.

    Attributes:
        changed: something that the status shows.
        storage_changed: a database is open again, or there is room on the disk.
        accepted: a sale is on disk.
        erased: somebody is forgotten: by order, by the feed or by age.
        heard: the loyalty system answered, with its `Date`.
        clock_jumped: the wall clock was put elsewhere.
        refetch: the replica has to be fetched again.
        trail_checked: the audit trail was read through, and whether it is what was written.
    """

    changed: Bell[[]] = field(default_factory=Bell)
    storage_changed: Bell[[]] = field(default_factory=Bell)
    accepted: Bell[[]] = field(default_factory=Bell)
    erased: Bell[[]] = field(default_factory=Bell)
    heard: Bell[[Answer]] = field(default_factory=Bell)
    clock_jumped: Bell[[]] = field(default_factory=Bell)
    refetch: Bell[[]] = field(default_factory=Bell)
    trail_checked: Bell[[bool]] = field(default_factory=Bell)

    def __post_init__(self) -> None:
        """What these bells tell of shows in the status too."""
        for bell in (self.storage_changed, self.accepted, self.erased, self.clock_jumped):
            bell.listen(self.changed)


class Ground:
    """One agent's configuration, and what is made of it alone.

    Args:
        configuration: checked.
        clock: the machine's, unless a test has another.
        chance: the source of jitter.
        guid_contact_ids: the loyalty system's contact ids are GUIDs.
    """

    def __init__(
        self, configuration: Configuration, clock: Clock | None, chance: random.Random, *, guid_contact_ids: bool
    ) -> None:
        self.configuration, self.chance = configuration, chance
        self.settings: Settings = configuration.settings
        self.version = version("loyalty-agent")
        self.zone = ZoneInfo(self.settings.agent.timezone)
        self.clock: Clock = clock or SystemClock(self.zone)
        self.state = State(configuration)
        self.bells = Bells()
        self.conditions = Conditions(on_edge=_log_edge)
        self.normaliser = Normaliser(self.settings.agent.country, guid_contact_ids=guid_contact_ids)
        loyalty = self.settings.loyalty
        series = self.settings.enrol.prefix(self.settings.agent)
        self.tagging = TaggingPolicy(loyalty.primary, loyalty.secondary, loyalty.fallback_level, series)

    def secret(self, reference: str) -> WatchedSecret:
        """The secret that a checked setting refers to."""
        return WatchedSecret(self.configuration.secret(reference), self.clock)

    @cached_property
    def http(self) -> HttpPolicy:
        """`[http]`."""
        http = self.settings.http
        return HttpPolicy(
            http.connect_timeout.total_seconds(),
            http.read_timeout.total_seconds(),
            ca_file=str(self.configuration.base / http.ca_file) if http.ca_file else "",
            proxy=http.proxy,
            proxy_secret=self.secret(http.proxy_secret) if http.proxy_secret else None,
        )


def _log_edge(code: str, stands: bool, detail: str) -> None:  # noqa: FBT001 - Conditions' form
    (log.warning if stands else log.info)("condition", code=code, stands=stands, detail=detail)
