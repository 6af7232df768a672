"""Secrets by reference: `file:PATH`, `env:NAME`, `credential:NAME`. Their values stay out of every settings model.

The one secret the agent makes itself is the storage key: everything that must be told apart without being readable
(look-up hashes, fingerprints, encrypted pages) hangs on keys derived from it.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets as stdlib_secrets
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from agent import paths
from agent.errors import ConfigurationError, Fault, StorageKeyError
from agent.ports import Clock

REFERENCE_KINDS = ("file", "env", "credential")
MAX_AGE_S = 60.0
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class SecretReference:
    """Where a secret is, never what it is.

    Attributes:
        kind: ``file``, ``env`` or ``credential``.
        name: a path, or a name.
        base: the directory that a relative path starts from.
    """

    kind: str
    name: str
    base: Path

    @classmethod
    def parse(cls, text: str, base: Path) -> SecretReference:
        """The reference that ``text`` spells. Raises ValueError when it is none."""
        kind, separator, name = text.partition(":")
        if not separator or kind not in REFERENCE_KINDS or not name:
            raise ValueError("is not a reference: file:PATH, env:NAME or credential:NAME")
        return cls(kind, name, base)

    @property
    def path(self) -> Path | None:
        """The file behind it; None for a variable, or a credential outside a service."""
        if self.kind == "file":
            return self.base / self.name
        if self.kind == "credential" and (directory := paths.credentials_dir()):
            return directory / self.name
        return None

    def read(self) -> str:
        """The secret, white space around it dropped. Raises ValueError, which names the reference alone."""
        if self.kind == "env":
            value = os.environ.get(self.name, "")
        elif (path := self.path) is None:
            raise ValueError(f"credential {self.name}: not started by a service manager that hands credentials over")
        else:
            try:
                value = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
                raise ValueError(f"{self.kind}:{self.name} cannot be read: {reason}") from None
        if not value.strip():
            raise ValueError(f"{self.kind}:{self.name} is empty")
        return value.strip()


class WatchedSecret:
    """A secret that is read again at most once a minute, or as soon as a vendor refused it."""

    def __init__(self, reference: SecretReference, clock: Clock) -> None:
        self._reference, self._clock = reference, clock
        self._value: str | None = None
        self._read_mono = 0.0

    def value(self) -> str:
        """The secret as it stands now. Raises ConfigurationError when it cannot be read."""
        now = self._clock.monotonic()
        if self._value is None or now - self._read_mono >= MAX_AGE_S:
            try:
                self._value = self._reference.read()
            except ValueError as error:
                if self._value is None:
                    raise ConfigurationError(
                        [Fault(f"{self._reference.kind}:{self._reference.name}", str(error))]
                    ) from None
            self._read_mono = now
        return self._value

    def refused(self) -> None:
        """The vendor refused it: it is read again before the next use."""
        self._read_mono = float("-inf")


def storage_key(reference: SecretReference, *, may_create: bool) -> bytes:
    """The 32 bytes that the databases hang on.

    Args:
        reference: `storage.key`.
        may_create: no database exists yet, so that a `file:` key may be made.

    Raises:
        StorageKeyError: it is missing, or not 32 bytes in base64.
    """
    path = reference.path
    if reference.kind == "file" and path is not None and not path.exists():
        if not may_create:
            raise StorageKeyError(f"there are databases, but their key is missing: {reference.kind}:{reference.name}")
        try:
            _write_durably(path, base64.b64encode(stdlib_secrets.token_bytes(KEY_BYTES)) + b"\n")
        except OSError as error:
            raise StorageKeyError(f"storage.key: file:{reference.name} cannot be made: {error.strerror}") from None
    try:
        key = base64.b64decode(reference.read(), validate=True)
    except (ValueError, binascii.Error) as error:
        raise StorageKeyError(f"storage.key: {error}") from None
    if len(key) != KEY_BYTES:
        raise StorageKeyError(
            f"storage.key: {reference.kind}:{reference.name} does not hold {KEY_BYTES} bytes in base64"
        )
    return key


def _write_durably(path: Path, content: bytes) -> None:
    """Puts a secret file in its place whole, for its owner alone, and on disk before anything depends on it."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    if hasattr(os, "O_DIRECTORY"):  # Windows has none, and needs none
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def subkey(master: bytes, purpose: str) -> bytes:
    """A key for one purpose; knowing it tells nothing of the master or of the others.

    Args:
        master: the storage key.
        purpose: at most 16 ASCII characters.
    """
    return blake2b(b"loyalty-agent", key=master, person=purpose.encode(), digest_size=32).digest()
