"""How each vendor room is built in the contract suite. A new room is a line here."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from agent.connectors.registry import ROOMS
from agent.domain.identifiers import IdentifierType
from agent.ports import Connector
from tests.connectors.mparticle.sales import Reference
from tests.fakes import FakeClock, surroundings
from tests.wire import POLICY, Script, answer

SECRET = "hush-hush"
TABLES: Mapping[str, Mapping[str, Any]] = {
    "voyado": {"base_url": "{url}", "api_key": "file:key", "feed": "api"},
    "mparticle": {"base_url": "{url}/v2", "api_key": "file:key", "api_secret": "file:secret"},
    "voucherify": {"base_url": "{url}", "app_id": "file:key", "app_token": "file:secret"},
    "antavo": {
        "base_url": "{url}",
        "read_base_url": "{url}",
        "environment": "st2",
        "api_key": "file:key",
        "api_secret": "file:secret",
    },
    "monetary": {"base_url": "{url}/v1", "secret_key": "file:key"},
}
TAKEN: Mapping[str, bytes] = {
    "voyado": b"{}",
    "mparticle": b"{}",
    "voucherify": b'{"object": "order", "id": "ord_00000001"}',
    "antavo": b'{"id": "1042-03-0", "status": "accepted", "events": []}',
    "monetary": b'{"ReceiptID": "0f6c2c526b0e4a0c9c1e0f6c2c526b0e"}',
}
"""A body with which the vendor says, beside 2xx, that it took one sale."""
LEFT_TO_A_PERSON: Mapping[str, Collection[str]] = {"voucherify": ("return",), "monetary": ("return", "void")}
"""Kinds of sale that a vendor has no form for: parked with the reason, as the room's page says, and never sent."""
WITHOUT_OUR_ID: Collection[str] = ("monetary",)
"""Vendors whose form has no place for the sale's id: what may have arrived is looked for on their books."""
QUESTIONS: Mapping[str, tuple[bytes, bytes]] = {
    "antavo": (b"GET /customers?", b'{"data": [{"id": "c-1", "membership_id": ["10000421"]}]}'),
    "monetary": (b"GET /v1/Customers?", b'[{"CustomerID": 101, "ExternalID": "10000421"}]'),
}
"""What a vendor is asked before it is sent a member's sale, and an answer that lets the sale go."""
WITH_THE_SALE: Collection[str] = ("monetary",)
"""Vendors that hear of what is used up by the sale alone: there is no call that could be lost."""
PREVIEWS: Mapping[str, Mapping[str, Any]] = {"antavo": {}, "voucherify": {"loyalty_api": "v2"}}
"""Vendors that say what a sale would earn, and what their table needs for it."""
SHARING: Mapping[str, Mapping[str, Any]] = {
    "antavo": {"opt_in_new_contacts": True},
    "monetary": {"unknown_customer": "register"},
    "mparticle": {"send_identities": ["email"], "send_attributes": ["first_name"]},
    "voucherify": {"send_identities": ["email"], "send_attributes": ["name"]},
}
"""Rooms that are told of who joins and what changes, and what lets something of a person go there."""
ASKED_BY_URL: Mapping[str, Collection[str]] = {"antavo": ("10000421",), "monetary": ("10000421",)}
"""Keys that stand in a question's URL, because the vendor has no other way to be asked; the room's page says so."""


def after_questions(name: str, script: Script) -> Script:
    """The script for deliveries; what the vendor is asked before one is answered well."""
    begins, good = QUESTIONS.get(name, (b"-", b""))

    async def answered(request: bytes, writer: asyncio.StreamWriter) -> None:
        await (answer(200, good) if request.startswith(begins) else script)(request, writer)

    return answered


def deliveries(name: str, requests: list[bytes]) -> list[bytes]:
    """The requests that bring a sale."""
    begins, _ = QUESTIONS.get(name, (b"-", b""))
    return [request for request in requests if not request.startswith(begins)]


def table(name: str, url: str, **more: Any) -> Any:
    """The room's own table, with nothing in it but what it needs, and what a test adds."""
    stated = {**TABLES[name], **more}
    return ROOMS[name].settings.model_validate(
        {key: value.format(url=url) if isinstance(value, str) else value for key, value in stated.items()}
    )


def connector(name: str, url: str, **more: Any) -> Connector:
    """The room's connector to a server; its credentials can be read."""
    return ROOMS[name].build(
        table(name, url, **more),
        surroundings(
            role="loyalty" if ROOMS[name].owner else "forward",
            secret=lambda _reference: Reference(SECRET),
            http=POLICY,
            primary=IdentifierType.MEMBER_NUMBER,
            clock=FakeClock(),
        ),
    )
