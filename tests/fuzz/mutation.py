"""Real inputs, spoiled a little or a lot, the same ones for the same seed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

MAX_BYTES = 64 * 1024
_NUMBER = re.compile(rb"-?[0-9]+")
_NUMBERS = (
    b"0", b"-0", b"-1", b"1e9", b"1e-9", b"1e999999999", b"NaN", b"Infinity", b"9" * 5000, b"2147483648",
    b"18446744073709551616", b"0.1", b"00", b"0x10", b"1_000", b"+1", "\u0661\u0662".encode(), "\u00b2".encode(),
)  # fmt: skip
_BYTES = (
    0x00,
    0x01,
    0x09,
    0x0A,
    0x0D,
    0x20,
    0x22,
    0x27,
    0x3C,
    0x3E,
    0x5C,
    0x7F,
    0x80,
    0xBF,
    0xC0,
    0xED,
    0xEF,
    0xFE,
    0xFF,
)
_WORDS = (
    b"null", b"true", b"[]", b"{}", b'""', b"\r\n", b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"../../x", b"%00", b"${x}",
    "\u202e".encode(), "\U0001f600".encode(), b"\xed\xa0\x80", b"\\ud800", b"\\u0000",
    b"'", b'"', b"<!--", b"]]>", b"&a;",
)  # fmt: skip


class Mutator:
    """Makes inputs out of samples.

    Args:
        samples: real inputs.
        words: what means something in their language.
        seed: the same seed makes the same inputs.
    """

    def __init__(self, samples: Sequence[bytes], words: Sequence[bytes] = (), *, seed: int) -> None:
        self._samples, self._words = samples, (*words, *_WORDS)
        self._chance = random.Random(seed)
        self._ways: tuple[Callable[[bytearray], None], ...] = (
            self._flip, self._replace, self._insert, self._insert, self._delete, self._repeat, self._truncate,
            self._splice, self._number, self._swap,
        )  # fmt: skip

    def next(self) -> bytes:
        """The next input: one sample in ten as it is, the others changed up to eight times."""
        data = bytearray(self._chance.choice(self._samples))
        if self._chance.random() > 0.1:
            for _ in range(self._chance.choice((1, 1, 1, 2, 2, 4, 8))):
                self._chance.choice(self._ways)(data)
        return bytes(data[:MAX_BYTES])

    def _at(self, data: bytearray) -> int:
        return self._chance.randrange(len(data) + 1)

    def _piece(self, data: bytearray) -> slice:
        start = self._at(data)
        return slice(start, start + self._chance.choice((1, 1, 2, 4, 16, 64, 1024)))

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._chance.randrange(len(data))] ^= 1 << self._chance.randrange(8)

    def _replace(self, data: bytearray) -> None:
        if data:
            data[self._chance.randrange(len(data))] = self._chance.choice(_BYTES)

    def _insert(self, data: bytearray) -> None:
        at = self._at(data)
        data[at:at] = self._chance.choice(self._words)

    def _delete(self, data: bytearray) -> None:
        del data[self._piece(data)]

    def _repeat(self, data: bytearray) -> None:
        piece = self._piece(data)
        data[piece.start : piece.start] = bytes(data[piece]) * self._chance.choice((1, 2, 16, 256, 4096))
        del data[2 * MAX_BYTES :]

    def _truncate(self, data: bytearray) -> None:
        del data[self._at(data) :]

    def _splice(self, data: bytearray) -> None:
        other = self._chance.choice(self._samples)
        data[self._at(data) :] = other[self._chance.randrange(len(other) + 1) :]

    def _number(self, data: bytearray) -> None:
        found = list(_NUMBER.finditer(data[:MAX_BYTES]))
        if found:
            number = self._chance.choice(found)
            data[number.start() : number.end()] = self._chance.choice(_NUMBERS)

    def _swap(self, data: bytearray) -> None:
        one, two = self._piece(data), self._piece(data)
        data[one], data[two] = data[two], data[one]
