"""What encryption at rest costs: the same agent over the same members, its databases encrypted and plain, in turns.

A ratio of rates suffers from whatever else the machine does; processor seconds of the agent do so far less.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from agent.connectors.registry import settings_models
from agent.keys import StorageKeys
from agent.settings import load
from agent.state import OUTBOX, State
from agent.store.database import DatabaseFile, sqlite
from agent.store.pagekey import PageKey
from bench import agents, members
from bench.load import Load, press
from bench.processes import free_port
from bench.runs import Run
from bench.table import Row

CONNECTIONS = (1, 8)
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Round:
    """One measurement.

    Attributes:
        load: what was answered.
        cpu_us: of the agent, for each answer.
    """

    load: Load
    cpu_us: float


def run(run: Run) -> Iterable[Row]:
    """Rows of `encryption`."""
    with _till(run, "on") as encrypted, _till(run, "off") as plain:
        for what, call in (("sales", "transactions"), ("look-ups", "contacts/identify")):
            for connections in CONNECTIONS:
                rounds = [
                    [_measured(till, call, run, connections) for till in (plain, encrypted)] for _ in range(run.repeats)
                ]
                limit, ours = zip(*rounds, strict=True)
                where = f"{what}, {connections} connection{'s' if connections > 1 else ''}; limit: plain"
                yield Row("encryption", where, "1/s", _rate(ours), _rate(limit))
                yield Row("encryption", f"processor time of {where}", "µs", _cpu(ours), _cpu(limit))


def _rate(rounds: Iterable[Round]) -> float:
    return median(found.load.rate for found in rounds)


def _cpu(rounds: Iterable[Round]) -> float:
    return median(found.cpu_us for found in rounds)


def _measured(till: agents.Till, call: str, run: Run, connections: int) -> Round:
    about = (till.place.token, str(run.members))
    arguments = ("accept", *about, f"1042-03-{time.time_ns():x}") if call == "transactions" else ("identify", *about)
    before_s = _cpu_s(till.child.pid)
    found = press(f"{till.url}/v1/{call}", arguments, connections=connections, seconds=run.seconds)
    return Round(found, (_cpu_s(till.child.pid) - before_s) * 1e6 / (found.rate * run.seconds))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@contextlib.contextmanager
def _till(run: Run, encryption: str) -> Iterator[agents.Till]:
    state = agents.loaded_state(run.members)
    feed = members.export(run.members)
    with agents.place(vendor_port=free_port(), feed=feed, state=state, encryption=encryption) as at:
        if encryption == "off":
            _decrypt(at)
        with agents.running(at) as till:
            till.wait_for_sync(0.0)
            yield till


def _decrypt(at: agents.Place) -> None:
    """Makes the replica plain; the outbox is begun anew."""
    for path in at.state.glob(f"{OUTBOX}*"):
        path.unlink()
    encrypted = load(config=at.config, vendors=settings_models(), environ={}, flags={"storage.encryption": "on"})
    state = State(encrypted)
    keys = StorageKeys(state.keys(may_create=False).current)
    lease = state.lease(keys)
    file = state.replica_pages(keys, lease) if lease else None
    if file is None or file.key is None:
        raise RuntimeError("the kept state has no replica")
    aside = DatabaseFile(file.path.with_suffix(".plain"), None, "NORMAL")
    connection = sqlite.connect(os.fspath(file.path), isolation_level=None)
    connection.execute(PageKey(file.key).pragma)
    connection.execute("ATTACH ? AS plain KEY ''", (os.fspath(aside.path),))
    connection.execute("SELECT sqlcipher_export('plain')").fetchall()
    connection.close()
    aside.path.replace(file.path)
