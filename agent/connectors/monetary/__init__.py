"""Monetary Engage: the room's face. Experimental: nothing of it was tried against the vendor.

What it can: sales as receipts, one by one. It deduplicates nothing, so that what may have arrived is looked for on the
customer's books; it keeps no time of a sale, takes nothing back, takes guests where that is wanted, and says what it
calls a receipt. It lists no customers: where it owns the contacts, those are kept who were asked for. Beside another
owner, whoever joins at a till becomes a customer with what they gave, where strangers do.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from agent.connectors.base import FeedSurroundings, Surroundings
from agent.connectors.monetary.books import MonetaryBooks, MonetaryHistory
from agent.connectors.monetary.client import MonetaryClient
from agent.connectors.monetary.errors import raise_unless_answered
from agent.connectors.monetary.lookup import MonetaryLookup
from agent.connectors.monetary.people import REGISTERED, MonetaryPeople
from agent.connectors.monetary.seed import open_seed
from agent.connectors.monetary.sender import MAX_CALLS, MonetarySender
from agent.connectors.monetary.settings import MonetarySettings
from agent.domain.activity import ContactEvent
from agent.domain.transaction import NewContact
from agent.ports import Seed
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
        lookup: says who somebody is; None where another system owns the contacts.
        settings: the table.
    """

    name = NAME
    connections = CONNECTIONS
    idle_ping_s = 60.0
    """What the service bears is not published."""
    windows = ()  # however late a sale comes it counts; what is lost of it is lost after minutes, and reported
    writer = None

    def __init__(
        self,
        client: MonetaryClient,
        sender: MonetarySender,
        history: MonetaryHistory | None,
        lookup: MonetaryLookup | None,
        settings: MonetarySettings,
    ) -> None:
        self._client, self.sender, self.history, self.lookup = client, sender, history, lookup
        self.settings = settings
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
    owned = agent.role == "loyalty"
    find = partial(MonetaryPeople, client, primary=agent.primary, country=agent.normaliser.country, owned=owned)
    people, finder = find(register=settings.unknown_customer == "register"), find(register=False)
    books = MonetaryBooks(client, taken=agent.taken, marked=settings.mark_receipts)
    history = MonetaryHistory(client, finder) if settings.mark_receipts else None
    lookup = MonetaryLookup(client, agent.normaliser, primary=agent.primary, fields=agent.fields, clock=agent.clock)
    sender = MonetarySender(client, settings, people=people, books=books, clock=agent.clock)
    return Monetary(client, sender, history, lookup if owned else None, settings)


def activities_of(settings: MonetarySettings) -> frozenset[str]:
    """What it wants beside the sales: who joined, where strangers become customers there."""
    return frozenset[str]({ContactEvent.JOINED}) if settings.unknown_customer == "register" else frozenset()


def shares(settings: MonetarySettings, what: ContactEvent, _contact: NewContact) -> frozenset[str] | None:
    """The fields of a contact that are told of when somebody joined with it; None where nothing is.

    Nothing is told of a change: a customer is written whole, points included, over whatever was written meanwhile.
    """
    return REGISTERED if what in activities_of(settings) else None


def fresh_for(connector: Monetary) -> timedelta:
    """How long what was said of a member counts as fresh."""
    return connector.settings.refresh_after


def seed_of(connector: Monetary, agent: FeedSurroundings) -> Callable[[], Seed | None] | None:
    """What reads the seed file; None without one."""
    name = connector.settings.seed_file
    return partial(open_seed, agent.base / name, agent) if name else None
