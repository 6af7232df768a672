"""Keeping the replica fresh: when to read the feed, what came of it, and what to say when it stands still.

Two kinds of feed: export files, read by a process of its own (:mod:`agent.services.loading`), and changes asked for
call by call, applied page by page with their cursor. Only one sync runs at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import date, datetime, timedelta
from functools import partial
from typing import Protocol, TypeVar

import structlog

from agent.domain.health import Conditions
from agent.errors import (
    FeedError,
    FeedUnreadableError,
    LoyaltyAgentError,
    StorageDamagedError,
    StorageError,
    StorageFullError,
    VendorError,
    VendorRefusedError,
)
from agent.ports import (
    AppliedCounts,
    ChangeFeed,
    ChangePage,
    Clock,
    LoadProgress,
    Record,
    ReplicaInfo,
    ReplicaStore,
    Sweep,
)
from agent.services.loading import Applied, Done, Event, Gap, Late, Listed, Loader, LoadJob, Unreadable

log = structlog.get_logger(__name__)

T = TypeVar("T")

SILENT_AFTER_SYNCS = 3
JITTER = 0.1


class Contacts(Protocol):
    """The replica's door for a sync."""

    def info(self) -> ReplicaInfo:
        """Size and freshness."""

    def refresh(self) -> None:
        """Somebody wrote to the replica."""

    def adopt(self) -> bool:
        """Takes a finished new replica in place of the present one."""


class Erased(Protocol):
    """What the feed says of people who were erased here or by the vendor."""

    async def heard(self, refused: frozenset[bytes], removed: frozenset[bytes], named: Mapping[bytes, bytes]) -> None:
        """The vendor still sends some of those who were erased here, has removed others, and says more of who is who.

        Args:
            refused: whom it sends.
            removed: whom it has removed.
            named: keyed hashes of their primary keys by those of their contact ids, where one of the two was not known.
        """

    async def carry_out(self) -> None:
        """Erases what else is kept of those whom the vendor has removed."""


class _Heard:
    """The last word of a feed on each of those who were erased here."""

    def __init__(self) -> None:
        self._gone: dict[bytes, bool] = {}
        self.named: dict[bytes, bytes] = {}

    def add(self, counts: AppliedCounts) -> None:
        self._gone |= dict.fromkeys(counts.refused, False) | dict.fromkeys(counts.removed, True)
        self.named |= counts.named

    def those(self, *, gone: bool) -> frozenset[bytes]:
        return frozenset(mark for mark, is_gone in self._gone.items() if is_gone is gone)


class Feed(Protocol):
    """Where contact changes come from."""

    async def read(self, told: Callable[[LoadProgress], None], *, rebuild: bool) -> bool:
        """Reads what is new; whether that was everything. Raises VendorError, StorageError, FeedError."""


class FileFeed:
    """Export files.

    Args:
        job: makes the job for one load: from now, the store's date, and whether to build anew.
        loader: runs it.
        contacts: the replica.
        conditions: gaps and unreadable files are told here.
        erased: hears what the files say of people who were erased here.
        record: the audit trail.
        clock: for instants.
    """

    def __init__(
        self,
        *,
        job: Callable[[datetime, date, bool], LoadJob],
        loader: Loader,
        contacts: Contacts,
        conditions: Conditions,
        erased: Erased,
        record: Record,
        clock: Clock,
    ) -> None:
        self._job, self._loader, self._contacts = job, loader, contacts
        self._conditions, self._erased, self._record, self._clock = conditions, erased, record, clock
        self._heard = _Heard()

    async def read(self, told: Callable[[LoadProgress], None], *, rebuild: bool) -> bool:
        """Reads what is new; whether that was everything. Raises VendorError, StorageError, FeedError."""
        now = self._clock.now()
        seen: dict[str, str] = {}
        progress = LoadProgress()

        def report(event: Event) -> None:
            nonlocal progress
            match event:
                case Listed(files=files):
                    progress = LoadProgress(files)
                    told(progress)
                case Applied(file=file, counts=counts):
                    progress = LoadProgress(progress.files, progress.applied + 1, progress.rows + counts.rows)
                    self._contacts.refresh()
                    self._heard.add(counts)
                    told(progress)
                    log.info(
                        "feed.applied",
                        file=file,
                        count=counts.rows,
                        deleted=counts.deleted,
                        skipped=counts.unidentified,
                    )
                case Gap(place=place):
                    seen["feed.gap"] = f"missing: {place}"
                case Late(files=files_late):
                    seen.setdefault("feed.gap", f"too late to be applied in order: {', '.join(files_late[:5])}")
                case Unreadable(file=file, reason=reason):
                    seen["feed.unreadable"] = f"{file}: {reason}"
                case _:
                    pass

        try:
            done: Done = await self._loader.load(self._job(now, self._clock.today(), rebuild), report)
        except LoyaltyAgentError:
            await self._tell_erased()
            raise
        await self._tell_erased()
        if done.built and self._contacts.adopt():
            await self._record("replica.rebuilt", contacts=self._contacts.info().contacts)
        for code in ("feed.gap", "feed.unreadable"):
            self._conditions.set(code, stands=code in seen, now=now, detail=seen.get(code, ""))
        return done.as_of is not None

    async def _tell_erased(self) -> None:
        """Passes on what was heard in this load, and in an earlier one that was interrupted."""
        self._contacts.refresh()
        heard = self._heard
        await self._erased.heard(heard.those(gone=False), heard.those(gone=True), heard.named)
        self._heard = _Heard()


