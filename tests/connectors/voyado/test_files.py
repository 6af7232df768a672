"""Which export files are applied, in which order; and reading them from a folder."""

import os
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.connectors import folders
from agent.connectors.voyado.files import FolderSource, Part, is_strange, overlooked_files, plan_files
from agent.errors import FeedError, FeedUnreadableError, VendorRefusedError, VendorUnreachableError
from agent.ports import AppliedFile, ExportFile

AT = datetime(2026, 2, 20, 10, tzinfo=UTC)


def listed(*names):
    return [ExportFile(name, 100, AT) for name in map(_whole, names)]


def applied(*names):
    return [AppliedFile(name, 100, "0" * 64) for name in map(_whole, names)]


def _whole(short):
    """`10:00:05_2` on one day, in the series `members` unless named."""
    clock, number, *series = short.split("_")
    return f"20260220{clock.replace(':', '')}_{number}_{series[0] if series else 'members'}.xml"


@pytest.mark.parametrize(
    ("listing", "ledger", "take", "gap", "late"),
    [
        pytest.param([], [], [], None, [], id="nothing there"),
        pytest.param(["10:00:00_0"], [], ["10:00:00_0"], None, [], id="first file ever"),
        pytest.param(
            ["10:00:25_2", "10:00:00_0", "10:00:12_1"],
            [],
            ["10:00:00_0", "10:00:12_1", "10:00:25_2"],
            None,
            [],
            id="parts of a run have their own timestamps",
        ),
        pytest.param(
            ["10:00:00_10", "10:00:00_9"],
            [f"10:00:00_{number}" for number in range(9)],
            ["10:00:00_9", "10:00:00_10"],
            None,
            [],
            id="numbers are not padded",
        ),
        pytest.param(
            ["10:00:00_0", "10:00:12_1", "11:00:00_0"],
            [],
            ["10:00:00_0", "10:00:12_1", "11:00:00_0"],
            None,
            [],
            id="zero begins another run",
        ),
        pytest.param(["10:00:00_3"], [], [], "20260220100000_0_*", [], id="first file ever is not part 0"),
        pytest.param(
            ["10:00:00_0", "10:00:25_2", "11:00:00_0"],
            [],
            ["10:00:00_0"],
            "20260220100025_1_*",
            [],
            id="a missing part stops everything after it",
        ),
        pytest.param(
            ["10:00:00_0", "10:00:25_2", "10:00:40_5"],
            [],
            ["10:00:00_0"],
            "20260220100025_1_*",
            [],
            id="the first gap is named",
        ),
        pytest.param(
            ["10:00:00_0", "10:00:12_1", "11:00:00_1"],
            [],
            ["10:00:00_0", "10:00:12_1"],
            "20260220110000_0_*",
            [],
            id="a run without its part 0",
        ),
        pytest.param(
            ["10:00:00_0", "10:00:01_0_full", "10:00:12_1", "10:00:13_1_full"],
            [],
            ["10:00:00_0", "10:00:01_0_full", "10:00:12_1", "10:00:13_1_full"],
            None,
            [],
            id="each series counts for itself",
        ),
        pytest.param(
            ["10:00:00_0", "10:00:02_1_full", "10:00:12_1"],
            [],
            ["10:00:00_0"],
            "20260220100002_0_*",
            [],
            id="a gap in one series stops the others",
        ),
        pytest.param(["10:00:00_0"], ["10:00:00_0"], [], None, [], id="applied already"),
        pytest.param(
            ["10:00:12_1", "10:00:25_2"],
            ["10:00:00_0", "10:00:12_1"],
            ["10:00:25_2"],
            None,
            [],
            id="goes on in the middle of a run",
        ),
        pytest.param(
            ["10:00:25_2"], ["10:00:00_0", "10:00:12_1"], ["10:00:25_2"], None, [], id="applied files are gone there"
        ),
        pytest.param(
            ["10:00:40_3"],
            ["10:00:00_0", "10:00:12_1"],
            [],
            "20260220100040_2_*",
            [],
            id="gap after the ledger's newest",
        ),
        pytest.param(
            ["09:00:00_0", "11:00:00_0"],
            ["10:00:00_0"],
            ["11:00:00_0"],
            None,
            ["09:00:00_0"],
            id="older than what is applied",
        ),
        pytest.param(
            ["10:00:12_1", "11:00:00_0"],
            ["10:00:00_0", "11:00:00_0"],
            [],
            None,
            ["10:00:12_1"],
            id="a part after the next run began",
        ),
    ],
)
def test_plan(listing, ledger, take, gap, late):
    """Files are taken in order, up to the first gap, and never behind what is applied."""
    plan = plan_files(listed(*listing), applied(*ledger))
    assert [file.name for file in plan.take] == [_whole(name) for name in take]
    assert plan.gap == gap
    assert list(plan.late) == [_whole(name) for name in late]


