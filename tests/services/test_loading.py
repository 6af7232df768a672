"""The loader brings export files into the replica from a process of its own, whatever befalls it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the loader's processes import the fakes by this name
from loading_feed import Folder, Reader, member, write
from told import ToldReplica

from agent.domain.identifiers import Identifier, IdentifierType
from agent.errors import FeedError, StorageError, StorageFullError, VendorUnreachableError
from agent.ports import AppliedCounts
from agent.services import loading
from agent.services.loading import (
    ALONE_BYTES,
    MEMORY_BYTES,
    Applied,
    Done,
    Fetched,
    Gap,
    Late,
    Listed,
    Loader,
    LoadJob,
    Unreadable,
)
from agent.store.database import DatabaseFile
from agent.store.replica_builder import SqliteReplicaStore
from agent.store.replica_file import ReplicaFile

MEMBER, EMAIL = IdentifierType.MEMBER_NUMBER, IdentifierType.EMAIL
KEY = bytes(range(32))
MANY_BYTES = ALONE_BYTES // 2 + 1


class Setting:
    """A folder, a replica, and everything that loads reported."""

    def __init__(self, root):
        self.folder = root / "export"
        self.folder.mkdir()
        self.spool = root / "spool"
        self.spool.mkdir()
        self.file = ReplicaFile(DatabaseFile(root / "replica.db", KEY, "NORMAL"), KEY, MEMBER)
        self.replica = ToldReplica(self.file)
        self.events = []
        self.news = asyncio.Event()

    def job(self, *, rebuild=False, settle_s=0.01, least=0, **source):
        store = SqliteReplicaStore(self.file, least)
        return LoadJob(
            Folder(self.folder, **source), Reader(), store, datetime.now(UTC), date(2026, 2, 20), settle_s, rebuild
        )

    async def load(self, job=None):
        self.events = []
        done = await Loader().load(job or self.job(), self._take)
        self.replica.adopt()
        return done

    def _take(self, event):
        self.events.append(event)
        self.news.set()

    async def reaches(self, count):
        """Waits until so many files have been applied."""
        while len(self.applied()) < count:
            self.news.clear()
            await self.news.wait()

    async def hangs(self, number):
        """Waits until the file that hangs its reader is being read: it hangs once only."""
        while not (self.folder / f"{number:04}.done").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)

    def applied(self):
        return [event.file for event in self.events if isinstance(event, Applied)]

    def knows(self, number):
        return bool(self.replica.resolve([Identifier(EMAIL, f"m{number}@example.com")]))


@pytest.fixture
def setting(tmp_path):
    setting = Setting(tmp_path)
    yield setting
    setting.replica.close()


async def test_a_first_load_and_a_delta(setting):
    """The first load is built and adopted; later files are applied in place and are visible at once."""
    write(setting.folder, 0, member(605), member(606))
    write(setting.folder, 1, member(607))
    before_at = datetime.now(UTC)
    done = await setting.load()
    assert done.built
    assert before_at <= done.as_of == setting.replica.info().as_of <= datetime.now(UTC)
    assert [type(event) for event in setting.events if not isinstance(event, Fetched)] == [Listed, Applied, Applied]
    assert setting.replica.info().contacts == 3
    write(setting.folder, 2, {"delete": True, "contact_id": "id-605"}, member(608))
    later = await setting.load()
    assert not later.built
    assert later.as_of > done.as_of
    assert setting.events[-1] == Applied("0002.txt", AppliedCounts(rows=2, inserted=1, deleted=1))
    assert (setting.knows(605), setting.knows(608)) == (False, True)


@pytest.mark.parametrize("built", [True, False], ids=["a first load", "a delta"])
async def test_contacts_that_name_nobody_are_counted(setting, built):
    """What the reader leaves out of a file, because it could be kept under no key, is told with what was applied."""
    if not built:
        write(setting.folder, 0, member(605))
        await setting.load()
    write(setting.folder, int(not built), member(606), {}, member(607), {})
    assert (await setting.load()).built is built
    counts = setting.events[-1].counts
    assert (counts.rows, counts.unidentified) == (2, 2)


async def test_nothing_new_is_still_fresh(setting):
    """A listing with nothing to apply moves the replica's freshness on."""
    write(setting.folder, 0, member(605))
    first = await setting.load()
    second = await setting.load()
    assert setting.events == [Listed(0, 0)]
    assert second.as_of > first.as_of


