"""What was damaged, kept aside: a folder of `damaged/` for each time, with the files as they were and a report.

::

    damaged/20260214T154109Z/
        report.json    what was rescued and what was not, in counts; no personal data
        outbox.db      what it was, encrypted as it was; its log beside it
        fresh.db       the file that is to take its place: there only while it does

A folder with a `fresh.db` is the decision to use it: whatever is interrupted then is gone on with at the next start. A
folder in which nothing is kept is what a killed rescue left, and goes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from agent.disk import PRIVATE, sync_directory, write_durably

FOLDER: Final = "damaged"
REPORT: Final = "report.json"
FRESH: Final = "fresh.db"
PART: Final = "fresh.part"
OUTBOX: Final = "outbox.db"
"""The one database that is rescued into a fresh file."""
AHEAD: Final = timedelta(days=1)
_DRAFT: Final = f"{REPORT}.new"


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a damaged file; no personal data.

    Attributes:
        folder: where it is kept; empty when it is not.
        file: its name.
        found_at: when the damage was found.
        reason: what was wrong, in SQLite's or our own words.
        rescued: counts of what is whole again.
        lost: counts of what is not.
        lost_ids: transaction ids of sales that are gone and may be owed.
        oldest_at: when the oldest of the personal data in it was taken in; retention counts from here.
        acknowledged_at: when an administrator had seen it.
    """

    folder: str
    file: str
    found_at: datetime
    reason: str
    rescued: Mapping[str, int] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    lost_ids: Sequence[str] = ()
    oldest_at: datetime | None = None
    acknowledged_at: datetime | None = None


class Kept:
    """The folders of one state directory. Every method may raise OSError.

    Args:
        state_dir: where `damaged/` lies, made when it is needed.
    """

    def __init__(self, state_dir: Path) -> None:
        self._state_dir, self._root = state_dir, state_dir / FOLDER

    def folder(self, now: datetime) -> Path:
        """A new folder, named after the instant."""
        self._root.mkdir(mode=PRIVATE, exist_ok=True)
        stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        for name in (stamp, *(f"{stamp}-{number}" for number in range(2, 1000))):
            try:
                (self._root / name).mkdir(mode=PRIVATE)
            except FileExistsError:
                continue
            return self._root / name
        raise FileExistsError(stamp)

    def exchange(self, folder: Path, report: Report) -> None:
        """Keeps a file and its log in the folder and puts `fresh.part` of it, if there is one, in its place.

        However it is interrupted, nothing is lost: :meth:`finish` goes on with it.
        """
        _write(folder / REPORT, report)
        if (folder / PART).exists():
            (folder / PART).rename(folder / FRESH)
        sync_directory(folder)
        sync_directory(self._root)
        self._move(folder, report.file)

    def finish(self) -> None:
        """Goes on with what was interrupted; before anybody opens a database."""
        for folder in self._folders():
            report = self._report(folder)
            if (folder / FRESH).exists() and report is not None:
                self._move(folder, report.file)
            elif not _files(folder):
                shutil.rmtree(folder)

    def note(self, report: Report) -> None:
        """Writes a report down anew, in the folder that it names."""
        _write(self._root / report.folder / REPORT, report)

    def reports(self) -> list[Report]:
        """All of them, the oldest first."""
        return [report for folder in self._folders() if (report := self._report(folder)) is not None]

    def acknowledge(self, now: datetime) -> int:
        """An administrator has seen them; how many were new."""
        new = [report for report in self.reports() if report.acknowledged_at is None]
        for report in new:
            self.note(replace(report, acknowledged_at=now))
        return len(new)

    def purge(self, taken_before: datetime, now: datetime) -> int:
        """Erases what holds personal data from before an instant, or from a time that has not come; how many files."""
        due = [
            report.folder
            for report in self.reports()
            if (report.oldest_at or report.found_at) < taken_before or report.found_at > now + AHEAD
        ]
        return sum(self.erase(name) for name in due)

    def erase(self, folder: str | None = None) -> int:
        """Erases one folder, or all of them; how many files that were kept."""
        erased = 0
        for path in [self._root / folder] if folder is not None else self._folders():
            erased += sum(file.name != REPORT for file in path.iterdir())
            shutil.rmtree(path)
        return erased

    def _move(self, folder: Path, name: str) -> None:
        for part in (name, f"{name}-wal"):
            if (self._state_dir / part).exists():
                (self._state_dir / part).rename(folder / part)
        (self._state_dir / f"{name}-shm").unlink(missing_ok=True)
        sync_directory(folder)
        if (folder / FRESH).exists():
            (folder / FRESH).rename(self._state_dir / name)
        sync_directory(self._state_dir)

    def _report(self, folder: Path) -> Report | None:
        """The folder's report; what the files say where it cannot be read, None where there are none either."""
        try:
            return _read(folder)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            files = [name for name in _files(folder) if name != FRESH]
            if not files and not (folder / FRESH).exists():
                return None
            found_at = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
            return Report(folder.name, files[0] if files else OUTBOX, found_at, "its report cannot be read")

    def _folders(self) -> list[Path]:
        return sorted(path for path in self._root.iterdir() if path.is_dir()) if self._root.is_dir() else []


def _files(folder: Path) -> list[str]:
    """What was put into it; not what a rescue left of its own work, nor the journal that SQLite had beside that."""
    names = sorted(path.name for path in folder.iterdir())
    return [name for name in names if name not in (REPORT, _DRAFT) and not name.startswith(PART)]


def _write(path: Path, report: Report) -> None:
    write_durably(path, f"{json.dumps(asdict(report), default=_plain, indent=1)}\n".encode())


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def _read(folder: Path) -> Report:
    told = json.loads((folder / REPORT).read_bytes())
    instants = {
        name: datetime.fromisoformat(told[name]) if told[name] is not None else None
        for name in ("found_at", "oldest_at", "acknowledged_at")
    }
    return Report(**{**told, **instants, "folder": folder.name, "lost_ids": tuple(told["lost_ids"])})