class PageFeed:
    """Changes asked for call by call.

    Args:
        feed: the vendor's pages.
        store: opens the replica for writing as it is now, without those who were erased here up to now.
        contacts: the replica.
        erased: hears what the pages say of people who were erased here.
        conditions: told of contacts whose changes the vendor cannot tell.
        clock: for instants.
    """

    def __init__(
        self,
        *,
        feed: ChangeFeed,
        store: Callable[[], ReplicaStore],
        contacts: Contacts,
        erased: Erased,
        conditions: Conditions,
        clock: Clock,
    ) -> None:
        self._feed, self._store, self._contacts, self._erased, self._clock = feed, store, contacts, erased, clock
        self._conditions = conditions

    async def read(self, told: Callable[[LoadProgress], None], *, rebuild: bool) -> bool:
        """Reads what is new, or everything with ``rebuild``; whether the contacts are any newer then.

        Raises VendorError, StorageError, FeedError.
        """
        began_at, former = self._clock.now(), self._contacts.info().as_of
        stated: datetime | None = None
        progress = LoadProgress()
        with await to_its_end(self._store().open_writer) as writer:
            cursor = None if rebuild else await to_its_end(writer.cursor)
            async for page in self._pages(cursor):
                stated = page.as_of
                counts = await to_its_end(partial(writer.apply_page, page, at=self._clock.now()))
                progress = LoadProgress(0, progress.applied + 1, progress.rows + counts.rows)
                self._contacts.refresh()
                self._say_unread(page.unread)
                self._say_swept(page.sweep)
                await self._erased.heard(counts.refused, counts.removed, counts.named)
                told(progress)
            await to_its_end(partial(writer.finish, as_of=stated or began_at))
        self._contacts.refresh()
        return stated is None or former is None or stated > former

    async def _pages(self, cursor: str | None) -> AsyncIterator[ChangePage]:
        """The feed's pages; a file of which they are made can turn out to be none."""
        try:
            async for page in self._feed.pages(cursor):
                yield page
        except FeedUnreadableError as error:
            self._conditions.set("feed.unreadable", stands=True, now=self._clock.now(), detail=str(error))
            raise

    def _say_swept(self, sweep: Sweep | None) -> None:
        """A list that was hardly everybody stands as a gap until another was."""
        if sweep in (Sweep.ENDS, Sweep.GIVEN_UP):
            detail = "the loyalty system lists less than nine tenths of the former contacts; nobody was taken out"
            self._conditions.set("feed.gap", stands=sweep is Sweep.GIVEN_UP, now=self._clock.now(), detail=detail)

    def _say_unread(self, contacts: int) -> None:
        detail = f"{contacts} contacts: the loyalty system answers with an error of its own" if contacts else ""
        self._conditions.set("feed.unreadable", stands=contacts > 0, now=self._clock.now(), detail=detail)


