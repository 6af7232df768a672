"""What the feeds of whole members have in common under test: a replica, a sync that fills it, and how it broke off."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from told import ToldReplica

from agent.domain.health import Conditions
from agent.domain.identifiers import IdentifierType
from agent.domain.link import Link
from agent.services.sync import PageFeed
from agent.store.database import DatabaseFile
from agent.store.replica_builder import SqliteReplicaStore
from agent.store.replica_file import ReplicaFile
from tests.fakes import STORAGE_KEY, FakeClock


class Erased:
    """Hears of people who were erased here."""

    def __init__(self):
        self.told = []

    async def heard(self, refused, removed, named):
        self.told.append((refused, removed))

    async def carry_out(self):
        """Nothing else is kept."""


class Fed:
    """A replica that a vendor's feed fills; whose test it is makes the feed.

    Attributes:
        former: how many contacts there were before, which a sweep is measured by.
    """

    feed: Any

    def __init__(self, vendor, tmp_path, primary: IdentifierType, **contents: Any) -> None:
        self.clock = FakeClock()
        self.file = ReplicaFile(DatabaseFile(tmp_path / "replica.db", None, "NORMAL"), STORAGE_KEY, primary, **contents)
        self.replica = ToldReplica(self.file)
        self.conditions, self.erased = Conditions(), Erased()
        self.former = 0
        self.link = Link(
            vendor, "loyalty", requests_per_second=0, backoff_first_s=1, backoff_max_s=9, uniform=lambda a, _b: a
        )

    def store(self):
        return SqliteReplicaStore(self.file, int(self.former * 0.9), self.former)

    async def unseen(self):
        return await asyncio.to_thread(self.store().unseen)

    def calls(self) -> int:
        """How many the feed has made."""
        raise NotImplementedError  # each vendor's simulator counts them in its own way

    async def sync(self, *, rebuild=False):
        """One sync; the calls that it made."""
        before = self.calls()
        pages = PageFeed(
            feed=self.feed, store=self.store, contacts=self.replica, erased=self.erased, conditions=self.conditions,
            clock=self.clock,
        )  # fmt: skip
        await pages.read(lambda _progress: None, rebuild=rebuild)
        return self.calls() - before

    async def pages(self, most):
        """Applies so many pages, then breaks off; what each was to a sweep."""
        stages = []
        with self.store().open_writer() as writer:
            async with contextlib.aclosing(self.feed.pages(writer.cursor())) as pages:
                async for page in pages:
                    writer.apply_page(page, at=self.clock.now())
                    stages.append(page.sweep)
                    if len(stages) == most:
                        break
        self.replica.refresh()
        return stages

    def contacts(self):
        return self.replica.info().contacts

    def standing(self):
        return [condition.code for condition in self.conditions.standing()]