async def test_an_empty_folder_is_no_first_load(setting):
    """Before any export has come there is no replica, and nothing is called fresh."""
    assert await setting.load() == Done(None, built=False)
    assert setting.replica.info().as_of is None


async def test_files_under_other_names_are_told(setting):
    """Nothing new beside files that may be exports: unreadable, named by their form alone, and nothing is fresh."""
    write(setting.folder, 0, member(605))
    first = await setting.load()
    for name in ("members of 20260220 +46701740605.xml", "b.xml"):
        (setting.folder / name).write_text("")
        os.utime(setting.folder / name, (1, 1) if name == "b.xml" else (2, 2))
    assert await setting.load() == Done(None, built=False)
    (told,) = [event for event in setting.events if isinstance(event, Unreadable)]
    assert told.file == "2 files"
    assert "members?of?00000000??00000000000.xml" in told.reason
    assert setting.replica.info().as_of == first.as_of

    write(setting.folder, 1, member(606))  # what comes meanwhile is applied
    assert (await setting.load()).as_of is not None
    assert setting.knows(606)


async def test_other_files_alone_are_no_first_load(setting):
    """Before the first export they are told too, and there is still no replica."""
    (setting.folder / "members.xml").write_text("")
    assert await setting.load() == Done(None, built=False)
    (told,) = [event for event in setting.events if isinstance(event, Unreadable)]
    assert (told.file, "members.xml" in told.reason) == ("1 file", True)
    assert setting.replica.info().as_of is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("20260220101500_0_members.csv", "00000000000000_0_members.csv"),
        ("alma@example.com\n\x1b[31m.xml", "alma?example.com???00m.xml"),
        ("\u202e\u0661å.xml", "?0?.xml"),
        ("x" * 300, "x" * 80),
    ],
    ids=["digits", "control characters", "other scripts", "long"],
)
def test_a_name_is_shown_by_its_form(name, shown):
    """A file's name is anybody's: no number that could be somebody's, no address, nothing that a terminal obeys."""
    assert loading.shown_name(name) == shown


async def test_nothing_past_a_gap(setting):
    """A missing part is reported, nothing past it is applied, and when it has come all the rest is."""
    write(setting.folder, 0, member(605))
    first = await setting.load()
    write(setting.folder, 1, member(606))
    write(setting.folder, 3, member(608))
    assert (await setting.load()).as_of is None
    assert Gap("0002") in setting.events
    assert (setting.knows(606), setting.knows(608)) == (True, False)
    assert setting.replica.info().as_of == first.as_of
    write(setting.folder, 2, member(607))
    assert (await setting.load()).as_of is not None
    assert setting.applied() == ["0002.txt", "0003.txt"]


async def test_a_first_load_with_a_gap_waits_for_it(setting):
    """Half of everybody is no replica; what was built is gone on with."""
    write(setting.folder, 0, member(605))
    write(setting.folder, 2, member(607))
    assert await setting.load() == Done(None, built=False)
    assert not setting.knows(605)
    write(setting.folder, 1, member(606))
    assert (await setting.load()).built
    assert setting.applied() == ["0001.txt", "0002.txt"]
    assert setting.replica.info().contacts == 3


async def test_what_is_built_from_leftovers_is_not_everybody(setting):
    """Too few contacts are no replica, and nobody is found; with the full export there is one at once."""
    write(setting.folder, 0, member(605), member(606))
    for _ in range(2):
        assert await setting.load(setting.job(least=3)) == Done(None, built=False)
        assert Gap("a full export: of at least 3 contacts 2 are here") in setting.events
        assert (setting.replica.info().as_of, setting.knows(605)) == (None, False)
    write(setting.folder, 1, member(607), member(608))
    assert (await setting.load(setting.job(least=3))).built
    assert all(setting.knows(number) for number in (605, 606, 607, 608))


