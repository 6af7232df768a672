"""Voyado Engage: the room's face.

What it can: contacts by export file or change feed, look-ups, members' benefits, new contacts, receipts one by one. It
deduplicates receipts by `uniqueReceiptId`, keeps the sale's own time, wants no guests, and never says whether it
matched a receipt; whether it did shows in its member's purchases.
"""

from collections.abc import Sequence
from datetime import tzinfo

from agent.connectors.base import IDLE_PING_S, Surroundings
from agent.connectors.voyado.benefits import VoyadoBenefits
from agent.connectors.voyado.bulk import VoyadoBulk, VoyadoBulkChanges
from agent.connectors.voyado.client import VoyadoClient
from agent.connectors.voyado.errors import raise_unless_answered
from agent.connectors.voyado.history import VoyadoHistory
from agent.connectors.voyado.mapping import misnamed
from agent.connectors.voyado.people import VoyadoPeople
from agent.connectors.voyado.redemptions import VoyadoRedemptions
from agent.connectors.voyado.sender import VoyadoSender
from agent.connectors.voyado.settings import VoyadoSettings
from agent.domain.identifiers import IdentifierType
from agent.transport import Transport

__all__ = [
    "NAME",
    "Voyado",
    "benefits_of",
    "build",
    "bulk_changes_of",
    "bulk_of",
    "misnamed",
    "redemptions_of",
]

NAME = "voyado"
CONNECTIONS = 4
_PING_TIMEOUT_S = 10.0
_NOBODY = "00000000-0000-0000-0000-000000000000"


class Voyado:
    """One tenant of Voyado Engage."""

    name = NAME
    guests = False
    connections = CONNECTIONS
    idle_ping_s = IDLE_PING_S
    keeps_time = True
    windows = ()

    def __init__(
        self,
        client: VoyadoClient,
        settings: VoyadoSettings,
        *,
        primary: IdentifierType,
        zone: tzinfo,
        fields: Sequence[str] = (),
    ) -> None:
        self.client, self.settings = client, settings
        self.requests_per_second = settings.requests_per_second
        self.sender = VoyadoSender(client, contact_type=settings.contact_type, zone=zone)
        self.lookup = self.writer = VoyadoPeople(client, settings, primary, fields)
        self.bulk = VoyadoBulk(client, settings, self.lookup) if settings.member_key else None
        self.bulk_changes = VoyadoBulkChanges(client, settings) if settings.member_key else None
        self.history = VoyadoHistory(client, self.lookup)
        self.benefits = VoyadoBenefits(client, self.lookup, zone)
        self.redemptions = VoyadoRedemptions(client, self.lookup)

    async def ping(self) -> None:
        """Asks for nobody: an authenticated question that no tenant's set-up can spoil.

        Raises:
            VendorUnreachableError: no sensible answer came.
            VendorRefusedError: our credentials are refused.
        """
        raise_unless_answered(await self.client.get_contact(_NOBODY, timeout_s=_PING_TIMEOUT_S))

    async def close(self) -> None:
        """Closes the connections."""
        await self.client.close()


def build(settings: VoyadoSettings, agent: Surroundings) -> Voyado:
    """The connector for one tenant."""
    transport = Transport(settings.base_url, agent.http, connections=CONNECTIONS, user_agent=agent.user_agent)
    client = VoyadoClient(
        transport,
        agent.secret(settings.api_key),
        version=settings.api_version,
        source=settings.source,
        heard=agent.heard,
    )
    return Voyado(client, settings, primary=agent.primary, zone=agent.zone, fields=agent.fields)


def benefits_of(connector: Voyado) -> VoyadoBenefits:
    """What members of a tenant can use."""
    return connector.benefits


def bulk_of(connector: Voyado) -> VoyadoBulk | None:
    """What makes several contacts by one call, where the tenant's key of members is known."""
    return connector.bulk


def bulk_changes_of(connector: Voyado) -> VoyadoBulkChanges | None:
    """What changes several contacts by one call, where the tenant's key of members is known."""
    return connector.bulk_changes


def redemptions_of(connector: Voyado) -> VoyadoRedemptions:
    """What uses it up."""
    return connector.redemptions
