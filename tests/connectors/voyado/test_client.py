"""Voyado's URLs and headers, version by version."""

import asyncio
from datetime import UTC, datetime

import pytest

from agent.connectors.voyado.changes import TooManyChanges
from agent.connectors.voyado.client import VoyadoClient
from agent.errors import ConfigurationError, Fault, VendorRefusedError, VendorUnreachableError
from agent.transport import Transport
from tests.fakes import until
from tests.wire import POLICY, answer, cut, hang, wire

KEY = "canary-key"
GUID = "0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10"
HTML = b"<html>Welcome to the guest network</html>"


class Key:
    """A secret as the client sees it."""

    def __init__(self, value: str | None = KEY) -> None:
        self._value = value
        self.refusals = 0

    def value(self) -> str:
        if self._value is None:
            raise ConfigurationError([Fault("voyado.api_key", "cannot be read")])
        return self._value

    def refused(self) -> None:
        self.refusals += 1


@pytest.fixture(name="connect")
async def _connect():
    """Makes clients of one tenant and closes them."""
    made = []

    def connect(server, version: int = 3, key: Key | None = None, heard=lambda _answer: None) -> VoyadoClient:
        transport = Transport(server.url, POLICY, connections=2, user_agent="LoyaltyAgent/0.1")
        made.append(VoyadoClient(transport, key or Key(), version=version, source="POS", heard=heard))
        return made[-1]

    yield connect
    for client in made:
        await client.close()


CALLS = {
    "post_receipt": lambda client: client.post_receipt(b'{"a":1}'),
    "find_contact_id": lambda client: client.find_contact_id({"mobilePhone": "+46701740605"}, timeout_s=30.0),
    "get_contact": lambda client: client.get_contact(GUID),
    "contact": lambda client: client.contact(GUID),
    "create_contact": lambda client: client.create_contact(b'{"a":1}', store_id="1042"),
    "changes": lambda client: client.changes(
        "Updated", datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    ),
}


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("name", CALLS)
async def test_every_call_is_authenticated(connect, name, version):
    """The key and the content type go with every call, GET included; the key is in no URL."""
    body = {"changes": b"[]", "contact": b'{"id": "%s"}' % GUID.encode()}.get(name, b"{}")
    async with wire(answer(200, body)) as server:
        await CALLS[name](connect(server, version))

    head = server.requests[0].decode().split("\r\n\r\n")[0]
    request, *lines = head.split("\r\n")
    assert f" /api/v{version}/" in request
    assert KEY not in request
    assert f"apikey: {KEY}" in [line.replace("Apikey", "apikey") for line in lines]
    assert "content-type: application/json" in [line.lower() for line in lines]
    assert "user-agent: loyaltyagent/0.1" in [line.lower() for line in lines]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("post_receipt", "POST /api/v3/receipts HTTP/1.1"),
        ("find_contact_id", "GET /api/v3/contacts/id?mobilePhone=%2B46701740605 HTTP/1.1"),
        ("get_contact", f"GET /api/v3/contacts/{GUID} HTTP/1.1"),
        (
            "create_contact",
            "POST /api/v3/contacts?source=POS&storeExternalId=1042&createAsUnapproved=false HTTP/1.1",
        ),
        (
            "changes",
            (
                "GET /api/v3/contacts/changes?changeType=Updated&fromDate=2026-01-01%2000%3A00%3A00.000"
                "&toDate=2026-01-02%2000%3A00%3A00.000 HTTP/1.1"
            ),
        ),
    ],
)
async def test_requests(connect, name, expected):
    """Method, path and query of each call."""
    async with wire(answer(200, b"[]")) as server:
        await CALLS[name](connect(server))

    assert server.requests[0].decode().split("\r\n")[0] == expected


