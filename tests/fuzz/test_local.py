"""What people and programs of this machine leave: the configuration, tokens, keys, known_hosts; and what tills post."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import asyncssh
import pytest
from domain.conftest import SALE

from agent.connectors.registry import settings_models
from agent.connectors.voyado.sftp import SftpSource
from agent.errors import ConfigurationError, StorageError, StorageKeyError, VendorRefusedError, VendorUnreachableError
from agent.keys import KeyPlace
from agent.secrets import SecretReference
from agent.settings import load
from agent.tokens import Tokens
from tests.api.conftest import HeldClock, open_house

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"


def test_configuration(fuzz, tmp_path):
    """Whatever stands in the file, it is a configuration or every fault is told, and no secret's value with it."""
    file = tmp_path / "config.toml"
    (tmp_path / "key").write_text("hush-hush")
    text = (
        EXAMPLE.read_bytes()
        .replace(b"credential:voyado-api-key", b"file:key")
        .replace(b"credential:voyado-sftp", b"file:key")
    )
    text = text.replace(b'proxy = ""', b'proxy = "http://proxy.example.com:3128"\nproxy_secret = "file:key"')
    short = (
        b'[agent]\nstore_id = "1042"\ntill_id = "03"\n'
        b'[voyado]\nbase_url = "https://acme.voyado.com"\napi_key = "file:key"\nfeed = "api"\n'
    )

    def read(data: bytes) -> None:
        file.write_bytes(data)
        try:
            load(config=file, vendors=settings_models(), environ={})
        except ConfigurationError as error:
            if "hush-hush" in str(error):
                raise AssertionError(str(error)) from None
            raise

    words = (
        b'"', b"'''", b"[[agent]]", b"[voyado]", b"= ", b"= 1979-05-27T07:32:00Z", b"= inf", b'= "1s"',
        b'"file:\\u0000"',
        b'proxy = "http://[::1"', b'base_url = "https://[x]"', b'ca_file = "key"', b'state_dir = "\\u0000"', b'feed = "file://\\u0000"',
        b'"http://u:hush-hush@p:1"', b"a.b.c = 1", b'timezone = "../../etc/passwd"', b'timezone = "/etc/passwd"',
    )  # fmt: skip
    fuzz.of([text, short], words, read, refusals=(ConfigurationError,))


def test_environment(fuzz, tmp_path):
    """Whatever stands in the environment, it is a value or a fault."""
    file = tmp_path / "config.toml"
    (tmp_path / "key").write_text("hush-hush")
    file.write_bytes(
        b'[agent]\nstore_id = "1"\ntill_id = "3"\n'
        b'[voyado]\nbase_url = "https://x.com"\napi_key = "file:key"\nfeed = "api"\n'
    )

    def read(data: bytes) -> None:
        name, _, value = data.decode("utf-8", "surrogateescape").partition("=")
        load(config=file, vendors=settings_models(), environ={f"LOYALTY_AGENT__{name}": value})

    samples = [
        b"LOG__LEVEL=debug", b'API__LISTEN=["127.0.0.1:1"]', b"REPLICA__CONTENTS=keys", b"QUEUE__FLUSH_EVERY=10s",
        b"LOYALTY__SECONDARY_KEYS=[]", b"MESSAGES={}", b"VOYADO__REQUESTS_PER_SECOND=5", b"OTHER__KEY=1",
    ]  # fmt: skip
    fuzz.of(samples, (b"__", b"=", b"[", b"{", b"{a={a=1}}"), read, refusals=(ConfigurationError,))


def test_tokens_file(fuzz, tmp_path):
    """Whatever stands in `tokens.json`, it is a list of tokens or all are refused; nobody gets in by accident."""
    tokens = Tokens(tmp_path, HeldClock())
    tokens.add("pos-1", "pos")
    tokens.add("admin", "admin")
    sample = (tmp_path / "tokens.json").read_bytes()

    def read(data: bytes) -> None:
        (tmp_path / "tokens.json").write_bytes(data)
        assert Tokens(tmp_path, HeldClock()).verify("la_pos_guess") is None
        for token in Tokens(tmp_path, HeldClock()).list():
            assert token.created_at.tzinfo is not None

    words = (b'"scope"', b'"admin"', b'"sha256"', b'"name"', b"0001-01-01T00:00:00+00:00", b"[", b"{")
    fuzz.of([sample, b'{"tokens": []}'], words, read, refusals=(StorageError,))


def test_storage_key(fuzz, tmp_path):
    """Whatever stands in the key's file, it is 32 bytes or no key."""
    place = KeyPlace(SecretReference("file", "storage.key", tmp_path))
    place.read(may_create=True)
    sample = (tmp_path / "storage.key").read_bytes()

    def read(data: bytes) -> None:
        (tmp_path / "storage.key").write_bytes(data)
        assert len(place.read(may_create=False).current) == 32

    fuzz.of([sample], (b"=", b"\n", b" "), read, refusals=(StorageKeyError,))


class Given:
    """A secret, read again when it is refused."""

    def __init__(self, text: str) -> None:
        self.text = text

    def value(self):
        return self.text

    def refused(self):
        """Read again."""


def source(tmp_path: Path, port: int, secret: str) -> SftpSource:
    url = f"sftp://store@127.0.0.1:{port}/export"
    return SftpSource(url, Given(secret), tmp_path / "known_hosts", tmp_path / "spool", answer_timeout_s=20.0)


