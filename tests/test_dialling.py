"""The way to a vendor: through a proxy, and what is said when there is none."""

import errno
import socket
import ssl
from dataclasses import dataclass, replace

import h11
import httpcore
import pytest
from ports import free_port

from agent.dialling import HEAD_BYTES, why
from agent.errors import ConfigurationError, Fault, VendorUnreachableError
from agent.transport import Transport
from tests.authority import Authority, serving
from tests.proxy import ProxyServer
from tests.wire import POLICY, Handler, answer, cut, in_turn, listening, wire

SECRET = "canary-key"
HERE = "127.0.0.1"


@dataclass
class Login:
    """The proxy's user and password, as the agent reads them."""

    text: str | None
    refusals: int = 0

    def value(self):
        if self.text is None:
            raise ConfigurationError([Fault("file:proxy", "cannot be read")])
        return self.text

    def refused(self):
        self.refusals += 1


@pytest.fixture(name="authority", scope="module")
def _authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(name="connect")
async def _connect(authority):
    """Makes clients that go through a proxy, and closes them."""
    made: list[Transport] = []

    def connect(url: str, proxy: str, **changes) -> Transport:
        policy = replace(POLICY, ca_file=str(authority.pem), proxy=proxy, **changes)
        made.append(Transport(url, policy, connections=2, user_agent="x"))
        return made[-1]

    yield connect
    for client in made:
        await client.close()


async def call(client, method="POST"):
    return await client.request(method, "/receipts", headers={"apikey": SECRET}, content=b"{}")


async def failure(client):
    with pytest.raises(VendorUnreachableError) as caught:
        await call(client)
    return caught.value


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_calls_go_through_it(connect, authority, scheme):
    """With `http.proxy` the vendor is reached through a tunnel that sees no secret, and the tunnel is kept."""
    pem = authority.issue(HERE)
    async with wire(answer(204), tls=serving(pem)) as server:
        proxy = ProxyServer(server.port)
        async with listening(proxy.handle, tls=serving(pem) if scheme == "https" else None) as port:
            client = connect(server.url, f"{scheme}://{HERE}:{port}")
            for _ in range(3):
                assert (await call(client)).status == 204
            await client.close()

    assert len(proxy.asked) == 1
    assert proxy.asked[0].startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n" % server.port)
    assert SECRET.encode() not in proxy.asked[0]
    assert b"authorization" not in proxy.asked[0].lower()


async def test_a_proxy_that_wants_a_password(connect, authority):
    """It gets the one that the secret holds now: a refused one is read again, and a new one needs no restart."""
    login = Login("till:wrong")
    async with wire(answer(204), tls=serving(authority.issue(HERE))) as server:
        proxy = ProxyServer(server.port, "till:right")
        async with listening(proxy.handle) as port:
            client = connect(server.url, f"http://{HERE}:{port}", proxy_secret=login)
            error = await failure(client)
            assert str(error) == "cannot be reached through the proxy: it refuses our user and password (407)"
            assert not error.maybe_received
            assert login.refusals == 1
            login.text = "till:right"
            assert (await call(client)).status == 204
            await client.close()

    assert len(server.requests) == 1


async def test_a_password_that_cannot_be_read(connect):
    """Then nothing is asked of anybody."""
    async with wire(answer()) as proxy:
        error = await failure(connect("https://voyado.invalid", proxy.url, proxy_secret=Login(None)))

    assert "its secret cannot be read" in str(error)
    assert proxy.requests == []


async def test_handshakes_that_fail_take_no_place(connect, authority):
    """However often TLS fails behind a proxy, the next call finds a connection, and gets through when it can."""
    async with (
        wire(answer(), tls=serving(authority.issue("other.example.com"))) as wrong,
        wire(answer(204), tls=serving(authority.issue(HERE))) as right,
    ):
        proxy = ProxyServer(wrong.port)
        async with listening(proxy.handle) as port:
            client = connect(right.url, f"http://{HERE}:{port}")
            for _ in range(30):
                error = await failure(client)
                assert "for another name" in str(error)
                assert not error.maybe_received
            proxy.port = right.port
            assert (await call(client)).status == 204
            await client.close()

    assert wrong.requests == []


async def test_a_vendor_that_is_cut_behind_it(connect, authority):
    """Once the vendor has the request, a tunnel changes nothing about the doubt."""
    async with (
        wire(cut, tls=serving(authority.issue(HERE))) as server,
        listening(ProxyServer(server.port).handle) as port,
    ):
        client = connect(server.url, f"http://{HERE}:{port}")
        error = await failure(client)
        await client.close()

    assert error.maybe_received


async def test_what_comes_behind_an_answer_answers_nothing(connect, authority):
    """A second answer is noticed through a tunnel, too."""

    async def twice(_request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" * 2)

    async with (
        wire(in_turn(twice, answer(204)), tls=serving(authority.issue(HERE))) as server,
        listening(ProxyServer(server.port).handle) as port,
    ):
        client = connect(server.url, f"http://{HERE}:{port}")
        assert "more than once" in str(await failure(client))
        assert (await call(client)).status == 204
        await client.close()


async def test_a_plain_vendor_is_never_called_through_it(connect):
    """Plain http is for loopback: its secret is not shown to a proxy."""
    async with wire(answer()) as proxy, wire(answer(204)) as server:
        assert (await call(connect(server.url, proxy.url))).status == 204

    assert proxy.connections == 0


def saying(text: bytes) -> Handler:
    async def handle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text)
        await writer.drain()

    return handle


