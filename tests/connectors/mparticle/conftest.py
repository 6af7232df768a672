"""An input of mParticle on loopback, and senders that have its key."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import pytest

from agent.connectors.mparticle.client import MparticleClient
from agent.connectors.mparticle.sender import MparticleSender
from agent.connectors.mparticle.simulator import MparticleSimulator, RunningSimulator, serve
from agent.domain.identifiers import IdentifierType
from agent.transport import Transport
from tests.connectors.mparticle.sales import NOW, Reference, make_settings
from tests.wire import POLICY

API_KEY, SECRET = "us1-key", "sim-secret"


class StillClock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
async def simulator(clock: StillClock) -> AsyncIterator[tuple[MparticleSimulator, RunningSimulator]]:
    """An input on loopback, living by the same clock."""
    sim = MparticleSimulator({API_KEY: SECRET}, now=clock.now)
    running = await serve(sim)
    yield sim, running
    await running.stop()


@pytest.fixture
async def connect(clock: StillClock) -> AsyncIterator[Callable[..., MparticleSender]]:
    """Makes senders and closes their connections."""
    made: list[MparticleClient] = []

    def connect_(url: str, *, key: str | None = API_KEY, secret: str | None = SECRET, **table: Any) -> MparticleSender:
        transport = Transport(f"{url}/v2", POLICY, connections=2, user_agent="LoyaltyAgent/0.1")
        made.append(MparticleClient(transport, Reference(key), Reference(secret), heard=lambda _answer: None))
        return MparticleSender(made[-1], make_settings(**table), primary=IdentifierType.MEMBER_NUMBER, clock=clock)

    yield connect_
    for client in made:
        await client.close()
