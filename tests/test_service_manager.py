"""What passes between the agent and systemd."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from agent.service_manager import ServiceManager


@pytest.fixture
def heard(tmp_path):
    """A service manager's end of the notification socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.settimeout(5)
        end.bind(str(tmp_path / "notify"))
        yield end


@pytest.mark.parametrize("kind", ["file", "abstract"])
def test_it_is_told_how_the_agent_is(tmp_path, kind):
    """Ready, alive, stopping: at a socket with a file or without one."""
    address = str(tmp_path / "notify") if kind == "file" else f"\0loyalty-agent-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.settimeout(5)
        end.bind(address)
        manager = ServiceManager({"NOTIFY_SOCKET": address.replace("\0", "@")})
        manager.ready("takes sales")
        manager.alive()
        manager.stopping()
        assert [end.recv(200) for _ in range(3)] == [
            b"READY=1\nSTATUS=takes sales",
            b"WATCHDOG=1",
            b"STOPPING=1\nSTATUS=stopping",
        ]


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "/nowhere/notify"], ids=["none", "another kind", "gone"])
def test_nobody_listens(address):
    """Whoever started the agent need not listen; that is no reason to stop."""
    ServiceManager({"NOTIFY_SOCKET": address} if address else {}).ready("takes sales")


@pytest.mark.parametrize(
    ("environ", "beat_s"),
    [
        pytest.param({}, None, id="not wanted"),
        pytest.param({"WATCHDOG_USEC": "30000000"}, 10.0, id="wanted"),
        pytest.param({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 10.0, id="of us"),
        pytest.param({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None, id="of another process"),
        pytest.param({"WATCHDOG_USEC": "soon"}, None, id="nonsense"),
    ],
)
def test_signs_of_life(environ, beat_s):
    """As often as the manager's patience asks, and only from the process that is meant."""
    assert ServiceManager(environ).beat_s == beat_s


def test_what_was_meant_for_us_is_not_handed_on():
    """A process that the agent starts finds nothing of it in its environment."""
    environ = {
        "NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "LISTEN_PID": "1", "LISTEN_FDS": "2",
        "LISTEN_FDNAMES": "a:b", "PATH": "/bin",
    }  # fmt: skip
    ServiceManager(environ)
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("count", "pid", "found"), [("2", "own", 2), ("2", "1", 0), ("", "own", 0), ("two", "own", 0)],
    ids=["two", "of another process", "none", "nonsense"],
)  # fmt: skip
def test_listeners_that_outlive_a_restart(count, pid, found):
    """They stand from descriptor 3 on, for the process that is meant, and are handed over once."""
    code = (
        "import os, socket; from agent.service_manager import ServiceManager\n"
        "held = [socket.create_server(('127.0.0.1', 0)) for _ in range(2)]\n"
        "ports = [one.getsockname()[1] for one in held]\n"
        "for number, one in enumerate([one.detach() for one in held], 3): os.dup2(one, number + 10)\n"
        "for number in (3, 4): os.dup2(number + 10, number)\n"
        f"pid = str(os.getpid()) if {pid!r} == 'own' else {pid!r}\n"
        f"manager = ServiceManager({{'LISTEN_FDS': {count!r}, 'LISTEN_PID': pid}})\n"
        "found = manager.listeners()\n"
        "assert [one.getsockname()[1] for one in found] == ports[:len(found)], found\n"
        "assert manager.listeners() == []\n"
        "print(len(found)); [one.detach() for one in found]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == str(found)


def test_the_agent_says_when_it_takes_sales_and_lives(heard):
    """With the real socket: alive comes again and again."""
    manager = ServiceManager({"NOTIFY_SOCKET": heard.getsockname(), "WATCHDOG_USEC": "3000"})
    assert manager.beat_s == pytest.approx(0.001)
    for _ in range(3):
        manager.alive()
    assert [heard.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
