"""Floods: what a local user with a script can throw at the door, from a process of its own, for a bounded time."""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flood:
    """An attack by many connections at once; whoever is hung up on connects anew.

    Attributes:
        connections: how many.
        first: what each sends at once.
        then: what each sends over and over afterwards.
        pause_s: between two of those.
        loop: sends ``first`` again after each answer instead, as fast as they come.
        reads: takes what comes back; without, the answers pile up.
    """

    connections: int
    first: bytes = b""
    then: bytes = b""
    pause_s: float = 0.0
    loop: bool = False
    reads: bool = True


@contextlib.contextmanager
def flooded(port: int, flood: Flood, *, seconds: float) -> Iterator[None]:
    """A flood while the block runs, and ``seconds`` at most; it is in full swing when the block begins."""
    context = multiprocessing.get_context("spawn")
    swinging = context.Event()
    attacker = context.Process(target=_attack, args=(port, flood, seconds, swinging), daemon=True)
    attacker.start()
    try:
        swinging.wait(30.0)  # a slow machine has not connected everybody by then, but is busy doing so
        assert attacker.is_alive(), "the flood did not begin"
        yield
    finally:
        attacker.terminate()
        attacker.join()
        attacker.close()


class _Line:
    """One connection of the attacker's."""

    def __init__(self, port: int, flood: Flood) -> None:
        self._flood, self._port = flood, port
        self._pending = b""
        self._next = 0.0
        self.socket: socket.socket | None = None

    def step(self) -> bool:
        """Sends and reads what it can; whether anything moved."""
        try:
            if self.socket is None:
                self.socket = socket.create_connection(("127.0.0.1", self._port), timeout=5.0)
                self.socket.setblocking(False)
                self._pending = self._flood.first
            return self._send() | self._read()
        except OSError:
            self.hang_up()
            return False

    def hang_up(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def _send(self) -> bool:
        assert self.socket is not None
        if not self._pending and self._flood.then and time.monotonic() >= self._next:
            self._pending = self._flood.then
            self._next = time.monotonic() + self._flood.pause_s
        if not self._pending:
            return False
        try:
            self._pending = self._pending[self.socket.send(self._pending) :]
        except BlockingIOError:
            return False
        return True

    def _read(self) -> bool:
        assert self.socket is not None
        if not self._flood.reads:
            return False
        try:
            heard = self.socket.recv(65_536)
        except BlockingIOError:
            return False
        if not heard:
            raise ConnectionResetError
        if self._flood.loop and b"HTTP/1.1 " in heard:
            self._pending += self._flood.first
        return True


def _attack(port: int, flood: Flood, seconds: float, swinging: object) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    lines = [_Line(port, flood) for _ in range(flood.connections)]
    end = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < end:
        moved = sum(line.step() for line in lines)
        rounds += 1
        if rounds == 2:
            swinging.set()  # type: ignore[attr-defined]
        if not moved:
            time.sleep(0.005)
    for line in lines:
        line.hang_up()
