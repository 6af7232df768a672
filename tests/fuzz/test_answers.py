"""What a vendor answers: HTTP as bytes, JSON by endpoint, dates."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, date, datetime

import pytest

from agent.connectors.voyado.changes import VoyadoChanges
from agent.connectors.voyado.client import VoyadoClient
from agent.connectors.voyado.errors import verdict_of
from agent.connectors.voyado.feeds import PacedApi
from agent.connectors.voyado.fields import ContactMapping
from agent.connectors.voyado.history import VoyadoHistory
from agent.connectors.voyado.people import VoyadoPeople
from agent.connectors.voyado.settings import VoyadoSettings
from agent.domain.delivery import VerdictKind
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.domain.link import Link
from agent.domain.tagging import Outcome
from agent.domain.transaction import IntegrationKey, NewContact
from agent.errors import InputError, VendorRefusedError, VendorUnreachableError
from agent.transport import Answer, HttpPolicy, Transport
from tests.fakes import FakeClock, at_once
from tests.wire import listening

ALMA = "0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10"
BO = "1a6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e11"
TODAY = date(2026, 2, 20)
AT = datetime(2026, 2, 20, 10, tzinfo=UTC)
CONTACT = {
    "id": ALMA,
    "meta": {"contactType": "Member", "createdOn": "2026-02-14T16:41:09Z", "isApproved": True},
    "preferences": {"acceptsEmail": True, "acceptsSms": False},
    "attributes": {"memberNumber": "10000421", "mobilePhone": "+46701740605", "email": "alma@example.com", "n": 1.5},
    "consents": [{"id": "terms", "value": True}],
}
SEVERAL = {"errorCode": "MultipleMatches", "messageDetails": {"multipleMatchesFound": [ALMA, BO]}}
REFUSED = {"errorCode": "ValidationError", "message": "An error has occurred", "validationErrors": [{"field": "email"}]}
WORDS = (
    b"errorCode",
    b'"id":',
    b"meta",
    b"attributes",
    b"messageDetails",
    b"multipleMatchesFound",
    b"contactType",
    b"[",
    b"{",
)
UNANSWERED = (VendorUnreachableError, VendorRefusedError)


def statements(*bodies: object) -> list[bytes]:
    """A status, and a body of JSON."""
    return [b"%d " % status + json.dumps(body).encode() for body in bodies for status in (200, 404, 409, 500)]


def answer_of(data: bytes) -> Answer:
    """The answer that an input spells: its status, then its body."""
    status, _, body = data.partition(b" ")
    return Answer(int(status) if status.isdigit() and len(status) == 3 else 200, {"date": "x"}, body)


class Scripted:
    """A transport that gives the same answer to every question."""

    def __init__(self) -> None:
        self.answer = Answer(200, {}, b"")

    async def request(self, *_args, **_kwargs):
        return self.answer


async def no_pace() -> None:
    """Nothing to wait for."""


class Key:
    def value(self):
        return "key"

    def refused(self):
        """Read again."""


@pytest.fixture(name="vendor")
def _vendor() -> tuple[Scripted, VoyadoClient]:
    transport = Scripted()
    return transport, VoyadoClient(transport, Key(), version=3, source="POS", heard=lambda answer: answer.date)


def test_verdicts(fuzz):
    """Every answer to a sale has a verdict, and one that carries no words of the vendor's but a code."""

    def judge(data: bytes) -> None:
        verdict = verdict_of(answer_of(data))
        assert verdict.kind in VerdictKind
        assert verdict.vendor_code is None or verdict.vendor_code.isalnum()
        if verdict.kind is not VerdictKind.DONE:
            raise VendorUnreachableError

    samples = [b"200 ", b"202 {}", b"200 OK", *statements(REFUSED, SEVERAL, {"receiptId": "x"})]
    fuzz.of(samples, WORDS, judge, refusals=(VendorUnreachableError,))


SETTINGS = VoyadoSettings(base_url="https://acme.voyado.com", feed="api")
QUESTIONS = {
    "contact_id": Identifier(IdentifierType.CONTACT_ID, ALMA),
    "member_number": Identifier(IdentifierType.MEMBER_NUMBER, "10000421"),
    "mobile_phone": Identifier(IdentifierType.MOBILE_PHONE, "+46701740605"),
}


@pytest.mark.parametrize("kind", QUESTIONS)
async def test_look_ups(fuzz, vendor, kind):
    """Whatever answers a look-up, somebody is named whole, or nobody is."""
    transport, client = vendor
    people = VoyadoPeople(client, SETTINGS, IdentifierType.MEMBER_NUMBER)

    async def ask(data: bytes) -> None:
        transport.answer = answer_of(data)
        found = await people.find(QUESTIONS[kind], timeout_s=1, pace=at_once)
        assert (found.outcome is Outcome.MATCHED) == (found.key is not None)
        if found.key is not None:
            assert found.key.value.isprintable()
            assert found.contact_id in (ALMA, BO) or len(found.contact_id) == 36

    samples = statements(CONTACT, ALMA, SEVERAL, {"errorCode": "ContactNotFound"})
    await fuzz.of_calls(samples, WORDS, ask, refusals=UNANSWERED)


async def test_new_contacts(fuzz, vendor):
    """Whatever answers the making of a contact, somebody is named whole, or nobody is."""
    transport, client = vendor
    people = VoyadoPeople(client, SETTINGS, IdentifierType.MEMBER_NUMBER)
    contact = NewContact(mobile_phone="+46701740605", first_name="Alma")

    async def make(data: bytes) -> None:
        transport.answer = answer_of(data)
        found = await people.create(contact, [QUESTIONS["mobile_phone"]], store_id="1042", pace=at_once)
        assert found.key is None or found.key.value.isprintable()

    samples = statements(CONTACT, REFUSED, {"id": ALMA})
    await fuzz.of_calls(samples, WORDS, make, refusals=(*UNANSWERED, InputError))