async def silent(reader, _writer):
    await reader.read()


async def without_end(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"a: b\r\n" * 5000)
        await writer.drain()


@pytest.mark.parametrize(
    ("handle", "says"),
    [
        pytest.param(saying(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"), "it refuses (403)", id="refuses"),
        pytest.param(saying(b"HTTP/1.1 502 \xff\xfe\r\n\r\n"), "it refuses (502)", id="is at a loss"),
        pytest.param(saying(b"HTTP/1.1 407 x\r\n\r\n"), "user and password (407)", id="wants a password"),
        pytest.param(saying(b"HTTP/1.1 301 x\r\nlocation: http://other/\r\n\r\n"), "it refuses (301)", id="redirects"),
        pytest.param(saying(b"SSH-2.0-OpenSSH\r\n"), "does not speak HTTP", id="speaks something else"),
        pytest.param(saying(b""), "does not speak HTTP", id="cuts"),
        pytest.param(saying(b"HTTP/1.1 200 OK\r\n\r\nhello"), "says more than it was asked", id="talks on"),
        pytest.param(silent, "does not answer in time", id="says nothing"),
        pytest.param(without_end, "more than it was asked for", id="never ends"),
    ],
)
async def test_a_proxy_that_fails(connect, handle, says):
    """Nothing reached the vendor, and what was wrong is told."""
    async with listening(handle) as port:
        patience_s = 0.2 if handle is silent else 60.0
        client = connect("https://voyado.invalid", f"http://{HERE}:{port}", connect_timeout_s=patience_s)
        error = await failure(client)

    assert says in str(error)
    assert not error.maybe_received


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_away(connect, scheme):
    """Nothing reached the vendor."""
    error = await failure(connect("https://voyado.invalid", f"{scheme}://{HERE}:{free_port()}"))

    assert str(error) == "cannot be reached through the proxy: it refuses connections"
    assert not error.maybe_received


async def test_a_proxy_that_nobody_vouches_for(connect, authority, tmp_path):
    """An https proxy has to prove its name like a vendor, before it gets the password."""
    other = Authority(tmp_path, "Another Authority")
    proxy = ProxyServer(1)
    async with listening(proxy.handle, tls=serving(other.issue(HERE))) as port:
        client = connect("https://voyado.invalid", f"https://{HERE}:{port}", proxy_secret=Login("till:right"))
        error = await failure(client)

    assert "through the proxy: nobody whom this till trusts" in str(error)
    assert proxy.asked == []


async def test_the_environment_names_none(authority, monkeypatch):
    """Proxies of the environment are for other programs."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{HERE}:{free_port()}")
        monkeypatch.setenv(name.lower(), f"http://{HERE}:{free_port()}")
    async with wire(answer(204), tls=serving(authority.issue(HERE))) as server:
        client = Transport(server.url, replace(POLICY, ca_file=str(authority.pem)), connections=1, user_agent="x")
        assert (await call(client)).status == 204
        await client.close()


def group(*errors: Exception) -> Exception:
    outer = httpcore.ConnectError("All connection attempts failed")
    outer.__cause__ = OSError("All connection attempts failed")
    outer.__cause__.__cause__ = ExceptionGroup("multiple", errors)
    return outer


@pytest.mark.parametrize(
    ("error", "says"),
    [
        pytest.param(socket.gaierror(socket.EAI_NONAME, "x"), "its name is not known", id="unknown name"),
        pytest.param(socket.gaierror(socket.EAI_AGAIN, "x"), "no name server answers", id="no name server"),
        pytest.param(ConnectionRefusedError(errno.ECONNREFUSED, "x"), "refuses connections", id="refused"),
        pytest.param(OSError(errno.ENETUNREACH, "x"), "no route", id="no route"),
        pytest.param(OSError(errno.EHOSTUNREACH, "x"), "no route", id="no neighbour"),
        pytest.param(ConnectionResetError(errno.ECONNRESET, "x"), "cut the connection", id="reset"),
        pytest.param(httpcore.ReadTimeout(), "in time", id="silent"),
        pytest.param(httpcore.PoolTimeout(), "in time", id="all connections busy"),
        pytest.param(h11.RemoteProtocolError("x"), "does not speak HTTP", id="nonsense"),
        pytest.param(ssl.SSLError(1, "x"), "TLS handshake failed", id="TLS"),
        pytest.param(group(OSError(errno.ENETUNREACH, "x"), ConnectionRefusedError()), "no route", id="two addresses"),
        pytest.param(group(OSError("x"), ConnectionRefusedError()), "refuses connections", id="the second says it"),
        pytest.param(httpcore.RemoteProtocolError("Server disconnected"), "cut the connection", id="closed"),
    ],
)
def test_what_went_wrong(error, says):
    """Each failure has its words, and repeats nothing of the other side's."""
    if isinstance(error, ssl.SSLError):
        error.reason = "BAD_SIGNATURE"
    assert says in why(error)


def test_causes_that_go_in_circles_have_an_end():
    """An error that is its own cause is told like any other."""
    error = httpcore.ConnectError()
    error.__cause__ = OSError()
    error.__cause__.__cause__ = error
    assert why(error) == "it cut the connection"


def test_a_head_has_a_bound():
    """What may come before a body fits the largest head that vendors send, and no more."""
    assert 16 << 10 <= HEAD_BYTES <= 100 << 10
