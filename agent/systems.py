"""The systems that a shop's sales go to: the loyalty system, which owns the contacts, and any number of further ones.

Each has its room's connector, a line and a lane of its own; nothing is shared that one of them could hold up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from agent.connectors.base import Cache, Room, Surroundings
from agent.domain.activity import Activity
from agent.domain.delivery import Verdict
from agent.domain.link import Link
from agent.ground import Ground
from agent.ports import (
    CarriedOffers,
    Clock,
    Connector,
    HandedOver,
    Handovers,
    Outgoing,
    Recipient,
    Remember,
    Replica,
    Shares,
    not_told,
)
from agent.services.bringing import Bringing
from agent.services.buffer import Buffer, BufferPolicy
from agent.services.contacts import Newcomers
from agent.services.dispatch import Dispatch
from agent.services.judge import DispatchPolicy
from agent.services.lane import Contacts, Lane, own_share
from agent.services.news import News
from agent.services.reconcile import Books
from agent.services.round import Queue
from agent.settings import Role, VendorSection
from agent.transport import Answer

log = structlog.get_logger(__name__)

LOOKUP_AT_DELIVERY_S = 15.0


@dataclass(frozen=True, slots=True)
class System:
    """One system that gets sales.

    Attributes:
        room: the vendor's.
        connector: to it.
        link: the line to it.
        clock: for the allowance.
        activities: the types of activities that it wants.
        shares: what it is told of somebody who joined or changed.
    """

    room: Room
    connector: Connector
    link: Link
    clock: Clock
    activities: frozenset[str] = frozenset()
    shares: Shares = not_told

    @property
    def recipient(self) -> Recipient:
        """Which sales it wants, and whether activities too."""
        return Recipient(
            self.link.vendor,
            guests=self.connector.guests,
            owner=self.link.role == "loyalty",
            activities=self.activities,
            shares=self.shares,
        )

    @property
    def cache(self) -> Cache | None:
        """How its contacts are kept, if it owns them and lists nobody."""
        owner = self.room.owner if self.link.role == "loyalty" else None
        return owner.feed if owner is not None and isinstance(owner.feed, Cache) else None

    @property
    def fresh_for(self) -> timedelta | None:
        """How long what it said of a member counts as fresh, where it is asked member by member; else None."""
        return self.cache.fresh_for(self.connector) if self.cache is not None else None

    @property
    def books(self) -> Books:
        """How to ask what is on its books."""
        return Books(self.link, self.connector.history, self.pace)

    async def pace(self) -> None:
        """Waits for this agent's share of the vendor's allowance."""
        await own_share(self.link, self.clock)


def open_systems(
    ground: Ground,
    rooms: Mapping[str, Room],
    stack: AsyncExitStack,
    *,
    taken: Callable[[str, Collection[str]], Collection[str]],
    offers: Callable[[], CarriedOffers],
    handovers: Callable[[], Handovers],
) -> tuple[System, ...]:
    """Everybody who gets sales, the loyalty system first; their connections are closed with the stack.

    Args:
        ground: the agent's.
        rooms: by vendor.
        stack: what closes them.
        taken: which of some names of a vendor's are recorded for a sale that it took.
        offers: the offers that were redeemed here.
        handovers: writes down which deliveries go out in which file.
    """
    systems = []
    for name, path, table in ground.configuration.vendor_tables():
        role: Role = "loyalty" if path == name else "forward"
        system = _system(
            ground, rooms[name], name, role, table, taken=partial(taken, name), offers=offers, handovers=handovers
        )
        stack.push_async_callback(system.connector.close)
        systems.append(system)
    return tuple(systems)


def files_of(systems: Sequence[System]) -> list[HandedOver]:
    """The files of all of them that wait to be fetched."""
    return [files for system in systems if (files := system.room.handed_over(system.connector)) is not None]


def open_lanes(
    ground: Ground,
    systems: Sequence[System],
    queue: Queue,
    replica: Replica,
    *,
    told: Callable[[str, Verdict, timedelta], None],
    newcomers: Newcomers,
    bringing: Bringing,
    updating: Contacts,
    news: News,
    asking_now: Callable[[], Remember] | None,
) -> Dispatch:
    """A lane for each.

    Args:
        ground: the agent's.
        systems: who gets sales.
        queue: the outbox.
        replica: the local contacts.
        told: hears of each attempt: vendor, verdict, and the time since the acceptance of what was tried.
        newcomers: who was made at this till.
        bringing: brings them to the loyalty system.
        updating: brings changes there.
        news: what further systems are told of who joined.
        asking_now: what keeps the answers of a look-up that begins now; None where they are not kept.
    """
    loyalty = systems[0]
    asking = _buffer(
        ground, loyalty, replica, queue=queue, newcomers=newcomers, bringing=bringing, asking_now=asking_now
    )
    local = _local_buffer(ground, loyalty, replica)

    async def settle_activity(outgoing: Outgoing) -> Outgoing | Verdict:
        """None of these lanes ever waits for the loyalty system: a sale comes with the tag that its lane settled."""
        return await local.settle(outgoing) if isinstance(outgoing.record, Activity) else outgoing

    dispatch = Dispatch(
        [
            _lane(
                ground,
                system,
                queue,
                settle_tag=asking.settle if system is loyalty else settle_activity,
                corrected=loyalty.link.corrected,
                told=told,
                contacts=(bringing, updating) if system is loyalty else (),
                news=news,
            )
            for system in systems
        ]
    )
    ground.bells.storage_changed.listen(dispatch.wake)
    ground.bells.accepted.listen(dispatch.wake)
    return dispatch


def _system(
    ground: Ground,
    room: Room,
    name: str,
    role: Role,
    table: VendorSection,
    *,
    taken: Callable[[Collection[str]], Collection[str]],
    offers: Callable[[], CarriedOffers],
    handovers: Callable[[], Handovers],
) -> System:
    heard = ground.bells.heard if role == "loyalty" else _not_listened_to
    connector = room.build(
        table,
        Surroundings(
            role=role,
            secret=ground.secret,
            http=ground.http,
            normaliser=ground.normaliser,
            primary=ground.tagging.primary,
            zone=ground.zone,
            fields=ground.settings.replica.fields,
            user_agent=f"loyalty-agent/{ground.version}",
            heard=heard,
            clock=ground.clock,
            taken=taken,
            offers=offers,
            handovers=handovers,
            place=(ground.settings.agent.store_id, ground.settings.agent.till_id),
        ),
    )
    queue = ground.settings.queue
    link = Link(
        name,
        role,
        requests_per_second=connector.requests_per_second,
        backoff_first_s=queue.backoff_first.total_seconds(),
        backoff_max_s=queue.backoff_max.total_seconds(),
        uniform=ground.chance.uniform,
    )
    return System(room, connector, link, ground.clock, room.activities(table), _shares(room, table))


def _shares(room: Room, table: VendorSection) -> Shares:
    return partial(room.shares, table) if room.shares is not None else not_told


def _not_listened_to(answer: Answer) -> None:
    """The agent's clock is judged by the loyalty system's alone: two that disagree would move it to and fro."""


def _buffer(
    ground: Ground,
    loyalty: System,
    replica: Replica,
    *,
    queue: Queue,
    newcomers: Newcomers,
    bringing: Bringing,
    asking_now: Callable[[], Remember] | None,
) -> Buffer:
    settings, owner = ground.settings.loyalty, loyalty.room.owner
    matches_later = owner is None or owner.matches_later
    unknown = settings.unknown_at_delivery or ("tag" if matches_later else "park")
    return Buffer(
        clock=ground.clock,
        replica=replica,
        lookup=loyalty.connector.lookup,
        writer=loyalty.connector.writer,
        link=loyalty.link,
        policy=BufferPolicy(
            ground.tagging, settings.live_lookup, unknown, LOOKUP_AT_DELIVERY_S, matches_later, loyalty.fresh_for
        ),
        pace=loyalty.pace,
        newcomers=newcomers,
        made=bringing.key_of,
        asking_now=asking_now,
        attempts=queue,
        alone=bringing.making.alone,
    )


def _local_buffer(ground: Ground, loyalty: System, replica: Replica) -> Buffer:
    """Settles a tag from the local contacts alone."""
    return Buffer(
        clock=ground.clock,
        replica=replica,
        lookup=None,
        writer=None,
        link=loyalty.link,
        policy=BufferPolicy(ground.tagging, live=False, unknown_at_delivery="tag", timeout_s=LOOKUP_AT_DELIVERY_S),
        pace=loyalty.pace,
    )


def _lane(
    ground: Ground,
    system: System,
    queue: Queue,
    *,
    settle_tag: Callable[[Outgoing], Awaitable[Outgoing | Verdict]],
    corrected: Callable[[datetime, datetime, timedelta, datetime], datetime | None],
    told: Callable[[str, Verdict, timedelta], None],
    contacts: Sequence[Contacts],
    news: News,
) -> Lane:
    settings = ground.settings.queue
    lane = Lane(
        clock=ground.clock,
        queue=queue,
        connector=system.connector,
        link=system.link,
        settle_tag=settle_tag,
        corrected=corrected,
        policy=DispatchPolicy(
            settings.flush_every.total_seconds(),
            settings.backoff_first.total_seconds(),
            settings.backoff_max.total_seconds(),
        ),
        uniform=ground.chance.uniform,
        told=told,
        changed=ground.bells.changed,
        contacts=contacts,
        news=news,
    )
    system.link.on_change = partial(_line_changed, ground, system.link, lane)
    return lane


def _line_changed(ground: Ground, link: Link, lane: Lane) -> None:
    log.info("line.changed", vendor=link.vendor, state=link.state, reason=link.why)
    if link.state == "online":
        lane.line_changed()
    ground.bells.changed()
