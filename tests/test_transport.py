"""Calls over HTTP: what can have arrived, and nothing believed that should not be."""

import asyncio
import gzip
import json
import socket
import ssl
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import transport as module
from agent.errors import ConfigurationError, VendorUnreachableError
from agent.transport import Answer, HttpPolicy, Transport
from tests.wire import (
    POLICY,
    Handler,
    answer,
    certificate,
    cut,
    cut_in_the_body,
    dribble,
    flood,
    hang,
    listening,
    nonsense,
    tls_server,
    wire,
)

SECRET = "canary-key"
HEADERS = {"apikey": SECRET, "Content-Type": "application/json"}


@pytest.fixture(name="connect")
async def _connect():
    """Makes clients and closes them."""
    made: list[Transport] = []

    def connect(url: str, policy: HttpPolicy = POLICY, connections: int = 2) -> Transport:
        made.append(Transport(url, policy, connections=connections, user_agent="LoyaltyAgent/0.1"))
        return made[-1]

    yield connect
    for client in made:
        await client.close()


async def call(client: Transport, **changes) -> Answer:
    arguments = {"headers": HEADERS, "content": b"{}", **changes}
    return await client.request("POST", "/api/v3/receipts", **arguments)


async def failure(client: Transport, **changes) -> VendorUnreachableError:
    with pytest.raises(VendorUnreachableError) as caught:
        await call(client, **changes)
    error = caught.value
    assert SECRET not in f"{error} {error!r} {error.__cause__!r}"
    return error


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_an_answer_is_read_whole(connect):
    """Status, headers and body, whatever the status; the body never shows in a repr."""
    async with wire(answer(422, b'{"errorCode":"ValidationError"}', x_request="7")) as server:
        got = await call(connect(server.url))

    assert (got.status, got.headers["x-request"], got.json()) == (422, "7", {"errorCode": "ValidationError"})
    assert "ValidationError" not in repr(got)


async def test_what_goes_out(connect):
    """The call's own headers, ours, the body, and a query in which `+` and `@` are spelled out."""
    async with wire(answer()) as server:
        await call(connect(server.url + "/base"), params={"mobilePhone": "+46701740605", "email": "a b@example.com"})

    head = server.requests[0].decode()
    assert head.startswith("POST /base/api/v3/receipts?mobilePhone=%2B46701740605&email=a+b%40example.com HTTP/1.1")
    lines = head.lower().split("\r\n")
    assert "user-agent: loyaltyagent/0.1" in lines
    assert "accept: application/json" in lines
    assert "accept-encoding: identity" in lines
    assert f"apikey: {SECRET}" in lines
    assert "cookie" not in head.lower()
    assert head.endswith("{}")


async def test_a_refused_connection_was_not_received(connect):
    """Nobody listens: the sale cannot have arrived."""
    error = await failure(connect(f"http://127.0.0.1:{unused_port()}"))

    assert not error.maybe_received


async def test_an_unknown_name_was_not_received(connect):
    """A name that does not resolve: the sale cannot have arrived."""
    error = await failure(connect("http://no-such-host.invalid"))

    assert not error.maybe_received


