"""Builds everything once and closes it in reverse; the only room that names concrete classes."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from importlib.metadata import version
from zoneinfo import ZoneInfo

import structlog

from agent.api.metrics import Metrics
from agent.api.rooms import Rooms
from agent.clock import SystemClock
from agent.connectors import voyado
from agent.connectors.voyado import feeds
from agent.connectors.voyado.settings import VoyadoSettings
from agent.domain.delivery import Verdict
from agent.domain.health import Conditions
from agent.domain.identifiers import Normaliser
from agent.domain.link import Link
from agent.domain.retention import RetentionPolicy
from agent.domain.tagging import TaggingPolicy
from agent.errors import StorageError
from agent.jobs import Calendar
from agent.keys import StorageKeys
from agent.messages import Messages
from agent.orders import Orders
from agent.ports import Clock, QueueInfo
from agent.rotation import rotate
from agent.secrets import WatchedSecret
from agent.services.audit import Audit
from agent.services.buffer import Buffer, BufferPolicy
from agent.services.dispatch import Dispatch, DispatchPolicy, Lane, own_share
from agent.services.identify import Identify, IdentifyPolicy
from agent.services.intake import Intake, IntakePolicy
from agent.services.lease import Lease
from agent.services.loading import Loader, LoadJob
from agent.services.privacy import Privacy
from agent.services.purge import Purge
from agent.services.reconcile import Books, Reconcile
from agent.services.status import Status, StatusPolicy
from agent.services.sync import FileFeed, PageFeed, Sync
from agent.services.timekeeping import Timekeeper
from agent.settings import Configuration
from agent.state import REPLICA, State
from agent.storage import Contacts, Storage
from agent.store.audit import FILE as AUDIT_FILE
from agent.store.audit import AuditAnchor, AuditTrail
from agent.store.daybook import OutboxDaybook
from agent.store.outbox import Outbox
from agent.store.replica import SqliteReplica
from agent.store.replica_builder import SqliteReplicaStore
from agent.store.replica_people import ReplicaPeople
from agent.tokens import Tokens
from agent.transport import Answer, HttpPolicy

log = structlog.get_logger(__name__)

TOMBSTONES_KEPT = timedelta(days=8)
"""Voyado can restore a deleted contact within 7 days; a day more for the feed to say so."""
LOOKUP_AT_DELIVERY_S = 15.0
RESERVES_KEPT_FREE = 4
"""So often `queue.reserve_bytes` stay free of contacts; at one of them the till's sales are refused."""


@dataclass(frozen=True, slots=True)
class Agent:
    """Everything that runs, built and not yet started."""

    configuration: Configuration
    rooms: Rooms
    storage: Storage
    audit: Audit
    dispatch: Dispatch
    sync: Sync | None
    purge: Purge
    lease: Lease
    timekeeper: Timekeeper
    calendar: Calendar
    tokens: Tokens


@contextlib.asynccontextmanager
async def open_agent(
    configuration: Configuration, *, clock: Clock | None = None, chance: random.Random | None = None
) -> AsyncIterator[Agent]:
    """Everything, built from a checked configuration; closed in reverse at the end.

    Args:
        configuration: what :func:`agent.settings.load` gave.
        clock: the machine's, unless a test has another.
        chance: the source of jitter.

    Raises:
        StateHeldError: another agent holds the state directory.
        StorageKeyError: there are databases, but not their key.
        StorageError: a database cannot be opened.
    """
    builder = _Builder(configuration, clock, chance or random.Random())  # noqa: S311 - jitter, not secrets
    async with AsyncExitStack() as stack:
        yield await builder.build(stack)


