"""Handles of people whom only the vendor knows yet: in memory alone, for a few hours, so that no call names a person.

And what whoever has a handle was named by. By what kind of identifier last: what anybody may say is good for earning
alone. And by which, beside their key: whatever is put on record of them is found by that when they are to be erased.

Whom the replica knows has a handle of its own there, which lasts.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.transaction import IntegrationKey
from agent.ports import Clock
from agent.services.contacts import LocalContacts

KEPT_S = 4 * 3600.0
"""A visit to a shop is over by then."""
MOST = 2_000
_BYTES = 16


def names_of(key: IntegrationKey, readings: Collection[Identifier], contact_id: str | None) -> tuple[Identifier, ...]:
    """What names the person with that key beside it.

    Args:
        key: their primary key. Of its type there is no other: a reading of the same type names somebody else.
        readings: what a value that led to them can be; if one is the key, it was that.
        contact_id: what the vendor calls them.
    """
    own = (Identifier(IdentifierType.CONTACT_ID, contact_id),) if contact_id else ()
    said = () if key.identifier in readings else readings
    return tuple(dict.fromkeys(name for name in (*own, *said) if name.type is not key.type))


@dataclass(frozen=True, slots=True)
class _Named:
    """How somebody was named.

    Attributes:
        types: by what can be an identifier of these types, last.
        mono: when that was, monotonic seconds.
        names: by these, ever.
    """

    types: frozenset[IdentifierType]
    mono: float
    names: tuple[Identifier, ...] = field(repr=False)


class Handles:
    """Gives handles, knows whose they are, and how whoever has one was named.

    Args:
        clock: for how long they last.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._keys: OrderedDict[str, tuple[IntegrationKey, float]] = OrderedDict()
        self._refs: dict[IntegrationKey, str] = {}
        self._named: OrderedDict[str, _Named] = OrderedDict()

    def give(self, key: IntegrationKey) -> str:
        """The handle of whoever has this primary key; the same one for as long as it is asked for."""
        self.purge()
        ref = self._refs.get(key) or f"v_{secrets.token_hex(_BYTES)}"
        self._refs[key] = ref
        self._keys[ref] = (key, self._clock.monotonic())
        self._keys.move_to_end(ref)
        if len(self._keys) > MOST:
            self._drop()
        return ref

    def key(self, ref: str) -> IntegrationKey | None:
        """Whose handle that is; None when nobody's, or not any more."""
        self.purge()
        found = self._keys.get(ref)
        return found[0] if found is not None else None

    def named(self, ref: str, types: Iterable[IdentifierType], names: Collection[Identifier] = ()) -> bool:
        """Somebody has just been named by what can be an identifier of these types; whether one of the names is new.

        Args:
            ref: whoever has this handle.
            types: of everything that the value can be.
            names: what names them beside their key.
        """
        before = self.names(ref)
        every = tuple(dict.fromkeys((*before, *names)))
        self._named[ref] = _Named(frozenset(types), self._clock.monotonic(), every)
        self._named.move_to_end(ref)
        if len(self._named) > MOST:
            self._named.popitem(last=False)
        return every != before

    def names(self, ref: str) -> tuple[Identifier, ...]:
        """Everything that somebody was named by beside their key, in this visit."""
        self.purge()
        named = self._named.get(ref)
        return named.names if named is not None else ()

    def is_named_by(self, ref: str, types: Collection[IdentifierType]) -> bool:
        """Whether somebody was named last by one of these and by nothing else, not too long ago."""
        self.purge()
        named = self._named.get(ref)
        return named is not None and bool(named.types) and named.types <= frozenset(types)

    def forget(self) -> None:
        """Forgets whose handles they are, and every name; by which types they were named says nothing of a person."""
        self._keys.clear()
        self._refs.clear()
        for ref, named in self._named.items():
            self._named[ref] = replace(named, names=())

    def purge(self) -> None:
        """Drops what is too old."""
        oldest = self._clock.monotonic() - KEPT_S
        while self._keys and next(iter(self._keys.values()))[1] <= oldest:
            self._drop()
        while self._named and next(iter(self._named.values())).mono <= oldest:
            self._named.popitem(last=False)

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

    def joining(self, ref: str) -> bool:
        """Whether it is somebody made at this till whom the vendor does not have yet."""
        member = self.contacts.member(ref)
        return member is not None and member.own
