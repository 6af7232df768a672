"""What Antavo answers for its members: look-ups, the pages of all, and the pages of what happened."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fuzz.answering import UNANSWERED, Wire, answer_of, statements

from agent.connectors.antavo.client import AntavoClient, AntavoReadClient
from agent.connectors.antavo.contacts import AntavoContacts
from agent.connectors.antavo.feed import AntavoFeed, Reading
from agent.connectors.antavo.feeds import PacedMembers
from agent.connectors.antavo.lookup import AntavoLookup
from agent.connectors.antavo.progress import Progress
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.domain.revision import reconciled
from agent.domain.tagging import Outcome
from agent.domain.transaction import IntegrationKey, NewContact
from agent.errors import ContactRefusedError, FeedError
from agent.store.database import DatabaseFile
from agent.store.replica import SqliteReplica
from agent.store.replica_builder import SqliteReplicaStore
from agent.store.replica_file import ReplicaFile
from tests.connectors.antavo.conftest import make_settings
from tests.connectors.mparticle.sales import Reference
from tests.fakes import NOW, STORAGE_KEY, FakeClock, at_once, feed_surroundings

MEMBER = {
    "id": "c-1", "membership_id": ["10000421"], "email": "alma@example.com", "mobile_phone": "+46701740605",
    "external_ids": {"crm_id": "X-1"}, "properties": {"size": 43}, "score": 120, "spent": "20", "status": "active",
    "sms_ok": "no", "terms": 1, "terms_at": 1771083600, "updated_at": 1771083600,
    "tiers": [{"name": "Gold"}], "created_at": "2026-01-05T09:00:00Z",
}  # fmt: skip
MISSING = {"error": {"type": "NotFoundException", "code": 160212, "message": "Customer not found"}}
TAKEN = {"error": {"type": "BadRequestException", "code": 112101, "message": "Property size of Alma"}}
PLACES = {"preferences/accepts_sms": "sms_ok", "consents/terms": "terms", "consents/terms/given_at": "terms_at"}
HAPPENED = {"action": "profile", "timestamp": "2026-02-14T15:59:00.000+0000", "Customer": {"id": "c-1"}}
WORDS = (
    b'"id":', b'"_id":', b"membership_id", b"created_at", b"timestamp", b"next", b"payload", b"customers", b"data",
    b"opted_out", b"opt_out", b"true", b"[", b"{", b"1e999", b"0001-01-01T00:00:00Z", b"9999-12-31T23:59:59Z",
)  # fmt: skip
FIELDS = ("points", "member_level", "size")


def workspace(kind: type, wire: Wire):
    secrets = {"api_key": Reference("key"), "api_secret": Reference("secret")}
    return kind(wire, host="x", environment="st2", clock=FakeClock(), heard=lambda _answer: None, **secrets)


def listed(*customers: object, more: str | None = None) -> dict[str, object]:
    payload = {"customers": customers}
    return {"status": "success", "metadata": {"pagination": {"next": more}}, "payload": payload, "data": []}


@pytest.mark.parametrize(
    ("kind", "value", "samples"),
    [
        pytest.param(IdentifierType.CONTACT_ID, "c-1", (MEMBER, MISSING), id="id"),
        pytest.param(IdentifierType.MEMBER_NUMBER, "10000421", (MEMBER, MISSING, {"data": []}), id="number"),
    ],
)
async def test_members_look_ups(fuzz, kind, value, samples):
    """Whatever answers a look-up, it is somebody whole, nobody, several, or no answer."""
    wire = Wire()
    settings = make_settings(external_id_field="crm_id")
    lookup = AntavoLookup(workspace(AntavoClient, wire), settings, IdentifierType.MEMBER_NUMBER, FIELDS)

    async def ask(data: bytes) -> None:
        wire.answer = answer_of(data)
        found = await lookup.find(Identifier(kind, value), timeout_s=1, pace=at_once)
        assert (found.key is not None) == (found.outcome is Outcome.MATCHED)

    await fuzz.of_calls(statements(*samples), WORDS, ask, refusals=UNANSWERED)


@pytest.mark.parametrize("act", ["create", "read", "update"])
async def test_members_written(fuzz, act):
    """Whatever answers what makes, reads or changes a member, it is a key, nobody, several, a refusal, or no answer."""
    wire = Wire()
    settings = make_settings(contact_fields=PLACES)
    client = workspace(AntavoClient, wire)
    lookup = AntavoLookup(client, settings, IdentifierType.CONTACT_ID)
    normaliser = Normaliser("SE", guid_contact_ids=False)
    writer = AntavoContacts(
        client, settings, lookup, primary=IdentifierType.CONTACT_ID, normaliser=normaliser, clock=FakeClock()
    )
    contact = NewContact(first_name="Alma", email="alma@example.com")
    names = (Identifier(IdentifierType.EMAIL, "alma@example.com"), Identifier(IdentifierType.EXTERNAL_ID, "1042-03-1"))
    key = IntegrationKey(kind="primary", type=IdentifierType.CONTACT_ID, value="c-1")

    async def ask(data: bytes) -> None:
        wire.answer = answer_of(data)
        if act == "create":
            found = await writer.create(contact, names, store_id="1042", pace=at_once)
            assert (found.key is not None) == (found.outcome is Outcome.MATCHED)
            assert found.outcome is not Outcome.NOT_FOUND
        elif act == "read":
            there = await writer.contact_there(key, timeout_s=1, pace=at_once)
            assert there is None or reconciled(contact, there, NOW).contact == contact
        else:
            await writer.update("c-1", contact, (), pace=at_once)

    samples = (MEMBER, MISSING, TAKEN, {"data": []}, {"id": "c-1", "events": []})
    await fuzz.of_calls(statements(*samples), WORDS, ask, refusals=(*UNANSWERED, ContactRefusedError))


@pytest.mark.parametrize(
    ("begun", "samples"),
    [
        pytest.param(None, (listed(MEMBER), listed(), listed({"_id": "\ud83d"}, more="/x"), MISSING), id="everybody"),
        pytest.param(
            Progress(NOW - timedelta(hours=1), NOW),
            ({**MEMBER, "data": [HAPPENED]}, {"data": [], "id": "c-1"}, {"data": [HAPPENED], "next": "/x"}, MISSING),
            id="what happened",
        ),
    ],
)
async def test_members_pages(fuzz, tmp_path, begun, samples):
    """Whatever a page holds, the feed ends, the replica takes it, and each cursor can be gone on from."""
    file = ReplicaFile(
        DatabaseFile(tmp_path / "replica.db", None, "OFF"), STORAGE_KEY, IdentifierType.CONTACT_ID, "contacts", FIELDS
    )
    SqliteReplica(file).close()
    wire, agent = Wire(), feed_surroundings()
    calls = PacedMembers(workspace(AntavoClient, wire), workspace(AntavoReadClient, wire), "crm_id", agent)
    reading = Reading(by_events=True, overlap=timedelta(minutes=5), sweep_every=timedelta(days=1))
    normaliser = Normaliser("SE", guid_contact_ids=False)
    feed = AntavoFeed(calls, normaliser, FIELDS, agent.clock, reading, unseen=agent.unseen)

    async def read(data: bytes) -> None:
        wire.answer = answer_of(data)
        cursor = begun and begun.cursor()
        with SqliteReplicaStore(file).open_writer() as writer:
            async for page in feed.pages(cursor):
                assert all(change.identifiers[IdentifierType.CONTACT_ID] for change in page.changes)
                writer.apply_page(page, at=NOW)
                cursor = page.cursor
            async for page in feed.pages(cursor):
                writer.apply_page(page, at=NOW)

    await fuzz.of_calls(statements(*samples), WORDS, read, refusals=(*UNANSWERED, FeedError))