class _Builder:
    """One build. Its methods are steps, in the order of the house's floors."""

    def __init__(self, configuration: Configuration, clock: Clock | None, chance: random.Random) -> None:
        self.configuration, self.settings = configuration, configuration.settings
        self.state = State(configuration)
        self.zone = ZoneInfo(self.settings.agent.timezone)
        self.clock = clock or SystemClock(self.zone)
        self.chance = chance
        loyalty = self.settings.loyalty
        self.tagging = TaggingPolicy(loyalty.primary, loyalty.secondary, loyalty.fallback_level)
        self.normaliser = Normaliser(self.settings.agent.country, guid_contact_ids=voyado.Voyado.guid_contact_ids)
        self.conditions = Conditions(on_edge=_log_edge)
        self.status: Status | None = None
        self.dispatch: Dispatch | None = None
        self.sync: Sync | None = None
        self.lease: Lease | None = None
        self.rotated = False
        self.metrics = Metrics(version("loyalty-agent"))

    async def build(self, stack: AsyncExitStack) -> Agent:
        settings, clock = self.settings, self.clock
        stack.enter_context(self.state.held())
        keys = self._keys()
        self.conditions.set("storage.unencrypted", stands=self.state.unencrypted, now=clock.now())
        known = self.state.lease(keys)
        storage = Storage(
            self.state, keys, settings.queue, clock, vendors=(voyado.NAME,), changed=self._storage_changed
        )
        stack.callback(storage.outbox.close)
        await storage.open()  # from here on the storage key is known to be right
        outbox = storage.outbox
        audit = self._audit(storage)
        if self.rotated:
            await self._record_rotation(audit)
        contacts = storage.contacts(known or self.state.make_lease(keys), self._refetch)
        replica = contacts.replica
        stack.callback(replica.close)
        link = self._link()
        timekeeper = self.timekeeper = Timekeeper(
            clock=clock,
            link=link,
            sales=outbox,
            conditions=self.conditions,
            longest_wait=settings.queue.backoff_max,
        )
        connector = self._connector()
        stack.push_async_callback(connector.close)
        dispatch = self.dispatch = self._dispatch(outbox, replica, connector, link)
        link.on_change = self._line_changed(dispatch, link)

        def queue() -> QueueInfo:
            return outbox.info(dispatch.held())

        identify = Identify(
            clock=clock,
            normaliser=self.normaliser,
            replica=replica,
            lookup=connector.lookup,
            link=link,
            policy=IdentifyPolicy(
                tagging=self.tagging,
                live=settings.loyalty.live_lookup,
                budget_s=settings.loyalty.live_lookup_budget.total_seconds(),
                stale_after=settings.replica.stale_after,
            ),
        )
        intake = Intake(
            clock=clock,
            normaliser=self.normaliser,
            replica=replica,
            outbox=outbox,
            room=storage.room.has_room,
            link=link,
            policy=IntakePolicy(
                tagging=self.tagging,
                store_id=settings.agent.store_id,
                till_id=settings.agent.till_id,
                zone=self.zone,
                stale_after=settings.replica.stale_after,
                vendors=((connector.name, connector.guests),),
            ),
            accepted=self._accepted(dispatch),
            held=dispatch.held,
        )
        lease = self.lease = self._lease(contacts, audit)
        await lease.start()
        stack.push_async_callback(lease.close)
        people = ReplicaPeople(replica, storage.writing)
        privacy = Privacy(
            clock=clock,
            readings=identify.readings,
            contacts=people,
            sales=storage.of_persons((connector.name,) if connector.guests else ()),
            refused=storage.erased,
            trail=audit,
            kept=storage.integrity,
            spool=self.state.empty_spool,
            conditions=self.conditions,
            feed_halted=lambda: sync.halted() if sync is not None else contextlib.nullcontext(),
            lanes_halted=dispatch.halted,
            alone=storage.alone,
            changed=self._changed,
        )
        sync = self.sync = self._sync(storage, replica, connector, link, lease=lease, privacy=privacy, audit=audit)
        status = self.status = Status(
            clock=clock,
            version=version("loyalty-agent"),
            policy=StatusPolicy(
                level=settings.loyalty.fallback_level,
                secondary_keys=bool(settings.loyalty.secondary_keys),
                stale_after=settings.replica.stale_after,
                max_queue_bytes=settings.queue.max_bytes,
            ),
            links=[link],
            replica=replica,
            queue=queue,
            accepted_since=outbox.accepted_since,
            conditions=self.conditions,
            ready=storage.ready,
            room=storage.room.has_room,
            damage=storage.integrity.findings,
            loading=lambda: sync.progress if sync else None,
        )
        purge = self._purge(storage, people, audit)
        tokens = Tokens(self.state.directory, clock)
        orders = Orders(dispatch, sync, purge)
        stack.push_async_callback(orders.close)
        reconcile = Reconcile(
            clock=clock,
            daybook=OutboxDaybook(self.state.outbox(keys)),
            books=[Books(link, connector.history, partial(own_share, link, clock))],
            held=dispatch.held,
            chance=self.chance,
        )
        rooms = Rooms(
            clock=clock,
            settings=settings,
            version=version("loyalty-agent"),
            messages=Messages(settings.agent.locale, settings.messages),
            identify=identify,
            intake=intake,
            replica=replica,
            outbox=outbox,
            privacy=privacy,
            record=audit.record,
            status=status,
            tokens=tokens,
            orders=orders,
            reconcile=reconcile,
            damage=storage.integrity,
            metrics=self.metrics,
        )
        calendar = Calendar({"purge": purge.run, "check": storage.integrity.check})
        timekeeper.on_jump = self._clock_jumped(calendar)
        return Agent(
            self.configuration, rooms, storage, audit, dispatch, sync, purge, lease, timekeeper, calendar, tokens
        )

    # --- the databases ------------------------------------------------------------------------------------------

    def _keys(self) -> StorageKeys:
        """The storage key; one that follows another takes its place now, before any file is opened."""
        keys = self.state.keys(may_create=True)
        if keys.former:
            try:
                files = rotate(self.state, keys)
            except StorageError as error:  # every file is readable all the same, and the next start tries again
                log.warning("key.not_rotated", code=error.code, reason=str(error))
            else:
                log.info("key.rotated", files=files)
                self.rotated = bool(files)
        return keys

    def _audit(self, storage: Storage) -> Audit:
        def told(intact: bool) -> None:  # noqa: FBT001 - Audit's form
            if self.status is not None:
                self.status.damaged(AUDIT_FILE, stands=not intact)
                self._changed()

        anchor = AuditAnchor(storage.live, storage.live)
        return Audit(clock=self.clock, trail=AuditTrail(self.state.directory), anchor=anchor, told=told)

    async def _record_rotation(self, audit: Audit) -> None:
        try:
            await audit.record("key.rotated")
        except StorageError as error:  # sales are taken all the same
            log.warning("audit.not_recorded", code=error.code)

    def _lease(self, contacts: Contacts, audit: Audit) -> Lease:
        return Lease(
            clock=self.clock,
            term=self.settings.replica.expires_after,
            replica=contacts.leased,
            conditions=self.conditions,
            changed=self._changed,
            busy=contacts.busy,
            record=audit.record,
        )

    # --- the vendor ---------------------------------------------------------------------------------------------

    def _link(self) -> Link:
        queue = self.settings.queue
        return Link(
            voyado.NAME,
            "loyalty",
            requests_per_second=self._voyado.requests_per_second,
            backoff_first_s=queue.backoff_first.total_seconds(),
            backoff_max_s=queue.backoff_max.total_seconds(),
            uniform=self.chance.uniform,
        )

    @property
    def _voyado(self) -> VoyadoSettings:
        vendor = self.configuration.vendor
        if not isinstance(vendor, VoyadoSettings):
            raise TypeError(type(vendor).__name__)
        return vendor

    def _secret(self, reference: str) -> WatchedSecret:
        return WatchedSecret(self.configuration.secret(reference), self.clock)

    def _http(self) -> HttpPolicy:
        http = self.settings.http
        return HttpPolicy(
            http.connect_timeout.total_seconds(),
            http.read_timeout.total_seconds(),
            ca_file=str(self.configuration.base / http.ca_file) if http.ca_file else "",
            proxy=http.proxy,
            proxy_secret=self._secret(http.proxy_secret) if http.proxy_secret else None,
        )

    def _connector(self) -> voyado.Voyado:
        return voyado.build(
            self._voyado,
            api_key=self._secret(self._voyado.api_key),
            http=self._http(),
            primary=self.tagging.primary,
            zone=self.zone,
            fields=self.settings.replica.fields,
            user_agent=f"loyalty-agent/{version('loyalty-agent')}",
            heard=self._hear_time,
        )

    def _hear_time(self, answer: Answer) -> None:
        if answer.date is None:
            return
        self.timekeeper.heard(answer.date)
        if self.lease is not None:
            self.lease.heard(answer.date)

    def _dispatch(self, outbox: Outbox, replica: SqliteReplica, connector: voyado.Voyado, link: Link) -> Dispatch:
        queue, loyalty = self.settings.queue, self.settings.loyalty
        buffer = Buffer(
            clock=self.clock,
            replica=replica,
            lookup=connector.lookup,
            writer=connector.writer,
            link=link,
            policy=BufferPolicy(
                self.tagging,
                loyalty.live_lookup,
                loyalty.unknown_at_delivery,
                LOOKUP_AT_DELIVERY_S,
            ),
            pace=partial(own_share, link, self.clock),
        )
        lane = Lane(
            clock=self.clock,
            queue=outbox,
            connector=connector,
            link=link,
            settle_tag=buffer.settle,
            policy=DispatchPolicy(
                queue.flush_every.total_seconds(),
                queue.backoff_first.total_seconds(),
                queue.backoff_max.total_seconds(),
            ),
            uniform=self.chance.uniform,
            told=self._told,
            changed=self._changed,
        )
        return Dispatch([lane])

    # --- the feed -----------------------------------------------------------------------------------------------

    def _sync(
        self,
        storage: Storage,
        replica: SqliteReplica,
        connector: voyado.Voyado,
        link: Link,
        *,
        lease: Lease,
        privacy: Privacy,
        audit: Audit,
    ) -> Sync | None:
        def store() -> SqliteReplicaStore:
            return SqliteReplicaStore(replica.file, self.state.least_contacts).refusing(storage.erased.refusals())

        if self.tagging.level < 3:  # noqa: PLR2004 - level 3 reads a replica
            return None
        table, fields = self._voyado, self.settings.replica.fields
        mapping = feeds.contact_mapping(table, normaliser=self.normaliser, primary=self.tagging.primary, fields=fields)
        feed: FileFeed | PageFeed

        if table.feed == feeds.API:
            api = feeds.PacedApi(connector.client, partial(own_share, link, self.clock), link, self.clock)
            changes = feeds.change_feed(api, mapping, self.clock)
            feed = PageFeed(
                feed=changes,
                store=store,
                contacts=replica,
                erased=privacy,
                conditions=self.conditions,
                clock=self.clock,
            )
        else:
            source = feeds.file_source(
                table,
                secret=self._secret(table.feed_secret),
                base=self.configuration.base,
                spool=self.state.spool,
            )
            reader = feeds.export_reader(table, mapping)

            def job(now: datetime, today: date, rebuild: bool) -> LoadJob:  # noqa: FBT001 - FileFeed's form
                return LoadJob(
                    source(),
                    reader,
                    store(),
                    now,
                    today,
                    rebuild=rebuild,
                    directory=self.state.directory,
                    kept_free_bytes=RESERVES_KEPT_FREE * self.settings.queue.reserve_bytes,
                )

            feed = FileFeed(
                job=job,
                loader=Loader(),
                contacts=replica,
                conditions=self.conditions,
                erased=privacy,
                record=audit.record,
                clock=self.clock,
            )
        return Sync(
            clock=self.clock,
            feed=feed,
            contacts=replica,
            erased=privacy,
            conditions=self.conditions,
            every=self.settings.replica.sync_every,
            uniform=self.chance.uniform,
            changed=self._changed,
            renewed=lease.renewed,
            counted=self._counted,
            damaged=partial(storage.integrity.suspect, REPLICA),
            writing=storage.writing,
        )

    # --- the end ------------------------------------------------------------------------------------------------

    def _purge(self, storage: Storage, people: ReplicaPeople, audit: Audit) -> Purge:
        retention = self.settings.retention
        return Purge(
            clock=self.clock,
            policy=RetentionPolicy(
                retention.delivered,
                retention.undelivered,
                retention.audit,
                TOMBSTONES_KEPT,
            ),
            sales=storage.outbox,
            contacts=people,
            kept=storage.integrity,
            trail=audit,
            spool=self.state.empty_spool,
            reading=storage.writing.locked,
            alone=storage.alone,
            changed=self._changed,
            trusted=self.timekeeper.trusted,
        )

    # --- who hears of what --------------------------------------------------------------------------------------

    def _changed(self) -> None:
        if self.status is not None:
            self.status.changed()

    def _storage_changed(self) -> None:
        """A database is open again, or there is room: whoever waits for it need not wait for their next look."""
        if self.dispatch is not None:
            self.dispatch.wake()
        self._changed()

    def _counted(self, contacts: int) -> None:
        try:
            self.state.note_contacts(contacts)
        except OSError as error:  # the disk is full, perhaps; the count before says nearly as much
            log.warning("replica.size_not_noted", error=type(error).__name__)

    def _refetch(self) -> None:
        if self.sync is not None:
            self.sync.order()

    def _told(self, vendor: str, verdict: Verdict) -> None:
        self.metrics.delivery(vendor, verdict.kind)
        self._changed()

    def _clock_jumped(self, calendar: Calendar) -> Callable[[], None]:
        def jumped() -> None:
            calendar.rearm()
            self._changed()

        return jumped

    def _accepted(self, dispatch: Dispatch) -> Callable[[], None]:
        def accepted() -> None:
            dispatch.wake()
            self._changed()

        return accepted

    def _line_changed(self, dispatch: Dispatch, link: Link) -> Callable[[], None]:
        def changed() -> None:
            log.info("line.changed", vendor=link.vendor, state=link.state, reason=link.why)
            if link.state == "online":
                dispatch.line_changed()
            self._changed()

        return changed


def _log_edge(code: str, stands: bool, detail: str) -> None:  # noqa: FBT001 - Conditions' form
    (log.warning if stands else log.info)("condition", code=code, stands=stands, detail=detail)
