"""The change calls of a line that others use, too."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.connectors.voyado.client import VoyadoClient
from agent.connectors.voyado.feeds import PacedApi
from agent.domain.link import Link
from agent.errors import VendorUnreachableError
from agent.transport import Transport
from tests.fakes import FakeClock
from tests.wire import POLICY, answer, in_turn, wire

ALMA = "0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10"
SINCE = datetime(2026, 1, 1, tzinfo=UTC)


class Key:
    def value(self):
        return "key"

    def refused(self):
        """Read again."""


@pytest.fixture(name="link")
def _link():
    return Link(
        "voyado", "loyalty", requests_per_second=0, backoff_first_s=1, backoff_max_s=9, uniform=lambda low, _high: low
    )


@pytest.fixture(name="clock")
def _clock():
    return FakeClock()


@pytest.fixture(name="connect")
async def _connect(link, clock):
    made = []

    async def pace():
        pass

    def connect(url):
        transport = Transport(url, POLICY, connections=1, user_agent="LoyaltyAgent/0.1")
        client = VoyadoClient(transport, Key(), version=3, source="POS", heard=lambda _answer: None)
        made.append(client)
        return PacedApi(client, pace, link, clock)

    yield connect
    for client in made:
        await client.close()


CALLS = {
    "changes": lambda api: api.changes("Updated", SINCE, SINCE + timedelta(days=1)),
    "contact": lambda api: api.contact(ALMA),
}
CALL = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@CALL
@pytest.mark.parametrize(("headers", "pause_s"), [({"retry_after": "120"}, 120.0), ({}, 1.0)], ids=["stated", "not"])
async def test_a_pause_is_everybody_s(connect, link, clock, call, headers, pause_s):  # noqa: PLR0917 - a row
    """Asked to be slower, the feed asks nothing more until the pause is over, and no delivery or look-up does."""
    async with wire(in_turn(answer(429, **headers), answer(404), answer(404))) as server:
        api = connect(server.url)
        with pytest.raises(VendorUnreachableError):
            await call(api)
        assert not link.sending.allows(clock.monotonic() + pause_s - 0.1)
        assert not link.lookups.allows(clock.monotonic() + pause_s - 0.1)
        assert link.state == "offline"
        clock.advance(pause_s - 0.1)
        with pytest.raises(VendorUnreachableError, match="more slowly"):
            await call(api)
        assert len(server.requests) == 1
        clock.advance(0.2)
        assert await api.contact(ALMA) is None
    assert len(server.requests) == 2


async def test_a_pause_that_others_were_asked_for(connect, link, clock):
    """A delivery was asked to wait: the feed waits as well."""
    link.silent(clock.now(), clock.monotonic(), after_s=60.0)
    async with wire(answer(404)) as server:
        with pytest.raises(VendorUnreachableError):
            await connect(server.url).contact(ALMA)
    assert server.connections == 0


@CALL
async def test_other_trouble_is_the_feed_s_own(connect, link, call):
    """An error without a pause says nothing of deliveries."""
    async with wire(answer(500)) as server:
        with pytest.raises(VendorUnreachableError):
            await call(connect(server.url))
    assert link.answers is None
    assert link.sending.allows(0.0)
