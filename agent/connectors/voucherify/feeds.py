"""Where a project's contact changes come from: its list of customers, call by call."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from agent.connectors.base import FeedSurroundings, asking
from agent.connectors.voucherify.client import VoucherifyClient
from agent.connectors.voucherify.feed import Listed, VoucherifyFeed
from agent.connectors.voucherify.people import PAGE, read_customer, read_list
from agent.connectors.voucherify.settings import VoucherifySettings


class HasProject(Protocol):
    """The connector, as far as the feed needs it."""

    client: VoucherifyClient
    settings: VoucherifySettings


class PacedCustomers:
    """The calls of the feed, each within this agent's share of the project's allowance and its pauses.

    Args:
        client: the project.
        agent: the share, and the line, whose allowance this is.
    """

    def __init__(self, client: VoucherifyClient, agent: FeedSurroundings) -> None:
        self._client, self._agent = client, agent

    async def listed(self, order: str, after_at: datetime, page: int) -> Listed:
        """Customers after an instant of `created_at` or `updated_at`, ascending. Raises VendorError."""
        params = {"limit": str(PAGE), "order": order, "starting_after": _stamp(after_at)}
        if page > 1:
            params["page"] = str(page)
        async with asking(self._agent.pace, self._agent.link, self._agent.clock):
            return read_list(await self._client.list_customers(params), now=self._agent.clock.now())

    async def customer(self, name: str) -> Mapping[str, Any] | None:
        """A customer by `id` or `source_id`, None when there is none. Raises VendorError."""
        async with asking(self._agent.pace, self._agent.link, self._agent.clock):
            return read_customer(await self._client.get_customer(name), now=self._agent.clock.now())


def open_feed(connector: HasProject, agent: FeedSurroundings) -> VoucherifyFeed:
    """The feed of this project."""
    return VoucherifyFeed(
        PacedCustomers(connector.client, agent),
        agent.normaliser,
        agent.fields,
        agent.clock,
        sweep_every=connector.settings.sweep_every,
        unseen=agent.unseen,
    )


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
