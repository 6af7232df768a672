"""The replica's file, mended: kept while there is room, told either way."""

from __future__ import annotations

import asyncio
import errno
import shutil
from types import SimpleNamespace

import pytest

from agent.errors import StorageError, StorageFullError
from agent.kept import Kept
from agent.store import guarded
from agent.store.database import DatabaseFile
from agent.store.guarded import GuardedReplica
from tests.fakes import NOW


class Bench:
    """A damaged replica, in a directory of its own."""

    def __init__(self, directory):
        self.path, self.kept, self.refetched = directory / "replica.db", Kept(directory), 0
        self.path.write_bytes(b"noise" * 1000)
        replica = SimpleNamespace(file=SimpleNamespace(database=DatabaseFile(self.path, None, "NORMAL")))
        self.guarded = GuardedReplica(replica, self.kept, writing=asyncio.Lock(), refetch=self._refetch)

    def _refetch(self):
        self.refetched += 1

    def mend(self):
        return self.guarded.mend("torn", NOW)

    @property
    def folders(self):
        root = self.path.parent / "damaged"
        return sorted(path.name for path in root.iterdir()) if root.is_dir() else []


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


async def test_what_there_is_room_for_is_kept(bench):
    """The file lies in its folder beside its report, and everybody is fetched again."""
    report = await bench.mend()
    assert (report.folder, report.file, report.reason) == ("20260214T154109Z", "replica.db", "torn")
    assert bench.kept.reports() == [report]
    assert (bench.path.parent / "damaged" / report.folder / "replica.db").read_bytes() == b"noise" * 1000
    assert (bench.path.exists(), bench.refetched) == (False, 1)


async def test_without_room_it_goes(bench, monkeypatch):
    """It can be fetched again, and needs room for that; the report says that nothing was kept."""
    monkeypatch.setattr(guarded.shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10_000, 5_000, 5_000))
    report = await bench.mend()
    assert (report.folder, report.reason, bench.folders) == ("", "torn", [])
    assert (bench.path.exists(), bench.refetched) == (False, 1)


@pytest.mark.parametrize("step", ["folder", "exchange"])
async def test_room_that_goes_meanwhile(bench, monkeypatch, step):
    """A disk that is full by the time the file is kept leaves no half of a folder, and a till that fetches anew."""

    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bench.kept, step, full)
    report = await bench.mend()
    assert (report.folder, bench.folders) == ("", [])
    assert (bench.path.exists(), bench.refetched) == (False, 1)


async def test_another_fault_of_the_disk_removes_nothing(bench, monkeypatch):
    """A directory that cannot be written is tried again later: the file stays where it is."""

    def refuse(*_args):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(bench.kept, "exchange", refuse)
    with pytest.raises(StorageError) as caught:
        await bench.mend()
    assert not isinstance(caught.value, StorageFullError)
    assert (bench.path.exists(), bench.refetched, bench.folders) == (True, 0, [])
