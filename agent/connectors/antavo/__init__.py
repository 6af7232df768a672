"""Antavo Loyalty Cloud: the room's face.

What it can: sales as events, one by one or in bulk, as a system beside the one that owns the contacts. It refuses a
checkout that it has already, counts a repeated return again, keeps the sale's own time when it is told to, takes no
guests, and says of a sale that it processed it.
"""

from agent.connectors.antavo.client import AntavoClient
from agent.connectors.antavo.errors import raise_unless_answered
from agent.connectors.antavo.sender import MAX_CALLS, AntavoSender
from agent.connectors.antavo.settings import AntavoSettings
from agent.connectors.base import Surroundings
from agent.ports import Guests
from agent.transport import Transport

NAME = "antavo"
CONNECTIONS = 2


class Antavo:
    """One workspace."""

    name = NAME
    connections = CONNECTIONS
    idle_ping_s = 600.0
    """All tills of the key share 1,500 calls a minute: a thousand of them, asking as often as elsewhere, would need
    four times that while nothing is sold."""
    lookup = writer = history = None
    windows = ()  # however late a sale comes it counts; what is lost of it is lost after minutes, and reported
    guests: Guests = False

    def __init__(self, client: AntavoClient, sender: AntavoSender, *, requests_per_minute: int) -> None:
        self._client, self.sender = client, sender
        self.requests_per_second = requests_per_minute / 60 / MAX_CALLS  # the lane counts deliveries

    async def ping(self) -> None:
        """Asks how many members there are.

        Raises:
            VendorUnreachableError: no sensible answer came.
            VendorRefusedError: our credentials are refused.
        """
        raise_unless_answered(await self._client.count())

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()


def build(settings: AntavoSettings, agent: Surroundings) -> Antavo:
    """The connector for one workspace."""
    client = AntavoClient(
        Transport(settings.base_url, agent.http, connections=CONNECTIONS, user_agent=agent.user_agent),
        host=settings.host,
        environment=settings.environment,
        api_key=agent.secret(settings.api_key),
        api_secret=agent.secret(settings.api_secret),
        clock=agent.clock,
        heard=agent.heard,
    )
    sender = AntavoSender(client, settings, clock=agent.clock)
    return Antavo(client, sender, requests_per_minute=settings.requests_per_minute)
