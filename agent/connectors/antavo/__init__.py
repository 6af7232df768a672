"""Antavo Loyalty Cloud: the room's face.

What it can: sales as events, one by one or in bulk. It refuses a checkout that it has already, counts a repeated return
again, keeps the sale's own time when it is told to, takes no guests, and says of a sale that it processed it. Where it
owns the contacts its members are read into the replica and looked up; none are made here. It says what they can use,
uses coupons up, claims rewards and revokes claims, and says what a sale would earn.
"""

from collections.abc import Sequence
from typing import TypeVar

from agent.connectors.antavo.benefits import AntavoBenefits
from agent.connectors.antavo.client import AntavoClient, AntavoReadClient
from agent.connectors.antavo.errors import raise_unless_answered
from agent.connectors.antavo.lookup import AntavoLookup
from agent.connectors.antavo.preview import AntavoPreview
from agent.connectors.antavo.redemptions import AntavoRedemptions
from agent.connectors.antavo.rewards import AntavoRewards
from agent.connectors.antavo.sender import MAX_CALLS, AntavoSender
from agent.connectors.antavo.settings import AntavoSettings
from agent.connectors.base import Surroundings
from agent.domain.identifiers import IdentifierType
from agent.ports import Clock, Guests
from agent.settings import Role
from agent.transport import Transport

NAME = "antavo"
CONNECTIONS = 2
_Client = TypeVar("_Client", AntavoClient, AntavoReadClient)


class Antavo:
    """One workspace."""

    name = NAME
    connections = CONNECTIONS
    idle_ping_s = 600.0
    """All tills of the key share 1,500 calls a minute: a thousand of them, asking as often as elsewhere, would need
    four times that while nothing is sold."""
    writer = history = None
    windows = ()  # however late a sale comes it counts; what is lost of it is lost after minutes, and reported
    guests: Guests = False

    def __init__(
        self,
        client: AntavoClient,
        reader: AntavoReadClient | None,
        settings: AntavoSettings,
        *,
        role: Role,
        primary: IdentifierType,
        fields: Sequence[str],
        clock: Clock,
    ) -> None:
        self.client, self.reader, self.settings = client, reader, settings
        owns = role == "loyalty"
        self.requests_per_second = settings.requests_per_minute / 60 / MAX_CALLS  # the lane counts deliveries
        self.sender = AntavoSender(client, settings, primary=primary, clock=clock, owns_contacts=owns)
        people = AntavoLookup(client, settings, primary, fields)
        self.lookup = people if owns else None
        rewards = AntavoRewards(client, settings.store)
        self.benefits = AntavoBenefits(client, people, rewards if settings.rewards else None)
        self.redemptions = AntavoRedemptions(client, self.benefits, people, rewards, redeems=settings.redeems)
        self.preview = AntavoPreview(client, settings, people)

    async def ping(self) -> None:
        """Asks how many members there are.

        Raises:
            VendorUnreachableError: no sensible answer came.
            VendorRefusedError: our credentials are refused.
        """
        raise_unless_answered(await self.client.count())

    async def close(self) -> None:
        """Closes the connections."""
        await self.client.close()
        if self.reader is not None:
            await self.reader.close()


def build(settings: AntavoSettings, agent: Surroundings) -> Antavo:
    """The connector for one workspace."""

    def connect(kind: type[_Client], base_url: str, host: str) -> _Client:
        return kind(
            Transport(base_url, agent.http, connections=CONNECTIONS, user_agent=agent.user_agent),
            host=host,
            environment=settings.environment,
            api_key=agent.secret(settings.api_key),
            api_secret=agent.secret(settings.api_secret),
            clock=agent.clock,
            heard=agent.heard,
        )

    client = connect(AntavoClient, settings.base_url, settings.host)
    reads = settings.read_base_url and agent.role == "loyalty"
    reader = connect(AntavoReadClient, settings.read_base_url, settings.read_host) if reads else None
    return Antavo(
        client, reader, settings, role=agent.role, primary=agent.primary, fields=agent.fields, clock=agent.clock
    )


def benefits_of(connector: Antavo) -> AntavoBenefits:
    """What customers of a workspace can use."""
    return connector.benefits


def redemptions_of(connector: Antavo) -> AntavoRedemptions:
    """What uses it up."""
    return connector.redemptions


def preview_of(connector: Antavo) -> AntavoPreview:
    """What says what a sale would earn."""
    return connector.preview