@pytest.mark.parametrize(
    ("name", "rewritten_is"),
    [pytest.param("10:00:12_1", "take", id="newest"), pytest.param("10:00:00_0", "late", id="older")],
)
def test_a_file_of_another_size(name, rewritten_is):
    """The newest applied file is taken again when it has been rewritten, and reading goes on; an older one is late."""
    rewritten = ExportFile(_whole(name), 200, AT)
    following = listed("10:00:25_2")
    plan = plan_files([*following, rewritten], applied("10:00:00_0", "10:00:12_1"))
    assert plan.gap is None
    if rewritten_is == "take":
        assert plan.take == (rewritten, *following)
        assert plan.late == ()
    else:
        assert plan.take == tuple(following)
        assert plan.late == (rewritten.name,)


@pytest.mark.parametrize(
    "name",
    [
        "../20260220100000_0_members.xml",
        "20260220100000_0_../../x.xml",
        "20260220100000_0_members.xml\n",
        "20260220100000_0_members.xml.part",
        "20260220100000_0_members.XML",
        "20260220100000_0_.xml/x",
        "20260220100000_0_..\\x.xml",
        "20260220100000_0_mem\0bers.xml",
        "20260220100000_0_mem\nbers.xml",
        "20260220100000_0_members.xml:stream",
        "20260220100000_0_members.xml.",
        "20260220100000_0_members.xml ",
        "/20260220100000_0_members.xml",
        "C:20260220100000_0_members.xml",
        "20260220100000_0_\u202emembers.xml",
        "2026022010000_0_members.xml",
        "20260220100000_-1_members.xml",
        "20260220100000_1234567_members.xml",
        "\uff12026022010000_0_members.xml",
        "20260220100000_0_" + "x" * 121 + ".xml",
        "members.xml",
        "",
    ],
)
def test_names_that_are_no_exports(name):
    """Whatever does not look exactly like an export's name is not one."""
    assert Part.of(name) is None
    assert plan_files([ExportFile(name, 1, AT)], [AppliedFile(name, 1, "")]).take == ()


@st.composite
def _arrivals(draw):
    """Runs of parts in their order of writing, and an order in which they turn up.

    Any within a run, except that a later run begins with its part 0: a part 1 that turns up after a run of one part
    cannot be told from that run's own by its name.
    """
    runs, second = [], 0
    for size in draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)):
        run = []
        for number in range(size):
            second += draw(st.integers(1, 40))
            run.append(ExportFile(f"20260220{10_00_00 + second // 60 * 100 + second % 60}_{number}_members.xml", 9, AT))
        runs.append(run)
    first, *later = runs
    arrivals = draw(st.permutations(first))
    for run in later:
        arrivals = [*arrivals, run[0], *draw(st.permutations(run[1:]))]
    return runs, arrivals


@given(_arrivals(), st.booleans())
def test_any_arrival_applies_in_one_order(given_files, disappear):
    """However the parts of a run turn up, each is applied once, in the order of writing, and never past a gap."""
    runs, arrivals = given_files
    order = [file.name for run in runs for file in run]
    there, ledger = [], []
    for file in arrivals:
        there.append(file)
        plan = plan_files(there, ledger)
        assert plan.late == ()
        ledger += [AppliedFile(taken.name, taken.size_bytes, "") for taken in plan.take]
        assert [row.name for row in ledger] == order[: len(ledger)]
        waiting = {left.name for left in there} - {row.name for row in ledger}
        assert bool(waiting) == (plan.gap is not None)
        if disappear:
            there = [left for left in there if left not in plan.take]
    assert [row.name for row in ledger] == order


@given(st.data())
def test_nothing_is_applied_twice_or_backwards(data):
    """Even when runs overtake each other, what is applied only ever goes forward, and the rest is reported."""
    runs, _ = data.draw(_arrivals())
    files = [file for run in runs for file in run]
    there, ledger = [], []
    for file in data.draw(st.permutations(files)):
        there.append(file)
        plan = plan_files(there, ledger)
        ledger += [AppliedFile(taken.name, taken.size_bytes, "") for taken in plan.take]
    names = [row.name for row in ledger]
    assert sorted(set(names), key=Part.of) == names
    left = {file.name for file in files} - set(names)
    final = plan_files(there, ledger)
    assert final.take == ()
    assert left <= set(final.late) or final.gap is not None


@pytest.mark.parametrize(
    ("name", "strange"),
    [
        ("members.xml", True),
        ("20260220100000_0_members.XML", True),
        ("20260220100000_0_members.xml.gz", True),
        ("readme.txt", True),
        ("20260220100000_0_members.xml", False),
        ("20260220100000_0_members.xml.part", False),
        ("members.XML.FilePart", False),
        (".hidden.xml", False),
    ],
)
def test_what_counts_as_a_stranger(name, strange):
    """Any file with another name does, unless it is hidden or somebody is still writing it."""
    assert is_strange(name) is strange


def at(minutes, name):
    return ExportFile(name, 100, AT + timedelta(minutes=minutes))


