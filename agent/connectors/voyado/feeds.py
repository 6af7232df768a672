"""Where this tenant's contact changes come from, as `voyado.feed` says: a folder, an SFTP server, or the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from agent.connectors.voyado.changes import VoyadoChanges
from agent.connectors.voyado.client import VoyadoClient
from agent.connectors.voyado.export import VoyadoExportReader
from agent.connectors.voyado.fields import ContactMapping
from agent.connectors.voyado.files import FolderSource
from agent.connectors.voyado.settings import VoyadoSettings
from agent.connectors.voyado.sftp import SftpSource
from agent.domain.identifiers import IdentifierType, Normaliser
from agent.ports import Clock, FileSource, Secret

API = "api"


class PacedApi:
    """The change calls, each within this agent's share of the key's allowance."""

    def __init__(self, client: VoyadoClient, pace: Callable[[], Awaitable[None]]) -> None:
        self._client, self._pace = client, pace

    async def changes(self, change_type: str, from_at: datetime, to_at: datetime) -> list[str]:
        """Ids that changed in a window."""
        await self._pace()
        return await self._client.changes(change_type, from_at, to_at)

    async def contact(self, contact_id: str) -> Mapping[str, Any] | None:
        """A whole contact, or None when it is gone."""
        await self._pace()
        return await self._client.contact(contact_id)


def contact_mapping(
    settings: VoyadoSettings, *, normaliser: Normaliser, primary: IdentifierType, fields: tuple[str, ...]
) -> ContactMapping:
    """How this tenant's contacts are read."""
    return ContactMapping(normaliser=normaliser, contact_type=settings.contact_type, primary_key=primary, fields=fields)


def export_reader(settings: VoyadoSettings, mapping: ContactMapping) -> VoyadoExportReader:
    """How this tenant's export files are read."""
    return VoyadoExportReader(mapping, updated_is_full_row=settings.updated_is_full_row)


def change_feed(
    client: VoyadoClient, mapping: ContactMapping, clock: Clock, pace: Callable[[], Awaitable[None]]
) -> VoyadoChanges:
    """Changes by API, for a tenant without export files."""
    return VoyadoChanges(PacedApi(client, pace), mapping, clock)


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
