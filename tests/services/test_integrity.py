"""Keeping the databases whole: when they are looked through, taken away, mended and put back, and what is told."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from agent.errors import StorageDamagedError, StorageError, StorageFullError, StorageKeyError
from agent.kept import Kept, Report
from agent.services import integrity as module
from agent.services.integrity import Integrity
from tests.fakes import NOW, FakeClock, until


@dataclass
class Database:
    """A database that is damaged as it is told to be."""

    kept: Kept
    name: str = "outbox.db"
    irreplaceable: bool = True
    wrong: str | None = None
    refuses: list[Exception] = field(default_factory=list)
    mends_badly: list[Exception] = field(default_factory=list)
    is_open: bool = False
    whole: bool = True
    room: bool = True
    heard: list[StorageError] = field(default_factory=list)
    examined: int = 0
    mended: list[str] = field(default_factory=list)

    async def open(self):
        if self.refuses:
            raise self.refuses.pop(0)
        self.is_open = True

    async def shut(self, reason):
        self.is_open = False
        self.heard.append(reason)

    async def examine(self):
        self.examined += 1
        return self.wrong

    async def mend(self, reason, now):
        assert not self.is_open
        await asyncio.sleep(0)
        if self.mends_badly:
            raise self.mends_badly.pop(0)
        self.wrong = None
        self.mended.append(reason)
        if not self.room:
            return Report("", self.name, now, reason)
        folder = self.kept.folder(now)
        (folder / self.name).write_text("damaged")
        report = Report(folder.name, self.name, now, reason, rescued={"sales": 812}, lost={"sales": 3})
        self.kept.note(report)
        return report


class Bench:
    def __init__(self, tmp_path):
        self.clock, self.kept, self.changes = FakeClock(), Kept(tmp_path), 0
        self.outbox = Database(self.kept)
        self.replica = Database(self.kept, "replica.db", irreplaceable=False)
        self.alone = asyncio.Lock()
        self.integrity = Integrity(
            clock=self.clock,
            guarded=(self.outbox, self.replica),
            kept=self.kept,
            alone=self.alone,
            changed=self._changed,
        )

    def _changed(self):
        self.changes += 1

    @contextlib.asynccontextmanager
    async def running(self):
        await self.integrity.start()
        task = asyncio.create_task(self.integrity.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FIRST_CHECK_S", 3600.0)
    return Bench(tmp_path)


async def test_whole_databases_are_opened_and_nothing_is_told(bench):
    """The usual start."""
    await bench.integrity.start()

    assert (bench.outbox.is_open, bench.replica.is_open) == (True, True)
    assert bench.integrity.findings() == ()


async def test_damage_met_while_opening_is_mended_at_once(bench):
    """The start goes on without the outbox, which is back moments later; what was done stands until it is seen."""
    bench.outbox.refuses = [StorageDamagedError("its log is damaged")]
    async with bench.running():
        await until(lambda: bench.outbox.is_open)

    assert bench.outbox.mended == ["its log is damaged"]
    (told,) = bench.integrity.findings()
    assert told == "outbox.db 2026-02-14 15:41 UTC: 812 sales rescued, 3 sales lost, kept as damaged/20260214T154109Z"
    assert bench.integrity.acknowledge() == 1
    assert bench.integrity.findings() == ()
    assert bench.integrity.reports[0].acknowledged_at == NOW


@pytest.mark.parametrize("error", [StorageDamagedError("torn"), StorageKeyError("another's")], ids=["damaged", "key"])
async def test_what_somebody_else_could_not_open_is_mended(bench, error):
    """The replica is opened by its lease; a key that does not fit its file is damage, its own key having been read."""
    async with bench.running():
        bench.replica.is_open = False
        bench.integrity.unavailable("replica.db", error)
        assert bench.integrity.findings() == (f"replica.db: {error}",)
        await until(lambda: bench.replica.is_open)
    assert bench.replica.mended == [str(error)]


async def test_what_somebody_else_could_not_open_for_now_is_tried_again(bench):
    """A full disk, say: nothing is taken away."""
    async with bench.running():
        bench.replica.is_open = False
        bench.integrity.unavailable("replica.db", StorageFullError())
        await asyncio.sleep(0)
        assert not bench.replica.is_open
        bench.clock.advance(60)
        bench.integrity.suspect("outbox.db")  # anything that makes it look around
        await until(lambda: bench.replica.is_open)
    assert bench.replica.mended == []


async def test_a_suspicion_is_looked_into_with_the_file_shut(bench):
    """Whoever meets damage makes the file unavailable to everybody until it is whole."""
    async with bench.running():
        bench.outbox.wrong = "4 pages cannot be read"
        bench.integrity.suspect("outbox.db")
        await until(lambda: bool(bench.outbox.mended) and bench.outbox.is_open)

    assert (bench.outbox.examined, bench.outbox.mended) == (1, ["4 pages cannot be read"])
    assert all(reason.code == "storage.unavailable" for reason in bench.outbox.heard)


async def test_a_false_alarm_only_opens_the_file_anew(bench):
    """Nothing is wrong with the file: it was the connection, or the memory."""
    async with bench.running():
        bench.integrity.suspect("outbox.db")
        await until(lambda: bench.outbox.examined == 1 and bench.outbox.is_open)

    assert bench.outbox.mended == []
    assert bench.integrity.findings() == ()


async def test_the_second_alarm_within_the_hour_is_believed(bench):
    """What an examination does not see is there all the same."""
    async with bench.running():
        for _ in range(2):
            bench.integrity.suspect("outbox.db")
            await until(lambda: bool(bench.outbox.heard) and bench.outbox.is_open)
            bench.outbox.heard.clear()
        assert (bench.outbox.examined, len(bench.outbox.mended)) == (1, 1)

        bench.clock.advance(3601)
        bench.integrity.suspect("outbox.db")
        await until(lambda: bool(bench.outbox.heard) and bench.outbox.is_open)
    assert (bench.outbox.examined, len(bench.outbox.mended)) == (2, 1)


async def test_the_scheduled_check_examines_open_files_and_mends_what_is_wrong(bench):
    """Sales go on while a file is examined; it is taken away only once something was found."""
    async with bench.running():
        await bench.integrity.check()
        assert (bench.outbox.heard, bench.replica.heard) == ([], [])

        bench.replica.wrong = "contacts: wrong order"
        await bench.integrity.check()
        await until(lambda: bool(bench.replica.mended) and bench.replica.is_open)
    assert bench.outbox.mended == []


async def test_a_check_waits_for_whoever_rewrites_files(bench):
    """A purge and a check take turns."""
    await bench.integrity.start()
    async with bench.alone:
        checking = asyncio.create_task(bench.integrity.check())
        await asyncio.sleep(0)
        assert bench.outbox.examined == 0
    await checking
    assert bench.outbox.examined == 1


async def test_the_first_check_comes_soon_after_the_start(bench, monkeypatch):
    """And not with it: the first sale does not wait."""
    monkeypatch.setattr(module, "FIRST_CHECK_S", 0.0)
    async with bench.running():
        await until(lambda: bench.replica.examined == 1)


@pytest.mark.parametrize("error", [StorageFullError(), StorageError("database is locked")], ids=["full", "locked"])
async def test_what_cannot_be_opened_now_is_tried_again(bench, error):
    """A full disk does not keep the agent from starting; when there is space, the outbox opens by itself."""
    bench.outbox.refuses = [error, error, error]
    async with bench.running():
        told = () if isinstance(error, StorageFullError) else ("outbox.db: database is locked",)
        assert bench.integrity.findings() == told
        while not bench.outbox.is_open:
            bench.clock.advance(60)
            bench.integrity._wake.set()
            await asyncio.sleep(0)

    assert bench.outbox.mended == []
    assert bench.integrity.findings() == ()


async def test_a_rescue_without_room_is_repeated_when_there_is_some(bench):
    """The damage stays known meanwhile, and the file stays as it is."""
    bench.outbox.refuses = [StorageDamagedError("2 pages cannot be read")]
    bench.outbox.mends_badly = [StorageFullError(), StorageFullError()]
    async with bench.running():
        await until(lambda: len(bench.outbox.mends_badly) < 2)
        assert bench.integrity.findings() == ("outbox.db: 2 pages cannot be read",)
        while not bench.outbox.is_open:
            bench.clock.advance(60)
            bench.integrity._wake.set()
            await asyncio.sleep(0)

    assert bench.outbox.mended == ["2 pages cannot be read"]


async def test_pauses_between_attempts_grow(bench):
    """A disk that stays full is not asked every second for ever."""
    bench.outbox.refuses = [StorageFullError()] * 8
    await bench.integrity.start()
    pauses = []
    case = bench.integrity._cases["outbox.db"]
    while not bench.outbox.is_open:
        pauses.append(case.due_mono - bench.clock.monotonic())
        bench.clock.mono = case.due_mono
        await bench.integrity._attend(case)

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_a_wrong_key_ends_the_start(bench):
    """The right one may come back: nothing is set aside."""
    bench.outbox.refuses = [StorageKeyError("the key does not open outbox.db")]
    with pytest.raises(StorageKeyError):
        await bench.integrity.start()
    assert bench.outbox.mended == []


async def test_a_replica_that_was_fetched_again_is_kept_no_longer(bench, monkeypatch):
    """The condition ends by itself, and the damaged file goes; the outbox's stays until it is seen."""
    monkeypatch.setattr(module, "SETTLE_S", 0.001)
    bench.outbox.refuses = [StorageDamagedError("a")]
    bench.replica.refuses = [StorageDamagedError("b")]
    bench.replica.whole = False
    async with bench.running():
        await until(lambda: len(bench.integrity.reports) == 2)
        await asyncio.sleep(0.02)
        assert len(bench.integrity.findings()) == 2

        bench.replica.whole = True
        await until(lambda: len(bench.integrity.reports) == 1)
    assert [report.file for report in bench.integrity.reports] == ["outbox.db"]


