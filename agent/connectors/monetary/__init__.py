"""Monetary Engage: the room's face. Experimental: nothing of it was tried against the vendor.

What it can: sales as receipts, one by one. It deduplicates nothing, so that what may have arrived is looked for on the
customer's books; it keeps no time of a sale, takes nothing back, takes guests where that is wanted, and says what it
calls a receipt. It lists no customers: where it owns the contacts, those are kept who were asked for, and it says what
they can use; an offer is used up by the receipt that names it. Beside another owner, whoever joins at a till becomes a
customer with what they gave, where strangers do.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from agent.connectors.base import FeedSurroundings, Surroundings
from agent.connectors.monetary.benefits import MonetaryBenefits
from agent.connectors.monetary.books import MonetaryBooks, MonetaryHistory
from agent.connectors.monetary.client import MonetaryClient
from agent.connectors.monetary.errors import raise_unless_answered
from agent.connectors.monetary.lookup import MonetaryLookup
from agent.connectors.monetary.people import REGISTERED, MonetaryPeople
from agent.connectors.monetary.redemptions import MonetaryRedemptions
from agent.connectors.monetary.seed import open_seed
from agent.connectors.monetary.sender import MAX_CALLS, MonetarySender
from agent.connectors.monetary.settings import MonetarySettings
from agent.connectors.monetary.turns import Turns
from agent.domain.activity import ContactEvent
from agent.domain.transaction import NewContact
from agent.errors import VendorOwnError
from agent.ports import Secret, Seed
from agent.transport import Answer, HttpPolicy, Transport

NAME = "monetary"
CONNECTIONS = 2
_MINUTE_S = 60
_NOBODY = {"externalID": "loyalty-agent-ping"}


class Monetary:
    """One location's account.

    Args:
        client: its calls.
        settings: the table.
        sender: takes sales.
        history: counts receipts; None where they do not name their sales.
        lookup: says who somebody is; None where another system owns the contacts.
        benefits: says what customers can use.
        redemptions: notes it for their sales.
    """

    name = NAME
    connections = CONNECTIONS
    idle_ping_s = 60.0
    """What the service bears is not published."""
    keeps_time = False
    windows = ()  # however late a sale comes it counts; what is lost of it is lost after minutes, and reported
    writer = None

    def __init__(
        self,
        client: MonetaryClient,
        settings: MonetarySettings,
        *,
        sender: MonetarySender,
        history: MonetaryHistory | None,
        lookup: MonetaryLookup | None,
        benefits: MonetaryBenefits,
        redemptions: MonetaryRedemptions,
    ) -> None:
        self._client, self.sender, self.history, self.lookup = client, sender, history, lookup
        self.benefits, self.redemptions, self.settings = benefits, redemptions, settings
        self.guests = settings.guest_sales
        self.requests_per_second = settings.requests_per_minute / _MINUTE_S / MAX_CALLS  # the lane counts deliveries

    async def ping(self) -> None:
        """Asks for nobody; a search without a filter may answer with everybody.

        Raises:
            VendorUnreachableError: no sensible answer came.
            VendorRefusedError: our key is refused.
        """
        told = raise_unless_answered(await self._client.search(_NOBODY), named=False)
        if not isinstance(told, list | None):  # a refusal of the question shows that it was asked
            raise VendorOwnError("answers a search with something else than a list")

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()


def open_client(
    settings: MonetarySettings,
    key: Secret,
    http: HttpPolicy,
    *,
    user_agent: str,
    heard: Callable[[Answer], None] = lambda _answer: None,
) -> MonetaryClient:
    """The calls of one account.

    Args:
        settings: the table.
        key: its secret key.
        http: how every vendor is called.
        user_agent: how calls introduce themselves.
        heard: called with each answer, for its `Date`.
    """

    def connect(base_url: str) -> Transport:
        return Transport(base_url, http, connections=CONNECTIONS, user_agent=user_agent)

    return MonetaryClient(connect, base_url=settings.base_url, key=key, heard=heard)


def build(settings: MonetarySettings, agent: Surroundings) -> Monetary:
    """The connector for one location."""
    client = open_client(
        settings, agent.secret(settings.secret_key), agent.http, user_agent=agent.user_agent, heard=agent.heard
    )
    owned = agent.role == "loyalty"
    find = partial(MonetaryPeople, client, primary=agent.primary, country=agent.normaliser.country, owned=owned)
    people, finder = find(register=settings.unknown_customer == "register"), find(register=False)
    books = MonetaryBooks(client, taken=agent.taken, marked=settings.mark_receipts)
    history = MonetaryHistory(client, finder) if settings.mark_receipts else None
    lookup = MonetaryLookup(client, agent.normaliser, primary=agent.primary, fields=agent.fields, clock=agent.clock)
    turns = Turns()
    sender = MonetarySender(
        client,
        settings,
        people=people,
        books=books,
        turns=turns,
        offers=agent.offers if owned else None,
        clock=agent.clock,
    )
    benefits = MonetaryBenefits(client, lookup, currency=settings.currency)
    return Monetary(
        client,
        settings,
        sender=sender,
        history=history,
        lookup=lookup if owned else None,
        benefits=benefits,
        redemptions=MonetaryRedemptions(client, benefits, turns=turns),
    )


def benefits_of(connector: Monetary) -> MonetaryBenefits:
    """What customers of an account can use."""
    return connector.benefits


def redemptions_of(connector: Monetary) -> MonetaryRedemptions:
    """What notes it for their sales."""
    return connector.redemptions


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