async def test_creation_in_version_2(connect):
    """Version 2 takes as headers what version 3 takes in the query."""
    async with wire(answer(201, b"{}")) as server:
        await CALLS["create_contact"](connect(server, version=2))

    request, *lines = server.requests[0].decode().lower().split("\r\n")
    assert request == "post /api/v2/contacts http/1.1"
    assert {"source: pos", "storeexternalid: 1042", "createasunapproved: false"} <= set(lines)


@pytest.mark.parametrize(("status", "refusals"), [(401, 1), (403, 1), (200, 0), (404, 0), (500, 0)])
async def test_a_refused_key_is_read_again(connect, status, refusals):
    """The secret hears that it was refused, and each answer is told on."""
    key, heard = Key(), []
    async with wire(answer(status)) as server:
        await connect(server, key=key, heard=heard.append).get_contact(GUID)

    assert key.refusals == refusals
    assert [got.status for got in heard] == [status]


@pytest.mark.parametrize("value", [None, "", "two words", "caf\u00e9", "line\nfeed"], ids=ascii)
async def test_a_key_that_cannot_be_used(connect, value):
    """Without a usable key nothing goes out; the error does not repeat it."""
    async with wire(answer()) as server:
        with pytest.raises(VendorRefusedError) as caught:
            await connect(server, key=Key(value)).get_contact(GUID)

    assert server.connections == 0
    assert not value or value not in str(caught.value)


async def test_changes(connect):
    """Ids as listed; more than Voyado lists at once is told apart."""
    async with wire(answer(200, f'["{GUID}"]'.encode())) as server:
        assert await CALLS["changes"](connect(server)) == [GUID]
    async with wire(answer(400)) as server:
        with pytest.raises(TooManyChanges):
            await CALLS["changes"](connect(server))


@pytest.mark.parametrize("body", [b"{}", b"[1]", b"null", b'"x"', b"", HTML], ids=ascii)
async def test_changes_that_are_none(connect, body):
    """Anything but a list of texts is no answer."""
    async with wire(answer(200, body)) as server:
        with pytest.raises(VendorUnreachableError):
            await CALLS["changes"](connect(server))


async def test_a_contact(connect):
    """A whole contact, or None when it is gone."""
    async with wire(answer(200, b'{"id": "%s "}' % GUID.upper().encode())) as server:
        assert await connect(server).contact(GUID) == {"id": f"{GUID.upper()} "}
    async with wire(answer(404, b'{"errorCode": "ContactNotFound"}')) as server:
        assert await connect(server).contact(GUID) is None


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(answer(200, b"[]"), id="a list"),
        pytest.param(answer(200, b'{"id": "0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e11"}'), id="somebody else"),
        pytest.param(answer(200, b'{"id": 1}'), id="an id that is none"),
        pytest.param(answer(200, b'{"attributes": {}}'), id="no id"),
        pytest.param(answer(200, b"\xff"), id="bytes"),
        pytest.param(answer(200), id="nothing"),
        pytest.param(answer(200, HTML), id="a web page"),
        pytest.param(answer(404, HTML), id="404 with a web page"),
        pytest.param(answer(400, b'{"errorCode": "InvalidContactId"}'), id="an error is no contact"),
        pytest.param(answer(409, b'{"errorCode": "MultipleMatches"}'), id="a conflict is no contact"),
        pytest.param(answer(503), id="503"),
        pytest.param(cut, id="cut"),
    ],
)
async def test_what_is_no_contact(connect, script):
    """Nonsense is never taken for a contact, or for its absence."""
    async with wire(script) as server:
        with pytest.raises(VendorUnreachableError):
            await connect(server).contact(GUID)


async def test_a_time_of_its_own(connect, pass_by):
    """A question may have less time than a delivery."""
    async with wire(hang) as server:
        asking = asyncio.create_task(connect(server).get_contact(GUID, timeout_s=40.0))
        await until(lambda: server.requests)
        pass_by(40.0)
        with pytest.raises(VendorUnreachableError):
            await asyncio.wait_for(asking, 10)
