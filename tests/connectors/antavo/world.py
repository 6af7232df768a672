"""A workspace that owns the contacts, its feed, and a replica that is filled from it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from agent.connectors.antavo import build
from agent.connectors.antavo.feeds import open_feed
from agent.connectors.antavo.simulator import AntavoSimulator, serve
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from tests.connectors.antavo.conftest import KEY, SECRET, make_settings
from tests.connectors.feeding import Fed
from tests.connectors.mparticle.sales import Reference
from tests.fakes import feed_surroundings, surroundings
from tests.wire import POLICY

DAY = timedelta(hours=24).total_seconds()
ID, MEMBER, PHONE, CARD = (
    IdentifierType.CONTACT_ID,
    IdentifierType.MEMBER_NUMBER,
    IdentifierType.MOBILE_PHONE,
    IdentifierType.CARD_NUMBER,
)


class World(Fed):
    """All of it, on loopback; the vendor lives by the till's clock."""

    def __init__(
        self, tmp_path, primary: IdentifierType = ID, fields: tuple[str, ...] = (), ahead_s: float = 0, **table: Any
    ) -> None:
        contents = {"contents": "contacts", "fields": fields} if fields else {}
        super().__init__("antavo", tmp_path, primary, **contents)
        ahead = timedelta(seconds=ahead_s)
        self.sim = AntavoSimulator({KEY: SECRET}, now=lambda: self.clock.now() + ahead)
        self.primary, self.fields, self.table = primary, fields, table
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

    def calls(self):
        return self.paces

    async def load(self):
        """The first sync, an hour after what happened so far."""
        self.clock.advance(3600)
        return await self.sync()

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
