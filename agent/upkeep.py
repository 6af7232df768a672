"""What looks after the agent and what it keeps, put together: how it is and was, the audit trail, lease, and end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import structlog

from agent.api.metrics import Metrics
from agent.desk import Desk
from agent.domain.retention import RetentionPolicy
from agent.errors import StorageError
from agent.ground import Ground
from agent.ports import QueueInfo
from agent.services.audit import Audit
from agent.services.dispatch import Dispatch
from agent.services.history import History
from agent.services.lease import Lease
from agent.services.notices import Notices
from agent.services.privacy import Privacy
from agent.services.purge import Purge
from agent.services.status import Status, StatusPolicy
from agent.services.sync import Sync
from agent.storage import Contacts, Storage
from agent.store.audit import FILE as AUDIT_FILE
from agent.store.audit import AuditAnchor, AuditTrail
from agent.store.history import HistoryFile
from agent.store.replica import SqliteReplica
from agent.store.replica_people import ReplicaPeople
from agent.systems import System, files_of

log = structlog.get_logger(__name__)

TOMBSTONES_KEPT = timedelta(days=8)
"""Voyado can restore a deleted contact within 7 days; a day more for the feed to say so."""


async def open_audit(ground: Ground, storage: Storage, *, rotated: bool) -> Audit:
    """The audit trail.

    Args:
        ground: the agent's.
        storage: where its head is kept beside the sales.
        rotated: the storage key has just been exchanged: that is the first thing it hears.
    """
    audit = Audit(
        clock=ground.clock,
        trail=AuditTrail(ground.state.directory),
        anchor=AuditAnchor(storage.live, storage.live),
        told=ground.bells.trail_checked,
    )
    if rotated:
        try:
            await audit.record("key.rotated")
        except StorageError as error:  # sales are taken all the same
            log.warning("audit.not_recorded", code=error.code)
    return audit


def open_lease(ground: Ground, contacts: Contacts, audit: Audit) -> Lease:
    """How long the local contacts may be read."""
    return Lease(
        clock=ground.clock,
        term=ground.settings.replica.expires_after,
        replica=contacts.leased,
        conditions=ground.conditions,
        changed=ground.bells.changed,
        busy=contacts.busy,
        record=audit.record,
    )


def open_privacy(
    ground: Ground,
    systems: tuple[System, ...],
    storage: Storage,
    people: ReplicaPeople,
    audit: Audit,
    *,
    desk: Desk,
    feed_halted: Callable[[], AbstractAsyncContextManager[None]],
    lanes_halted: Callable[[], AbstractAsyncContextManager[None]],
) -> Privacy:
    """What exports and erases one person.

    Args:
        ground: the agent's.
        systems: the loyalty system and the further ones, some of which are told of an erasure.
        storage: both databases.
        people: those whom the replica knows.
        audit: the audit trail.
        desk: how a value is read there, and what is remembered of people's benefits.
        feed_halted: no feed is being read while this is held.
        lanes_halted: nothing is being sent while this is held.
    """
    settings = ground.settings.agent
    return Privacy(
        clock=ground.clock,
        readings=desk.identify.readings,
        contacts=people,
        sales=storage.of_persons(),
        benefits=desk.benefits,
        redemptions=storage.redemptions(),
        enrolments=storage.enrolments(),
        refused=storage.erased,
        notices=Notices(
            clock=ground.clock,
            outbox=storage.activities(),
            primary=ground.tagging.primary,
            recipients=tuple(system.recipient for system in systems),
            place=(settings.store_id, settings.till_id),
            announced=ground.bells.accepted,
        ),
        trail=audit,
        kept=storage.integrity,
        spool=ground.state.empty_spool,
        handed_over=files_of(systems),
        conditions=ground.conditions,
        feed_halted=feed_halted,
        lanes_halted=lanes_halted,
        alone=storage.alone,
        changed=ground.bells.erased,
    )


def open_purge(
    ground: Ground,
    systems: tuple[System, ...],
    storage: Storage,
    people: ReplicaPeople,
    audit: Audit,
    *,
    desk: Desk,
    trusted: Callable[[], bool],
) -> Purge:
    """What erases whatever has to go.

    Args:
        ground: the agent's.
        systems: some of which are handed files.
        storage: both databases.
        people: those whom the replica knows.
        audit: the audit trail.
        desk: what is remembered of people's benefits.
        trusted: whether ages by the wall clock mean something.
    """
    retention = ground.settings.retention
    return Purge(
        clock=ground.clock,
        policy=RetentionPolicy(retention.delivered, retention.undelivered, retention.audit, TOMBSTONES_KEPT),
        sales=storage.outbox,
        contacts=people,
        kept=storage.integrity,
        trail=audit,
        spool=ground.state.empty_spool,
        redemptions=storage.redemptions(),
        enrolments=storage.enrolments(),
        handed_over=files_of(systems),
        memory=desk.benefits.purge,
        reading=storage.writing.locked,
        alone=storage.alone,
        changed=ground.bells.erased,
        trusted=trusted,
    )


def open_status(
    ground: Ground,
    systems: tuple[System, ...],
    storage: Storage,
    replica: SqliteReplica,
    dispatch: Dispatch,
    *,
    sync: Sync | None,
) -> Status:
    """How the agent is, told anew whenever something changes.

    Args:
        ground: the agent's.
        systems: the loyalty system first.
        storage: both databases.
        replica: the local contacts.
        dispatch: the lanes.
        sync: what reads the feed, with its progress.
    """
    settings, outbox = ground.settings, storage.outbox

    def queue() -> QueueInfo:
        return outbox.info(dispatch.held())

    status = Status(
        clock=ground.clock,
        version=ground.version,
        policy=StatusPolicy(
            level=settings.loyalty.fallback_level,
            secondary_keys=bool(settings.loyalty.secondary_keys),
            stale_after=settings.replica.stale_after,
            max_queue_bytes=settings.queue.max_bytes,
            general=tuple(item.offer() for item in settings.benefits.general),
        ),
        links=[system.link for system in systems],
        replica=replica,
        queue=queue,
        accepted_since=outbox.accepted_since,
        conditions=ground.conditions,
        ready=storage.ready,
        room=storage.room.has_room,
        damage=storage.integrity.findings,
        paused=lambda: dispatch.paused,
        loading=lambda: sync.progress if sync else None,
        windows={system.link.vendor: system.connector.windows for system in systems},
        keeps_time={system.link.vendor: system.connector.keeps_time for system in systems},
    )
    ground.bells.trail_checked.listen(lambda intact: status.damaged(AUDIT_FILE, stands=not intact))
    ground.bells.trail_checked.listen(lambda _intact: status.changed())
    ground.bells.changed.listen(status.changed)
    return status


def open_history(
    ground: Ground, storage: Storage, replica: SqliteReplica, dispatch: Dispatch, metrics: Metrics
) -> History:
    """How the agent was over the last days.

    Args:
        ground: the agent's.
        storage: both databases.
        replica: the local contacts.
        dispatch: the lanes.
        metrics: how long sales took to be answered, and to be delivered.
    """
    return History(
        clock=ground.clock,
        record=HistoryFile(ground.state.directory),
        queue=lambda: storage.outbox.info(dispatch.held()),
        replica=replica.info,
        answers=metrics.sale_answers,
        delivered=metrics.deliveries_took,
        room=storage.room.has_room,
    )
