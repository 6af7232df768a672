"""When the feed is read, what is told of it, and how it is halted. The feed is the test's; the event loop is real."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from agent.domain.health import Conditions
from agent.errors import (
    FeedError,
    StorageDamagedError,
    StorageError,
    StorageFullError,
    VendorRefusedError,
    VendorUnreachableError,
)
from agent.ports import AppliedCounts, ChangePage, LoadProgress, ReplicaInfo
from agent.services.loading import Applied, Done, Listed
from agent.services.sync import FileFeed, PageFeed, Sync
from tests.fakes import NOW, FakeClock

ALMA, BO = frozenset({b"alma"}), frozenset({b"bo"})


class Contacts:
    def __init__(self):
        self.adopted = self.refreshed = 0

    def info(self):
        return ReplicaInfo(7, NOW, "keys")

    def refresh(self):
        self.refreshed += 1

    def adopt(self):
        self.adopted += 1
        return True


class Erased:
    """What was heard of the erased, and when removals were carried out."""

    def __init__(self):
        self.told, self.carried_out, self.fault, self.held, self.writing = [], 0, None, False, None
        self.named = {}

    async def heard(self, refused, removed, named):
        self.told.append((refused, removed))
        self.named |= named

    async def carry_out(self):
        self.carried_out += 1
        self.held = self.held or self.writing.locked()
        if self.fault is not None:
            raise self.fault


class Feed:
    """Reads as it is told: for ever, with an error, or at once."""

    def __init__(self):
        self.reads, self.ended, self.under_way = [], [], 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.fault, self.whole = None, True
        self.progress = LoadProgress()

    async def read(self, told, *, rebuild):
        self.reads.append(rebuild)
        self.under_way += 1
        try:
            told(self.progress)
            await self.gate.wait()
            if self.fault is not None:
                raise self.fault
            self.ended.append("read")
        except asyncio.CancelledError:
            self.ended.append("cut off")
            raise
        finally:
            self.under_way -= 1
        return self.whole


class Bench:
    def __init__(self):
        self.feed, self.contacts, self.erased, self.conditions = Feed(), Contacts(), Erased(), Conditions()
        self.writing, self.renewals = asyncio.Lock(), 0
        self.erased.writing = self.writing
        self.counts, self.damages = [], 0
        self.sync = Sync(
            clock=FakeClock(), feed=self.feed, contacts=self.contacts, erased=self.erased, conditions=self.conditions,
            every=timedelta(hours=1), uniform=lambda _low, high: high, changed=lambda: None,
            renewed=self._renewed, counted=self.counts.append, damaged=self._damaged, writing=self.writing,
        )  # fmt: skip

    def _damaged(self):
        self.damages += 1

    async def _renewed(self):
        assert self.writing.locked(), "nobody may end the replica between the last page and its renewal"
        self.renewals += 1

    @contextlib.asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self.sync.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.fixture
def bench():
    return Bench()


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


async def test_removals_are_carried_out_after_each_sync(bench):
    """Whether the feed was read to its end or not: what it has said counts."""
    await bench.sync.once()
    bench.feed.fault = VendorUnreachableError()
    await bench.sync.once()
    assert bench.erased.carried_out == 2
    assert bench.feed.ended == ["read"]


async def test_damage_met_by_a_sync_is_told(bench):
    """Whoever keeps the replica whole looks into it; and a whole one's size is remembered."""
    bench.feed.fault = StorageDamagedError("torn")
    await bench.sync.once()
    assert (bench.damages, bench.counts) == (1, [])
    bench.feed.fault = None
    await bench.sync.once()
    assert (bench.damages, bench.counts) == (1, [7])


async def test_a_replica_with_a_gap_is_not_counted(bench):
    """How many contacts there are is noted of a whole replica alone."""
    for stands, counts in ((True, []), (False, [7])):
        bench.conditions.set("feed.gap", stands=stands, now=NOW)
        await bench.sync.once()
        assert bench.counts == counts


