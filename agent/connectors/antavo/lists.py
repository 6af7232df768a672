"""Contact changes from a folder into which Antavo's Exports module puts lists of everybody.

The newest list that nobody is writing any more is everybody: it is a sweep, so that whoever is not in it is gone, and a
list that lacks more than a tenth of the former contacts is not taken (`feed.gap`). Until a newer one comes the contacts
are as old as their list, and say so; a list that is older than twice `sweep_every` is none any more.

Sources: the Exports module's page (models, CSV and JSON, targets, schedules). What its files are called is not said:
any `.csv` or `.json` in the folder is a list of customers, so that nothing else may lie there.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from agent.connectors.antavo.exports import Ended, ListReader, tell
from agent.connectors.antavo.progress import OF_A_LIST
from agent.connectors.folders import FolderFile, scan
from agent.domain.contact import ContactChange
from agent.domain.identifiers import Identifier
from agent.errors import FeedError, FeedGapError, LoyaltyAgentError
from agent.ports import ChangePage, Clock, ExportFile, Sweep
from agent.processes import told

log = structlog.get_logger(__name__)

YOUNG = timedelta(seconds=60)
SETTLE_S = 1.0
"""What changed within the last minute has to look the same after so long."""
_STILL_EVERYBODY = 2
_ENDINGS = (".csv", ".json")


class AntavoLists:
    """Pages of one list, whenever there is a new one.

    Args:
        folder: where lists come to lie.
        reader: makes what reads one, as of now.
        clock: says how old a list is.
        sweep_every: how often a new one is due.
        unseen: whom the sweep under way has not shown; None if they are so many that it was hardly everybody.
    """

    def __init__(
        self,
        folder: Path,
        reader: Callable[[], ListReader],
        clock: Clock,
        *,
        sweep_every: timedelta,
        unseen: Callable[[], Awaitable[Sequence[Identifier] | None]],
    ) -> None:
        self._folder, self._reader, self._clock = folder, reader, clock
        self._sweep_every, self._unseen = sweep_every, unseen

    async def pages(self, cursor: str | None) -> AsyncIterator[ChangePage]:
        """The newest list from its beginning, unless the cursor says that it was read.

        Raises:
            VendorError: the folder cannot be read.
            FeedError: there is no list, or only old ones; it cannot be read, or lacks too many.
        """
        file, now = await self._newest(), self._clock.now()
        read_at = _read_at(cursor)
        as_of = min(max(file.modified_at, read_at or file.modified_at), now)
        if now - as_of > _STILL_EVERYBODY * self._sweep_every:
            raise FeedError("the newest list of customers is older than twice antavo.sweep_every")
        if cursor == _cursor(file) or (read_at is not None and file.modified_at < read_at):
            yield ChangePage((), cursor or OF_A_LIST, last=True, as_of=as_of)
            return
        stage = Sweep.BEGINS
        async with aclosing(self._read(file)) as read:
            async for changes in read:
                yield ChangePage(changes, cursor or OF_A_LIST, last=False, sweep=stage)
                stage = Sweep.GOES_ON
        if await self._unseen() is not None:
            yield ChangePage((), _cursor(file), last=True, sweep=Sweep.ENDS, as_of=as_of)
            return
        yield ChangePage((), cursor or OF_A_LIST, last=True, sweep=Sweep.GIVEN_UP, as_of=read_at)
        raise FeedGapError("the newest list of customers lacks more than a tenth of the former contacts")

    async def _newest(self) -> ExportFile:
        """The newest list that lies still. One that is dated ahead would hide all later ones, and never be old."""
        listing, now = await self._listing(), self._clock.now()
        files = [file for file in listing if file.modified_at <= now + YOUNG]
        if any(now - file.modified_at < YOUNG for file in files):
            await asyncio.sleep(SETTLE_S)
            again = set(await self._listing())
            files = [file for file in files if file in again]
        if not files:
            why = "only such as are dated ahead or being written" if listing else "there is none"
            raise FeedError(f"no list of customers in the folder of antavo.feed can be read: {why}")
        return max(files, key=lambda file: (file.modified_at, file.name))

    async def _listing(self) -> list[ExportFile]:
        return await asyncio.to_thread(scan, self._folder, _is_list)

    async def _read(self, file: ExportFile) -> AsyncGenerator[tuple[ContactChange, ...], None]:
        """A list's members, some at a time, once the whole of it was found to be one."""
        path = FolderFile(self._folder / file.name)
        async with aclosing(told(tell, self._reader(), path, file)) as said:
            async for some in said:
                if isinstance(some, LoyaltyAgentError):
                    raise some
                if isinstance(some, Ended):
                    if some.left_out:
                        log.warning("feed.left_out", count=some.left_out)
                    return
                yield some
        raise FeedError("the process that read the list of customers died")


def _is_list(name: str) -> bool:
    return name.lower().endswith(_ENDINGS) and not name.startswith(".")


def _cursor(file: ExportFile) -> str:
    """What tells a list apart, without its name, which is anybody's."""
    name = hashlib.sha256(file.name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"{OF_A_LIST}{file.modified_at.isoformat()} {file.size_bytes} {name}"


def _read_at(cursor: str | None) -> datetime | None:
    """When the list was written that a cursor says was read; None where there is none, or it is another feed's."""
    if cursor is None or not cursor.startswith(OF_A_LIST):
        return None
    try:
        return datetime.fromisoformat(cursor.split(" ")[1])
    except ValueError:
        return None