async def test_leftovers_do_not_replace_a_whole_replica(setting):
    """A rebuild that comes to too few leaves the present one."""
    write(setting.folder, 0, member(605), member(606))
    assert (await setting.load()).built
    (setting.folder / "0000.txt").unlink()
    write(setting.folder, 1, member(607))
    assert await setting.load(setting.job(rebuild=True, least=2)) == Done(None, built=False)
    assert (setting.knows(605), setting.knows(607)) == (True, False)


async def test_a_rebuild_with_a_gap_leaves_the_old_replica(setting):
    """A rebuild that cannot be finished is dropped, and deltas go on into what is there."""
    first = write(setting.folder, 0, member(605))
    write(setting.folder, 1, member(606))
    await setting.load()
    first.unlink()
    assert await setting.load(setting.job(rebuild=True)) == Done(None, built=False)
    write(setting.folder, 2, member(607))
    assert not (await setting.load()).built
    assert setting.replica.info().contacts == 3


async def test_a_rebuild_outlives_a_source_out_of_reach(setting):
    """A rebuild that could not begin, or was cut off, is what the next load does."""
    write(setting.folder, 0, member(605))
    await setting.load()
    with pytest.raises(VendorUnreachableError):
        await setting.load(setting.job(rebuild=True, unreachable=True))
    assert setting.knows(605)
    assert (await setting.load()).built
    assert setting.applied() == ["0000.txt"]


async def test_half_a_file_is_not_applied(setting):
    """Nothing of a file that is cut short is applied, nothing after it, and it is tried again."""
    write(setting.folder, 0, member(605))
    await setting.load()
    write(setting.folder, 1, member(606), end=False)
    write(setting.folder, 2, member(607))
    assert (await setting.load()).as_of is None
    assert setting.events[-1] == Unreadable("0001.txt", "ends before its closing tag")
    assert setting.replica.info().contacts == 1
    write(setting.folder, 1, member(606))
    await setting.load()
    assert setting.applied() == ["0001.txt", "0002.txt"]


async def test_a_file_that_cannot_be_fetched(setting):
    """A file that is gone when it is fetched is unreadable, and those before it are applied."""
    write(setting.folder, 0, member(605))
    write(setting.folder, 1, member(606))
    await setting.load(setting.job(gone="0001.txt"))
    assert setting.applied() == ["0000.txt"]
    assert setting.events[-1] == Unreadable("0001.txt", "is gone since it was listed")


async def test_a_growing_file_is_left_alone(setting):
    """A young file that differs between two listings is not taken, nor any after it; a still one is."""
    write(setting.folder, 0, member(605), age_s=0)
    write(setting.folder, 1, member(606), age_s=0)
    write(setting.folder, 2, member(607), age_s=0)
    assert (await setting.load(setting.job(growing="0001.txt"))).as_of is None
    assert setting.applied() == ["0000.txt"]
    write(setting.folder, 1, member(606))
    assert (await setting.load()).as_of is not None
    assert setting.applied() == ["0001.txt", "0002.txt"]


async def test_late_files_are_told_and_left(setting):
    """A file older than what is applied is reported and does not hold the rest up."""
    write(setting.folder, 0, member(605))
    write(setting.folder, 1, member(606))
    await setting.load()
    (setting.folder / "0000.txt").rename(setting.folder / "0000b.txt")
    write(setting.folder, 2, member(607))
    assert (await setting.load()).as_of is not None
    assert Late(("0000b.txt",)) in setting.events
    assert setting.applied() == ["0002.txt"]


async def test_copies_are_discarded(setting):
    """A downloaded copy is erased after it was applied, refused, or left unread behind a refused one."""
    write(setting.folder, 0, member(605))
    write(setting.folder, 1, member(606), end=False)
    write(setting.folder, 2, member(607))
    write(setting.folder, 3, member(608))
    await setting.load(setting.job(spool=setting.spool))
    assert setting.applied() == ["0000.txt"]
    assert list(setting.spool.iterdir()) == []


