"""A hostile vendor, and hostile company on the way to it, against the installed agent.

Refused with a condition that says why; memory bounded; the door answers meanwhile; nothing is written outside the
state directory; the secret goes to no other host; and what was owed is delivered once when the hostility is over.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import asyncssh
import pytest
from e2e import powercut
from e2e.shop import eventually, members
from faults import disk
from faults import line as lines
from faults.hostile import PASSWORD, OtherHost, SftpServer, watching
from faults.line import Line

from tests.authority import Authority

pytestmark = pytest.mark.slow

FEW = pytest.mark.parametrize("vendor", [40], indirect=True, ids=["few"])
MIB = 1024 * 1024
AGENT_BYTES = 160 * MIB
LOADER_BYTES = 300 * MIB
STALL_S = 30.0  # of the door: not slow, but hung


@pytest.fixture(name="other")
def _other() -> Iterator[OtherHost]:
    with OtherHost() as other:
        yield other


def outside(till) -> dict[Path, tuple[int, float]]:
    """Every file near the agent that is not in its state directory or its log."""
    near = till.home.parent
    files = [path for path in near.rglob("*") if path.is_file() and not path.is_symlink()]
    mine = [path for path in files if not path.is_relative_to(till.state) and path != till.log]
    return {path: (path.stat().st_size, path.stat().st_mtime) for path in mine}


def condition(till, code: str) -> str:
    """What a condition says; empty while it does not stand."""
    return next((one["detail"] for one in till.status()["conditions"] if one["code"] == code), "")


def settled(watch) -> None:
    """What holds whatever was tried: memory has a bound, and the door was never away for long."""
    assert watch.looks
    assert 0 < watch.agent_bytes < AGENT_BYTES
    assert watch.loader_bytes < LOADER_BYTES
    assert watch.slowest_s < STALL_S


# --- export files ------------------------------------------------------------------------------------------------

ROW = b"<member><contactId>0f6c2c52-6b0e-4a0c-9c1e-%012x</contactId><memberNumber>%d</memberNumber></member>"


def bomb(_other) -> bytes:
    """A billion laughs."""
    levels = b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 10))
    return b'<!DOCTYPE contacts [<!ENTITY l0 "lol">' + levels + b"]><contacts><new>&l9;</new></contacts>"


def quadratic(_other) -> bytes:
    """One long entity, many times."""
    return b'<!DOCTYPE contacts [<!ENTITY a "' + b"x" * 60_000 + b'">]><contacts>' + b"&a;" * 50_000 + b"</contacts>"


def entity(other) -> bytes:
    """Another host's page and this machine's users, as parts of a contact."""
    return (
        f'<!DOCTYPE contacts [<!ENTITY p SYSTEM "file:///etc/passwd"><!ENTITY u SYSTEM "{other.url}/x">]>'
        "<contacts><new><member><memberNumber>&p;&u;</memberNumber></member></new></contacts>"
    ).encode()


def doctype(other) -> bytes:
    """A document type that another host keeps."""
    return f'<!DOCTYPE contacts SYSTEM "{other.url}/contacts.dtd"><contacts/>'.encode()


def late_doctype(other) -> bytes:
    """The same behind more blanks than anybody looks at."""
    return b" " * 200_000 + doctype(other)


def included(other) -> bytes:
    """An instruction to fetch something, and one to include it."""
    return (
        f'<?xml-stylesheet href="{other.url}/x.xsl"?><contacts xmlns:xi="http://www.w3.org/2001/XInclude">'
        f'<new><xi:include href="{other.url}/x.xml"/><member/></new></contacts>'
    ).encode()


def deep(_other) -> bytes:
    """A million elements in each other."""
    return b"<contacts><new><member>" + b"<a>" * 1_000_000


def many(_other) -> bytes:
    """More contacts than Engage puts into a file, in as few bytes as can be."""
    return b"<contacts><new>" + b"".join(ROW % (n, n) for n in range(300_000)) + b"</new></contacts>"


def names(_other) -> bytes:
    """A new element name for every value."""
    return b"<contacts><new>" + b"".join(b"<member><f%d/></member>" % n for n in range(200_000)) + b"</new></contacts>"


FILES: dict[str, tuple[Callable[[OtherHost], bytes], str]] = {
    "an XML bomb": (bomb, "DOCTYPE"),
    "a quadratic bomb": (quadratic, "DOCTYPE"),
    "an external entity": (entity, "DOCTYPE"),
    "an external DTD": (doctype, "DOCTYPE"),
    "a DTD far behind": (late_doctype, "another document element"),
    "an inclusion": (included, ""),  # means nothing to the parser: read as an export without contacts
    "depth": (deep, "record of more than"),
    "too many contacts": (many, "more than 250000 contacts"),
    "too many names": (names, "different names"),
    "UTF-16": (lambda _: "<contacts/>".encode("utf-16"), "not UTF-8"),
    "a web page": (lambda _: b"<html><body>Sign in</body></html>", "web page"),
    "gzip": (lambda _: b"\x1f\x8b\x08\x00" + b"\0" * 1000, "not UTF-8"),
    "half a file": (lambda _: b"<contacts><new>" + ROW % (1, 1), "ends before"),
    "nothing": (lambda _: b"", "empty"),
}


@FEW
def test_hostile_export_files(vendor, open_till, other):
    """Each is refused with its reason and nothing of it is applied; without it the next sync goes on."""
    till = open_till(replica={"contents": "contacts", "fields": ["first_name", "city"]}).start()
    eventually(till.loaded)
    before = (till.status()["replica"]["contacts"], outside(till))
    with watching(till) as watch:
        for number, (name, (make, says)) in enumerate(FILES.items()):
            path = vendor.exports / f"20991231{number:06}_0_hostile.xml"
            path.write_bytes(make(other))
            os.utime(path, (time.time() - 3600,) * 2)
            till.order("sync")
            if says:
                told = eventually(
                    lambda name=path.name: (
                        name in condition(till, "feed.unreadable") and condition(till, "feed.unreadable")
                    )
                )
                assert says in told, name
                assert till.status()["replica"]["contacts"] == before[0], name
            else:
                eventually(lambda name=path.name: name in {row["file"] for row in till.logged("feed.applied")})
            path.unlink()
            till.sync()
            assert "feed.unreadable" not in till.conditions(), name
    settled(watch)

    assert other.connections == 0
    assert {path: state for path, state in outside(till).items() if path.parent != vendor.exports} == {
        path: state for path, state in before[1].items() if path.parent != vendor.exports
    }
    assert till.logged("loop.failed") == []


@FEW
def test_what_lies_in_the_folder_and_is_no_file(vendor, open_till):
    """Ten gigabytes are refused by their size; links, pipes and odd names are passed by; the disk stays as it is."""
    till = open_till().start()
    eventually(till.loaded)
    secret = till.home / "secret.xml"
    secret.write_bytes(b"<contacts><new>" + ROW % (9, 9) + b"</new></contacts>")
    (vendor.exports / "20991231000000_0_link.xml").symlink_to(secret)
    (vendor.exports / "20991231000001_0_etc.xml").symlink_to("/etc")
    os.mkfifo(vendor.exports / "20991231000002_0_pipe.xml")
    odd_names = (b"20991231000003_0_\xff.xml", b"20991231000003_0_a\nb.xml", b"..\\..\\x", b"CON", b"-rf")
    odd = [Path(os.fsdecode(os.fsencode(vendor.exports) + b"/" + name)) for name in odd_names]
    for path in odd:
        path.write_bytes(b"<contacts/>")
    large = vendor.exports / "20991231000004_0_large.xml"
    with large.open("wb") as file:
        file.truncate(10 << 30)
    os.utime(large, (time.time() - 3600,) * 2)
    contacts = till.status()["replica"]["contacts"]
    with watching(till) as watch:
        till.order("sync")
        told = eventually(lambda: condition(till, "feed.unreadable"))
    settled(watch)

    assert told.endswith(f"({large.name}: is larger than {64 * MIB} bytes)")
    assert till.status()["replica"]["contacts"] == contacts
    assert not any((till.state / "spool").glob("*"))
    large.unlink()
    till.sync()
    assert "2 files: the name is no export's" in condition(till, "feed.unreadable")
    for path in odd:
        path.unlink()
    till.sync()
    assert till.conditions() == set()
    assert till.status()["replica"]["contacts"] == contacts
    assert [row["file"] for row in till.logged("feed.applied") if row["file"].startswith("2099")] == []


# --- the SFTP server ---------------------------------------------------------------------------------------------


class Served(asyncssh.SFTPServer):
    """Lists ``files``, name and bytes; a test replaces what it wants otherwise."""

    files: dict[str, bytes] = {}  # noqa: RUF012 - a test makes a class of its own
    sizes: dict[str, int] = {}  # noqa: RUF012 - see files

    def attrs(self, name):
        size = self.sizes.get(name, len(self.files.get(name, b"")))
        return asyncssh.SFTPAttrs(size=size, permissions=stat.S_IFREG | 0o644, atime=1, mtime=1_771_582_500)

    async def scandir(self, path):
        for name in {**self.files, **self.sizes}:
            yield asyncssh.SFTPName(name.encode(), b"", self.attrs(name))

    def open(self, path, pflags, attrs):
        return path.decode().rpartition("/")[2]

    async def read(self, file_obj, offset, size):
        return self.files[file_obj][offset : offset + size]

    def fstat(self, file_obj):
        return self.attrs(file_obj)

    def close(self, file_obj):
        pass


def export(*numbers: int) -> bytes:
    return b"<contacts><new>" + b"".join(ROW % (number, number) for number in numbers) + b"</new></contacts>"


FIRST = "20260220101500_0_members.xml"
ODD_NAMES = ("../../x", "../20260220101501_0_x.xml", "/etc/20260220101501_0_x.xml", "20260220101501_0_x.xml\n", "x\0y")


class OddNames(Served):
    files = {FIRST: export(1, 2, 3), **dict.fromkeys(ODD_NAMES, export(4))}  # noqa: RUF012 - constant


class Large(Served):
    files = {FIRST: export(1, 2, 3)}  # noqa: RUF012 - constant
    sizes = {"20260220101501_1_members.xml": 10 << 30}  # noqa: RUF012 - constant


class Growing(Served):
    files = {FIRST: export(1, 2, 3), "20260220101501_1_members.xml": export(4)}  # noqa: RUF012 - constant

    async def read(self, file_obj, offset, size):
        return await super().read(file_obj, offset, size) if file_obj == FIRST else b" " * size


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        pytest.param(OddNames, "", id="names that lead elsewhere"),
        pytest.param(Large, "is larger than", id="a file of 10 GiB"),
        pytest.param(Growing, "has changed since it was listed", id="a file that never ends"),
    ],
)
def test_a_hostile_sftp_server(vendor, open_till, tmp_path, behaviour, says):
    """What can be applied is; the rest is refused with its reason, and nothing lies anywhere but in the replica."""
    with SftpServer(behaviour) as server:
        till = open_till(voyado=server.settings(tmp_path), replica={"sync_every": "1s"})
        before = outside(till)
        till.start()
        with watching(till) as watch:
            eventually(lambda: till.logged("feed.applied"))
            if says:
                assert says in eventually(lambda: condition(till, "feed.unreadable"))
        settled(watch)
        assert [row["count"] for row in till.logged("feed.applied")] == [3]
        assert set(server.offered) == {PASSWORD}
        assert till.conditions() == ({"feed.unreadable"} if says else set())
        till.stop()

    assert outside(till) == before
    assert not any((till.state / "spool").iterdir())
    assert not any(path.name == "x" for path in tmp_path.rglob("*"))


class Vast(Served):
    """Three exports of 20 MiB, a hundred contacts each."""

    files = {  # noqa: RUF012 - constant
        f"2026022010150{number}_{number}_members.xml": export(*range(number * 100, number * 100 + 100)).replace(
            b"</member>", b"<n>" + b" " * 200_000 + b"</n></member>"
        )
        for number in range(3)
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is root's to make")
def test_an_export_larger_than_the_disk(vendor, open_till, tmp_path):
    """It is refused before the disk is full, sales are kept all the while, and with more room it is read."""
    path = tmp_path / "disk"
    free = []
    with disk.small(path, "100m"), SftpServer(Vast) as server:
        till = open_till(
            voyado=server.settings(tmp_path),
            agent={"state_dir": str(path)},
            queue={"reserve_bytes": "16MiB"},
            replica={"sync_every": "1s"},
        ).start()
        with watching(till, also=lambda: free.append(shutil.disk_usage(path).free)) as watch:
            told = eventually(lambda: condition(till, "feed.silent"))
            assert "there is no room on the disk for another export file" in told
            for number in range(5):
                sold = till.sell(f"s-{number}", identifier={"type": "mobile_phone", "value": "+46701740698"})
                assert sold.status_code == 202
        settled(watch)
        assert min(free) > 64 * MIB
        assert "storage.full" not in till.conditions()
        disk.resize(path, "500m")
        eventually(lambda: till.loaded(300))
        eventually(lambda: "feed.silent" not in till.conditions())
        eventually(till.drained)
        till.stop()
    assert set(vendor.posts()) == {f"s-{number}" for number in range(5)}


def test_an_sftp_server_that_is_another(vendor, open_till, tmp_path):
    """Another key at the same address: the condition says so at once, no password goes out, contacts stay."""
    with SftpServer(OddNames) as server:
        settings = server.settings(tmp_path)
        till = open_till(voyado=settings).start()
        eventually(lambda: till.loaded(3))
        port = server.port
    with SftpServer(OddNames, port) as impostor:
        till.order("sync")
        told = eventually(lambda: condition(till, "feed.silent"))
        assert "host key is not the one in the known_hosts file" in told
        assert till.status()["replica"]["contacts"] == 3
        assert impostor.offered == []


# --- the API -----------------------------------------------------------------------------------------------------


def without_end(head: bytes, piece: bytes):
    """Sends a head, then the same piece until the agent has had enough; counts nothing, and never more than 3 GiB."""

    async def fault(exchange) -> None:
        await exchange.body()
        await exchange.send(b"HTTP/1.1 " + head)
        for _ in range((3 << 30) // len(piece)):
            await exchange.send(piece)

    return fault


def dripping(head: bytes):
    """A byte now and then, for ever."""

    async def fault(exchange) -> None:
        await exchange.body()
        await exchange.send(b"HTTP/1.1 " + head)
        while True:
            await exchange.send(b" ")
            await asyncio.sleep(0.2)

    return fault


OK = b"200 OK\r\ncontent-type: application/json\r\n"
ANSWERS = {
    "2 GiB of JSON, announced": without_end(OK + b"content-length: 2147483648\r\n\r\n[", b'"a",' * 16384),
    "2 GiB of JSON, in chunks": without_end(
        OK + b"transfer-encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65536 + b"\r\n"
    ),
    "2 GiB until the end": without_end(OK + b"\r\n[", b'"a",' * 16384),
    "crumbs": without_end(OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 8192),
    "headers": without_end(OK, b"x: y\r\n" * 8192),
    "a header": without_end(OK + b"x: ", b"y" * 65536),
    "hints": without_end(b"103 Early Hints\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2048),
    "trailers": without_end(OK + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n" * 8192),
    "a drip": dripping(OK + b"content-length: 1000\r\n\r\n"),
    "a drip of headers": dripping(b"200 OK\r\nx: "),
    "a gzip bomb": lines.replaced(
        b"HTTP/1.1 " + OK + b"content-encoding: gzip\r\ncontent-length: 3\r\n\r\n\x1f\x8b\x08"
    ),
    "a date of another age": lines.replaced(
        b"HTTP/1.1 503 X\r\ndate: Fri, 20 Nov 99999999999999999999 09:00:00 +99999999999999999999\r\n"
        b"content-length: 0\r\n\r\n"
    ),
}
SWELLING = {
    "a million empty lists": lines.replaced(
        b"HTTP/1.1 " + OK + b"content-length: 1000001\r\n\r\n[" + b"[]," * 333_332 + b"[]  "
    ),
    "depth": lines.replaced(b"HTTP/1.1 " + OK + b"content-length: 1000000\r\n\r\n" + b"[" * 1_000_000),
    "a long number": lines.replaced(b"HTTP/1.1 " + OK + b"content-length: 100000\r\n\r\n" + b"9" * 100_000),
}


@FEW
@pytest.mark.parametrize("feed", ["file", "api"])
def test_hostile_answers(vendor, open_till, feed):
    """Each is given up in bounded time and memory; sales wait and are delivered once, look-ups find nobody."""
    with Line(vendor.server.port) as line:
        voyado = {"base_url": line.url, **({"feed": "api"} if feed == "api" else {})}
        till = open_till(voyado=voyado, loyalty={"live_lookup_budget": "500ms"}).start()
        eventually(till.loaded)
        alma = members(vendor, 1)[0].value("memberNumber")
        contacts = till.status()["replica"]["contacts"]
        sold = []
        with watching(till) as watch:
            for number, (name, answer) in enumerate((ANSWERS | SWELLING).items()):
                # JSON is a whole answer, whatever it says: to a delivery it would mean that it arrived.
                line.spoil("" if name in ANSWERS else "/contacts", always=answer)
                asked = sum(line.asked.values())
                till.sell(f"s-{number}", identifier={"type": "member_number", "value": alma})
                sold.append(f"s-{number}")
                assert till.identify("mobile_phone", "+46701740698")["outcome"] == "unknown", name
                if feed == "api":
                    till.order("sync")
                eventually(lambda asked=asked: sum(line.asked.values()) > asked + 2)
                if name in ANSWERS:
                    eventually(lambda: till.status()["state"] == "offline")
                assert till.status()["queue"]["parked"] == 0, name
                line.spoil("")
                till.order("flush")
                eventually(till.drained)
        settled(watch)

        assert vendor.held() == dict.fromkeys(sold, 1)
        assert till.logged("delivery.failed") == till.logged("loop.failed") == till.logged("request.failed") == []
        eventually(lambda: till.status()["replica"]["loading"] is None)
        assert till.status()["replica"]["contacts"] == contacts


@FEW
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host(vendor, open_till, other, status):
    """Nobody is followed anywhere: the other host hears nothing, of deliveries, look-ups and the feed alike."""
    answer = f"HTTP/1.1 {status} X\r\nlocation: {other.url}/api\r\ncontent-length: 0\r\n\r\n".encode()
    with Line(vendor.server.port) as line:
        till = open_till(voyado={"base_url": line.url, "feed": "api"}).start()
        eventually(till.loaded)
        line.spoil("", always=lines.replaced(answer))
        alma = members(vendor, 1)[0].value("memberNumber")
        till.sell("s-1", identifier={"type": "member_number", "value": alma})
        till.identify("mobile_phone", "+46701740698")
        till.order("sync")
        eventually(lambda: {"/api/v3/receipts", "/api/v3/contacts/id", "/api/v3/contacts/changes"} <= set(line.asked))
        eventually(lambda: till.status()["state"] == "offline")
        told = condition(till, "vendor.offline")
        assert f"answered {status}" in told or "Something else than the vendor answered" in told
        line.spoil("")
        eventually(till.drained)

    assert other.connections == 0
    assert vendor.held() == {"s-1": 1}


CERTIFICATES = {
    "another name": ({"names": ("other.example.com",)}, "its certificate is for another name"),
    "expired": ({"names": ("127.0.0.1",), "ends": timedelta(seconds=-1)}, "its certificate has expired"),
    "not yet valid": ({"names": ("127.0.0.1",), "begins": timedelta(hours=1)}, "its certificate is not valid yet"),
    "self-signed": ({"names": ("127.0.0.1",), "self_signed": True}, "its certificate is self-signed"),
    "somebody else's": ({"names": ("127.0.0.1",), "other": True}, "nobody whom this till trusts"),
}


@FEW
@pytest.mark.parametrize("kind", CERTIFICATES)
def test_a_certificate_that_will_not_do(vendor, open_till, tmp_path, kind):
    """The condition names what is wrong with it, and no secret is said; with the right one everything goes out."""
    changes, says = CERTIFICATES[kind]
    changes = dict(changes)
    authority, stranger = Authority(tmp_path / "ca"), Authority(tmp_path / "stranger", "Another Authority")
    wrong = (stranger if changes.pop("other", False) else authority).issue(*changes.pop("names"), **changes)
    with Line(vendor.server.port, wrong) as line:
        # A handshake that a slow machine takes long for would be another reason.
        http = {"ca_file": str(authority.pem), "connect_timeout": "60s", "read_timeout": "60s"}
        till = open_till(voyado={"base_url": line.url}, http=http).start()
        eventually(till.loaded)  # of files, without the API
        alma = members(vendor, 1)[0].value("memberNumber")
        till.sell("s-1", identifier={"type": "member_number", "value": alma})
        told = eventually(lambda: condition(till, "vendor.offline"))
        assert says in told
        assert told.endswith(")")
        assert "(voyado: cannot be reached: " in told
        assert till.status()["state"] == "offline"
        assert says in till.logged("line.changed")[-1]["reason"]
        assert line.asked == {}  # not a word of HTTP, and so no key
        line.present(authority.issue("127.0.0.1"))
        eventually(till.drained)

    assert vendor.held() == {"s-1": 1}
    assert till.conditions() == set()


@FEW
def test_nothing_is_written_elsewhere(vendor, open_till, tmp_path, other):
    """Traced call by call: whatever the vendor sends, every file made or changed lies in the state directory."""
    with SftpServer(OddNames) as server, Line(vendor.server.port) as line:
        traces = tmp_path / "traces"
        till = open_till(voyado={**server.settings(tmp_path), "base_url": line.url})
        till.start(wrapper=powercut.wrapper(traces))
        eventually(lambda: till.loaded(3))
        alma = members(vendor, 1)[0].value("memberNumber")
        for name, answer in (("s-1", ANSWERS["2 GiB until the end"]), ("s-2", ANSWERS["a gzip bomb"])):
            line.spoil("", always=answer)
            till.sell(name, identifier={"type": "member_number", "value": alma})
            eventually(lambda name=name: till.transaction(name)["deliveries"][0]["attempts"])
            line.spoil("")
            eventually(till.drained)
        till.kill()

    written = set()
    for trace in traces.iterdir():
        for call in trace.read_text("ascii").splitlines():
            written |= set(_made_or_changed(call))
    strange = {
        path
        for path in written
        if not Path(path).is_relative_to(till.state) and "/__pycache__/" not in path and not path.startswith("/dev/")
    }
    assert any(path.startswith(str(till.state / "spool")) for path in written)
    assert strange == set()
    assert vendor.held() == {"s-1": 1, "s-2": 1}


def _made_or_changed(call: str) -> Iterator[str]:
    """The paths that a traced call makes or opens for writing."""
    match = re.match(r"[0-9.]+ (\w+)\((.*)\) = [0-9]+", call)
    if match is None:
        return
    name, arguments = match.groups()
    if name == "openat" and not re.search(r"O_WRONLY|O_RDWR|O_CREAT", arguments):
        return
    if name in ("openat", "creat", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "link", "linkat", "symlink"):
        for text in re.findall(r'"((?:\\x[0-9a-f]{2})*)"', arguments):
            yield bytes.fromhex(text.replace("\\x", "")).decode()
