"""mParticle: the room's face.

What it can: sales and activities as events, one by one or in bulk. It owns no contacts, looks nobody up and has nothing
to ask. It deduplicates by `source_request_id` for 30 days at least, keeps the sale's own time, takes guests, and says
of a sale that it accepted it, never that it processed it.
"""

from functools import partial

from agent.connectors.base import IDLE_PING_S, Surroundings
from agent.connectors.mparticle.client import BasicCredentials, MparticleClient
from agent.connectors.mparticle.errors import raise_unless_answered
from agent.connectors.mparticle.mapping import HISTORICAL_AFTER, OUTPUTS_TAKE, wants_guest
from agent.connectors.mparticle.opendsr import OpenDsr
from agent.connectors.mparticle.sender import MparticleSender
from agent.connectors.mparticle.settings import MparticleSettings
from agent.domain.activity import OF_TILLS, ContactEvent, MemberEvent
from agent.domain.identifiers import IdentifierType
from agent.domain.transaction import NewContact
from agent.domain.window import Window
from agent.ports import Clock, Guests
from agent.transport import Transport

NAME = "mparticle"
CONNECTIONS = 4
_NOTHING = b"[]"


class Mparticle:
    """One input of an mParticle workspace."""

    name = NAME
    connections = CONNECTIONS
    idle_ping_s = IDLE_PING_S
    keeps_time = True
    lookup = writer = history = None
    windows = (
        Window(OUTPUTS_TAKE, "outputs of the usual maximum age get nothing of a sale"),
        Window(HISTORICAL_AFTER, "no output gets anything of a sale"),
    )
    guests: Guests

    def __init__(
        self,
        client: MparticleClient,
        settings: MparticleSettings,
        *,
        primary: IdentifierType,
        clock: Clock,
        opendsr: OpenDsr | None,
    ) -> None:
        self._client, self._opendsr = client, opendsr
        self.guests = settings.guest_pos_sales or partial(wants_guest, settings=settings)
        self.requests_per_second = settings.requests_per_second
        self.sender = MparticleSender(client, settings, primary=primary, clock=clock, opendsr=opendsr)

    async def ping(self) -> None:
        """Sends no batches at all: there is no call that only asks. Whether that is 202 or 400, it was let in.

        Raises:
            VendorUnreachableError: no sensible answer came.
            VendorRefusedError: our credentials are refused.
        """
        raise_unless_answered(await self._client.post_bulk(_NOTHING))

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()
        if self._opendsr is not None:
            await self._opendsr.close()


def build(settings: MparticleSettings, agent: Surroundings) -> Mparticle:
    """The connector for one input."""
    transport = Transport(settings.base_url, agent.http, connections=CONNECTIONS, user_agent=agent.user_agent)
    client = MparticleClient(
        transport, agent.secret(settings.api_key), agent.secret(settings.api_secret), heard=agent.heard
    )
    opendsr = None
    if settings.opendsr_key:
        opendsr = OpenDsr(
            Transport(settings.opendsr_url, agent.http, connections=1, user_agent=agent.user_agent),
            BasicCredentials(agent.secret(settings.opendsr_key), agent.secret(settings.opendsr_secret)),
            settings,
            primary=agent.primary,
        )
    return Mparticle(client, settings, primary=agent.primary, clock=agent.clock, opendsr=opendsr)


def activities_of(settings: MparticleSettings) -> frozenset[str]:
    """What it wants beside the sales.

    What tills tell of, who joined, what changed; Redcat's event of a deleted member; requests for erasure.
    """
    own: set[str] = set()
    if settings.profile == "redcat":
        own.add(MemberEvent.DELETED)
    if settings.opendsr_key:
        own.add(MemberEvent.ERASURE)
    return OF_TILLS | frozenset(ContactEvent) | own


def shares(settings: MparticleSettings, _what: ContactEvent, _contact: NewContact) -> frozenset[str]:
    """What it is told of somebody who joined or changed beyond that they did: what it is told of a sale's contact."""
    asked_for = {"consents": bool(settings.consent_purposes), "attributes": settings.voucherify_bridge}
    more = (name for name, wanted in asked_for.items() if wanted)
    return frozenset[str]((*settings.send_identities, *settings.send_attributes, *more))
