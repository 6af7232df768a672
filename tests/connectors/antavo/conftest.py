"""A workspace of Antavo on loopback, and senders that have its key."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from agent.connectors.antavo import build
from agent.connectors.antavo.client import AntavoClient
from agent.connectors.antavo.sender import AntavoSender
from agent.connectors.antavo.settings import AntavoSettings
from agent.connectors.antavo.simulator import AntavoSimulator, RunningSimulator, serve
from agent.connectors.registry import ROOMS
from agent.domain.benefits import BenefitKind
from agent.domain.identifiers import IdentifierType
from agent.domain.redemption import Redeemable
from agent.transport import Transport
from tests.connectors.mparticle.sales import NOW, Reference
from tests.fakes import FakeClock, primary_key, surroundings
from tests.wire import POLICY

KEY, SECRET, ENVIRONMENT = "AN1EXAMPLEKEY", "sim-secret", "st2"
MEMBER = "10000421"
ALMA = primary_key(IdentifierType.CONTACT_ID, MEMBER)
BO = primary_key(IdentifierType.CONTACT_ID, "c-2")
NUMBER = primary_key(IdentifierType.MEMBER_NUMBER, "77123456")
CRM = primary_key(IdentifierType.EXTERNAL_ID, "X-1")
VOUCHER = BenefitKind.VOUCHER


def make_settings(url: str = "https://api.st2.antavo.com", **table: Any) -> AntavoSettings:
    return AntavoSettings.model_validate({"base_url": url, "environment": ENVIRONMENT, **table})


@pytest.fixture
async def simulator(afterwards: AsyncExitStack) -> tuple[AntavoSimulator, RunningSimulator]:
    """A workspace on loopback that knows one member; its clock is not the till's, but begins at the same instant."""
    sim = AntavoSimulator({KEY: SECRET}, now=lambda: NOW)
    sim.add_member(MEMBER, email="alma@example.com", mobile_phone="+46701740605")
    running = await serve(sim)
    afterwards.push_async_callback(running.stop)
    return sim, running


@pytest.fixture
def connect(clock: FakeClock, afterwards: AsyncExitStack) -> Callable[..., AntavoSender]:
    """Makes senders; each has its ``client``."""

    def connect_(
        url: str,
        *,
        key: Any = KEY,
        secret: Any = SECRET,
        primary: IdentifierType = IdentifierType.MEMBER_NUMBER,
        owns_contacts: bool = False,
        **table: Any,
    ) -> AntavoSender:
        settings = make_settings(url, **table)
        client = AntavoClient(
            Transport(url, POLICY, connections=2, user_agent="LoyaltyAgent/0.1"),
            host=settings.host,
            environment=settings.environment,
            api_key=key if isinstance(key, Reference) else Reference(key),
            api_secret=secret if isinstance(secret, Reference) else Reference(secret),
            clock=clock,
            heard=lambda _answer: None,
        )
        afterwards.push_async_callback(client.close)
        return AntavoSender(client, settings, primary=primary, clock=clock, owns_contacts=owns_contacts)

    return connect_


class Desk:
    """What one member can use, and uses up; ``paces`` counts the calls that were paced."""

    def __init__(self, url, key=ALMA, *, secret=SECRET, **table):
        settings = make_settings(url, external_id_field="crm_id", **table)
        secrets = {settings.api_key: Reference(KEY), settings.api_secret: Reference(secret)}
        self.connector = build(settings, surroundings(secret=secrets.__getitem__, http=POLICY, clock=FakeClock()))
        owner = ROOMS["antavo"].owner
        self.room, self.key, self.paces = owner.redeemer(self.connector), key, 0
        self._benefits, self._preview = owner.benefits(self.connector), owner.preview(self.connector)

    async def pace(self):
        self.paces += 1

    async def benefits(self):
        return await self._benefits.benefits(self.key, timeout_s=5, pace=self.pace)

    async def standing(self, code="CODE-1", kind=VOUCHER):
        return await self.room.standing(Redeemable(self.key, kind, code), timeout_s=5, pace=self.pace)

    async def redeem(self, code="CODE-1", kind=VOUCHER):
        return await self.room.redeem(Redeemable(self.key, kind, code), timeout_s=5, pace=self.pace)

    async def release(self, code="CODE-1", kind=VOUCHER, use=""):
        return await self.room.release(Redeemable(self.key, kind, code, use=use), timeout_s=5, pace=self.pace)

    async def points(self, sale):
        return await self._preview.points(self.key, sale, timeout_s=5, pace=self.pace)


@pytest.fixture
def open_desk(afterwards: AsyncExitStack) -> Callable[..., Any]:
    """Opens desks."""

    def open_desk_(url: str, *key: Any, **how: Any) -> Any:
        desk = Desk(url, *key, **how)
        afterwards.push_async_callback(desk.connector.close)
        return desk

    return open_desk_
