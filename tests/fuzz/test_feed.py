"""What comes by the feed: export files, their names, the change feed's cursor."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime

import pytest

from agent.connectors.voyado.changes import VoyadoChanges
from agent.connectors.voyado.export import VoyadoExportReader
from agent.connectors.voyado.fields import ContactMapping
from agent.connectors.voyado.files import Part, plan_files
from agent.connectors.voyado.simulator import SimulatorSettings, VoyadoSimulator
from agent.domain.contact import ContactChange
from agent.domain.identifiers import IdentifierType, Normaliser
from agent.errors import FeedError, FeedUnreadableError
from agent.ports import AppliedFile, ExportFile
from agent.store.database import DatabaseFile
from agent.store.replica_builder import SqliteReplicaStore
from agent.store.replica_file import ReplicaFile

TODAY = date(2026, 2, 20)
AT = datetime(2026, 2, 20, 10, tzinfo=UTC)
MAPPING = ContactMapping(Normaliser("SE", guid_contact_ids=True), fields=("first_name", "city", "language"))
WORDS = (
    b"<!DOCTYPE contacts [", b'<!ENTITY a "b">', b"<![CDATA[", b"<?xml version='1.1'?>", b"<?xml encoding='utf-16'?>",
    b"<new>", b"</new>", b"<deleted>", b"<updated>", b"<member>", b"</member>", b"<contactId>", b"<memberNumber/>",
    b"xmlns:x='u'", b"&#0;", b"&#x110000;", b"&lt;", b"</contacts>", b"<a b='", b"secrecyMarked",
)  # fmt: skip


@pytest.fixture(name="exports", scope="module")
def _exports(tmp_path_factory) -> list[bytes]:
    """Export files as Engage writes them: a full one, and one of changes."""
    settings = SimulatorSettings(
        root=tmp_path_factory.mktemp("ftp"), receipt_interval_s=None, export_interval_s=None, hard_rate=None
    )
    sim = VoyadoSimulator(settings, now=lambda: AT, rng=random.Random(20260214))
    sim.seed(12)
    found = [path.read_bytes() for path in sim.export_full()]
    for contact in list(sim.state.members())[:3]:
        sim.state.delete(contact)
    for contact in list(sim.state.members())[:3]:
        sim.state.touch(contact, ["city"])
    return found + [path.read_bytes() for path in sim.export_now()]


def test_export_xml(fuzz, exports, tmp_path):
    """Whatever bytes an export file has, it is read as changes or refused."""
    path = tmp_path / "20260220101500_0_members.xml"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        assert all(isinstance(change, ContactChange) for change in VoyadoExportReader(MAPPING).read(path, today=TODAY))

    fuzz.of(exports, WORDS, read, refusals=(FeedUnreadableError,))


def test_export_xml_into_the_replica(fuzz, exports, tmp_path):
    """What can be read can be applied, whole; what cannot leaves the replica as it was."""
    key = bytes(range(32))
    file = ReplicaFile(DatabaseFile(tmp_path / "replica.db", key, "OFF"), key, IdentifierType.MEMBER_NUMBER)
    store = SqliteReplicaStore(file)
    path = tmp_path / "20260220101500_0_members.xml"
    count = 0
    with store.open_loader(rebuild=False) as loader:

        def load(data: bytes) -> None:
            nonlocal count
            path.write_bytes(data)
            reading = VoyadoExportReader(MAPPING).read(path, today=TODAY)
            before = loader.ledger()
            batch = store.digest(reading)  # refused here, before anything is applied
            assert loader.ledger() == before
            count += 1
            name = f"2026{count:010}_0_members.xml"
            counts = loader.apply_file(AppliedFile(name, len(data), "0" * 64), batch, at=AT)
            assert counts.inserted + counts.updated + counts.unchanged + counts.deleted <= counts.rows

        fuzz.of(exports, WORDS, load, refusals=(FeedUnreadableError,))


def test_export_names(fuzz):
    """Whatever files are called, the plan takes none that could lead anywhere."""
    samples = [b"20260220101500_0_members.xml", b"20260220101512_1_members.xml", b"20260221101500_0_a.b-c_d.xml"]

    def plan(data: bytes) -> None:
        name = data.decode("utf-8", "surrogateescape")
        taken = plan_files([ExportFile(name, 1, AT)], []).take
        for file in taken:
            assert Part.of(file.name)
            assert file.name.isascii()
            assert file.name.isprintable()
            assert not set(file.name) & set('/\\:*?"<>| ')
            assert not file.name.startswith(".")
            assert len(file.name) < 200
        if not taken:
            raise FeedUnreadableError

    fuzz.of(samples, (b"..", b"/", b"\\", b":", b".xml"), plan, refusals=(FeedUnreadableError,))


class Clock:
    def now(self):
        return AT

    def today(self):
        return TODAY


class Quiet:
    """A change feed without changes."""

    async def changes(self, change_type, from_at, to_at):
        assert from_at < to_at
        return []

    async def contact(self, contact_id):
        return None


async def test_change_cursor(fuzz):
    """Whatever stands in the place of a cursor, reading goes on from an instant or the cursor is refused."""
    samples = [
        b'{"from_at": "2026-02-20T09:00:00+00:00"}',
        (
            b'{"from_at": "2026-02-20T09:00:00+00:00", "to_at": "2026-02-20T09:30:00+00:00", '
            b'"until_at": "2026-02-20T10:00:00+00:00", "after": "0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10"}'
        ),
    ]

    async def read(data: bytes) -> None:
        feed = VoyadoChanges(Quiet(), MAPPING, Clock())
        async for page in feed.pages(data.decode("utf-8", "replace")):
            assert page.cursor

    words = (b"from_at", b"to_at", b"after", b"0001-01-01T00:00:00+00:00", b"9999-12-31T23:59:59+00:00", b"Z", b"-W01")
    await fuzz.of_calls(samples, words, read, refusals=(FeedError,))
