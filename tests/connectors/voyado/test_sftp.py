"""Export files over SFTP, against OpenSSH and, for what OpenSSH will not do, a scripted server."""

import asyncio
import base64
import contextlib
import itertools
import os
import stat
import subprocess
import sys
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import asyncssh
import pytest
from ports import free_port

from agent.connectors import folders
from agent.connectors.voyado.sftp import SftpSource
from agent.errors import (
    ConfigurationError,
    Fault,
    FeedError,
    FeedUnreadableError,
    StorageError,
    VendorRefusedError,
    VendorUnreachableError,
)

FIRST, SECOND = "20260220101500_0_members.xml", "20260220101512_1_members.xml"


@dataclass
class Given:
    """A secret as assembly hands it over."""

    text: str | None
    refusals: int = 0

    def value(self):
        if self.text is None:
            raise ConfigurationError([Fault("file:sftp.key", "cannot be read")])
        return self.text

    def refused(self):
        self.refusals += 1


@pytest.fixture
def source(openssh, tmp_path):
    return SftpSource(openssh.url, Given(openssh.private_key), openssh.known_hosts, tmp_path / "spool")


async def test_lists_export_files_alone(openssh, source):
    """Only regular files with an export's name are listed, with their size and time."""
    (openssh.folder / FIRST).write_bytes(b"<contacts/>")
    os.utime(openssh.folder / FIRST, (1_771_582_500, 1_771_582_500))
    (openssh.folder / "readme.txt").write_bytes(b"")
    (openssh.folder / os.fsdecode(b"20260220101500_1_\xff.xml")).write_bytes(b"")
    (openssh.folder / SECOND).symlink_to("/etc/passwd")
    (openssh.folder / "20260220101513_2_members.xml").mkdir()
    async with source:
        (listed,) = await source.list()
        strangers = await source.strangers()
    assert (listed.name, listed.size_bytes, listed.modified_at.timestamp()) == (FIRST, 11, 1_771_582_500)
    assert {file.name for file in strangers} == {"readme.txt", "20260220101500_1_\ufffd.xml"}


async def test_downloads_a_private_copy(openssh, source, tmp_path):
    """A download has the file's bytes, is noise on disk and this user's alone, and is gone once discarded."""
    content = os.urandom(3 * 1024 * 1024 + 17)
    (openssh.folder / FIRST).write_bytes(content)
    async with source:
        (listed,) = await source.list()
        copy = await source.fetch(listed)
        with copy.open("rb") as opened:
            assert opened.read() == content
        noise = copy.path.read_bytes()
        assert len(noise) == len(content)
        assert noise != content
        assert stat.S_IMODE(copy.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(copy.path.parent.stat().st_mode) == 0o700
        await source.discard(copy)
        await source.discard(copy)
    assert list((tmp_path / "spool").iterdir()) == []
    assert (openssh.folder / FIRST).exists()


async def test_discards_in_the_spool_alone(source, tmp_path):
    """A path outside the spool is never removed."""
    other = tmp_path / FIRST
    other.write_bytes(b"")
    async with source:
        await source.discard(other)
    assert other.exists()


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: path.write_bytes(b"longer than it was"), id="grown"),
        pytest.param(lambda path: path.write_bytes(b""), id="shrunk"),
        pytest.param(lambda path: os.utime(path, (1, 1)), id="rewritten"),
        pytest.param(lambda path: path.unlink(), id="gone"),
    ],
)
async def test_refuses_what_was_not_listed(openssh, source, tmp_path, spoil):
    """A file that is not any more what was listed is not handed out, and leaves nothing in the spool."""
    (openssh.folder / FIRST).write_bytes(b"<contacts/>")
    async with source:
        (listed,) = await source.list()
        spoil(openssh.folder / FIRST)
        with pytest.raises(FeedUnreadableError, match=FIRST):
            await source.fetch(listed)
        assert list((tmp_path / "spool").iterdir()) == []
        (openssh.folder / SECOND).write_bytes(b"<contacts/>")
        following = {file.name: file for file in await source.list()}[SECOND]
        with (await source.fetch(following)).open("rb") as opened:
            assert opened.read() == b"<contacts/>"


async def test_refuses_a_file_over_the_limit(openssh, source):
    """A file larger than allowed is refused by its listed size: nothing of it is downloaded."""
    source.max_bytes = 10
    (openssh.folder / FIRST).write_bytes(b"<contacts/>")
    async with source:
        (listed,) = await source.list()
        with pytest.raises(FeedUnreadableError, match="larger"):
            await source.fetch(listed)


@pytest.mark.parametrize("name", ["../20260220101500_0_members.xml", "/etc/passwd", "..", "", "x.xml"])
async def test_no_name_leads_out_of_the_spool(openssh, source, tmp_path, name):
    """A name that is no export's is refused before it comes near a path."""
    (openssh.folder / FIRST).write_bytes(b"<contacts/>")
    async with source:
        (listed,) = await source.list()
        with pytest.raises(FeedUnreadableError):
            await source.fetch(replace(listed, name=name))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["openssh", "server", "spool"]


