"""Voucherify: the room's face.

What it can: sales as orders, with the sale's own time, made once however often they are sent; or as events. Where it
owns the contacts its customers are read into the replica and looked up; none are made but by a sale under a key of
theirs. It says what they can use, uses vouchers up and, with loyalty v1, points; with loyalty v2 it says what a sale
would earn. It takes guests where that is wanted, and tells of a sale what it calls its order. Who joins at a till, and
what changes there, makes or updates the customer, as far as the table lets anything of a person go.
"""

from collections.abc import Sequence

from agent.connectors.base import Surroundings
from agent.connectors.voucherify.benefits import VoucherifyBenefits
from agent.connectors.voucherify.client import VoucherifyClient
from agent.connectors.voucherify.contacts import shares
from agent.connectors.voucherify.errors import raise_unless_answered
from agent.connectors.voucherify.people import VoucherifyPeople
from agent.connectors.voucherify.points import VoucherifyPoints
from agent.connectors.voucherify.preview import VoucherifyPreview
from agent.connectors.voucherify.redemptions import VoucherifyRedemptions
from agent.connectors.voucherify.sender import VoucherifySender
from agent.connectors.voucherify.settings import VoucherifySettings
from agent.domain.activity import ContactEvent
from agent.domain.identifiers import IdentifierType
from agent.ports import Clock
from agent.settings import Role
from agent.transport import Transport

__all__ = ["NAME", "Voucherify", "activities_of", "benefits_of", "build", "preview_of", "redemptions_of", "shares"]

NAME = "voucherify"
CONNECTIONS = 2
_MINUTE_S = 60


class Voucherify:
    """One project."""

    name = NAME
    connections = CONNECTIONS
    idle_ping_s = 3600.0
    """Each call counts against the plan; a till that asked as often as elsewhere would use up a small one."""
    windows = ()
    writer = history = None

    def __init__(
        self,
        client: VoucherifyClient,
        settings: VoucherifySettings,
        *,
        role: Role,
        primary: IdentifierType,
        fields: Sequence[str],
        clock: Clock,
    ) -> None:
        self.client, self.settings, self._clock = client, settings, clock
        owns = role == "loyalty"
        self.guests = settings.guest_sales
        self.keeps_time = settings.earn_with == "order"
        self.requests_per_second = settings.requests_per_minute / _MINUTE_S
        self.sender = VoucherifySender(client, settings, primary=primary, clock=clock, owns_contacts=owns)
        self.lookup = VoucherifyPeople(client, primary, fields, clock=clock) if owns else None
        self.benefits = VoucherifyBenefits(client, settings, clock=clock)
        points = VoucherifyPoints(client, settings, clock=clock) if settings.loyalty_api == "v1" else None
        self.redemptions = VoucherifyRedemptions(client, self.benefits, points, clock=clock)
        examines = settings.loyalty_api == "v2" and settings.earn_with == "order"
        self.preview = VoucherifyPreview(client, settings, clock=clock) if examines else None

    async def ping(self) -> None:
        """Asks for one order, with the rights that a delivery needs.

        Raises:
            VendorUnreachableError: no sensible answer came.
            VendorRefusedError: our credentials are refused.
        """
        raise_unless_answered(await self.client.ask(), "list", now=self._clock.now())

    async def close(self) -> None:
        """Closes the connections."""
        await self.client.close()


def build(settings: VoucherifySettings, agent: Surroundings) -> Voucherify:
    """The connector for one project."""
    transport = Transport(settings.base_url, agent.http, connections=CONNECTIONS, user_agent=agent.user_agent)
    client = VoucherifyClient(
        transport, agent.secret(settings.app_id), agent.secret(settings.app_token), heard=agent.heard
    )
    return Voucherify(client, settings, role=agent.role, primary=agent.primary, fields=agent.fields, clock=agent.clock)


def activities_of(settings: VoucherifySettings) -> frozenset[str]:
    """What it wants beside the sales: who joined and what changed, if anything of a person may go there at all."""
    lets_go = settings.send_identities or settings.send_attributes or settings.customer_metadata
    return frozenset[str](ContactEvent) if lets_go else frozenset()


def benefits_of(connector: Voucherify) -> VoucherifyBenefits:
    """What customers of a project can use."""
    return connector.benefits


def redemptions_of(connector: Voucherify) -> VoucherifyRedemptions:
    """What uses it up."""
    return connector.redemptions


def preview_of(connector: Voucherify) -> VoucherifyPreview | None:
    """What says what a sale would earn; None where the project's loyalty programme does not."""
    return connector.preview
