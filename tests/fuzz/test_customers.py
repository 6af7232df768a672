"""What Voucherify answers for its customers: look-ups, and the pages of the feed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fuzz.answering import UNANSWERED, Wire, answer_of, statements

from agent.connectors.base import FeedSurroundings
from agent.connectors.voucherify.client import VoucherifyClient
from agent.connectors.voucherify.feed import VoucherifyFeed
from agent.connectors.voucherify.feeds import PacedCustomers
from agent.connectors.voucherify.people import VoucherifyPeople
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.domain.tagging import Outcome
from agent.errors import FeedError
from agent.store.database import DatabaseFile
from agent.store.replica import SqliteReplica
from agent.store.replica_builder import SqliteReplicaStore
from agent.store.replica_file import ReplicaFile
from agent.store.replica_writer import SqliteReplicaWriter
from tests.connectors.mparticle.sales import Reference
from tests.fakes import NOW, STORAGE_KEY, FakeClock, at_once, feed_surroundings

CUSTOMER = {
    "object": "customer", "id": "cust_1", "source_id": "10000421", "email": "alma@example.com",
    "phone": "+46701740605", "metadata": {"first_name": "Alma"}, "loyalty": {"points": 120},
    "created_at": "2026-01-05T09:00:00.000Z", "updated_at": "2026-02-05T09:00:00Z",
}  # fmt: skip
MISSING = {"code": 404, "key": "not_found"}
WORDS = (
    b'"id":', b'"source_id":', b"created_at", b"updated_at", b"has_more", b"data_ref", b"customers", b"true", b"[",
    b"{", b"0001-01-01T00:00:00Z", b"9999-12-31T23:59:59Z",
)  # fmt: skip


def project(wire: Wire) -> VoucherifyClient:
    return VoucherifyClient(wire, Reference("id"), Reference("token"), heard=lambda _answer: None)


def listed(*customers: object, more: bool = False) -> dict[str, object]:
    return {"object": "list", "data_ref": "customers", "customers": customers, "has_more": more}


@pytest.mark.parametrize(
    ("kind", "value", "samples"),
    [
        pytest.param(IdentifierType.MEMBER_NUMBER, "10000421", (CUSTOMER, MISSING), id="number"),
        pytest.param(IdentifierType.EMAIL, "alma@example.com", (listed(CUSTOMER), listed()), id="mail"),
    ],
)
async def test_customers_look_ups(fuzz, kind, value, samples):
    """Whatever answers a look-up, it is somebody whole, nobody, several, or no answer."""
    wire = Wire()
    people = VoucherifyPeople(project(wire), IdentifierType.MEMBER_NUMBER, ("name", "first_name"), clock=FakeClock())

    async def ask(data: bytes) -> None:
        wire.answer = answer_of(data)
        found = await people.find(Identifier(kind, value), timeout_s=1, pace=at_once)
        assert (found.key is not None) == (found.outcome is Outcome.MATCHED)

    await fuzz.of_calls(statements(*samples), WORDS, ask, refusals=UNANSWERED)


async def test_customers_pages(fuzz, tmp_path):
    """Whatever a page holds, the feed ends, the replica takes it, and each cursor can be gone on from."""
    database = DatabaseFile(tmp_path / "replica.db", None, "OFF")
    file = ReplicaFile(database, STORAGE_KEY, IdentifierType.MEMBER_NUMBER, "contacts", ("name",))
    SqliteReplica(file).close()
    wire = Wire()
    agent: FeedSurroundings = feed_surroundings()
    feed = VoucherifyFeed(
        PacedCustomers(project(wire), agent), Normaliser("SE", guid_contact_ids=False), ("name",), agent.clock,
        sweep_every=timedelta(days=1), unseen=agent.unseen,
    )  # fmt: skip

    async def read(data: bytes) -> None:
        wire.answer = answer_of(data)
        with SqliteReplicaStore(file).open_writer() as writer:
            await read_into(writer)

    async def read_into(writer: SqliteReplicaWriter) -> None:
        cursor = None
        for _ in range(2):
            async for page in feed.pages(cursor):
                assert all(change.identifiers[IdentifierType.CONTACT_ID] for change in page.changes)
                writer.apply_page(page, at=NOW)
                cursor = page.cursor

    half = {**CUSTOMER, "name": "Alma \ud83d"}
    samples = statements(listed(half), listed(), listed(CUSTOMER, {"id": "cust_2", "created_at": None}), MISSING)
    await fuzz.of_calls(samples, WORDS, read, refusals=(*UNANSWERED, FeedError))
