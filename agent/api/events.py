"""Server-sent events: the status at every change and a heartbeat, to a bounded number of listeners."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Final

from agent.api.problems import BUSY, DoorError
from agent.api.rooms import Status
from agent.api.visits import Chunk, GoneError, Receive

HEARTBEAT_S: Final = 15.0
MAX_LISTENERS: Final = 16
MAX_OF_ONE: Final = 4
"""Of one token: a page that opens streams and never closes them leaves the other tills theirs."""
PACE_S: Final = 0.2
"""Changes closer together than this are told once."""
PATIENCE_S: Final = 30.0
"""A listener that takes nothing for so long is hung up on."""
_LATER: Final = ((b"retry-after", b"15"),)


class Broadcast:
    """Tells listeners what changes.

    Args:
        status: where changes come from.
        heartbeat_s: a sign of life after so long without one.
    """

    def __init__(self, status: Status, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._status, self._heartbeat_s = status, heartbeat_s
        self._under_way: set[asyncio.Task[None]] = set()

    def stream(self, render: Callable[[], bytes], *, kind: Counter[str], name: str | None) -> "EventStream":
        """A stream of events for one listener.

        Args:
            render: the JSON of an event.
            kind: the listeners of the same sort by name; strangers must not use up the places of those with a token.
            name: the token's; None for a stranger, who has no share of their own.

        Raises:
            DoorError: `agent.busy`: there are enough of them, or of that token.
        """
        if kind.total() >= MAX_LISTENERS:
            raise DoorError(BUSY, "Too many listen to events already.", headers=_LATER)
        if name is not None and kind[name] >= MAX_OF_ONE:
            raise DoorError(BUSY, "This token listens to events often enough already.", headers=_LATER)
        return EventStream(self, render, kind, name or "")

    def stop(self) -> None:
        """Ends every stream."""
        for task in self._under_way:
            task.cancel()

    async def run(self, render: Callable[[], bytes], send: Chunk) -> None:
        """Sends events until the listener is gone or :meth:`stop` is called."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs has a task
        self._under_way.add(task)
        try:
            async with contextlib.aclosing(self._status.changes(self._heartbeat_s)) as changes:
                async for changed in changes:
                    event = (
                        b"event: status\ndata: " + render() + b"\n\n" if changed else b"event: heartbeat\ndata: {}\n\n"
                    )
                    async with asyncio.timeout(PATIENCE_S):
                        await send(event)
                    if changed:
                        await asyncio.sleep(PACE_S)
        finally:
            self._under_way.discard(task)


class EventStream:
    """The answer of one event stream."""

    media_type = b"text/event-stream; charset=utf-8"

    def __init__(self, broadcast: Broadcast, render: Callable[[], bytes], kind: Counter[str], name: str) -> None:
        self._broadcast, self._render, self._kind, self._name = broadcast, render, kind, name

    async def run(self, receive: Receive, send: Chunk) -> None:
        """Sends until the listener hangs up."""
        self._kind[self._name] += 1
        try:
            telling = asyncio.ensure_future(self._broadcast.run(self._render, send))
            hearing = asyncio.ensure_future(_hung_up(receive))
            await asyncio.wait((telling, hearing), return_when=asyncio.FIRST_COMPLETED)
            for task in (telling, hearing):
                task.cancel()
            told, _ = await asyncio.gather(telling, hearing, return_exceptions=True)
            if isinstance(told, TimeoutError):
                raise GoneError  # it takes nothing any more; the server hangs up on an answer without an end
            if isinstance(told, Exception):
                raise told
        finally:
            self._kind[self._name] -= 1


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
