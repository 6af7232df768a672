"""Processes that a bench starts, their memory, and the ports between them."""

import contextlib
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

_MIB = 2**20
_PAGE = os.sysconf("SC_PAGE_SIZE")
BIN = Path(sys.executable).parent

_PORTS = iter(random.sample(range(12_000, 20_000), 8_000))
"""Below the range out of which the kernel serves whoever dials out (ip(7), ip_local_port_range)."""


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    return next(filter(_is_free, _PORTS))


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def process(command: list[str], *, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs while the block does; it is asked to stop at the end and made to after ten seconds."""
    with log.open("ab") as output:
        child = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **environment})
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def wait_until(
    condition: Callable[[], bool], *, child: subprocess.Popen[bytes], within_s: float = 60.0, every_s: float = 0.002
) -> float:
    """Seconds until the condition held."""
    started = time.perf_counter()
    while not condition():
        if child.poll() is not None:
            raise RuntimeError(f"{child.args!r} ended with status {child.returncode}")
        if time.perf_counter() - started > within_s:
            raise RuntimeError(f"nothing within {within_s:.0f} s")
        time.sleep(every_s)
    return time.perf_counter() - started


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / _MIB


class Tree(threading.Thread):
    """Watches the summed resident memory of a process and all below it.

    Shared pages are counted once for each process, so the sum is an upper bound.

    Args:
        pid: the process.
        itself: whether it counts, or only those below it.
    """

    def __init__(self, pid: int, *, itself: bool = True) -> None:
        super().__init__(daemon=True)
        self.peak_mib = 0.0
        self._pid, self._itself = pid, itself
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        """Looks twenty times a second."""
        while not self._ended.wait(0.05):
            self.peak_mib = max(self.peak_mib, _family_mib(self._pid, itself=self._itself))


def _family_mib(root: int, *, itself: bool) -> float:
    parents, pages = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)], pages[int(entry.name)] = int(stat[1]), int(stat[21])
    total = 0
    for pid, size in pages.items():
        above = pid
        while above in parents and above != root:
            above = parents[above]
        if above == root and (itself or pid != root):
            total += size
    return total * _PAGE / _MIB
