"""Taking turns about one customer: whoever sends or looks for a receipt of theirs has their books alone meanwhile."""

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from weakref import WeakValueDictionary


class Turns:
    """A lock for each customer that somebody is at work on."""

    def __init__(self) -> None:
        self._under_way: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    def of(self, customer: int | None) -> AbstractAsyncContextManager[None]:
        """Held by whoever is at work on the customer's receipts; a guest's are among nobody's."""
        return nullcontext() if customer is None else self._under_way.setdefault(customer, asyncio.Lock())
