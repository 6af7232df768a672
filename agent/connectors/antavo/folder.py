"""The folder from which Antavo's import fetches files of events: each is there whole or not at all.

A file is a draft first: whole and on disk, under a name that begins with a dot and ends in `.part`. It is published by
renaming it. Names say which till wrote a file and when, and nothing of anybody; a later file has a later name. Other
tills may write into the same folder, and nothing of theirs is touched.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.connectors.folders import FolderFile
from agent.disk import sync_directory, sync_file
from agent.errors import VendorUnreachableError

MODE = 0o640
"""For the agent, and for the folder's group: whoever fetches the files is to be in it."""
_STAMP = "%Y%m%dT%H%M%S"
_TICK = timedelta(milliseconds=1)
_PART, _GROWING = ".part", ".new"


class EventsFolder:
    """One folder, as one till uses it.

    What looks at it or changes it raises VendorUnreachableError, with the reason, where that cannot be done.

    Args:
        path: where it is.
        place: the store's id and the till's.
    """

    def __init__(self, path: Path, place: tuple[str, str]) -> None:
        self.path = path
        self._prefix = "antavo-" + "-".join(part.replace(":", "_") for part in place)
        name = rf"{re.escape(self._prefix)}-(\d{{8}}T\d{{6}})(\d{{3}})Z-[0-9a-f]{{8}}\.csv"
        self._published, self._draft = re.compile(name), re.compile(rf"\.({name}){re.escape(_PART)}")
        self._last_at = datetime.min.replace(tzinfo=UTC)

    def check(self) -> None:
        """Looks whether files can be written here, and whether nobody else can but whom its owner chose."""
        with self._telling():
            mode = self.path.stat().st_mode
        if not stat.S_ISDIR(mode):
            raise VendorUnreachableError(f"{self.path} is no folder")
        if os.name == "posix" and mode & stat.S_IWOTH:
            raise VendorUnreachableError(f"anybody on this machine may write into {self.path}: chmod o-rwx it")
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise VendorUnreachableError(f"{self.path} may not be read and written by this user")

    def waiting(self) -> list[str]:
        """The names of this till's files that nobody has fetched yet, the oldest first."""
        with self._telling():
            return sorted(file.name for file in self.path.iterdir() if self._published.fullmatch(file.name))

    def drafts(self) -> list[str]:
        """The names under which this till's drafts were to be published; what was cut off before that is removed."""
        drafts = []
        with self._telling():
            for file in self.path.iterdir():
                match = self._draft.fullmatch(file.name.removesuffix(_GROWING))
                if match is not None and file.name.endswith(_GROWING):
                    file.unlink(missing_ok=True)
                elif match is not None:
                    drafts.append(match[1])
        return sorted(drafts)

    def written_at(self, name: str) -> datetime:
        """When a file was written, by the till's clock then."""
        match = self._published.fullmatch(name)
        if match is None:
            raise ValueError("is no name of this folder's")
        return datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC) + int(match[2]) * _TICK

    def next_name(self, now: datetime) -> str:
        """A name that is later than those of all files that wait, whatever the clock says."""
        latest = max((self.written_at(name) for name in self.waiting()), default=self._last_at)
        self._last_at = max(now, latest + _TICK, self._last_at + _TICK)
        stamp = f"{self._last_at:{_STAMP}}{self._last_at.microsecond // 1000:03d}"
        return f"{self._prefix}-{stamp}Z-{secrets.token_hex(4)}.csv"

    def draft(self, name: str, content: bytes) -> None:
        """Writes a draft, whole and on disk; what there was under this name is replaced."""
        draft = self._draft_of(name)
        growing = draft.with_name(f"{draft.name}{_GROWING}")
        with self._telling():
            growing.unlink(missing_ok=True)
            handle = os.open(growing, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), MODE)
            try:
                with os.fdopen(handle, "wb") as file:
                    if hasattr(os, "fchmod"):  # whatever the process's mask is
                        os.fchmod(handle, MODE)
                    file.write(content)
                    sync_file(file)
                growing.replace(draft)
            except BaseException:
                growing.unlink(missing_ok=True)
                raise
            sync_directory(self.path)

    def publish(self, name: str) -> bool:
        """Lets a draft be fetched; False where there is none.

        A share whose answer was lost says of what it has renamed that it is not there: here as in :meth:`take_back`.
        """
        with self._telling():
            try:
                self._draft_of(name).rename(self.path / name)
            except FileNotFoundError:
                if not (self.path / name).exists():
                    return False
            sync_directory(self.path)
            return True

    def drop(self, name: str) -> None:
        """Removes a draft; nothing where there is none."""
        with self._telling():
            self._draft_of(name).unlink(missing_ok=True)
            sync_directory(self.path)

    def read(self, name: str) -> bytes | None:
        """A file that waits; None where it was fetched."""
        with self._telling():
            try:
                with FolderFile(self.path / name).open("rb") as file:
                    return file.read()
            except FileNotFoundError:
                return None

    def take_back(self, name: str) -> bool:
        """Makes a draft of a file that waits, so that nobody fetches it meanwhile; False where it was fetched."""
        with self._telling():
            try:
                (self.path / name).rename(self._draft_of(name))
            except FileNotFoundError:
                return self._draft_of(name).exists()
            return True

    def remove(self, name: str) -> None:
        """Removes a file that waits; nothing where it was fetched."""
        with self._telling():
            (self.path / name).unlink(missing_ok=True)
            sync_directory(self.path)

    def _draft_of(self, name: str) -> Path:
        return self.path / f".{name}{_PART}"

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise VendorUnreachableError(f"{self.path} cannot be written: {error.strerror}") from error
