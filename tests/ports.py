"""Ports for what a test starts, chosen now and bound a moment later, or left for a while and bound again.

The kernel's own choice (port 0) may be given to somebody else meanwhile: to the test of another worker, or to any
connection that goes out. So these lie below the range it chooses from (ip(7), ip_local_port_range), and each of
pytest-xdist's workers has a part of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from collections.abc import Iterator

FIRST, EACH, WORKERS = 20_000, 1_000, 12
FIRST_KEPT = 12_000
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
_COUNT = itertools.count(os.getpid())


def free_port() -> int:
    """A loopback port that nobody listens on, and that no other worker is given."""
    for turn in itertools.islice(_COUNT, EACH):
        port = FIRST + _WORKER * EACH + turn % EACH
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError(f"all {EACH} ports of worker {_WORKER} are taken")


@contextlib.contextmanager
def kept_port() -> Iterator[int]:
    """A loopback port that nobody else is given while the block runs, though nobody may listen there for a while."""
    for turn in itertools.islice(_COUNT, EACH):
        port = FIRST_KEPT + (_WORKER * EACH + turn % EACH) % (FIRST - FIRST_KEPT)
        with socket.socket() as keeper, socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                probe.close()
                keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # whoever listens says so too
                keeper.bind(("127.0.0.1", port))
            except OSError:
                continue
            yield port
            return
    raise AssertionError(f"all {EACH} ports of worker {_WORKER} are taken")