async def test_a_mistake_of_ours_is_a_failed_sync(bench):
    """The feed goes on; what is said has no word of what was being read."""
    bench.feed.fault = ValueError("Alma")
    for _ in range(3):
        await bench.sync.once()
    (condition,) = bench.conditions.standing()
    assert condition.code == "feed.silent"
    assert "ValueError" in condition.detail
    assert "Alma" not in condition.detail
    bench.feed.fault = None
    await bench.sync.once()
    assert bench.conditions.standing() == ()


async def test_what_cannot_be_carried_out_is_a_failed_sync(bench):
    """It is told as any other trouble, and the next sync tries again."""
    bench.erased.fault = StorageError("the write-ahead log is in use")
    for _ in range(3):
        await bench.sync.once()
    assert bench.conditions.stands("feed.silent")
    bench.erased.fault = None
    await bench.sync.once()
    assert not bench.conditions.stands("feed.silent")


async def test_a_halted_feed_is_cut_off_and_gone_on_with(bench):
    """While somebody is erased nothing is read; what was cut off is read again at once, and is no failure."""
    bench.feed.gate.clear()
    async with bench.running():
        await until(lambda: bench.feed.under_way == 1)
        for _ in range(4):
            async with bench.sync.halted():
                assert bench.feed.under_way == 0
                await asyncio.sleep(0.01)
                assert bench.feed.under_way == 0
            await until(lambda: bench.feed.under_way == 1)
        assert bench.feed.ended == ["cut off"] * 4
        bench.feed.gate.set()
        await until(lambda: "read" in bench.feed.ended)
    assert bench.conditions.standing() == ()


async def test_an_idle_feed_is_halted_at_once(bench):
    """Nothing is cut off, nothing is read afterwards that was not asked for; one who orders meanwhile waits."""
    async with bench.running():
        await until(lambda: bench.feed.ended == ["read"])
        async with bench.sync.halted():
            bench.sync.order()
            await asyncio.sleep(0.02)
            assert len(bench.feed.reads) == 1
        await until(lambda: len(bench.feed.reads) == 2)
        async with bench.sync.halted():
            pass
        await asyncio.sleep(0.02)
        assert len(bench.feed.reads) == 2


@pytest.mark.parametrize(
    ("progress", "again"),
    [(LoadProgress(), True), (LoadProgress(files=3), False), (LoadProgress(applied=1), False)],
    ids=["before anything was there", "files listed", "pages applied"],
)
async def test_a_rebuild_that_was_cut_off_is_not_forgotten(bench, progress, again):
    """Before it has begun it is asked for again; afterwards its own file remembers it."""
    bench.feed.gate.clear()
    bench.feed.progress = progress
    bench.sync.order(rebuild=True)
    async with bench.running():
        await until(lambda: bench.feed.under_way == 1)
        async with bench.sync.halted():
            pass
        await until(lambda: len(bench.feed.reads) == 2)
    assert bench.feed.reads == [True, again]


@pytest.mark.parametrize(
    ("progress", "again"),
    [(LoadProgress(), True), (LoadProgress(files=3), False), (LoadProgress(applied=1), False)],
    ids=["before anything was there", "files listed", "pages applied"],
)
async def test_a_rebuild_that_failed_is_not_forgotten(bench, progress, again):
    """Ordered while nobody answers, it is asked for again by the next sync; once it has begun it is gone on with."""
    bench.feed.fault, bench.feed.progress = VendorUnreachableError(), progress
    bench.sync.order(rebuild=True)
    await bench.sync.once()
    bench.feed.fault = None
    for _ in range(2):
        await bench.sync.once()
    assert bench.feed.reads == [True, again, False]


async def test_the_end_of_the_agent_cuts_it_off(bench):
    """Stopping ends the reading and the loop, and carries nothing out any more."""
    bench.feed.gate.clear()
    task = asyncio.create_task(bench.sync.run())
    await until(lambda: bench.feed.under_way == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 30)
    assert (bench.feed.under_way, bench.feed.ended, bench.erased.carried_out) == (0, ["cut off"], 0)


# --- export files ---------------------------------------------------------------------------------------------------


class Loader:
    """Reports what it is told, then ends or fails."""

    def __init__(self):
        self.events, self.done, self.fault = [], Done(NOW, built=False), None
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self, job, report):
        for event in self.events:
            report(event)
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return self.done


