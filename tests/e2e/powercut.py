"""What a disk holds after a power cut: a run of the agent is traced, and only what had been synced is replayed.

The model is the strictest that POSIX allows. A file keeps what `fsync` or `fdatasync` returned for; a name (made, moved
or removed) is kept once its directory was synced after it. Shared memory files are left out: they are mapped, so that
no call shows what is written to them, and SQLite makes them anew.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

STRACE = shutil.which("strace")
CALLS = (
    "openat,creat,write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,sync_file_range,ftruncate,truncate,fallocate,"
    "rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,link,linkat,symlink,copy_file_range,sendfile"
)
_EVENT = re.compile(
    r"(?P<at>[0-9.]+) (?P<call>\w+)\((?P<args>.*)\) = (?P<result>[0-9]+)(?:<[^>]*>)? <(?P<took>[0-9.]+)>"
)
_TEXT = re.compile(r'["<]((?:\\x[0-9a-f]{2})*)[">(]')
_SIZES = {"ftruncate", "fallocate"}
"""What gives a file its size; the latter is only used on new files, from their beginning."""
_UNDERSTOOD = {"openat", "write", "pwrite64", "fsync", "fdatasync", "rename", "unlink", "mkdir"} | _SIZES


def wrapper(traces: Path) -> tuple[str, ...]:
    """The command that a traced agent is started with; skips the test where there is no strace, but not in CI."""
    if STRACE is None:
        if os.environ.get("CI") == "true":
            pytest.fail("strace is missing: CI has to install it")
        pytest.skip("strace is missing: install it")
    traces.mkdir()
    show = ("-yy", "-ttt", "-T", "-xx", "-s", "1000000", "-o", str(traces / "trace"))
    return (STRACE, "-ff", "--seccomp-bpf", "-e", f"trace={CALLS}", *show)


@dataclass(frozen=True, slots=True)
class Event:
    """One call that came back without an error. Times in seconds since 1970."""

    at: float
    done_at: float
    call: str
    texts: tuple[bytes, ...]
    args: str

    @property
    def path(self) -> Path:
        """The file; of `openat` not the directory it starts from."""
        return Path(os.fsdecode(self.texts[1 if self.call == "openat" else 0]))

    @property
    def number(self) -> int:
        """The last argument: an offset or a size."""
        return int(self.args.rsplit(", ", 1)[1])


def events(traces: Path, below: Path) -> list[Event]:
    """The calls of every thread that touch files of one directory, in order."""
    found = []
    for trace in traces.iterdir():
        for line in trace.read_text("ascii").splitlines():
            if not (match := _EVENT.fullmatch(line)) or ">(deleted)" in line:  # a file without a name is gone
                continue
            texts = tuple(bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(match["args"]))
            if any(text.startswith(os.fsencode(below)) for text in texts):
                at = float(match["at"])
                found.append(Event(at, at + float(match["took"]), match["call"], texts, match["args"]))
    unknown = {event.call for event in found} - _UNDERSTOOD
    assert not unknown, f"calls that the replay does not know: {unknown}"
    return sorted(found, key=lambda event: event.at)


Change = tuple[int, bytes | None]
"""Bytes written at an offset, or None: cut or stretched to that size."""
Choice = Callable[[list[Change]], list[Change]]


@dataclass(slots=True)
class _File:
    durable: bytearray = field(default_factory=bytearray)
    current: bytearray = field(default_factory=bytearray)
    unsynced: list[Change] = field(default_factory=list)

    def change(self, change: Change) -> None:
        _apply(self.current, change)
        self.unsynced.append(change)

    def sync(self) -> None:
        self.durable = bytearray(self.current)
        self.unsynced.clear()


class _Disk:
    """A directory as the agent sees it, and as the platter has it."""

    def __init__(self) -> None:
        self.current: dict[Path, _File] = {}
        self.durable: dict[Path, _File] = {}

    def begin(self, path: Path, file: _File) -> None:
        self.current[path] = self.durable[path] = file

    def open(self, path: Path, flags: str) -> None:
        if "O_CREAT" in flags or "O_TRUNC" in flags:
            file = self.current.setdefault(path, _File())
            if "O_TRUNC" in flags:
                file.change((0, None))

    def change(self, path: Path, offset: int | None, written: bytes | None) -> None:
        file = self.current[path]
        file.change((len(file.current) if offset is None else offset, written))

    def move(self, path: Path, target: Path) -> None:
        self.current[target] = self.current.pop(path)

    def remove(self, path: Path) -> None:
        self.current.pop(path, None)

    def sync(self, path: Path) -> None:
        if path in self.current:
            self.current[path].sync()
            return
        kept = {name: file for name, file in self.durable.items() if name.parent != path}
        self.durable = kept | {name: file for name, file in self.current.items() if name.parent == path}


def disk_after(
    history: list[Event],
    cut_at: float,
    target: Path,
    *,
    unsynced: Choice | None = None,
    before: Mapping[Path, bytes] | None = None,
) -> None:
    """Writes the directory as it is after the power went at an instant.

    Args:
        history: of :func:`events`.
        cut_at: seconds since 1970.
        target: an absent directory.
        unsynced: chooses from what had not been synced to a file what is on the disk all the same, and every name is;
            without it nothing is.
        before: the files that were there, and had been synced, when the trace began.
    """
    disk = _Disk()
    for path, content in (before or {}).items():
        disk.begin(path, _File(bytearray(content), bytearray(content)))
    for event in history:
        if event.at <= cut_at and not event.path.name.endswith("-shm"):
            _replay(disk, event, cut_at)
    target.mkdir(mode=0o700)
    for path, file in (disk.durable if unsynced is None else disk.current).items():
        content = bytearray(file.durable)
        for change in unsynced(file.unsynced) if unsynced is not None else ():
            _apply(content, change)
        copy = target / path.name
        copy.write_bytes(content)
        copy.chmod(0o600)


def _replay(disk: _Disk, event: Event, cut_at: float) -> None:
    match event.call:
        case "openat":
            disk.open(event.path, event.args)
        case "pwrite64":
            disk.change(event.path, event.number, event.texts[1])
        case "write":
            disk.change(event.path, None, event.texts[1])
        case size if size in _SIZES:
            disk.change(event.path, event.number, None)
        case "rename":
            disk.move(event.path, Path(os.fsdecode(event.texts[1])))
        case "unlink":
            disk.remove(event.path)
        case "fsync" | "fdatasync" if event.done_at <= cut_at:
            disk.sync(event.path)


def _apply(content: bytearray, change: Change) -> None:
    offset, written = change
    if written is None:
        del content[offset:]
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    if written is not None:
        content[offset : offset + len(written)] = written
