"""Calls over HTTP: what can have arrived, and nothing believed that should not be."""

import asyncio
import json
import socket
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ports import free_port

from agent.dialling import HEAD_BYTES
from agent.errors import VendorUnreachableError
from agent.transport import MAX_ANSWER_BYTES, MAX_VALUES, Answer, HttpPolicy, Transport
from tests.authority import Authority, serving
from tests.fakes import until
from tests.wire import POLICY, answer, cut, cut_in_the_body, dribble, flood, hang, in_turn, nonsense, wire

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


LONG = HttpPolicy(connect_timeout_s=100.0, read_timeout_s=200.0)
STEP_S = 25.0


async def late(server, pass_by, client: Transport, **changes) -> tuple[VendorUnreachableError, float]:
    """How a call ends to which there is no whole answer, and how many seconds after it reached the server."""
    failing, passed_s = asyncio.create_task(failure(client, **changes)), 0.0
    await until(lambda: server.requests)
    while not failing.done():
        pass_by(STEP_S)
        passed_s += STEP_S
        await asyncio.sleep(0.02)
    return await failing, passed_s


async def test_an_answer_is_read_whole(connect):
    """Status, headers and body, whatever the status; the body never shows in a repr."""
    async with wire(answer(422, b'{"errorCode":"ValidationError"}', x_request="7")) as server:
        got = await call(connect(server.url))

    assert (got.status, got.headers["x-request"], got.json()) == (422, "7", {"errorCode": "ValidationError"})
    assert "ValidationError" not in repr(got)


async def test_what_goes_out(connect):
    """The call's own headers, ours, the body, and a query in which `+`, `@` and blanks are spelled out."""
    async with wire(answer()) as server:
        await call(connect(server.url + "/base"), params={"mobilePhone": "+46701740605", "email": "a b@example.com"})

    head = server.requests[0].decode()
    assert head.startswith("POST /base/api/v3/receipts?mobilePhone=%2B46701740605&email=a%20b%40example.com HTTP/1.1")
    lines = head.lower().split("\r\n")
    assert "user-agent: loyaltyagent/0.1" in lines
    assert "accept: application/json" in lines
    assert "accept-encoding: identity" in lines
    assert f"apikey: {SECRET}" in lines
    assert "cookie" not in head.lower()
    assert head.endswith("{}")


async def test_a_refused_connection_was_not_received(connect):
    """Nobody listens: the sale cannot have arrived, and the status says what it was."""
    error = await failure(connect(f"http://127.0.0.1:{free_port()}"))

    assert not error.maybe_received
    assert str(error) == "cannot be reached: it refuses connections"


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
async def test_a_call_ends_in_time(connect, pass_by, script):
    """A call is bounded as a whole, however slowly bytes come."""
    async with wire(script) as server:
        error, passed_s = await late(server, pass_by, connect(server.url, LONG), timeout_s=50.0)

    assert error.maybe_received
    assert passed_s == 50.0


@pytest.mark.parametrize("script", [hang, dribble], ids=["hangs", "dribbles"])
async def test_a_call_without_a_limit_has_one(connect, pass_by, script):
    """Without a time of its own a call takes no longer than connecting and twice the read time-out."""
    async with wire(script) as server:
        error, passed_s = await late(server, pass_by, connect(server.url, LONG))

    assert error.maybe_received
    assert passed_s == 200.0 if script is hang else 200.0 < passed_s <= 500.0


def endless(head: bytes, piece: bytes):
    """Sends a head, then the same bytes until nobody takes them any more."""

    async def script(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 " + head)
        while True:
            writer.write(piece)
            await writer.drain()

    return script


CHUNKED = b"200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(flood, id="a body without end"),
        pytest.param(endless(b"200 OK\r\ncontent-length: 2147483648\r\n\r\n", b" " * 65536), id="2 GiB, announced"),
        pytest.param(endless(b"200 OK\r\ncontent-length: %s\r\n\r\n" % (b"9" * 18), b" " * 65536), id="a huge length"),
        pytest.param(endless(b"200 OK\r\n\r\n", b" " * 65536), id="a body without a length"),
        pytest.param(endless(CHUNKED, b"1\r\nx\r\n" * 5000), id="crumbs"),
        pytest.param(endless(CHUNKED, b"1;" + b"x" * 30_000 + b"\r\nx\r\n"), id="chunks with long extensions"),
        pytest.param(endless(CHUNKED + b"0\r\n", b"a: b\r\n" * 1000), id="trailers without end"),
        pytest.param(endless(b"200 OK\r\n", b"a: b\r\n" * 1000), id="headers without end"),
        pytest.param(endless(b"200 OK\r\na: ", b"x" * 4096), id="a header without end"),
        pytest.param(endless(b"200 ", b"x" * 4096), id="a status line without end"),
        pytest.param(endless(b"103 Early Hints\r\n\r\n", b"HTTP/1.1 103 X\r\n\r\n" * 500), id="hints without end"),
    ],
)
async def test_an_answer_is_bounded(connect, script):
    """Whatever has no end, or says that it is too long, is given up long before the time-out, and little is read."""
    sent_bytes = 0

    async def counted(request: bytes, writer: asyncio.StreamWriter) -> None:
        write = writer.write

        def count(data: bytes) -> None:
            nonlocal sent_bytes
            sent_bytes += len(data)
            write(data)

        writer.write = count
        await script(request, writer)

    async with wire(counted) as server:
        error = await failure(connect(server.url), timeout_s=60.0)

    assert error.maybe_received
    assert str(error).startswith(("answered with more than it was asked for", "did not answer: it does not speak HTTP"))
    assert sent_bytes < 2 * MAX_ANSWER_BYTES + HEAD_BYTES + (8 << 20)  # what lies in the sockets' buffers


