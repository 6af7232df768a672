"""A workspace of Antavo on loopback, and senders that have its key."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from agent.connectors.antavo.client import AntavoClient
from agent.connectors.antavo.sender import AntavoSender
from agent.connectors.antavo.settings import AntavoSettings
from agent.connectors.antavo.simulator import AntavoSimulator, RunningSimulator, serve
from agent.domain.identifiers import IdentifierType
from agent.transport import Transport
from tests.connectors.mparticle.sales import NOW, Reference
from tests.fakes import FakeClock
from tests.wire import POLICY

KEY, SECRET, ENVIRONMENT = "AN1EXAMPLEKEY", "sim-secret", "st2"
MEMBER = "10000421"


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