async def test_the_source_out_of_reach(setting):
    """What the source says of the line reaches the agent as it is."""
    with pytest.raises(VendorUnreachableError, match="does not answer") as caught:
        await setting.load(setting.job(unreachable=True))
    assert caught.value.retry_after_s == 30


async def test_the_replica_cannot_be_written(setting):
    """A replica that cannot be opened is told as such."""
    setting.replica.close()
    setting.file.database.path.unlink()
    setting.file.database.path.mkdir()
    with pytest.raises(StorageError):
        await Loader().load(setting.job(), setting.events.append)
    setting.file.database.path.rmdir()
    setting.replica = ToldReplica(setting.file)


async def test_a_surprise_says_nothing_of_the_data(setting):
    """An error nobody foresaw is told by its kind and place; its text may hold what was being read."""
    write(setting.folder, 0, {"command": "break", "text": "alma.ekvall@example.com"})
    with pytest.raises(FeedError, match=r"ValueError in loading_feed\.py:\d+") as caught:
        await setting.load()
    assert "alma" not in str(caught.value)


@pytest.mark.parametrize("pad_bytes", [0, MANY_BYTES], ids=["read by the loader", "read by other processes"])
async def test_memory_has_a_bound(setting, pad_bytes):
    """A file that makes its reader swell is refused like a broken one; the machine's memory is not touched."""
    write(setting.folder, 0, member(605), pad_bytes=pad_bytes)
    write(setting.folder, 1, {"command": "swell", "bytes": MEMORY_BYTES}, member(606), pad_bytes=pad_bytes)
    await setting.load()
    assert setting.applied() == ["0000.txt"]
    assert Unreadable("0001.txt", f"takes more than {MEMORY_BYTES} bytes of memory to read") in setting.events


async def test_a_disk_without_room_takes_no_file(setting):
    """What would leave too little room for sales is not fetched, and the reason is told."""
    write(setting.folder, 0, member(605))
    job = replace(setting.job(spool=setting.spool), directory=setting.folder, kept_free_bytes=1 << 60)
    with pytest.raises(StorageFullError, match="no room on the disk"):
        await setting.load(job)
    assert not any(isinstance(event, Fetched) for event in setting.events)
    assert list(setting.spool.iterdir()) == []


@pytest.mark.parametrize(("room", "together"), [(2, 1), (4, 2), (100, 3)], ids=["for one", "for two", "for all"])
async def test_files_are_taken_as_the_disk_has_room(setting, monkeypatch, room, together):
    """Copies that are under way count; while there is room for one file more, one more is taken."""
    size_bytes = max(write(setting.folder, number, member(number)).stat().st_size for number in range(3))
    free = SimpleNamespace(free=room * size_bytes + 1000)
    monkeypatch.setattr(loading.shutil, "disk_usage", lambda _directory: free)
    under_way = most = 0

    class Counted(Folder):
        async def fetch(self, file):
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            return await super().fetch(file)

        async def discard(self, path):
            nonlocal under_way
            under_way -= 1
            await super().discard(path)

    source = Counted(setting.folder, spool=setting.spool)
    job = replace(setting.job(), source=source, directory=setting.folder, kept_free_bytes=1000)
    await loading._Load(job, setting.events.append).run()
    assert setting.applied() == ["0000.txt", "0001.txt", "0002.txt"]
    assert most == together


@pytest.mark.parametrize("pad_bytes", [0, MANY_BYTES], ids=["read by the loader", "read by other processes"])
async def test_killed_between_files_and_gone_on_with(setting, pad_bytes):
    """A loader killed while reading keeps what it applied; the next one applies only the rest."""
    write(setting.folder, 0, member(605), pad_bytes=pad_bytes)
    write(setting.folder, 1, member(606), pad_bytes=pad_bytes)
    write(setting.folder, 2, {"command": "hang", "once": True}, member(607))
    loading = asyncio.create_task(setting.load())
    await setting.reaches(2)
    await setting.hangs(2)
    (loader,) = _children(os.getpid(), b"spawn_main")
    readers = _children(loader, b"spawn_main")
    assert len(readers) == (2 if pad_bytes else 0)
    os.kill(loader, signal.SIGKILL)
    with pytest.raises(FeedError, match="died"):
        await loading
    await _gone(*readers)
    assert not setting.knows(605)
    assert (await setting.load()).built
    assert setting.applied() == ["0002.txt"]
    assert setting.replica.info().contacts == 3


