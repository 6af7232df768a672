"""Listeners: ports, Unix sockets, and stopping."""

import asyncio
import os
import socket
import stat

import httpx
import pytest

from agent.api.server import ListenError, Server
from agent.errors import LoyaltyAgentError


async def test_it_listens_on_every_address(open_door):
    """Each address of api.listen is served, and port 0 takes a free one."""
    async with open_door(listen=("127.0.0.1:0", "[::1]:0", "localhost:0")) as house:
        assert len(set(house.server.addresses)) >= 3
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            for address in house.server.addresses:
                assert (await client.get(f"http://{address}/healthz")).status_code == 200


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_answers_are_not_held_back(tmp_path, open_door, loop):
    """Nagle's delay is off on every connection: it would cost a cashier forty milliseconds a call."""
    factory = asyncio.new_event_loop if loop == "asyncio" else pytest.importorskip("uvloop").new_event_loop

    async def run():
        async with open_door(listen=("127.0.0.1:0", "[::1]:0")) as house:
            for address in house.server.addresses:
                await house.http.get(f"http://{address}/healthz")
            connections = [one.transport.get_extra_info("socket") for one in house.server._state.connections]
            assert len(connections) == 2
            assert all(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for one in connections)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(run())


async def test_a_unix_socket_is_open_to_owner_and_group_alone(open_door, tmp_path):
    """A Unix socket serves the same calls under any loopback name, 0660, and is gone after stopping."""
    path = tmp_path / "pos.sock"
    async with open_door(listen=("127.0.0.1:0", f"unix:{path}")) as house:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        token = house.http.headers["authorization"]
        async with httpx.AsyncClient(transport=transport, headers={"authorization": token}) as client:
            assert (await client.get("http://localhost/v1/status")).status_code == 200
            assert (await client.get("http://127.0.0.1:8787/v1/status")).status_code == 200
            assert (await client.get("http://evil.example.com/v1/status")).status_code == 421
            assert (await client.get("http://localhost/v1/status", headers={"authorization": ""})).status_code == 401
    assert not path.exists()


async def test_a_socket_left_by_a_crash_is_taken_over(open_door, tmp_path):
    """A socket file that nobody listens on any more does not keep the agent from starting."""
    path = tmp_path / "pos.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    async with open_door(listen=("127.0.0.1:0", f"unix:{path}")) as house:
        assert house.server.addresses[1] == f"unix:{path}"


@pytest.mark.parametrize("whose", ["writable", "another-user"])
async def test_a_socket_where_others_could_put_theirs_is_refused(house, tmp_path, whose):
    """Whoever may write to its directory could take its place, and be told tokens and phone numbers."""
    place = tmp_path / "run"
    place.mkdir()
    if whose == "writable":
        place.chmod(0o777)
    elif os.geteuid() == 0:
        os.chown(place, 4711, 4711)
    else:
        pytest.skip("only root can make a directory somebody else's")
    server = Server(house.door, (f"unix:{place}/pos.sock",))
    with pytest.raises(ListenError, match="somebody else's"):
        await server.start()
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("kind", ["port", "unix", "file", "directory"])
async def test_a_taken_address_is_said_so(house, tmp_path, kind):
    """An address that somebody else holds is an error that names it, and nothing stays open."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "live.sock"))
    listening.listen()
    (tmp_path / "file").write_text("kept")
    place = {
        "port": house.address,
        "unix": f"unix:{tmp_path / 'live.sock'}",
        "file": f"unix:{tmp_path / 'file'}",
        "directory": f"unix:{tmp_path / 'none' / 'pos.sock'}",
    }[kind]
    server = Server(house.door, ("127.0.0.1:0", place))
    with pytest.raises(ListenError) as refused:
        await server.start()
    listening.close()

    assert place in str(refused.value)
    assert isinstance(refused.value, LoyaltyAgentError)
    assert server.addresses == []
    assert (tmp_path / "file").read_text() == "kept"


async def test_stopping_ends_idle_connections_and_streams(open_door):
    """Stopping waits neither for idle connections nor for event streams, and nobody is answered afterwards."""
    async with open_door() as house:
        idle = await asyncio.open_connection("127.0.0.1", house.port)
        events = await asyncio.open_connection("127.0.0.1", house.port)
        events[1].write(house.request("GET", "/v1/events"))
        await events[0].readuntil(b"event: status")
        address = house.address
        async with asyncio.timeout(30):
            await house.server.stop(120.0)
        assert await idle[0].read() == b""
        await events[0].read()
        for _, writer in (idle, events):
            writer.close()
        with pytest.raises(httpx.ConnectError):
            await house.http.get(f"http://{address}/healthz")


async def test_stopping_lets_a_sale_under_way_finish(open_door, sale, monkeypatch):
    """A sale that is being taken when the agent stops is answered before the connection ends."""
    async with open_door() as house:
        entered, go = asyncio.Event(), asyncio.Event()
        accept = house.rooms.intake.accept

        async def slow(transaction, *, resolve=True):
            entered.set()
            await go.wait()
            return await accept(transaction, resolve=resolve)

        monkeypatch.setattr(type(house.rooms.intake), "accept", lambda self, *args, **how: slow(*args, **how))
        asking = asyncio.create_task(house.http.post("/v1/transactions", json=sale()))
        await entered.wait()
        stopping = asyncio.create_task(house.server.stop(10.0))
        await asyncio.sleep(0)
        go.set()
        assert (await asking).status_code == 202
        await stopping


async def test_stopping_cuts_off_what_takes_too_long(open_door, sale, monkeypatch):
    """What is still under way after the grace is cut off, and stopping ends."""
    async with open_door() as house:
        entered = asyncio.Event()

        async def endless(self, transaction, *, resolve=True):
            entered.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(type(house.rooms.intake), "accept", endless)
        asking = asyncio.create_task(house.http.post("/v1/transactions", json=sale()))
        await entered.wait()
        async with asyncio.timeout(30):
            await house.server.stop(0.1)
        (outcome,) = await asyncio.gather(asking, return_exceptions=True)
        assert isinstance(outcome, httpx.TransportError) or outcome.status_code == 500


def test_it_runs_on_uvloop(tmp_path, open_door):
    """The daemon's loop serves ports and Unix sockets as the standard one does."""
    uvloop = pytest.importorskip("uvloop")

    async def run():
        path = tmp_path / "pos.sock"
        async with open_door(listen=("127.0.0.1:0", f"unix:{path}")) as house:
            assert (await house.http.get("/v1/status")).status_code == 200
            async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as client:
                assert (await client.get("http://localhost/healthz")).status_code == 200
                assert (await client.get("http://evil.example.com/healthz")).status_code == 421

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