async def to_its_end(work: Callable[[], T]) -> T:
    """Runs it in a thread; a cancelled caller waits for its end, lest the connection is closed under it."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


class Sync:
    """Syncs on time and when asked.

    Args:
        clock: for instants and intervals.
        feed: where changes come from.
        contacts: the replica.
        erased: carries out what the feed removed, after each sync, whatever came of it.
        conditions: what stands in the way.
        every: `replica.sync_every`.
        uniform: the source of chance, so that a chain of stores does not ask in the same second.
        changed: called when the replica or a condition changed.
        renewed: called when everything that the loyalty system has said is in the replica.
        counted: told how many contacts a whole replica holds; not while ``feed.gap`` stands.
        damaged: told when the replica turns out to be damaged.
        writing: held while the feed is read, so that whoever else writes to the replica, or replaces it, waits; a lock
            of nobody else's where the feed waits for its turn by itself.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        feed: Feed,
        contacts: Contacts,
        erased: Erased,
        conditions: Conditions,
        every: timedelta,
        uniform: Callable[[float, float], float],
        changed: Callable[[], None],
        renewed: Callable[[], Awaitable[None]],
        counted: Callable[[int], None],
        damaged: Callable[[], None],
        writing: asyncio.Lock,
    ) -> None:
        self._clock, self._feed, self._contacts, self._conditions = clock, feed, contacts, conditions
        self._erased = erased
        self._every_s, self._uniform, self._changed = every.total_seconds(), uniform, changed
        self._renewed, self._counted, self._damaged, self._writing = renewed, counted, damaged, writing
        self._wake = asyncio.Event()
        self._rebuild = False
        self._failed = 0
        self._one_at_a_time = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None
        self.progress: LoadProgress | None = None

    def order(self, *, rebuild: bool = False) -> None:
        """Asks for a sync as soon as may be; one that runs is followed by another.

        Args:
            rebuild: build the replica anew from everything the feed has; look-ups go on meanwhile.
        """
        self._rebuild = self._rebuild or rebuild
        self._wake.set()

    async def run(self) -> None:
        """Syncs for ever, the first time at once; ends by cancellation, which leaves nothing half applied."""
        while True:
            self._wake.clear()
            await self.once()
            pause = self._every_s * (1 + self._uniform(-JITTER, JITTER))
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass

    @contextlib.asynccontextmanager
    async def halted(self) -> AsyncIterator[None]:
        """No feed is read while the block runs. What was being read is given up, and gone on with afterwards."""
        reading = self._reading
        if reading is not None and reading.cancel():
            self._wake.set()
        async with self._one_at_a_time:
            yield

    async def once(self) -> None:
        """One sync, whatever comes of it: what goes wrong becomes a condition, and the next one tries again."""
        async with self._one_at_a_time:
            await self._once()

    async def _once(self) -> None:
        rebuild, self._rebuild = self._rebuild, False
        self.progress = LoadProgress()
        started = self._clock.monotonic()
        self._changed()
        try:
            if await self._read(rebuild=rebuild):
                self._succeed(started)
        except (VendorError, FeedError, StorageError) as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - a mistake of ours in one page must not end the feed
            name = type(error).__name__
            log.error("feed.broken", error=name)  # noqa: TRY400 - its text may hold what was being read
            self._fail(FeedError(f"the agent cannot read what the loyalty system lists: {name}"))
        finally:
            self.progress = None
            self._changed()

    async def _read(self, *, rebuild: bool) -> bool:
        """Reads the feed, then carries out what it removed, whatever became of the rest; False if it was halted."""
        reading = self._reading = asyncio.create_task(self._read_feed(rebuild=rebuild))
        try:
            await asyncio.wait([reading])
        finally:
            self._reading = None
            if not reading.done():  # the agent stops
                reading.cancel()
                await asyncio.wait([reading])
            failure = None if reading.cancelled() else reading.exception()
        if failure is not None or reading.cancelled():
            begun = self.progress is not None and (self.progress.files or self.progress.applied)
            # What has begun is gone on with by the next load; asking for it again would start from nothing.
            self._rebuild = self._rebuild or (rebuild and not begun)
        await self._erased.carry_out()
        if failure is not None:
            raise failure
        return not reading.cancelled()

    async def _read_feed(self, *, rebuild: bool) -> None:
        async with self._writing:
            if await self._feed.read(self._tell, rebuild=rebuild):
                await self._renewed()

    def _succeed(self, started: float) -> None:
        self._failed = 0
        now = self._clock.now()
        self._conditions.set("feed.silent", stands=False, now=now)
        info = self._contacts.info()
        if info.as_of is not None and not self._conditions.stands("feed.gap"):
            self._counted(info.contacts)
        log.info("synced", contacts=info.contacts, elapsed_s=round(self._clock.monotonic() - started, 3))

    def _tell(self, progress: LoadProgress) -> None:
        self.progress = progress
        self._changed()

    def _fail(self, error: LoyaltyAgentError) -> None:
        self._failed += 1
        if isinstance(error, StorageDamagedError):
            self._damaged()
        if self._failed == 1:
            log.warning("feed.failed", code=error.code, reason=str(error))
        # A line that is down comes back by itself; a refusal and a full disk do not.
        if self._failed >= SILENT_AFTER_SYNCS or isinstance(error, VendorRefusedError | StorageFullError):
            self._conditions.set("feed.silent", stands=True, now=self._clock.now(), detail=str(error))
