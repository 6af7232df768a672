"""Builds everything once and closes it in reverse; the only room that names concrete classes."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

from agent.api.metrics import Metrics
from agent.api.rooms import Rooms
from agent.connectors.base import Room
from agent.connectors.registry import ROOMS
from agent.desk import open_desk
from agent.domain.delivery import Verdict
from agent.ground import Ground
from agent.jobs import Calendar
from agent.keys import StorageKeys
from agent.messages import Messages
from agent.orders import Orders
from agent.ports import Clock, Replica
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
from agent.services.purge import Purge
from agent.services.reconcile import Reconcile
from agent.services.redeeming import Redeeming
from agent.services.round import DELIVERED
from agent.services.status import Status
from agent.services.sync import Sync
from agent.services.timekeeping import Timekeeper
from agent.settings import Configuration
from agent.storage import Storage
from agent.store.daybook import OutboxDaybook
from agent.store.replica import SqliteReplica
from agent.store.replica_people import ReplicaPeople
from agent.systems import System, open_lanes, open_systems
from agent.tokens import Tokens
from agent.transport import Answer
from agent.upkeep import open_audit, open_history, open_lease, open_privacy, open_purge, open_status


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

    systems = open_systems(ground, rooms, stack, taken=taken, offers=lambda: carrying, handovers=lambda: storage.outbox)
    loyalty = systems[0]
    storage = await _storage(ground, keys, systems, stack)  # from here on the storage key is known to be right
    audit = await open_audit(ground, storage, rotated=rotated)
    contacts = storage.contacts(known or state.make_lease(keys), bells.refetch, by_question=loyalty.cache is not None)
    replica = contacts.replica

    async def heard(refused: frozenset[bytes], removed: frozenset[bytes], named: Mapping[bytes, bytes]) -> None:
        await privacy.heard(refused, removed, named)

    seen = open_cache(ground, loyalty, storage, replica, heard)
    asking_now, found_by = (seen.asking if seen else None), _found_by(loyalty, replica)
    stack.callback(replica.close)
    timekeeper = _timekeeper(ground, loyalty, storage)
    metrics = Metrics(ground.version)

    def told(vendor: str, verdict: Verdict, waited: timedelta) -> None:
        metrics.delivery(vendor, verdict.kind, waited.total_seconds() if verdict.kind in DELIVERED else None)
        bells.changed()

    redemptions = storage.redemptions()
    carrying = Carrying(clock, redemptions, metrics.redemption)
    recipients, place = tuple(system.recipient for system in systems), (settings.agent.store_id, settings.agent.till_id)
    news = News(recipients, place, bells.accepted)
    desk = open_desk(
        ground,
        loyalty,
        found_by,
        record=redemptions,
        made_here=storage.enrolments(),
        calls=storage.bulk_contacts(),
        calls_of_changes=storage.bulk_changes(),
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
    lease = open_lease(ground, contacts, audit)
    bells.heard.listen(lambda answer: _hear_time(answer, timekeeper, lease))
    await lease.start()
    stack.push_async_callback(lease.close)
    people = ReplicaPeople(replica, storage.writing)
    privacy = open_privacy(
        ground,
        systems,
        storage,
        people,
        audit,
        desk=desk,
        feed_halted=lambda: _halted(sync, seen),
        lanes_halted=dispatch.halted,
    )
    sync = open_sync(
        ground, loyalty, storage, replica, lease=lease, privacy=privacy, audit=audit, seen=seen,
        trusted=timekeeper.trusted,
    )  # fmt: skip
    if sync is not None:
        bells.refetch.listen(sync.order)
    status = open_status(ground, systems, storage, replica, dispatch, sync=sync)
    purge = open_purge(ground, systems, storage, people, audit, desk=desk, trusted=timekeeper.trusted)
    tokens = Tokens(
        state.directory,
        clock,
        told=lambda damaged: ground.conditions.set("tokens.unreadable", stands=damaged, now=clock.now()),
    )
    history = open_history(ground, storage, replica, dispatch, metrics)
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
    settings, owner = ground.settings, systems[0].room.owner
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
        misnamed=owner.misnamed if owner is not None else None,
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
