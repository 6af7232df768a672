"""What the assembly itself decides: who writes to the replica when."""

from __future__ import annotations

import asyncio

from agent import assembly
from agent.store.database import DatabaseFile
from agent.store.replica import SqliteReplica
from agent.store.replica_file import ReplicaFile
from tests.store.test_replica import ALMA, KEY, MEMBER, NOW, delete, page, upsert


async def test_a_purge_of_the_replica_takes_turns_with_the_sync(tmp_path, monkeypatch):
    """While somebody writes to it, or is about to replace it, the purge waits; in the end the next one does it."""
    file = ReplicaFile(DatabaseFile(tmp_path / "replica.db", None, "NORMAL"), KEY, MEMBER)
    replica = SqliteReplica(file)
    page(file, upsert(ALMA))
    page(file, delete(ALMA))
    writing = asyncio.Lock()
    contacts = assembly._Contacts(replica, writing)
    await writing.acquire()
    waiting = asyncio.create_task(contacts.purge(NOW.replace(year=2027)))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    writing.release()
    assert await waiting == {"tombstones": 1}
    assert not writing.locked()

    monkeypatch.setattr(assembly, "PURGE_PATIENCE_S", 0.01)
    await writing.acquire()
    assert await contacts.purge(NOW) == {}
    assert writing.locked()
    replica.close()