async def test_a_silent_address_was_not_received(connect):
    """A connection that is never accepted is given up in time, and nothing was sent."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = []
        try:
            for _ in range(4):  # the backlog is full after a few; further connections hang
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
                fillers.append(filler)
            error = await failure(connect(f"http://127.0.0.1:{port}", replace(POLICY, connect_timeout_s=0.3)))
        finally:
            for filler in fillers:
                filler.close()

    assert not error.maybe_received


@pytest.mark.parametrize("script", [cut, cut_in_the_body, nonsense], ids=["cut", "cut in the body", "another protocol"])
async def test_a_cut_after_the_request_may_have_been_received(connect, script):
    """The request went out and no whole answer came back: nobody knows."""
    async with wire(script) as server:
        error = await failure(connect(server.url))

    assert error.maybe_received
    assert len(server.requests) == 1


@pytest.mark.parametrize("script", [hang, dribble], ids=["hangs", "dribbles"])
async def test_a_call_ends_in_time(connect, script):
    """A call is bounded as a whole, however slowly bytes come."""
    async with wire(script) as server:
        error = await failure(connect(server.url), timeout_s=0.3)

    assert error.maybe_received


@pytest.mark.parametrize("script", [hang, dribble], ids=["hangs", "dribbles"])
async def test_a_call_without_a_limit_has_one(connect, script):
    """Without a time of its own a call takes no longer than connecting and twice the read time-out."""
    async with wire(script) as server:
        error = await failure(connect(server.url, HttpPolicy(connect_timeout_s=0.1, read_timeout_s=0.2)))

    assert error.maybe_received


async def test_an_answer_is_bounded(connect, monkeypatch):
    """A body without end is given up at the bound, announced or not."""
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 1 << 20)
    async with wire(flood) as server:
        error = await failure(connect(server.url))

    assert error.maybe_received
    assert "more than it was asked for" in str(error)


async def test_the_largest_documented_answer_fits(connect):
    """250,000 contact ids, the most that Voyado lists at once, are read."""
    ids = json.dumps(["0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10"] * 250_000).encode()
    async with wire(answer(200, ids)) as server:
        got = await call(connect(server.url))

    assert len(got.json()) == 250_000


async def test_nothing_is_unpacked(connect):
    """A compressed answer that nobody asked for stays as small as it came."""
    bomb = gzip.compress(b" " * (8 << 20))
    async with wire(answer(200, bomb, content_encoding="gzip")) as server:
        got = await call(connect(server.url))

    assert got.body == bomb


async def test_redirects_are_not_followed(connect):
    """The secret goes to no other host."""
    async with wire(answer()) as other, wire(answer(307, location=f"{other.url}/elsewhere")) as server:
        got = await call(connect(server.url))

    assert got.status == 307
    assert other.connections == 0


async def test_a_dead_connection_is_not_blamed_on_the_vendor(connect):
    """A kept connection that the vendor closed meanwhile is replaced before anything is sent over it."""

    async def once(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with wire(once) as server:
        client = connect(server.url)
        for _ in range(5):
            assert (await call(client)).status == 200
            await asyncio.sleep(0.05)

    assert server.connections == 5


async def test_connections_are_kept(connect):
    """Call after call goes over one connection."""
    async with wire(answer(200, b"{}")) as server:
        client = connect(server.url)
        for _ in range(5):
            await call(client)

    assert server.connections == 1


@pytest.mark.parametrize("value", ["caf\u00e9", "two\nlines"], ids=["not ASCII", "a line feed"])
async def test_a_header_that_cannot_be_sent_was_not_received(connect, value):
    """A credential that is no header value fails before anything goes out, without repeating it."""
    async with wire(answer()) as server:
        with pytest.raises(VendorUnreachableError) as caught:
            await call(connect(server.url), headers={"apikey": value})

    assert not caught.value.maybe_received
    assert value not in str(caught.value)
    assert server.requests == []


class TestTls:
    async def test_a_certificate_nobody_vouches_for(self, connect, tmp_path):
        """A self-signed server gets nothing."""
        async with wire(answer(), tls=tls_server(certificate(tmp_path))) as server:
            error = await failure(connect(server.url))

        assert not error.maybe_received
        assert server.requests == []

    async def test_a_private_ca(self, connect, tmp_path):
        """A CA file makes it trusted."""
        pem = certificate(tmp_path)
        async with wire(answer(204), tls=tls_server(pem)) as server:
            got = await call(connect(server.url, replace(POLICY, ca_file=str(pem))))

        assert got.status == 204

    async def test_a_certificate_for_another_name(self, connect, tmp_path):
        """A trusted certificate of somebody else gets nothing."""
        pem = certificate(tmp_path, "somebody.example.com")
        async with wire(answer(), tls=tls_server(pem)) as server:
            error = await failure(connect(server.url, replace(POLICY, ca_file=str(pem))))

        assert not error.maybe_received
        assert server.requests == []

    @pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
    async def test_an_old_protocol(self, connect, tmp_path):
        """Nothing older than TLS 1.2 is spoken."""
        pem = certificate(tmp_path)
        context = tls_server(pem)
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        async with wire(answer(), tls=context) as server:
            error = await failure(connect(server.url, replace(POLICY, ca_file=str(pem))))

        assert not error.maybe_received

    async def test_a_server_without_tls(self, connect):
        """TLS to a port that does not speak it gets nothing but a greeting."""
        async with wire(answer()) as server:
            policy = replace(POLICY, connect_timeout_s=0.5)
            error = await failure(connect(server.url.replace("http:", "https:"), policy))

        assert not error.maybe_received

    @pytest.mark.parametrize("content", [None, b"not a certificate"], ids=["missing", "no PEM"])
    def test_a_ca_file_that_cannot_be_read(self, tmp_path, content):
        """It is a fault of the configuration, said with its key."""
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigurationError) as caught:
            Transport("https://x", replace(POLICY, ca_file=str(path)), connections=1, user_agent="x")
        assert caught.value.faults[0].pointer == "http.ca_file"


def tunnel(target_port: int | None, seen: list[bytes]) -> Handler:
    """A CONNECT proxy: to one port, or refusing."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        if target_port is None:
            writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
            return
        there, back = await asyncio.open_connection("127.0.0.1", target_port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while chunk := await source.read(65536):
                sink.write(chunk)
                await sink.drain()

        try:
            pumps = {asyncio.create_task(pump(reader, back)), asyncio.create_task(pump(there, writer))}
            _, left = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for task in left:
                task.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            back.close()
            await back.wait_closed()

    return handle


class TestProxy:
    async def test_calls_go_through_it(self, connect, tmp_path):
        """With `http.proxy` the vendor is reached through a tunnel that sees no secret."""
        pem, seen = certificate(tmp_path), []
        async with (
            wire(answer(204), tls=tls_server(pem)) as server,
            listening(tunnel(server.port, seen)) as port,
        ):
            policy = replace(POLICY, ca_file=str(pem), proxy=f"http://user:pass@127.0.0.1:{port}")
            client = connect(server.url, policy)
            got = await call(client)
            await client.close()

        assert got.status == 204
        assert seen[0].startswith(b"CONNECT 127.0.0.1:")
        assert b"Proxy-Authorization: Basic " in seen[0]
        assert SECRET.encode() not in seen[0]

    async def test_a_vendor_that_is_cut_behind_it(self, connect, tmp_path):
        """Once the vendor has the request, a tunnel changes nothing about the doubt."""
        pem = certificate(tmp_path)
        async with wire(cut, tls=tls_server(pem)) as server, listening(tunnel(server.port, [])) as port:
            client = connect(server.url, replace(POLICY, ca_file=str(pem), proxy=f"http://127.0.0.1:{port}"))
            error = await failure(client)
            await client.close()

        assert error.maybe_received

    async def test_a_proxy_that_refuses(self, connect):
        """Nothing reached the vendor."""
        seen = []
        async with listening(tunnel(None, seen)) as port:
            error = await failure(connect("https://voyado.invalid", replace(POLICY, proxy=f"http://127.0.0.1:{port}")))

        assert not error.maybe_received
        assert len(seen) == 1

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_a_proxy_that_is_away(self, connect, scheme):
        """Nothing reached the vendor."""
        policy = replace(POLICY, proxy=f"{scheme}://127.0.0.1:{unused_port()}")
        error = await failure(connect("https://voyado.invalid", policy))

        assert not error.maybe_received

    async def test_the_environment_names_none(self, connect, monkeypatch):
        """Proxies of the environment are for other programs."""
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{unused_port()}")
            monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{unused_port()}")
        async with wire(answer(204)) as server:
            got = await call(connect(server.url))

        assert got.status == 204


async def test_look_ups_do_not_wait_for_deliveries(connect):
    """While as many deliveries as allowed hang, another call still finds a connection."""

    async def script(request: bytes, writer: asyncio.StreamWriter) -> None:
        await (hang if b"/receipts" in request else answer(204))(request, writer)

    async with wire(script) as server:
        client = connect(server.url, connections=2)
        stuck = [asyncio.create_task(call(client)) for _ in range(2)]
        got = await client.request("GET", "/api/v3/contacts/id", headers=HEADERS, timeout_s=2.0)
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)

    assert got.status == 204


