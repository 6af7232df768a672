"""An input of mParticle on loopback, and senders that have its key."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from agent.connectors.mparticle.client import MparticleClient
from agent.connectors.mparticle.sender import MparticleSender
from agent.connectors.mparticle.simulator import MparticleSimulator, RunningSimulator, serve
from agent.domain.identifiers import IdentifierType
from agent.transport import Transport
from tests.connectors.mparticle.sales import Reference, make_settings
from tests.fakes import FakeClock
from tests.wire import POLICY

API_KEY, SECRET = "us1-key", "sim-secret"


@pytest.fixture
async def simulator(clock: FakeClock, afterwards: AsyncExitStack) -> tuple[MparticleSimulator, RunningSimulator]:
    """An input on loopback, living by the till's clock."""
    sim = MparticleSimulator({API_KEY: SECRET}, now=clock.now)
    running = await serve(sim)
    afterwards.push_async_callback(running.stop)
    return sim, running


@pytest.fixture
def connect(clock: FakeClock, afterwards: AsyncExitStack) -> Callable[..., MparticleSender]:
    """Makes senders."""

    def connect_(url: str, *, key: str | None = API_KEY, secret: str | None = SECRET, **table: Any) -> MparticleSender:
        transport = Transport(f"{url}/v2", POLICY, connections=2, user_agent="LoyaltyAgent/0.1")
        client = MparticleClient(transport, Reference(key), Reference(secret), heard=lambda _answer: None)
        afterwards.push_async_callback(client.close)
        return MparticleSender(client, make_settings(**table), primary=IdentifierType.MEMBER_NUMBER, clock=clock)

    return connect_
