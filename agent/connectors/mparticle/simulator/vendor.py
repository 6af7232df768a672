"""The simulated input as a whole: its keys, what it has received, and the face that tests and HTTP work through."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from starlette.types import ASGIApp

from agent.connectors.mparticle.simulator.api import build_app
from agent.connectors.mparticle.simulator.checks import NotTaken, check_batch
from agent.connectors.mparticle.simulator.faults import BATCH_KINDS, Fault, transactions

DEDUPLICATES_FOR = timedelta(days=30)
HISTORICAL_FROM = timedelta(hours=72)
OUTPUTS_TAKE = timedelta(hours=24)
Outcome = Literal["processed", "duplicate", "refused", "unprocessed", "lost"]


@dataclass(frozen=True, slots=True)
class Received:
    """A batch as it came in, and what became of it.

    Attributes:
        batch: as it was sent.
        key: whose input took it.
        call: the last part of the path.
        received_at: by the input's clock.
        outcome: `processed`; `duplicate`: its id was known; `refused`: malformed; `unprocessed`: too young for the
            historical call; `lost`: by a fault.
    """

    batch: Any
    key: str
    call: str
    received_at: datetime
    outcome: Outcome

    @property
    def forwarded(self) -> bool:
        """Whether an output that keeps the default maximum age gets anything of it."""
        if self.outcome != "processed" or self.call == "historical":
            return False
        oldest_ms = (self.received_at - OUTPUTS_TAKE).timestamp() * 1000
        return any(event["data"].get("timestamp_unixtime_ms", oldest_ms) >= oldest_ms for event in self.batch["events"])


class MparticleSimulator:
    """One stateful, made-up input of an mParticle workspace.

    Every public method may be called from any thread, beside requests being served.

    Args:
        keys: the secret of each API key that it accepts.
        now: the clock it lives by, aware instants.

    Attributes:
        app: the ASGI application; a port is put under it by `serve`.
        keys: the secret of each API key; taking one out revokes it.
        received: every batch, repetitions included, in the order of arrival.
        requests: calls that were let in.
        faults: what goes wrong; empty at first.
        lock: held while a request or a method works on the state.
    """

    app: ASGIApp

    def __init__(self, keys: dict[str, str], *, now: Callable[[], datetime]) -> None:
        self.keys, self.now = keys, now
        self.lock = threading.RLock()
        self.received: list[Received] = []
        self.requests: Counter[str] = Counter()
        self.faults: list[Fault] = []
        self._known: dict[tuple[str, str], datetime] = {}
        self.app = build_app(self)

    def run_due(self) -> None:
        """It does nothing by itself."""

    def add(self, fault: Fault) -> Fault:
        """Switches a fault on, and returns it for a later `remove`."""
        with self.lock:
            self.faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Switches one fault off."""
        with self.lock:
            self.faults.remove(fault)

    def held(self) -> dict[str, int]:
        """How often each transaction counts: in how many batches that were processed."""
        with self.lock:
            return dict(Counter(one for row in self._of("processed") for one in transactions(row.batch)))

    def events(self) -> list[dict[str, Any]]:
        """Every event that was processed, in the order of arrival."""
        with self.lock:
            return [event for row in self._of("processed") for event in row.batch["events"]]

    def counts(self) -> dict[str, int]:
        """How many batches met which outcome."""
        with self.lock:
            return dict(Counter(row.outcome for row in self.received))

    def forget(self) -> None:
        """Begins anew: nothing received, no faults, the same keys."""
        with self.lock:
            self.received.clear()
            self.requests.clear()
            self.faults.clear()
            self._known.clear()

    # What the calls do; the lock is held.

    def take(self, batch: Any, *, key: str, call: str) -> None:
        """Takes one batch.

        Raises:
            NotTaken: it is malformed; it is on record as refused.
        """
        try:
            check_batch(batch)
        except NotTaken:
            self._record(batch, key, call, "refused")
            raise
        lost = self.fault_of(batch, "lose") is not None
        self._record(batch, key, call, "lost" if lost else self._fate(batch, key, call))

    def fault_of(self, batch: Any, kind: str) -> Fault | None:
        """The fault of single batches that this one meets."""
        faults = [fault for fault in self.faults if fault.kind == kind]
        told = transactions(batch) if faults else set()
        return next((fault for fault in faults if fault.transaction_id in told), None)

    def meet(self, method: str, path: str) -> tuple[float, Fault | None]:
        """The seconds a request waits, and the fault it then meets."""
        delay_s = 0.0
        for fault in self.faults:
            if fault.kind not in BATCH_KINDS and fault.meets(method, path):
                if fault.kind != "latency":
                    return delay_s, fault
                delay_s += fault.delay_s
        return delay_s, None

    def _fate(self, batch: dict[str, Any], key: str, call: str) -> Outcome:
        now = self.now()
        if call == "historical" and not self._is_history(batch.get("events") or (), now):
            return "unprocessed"
        request_id = batch.get("source_request_id")
        if request_id is None:
            return "processed"
        seen = self._known.get((key, request_id))
        if seen is not None and now - seen <= DEDUPLICATES_FOR:
            return "duplicate"
        self._known[key, request_id] = now
        return "processed"

    def _is_history(self, events: Iterable[dict[str, Any]], now: datetime) -> bool:
        youngest_ms = (now - HISTORICAL_FROM).timestamp() * 1000
        times = [event["data"].get("timestamp_unixtime_ms") for event in events]
        return bool(times) and all(isinstance(at, int) and at <= youngest_ms for at in times)

    def _record(self, batch: Any, key: str, call: str, outcome: Outcome) -> None:
        self.received.append(Received(batch, key, call, self.now(), outcome))

    def _of(self, outcome: Outcome) -> list[Received]:
        return [row for row in self.received if row.outcome == outcome]
