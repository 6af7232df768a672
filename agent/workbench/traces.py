"""Looks for personal values in files, byte by byte: the proof that what should be erased is gone."""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

_PHONE = re.compile(rb"\+[0-9]{8,}")
_SEARCHES = 5
_MAILBOX = re.compile(rb"[A-Za-z0-9._%-]+@example\.com")


def find_traces(paths: Collection[Path], people: Collection[str]) -> dict[str, set[str]]:
    """The personal values that stand in files, by file name.

    Values stand without a separator in a database's pages, so a run of digits is compared at each of its lengths and a
    mailbox at each of its beginnings: nothing hides behind its neighbour.

    Args:
        paths: files, and directories with everything below them.
        people: phones in E.164 form and addresses at example.com.

    Raises:
        FileNotFoundError: each time that everything was searched a file went away, or got another name, meanwhile.
    """
    wanted = frozenset(value.encode() for value in people)
    for _ in range(_SEARCHES - 1):
        with suppress(FileNotFoundError):  # what it held can stand under a name that was not listed
            return _traces(paths, wanted)
    return _traces(paths, wanted)


def _traces(paths: Collection[Path], wanted: frozenset[bytes]) -> dict[str, set[str]]:
    longest = max(map(len, wanted), default=0)
    found: dict[str, set[str]] = {}
    for file in _files(paths):
        values = _search(file.read_bytes(), wanted, longest)
        if values:
            found[file.name] = {value.decode() for value in values}
    return found


def _files(paths: Collection[Path]) -> list[Path]:
    # From the last name to the first: a write-ahead log is read before the database it is written back into, so that
    # what moves from one to the other meanwhile is seen.
    return [
        file
        for path in paths
        for file in ([path] if path.is_file() else sorted(path.rglob("*"), reverse=True))
        if file.is_file()
    ]


def _search(content: bytes, wanted: frozenset[bytes], longest: int) -> set[bytes]:
    found = set()
    for match in _PHONE.finditer(content):
        run = match[0][:longest]
        found |= {run[:end] for end in range(9, len(run) + 1)} & wanted
    for match in _MAILBOX.finditer(content):
        run = match[0][-longest:]
        found |= {run[start:] for start in range(len(run))} & wanted
    return found