def answered(body: bytes = b"", **headers: str) -> Answer:
    return Answer(503, {name.replace("_", "-"): value for name, value in headers.items()}, body)


DATE = "Fri, 20 Nov 2026 09:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({"retry_after": "120"}, 120.0, id="seconds"),
        pytest.param({"retry_after": "0"}, 0.0, id="at once"),
        pytest.param({"retry_after": "9" * 400}, 86400.0, id="for ever: a day"),
        pytest.param({"retry_after": "-5"}, None, id="negative"),
        pytest.param({"retry_after": "1.5"}, None, id="a fraction"),
        pytest.param({"retry_after": "soon"}, None, id="words"),
        pytest.param({"retry_after": "\u00b2"}, None, id="a raised two"),
        pytest.param({"retry_after": "Fri, 20 Nov 2026 09:02:00 GMT", "date": DATE}, 120.0, id="a date"),
        pytest.param({"retry_after": "Fri, 20 Nov 2026 08:00:00 GMT", "date": DATE}, 0.0, id="a date gone by"),
        pytest.param({"retry_after": "Sun, 20 Dec 2026 09:00:00 GMT", "date": DATE}, 86400.0, id="a date far off"),
        pytest.param({"retry_after": "Fri, 20 Nov 2026 09:02:00 GMT"}, None, id="a date without ours to compare"),
        pytest.param(
            {"retry_after": "Fri, 20 Nov 2026 09:02:00 -0000", "date": DATE}, None, id="a date without a zone"
        ),
        pytest.param({"retry_after": "Fri, 32 Nov 2026 09:02:00 GMT", "date": DATE}, None, id="no such date"),
    ],
)
def test_retry_after(headers, expected):
    """Seconds, or a date read against the vendor's own clock; nonsense counts for nothing."""
    assert answered(**headers).retry_after_s == expected


