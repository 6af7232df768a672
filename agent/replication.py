"""How the replica is kept fresh from the loyalty system's feed, put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import date, datetime
from functools import partial

import structlog

from agent.connectors.base import ExportFeed, FeedSurroundings
from agent.domain.fallback import REPLICA_LEVEL
from agent.domain.identifiers import Identifier
from agent.ground import Ground
from agent.services.audit import Audit
from agent.services.lease import Lease
from agent.services.loading import Loader, LoadJob
from agent.services.privacy import Privacy
from agent.services.sync import FileFeed, PageFeed, Sync, to_its_end
from agent.state import REPLICA
from agent.storage import Storage
from agent.store.replica import SqliteReplica
from agent.store.replica_builder import SqliteReplicaStore
from agent.systems import System

log = structlog.get_logger(__name__)

RESERVES_KEPT_FREE = 4
"""So often `queue.reserve_bytes` stay free of contacts; at one of them the till's sales are refused."""


def open_sync(
    ground: Ground,
    loyalty: System,
    storage: Storage,
    replica: SqliteReplica,
    *,
    lease: Lease,
    privacy: Privacy,
    audit: Audit,
) -> Sync | None:
    """What reads the feed; None below fallback level 3, which has no replica."""
    owner = loyalty.room.owner
    if ground.tagging.level < REPLICA_LEVEL or owner is None:
        return None

    def store() -> SqliteReplicaStore:
        state = ground.state
        whole = SqliteReplicaStore(replica.file, state.least_contacts, state.former_contacts)
        return whole.refusing(storage.erased.refusals())

    async def unseen() -> tuple[Identifier, ...] | None:
        return await to_its_end(store().unseen)

    source = owner.feed(loyalty.connector, _surroundings(ground, loyalty, unseen))
    feed: FileFeed | PageFeed
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

        feed = FileFeed(
            job=job,
            loader=Loader(),
            contacts=replica,
            conditions=ground.conditions,
            erased=privacy,
            record=audit.record,
            clock=ground.clock,
        )
    else:
        feed = PageFeed(
            feed=source,
            store=store,
            contacts=replica,
            erased=privacy,
            conditions=ground.conditions,
            clock=ground.clock,
        )
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
        counted=partial(_counted, ground),
        damaged=partial(storage.integrity.suspect, REPLICA),
        writing=storage.writing,
    )


def _surroundings(
    ground: Ground, loyalty: System, unseen: Callable[[], Awaitable[Sequence[Identifier] | None]]
) -> FeedSurroundings:
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
