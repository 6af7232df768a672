"""Monetary Engage: the room's face. Experimental: nothing of it was tried against the vendor.

What it can: sales as receipts, one by one, as a system beside the one that owns the contacts. It deduplicates nothing,
so that what may have arrived is looked for on the customer's books; it keeps no time of a sale, takes nothing back,
takes guests where that is wanted, and says what it calls a receipt.
"""

from agent.connectors.base import Surroundings
from agent.connectors.monetary.books import MonetaryBooks, MonetaryHistory
from agent.connectors.monetary.client import MonetaryClient
from agent.connectors.monetary.errors import raise_unless_answered
from agent.connectors.monetary.people import MonetaryPeople
from agent.connectors.monetary.sender import MAX_CALLS, MonetarySender
from agent.connectors.monetary.settings import MonetarySettings
from agent.transport import Transport

NAME = "monetary"
CONNECTIONS = 2
_MINUTE_S = 60
_NOBODY = {"externalID": "loyalty-agent-ping"}


class Monetary:
    """One location's account.

    Args:
        client: its calls.
        sender: takes sales.
        history: counts receipts; None where they do not name their sales.
        settings: the table.
    """

    name = NAME
    connections = CONNECTIONS
    idle_ping_s = 60.0
    """What the service bears is not published."""
    windows = ()  # however late a sale comes it counts; what is lost of it is lost after minutes, and reported
    lookup = writer = None

    def __init__(
        self,
        client: MonetaryClient,
        sender: MonetarySender,
        history: MonetaryHistory | None,
        settings: MonetarySettings,
    ) -> None:
        self._client, self.sender, self.history = client, sender, history
        self.guests = settings.guest_sales
        self.requests_per_second = settings.requests_per_minute / _MINUTE_S / MAX_CALLS  # the lane counts deliveries

    async def ping(self) -> None:
        """Asks for nobody; a search without a filter may answer with everybody.

        Raises:
            VendorUnreachableError: no sensible answer came.
            VendorRefusedError: our key is refused.
        """
        raise_unless_answered(await self._client.search(_NOBODY), named=False)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()


def build(settings: MonetarySettings, agent: Surroundings) -> Monetary:
    """The connector for one location."""

    def connect(base_url: str) -> Transport:
        return Transport(base_url, agent.http, connections=CONNECTIONS, user_agent=agent.user_agent)

    client = MonetaryClient(
        connect, base_url=settings.base_url, key=agent.secret(settings.secret_key), heard=agent.heard
    )
    people = MonetaryPeople(client, primary=agent.primary, register=settings.unknown_customer == "register")
    books = MonetaryBooks(client, taken=agent.taken, marked=settings.mark_receipts)
    finder = MonetaryPeople(client, primary=agent.primary, register=False)
    history = MonetaryHistory(client, finder) if settings.mark_receipts else None
    return Monetary(
        client, MonetarySender(client, settings, people=people, books=books, clock=agent.clock), history, settings
    )
