"""HTTP on the wire: what dribbles in is cut off, what is malformed is refused, and nobody keeps a cashier waiting."""

import asyncio
import contextlib
from dataclasses import dataclass

import pytest

from agent.api import protocol

SALE = "/v1/transactions"
GET = b"GET /healthz HTTP/1.1\r\n{host}"
FLUSH = b"POST /v1/flush HTTP/1.1\r\n{host}"
STEP_S = 0.5


async def connect(house):
    return await asyncio.open_connection("127.0.0.1", house.port)


async def until_closed(reader) -> bytes:
    """Everything up to the end of the connection; fails when it is not closed in time."""
    async with asyncio.timeout(30):
        with contextlib.suppress(ConnectionResetError):
            return await reader.read()
    return b""


@pytest.fixture
def cut_off(house, pass_by):
    """What comes back to who says something and goes on saying something, until they are hung up on; after how long."""

    async def speak(sent, then=b""):
        loop = asyncio.get_running_loop()
        began = loop.time()
        reader, writer = await connect(house)
        writer.write(sent)
        reading, passed_s = asyncio.ensure_future(until_closed(reader)), 0.0
        while not reading.done():
            await asyncio.sleep(0.01)  # for what was said to arrive
            writer.write(then)
            pass_by(STEP_S)
            passed_s += STEP_S
            await asyncio.sleep(0.01)
        writer.close()
        return await reading, Took(loop.time() - began, passed_s)

    return speak


@dataclass(frozen=True)
class Took:
    """How long something took: at most so long by any clock, and at least what was passed by at once."""

    at_most_s: float
    at_least_s: float

    def are_of(self, seconds: float) -> bool:
        """Whether it took so long, and not twice as long."""
        return seconds <= self.at_most_s and self.at_least_s < 2 * seconds


def test_the_published_limits():
    """The limits are those of the contract: 5 s for the head, 10 s for the whole request."""
    assert (protocol.HEAD_S, protocol.REQUEST_S) == (5.0, 10.0)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"", b"", id="nothing"),
        pytest.param(b"\r\n\r\n", b"", id="blank-lines"),
        pytest.param(b"GET /v1/st", b"408", id="half-a-request-line"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b"408", id="half-a-head"),
    ],
)
async def test_a_head_that_does_not_come_is_cut_off(cut_off, sent, status):
    """A head that is not there in time ends the connection, with 408 when one had begun."""
    answer, took = await cut_off(sent)
    assert answer[9:12] == status
    assert took.are_of(protocol.HEAD_S)


@pytest.mark.parametrize(
    ("sent", "piece"), [(b"GET /healthz HTTP/1.1\r\nX: ", b"y"), (b"", b"\r\n")], ids=["head", "blank-lines"]
)
async def test_dribbling_does_not_win_time(cut_off, sent, piece):
    """Bytes that keep coming do not move the limit: the head must be there in time."""
    _, took = await cut_off(sent, piece)
    assert took.are_of(protocol.HEAD_S)


@pytest.mark.parametrize("chunked", [False, True], ids=["with-length", "chunked"])
async def test_a_body_that_dribbles_is_cut_off(house, cut_off, chunked):
    """A body that is not there in time ends the request with 408, however steadily it trickles; nothing is kept."""
    how = {"content_length": None, "transfer_encoding": "chunked"} if chunked else {"content_length": "1000"}
    answer, took = await cut_off(house.request("POST", SALE, **how), b"1\r\n \r\n" if chunked else b" ")
    assert took.are_of(protocol.REQUEST_S)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"request.timeout" in answer


