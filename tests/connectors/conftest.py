"""What the rooms' tests begin with: a clock that stands still, and an end at which what was opened is closed."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.connectors.mparticle.sales import NOW
from tests.fakes import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    """The till's."""
    return FakeClock(NOW)


@pytest.fixture
async def afterwards() -> AsyncIterator[AsyncExitStack]:
    """Takes what is to be closed when the test is over; the last is closed first."""
    async with AsyncExitStack() as stack:
        yield stack
