"""Handles of people whom only the vendor knows yet: in memory alone, for a few hours, so that no call names a person.

And by what kind of identifier whoever has a handle was named last: what anybody may say is good for earning alone.

Whom the replica knows has a handle of its own there, which lasts.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from agent.domain.identifiers import IdentifierType
from agent.domain.transaction import IntegrationKey
from agent.ports import Clock
from agent.services.contacts import LocalContacts

KEPT_S = 4 * 3600.0
"""A visit to a shop is over by then."""
MOST = 2_000
_BYTES = 16


class Handles:
    """Gives handles, knows whose they are, and how whoever has one was named.

    Args:
        clock: for how long they last.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._keys: OrderedDict[str, tuple[IntegrationKey, float]] = OrderedDict()
        self._refs: dict[IntegrationKey, str] = {}
        self._named: OrderedDict[str, tuple[frozenset[IdentifierType], float]] = OrderedDict()

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

    def named(self, ref: str, types: Iterable[IdentifierType]) -> None:
        """Somebody has just been named by what can be an identifier of these types."""
        self._named[ref] = (frozenset(types), self._clock.monotonic())
        self._named.move_to_end(ref)
        if len(self._named) > MOST:
            self._named.popitem(last=False)

    def is_named_by(self, ref: str, types: Collection[IdentifierType]) -> bool:
        """Whether somebody was named last by one of these and by nothing else, not too long ago."""
        named, mono = self._named.get(ref, (frozenset(), 0.0))
        return bool(named) and named <= frozenset(types) and self._clock.monotonic() - mono < KEPT_S

    def forget(self) -> None:
        """Forgets whose handles they are; by which types of identifier they were named says nothing of a person."""
        self._keys.clear()
        self._refs.clear()

    def _drop_old(self) -> None:
        oldest = self._clock.monotonic() - KEPT_S
        while self._keys and next(iter(self._keys.values()))[1] <= oldest:
            self._drop()

    def _drop(self) -> None:
        _, (key, _) = self._keys.popitem(last=False)
        del self._refs[key]


@dataclass(frozen=True, slots=True)
class Refs:
    """Whose a handle is.

    Attributes:
        contacts: whom the replica knows.
        handles: whom only the vendor knows.
    """

    contacts: LocalContacts
    handles: Handles

    def key(self, ref: str) -> IntegrationKey | None:
        """The primary key of whoever has it; None when nobody has."""
        member = self.contacts.member(ref)
        return member.key if member is not None else self.handles.key(ref)
