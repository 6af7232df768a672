"""Handles of people whom only the vendor knows yet: in memory alone, for a few hours, so that no call names a person.

Whom the replica knows has a handle of its own there, which lasts.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict

from agent.domain.transaction import IntegrationKey
from agent.ports import Clock

KEPT_S = 4 * 3600.0
"""A visit to a shop is over by then."""
MOST = 2_000
_BYTES = 16


class Handles:
    """Gives handles, and knows whose they are.

    Args:
        clock: for how long they last.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._keys: OrderedDict[str, tuple[IntegrationKey, float]] = OrderedDict()
        self._refs: dict[IntegrationKey, str] = {}

    def give(self, key: IntegrationKey) -> str:
        """The handle of whoever has this primary key; the same one for as long as it is asked for."""
        self._drop_old()
        ref = self._refs.get(key) or f"v_{secrets.token_hex(_BYTES)}"
        self._refs[key] = ref
        self._keys[ref] = (key, self._clock.monotonic())
        self._keys.move_to_end(ref)
        if len(self._keys) > MOST:
            self._drop()
        return ref

    def key(self, ref: str) -> IntegrationKey | None:
        """Whose handle that is; None when nobody's, or not any more."""
        self._drop_old()
        found = self._keys.get(ref)
        return found[0] if found is not None else None

    def forget(self) -> None:
        """Forgets everybody."""
        self._keys.clear()
        self._refs.clear()

    def _drop_old(self) -> None:
        oldest = self._clock.monotonic() - KEPT_S
        while self._keys and next(iter(self._keys.values()))[1] <= oldest:
            self._drop()

    def _drop(self) -> None:
        _, (key, _) = self._keys.popitem(last=False)
        del self._refs[key]