async def test_removes_what_an_earlier_run_left(source, tmp_path):
    """Downloads that a crash left behind are removed at the start, and nothing else."""
    spool = tmp_path / "spool"
    spool.mkdir()
    for name in (FIRST, f"{SECOND}.part", "kept"):
        (spool / name).write_bytes(b"")
    async with source:
        assert [path.name for path in spool.iterdir()] == ["kept"]


async def test_an_unusable_spool_is_a_storage_error(source, tmp_path):
    """A spool that cannot be made is the disk's fault, not the vendor's."""
    (tmp_path / "spool").write_bytes(b"")
    with pytest.raises(StorageError):
        await source.__aenter__()


def _no_known_hosts(openssh, source):
    openssh.known_hosts.unlink()


def _other_host_key(openssh, source):
    key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    openssh.known_hosts.write_text(f"[127.0.0.1]:{openssh.port} {key}")


def _unknown_host(openssh, source):
    openssh.known_hosts.write_text("")


def _other_key(openssh, source):
    source.secret.text = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()


def _broken_key(openssh, source):
    source.secret.text = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----"


def _key_with(change):
    """A key whose inside is changed: asyncssh raises what it does not document."""

    def spoil(openssh, source):
        head, *body, foot = asyncssh.generate_private_key("ecdsa-sha2-nistp256").export_private_key().splitlines()
        inside = change(base64.b64decode(b"".join(body)))
        source.secret.text = b"\n".join([head, base64.b64encode(inside), foot]).decode()

    return spoil


def _locked_key(openssh, source):
    source.secret.text = (
        asyncssh.generate_private_key("ssh-ed25519").export_private_key("pkcs8-pem", passphrase="x").decode()
    )


def _no_secret(openssh, source):
    source.secret.text = None


def _password(openssh, source):
    source.secret.text = "a password that this server does not take"


@pytest.mark.parametrize(
    ("spoil", "says", "refusals"),
    [
        pytest.param(_no_known_hosts, "known_hosts", 0, id="no known_hosts"),
        pytest.param(_unknown_host, "host key", 0, id="unknown host"),
        pytest.param(_other_host_key, "host key", 0, id="another host key"),
        pytest.param(_other_key, "refuses", 1, id="another user key"),
        pytest.param(_broken_key, "private key", 1, id="damaged key"),
        pytest.param(_key_with(lambda key: key.replace(b"p256", b"p296")), "private key", 1, id="a key of no kind"),
        pytest.param(_key_with(lambda key: key[:16]), "private key", 1, id="a key of a few bytes"),
        pytest.param(_locked_key, "passphrase", 1, id="key with a passphrase"),
        pytest.param(_no_secret, "cannot be read", 0, id="no secret"),
        pytest.param(_password, "refuses", 1, id="password where a key is wanted"),
    ],
)
async def test_refusals_are_told_apart(openssh, source, spoil, says, refusals):
    """Each way to be refused has its own text, names neither account nor secret, and has a bad secret read again."""
    spoil(openssh, source)
    with pytest.raises(VendorRefusedError, match=says) as caught:
        await source.__aenter__()
    assert source.secret.refusals == refusals
    _says_nothing_private(caught.value, source)


async def test_a_missing_folder_is_refused(openssh, source):
    """An account without the configured folder is a clear refusal, not an empty listing."""
    openssh.folder.rmdir()
    async with source:
        with pytest.raises(VendorRefusedError, match="folder") as caught:
            await source.list()
    _says_nothing_private(caught.value, source)


async def test_nobody_there_is_unreachable(openssh, source):
    """A refused connection is an outage."""
    source.url = openssh.url.replace(str(openssh.port), str(free_port()))
    with pytest.raises(VendorUnreachableError) as caught:
        await source.__aenter__()
    _says_nothing_private(caught.value, source)


async def test_silence_is_unreachable(openssh, source):
    """A server that accepts and says nothing is given up after the time-out."""
    left = asyncio.Event()

    async def say_nothing(reader, writer):
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    source.answer_timeout_s = 0.2
    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        source.url = openssh.url.replace(str(openssh.port), str(server.sockets[0].getsockname()[1]))
        with pytest.raises(VendorUnreachableError):
            await source.__aenter__()
        await left.wait()


async def test_enters_again_after_an_outage(openssh, source):
    """A source that was left works again when it is entered again."""
    (openssh.folder / FIRST).write_bytes(b"<contacts/>")
    for _ in range(2):
        async with source:
            assert len(await source.list()) == 1
    with pytest.raises(VendorUnreachableError, match="not connected"):
        await source.list()


