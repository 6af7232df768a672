"""Whatever is overwritten: each row that can be read is rescued as it was; what is made up for is on the safe side."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest

from agent.ports import Recipient
from agent.store import log_frames
from agent.store.database import DatabaseFile, migrate, sqlite
from agent.store.migrations import outbox as migrations
from agent.store.pagekey import PAGE_BYTES
from agent.store.rescue import Rescued, RescueJob, rescue
from tests.fakes import NOW, STORAGE_KEY, VENDOR, acceptance, open_outbox
from tests.store import wreck
from tests.store.wreck import Place, Wreck

KEYS = {"encrypted": b"k" * 32, "plain": None}
SALES = 300
UNFINISHED = ("queued", "parked", "in_doubt")


@pytest.fixture(scope="module", params=list(KEYS))
def outbox(request, tmp_path_factory) -> Wreck:
    """An outbox with some hundred sales in every state, the last quarter of them in its log."""
    folder = tmp_path_factory.mktemp(request.param) / "outbox"
    folder.mkdir()
    asyncio.run(wreck.fill(folder / "outbox.db", KEYS[request.param], sales=SALES, seed=20260214))
    return wreck.survey(folder, KEYS[request.param])


def rescued(damaged: DatabaseFile) -> tuple[Rescued, dict[str, dict]]:
    """What the rescue says, and the rows of the file it made, which must be sound."""
    fresh = DatabaseFile(damaged.path.with_name("fresh.db"), damaged.key, "FULL")
    told = rescue(RescueJob(damaged, fresh, (Recipient(VENDOR),), (STORAGE_KEY,), NOW))
    connection = fresh.connect()
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        rows = {name: {row[0]: row[1:] for row in connection.execute(sql)} for name, sql in wreck.TABLES.items()}
        counted = dict(connection.execute("SELECT what, n FROM counts WHERE of = ?", (VENDOR,)).fetchall())
        assert counted == Counter(row[3] for row in rows["deliveries"].values())
        owed = connection.execute("SELECT coalesce(sum(bytes), 0) FROM sales WHERE finished_at IS NULL").fetchall()
        assert connection.execute("SELECT bytes FROM unfinished").fetchall() == owed
        assert schema(connection) == schema_of_a_new_one()
    finally:
        connection.close()
    return told, rows


def schema(connection) -> set[tuple]:
    return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall())


@cache
def schema_of_a_new_one() -> set[tuple]:
    connection = sqlite.connect(":memory:", isolation_level=None)
    migrate(connection, migrations)
    found = schema(connection)
    connection.close()
    return found


def columns(table: str) -> list[str]:
    """The columns of a row as the survey has it, behind its number."""
    connection = sqlite.connect(":memory:", isolation_level=None)
    migrate(connection, migrations)
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    connection.close()
    return names


COLUMNS = {table: columns(table) for table in wreck.TABLES}


def numbers(rows: dict[str, dict]) -> list[int]:
    """The numbers of the sales, which are never given twice."""
    return [named("sales", row)["number"] for row in rows["sales"].values()]


def named(table: str, row: tuple) -> dict:
    return dict(zip(COLUMNS[table], row, strict=True))


def check(before: Wreck, after: dict[str, dict], damaged: set[Place], *, log_damaged: bool = False) -> None:
    """Holds what was rescued against what could be read.

    With a damaged log a row's last version may be gone, and what is there stands in for it. Without encryption nothing
    shows that a sale's content was overwritten; it is noticed when the sale is about to be sent.
    """
    readable = before.readable(damaged)
    sales = {number: named("sales", before.rows["sales"][number]) for number in readable["sales"]}
    vague = log_damaged or before.key is None
    for number, sale in sales.items():
        now = named("sales", after["sales"][number])
        if not now["fingerprint"]:  # nothing can be compared with it any more: the key it was made with is gone
            assert {place.page for place in damaged} & set(before.pages_of("hash_key"))
            now["fingerprint"] = sale["fingerprint"]
        check_sale(sale, now, before, after, readable, vague=vague)
    for number in readable["deliveries"]:
        was = named("deliveries", before.rows["deliveries"][number])
        if was["sale"] in sales:
            now = named("deliveries", after["deliveries"][number])
            content = sales[was["sale"]]["statement"]
            unreadable = content is not None and content not in readable["statements"] and was["state"] in UNFINISHED
            check_delivery(was, now, readable, unreadable=unreadable, vague=vague, log_damaged=log_damaged)
    for number in readable["attempts"]:
        row = before.rows["attempts"][number]
        if row[0] in after["deliveries"]:
            assert after["attempts"][number] == row
    for number in readable["events"]:
        row = before.rows["events"][number]
        if row[0] in after["sales"]:
            assert after["events"][number] == row
    for number in readable["redemptions"]:
        was = named("redemptions", before.rows["redemptions"][number])
        now = named("redemptions", after["redemptions"][number])
        check_redemption(was, now, readable, vague=vague, log_damaged=log_damaged)
    made = [row for number, row in after["deliveries"].items() if number not in before.rows["deliveries"]]
    assert all(row[3] in ("queued", "parked", "cancelled") for row in made)


def check_sale(sale: dict, now: dict, before: Wreck, after: dict, readable: dict, *, vague: bool) -> None:
    same = [name for name in sale if name not in ("statement", "finished_at")]
    assert {name: now[name] for name in same} == {name: sale[name] for name in same}
    if sale["statement"] in readable["statements"]:
        assert now["statement"] == sale["statement"]
        assert after["statements"][sale["statement"]] == before.rows["statements"][sale["statement"]]
    elif not vague:
        assert now["statement"] is None
    states = {row[3] for row in after["deliveries"].values() if row[1] == sale["id"]}
    if sale["finished_at"] is not None:
        assert now["finished_at"] == sale["finished_at"]
        assert not states & set(UNFINISHED)
    elif not vague:
        assert states & set(UNFINISHED)


def check_delivery(was: dict, now: dict, readable: dict, *, unreadable: bool, vague: bool, log_damaged: bool) -> None:
    if unreadable:
        assert vague or (now["state"], now["error_code"]) == ("parked", "sale.unreadable")
        return
    changed = {name for name in was if was[name] != now[name]}
    if was["note"] not in readable["statements"]:
        changed -= {"note"}
    assert changed <= ({"maybe_received", "lease_run", "sending"} if log_damaged else set())
    assert now["maybe_received"] >= was["maybe_received"]


LOST = {"statement", "person", "state", "code", "settled_at", "asked_at"}


def check_redemption(was: dict, now: dict, readable: dict, *, vague: bool, log_damaged: bool) -> None:
    """It is as it was; one that has lost its person and was open is stuck, and a stale one is looked up."""
    changed = {name for name in was if was[name] != now[name]}
    if was["statement"] is not None and was["statement"] not in readable["statements"] and not vague:
        assert now["statement"] is None
        if was["state"] in ("asking", "undoing"):
            assert (now["state"], now["code"]) == ("stuck", "redemption.unreadable")
        if was["state"] in ("queued", "sending"):
            assert (now["state"], now["code"]) == ("lost", "redemption.unreadable")
        assert now["person"] == b"", "nor can anybody be told by what is left"
        changed -= LOST
    if log_damaged:
        assert now["state"] in (was["state"], "asking", "sending", "stuck", "lost")
        changed -= LOST
    assert changed == set() or (vague and changed <= LOST)


def test_a_whole_outbox_is_copied_as_it_is(outbox, tmp_path):
    """With nothing damaged every row is there again, those that only the log held among them."""
    told, after = rescued(outbox.copy(tmp_path / "copy"))

    assert after["sales"] == outbox.rows["sales"]
    assert after["deliveries"] == outbox.rows["deliveries"]
    assert after["attempts"] == outbox.rows["attempts"]
    assert after["events"] == outbox.rows["events"]
    assert after["redemptions"] == outbox.rows["redemptions"]
    assert after["statements"] == outbox.rows["statements"]
    assert (told.lost, told.unreadable, told.sent_again, told.pages, told.broken, told.hidden) == (0, 0, 0, 0, 0, 0)


def test_page_by_page_gives_what_sqlite_gives(outbox, tmp_path, monkeypatch):
    """Reading the pages ourselves finds exactly the rows that SQLite finds."""
    monkeypatch.setattr("agent.store.rescue._copy", lambda *_: {})
    _, after = rescued(outbox.copy(tmp_path / "copy"))

    assert after == outbox.rows


TREES = (
    "sqlite_schema", "hash_key", "sales", "statements", "deliveries", "attempts", "counts", "overflow",
    "sqlite_autoindex_sales_1", "sales_by_age", "deliveries_in_line", "sqlite_autoindex_deliveries_1",
    "attempts_by_entry", "redemptions",
)  # fmt: skip


@pytest.mark.parametrize("most", [2, pytest.param(6, marks=pytest.mark.slow)])
@pytest.mark.parametrize("tree", TREES)
def test_any_page_of_any_tree_may_be_overwritten(outbox, tmp_path, tree, most):
    """Each page of a table or an index in its turn, in the file and in the log: every other row is rescued."""
    pages = outbox.pages_of(tree)
    assert pages
    chance = random.Random(tree)
    everywhere = [place for needs in outbox.places.values() for places in needs.values() for place in places]
    for page in pages if len(pages) <= most else chance.sample(pages, most):
        damaged = {place for place in everywhere if place.page == page} | {Place(page)}
        file = outbox.copy(tmp_path / f"copy-{page}")
        in_file = file.path.stat().st_size // PAGE_BYTES
        for place in damaged:
            if place.frame or place.page <= in_file:
                wreck.overwrite(file, place, wreck.noise(chance))
        frames = [number for number, frame in enumerate(log_frames.read(file.path).frames, 1) if frame.page == page]
        for frame in frames:
            wreck.overwrite(file, Place(page, frame), wreck.noise(chance))
        _, after = rescued(file)
        check(outbox, after, damaged | {Place(page, frame) for frame in frames}, log_damaged=bool(frames))


# --- damage at random -----------------------------------------------------------------------------------------------

FEW, RUNS = 10, 40


@pytest.mark.parametrize(
    "seed", [*range(FEW), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(FEW, RUNS))]
)
def test_random_pages_are_overwritten(outbox, tmp_path, seed):
    """One to a third of all pages, in the file and in the log, become noise or zeros: the rest is rescued as it was."""
    chance = random.Random(seed)
    file = outbox.copy(tmp_path / "copy")
    pages = file.path.stat().st_size // PAGE_BYTES
    frames = log_frames.read(file.path).frames
    places = [Place(page) for page in range(1, pages + 1)]
    if chance.random() < 0.5:
        places += [Place(frame.page, number) for number, frame in enumerate(frames, 1)]
    damaged = set(chance.sample(places, chance.randint(1, max(1, len(places) // chance.choice((3, 10, 50))))))
    for place in damaged:
        wreck.overwrite(file, place, chance.choice((wreck.noise(chance), bytes(PAGE_BYTES))))
    told, after = rescued(file)

    check(outbox, after, damaged, log_damaged=any(place.frame for place in damaged))
    gone = outbox.rows["sales"].keys() - after["sales"].keys()
    if any(place.frame for place in damaged):  # the last numbers given may be among what was lost
        assert told.lost <= len(gone)
        assert told.pages
    else:
        assert told.lost == len(gone)


@pytest.mark.parametrize("part", ["", "-wal"], ids=["file", "log"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.9, 0.999])
def test_a_file_is_cut_off(outbox, tmp_path, part, share):
    """What stands before the cut is rescued; nothing else is made up."""
    file = outbox.copy(tmp_path / "copy")
    path = Path(f"{file.path}{part}")
    size = int(path.stat().st_size * share)
    whole = log_frames.read(file.path).frames
    wreck.shorten(path, size)
    if part:
        kept = (size - log_frames.HEADER_BYTES) // log_frames.FRAME_BYTES
        damaged = {Place(frame.page, number) for number, frame in enumerate(whole, 1) if number > kept}
    else:
        pages = max(place.page for rows in outbox.places.values() for needs in rows.values() for place in needs)
        damaged = {Place(page) for page in range(size // PAGE_BYTES + 1, pages + 1)}
    _, after = rescued(file)

    check(outbox, after, damaged, log_damaged=bool(part))
    assert after["sales"].keys() <= outbox.rows["sales"].keys()


@pytest.mark.parametrize(
    "content", [b"", b"no database at all " * 5_000, bytes(PAGE_BYTES * 20)], ids=["empty", "a text", "zeros"]
)
def test_an_empty_or_foreign_file_with_its_log(outbox, tmp_path, content):
    """The file itself is something else: what the log has is rescued, and the file it makes is sound."""
    file = outbox.copy(tmp_path / "copy")
    pages = file.path.stat().st_size // PAGE_BYTES
    file.path.write_bytes(content)
    _, after = rescued(file)

    check(outbox, after, {Place(page) for page in range(1, pages + 1)}, log_damaged=True)


def test_a_lost_sale_is_named_by_its_index(outbox, tmp_path):
    """The page of a sale's row is gone: its transaction id is known all the same, unless it was delivered."""
    page = outbox.pages_of("sales")[-1]
    gone = {number for number, needs in outbox.places["sales"].items() if any(place.page == page for place in needs)}
    file = outbox.copy(tmp_path / "copy")
    frames = [number for number, frame in enumerate(log_frames.read(file.path).frames, 1) if frame.page == page]
    for place in [Place(page, frame) for frame in frames] + [Place(page)] * (
        page <= file.path.stat().st_size // PAGE_BYTES
    ):
        wreck.overwrite(file, place, bytes(PAGE_BYTES))
    told, after = rescued(file)

    missing = gone - after["sales"].keys()
    owed = {
        outbox.rows["sales"][number][1]
        for number in missing
        if not any(
            row[1] == number and row[3] in ("delivered", "cancelled", "discarded")
            for row in outbox.rows["deliveries"].values()
        )
    }
    assert missing
    assert set(told.lost_ids) == owed
    assert told.lost == len(missing)


@pytest.mark.parametrize("part", ["file", "log"])
async def test_a_number_that_was_given_is_not_given_again(outbox, tmp_path, part):
    """The counter's page is gone, or only an older version of it is left: numbers go on well behind the highest."""
    (page,) = outbox.pages_of("counts")
    file = outbox.copy(tmp_path / "copy")
    frames = [number for number, frame in enumerate(log_frames.read(file.path).frames, 1) if frame.page == page]
    assert frames
    for place in [Place(page, frame) for frame in (frames if part == "file" else frames[-1:])]:
        wreck.overwrite(file, place, bytes(PAGE_BYTES))
    if part == "file":
        wreck.overwrite(file, Place(page), bytes(PAGE_BYTES))
    _, after = rescued(file)
    fresh = file.path.with_name("fresh.db")
    with open_outbox(fresh, key=file.key, run="run-2") as reopened:
        receipt = await reopened.accept(acceptance("after"), NOW + timedelta(days=10))

    assert receipt.number > max(numbers(outbox.rows))
    assert sorted(numbers(after)) == sorted(set(numbers(after)))
