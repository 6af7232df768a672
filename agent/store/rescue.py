"""Rescuing an outbox: whatever its damaged file still gives, in a fresh file beside it.

Runs in a process of its own (:mod:`agent.processes`): it takes a while and some memory, and whoever asks for a
member meanwhile must not notice. The damaged file is read and left as it is. The fresh one is written without a
journal on disk, because it is worth nothing before it is whole; then it is synced, and its owner puts it in place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from agent.disk import sync_file, telling
from agent.ports import Recipient
from agent.store import log_frames
from agent.store.database import DatabaseFile, immediate, migrate, remove, sqlite, storage_error
from agent.store.hashkey import hash_key_again
from agent.store.mending import Clues, mend
from agent.store.pages import Pages
from agent.store.salvage import TABLES, Salvager

if TYPE_CHECKING:
    from sqlite3 import Connection

BY_NAME, BY_SALE = "sqlite_autoindex_sales_1", "sqlite_autoindex_deliveries_1"
"""The indexes that SQLite makes for `UNIQUE`: of sales by transaction id, of deliveries by sale and vendor."""
CACHE_KIB = 64 * 1024
DERIVED = "SELECT type, name, sql FROM sqlite_schema WHERE type IN ('index', 'trigger') AND sql IS NOT NULL"


@dataclass(frozen=True, slots=True)
class RescueJob:
    """What is to be rescued; picklable.

    Attributes:
        damaged: the outbox, which nobody has open.
        fresh: the file that is made; whatever is there goes.
        recipients: who gets sales.
        keys: the storage keys that its own may be sealed under, the current one first.
        now: the instant of the rescue.
    """

    damaged: DatabaseFile
    fresh: DatabaseFile
    recipients: tuple[Recipient, ...]
    keys: tuple[bytes, ...] = field(repr=False)
    now: datetime


@dataclass(frozen=True, slots=True)
class Rescued:
    """What came of it; counts.

    Attributes:
        rows: rescued, by table.
        sent_again: deliveries that were gone and are made anew.
        unreadable: sales whose content is gone.
        lost: sales that are gone.
        lost_ids: the transaction ids of those that may be owed.
        pages: pages of the file and of its log that could not be read.
        broken: rows that could not be read on pages that could.
        hidden: commits' pages that SQLite would have passed over in silence, and that were found.
        oldest_at: when the oldest sale with a person in it was accepted.
    """

    rows: dict[str, int]
    sent_again: int
    unreadable: int
    lost: int
    lost_ids: tuple[str, ...]
    pages: int
    broken: int
    hidden: int
    oldest_at: datetime | None


def rescue(job: RescueJob) -> Rescued:
    """Makes the fresh outbox.

    Raises:
        StorageFullError: there is no room for it.
        StorageError: it cannot be written, or the damaged one not even be read.
    """
    remove(job.fresh)
    try:
        with telling(f"{job.damaged.path.name} cannot be rescued"):
            connection = job.fresh.connect(cache_kib=CACHE_KIB)
            try:
                rescued = _rescue(job, connection)
            finally:
                connection.close()
            with job.fresh.path.open("rb") as file:
                sync_file(file)
    except sqlite.Error as error:
        raise storage_error(error) from error
    return rescued


def _rescue(job: RescueJob, fresh: Connection) -> Rescued:
    from agent.store.migrations import outbox  # noqa: PLC0415 - sqlite-utils, which only who makes a file needs

    for pragma in ("journal_mode = MEMORY", "synchronous = OFF", "foreign_keys = OFF"):
        fresh.execute(f"PRAGMA {pragma}").fetchall()
    migrate(fresh, outbox)
    derived = fresh.execute(DERIVED).fetchall()
    for kind, name, _ in derived:
        fresh.execute(f'DROP {kind} "{name}"')
    log = log_frames.read(job.damaged.path)
    with Pages(job.damaged, log) as pages:
        rows = {} if log.damaged else _copy(job.damaged, fresh)
        salvager = Salvager(pages, fresh)
        with immediate(fresh):
            saved = salvager.run([name for name in salvager.tables if name not in rows])
        key = hash_key_again(fresh, job.keys)
        with immediate(fresh):
            for kind, _, sql in derived:
                if kind == "index":
                    fresh.execute(sql)
            mended = mend(
                fresh,
                whole=rows.keys(),
                stale=saved.stale,
                clues=Clues(partial(salvager.entries, BY_NAME), partial(salvager.entries, BY_SALE)),
                recipients=job.recipients,
                hash_key=key,
                now=job.now,
            )
            for kind, _, sql in derived:
                if kind == "trigger":
                    fresh.execute(sql)
    return Rescued(
        rows=rows | saved.rows,
        sent_again=mended.sent_again,
        unreadable=mended.unreadable,
        lost=mended.lost,
        lost_ids=mended.lost_ids,
        pages=saved.pages + pages.unreadable_frames + log.missing,
        broken=saved.broken,
        hidden=log.committed - log.taken,
        oldest_at=mended.oldest_at,
    )


def _copy(damaged: DatabaseFile, fresh: Connection) -> dict[str, int]:
    """Copies the tables that SQLite finds whole, which is six times as fast; how many rows each has."""
    rows: dict[str, int] = {}
    for (name,) in fresh.execute(f"SELECT name FROM ({TABLES})").fetchall():  # noqa: S608 - ours
        try:
            # Attached anew for each: SQLCipher reads nothing more through a connection that met a damaged page.
            fresh.execute(*damaged.attachment("damaged"))
        except sqlite.DatabaseError:
            return rows
        try:
            if fresh.execute(f'PRAGMA damaged.quick_check("{name}")').fetchall() == [("ok",)]:
                with immediate(fresh):
                    copied = fresh.execute(f'INSERT INTO main."{name}" SELECT * FROM damaged."{name}"')  # noqa: S608 - ours
                rows[name] = copied.rowcount
        except sqlite.DatabaseError:
            continue
        finally:
            fresh.execute("DETACH damaged")
    return rows
