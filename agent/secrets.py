"""Secrets by reference: `file:PATH`, `env:NAME`, `credential:NAME`. Their values stay out of every settings model."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from agent import paths
from agent.errors import ConfigurationError, Fault
from agent.ports import Clock

REFERENCE_KINDS = ("file", "env", "credential")
MAX_AGE_S = 60.0


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
            # What systemd loads from a directory it names after that credential and the file (systemd.exec(5)).
            of_a_directory = directory / f"{paths.APP}_{self.name}"
            # os.path's word is no where nobody may look: whoever reads it hears why.
            return of_a_directory if os.path.exists(of_a_directory) else directory / self.name  # noqa: PTH110
        return None

    def read(self) -> str:
        """The secret, white space around it dropped. Raises ValueError, which names the reference alone."""
        if self.kind == "env":
            value = os.environ.get(self.name, "")
        elif (path := self.path) is None:
            raise ValueError(f"credential {self.name}: not started by a service manager that hands credentials over")
        else:
            try:
                value = path.read_text(encoding="utf-8-sig")  # Windows' own editors begin with the mark
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