async def test_an_answer_of_just_the_bound(connect):
    """The last byte that is allowed is read, in whatever chunks."""
    body = b"x" * MAX_ANSWER_BYTES

    async def script(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 " + CHUNKED)
        for start in range(0, len(body), 1000):
            writer.write(b"%x\r\n%s\r\n" % (len(body[start : start + 1000]), body[start : start + 1000]))
        writer.write(b"0\r\n\r\n")

    async with wire(script) as server:
        assert (await call(connect(server.url))).body == body


async def test_the_largest_documented_answer_fits(connect):
    """250,000 contact ids, the most that Voyado lists at once, are read."""
    ids = json.dumps(["0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10"] * 250_000).encode()
    async with wire(answer(200, ids)) as server:
        got = await call(connect(server.url), max_bytes=16 << 20)

    assert len(got.json()) == 250_000


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "x-unknown"])
async def test_nothing_is_unpacked(connect, coding):
    """A compressed answer, which nobody asked for, is none: what it says cannot be told within bounds."""
    async with wire(answer(200, b"\x1f\x8b\x08", content_encoding=coding)) as server:
        error = await failure(connect(server.url))

    assert error.maybe_received
    assert "a coding that was not asked for" in str(error)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(connect, status):
    """The secret goes to no other host, and an address that is none does no harm."""
    async with wire(answer()) as other:
        for location in (f"{other.url}/elsewhere", "//other.example.com", "http://[", "https://x:99999"):
            async with wire(answer(status, location=location)) as server:
                got = await call(connect(server.url))
            assert got.status == status
        assert other.connections == 0


async def test_cookies_are_not_kept(connect):
    """What a vendor wants remembered is forgotten: nothing grows from call to call."""
    async with wire(answer(200, b"{}", set_cookie="a=b; Path=/")) as server:
        client = connect(server.url)
        for _ in range(3):
            await call(client)

    assert server.connections == 1
    assert not any(b"cookie" in request.lower() for request in server.requests)


