"""Getting export files into the replica, in a process of its own that a cashier does not notice.

The agent starts one loader process per sync (:class:`Loader`). It lists, fetches, reads and applies, and reports each
step as a small event. A load of many files is read by further processes, a few files at a time and applied in order,
so that memory stays bounded however much there is.

* A file is taken only once it lies still: what changed within the last minute must look the same in a second listing.
* Each file is one commit with its ledger row. Whatever is killed, the next run goes on where this one stood.
* Nothing of an unreadable file is applied, nothing after it, and nothing past a gap.
* Files that may be exports under a name that is not known are told when there is nothing else.
* A new replica is built beside the present one; the agent adopts it after :meth:`Loader.load` has returned.

The processes end with the one that started them, however that ends: two loaders never run side by side.
"""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import os
import re
import shutil
import time
import traceback
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path

from agent import processes
from agent.errors import FeedError, FeedGapError, FeedUnreadableError, LoyaltyAgentError, StorageFullError
from agent.ports import (
    AppliedCounts,
    AppliedFile,
    Batch,
    ExportFile,
    ExportReader,
    FileSource,
    LocalFile,
    ReplicaLoader,
    ReplicaStore,
)

MEMORY_BYTES = 1024 * 1024 * 1024
"""Most memory that each of these processes may take, whatever it is given to read."""
GROWTH = 2
"""For each byte of an export file so many are needed on disk: its copy, and its rows in the replica."""
YOUNG = timedelta(seconds=60)
PIECE_BYTES = 1024 * 1024
ALONE_BYTES = 24 * 1024 * 1024
"""Up to this much is read by the loader itself: starting processes would take longer."""


SHOWN_CHARS = 80
_DIGIT, _NOT_SHOWN = re.compile(r"\d"), re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True)
class LoadJob:
    """Everything a loader process needs; picklable.

    Attributes:
        source: where the files lie.
        reader: reads one.
        store: the replica they go into.
        now: the instant at which the load starts.
        today: the store's date, for what the files leave to be guessed.
        settle_s: seconds between the two listings of young files.
        rebuild: build a whole replica from everything there is, beside the present one, from nothing. A build that
            was cut off is gone on with by the next load without this.
        readers: processes that read files side by side.
        directory: where copies and the replica lie; None: its room is not looked at.
        kept_free_bytes: what a load leaves free there: a sale must not find the disk full of contacts.
    """

    source: FileSource
    reader: ExportReader
    store: ReplicaStore
    now: datetime
    today: date
    settle_s: float = 1.0
    rebuild: bool = False
    readers: int = 2
    directory: Path | None = None
    kept_free_bytes: int = 0

    def has_room(self, size_bytes: int) -> bool:
        """Whether files of that size can be loaded."""
        if self.directory is None:
            return True
        return shutil.disk_usage(self.directory).free - GROWTH * size_bytes >= self.kept_free_bytes


@dataclass(frozen=True, slots=True)
class Listed:
    """What is to be done: so many files of so many bytes."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file is here and is being read."""

    file: str


@dataclass(frozen=True, slots=True)
class Applied:
    """A file is in the replica, with its ledger row."""

    file: str
    counts: AppliedCounts


@dataclass(frozen=True, slots=True)
class Gap:
    """A part is missing; nothing past it is taken. Or so much of everything that what was built is not taken."""

    place: str


@dataclass(frozen=True, slots=True)
class Late:
    """Files older than what has been applied; they are left alone."""

    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that could not be read; nothing of it was applied, and nothing after it."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """The end of a load.

    Attributes:
        as_of: the instant up to which the replica is now complete; None when something was left to be done.
        built: a new replica is ready to be adopted.
    """

    as_of: datetime | None
    built: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """The load ended with an error; what had been applied stays."""

    error: LoyaltyAgentError


Event = Listed | Fetched | Applied | Gap | Late | Unreadable | Done | Failed


def shown_name(name: str) -> str:
    """A file's name that may be anybody's, as it may be shown: its form, without numbers that could be somebody's."""
    return _NOT_SHOWN.sub("?", _DIGIT.sub("0", name[:SHOWN_CHARS]))


