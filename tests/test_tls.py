"""TLS towards vendors, against real servers on loopback: who is believed, and what is said of the rest."""

import asyncio
import socket
import ssl
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from agent import tls
from agent.errors import ConfigurationError, VendorUnreachableError
from agent.transport import Transport
from tests.authority import Authority, serving
from tests.wire import POLICY, answer, listening, wire

SECRET = "canary-key"
HERE = "127.0.0.1"


@pytest.fixture(name="authority", scope="module")
def _authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


async def call(url, ca_file):
    client = Transport(url, replace(POLICY, ca_file=str(ca_file or "")), connections=1, user_agent="x")
    try:
        return await client.request("POST", "/receipts", headers={"apikey": SECRET}, content=b"{}")
    finally:
        await client.close()


async def refusal(server, ca_file):
    """What is said of a server that is not spoken to; it has seen nothing."""
    with pytest.raises(VendorUnreachableError) as caught:
        await call(server.url, ca_file)
    assert not caught.value.maybe_received
    assert server.requests == []
    return str(caught.value)


@pytest.mark.parametrize(
    ("certificate", "says"),
    [
        pytest.param({"names": ("other.example.com",)}, "for another name", id="another name"),
        pytest.param({"names": ("127.0.0.2",)}, "for another name", id="another address"),
        pytest.param({"common_name": HERE}, "for another name", id="the name in the subject alone"),
        pytest.param({"names": (HERE,), "ends": timedelta(seconds=-1)}, "has expired", id="expired"),
        pytest.param({"names": (HERE,), "begins": timedelta(hours=1)}, "not valid yet", id="not valid yet"),
        pytest.param({"names": (HERE,), "self_signed": True}, "self-signed", id="self-signed"),
        pytest.param({"names": (HERE,), "rsa_bits": 1024}, "too weak", id="a short key"),
        pytest.param(
            {"names": (HERE,), "usage": ExtendedKeyUsageOID.CLIENT_AUTH}, "not one for servers", id="a client's"
        ),
    ],
)
async def test_a_certificate_that_will_not_do(authority, certificate, says):
    """It is refused before anything is sent, and the reason is told."""
    pem = authority.issue(*certificate.pop("names", ()), **certificate)
    async with wire(answer(), tls=serving(pem)) as server:
        assert says in await refusal(server, authority.pem)


async def test_an_authority_that_nobody_named(authority, tmp_path):
    """A certificate of somebody else's authority is refused, by the system's store and by a named file alike."""
    other = Authority(tmp_path, "Another Authority")
    async with wire(answer(), tls=serving(other.issue(HERE))) as server:
        assert "nobody whom this till trusts" in await refusal(server, authority.pem)
        assert "nobody whom this till trusts" in await refusal(server, None)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
@pytest.mark.parametrize("newest", ["TLSv1", "TLSv1_1"])
async def test_an_old_protocol(authority, newest):
    """Nothing older than TLS 1.2 is spoken."""
    context = serving(authority.issue(HERE))
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion[newest]
    with socket.create_server((HERE, 0)) as listener:

        def answer_once():  # asyncio's own server cuts the line instead of saying what it does not speak
            connection, _ = listener.accept()
            with connection, pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
                context.wrap_socket(connection, server_side=True)

        server = asyncio.create_task(asyncio.to_thread(answer_once))
        with pytest.raises(VendorUnreachableError, match="no TLS newer than") as caught:
            await call(f"https://{HERE}:{listener.getsockname()[1]}", authority.pem)
        await server
    assert not caught.value.maybe_received


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_a_named_authority(authority, version):
    """What `http.ca_file` vouches for is spoken to."""
    context = serving(authority.issue(HERE))
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    async with wire(answer(204), tls=context) as server:
        assert (await call(server.url, authority.pem)).status == 204
    assert SECRET.encode() in server.requests[0]


async def test_a_named_certificate(authority):
    """The very certificate of a server can be named, who ever signed it."""
    pem = authority.issue(HERE)
    async with wire(answer(204), tls=serving(pem)) as server:
        assert (await call(server.url, pem)).status == 204


async def test_the_system_s_store(authority, tmp_path, monkeypatch):
    """Without a named file the system's store decides; a named file stands in its place, not beside it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.pem))  # where OpenSSL finds the system's store
    other = Authority(tmp_path, "Another Authority")
    async with wire(answer(204), tls=serving(authority.issue(HERE))) as server:
        assert (await call(server.url, None)).status == 204
        server.requests.clear()
        assert "nobody whom this till trusts" in await refusal(server, other.pem)


async def test_a_server_without_tls():
    """TLS to a port that does not speak it gets nothing but a greeting."""

    async def plain(reader, writer):
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with listening(plain) as port:
        with pytest.raises(VendorUnreachableError, match="does not speak TLS") as caught:
            await call(f"https://{HERE}:{port}", None)
    assert not caught.value.maybe_received


async def test_a_cut_handshake():
    """A line that is cut in the handshake is an outage: nothing was sent."""

    async def cut(reader, writer):
        await reader.read(1)
        writer.transport.abort()

    async with listening(cut) as port:
        with pytest.raises(VendorUnreachableError, match="cut the connection") as caught:
            await call(f"https://{HERE}:{port}", None)
    assert not caught.value.maybe_received


async def test_session_keys_are_written_nowhere(authority, tmp_path, monkeypatch):
    """SSLKEYLOGFILE, with which every session could be read, is not obeyed."""
    keys = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    async with wire(answer(204), tls=serving(authority.issue(HERE))) as server:
        await call(server.url, authority.pem)
    assert not keys.exists()


@pytest.mark.parametrize("content", [None, b"not a certificate", b""], ids=["missing", "no PEM", "empty"])
def test_a_ca_file_that_cannot_be_read(tmp_path, content):
    """It is a fault of the configuration, said with its key."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        tls.client_context(str(path))
    assert caught.value.faults[0].pointer == "http.ca_file"


def test_a_result_that_has_no_words():
    """A certificate refused for a reason of OpenSSL's that is not in the table is told by its number."""
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_code = 23
    assert tls.failure(error) == "its certificate is refused (OpenSSL 23)"
