"""Antavo Loyalty Cloud: the room's face.

What it can: sales as events, one by one or in bulk. It refuses a checkout that it has already, counts a repeated return
again, keeps the sale's own time when it is told to, takes guests' purchases where the workspace does, and says of a
sale that it processed it. Where it owns the contacts its members are read into the replica, looked up, made and
changed. It says what they can use, uses coupons up, claims rewards and revokes claims, and says what a sale would earn.
Beside another owner it is told who joins and what changes at a till, where `opt_in_new_contacts` lets people's data go
there. With the credentials of a client it takes sales alone, and says later what became of each.
Where it cannot be called at all, sales are written into files for its import to fetch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from agent.connectors.antavo.benefits import AntavoBenefits
from agent.connectors.antavo.client import AntavoClient, AntavoReadClient
from agent.connectors.antavo.contacts import AntavoContacts
from agent.connectors.antavo.errors import raise_unless_answered
from agent.connectors.antavo.filer import AntavoFiler
from agent.connectors.antavo.folder import EventsFolder
from agent.connectors.antavo.lookup import AntavoLookup
from agent.connectors.antavo.mapping import only_buys
from agent.connectors.antavo.preview import AntavoPreview
from agent.connectors.antavo.redemptions import AntavoRedemptions
from agent.connectors.antavo.rewards import AntavoRewards
from agent.connectors.antavo.sender import MAX_CALLS, AntavoSender
from agent.connectors.antavo.settings import AntavoSettings
from agent.connectors.antavo.submissions import NOBODY_S, AntavoSubmissions
from agent.connectors.antavo.submitter import AntavoSubmitter
from agent.connectors.antavo.telling import is_told, shares
from agent.connectors.antavo.tokens import AccessToken
from agent.connectors.base import IDLE_PING_S, Surroundings
from agent.domain.activity import ContactEvent
from agent.domain.identifiers import IdentifierType, Normaliser
from agent.errors import StorageError, VendorOwnError, VendorUnreachableError
from agent.ports import Clock, Guests
from agent.settings import Role
from agent.transport import Transport

__all__ = [
    "NAME",
    "Antavo",
    "activities_of",
    "benefits_of",
    "build",
    "folder_of",
    "handed_over_by",
    "preview_of",
    "redemptions_of",
    "shares",
]

NAME = "antavo"
_OK = 200
CONNECTIONS = 2
_Client = TypeVar("_Client", AntavoClient, AntavoReadClient)


class AntavoAsync:
    """One workspace that takes events, and answers nothing but what became of them."""

    name = NAME
    connections = CONNECTIONS
    idle_ping_s = 600.0
    writer = history = lookup = None
    windows = ()
    guests: Guests = False

    def __init__(
        self, client: AntavoSubmissions, settings: AntavoSettings, *, primary: IdentifierType, clock: Clock
    ) -> None:
        self.client, self.settings = client, settings
        self.keeps_time = settings.backdate
        self.requests_per_second = settings.requests_per_minute / 60 / MAX_CALLS  # the lane counts deliveries
        self.sender = AntavoSubmitter(client, settings, primary=primary, clock=clock)

    async def ping(self) -> None:
        """Asks for an event that nobody handed in. Raises as :meth:`Antavo.ping`."""
        raise_unless_answered(await self.client.outcome(NOBODY_S))

    async def close(self) -> None:
        """Closes the connections."""
        await self.client.close()


class AntavoFiles:
    """A folder from which a workspace's import fetches events; the workspace itself is never called."""

    name = NAME
    connections = 1  # a later file has a later name
    idle_ping_s = IDLE_PING_S
    writer = history = lookup = None
    windows = ()
    guests: Guests = False

    def __init__(self, settings: AntavoSettings, folder: Path, agent: Surroundings) -> None:
        self.keeps_time = settings.backdate
        self.requests_per_second = settings.requests_per_minute / 60  # a file each
        self.sender = AntavoFiler(
            NAME,
            EventsFolder(folder, agent.place),
            settings,
            primary=agent.primary,
            clock=agent.clock,
            handovers=agent.handovers,
        )

    async def ping(self) -> None:
        """Looks whether files can be written. Raises VendorUnreachableError, with the reason, where they cannot be."""
        try:
            await self.sender.ready()
        except StorageError as error:
            raise VendorUnreachableError(f"what an earlier run left cannot be put in order: {error}") from error

    async def close(self) -> None:
        """Nothing is open."""


