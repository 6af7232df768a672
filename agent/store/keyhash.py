"""What stands in the replica instead of a person's keys: keyed hashes that only this installation can make.

BLAKE2b's own keyed mode (RFC 7693) with the identifier's type as the `person` parameter, so that a phone number and
a member number of the same digits have nothing in common. Sixteen bytes: among ten million contacts two keys collide
with a chance of one in 10^24.
"""

from __future__ import annotations

from hashlib import blake2b

from agent.domain.identifiers import Identifier, IdentifierType

HASH_BYTES = 16
KEY_BYTES = 32


class KeyHash:
    """Hashes normalised identifiers under one secret key. Picklable; the key never shows in a repr.

    Args:
        key: 16 to 64 secret bytes; with another key every stored hash means nobody.
    """

    def __init__(self, key: bytes) -> None:
        if not HASH_BYTES <= len(key) <= blake2b.MAX_KEY_SIZE:
            raise ValueError(f"the hash key has {len(key)} bytes instead of {HASH_BYTES} to {blake2b.MAX_KEY_SIZE}")
        self._key = key
        # A keyed state is copied per value: half the cost of building one.
        self._states = {kind: self._state(kind.value) for kind in IdentifierType}

    def __reduce__(self) -> tuple[type[KeyHash], tuple[bytes]]:
        return KeyHash, (self._key,)

    def __repr__(self) -> str:
        return "KeyHash()"

    def of(self, kind: IdentifierType, value: str) -> bytes:
        """The 16-byte hash of a normalised value of that type."""
        state = self._states[kind].copy()
        state.update(value.encode())
        return state.digest()

    def of_identifier(self, identifier: Identifier) -> bytes:
        """The 16-byte hash of an identifier; groups what belongs to one person without naming anybody."""
        return self.of(identifier.type, identifier.value)

    def derive(self, purpose: str) -> bytes:
        """Sixteen secret bytes for another purpose, named in at most sixteen ASCII characters."""
        return self._state(purpose).digest()

    def _state(self, person: str) -> blake2b:
        return blake2b(digest_size=HASH_BYTES, key=self._key, person=person.encode())
