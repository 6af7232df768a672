"""The calls that the member feed is made of, as it needs them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from agent.domain.identifiers import Identifier


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of customers or of events.

    Attributes:
        rows: in the order that was asked for.
        more: whether there are more.
        told_at: the vendor's clock; None where it does not say.
    """

    rows: Sequence[Mapping[str, Any]]
    more: bool
    told_at: datetime | None


Page = Callable[[datetime, int], Awaitable[Listed]]
"""Rows from an instant on, behind so many of them. Raises VendorError."""


class MembersApi(Protocol):
    """The calls that the feed is made of."""

    async def members(self, since_at: datetime, offset: int) -> Listed:
        """Customers by when they were made, from an instant on. Raises VendorError."""

    async def events(self, since_at: datetime, offset: int) -> Listed:
        """What happened, by when, from an instant on. Raises VendorError."""

    async def customer(self, customer: str) -> Mapping[str, Any] | None:
        """A customer by id, None when there is none. Raises VendorError."""

    async def named(self, one: Identifier) -> Sequence[str]:
        """The ids of those who have a member number or an external id. Raises VendorError."""

    async def ping(self) -> None:
        """Asks whether the workspace answers. Raises VendorError."""