class Files:
    def __init__(self):
        self.loader, self.contacts, self.erased, self.recorded = Loader(), Contacts(), Erased(), []
        self.feed = FileFeed(
            job=lambda _now, _today, _rebuild: None, loader=self.loader, contacts=self.contacts,
            conditions=Conditions(), erased=self.erased, record=self._record, clock=FakeClock(),
        )  # fmt: skip

    async def _record(self, event, /, **facts):
        self.recorded.append((event, facts))

    async def read(self):
        await self.feed.read(lambda _progress: None, rebuild=False)


@pytest.fixture
def files():
    return Files()


def applied(name, **counts):
    return Applied(name, AppliedCounts(**counts))


async def test_the_last_file_s_word_on_the_erased_counts(files):
    """What the files say of people who were erased here is passed on once, the last word of each."""
    files.loader.events = [
        Listed(4, 4), applied("1", refused=ALMA | BO, named={b"1": b"alma"}), applied("2", removed=ALMA),
        applied("3", removed=BO), applied("4", refused=BO, named={b"2": b"bo"}),
    ]  # fmt: skip
    await files.read()
    assert (files.erased.told, files.erased.named) == ([(BO, ALMA)], {b"1": b"alma", b"2": b"bo"})
    files.loader.events = []
    await files.read()
    assert files.erased.told[1] == (frozenset(), frozenset())


async def test_what_became_of_a_file_is_logged(files):
    """The log says of each file how many contacts came, how many went and how many could not be told apart."""
    files.loader.events = [Listed(1, 1), applied("1", rows=7, deleted=2, unidentified=3)]
    with capture_logs() as logs:
        await files.read()
    (line,) = [line for line in logs if line["event"] == "feed.applied"]
    assert (line["file"], line["count"], line["deleted"], line["skipped"]) == ("1", 7, 2, 3)


async def test_what_a_failed_load_heard_is_passed_on(files):
    """Files that were applied before the failure have said what they said."""
    files.loader.events, files.loader.fault = [applied("1", refused=ALMA)], FeedError()
    with pytest.raises(FeedError):
        await files.read()
    assert files.erased.told == [(ALMA, frozenset())]


async def test_what_a_load_heard_before_it_was_cut_off_is_passed_on_later(files):
    """Nothing is written while it is being cut off; the next load tells."""
    files.loader.events = [applied("1", refused=ALMA)]
    files.loader.gate.clear()
    task = asyncio.create_task(files.read())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files.erased.told == []
    files.loader.events = []
    files.loader.gate.set()
    await files.read()
    assert files.erased.told == [(ALMA, frozenset())]


async def test_a_new_replica_is_recorded(files):
    """That the replica was exchanged for another stands in the audit trail."""
    files.loader.done = Done(NOW, built=True)
    await files.read()
    assert files.contacts.adopted == 1
    assert files.recorded == [("replica.rebuilt", {"contacts": 7})]


# --- pages ----------------------------------------------------------------------------------------------------------


class Pages:
    """A replica's writer that takes its time, and pages for it."""

    def __init__(self, counts):
        self.counts, self.open, self.asked = list(counts), 0, 0
        self.slow = False
        self.unread, self.conditions = 0, Conditions()
        self.loop = asyncio.get_running_loop()
        self.applying, self.go_on = asyncio.Event(), asyncio.Event()

    def open_writer(self):
        self.asked += 1
        return self

    def __enter__(self):
        self.open += 1
        return self

    def __exit__(self, *_exc):
        assert not self.slow, "closed under a thread that writes"
        self.open -= 1

    def cursor(self):
        return None

    def apply_page(self, _page, *, at):
        if self.slow:
            self.loop.call_soon_threadsafe(self.applying.set)
            asyncio.run_coroutine_threadsafe(self.go_on.wait(), self.loop).result(30)
            self.slow = False
        return self.counts.pop(0)

    def finish(self, *, as_of):
        pass

    async def pages(self, _cursor):
        for number in range(len(self.counts)):
            yield ChangePage((), str(number), last=not self.counts, unread=self.unread)


