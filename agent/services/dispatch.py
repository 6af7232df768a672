"""Taking sales to the vendors: one lane each, so that trouble in one never delays another."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from agent.services.lane import Lane


class Dispatch:
    """All lanes.

    Attributes:
        lanes: each runs by itself, so that what fails in one ends no other.
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self.lanes = tuple(lanes)
        self._paused = False

    def held(self) -> frozenset[str]:
        """Vendors whose lane is held."""
        return frozenset(lane.vendor for lane in self.lanes if lane.held)

    def rests(self) -> dict[str, datetime]:
        """Vendors of whom nothing is asked for a while, and until when."""
        return {lane.vendor: until for lane in self.lanes if (until := lane.rests_until()) is not None}

    def wake(self) -> None:
        """Something is queued."""
        for lane in self.lanes:
            lane.wake()

    @property
    def paused(self) -> bool:
        """Whether deliveries were stopped by :meth:`pause`."""
        return self._paused

    def pause(self) -> None:
        """Sends nothing more until :meth:`resume`."""
        for lane in self.lanes:
            lane.pause()
        self._paused = True

    def resume(self) -> None:
        """Sends again."""
        for lane in self.lanes:
            lane.resume()
        self._paused = False

    @contextlib.asynccontextmanager
    async def halted(self) -> AsyncIterator[None]:
        """Nothing is leased or on its way to anybody while the block runs."""
        async with contextlib.AsyncExitStack() as stack:
            for lane in self.lanes:
                await stack.enter_async_context(lane.halted())
            yield

    async def flush(self) -> None:
        """Tries everything now."""
        for lane in self.lanes:
            await lane.flush()