async def test_a_dead_reading_process_is_told(setting):
    """A reading process that is killed, for want of memory say, ends the load and leaves what was applied."""
    write(setting.folder, 0, member(605), pad_bytes=MANY_BYTES)
    write(setting.folder, 1, {"command": "die", "once": True}, member(606), pad_bytes=MANY_BYTES)
    with pytest.raises(FeedError, match="read export files died"):
        await setting.load()
    assert (await setting.load()).built
    assert setting.replica.info().contacts == 2


async def test_cancelling_kills_the_process(setting):
    """A cancelled load leaves no process behind, and a replica that the next one goes on with."""
    write(setting.folder, 0, member(605))
    write(setting.folder, 1, {"command": "hang", "once": True}, member(606))
    loading = asyncio.create_task(setting.load())
    await setting.reaches(1)
    await setting.hangs(1)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert _children(os.getpid(), b"spawn_main") == []
    assert (await setting.load()).built


async def test_look_ups_are_answered_during_a_load(setting):
    """While files are read and applied, the old contacts are found, and the new ones as soon as their file is in."""
    write(setting.folder, 0, member(605))
    await setting.load()
    for number in range(1, 6):
        write(setting.folder, number, *(member(number * 1000 + offset) for offset in range(500)), pad_bytes=MANY_BYTES)
    setting.events = []
    loading = asyncio.create_task(setting.load())
    answered = 0
    while not loading.done():
        assert setting.knows(605)
        assert all(setting.knows(int(name[:4]) * 1000) for name in setting.applied())
        answered += 1
        await asyncio.sleep(0.001)
    assert (await loading).as_of is not None
    assert answered > 20
    assert setting.replica.info().contacts == 2501


async def test_the_loader_ends_with_the_agent(setting, tmp_path):
    """An agent that is killed leaves no loader that could write beside the next agent's."""
    write(setting.folder, 0, {"command": "hang"}, member(605))
    script = tmp_path / "agent_that_is_killed.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import asyncio, sys
            sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
            from pathlib import Path
            from test_loading import Setting, Loader
            if __name__ == "__main__":
                setting = Setting.__new__(Setting)
                setting.folder = Path({str(setting.folder)!r})
                from agent.store.database import DatabaseFile
                from agent.store.replica_file import ReplicaFile
                from agent.domain.identifiers import IdentifierType
                database = DatabaseFile(Path({str(setting.file.database.path)!r}), bytes(range(32)), "NORMAL")
                setting.file = ReplicaFile(database, bytes(range(32)), IdentifierType.MEMBER_NUMBER)
                asyncio.run(Loader().load(setting.job(), print))
            """
        )
    )
    agent = subprocess.Popen([sys.executable, script], stdout=subprocess.DEVNULL)  # noqa: ASYNC220 - it only starts
    try:
        hanging = setting.folder / "0000.done"
        while not hanging.exists():
            assert agent.poll() is None
            await asyncio.sleep(0.02)
        loaders = _children(agent.pid, b"spawn_main")
        assert loaders
    finally:
        agent.kill()
        agent.wait()
    await _gone(*loaders)


def _children(pid, word):
    """The processes that this one started whose command line has a word in it."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            status = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(status[1]) == pid and status[0] != "Z" and word in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


async def _gone(*pids):
    deadline_s = time.monotonic() + 60
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() < deadline_s, "a process stayed behind"
        await asyncio.sleep(0.02)


def _runs(pid):
    """Whether it has not ended; a container's first process may let the dead lie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