@given(retry_after=st.text(st.characters(max_codepoint=255), max_size=60), date=st.text(max_size=40))
def test_retry_after_never_fails(retry_after, date):
    """Whatever stands there: seconds within a day, or nothing."""
    value = answered(retry_after=retry_after, date=date).retry_after_s

    assert value is None or 0.0 <= value <= 86400.0


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        pytest.param(b"<!DOCTYPE html><html>", "", True, id="a page"),
        pytest.param(b"\r\n  <html>", "application/json", True, id="a page that says it is JSON"),
        pytest.param(b"\xef\xbb\xbf<html>", "", True, id="a page with a byte order mark"),
        pytest.param("<html>".encode("utf-16"), "text/html; charset=utf-16", True, id="a page in UTF-16"),
        pytest.param(b"", "text/html", True, id="an empty page"),
        pytest.param(b'{"a": "<"}', "application/json", False, id="JSON"),
        pytest.param(b"", "", False, id="nothing"),
        pytest.param(b"OK", "text/plain", False, id="text"),
    ],
)
def test_web_pages_are_told_apart(body, content_type, expected):
    """A captive portal's page is never taken for the vendor's answer."""
    assert answered(body, content_type=content_type).is_markup is expected


@pytest.mark.parametrize(
    "body",
    [b"", b"OK", b"{", b"\xff\xfe\x00", b'"\xe5"', b"[" * 100_000, b"<html>", b"1" * 5000],
    ids=["empty", "text", "cut", "bytes", "Latin-1", "deep", "markup", "long number"],
)
def test_what_is_no_json_is_no_answer(body):
    """Nonsense counts as no answer, to a request that did arrive."""
    with pytest.raises(VendorUnreachableError) as caught:
        answered(body).json()
    assert caught.value.maybe_received
