"""The write-ahead log as it lies on the disk, frame by frame, and whether it lost anything that had been committed.

SQLite takes a log up to the first frame whose checksum does not fit and forgets the rest without a word: that is how a
commit looks which the power cut short. It is also how damage in the middle looks, and then every sale behind it would
be gone unseen. The two can be told apart, because a commit is synced before the next one is begun (`synchronous=FULL`):
a frame behind a commit proves that this commit was whole, and the index of the log (`-shm`), where a killed process
left it, says how far the log was synced.

Sources: https://www.sqlite.org/fileformat2.html#the_write_ahead_log, https://www.sqlite.org/walformat.html#walidxfmt.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from operator import mul
from pathlib import Path
from typing import BinaryIO, Literal

from agent.store.pagekey import PAGE_BYTES

HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24
FRAME_BYTES = FRAME_HEADER_BYTES + PAGE_BYTES
_MAGIC, _BIG_ENDIAN = 0x377F0682, 1
_INDEX_HEADER_BYTES = 48
_MASK = 0xFFFFFFFF

Order = Literal["little", "big"]
Sums = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Frame:
    """One page as a commit wrote it.

    Attributes:
        offset: of the page in the log, bytes.
        page: its number. Of an unsound frame it may be anything.
        commits: the last one of its commit.
        sound: its checksum fits.
    """

    offset: int
    page: int
    commits: bool
    sound: bool


@dataclass(frozen=True, slots=True)
class Log:
    """A log's frames, those of an earlier round through the file left out.

    Attributes:
        frames: in the order in which they were written.
        taken: how many of them SQLite takes.
        committed: how many are known to have been committed; more than ``taken`` where damage hides some.
        copied: how many are known to be in the database itself by now.
        missing: committed frames that are neither here nor there.
    """

    frames: tuple[Frame, ...] = ()
    taken: int = 0
    committed: int = 0
    copied: int = 0
    missing: int = 0

    @property
    def damaged(self) -> bool:
        """Whether SQLite would lose something that had been committed."""
        return self.committed > self.taken or self.missing > 0


def read(database: Path) -> Log:
    """The log of a database that nobody in this process has open: closing it here would drop SQLite's locks on it.

    An absent or empty log has no frames. Takes some 60 µs a frame.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with Path(f"{database}-wal").open("rb") as file:
            return _read(file, database)
    except FileNotFoundError:
        return Log()


def _read(file: BinaryIO, database: Path) -> Log:
    header = file.read(HEADER_BYTES)
    found = [struct.unpack_from(">IIIIII", head) for head in _heads(file)]
    if len(header) < HEADER_BYTES or not found:
        return Log()
    magic, *_, salt1, salt2, sum1, sum2 = struct.unpack(">IIIIIIII", header)
    order: Order = "big" if magic == _MAGIC | _BIG_ENDIAN else "little"
    salts = (salt1, salt2)
    whole = magic | _BIG_ENDIAN == _MAGIC | _BIG_ENDIAN and _sums(header[:24], (0, 0), order) == (sum1, sum2)
    if not whole:  # the frames still know which round they belong to
        salts = Counter((head[2], head[3]) for head in found[:3]).most_common(1)[0][0]
    last = max((number for number, head in enumerate(found, 1) if (head[2], head[3]) == salts), default=0)
    frames = []
    before = (sum1, sum2)
    for number, head in enumerate(found[:last]):
        offset = HEADER_BYTES + number * FRAME_BYTES
        sound = (head[2], head[3]) == salts and _frame_sums(file, offset, before, order) == (head[4], head[5])
        frames.append(Frame(offset + FRAME_HEADER_BYTES, head[0], head[1] > 0, sound))
        before = (head[4], head[5])
    return _judge(frames, whole=whole, index=_index(database, salts))


def _judge(frames: list[Frame], *, whole: bool, index: tuple[int, int]) -> Log:
    """What of these frames was committed, and what SQLite makes of them."""
    synced, copied = index
    commits = [number for number, frame in enumerate(frames, 1) if frame.commits]
    sound = next((number for number, frame in enumerate(frames) if not frame.sound), len(frames)) if whole else 0
    taken = max((number for number in commits if number <= sound), default=0)
    committed = max(taken, min(synced, len(frames)))
    before = 0
    for number in commits:  # something was written behind it, or it is whole itself
        if number < len(frames) or all(frame.sound for frame in frames[before:number]):
            committed = max(committed, number)
        before = number
    return Log(tuple(frames), taken, committed, copied, max(0, synced - max(copied, len(frames))))


def _index(database: Path, salts: tuple[int, int]) -> tuple[int, int]:
    """How many frames the log's index knows to be synced, and how many to be copied into the database and synced there.

    Nothing where there is no index, or it is of another round.
    """
    try:
        with Path(f"{database}-shm").open("rb", buffering=0) as file:  # no byte more: Windows locks those behind
            header, copy, copied = (file.read(size) for size in (_INDEX_HEADER_BYTES, _INDEX_HEADER_BYTES, 4))
    except OSError:
        return 0, 0
    if len(copied) < 4 or header != copy:  # noqa: PLR2004 - it is cut short
        return 0, 0
    synced: int = struct.unpack_from("=I", header, 16)[0]
    known = struct.unpack_from(">II", header, 32)  # copied from the log, byte for byte
    stated = struct.unpack_from("=II", header, 40)
    native: Order = "little" if struct.pack("=H", 1)[0] else "big"
    if known != salts or _sums(header[:40], (0, 0), native) != stated:
        return 0, 0
    return synced, min(synced, struct.unpack("=I", copied)[0])


def _heads(file: BinaryIO) -> Iterator[bytes]:
    """The head of each frame that is there whole."""
    size = file.seek(0, 2)
    for offset in range(HEADER_BYTES, size - FRAME_BYTES + 1, FRAME_BYTES):
        file.seek(offset)
        yield file.read(FRAME_HEADER_BYTES)


def _frame_sums(file: BinaryIO, offset: int, before: Sums, order: Order) -> Sums:
    file.seek(offset)
    frame = file.read(FRAME_BYTES)
    return _sums(frame[:8] + frame[FRAME_HEADER_BYTES:], before, order)


def _sums(content: bytes, before: Sums, order: Order) -> Sums:
    """The log's checksum of some bytes, beginning with that of what stands before them.

    Over the words `a, b` of each eight bytes it is `first += a + second; second += b + first`: a linear form, so the
    factor of every word is known beforehand.
    """
    words = struct.unpack(f"{'<' if order == 'little' else '>'}{len(content) // 4}I", content)
    first, second = _factors(len(words))
    return (
        (sum(map(mul, words, first)) + first[-2] * before[0] + first[-1] * before[1]) & _MASK,
        (sum(map(mul, words, second)) + second[-2] * before[0] + second[-1] * before[1]) & _MASK,
    )


@cache
def _factors(words: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What each word adds to the first and the second sum, and behind that what each of the former sums does."""
    first: list[tuple[int, int]] = []
    second: list[tuple[int, int]] = []
    # One step is (1 1; 1 2); of its n-th power (p q; q r) a word pair gets (p + q, q) and (q + r, r).
    p, q, r = 1, 0, 1
    for _ in range(words // 2):
        first.append(((p + q) & _MASK, q))
        second.append(((q + r) & _MASK, r))
        p, q, r = (p + q) & _MASK, (q + r) & _MASK, (q + r + r) & _MASK
    flat = [tuple(factor for pair in reversed(pairs) for factor in pair) for pairs in (first, second)]
    return (*flat[0], p, q), (*flat[1], q, r)