async def test_a_replica_that_there_was_no_room_to_keep_is_told(bench, monkeypatch):
    """It has no folder for a report, and is told all the same until everybody is back or somebody has seen it."""
    monkeypatch.setattr(module, "SETTLE_S", 0.001)
    bench.replica.refuses, bench.replica.room, bench.replica.whole = [StorageDamagedError("torn")], False, False
    async with bench.running():
        await until(lambda: bench.replica.is_open)
        await asyncio.sleep(0.02)
        assert bench.integrity.findings() == ("replica.db 2026-02-14 15:41 UTC: not kept: there was no room",)
        (report,) = bench.integrity.reports
        assert (report.folder, report.file, report.reason) == ("", "replica.db", "torn")

        assert bench.integrity.acknowledge() == 1
        assert bench.integrity.findings() == ()
        assert bench.integrity.acknowledge() == 0
        assert len(bench.integrity.reports) == 1

        bench.replica.whole = True
        bench.integrity.suspect("replica.db")  # a look by and by, now
        await until(lambda: bench.integrity.reports == ())


async def test_reports_stand_after_a_restart(bench, tmp_path):
    """What was not seen before the restart is told after it."""
    bench.outbox.refuses = [StorageDamagedError("a")]
    async with bench.running():
        await until(lambda: bench.outbox.is_open)
    again = Bench(tmp_path)
    await again.integrity.start()

    assert len(again.integrity.findings()) == 1


async def test_kept_files_die_with_the_purge(bench):
    """And with them what was told of them."""
    bench.outbox.refuses = [StorageDamagedError("a")]
    async with bench.running():
        await until(lambda: bench.outbox.is_open)

    assert await bench.integrity.purge(NOW - timedelta(days=30), NOW) == 0
    assert await bench.integrity.purge(NOW + timedelta(seconds=1), NOW + timedelta(days=30)) == 1
    assert bench.integrity.findings() == ()


async def test_who_waits_is_told_when_a_database_is_back(bench):
    """Every opening and shutting is a change."""
    async with bench.running():
        before = bench.changes
        bench.integrity.suspect("outbox.db")
        await until(lambda: bench.outbox.examined == 1 and bench.outbox.is_open)
        assert bench.changes >= before + 2
