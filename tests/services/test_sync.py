"""What a sync that fails says, and when."""

import asyncio
from datetime import timedelta

import pytest

from agent.domain.health import Conditions
from agent.errors import FeedError, StorageError, StorageFullError, VendorRefusedError, VendorUnreachableError
from agent.services.sync import Sync
from tests.fakes import FakeClock, FakeReplica


class Feed:
    """A feed that fails as a test wants."""

    error: Exception | None = None

    async def read(self, told, *, rebuild):
        if self.error is not None:
            raise self.error


@pytest.fixture(name="feed")
def _feed():
    return Feed()


@pytest.fixture(name="conditions")
def _conditions():
    return Conditions()


async def _renewed():
    pass


@pytest.fixture(name="sync")
def _sync(feed, conditions):
    return Sync(
        clock=FakeClock(),
        feed=feed,
        contacts=FakeReplica(),
        conditions=conditions,
        every=timedelta(minutes=15),
        uniform=lambda low, _high: low,
        changed=lambda: None,
        renewed=_renewed,
        writing=asyncio.Lock(),
    )


@pytest.mark.parametrize(
    ("error", "after"),
    [
        pytest.param(VendorUnreachableError("the SFTP server does not answer in time"), 3, id="out of reach"),
        pytest.param(FeedError("the loading process died"), 3, id="a process that died"),
        pytest.param(StorageError("the spool cannot be used"), 3, id="a disk that fails"),
        pytest.param(VendorRefusedError("the host key is not the one"), 1, id="refused"),
        pytest.param(StorageFullError("there is no room on the disk for another export file"), 1, id="no room"),
    ],
)
async def test_when_a_feed_counts_as_silent(sync, feed, conditions, error, after):
    """What comes back by itself is told the third time, what somebody must see to at once; both with the reason."""
    feed.error = error
    for _ in range(after):
        assert conditions.standing() == ()
        await sync.once()
    (condition,) = conditions.standing()
    assert (condition.code, condition.detail) == ("feed.silent", str(error))
    feed.error = None
    await sync.once()
    assert conditions.standing() == ()
