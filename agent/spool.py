"""Export files on their way into the replica: on disk, and readable only by the processes that read them now.

An export names every member in clear. A copy of it is encrypted as it is written, under a key that exists in memory
alone: what a killed run leaves behind is noise for ever, whatever becomes of the storage key.
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class SpooledFile:
    """A copy in the spool; picklable, so that another process can read it. Opened as a `pathlib.Path` is.

    Attributes:
        path: where the noise lies.
        key: of this copy alone, 32 bytes.
    """

    path: Path
    key: bytes = field(repr=False)

    @classmethod
    def at(cls, path: Path) -> Self:
        """A copy that is still to be written."""
        return cls(path, secrets.token_bytes(KEY_BYTES))

    @property
    def name(self) -> str:
        """The export's own name."""
        return self.path.name

    def writing(self, file: BinaryIO) -> Callable[[bytes], object]:
        """What is called with each piece of the export, in order, to write it to an open file."""
        cipher = self._cipher().encryptor()
        return lambda piece: file.write(cipher.update(piece))

    def open(self, mode: str = "rb", buffering: int = -1) -> BinaryIO:
        """The export, to be read from its beginning. Raises OSError."""
        if mode != "rb":
            raise ValueError("a spooled file is read as bytes")
        plain = _Plain(self.path.open("rb", buffering=0), self._cipher().decryptor())
        return cast("BinaryIO", plain if buffering == 0 else io.BufferedReader(plain))

    def _cipher(self) -> Any:
        # 9 MiB that only a loader process with a feed to download needs.
        from cryptography.hazmat.primitives.ciphers import Cipher  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.algorithms import AES  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.modes import CTR  # noqa: PLC0415

        return Cipher(AES(self.key), CTR(bytes(16)))  # the key is used once, so the counter may begin at nothing


class _Plain(io.RawIOBase):
    """Reads noise as what it was."""

    def __init__(self, noise: io.FileIO, cipher: Any) -> None:
        self._noise, self._cipher = noise, cipher

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        """Of the noise, which is as long."""
        return self._noise.fileno()

    def readinto(self, buffer: Any) -> int:
        piece = self._cipher.update(self._noise.read(len(buffer)))
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._noise.close()
        super().close()
