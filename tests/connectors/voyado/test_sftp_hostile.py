"""An SFTP server that lies, stalls, never ends or is somebody else."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import os
import stat
from dataclasses import dataclass

import asyncssh
import pytest

from agent.connectors import folders
from agent.connectors.voyado import sftp
from agent.connectors.voyado.sftp import SftpSource
from agent.errors import FeedError, FeedUnreadableError, VendorRefusedError, VendorUnreachableError
from agent.ports import ExportFile
from tests.wire import listening

FIRST = "20260220101500_0_members.xml"
PASSWORD = "correct horse"
SIZE = 300_000


@dataclass
class Given:
    """A secret as assembly hands it over."""

    text: str
    refusals: int = 0

    def value(self):
        return self.text

    def refused(self):
        self.refusals += 1


class Server(asyncssh.SFTPServer):
    """Shows one file and sends it; a test replaces what it wants otherwise."""

    name, mode, size, mtime = FIRST, stat.S_IFREG | 0o644, SIZE, 1_771_582_500

    def attrs(self):
        return asyncssh.SFTPAttrs(size=self.size, permissions=self.mode, atime=1, mtime=self.mtime)

    def entry(self, name):
        return asyncssh.SFTPName(name.encode(), b"", self.attrs())

    async def scandir(self, path):
        yield self.entry(self.name)

    def open(self, path, pflags, attrs):
        return object()

    async def read(self, file_obj, offset, size):
        return b"x" * max(0, min(size, self.size - offset))

    def fstat(self, file_obj):
        return self.attrs()

    def close(self, file_obj):
        pass


class Accounts(asyncssh.SSHServer):
    """Takes one password, and remembers what was offered.

    Attributes:
        offered: every password that came.
    """

    offered: list[str]

    def password_auth_supported(self):
        return True

    def validate_password(self, username, password):
        self.offered.append(password)
        return (username, password) == ("store", PASSWORD)


@dataclass
class Running:
    """A server, and what a source needs to know of it."""

    port: int
    keys: list[asyncssh.SSHKey]
    offered: list[str]

    @property
    def place(self):
        return f"[127.0.0.1]:{self.port}"

    def known(self, key=None, place=None):
        """A line of known_hosts."""
        return f"{place or self.place} {(key or self.keys[0]).export_public_key().decode()}"

    def source(self, tmp_path, known_hosts=None, **changes):
        (tmp_path / "known_hosts").write_text(self.known() if known_hosts is None else known_hosts)
        url = f"sftp://store@127.0.0.1:{self.port}/integration/customerExport"
        return SftpSource(url, Given(PASSWORD), tmp_path / "known_hosts", tmp_path / "spool", **changes)


@contextlib.asynccontextmanager
async def running(behaviour=Server, kinds=("ssh-ed25519",)):
    keys = [asyncssh.generate_private_key(kind) for kind in kinds]
    offered = []
    accounts = type("Accounts", (Accounts,), {"offered": offered})
    server = await asyncssh.create_server(
        accounts, "127.0.0.1", 0, server_host_keys=keys, sftp_factory=behaviour, allow_scp=False
    )
    async with server:
        yield Running(server.get_port(), keys, offered)


# --- who it is ---------------------------------------------------------------------------------------------------


def hashed(server):
    """A line of known_hosts whose host is hashed, as `ssh-keygen -H` writes it."""
    salt = os.urandom(20)
    digest = hmac.new(salt, server.place.encode(), hashlib.sha1).digest()
    return server.known(place=f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}")


def other_kind():
    return asyncssh.generate_private_key("ecdsa-sha2-nistp256")


def other_key():
    return asyncssh.generate_private_key("ssh-ed25519")


@pytest.mark.parametrize(
    "known_hosts",
    [
        pytest.param(lambda server: server.known(), id="plain"),
        pytest.param(hashed, id="hashed"),
        pytest.param(lambda server: "# a comment\n\n" + server.known() + "\n", id="among comments"),
        pytest.param(lambda server: server.known(other_key()) + server.known(), id="two keys, one of them old"),
        pytest.param(lambda server: server.known(place=f"[127.0.0.*]:{server.port}"), id="a pattern"),
        pytest.param(lambda server: server.known(place="127.0.0.1"), id="at any port"),
        pytest.param(
            lambda server: server.known(other_kind(), place="ftp.example.com") + server.known(), id="among other hosts"
        ),
    ],
)
async def test_a_server_that_is_known(tmp_path, known_hosts):
    """Whatever form known_hosts has, the server whose key stands in it is read."""
    async with running() as server, server.source(tmp_path, known_hosts(server)) as source:
        assert [file.name for file in await source.list()] == [FIRST]


@pytest.mark.parametrize(
    "known_hosts",
    [
        pytest.param(lambda server: "", id="nothing is known"),
        pytest.param(lambda server: server.known(place="[ftp.example.com]:22"), id="known under another name"),
        pytest.param(lambda server: server.known(other_key()), id="another key"),
        pytest.param(lambda server: server.known(other_kind()), id="a key of another kind"),
        pytest.param(lambda server: "@revoked " + server.known(), id="a revoked key"),
        pytest.param(lambda server: "@revoked " + server.known() + server.known(), id="a key that was revoked later"),
        pytest.param(lambda server: "@cert-authority " + server.known(), id="an authority's key is no host's"),
    ],
)
async def test_a_server_that_is_not_known(tmp_path, known_hosts):
    """It gets no password, and the condition speaks of the host key."""
    async with running() as server:
        source = server.source(tmp_path, known_hosts(server))
        with pytest.raises(VendorRefusedError, match="host key"):
            await source.__aenter__()
        assert source.secret.refusals == 0
    assert server.offered == []


async def test_a_server_with_several_keys(tmp_path):
    """A server that has keys of several kinds is known by the one that stands in known_hosts."""
    async with running(kinds=("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa")) as server:
        for key in server.keys:
            async with server.source(tmp_path, server.known(key)) as source:
                assert len(await source.list()) == 1


async def test_a_key_that_changes_between_two_syncs(tmp_path):
    """The same address with another key is refused, and gets no password."""
    async with running() as server:
        known = server.known()
        async with server.source(tmp_path, known) as source:
            await source.list()
    async with running() as impostor:
        source = impostor.source(tmp_path, known.replace(server.place, impostor.place))
        with pytest.raises(VendorRefusedError, match="host key is not the one"):
            await source.__aenter__()
    assert impostor.offered == []


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"|1|x|y ssh-ed25519 AAAA", b"host ssh-ed25519 ====", b"one"])
async def test_known_hosts_that_say_nothing(tmp_path, content):
    """A file that is no known_hosts knows nobody: a clear refusal, and no password goes out."""
    async with running() as server:
        source = server.source(tmp_path)
        source.known_hosts.write_bytes(content)
        with pytest.raises(VendorRefusedError, match=r"host key|known_hosts"):
            await source.__aenter__()
    assert server.offered == []


# --- what it lists -----------------------------------------------------------------------------------------------


class Endless(Server):
    async def scandir(self, path):
        number = 0
        while True:
            number += 1
            yield self.entry(f"file-{number}")


async def test_a_listing_without_end(tmp_path, monkeypatch):
    """It is given up at a number of entries, exports or not."""
    monkeypatch.setattr(folders, "MAX_LISTED", 1_000)
    async with running(Endless) as server, server.source(tmp_path) as source:
        with pytest.raises(FeedError, match="more than 1000 entries"):
            await source.list()


class Stalling(Server):
    async def scandir(self, path):
        yield self.entry(self.name)
        await asyncio.Event().wait()


class Dripping(Server):
    async def scandir(self, path):
        for number in range(10_000):
            yield self.entry(f"20260220101500_{number}_members.xml")
            if number % 100 == 0:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("behaviour", [Stalling, Dripping])
async def test_a_listing_that_takes_too_long(tmp_path, behaviour):
    """The whole of a listing has a time, however it is spent."""
    async with running(behaviour) as server, server.source(tmp_path) as source:
        source.answer_timeout_s = 0.5
        with pytest.raises(VendorUnreachableError, match="in time"):
            await source.list()


@pytest.mark.parametrize(
    "name",
    [
        "../../x",
        "../20260220101500_0_members.xml",
        "/etc/20260220101500_0_members.xml",
        "20260220101500_0_../members.xml",
        "20260220101500_0_..\\..\\members.xml",
        "C:\\20260220101500_0_members.xml",
        "20260220101500_0_members.xml:stream",
        "20260220101500_0_mem\0bers.xml",
        "20260220101500_0_members.xml\n",
        "20260220101500_0_members.xml ",
        "20260220101500_0_members.xml.",
        "20260220101500_0_\u202emembers.xml",
        "CON",
        ".",
        "",
    ],
)
async def test_a_name_that_is_no_export_s(tmp_path, name):
    """Paths, devices, control characters and what else a name can be: not listed, and never near the disk."""
    odd = type("Odd", (Server,), {"name": name})
    async with running(odd) as server, server.source(tmp_path) as source:
        assert await source.list() == []
        with pytest.raises(FeedUnreadableError, match="a name that no export has"):
            await source.fetch(ExportFile(name, SIZE, folders.listed("x", 1, 1).modified_at))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["known_hosts", "spool"]


@pytest.mark.parametrize(
    "mode",
    [stat.S_IFLNK | 0o777, stat.S_IFDIR | 0o755, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK],
    ids=["link", "folder", "pipe", "character device", "block device", "socket"],
)
async def test_what_is_no_file(tmp_path, mode):
    """A link, wherever it leads, and whatever else is no file is no export, whatever it is called."""
    odd = type("Odd", (Server,), {"mode": mode})
    async with running(odd) as server, server.source(tmp_path) as source:
        assert await source.list() == []


@pytest.mark.parametrize("size", [10 << 30, 2**63, 2**64 - 1], ids=["10 GiB", "2^63", "2^64 - 1"])
async def test_a_file_that_is_too_large(tmp_path, size):
    """It is refused by what is listed: nothing of it is asked for, and nothing is written."""
    large = type("Large", (Server,), {"size": size, "open": None})
    async with running(large) as server, server.source(tmp_path) as source:
        (listed,) = await source.list()
        with pytest.raises(FeedUnreadableError, match="is larger than"):
            await source.fetch(listed)
        assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize("mtime", [0, 2**32 - 1])
async def test_a_file_of_any_age(tmp_path, mtime):
    """The earliest and the latest time that the protocol can tell are times."""
    old = type("Old", (Server,), {"mtime": mtime})
    async with running(old) as server, server.source(tmp_path) as source:
        (listed,) = await source.list()
        assert listed.modified_at.timestamp() == mtime
        await source.discard(await source.fetch(listed))


# --- what it sends -----------------------------------------------------------------------------------------------


class Growing(Server):
    """More than it listed, for ever, and more than was asked for at a time."""

    async def read(self, file_obj, offset, size):
        return b"x" * 4 * size


class Shrinking(Server):
    async def read(self, file_obj, offset, size):
        return b"x" * max(0, min(size, SIZE // 2 - offset))


@pytest.mark.parametrize("behaviour", [Growing, Shrinking])
async def test_a_file_that_is_not_what_was_listed(tmp_path, behaviour):
    """It is cut off, refused, and nothing of it stays."""
    async with running(behaviour) as server, server.source(tmp_path) as source:
        (listed,) = await source.list()
        with pytest.raises(FeedUnreadableError, match="changed"):
            await source.fetch(listed)
        assert list((tmp_path / "spool").iterdir()) == []


class StallsInTheMiddle(Server):
    async def read(self, file_obj, offset, size):
        if offset > SIZE // 2:
            await asyncio.Event().wait()
        return await super().read(file_obj, offset, size)


async def test_a_file_that_stalls(tmp_path):
    """A server that falls silent in the middle is an outage; nothing half-read stays."""
    async with running(StallsInTheMiddle) as server, server.source(tmp_path) as source:
        (listed,) = await source.list()
        source.answer_timeout_s = 0.5
        with pytest.raises(VendorUnreachableError, match="in time"):
            await source.fetch(listed)
        assert list((tmp_path / "spool").iterdir()) == []


class Crumbs(Server):
    """A byte for every question, at once: it never makes anybody wait."""

    async def read(self, file_obj, offset, size):
        await asyncio.sleep(0.001)
        return b"x"


async def test_a_file_that_drips(tmp_path, monkeypatch):
    """However diligently crumbs come, a download has a time that its size allows."""
    monkeypatch.setattr(sftp, "SLOWEST_BYTES_S", 10 * SIZE)
    async with running(Crumbs) as server, server.source(tmp_path) as source:
        (listed,) = await source.list()
        source.answer_timeout_s = 0.5
        with pytest.raises(VendorUnreachableError, match=r"too slowly|in time"):
            await source.fetch(listed)
        assert list((tmp_path / "spool").iterdir()) == []


class ClosedFile(Server):
    def open(self, path, pflags, attrs):
        raise asyncssh.SFTPPermissionDenied("store may not")


class ClosedFolder(Server):
    async def scandir(self, path):
        raise asyncssh.SFTPPermissionDenied("store may not")
        yield


async def test_a_file_that_may_not_be_read(tmp_path):
    """One closed file is named; the account as such is in order."""
    async with running(ClosedFile) as server, server.source(tmp_path) as source:
        (listed,) = await source.list()
        with pytest.raises(FeedUnreadableError, match=f"{FIRST}: may not be read"):
            await source.fetch(listed)


async def test_a_folder_that_may_not_be_read(tmp_path):
    """A closed folder is a refusal that says so."""
    async with running(ClosedFolder) as server, server.source(tmp_path) as source:
        with pytest.raises(VendorRefusedError, match="may not read the export folder"):
            await source.list()


class Failing(Server):
    async def scandir(self, path):
        raise asyncssh.SFTPFailure("store's disk is broken")
        yield


async def test_a_server_that_fails(tmp_path):
    """What the server says of itself is not repeated."""
    async with running(Failing) as server, server.source(tmp_path) as source:
        with pytest.raises(VendorUnreachableError, match="SFTPFailure") as caught:
            await source.list()
    assert "store" not in str(caught.value)


# --- what is no SSH at all ---------------------------------------------------------------------------------------


def saying(text, *, for_ever=False):
    async def handle(reader, writer):
        writer.write(text)
        while for_ever:
            await writer.drain()
            writer.write(text)
        await writer.drain()
        await reader.read()

    return handle


@pytest.mark.parametrize(
    "handle",
    [
        pytest.param(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"), id="HTTP"),
        pytest.param(saying(b"SSH-1.5-old\r\n"), id="SSH 1"),
        pytest.param(saying(b"SSH-2.0-x\r\n"), id="silence after the banner"),
        pytest.param(saying(b"SSH-2.0-x\r\n" + b"\xff" * 4096), id="nonsense after the banner"),
        pytest.param(saying(b"x" * 65536, for_ever=True), id="a banner line without end"),
        pytest.param(saying(b"hello\r\n" * 1000, for_ever=True), id="banner lines without end"),
        pytest.param(saying(b""), id="silence"),
    ],
)
async def test_what_speaks_something_else(tmp_path, handle):
    """It is an outage within the time that an answer may take; it gets no password."""
    async with listening(handle) as port:
        source = Running(port, [other_key()], []).source(tmp_path, answer_timeout_s=1.0)
        with pytest.raises(VendorUnreachableError):
            await source.__aenter__()
