"""A workspace that owns the contacts, its feed, and a replica that is filled from it."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

from told import ToldReplica

from agent.connectors.antavo import build
from agent.connectors.antavo.feeds import open_feed
from agent.connectors.antavo.simulator import AntavoSimulator, serve
from agent.domain.health import Conditions
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.domain.link import Link
from agent.services.sync import PageFeed
from agent.store.database import DatabaseFile
from agent.store.replica_builder import SqliteReplicaStore
from agent.store.replica_file import ReplicaFile
from tests.connectors.antavo.conftest import KEY, SECRET, make_settings
from tests.connectors.mparticle.sales import Reference
from tests.fakes import STORAGE_KEY, FakeClock, feed_surroundings, surroundings
from tests.wire import POLICY

DAY = timedelta(hours=24).total_seconds()
ID, MEMBER, PHONE, CARD = (
    IdentifierType.CONTACT_ID,
    IdentifierType.MEMBER_NUMBER,
    IdentifierType.MOBILE_PHONE,
    IdentifierType.CARD_NUMBER,
)


class Erased:
    """Hears of people who were erased here."""

    async def heard(self, refused, removed):
        """Nobody was."""

    async def carry_out(self):
        """Nothing else is kept."""


class World:
    """All of it, on loopback; the vendor lives by the till's clock."""

    def __init__(
        self, tmp_path, primary: IdentifierType = ID, fields: tuple[str, ...] = (), ahead_s: float = 0, **table: Any
    ) -> None:
        self.clock = FakeClock()
        ahead = timedelta(seconds=ahead_s)
        self.sim = AntavoSimulator({KEY: SECRET}, now=lambda: self.clock.now() + ahead)
        self.primary, self.fields, self.table = primary, fields, table
        contents = {"contents": "contacts", "fields": fields} if fields else {}
        self.file = ReplicaFile(DatabaseFile(tmp_path / "replica.db", None, "NORMAL"), STORAGE_KEY, primary, **contents)
        self.replica = ToldReplica(self.file)
        self.conditions, self.erased = Conditions(), Erased()
        self.former = 0
        self.link = Link(
            "antavo", "loyalty", requests_per_second=0, backoff_first_s=1, backoff_max_s=9, uniform=lambda a, _b: a
        )
        self.paces = 0

    async def start(self) -> None:
        self.running = await serve(self.sim)
        table = {"read_base_url": self.running.url, **self.table}
        settings = make_settings(self.running.url, **table)
        secrets = {settings.api_key: Reference(KEY), settings.api_secret: Reference(SECRET)}
        self.connector = build(
            settings,
            surroundings(
                secret=secrets.__getitem__, http=POLICY, clock=self.clock, primary=self.primary, fields=self.fields
            ),
        )
        self.feed = open_feed(
            self.connector,
            feed_surroundings(
                normaliser=Normaliser("SE", guid_contact_ids=False),
                fields=self.fields,
                link=self.link,
                clock=self.clock,
                unseen=self.unseen,
                pace=self.pace,
            ),
        )

    async def stop(self) -> None:
        await self.connector.close()
        await self.running.stop()
        self.replica.close()

    async def pace(self) -> None:
        self.paces += 1

    def store(self):
        return SqliteReplicaStore(self.file, int(self.former * 0.9), self.former)

    async def unseen(self):
        return await asyncio.to_thread(self.store().unseen)

    async def load(self):
        """The first sync, an hour after what happened so far."""
        self.clock.advance(3600)
        return await self.sync()

    async def sync(self, *, rebuild=False):
        """One sync; the calls that it made."""
        before = self.paces
        pages = PageFeed(
            feed=self.feed, store=self.store, contacts=self.replica, erased=self.erased, conditions=self.conditions,
            clock=self.clock,
        )  # fmt: skip
        await pages.read(lambda _progress: None, rebuild=rebuild)
        return self.paces - before

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

    def cursor(self):
        with self.store().open_writer() as writer:
            return writer.cursor()

    def enrol(self, number, *, after_s=1.0, **fields):
        """Somebody joins, so many seconds after the one before, or is changed."""
        self.clock.advance(after_s)
        return self.sim.add_member(f"m-{number}", membership_id=[str(10_000_000 + number)], **fields)

    def knows(self, number):
        return bool(self.replica.resolve([Identifier(ID, f"m-{number}")]))

    def known_by(self, kind, value):
        """The keys of those whom the replica has under an identifier."""
        return [found.key.value for found in self.replica.resolve([Identifier(kind, value)])]

    def contacts(self):
        return self.replica.info().contacts

    def standing(self):
        return [condition.code for condition in self.conditions.standing()]
