"""An account of Monetary on loopback, and rooms that have its key."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest

from agent.connectors.monetary import Monetary, build
from agent.connectors.monetary.settings import MonetarySettings
from agent.connectors.monetary.simulator import MonetarySimulator, RunningSimulator, serve
from tests.connectors.mparticle.sales import Reference
from tests.fakes import FakeClock, surroundings
from tests.wire import POLICY

KEY = "test-key"
MEMBER = "10000421"


@pytest.fixture
async def simulator(clock: FakeClock, afterwards: AsyncExitStack) -> tuple[MonetarySimulator, RunningSimulator]:
    """A location's account on loopback with one customer, living by the till's clock."""
    sim = MonetarySimulator({KEY: "location-1"}, now=clock.now)
    sim.add_customer(ExternalID=MEMBER, Phone="0701740605", Email="alma@example.com")
    running = await serve(sim)
    afterwards.push_async_callback(running.stop)
    return sim, running


@pytest.fixture
def recorded() -> set[str]:
    """Receipts that the outbox has for sales that were delivered."""
    return set()


@pytest.fixture
def connect(clock: FakeClock, recorded: set[str], afterwards: AsyncExitStack) -> Callable[..., Monetary]:
    """Makes rooms; ``around`` differs from the usual."""

    def connect_(url: str, *, key: str | None = KEY, around: Mapping[str, Any] | None = None, **table: Any) -> Monetary:
        given = {"role": "forward", **(around or {})}
        room_around = surroundings(
            secret=lambda _reference: Reference(key),
            http=POLICY,
            clock=clock,
            taken=recorded.intersection,
            **given,
        )
        room = build(MonetarySettings.model_validate({"base_url": f"{url}/v1", **table}), room_around)
        afterwards.push_async_callback(room.close)
        return room

    return connect_
