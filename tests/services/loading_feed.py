"""A feed for the loader's tests that other processes can import: numbered files of one JSON object a line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agent.domain.contact import ChangeKind, ContactChange
from agent.domain.identifiers import IdentifierType
from agent.errors import FeedUnreadableError, VendorUnreachableError
from agent.ports import ExportFile, FilePlan

END = "end"


def write(folder, number, *lines, end=True, age_s=3600.0, pad_bytes=0):
    """Writes file ``number``; a line is a dict of identifiers, or of one command for whoever reads it."""
    path = folder / f"{number:04}.txt"
    rows = [json.dumps(line) for line in lines]
    path.write_text("\n".join([*rows, " " * pad_bytes, *([END] if end else [])]))
    if age_s:
        os.utime(path, (time.time() - age_s,) * 2)
    return path


def member(number):
    return {"contact_id": f"id-{number}", "member_number": f"{number}", "email": f"m{number}@example.com"}


@dataclass(frozen=True)
class Reader:
    """Files in the order of their numbers, which must have no gap. Commands let a test act inside the process."""

    def plan(self, listing, ledger):
        done = {file.name for file in ledger}
        last = max((int(name[:4]) for name in done), default=-1)
        take, late = [], []
        for file in sorted(listing, key=lambda file: file.name):
            if file.name in done:
                continue
            number = int(file.name[:4])
            if number < last:
                late.append(file.name)
            elif number > last + 1:
                return FilePlan(tuple(take), f"{last + 1:04}", tuple(late))
            else:
                take.append(file)
                last = number
        return FilePlan(tuple(take), None, tuple(late))

    def overlooked(self, strangers, listing, ledger):
        return sorted(strangers, key=lambda file: file.modified_at, reverse=True)

    def read(self, path, *, today):
        return Reading(path)


class Reading:
    """A file's changes; an empty object is a contact that names nobody."""

    def __init__(self, path):
        self.unidentified = 0
        self._changes = self._read(path)

    def __iter__(self):
        return self._changes

    def __next__(self):
        return next(self._changes)

    def _read(self, path):
        lines = path.read_text().split("\n")
        for line in lines[:-1]:
            if not line.strip():
                continue
            row = json.loads(line)
            if not row:
                self.unidentified += 1
                continue
            if "command" in row:
                command(row, path)
                continue
            kind = ChangeKind.DELETE if row.pop("delete", False) else ChangeKind.UPSERT
            yield ContactChange(kind, {IdentifierType(name): value for name, value in row.items()})
        if lines[-1] != END:
            raise FeedUnreadableError(f"{path.name}: ends before its closing tag")


def command(row, path):
    """Carries out a line that is no contact; one with ``once`` only the first time."""
    done = path.with_suffix(".done")
    if row.get("once") and done.exists():
        return
    done.touch()
    match row["command"]:
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            time.sleep(600)
        case "swell":
            bytearray(row["bytes"])
        case "break":
            raise ValueError(row["text"])


@dataclass(frozen=True)
class Folder:
    """A folder of such files; optionally copied to a spool first, growing whenever it is listed, or out of reach."""

    path: Path
    spool: Path | None = None
    growing: str | None = None
    unreachable: bool = False
    gone: str | None = None

    async def __aenter__(self):
        if self.unreachable:
            raise VendorUnreachableError("the export folder does not answer", retry_after_s=30)
        return self

    async def __aexit__(self, *exc):
        pass

    async def list(self):
        if self.growing:
            with (self.path / self.growing).open("a") as file:
                file.write(" ")
        return self._glob("*.txt")

    async def strangers(self):
        return self._glob("*.xml")

    def _glob(self, pattern):
        found = []
        for path in self.path.glob(pattern):
            status = path.stat()
            found.append(ExportFile(path.name, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC)))
        return found

    async def fetch(self, file):
        if file.name == self.gone:
            raise FeedUnreadableError(f"{file.name}: is gone since it was listed")
        if self.spool is None:
            return self.path / file.name
        return Path(shutil.copy(self.path / file.name, self.spool / file.name))

    async def discard(self, path):
        if self.spool is not None:
            path.unlink()
