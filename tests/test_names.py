"""Names to addresses, and connections to whichever answers."""

import asyncio
import socket
import subprocess
import sys
import threading
import time

import httpcore
import pytest

from agent import dialling
from agent.dialling import Dialler, why
from agent.names import Names
from tests.wire import answer, wire

V4, V6 = socket.AF_INET, socket.AF_INET6


def found(*addresses):
    """What `getaddrinfo` answers."""
    families = [V6 if ":" in address else V4 for address in addresses]
    return [
        (family, socket.SOCK_STREAM, 6, "", (address, 0)) for family, address in zip(families, addresses, strict=True)
    ]


@pytest.fixture(name="resolver")
def _resolver(monkeypatch):
    """The system's resolver, in the test's hands."""

    class Resolver:
        answer, asked = found("192.0.2.1"), 0
        released = threading.Event()

        def __call__(self, host, port, **_options):
            self.asked += 1
            assert self.released.wait(30)
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

    resolver = Resolver()
    resolver.released.set()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    return resolver


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (found("192.0.2.1"), ("192.0.2.1",)),
        (found("2001:db8::1", "192.0.2.1"), ("2001:db8::1", "192.0.2.1")),
        (
            found("2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1"),
            ("2001:db8::1", "192.0.2.1", "2001:db8::2", "2001:db8::3"),
        ),
        (found("192.0.2.1", "2001:db8::1", "2001:db8::2"), ("192.0.2.1", "2001:db8::1", "2001:db8::2")),
    ],
)
async def test_the_order_of_addresses(resolver, answer, expected):
    """The system's first comes first, then the families take turns: one that is out of order costs one attempt."""
    resolver.answer = answer

    assert await Names().addresses("vendor.example.com") == expected


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
async def test_an_address_is_its_own(resolver, address):
    """Nobody is asked about an address."""
    assert await Names().addresses(address) == (address,)
    assert resolver.asked == 0


async def test_one_question_at_a_time(resolver):
    """However many want to know, a name is asked for once; the next time it is asked for again."""
    names = Names()
    resolver.released.clear()
    waiting = [asyncio.create_task(names.addresses("vendor.example.com")) for _ in range(20)]
    await asyncio.sleep(0)
    resolver.released.set()
    assert set(await asyncio.gather(*waiting)) == {("192.0.2.1",)}
    assert resolver.asked == 1
    resolver.answer = found("192.0.2.2")
    assert await names.addresses("vendor.example.com") == ("192.0.2.2",)


async def test_who_gives_up_stops_nobody(resolver):
    """One who does not wait any longer leaves the answer to the others."""
    names = Names()
    resolver.released.clear()
    patient = asyncio.create_task(names.addresses("vendor.example.com"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await names.addresses("vendor.example.com")
    resolver.released.set()
    assert await patient == ("192.0.2.1",)


@pytest.mark.parametrize("error", [socket.gaierror(socket.EAI_AGAIN, "x"), UnicodeError("label too long")])
async def test_a_name_that_nobody_knows(resolver, error):
    """It is told to everybody who asked; also when the last of them has gone."""
    names = Names()
    resolver.answer = error
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            await names.addresses("vendor.example.com")
    resolver.released.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await names.addresses("vendor.example.com")
    resolver.released.set()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_nobody_waits_for_a_name_at_the_end(loop):
    """A program that is stopped while a name server keeps silent ends at once."""
    script = f"""
import asyncio, socket, time, {loop}
socket.getaddrinfo = lambda *_args, **_options: time.sleep(60)
from agent.names import Names
async def main():
    try:
        async with asyncio.timeout(0.1):
            await Names().addresses("vendor.example.com")
    except TimeoutError:
        print("gave up")
with asyncio.Runner(loop_factory={loop}.new_event_loop) as runner:
    runner.run(main())
"""
    before = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("gave up\n", "", 0)
    assert time.monotonic() - before < 30


class Known:
    """Names that a test knows the addresses of."""

    def __init__(self, *addresses):
        self.given = addresses

    async def addresses(self, host):
        return self.given


def dialler(*addresses):
    made = Dialler()
    made._names = Known(*addresses)
    return made


@pytest.fixture(name="hole")
def _hole():
    """An address and port that never answer: the queue of who wants to connect is full."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield full.getsockname()[1]
        for filler in fillers:
            filler.close()


async def test_an_address_that_refuses_costs_nothing(monkeypatch):
    """The next one is tried at once."""
    monkeypatch.setattr(dialling, "_NEXT_ADDRESS_S", 600.0)
    async with wire(answer(), host="127.0.0.2") as server:
        stream = await dialler("127.0.0.1", "127.0.0.2").connect_tcp("x", server.port, timeout=60)
        await stream.aclose()


async def test_an_address_that_leads_nowhere_costs_a_moment(hole):
    """The next one is tried beside it, and wins."""
    async with wire(answer(), host="127.0.0.2", port=hole) as server:
        stream = await dialler("127.0.0.1", "127.0.0.2").connect_tcp("x", hole, timeout=20)
        await stream.aclose()
    assert server.connections == 1


async def test_all_addresses_fail(hole):
    """When none answers, the reason of one that said so is told; a silent one among them takes the whole time."""
    with pytest.raises(httpcore.ConnectError) as caught:
        await dialler("127.0.0.2", "127.0.0.3").connect_tcp("x", hole, timeout=5)
    assert why(caught.value) == "it refuses connections"
    with pytest.raises(TimeoutError):
        await dialler("127.0.0.1", "127.0.0.2").connect_tcp("x", hole, timeout=0.6)


async def test_who_loses_is_hung_up_on():
    """Of two addresses that both answer, one connection is left."""
    closed = []

    class Slow(httpcore.AsyncNetworkStream):
        def __init__(self, host):
            self.host = host

        async def aclose(self):
            closed.append(self.host)

    class Both:
        async def connect_tcp(self, host, port):
            started.append(host)
            if len(started) == 2:
                both.set()
            await both.wait()
            return Slow(host)

    started, both = [], asyncio.Event()
    made = dialler("192.0.2.1", "192.0.2.2")
    made._tcp = Both()
    stream = await made.connect_tcp("x", 1, timeout=60)
    assert len(closed) == 1
    assert stream._stream.host not in closed
