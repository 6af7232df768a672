"""The installed agent with its door besieged: what attackers send by hand, and what the agent says came of it."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
from e2e.shop import Till, Vendor, eventually, members, sale

PHONE = "+46701740699"
"""Nobody's number."""


class Door:
    """An agent, its simulated vendor, and what reaches it."""

    def __init__(self, till: Till, vendor: Vendor) -> None:
        self.till, self.vendor = till, vendor
        self.port, self.token = till.port, till.token

    @property
    def member(self) -> str:
        """The phone of somebody whom the local contacts know."""
        return members(self.vendor, 1)[0].value("mobilePhone")

    @property
    def pid(self) -> int:
        assert self.till.process is not None
        return self.till.process.pid

    def request(self, method: str, target: str, *lines: str, body: bytes = b"", version: str = "HTTP/1.1") -> bytes:
        """A request in order, with a token, but for lines replaced, added (``+Name: x``) or left out (``-Name``)."""
        head = {"host": f"Host: 127.0.0.1:{self.port}", "authorization": f"Authorization: Bearer {self.token}"}
        if method == "POST":
            head |= {"content-type": "Content-Type: application/json", "content-length": f"Content-Length: {len(body)}"}
        more = []
        for line in lines:
            if line.startswith("-"):
                head.pop(line[1:].lower())
            elif line.partition(":")[0].lower() in head and not line.startswith("+"):
                head[line.partition(":")[0].lower()] = line
            else:
                more.append(line.removeprefix("+"))
        return "\r\n".join((f"{method} {target} {version}", *head.values(), *more, "", "")).encode("latin-1") + body

    def selling(self, transaction_id: str, *lines: str, **changes: Any) -> bytes:
        """A sale, as :meth:`request` builds it."""
        return self.request(
            "POST", "/v1/transactions", *lines, body=json.dumps(sale(transaction_id, **changes)).encode()
        )

    def send(self, *pieces: bytes, within_s: float = 10.0, after: bytes = b"") -> list[int]:
        """The statuses that come back for these bytes until the agent hangs up; ``after`` is sent to make it."""
        return statuses(self.hear(*pieces, within_s=within_s, after=after))

    def hear(self, *pieces: bytes, within_s: float = 10.0, after: bytes = b"") -> bytes:
        """Everything that comes back for these bytes, up to the end of the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=within_s) as line:
            heard = b""
            with contextlib.suppress(ConnectionError):  # hung up on already; what it said can still be read
                for piece in (*pieces, after):
                    line.sendall(piece)
            with contextlib.suppress(ConnectionError):
                while part := line.recv(65_536):
                    heard += part
            return heard

    def connect(self, first: bytes = b"") -> socket.socket:
        """A connection of its own, with these bytes sent."""
        line = socket.create_connection(("127.0.0.1", self.port), timeout=10.0)
        line.sendall(first)
        return line

    def sold(self) -> float:
        """How many sales the agent has put on disk."""
        return self.figure('loyalty_agent_sales_accepted_total{duplicate="no"}')

    def figure(self, name: str) -> float:
        """A figure of the agent's metrics; 0 where it is not there yet."""
        return next((float(line.split()[-1]) for line in self.metrics() if line.rpartition(" ")[0] == name), 0.0)

    def answered(self) -> dict[tuple[str, str, int], float]:
        """How many requests were answered so far, by method, route and status."""
        found = {}
        for line in self.metrics():
            if match := _REQUESTS.fullmatch(line):
                found[match[1], match[2], int(match[3])] = float(match[4])
        return found

    def metrics(self) -> list[str]:
        return self.till.http.get("/metrics").text.splitlines()

    def memory_mib(self) -> float:
        """What the agent holds resident now."""
        return _status_kib(self.pid, "VmRSS") / 1024

    def peak_mib(self) -> float:
        """The most that it held resident since :meth:`forget_peak`."""
        return _status_kib(self.pid, "VmHWM") / 1024

    def forget_peak(self) -> None:
        """Starts the measure of :meth:`peak_mib` anew (proc_pid_clear_refs(5))."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def complaints(self) -> list[str]:
        """What the agent's log says about its door, and what other libraries say, as whole lines."""
        lines = self.till.log.read_text().splitlines()
        return [line for line in lines if '"logger": "agent.' not in line or '"logger": "agent.api' in line]


_REQUESTS = re.compile(
    r'loyalty_agent_http_requests_total\{method="([^"]*)",route="([^"]*)",status="([0-9]+)"\} ([0-9.e+]+)'
)


@contextlib.contextmanager
def besieged(home: Path, *, members: int = 20, socket: str = "", **overrides: dict[str, Any]) -> Iterator[Door]:
    """A door whose agent has loaded its local contacts, if there are any; it listens on a Unix socket too, if named."""
    home.mkdir(exist_ok=True)
    vendor = Vendor(home / "ftp", members)
    vendor.sim.export_full()
    till = Till(home, vendor, overrides)
    if socket:
        till.config.write_text(till.config.read_text().replace("listen = [", f'listen = ["unix:{socket}", '))
    try:
        till.start()
        if members:
            eventually(till.loaded)
        yield Door(till, vendor)
    finally:
        till.kill()
        till.http.close()
        vendor.close()


def statuses(heard: bytes) -> list[int]:
    """The statuses of the answers in what came back."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", heard)]


def cashier(door: Door, call: Callable[[], httpx.Response], *, seconds: float) -> list[float]:
    """How long each of a cashier's calls took meanwhile, in seconds, sorted; every one is answered with 200."""
    took = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        answer = call()
        took.append(time.perf_counter() - began)
        assert answer.status_code == 200, answer.text
        time.sleep(0.01)
    return sorted(took)


def told(times: Iterable[float]) -> str:
    """Latencies in words, for the run's output."""
    took = sorted(times)
    middle, high = took[len(took) // 2], took[int(len(took) * 0.99)]
    return f"{len(took)} calls, p50 {middle * 1000:.1f} ms, p99 {high * 1000:.1f} ms, max {took[-1] * 1000:.1f} ms"


def _status_kib(pid: int, name: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(name))
