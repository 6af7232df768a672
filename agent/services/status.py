"""What works and what does not, in one value that every output is rendered from: the API, the page, the command line.

Nothing here is kept twice: a snapshot is taken from the rooms that know.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.domain.benefits import GeneralOffer, general_offers
from agent.domain.fallback import REPLICA_LEVEL, TAG_LEVEL, agent_state, level_served
from agent.domain.health import Condition, Conditions
from agent.domain.link import Link
from agent.domain.window import Window, closing
from agent.errors import StorageError
from agent.ports import Clock, LoadProgress, QueueInfo, Replica, ReplicaInfo

RATE_WINDOW = timedelta(hours=1)
TYPICAL_BYTES_A_SALE, MOST_BYTES_A_SALE = 2_048, 4_096
FILLING_SHARE = 0.8
LOOK_EVERY_S, LOOK_PACE_S = 10.0, 1.0


@dataclass(frozen=True, slots=True)
class VendorStatus:
    """One vendor as `GET /v1/status` shows it.

    ``waiting``: deliveries to it that are queued or held; ``keeps_time``: a late sale counts at its own time there.
    """

    vendor: str
    role: str
    state: str
    since: datetime | None
    last_success_at: datetime | None
    circuit: str
    waiting: int
    keeps_time: bool


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """The replica as `GET /v1/status` shows it; ``age_s`` is None before the first load ended.

    ``loading`` is None between loads.
    """

    contacts: int
    as_of: datetime | None
    age_s: int | None
    stale: bool
    contents: str
    loading: LoadProgress | None


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """The queue as `GET /v1/status` shows it.

    ``outage_left_s``: how much longer sales can be kept at today's pace; ``erasures``: people whom a further system has
    not been asked yet to erase.
    """

    depth: int
    held: int
    parked: int
    in_doubt: int
    oldest_age_s: int | None
    bytes: int
    outage_left_s: int | None
    erasures: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The agent's state at one moment. ``codes`` name the messages for a till's screen."""

    state: str
    level: int
    since: datetime
    version: str
    vendors: tuple[VendorStatus, ...]
    replica: ReplicaStatus
    queue: QueueStatus
    conditions: tuple[Condition, ...]
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StatusPolicy:
    """The part of the configuration that status obeys; ``general`` is `benefits.general`."""

    level: int
    secondary_keys: bool
    stale_after: timedelta
    max_queue_bytes: int
    general: tuple[GeneralOffer, ...] = ()


