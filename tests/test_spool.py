"""Copies of exports on disk: noise to everybody but the processes that read them."""

from __future__ import annotations

import asyncio
import pickle

import pytest

from agent.assembly import open_agent
from agent.connectors.registry import settings_models
from agent.settings import load
from agent.spool import SpooledFile
from tests.fakes import until

TEXT = b"<member><firstName>Alma Made-Up</firstName></member>\n" * 40_000


def write(path, piece_bytes):
    spooled = SpooledFile.at(path)
    with path.open("wb") as file:
        put = spooled.writing(file)
        for start in range(0, len(TEXT), piece_bytes):
            put(TEXT[start : start + piece_bytes])
    return spooled


@pytest.mark.parametrize("buffering", [-1, 0])
@pytest.mark.parametrize("piece_bytes", [1_000_000, 4_097, 10_000_000])
def test_what_is_written_is_read_again(tmp_path, piece_bytes, buffering):
    """In pieces of any size, in another process too; on disk nothing of it shows."""
    spooled = pickle.loads(pickle.dumps(write(tmp_path / "export.xml", piece_bytes)))
    read = b""
    with spooled.open("rb", buffering=buffering) as file:
        while piece := file.read(70_001):
            read += piece
    noise = spooled.path.read_bytes()

    assert read == TEXT
    assert spooled.name == "export.xml"
    assert len(noise) == len(TEXT)
    assert b"Alma" not in noise
    assert max(noise.count(bytes([value])) for value in range(256)) < 2 * len(noise) / 256


def test_no_two_copies_are_alike(tmp_path):
    """Each has its own key, which shows nowhere."""
    first, second = (write(tmp_path / name, 100_000) for name in "ab")
    assert first.path.read_bytes() != second.path.read_bytes()
    assert repr(first) == f"SpooledFile(path={first.path!r})"


def test_it_is_for_reading_bytes(tmp_path):
    """Nothing else is offered."""
    with pytest.raises(ValueError, match="as bytes"):
        write(tmp_path / "a", 1_000).open("r")


CONFIGURATION = """
[agent]
store_id = "1042"
till_id = "03"
country = "SE"
timezone = "Europe/Stockholm"
locale = "sv-SE"
state_dir = "{folder}/state"
[loyalty]
vendor = "voyado"
[voyado]
base_url = "http://127.0.0.1:9"
api_key = "file:{folder}/key"
feed = "file://{folder}/exports"
"""


async def test_a_purge_lets_alone_what_a_sync_reads(tmp_path):
    """The agent's own purge: while the replica is being written its downloads stay, afterwards they are left behind."""
    (tmp_path / "key").write_text("secret")
    (tmp_path / "config.toml").write_text(CONFIGURATION.format(folder=tmp_path))
    configuration = load(config=tmp_path / "config.toml", vendors=settings_models(), environ={})
    async with open_agent(configuration) as agent:
        spooled = tmp_path / "state" / "spool" / "20260214101500_0_customerExport.xml"
        spooled.parent.mkdir(mode=0o700)
        spooled.write_bytes(b"noise")
        async with agent.storage.writing:
            purge = asyncio.create_task(agent.purge.run())
            await until(agent.storage.alone.locked)
            for _ in range(100):
                await asyncio.sleep(0)
            assert spooled.exists()
        assert (await purge)["files"] == 0
        assert spooled.exists()
        assert (await agent.purge.run())["files"] == 1
        assert not spooled.exists()
