"""Filling the replica: everything, and 10,000 changes into it, beside what only reading the same files takes."""

import asyncio
import multiprocessing
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path

from agent.connectors.voyado.export import VoyadoExportReader
from agent.connectors.voyado.fields import ContactMapping
from agent.connectors.voyado.files import FolderSource
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.services.loading import Applied, Event, Fetched, Loader, LoadJob
from agent.store.database import DatabaseFile
from agent.store.replica import SqliteReplica
from agent.store.replica_builder import CACHE_KIB, SqliteReplicaStore
from agent.store.replica_file import KEY_COLUMNS, ReplicaFile
from agent.store.replica_rows import digest
from bench import members
from bench.processes import Tree
from bench.runs import Run
from bench.table import Goal, Row

CHANGES = 10_000
KEY = bytes(range(32))
READER = VoyadoExportReader(ContactMapping(Normaliser("SE")))
TODAY = date(2026, 2, 20)


@dataclass(frozen=True, slots=True)
class Loaded:
    """One load: the whole of it, and from the last file being taken until it could be looked up; seconds."""

    whole_s: float
    visible_s: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured; seconds and MiB."""

    reading_s: float
    load: Loaded
    peak_mib: float
    changes_limit_s: float
    changes: Loaded


def first_load(run: Run) -> Iterable[Row]:
    """Rows of `first_load`."""
    found = _figures(run.members)
    what = f"{run.members:,} members; limit: reading them in one process"
    yield Row("first_load", what, "s", found.load.whole_s, found.reading_s, Goal("<=", 1.4))
    yield Row("first_load", "peak memory of its processes", "MiB", found.peak_mib, None, Goal("<=", 300.0))


def delta(run: Run) -> Iterable[Row]:
    """Rows of `delta`."""
    found = _figures(run.members)
    changes = min(CHANGES, run.members)
    what = f"{changes:,} changes into {run.members:,}; limit: reading and a bare upsert"
    yield Row("delta", what, "s", found.changes.visible_s, found.changes_limit_s, Goal("<=", 1.6))
    yield Row("delta", "from the file being taken to look-ups", "s", found.changes.visible_s, None, Goal("<=", 1.0))
    yield Row("delta", "the same with the loader's own start", "s", found.changes.whole_s)


@lru_cache(maxsize=1)
def _figures(count: int) -> Figures:
    with tempfile.TemporaryDirectory(dir=members.OUT) as temporary:
        feed, state = Path(temporary) / "feed", Path(temporary) / "state"
        feed.mkdir()
        state.mkdir()
        members.linked(count, feed)
        database = DatabaseFile(state / "replica.db", KEY, "NORMAL", cache_kib=16 * 1024)
        file = ReplicaFile(database, KEY, IdentifierType.MEMBER_NUMBER)
        reading_s = _reading_alone(sorted(feed.glob("*.xml")))
        with closing(SqliteReplica(file)) as replica:
            with Tree(os.getpid(), itself=False) as processes:
                load = asyncio.run(_load(feed, file))
            replica.adopt()
            if replica.info().contacts != count:
                raise RuntimeError(f"{replica.info().contacts:,} contacts were loaded of {count:,}")
            limit_s, changes = _changes(feed, file, count)
            if not replica.resolve((Identifier(IdentifierType.EMAIL, f"changed.{_changed(count)[0]}@example.com"),)):
                raise RuntimeError("the changes are not in the replica")
        return Figures(reading_s, load, processes.peak_mib, limit_s, changes)


def _changed(count: int) -> list[int]:
    return random.Random(7).sample(range(count), min(CHANGES, count))


def _changes(feed: Path, file: ReplicaFile, count: int) -> tuple[float, Loaded]:
    """The limit in seconds, and the load of the changes."""
    path = feed / "20260219101500_0_members.xml"
    members.write(path, "updated", (members.record(number, "changed") for number in _changed(count)))
    limit_s = _reading_alone([path]) + _bare_upsert(path, file)
    return limit_s, asyncio.run(_load(feed, file))


async def _load(feed: Path, file: ReplicaFile) -> Loaded:
    taken_s = applied_s = started_s = time.perf_counter()

    def report(event: Event) -> None:
        nonlocal taken_s, applied_s
        match event:
            case Fetched():
                taken_s = time.perf_counter()
            case Applied():
                applied_s = time.perf_counter()
            case _:
                pass

    job = LoadJob(FolderSource(feed), READER, SqliteReplicaStore(file), datetime.now(UTC), TODAY)
    await Loader().load(job, report)
    return Loaded(time.perf_counter() - started_s, applied_s - taken_s)


def _bare_upsert(path: Path, file: ReplicaFile) -> float:
    """The same rows into a copy of the replica: one indexed UPDATE each, nothing looked at first; seconds."""
    batch = digest(READER.read(path, today=TODAY), file)
    copy = file.database.path.with_name("bare.db")
    shutil.copy(file.database.path, copy)
    names = ", ".join(f"{column} = ?" for column in (*KEY_COLUMNS, "primary_key"))
    rows = [
        (*(row.key(column) for column in range(len(KEY_COLUMNS))), row.primary_key, row.key(0)) for row in batch.rows
    ]
    with closing(replace(file.database, path=copy).connect(cache_kib=CACHE_KIB)) as connection:
        started_s = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(f"UPDATE contacts SET {names} WHERE contact_id = ?", rows)
        connection.execute("COMMIT")
        return time.perf_counter() - started_s


def _reading_alone(paths: Sequence[Path]) -> float:
    """Seconds that one process takes to read files."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_read_all, args=(paths, send))
    process.start()
    seconds: float = receive.recv()
    process.join()
    return seconds


def _read_all(paths: Sequence[Path], result: Connection) -> None:
    os.nice(10)  # as the loader is: neighbours cost both the same
    started_s = time.perf_counter()
    for path in paths:
        for _ in READER.read(path, today=TODAY):
            pass
    result.send(time.perf_counter() - started_s)