class Status:
    """Takes snapshots and tells who listens when something changed.

    Args:
        clock: for ages.
        version: of the program.
        policy: the configuration.
        links: the lines to the vendors, the loyalty system's first.
        replica: the local contacts.
        queue: the outbox in figures.
        accepted_since: counts sales accepted since an instant.
        conditions: what stands in the way.
        ready: whether a sale can be put on disk now.
        room: whether there is room on the disk for one.
        damage: what is damaged, or was and has not been seen by an administrator.
        paused: whether an administrator stopped the deliveries.
        loading: how far a running load is, or None.
        windows: how late a sale may reach each vendor.
        keeps_time: whether a sale counts at its own time at each vendor.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        version: str,
        policy: StatusPolicy,
        links: Sequence[Link],
        replica: Replica,
        queue: Callable[[], QueueInfo],
        accepted_since: Callable[[datetime], int],
        conditions: Conditions,
        ready: Callable[[], bool],
        room: Callable[[], bool],
        damage: Callable[[], Sequence[str]],
        paused: Callable[[], bool] = lambda: False,
        loading: Callable[[], LoadProgress | None] = lambda: None,
        windows: Mapping[str, Sequence[Window]] | None = None,
        keeps_time: Mapping[str, bool] | None = None,
    ) -> None:
        self._clock, self._version, self._policy = clock, version, policy
        self._links, self._replica, self._queue, self._accepted_since = tuple(links), replica, queue, accepted_since
        self._conditions, self._loading, self._windows = conditions, loading, windows or {}
        self._keeps_time = keeps_time or {}
        self._ready, self._room, self._damage, self._paused = ready, room, damage, paused
        self._since = clock.now()
        self._state = ""
        self._listeners: set[asyncio.Event] = set()
        self._pace: tuple[float, float] | None = None
        self._contents = "keys"
        self._torn: set[str] = set()

    def ready(self) -> bool:
        """Whether a sale can be put on disk now, whatever vendor and replica do."""
        return self._ready()

    def replica_usable(self) -> bool:
        """Whether there is a replica: it was loaded and has not expired."""
        return self._replica_info().as_of is not None

    def level(self) -> int:
        """The fallback level being served now."""
        return level_served(
            configured=self._policy.level,
            vendor_answers=self._links[0].answers is not False,
            replica_usable=self.replica_usable(),
            secondary_keys=self._policy.secondary_keys,
        )

    def snapshot(self) -> Snapshot:
        """Everything, as of now."""
        now = self._clock.now()
        info, queue = self._replica_info(), self._queue_info()
        self._judge(info, queue, now)
        conditions = self._conditions.standing()
        state = agent_state(
            loyalty_answers=self._links[0].answers,
            link_states=[link.state for link in self._links],
            troubled=any(condition.degrades for condition in conditions),
        )
        if state != self._state:
            self._state, self._since = state, now
        level = self.level()
        return Snapshot(
            state=state,
            level=level,
            since=self._since,
            version=self._version,
            vendors=tuple(
                VendorStatus(
                    link.vendor,
                    link.role,
                    link.state,
                    link.since,
                    link.last_success_at,
                    link.sending.state,
                    queue.waiting.get(link.vendor, 0),
                    self._keeps_time.get(link.vendor, True),
                )
                for link in self._links
            ),
            replica=ReplicaStatus(
                info.contacts,
                info.as_of,
                _age_s(info.as_of, now),
                self._stale(info, now),
                info.contents,
                self._loading(),
            ),
            queue=QueueStatus(
                queue.depth,
                queue.held,
                queue.parked,
                queue.in_doubt,
                _age_s(queue.oldest_at, now),
                queue.bytes,
                self._outage_left_s(queue, now),
                queue.erasures,
            ),
            conditions=conditions,
            codes=_codes(state, level, stale=self._stale(info, now), general=self._general(level)),
        )

    async def watch(self, look_every_s: float = LOOK_EVERY_S) -> None:
        """Looks after each change, and every ``look_every_s`` because time alone changes things too; works for ever.

        What begins while nobody asks is known and logged since it began; who listens hears what only time brought.
        """
        seen: tuple[object, ...] = ()
        async with contextlib.aclosing(self.changes(look_every_s)) as changes:
            async for changed in changes:
                now = self.snapshot()
                before, seen = seen, (now.state, now.level, now.conditions)
                if not changed and seen != before:
                    self.changed()
                await asyncio.sleep(LOOK_PACE_S)

    def damaged(self, file: str, *, stands: bool) -> None:
        """Somebody found a file not to be what was written, or whole again."""
        (self._torn.add if stands else self._torn.discard)(file)

    def changed(self) -> None:
        """Something changed: everybody who listens takes a look."""
        for listener in self._listeners:
            listener.set()

    async def changes(self, heartbeat_s: float) -> AsyncGenerator[bool, None]:
        """Yields True after each change and False after each quiet ``heartbeat_s``; the first at once."""
        event = asyncio.Event()
        self._listeners.add(event)
        try:
            yield True
            while True:
                try:
                    async with asyncio.timeout(heartbeat_s):
                        await event.wait()
                except TimeoutError:
                    yield False
                    continue
                event.clear()
                yield True
        finally:
            self._listeners.discard(event)

    def _replica_info(self) -> ReplicaInfo:
        """The replica in figures; nothing when it cannot be read, which is a condition and no reason to fall silent."""
        try:
            info = self._replica.info()
        except StorageError:
            return ReplicaInfo(0, None, self._contents)
        self._contents = info.contents
        return info

    def _queue_info(self) -> QueueInfo:
        try:
            return self._queue()
        except StorageError:
            return QueueInfo(0, 0, 0, 0, None, 0)

    def _judge(self, info: ReplicaInfo, queue: QueueInfo, now: datetime) -> None:
        """Conditions that follow from figures are set here; those that follow from events, where they happen."""
        say = self._conditions.set
        offline = [*self._silent(), *self._without_a_lane(queue)]
        say("vendor.offline", stands=bool(offline), now=now, detail="; ".join(offline))
        refused = [link.vendor for link in self._links if link.refuses]
        say("vendor.credentials_refused", stands=bool(refused), now=now, detail=", ".join(refused))
        late = self._closing(queue, now)
        say("vendor.window_closing", stands=bool(late), now=now, detail="; ".join(late))
        say("queue.paused", stands=self._paused(), now=now)
        say("queue.parked", stands=queue.parked > 0, now=now, detail=str(queue.parked))
        say("queue.in_doubt", stands=queue.in_doubt > 0, now=now, detail=str(queue.in_doubt))
        say("queue.filling", stands=queue.bytes > self._policy.max_queue_bytes * FILLING_SHARE, now=now)
        say("storage.full", stands=not self._room(), now=now)
        damage = [*self._damage(), *sorted(self._torn)]
        say("storage.damaged", stands=bool(damage), now=now, detail="; ".join(damage))
        say("replica.stale", stands=self._stale(info, now), now=now)

    def _silent(self) -> list[str]:
        silent = [link for link in self._links if link.answers is False]
        return [f"{link.vendor}: {link.why}" if link.why else link.vendor for link in silent]

    def _without_a_lane(self, queue: QueueInfo) -> list[str]:
        """Systems that were taken out of the configuration while sales were waiting for them."""
        known = {link.vendor for link in self._links}
        return [
            f"{vendor}: is not in the configuration, {count} waiting"
            for vendor, count in sorted(queue.waiting.items())
            if vendor not in known
        ]

    def _closing(self, queue: QueueInfo, now: datetime) -> list[str]:
        """Systems whose oldest waiting sale is about to be worth less there."""
        near = {
            vendor: window
            for vendor, oldest_at in sorted(queue.oldest.items())
            if (window := closing(self._windows.get(vendor, ()), now - oldest_at)) is not None
        }
        return [f"{vendor}: {window}" for vendor, window in near.items()]

    def _stale(self, info: ReplicaInfo, now: datetime) -> bool:
        return info.as_of is not None and now - info.as_of > self._policy.stale_after

    def _general(self, level: int) -> bool:
        return bool(general_offers(self._policy.general, level=level, today=self._clock.today()))

    def _outage_left_s(self, queue: QueueInfo, now: datetime) -> int | None:
        mono = self._clock.monotonic()
        if self._pace is None or mono - self._pace[0] > 60:  # noqa: PLR2004 - a count over the last hour, once a minute
            try:
                sales = self._accepted_since(now - RATE_WINDOW)
            except StorageError:
                return None
            self._pace = (mono, sales / RATE_WINDOW.total_seconds())
        if self._pace[1] <= 0:
            return None
        # Sales that are parked count as room taken, not as what a waiting sale takes. The figures are read one after
        # the other: what still waits in one may be finished in the next.
        waiting = queue.depth > 0 and queue.bytes > 0
        bytes_each = min(queue.bytes / queue.depth, MOST_BYTES_A_SALE) if waiting else TYPICAL_BYTES_A_SALE
        return int(max(0.0, self._policy.max_queue_bytes - queue.bytes) / (bytes_each * self._pace[1]))


def _age_s(instant: datetime | None, now: datetime) -> int | None:
    return None if instant is None else max(0, int((now - instant).total_seconds()))


def _codes(state: str, level: int, *, stale: bool, general: bool) -> tuple[str, ...]:
    if state != "offline":
        return ("loyalty.stale",) if stale else ()
    if level >= REPLICA_LEVEL:
        return ("loyalty.offline.replica", *(("loyalty.stale",) if stale else ()))
    said = "loyalty.offline.tagged" if level >= TAG_LEVEL else "loyalty.unavailable"
    return (said, "loyalty.general_offers") if general else (said,)