async def test_a_connection_stays_open_between_requests(house, pass_by):
    """A till's pooled connection outlives the limits of a request: they count only once a request begins."""
    reader, writer = await connect(house)
    for _ in range(2):
        writer.write(house.request("GET", "/healthz"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        await reader.readexactly(len(b'{"alive":true}'))
        for _ in range(3):
            pass_by(protocol.REQUEST_S)  # beyond both limits
            await asyncio.sleep(0.01)
    writer.close()


async def test_a_refused_body_is_not_listened_to_for_long(house, monkeypatch):
    """Who goes on sending after a refusal is hung up on after a bounded number of bytes."""
    reader, writer = await connect(house)
    writer.write(house.request("POST", SALE, content_length=str(1 << 40)))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 413")

    async def go_on():
        for _ in range(10_000):
            writer.write(b"x" * 65_536)
            await writer.drain()

    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        await go_on()
    writer.close()


async def test_a_late_body_after_a_refusal_is_answered_once(house, cut_off):
    """A request that was refused before its body came is not answered a second time when the body never comes."""
    answer, _ = await cut_off(house.request("POST", SALE, content_length="100", authorization="Bearer wrong"))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(b"nonsense\r\n\r\n", 400, id="nonsense"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, id="tls"),
        pytest.param(b"GET http://evil.example.com/healthz HTTP/1.1\r\n{host}\r\n", 400, id="absolute-target"),
        pytest.param(b"CONNECT evil.example.com:80 HTTP/1.1\r\n{host}\r\n", 400, id="connect"),
        pytest.param(b"OPTIONS * HTTP/1.1\r\n{host}\r\n", 400, id="asterisk"),
        pytest.param(b"GET /\xff HTTP/1.1\r\n{host}\r\n", 400, id="bytes-in-the-path"),
        pytest.param(FLUSH + b"Content-Length: -1\r\n\r\n", 400, id="negative-length"),
        pytest.param(FLUSH + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400, id="two-lengths"),
        pytest.param(
            FLUSH + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, id="both-framings"
        ),
        pytest.param(FLUSH + b"Content-Length: 99999999999999999999999\r\n\r\n", 400, id="huge-length"),
        pytest.param(GET + b"X: " + b"y" * 20_000 + b"\r\n\r\n", 431, id="long-header"),
        pytest.param(GET + b"X: " + b"y" * 20_000, 431, id="long-and-unfinished"),
        pytest.param(GET + b"".join(b"X-%d: y\r\n" % n for n in range(80)) + b"\r\n", 431, id="many-headers"),
        pytest.param(b"GET /" + b"y" * 20_000 + b" HTTP/1.1\r\n{host}\r\n", 431, id="long-path"),
    ],
)
async def test_what_is_no_request_is_refused_and_hung_up_on(house, raw, status):
    """Malformed and oversized heads draw a problem with the safety headers, and the connection ends."""
    reader, writer = await connect(house)
    writer.write(raw.replace(b"{host}", f"Host: {house.address}\r\n".encode()))
    answer = await until_closed(reader)
    writer.close()

    assert int(answer[9:12]) == status
    assert b"application/problem+json" in answer
    assert b"x-content-type-options: nosniff" in answer


async def test_pieces_make_a_whole(house, sale):
    """A request that comes in several pieces in time is answered as one that comes at once."""
    raw = house.request("POST", SALE, b"{}")
    third = len(raw) // 3
    answer = await house.raw(raw[:third], raw[third : 2 * third], raw[2 * third :])
    assert answer.startswith(b"HTTP/1.1 422")


async def test_requests_in_one_go_are_answered_in_order(house):
    """Requests sent without waiting for the answers are answered in their order."""
    reader, writer = await connect(house)
    writer.write(
        house.request("GET", "/healthz") + house.request("GET", "/v1/nothing") + house.request("GET", "/readyz")
    )
    statuses = []
    for _ in range(3):
        head = await reader.readuntil(b"\r\n\r\n")
        statuses.append(head[9:12])
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(length)
    assert statuses == [b"200", b"404", b"200"]
    writer.close()


@pytest.mark.parametrize(
    "opening",
    [b"", b"GET /v1/status HTTP/1.1\r\nHo", "body"],
    ids=["idle", "half-a-head", "slow-body"],
)
async def test_a_hundred_idle_or_slow_connections_keep_nobody_waiting(house, monkeypatch, opening):
    """With a hundred connections open that say nothing or dribble, a cashier's call is answered before any of them."""
    monkeypatch.setattr(protocol, "HEAD_S", 3600.0)
    monkeypatch.setattr(protocol, "REQUEST_S", 3600.0)
    if opening == "body":
        opening = house.request("POST", SALE, b"", content_length="1000")
    others = [await connect(house) for _ in range(100)]
    for _, writer in others:
        writer.write(opening)
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        for _ in range(20):
            assert (await house.http.get("/v1/status")).status_code == 200
    assert not any(reader.at_eof() for reader, _ in others)
    for _, writer in others:
        writer.close()


async def test_a_flood_of_connections_does_not_shut_a_cashier_out(house, monkeypatch):
    """When too many are connected, who never asked anything goes first; a till's open connection stays."""
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 20)
    assert (await house.http.get("/healthz")).status_code == 200
    flood = [await connect(house) for _ in range(60)]
    assert (await house.http.get("/healthz")).status_code == 200
    await asyncio.wait_for(flood[0][0].read(), 30)  # the first of them has been hung up on
    reader, writer = await connect(house)
    writer.write(house.request("GET", "/healthz"))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    for _, other in [*flood, (reader, writer)]:
        other.close()


@pytest.mark.parametrize(
    ("beyond", "answered"),
    [pytest.param(0, protocol.MAX_PIPELINED + 1, id="as-many-as-may-wait"), pytest.param(1, 0, id="one-more")],
)
async def test_requests_that_wait_for_no_answer_are_bounded(house, beyond, answered):
    """Behind the call that is being answered a connection may queue so many; one more, and it is hung up on."""
    reader, writer = await connect(house)
    last = house.request("GET", "/healthz", connection="close")
    writer.write(house.request("GET", "/healthz") * (protocol.MAX_PIPELINED + beyond) + last)
    answers = await until_closed(reader)
    assert answers.count(b"HTTP/1.1 200") == answered
    writer.close()
