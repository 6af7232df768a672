"""What a till said in one sale, person and all, as the one text that :mod:`agent.store.statements` keeps of it.

A line of JSON with whom it names, then the sale as :func:`agent.domain.transaction.body_of` wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from agent.domain.identifiers import Identifier, IdentifierType
from agent.domain.transaction import IntegrationKey
from agent.store.keyhash import KeyHash


@dataclass(frozen=True, slots=True)
class Said:
    """The personal part of a sale.

    Attributes:
        key: the integration key's value.
        readings: what the customer's identifier can be.
        body: the sale.
        ref: the handle of the member whom the replica knew them as, when it was exactly one.
        forgotten: keyed hashes, in hex, of the key and the readings that were forgotten when the tag was settled:
            whoever is erased later is found by any of their keys.
        borrowed: the key is the one that the sale it is about had, not one that the till named.
    """

    key: str | None = field(repr=False)
    readings: Sequence[Identifier] = field(repr=False)
    body: str = field(repr=False)
    ref: str | None = None
    forgotten: tuple[str, ...] = field(default=(), repr=False)
    borrowed: bool = False

    def text(self) -> str:
        """The text that :meth:`parse` reads."""
        readings = [(item.type, item.value) for item in self.readings]
        head = [self.key, readings, self.ref, self.forgotten, self.borrowed]
        return json.dumps(head) + "\n" + self.body

    @classmethod
    def parse(cls, text: str) -> Said:
        """What :meth:`text` wrote. Raises ValueError when it is not that."""
        head, _, body = text.partition("\n")
        try:
            key, readings, ref, forgotten, borrowed = json.loads(head)
            read = tuple(Identifier(IdentifierType(kind), value) for kind, value in readings)
            return cls(key, read, body, ref, tuple(forgotten), borrowed)
        except TypeError as error:
            raise ValueError("is not what was said in a sale") from error

    def settled(self, key: IntegrationKey, hashes: KeyHash, *, was: str | None) -> Said:
        """The same sale under the key it goes out with; what it had before is known by its hashes alone.

        Args:
            key: settled now.
            hashes: makes them.
            was: the type of the key that it had.
        """
        seen = dict.fromkeys(hashed.hex() for hashed in self.keys(was, hashes.of))
        return Said(key.value, (), self.body, self.ref, tuple(seen))

    @property
    def names_nobody(self) -> bool:
        """The till named nobody in it."""
        return not (self.readings or self.forgotten or self.ref) and (self.key is None or self.borrowed)

    def keys(self, kind: str | None, hash_of: Callable[[IdentifierType, str], bytes]) -> Iterator[bytes]:
        """The keyed hash of everything that names somebody here; ``kind`` is the type of the integration key."""
        if self.key is not None and kind is not None:
            yield hash_of(IdentifierType(kind), self.key)
        for item in self.readings:
            yield hash_of(item.type, item.value)
        yield from map(bytes.fromhex, self.forgotten)
