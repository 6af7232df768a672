"""Two machines of a test's own and the wire between them: network namespaces, and a wire that loses what it is told to.

The wire is a pair of TUN devices whose packets pass through this process: unlike `tc netem` it needs no kernel module,
and what it loses is the same in every run.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import random
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TILL, VENDOR, OTHER, NAMES = "10.77.0.1", "10.77.0.2", "10.77.0.3", "10.77.0.53"
VENDOR_V6, NOWHERE_V6 = "fd77::2", "fd77::dead"
NAME = "vendor.test"

_TUNSETIFF, _IFF_TUN_WITHOUT_HEADER = 0x400454CA, 0x1001
_CLONE_NEWNET = 0x40000000
_A, _AAAA, _NO_SUCH_NAME, _SERVER_FAILED = 1, 28, 3, 2


@dataclass
class Wire:
    """What becomes of packets between the two machines; changed at will while they run.

    Attributes:
        loses: share of packets that vanish.
        doubles: share of packets that arrive twice.
        delay_s: most that a packet is late; each by another time, so that they overtake each other.
        hole: nothing passes at all.
        passed: packets that arrived.
        lost: packets that did not.
    """

    loses: float = 0.0
    doubles: float = 0.0
    delay_s: float = 0.0
    hole: bool = False
    passed: int = 0
    lost: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(20260214))

    def carry(self, loop: asyncio.AbstractEventLoop, packet: bytes, sink: int) -> None:
        if self.hole or self.chance.random() < self.loses:
            self.lost += 1
            return
        for _ in range(1 + (self.chance.random() < self.doubles)):
            self.passed += 1
            loop.call_later(self.chance.uniform(0, self.delay_s), _write, sink, packet)


def _write(sink: int, packet: bytes) -> None:
    with contextlib.suppress(OSError):  # the other end is down: so the packet is lost
        os.write(sink, packet)


class NameServer:
    """Answers for `vendor.test`, as a test wants.

    Attributes:
        addresses: what the name stands for.
        mood: ``well``, ``silent``, ``failing`` or ``ignorant``.
        slow_s: how long each answer takes.
        asked: questions so far.
    """

    def __init__(self) -> None:
        self.addresses: list[str] = [VENDOR]
        self.mood, self.slow_s, self.asked = "well", 0.0, 0

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        """The test is over."""

    def datagram_received(self, data: bytes, sender: tuple[str, int]) -> None:
        self.asked += 1
        if self.mood != "silent":
            asyncio.get_running_loop().call_later(self.slow_s, self._transport.sendto, self._answer(data), sender)

    def _answer(self, query: bytes) -> bytes:
        end = query.index(b"\0", 12) + 5
        kind = struct.unpack(">H", query[end - 4 : end - 2])[0]
        code = {"failing": _SERVER_FAILED, "ignorant": _NO_SUCH_NAME}.get(self.mood, 0)
        records = b""
        count = 0
        for address in self.addresses if code == 0 else ():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            if kind == (_AAAA if family == socket.AF_INET6 else _A):
                packed = socket.inet_pton(family, address)
                records += b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, len(packed)) + packed
                count += 1
        return query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, count, 0, 0) + query[12:end] + records


@dataclass
class Machines:
    """The till's machine and the vendor's.

    Attributes:
        wire: between them.
        names: the name server, at the vendor's.
        wrapper: what a command is started with to run on the till's machine.
    """

    wire: Wire
    names: NameServer
    wrapper: tuple[str, ...]
    vendor_space: str
    till_space: str

    def move(self, loop: asyncio.AbstractEventLoop) -> None:
        """Whatever that loop's thread opens from now on, it opens on the vendor's machine."""
        done = threading.Event()
        loop.call_soon_threadsafe(lambda: (_enter(self.vendor_space), done.set()))
        assert done.wait(10)

    def pull(self) -> None:
        """The till's network card has no cable any more."""
        _ip("-n", self.till_space, "link", "set", "wire", "down")

    def plug(self) -> None:
        """And has it again."""
        _ip("-n", self.till_space, "link", "set", "wire", "up")
        _routes(self.till_space)


@contextlib.contextmanager
def machines(home: Path) -> Iterator[Machines]:
    """Both machines and what is between them, while the block runs; skips the test where they cannot be made."""
    _needed()
    spaces = [f"la{os.getpid()}{side}" for side in "tv"]
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="wire", daemon=True)
    with contextlib.ExitStack() as stack:
        ends = []
        for space, mine, theirs, mine6 in zip(
            spaces, (TILL, VENDOR), (VENDOR, TILL), ("fd77::1", VENDOR_V6), strict=True
        ):
            _ip("netns", "add", space)
            stack.callback(_ip, "netns", "del", space)
            ends.append(_end(space))
            stack.callback(os.close, ends[-1])
            _ip("-n", space, "link", "set", "lo", "up")
            _ip("-n", space, "addr", "add", mine, "peer", theirs, "dev", "wire")
            _ip("-n", space, "addr", "add", f"{mine6}/64", "dev", "wire", "nodad")
            _ip("-n", space, "link", "set", "wire", "up")
        for address in (OTHER, NAMES):
            _ip("-n", spaces[1], "addr", "add", f"{address}/32", "dev", "lo")
        _routes(spaces[0])
        wire, names = Wire(), NameServer()
        for source, sink in (ends, ends[::-1]):
            loop.add_reader(source, _pass, loop, wire, source, sink)
        thread.start()
        stack.callback(loop.close)
        stack.callback(thread.join)
        stack.callback(loop.call_soon_threadsafe, loop.stop)
        resolver = home / "resolv.conf"
        resolver.write_text(f"nameserver {NAMES}\n")
        inside = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        made = Machines(
            wire, names, ("ip", "netns", "exec", spaces[0], "sh", "-c", inside, str(resolver)), *spaces[::-1]
        )
        made.move(loop)
        server, _ = asyncio.run_coroutine_threadsafe(
            loop.create_datagram_endpoint(lambda: names, local_addr=(NAMES, 53)), loop
        ).result(10)

        async def close() -> None:
            server.close()
            await asyncio.sleep(0)  # closing takes a turn of the loop

        stack.callback(lambda: asyncio.run_coroutine_threadsafe(close(), loop).result(10))
        yield made


def _needed() -> None:
    if shutil.which("ip") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("ip is missing: CI has to install iproute2")
        pytest.skip("ip is missing: install iproute2")
    if os.geteuid() != 0 or not Path("/dev/net/tun").exists():
        pytest.skip("network namespaces and TUN devices are root's")
    tried = subprocess.run(["ip", "netns", "add", f"la{os.getpid()}x"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("this machine allows no network namespaces")
    _ip("netns", "del", f"la{os.getpid()}x")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _routes(space: str) -> None:
    """From the till everything beyond the wire is the vendor's side's business."""
    for address in (OTHER, NAMES):
        _ip("-n", space, "route", "replace", address, "via", VENDOR)


def _end(space: str) -> int:
    """A TUN device called `wire` in a namespace; the descriptor at which its packets come and go."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    name = fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", b"la%d", _IFF_TUN_WITHOUT_HEADER))
    device = name[:16].rstrip(b"\0").decode()
    _ip("link", "set", device, "netns", space, "name", "wire")
    return descriptor


def _pass(loop: asyncio.AbstractEventLoop, wire: Wire, source: int, sink: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            wire.carry(loop, os.read(source, 65536), sink)


def _enter(space: str) -> None:
    """Moves the calling thread's network into a namespace."""
    descriptor = os.open(f"/run/netns/{space}", os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(descriptor)
