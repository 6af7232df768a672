"""Unix users who need no token: known by the kernel's word, on a socket alone, and nobody else."""

import asyncio
import grp
import json
import os
import pwd
import socket
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from agent.api import peers
from agent.api.peers import NOBODY, Peer, SocketUsers, peer_of

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
ME = pwd.getpwuid(os.geteuid()).pw_name
MY_GROUP = grp.getgrgid(os.getegid()).gr_name
ASK = """
import json, os, socket, sys
path, uid, gid, groups, call = sys.argv[1], *(json.loads(word) for word in sys.argv[2:5]), sys.argv[5]
os.setgroups(groups)
os.setgid(gid)
os.setuid(uid)
with socket.socket(socket.AF_UNIX) as line:
    line.connect(path)
    line.sendall(f"{call} HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n".encode())
    print(line.recv(65536).split(b" ")[1].decode())
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def token(users, peer):
    found = SocketUsers(users, NOW).token(peer)
    return found and (found.name, found.scope)


@pytest.mark.parametrize(
    ("users", "peer", "found"),
    [
        pytest.param({"1001": "pos"}, Peer(1001, frozenset({1001})), ("unix:1001", "pos"), id="a-user"),
        pytest.param({"1001": "pos"}, Peer(1002, frozenset({1001})), None, id="not-by-a-group-of-that-number"),
        pytest.param({"@1001": "pos"}, Peer(1001, frozenset({1002})), None, id="not-by-a-user-of-that-number"),
        pytest.param({"@50": "pos"}, Peer(7, frozenset({7, 50})), ("unix:@50:7", "pos"), id="a-further-group"),
        pytest.param(
            {"@50": "pos", "@60": "admin"},
            Peer(7, frozenset({50, 60})),
            ("unix:@60:7", "admin"),
            id="the-most-of-groups",
        ),
        pytest.param(
            {"7": "pos", "@60": "admin"}, Peer(7, frozenset({60})), ("unix:7", "pos"), id="the-user-before-the-group"
        ),
        pytest.param({"root": "admin"}, Peer(0, frozenset({0})), ("unix:root", "admin"), id="by-name"),
        pytest.param({"@root": "pos"}, Peer(9, frozenset({0})), ("unix:@root:9", "pos"), id="by-group-name"),
        pytest.param({"nosuchuser": "pos"}, Peer(0, frozenset({0})), None, id="an-unknown-name"),
        pytest.param({"@nosuchgroup": "pos"}, Peer(0, frozenset({0})), None, id="an-unknown-group"),
        pytest.param({str(NOBODY): "pos"}, Peer(NOBODY, frozenset()), None, id="whom-the-kernel-cannot-name"),
        pytest.param({f"@{NOBODY}": "pos"}, Peer(7, frozenset({NOBODY})), None, id="a-group-it-cannot-name"),
        pytest.param({"1001": "pos"}, None, None, id="on-a-port"),
    ],
)
def test_who_needs_no_token(users, peer, found):
    """Whom the configuration names, by user or group, and nobody of a similar number."""
    assert token(users, peer) == found


def test_a_changed_overflow_number_is_nobody_either(monkeypatch):
    """Another number that stands for whoever cannot be named is not let in."""
    monkeypatch.setattr(peers, "_overflow_ids", lambda: [4242])
    assert token({"4242": "admin"}, Peer(4242, frozenset())) is None


def test_a_peer_is_told_from_the_kernel():
    """User and groups of whoever connected; a port tells nothing."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        peer = peer_of(ours)
    assert peer.uid == os.geteuid()
    assert peer.gids >= {os.getegid(), *os.getgroups()}
    with socket.socket() as port:
        assert peer_of(port) is None
    assert peer_of(None) is None


