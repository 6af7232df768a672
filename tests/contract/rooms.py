"""How each vendor room is built in the contract suite. A new room is a line here."""

from collections.abc import Collection, Mapping
from typing import Any

from agent.connectors.registry import ROOMS
from agent.domain.identifiers import IdentifierType
from agent.ports import Connector
from tests.connectors.mparticle.sales import Reference
from tests.fakes import FakeClock, surroundings
from tests.wire import POLICY

SECRET = "hush-hush"
TABLES: Mapping[str, Mapping[str, Any]] = {
    "voyado": {"base_url": "{url}", "api_key": "file:key", "feed": "api"},
    "mparticle": {"base_url": "{url}/v2", "api_key": "file:key", "api_secret": "file:secret"},
    "voucherify": {"base_url": "{url}", "app_id": "file:key", "app_token": "file:secret"},
    "antavo": {"base_url": "{url}", "environment": "st2", "api_key": "file:key", "api_secret": "file:secret"},
}
TAKEN: Mapping[str, bytes] = {
    "voyado": b"{}",
    "mparticle": b"{}",
    "voucherify": b'{"object": "order", "id": "ord_00000001"}',
    "antavo": b'{"id": "1042-03-0", "status": "accepted", "events": []}',
}
"""A body with which the vendor says, beside 2xx, that it took one sale."""
LEFT_TO_A_PERSON: Mapping[str, Collection[str]] = {"voucherify": ("return",)}
"""Kinds of sale that a vendor has no form for: parked with the reason, as the room's page says, and never sent."""


def table(name: str, url: str) -> Any:
    """The room's own table, with nothing in it but what it needs."""
    return ROOMS[name].settings.model_validate(
        {key: value.format(url=url) if isinstance(value, str) else value for key, value in TABLES[name].items()}
    )


def connector(name: str, url: str) -> Connector:
    """The room's connector to a server; its credentials can be read."""
    return ROOMS[name].build(
        table(name, url),
        surroundings(
            role="loyalty" if ROOMS[name].owner else "forward",
            secret=lambda _reference: Reference(SECRET),
            http=POLICY,
            primary=IdentifierType.MEMBER_NUMBER,
            clock=FakeClock(),
        ),
    )