class Loader:
    """Runs loads, each in a process of its own."""

    async def load(self, job: LoadJob, report: Callable[[Event], None]) -> Done:
        """Runs a load to its end; the event loop stays free. Cancelling kills the process; nothing is half applied.

        Args:
            job: what to load.
            report: gets every event but the last, on the event loop's thread.

        Raises:
            VendorError: the source could not be asked.
            StorageError: the replica could not be written.
            FeedError: the process died.
        """
        last: Event | None = None
        # To the end of the process, not only of its words: its files are closed then.
        async with aclosing(processes.told(run, job)) as events:
            async for event in events:
                if isinstance(event, Done | Failed):
                    last = event
                else:
                    report(event)
        if isinstance(last, Failed):
            raise last.error
        if isinstance(last, Done):
            return last
        raise FeedError("the loading process died; what it applied is kept")


def run(job: LoadJob, report: processes.Send) -> None:
    """The loader process: carries out the job and reports, last `Done` or `Failed`."""
    processes.bound_memory(MEMORY_BYTES)
    try:
        done = asyncio.run(_Load(job, report).run())
    except LoyaltyAgentError as error:
        report(Failed(error))
    except BrokenProcessPool:
        report(Failed(FeedError("a process that read export files died")))
    except Exception as error:  # noqa: BLE001 - told without its text, which may hold what was being read
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        report(Failed(FeedError(f"loading stopped with {type(error).__name__} in {where}")))
    else:
        report(done)


def _reader() -> None:
    """Begins a process that reads files."""
    processes.stand_back()
    processes.bound_memory(MEMORY_BYTES)


def parse(reader: ExportReader, store: ReplicaStore, file: ExportFile, copy: LocalFile, today: date) -> _Parsed:
    """A file's changes, ready to be applied; runs in a reading process."""
    reading = reader.read(copy, today=today)
    batch = store.digest(reading)
    batch = replace(batch, unidentified=batch.unidentified + reading.unidentified)  # known once it was read to its end
    sha256 = hashlib.sha256()
    with copy.open("rb") as content:
        while piece := content.read(PIECE_BYTES):
            sha256.update(piece)
        size_bytes = os.fstat(content.fileno()).st_size
    return _Parsed(AppliedFile(file.name, size_bytes, sha256.hexdigest()), batch)


@dataclass(frozen=True, slots=True)
class _Parsed:
    file: AppliedFile
    batch: Batch


@dataclass(frozen=True, slots=True)
class _Taken:
    """A file that was fetched and read, or could not be."""

    name: str
    copy: LocalFile | None
    outcome: _Parsed | FeedUnreadableError


