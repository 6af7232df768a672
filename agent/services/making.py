"""Nobody is made twice because two ways of making contacts meet: a till that enrols them, and a sale that has them new.

A loyalty system need not refuse a second contact with the same phone. Whoever is about to ask for somebody, and to make
them if nobody is there, does both alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary

from agent.domain.identifiers import Identifier


class Making:
    """Who is being made at this moment, by what names them."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Identifier, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def alone(self, names: Iterable[Identifier]) -> AsyncIterator[None]:
        """While the block runs, nobody else with one of these names is made, nor asked for to be made."""
        async with AsyncExitStack() as held:
            # In one order, lest two wait for each other.
            for one in sorted(set(names), key=lambda name: (name.type, name.value)):
                await held.enter_async_context(self._locks.setdefault(one, asyncio.Lock()))
            yield

    @asynccontextmanager
    async def alone_in_time(self, names: Iterable[Identifier], within_s: float) -> AsyncIterator[bool]:
        """Whether it is so while the block runs; waited for as a cashier waits."""
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(within_s):
                    await held.enter_async_context(self.alone(names))
            except TimeoutError:
                yield False
                return
            yield True
