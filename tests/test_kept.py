"""What was damaged and is kept aside: nothing is lost wherever the exchange is cut off, and it dies in time."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agent.kept import FRESH, PART, REPORT, Kept, Report
from tests.fakes import NOW

DAY = timedelta(days=1)


@pytest.fixture
def kept(tmp_path) -> Kept:
    return Kept(tmp_path)


def report(folder: Path, **changes) -> Report:
    return replace(Report(folder.name, "outbox.db", NOW, "2 pages cannot be read", rescued={"sales": 8}), **changes)


def damaged(state_dir: Path) -> None:
    """An outbox with its log and the log's index."""
    for part in ("", "-wal", "-shm"):
        (state_dir / f"outbox.db{part}").write_text(f"damaged{part}")


def exchanged(kept: Kept, now=NOW, **changes) -> Path:
    folder = kept.folder(now)
    (folder / PART).write_text("rescued")
    kept.exchange(folder, report(folder, found_at=now, **changes))
    return folder


def test_the_fresh_file_takes_the_place_of_the_damaged_one(kept, tmp_path):
    """The damaged file and its log are in the folder as they were, the rescued one is in its place without a log."""
    damaged(tmp_path)
    folder = exchanged(kept)

    assert (tmp_path / "outbox.db").read_text() == "rescued"
    assert {path.name: path.read_text() for path in folder.iterdir() if path.name != REPORT} == {
        "outbox.db": "damaged",
        "outbox.db-wal": "damaged-wal",
    }
    assert not list(tmp_path.glob("outbox.db-*"))
    assert kept.reports() == [report(folder)]


def test_only_the_owner_reads_what_is_kept(kept, tmp_path):
    """Folders are 0700 and reports 0600."""
    damaged(tmp_path)
    folder = exchanged(kept)

    assert folder.stat().st_mode & 0o777 == folder.parent.stat().st_mode & 0o777 == 0o700
    assert (folder / REPORT).stat().st_mode & 0o777 == 0o600


def test_two_in_the_same_second_get_folders_of_their_own(kept):
    """Names are instants, and numbered where that is not enough."""
    names = [kept.folder(NOW).name for _ in range(3)]

    assert names == ["20260214T154109Z", "20260214T154109Z-2", "20260214T154109Z-3"]


class CutError(Exception):
    """The power goes."""


STEPS = ("rename", "unlink", "replace")


@pytest.mark.parametrize("cut", range(8))
def test_an_exchange_that_is_cut_off_is_gone_on_with(kept, tmp_path, monkeypatch, cut):
    """Killed before any step of it: the next start has either the damaged file with its log, or the rescued one."""
    damaged(tmp_path)
    left = cut

    def counted(name):
        original = getattr(Path, name)

        def step(path, *args, **kwargs):
            nonlocal left
            if not left:
                raise CutError
            left -= 1
            return original(path, *args, **kwargs)

        return step

    with monkeypatch.context() as patched:
        for name in ("rename", "unlink"):
            patched.setattr(Path, name, counted(name))
        try:
            exchanged(kept)
        except CutError:
            pass
        else:
            assert left or cut >= 6
    Kept(tmp_path).finish()

    content = (tmp_path / "outbox.db").read_text()
    assert content in ("damaged", "rescued")
    log = tmp_path / "outbox.db-wal"
    assert (log.read_text() if log.exists() else "") == ("damaged-wal" if content == "damaged" else "")
    folders = list((tmp_path / "damaged").iterdir())
    assert len(folders) == (content == "rescued")
    assert [path.name for folder in folders for path in folder.iterdir() if path.name in (PART, FRESH)] == []
    assert len(kept.reports()) == len(folders)


def test_what_a_killed_rescue_left_goes(kept, tmp_path):
    """A folder without a report holds half a file that nobody needs."""
    folder = kept.folder(NOW)
    (folder / PART).write_text("half")
    (folder / f"{PART}-journal").write_text("SQLite's, for the moment in which the file is made")
    kept.finish()

    assert list((tmp_path / "damaged").iterdir()) == []


def test_a_report_that_cannot_be_read_does_not_take_the_files_along(kept, tmp_path):
    """The damaged file stays, and is told of as well as it can be."""
    damaged(tmp_path)
    folder = exchanged(kept)
    (folder / REPORT).write_text("{")
    kept.finish()
    (found,) = kept.reports()

    assert (folder / "outbox.db").read_text() == "damaged"
    assert (found.folder, found.file) == (folder.name, "outbox.db")


def test_a_report_is_seen_once(kept, tmp_path):
    """Acknowledging says how many were new, and stays after a restart."""
    damaged(tmp_path)
    exchanged(kept)

    assert (kept.acknowledge(NOW), kept.acknowledge(NOW + DAY)) == (1, 0)
    assert Kept(tmp_path).reports()[0].acknowledged_at == NOW


@pytest.mark.parametrize(
    ("oldest_at", "found_at", "goes"),
    [
        (NOW - 31 * DAY, NOW, True),
        (NOW - 29 * DAY, NOW, False),
        (None, NOW - 31 * DAY, True),
        (None, NOW - 29 * DAY, False),
        (NOW, NOW + 2 * DAY, True),
        (NOW, NOW + timedelta(hours=1), False),
    ],
    ids=["old sales", "younger sales", "unknown, old", "unknown, young", "from the future", "a clock an hour ahead"],
)
def test_kept_files_die_with_the_oldest_sale_in_them(kept, tmp_path, oldest_at, found_at, goes):
    """Retention counts from the oldest personal data; what claims to be of tomorrow is erased rather than kept."""
    damaged(tmp_path)
    folder = exchanged(kept, now=found_at, oldest_at=oldest_at)

    assert kept.purge(NOW - 30 * DAY, NOW) == (2 if goes else 0)
    assert folder.exists() is not goes


def test_everything_can_be_erased_at_once(kept, tmp_path):
    """For a person who has to be gone from everywhere."""
    for number in range(3):
        damaged(tmp_path)
        exchanged(kept, now=NOW + number * DAY)

    assert kept.erase() == 6
    assert kept.reports() == []


def test_no_folder_is_made_for_nothing(kept, tmp_path):
    """Reading and purging leave the state directory alone."""
    kept.finish()
    assert (kept.reports(), kept.purge(NOW, NOW), kept.erase(), kept.acknowledge(NOW)) == ([], 0, 0, 0)
    assert list(tmp_path.iterdir()) == []


def test_folders_of_others_are_left_alone(kept, tmp_path):
    """A file in `damaged/` that is no folder disturbs nobody."""
    damaged(tmp_path)
    exchanged(kept)
    (tmp_path / "damaged" / "notes.txt").write_text("of the administrator")
    kept.finish()

    assert len(kept.reports()) == 1
    shutil.rmtree(tmp_path / "damaged")
