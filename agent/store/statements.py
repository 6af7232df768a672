"""What tills said, person and all, kept so that it can be forgotten without a trace and without a pause.

`secure_delete` overwrites what is deleted, but when SQLite rearranges a page (a row grows, two half-empty pages become
one) it leaves copies of the moved rows in the slack, where no later deletion finds them. Rebuilding the file with
`VACUUM` is free of them, but holds up every sale meanwhile: 3 s with 100,000 sales on file, each hour, for the 400
days that the record without the person is kept. So rows with a person in them are never moved at all:

* They are only ever appended. SQLite then starts a new page instead of rearranging full ones.
* Forgetting overwrites a row in place with as many zeros. A row of the same size keeps its cell and its overflow
  pages. Nothing else ever changes a row.
* Forgotten rows are removed from the front of the table alone, and only well before the oldest that is remembered:
  a removal rearranges the neighbouring pages, and those hold nothing but zeros.

What is left then is the write-ahead log, which the purge truncates. Tests search the bytes of all three files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite3 import Connection

MARGIN_ROWS = 256
"""Forgotten rows that stay before the oldest remembered one: at `MIN_BYTES` a row more than the three pages that
SQLite balances at a time."""
MIN_BYTES = 64
SLICE_ROWS = 500

KEEP = "INSERT INTO statements (content) VALUES (?)"
KEEP_AS = "INSERT INTO statements (id, content) VALUES "
READ = "SELECT content FROM statements WHERE id = ?"
FORGET = "UPDATE statements SET content = zeroblob(length(content)), forgotten = 1 WHERE id = ?"
FIRST = "SELECT min(id) FROM statements"
FIRST_REMEMBERED = "SELECT id FROM statements WHERE forgotten = 0 ORDER BY id LIMIT 1"
LAST = "SELECT max(id) FROM statements"
DROP = "DELETE FROM statements WHERE id < ?"


def padded(content: str) -> bytes:
    """A text as it is kept."""
    return content.encode().ljust(MIN_BYTES)


def keep(db: Connection, content: str) -> int:
    """Keeps a text and returns the id under which :func:`read` and :func:`forget` find it."""
    row = db.execute(KEEP, (padded(content),)).lastrowid
    if row is None:  # pragma: no cover - SQLite numbers every inserted row
        raise AssertionError
    return row


def read(db: Connection, statement: int) -> str:
    """The text that was kept. Raises LookupError when it has been forgotten and removed."""
    row = db.execute(READ, (statement,)).fetchone()
    if row is None:
        raise LookupError(statement)
    return bytes(row[0]).decode().rstrip()


def forget(db: Connection, statement: int) -> None:
    """Overwrites what was kept, where it stands."""
    db.execute(FORGET, (statement,))


def drop_forgotten(db: Connection) -> int:
    """Removes up to a slice of forgotten rows that are safe to remove; how many, 0 when there are no more."""
    first = db.execute(FIRST).fetchone()[0]
    if first is None:
        return 0
    remembered = db.execute(FIRST_REMEMBERED).fetchone() or db.execute(LAST).fetchone()
    return db.execute(DROP, (min(first + SLICE_ROWS, remembered[0] - MARGIN_ROWS),)).rowcount
