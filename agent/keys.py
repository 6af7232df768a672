"""The storage key: where it lies, what hangs on it, and how a new one takes its place.

Everything that must not be readable without it hangs on keys derived from it (:func:`subkey`): the pages of both
databases directly, what has to outlive it (the keys of hashes that are compared for years) sealed under it
(:func:`seal`). So it can be exchanged, and throwing it away is the end of the data.

While a new key takes the place of a former one both are at hand, and each file is under one of them. A key that the
agent makes itself waits beside the present one as `storage.key.next` until every file is under it; a key that is
handed over names its predecessor in `storage.previous_key`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from agent.disk import erase, overwrite, sync_directory, write_durably
from agent.errors import StorageKeyError
from agent.secrets import SecretReference

KEY_BYTES = 32
_NONCE_BYTES, _TAG_BYTES = 16, 16
SEALED_BYTES = _NONCE_BYTES + KEY_BYTES + _TAG_BYTES


@dataclass(frozen=True, slots=True)
class StorageKeys:
    """The storage key, and those before it that files may still be under.

    Attributes:
        current: what everything is kept under, or is to be.
        former: earlier keys; empty unless one is being exchanged.
        unreadable: why `storage.previous_key` could not be read; nobody needs to know unless it is missed.
    """

    current: bytes = field(repr=False)
    former: tuple[bytes, ...] = field(default=(), repr=False)
    unreadable: str = ""

    def __iter__(self) -> Iterator[bytes]:
        """The current one first."""
        yield self.current
        yield from self.former


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where the storage key lies.

    Attributes:
        reference: `storage.key`.
        previous: `storage.previous_key`, or None.
    """

    reference: SecretReference
    previous: SecretReference | None = None

    @property
    def name(self) -> str:
        """The reference as the configuration spells it."""
        return f"{self.reference.kind}:{self.reference.name}"

    def read(self, *, may_create: bool) -> StorageKeys:
        """The key, and those it follows.

        Args:
            may_create: no database exists yet, so that a `file:` key may be made.

        Raises:
            StorageKeyError: it is missing, or not 32 bytes in base64.
        """
        previous, unreadable = self._previous()
        path = self._own_file()
        if path is not None and not path.exists():
            if not may_create and previous is None:
                raise StorageKeyError(f"there are databases, but their key is missing: {self.name}")
            self._make(path)
        current = _parse("storage.key", self.reference)
        former = [previous] if previous is not None else []
        if (following := self._next()) is not None and following.exists():
            former.insert(0, current)
            current = _parse("storage.key", SecretReference("file", following.name, following.parent))
        return StorageKeys(current, tuple(key for key in dict.fromkeys(former) if key != current), unreadable)

    def prepare(self) -> bool:
        """Makes the key that is to follow, unless there is one already; False where keys are handed over to us.

        Raises:
            StorageKeyError: it cannot be written.
        """
        following = self._next()
        if following is not None and not following.exists():
            self._make(following)
        return following is not None

    def settle(self) -> None:
        """Every file is under the new key: it takes the former one's place, which is overwritten. Idempotent.

        Raises:
            StorageKeyError: its directory cannot be written.
        """
        path, following = self._own_file(), self._next()
        if path is None or following is None or not following.exists():
            return
        try:
            if sys.platform == "win32":
                take_place(following, path)
            else:
                with path.open("r+b") as former:  # held open, so that the bytes of the former key can be found again
                    following.replace(path)
                    sync_directory(path.parent)
                    overwrite(former)
        except OSError as error:
            raise StorageKeyError(f"storage.key: {self.name} cannot be replaced: {error.strerror}") from None

    def _own_file(self) -> Path | None:
        return self.reference.path if self.reference.kind == "file" else None

    def _next(self) -> Path | None:
        path = self._own_file()
        return path.with_name(f"{path.name}.next") if path is not None else None

    def _previous(self) -> tuple[bytes | None, str]:
        """The former key that was handed over, or why there is none. Once nothing is under it, it may be taken away."""
        if self.previous is None:
            return None, ""
        try:
            return _parse("storage.previous_key", self.previous), ""
        except StorageKeyError as error:
            return None, str(error)

    def _make(self, path: Path) -> None:
        try:
            write_durably(path, base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
        except OSError as error:
            raise StorageKeyError(f"storage.key: {self.name} cannot be made: {error.strerror}") from None


def take_place(following: Path, path: Path) -> None:
    """Puts a key file in another's place and overwrites that one, on a system that replaces no open file.

    Until it is overwritten a second name leads to it; one that a killed run left is overwritten by the next.

    Raises:
        OSError: a file system without second names, or the disk says no.
    """
    former = path.with_name(f"{path.name}.former")
    erase(former)
    former.hardlink_to(path)
    following.replace(path)
    erase(former)


def _parse(setting: str, reference: SecretReference) -> bytes:
    try:
        key = base64.b64decode(reference.read(), validate=True)
    except (ValueError, binascii.Error) as error:
        raise StorageKeyError(f"{setting}: {error}") from None
    if len(key) != KEY_BYTES:
        name = f"{reference.kind}:{reference.name}"
        raise StorageKeyError(f"{setting}: {name} does not hold {KEY_BYTES} bytes in base64")
    return key


def subkey(master: bytes, purpose: str, secret: bytes = b"") -> bytes:
    """A key for one purpose; knowing it tells nothing of the master or of the others.

    Args:
        master: the storage key, or any other key.
        purpose: at most 16 ASCII characters.
        secret: another key that is needed too.
    """
    return blake2b(b"loyalty-agent" + secret, key=master, person=purpose.encode(), digest_size=32).digest()


def seal(key: bytes, secret: bytes) -> bytes:
    """A key of 32 bytes that only who has another key can read (:func:`unseal`).

    A one-time pad from a keyed BLAKE2b of a random nonce, and a keyed BLAKE2b over both: what AES key wrap would be,
    without 9 MiB of library in memory for two keys read at each start.
    """
    if len(secret) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(secret)}")
    nonce = secrets.token_bytes(_NONCE_BYTES)
    hidden = nonce + _mask(key, nonce, secret)
    return hidden + _tag(key, hidden)


def unseal(key: bytes, sealed: bytes) -> bytes | None:
    """The key that was sealed under this one; None when it was another one, or the bytes are damaged."""
    hidden, tag = sealed[:-_TAG_BYTES], sealed[-_TAG_BYTES:]
    if len(sealed) != SEALED_BYTES or not hmac.compare_digest(tag, _tag(key, hidden)):
        return None
    return _mask(key, hidden[:_NONCE_BYTES], hidden[_NONCE_BYTES:])


def _mask(key: bytes, nonce: bytes, text: bytes) -> bytes:
    pad = blake2b(nonce, key=key, person=b"seal", digest_size=KEY_BYTES).digest()
    return bytes(left ^ right for left, right in zip(text, pad, strict=True))


def _tag(key: bytes, hidden: bytes) -> bytes:
    return blake2b(hidden, key=key, person=b"seal-tag", digest_size=_TAG_BYTES).digest()
