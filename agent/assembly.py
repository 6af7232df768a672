"""Builds everything once and closes it in reverse; the only room that names concrete classes."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

import structlog

from agent.api.metrics import Metrics
from agent.api.rooms import Rooms
from agent.connectors.base import Room
from agent.connectors.registry import ROOMS
from agent.desk import open_desk
from agent.domain.delivery import Verdict
from agent.domain.retention import RetentionPolicy
from agent.errors import StorageError
from agent.ground import Ground
from agent.jobs import Calendar
from agent.keys import StorageKeys
from agent.messages import Messages
from agent.orders import Orders
from agent.ports import Clock, QueueInfo, Replica
from agent.replication import open_cache, open_sync
from agent.rotation import current_keys
from agent.services.activities import ActivityIntake, ActivityPolicy
from agent.services.audit import Audit
from agent.services.cache import AskedContacts, SeenMembers
from agent.services.carrying import Carrying
from agent.services.contacts import Newcomers
from agent.services.dispatch import Dispatch
from agent.services.history import History
from agent.services.intake import Intake, IntakePolicy
from agent.services.lease import Lease
from agent.services.news import News
from agent.services.notices import Notices
from agent.services.privacy import Privacy
from agent.services.purge import Purge
from agent.services.reconcile import Reconcile
from agent.services.redeeming import Redeeming
from agent.services.round import DELIVERED
from agent.services.status import Status, StatusPolicy
from agent.services.sync import Sync
from agent.services.timekeeping import Timekeeper
from agent.settings import Configuration
from agent.storage import Contacts, Storage
from agent.store.audit import FILE as AUDIT_FILE
from agent.store.audit import AuditAnchor, AuditTrail
from agent.store.daybook import OutboxDaybook
from agent.store.enrolments import Enrolments
from agent.store.history import HistoryFile
from agent.store.redemptions import Redemptions
from agent.store.replica import SqliteReplica
from agent.store.replica_people import ReplicaPeople
from agent.systems import System, open_lanes, open_systems
from agent.tokens import Tokens
from agent.transport import Answer

log = structlog.get_logger(__name__)

TOMBSTONES_KEPT = timedelta(days=8)
"""Voyado can restore a deleted contact within 7 days; a day more for the feed to say so."""


@dataclass(frozen=True, slots=True)
class Agent:
    """Everything that runs, built and not yet started."""

    configuration: Configuration
    rooms: Rooms
    storage: Storage
    audit: Audit
    dispatch: Dispatch
    sync: Sync | None
    seen: SeenMembers | None
    purge: Purge
    lease: Lease
    redeeming: Redeeming
    timekeeper: Timekeeper
    calendar: Calendar
    tokens: Tokens
    status: Status
    history: History


@contextlib.asynccontextmanager
async def open_agent(
    configuration: Configuration,
    *,
    clock: Clock | None = None,
    chance: random.Random | None = None,
    rooms: Mapping[str, Room] = ROOMS,
) -> AsyncIterator[Agent]:
    """Everything, built from a checked configuration; closed in reverse at the end.

    Args:
        configuration: what :func:`agent.settings.load` gave.
        clock: the machine's, unless a test has another.
        chance: the source of jitter.
        rooms: the vendor rooms, by name.

    Raises:
        StateHeldError: another agent holds the state directory.
        StorageKeyError: there are databases, but not their key.
        StorageError: a database cannot be opened.
    """
    owner = rooms[configuration.settings.loyalty.vendor].owner
    ground = Ground(
        configuration,
        clock,
        chance or random.Random(),  # noqa: S311 - jitter, not secrets
        guid_contact_ids=owner is not None and owner.guid_contact_ids,
    )
    async with AsyncExitStack() as stack:
        yield await _build(ground, rooms, stack)


async def _build(ground: Ground, rooms: Mapping[str, Room], stack: AsyncExitStack) -> Agent:
    settings, clock, state, bells = ground.settings, ground.clock, ground.state, ground.bells
    stack.enter_context(state.held())
    keys, rotated = current_keys(state)
    ground.conditions.set("storage.unencrypted", stands=state.unencrypted, now=clock.now())
    known = state.lease(keys)

    def taken(vendor: str, references: Collection[str]) -> Collection[str]:
        return storage.outbox.taken(vendor, references)

    systems = open_systems(ground, rooms, stack, taken=taken, offers=lambda: carrying)
    loyalty = systems[0]
    storage = await _storage(ground, keys, systems, stack)  # from here on the storage key is known to be right
    audit = _audit(ground, storage)
    if rotated:
        await _record_rotation(audit)
    contacts = storage.contacts(known or state.make_lease(keys), bells.refetch, by_question=loyalty.cache is not None)
    replica = contacts.replica

    async def heard(refused: frozenset[bytes], removed: frozenset[bytes]) -> None:
        await privacy.heard(refused, removed)

    seen = open_cache(ground, loyalty, storage, replica, heard)
    asking_now, found_by = (seen.asking if seen else None), _found_by(loyalty, replica)
    stack.callback(replica.close)
    timekeeper = _timekeeper(ground, loyalty, storage)
    metrics = Metrics(ground.version)

    def told(vendor: str, verdict: Verdict, waited: timedelta) -> None:
        metrics.delivery(vendor, verdict.kind, waited.total_seconds() if verdict.kind in DELIVERED else None)
        bells.changed()

    redemptions, enrolments = storage.redemptions(), storage.enrolments()
    carrying = Carrying(clock, redemptions, metrics.redemption)
    recipients, place = tuple(system.recipient for system in systems), (settings.agent.store_id, settings.agent.till_id)
    news = News(recipients, place, bells.accepted)
    desk = open_desk(
        ground,
        loyalty,
        found_by,
        record=redemptions,
        made_here=enrolments,
        calls=storage.bulk_calls(),
        changed_here=storage.revisions(),
        audit=audit.record,
        sales_again=lambda key: storage.outbox.go_again(loyalty.link.vendor, key, clock.now()),
        room=storage.room.has_room,
        told=metrics.redemption,
        news=news,
        asking_now=asking_now,
    )
    dispatch = open_lanes(
        ground,
        systems,
        storage.outbox,
        found_by,
        told=told,
        newcomers=desk.newcomers,
        bringing=desk.bringing,
        updating=desk.updating,
        news=news,
        asking_now=asking_now,
    )
    intake = _intake(ground, systems, storage, found_by, dispatch=dispatch, newcomers=desk.newcomers)
    activities = _activities(ground, systems, storage, found_by, dispatch)
    lease = _lease(ground, contacts, audit)
    bells.heard.listen(lambda answer: _hear_time(answer, timekeeper, lease))
    await lease.start()
    stack.push_async_callback(lease.close)
    people = ReplicaPeople(replica, storage.writing)
    privacy = Privacy(
        clock=clock,
        readings=desk.identify.readings,
        contacts=people,
        sales=storage.of_persons(),
        benefits=desk.benefits,
        redemptions=redemptions,
        enrolments=enrolments,
        refused=storage.erased,
        notices=Notices(
            clock=clock,
            outbox=storage.activities(),
            primary=ground.tagging.primary,
            recipients=recipients,
            place=place,
            announced=bells.accepted,
        ),
        trail=audit,
        kept=storage.integrity,
        spool=state.empty_spool,
        conditions=ground.conditions,
        feed_halted=lambda: _halted(sync, seen),
        lanes_halted=dispatch.halted,
        alone=storage.alone,
        changed=bells.erased,
    )
    sync = open_sync(
        ground, loyalty, storage, replica, lease=lease, privacy=privacy, audit=audit, seen=seen,
        trusted=timekeeper.trusted,
    )  # fmt: skip
    if sync is not None:
        bells.refetch.listen(sync.order)
    status = _status(ground, systems, storage, replica, dispatch, sync=sync)
    purge = _purge(
        ground,
        storage,
        people,
        audit,
        trusted=timekeeper.trusted,
        redemptions=redemptions,
        enrolments=enrolments,
        memory=desk.benefits.purge,
    )
    tokens, history = Tokens(state.directory, clock), _history(ground, storage, replica, dispatch, metrics)
    orders = Orders(dispatch, sync, purge, bells.changed)
    stack.push_async_callback(orders.close)
    reconcile = Reconcile(
        clock=clock,
        daybook=OutboxDaybook(state.outbox(keys)),
        books=[system.books for system in systems],
        held=dispatch.held,
        chance=ground.chance,
    )
    door = Rooms(
        clock=clock,
        settings=settings,
        version=ground.version,
        messages=Messages(settings.agent.locale, settings.messages),
        identify=desk.identify,
        intake=intake,
        activities=activities,
        benefits=desk.benefits,
        redeeming=desk.redeeming,
        enrolling=desk.enrolling,
        revising=desk.revising,
        shown=desk.newcomers.shown,
        preview=desk.preview,
        replica=replica,
        outbox=storage.outbox,
        privacy=privacy,
        record=audit.record,
        status=status,
        tokens=tokens,
        orders=orders,
        reconcile=reconcile,
        damage=storage.integrity,
        history=history,
        metrics=metrics,
    )
    calendar = Calendar({"purge": purge.run, "check": storage.integrity.check})
    bells.clock_jumped.listen(calendar.rearm)
    return Agent(
        configuration=ground.configuration,
        rooms=door,
        storage=storage,
        audit=audit,
        dispatch=dispatch,
        sync=sync,
        seen=seen,
        purge=purge,
        lease=lease,
        redeeming=desk.redeeming,
        timekeeper=timekeeper,
        calendar=calendar,
        tokens=tokens,
        status=status,
        history=history,
    )


# --- the databases ----------------------------------------------------------------------------------------------


async def _storage(ground: Ground, keys: StorageKeys, systems: tuple[System, ...], stack: AsyncExitStack) -> Storage:
    storage = Storage(
        ground.state,
        keys,
        ground.settings.queue,
        ground.clock,
        recipients=tuple(system.recipient for system in systems),
        changed=ground.bells.storage_changed,
    )
    stack.callback(storage.outbox.close)
    await storage.open()
    return storage


def _audit(ground: Ground, storage: Storage) -> Audit:
    return Audit(
        clock=ground.clock,
        trail=AuditTrail(ground.state.directory),
        anchor=AuditAnchor(storage.live, storage.live),
        told=ground.bells.trail_checked,
    )


async def _record_rotation(audit: Audit) -> None:
    try:
        await audit.record("key.rotated")
    except StorageError as error:  # sales are taken all the same
        log.warning("audit.not_recorded", code=error.code)


def _lease(ground: Ground, contacts: Contacts, audit: Audit) -> Lease:
    return Lease(
        clock=ground.clock,
        term=ground.settings.replica.expires_after,
        replica=contacts.leased,
        conditions=ground.conditions,
        changed=ground.bells.changed,
        busy=contacts.busy,
        record=audit.record,
    )


# --- the till's questions ---------------------------------------------------------------------------------------


def _found_by(loyalty: System, replica: SqliteReplica) -> Replica:
    """The local contacts as tills and deliveries ask for them."""
    lookup = loyalty.connector.lookup
    return AskedContacts(replica, lookup.knows) if loyalty.cache is not None and lookup is not None else replica


@contextlib.asynccontextmanager
async def _halted(sync: Sync | None, seen: SeenMembers | None) -> AsyncIterator[None]:
    """Nothing of a contact is read or kept while the block runs."""
    async with AsyncExitStack() as stack:
        for reader in (sync, seen):
            if reader is not None:
                await stack.enter_async_context(reader.halted())
        yield


def _intake(
    ground: Ground,
    systems: tuple[System, ...],
    storage: Storage,
    replica: Replica,
    *,
    dispatch: Dispatch,
    newcomers: Newcomers,
) -> Intake:
    settings = ground.settings
    return Intake(
        clock=ground.clock,
        normaliser=ground.normaliser,
        replica=replica,
        outbox=storage.outbox,
        room=storage.room.has_room,
        link=systems[0].link,
        policy=IntakePolicy(
            tagging=ground.tagging,
            store_id=settings.agent.store_id,
            till_id=settings.agent.till_id,
            zone=ground.zone,
            stale_after=settings.replica.stale_after,
            recipients=tuple(system.recipient for system in systems),
        ),
        accepted=ground.bells.accepted,
        held=dispatch.held,
        newcomers=newcomers,
    )


def _activities(
    ground: Ground, systems: tuple[System, ...], storage: Storage, replica: Replica, dispatch: Dispatch
) -> ActivityIntake:
    settings = ground.settings
    return ActivityIntake(
        clock=ground.clock,
        normaliser=ground.normaliser,
        replica=replica,
        outbox=storage.activities(),
        room=storage.room.has_room,
        link=systems[0].link,
        policy=ActivityPolicy(
            tagging=ground.tagging,
            store_id=settings.agent.store_id,
            till_id=settings.agent.till_id,
            stale_after=settings.replica.stale_after,
            recipients=tuple(system.recipient for system in systems),
        ),
        accepted=ground.bells.accepted,
        held=dispatch.held,
    )


def _timekeeper(ground: Ground, loyalty: System, storage: Storage) -> Timekeeper:
    return Timekeeper(
        clock=ground.clock,
        link=loyalty.link,
        sales=storage.outbox,
        conditions=ground.conditions,
        longest_wait=ground.settings.queue.backoff_max,
        on_jump=ground.bells.clock_jumped,
    )


def _hear_time(answer: Answer, timekeeper: Timekeeper, lease: Lease) -> None:
    if answer.date is not None:
        timekeeper.heard(answer.date)
        lease.heard(answer.date)


# --- how it is, and the end -------------------------------------------------------------------------------------


def _status(
    ground: Ground,
    systems: tuple[System, ...],
    storage: Storage,
    replica: SqliteReplica,
    dispatch: Dispatch,
    *,
    sync: Sync | None,
) -> Status:
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
    )
    ground.bells.trail_checked.listen(lambda intact: status.damaged(AUDIT_FILE, stands=not intact))
    ground.bells.trail_checked.listen(lambda _intact: status.changed())
    ground.bells.changed.listen(status.changed)
    return status


def _history(ground: Ground, storage: Storage, replica: SqliteReplica, dispatch: Dispatch, metrics: Metrics) -> History:
    return History(
        clock=ground.clock,
        record=HistoryFile(ground.state.directory),
        queue=lambda: storage.outbox.info(dispatch.held()),
        replica=replica.info,
        answers=metrics.sale_answers,
        delivered=metrics.deliveries_took,
        room=storage.room.has_room,
    )


def _purge(
    ground: Ground,
    storage: Storage,
    people: ReplicaPeople,
    audit: Audit,
    *,
    trusted: Callable[[], bool],
    redemptions: Redemptions,
    enrolments: Enrolments,
    memory: Callable[[], None],
) -> Purge:
    retention = ground.settings.retention
    return Purge(
        clock=ground.clock,
        policy=RetentionPolicy(retention.delivered, retention.undelivered, retention.audit, TOMBSTONES_KEPT),
        sales=storage.outbox,
        contacts=people,
        kept=storage.integrity,
        trail=audit,
        spool=ground.state.empty_spool,
        redemptions=redemptions,
        enrolments=enrolments,
        memory=memory,
        reading=storage.writing.locked,
        alone=storage.alone,
        changed=ground.bells.erased,
        trusted=trusted,
    )