def page_feed(pages, erased):
    return PageFeed(
        feed=pages,
        store=lambda: pages,
        contacts=Contacts(),
        erased=erased,
        conditions=pages.conditions,
        clock=FakeClock(),
    )


async def test_contacts_that_the_vendor_cannot_tell_of_are_told():
    """How many there are, for as long as there are any."""
    pages = Pages([AppliedCounts(), AppliedCounts()])
    pages.unread = 2
    await page_feed(pages, Erased()).read(lambda _progress: None, rebuild=False)
    (condition,) = pages.conditions.standing()
    assert (condition.code, condition.detail[:10]) == ("feed.unreadable", "2 contacts")
    pages.unread, pages.counts = 0, [AppliedCounts()]
    await page_feed(pages, Erased()).read(lambda _progress: None, rebuild=False)
    assert pages.conditions.standing() == ()


async def test_each_page_s_word_on_the_erased_is_passed_on():
    """Pages are committed one by one, and so is what they say of people who were erased here."""
    erased, pages = Erased(), Pages([AppliedCounts(refused=ALMA, named={b"1": b"alma"}), AppliedCounts(removed=ALMA)])
    await page_feed(pages, erased).read(lambda _progress: None, rebuild=False)
    assert erased.told == [(ALMA, frozenset()), (frozenset(), ALMA)]
    assert erased.named == {b"1": b"alma"}
    assert pages.asked == 1


async def test_a_page_that_is_being_written_is_waited_for():
    """Cut off in the middle of a page, the connection is closed after the thread is done with it."""
    pages = Pages([AppliedCounts(), AppliedCounts()])
    pages.slow = True
    task = asyncio.create_task(page_feed(pages, Erased()).read(lambda _progress: None, rebuild=False))
    await asyncio.wait_for(pages.applying.wait(), 30)
    task.cancel()
    await asyncio.sleep(0.02)
    assert not task.done()
    pages.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (pages.open, len(pages.counts)) == (0, 1)


async def test_whoever_writes_to_the_replica_waits_for_the_feed(bench):
    """The replica is held from the first page until it is renewed, and free again before removals are carried out."""
    bench.feed.gate.clear()
    async with bench.running():
        await until(lambda: bench.feed.under_way)
        assert bench.writing.locked()
        bench.feed.gate.set()
        await until(lambda: bench.erased.carried_out)
    assert bench.renewals == 1
    assert not bench.erased.held


async def test_a_feed_that_waits_for_its_turn_is_halted_at_once(bench):
    """Whoever erases does not wait for a sync that has not begun to read."""
    async with bench.writing, bench.running():
        await until(lambda: bench.sync.progress is not None)
        async with asyncio.timeout(30), bench.sync.halted():
            assert bench.feed.reads == []


async def test_only_what_was_read_to_its_end_renews_the_replica(bench):
    """A feed that fails, has more to come or was halted does not."""
    bench.feed.fault = FeedError("cut")
    await bench.sync.once()
    bench.feed.fault, bench.feed.whole = None, False
    await bench.sync.once()
    assert bench.renewals == 0
    bench.feed.whole = True
    await bench.sync.once()
    assert bench.renewals == 1


@pytest.mark.parametrize(
    ("error", "after"),
    [
        pytest.param(VendorUnreachableError("the SFTP server does not answer in time"), 3, id="out of reach"),
        pytest.param(FeedError("the loading process died"), 3, id="a process that died"),
        pytest.param(StorageError("the spool cannot be used"), 3, id="a disk that fails"),
        pytest.param(VendorRefusedError("the host key is not the one"), 1, id="refused"),
        pytest.param(StorageFullError("there is no room on the disk for another export file"), 1, id="no room"),
    ],
)
async def test_when_a_feed_counts_as_silent(bench, error, after):
    """What comes back by itself is told the third time, what somebody must see to at once; both with the reason."""
    bench.feed.fault = error
    for _ in range(after):
        assert bench.conditions.standing() == ()
        await bench.sync.once()
    (condition,) = bench.conditions.standing()
    assert (condition.code, condition.detail) == ("feed.silent", str(error))
    bench.feed.fault = None
    await bench.sync.once()
    assert bench.conditions.standing() == ()
