"""Telling a wrong key from a damaged file, which SQLite calls by the same name: "file is not a database".

A wrong key must stop the agent, because the right one may come back; a damaged file must not, because sales go on
beside it. SQLCipher signs each page (HMAC-SHA-512 over the ciphertext, its IV and the page number), so a single page
that verifies proves the key. The salt that the signing key hangs on is usually read from the file's own first bytes,
which may be what is damaged; so it is derived from the key and handed to SQLCipher.

Source: SQLCipher design, https://www.zetetic.net/sqlcipher/design/ (raw keys with explicit salt, page layout).
"""

from __future__ import annotations

import hashlib
import hmac
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

PAGE_BYTES = 4_096
_SALT_BYTES, _IV_BYTES, _HMAC_BYTES = 16, 16, 64
RESERVED_BYTES = _IV_BYTES + _HMAC_BYTES
"""Of an encrypted page, at its end."""
_HMAC_SALT_MASK, _HMAC_ROUNDS = 0x3A, 2
_PLAIN = b"SQLite format 3\0"
_SAMPLE = 64  # pages looked at; damage is rarely that wide


@dataclass(frozen=True, slots=True)
class PageKey:
    """The key of an encrypted file, with the salt that belongs to it.

    Attributes:
        key: 32 bytes.
    """

    key: bytes = field(repr=False)

    @property
    def salt(self) -> bytes:
        """Sixteen bytes, the same whenever the key is."""
        return hashlib.blake2b(key=self.key, person=b"salt", digest_size=_SALT_BYTES).digest()

    @property
    def literal(self) -> str:
        """Key and salt as SQLCipher reads them. A secret: it must not be logged."""
        return f"x'{self.key.hex()}{self.salt.hex()}'"

    @property
    def pragma(self) -> str:
        """The statement that hands key and salt to SQLCipher. A secret: it must not be logged."""
        return f'PRAGMA key = "{self.literal}"'

    @property
    def pragma_anew(self) -> str:
        """The statement that encrypts an open file anew under this key. A secret: it must not be logged."""
        return f'PRAGMA rekey = "{self.literal}"'

    def wrote(self, path: Path) -> bool:
        """Whether any page of the file was written under this key."""
        signed = self.signed
        return any(signed(number, page) for number, page in _pages(path))

    @property
    def signed(self) -> Callable[[int, bytes], bool]:
        """Tells whether a page was written under this key, at the place of that number; 10 µs a page."""
        salt = bytes(byte ^ _HMAC_SALT_MASK for byte in self.salt)
        signing_key = hashlib.pbkdf2_hmac("sha512", self.key, salt, _HMAC_ROUNDS, len(self.key))
        begun = hmac.new(signing_key, digestmod="sha512")

        def signed(number: int, page: bytes) -> bool:
            mac = begun.copy()
            mac.update(page[_SALT_BYTES if number == 1 else 0 : -_HMAC_BYTES])  # the salt stands before the first page
            mac.update(number.to_bytes(4, "little"))
            return hmac.compare_digest(mac.digest(), page[-_HMAC_BYTES:])

        return signed

    def clear(self, number: int, page: bytes) -> bytes:
        """What an encrypted page says, in a page of the same size. Meant for a process of its own: it takes 9 MiB."""
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415 - see above

        first = _SALT_BYTES if number == 1 else 0
        iv = page[-RESERVED_BYTES:-_HMAC_BYTES]
        decryptor = Cipher(algorithms.AES(self.key), modes.CBC(iv)).decryptor()
        return _PLAIN[:first] + decryptor.update(page[first:-RESERVED_BYTES]) + page[-RESERVED_BYTES:]


def starts_plain(path: Path) -> bool:
    """Whether the file begins as an unencrypted database does."""
    with path.open("rb") as file:
        return file.read(len(_PLAIN)) == _PLAIN


def looks_encrypted(path: Path) -> bool:
    """Whether most pages beyond the first look like ciphertext: they cannot be compressed, as plain ones always can."""
    dense = [len(zlib.compress(page)) >= PAGE_BYTES for _, page in _pages(path)]
    return sum(dense) * 2 > len(dense)


def _pages(path: Path) -> Iterator[tuple[int, bytes]]:
    """The first whole pages beyond the first one, whose beginning is the salt, with their numbers."""
    with path.open("rb") as file:
        file.seek(PAGE_BYTES)
        for number in range(2, _SAMPLE + 2):
            page = file.read(PAGE_BYTES)
            if len(page) < PAGE_BYTES:
                return
            yield number, page
