"""A database in use that can be taken away and put back beneath whoever uses it.

Its users hold on to one object: while the file is being rescued, or cannot even be opened because the disk is full,
what they ask for fails with the reason, and afterwards it works again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from agent.errors import StorageDamagedError, StorageError, StorageFullError
from agent.store.database import DatabaseFile, sqlite, storage_error
from agent.store.group_commit import GroupWriter

if TYPE_CHECKING:
    from sqlite3 import Connection

T = TypeVar("T")
MOST_PIECES = 8


class Rows(list[Any]):
    """What a statement found."""

    def fetchall(self) -> list[Any]:
        """All of it."""
        return self

    def fetchone(self) -> Any:
        """The first row, or None."""
        return self[0] if self else None


class LiveDatabase:
    """One writer, and a reader for the event loop's thread.

    Args:
        file: the database.
        prepare: brings a newly opened file in order; gets the writer's connection.
        suspected: called, on the event loop's thread, when the file turns out to be damaged.
        spare: gives back a piece of the disk's reserve; False when there is none left.
    """

    def __init__(
        self,
        file: DatabaseFile,
        *,
        prepare: Callable[[Connection], object],
        suspected: Callable[[], None],
        spare: Callable[[], bool],
    ) -> None:
        self._file, self._prepare, self._suspected, self._spare = file, prepare, suspected, spare
        self._writer: GroupWriter | None = None
        self._reader: Connection | None = None
        self.reason = StorageError("the database is not open")
        """Why it cannot be used, while it cannot."""

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._writer is not None

    async def open(self) -> None:
        """Opens the file; nothing when it is open. Raises StorageError, which stands for the database until then."""
        if self._writer is not None:
            return
        while True:
            try:
                connection, self._reader = await asyncio.to_thread(self._connect)
                break
            except StorageFullError as error:
                self.reason = error
                if not self._spare():
                    raise
            except StorageError as error:
                self.reason = error
                raise
        self._writer = GroupWriter(connection, self._file.path.stem)

    async def shut(self, reason: StorageError) -> None:
        """Takes it away, once what was asked for is done: from now on everybody hears the reason."""
        self.reason = reason
        writer, self._writer = self._writer, None
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
        if writer is not None:
            writer.hand_over()  # here: in the thread below it could meet the event loop's own
            await asyncio.to_thread(writer.close)

    def close(self) -> None:
        """Finishes what is being written and closes the file. Idempotent."""
        if self._reader is not None:
            self._reader.close()
        if self._writer is not None:
            self._writer.close()

    async def run(self, write: Callable[[Connection], T]) -> T:
        """As :meth:`GroupWriter.run`; when the disk is full, with a piece of its reserve."""
        return await self._told(lambda writer: writer.run(write))

    async def run_alone(self, work: Callable[[Connection], T]) -> T:
        """As :meth:`GroupWriter.run_alone`; when the disk is full, with a piece of its reserve."""
        return await self._told(lambda writer: writer.run_alone(work))

    async def run_together(self, write: Callable[[Connection, Sequence[Any]], Sequence[Any]], item: Any) -> Any:
        """As :meth:`GroupWriter.run_together`. These are new sales: the reserve is not for them."""
        return await self._told(lambda writer: writer.run_together(write, item), pieces=0)

    async def prove(self) -> None:
        """Writes next to nothing, and returns once it is on disk.

        Raises:
            StorageError: it is not. The reserve is not for this.
        """
        await self._told(lambda writer: writer.run(_touch), pieces=0)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Rows:
        """What a statement finds, on the reader; everything is read before this returns.

        Raises:
            StorageError: the file is not open.
            sqlite3.Error: as ever.
        """
        if self._reader is None:
            raise self.reason
        try:
            return Rows(self._reader.execute(statement, values))
        except sqlite.Error as error:
            if isinstance(storage_error(error), StorageDamagedError):
                self._suspected()
            raise

    async def _told(self, ask: Callable[[GroupWriter], Awaitable[T]], *, pieces: int = MOST_PIECES) -> T:
        while True:
            if self._writer is None:
                raise self.reason
            try:
                return await ask(self._writer)
            except StorageFullError:
                if not pieces or not self._spare():
                    raise
                pieces -= 1
            except StorageDamagedError:
                self._suspected()
                raise

    def _connect(self) -> tuple[Connection, Connection]:
        connection = self._file.connect()
        try:
            self._prepare(connection)
            return connection, self._file.connect()
        except sqlite.Error as error:
            connection.close()
            raise storage_error(error) from error
        except BaseException:
            connection.close()
            raise


def _touch(connection: Connection) -> None:
    connection.execute("PRAGMA user_version = 0")  # rewrites the first page, whatever stands there
