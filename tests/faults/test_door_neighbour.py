"""Another user of the same machine: reads nothing, calls nothing, takes no port and no socket of the agent's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from e2e.shop import eventually, sale
from faults.door import Door, besieged

NEIGHBOUR = 4711
TRY = """
import json, os, signal, socket, sys
told = json.loads(sys.argv[1])
os.setgroups([])
os.setgid(told["uid"])
os.setuid(told["uid"])

def attempt(what):
    try:
        return f"done: {what()!r}"[:200]
    except OSError as error:
        return type(error).__name__

def bind(option):
    with socket.socket() as taking:
        taking.setsockopt(socket.SOL_SOCKET, option, 1)
        taking.bind(("127.0.0.1", told["port"]))
        taking.listen()

def connect(path):
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(path)

def put_in_place(path):
    os.unlink(path)
    socket.socket(socket.AF_UNIX).bind(path)

got = {path: attempt(lambda: open(path, "rb").read(1)) for path in told["files"]}
got |= {path: attempt(lambda: os.listdir(path)) for path in told["directories"]}
got |= {f"write {path}": attempt(lambda: open(path, "ab")) for path in told["files"]}
got |= {f"/proc/{name}": attempt(lambda: open(f"/proc/{told['pid']}/{name}", "rb").read(1)) for name in
        ("environ", "mem", "maps", "stack")}
got["/proc/fd"] = attempt(lambda: os.listdir(f"/proc/{told['pid']}/fd"))
got["kill"] = attempt(lambda: os.kill(told["pid"], signal.SIGTERM))
got["take the port"] = attempt(lambda: bind(socket.SO_REUSEADDR))
got["share the port"] = attempt(lambda: bind(socket.SO_REUSEPORT))
got["socket"] = attempt(lambda: connect(told["socket"]))
got["take the socket"] = attempt(lambda: put_in_place(told["socket"]))
print(json.dumps(got))
"""
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture(name="door", scope="module")
def _door() -> Iterator[Door]:
    """A door whose surroundings are open to everybody, so that the agent's own modes alone protect it."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        home.chmod(0o755)
        (home / "run").mkdir(mode=0o755)
        with besieged(home / "shop", members=5, socket=f"{home}/run/pos.sock") as door:
            yield door


def test_another_user_gets_at_nothing(door):
    """Attack: reading or writing what the agent keeps or holds, its port, its socket, its process."""
    state = door.till.state
    door.till.sell("n-1", identifier={"type": "mobile_phone", "value": door.member})
    files = [str(path) for path in state.rglob("*") if path.is_file()]
    assert {"outbox.db", "replica.db", "storage.key", "tokens.json", "cli.token"} <= {Path(path).name for path in files}
    told = {
        "uid": NEIGHBOUR, "pid": door.pid, "port": door.port, "socket": str(door.till.home.parent / "run/pos.sock"),
        "files": files, "directories": [str(state), *(str(path) for path in state.rglob("*") if path.is_dir())],
    }  # fmt: skip
    tried = subprocess.run(
        [sys.executable, "-c", TRY, json.dumps(told)], capture_output=True, text=True, timeout=60, check=True
    )
    got = json.loads(tried.stdout)

    assert len(got) == 2 * len(files) + len(told["directories"]) + 10
    port = {name: got.pop(name) for name in ("take the port", "share the port")}
    assert set(port.values()) == {"OSError"}  # EADDRINUSE
    assert {name: spoil for name, spoil in got.items() if spoil != "PermissionError"} == {}
    assert door.token not in Path(f"/proc/{door.pid}/cmdline").read_text()
    assert door.till.identify("mobile_phone", door.member)["outcome"] == "matched"


def test_another_user_without_a_token_is_nobody(door):
    """Attack: calling from the machine itself. Being here is no right: every call but the open pages needs a token."""
    refused = 0
    with httpx.Client(base_url=f"http://127.0.0.1:{door.port}", trust_env=False, timeout=30) as bare:
        for path, methods in bare.get("/openapi.json").json()["paths"].items():
            for method in methods:
                if path.startswith("/v1/"):
                    answer = bare.request(method, path.replace("{", "").replace("}", ""), json={})
                    assert (answer.status_code, answer.json()["code"]) == (401, "token.missing"), path
                    refused += 1
    assert refused > 10


def test_an_open_event_stream_ends_when_its_token_is_revoked(door):
    """Attack: a token that was copied keeps listening. When it is revoked its stream is over; others go on."""
    added = door.till.command("token", "add", "copied", "--scope", "pos", "--json")
    copied = {"Authorization": f"Bearer {json.loads(added.stdout)['token']}"}
    eventually(lambda: door.till.http.get("/v1/status", headers=copied).status_code == 200)
    with (
        door.till.http.stream("GET", "/v1/events") as mine,
        door.till.http.stream("GET", "/v1/events", headers=copied) as theirs,
    ):
        heard, rest = mine.iter_lines(), theirs.iter_lines()
        assert next(heard) == next(rest) == "event: status"
        assert door.till.command("token", "revoke", "copied").returncode == 0
        began = time.monotonic()
        for _ in rest:
            assert time.monotonic() < began + 30.0, "it goes on"
        door.till.sell("n-2")  # a change, which the other listener hears of
        while next(heard) != "event: status":
            pass
    assert door.till.http.get("/v1/status", headers=copied).status_code == 401


def test_a_socket_named_alone_lies_where_the_service_manager_says(tmp_path, monkeypatch):
    """`unix:pos.sock` is in RUNTIME_DIRECTORY; the command line finds it; a named user needs no token there."""
    run = tmp_path / "run"
    run.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(run))
    monkeypatch.setenv("LOYALTY_AGENT__API__SOCKET_USERS__ROOT", "pos")
    with besieged(tmp_path / "shop", members=0, socket="pos.sock") as door:
        assert (run / "pos.sock").is_socket()
        asked = json.loads(door.till.command("status", "--json").stdout)
        assert (asked["reachable"], asked["address"]) == (True, f"unix:{run}/pos.sock")
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(run / "pos.sock"))) as pos:
            assert pos.post("http://localhost/v1/transactions", json=sale("u-1")).status_code == 202
            assert pos.post("http://localhost/v1/flush").status_code == 403
        assert door.till.stop() == 0
        assert not (run / "pos.sock").exists()
