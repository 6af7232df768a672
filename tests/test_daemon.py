"""The running agent, as its service manager sees it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

import pytest

from agent.connectors.registry import settings_models
from agent.daemon import running
from agent.errors import StorageFullError
from agent.service_manager import ServiceManager
from agent.settings import load
from tests.fakes import until

CONFIG = """
[agent]
store_id = "1042"
till_id = "03"
state_dir = "{root}/state"
[api]
listen = ["unix:{root}/door"]
[voyado]
base_url = "http://127.0.0.1:9"
api_key = "file:{root}/api.key"
feed = "api"
"""
BEATS_EVERY_S = 0.01


class Manager:
    """A service manager that listens."""

    def __init__(self, place):
        self._end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._end.setblocking(False)
        self._end.bind(str(place))
        self.environ = {"NOTIFY_SOCKET": str(place), "WATCHDOG_USEC": str(int(BEATS_EVERY_S * 3_000_000))}

    def heard(self):
        """What was said since it was last asked."""
        said = []
        with contextlib.suppress(BlockingIOError):
            while True:
                said.append(self._end.recv(200))
        return said

    def close(self):
        self._end.close()


@pytest.fixture
def manager(tmp_path):
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


@pytest.fixture
async def live(tmp_path, manager):
    """The database that sales are put into, of an agent that runs and shows life."""
    (tmp_path / "api.key").write_text("a-key")
    config = tmp_path / "config.toml"
    config.write_text(CONFIG.format(root=tmp_path))
    configuration = load(config=config, vendors=settings_models(), environ={})
    async with running(configuration, manager=ServiceManager(dict(manager.environ))) as agent:
        await until(lambda: any(said.startswith(b"READY=1") for said in manager.heard()))
        await until(lambda: b"WATCHDOG=1" in manager.heard())
        yield agent.rooms.outbox._writer


async def turns(each=lambda: None):
    """The loop turns a hundred times."""
    for _ in range(100):
        each()
        await asyncio.sleep(0)


async def test_a_disk_that_does_not_answer_is_silence(live, manager, pass_by):
    """No sign of life comes while a write does not come back, however well the loop turns; then they come again."""
    stuck, disk = threading.Event(), threading.Event()

    def write(_connection):
        stuck.set()
        disk.wait()

    sale = asyncio.create_task(live.run(write))
    try:
        await until(stuck.is_set)
        await turns()  # a write before it may just have come back
        manager.heard()
        await turns(lambda: pass_by(BEATS_EVERY_S))
        assert manager.heard() == []
    finally:
        disk.set()
        await sale
    await until(lambda: b"WATCHDOG=1" in manager.heard())


async def test_a_disk_that_refuses_is_no_silence(live, manager):
    """What a new start would not mend is no reason for one."""
    await live.shut(StorageFullError())
    manager.heard()
    await until(lambda: b"WATCHDOG=1" in manager.heard())
