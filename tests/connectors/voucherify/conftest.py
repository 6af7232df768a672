"""A project of Voucherify on loopback, and senders that have its keys."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import pytest

from agent.connectors.voucherify.client import VoucherifyClient
from agent.connectors.voucherify.sender import VoucherifySender
from agent.connectors.voucherify.settings import VoucherifySettings
from agent.connectors.voucherify.simulator import RunningSimulator, VoucherifySimulator, serve
from agent.domain.identifiers import IdentifierType
from agent.transport import Transport
from tests.connectors.mparticle.sales import NOW, Reference
from tests.wire import POLICY

APP_ID, TOKEN = "app-1", "sim-token"


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
async def simulator(clock: StillClock) -> AsyncIterator[tuple[VoucherifySimulator, RunningSimulator]]:
    """A project on loopback, living by the same clock."""
    sim = VoucherifySimulator({APP_ID: TOKEN}, now=clock.now)
    running = await serve(sim)
    yield sim, running
    await running.stop()


@pytest.fixture
async def connect(clock: StillClock) -> AsyncIterator[Callable[..., VoucherifySender]]:
    """Makes senders and closes their connections."""
    made: list[VoucherifyClient] = []

    def connect_(url: str, *, app_id: str | None = APP_ID, token: str | None = TOKEN, **table: Any) -> VoucherifySender:
        transport = Transport(url, POLICY, connections=2, user_agent="LoyaltyAgent/0.1")
        made.append(VoucherifyClient(transport, Reference(app_id), Reference(token), heard=lambda _answer: None))
        settings = VoucherifySettings.model_validate(table)
        return VoucherifySender(made[-1], settings, primary=IdentifierType.MEMBER_NUMBER, clock=clock)

    yield connect_
    for client in made:
        await client.close()
