"""What an administrator can have done: answered at once, carried out in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from agent.services.dispatch import Dispatch
from agent.services.purge import Purge
from agent.services.sync import Sync

log = structlog.get_logger(__name__)


class Orders:
    """Orders to the services. What is under way is kept, so that it is neither forgotten nor left running.

    Args:
        dispatch: the lanes.
        sync: the feed; None below fallback level 3.
        purge: the end of personal data.
        changed: called when something of it shows in the status.
    """

    def __init__(self, dispatch: Dispatch, sync: Sync | None, purge: Purge, changed: Callable[[], None]) -> None:
        self._dispatch, self._sync, self._purge, self._changed = dispatch, sync, purge, changed
        self._tasks: set[asyncio.Task[object]] = set()
        self.held, self.rests, self.wake = dispatch.held, dispatch.rests, dispatch.wake

    def sync(self, *, rebuild: bool = False) -> None:
        """Asks for contact changes now; ``rebuild`` for all contacts anew, which no call of the door's does."""
        if self._sync is not None:
            self._sync.order(rebuild=rebuild)

    def flush(self) -> None:
        """Tries everything queued or held now."""
        self._start(self._dispatch.flush())

    def pause(self) -> None:
        """Stops deliveries; a condition says so for as long."""
        self._dispatch.pause()
        self._changed()

    def resume(self) -> None:
        """Starts deliveries again."""
        self._dispatch.resume()
        self._changed()

    def purge(self) -> None:
        """Erases what retention names, now."""
        self._start(self._purge.run())

    async def close(self) -> None:
        """Ends what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("order.failed", exc_info=error)
