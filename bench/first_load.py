"""The first load of a replica, and a delta into it, beside what only reading the same files takes.

    python bench/first_load.py [--members 1000000] [--plain] [--folder kept-between-runs]

Goals: load <= 1.4 x reading alone in one process, peak RSS of all processes <= 300 MiB; a delta of 10,000 <= 1.6 x
reading it and upserting it bare. Everything in one run on one machine; figures of different runs do not compare.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from hashlib import blake2b
from uuid import UUID

from agent.connectors.voyado.export import VoyadoExportReader
from agent.connectors.voyado.fields import ContactMapping
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.ports import ExportFile
from agent.services.loading import Applied, Loader, LoadJob
from agent.store.database import DatabaseFile, sqlite
from agent.store.replica import SqliteReplica
from agent.store.replica_builder import SqliteReplicaStore
from agent.store.replica_file import ReplicaFile

PART = 10_000
TODAY = date(2026, 2, 20)
OLD = datetime(2026, 2, 20, tzinfo=UTC)
KEY = bytes(range(32))
READER = VoyadoExportReader(ContactMapping(Normaliser("SE")))


@dataclass(frozen=True)
class Folder:
    """A folder of export files that lie still."""

    path: Path

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        pass

    async def list(self):
        return [ExportFile(path.name, path.stat().st_size, OLD) for path in self.path.glob("*.xml")]

    async def fetch(self, file):
        return self.path / file.name

    async def discard(self, path):
        pass


def member(number: int, street: str = "Exempelgatan") -> str:
    guid = UUID(bytes=blake2b(number.to_bytes(8), digest_size=16).digest(), version=4)
    return (
        f'<member source="POS"><contactId>{guid}</contactId><firstName>Alma{number}</firstName>'
        f"<lastName>Ekvall{number % 997}</lastName><memberNumber>{10_000_000 + number}</memberNumber>"
        f"<externalId>EDGE-{number:08d}</externalId><email>alma.{number}@example.com</email>"
        f"<mobilePhone>+4670{number:07d}</mobilePhone><street>{street} {number}</street><zipCode>123 45</zipCode>"
        "<city>Exempelstad</city><countryCode>SE</countryCode><birthDay>1988-03-14</birthDay><gender>Female</gender>"
        "<createdInStore>1042</createdInStore><store>1042</store><acceptsEmail>true</acceptsEmail>"
        "<acceptsSms>false</acceptsSms><acceptsPostal>false</acceptsPostal></member>\n"
    )


def write(path: Path, container: str, numbers, **what) -> None:
    body = "".join(member(number, **what) for number in numbers)
    path.write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<contacts xmlns="http://eClub.Schemas.ExportMember">'
        f"<{container}>\n{body}</{container}></contacts>\n"
    )


def generate(folder: Path, members: int) -> None:
    for part in range(-(-members // PART)):
        path = folder / f"20260218101500_{part}_members.xml"
        if not path.exists():
            write(path, "new", range(part * PART, min(members, (part + 1) * PART)))


def read_all(paths, result) -> None:
    os.nice(10)  # as the loader is: neighbours cost both the same
    started = time.perf_counter()
    count = sum(1 for path in paths for _ in READER.read(path, today=TODAY))
    result.send((time.perf_counter() - started, count))


def read_alone(paths) -> float:
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=read_all, args=(paths, send))
    process.start()
    seconds, _ = receive.recv()
    process.join()
    return seconds


class Footprint(threading.Thread):
    """Peak of the summed RSS of every process below this one."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_mib = 0.0
        self.parts: list[int] = []
        self._ended = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self._ended.set()
        self.join()

    def run(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE") / 2**20
        while not self._ended.wait(0.05):
            parents, rss = {}, {}
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    try:
                        stat = (entry / "stat").read_text().rpartition(")")[2].split()
                    except OSError:
                        continue
                    parents[int(entry.name)] = int(stat[1])
                    rss[int(entry.name)] = int(stat[21])
            ours = set()
            for pid in parents:
                above = pid
                while above in parents and above != os.getpid():
                    above = parents[above]
                if above == os.getpid() and pid != above:
                    ours.add(pid)
            total = sum(rss[pid] for pid in ours) * page
            if total > self.peak_mib:
                self.peak_mib, self.parts = total, [int(rss[pid] * page) for pid in ours]


async def load(job, stages=None):
    started = time.perf_counter()

    def report(event):
        if isinstance(event, Applied):
            report.last_s = time.perf_counter() - started

    done = await Loader().load(job, report)
    return done, time.perf_counter() - started, report.last_s


def bare_upsert(path: Path, file: ReplicaFile, batch) -> float:
    """The same rows into a copy of the table: one indexed UPDATE each, nothing looked at first."""
    connection = replace(file.database, path=path).connect()
    started = time.perf_counter()
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(
        "UPDATE contacts SET mobile_phone = ?, email = ? WHERE contact_id = ?",
        ((row[4], row[5], row[0]) for row in batch.rows),
    )
    connection.execute("COMMIT")
    seconds = time.perf_counter() - started
    connection.close()
    return seconds


async def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--members", type=int, default=1_000_000)
    arguments.add_argument("--plain", action="store_true")
    arguments.add_argument("--folder", type=Path)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        state = Path(temporary)
        folder = options.folder or state / "export"
        folder.mkdir(parents=True, exist_ok=True)
        generate(folder, options.members)
        paths = sorted(folder.glob("*.xml"))
        size = sum(path.stat().st_size for path in paths)
        print(f"{options.members} members, {len(paths)} files, {size / 2**20:.0f} MiB")
        alone_s = read_alone(paths)
        print(f"reading alone, one process      {alone_s:8.2f} s")
        file = ReplicaFile(
            DatabaseFile(state / "replica.db", None if options.plain else KEY, "NORMAL"), KEY, IdentifierType.MEMBER_NUMBER
        )
        replica = SqliteReplica(file)
        job = LoadJob(Folder(folder), READER, SqliteReplicaStore(file), datetime.now(UTC), TODAY)
        with Footprint() as footprint:
            done, seconds, last_s = await load(job)
        adopting = time.perf_counter()
        replica.adopt()
        adopting = time.perf_counter() - adopting
        print(f"first load                      {seconds:8.2f} s  {seconds / alone_s:.2f} x  (goal 1.40)")
        print(f"  of it applying, then finishing{last_s:8.2f} s {seconds - last_s:.2f} s; adopted in {adopting * 1000:.1f} ms")
        print(f"  peak RSS of all processes     {footprint.peak_mib:8.0f} MiB (goal 300) {footprint.parts}")
        print(f"  file {file.database.path.stat().st_size / 2**20:.0f} MiB, {replica.info()}")
        look_ups(replica, file, options.members)


def look_ups(replica, file, members) -> None:
    numbers = random.Random(1).sample(range(members), 20_000)
    readings = [(Identifier(IdentifierType.MOBILE_PHONE, f"+4670{number:07d}"),) for number in numbers]
    connection = file.database.connect()
    hashes = [(replica._hash(reading.type, reading.value),) for (reading,) in readings]
    for _ in range(2):
        started = time.perf_counter()
        for hashed in hashes:
            connection.execute("SELECT primary_key FROM contacts WHERE mobile_phone = ?", hashed).fetchall()
        bare_us = (time.perf_counter() - started) / len(numbers) * 1e6
        started = time.perf_counter()
        for reading in readings:
            assert len(replica.resolve(reading)) == 1
        ours_us = (time.perf_counter() - started) / len(numbers) * 1e6
        print(f"look-up                         {ours_us:8.1f} us, bare SELECT {bare_us:.1f} us  {ours_us / bare_us:.2f} x")
    connection.close()


if __name__ == "__main__":
    asyncio.run(main())
