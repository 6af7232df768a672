"""The group commit: the one thread that writes to a database.

Whatever is waiting when the thread is free becomes one `BEGIN IMMEDIATE ... COMMIT`, and every waiter is answered after
the one sync. At eight tills' worth of load that is four to six times a commit a sale.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from agent.errors import StorageDamagedError, StorageError, StorageFullError
from agent.store.database import roll_back, sqlite, storage_error

if TYPE_CHECKING:
    from sqlite3 import Connection

T = TypeVar("T")

MAX_GROUP = 512

_Together = Callable[["Connection", Sequence[Any]], Sequence[Any]]


class Writer(Protocol):
    """Who writes to a database: a :class:`GroupWriter`, or what stands before one."""

    async def run(self, write: Callable[[Connection], T]) -> T:
        """Runs ``write`` in a transaction and returns its result once it is on disk."""

    async def run_together(self, write: _Together, item: Any) -> Any:
        """Makes one of many writes of a kind."""

    async def run_alone(self, work: Callable[[Connection], T]) -> T:
        """Runs ``work`` outside any transaction."""

    def close(self) -> None:
        """Finishes what is waiting, and closes the database."""


_Outcome = tuple[Any, BaseException | None]


@dataclass(frozen=True, slots=True)
class _Job:
    """One write and who waits for it.

    Attributes:
        future: the waiter's.
        work: makes the write; with ``together`` it gets the items of its like-minded neighbours too.
        together: one of many writes of a kind.
        item: what to write, then.
        alone: outside any transaction, between two groups.
    """

    future: asyncio.Future[Any]
    work: Callable[..., Any]
    together: bool = False
    item: Any = None
    alone: bool = False

    @property
    def kind(self) -> Callable[..., Any] | None:
        return self.work if self.together else None


class GroupWriter:
    """The one thread that writes to a database, committing in groups.

    Each statement costs a hand-over of the interpreter's lock between this thread and the event loop's. Writes that
    come in numbers therefore share theirs: :meth:`run_together`. And what is asked for in one turn of the event loop
    is handed over at its end, together: a thread that woke for the first of eight sales would make a group of that one,
    and take the lock from the loop while it reads the other seven.

    Args:
        connection: its own connection; closed with it.
        name: of the thread.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._waiting: SimpleQueue[Sequence[_Job | None]] = SimpleQueue()
        self._gathered: list[_Job] = []
        self._gathering: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, write: Callable[[Connection], T]) -> T:
        """Runs ``write`` inside the next group and returns its result after the group is on disk.

        A write once asked for is made, whether or not its waiter is cancelled.

        Args:
            write: gets the connection inside a transaction of its own; what it raises undoes only what it did.

        Raises:
            StorageError: the group could not be committed; nothing of it is kept.
        """
        result: T = await self._put(_Job(_future(), write))
        return result

    async def run_together(self, write: _Together, item: Any) -> Any:
        """Makes one of many writes of a kind, those that wait side by side in one go; as :meth:`run` otherwise.

        Args:
            write: gets the connection and the items, and answers each with its result or with the exception to raise
                for it. What it raises itself undoes the group.
            item: what to write.
        """
        return await self._put(_Job(_future(), write, together=True, item=item))

    async def run_alone(self, work: Callable[[Connection], T]) -> T:
        """Runs ``work`` outside any transaction, between two groups: for checkpoints."""
        result: T = await self._put(_Job(_future(), work, alone=True))
        return result

    def close(self) -> None:
        """Finishes what is waiting, then closes the connection. Idempotent."""
        if not self._closed:
            self._closed = True
            self.hand_over()
            self._waiting.put([None])
            self._thread.join()

    def _put(self, job: _Job) -> asyncio.Future[Any]:
        if self._closed:
            raise StorageError("the database is closed")
        loop = job.future.get_loop()
        if loop is not self._gathering:
            self._gathering = loop
            loop.call_soon(self.hand_over)
        self._gathered.append(job)
        return job.future

    def hand_over(self) -> None:
        """Gives the thread what was asked for up to now. On the event loop's thread, unless the loop is gone."""
        jobs, self._gathered, self._gathering = self._gathered, [], None
        self._waiting.put(jobs)

    def _work(self) -> None:
        ready: deque[_Job | None] = deque()
        while True:
            while not ready or not self._waiting.empty():
                ready.extend(self._waiting.get())
            first = ready.popleft()
            if first is None:
                break
            group = [first]
            while ready and len(group) < MAX_GROUP and not first.alone:
                job = ready[0]
                if job is None or job.alone:
                    break
                group.append(job)
                ready.popleft()
            _answer(group, [self._run_alone(first)] if first.alone else self._commit(group))
        self._connection.close()

    def _run_alone(self, job: _Job) -> _Outcome:
        try:
            return job.work(self._connection), None
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for it
            return None, _of_our_tree(error)

    def _commit(self, group: list[_Job]) -> list[_Outcome]:
        """The outcome of each write of a group: its own when the group is on disk, else the same failure for all."""
        connection = self._connection
        outcomes: list[_Outcome] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for write_all, jobs in groupby(group, lambda job: job.kind):
                if write_all is None:
                    outcomes += [savepoint(connection, job.work) for job in jobs]
                else:
                    results = write_all(connection, [job.item for job in jobs])
                    outcomes += [(None, one) if isinstance(one, BaseException) else (one, None) for one in results]
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - handed to everybody who waits
            roll_back(connection)
            return [(None, _of_our_tree(error))] * len(group)
        return outcomes


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


def _answer(group: list[_Job], outcomes: list[_Outcome]) -> None:
    """Answers a group, with one call into each event loop."""
    answers: defaultdict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], _Outcome]]] = defaultdict(list)
    for job, outcome in zip(group, outcomes, strict=True):
        answers[job.future.get_loop()].append((job.future, outcome))
    for loop, waiting in answers.items():
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits any more
            loop.call_soon_threadsafe(_resolve, waiting)


def savepoint(connection: Connection, work: Callable[[Connection], Any]) -> tuple[Any, BaseException | None]:
    """Runs one write of a group; its own errors undo it alone, the disk's are raised: they end the group."""
    connection.execute("SAVEPOINT one")
    try:
        outcome: _Outcome = (work(connection), None)
    except Exception as error:
        failure = _of_our_tree(error)
        if isinstance(failure, StorageFullError | StorageDamagedError) or not connection.in_transaction:
            raise
        connection.execute("ROLLBACK TO one")
        outcome = (None, failure)
    connection.execute("RELEASE one")
    return outcome


def _of_our_tree(error: Exception) -> Exception:
    if not isinstance(error, sqlite.Error):
        return error
    failure = storage_error(error)
    failure.__cause__ = error
    return failure


def _resolve(waiting: list[tuple[asyncio.Future[Any], _Outcome]]) -> None:
    for future, (result, error) in waiting:
        if future.cancelled():
            continue
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
