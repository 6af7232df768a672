"""Rows out of a page's bytes: SQLite's b-trees and its record format, for pages that SQLite itself will not read.

Whatever does not hold together is left out, and counted by whoever asks. Values are what SQLite would give.

Source: https://www.sqlite.org/fileformat2.html (b-tree pages, the record format, cell payload overflow pages).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any

Value = int | float | str | bytes | None
FIRST_PAGE_HEAD_BYTES = 100

# Types of values in a record's head: those of the size of a machine word, of another one, without a body, of any size.
_WORDS = {1: "b", 2: "h", 4: "i", 6: "q", 7: "d"}
_ODD = {3: "3s", 5: "6s"}
_ZERO, _ONE = 8, 9
_FIRST_BLOB = 12


class Kind(IntEnum):
    """What a b-tree page holds; by its first byte."""

    INDEX_INNER = 2
    TABLE_INNER = 5
    INDEX_LEAF = 10
    TABLE_LEAF = 13


@dataclass(frozen=True, slots=True)
class Record:
    """A row. ``rowid`` is None where the tree has none: in an index, and in a table WITHOUT ROWID."""

    rowid: int | None
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """How a file's pages are read.

    Attributes:
        usable_bytes: of each page.
        more: the content of an overflow page by its number, or None when it cannot be read.
    """

    usable_bytes: int
    more: Callable[[int], bytes | None]

    def kind(self, number: int, page: bytes) -> Kind | None:
        """What the page holds, or None when it is no page of a b-tree."""
        try:
            return Kind(page[_head(number)])
        except ValueError:
            return None

    def children(self, number: int, page: bytes) -> Iterator[int]:
        """The pages below an inner one."""
        head = _head(number)
        yield int.from_bytes(page[head + 8 : head + 12])
        for cell in self._cells(head, page, 12):
            yield int.from_bytes(page[cell : cell + 4])

    def records(self, number: int, page: bytes) -> Iterator[Record | None]:
        """The rows of a page that holds some, None in place of each that cannot be read."""
        head = _head(number)
        kind = self.kind(number, page)
        if kind is None or kind is Kind.TABLE_INNER:
            return
        for cell in self._cells(head, page, 12 if kind is Kind.INDEX_INNER else 8):
            try:
                yield self._record(page, cell + 4 if kind is Kind.INDEX_INNER else cell, kind)
            except (ValueError, IndexError, struct.error):  # UnicodeDecodeError is a ValueError
                yield None

    def span(self, number: int, page: bytes) -> tuple[int, int] | None:
        """The row numbers of a table leaf's first and last row; None when it has none."""
        try:
            ends = [self._record_head(page, cell)[1] for cell in self._cells(_head(number), page, 8)]
        except IndexError:
            return None
        return (min(ends), max(ends)) if ends else None

    def _cells(self, head: int, page: bytes, head_bytes: int) -> Iterator[int]:
        count = int.from_bytes(page[head + 3 : head + 5])
        first = head + head_bytes
        count = min(count, (self.usable_bytes - first) // 2)
        for (cell,) in struct.iter_unpack(">H", page[first : first + 2 * count]):
            if cell >= first:
                yield cell

    def _record(self, page: bytes, cell: int, kind: Kind) -> Record:
        if kind is Kind.TABLE_LEAF:
            size, rowid, at = self._record_head(page, cell)
            return Record(rowid, _values(self._payload(page, at, size, in_table=True)))
        size, at = _varint(page, cell)
        return Record(None, _values(self._payload(page, at, size, in_table=False)))

    def _record_head(self, page: bytes, cell: int) -> tuple[int, int, int]:
        """A table's cell: the size of its record, its row number, and where the record begins."""
        size, at = _varint(page, cell)
        rowid, at = _varint(page, at)
        return size, rowid - ((rowid & 1 << 63) << 1), at

    def _payload(self, page: bytes, at: int, size: int, *, in_table: bool) -> bytes:
        usable = self.usable_bytes
        most = usable - 35 if in_table else (usable - 12) * 64 // 255 - 23
        if size <= most:
            return _cut(page, at, size, usable)
        least = (usable - 12) * 32 // 255 - 23
        here = least + (size - least) % (usable - 4)
        if here > most:
            here = least
        parts = [_cut(page, at, here, usable)]
        number = int.from_bytes(_cut(page, at + here, 4, usable))
        left = size - here
        while left > 0:
            overflow = self.more(number)
            if overflow is None:
                raise ValueError("an overflow page cannot be read")
            parts.append(overflow[4 : 4 + min(left, usable - 4)])
            left -= usable - 4
            number = int.from_bytes(overflow[:4])
        if number:
            raise ValueError("it goes on beyond its end")
        return b"".join(parts)


def _head(number: int) -> int:
    return FIRST_PAGE_HEAD_BYTES if number == 1 else 0


def _cut(page: bytes, at: int, size: int, usable: int) -> bytes:
    if at + size > usable:
        raise ValueError("it ends beyond its page")
    return page[at : at + size]


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """The number that begins at a place, and the place behind it."""
    byte = content[at]
    if byte < 0x80:  # noqa: PLR2004 - the top bit says that more follows
        return byte, at + 1
    number = byte & 0x7F
    for place in range(at + 1, at + 8):
        byte = content[place]
        number = number << 7 | byte & 0x7F
        if byte < 0x80:  # noqa: PLR2004 - the same
            return number, place + 1
    return number << 8 | content[at + 8], at + 9


def _values(payload: bytes) -> tuple[Value, ...]:
    """What a record holds. Raises ValueError, IndexError, struct.error when it is none."""
    end, _ = _varint(payload, 0)
    form = _form(payload[:end])
    if end + form.body.size != len(payload):
        raise ValueError("the record does not fill its place")
    values: list[Any] = list(form.constants)
    for place, value in zip(form.places, form.body.unpack_from(payload, end), strict=True):
        values[place] = value
    for place in form.texts:
        values[place] = values[place].decode()
    for place in form.numbers:
        values[place] = int.from_bytes(values[place], signed=True)
    return tuple(values)


@dataclass(frozen=True, slots=True)
class _Form:
    """What a record's head says of its body.

    Attributes:
        constants: a value for each column: None, 0 or 1 where the head says it all.
        body: the other columns' values, as bytes where they are texts or of a size that no machine word has.
        places: the columns that these are for.
        texts: those of them that are text.
        numbers: those of them that are integers of an odd size.
    """

    constants: tuple[int | None, ...]
    body: struct.Struct
    places: tuple[int, ...]
    texts: tuple[int, ...]
    numbers: tuple[int, ...]


@lru_cache(maxsize=4_096)
def _form(head: bytes) -> _Form:
    """The form of all records with this head: a table's rows have few different ones. Raises ValueError, IndexError."""
    end, at = _varint(head, 0)
    if end != len(head):
        raise ValueError("the head is cut short")
    constants: list[int | None] = []
    places, texts, numbers, body = [], [], [], ">"
    while at < end:
        kind, at = _varint(head, at)
        place = len(constants)
        constants.append(kind - _ZERO if kind in (_ZERO, _ONE) else None)
        if kind in (0, _ZERO, _ONE):
            continue
        places.append(place)
        if kind >= _FIRST_BLOB:
            body += f"{(kind - _FIRST_BLOB) >> 1}s"
            texts += [place] * (kind & 1)
        elif kind in _WORDS:
            body += _WORDS[kind]
        elif kind in _ODD:
            body += _ODD[kind]
            numbers.append(place)
        else:
            raise ValueError("no such type of value")
    return _Form(tuple(constants), struct.Struct(body), tuple(places), tuple(texts), tuple(numbers))
