"""A project of Voucherify on loopback, and senders that have its keys."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from agent.connectors.voucherify.client import VoucherifyClient
from agent.connectors.voucherify.sender import VoucherifySender
from agent.connectors.voucherify.settings import VoucherifySettings
from agent.connectors.voucherify.simulator import RunningSimulator, VoucherifySimulator, serve
from agent.domain.identifiers import IdentifierType
from agent.transport import Transport
from tests.connectors.mparticle.sales import Reference
from tests.fakes import FakeClock
from tests.wire import POLICY

APP_ID, TOKEN = "app-1", "sim-token"


@pytest.fixture
async def simulator(clock: FakeClock, afterwards: AsyncExitStack) -> tuple[VoucherifySimulator, RunningSimulator]:
    """A project on loopback, living by the till's clock."""
    sim = VoucherifySimulator({APP_ID: TOKEN}, now=clock.now)
    running = await serve(sim)
    afterwards.push_async_callback(running.stop)
    return sim, running


@pytest.fixture
def connect(clock: FakeClock, afterwards: AsyncExitStack) -> Callable[..., VoucherifySender]:
    """Makes senders."""

    def connect_(
        url: str,
        *,
        app_id: str | None = APP_ID,
        token: str | None = TOKEN,
        owns_contacts: bool = False,
        **table: Any,
    ) -> VoucherifySender:
        transport = Transport(url, POLICY, connections=2, user_agent="LoyaltyAgent/0.1")
        client = VoucherifyClient(transport, Reference(app_id), Reference(token), heard=lambda _answer: None)
        afterwards.push_async_callback(client.close)
        settings = VoucherifySettings.model_validate(table)
        return VoucherifySender(
            client, settings, primary=IdentifierType.MEMBER_NUMBER, clock=clock, owns_contacts=owns_contacts
        )

    return connect_
