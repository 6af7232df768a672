"""The installed agent under a service manager that speaks systemd's protocols."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

INSTALLED = Path(sys.executable).with_name("loyalty-agent")
CONFIG = """
[agent]
store_id = "1042"
till_id = "03"
state_dir = "{root}/state"
[api]
listen = ["127.0.0.1:{port}"]
[voyado]
base_url = "http://127.0.0.1:9"
api_key = "file:voyado.key"
feed = "file://{root}/feed"
"""
BEAT_S = 0.2


class Manager:
    """What systemd is to the agent: a socket that is told things, listeners that are held, a process to end."""

    def __init__(self, root):
        self.root = root
        self.told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.told.bind(str(root / "notify"))
        self.told.settimeout(30)
        self.held = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.held.getsockname()[1]}"
        (root / "feed").mkdir()
        (root / "voyado.key").write_text("made-up")
        self.process = None

    def start(self, *, port=None):
        (self.root / "config.toml").write_text(CONFIG.format(root=self.root, port=port or self.held.getsockname()[1]))
        environ = {
            "PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(self.root / "notify"), "LISTEN_FDS": "1",
            "WATCHDOG_USEC": str(int(BEAT_S * 3_000_000)),
        }  # fmt: skip
        with (self.root / "log").open("ab") as log:
            number = self.held.fileno()
            command = f'exec 3<&{number} {number}<&-; LISTEN_PID=$$ exec "$0" run --config "$1"'
            if number == 3:
                command = 'LISTEN_PID=$$ exec "$0" run --config "$1"'
            self.process = subprocess.Popen(
                ["/bin/bash", "-c", command, INSTALLED, self.root / "config.toml"],
                pass_fds=[number], env=environ, stdout=log, stderr=log,
            )  # fmt: skip
        return self.process

    def hears(self, what):
        """Waits until it is told something of that kind; what."""
        while not (said := self.told.recv(1000).decode()).startswith(what):
            pass
        return said

    def silence(self):
        """Whether nothing comes for five beats, once what is on its way has come."""
        time.sleep(BEAT_S)
        self.told.setblocking(False)
        try:
            while True:
                self.told.recv(1000)
        except BlockingIOError:
            pass
        self.told.settimeout(5 * BEAT_S)
        try:
            self.told.recv(1000)
        except TimeoutError:
            return True
        finally:
            self.told.settimeout(30)
        return False

    def end(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
        self.told.close()
        self.held.close()


@pytest.fixture
def manager(tmp_path):
    manager = Manager(tmp_path)
    yield manager
    manager.end()


def test_it_says_that_it_takes_sales_lives_and_stops(manager):
    """Ready once it answers, alive as long as it does and no longer, stopping when asked to."""
    process = manager.start()
    assert manager.hears("READY=1") == f"READY=1\nSTATUS=takes sales on {manager.url.removeprefix('http://')}"
    assert httpx.get(f"{manager.url}/readyz", trust_env=False).status_code == 200
    for _ in range(3):
        manager.hears("WATCHDOG=1")
    process.send_signal(signal.SIGSTOP)
    assert manager.silence()
    process.send_signal(signal.SIGCONT)
    manager.hears("WATCHDOG=1")
    process.send_signal(signal.SIGTERM)
    manager.hears("STOPPING=1")
    assert process.wait(30) == 0


def test_a_call_made_during_a_restart_is_answered(manager):
    """The service manager holds the port: who calls while the agent is away waits for the next one."""
    process = manager.start()
    manager.hears("READY=1")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    with socket.create_connection(manager.held.getsockname(), timeout=30) as till:
        host = manager.url.removeprefix("http://")
        till.sendall(f"GET /readyz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        manager.start()
        assert till.recv(100).startswith(b"HTTP/1.1 200")


def test_a_listener_that_the_configuration_does_not_name(manager):
    """It would be a door that nobody asked for: the agent says which and does not start."""
    process = manager.start(port=1)
    assert process.wait(30) == 1
    assert f"A socket was handed over for {manager.url.removeprefix('http://')}" in (manager.root / "log").read_text()
