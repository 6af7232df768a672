"""Who is at the till: look-ups by phone, beside a bare server over a plain table, at rest and while other work runs."""

import signal
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench import agents, members
from bench.load import Load, in_turns, press
from bench.processes import free_port, listens, process, wait_until
from bench.runs import Run, python
from bench.table import Goal, Row

CHANGED_SHARE = 10
CONNECTIONS = (1, 8)


def run(run: Run) -> Iterable[Row]:
    """Rows of `identify`."""
    port, vendor = free_port(), free_port()
    table = str(members.plain_table(run.members))
    with (
        tempfile.TemporaryDirectory(dir=members.OUT) as feed,
        process(python("bench.reference", "identify", table, str(port)), log=members.OUT / "reference.log") as bare,
        process(python("bench.sink", str(vendor), "hang"), log=members.OUT / "sink.log") as hanging,
        agents.loaded(run.members, vendor_port=vendor, feed=members.linked(run.members, Path(feed))) as at,
        agents.running(at, inside=True) as till,
    ):
        wait_until(lambda: listens(port), child=bare)
        wait_until(lambda: listens(vendor), child=hanging)
        till.wait_for_sync(0.0)
        idle: dict[int, Load] = {}
        for connections in CONNECTIONS:
            limit, idle[connections] = in_turns(
                run.repeats,
                lambda: _press(f"http://127.0.0.1:{port}/", "none", run, connections),  # noqa: B023 - called at once
                lambda: _ask(till, run, connections),  # noqa: B023 - called at once
            )
            yield from _rows(connections, idle[connections], limit)
        with _strangers(till):
            yield from _disturbed("the vendor hangs", till, run, idle)
        count, began = run.members // CHANGED_SHARE, time.time()
        with _syncing(till):
            _change(Path(feed), count)
            till.call("POST", "/v1/sync")
            yield from _disturbed(f"{count:,} changes are applied", till, run, idle)
        till.wait_for_sync(began)
        with _syncing(till):
            till.child.send_signal(signal.SIGUSR1)
            yield from _disturbed(f"{run.members:,} members are loaded anew", till, run, idle)


def _rows(connections: int, found: Load, limit: Load) -> Iterator[Row]:
    where = _words(connections)
    yield Row("identify", f"look-ups, {where}", "1/s", found.rate, limit.rate, Goal(">=", 0.5))
    yield Row("identify", f"p50, {where}", "ms", found.p50_ms, limit.p50_ms)
    yield Row("identify", f"p99, {where}", "ms", found.p99_ms, limit.p99_ms, Goal("<=", 2.0))


def _disturbed(why: str, till: agents.Till, run: Run, idle: Mapping[int, Load]) -> Iterator[Row]:
    """The ninety-ninth percentile while something else goes on, beside its own at rest."""
    for connections in CONNECTIONS:
        found = _ask(till, run, connections)
        what = f"p99, {_words(connections)}, while {why}"
        yield Row("identify", what, "ms", found.p99_ms, idle[connections].p99_ms, Goal("<=", 2.0))


def _words(connections: int) -> str:
    return f"{connections} connection{'s' if connections > 1 else ''}"


def _ask(till: agents.Till, run: Run, connections: int) -> Load:
    return _press(f"{till.url}/v1/contacts/identify", till.place.token, run, connections)


def _press(url: str, token: str, run: Run, connections: int) -> Load:
    return press(url, ("identify", token, str(run.members)), connections=connections, seconds=run.seconds)


@contextmanager
def _strangers(till: agents.Till) -> Iterator[None]:
    """Somebody the replica does not know comes by ten times a second, so that the vendor is asked."""
    ended = threading.Event()

    def ask() -> None:
        number = 0
        while not ended.wait(0.1):
            number += 1
            stranger = {"type": "mobile_phone", "value": f"+4672{number:07d}"}
            till.call("POST", "/v1/contacts/identify", {"identifier": stranger})

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        ended.set()
        asking.join()


@contextmanager
def _syncing(till: agents.Till) -> Iterator[None]:
    """What runs inside must end before the sync does: else it did not measure what it says."""
    began = time.time()
    yield
    if till.as_of() >= began:
        print("  the sync ended before the measurement did")


def _change(feed: Path, count: int) -> None:
    records = (members.record(number, "changed") for number in range(count))
    members.write(feed / "20260219101500_0_members.xml", "updated", records)
