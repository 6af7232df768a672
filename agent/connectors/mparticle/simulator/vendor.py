"""The simulated input as a whole: its keys, what it has received, and the face that tests and HTTP work through."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from agent.connectors.mparticle.simulator.api import build_app
from agent.connectors.mparticle.simulator.checks import NotTaken, check_batch
from agent.connectors.mparticle.simulator.faults import Fault, transactions
from agent.connectors.mparticle.simulator.opendsr import DataSubjectRequests
from agent.connectors.simulation.vendor import SimulatedVendor

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


class MparticleSimulator(SimulatedVendor[Fault]):
    """One stateful, made-up input of an mParticle workspace.

    Args:
        keys: the secret of each API key that it accepts.
        now: the clock it lives by, aware instants.
        workspace: the secret of each key of the workspace, which data subject requests want; ``keys`` without it.

    Attributes:
        data_subjects: the requests.
        received: every batch, repetitions included, in the order of arrival.
        requests: calls that were let in, by the last part of the path.
    """

    def __init__(
        self, keys: dict[str, str], *, now: Callable[[], datetime], workspace: dict[str, str] | None = None
    ) -> None:
        super().__init__(keys, now=now)
        self.workspace = keys if workspace is None else workspace
        self.data_subjects = DataSubjectRequests(now)
        self.received: list[Received] = []
        self._known: dict[tuple[str, str], datetime] = {}
        self.app = build_app(self)

    def held(self) -> dict[str, int]:
        """How often each transaction and each activity counts: in how many batches that were processed."""
        with self.lock:
            return dict(Counter(one for row in self._of("processed") for one in transactions(row.batch)))

    def activities(self) -> set[str]:
        """The ids of the activities that were processed: who joined, what changed, what a till told of."""
        told = (event["data"].get("custom_attributes") or {} for event in self.events())
        return {str(attributes["activity_id"]) for attributes in told if "activity_id" in attributes}

    def events(self) -> list[dict[str, Any]]:
        """Every event that was processed, in the order of arrival."""
        with self.lock:
            return [event for row in self._of("processed") for event in row.batch["events"]]

    def erasures(self) -> list[dict[str, str]]:
        """Whom it was asked to erase, in the order of arrival."""
        with self.lock:
            return [one.identities for one in self.data_subjects.received.values()]

    def counts(self) -> dict[str, int]:
        """How many batches met which outcome."""
        with self.lock:
            return dict(Counter(row.outcome for row in self.received))

    def forget(self) -> None:
        """Begins anew: nothing received, no faults, the same keys."""
        with self.lock:
            super().forget()
            self.received.clear()
            self._known.clear()
            self.data_subjects.received.clear()

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
        self._record(batch, key, call, "lost" if self.is_met(batch, "lose") else self._fate(batch, key, call))

    def is_met(self, batch: Any, kind: str) -> bool:
        """Whether a batch meets a fault of single batches."""
        return self.fault_of(kind, *transactions(batch)) is not None

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
