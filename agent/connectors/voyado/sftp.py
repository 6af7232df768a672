"""Export files on an SFTP server: `ftp.voyado.com`, port 22, where the account decides what is seen.

The server is believed no more than needed: its key is pinned, what it lists is checked by name, and no file of it
takes more room than was listed. Sources: Voyado, file transfer by FTP; contact XML export.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes.util
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

from agent.connectors.folders import check_listing, check_unchanged, listed
from agent.connectors.voyado.files import MAX_FILE_BYTES, Part, check, is_export, is_strange
from agent.disk import PRIVATE, sync_directory, telling
from agent.errors import (
    ConfigurationError,
    Fault,
    FeedUnreadableError,
    VendorRefusedError,
    VendorUnreachableError,
)
from agent.ports import ExportFile, LocalFile, Secret
from agent.spool import SpooledFile

if TYPE_CHECKING:
    import asyncssh

PIECE_BYTES = 1024 * 1024
SLOWEST_BYTES_S = 16 * 1024
"""Slowest download that is waited for, in bytes a second: a part of 14 MB in a quarter of an hour."""

_GRACE_S = 1.0
_PARTIAL = ".part"
_SPOOL = "the spool for export files cannot be used"
_FILE_TYPES = (1, 5)  # SFTP's regular file, and unknown: a server may leave the type out
_BINARY = getattr(os, "O_BINARY", 0)


@dataclass(slots=True, eq=False)
class SftpSource:
    """Export files on an SFTP server, downloaded one by one into a spool of our own.

    Only a server whose host key stands in ``known_hosts`` is spoken to; nothing of the user's own SSH set-up (agent,
    configuration, keys) is used. After an error the source is to be left and entered again.

    Args:
        url: ``sftp://user@host[:port]/folder``.
        secret: the account's private key (PEM or OpenSSH, without passphrase) or its password; which one is seen from
            its form.
        known_hosts: the server's host keys, in OpenSSH's format.
        spool: a directory for downloads alone; what an earlier run left in it is removed.
        max_bytes: largest file that is downloaded.
        answer_timeout_s: longest wait for any one answer; a download is asked for in pieces of 1 MiB.

    Raises:
        ConfigurationError: the URL is not of that form.
    """

    url: str = field(repr=False)
    secret: Secret = field(repr=False)
    known_hosts: Path
    spool: Path
    max_bytes: int = MAX_FILE_BYTES
    answer_timeout_s: float = 60.0
    _folder: str = field(init=False, repr=False)
    _stack: contextlib.AsyncExitStack = field(init=False, repr=False, default_factory=contextlib.AsyncExitStack)
    _connection: asyncssh.SSHClientConnection | None = field(init=False, repr=False, default=None)
    _sftp: asyncssh.SFTPClient | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme != "sftp" or not parts.hostname or not parts.username or parts.password or parts.query:
            raise ConfigurationError([Fault("voyado.feed", "is not sftp://user@host/folder")])
        self._folder = unquote(parts.path).rstrip("/") or "/"

    async def __aenter__(self) -> Self:
        """Connects. Raises VendorUnreachableError, VendorRefusedError, StorageError."""
        with telling(_SPOOL):
            self.spool.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            for path in self.spool.iterdir():
                if Part.of(path.name.removesuffix(_PARTIAL)):
                    path.unlink()
        try:
            await self._connect()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._sftp = None
        with contextlib.suppress(VendorUnreachableError, VendorRefusedError):  # nothing is asked any more
            async with self._answer():
                await self._stack.aclose()

    async def list(self) -> list[ExportFile]:
        """The export files that are there. Raises VendorUnreachableError, VendorRefusedError, FeedError."""
        return list(await self._scan(is_export))

    async def strangers(self) -> Sequence[ExportFile]:
        """The other files. Raises VendorUnreachableError, VendorRefusedError, FeedError."""
        return await self._scan(is_strange)

    async def _scan(self, wanted: Callable[[str], bool]) -> Sequence[ExportFile]:
        found: list[ExportFile] = []
        count = 0
        async with self._answer():
            async for entry in self._client().scandir(self._folder):
                count += 1
                check_listing(count)
                name, attrs = str(entry.filename), entry.attrs
                if attrs.type in _FILE_TYPES and attrs.size is not None and wanted(name):
                    found.append(listed(name, attrs.size, attrs.mtime or 0))
        return found

    async def fetch(self, file: ExportFile) -> SpooledFile:
        """A copy in the spool, noise to everybody else.

        Raises:
            FeedUnreadableError: it is larger than allowed, gone, not to be read, or not what was listed.
            StorageError: the spool cannot take it.
            VendorUnreachableError, VendorRefusedError: as everywhere.
        """
        check(file, self.max_bytes)
        target = SpooledFile.at(self.spool / file.name)
        partial = self.spool / (file.name + _PARTIAL)
        try:
            with telling(_SPOOL):
                descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o600)
            with os.fdopen(descriptor, "wb") as copy:
                await self._download(file, target.writing(copy))
            with telling(_SPOOL):
                partial.replace(target.path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return target

    async def discard(self, file: LocalFile) -> None:
        """Removes a copy from the spool. Raises StorageError."""
        with telling(_SPOOL):
            (self.spool / file.name).unlink(missing_ok=True)
            sync_directory(self.spool)

    async def _connect(self) -> None:
        with _without_library_search():
            import asyncssh  # noqa: PLC0415 - 30 MiB that a till with another feed never needs

        logging.getLogger("asyncssh").setLevel(logging.WARNING)  # below that it names the account
        try:
            known_hosts = asyncssh.read_known_hosts(str(self.known_hosts))
        except (OSError, ValueError):
            raise VendorRefusedError(
                "the known_hosts file cannot be read; without the SFTP server's host key it is not spoken to"
            ) from None
        try:
            secret = self.secret.value()
        except ConfigurationError:
            raise VendorRefusedError("the SFTP account's key or password cannot be read") from None
        is_key = "-----BEGIN" in secret
        try:
            keys = [asyncssh.import_private_key(secret)] if is_key else []
        except Exception:  # noqa: BLE001 - beside its own errors asyncssh lets through what its parsers trip over
            self.secret.refused()
            raise VendorRefusedError(
                "the SFTP account's private key cannot be used: damaged, or has a passphrase"
            ) from None
        parts = urlsplit(self.url)
        async with self._answer():
            self._connection = connection = await self._stack.enter_async_context(
                asyncssh.connect(
                    parts.hostname or "",
                    parts.port or 22,
                    username=unquote(parts.username or ""),
                    password=None if is_key else secret,
                    client_keys=keys or None,
                    preferred_auth="publickey" if is_key else "password,keyboard-interactive",
                    known_hosts=known_hosts,
                    config=None,
                    agent_path=None,
                    compression_algs=["zlib@openssh.com", "none"],
                    connect_timeout=self.answer_timeout_s,
                    login_timeout=self.answer_timeout_s,
                    keepalive_interval=self.answer_timeout_s / 4,
                )
            )
            self._sftp = await self._stack.enter_async_context(connection.start_sftp_client(path_errors="replace"))

    async def _download(self, file: ExportFile, write: Callable[[bytes], object]) -> None:
        try:
            async with asyncio.timeout(self.answer_timeout_s + file.size_bytes / SLOWEST_BYTES_S):
                await self._copy(file, write)
        except TimeoutError:
            raise VendorUnreachableError("the SFTP server sends too slowly") from None

    async def _copy(self, file: ExportFile, write: Callable[[bytes], object]) -> None:
        import asyncssh  # noqa: PLC0415 - see _connect

        async with contextlib.AsyncExitStack() as stack:
            async with self._answer():
                try:
                    remote = await self._client().open(f"{self._folder}/{file.name}", "rb")
                except asyncssh.SFTPNoSuchFile:
                    raise FeedUnreadableError(f"{file.name}: is gone since it was listed") from None
                except asyncssh.SFTPPermissionDenied:
                    raise FeedUnreadableError(f"{file.name}: may not be read by the SFTP account") from None
            stack.push_async_callback(self._closed, remote)
            size_bytes, piece = 0, b"-"
            while piece and size_bytes <= file.size_bytes:
                async with self._answer():
                    piece = await remote.read(PIECE_BYTES, size_bytes)
                size_bytes += len(piece)
                with telling(_SPOOL):
                    write(piece)
            async with self._answer():
                attrs = await remote.stat()
            check_unchanged(file, size_bytes, attrs.mtime or 0)

    async def _closed(self, remote: asyncssh.SFTPClientFile) -> None:
        with contextlib.suppress(
            VendorUnreachableError, VendorRefusedError
        ):  # it has been read, or its error is raised
            async with self._answer():
                await remote.close()

    def _client(self) -> asyncssh.SFTPClient:
        if self._sftp is None:
            raise VendorUnreachableError("the SFTP server is not connected")
        return self._sftp

    @contextlib.asynccontextmanager
    async def _answer(self) -> AsyncIterator[None]:
        """Bounds the wait for an answer and says in our words what went wrong: asyncssh's name the account.

        asyncssh tidies up when it is interrupted and waits for the server's word on that, too: so the connection is
        cut when the interruption itself takes too long.
        """
        import asyncssh  # noqa: PLC0415 - see _connect

        overdue = asyncio.get_running_loop().call_later(self.answer_timeout_s + _GRACE_S, self._cut)
        try:
            async with asyncio.timeout(self.answer_timeout_s):
                yield
        except TimeoutError:
            raise VendorUnreachableError("the SFTP server does not answer in time") from None
        except asyncssh.HostKeyNotVerifiable:
            raise VendorRefusedError("the SFTP server's host key is not the one in the known_hosts file") from None
        except asyncssh.KeyExchangeFailed:
            raise VendorRefusedError(
                "the SFTP server has no host key of the kind in known_hosts, or shares no cipher with this agent"
            ) from None
        except asyncssh.PermissionDenied:
            self.secret.refused()
            raise VendorRefusedError("the SFTP server refuses the account's key or password") from None
        except asyncssh.SFTPPermissionDenied:
            raise VendorRefusedError("the SFTP account may not read the export folder") from None
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            raise VendorRefusedError("the SFTP account has no such export folder") from None
        except (asyncssh.Error, OSError) as error:
            raise VendorUnreachableError(f"the SFTP server cannot be reached ({type(error).__name__})") from None
        finally:
            overdue.cancel()

    def _cut(self) -> None:
        if self._connection is not None:
            self._connection.abort()


@contextlib.contextmanager
def _without_library_search() -> Iterator[None]:
    """Keeps asyncssh from looking for C libraries that it can do without: Python runs the compiler to find them."""
    find, ctypes.util.find_library = ctypes.util.find_library, lambda name: None  # noqa: ARG005 - as it is called
    try:
        yield
    finally:
        ctypes.util.find_library = find
