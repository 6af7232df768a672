"""Where this tenant's contact changes come from, as `voyado.feed` says: a folder, an SFTP server, or the API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from agent.connectors.voyado.changes import ChangesApi, VoyadoChanges
from agent.connectors.voyado.client import VoyadoClient
from agent.connectors.voyado.export import VoyadoExportReader
from agent.connectors.voyado.fields import ContactMapping
from agent.connectors.voyado.files import FolderSource
from agent.connectors.voyado.settings import VoyadoSettings
from agent.connectors.voyado.sftp import SftpSource
from agent.domain.identifiers import IdentifierType, Normaliser
from agent.domain.link import Link
from agent.errors import VendorUnreachableError
from agent.ports import Clock, FileSource, Secret

API = "api"


class PacedApi:
    """The change calls, each within this agent's share of the key's allowance and its pauses.

    Args:
        client: the tenant.
        pace: waits for the share.
        link: the line, whose key this is: a pause that one call is asked for is every call's.
        clock: for instants and intervals.
    """

    def __init__(self, client: VoyadoClient, pace: Callable[[], Awaitable[None]], link: Link, clock: Clock) -> None:
        self._client, self._pace, self._link, self._clock = client, pace, link, clock

    async def changes(self, change_type: str, from_at: datetime, to_at: datetime) -> list[str]:
        """Ids that changed in a window."""
        async with self._asking():
            return await self._client.changes(change_type, from_at, to_at)

    async def contact(self, contact_id: str) -> Mapping[str, Any] | None:
        """A whole contact, or None when it is gone."""
        async with self._asking():
            return await self._client.contact(contact_id)

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        """Raises VendorUnreachableError while a pause lasts: the next sync goes on where this one stands."""
        await self._pace()
        left_s = self._link.sending.pause_s(self._clock.monotonic())
        if left_s > 0:
            raise VendorUnreachableError("asks to be called more slowly", retry_after_s=left_s)
        try:
            yield
        except VendorUnreachableError as error:
            if error.retry_after_s is not None:
                now, mono = self._clock.now(), self._clock.monotonic()
                self._link.silent(now, mono, after_s=error.retry_after_s, why=str(error))
            raise


def contact_mapping(
    settings: VoyadoSettings, *, normaliser: Normaliser, primary: IdentifierType, fields: tuple[str, ...]
) -> ContactMapping:
    """How this tenant's contacts are read."""
    return ContactMapping(normaliser=normaliser, contact_type=settings.contact_type, primary_key=primary, fields=fields)


def export_reader(settings: VoyadoSettings, mapping: ContactMapping) -> VoyadoExportReader:
    """How this tenant's export files are read."""
    return VoyadoExportReader(mapping, updated_is_full_row=settings.updated_is_full_row)


def change_feed(api: ChangesApi, mapping: ContactMapping, clock: Clock) -> VoyadoChanges:
    """Changes by API, for a tenant without export files."""
    return VoyadoChanges(api, mapping, clock)


def file_source(settings: VoyadoSettings, *, secret: Secret, base: Path, spool: Path) -> Callable[[], FileSource]:
    """Makes a source of this tenant's export files, a new one for each sync. Picklable sources.

    Args:
        settings: the table.
        secret: the SFTP account's private key or password.
        base: the directory that a relative `feed_known_hosts` starts from.
        spool: where downloads go.
    """
    parts = urlsplit(settings.feed)
    if parts.scheme == "file":
        folder = Path(unquote(parts.path))
        return lambda: FolderSource(folder)
    return lambda: SftpSource(settings.feed, secret, known_hosts=base / settings.feed_known_hosts, spool=spool)
