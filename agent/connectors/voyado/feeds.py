"""Where this tenant's contact changes come from, as `voyado.feed` says: a folder, an SFTP server, or the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

from agent.connectors.base import ExportFeed, FeedSurroundings, asking
from agent.connectors.folders import folder_of
from agent.connectors.voyado.changes import VoyadoChanges
from agent.connectors.voyado.client import VoyadoClient
from agent.connectors.voyado.export import VoyadoExportReader
from agent.connectors.voyado.fields import ContactMapping
from agent.connectors.voyado.files import FolderSource
from agent.connectors.voyado.settings import VoyadoSettings
from agent.connectors.voyado.sftp import SftpSource
from agent.domain.link import Link
from agent.ports import ChangeFeed, Clock, FileSource, Pace

API = "api"


class HasTenant(Protocol):
    """The connector, as far as the feed needs it."""

    client: VoyadoClient
    settings: VoyadoSettings


class PacedApi:
    """The change calls, each within this agent's share of the key's allowance and its pauses.

    Args:
        client: the tenant.
        pace: waits for the share.
        link: the line, whose key this is: a pause that one call is asked for is every call's.
        clock: for instants and intervals.
    """

    def __init__(self, client: VoyadoClient, pace: Pace, link: Link, clock: Clock) -> None:
        self._client, self._pace, self._link, self._clock = client, pace, link, clock

    async def changes(self, change_type: str, from_at: datetime, to_at: datetime) -> list[str]:
        """Ids that changed in a window."""
        async with asking(self._pace, self._link, self._clock):
            return await self._client.changes(change_type, from_at, to_at)

    async def contact(self, contact_id: str) -> Mapping[str, Any] | None:
        """A whole contact, or None when it is gone."""
        async with asking(self._pace, self._link, self._clock):
            return await self._client.contact(contact_id)


def open_feed(connector: HasTenant, agent: FeedSurroundings) -> ExportFeed | ChangeFeed:
    """Where this tenant's contact changes come from."""
    settings = connector.settings
    mapping = ContactMapping(
        normaliser=agent.normaliser,
        contact_type=settings.contact_type,
        primary_key=agent.primary,
        fields=agent.fields,
    )
    if settings.feed == API:
        return VoyadoChanges(PacedApi(connector.client, agent.pace, agent.link, agent.clock), mapping, agent.clock)
    source = _file_source(settings, agent)
    return ExportFeed(source, VoyadoExportReader(mapping, updated_is_full_row=settings.updated_is_full_row))


def _file_source(settings: VoyadoSettings, agent: FeedSurroundings) -> Callable[[], FileSource]:
    """Makes a source of this tenant's export files, a new one for each sync. Picklable sources."""
    parts = urlsplit(settings.feed)
    if parts.scheme == "file":
        folder = folder_of(settings.feed)
        return lambda: FolderSource(folder)
    secret, known_hosts = agent.secret(settings.feed_secret), agent.base / settings.feed_known_hosts
    return lambda: SftpSource(settings.feed, secret, known_hosts=known_hosts, spool=agent.spool)
