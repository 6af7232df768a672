"""Whom `monetary.seed_file` lists, for a first fill: CSV with Monetary's own names of the fields in its first line.

The vendor names no export. What a merchant has of their customers is taken as it is: CustomerID or ExternalID says who
somebody is, and whoever has neither is left out. The file is believed as of when it was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from agent.connectors.base import FeedSurroundings
from agent.connectors.monetary.customers import change_of
from agent.connectors.tables import read_rows
from agent.domain.contact import ContactChange
from agent.domain.identifiers import Normaliser
from agent.errors import FeedUnreadableError
from agent.ports import Seed

MAX_BYTES = 64 << 20
_IDENTIFYING = {"customerid", "externalid"}
_WHAT = "the seed file"


def open_seed(path: Path, agent: FeedSurroundings) -> Seed | None:
    """The list in a file; None when it is not there. Raises FeedUnreadableError."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FeedUnreadableError(f"{_WHAT} cannot be read: {type(error).__name__}") from error
    if stat.st_size > MAX_BYTES:
        raise FeedUnreadableError(f"{_WHAT} is larger than {MAX_BYTES >> 20} MiB")
    written_at = datetime.fromtimestamp(stat.st_mtime, UTC)
    contacts = _contacts(path, agent.normaliser, agent.fields, agent.clock.today())
    return Seed(f"{stat.st_size}-{stat.st_mtime_ns}", min(written_at, agent.clock.now()), contacts)


def _contacts(path: Path, normaliser: Normaliser, fields: Sequence[str], today: date) -> Iterator[ContactChange]:
    try:
        file = path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise FeedUnreadableError(f"{_WHAT} cannot be read: {type(error).__name__}") from error
    with file:
        for row in read_rows(file, what=_WHAT, identifying=_IDENTIFYING, missing="neither CustomerID nor ExternalID"):
            change = change_of(row, normaliser, fields, today=today)
            if change is not None:
                yield change