class _Scripted(asyncssh.SFTPServer):
    """Claims one small file, and sends as much for it as is asked for."""

    sent_bytes = 0
    cuts = False

    async def scandir(self, path):
        attrs = asyncssh.SFTPAttrs(
            type=asyncssh.FILEXFER_TYPE_REGULAR, size=100, permissions=0o100644, atime=1, mtime=1
        )
        for name in (FIRST, "../" + SECOND, "/etc/" + SECOND):
            yield asyncssh.SFTPName(name.encode(), b"", attrs)

    def open(self, path, pflags, attrs):
        return object()

    def read(self, file_obj, offset, size):
        if self.cuts:
            self.channel.get_connection().abort()
        type(self).sent_bytes += size
        return b"x" * size

    def fstat(self, file_obj):
        return asyncssh.SFTPAttrs(size=100, permissions=0o100644, atime=1, mtime=1)

    def close(self, file_obj):
        pass


class _Accounts(asyncssh.SSHServer):
    def password_auth_supported(self):
        return True

    def validate_password(self, username, password):
        return (username, password) == ("store", "correct horse")


@contextlib.asynccontextmanager
async def scripted(tmp_path, secret):
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.create_server(
        _Accounts, "127.0.0.1", 0, server_host_keys=[key], sftp_factory=_Scripted, allow_scp=False
    )
    async with server:
        known_hosts = tmp_path / "known_hosts"
        known_hosts.write_text(f"[127.0.0.1]:{server.get_port()} {key.export_public_key().decode()}")
        url = f"sftp://store@127.0.0.1:{server.get_port()}/integration/customerExport"
        yield SftpSource(url, Given(secret), known_hosts, tmp_path / "spool")


async def test_takes_a_password(tmp_path):
    """A secret that is no private key is the account's password; a wrong one is refused."""
    async with scripted(tmp_path, "correct horse") as source:
        async with source:
            listed = await source.list()
        assert [file.name for file in listed] == [FIRST]
        source.secret.text = "battery staple"
        with pytest.raises(VendorRefusedError) as caught:
            await source.__aenter__()
        _says_nothing_private(caught.value, source)


async def test_an_endless_listing_is_cut_off(tmp_path, monkeypatch):
    """A server that goes on listing is told as such, and not listened to any longer."""
    listed = itertools.count()

    async def scandir(self, path):
        for number in listed:
            yield asyncssh.SFTPName(b"%014d_0_members.xml" % number, b"", asyncssh.SFTPAttrs(size=1))

    monkeypatch.setattr(_Scripted, "scandir", scandir)
    monkeypatch.setattr(folders, "MAX_LISTED", 1000)
    async with scripted(tmp_path, "correct horse") as source, source:
        with pytest.raises(FeedError, match="more than 1000 entries"):
            await source.list()
    assert next(listed) < 3000


async def test_an_endless_file_is_cut_off(tmp_path):
    """A server that sends more than it listed is cut off after one piece, and nothing of it is kept."""
    _Scripted.sent_bytes = 0
    async with scripted(tmp_path, "correct horse") as source, source:
        (listed,) = await source.list()
        with pytest.raises(FeedUnreadableError, match="changed"):
            await source.fetch(listed)
    assert list((tmp_path / "spool").iterdir()) == []
    assert _Scripted.sent_bytes <= 4 * 1024 * 1024


async def test_a_cut_line_is_unreachable(tmp_path, monkeypatch):
    """A connection that is cut in the middle of a download is an outage, and nothing half-read is kept."""
    monkeypatch.setattr(_Scripted, "cuts", True)
    async with scripted(tmp_path, "correct horse") as source, source:
        (listed,) = await source.list()
        with pytest.raises(VendorUnreachableError):
            await source.fetch(listed)
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize(
    "url",
    ["https://store@ftp.example.com/x", "sftp://ftp.example.com/x", "sftp://store:pw@ftp.example.com/x", "sftp:///x"],
)
def test_refuses_another_url(tmp_path, url):
    """A URL that is not sftp://user@host/folder is a fault of the configuration; it is not repeated."""
    with pytest.raises(ConfigurationError) as caught:
        SftpSource(url, Given(""), tmp_path / "known_hosts", tmp_path / "spool")
    assert url not in str(caught.value)


def test_shows_neither_account_nor_secret(tmp_path):
    """Its repr carries neither the account nor the secret, and it can be sent to the process that reads."""
    source = SftpSource("sftp://acme@ftp.example.com/x", Given("s3cret"), tmp_path / "known_hosts", tmp_path / "spool")
    assert "acme" not in repr(source)
    assert "s3cret" not in repr(source)


def test_leaves_asyncssh_alone_until_needed():
    """Naming the source does not load asyncssh: most tills never need its 30 MiB."""
    script = (
        "import sys, agent.connectors.voyado.sftp, agent.connectors.voyado.files; sys.exit('asyncssh' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def _says_nothing_private(error, source):
    text = str(error)
    assert (source.secret.text or "sftp.key") not in text
    assert urlsplit(source.url).username not in text
    assert source._folder not in text