async def test_purchases(fuzz, vendor):
    """Whatever answers for a member's purchases, each sale asked about is counted or left open."""
    transport, client = vendor
    history = VoyadoHistory(client, VoyadoPeople(client, SETTINGS, IdentifierType.CONTACT_ID))
    key = IntegrationKey(kind="primary", type=IdentifierType.CONTACT_ID, value=ALMA)

    async def ask(data: bytes) -> None:
        transport.answer = answer_of(data)
        seen = await history.count(key, ["s-1", "s-2"], pace=no_pace)
        assert set(seen.counts) <= {"s-1", "s-2"}
        assert all(times >= 0 for times in seen.counts.values())

    listed = {"items": [{"id": 1, "externalId": "s-1", "totalPrice": 250.0}, {"externalId": "s-9"}], "totalCount": 2}
    await fuzz.of_calls(statements(listed, {"items": []}), (*WORDS, b"items", b"totalCount"), ask, refusals=UNANSWERED)


class Clock:
    def now(self):
        return AT

    def today(self):
        return TODAY


async def test_change_lists(fuzz, vendor):
    """Whatever lists changes, and whatever answers for each contact, pages are whole or the feed is refused."""
    transport, client = vendor
    mapping = ContactMapping(Normaliser("SE", guid_contact_ids=True), fields=("first_name", "city"))

    async def read(data: bytes) -> None:
        listed, _, contact = data.partition(b"|")
        answers = [answer_of(listed), answer_of(contact)]

        async def request(_method, path, **_kwargs):
            return answers["/changes" not in path]

        transport.request = request
        line = Link("voyado", "loyalty", requests_per_second=0, backoff_first_s=1, backoff_max_s=1, uniform=min)
        api = PacedApi(client, no_pace, line, FakeClock())
        async for page in VoyadoChanges(api, mapping, Clock()).pages(None):
            assert page.cursor
            assert all(change.identifiers for change in page.changes)

    lists = [b"200 " + json.dumps(ids).encode() for ids in ([], [ALMA], [ALMA, BO, ALMA])]
    samples = [one + b"|" + two for one in lists for two in statements(CONTACT, {"errorCode": "ContactNotFound"})]
    await fuzz.of_calls(samples, (*WORDS, b"|"), read, refusals=UNANSWERED)


def test_dates(fuzz):
    """Whatever stands in `Date` and `Retry-After`, they are an instant and a wait of at most a day, or nothing."""

    def read(data: bytes) -> None:
        text = data.decode("latin-1")
        answer = Answer(503, {"date": text, "retry-after": text[::-1] if len(text) % 2 else text}, b"")
        assert answer.date is None or answer.date.tzinfo is not None
        assert answer.retry_after_s is None or 0 <= answer.retry_after_s <= 86_400
        if answer.date is None and answer.retry_after_s is None:
            raise VendorUnreachableError

    samples = [
        b"Fri, 20 Nov 2026 09:00:00 GMT", b"20 Nov 2026 09:00:00 +0100", b"Fri Nov 20 09:00:00 2026", b"120", b"0",
        b"Friday, 20-Nov-26 09:00:00 GMT", b"2026-11-20T09:00:00Z",
    ]  # fmt: skip
    fuzz.of(samples, (b"+9999", b"-0000", b"EST", b":", b",", b"Feb 30"), read, refusals=(VendorUnreachableError,))


ANSWERS = [
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
    b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\ndate: Fri, 20 Nov 2026 09:00:00 GMT\r\n\r\n",
    b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"a":\r\n2;x=y\r\n1}\r\n0\r\nx: y\r\n\r\n',
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    b"HTTP/1.0 200 OK\r\n\r\n{}",
    b"HTTP/1.1 307 X\r\nlocation: https://other.example.com/\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n",
    b'HTTP/1.1 401 X\r\nwww-authenticate: Basic realm="x"\r\ncontent-length: 0\r\n\r\n',
]
HEADERS = (
    b"transfer-encoding: chunked\r\n", b"content-length: 5\r\n", b"content-length: 99999999999999999999\r\n",
    b"content-encoding: gzip\r\n", b"connection: close\r\n", b"connection: upgrade\r\n", b"upgrade: h2c\r\n",
    b"HTTP/1.1 ", b"HTTP/2 200\r\n", b"0\r\n\r\n", b"ffffffffffffffff\r\n", b": x\r\n", b" folded\r\n",
    b"101 ", b"location: //[\r\n",
)  # fmt: skip


async def test_http(fuzz):
    """Whatever bytes come over the wire, a call has a whole answer or none, and the next one is not its heir."""
    data = b""
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        while True:
            await reader.readuntil(b"\r\n\r\n")
            served += 1
            writer.write(data)
            await writer.drain()
            if served % 2 or not data.startswith(b"HTTP/1.1 202"):
                return

    async with listening(serve) as port:
        client = Transport(f"http://127.0.0.1:{port}", HttpPolicy(2.0, 1.0), connections=1, user_agent="x")

        async def call(mutated: bytes) -> None:
            nonlocal data
            data = mutated
            answer = await client.request("POST", "/receipts", headers={}, timeout_s=1.0)
            assert 100 <= answer.status <= 999
            assert len(answer.body) <= len(data)
            verdict_of(answer)

        try:
            await fuzz.of_calls(ANSWERS, HEADERS, call, refusals=(VendorUnreachableError,))
        finally:
            await client.close()
