"""How the replica is kept fresh, put together: from the loyalty system's feed, or by asking for who was seen here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import date, datetime
from functools import partial

import structlog

from agent.connectors.base import Cache, ExportFeed, FeedSurroundings
from agent.domain.fallback import REPLICA_LEVEL
from agent.domain.identifiers import Identifier
from agent.ground import Ground
from agent.ports import ChangeFeed, Lookup, Seed
from agent.services.audit import Audit
from agent.services.cache import SeenMembers
from agent.services.lease import Lease
from agent.services.loading import Loader, LoadJob
from agent.services.privacy import Privacy
from agent.services.refresh import Refresh, RefreshPolicy
from agent.services.room import RESERVES_KEPT_FREE
from agent.services.sync import Feed, FileFeed, PageFeed, Sync, to_its_end
from agent.state import REPLICA
from agent.storage import Storage
from agent.store.replica import SqliteReplica
from agent.store.replica_builder import SqliteReplicaStore
from agent.store.replica_cache import SqliteContactCache
from agent.systems import LOOKUP_AT_DELIVERY_S, System

log = structlog.get_logger(__name__)


def open_sync(
    ground: Ground,
    loyalty: System,
    storage: Storage,
    replica: SqliteReplica,
    *,
    lease: Lease,
    privacy: Privacy,
    audit: Audit,
    seen: SeenMembers | None,
    trusted: Callable[[], bool],
) -> Sync | None:
    """What reads the feed, or asks for whom ``seen`` keeps; None below fallback level 3, which has no replica.

    Args:
        ground: the agent's.
        loyalty: the system that owns the contacts.
        storage: both databases.
        replica: the local contacts.
        lease: renewed with them.
        privacy: hears of people who were erased here.
        audit: the audit trail.
        seen: keeps members from look-ups, where the loyalty system lists nobody.
        trusted: whether ages by the wall clock mean something.
    """
    owner, lookup = loyalty.room.owner, loyalty.connector.lookup
    if ground.tagging.level < REPLICA_LEVEL or owner is None:
        return None
    if not isinstance(owner.feed, Cache):
        source = owner.feed(loyalty.connector, _surroundings(ground, loyalty, storage, replica))
        feed = _feed(ground, source, storage, replica, privacy=privacy, audit=audit)
    elif seen is not None and lookup is not None:
        seed = owner.feed.seed(loyalty.connector, _surroundings(ground, loyalty, storage, replica))
        feed = _refresh(ground, loyalty, seen, lookup, seed, trusted=trusted)
    else:
        return None
    return Sync(
        clock=ground.clock,
        feed=feed,
        contacts=replica,
        erased=privacy,
        conditions=ground.conditions,
        every=ground.settings.replica.sync_every,
        uniform=ground.chance.uniform,
        changed=ground.bells.changed,
        renewed=lease.renewed,
        counted=partial(_counted, ground) if seen is None else _not_counted,
        damaged=partial(storage.integrity.suspect, REPLICA),
        writing=storage.writing if seen is None else asyncio.Lock(),
    )


def open_cache(
    ground: Ground,
    loyalty: System,
    storage: Storage,
    replica: SqliteReplica,
    heard: Callable[[frozenset[bytes], frozenset[bytes], Mapping[bytes, bytes]], Awaitable[None]],
) -> SeenMembers | None:
    """What keeps members from look-ups, where the loyalty system lists nobody; None elsewhere, and without a replica.

    Args:
        ground: the agent's.
        loyalty: the system that owns the contacts.
        storage: both databases.
        replica: the local contacts.
        heard: told of people who were erased here.
    """
    if ground.tagging.level < REPLICA_LEVEL or loyalty.cache is None:
        return None

    def store() -> SqliteContactCache:
        return SqliteContactCache(replace(replica.file, refusals=storage.erased.refusals()))

    return SeenMembers(
        store=store,
        contacts=replica,
        heard=heard,
        writing=storage.writing,
        clock=ground.clock,
        damaged=partial(storage.integrity.suspect, REPLICA),
    )


def _refresh(
    ground: Ground,
    loyalty: System,
    seen: SeenMembers,
    lookup: Lookup,
    seed: Callable[[], Seed | None] | None,
    *,
    trusted: Callable[[], bool],
) -> Feed:
    fresh_for = loyalty.fresh_for or ground.settings.replica.stale_after
    return Refresh(
        cache=seen,
        lookup=lookup,
        ping=loyalty.connector.ping,
        trusted=trusted,
        seed=seed,
        policy=RefreshPolicy(fresh_for, ground.settings.replica.expires_after, LOOKUP_AT_DELIVERY_S),
        link=loyalty.link,
        pace=loyalty.pace,
        conditions=ground.conditions,
        clock=ground.clock,
    )


def _feed(
    ground: Ground,
    source: ExportFeed | ChangeFeed,
    storage: Storage,
    replica: SqliteReplica,
    *,
    privacy: Privacy,
    audit: Audit,
) -> Feed:
    store = partial(_store, ground, storage, replica)
    if isinstance(source, ExportFeed):
        export = source

        def job(now: datetime, today: date, rebuild: bool) -> LoadJob:  # noqa: FBT001 - FileFeed's form
            return LoadJob(
                export.source(),
                export.reader,
                store(),
                now,
                today,
                rebuild=rebuild,
                directory=ground.state.directory,
                kept_free_bytes=RESERVES_KEPT_FREE * ground.settings.queue.reserve_bytes,
            )

        return FileFeed(
            job=job,
            loader=Loader(),
            contacts=replica,
            conditions=ground.conditions,
            erased=privacy,
            record=audit.record,
            clock=ground.clock,
        )
    return PageFeed(
        feed=source,
        store=store,
        contacts=replica,
        erased=privacy,
        conditions=ground.conditions,
        clock=ground.clock,
    )


def _store(ground: Ground, storage: Storage, replica: SqliteReplica) -> SqliteReplicaStore:
    """The replica as it is now, without those who were erased here up to now."""
    state = ground.state
    whole = SqliteReplicaStore(replica.file, state.least_contacts, state.former_contacts)
    return whole.refusing(storage.erased.refusals())


def _surroundings(ground: Ground, loyalty: System, storage: Storage, replica: SqliteReplica) -> FeedSurroundings:
    async def unseen() -> tuple[Identifier, ...] | None:
        return await to_its_end(_store(ground, storage, replica).unseen)

    return FeedSurroundings(
        normaliser=ground.normaliser,
        primary=ground.tagging.primary,
        fields=ground.settings.replica.fields,
        secret=ground.secret,
        base=ground.configuration.base,
        spool=ground.state.spool,
        link=loyalty.link,
        pace=loyalty.pace,
        clock=ground.clock,
        unseen=unseen,
    )


def _counted(ground: Ground, contacts: int) -> None:
    try:
        ground.state.note_contacts(contacts)
    except OSError as error:  # the disk is full, perhaps; the count before says nearly as much
        log.warning("replica.size_not_noted", error=type(error).__name__)


def _not_counted(_contacts: int) -> None:
    """Whom a shop happens to have seen says nothing of how many there are."""
