"""Lists of people as CSV, with the vendor's own names of the fields in their first line: strict, row by row."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from typing import TextIO

from agent.errors import FeedUnreadableError

COMMA = ","


def read_rows(
    text: TextIO, *, what: str, identifying: Collection[str], missing: str, delimiter: str = COMMA, folded: bool = True
) -> Iterator[dict[str, str]]:
    """The rows, by the names of their fields; empty lines are none.

    Args:
        text: opened with ``newline=""``.
        what: the file, as an error calls it.
        identifying: one of these fields there has to be.
        missing: what an error says is not in the first line.
        delimiter: what stands between fields.
        folded: names in lower case, whatever their letters are.

    Raises:
        FeedUnreadableError: it is no such list, or ends in the middle of a row. Nothing of what is in it is told.
    """
    try:
        rows = csv.reader(text, strict=True, delimiter=delimiter)
        names = [name.strip().lower() if folded else name.strip() for name in next(rows, [])]
        if not set(identifying) & set(names):
            raise FeedUnreadableError(f"{what}'s first line names {missing}")
        for number, row in enumerate(rows, start=2):
            if not row:
                continue
            if len(row) != len(names):
                raise FeedUnreadableError(f"{what} has another number of fields in its row {number}")
            yield dict(zip(names, row, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FeedUnreadableError(f"{what} cannot be read: {type(error).__name__}") from error
