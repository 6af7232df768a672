"""Where a workspace's contact changes come from: its Read API and its events, call by call, or a folder of lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from agent.connectors.antavo.answers import read_customer, read_events, read_ids, read_members
from agent.connectors.antavo.calls import Listed
from agent.connectors.antavo.client import AntavoClient, AntavoReadClient
from agent.connectors.antavo.customers import created_at, customer_id
from agent.connectors.antavo.errors import raise_unless_answered
from agent.connectors.antavo.exports import ListReader
from agent.connectors.antavo.feed import AntavoFeed, Reading
from agent.connectors.antavo.lists import AntavoLists
from agent.connectors.antavo.people import FIELDS, search_params
from agent.connectors.antavo.progress import BEGINNING_AT
from agent.connectors.antavo.settings import AntavoSettings
from agent.connectors.base import FeedSurroundings, asking
from agent.domain.identifiers import Identifier, IdentifierType
from agent.errors import VendorUnreachableError

PAGE = 500
"""Half of what the Read API allows: an answer is bounded, and customers can be large."""
_AWRY = timedelta(days=1)
"""More than any zone can make of an instant that says none."""


class HasWorkspace(Protocol):
    """The connector, as far as the feed needs it."""

    client: AntavoClient
    reader: AntavoReadClient | None
    settings: AntavoSettings


class PacedMembers:
    """The calls of the feed, each within this agent's share of the key's allowance and its pauses.

    Args:
        client: the workspace.
        reader: its Read API.
        external_id_field: whose value is a member's external id.
        agent: the share, and the line, whose allowance this is.
    """

    def __init__(
        self, client: AntavoClient, reader: AntavoReadClient, external_id_field: str, agent: FeedSurroundings
    ) -> None:
        self._client, self._reader, self._field, self._agent = client, reader, external_id_field, agent

    async def members(self, since_at: datetime, offset: int) -> Listed:
        """Customers by when they were made, from an instant on. Raises VendorError."""
        params = {
            "sort[0][field]": "created_at", "sort[0][direction]": "asc", "limit": str(PAGE), "offset": str(offset)
        }  # fmt: skip
        if since_at > BEGINNING_AT:  # before that nothing is left out, whoever says nothing of when they were made
            params["filter[created_at][gte]"] = since_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        async with asking(self._agent.pace, self._agent.link, self._agent.clock):
            listed = read_members(await self._reader.customers(params), limit=PAGE)
        made = [at for row in listed.rows if (at := created_at(row)) is not None]
        if since_at > BEGINNING_AT and min(made, default=since_at) < since_at - _AWRY:
            raise VendorUnreachableError("lists members from before the instant that was asked for")
        return listed

    async def events(self, since_at: datetime, offset: int) -> Listed:
        """What happened, by when, from an instant on. Raises VendorError."""
        at = since_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
        params = {"timestamp.gte": at, "order": "asc", "limit": str(PAGE), "offset": str(offset)}
        async with asking(self._agent.pace, self._agent.link, self._agent.clock):
            return read_events(await self._client.events(params), limit=PAGE)

    async def customer(self, customer: str) -> Mapping[str, Any] | None:
        """A customer by id, None when there is none: an answer under another id is not theirs. Raises VendorError.

        What a workspace answers for an id that was merged is not documented; it may be the one who is left.
        """
        async with asking(self._agent.pace, self._agent.link, self._agent.clock):
            told = read_customer(await self._client.customer("", customer))
        return told if told is not None and customer_id(told) == customer else None

    async def named(self, one: Identifier) -> Sequence[str]:
        """The ids of those who have a member number or an external id. Raises VendorError."""
        async with asking(self._agent.pace, self._agent.link, self._agent.clock):
            if one.type is not IdentifierType.EXTERNAL_ID:
                return read_ids(await self._client.search(search_params(FIELDS[one.type], one.value)))
            told = read_customer(await self._client.customer(self._field, one.value))
        named = None if told is None else customer_id(told)
        return () if named is None else (named,)

    async def ping(self) -> None:
        """Asks whether the workspace answers. Raises VendorError."""
        async with asking(self._agent.pace, self._agent.link, self._agent.clock):
            raise_unless_answered(await self._client.count())


def open_feed(connector: HasWorkspace, agent: FeedSurroundings) -> AntavoFeed | AntavoLists:
    """The feed of this workspace, whose Read API is configured, or a folder."""
    settings, reader = connector.settings, connector.reader
    if settings.folder is not None:
        return AntavoLists(
            settings.folder,
            lambda: ListReader(agent.normaliser, agent.fields, settings.external_id_field, agent.clock.today()),
            agent.clock,
            sweep_every=settings.sweep_every,
            unseen=agent.unseen,
        )
    if reader is None:
        raise LookupError("read_base_url is checked with the configuration")
    return AntavoFeed(
        PacedMembers(connector.client, reader, settings.external_id_field, agent),
        agent.normaliser,
        agent.fields,
        agent.clock,
        Reading(settings.feed == "events", settings.feed_overlap, settings.sweep_every, settings.external_id_field),
        unseen=agent.unseen,
    )