async def test_another_protocol_is_not_changed_to(connect):
    """An answer that leaves HTTP is no answer."""
    async with wire(answer(101, upgrade="h2c", connection="upgrade")) as server:
        error = await failure(connect(server.url))

    assert error.maybe_received


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_what_comes_behind_an_answer_answers_nothing(connect, tmp_path, scheme):
    """A vendor that answers twice gets no second answer taken for the next sale's: neither of them counts."""
    authority = Authority(tmp_path)
    calls = 0

    async def twice(_request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        for status in (200, 422):
            writer.write(b"HTTP/1.1 %d X\r\ncontent-length: 1\r\n\r\n%d" % (status, calls))

    tls = serving(authority.issue("127.0.0.1")) if scheme == "https" else None
    async with wire(twice, tls=tls) as server:
        client = connect(server.url, replace(POLICY, ca_file=str(authority.pem)))
        for _ in range(3):
            error = await failure(client)
            assert error.maybe_received
            assert "more than once" in str(error)
        server.script = answer(204)
        assert (await call(client)).status == 204

    assert server.connections == 4


async def test_what_comes_late_answers_nothing(connect):
    """Bytes that arrive on a kept connection between two calls are not the second call's answer."""
    more = asyncio.Event()

    async def late(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        await more.wait()
        writer.write(b"HTTP/1.1 422 X\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        sent.set()

    sent = asyncio.Event()
    async with wire(late) as server:
        client = connect(server.url)
        assert (await call(client)).status == 200
        more.set()
        await sent.wait()
        server.script = answer(204)
        assert (await call(client)).status == 204

    assert server.connections == 2


class TestKeptConnection:
    """A connection that the vendor cuts as it is used again."""

    @staticmethod
    async def used_again(connect, script, method, timeout_s=30.0):
        async with wire(in_turn(answer(200, b"1"), script, answer(200, b"3"))) as server:
            client = connect(server.url)
            await call(client)
            try:
                return await client.request(method, "/x", headers=HEADERS, timeout_s=timeout_s), server
            except VendorUnreachableError as error:
                return error, server

    async def test_a_question_is_asked_again(self, connect):
        """Somebody else's close is no outage for a cashier's look-up: it is asked again over a new connection."""
        got, server = await self.used_again(connect, cut, "GET")

        assert got.body == b"3"
        assert server.connections == 2

    async def test_a_sale_is_left_to_the_queue(self, connect):
        """A sale may have arrived: when and whether it is sent again is not decided here."""
        error, server = await self.used_again(connect, cut, "POST")

        assert error.maybe_received
        assert len(server.requests) == 2

    async def test_silence_is_no_cut(self, connect, pass_by):
        """A question that nobody answers is not asked twice."""

        async def silence(request: bytes, writer: asyncio.StreamWriter) -> None:
            pass_by(1.0)
            await hang(request, writer)

        error, server = await self.used_again(connect, silence, "GET", timeout_s=1.0)

        assert error.maybe_received
        assert len(server.requests) == 2

    async def test_a_new_connection_that_is_cut_is_the_vendor_s(self, connect):
        """A question is asked again once, and not when its own new connection was cut."""
        async with wire(cut) as server:
            with pytest.raises(VendorUnreachableError):
                await connect(server.url).request("GET", "/x", headers=HEADERS)
        assert len(server.requests) == 1


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


async def test_look_ups_do_not_wait_for_deliveries(connect):
    """While as many deliveries as allowed hang, another call still finds a connection."""

    async def script(request: bytes, writer: asyncio.StreamWriter) -> None:
        await (hang if b"/receipts" in request else answer(204))(request, writer)

    async with wire(script) as server:
        client = connect(server.url, LONG, connections=2)
        stuck = [asyncio.create_task(call(client)) for _ in range(2)]
        await until(lambda: len(server.requests) == 2)
        got = await client.request("GET", "/api/v3/contacts/id", headers=HEADERS, timeout_s=30.0)
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
            {"retry_after": "Fri, 20 Nov 2026 09:02:00 -0000", "date": DATE}, 120.0, id="a date without a zone"
        ),
        pytest.param({"retry_after": f"Fri, 20 Nov 2026 09:02:00 +{'9' * 30}", "date": DATE}, None, id="a huge offset"),
        pytest.param({"retry_after": f"Fri, 20 Nov {'9' * 30} 09:02:00 GMT", "date": DATE}, None, id="a huge year"),
        pytest.param({"retry_after": "Fri, 32 Nov 2026 09:02:00 GMT", "date": DATE}, None, id="no such date"),
    ],
)
def test_retry_after(headers, expected):
    """Seconds, or a date read against the vendor's own clock; nonsense counts for nothing."""
    assert answered(**headers).retry_after_s == expected


@given(retry_after=st.text(st.characters(max_codepoint=255), max_size=60), date=st.text(max_size=40))
def test_retry_after_never_fails(retry_after, date):
    """Whatever stands there: seconds within a day, or nothing."""
    got = answered(retry_after=retry_after, date=date)

    assert got.retry_after_s is None or 0.0 <= got.retry_after_s <= 86400.0
    assert got.date is None or got.date.tzinfo is not None


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        (DATE, "2026-11-20T09:00:00+00:00"),
        ("Fri, 20 Nov 2026 10:00:00 +0100", "2026-11-20T10:00:00+01:00"),
        ("Fri, 20 Nov 2026 09:00:00", "2026-11-20T09:00:00+00:00"),
        (f"Fri, 20 Nov 2026 09:00:00 +{'9' * 30}", None),
        (f"Fri, 20 Nov {'9' * 30} 09:00:00 GMT", None),
        ("Fri, 20 Nov 2026 09:00:00 +9999", None),
        ("yesterday", None),
    ],
)
def test_the_vendor_s_clock(date, expected):
    """The `Date` of an answer as an instant; one that cannot be is none, and no error."""
    got = answered(date=date).date

    assert (got and got.isoformat()) == expected
    assert answered().date is None


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


@pytest.mark.parametrize("value", [b"[]", b"{}", b"1"], ids=["lists", "objects", "numbers"])
def test_what_swells_is_not_read(value):
    """A body of millions of empty values, which would take twenty times its size, is refused unread."""
    assert len(answered(b"[" + b"1," * (MAX_VALUES - 2) + b"1]").json()) == MAX_VALUES - 1
    with pytest.raises(VendorUnreachableError, match="more than it was asked for"):
        answered(b"[" + (value + b",") * MAX_VALUES + b"1]").json()
