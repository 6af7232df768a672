"""The audit trail: what was done to personal data, and on whose order, without a person in it.

`audit.jsonl` of the state directory, a line an entry, appended and on disk before the next step. It is a file of its
own, readable without a key: so it outlives damaged databases and keys thrown away, and commands write to it while no
agent runs.

What the chain of lines (:mod:`agent.domain.audit`) cannot show by itself is shown by anchors: the agent keeps its
last entry in `outbox.db`, and receipts and the log carry heads outside. Whoever can write to both files and holds the
key can write another history; only a head noted on another machine or on paper tells then.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from agent.disk import sync_file, telling, write_durably
from agent.domain.audit import START, Facts, Head, Verification, head_of, line_of, parse, verify
from agent.locks import hold
from agent.store import outbox_sql as sql
from agent.store.database import DatabaseFile, Reader
from agent.store.group_commit import Writer
from agent.store.outbox_view import read

FILE: Final = "audit.jsonl"
LOCK: Final = "audit.lock"

_TAIL_BYTES: Final = 4 * 1024


class AuditTrail:
    """The trail of one state directory. Calls block for milliseconds.

    Args:
        directory: where the file lies.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / FILE

    def append(self, event: str, now: datetime, facts: Facts) -> Head:
        """Records an event; it is on disk when this returns.

        Raises:
            KeyError: there is no such event.
            ValueError: a fact does not belong there; it names the fact, not its value.
            StorageError: it could not be put on disk.
        """
        with self._held() as file:
            tail = _tail(file)
            if tail.torn:  # by a power cut: nobody was told that it is recorded
                file.truncate(tail.end)
                tail = _write(
                    file, tail, line_of(tail.head.seq + 1, now, "audit.mended", {"bytes": tail.torn}, tail.head.hash)
                )
            return _write(file, tail, line_of(tail.head.seq + 1, now, event, facts, tail.head.hash)).head

    def entries(self) -> Iterator[dict[str, Any]]:
        """Every entry that can be read, in order. Raises StorageError."""
        return (entry for entry in map(parse, self._lines()) if entry is not None)

    def verify(self, anchor: Head | None = None) -> Verification:
        """Reads the whole trail. Raises StorageError.

        Args:
            anchor: an entry that must be in it, noted elsewhere.
        """
        return verify(self._lines(), anchor)

    def trim(self, before: datetime, now: datetime) -> Head | None:
        """Drops entries older than ``before`` and records that; None when there are none, or the trail has a fault.

        Raises:
            StorageError: it cannot be read or written.
        """
        with self._held() as file:
            lines = _split(file.read())
            if not verify(lines, None).intact:
                return None
            ages = [datetime.fromisoformat(entry["at"]) for entry in map(parse, lines) if entry is not None]
            old = next((index for index, at in enumerate(ages) if at >= before), len(lines))
            if not old:
                return None
            last, head = head_of(lines[old - 1]), head_of(lines[-1])
            facts: Facts = {"through": last.seq, "hash": last.hash}
            trimmed = line_of(head.seq + 1, now, "audit.trimmed", facts, head.hash)
            file.close()  # Windows replaces no open file
            write_durably(self._path, b"".join(line + b"\n" for line in (*lines[old:], trimmed)))
            return head_of(trimmed)

    @contextlib.contextmanager
    def _held(self) -> Iterator[BinaryIO]:
        """The file for reading and writing, held against every other writer."""
        with telling(f"{FILE} cannot be read or written"), contextlib.ExitStack() as stack:
            lock = os.open(self._directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            stack.callback(os.close, lock)
            hold(lock)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            yield stack.enter_context(open(handle, "r+b"))  # noqa: PTH123 - opened with its mode

    def _lines(self) -> list[bytes]:
        with telling(f"{FILE} cannot be read or written"):
            return _split(self._path.read_bytes()) if self._path.exists() else []


class AuditAnchor:
    """The trail's last entry as the agent knows it, in `outbox.db`.

    Args:
        writer: the outbox's one writer.
        reader: a connection for point reads, used on the event loop's thread.
    """

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer, self._reader = writer, reader

    def load(self) -> Head | None:
        """The anchor; None in a new outbox. Raises StorageError."""
        return _anchor(self._reader)

    async def save(self, head: Head) -> None:
        """Moves the anchor. Raises StorageError."""
        await self._writer.run(lambda db: db.execute(sql.SET_ANCHOR, (head.seq, head.hash)))


def anchor_in(file: DatabaseFile) -> Head | None:
    """The anchor in an outbox that nobody need have open; None in a new one. Raises StorageError."""
    connection = file.connect(read_only=True)
    try:
        return _anchor(connection)
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class _Tail:
    """The end of the file: its last whole line, where that ends, and how many bytes of a torn one follow."""

    head: Head
    end: int
    torn: int


def _anchor(connection: Reader) -> Head | None:
    rows = read(connection, sql.ANCHOR)
    return Head(*rows[0]) if rows else None


def _tail(file: BinaryIO) -> _Tail:
    size = file.seek(0, os.SEEK_END)
    for start in (max(0, size - _TAIL_BYTES), 0):
        file.seek(start)
        whole, newline, torn = file.read().rpartition(b"\n")
        before, _, last = whole.rpartition(b"\n")
        if newline and (before or not start):
            return _Tail(head_of(last), size - len(torn), len(torn))
    return _Tail(Head(0, START), 0, size)


def _write(file: BinaryIO, tail: _Tail, line: bytes) -> _Tail:
    file.seek(tail.end)
    file.write(line + b"\n")
    sync_file(file)
    return _Tail(head_of(line), tail.end + len(line) + 1, 0)


def _split(content: bytes) -> list[bytes]:
    """The whole lines."""
    return content.split(b"\n")[:-1]