@pytest.mark.parametrize(
    ("users", "status", "admins"),
    [
        pytest.param({ME: "pos"}, 200, 403, id="user-pos"),
        pytest.param({ME: "admin"}, 200, 200, id="user-admin"),
        pytest.param({f"@{MY_GROUP}": "pos"}, 200, 403, id="group-pos"),
        pytest.param({"4711": "admin"}, 401, 401, id="another"),
        pytest.param({}, 401, 401, id="nobody"),
    ],
)
async def test_on_a_socket_a_named_user_calls_without_a_token(open_door, tmp_path, users, status, admins):
    """With the scope that is configured; a token that is sent decides alone; on a port nothing changes."""
    path = tmp_path / "pos.sock"
    async with open_door(listen=("127.0.0.1:0", f"unix:{path}"), socket_users=users) as house:
        assert oct(path.stat().st_mode)[-3:] == ("666" if users else "660")
        async with httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url="http://localhost"
        ) as caller:
            assert (await caller.get("/v1/status")).status_code == status
            assert (await caller.get("/v1/queue")).status_code == admins
            wrong = {"authorization": "Bearer wrong"}
            assert (await caller.get("/v1/status", headers=wrong)).json()["code"] == "token.invalid"
            assert (await caller.get("/v1/status", headers={"authorization": "Basic x"})).status_code == 401
            pos = {"authorization": house.http.headers["authorization"]}
            assert (await caller.get("/v1/queue", headers=pos)).status_code == 403
            evil = {"host": "evil.example.com"}
            assert (await caller.get("/v1/status", headers=evil)).status_code == 421
        async with httpx.AsyncClient(trust_env=False, verify=False) as caller:
            assert (await caller.get(f"{house.http.base_url}/v1/status")).status_code == 401


async def test_a_named_user_has_one_ration(open_door, tmp_path):
    """Connections do not add up: whoever needs no token is rationed as a token is."""
    path = tmp_path / "pos.sock"
    who = {"identifier": {"type": "email", "value": "nobody@example.com"}}
    async with open_door(
        listen=("127.0.0.1:0", f"unix:{path}"), socket_users={ME: "pos"}, misses="1/h", hits="1/h"
    ) as house:
        told = []
        for _ in range(22):
            async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as caller:
                told.append((await caller.post("http://localhost/v1/contacts/identify", json=who)).status_code)
        assert told == [200] * 20 + [429] * 2
        assert (await house.http.post("/v1/contacts/identify", json=who)).status_code == 200


async def test_an_event_stream_of_a_named_user_goes_on(open_door, tmp_path):
    """There is no token that could be revoked: what tokens do ends nothing here."""
    path = tmp_path / "pos.sock"
    async with (
        open_door(listen=("127.0.0.1:0", f"unix:{path}"), socket_users={ME: "pos"}, heartbeat_s=0.2) as house,
        asyncio.timeout(30),
        httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as caller,
        caller.stream("GET", "http://localhost/v1/events") as stream,
    ):
        heard = stream.aiter_text()
        assert "event: status" in await anext(heard)
        house.tokens.revoke("pos")
        house.clock.mono += 1.0
        for _ in range(5):  # a second: longer than it takes to notice a token that is gone
            assert "event: heartbeat" in await anext(heard)


@pytest.fixture
def open_to_all():
    """A directory that others may pass through; pytest's own are closed to them."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield name


def asked_as(path, uid, gid, groups, call):
    """The status that another Unix user gets, or 0 where the kernel refuses."""
    words = [path, *(json.dumps(word) for word in (uid, gid, groups)), call]
    answer = subprocess.run(
        [sys.executable, "-c", ASK, *words], capture_output=True, text=True, timeout=60, check=False
    )
    if "PermissionError" in answer.stderr:
        return 0
    assert answer.returncode == 0, answer.stderr
    return int(answer.stdout)


@needs_root
@pytest.mark.parametrize(
    ("users", "uid", "gid", "groups", "status"),
    [
        pytest.param({}, 4001, 4001, [], 0, id="a-stranger-where-nobody-is-named"),
        pytest.param({"4001": "pos"}, 4001, 4001, [], 200, id="named"),
        pytest.param({"4001": "pos"}, 4002, 4001, [], 401, id="a-stranger"),
        pytest.param({"@4009": "pos"}, 4002, 4002, [4009], 200, id="in-a-named-group"),
        pytest.param({"@4009": "pos"}, 4002, 4009, [], 200, id="a-named-group-as-the-own"),
        pytest.param({"@4009": "pos"}, 4009, 4002, [], 401, id="a-user-of-the-groups-number"),
        pytest.param({"4001": "pos"}, NOBODY, NOBODY, [], 401, id="nobody"),
    ],
)
async def test_another_local_user(open_door, open_to_all, *, users, uid, gid, groups, status):
    """Attack: another user of the machine at the socket. The kernel says who it is, and only named ones come in."""
    path = f"{open_to_all}/pos.sock"
    async with open_door(listen=("127.0.0.1:0", f"unix:{path}"), socket_users=users):
        assert await asyncio.to_thread(asked_as, path, uid, gid, groups, "GET /v1/status") == status