async def test_known_hosts(fuzz, tmp_path):
    """Whatever stands in known_hosts, the server is known by it or refused; nothing else happens."""
    keys = [asyncssh.generate_private_key(kind) for kind in ("ssh-ed25519", "ecdsa-sha2-nistp256")]
    strange = asyncssh.generate_private_key("ssh-ed25519").export_public_key()

    class Accounts(asyncssh.SSHServer):
        def begin_auth(self, username):
            return False  # who gets as far has believed the key

    server = await asyncssh.create_server(Accounts, "127.0.0.1", 0, server_host_keys=keys, sftp_factory=True)
    async with server:
        port = server.get_port()
        place = b"[127.0.0.1]:%d " % port
        samples = [place + key.export_public_key() for key in keys]
        samples += [b"# hosts\n\n" + samples[0] + b"@revoked * " + strange, b"*,!127.0.0.1 " + strange]

        async def connect(data: bytes) -> None:
            (tmp_path / "known_hosts").write_bytes(data)
            async with source(tmp_path, port, "password"):
                said = re.sub(rb"[^A-Za-z0-9+/]", b"", data)  # what else stands in base64 means nothing
                assert any(key.export_public_key().split()[1].rstrip(b"=") in said for key in keys)

        words = (
            b"@cert-authority ",
            b"@revoked ",
            b"|1|",
            b"|1|AAAA|BBBB ",
            b"*",
            b"!",
            b"?",
            b"[",
            b"]:22 ",
            b",",
            b"ssh-rsa ",
            b"AAAAB3NzaC1yc2E",
            b"127.0.0.0/8 ",
        )
        await fuzz.of_calls(samples, words, connect, refusals=(VendorRefusedError,))


async def test_private_keys(fuzz, tmp_path):
    """Whatever stands in the account's key, it is a key, a password or refused; nothing is said of it."""
    (tmp_path / "known_hosts").write_text("")
    keys = [asyncssh.generate_private_key(kind) for kind in ("ssh-ed25519", "ecdsa-sha2-nistp256")]
    samples = [key.export_private_key(form) for key in keys for form in ("openssh", "pkcs8-pem")]
    samples.append(keys[0].export_private_key("pkcs8-pem", passphrase="x"))

    async def hang_up(reader, writer):
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]

        async def connect(data: bytes) -> None:
            try:
                await source(tmp_path, port, data.decode("utf-8", "replace")).__aenter__()
            except VendorUnreachableError:  # it was taken for a key or a password, and the server hung up
                return

        words = (
            b"-----BEGIN OPENSSH PRIVATE KEY-----",
            b"-----END",
            b"Proc-Type: 4,ENCRYPTED\n",
            b"DEK-Info: x\n",
            b"AAAA",
            b"=",
        )
        await fuzz.of_calls(samples, words, connect, refusals=(VendorRefusedError,))


class RefusedError(Exception):
    """The door refused a body."""


SALES = [
    {**SALE, "new_contact": None},
    {**SALE, "identifier": None, "type": "return", "total": "-250.00"},
    {**SALE, "lines": [], "payments": [], "total": "0", "type": "void", "original_transaction_id": "x"},
    {**SALE, "new_contact": {"mobile_phone": "+46701740605", "birth_date": "1980-02-29", "attributes": {"size": 42}}},
]
SALE_WORDS = (
    b'"occurred_at":', b'"lines":', b'"type":"void"', b'"currency":"JPY"', b'"total":',
    b'"identifier":{"type":"any","value":"', b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59", b"1e40",
    b'"quantity":"0.0001"', b"-W01-1", b"T24:00:00Z",
)  # fmt: skip


async def test_transaction_bodies(fuzz, tmp_path):
    """Whatever a till posts as a sale, it is taken whole or refused; nothing is half kept, and the door never fails."""
    async with open_house(tmp_path) as house:

        async def post(data: bytes) -> None:
            before = house.outbox.info(frozenset()).depth
            answer = await house.http.post(
                "/v1/transactions", content=data, headers={"content-type": "application/json"}
            )
            assert answer.status_code in (200, 202, 400, 409, 413, 422), answer.text
            if answer.status_code in (200, 202):
                kept = await house.http.get(f"/v1/transactions/{answer.json()['transaction_id']}")
                assert kept.status_code == 200
                return
            assert house.outbox.info(frozenset()).depth == before
            assert answer.headers["content-type"] == "application/problem+json"
            assert "1740605" not in answer.text
            raise RefusedError(answer.json()["code"])

        await fuzz.of_calls([json.dumps(sale).encode() for sale in SALES], SALE_WORDS, post, refusals=(RefusedError,))


@pytest.mark.parametrize("path", ["/v1/contacts/identify"])
async def test_identify_bodies(fuzz, tmp_path, path):
    """Whatever a till asks, it is answered or refused, and the value is repeated in no refusal."""
    samples = [
        json.dumps({"identifier": {"type": kind, "value": value}}).encode()
        for kind, value in (
            ("mobile_phone", "070-174 06 05"),
            ("email", "alma@example.com"),
            ("member_number", "10000421"),
            ("personal_number", "19800229-0005"),
            ("contact_id", "0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10"),
            ("any", "+46701740605"),
        )
    ]
    async with open_house(tmp_path) as house:

        async def post(data: bytes) -> None:
            answer = await house.http.post(path, content=data, headers={"content-type": "application/json"})
            assert answer.status_code in (200, 400, 413, 422), answer.text
            if answer.status_code != 200:
                assert "1740605" not in answer.text
                assert "alma@" not in answer.text.lower()
                raise RefusedError(answer.json()["code"])

        words = (b'"type":"any"', b'"value":', b"\\u0000", b"@", b"+46", b"xn--", b"\\ud800")
        await fuzz.of_calls(samples, words, post, refusals=(RefusedError,))