class _Load:
    def __init__(self, job: LoadJob, report: Callable[[Event], None]) -> None:
        self._job = job
        self._report = report
        self._started_s = time.monotonic()

    async def run(self) -> Done:
        job = self._job
        # The replica first: a rebuild that was asked for is remembered by its file, even when the source is away.
        with job.store.open_loader(rebuild=job.rebuild) as loader:
            async with job.source as source:
                as_of = self._now()
                done = await self._load(source, loader, as_of)
            if not done or (loader.builds and not loader.ledger()):
                return Done(None, built=False)
            try:
                await asyncio.to_thread(loader.finish, as_of=as_of)
            except FeedGapError as error:
                self._report(Gap(str(error)))
                return Done(None, built=False)
            return Done(as_of, built=loader.builds)

    async def _load(self, source: FileSource, loader: ReplicaLoader, as_of: datetime) -> bool:
        """Applies what there is; whether that was everything."""
        listing = await source.list()
        plan = self._job.reader.plan(listing, loader.ledger())
        still = await self._still(source, plan.take, as_of)
        self._report(Listed(len(still), sum(file.size_bytes for file in still)))
        if plan.late:
            self._report(Late(plan.late))
        if plan.gap is not None:
            self._report(Gap(plan.gap))
        if not plan.take and plan.gap is None and await self._overlooks(source, listing, loader):
            return False
        readable = await self._apply(source, loader, still)
        if plan.gap is not None or not readable:
            loader.abandon()
            return False
        return len(still) == len(plan.take)

    async def _overlooks(self, source: FileSource, listing: Sequence[ExportFile], loader: ReplicaLoader) -> bool:
        """Whether a poll that brings nothing lay beside files that may be exports; nobody can say then what is new."""
        overlooked = self._job.reader.overlooked(await source.strangers(), listing, loader.ledger())
        if not overlooked:
            return False
        count = "1 file" if len(overlooked) == 1 else f"{len(overlooked)} files"
        newest = shown_name(overlooked[0].name)
        self._report(Unreadable(count, f"the name is no export's (digits shown as 0, the newest: {newest})"))
        return True

    async def _still(self, source: FileSource, take: Sequence[ExportFile], now: datetime) -> Sequence[ExportFile]:
        """The files that nobody is writing any more, up to the first that may be."""
        young = {file.name: file for file in take if now - file.modified_at < YOUNG}
        if not young:
            return take
        await asyncio.sleep(self._job.settle_s)
        settled = set(await source.list())
        for index, file in enumerate(take):
            if file.name in young and file not in settled:
                return take[:index]
        return take

    async def _apply(self, source: FileSource, loader: ReplicaLoader, files: Sequence[ExportFile]) -> bool:
        """Applies files in order; False when one was unreadable and the rest was left."""
        async with aclosing(self._taken(source, files)) as taken:
            async for item in taken:
                if isinstance(item.outcome, FeedUnreadableError):
                    self._report(Unreadable(item.name, str(item.outcome).removeprefix(f"{item.name}: ")))
                    return False
                counts = await asyncio.to_thread(
                    loader.apply_file, item.outcome.file, item.outcome.batch, at=self._now()
                )
                self._report(Applied(item.name, counts))
        return True

    async def _taken(self, source: FileSource, files: Sequence[ExportFile]) -> AsyncGenerator[_Taken, None]:
        """Fetched and read files in order, a few ahead of who applies them; each copy is discarded afterwards."""
        ahead: deque[asyncio.Task[_Taken]] = deque()
        sizes: deque[int] = deque()
        waiting = deque(files)
        pooled = len(files) > 1 and sum(file.size_bytes for file in files) > ALONE_BYTES
        pool = self._processes() if pooled else None
        try:
            while ahead or waiting:
                while waiting and len(ahead) <= self._job.readers and self._has_room(waiting[0], sizes):
                    file = waiting.popleft()
                    sizes.append(file.size_bytes)
                    ahead.append(asyncio.create_task(self._take(source, file, pool)))
                item = await ahead[0]
                try:
                    yield item
                finally:
                    ahead.popleft()
                    sizes.popleft()
                    if item.copy is not None:
                        await source.discard(item.copy)
        finally:
            for left in await asyncio.gather(*ahead, return_exceptions=True):
                if isinstance(left, _Taken) and left.copy is not None:
                    await source.discard(left.copy)
            if pool is not None:
                pool.shutdown(cancel_futures=True)

    def _has_room(self, file: ExportFile, sizes: deque[int]) -> bool:
        """Whether a file may be taken beside those under way. Raises StorageFullError when it never can be."""
        if self._job.has_room(file.size_bytes + sum(sizes)):
            return True
        if sizes:  # once they are applied there may be room
            return False
        raise StorageFullError("there is no room on the disk for another export file")

    async def _take(self, source: FileSource, file: ExportFile, pool: ProcessPoolExecutor | None) -> _Taken:
        copy = None
        try:
            copy = await source.fetch(file)
            self._report(Fetched(file.name))
            job = self._job
            outcome = await asyncio.get_running_loop().run_in_executor(
                pool, parse, job.reader, job.store, file, copy, job.today
            )
        except FeedUnreadableError as error:
            return _Taken(file.name, copy, error)
        except MemoryError:
            reason = f"{file.name}: takes more than {MEMORY_BYTES} bytes of memory to read"
            return _Taken(file.name, copy, FeedUnreadableError(reason))
        return _Taken(file.name, copy, outcome)

    def _processes(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._job.readers, mp_context=multiprocessing.get_context("spawn"), initializer=_reader
        )

    def _now(self) -> datetime:
        return self._job.now + timedelta(seconds=time.monotonic() - self._started_s)