class Antavo:
    """One workspace."""

    name = NAME
    connections = CONNECTIONS
    idle_ping_s = 600.0
    """All tills of the key share 1,500 calls a minute: a thousand of them, asking as often as elsewhere, would need
    four times that while nothing is sold."""
    history = None
    windows = ()  # however late a sale comes it counts; what is lost of it is lost after minutes, and reported

    def __init__(
        self,
        client: AntavoClient,
        reader: AntavoReadClient | None,
        settings: AntavoSettings,
        *,
        role: Role,
        primary: IdentifierType,
        fields: Sequence[str],
        normaliser: Normaliser,
        clock: Clock,
    ) -> None:
        self.client, self.reader, self.settings = client, reader, settings
        owns = role == "loyalty"
        self.guests: Guests = only_buys if settings.guest_sales else False
        self.keeps_time = settings.backdate
        self.requests_per_second = settings.requests_per_minute / 60 / MAX_CALLS  # the lane counts deliveries
        self.sender = AntavoSender(client, settings, primary=primary, clock=clock, owns_contacts=owns)
        people = AntavoLookup(client, settings, primary, fields)
        contacts = AntavoContacts(client, settings, people, primary=primary, normaliser=normaliser, clock=clock)
        self.lookup = people if owns else None
        self.writer = contacts if owns else None
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
        answer = await self.client.count()
        raise_unless_answered(answer)
        if answer.status == _OK and "active" not in answer.json():
            raise VendorOwnError(f"answered {answer.status} without a count")

    async def close(self) -> None:
        """Closes the connections."""
        await self.client.close()
        if self.reader is not None:
            await self.reader.close()


def build(settings: AntavoSettings, agent: Surroundings) -> Antavo | AntavoAsync | AntavoFiles:
    """The connector for one workspace."""
    folder = folder_of(settings)
    if folder is not None:
        return AntavoFiles(settings, folder, agent)
    return _by_token(settings, agent) if settings.auth_mode == "oauth" else _by_key(settings, agent)


def _by_token(settings: AntavoSettings, agent: Surroundings) -> AntavoAsync:
    transport = Transport(settings.base_url, agent.http, connections=CONNECTIONS, user_agent=agent.user_agent)
    token = AccessToken(
        transport,
        client_id=agent.secret(settings.api_key),
        client_secret=agent.secret(settings.api_secret),
        clock=agent.clock,
        heard=agent.heard,
    )
    client = AntavoSubmissions(transport, token, agent.heard)
    return AntavoAsync(client, settings, primary=agent.primary, clock=agent.clock)


def _by_key(settings: AntavoSettings, agent: Surroundings) -> Antavo:
    def connect(kind: type[_Client], base_url: str, host: str) -> _Client:
        return kind(
            Transport(base_url, agent.http, connections=CONNECTIONS, user_agent=agent.user_agent),
            host=host,
            environment=settings.environment,
            api_key=agent.secret(settings.api_key),
            api_secret=None if settings.auth_mode == "api_key" else agent.secret(settings.api_secret),
            clock=agent.clock,
            heard=agent.heard,
        )

    client = connect(AntavoClient, settings.base_url, settings.host)
    reads = settings.read_base_url and agent.role == "loyalty"
    reader = connect(AntavoReadClient, settings.read_base_url, settings.read_host) if reads else None
    return Antavo(
        client,
        reader,
        settings,
        role=agent.role,
        primary=agent.primary,
        fields=agent.fields,
        normaliser=agent.normaliser,
        clock=agent.clock,
    )


def activities_of(settings: AntavoSettings) -> frozenset[str]:
    """What it wants beside the sales: who joined and what changed, where the data of people may go there."""
    return frozenset[str](ContactEvent) if is_told(settings) else frozenset()


def folder_of(settings: AntavoSettings) -> Path | None:
    """Where files of events wait to be fetched; None where the workspace is called."""
    return Path(settings.events_folder) if settings.events_folder else None


def handed_over_by(connector: Antavo | AntavoAsync | AntavoFiles) -> AntavoFiler | None:
    """Those files; None where there are none."""
    return connector.sender if isinstance(connector, AntavoFiles) else None


def benefits_of(connector: Antavo) -> AntavoBenefits:
    """What customers of a workspace can use."""
    return connector.benefits


def redemptions_of(connector: Antavo) -> AntavoRedemptions:
    """What uses it up."""
    return connector.redemptions


def preview_of(connector: Antavo) -> AntavoPreview:
    """What says what a sale would earn."""
    return connector.preview