@pytest.mark.parametrize(
    ("listing", "ledger", "strangers", "overlooked"),
    [
        pytest.param([], [], [at(0, "a.txt"), at(1, "b.xml")], ["b.xml", "a.txt"], id="before the first export: any"),
        pytest.param([], ["10:00:00_0"], [at(0, "a.txt"), at(1, "b.CSV")], ["b.CSV"], id="then what looks like data"),
        pytest.param(["10:00:00_0"], [], [at(0, "a.xml"), at(-1, "b.xml")], [], id="no newer than the exports"),
        pytest.param(["10:00:00_0"], ["10:00:00_0"], [at(1, "a.xml.gz"), at(2, "b.txt")], ["a.xml.gz"], id="newer"),
        pytest.param(["10:00:00_0"], [], [], [], id="none"),
    ],
)  # fmt: skip
def test_what_is_overlooked(listing, ledger, strangers, overlooked):
    """Files are told that may be the exports of a tenant whose names or form have changed; a note is not."""
    assert [file.name for file in overlooked_files(strangers, listed(*listing), applied(*ledger))] == overlooked


class TestFolder:
    """Files read where they lie."""

    async def test_lists_and_hands_out(self, tmp_path):
        """Only regular files with an export's name are listed; they are read in place and left alone."""
        name = "20260220100000_0_members.xml"
        (tmp_path / name).write_bytes(b"<contacts/>")
        (tmp_path / "other.xml").write_bytes(b"")
        (tmp_path / "20260220100000_1_members.xml").mkdir()
        (tmp_path / "20260220100000_2_members.xml").symlink_to(tmp_path / name)
        os.mkfifo(tmp_path / "20260220100000_3_members.xml")
        async with FolderSource(tmp_path) as source:
            (file,) = await source.list()
            copy = await source.fetch(file)
            assert (file.name, file.size_bytes, copy.path) == (name, 11, tmp_path / name)
            with copy.open("rb") as content:
                assert (copy.name, content.read()) == (name, b"<contacts/>")
            await source.discard(copy)
        assert copy.path.exists()

    @pytest.mark.parametrize(
        "spoil",
        [
            pytest.param(lambda path: path.write_bytes(b"longer than it was"), id="grown"),
            pytest.param(lambda path: os.utime(path, (1, 1)), id="rewritten"),
            pytest.param(lambda path: path.unlink(), id="gone"),
        ],
    )
    async def test_refuses_what_was_not_listed(self, tmp_path, spoil):
        """A file that is not any more what was listed is not handed out."""
        (tmp_path / "20260220100000_0_members.xml").write_bytes(b"<contacts/>")
        async with FolderSource(tmp_path) as source:
            (file,) = await source.list()
            spoil(tmp_path / file.name)
            with pytest.raises(FeedUnreadableError, match=file.name):
                await source.fetch(file)

    async def test_refuses_a_file_over_the_limit(self, tmp_path):
        """A file larger than allowed is refused."""
        (tmp_path / "20260220100000_0_members.xml").write_bytes(b"<contacts/>")
        async with FolderSource(tmp_path, max_bytes=10) as source:
            (file,) = await source.list()
            with pytest.raises(FeedUnreadableError, match="larger"):
                await source.fetch(file)

    async def test_too_many_files_are_no_listing(self, tmp_path, monkeypatch):
        """A folder with more entries than are looked at is told as such: half of it would look like a gap."""
        monkeypatch.setattr(folders, "MAX_LISTED", 3)
        for number in range(3):
            (tmp_path / f"{number}.txt").touch()
        assert await FolderSource(tmp_path).list() == []
        (tmp_path / "one more").touch()
        with pytest.raises(FeedError, match="more than 3 entries"):
            await FolderSource(tmp_path).list()

    async def test_strangers_are_told_apart(self, tmp_path):
        """What has no export's name is no export, and is listed when it is asked for; folders and links never are."""
        for name in ("20260220100000_0_members.xml", "members.xml", ".hidden.xml"):
            (tmp_path / name).write_bytes(b"<contacts/>")
        (tmp_path / "folder.xml").mkdir()
        (tmp_path / "link.xml").symlink_to(tmp_path / "members.xml")
        source = FolderSource(tmp_path)
        assert [file.name for file in await source.list()] == ["20260220100000_0_members.xml"]
        assert [file.name for file in await source.strangers()] == ["members.xml"]

    @pytest.mark.parametrize("modified_s", [-1e10, -1, 1e13, 1e18])
    async def test_any_time_is_a_time(self, tmp_path, modified_s):
        """What a folder says of a file's age never fails."""
        assert folders.listed("x", 1, modified_s).modified_at.tzinfo is UTC

    async def test_no_name_leads_out(self, tmp_path):
        """A name that is a path is refused."""
        async with FolderSource(tmp_path) as source:
            with pytest.raises(FeedUnreadableError):
                await source.fetch(ExportFile("../20260220100000_0_members.xml", 1, AT))

    async def test_a_missing_folder_is_unreachable(self, tmp_path):
        """A folder that is not there may be a share that comes back."""
        with pytest.raises(VendorUnreachableError):
            await FolderSource(tmp_path / "none").list()

    @pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
    async def test_a_forbidden_folder_is_refused(self, tmp_path):
        """A folder that may not be read says so."""
        tmp_path.chmod(0)
        with pytest.raises(VendorRefusedError):
            await FolderSource(tmp_path).list()
