"""The two databases as whoever keeps them whole sees them: opened, looked through, and made whole again.

The outbox is irreplaceable: what is readable of a damaged one is rescued. The replica can be fetched again.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeVar

from agent import processes
from agent.disk import telling
from agent.errors import LoyaltyAgentError, StorageDamagedError, StorageError, StorageFullError, StorageKeyError
from agent.kept import PART, Kept, Report
from agent.ports import Recipient
from agent.store.database import DatabaseFile, remove
from agent.store.examine import examine, look
from agent.store.leased_replica import LeasedReplica
from agent.store.live import LiveDatabase
from agent.store.rescue import Rescued, RescueJob, rescue

T = TypeVar("T")

_UNTOLD: Final = {"counts", "unfinished", "hash_key", "anchor"}
"""Tables whose rows are no records of anything."""
ROOM_TO_KEEP: Final = 3
"""A damaged replica is kept while its disk has room for so many of it: the new one must fit beside it."""


class GuardedOutbox:
    """The outbox's file.

    Args:
        file: the database.
        live: what its users hold on to.
        kept: where damaged files go.
        recipients: who gets sales.
        keys: the storage keys, the current one first.
    """

    irreplaceable = True

    def __init__(
        self,
        file: DatabaseFile,
        live: LiveDatabase,
        kept: Kept,
        *,
        recipients: tuple[Recipient, ...],
        keys: tuple[bytes, ...],
    ) -> None:
        self._file, self._live, self._kept = file, live, kept
        self._recipients, self._keys = recipients, keys
        self.name = file.path.name

    async def open(self) -> None:
        """Opens it, once an interrupted exchange has been finished, unless that would lose something.

        Raises:
            StorageDamagedError: it is damaged; it is left as it is.
            StorageKeyError: the key does not open it.
            StorageError: it cannot be opened now.
        """
        try:
            with telling("damaged files cannot be kept aside"):
                await asyncio.to_thread(self._kept.finish)
            if (wrong := await asyncio.to_thread(look, self._file)) is not None:
                raise StorageDamagedError(wrong)
        except StorageError as error:
            await self.shut(error)
            raise
        await self._live.open()

    async def shut(self, reason: StorageError) -> None:
        """Takes it away from its users, who hear the reason."""
        await self._live.shut(reason)

    async def examine(self) -> str | None:
        """What is wrong with it; None when it is whole. Raises StorageError."""
        return await _elsewhere(examine, self._file)

    async def mend(self, reason: str, now: datetime) -> Report:
        """Rescues what is readable, puts it in place and keeps the damaged file; for a database that is shut.

        Raises:
            StorageFullError: there is no room for it; everything is as it was.
            StorageError: it could not be done now; everything is as it was.
        """
        with telling("damaged files cannot be kept aside"):
            folder = await asyncio.to_thread(self._kept.folder, now)
        try:
            fresh = DatabaseFile(folder / PART, self._file.key, self._file.synchronous, self._file.cache_kib)
            rescued = await _elsewhere(rescue, RescueJob(self._file, fresh, self._recipients, self._keys, now))
            report = _report(folder.name, self.name, now, reason, rescued)
            with telling("damaged files cannot be kept aside"):
                await asyncio.to_thread(self._kept.exchange, folder, report)
        finally:
            with telling("damaged files cannot be kept aside"):
                await asyncio.to_thread(self._kept.finish)
        return report

    @property
    def whole(self) -> bool:
        """Nothing of it can be fetched again."""
        return True


class GuardedReplica:
    """The replica's file.

    Args:
        replica: the contacts, with their lease.
        kept: where damaged files go.
        writing: held by whoever writes to the file.
        refetch: orders a sync.
    """

    irreplaceable = False

    def __init__(
        self, replica: LeasedReplica, kept: Kept, *, writing: asyncio.Lock, refetch: Callable[[], None]
    ) -> None:
        self._replica, self._kept, self._writing, self._refetch = replica, kept, writing, refetch
        self.name = replica.file.database.path.name

    async def open(self) -> None:
        """Opens it, if its lease allows that; on this thread, because look-ups are made there.

        Raises:
            StorageDamagedError: it is damaged, or of another key than its own, which has been read.
            StorageError: it cannot be opened now.
        """
        try:
            self._replica.unbar()
        except StorageKeyError as error:
            raise StorageDamagedError(str(error)) from error

    async def shut(self, _reason: StorageError) -> None:
        """Closes it to look-ups: nobody is found, as while nothing is loaded."""
        self._replica.bar()

    async def examine(self) -> str | None:
        """What is wrong with it; None when it is whole. Raises StorageError."""
        return await _elsewhere(examine, self._replica.file.database)

    async def mend(self, reason: str, now: datetime) -> Report:
        """Keeps the damaged file while there is room, and has everything fetched again into an empty one.

        Raises:
            StorageError: it could not be done now.
        """
        async with self._writing:  # a sync would go on writing into the file that is set aside
            try:
                report = await self._keep(reason, now) if self._room() else Report("", self.name, now, reason)
            except StorageFullError:  # the room went meanwhile: a till without members until it is back is worse
                report = Report("", self.name, now, reason)
            if not report.folder:
                with telling(f"{self.name} cannot be removed"):
                    remove(self._replica.file.database)
        self._refetch()
        return report

    async def _keep(self, reason: str, now: datetime) -> Report:
        with telling("damaged files cannot be kept aside"):
            folder = await asyncio.to_thread(self._kept.folder, now)
            report = Report(folder.name, self.name, now, reason)
            try:
                await asyncio.to_thread(self._kept.exchange, folder, report)
            except OSError:
                shutil.rmtree(folder, ignore_errors=True)  # of a file that can be fetched again
                raise
        return report

    @property
    def whole(self) -> bool:
        """Whether everybody is in it."""
        try:
            return not self._replica.barred and self._replica.loaded
        except StorageError:
            return False

    def _room(self) -> bool:
        path = self._replica.file.database.path
        size = path.stat().st_size if path.exists() else 0
        return shutil.disk_usage(path.parent).free > (ROOM_TO_KEEP - 1) * size


def _report(folder: str, file: str, now: datetime, reason: str, rescued: Rescued) -> Report:
    return Report(
        folder,
        file,
        now,
        reason,
        rescued={
            **{table: rows for table, rows in rescued.rows.items() if rows and table not in _UNTOLD},
            **({"sent_again": rescued.sent_again} if rescued.sent_again else {}),
        },
        lost={
            name: count
            for name, count in (
                ("sales", rescued.lost),
                ("contents", rescued.unreadable),
                ("pages", rescued.pages),
                ("rows", rescued.broken),
            )
            if count
        },
        lost_ids=rescued.lost_ids,
        oldest_at=rescued.oldest_at,
    )


async def _elsewhere(work: Callable[..., T], *args: object) -> T:
    try:
        return await processes.run(work, *args)
    except LoyaltyAgentError:
        raise
    except Exception as error:  # its text may hold what was being read
        raise StorageError(f"the work on the file ended with {type(error).__name__}") from error
